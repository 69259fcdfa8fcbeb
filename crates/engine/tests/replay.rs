//! What is in a folder goes out through one exporter, and what is refused stays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use buffer::{FileStorage, Log, Options};
use common::{Destination, Reply, Rig, logs, name_of, until};
use engine::{Graph, Progress, Running, Scope, stored};

fn open(directory: &Path) -> Log<FileStorage> {
    Log::open(FileStorage::open(directory).unwrap(), Options::default()).unwrap()
}

/// `count` requests of two records, named by number; every third is a dead letter.
fn fill(directory: &Path, count: usize) {
    let mut log = open(directory);
    for n in 0..count {
        let payload = logs(2, &n.to_string()).into();
        let (tag, bytes) = match n % 3 {
            0 => stored::encode_letter("rejected", "no", &payload),
            _ => stored::encode(&payload),
        };
        log.append(5, tag, 2, &bytes).unwrap();
    }
    assert!(log.commit().error.is_none());
}

/// The names of what is in the folder.
fn left(directory: &Path) -> Vec<usize> {
    let mut log = open(directory);
    let (mut names, mut after) = (Vec::new(), 0);
    while let Some(record) = log.read_next(after).unwrap() {
        after = record.seq;
        let payload = stored::decode_any(record.tag, record.bytes).unwrap();
        names.push(name_of(&common::as_request(&payload)).parse().unwrap());
    }
    names
}

async fn start(id: &str, directory: &Path, destination: &Destination) -> Running {
    let spec = Rig::new().exporter(id, destination).spec;
    let spec = spec.replaying(id, directory).unwrap();
    Graph::build(spec, false).unwrap().start().await.unwrap()
}

fn progress(running: &Running) -> Progress {
    running.status().replay()
}

async fn stop(running: Running) {
    running.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn requests_and_dead_letters_are_delivered_and_noted() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 30);
    let destination = Destination::taking();
    let running = start("replay/all", folder.path(), &destination).await;
    until(|| progress(&running).waiting == 0).await;
    stop(running).await;
    let mut names: Vec<usize> =
        destination.calls().iter().flatten().map(|request| name_of(request).parse().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, (0..30).collect::<Vec<_>>());
    assert!(left(folder.path()).is_empty());
}

#[tokio::test]
async fn what_is_refused_stays_whole_and_the_rest_goes() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 20);
    let destination = Destination::scripted(|requests| {
        assert_eq!(requests.len(), 1, "merged requests cannot be judged one by one");
        match name_of(&requests[0]).parse::<usize>().unwrap() {
            3 => Reply::Refuse(Scope::Request),
            7 => Reply::Refuse(Scope::Records),
            9 => Reply::Partial(1),
            _ => Reply::Take,
        }
    });
    let running = start("replay/refused", folder.path(), &destination).await;
    until(|| progress(&running) == Progress { waiting: 0, left: 3, failing: None }).await;
    stop(running).await;
    assert_eq!(left(folder.path()), [3, 7, 9]);
    // And once more, when the destination has been put right.
    let running = start("replay/refused", folder.path(), &Destination::taking()).await;
    until(|| progress(&running).waiting == 0).await;
    stop(running).await;
    assert!(left(folder.path()).is_empty());
}

#[tokio::test]
async fn a_destination_that_is_down_is_tried_until_it_is_up_or_the_replay_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 12);
    let alive = Arc::new(AtomicBool::new(false));
    let look = Arc::clone(&alive);
    let destination =
        Destination::scripted(move |_| if look.load(Ordering::SeqCst) { Reply::Take } else { Reply::Retry })
            .with(|s| s.retry.initial_backoff_ms = 5)
            .with(|s| s.retry.max_backoff_ms = 20)
            // Of no use here: what is given up on would be lost.
            .with(|s| s.retry.max_elapsed_ms = Some(1));
    let running = start("replay/down", folder.path(), &destination).await;
    until(|| progress(&running).failing.is_some() && destination.calls().len() > 20).await;
    assert_eq!(progress(&running).waiting, 12);
    stop(running).await;
    assert_eq!(left(folder.path()), (0..12).collect::<Vec<_>>());

    alive.store(true, Ordering::SeqCst);
    let running = start("replay/down", folder.path(), &destination).await;
    until(|| progress(&running).waiting == 0).await;
    stop(running).await;
    assert!(left(folder.path()).is_empty());
}

#[tokio::test]
async fn what_this_version_cannot_read_stays() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 2);
    let mut log = open(folder.path());
    let later = log.append(5, 9, 7, b"what will be").unwrap();
    assert!(log.commit().is_durable(later));
    drop(log);
    let running = start("replay/unknown", folder.path(), &Destination::taking()).await;
    until(|| progress(&running) == Progress { waiting: 0, left: 1, failing: None }).await;
    stop(running).await;
    let mut log = open(folder.path());
    assert_eq!(log.read_next(0).unwrap().map(|record| record.seq), Some(later));
}

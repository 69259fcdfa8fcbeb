//! Dead letters: what is given up on is on the disk, with its reason, before anybody is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::time::Duration;

use buffer::{FileStorage, Log, Options};
use common::{
    Books, Destination, Reply, Rig, Source, as_request, books, dropped, line, logs, name_of, until,
};
use engine::stored::{Letter, decode_letter};
use engine::testing::counters;
use engine::{DeadLetterSettings, LetterFill, Running, Scope};
use model::{AckMode, Request, Signal};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);

/// A folder that may be in use: what a copy of its files holds.
fn copy_of(folder: &Path) -> (Log<FileStorage>, TempDir) {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    (Log::open(FileStorage::open(copy.path()).unwrap(), Options::default()).unwrap(), copy)
}

fn letters_in(folder: &Path) -> Vec<Letter> {
    let (mut log, _copy) = copy_of(folder);
    let (mut letters, mut after) = (Vec::new(), 0);
    while let Some(record) = log.read_next(after).unwrap() {
        after = record.seq;
        letters.push(decode_letter(record.tag, record.bytes).unwrap());
    }
    letters
}

fn settings(folder: &Path) -> DeadLetterSettings {
    DeadLetterSettings { directory: folder.join("letters"), max_bytes: 64 << 20, max_age_ms: None }
}

fn kept(destination: Destination, folder: &TempDir) -> Destination {
    destination.with(|s| s.dead_letters = Some(settings(folder.path())))
}

fn fill(running: &Running) -> LetterFill {
    running.status().components.pop().unwrap().dead_letters.unwrap()
}

fn letters(id: &str, reason: &str) -> u64 {
    counters().value("floodway_dead_letters_items_total", &[("component", id), ("reason", reason)])
}

fn lost(id: &str) -> u64 {
    counters().value("floodway_dead_letters_lost_items_total", &[("component", id)])
}

fn several(parts: &[(usize, &str)]) -> Request {
    let bytes: Vec<u8> = parts.iter().flat_map(|(items, name)| logs(*items, name).bytes().to_vec()).collect();
    Request::receive(Signal::Logs, bytes.into()).unwrap().0
}

#[tokio::test]
async fn a_refused_record_among_good_ones_is_there_alone_when_its_sender_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let holds_bad = |request: &Request| request.bytes().windows(3).any(|bytes| bytes == b"bad");
    let refuses = Destination::scripted(move |requests| {
        if requests.iter().any(holds_bad) { Reply::Refuse(Scope::Records) } else { Reply::Take }
    });
    let source = Source::new(AckMode::Delivered);
    let running = line("letter_alone", &source, &kept(refuses, &folder)).await;
    assert_eq!(fill(&running), LetterFill { items: 0, bytes: 0 });
    source.send(several(&[(6, "good"), (1, "bad"), (9, "good")])).await.unwrap();
    let found = letters_in(&folder.path().join("letters"));
    let [Letter { reason, message, payload }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((reason.as_str(), message.as_str()), ("bad_request", "never"));
    assert_eq!((payload.items(), name_of(&as_request(payload)).as_str()), (1, "bad"));
    assert_eq!(books("letter_alone"), Books { accepted: 16, delivered: 15, dropped: 1, buffered: 0 });
    assert_eq!((letters("letter_alone", "bad_request"), lost("letter_alone")), (1, 0));
    assert_eq!(fill(&running).items, 1);
    assert!(fill(&running).bytes >= 4096);
    let stored = counters().gauge("floodway_dead_letters_stored_items", &[("component", "letter_alone")]);
    assert_eq!(stored, 1.0);
}

#[tokio::test]
async fn where_nobody_says_which_the_whole_request_is_kept_and_the_letter_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let destination = kept(Destination::scripted(|_| Reply::Partial(3)), &folder);
    let source = Source::new(AckMode::Delivered);
    let _running = line("letter_vague", &source, &destination).await;
    source.send(logs(8, "any")).await.unwrap();
    let found = letters_in(&folder.path().join("letters"));
    let [Letter { reason, message, payload }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(reason, "not_those");
    assert_eq!(message, "3 of 8 records refused; the destination does not say which: not those");
    assert_eq!(payload.items(), 8);
    assert_eq!((dropped("letter_vague", "not_those"), letters("letter_vague", "not_those")), (3, 8));
}

#[tokio::test]
async fn what_was_tried_for_too_long_is_a_letter() {
    let folder = tempfile::tempdir().unwrap();
    let destination = kept(Destination::scripted(|_| Reply::Retry), &folder).with(|s| {
        s.retry.max_elapsed_ms = Some(30);
        s.retry.initial_backoff_ms = 5;
    });
    let source = Source::new(AckMode::Delivered);
    let _running = line("letter_late", &source, &destination).await;
    assert!(source.send(logs(4, "late")).await.unwrap_err().retryable);
    let found = letters_in(&folder.path().join("letters"));
    let [Letter { reason, message, payload }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((reason.as_str(), message.as_str()), ("retries_exhausted", "come again"));
    assert_eq!(payload.items(), 4);
}

#[tokio::test]
async fn many_at_once_are_all_written() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::scripted(|_| Reply::Refuse(Scope::Request)).hold().with(|s| {
        s.queue.concurrency = 1;
        s.queue.max_bytes = 256 << 20;
    });
    let source = Source::new(AckMode::Received);
    let running = line("letter_many", &source, &kept(destination.clone(), &folder)).await;
    for n in 0..2500 {
        source.send(logs(1, &format!("n{n}"))).await.unwrap();
    }
    // More than all letters that may wait, each with more than its share.
    for _ in 0..8 {
        source.send(logs(1, &"x".repeat(3 << 20))).await.unwrap();
    }
    destination.release();
    assert!(running.stop(Duration::from_secs(60)).await.is_clean());
    assert_eq!(dropped("letter_many", "bad_request"), 2508);
    assert_eq!((letters("letter_many", "bad_request"), lost("letter_many")), (2508, 0));
    assert_eq!(letters_in(&folder.path().join("letters")).len(), 2508);
}

#[tokio::test]
async fn what_is_in_the_folder_is_counted_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for (run, expected) in [(1, 0), (2, 5), (3, 10)] {
        let destination = kept(Destination::scripted(|_| Reply::Refuse(Scope::Request)), &folder);
        let source = Source::new(AckMode::Delivered);
        let id = format!("letter_restart_{run}");
        let running = line(&id, &source, &destination).await;
        assert_eq!(fill(&running).items, expected);
        source.send(logs(5, "a")).await.unwrap_err();
        assert_eq!(fill(&running).items, expected + 5);
        running.stop(SOON).await;
    }
    assert_eq!(letters_in(&folder.path().join("letters")).len(), 3);
}

#[tokio::test]
async fn the_oldest_go_when_there_is_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination::scripted(|_| Reply::Refuse(Scope::Request));
    let small = DeadLetterSettings { max_bytes: 1 << 20, ..settings(folder.path()) };
    let destination = destination.with(|s| s.dead_letters = Some(small));
    let source = Source::new(AckMode::Delivered);
    let running = line("letter_cap", &source, &destination).await;
    for n in 0..30 {
        source.send(logs(1, &format!("{n:03}{}", "x".repeat(100_000)))).await.unwrap_err();
    }
    let names: Vec<_> = letters_in(&folder.path().join("letters"))
        .iter()
        .map(|letter| name_of(&as_request(&letter.payload))[..3].parse::<usize>().unwrap())
        .collect();
    assert!((5..=10).contains(&names.len()) && names.iter().copied().eq(30 - names.len()..30), "{names:?}");
    assert_eq!(lost("letter_cap"), 30 - names.len() as u64);
    assert_eq!(fill(&running).items, names.len() as u64);
    assert!(fill(&running).bytes <= 1 << 20);
    // One that has no room at all is counted, and its sender is told the same.
    source.send(logs(1, &"y".repeat(2 << 20))).await.unwrap_err();
    let too_large = [("component", "letter_cap"), ("reason", "too_large")];
    assert_eq!(counters().value("floodway_dead_letters_lost_items_total", &too_large), 1);
}

#[tokio::test]
async fn letters_age() {
    let folder = tempfile::tempdir().unwrap();
    let aged = DeadLetterSettings { max_age_ms: Some(500), ..settings(folder.path()) };
    let destination = Destination::scripted(|_| Reply::Refuse(Scope::Request));
    let destination = destination.with(|s| s.dead_letters = Some(aged));
    let source = Source::new(AckMode::Delivered);
    let running = line("letter_age", &source, &destination).await;
    source.send(logs(7, "a")).await.unwrap_err();
    assert_eq!(fill(&running).items, 7);
    until(|| fill(&running).items == 0).await;
    let expired = [("component", "letter_age"), ("reason", "expired")];
    assert_eq!(counters().value("floodway_dead_letters_lost_items_total", &expired), 7);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_loses_letters_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let destination = kept(
        Destination::scripted(|requests| match name_of(&requests[0]).as_str() {
            "bad" => Reply::Refuse(Scope::Request),
            _ => Reply::Take,
        }),
        &folder,
    );
    let source = Source::new(AckMode::Delivered);
    let running = line("letter_fails", &source, &destination).await;
    std::fs::remove_dir_all(folder.path().join("letters")).unwrap();
    assert!(!source.send(logs(2, "bad")).await.unwrap_err().retryable);
    source.send(logs(3, "good")).await.unwrap();
    assert_eq!(books("letter_fails"), Books { accepted: 5, delivered: 3, dropped: 2, buffered: 0 });
    assert_eq!((lost("letter_fails"), letters("letter_fails", "bad_request")), (2, 0));
    assert!(running.stop(SOON).await.is_clean());
}

#[tokio::test]
async fn those_who_are_replaced_and_those_who_replace_them_share_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = || kept(Destination::scripted(|_| Reply::Refuse(Scope::Request)), &folder);
    let (old_source, new_source) = (Source::new(AckMode::Delivered), Source::new(AckMode::Delivered));
    let old = line("letter_old", &old_source, &refuses()).await;
    let new = line("letter_new", &new_source, &refuses()).await;
    old_source.send(logs(1, "old")).await.unwrap_err();
    new_source.send(logs(1, "new")).await.unwrap_err();
    old.stop(SOON).await;
    new_source.send(logs(1, "newer")).await.unwrap_err();
    assert_eq!(fill(&new).items, 3);
    drop(new);
    assert_eq!(letters_in(&folder.path().join("letters")).len(), 3);
}

#[tokio::test]
async fn what_is_refused_goes_from_the_disk_buffer_to_the_letters() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = kept(Destination::scripted(|_| Reply::Refuse(Scope::Request)), &folder);
    let directory = folder.path().join("buffer");
    let buffer = serde_json::from_value(serde_json::json!({"directory": directory})).unwrap();
    let refuses = refuses.with(|s| s.buffer = Some(buffer));
    let source = Source::new(AckMode::Durable);
    let running = line("letter_buffer", &source, &refuses).await;
    for _ in 0..20 {
        source.send(logs(3, "a")).await.unwrap();
    }
    until(|| dropped("letter_buffer", "bad_request") == 60).await;
    assert!(running.stop(SOON).await.is_clean());
    assert_eq!(copy_of(&directory).0.undelivered().items, 0);
    let letters = letters_in(&folder.path().join("letters"));
    assert_eq!(letters.iter().map(|letter| letter.payload.items()).sum::<usize>(), 60);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told_at_the_start_and_a_check_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |destination: &Destination| {
        Rig::new()
            .receiver("in", &Source::default())
            .exporter("letter_none", destination)
            .pipeline("main", "in", "", "letter_none")
            .spec
    };
    engine::Graph::build(spec(&kept(Destination::taking(), &folder)), true).unwrap();
    assert!(!folder.path().join("letters").exists());
    std::fs::write(folder.path().join("letters"), "a file").unwrap();
    let error = engine::Graph::build(spec(&kept(Destination::taking(), &folder)), false).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("letter_none") && text.contains("dead_letters"), "{text}");
}

//! Reload with disk buffers: a folder has one writer, and what is in it goes where the settings now say.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Books, Destination, Reply, Rig, Source, books, logs, name_of, until};
use engine::testing::counters;
use engine::{BufferSettings, GraphError, Running};
use model::AckMode;

fn buffer(directory: &Path) -> BufferSettings {
    serde_json::from_value(serde_json::json!({ "directory": directory })).unwrap()
}

fn dead(folder: &Path) -> Destination {
    Destination::scripted(|_| Reply::Retry).with(|s| {
        s.buffer = Some(buffer(folder));
        s.ordered = true;
        s.queue.max_requests = 8;
        s.queue.max_request_bytes = 30;
        s.retry.initial_backoff_ms = 3_600_000;
        s.retry.max_backoff_ms = 3_600_000;
    })
}

fn line(id: &str, source: &Source, destination: (&Destination, u64)) -> Rig {
    let rig = Rig::new().receiver(id, source).exporter(id, destination.0).exporter_version(id, destination.1);
    rig.pipeline("main", id, "", id)
}

async fn send(source: &Source, names: std::ops::Range<usize>) {
    for n in names {
        source.send(logs(1, &n.to_string())).await.unwrap();
    }
}

fn names(destination: &Destination) -> Vec<usize> {
    destination.calls().iter().flatten().map(|request| name_of(request).parse().unwrap()).collect()
}

async fn stop(running: Running) {
    let report = running.stop(Duration::from_secs(5)).await;
    assert!(report.is_clean() && report.persisted_items == 0, "{report:?}");
}

#[tokio::test]
async fn what_waits_on_the_disk_goes_to_the_corrected_destination_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Durable);
    let dead = dead(folder.path());
    let mut running = line("rb/corrected", &source, (&dead, 1)).start().await;
    send(&source, 0..100).await;
    let limit = || counters().gauge("floodway_buffer_limit_bytes", &[("component", "rb/corrected")]);
    assert_eq!(limit(), (1_u64 << 30) as f64);

    let right = Destination::taking();
    let settings = dead.settings.clone();
    let right = right.with(|s| {
        *s = settings;
        s.queue.max_requests = 9;
        let buffer = s.buffer.as_mut().unwrap();
        (buffer.max_bytes, buffer.window_ms) = (5 << 20, 7);
    });
    let report = running.reload(line("rb/corrected", &source, (&right, 2)).spec).await.unwrap();
    assert_eq!(report.exporters.changed, ["rb/corrected"]);
    assert_eq!(
        report.needs_restart,
        ["exporters.rb/corrected.queue", "exporters.rb/corrected.buffer.window_ms"]
    );
    assert_eq!(limit(), f64::from(5 << 20), "limits change while it runs");
    send(&source, 100..120).await;
    until(|| books("rb/corrected").delivered == 120).await;
    assert_eq!(names(&right), (0..120).collect::<Vec<_>>());
    // What waits for a restart is said again, though nothing has changed since.
    let report = running.reload(line("rb/corrected", &source, (&right, 2)).spec).await.unwrap();
    assert_eq!((report.exporters.unchanged.len(), report.needs_restart.len()), (1, 2));
    stop(running).await;
    assert_eq!(books("rb/corrected"), Books { accepted: 120, delivered: 120, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn what_a_removed_exporter_cannot_deliver_stays_and_goes_out_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Durable);
    let dead = dead(folder.path());
    let mut running = line("rb/gone", &source, (&dead, 1)).start().await;
    send(&source, 0..100).await;
    let other = Destination::taking();
    let without = || Rig::new().receiver("rb/gone", &source).exporter("rb/else", &other);
    let without = || without().pipeline("main", "rb/gone", "", "rb/else");
    // `ack: durable` with an exporter without a buffer is an error, and nothing has changed.
    assert!(matches!(running.reload(without().spec).await, Err(GraphError::NoDiskBuffer { .. })));
    let source = Source::new(AckMode::Received);
    let without = Rig::new().receiver("rb/gone", &source).receiver_version("rb/gone", 2);
    let without = without.exporter("rb/else", &other).pipeline("main", "rb/gone", "", "rb/else");
    running.reload(without.spec).await.unwrap();
    until(|| running.status().retiring.is_empty()).await;
    assert_eq!(dead.shutdowns(), 1);
    assert_eq!(books("rb/gone").buffered, 0, "what is in the folder is not in this process any more");

    let right = Destination::taking().with(|s| *s = dead.settings.clone());
    running.reload(line("rb/gone", &source, (&right, 3)).spec).await.unwrap();
    until(|| books("rb/gone").delivered == 100).await;
    assert_eq!(names(&right), (0..100).collect::<Vec<_>>());
    stop(running).await;
    assert_eq!(books("rb/gone").buffered, 0);
}

#[tokio::test]
async fn what_is_in_a_folder_that_is_given_up_goes_out_first_if_the_destination_takes_it() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let source = Source::new(AckMode::Durable);
    let settings = dead(folders[0].path()).settings;
    let old = Destination::taking().hold().with(|s| *s = settings.clone());
    let mut running = line("rb/moved", &source, (&old, 1)).start().await;
    send(&source, 0..50).await;
    let new = Destination::taking().with(|s| {
        *s = settings;
        s.buffer = Some(buffer(folders[1].path()));
    });
    running.reload(line("rb/moved", &source, (&new, 2)).spec).await.unwrap();
    send(&source, 50..60).await;
    until(|| names(&new) == (50..60).collect::<Vec<_>>()).await;
    assert_eq!(running.status().retiring.len(), 1);
    old.release();
    until(|| running.status().retiring.is_empty()).await;
    assert_eq!(names(&old), (0..50).collect::<Vec<_>>());
    stop(running).await;
    assert_eq!(books("rb/moved"), Books { accepted: 60, delivered: 60, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn a_reload_that_fails_counts_nothing_of_the_folders_that_it_opened() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let source = Source::new(AckMode::Durable);
    // An earlier run has left something in the second folder.
    let earlier = line("rb/failed", &source, (&dead(folders[1].path()), 1)).start().await;
    send(&source, 0..10).await;
    assert_eq!(earlier.stop(Duration::from_secs(5)).await.persisted_items, 10);
    let before = books("rb/failed").buffered;

    let destination = Destination::taking().with(|s| s.buffer = Some(buffer(folders[0].path())));
    let mut running = line("rb/failed", &source, (&destination, 1)).start().await;
    let bad = Source { conduct: common::Conduct::CannotBind, ..source.clone() };
    let rig = line("rb/failed", &bad, (&dead(folders[1].path()), 2)).receiver_version("rb/failed", 2);
    assert!(matches!(running.reload(rig.spec).await, Err(GraphError::Start { .. })));
    assert_eq!(books("rb/failed").buffered, before);
    let recovered =
        || counters().value("floodway_buffer_recovered_items_total", &[("component", "rb/failed")]);
    assert_eq!(recovered(), 0);
    // The folder is free again.
    let right = Destination::taking().with(|s| s.buffer = Some(buffer(folders[1].path())));
    running.reload(line("rb/failed", &source, (&right, 3)).spec).await.unwrap();
    until(|| right.calls().iter().flatten().count() == 10).await;
    assert_eq!(recovered(), 10);
    stop(running).await;
}

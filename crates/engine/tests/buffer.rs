//! A disk buffer behind an exporter's queue: who is told what when, what survives, and in which order it comes out.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Books, Destination, Reply, Source, books, dropped, line, logs, name_of, until};
use engine::testing::counters;
use engine::{BufferFull, BufferSettings, Running};
use model::AckMode;

fn buffer(directory: &Path) -> BufferSettings {
    serde_json::from_value(serde_json::json!({ "directory": directory })).unwrap()
}

fn recovered(id: &str) -> u64 {
    counters().value("floodway_buffer_recovered_items_total", &[("component", id)])
}

fn names(destination: &Destination) -> Vec<usize> {
    let calls = destination.calls();
    calls.iter().flatten().map(|request| name_of(request).parse().unwrap()).collect()
}

/// A destination that takes nothing until it is told to.
fn dead() -> (Destination, Arc<AtomicBool>) {
    let alive = Arc::new(AtomicBool::new(false));
    let look = Arc::clone(&alive);
    let script = move |_: &[model::Request]| {
        if look.load(Ordering::SeqCst) { Reply::Take } else { Reply::Retry }
    };
    (
        Destination::scripted(script)
            .with(|s| s.retry.max_backoff_ms = 20)
            .with(|s| s.retry.initial_backoff_ms = 10),
        alive,
    )
}

async fn stop(running: Running) -> engine::DrainReport {
    running.stop(Duration::from_secs(20)).await
}

#[tokio::test]
async fn a_durable_answer_needs_no_destination() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Durable);
    let (destination, alive) = dead();
    let destination = destination.with(|s| s.buffer = Some(buffer(folder.path())));
    let running = line("durable", &source, &destination).await;
    for n in 0..20 {
        source.send(logs(2, &n.to_string())).await.unwrap();
    }
    assert_eq!(books("durable"), Books { accepted: 40, delivered: 0, dropped: 0, buffered: 40 });
    alive.store(true, Ordering::SeqCst);
    until(|| books("durable").delivered == 40).await;
    let report = stop(running).await;
    assert!(report.is_clean() && report.persisted_items == 0, "{report:?}");
    assert_eq!(books("durable"), Books { accepted: 40, delivered: 40, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn what_a_dead_destination_did_not_take_goes_out_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    for ordered in [false, true] {
        let folder = folder.path().join(ordered.to_string());
        let id = if ordered { "restart/ordered" } else { "restart" };
        let settings = |s: &mut engine::DeliverySettings| {
            s.buffer = Some(buffer(&folder));
            s.ordered = ordered;
            s.queue.max_requests = 8;
            s.queue.max_request_bytes = 30;
        };
        {
            let source = Source::new(AckMode::Durable);
            let (destination, _) = dead();
            let running = line(id, &source, &destination.with(settings)).await;
            for n in 0..100 {
                source.send(logs(1, &n.to_string())).await.unwrap();
            }
            let report = stop(running).await;
            assert!(report.is_clean(), "{report:?}");
            assert!(report.took < Duration::from_secs(3), "nothing to wait for: {report:?}");
            assert_eq!(report.persisted_items, 100);
        }
        assert_eq!(books(id), Books { accepted: 100, delivered: 0, dropped: 0, buffered: 100 });
        let source = Source::new(AckMode::Durable);
        let destination = Destination::taking().with(settings);
        let buffered = books(id).buffered;
        let running = line(id, &source, &destination).await;
        assert_eq!(recovered(id), 100);
        source.send(logs(1, "100")).await.unwrap();
        until(|| books(id).delivered == 101).await;
        let mut names = names(&destination);
        if !ordered {
            names.sort_unstable();
        }
        assert_eq!(names, (0..=100).collect::<Vec<_>>(), "ordered: {ordered}");
        assert!(stop(running).await.is_clean());
        // The gauge of the first run was not taken back, as its process would have ended.
        assert_eq!(books(id).buffered, buffered);
    }
}

#[tokio::test]
async fn an_outage_far_larger_than_memory_loses_nothing_and_keeps_order() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Received);
    let (destination, alive) = dead();
    let destination = destination.with(|s| {
        s.buffer = Some(buffer(folder.path()));
        s.ordered = true;
        s.queue.max_requests = 6;
        s.queue.max_request_bytes = 50;
        s.queue.max_wait_ms = 10_000;
    });
    let running = line("outage", &source, &destination).await;
    for n in 0..500 {
        source.send(logs(1, &n.to_string())).await.unwrap();
        if n == 300 {
            alive.store(true, Ordering::SeqCst);
        }
    }
    until(|| books("outage").delivered == 500).await;
    let mut seen = names(&destination);
    // Attempts that failed are in the list as well.
    let mut highest = None;
    seen.retain(|n| highest.is_none_or(|highest| *n > highest) && highest.replace(*n) != Some(*n));
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    assert!(stop(running).await.is_clean());
    assert_eq!(books("outage"), Books { accepted: 500, delivered: 500, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn a_sender_that_waits_for_the_delivery_gets_its_answer_though_memory_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Delivered);
    let (destination, alive) = dead();
    let destination = destination.with(|s| {
        s.buffer = Some(buffer(folder.path()));
        s.queue.max_requests = 4;
        s.queue.max_wait_ms = 10_000;
    });
    let running = line("delivered_spill", &source, &destination).await;
    let senders: Vec<_> = (0..50)
        .map(|n| {
            let source = source.clone();
            tokio::spawn(async move { source.send(logs(1, &n.to_string())).await })
        })
        .collect();
    until(|| books("delivered_spill").accepted == 50).await;
    assert!(senders.iter().all(|sender| !sender.is_finished()));
    alive.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    assert!(stop(running).await.is_clean());
}

#[tokio::test]
async fn a_full_buffer_tells_senders_to_wait_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Durable);
    let (destination, alive) = dead();
    let destination = destination.with(|s| {
        s.buffer = Some(BufferSettings { max_requests: 10, ..buffer(folder.path()) });
        s.queue.max_wait_ms = 0;
    });
    let running = line("full", &source, &destination).await;
    let mut taken = 0;
    let refusal = loop {
        match source.send(logs(1, "1")).await {
            Ok(()) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refusal.reason, refusal.retryable), ("buffer_full", true));
    assert_eq!(taken, 10);
    alive.store(true, Ordering::SeqCst);
    until(|| books("full").buffered == 0).await;
    for _ in 0..100 {
        if source.send(logs(1, "1")).await.is_ok() {
            taken += 1;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(taken, 11);
    assert!(stop(running).await.is_clean());
    assert_eq!(books("full"), Books { accepted: 11, delivered: 11, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn the_oldest_go_where_that_was_asked_for_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(AckMode::Durable);
    let (destination, alive) = dead();
    let destination = destination.with(|s| {
        let directory = buffer(folder.path());
        s.buffer = Some(BufferSettings { max_requests: 10, on_full: BufferFull::DropOldest, ..directory });
        s.queue.concurrency = 1;
        s.queue.max_request_bytes = 0;
    });
    let running = line("oldest", &source, &destination).await;
    for n in 0..100 {
        source.send(logs(1, &n.to_string())).await.unwrap();
    }
    alive.store(true, Ordering::SeqCst);
    until(|| books("oldest").buffered == 0).await;
    assert!(stop(running).await.is_clean());
    let Books { accepted, delivered, dropped: lost, buffered } = books("oldest");
    assert_eq!((accepted, delivered + lost, buffered), (100, 100, 0));
    assert_eq!(dropped("oldest", "buffer_full"), lost);
    assert!(delivered >= 1 && lost >= 80, "{delivered} {lost}");
    assert_eq!(names(&destination).last(), Some(&99));
}

//! Stopping: everything is delivered if there is time, and counted and nacked if there is not.

mod common;

use std::time::Duration;

use common::{Books, Conduct, Destination, Reply, Source, books, dropped, line, logs, until};
use engine::State;
use model::AckMode;

#[tokio::test]
async fn a_drain_delivers_everything() {
    let source = Source::new(AckMode::Received);
    let destination = Destination::taking().hold().with(|s| s.queue.max_request_bytes = 100);
    let running = line("drain", &source, &destination).await;
    for _ in 0..500 {
        source.send(logs(2, "a")).await.unwrap();
    }
    let monitor = running.monitor();
    assert!(monitor.status().ready);
    let stopping = tokio::spawn(running.stop(Duration::from_secs(20)));
    until(|| !monitor.status().ready).await;
    destination.release();
    let report = stopping.await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(books("drain"), Books { accepted: 1000, delivered: 1000, dropped: 0, buffered: 0 });
    assert_eq!(destination.shutdowns(), 1);
    assert_eq!(monitor.status().budget_used_bytes, 0);
    assert!(monitor.status().components.iter().all(|component| component.state == State::Stopped));
    let refusal = source.send(logs(1, "late")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("shutting_down", true));
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_rest_is_counted() {
    let source = Source::new(AckMode::Received);
    let destination = Destination::scripted(|_| Reply::Retry).with(|s| {
        s.queue.concurrency = 2;
        s.queue.max_request_bytes = 0;
    });
    let running = line("deadline", &source, &destination).await;
    for _ in 0..50 {
        source.send(logs(2, "a")).await.unwrap();
    }
    let monitor = running.monitor();
    let report = running.stop(Duration::from_secs(5)).await;
    assert_eq!(report.dropped_items, 100);
    assert!(report.took >= Duration::from_secs(5) && report.took < Duration::from_secs(6), "{report:?}");
    assert_eq!(dropped("deadline", "shutdown"), 100);
    assert_eq!(books("deadline"), Books { accepted: 100, delivered: 0, dropped: 100, buffered: 0 });
    assert_eq!(monitor.status().budget_used_bytes, 0);
    assert_eq!(destination.shutdowns(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_backoff_is_cut_short_by_the_drain() {
    let mut left = 20;
    let destination = Destination::scripted(move |_| {
        left -= 1;
        if left > 0 { Reply::Retry } else { Reply::Take }
    });
    let destination = destination.with(|s| {
        s.retry.initial_backoff_ms = 3_600_000;
        s.retry.max_backoff_ms = 3_600_000;
    });
    let source = Source::new(AckMode::Received);
    let running = line("hurry", &source, &destination).await;
    source.send(logs(1, "a")).await.unwrap();
    until(|| destination.calls().len() == 1).await;
    assert!(running.stop(Duration::from_secs(30)).await.is_clean());
    assert_eq!(books("hurry").delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn senders_that_wait_are_nacked_at_the_deadline() {
    let source = Source::new(AckMode::Delivered);
    let destination = Destination::scripted(|_| Reply::Never).with(|s| s.retry.timeout_ms = 1 << 40);
    let running = line("nacked", &source, &destination).await;
    let sender = source.clone();
    let sent = tokio::spawn(async move { sender.send(logs(7, "a")).await });
    until(|| destination.in_flight() == 1).await;
    let report = running.stop(Duration::from_secs(3)).await;
    assert_eq!(report.dropped_items, 7);
    let refusal = sent.await.unwrap().unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("not_delivered", true));
    assert_eq!(dropped("nacked", "shutdown"), 7);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_end_is_cut_off_and_does_not_cost_the_queue_its_time() {
    let source = Source { conduct: Conduct::IgnoresShutdown, ..Source::default() };
    let destination = Destination::taking();
    let running = line("stubborn", &source, &destination).await;
    source.send(logs(1, "a")).await.unwrap();
    let report = running.stop(Duration::from_secs(8)).await;
    assert_eq!(report.cut_off, ["stubborn"]);
    assert_eq!(report.dropped_items, 0);
    assert_eq!(report.took.as_secs(), 5, "half of the deadline, and a second for last words");
}

#[tokio::test]
async fn a_dropped_graph_counts_what_it_held() {
    let source = Source::new(AckMode::Received);
    let destination = Destination::taking().hold().with(|s| s.queue.concurrency = 1);
    let running = line("orphan", &source, &destination).await;
    for _ in 0..10 {
        source.send(logs(1, "a")).await.unwrap();
    }
    drop(running);
    until(|| dropped("orphan", "shutdown") == 10).await;
    assert_eq!(books("orphan").buffered, 0);
}

//! Thousands of senders at once against a destination that fails in every way: the books must balance.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{Destination, Does, Reply, Rig, Source, books, dropped, logs, request};
use engine::Scope;
use engine::testing::counters;
use model::{AckMode, Request, Signal};

/// Deterministic noise.
fn noise(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

fn unreliable() -> Destination {
    let mut call = 0;
    let destination = Destination::scripted(move |_| {
        call += 1;
        match noise(call) % 20 {
            0..=3 => Reply::Retry,
            4 => Reply::Refuse(if call % 2 == 0 { Scope::Records } else { Scope::Request }),
            5 => Reply::Partial(2),
            6 => Reply::Panic,
            _ => Reply::Take,
        }
    });
    destination.with(|s| {
        s.queue.max_requests = 64;
        s.queue.max_wait_ms = 1;
        s.queue.max_bytes = 16 << 10;
        s.queue.max_request_bytes = 1 << 10;
        s.retry.initial_backoff_ms = 1;
        s.retry.max_backoff_ms = 2;
    })
}

/// Sends until taken or refused for good. Returns the records that were taken in.
async fn insist(source: &Source, request: Request) -> bool {
    for _ in 0..100_000 {
        match source.send(request.clone()).await {
            Ok(()) => return true,
            Err(refusal) if !refusal.retryable => return false,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    panic!("refused for ever");
}

async fn storm(id: &str, ack: AckMode, senders: u64) -> (u64, u64) {
    let (source, destination) = (Source::new(ack), unreliable());
    let thin = engine::ComponentMetrics::new(engine::ComponentKind::Processor, format!("{id}/thin"));
    let thinning = Does::new(move |r: Request| {
        if !r.items().is_multiple_of(5) {
            return Ok(Some(r));
        }
        thin.dropped("sampled", r.items() as u64);
        Ok(None)
    });
    let rig = Rig::new().receiver(id, &source).processor(&format!("{id}/thin"), &thinning);
    let mut rig = rig.exporter(id, &destination).pipeline("main", id, &format!("{id}/thin"), id);
    rig.spec.budget_bytes = 24 << 10;
    let running = rig.start().await;
    let tasks: Vec<_> = (0..senders)
        .map(|n| {
            let source = source.clone();
            let items = (noise(n) % 9 + 1) as usize;
            let request = if n % 2 == 0 { logs(items, "x") } else { request(Signal::Traces, items, "x") };
            tokio::spawn(async move { insist(&source, request).await })
        })
        .collect();
    let mut yes = 0;
    for task in tasks {
        yes += u64::from(task.await.unwrap());
    }
    let monitor = running.monitor();
    let report = running.stop(Duration::from_secs(20)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(monitor.status().budget_used_bytes, 0);
    let queue = monitor.status().components[1].queue.unwrap();
    assert_eq!((queue.bytes, queue.requests), (0, 0));
    let books = books(id);
    assert_eq!(books.buffered, 0);
    let sampled = dropped(&format!("{id}/thin"), "sampled");
    assert_eq!(books.accepted, books.delivered + books.dropped + sampled, "{books:?} sampled {sampled}");
    assert!(books.delivered > 0 && books.dropped > 0 && sampled > 0);
    assert_eq!(dropped(id, "lost"), 0);
    (yes, books.accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn received() {
    let (yes, accepted) = storm("storm/received", AckMode::Received, 5000).await;
    assert_eq!(yes, 5000);
    assert_eq!(accepted, (0..5000).map(|n| noise(n) % 9 + 1).sum::<u64>(), "each request was taken in once");
    assert!(counters().value("floodway_refused_requests_total", &[("component", "storm/received")]) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn delivered() {
    let (yes, _) = storm("storm/delivered", AckMode::Delivered, 3000).await;
    assert!(yes > 2000, "only {yes} were delivered");
}

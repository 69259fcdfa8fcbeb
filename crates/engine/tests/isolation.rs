//! A destination that is dead, and senders who press on it, cost other pipelines nothing: no refusal, no wait.
//!
//! The clock is tokio's, paused: it moves only while everybody waits. So a healthy pipeline that waits for a dead one shows as
//! time, exactly, on a busy machine too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod common;

use std::time::Duration;

use common::{Destination, Reply, Rig, Source, books, dropped, logs};
use engine::OnFull;
use model::AckMode;
use tokio::time::{Instant, sleep};

/// The budget: less than the queue of one exporter would take by default.
const BUDGET: usize = 16 << 20;
const REQUEST: usize = 64 << 10;
/// Senders of one pipeline.
const SENDERS: usize = 200;
const EACH: usize = 20;

fn press(source: &Source) {
    for _ in 0..SENDERS {
        let source = source.clone();
        tokio::spawn(async move {
            loop {
                if source.send(logs(1, &"x".repeat(REQUEST))).await.is_err() {
                    sleep(Duration::from_millis(10)).await;
                }
                tokio::task::yield_now().await;
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_slows_no_other_pipeline() {
    let dead = || Destination::scripted(|_| Reply::Never);
    let (refusing, dropping) = (dead(), dead().with(|s| s.queue.on_full = OnFull::Drop));
    let healthy = Destination::taking();
    let sources = [AckMode::Received, AckMode::Received, AckMode::Delivered].map(Source::new);
    let mut rig = Rig::new()
        .receiver("isolation_refusing", &sources[0])
        .receiver("isolation_dropping", &sources[1])
        .receiver("isolation_healthy", &sources[2])
        .exporter("isolation_refusing", &refusing)
        .exporter("isolation_dropping", &dropping)
        .exporter("isolation_healthy", &healthy)
        .pipeline("refusing", "isolation_refusing", "", "isolation_refusing")
        .pipeline("dropping", "isolation_dropping", "", "isolation_dropping")
        .pipeline("healthy", "isolation_healthy", "", "isolation_healthy");
    rig.spec.budget_bytes = BUDGET;
    let _running = rig.start().await;
    // Those of a queue that drops are never told to wait: one is as good as many, and leaves the others a turn.
    let flood = sources[1].clone();
    tokio::spawn(async move {
        loop {
            let _ = flood.send(logs(1, &"x".repeat(REQUEST))).await;
            sleep(Duration::from_millis(1)).await;
        }
    });
    sleep(Duration::from_secs(1)).await;
    assert!(dropped("isolation_dropping", "queue_full") > 0, "the queue that drops is not full");
    press(&sources[0]);
    sleep(Duration::from_secs(5)).await;
    let of_refusing = books("isolation_refusing");
    assert!(of_refusing.buffered > 0 && of_refusing.delivered == 0);

    let started = Instant::now();
    let senders = (0..SENDERS / 10).map(|_| {
        let source = sources[2].clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                source.send(logs(1, &"y".repeat(REQUEST))).await.unwrap();
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_millis(2), "waited {:?}", started.elapsed());
    assert_eq!(books("isolation_healthy").delivered, (SENDERS / 10 * EACH) as u64);
    assert_eq!(books("isolation_refusing").accepted, of_refusing.accepted, "the dead one got room meanwhile");
}

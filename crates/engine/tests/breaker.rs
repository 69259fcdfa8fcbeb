//! The circuit breaker in its place: before the attempts of all workers of an exporter.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Destination, Reply, Source, books, dropped, line, logs, until};
use engine::testing::counters;
use engine::{BreakerState, BreakerStatus, Running, Scope};
use model::AckMode;
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(10);

type Times = Arc<Mutex<Vec<Instant>>>;

/// A destination that does what `reply` says to its call number so-and-so, and when it was called.
fn timed(mut reply: impl FnMut(usize) -> Reply + Send + 'static) -> (Destination, Times) {
    let times = Times::default();
    let called = Arc::clone(&times);
    let destination = Destination::scripted(move |_| {
        let mut called = called.lock().unwrap();
        called.push(Instant::now());
        reply(called.len() - 1)
    });
    // One request a batch.
    (destination.with(|s| s.queue.max_request_bytes = 0), times)
}

fn breaker(running: &Running) -> BreakerStatus {
    running.status().components.pop().unwrap().breaker.unwrap()
}

async fn send(source: &Source, requests: usize) {
    for n in 0..requests {
        source.send(logs(1, &format!("n{n}"))).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn four_workers_ask_one_at_a_time() {
    let (destination, times) = timed(|n| if n < 20 { Reply::Never } else { Reply::Take });
    let destination = destination.with(|s| s.retry.timeout_ms = 1000);
    let source = Source::new(AckMode::Received);
    let running = line("one_probe", &source, &destination).await;
    send(&source, 8).await;
    while times.lock().unwrap().len() < 15 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_ne!(breaker(&running).state, BreakerState::Closed);
    assert_eq!(counters().gauge("floodway_breaker_open", &[("component", "one_probe")]), 1.0);
    while times.lock().unwrap().len() < 28 {
        sleep(Duration::from_millis(100)).await;
    }
    let times = times.lock().unwrap().clone();
    assert!(times[4] - times[0] >= Duration::from_secs(1), "four workers, each with a batch");
    // Four at first, four more of which the first one's failure opened it, and from then on each takes its time-out.
    for pair in times[8..=20].windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(1), "{:?}", pair[1] - pair[0]);
    }
    assert!(times[27] - times[20] < Duration::from_millis(200), "what waited goes at once when it answers");
    assert!(running.stop(SOON).await.is_clean());
    assert_eq!(books("one_probe").delivered, 8);
    assert_eq!(counters().gauge("floodway_breaker_open", &[("component", "one_probe")]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_before_the_time_that_the_destination_asked_for() {
    let (destination, times) =
        timed(|n| if n < 4 { Reply::RetryAfter(Duration::from_secs(40)) } else { Reply::Take });
    let destination = destination.with(|s| s.retry.breaker_failures = 2);
    let source = Source::new(AckMode::Received);
    let running = line("hinted", &source, &destination).await;
    send(&source, 12).await;
    while books("hinted").delivered < 12 {
        sleep(Duration::from_secs(1)).await;
    }
    let times = times.lock().unwrap().clone();
    assert!(times[4] - times[3] >= Duration::from_secs(40));
    assert_eq!(times.len(), 16);
    assert_eq!(breaker(&running), BreakerStatus { state: BreakerState::Closed, failures: 0, retry_in_ms: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_reset_wakes_those_who_wait_for_the_breaker_and_those_who_wait_for_themselves() {
    // With the breaker open after the first failure the second request is not even tried.
    for (id, failures, refused) in [("reset_open", 1, 1), ("reset_closed", 5, 2)] {
        let (destination, times) =
            timed(
                move |n| if n < refused { Reply::RetryAfter(Duration::from_secs(250)) } else { Reply::Take },
            );
        let destination = destination.with(|s| {
            s.retry.breaker_failures = failures;
            s.queue.concurrency = 2;
        });
        let source = Source::new(AckMode::Received);
        let running = line(id, &source, &destination).await;
        send(&source, 2).await;
        sleep(Duration::from_secs(7)).await;
        let open = breaker(&running);
        assert_eq!((open.state == BreakerState::Open, open.failures > 0), (failures == 1, true), "{open:?}");
        assert!(running.monitor().reset_breakers(Some("another")).is_empty());
        let reset = Instant::now();
        assert_eq!(running.monitor().reset_breakers(Some(id)), [id]);
        while books(id).delivered < 2 {
            sleep(Duration::from_millis(10)).await;
            assert!(reset.elapsed() < Duration::from_secs(60), "{id}: {:?}", breaker(&running));
        }
        assert!(reset.elapsed() < Duration::from_secs(1), "{:?}", reset.elapsed());
        assert_eq!(times.lock().unwrap().len(), refused + 2);
        assert_eq!(running.monitor().reset_breakers(None), [id]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_closes_while_it_is_open_is_drained_promptly() {
    let (destination, _) = timed(|n| if n < 1 { Reply::Retry } else { Reply::Take });
    let destination = destination.with(|s| {
        s.retry.breaker_failures = 1;
        (s.retry.initial_backoff_ms, s.retry.max_backoff_ms) = (1 << 40, 1 << 40);
        s.queue.concurrency = 1;
    });
    let source = Source::new(AckMode::Received);
    let running = line("closing", &source, &destination).await;
    send(&source, 3).await;
    while breaker(&running).state != BreakerState::Open {
        sleep(Duration::from_millis(10)).await;
    }
    let report = running.stop(SOON).await;
    assert!(report.is_clean() && report.took < Duration::from_secs(2), "{report:?}");
    assert_eq!(books("closing").delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_stays_down_does_not_hold_up_the_end() {
    let (destination, _) = timed(|_| Reply::RetryAfter(Duration::from_secs(250)));
    let source = Source::new(AckMode::Received);
    let running = line("stays_down", &source, &destination).await;
    send(&source, 9).await;
    sleep(Duration::from_secs(1)).await;
    let report = running.stop(SOON).await;
    assert!(report.took < Duration::from_secs(12), "{report:?}");
    assert_eq!(report.dropped_items, 9);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let (destination, _) = timed(|n| match n {
        0 | 1 => Reply::Retry,
        2 => Reply::Refuse(Scope::Request),
        _ => Reply::Take,
    });
    let destination = destination.with(|s| {
        s.retry.breaker_failures = 1;
        s.queue.concurrency = 1;
    });
    let source = Source::new(AckMode::Received);
    let running = line("refusal_answers", &source, &destination).await;
    send(&source, 2).await;
    until(|| books("refusal_answers").delivered == 1).await;
    assert_eq!(dropped("refusal_answers", "bad_request"), 1);
    assert_eq!((breaker(&running).state, breaker(&running).failures), (BreakerState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_breaker_is_given_up_in_its_time_but_not_before_it_was_tried() {
    let (destination, times) = timed(|_| Reply::Never);
    let destination = destination.with(|s| {
        s.retry.breaker_failures = 1;
        s.retry.max_elapsed_ms = Some(5_000);
        s.retry.timeout_ms = 2_000;
        s.queue.concurrency = 2;
    });
    let source = Source::new(AckMode::Received);
    let _running = line("breaker_gives_up", &source, &destination).await;
    send(&source, 6).await;
    while dropped("breaker_gives_up", "retries_exhausted") < 6 {
        sleep(Duration::from_millis(100)).await;
    }
    let calls = destination.calls();
    for n in 0..6 {
        let name = format!("n{n}");
        assert!(calls.iter().flatten().any(|request| common::name_of(request) == name), "{name}: {calls:?}");
    }
    assert!(times.lock().unwrap().len() < 30);
}

#[tokio::test(start_paused = true)]
async fn without_a_breaker_each_request_is_retried_by_itself() {
    let (destination, times) = timed(|_| Reply::Retry);
    let destination = destination.with(|s| {
        s.retry.breaker_failures = 0;
        s.retry.max_backoff_ms = 100;
    });
    let source = Source::new(AckMode::Received);
    let running = line("no_breaker", &source, &destination).await;
    send(&source, 4).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(breaker(&running).state, BreakerState::Closed);
    let attempts = times.lock().unwrap().len();
    assert!(attempts > 4 * 80, "{attempts} attempts with a mean wait of 50 ms each");
}

//! The promises of the way from the inlet to the destination: acknowledgement, retry, isolation, limits, books.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{
    Books, Conduct, Destination, Does, Reply, Rig, Source, books, dropped, line, logs, name_of, request,
    until,
};
use engine::testing::counters;
use engine::{OnFull, ProcessError, Scope, State};
use model::{AckMode, Signal};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn received_is_answered_from_the_queue() {
    let (source, destination) = (Source::new(AckMode::Received), Destination::taking().hold());
    let running = line("received", &source, &destination).await;
    source.send(logs(3, "a")).await.unwrap();
    assert_eq!(books("received"), Books { accepted: 3, delivered: 0, dropped: 0, buffered: 3 });
    assert!(running.status().budget_used_bytes > 0);
    destination.release();
    until(|| books("received").delivered == 3).await;
    assert_eq!(books("received"), Books { accepted: 3, delivered: 3, dropped: 0, buffered: 0 });
    assert_eq!(running.status().budget_used_bytes, 0);
    assert!(running.stop(SOON).await.is_clean());
    assert_eq!(destination.shutdowns(), 1);
}

#[tokio::test]
async fn delivered_waits_for_every_exporter() {
    let source = Source::new(AckMode::Delivered);
    let (fast, slow) = (Destination::taking(), Destination::taking().hold());
    let rig = Rig::new().receiver("both", &source).exporter("fast", &fast).exporter("slow", &slow);
    let running = rig.pipeline("main", "both", "", "fast slow").start().await;
    let sender = source.clone();
    let sent = tokio::spawn(async move { sender.send(logs(1, "a")).await });
    until(|| fast.calls().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!sent.is_finished(), "told yes before the slow one had it");
    slow.release();
    sent.await.unwrap().unwrap();
    assert_eq!(running.status().budget_used_bytes, 0);
}

#[tokio::test]
async fn a_refusal_for_good_reaches_the_sender() {
    let (source, destination) =
        (Source::new(AckMode::Delivered), Destination::scripted(|_| Reply::Refuse(Scope::Request)));
    let running = line("refused", &source, &destination).await;
    let refusal = source.send(logs(2, "a")).await.unwrap_err();
    assert!(!refusal.retryable);
    assert_eq!(refusal.reason, "rejected");
    assert_eq!(dropped("refused", "bad_request"), 2);
    assert_eq!(destination.calls().len(), 1, "a lone request is not worth a second try");
    assert_eq!(running.status().budget_used_bytes, 0);
    let exporter = running.status().components.pop().unwrap();
    assert!(matches!(exporter.state, State::Failing { .. }), "{exporter:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_and_no_other_queue_gets_the_request() {
    let source = Source::new(AckMode::Received);
    let free = Destination::taking();
    let full = Destination::taking().hold().with(|s| s.queue.max_requests = 2);
    let rig = Rig::new().receiver("fan", &source).exporter("free", &free).exporter("full", &full);
    let running = rig.pipeline("main", "fan", "", "free full").start().await;
    source.send(logs(1, "a")).await.unwrap();
    source.send(logs(1, "b")).await.unwrap();
    let refusal = source.send(logs(1, "c")).await.unwrap_err();
    assert!(refusal.retryable && refusal.retry_after.is_some());
    assert_eq!(refusal.reason, "queue_full");
    assert!(refusal.message.contains("exporter full"), "{refusal}");
    full.release();
    until(|| books("full").delivered == 2).await;
    source.send(logs(1, "c")).await.unwrap();
    running.stop(SOON).await;
    let mut names: Vec<_> = free.calls().iter().flatten().map(name_of).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c"], "the refused request must not have gone in");
    assert_eq!((books("fan").accepted, books("free").delivered, books("full").delivered), (3, 3, 3));
    let refused =
        counters().value("floodway_refused_items_total", &[("component", "fan"), ("reason", "queue_full")]);
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn the_queue_is_bounded_by_bytes_too() {
    let source = Source::new(AckMode::Received);
    let size = logs(10, "a").bytes().len();
    let destination = Destination::taking().hold().with(|s| s.queue.max_bytes = size * 2);
    let running = line("bytes", &source, &destination).await;
    source.send(logs(10, "a")).await.unwrap();
    source.send(logs(10, "b")).await.unwrap();
    assert_eq!(source.send(logs(1, "c")).await.unwrap_err().reason, "queue_full");
    let too_large = source.send(logs(100, "d")).await.unwrap_err();
    assert_eq!((too_large.reason, too_large.retryable), ("too_large", false));
    assert!(too_large.message.contains("queue.max_bytes"), "{too_large}");
    destination.release();
    assert!(running.stop(SOON).await.is_clean());
}

#[tokio::test]
async fn a_queue_may_drop_instead_and_counts_it() {
    let source = Source::new(AckMode::Received);
    let keeps = Destination::taking();
    let drops = Destination::taking().hold().with(|s| {
        s.queue.max_requests = 1;
        s.queue.on_full = OnFull::Drop;
    });
    let rig = Rig::new().receiver("dropping", &source).exporter("keeps", &keeps).exporter("drops", &drops);
    let running = rig.pipeline("main", "dropping", "", "keeps drops").start().await;
    for n in 0..3 {
        source.send(logs(5, &format!("n{n}"))).await.unwrap();
    }
    assert_eq!(dropped("drops", "queue_full"), 10);
    drops.release();
    running.stop(SOON).await;
    assert_eq!(books("keeps").delivered, 15);
    assert_eq!(books("drops"), Books { accepted: 0, delivered: 5, dropped: 10, buffered: 0 });
}

#[tokio::test]
async fn over_the_budget_is_a_hint_to_come_again() {
    let (source, destination) = (Source::new(AckMode::Received), Destination::taking().hold());
    let mut rig = Rig::new().receiver("budget", &source).exporter("budget", &destination);
    rig.spec.budget_bytes = logs(10, "a").bytes().len() + 5;
    let running = rig.pipeline("main", "budget", "", "budget").start().await;
    source.send(logs(10, "a")).await.unwrap();
    let refusal = source.send(logs(1, "b")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("budget_full", true));
    let refusal = source.send(logs(100, "b")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("too_large", false));
    destination.release();
    until(|| running.status().budget_used_bytes == 0).await;
    source.send(logs(1, "b")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retries_with_backoff_until_taken() {
    let mut left = 5;
    let destination = Destination::scripted(move |_| {
        left -= 1;
        if left > 0 { Reply::Retry } else { Reply::Take }
    });
    let source = Source::new(AckMode::Delivered);
    let running = line("backoff", &source, &destination).await;
    let started = Instant::now();
    source.send(logs(1, "a")).await.unwrap();
    assert!(
        started.elapsed() <= Duration::from_millis(100 + 200 + 400 + 800 + 20),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(destination.calls().len(), 5);
    assert_eq!(counters().value("floodway_export_retries_total", &[("component", "backoff")]), 4);
    assert_eq!(counters().value("floodway_export_duration_seconds", &[("component", "backoff")]), 5);
    assert_eq!(running.status().components.pop().unwrap().state, State::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_destinations_hint_is_honoured() {
    let mut first = true;
    let destination = Destination::scripted(move |_| {
        if std::mem::take(&mut first) { Reply::RetryAfter(Duration::from_secs(40)) } else { Reply::Take }
    });
    let source = Source::new(AckMode::Delivered);
    let _running = line("hint", &source, &destination).await;
    let started = Instant::now();
    source.send(logs(1, "a")).await.unwrap();
    assert!((40..41).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_when_told_to_and_nacks() {
    let destination = Destination::scripted(|_| Reply::Retry).with(|s| s.retry.max_elapsed_ms = Some(60_000));
    let source = Source::new(AckMode::Delivered);
    let running = line("exhausted", &source, &destination).await;
    let started = Instant::now();
    let refusal = source.send(logs(4, "a")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("not_delivered", true));
    assert!(started.elapsed() <= Duration::from_secs(61));
    assert_eq!(dropped("exhausted", "retries_exhausted"), 4);
    assert_eq!(running.status().budget_used_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_repeated() {
    let mut first = true;
    let destination =
        Destination::scripted(move |_| if std::mem::take(&mut first) { Reply::Never } else { Reply::Take });
    let source = Source::new(AckMode::Delivered);
    let _running = line("timeout", &source, &destination).await;
    let started = Instant::now();
    source.send(logs(1, "a")).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(destination.calls().len(), 2);
}

/// Sends `first`, which the one worker takes and holds, and then the others, which pile up behind it.
async fn pile_up(source: &Source, destination: &Destination, requests: Vec<model::Request>) {
    source.send(logs(1, "first")).await.unwrap();
    until(|| destination.in_flight() == 1).await;
    for request in requests {
        source.send(request).await.unwrap();
    }
    destination.release();
}

#[tokio::test]
async fn what_waits_is_merged_and_a_bad_one_does_not_cost_its_neighbours() {
    let bad = |requests: &[model::Request]| requests.iter().any(|r| name_of(r) == "bad");
    let destination =
        Destination::scripted(move |r| if bad(r) { Reply::Refuse(Scope::Records) } else { Reply::Take });
    let destination = destination.hold().with(|s| s.queue.concurrency = 1);
    let source = Source::new(AckMode::Received);
    let running = line("isolate", &source, &destination).await;
    let requests = (0..9).map(|n| logs(2, if n == 4 { "bad" } else { "good" })).collect();
    pile_up(&source, &destination, requests).await;
    assert!(running.stop(SOON).await.is_clean());
    let sizes: Vec<_> = destination.calls().iter().map(Vec::len).collect();
    assert_eq!(
        sizes,
        [1, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        "one merge, each alone once, the halves of the bad one"
    );
    assert_eq!(dropped("isolate", "bad_request"), 2);
    assert_eq!(books("isolate"), Books { accepted: 19, delivered: 17, dropped: 2, buffered: 0 });
}

#[tokio::test]
async fn one_bad_record_of_a_request_is_lost_alone() {
    // 100 records of which the destination will not have any request that holds more than 30, nor the one named bad.
    let names = |request: &model::Request| -> Vec<String> {
        let logs = model::otlp::ExportLogsServiceRequest::of(request.bytes());
        let scopes = logs.resource_logs().flat_map(|resource| resource.scope_logs());
        scopes.flat_map(|scope| scope.log_records()).map(|record| record.severity_text().to_owned()).collect()
    };
    let bad = move |r: &[model::Request]| names(&r[0]).iter().any(|name| name == "bad") || r[0].items() > 30;
    let destination =
        Destination::scripted(move |r| if bad(r) { Reply::Refuse(Scope::Records) } else { Reply::Take });
    let source = Source::new(AckMode::Delivered);
    let _running = line("halves", &source, &destination).await;
    let mut bytes = logs(63, "good").bytes().to_vec();
    bytes.extend_from_slice(logs(1, "bad").bytes());
    bytes.extend_from_slice(logs(36, "good").bytes());
    let request = model::Request::receive(Signal::Logs, bytes.into()).unwrap().0;
    source.send(request).await.unwrap();
    assert_eq!(books("halves"), Books { accepted: 100, delivered: 99, dropped: 1, buffered: 0 });
    assert_eq!(dropped("halves", "bad_request"), 1);
}

#[tokio::test]
async fn what_a_destination_leaves_is_sent_again_alone() {
    let mut call = 0;
    let destination = Destination::scripted(move |requests| {
        call += 1;
        match (call, requests) {
            (1, [request]) => Reply::Remainder(request.retain(|index| index >= 7).into_iter().collect()),
            (2, _) => Reply::Retry,
            _ => Reply::Take,
        }
    });
    let source = Source::new(AckMode::Delivered);
    let destination = destination.with(|s| s.retry.initial_backoff_ms = 1);
    let _running = line("remainder", &source, &destination).await;
    source.send(logs(10, "a")).await.unwrap();
    let sizes: Vec<_> = destination.calls().iter().map(|call| call[0].items()).collect();
    assert_eq!(sizes, [10, 3, 3]);
    assert_eq!(books("remainder"), Books { accepted: 10, delivered: 10, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn an_ordered_destination_gets_one_call_at_a_time_in_order() {
    let bad = |requests: &[model::Request]| requests.iter().any(|r| name_of(r) == "bad");
    let destination =
        Destination::scripted(move |r| if bad(r) { Reply::Refuse(Scope::Records) } else { Reply::Take });
    let destination = destination.hold().with(|s| {
        s.ordered = true;
        s.queue.concurrency = 8;
    });
    let source = Source::new(AckMode::Received);
    let running = line("ordered", &source, &destination).await;
    let name = |n: usize| if n == 3 { "bad".to_owned() } else { n.to_string() };
    pile_up(&source, &destination, (0..9).map(|n| logs(1, &name(n))).collect()).await;
    running.stop(SOON).await;
    let alone: Vec<_> =
        destination.calls().iter().filter(|call| call.len() == 1).map(|call| name_of(&call[0])).collect();
    assert_eq!(alone, ["first", "0", "1", "2", "bad", "4", "5", "6", "7", "8"]);
    assert_eq!(destination.most_in_flight(), 1);
}

#[tokio::test]
async fn merges_keep_to_the_size_and_to_one_signal() {
    let size = logs(10, "aa").bytes().len();
    let destination = Destination::taking().hold().with(|s| {
        s.queue.concurrency = 1;
        s.queue.max_request_bytes = size * 3 + 1;
    });
    let source = Source::new(AckMode::Received);
    let running = line("merge", &source, &destination).await;
    let signal = |n| if n % 2 == 0 { Signal::Logs } else { Signal::Traces };
    pile_up(&source, &destination, (0..14).map(|n| request(signal(n), 10, "aa")).collect()).await;
    running.stop(SOON).await;
    let calls = destination.calls();
    assert!(calls.iter().all(|call| call.iter().all(|r| r.signal() == call[0].signal())));
    let mut sizes: Vec<_> = calls.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 3, 3, 3, 3]);
}

#[tokio::test]
async fn what_the_destination_rejects_of_a_request_is_counted() {
    let destination = Destination::scripted(|_| Reply::Partial(3));
    let source = Source::new(AckMode::Delivered);
    let _running = line("partial", &source, &destination).await;
    source.send(logs(10, "a")).await.unwrap();
    assert_eq!(dropped("partial", "not_those"), 3);
    assert!(!source.send(logs(2, "a")).await.unwrap_err().retryable, "all of it was refused for good");
    assert_eq!(books("partial"), Books { accepted: 12, delivered: 7, dropped: 5, buffered: 0 });
}

#[tokio::test]
async fn a_panic_costs_the_request_and_not_the_worker() {
    let panics = |r: &[model::Request]| name_of(&r[0]) == "bad";
    let destination = Destination::scripted(move |r| if panics(r) { Reply::Panic } else { Reply::Take });
    let destination = destination.with(|s| s.queue.concurrency = 1);
    let source = Source::new(AckMode::Delivered);
    let _running = line("panic", &source, &destination).await;
    assert!(!source.send(logs(1, "bad")).await.unwrap_err().retryable);
    source.send(logs(1, "good")).await.unwrap();
    assert_eq!(dropped("panic", "exporter_panic"), 1);
}

#[tokio::test]
async fn no_more_than_the_allowed_number_are_in_flight() {
    let destination = Destination::taking().hold().with(|s| {
        s.queue.concurrency = 3;
        s.queue.max_request_bytes = 0;
    });
    let source = Source::new(AckMode::Received);
    let running = line("flight", &source, &destination).await;
    for _ in 0..20 {
        source.send(logs(1, "a")).await.unwrap();
    }
    until(|| destination.in_flight() == 3).await;
    destination.release();
    running.stop(SOON).await;
    assert_eq!(destination.most_in_flight(), 3);
    assert_eq!(destination.calls().len(), 20, "0 merges nothing");
}

#[tokio::test]
async fn a_request_of_which_nothing_is_left_counts_as_delivered() {
    for ack in [AckMode::Received, AckMode::Delivered] {
        let (source, destination) = (Source::new(ack), Destination::taking());
        let id = format!("sampled/{ack:?}");
        let rig = Rig::new().receiver(&id, &source).processor("none", &Does::new(|_| Ok(None)));
        let running = rig.exporter(&id, &destination).pipeline("main", &id, "none", &id).start().await;
        source.send(logs(5, "a")).await.unwrap();
        source.send(logs(0, "")).await.unwrap();
        let status = running.status();
        assert_eq!(status.budget_used_bytes, 0);
        assert_eq!(status.components[1].queue.unwrap().requests, 0);
        assert_eq!(status.components[1].queue.unwrap().bytes, 0);
        running.stop(SOON).await;
        assert_eq!(destination.calls().len(), 0);
        assert_eq!(books(&id), Books { accepted: 5, delivered: 0, dropped: 0, buffered: 0 });
    }
}

#[tokio::test]
async fn a_processor_that_cannot_keep_its_promise_refuses_the_request() {
    let fails = Does::new(|request| match name_of(&request).as_str() {
        "fails" => Err(ProcessError { reason: "redaction_failed", message: "no key".to_owned() }),
        "panics" => panic!("as the test told it to"),
        _ => Ok(Some(request)),
    });
    let (source, destination) = (Source::new(AckMode::Received), Destination::taking());
    let rig = Rig::new().receiver("promise", &source).processor("redact/promise", &fails);
    let rig = rig.exporter("promise", &destination).exporter("other", &destination);
    let rig = rig.pipeline("plain", "promise", "", "other");
    let running = rig.pipeline("redacted", "promise", "redact/promise", "promise").start().await;
    let refusal = source.send(logs(2, "fails")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("redaction_failed", false));
    assert!(refusal.message.contains("redact/promise"), "{refusal}");
    assert_eq!(source.send(logs(3, "panics")).await.unwrap_err().reason, "processor_panic");
    source.send(logs(4, "good")).await.unwrap();
    assert_eq!(dropped("redact/promise", "redaction_failed"), 2);
    assert_eq!(dropped("redact/promise", "processor_panic"), 3);
    running.stop(SOON).await;
    assert_eq!((books("promise").accepted, books("promise").delivered), (9, 4));
    assert_eq!(books("other").delivered, 4, "a request refused by one pipeline enters no other");
}

#[tokio::test]
async fn each_pipeline_works_on_its_own_copy() {
    let halve = Does::new(|request| Ok(Some(request_like(&request, request.items() / 2))));
    fn request_like(request: &model::Request, items: usize) -> model::Request {
        common::request(request.signal(), items, "half")
    }
    let source = Source::new(AckMode::Received);
    let (whole, half) = (Destination::taking().hold(), Destination::taking().hold());
    let rig = Rig::new().receiver("copies", &source).processor("halve", &halve);
    let rig = rig.exporter("whole", &whole).exporter("half", &half);
    let rig = rig.pipeline("one", "copies", "halve", "half").pipeline("two", "copies", "", "whole");
    let running = rig.start().await;
    let sent = logs(8, "whole");
    source.send(sent.clone()).await.unwrap();
    let both = sent.bytes().len() + logs(4, "half").bytes().len();
    assert_eq!(running.status().budget_used_bytes, both, "the permit covers both buffers");
    whole.release();
    half.release();
    running.stop(SOON).await;
    assert_eq!(whole.calls(), [[sent.clone()]]);
    assert_eq!(whole.calls()[0][0].bytes().as_ptr(), sent.bytes().as_ptr(), "unchanged bytes are not copied");
    assert_eq!(half.calls()[0][0].items(), 4);
}

#[tokio::test]
async fn the_last_pipeline_gets_its_bytes_unshared() {
    let unshared = Does::new(|request| {
        let signal = request.signal();
        match request.into_bytes().try_into_mut() {
            Ok(bytes) => Ok(Some(model::Request::receive(signal, bytes.freeze()).unwrap().0)),
            Err(_) => Err(ProcessError { reason: "shared", message: String::new() }),
        }
    });
    let (source, one, two) = (Source::new(AckMode::Received), Destination::taking(), Destination::taking());
    let rig = Rig::new().receiver("unshared", &source).processor("unshared", &unshared);
    let rig = rig.exporter("u1", &one).exporter("u2", &two);
    let _running = rig.pipeline("main", "unshared", "unshared", "u1 u2").start().await;
    source.send(logs(8, "a")).await.unwrap();
}

#[tokio::test]
async fn a_signal_that_no_pipeline_takes_is_refused_with_what_there_is() {
    let (source, destination) = (Source::new(AckMode::Received), Destination::taking());
    let rig = Rig::new().receiver("signals", &source).exporter("signals", &destination);
    let _running = rig.pipeline("logs/main", "signals", "", "signals").start().await;
    assert!(source.inlet().accepts(Signal::Logs) && !source.inlet().accepts(Signal::Traces));
    let refusal = source.send(request(Signal::Traces, 1, "a")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("no_pipeline", false));
    assert!(refusal.message.contains("pipeline logs/main takes logs"), "{refusal}");
}

#[tokio::test]
async fn a_receiver_that_ends_unasked_shows() {
    for conduct in [Conduct::EndsByItself, Conduct::Panics] {
        let source = Source { conduct, ..Source::default() };
        let running = line(&format!("ends/{conduct:?}"), &source, &Destination::taking()).await;
        until(|| !running.status().ready).await;
        assert!(matches!(running.status().components[0].state, State::Failing { .. }));
    }
}

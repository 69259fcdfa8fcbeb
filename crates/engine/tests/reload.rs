//! Reload: what is the same goes on, what changed is swapped under running requests, and nothing is lost or doubled.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Books, Conduct, Destination, Reply, Rig, Source, books, dropped, logs, name_of, until};
use engine::testing::counters;
use engine::{GraphError, ReloadReport, Running, State};
use model::{AckMode, Signal};
use tokio::time::Instant;

/// One receiver, one exporter, with the version of either.
fn line(id: &str, source: (&Source, u64), destination: (&Destination, u64)) -> Rig {
    let rig = Rig::new().receiver(id, source.0).receiver_version(id, source.1);
    let rig = rig.exporter(id, destination.0).exporter_version(id, destination.1);
    rig.pipeline("main", id, "", id)
}

async fn reload(running: &mut Running, rig: Rig) -> ReloadReport {
    running.reload(rig.spec).await.unwrap()
}

fn names(destination: &Destination) -> Vec<String> {
    destination.calls().iter().flatten().map(name_of).collect()
}

#[tokio::test]
async fn what_is_the_same_goes_on() {
    let (source, destination) = (Source::default(), Destination::taking());
    let mut running = line("same", (&source, 1), (&destination, 1)).start().await;
    let again = (Source::default(), Destination::taking());
    let report = reload(&mut running, line("same", (&again.0, 1), (&again.1, 1))).await;
    assert_eq!(
        (report.receivers.unchanged, report.exporters.unchanged),
        (vec!["same".into()], vec!["same".into()])
    );
    assert!(report.pipelines.is_empty() && report.processors.is_empty());
    assert!(!again.0.was_started(), "the receiver that runs goes on");
    assert_eq!(again.1.builds(), 0, "and so does the exporter");
    source.send(logs(1, "a")).await.unwrap();
    until(|| destination.calls().len() == 1).await;
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test]
async fn routes_of_a_receiver_that_stays_are_swapped_and_a_removed_exporter_drains_behind() {
    let source = Source::default();
    let old = Destination::taking().hold();
    let mut running = line("stays", (&source, 1), (&old, 1)).start().await;
    source.send(logs(2, "old")).await.unwrap();
    until(|| old.in_flight() == 1).await;
    let new = Destination::taking();
    let rig = Rig::new().receiver("stays", &source).receiver_version("stays", 1);
    let rig = rig.exporter("stays/new", &new).pipeline("main", "stays", "", "stays/new");
    let started = Instant::now();
    let report = reload(&mut running, rig).await;
    assert!(started.elapsed() < Duration::from_secs(1), "a destination that hangs is not waited for");
    assert_eq!(
        (report.exporters.added, report.exporters.removed),
        (vec!["stays/new".into()], vec!["stays".into()])
    );
    assert_eq!(report.pipelines.changed, ["main"]);
    source.send(logs(3, "new")).await.unwrap();
    until(|| names(&new) == ["new"]).await;
    let status = running.status();
    assert_eq!(status.retiring.len(), 1);
    assert_eq!((status.retiring[0].id.as_str(), status.retiring[0].queue.unwrap().requests), ("stays", 1));
    assert!(status.ready);
    old.release();
    until(|| running.status().retiring.is_empty()).await;
    assert_eq!((names(&old), old.shutdowns(), new.shutdowns()), (vec!["old".to_owned()], 1, 0));
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
    assert_eq!((old.shutdowns(), new.shutdowns()), (1, 1));
    let accepted = books("stays").accepted;
    assert_eq!((accepted, books("stays").delivered, books("stays/new").delivered), (5, 2, 3));
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let (source, destination) = (Source::default(), Destination::taking().with(|s| s.queue.max_bytes = 4321));
    let mut running = line("fails", (&source, 1), (&destination, 1)).start().await;
    let limit = || counters().gauge("floodway_queue_limit_bytes", &[("component", "fails")]);
    let before = (running.status().components, limit());

    // Everything is built and one receiver has bound before the other cannot.
    let (good, bad) = (Source::default(), Source { conduct: Conduct::CannotBind, ..Source::default() });
    let other = Destination::taking().with(|s| s.queue.max_bytes = 1234);
    let rig = line("fails", (&good, 2), (&other, 2)).receiver("fails/bad", &bad);
    let rig = rig.pipeline("second", "fails/bad", "", "fails");
    let error = running.reload(rig.spec).await.unwrap_err();
    assert!(matches!(&error, GraphError::Start { id, .. } if id == "fails/bad"), "{error}");
    assert_eq!((running.status().components, limit()), before);

    let rig = Rig::new().receiver("fails", &good).pipeline("main", "fails", "", "nowhere");
    assert!(matches!(running.reload(rig.spec).await, Err(GraphError::Unknown { .. })));
    assert!(running.status().retiring.is_empty());
    source.send(logs(1, "a")).await.unwrap();
    until(|| destination.calls().len() == 1).await;
    assert!(other.calls().is_empty());
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_dead_destination_goes_to_the_corrected_one_in_its_order() {
    let slow_retry = |destination: Destination| {
        destination.with(|s| {
            s.ordered = true;
            s.queue.max_request_bytes = 0;
            s.retry.initial_backoff_ms = 3_600_000;
            s.retry.max_backoff_ms = 3_600_000;
        })
    };
    let source = Source::new(AckMode::Delivered);
    let dead = slow_retry(Destination::scripted(|_| Reply::Retry));
    let mut running = line("corrected", (&source, 1), (&dead, 1)).start().await;
    let senders: Vec<_> = (0..5)
        .map(|n| {
            let source = source.clone();
            tokio::spawn(async move { source.send(logs(1, &n.to_string())).await })
        })
        .collect();
    until(|| books("corrected").buffered == 5 && dead.calls().len() == 1).await;
    let right = slow_retry(Destination::taking());
    let started = Instant::now();
    let report = reload(&mut running, line("corrected", (&source, 1), (&right, 2))).await;
    assert_eq!((report.exporters.changed, report.needs_restart), (vec!["corrected".into()], vec![]));
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(1), "nobody sat the back-off out");
    assert_eq!(names(&right), ["0", "1", "2", "3", "4"]);
    until(|| dead.shutdowns() == 1).await;
    assert!(running.status().retiring.is_empty(), "the queue was kept");
    assert_eq!(running.status().components[1].state, State::Ok);
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
    assert_eq!((dead.shutdowns(), right.shutdowns()), (1, 1));
    assert_eq!(books("corrected"), Books { accepted: 5, delivered: 5, dropped: 0, buffered: 0 });
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_handed_over_after_five_seconds() {
    let forever = |destination: Destination| destination.with(|s| s.retry.timeout_ms = 1 << 40);
    let (source, hangs) = (Source::new(AckMode::Delivered), forever(Destination::scripted(|_| Reply::Never)));
    let mut running = line("hangs", (&source, 1), (&hangs, 1)).start().await;
    let sender = source.clone();
    let sent = tokio::spawn(async move { sender.send(logs(1, "a")).await });
    until(|| hangs.in_flight() == 1).await;
    let started = Instant::now();
    let right = forever(Destination::taking());
    reload(&mut running, line("hangs", (&source, 1), (&right, 2))).await;
    assert!(started.elapsed() < Duration::from_secs(1), "reload does not wait for it");
    // What comes meanwhile does not wait for it either.
    source.send(logs(1, "b")).await.unwrap();
    assert_eq!((names(&right), hangs.shutdowns()), (vec!["b".to_owned()], 0));
    sent.await.unwrap().unwrap();
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(names(&right), ["b", "a"]);
    until(|| hangs.shutdowns() == 1).await;
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test]
async fn with_other_settings_of_the_queue_the_old_one_drains_behind() {
    let source = Source::default();
    let old = Destination::taking().hold();
    let mut running = line("queue", (&source, 1), (&old, 1)).start().await;
    source.send(logs(1, "old")).await.unwrap();
    until(|| old.in_flight() == 1).await;
    let new = Destination::taking().with(|s| s.queue.max_bytes = 777);
    let report = reload(&mut running, line("queue", (&source, 1), (&new, 2))).await;
    assert_eq!(report.exporters.changed, ["queue"]);
    assert_eq!(running.status().components[1].queue.unwrap().limit_bytes, 777);
    source.send(logs(1, "new")).await.unwrap();
    until(|| names(&new) == ["new"]).await;
    old.release();
    until(|| running.status().retiring.is_empty()).await;
    assert_eq!(names(&old), ["old"]);
    assert_eq!(books("queue"), Books { accepted: 2, delivered: 2, dropped: 0, buffered: 0 });
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test]
async fn who_waits_for_room_in_a_full_queue_finds_the_new_one() {
    let source = Source::default();
    let full = Destination::taking().hold().with(|s| {
        s.queue.max_requests = 1;
        s.queue.max_wait_ms = 60_000;
    });
    let mut running = line("room", (&source, 1), (&full, 1)).start().await;
    source.send(logs(1, "old")).await.unwrap();
    let waiting = |name: &'static str| {
        let inlet = source.inlet();
        tokio::spawn(async move { inlet.send(logs(1, name), inlet.permit()).await })
    };
    let sent = waiting("send");
    let inlet = source.inlet();
    let pushed = tokio::spawn(async move { inlet.push(logs(1, "push"), inlet.permit()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sent.is_finished() && !pushed.is_finished());
    let new = Destination::taking();
    reload(&mut running, line("room", (&source, 1), (&new, 2))).await;
    sent.await.unwrap().unwrap();
    pushed.await.unwrap().unwrap();
    until(|| new.calls().iter().flatten().count() == 2).await;
    full.release();
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
    assert_eq!(books("room"), Books { accepted: 3, delivered: 3, dropped: 0, buffered: 0 });
}

#[tokio::test]
async fn who_waits_for_an_exporter_that_its_pipeline_lost_goes_on() {
    let (source, other) = (Source::default(), Source::default());
    let full = Destination::taking().hold().with(|s| {
        s.queue.max_requests = 1;
        s.queue.max_wait_ms = 60_000;
    });
    let free = Destination::taking();
    let graph = |exporters: &str| {
        let rig = Rig::new().receiver("lost/r", &source).receiver("lost/other", &other);
        let rig = rig.exporter("lost/full", &full).exporter("lost/free", &free);
        rig.pipeline("main", "lost/r", "", exporters).pipeline("other", "lost/other", "", "lost/full")
    };
    let mut running = graph("lost/full lost/free").start().await;
    source.send(logs(1, "old")).await.unwrap();
    let inlet = source.inlet();
    let waiting = tokio::spawn(async move { inlet.send(logs(1, "new"), inlet.permit()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    let report = reload(&mut running, graph("lost/free")).await;
    assert_eq!((report.pipelines.changed, report.exporters.unchanged.len()), (vec!["main".into()], 2));
    waiting.await.unwrap().unwrap();
    until(|| names(&free) == ["old", "new"]).await;
    full.release();
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_removed_receiver_has_a_minute_for_its_last_requests() {
    let slow = Source { conduct: Conduct::IgnoresShutdown, ..Source::default() };
    let (stays, old, new) = (Source::default(), Destination::taking(), Destination::taking());
    let rig = Rig::new().receiver("minute/slow", &slow).receiver("minute/stays", &stays);
    let rig = rig.exporter("minute/old", &old).pipeline("main", "minute/slow minute/stays", "", "minute/old");
    let mut running = rig.start().await;
    let rig = Rig::new().receiver("minute/stays", &stays).exporter("minute/new", &new);
    reload(&mut running, rig.pipeline("main", "minute/stays", "", "minute/new")).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    slow.send(logs(1, "late")).await.unwrap();
    stays.send(logs(1, "here")).await.unwrap();
    until(|| names(&old) == ["late"] && names(&new) == ["here"]).await;
    assert_eq!(running.status().retiring.len(), 2);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(slow.send(logs(1, "too late")).await.unwrap_err().reason, "shutting_down");
    assert_eq!(old.shutdowns(), 1);
    let report = running.stop(Duration::from_secs(5)).await;
    assert_eq!((report.cut_off, report.dropped_items), (vec!["minute/slow".to_owned()], 0));
}

#[tokio::test]
async fn receivers_come_go_and_are_replaced() {
    let (first, second, third) = (Source::default(), Source::default(), Source::default());
    let (kept, gone) = (Destination::taking(), Destination::taking());
    let rig = Rig::new().receiver("r/one", &first).receiver("r/two", &second);
    let rig = rig.exporter("r/kept", &kept).exporter("r/gone", &gone);
    let rig = rig.pipeline("one", "r/one", "", "r/kept").pipeline("two", "r/two", "", "r/gone");
    let mut running = rig.start().await;
    let (old_first, old_second) = (first.inlet(), second.inlet());

    let changed = Source::default();
    let rig = Rig::new().receiver("r/one", &changed).receiver_version("r/one", 2).receiver("r/three", &third);
    let rig = rig.exporter("r/kept", &kept).pipeline("one", "r/one r/three", "", "r/kept");
    let report = reload(&mut running, rig).await;
    assert_eq!(report.receivers.changed, ["r/one"]);
    assert_eq!(
        (report.receivers.added, report.receivers.removed),
        (vec!["r/three".into()], vec!["r/two".into()])
    );
    // Last requests: the replaced one takes the new routes, the removed one its own to the end.
    old_first.send(logs(1, "replaced"), old_first.permit()).await.unwrap();
    old_second.send(logs(1, "removed"), old_second.permit()).await.unwrap();
    changed.send(logs(1, "changed")).await.unwrap();
    third.send(logs(1, "added")).await.unwrap();
    until(|| names(&gone) == ["removed"]).await;
    until(|| running.status().retiring.is_empty()).await;
    until(|| gone.shutdowns() == 1).await;
    let refusal = old_second.send(logs(1, "late"), old_second.permit()).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.retryable), ("shutting_down", true));
    let mut took = names(&kept);
    took.sort();
    assert_eq!(took, ["added", "changed", "replaced"]);
    assert!(running.status().ready);
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test]
async fn a_receiver_that_has_ended_is_started_again() {
    let ends = Source { conduct: Conduct::EndsByItself, ..Source::default() };
    let destination = Destination::taking();
    let mut running = line("ended", (&ends, 1), (&destination, 1)).start().await;
    until(|| !running.status().ready).await;
    let again = Source::default();
    let report = reload(&mut running, line("ended", (&again, 1), (&destination, 1))).await;
    assert_eq!(report.receivers.changed, ["ended"]);
    assert!(running.status().ready);
    again.send(logs(1, "a")).await.unwrap();
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test]
async fn other_signals_restart_only_a_receiver_that_asks_for_them_once() {
    for asks_once in [false, true] {
        let id = if asks_once { "once" } else { "always" };
        let source = || Source { asks_once, ..Source::default() };
        let destination = Destination::taking();
        let rig = |pipeline: &str, source: &Source| {
            Rig::new().receiver(id, source).exporter(id, &destination).pipeline(pipeline, id, "", id)
        };
        let before = source();
        let mut running = rig("logs", &before).start().await;
        assert!(!before.inlet().accepts(Signal::Traces));
        let report = reload(&mut running, rig("main", &source())).await;
        assert_eq!(report.receivers.changed.len(), usize::from(asks_once));
        assert!(before.inlet().accepts(Signal::Traces), "the routes are swapped either way");
        assert!(running.stop(Duration::from_secs(5)).await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn what_still_drains_at_the_end_is_given_up_on_at_the_deadline() {
    let source = Source::default();
    let hangs = Destination::scripted(|_| Reply::Never).with(|s| s.retry.timeout_ms = 1 << 40);
    let mut running = line("late", (&source, 1), (&hangs, 1)).start().await;
    source.send(logs(7, "a")).await.unwrap();
    until(|| hangs.in_flight() == 1).await;
    let rig = Rig::new().receiver("late", &source).receiver_version("late", 1);
    let other = Destination::taking();
    let rig = rig.exporter("late/new", &other).pipeline("main", "late", "", "late/new");
    reload(&mut running, rig).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(running.status().retiring[0].queue.unwrap().requests, 1, "an hour is no reason to give up");
    let report = running.stop(Duration::from_secs(4)).await;
    assert_eq!(report.dropped_items, 7);
    assert!(report.took < Duration::from_secs(6), "{report:?}");
    assert_eq!((dropped("late", "shutdown"), hangs.shutdowns(), other.shutdowns()), (7, 1, 1));
}

#[tokio::test]
async fn too_much_that_still_drains_refuses_a_further_reload() {
    let source = Source::default();
    let hangs = || Destination::taking().hold();
    let rig = |n: usize, destination: &Destination| {
        let id = format!("many/{n}");
        let rig = Rig::new().receiver("many", &source).exporter(&id, destination);
        rig.pipeline("main", "many", "", &id)
    };
    let first = hangs();
    let mut running = rig(0, &first).start().await;
    let mut held = vec![first];
    for n in 1..=64 {
        source.send(logs(1, "a")).await.unwrap();
        held.push(hangs());
        reload(&mut running, rig(n, held.last().unwrap())).await;
    }
    let refused = running.reload(rig(65, &hangs()).spec).await;
    assert!(matches!(refused, Err(GraphError::TooManyRetiring { retiring: 64 })));
    held.iter().for_each(Destination::release);
    until(|| running.status().retiring.is_empty()).await;
    reload(&mut running, rig(65, &Destination::taking())).await;
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

/// The graphs that the storm goes through: the exporter refitted, its queue replaced, the exporter replaced by another one, a second
/// one beside it, the receiver replaced.
fn storm_graph(step: usize, source: &Source, took: &Took) -> Rig {
    let version = step as u64;
    let id = if step % 5 == 3 { "storm/b" } else { "storm/a" };
    let destination = took.destination(step);
    let rig = Rig::new().receiver("storm", source).receiver_version("storm", version / 2);
    let rig = rig.exporter(id, &destination).exporter_version(id, version);
    rig.pipeline("main", "storm", "", id)
}

/// How often each name was delivered, over all destinations of a test.
#[derive(Clone, Default)]
struct Took(Arc<std::sync::Mutex<HashMap<String, usize>>>);

impl Took {
    fn destination(&self, step: usize) -> Destination {
        let (took, mut call) = (self.clone(), step);
        let destination = Destination::scripted(move |requests| {
            call += 1;
            if call % 7 == 0 {
                return Reply::Retry;
            }
            let mut took = took.0.lock().unwrap();
            requests.iter().for_each(|request| *took.entry(name_of(request)).or_default() += 1);
            Reply::Take
        });
        destination.with(|s| {
            s.queue.max_requests = if step.is_multiple_of(3) { 16 } else { 64 };
            s.retry.initial_backoff_ms = 1;
            s.retry.max_backoff_ms = 3;
        })
    }
}

async fn storm(ack: AckMode) {
    let (source, took) = (Source::new(ack), Took::default());
    let before = ["storm/a", "storm/b"].map(books);
    let received = books("storm").accepted;
    let mut running = storm_graph(0, &source, &took).start().await;
    let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..16)
        .map(|sender| {
            let (source, end, sent) = (source.clone(), Arc::clone(&end), Arc::clone(&sent));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !end.load(Ordering::SeqCst) {
                    let name = format!("{sender}/{}", acknowledged.len());
                    // A request keeps its inlet as a connection does, and so may be sent through one that was replaced.
                    let inlet = source.inlet();
                    tokio::task::yield_now().await;
                    match inlet.send(logs(1, &name), inlet.permit()).await {
                        Ok(()) => acknowledged.push(name),
                        // Who holds the inlet of a receiver that has ended meanwhile is told to come again.
                        Err(refusal) => {
                            assert!(["queue_full", "shutting_down"].contains(&refusal.reason), "{refusal}");
                            assert!(refusal.retryable, "{refusal}");
                        }
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                acknowledged
            })
        })
        .collect();
    for step in 1..=60 {
        let target = sent.load(Ordering::SeqCst) + 50;
        until(|| sent.load(Ordering::SeqCst) >= target).await;
        reload(&mut running, storm_graph(step, &source, &took)).await;
    }
    end.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for sender in senders {
        acknowledged.extend(sender.await.unwrap());
    }
    assert!(running.stop(Duration::from_secs(20)).await.is_clean());
    let took = took.0.lock().unwrap();
    for name in &acknowledged {
        assert_eq!(took.get(name), Some(&1), "{name} was not delivered exactly once");
    }
    assert_eq!(took.len(), acknowledged.len(), "nothing was delivered that was not acknowledged");
    let delivered: u64 = ["storm/a", "storm/b"].iter().map(|id| books(id).delivered).sum();
    let delivered_before: u64 = before.iter().map(|books| books.delivered).sum();
    assert_eq!(books("storm").accepted - received, acknowledged.len() as u64);
    assert_eq!(delivered - delivered_before, acknowledged.len() as u64);
    for id in ["storm/a", "storm/b"] {
        assert_eq!((books(id).dropped, books(id).buffered), (0, 0), "{id}");
    }
    assert!(acknowledged.len() > 2000, "only {} requests", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_is_lost_and_nothing_doubled() {
    storm(AckMode::Received).await;
    storm(AckMode::Delivered).await;
}

#[tokio::test]
async fn processors_are_built_anew_and_a_request_sees_old_or_new_ones_whole() {
    let (source, destination) = (Source::default(), Destination::taking());
    let graph = |mark: &'static str| {
        let does = common::Does::new(move |_| Ok(Some(logs(1, mark))));
        let rig = Rig::new().receiver("p", &source).processor("p", &does).exporter("p", &destination);
        rig.pipeline("main", "p", "p p", "p")
    };
    let mut running = graph("old").start().await;
    source.send(logs(1, "x")).await.unwrap();
    reload(&mut running, graph("new")).await;
    source.send(logs(1, "x")).await.unwrap();
    until(|| destination.calls().iter().flatten().count() == 2).await;
    assert_eq!(names(&destination), ["old", "new"]);
    assert!(running.stop(Duration::from_secs(5)).await.is_clean());
}

//! Every interleaving of senders, workers and a shutdown around the queue: `cargo xtask test --loom`.
//!
//! A wake-up that gets lost shows as a deadlock, which loom reports. Where threads are many, only schedules with a few
//! preemptions are tried; nearly all faults need one or two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool as Flag, Ordering as O};

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{JoinHandle, spawn};
use model::{AckMode, AckWaiter, Request, Verdict};

use super::*;
use crate::metrics::ComponentKind;

fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn queue(max_requests: usize, concurrency: usize) -> Arc<Queue> {
    let settings = QueueSettings { max_requests, concurrency, ..QueueSettings::default() };
    Arc::new(Queue::new(&settings, &ComponentMetrics::new(ComponentKind::Exporter, "loom")))
}

/// A request with nothing in it but an unknown resource field; how many bytes it has does not matter here.
fn payload(signal: Signal) -> Payload {
    Request::receive(signal, vec![0x0a, 0x00].into()).unwrap().0.into()
}

fn push(slot: Slot, signal: Signal) -> AckWaiter {
    let (ack, waiter) = Ack::new(AckMode::Delivered);
    slot.push(payload(signal), None, Some(ack), Instant::now());
    waiter
}

/// What a worker does, with a destination that takes everything at once. `max_bytes: 0` is one request a batch.
fn worker(queue: &Arc<Queue>, max_bytes: usize) -> JoinHandle<()> {
    let queue = Arc::clone(queue);
    spawn(move || {
        block_on(async {
            let mut batch = Batch::default();
            loop {
                let changed = queue.changed();
                if queue.fill(&mut batch, max_bytes) {
                    batch.tickets.drain(..).for_each(|ticket| ticket.settled(&[]));
                    batch.payloads.clear();
                } else if queue.is_drained() {
                    break;
                } else {
                    changed.await;
                }
            }
        });
    })
}

#[test]
fn room_is_never_given_twice() {
    check(2, || {
        let level = Arc::new(Level::new(10, 2));
        let (bytes, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |wanted: usize| {
            let (level, bytes, requests) = (Arc::clone(&level), Arc::clone(&bytes), Arc::clone(&requests));
            move || {
                if level.reserve(wanted).is_ok() {
                    assert!(bytes.fetch_add(wanted, Ordering::Relaxed) + wanted <= 10);
                    assert!(requests.fetch_add(1, Ordering::Relaxed) < 2);
                    bytes.fetch_sub(wanted, Ordering::Relaxed);
                    requests.fetch_sub(1, Ordering::Relaxed);
                    level.resize(wanted, wanted - 1);
                    level.release(wanted - 1);
                }
            }
        };
        let threads = [spawn(work(4)), spawn(work(7))];
        work(3)();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(level.taken(), (0, 0));
    });
}

#[test]
fn a_drained_queue_lets_nothing_in_and_every_verdict_was_before() {
    loom::model(|| {
        let level = Arc::new(Level::new(10, 2));
        let verdicts = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (level, verdicts) = (Arc::clone(&level), Arc::clone(&verdicts));
            spawn(move || {
                let taken = level.reserve(1);
                if taken.is_ok() {
                    verdicts.store(1, Ordering::Relaxed);
                    level.release(1);
                }
                taken
            })
        };
        level.close();
        let seen = level.is_drained().then(|| verdicts.load(Ordering::Relaxed));
        let taken = sender.join().unwrap();
        if let Some(seen) = seen {
            assert_eq!(seen == 1, taken.is_ok());
        }
        assert!(level.is_drained());
    });
}

#[test]
fn a_worker_takes_what_was_let_in_and_ends_when_the_queue_is_closed() {
    check(3, || {
        let queue = queue(2, 1);
        let sender = {
            let queue = Arc::clone(&queue);
            spawn(move || queue.reserve(2, 0).map(|slot| push(slot, Signal::Logs)))
        };
        let worker = worker(&queue, 0);
        queue.close();
        worker.join().unwrap();
        match sender.join().unwrap() {
            Ok(waiter) => assert_eq!(waiter.verdict(), Some(Verdict::Acked)),
            Err(refused) => assert_eq!(refused, NoRoom::Closed),
        }
        assert_eq!(queue.level().requests, 0);
    });
}

/// A worker that is busy with its first batch for good.
fn busy_worker(queue: &Arc<Queue>) -> JoinHandle<Batch> {
    let queue = Arc::clone(queue);
    spawn(move || {
        block_on(async {
            let mut batch = Batch::default();
            loop {
                let changed = queue.changed();
                if queue.fill(&mut batch, 0) {
                    return batch;
                }
                changed.await;
            }
        })
    })
}

#[test]
fn a_request_that_waits_wakes_a_further_worker_while_the_first_is_busy() {
    check(2, || {
        let queue = queue(2, 2);
        let workers = [busy_worker(&queue), busy_worker(&queue)];
        let slots = [queue.reserve(2, 0).unwrap(), queue.reserve(2, 0).unwrap()];
        let _waiters = slots.map(|slot| push(slot, Signal::Traces));
        for worker in workers {
            assert_eq!(worker.join().unwrap().tickets.len(), 1);
        }
    });
}

/// Waits for room as an inlet does.
async fn wait_for_room(queue: &Arc<Queue>) -> Result<Slot, NoRoom> {
    loop {
        let freed = queue.freed();
        match queue.reserve(2, 0) {
            Err(NoRoom::Full) => freed.await,
            verdict => return verdict,
        }
    }
}

#[test]
fn whoever_waits_for_room_gets_it() {
    check(2, || {
        let queue = queue(1, 1);
        let held = queue.reserve(2, 0).unwrap();
        let waiting = [0, 1].map(|_| {
            let queue = Arc::clone(&queue);
            spawn(move || drop(block_on(wait_for_room(&queue)).unwrap()))
        });
        drop(held);
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((queue.level().requests, queue.level().bytes), (0, 0));
    });
}

#[test]
fn whoever_waits_for_room_hears_that_there_will_be_none() {
    loom::model(|| {
        let queue = queue(1, 1);
        let held = queue.reserve(2, 0).unwrap();
        let waiting = {
            let queue = Arc::clone(&queue);
            spawn(move || block_on(wait_for_room(&queue)).map(drop))
        };
        queue.close();
        assert_eq!(waiting.join().unwrap(), Err(NoRoom::Closed));
        drop(held);
        assert!(queue.is_drained());
    });
}

#[test]
fn whoever_waits_for_the_closing_hears_it() {
    loom::model(|| {
        let queue = queue(1, 1);
        let waiting = {
            let queue = Arc::clone(&queue);
            spawn(move || block_on(queue.closed()))
        };
        queue.close();
        waiting.join().unwrap();
    });
}

#[test]
fn what_is_pushed_while_the_queue_is_abandoned_is_nacked() {
    check(4, || {
        let queue = queue(2, 1);
        let slot = queue.reserve(2, 0).unwrap();
        let late = spawn(move || push(slot, Signal::Logs));
        queue.abandon();
        let waiter = late.join().unwrap();
        assert_eq!(waiter.verdict(), Some(Verdict::Nacked));
        assert!(queue.is_drained());
    });
}

#[test]
fn a_worker_that_takes_while_the_queue_is_abandoned_loses_no_request() {
    check(3, || {
        let queue = queue(2, 1);
        let waiters = [0, 1].map(|_| push(queue.reserve(2, 0).unwrap(), Signal::Logs));
        let worker = worker(&queue, 0);
        queue.abandon();
        worker.join().unwrap();
        assert!(waiters.iter().all(|waiter| waiter.verdict().is_some()));
        assert!(queue.is_drained());
    });
}

#[test]
fn what_does_not_fit_always_finds_room_to_be_put_back() {
    // Requests of two bytes and batches of three: each batch takes one and puts one back. A batch of two would mean that
    // there was no room for it.
    let too_large = Arc::new(Flag::new(false));
    let seen = Arc::clone(&too_large);
    check(2, move || {
        let queue = queue(6, 2);
        let waiters = [0; 6].map(|_| push(queue.reserve(2, 0).unwrap(), Signal::Logs));
        let take = |batches: usize| {
            let (queue, too_large) = (Arc::clone(&queue), Arc::clone(&too_large));
            move || {
                let mut batch = Batch::default();
                for _ in 0..batches {
                    queue.fill(&mut batch, 3);
                    too_large.fetch_or(batch.payloads.len() > 1, O::Relaxed);
                    batch.tickets.drain(..).for_each(|ticket| ticket.settled(&[]));
                    batch.payloads.clear();
                }
            }
        };
        let other = spawn(take(2));
        take(2)();
        other.join().unwrap();
        take(6)();
        assert!(waiters.iter().all(|waiter| waiter.verdict() == Some(Verdict::Acked)));
    });
    assert!(!seen.load(O::Relaxed));
}

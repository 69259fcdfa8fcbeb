//! Every interleaving of a token, its clones and its waiter: `cargo xtask test --loom`. With three threads, those with up to
//! two preemptions; nearly all faults need one or two.

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::spawn;

use super::*;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn the_waiter_wakes_with_the_worst_verdict() {
    check(|| {
        let (ack, waiter) = Ack::new(AckMode::Delivered);
        let (other, third) = (ack.clone(), ack.clone());
        let threads = [spawn(move || other.reject()), spawn(move || third.reached(Stage::Delivered))];
        ack.reached(Stage::Delivered);
        assert_eq!(block_on(waiter), Verdict::Rejected);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_token_lost_on_any_branch_is_a_nack() {
    check(|| {
        let (ack, waiter) = Ack::new(AckMode::Durable);
        let other = ack.clone();
        let lost = spawn(move || other.reached(Stage::Queued));
        let reached = spawn(move || ack.reached(Stage::Durable));
        assert_eq!(block_on(waiter), Verdict::Nacked);
        [lost, reached].into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_a_branch_did_before_its_verdict_is_seen_by_whoever_learns_it() {
    loom::model(|| {
        let (ack, waiter) = Ack::new(AckMode::Delivered);
        let other = ack.clone();
        let done = Arc::new(AtomicUsize::new(0));
        let threads = [ack, other].map(|ack| {
            let done = Arc::clone(&done);
            spawn(move || {
                done.fetch_add(1, Ordering::Relaxed);
                ack.reached(Stage::Delivered);
            })
        });
        if waiter.verdict().is_some() {
            assert_eq!(done.load(Ordering::Relaxed), 2);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(waiter.verdict(), Some(Verdict::Acked));
    });
}

#[test]
fn a_verdict_stays_though_the_token_is_cloned_while_it_settles() {
    loom::model(|| {
        let (ack, waiter) = Ack::new(AckMode::Received);
        let ack = Arc::new(ack);
        let settles = Arc::clone(&ack);
        let cloning = spawn(move || ack.as_ref().clone().reject());
        settles.reached(Stage::Queued);
        if let Some(verdict) = waiter.verdict() {
            cloning.join().unwrap();
            assert_eq!(waiter.verdict(), Some(verdict));
        } else {
            cloning.join().unwrap();
            assert_eq!(waiter.verdict(), Some(Verdict::Rejected));
        }
    });
}

#[test]
fn a_token_settled_by_two_threads_counts_once() {
    loom::model(|| {
        let (ack, waiter) = Ack::new(AckMode::Received);
        let other = ack.clone();
        let ack = Arc::new(ack);
        let same = Arc::clone(&ack);
        let thread = spawn(move || same.reached(Stage::Queued));
        ack.reached(Stage::Queued);
        drop(ack);
        thread.join().unwrap();
        assert_eq!(waiter.verdict(), None);
        other.reached(Stage::Delivered);
        assert_eq!(waiter.verdict(), Some(Verdict::Acked));
    });
}

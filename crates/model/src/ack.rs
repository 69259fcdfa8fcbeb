//! The ack token that travels with a batch, and the receiver's end of it.
//!
//! A receiver makes one [`Ack`] a request and keeps the [`AckWaiter`]. Fan-out clones the token: every clone must reach the
//! stage that the receiver waits for. A clone dropped before that is a nack, so that no code path can forget a verdict.
//!
//! ```text
//! Ack (clone per exporter queue) --reached(Stage)--> last clone settles --> AckWaiter resolves with the worst verdict
//! ```

#[cfg(all(test, floodway_loom))]
mod loom_tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::{Deserialize, Serialize};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// When a receiver answers its client.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// The batch stands in every exporter's queue. Lost on kill -9: what is in memory.
    #[default]
    Received,
    /// The batch is fsynced in every exporter's disk buffer.
    Durable,
    /// Every exporter's backend has accepted it.
    Delivered,
}

/// How far a batch has come on one branch of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It stands in the exporter's queue.
    Queued,
    /// It is fsynced.
    Durable,
    /// The backend has it, or its records were dropped on purpose and counted.
    Delivered,
}

/// How a request ended for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// Every branch reached the stage waited for.
    Acked = 0,
    /// A branch gave up on it for good: sending it again cannot help.
    Rejected = 1,
    /// A branch lost it (queue dropped, shutdown): the sender should send it again.
    Nacked = 2,
}

#[derive(Debug)]
struct Shared {
    wanted: Stage,
    pending: AtomicUsize,
    worst: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    fn settle(&self, verdict: Verdict) {
        self.worst.fetch_max(verdict as u8, Ordering::AcqRel);
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The token of one branch. Dropped without a verdict it is a nack.
#[derive(Debug)]
pub struct Ack {
    shared: Arc<Shared>,
    settled: AtomicBool,
}

/// Resolves when every token of the request has a verdict.
#[derive(Debug)]
pub struct AckWaiter {
    shared: Arc<Shared>,
}

impl Ack {
    /// A token and its waiter.
    pub fn new(mode: AckMode) -> (Self, AckWaiter) {
        let wanted = match mode {
            AckMode::Received => Stage::Queued,
            AckMode::Durable => Stage::Durable,
            AckMode::Delivered => Stage::Delivered,
        };
        let shared = Arc::new(Shared {
            wanted,
            pending: AtomicUsize::new(1),
            worst: AtomicU8::new(Verdict::Acked as u8),
            waker: Mutex::new(None),
        });
        (Self { shared: Arc::clone(&shared), settled: AtomicBool::new(false) }, AckWaiter { shared })
    }

    /// Says that this branch has come to `stage`; settles the token when that is what the receiver waits for.
    pub fn reached(&self, stage: Stage) {
        if stage >= self.shared.wanted {
            self.settle(Verdict::Acked);
        }
    }

    /// Whether this branch has its verdict.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Whether `stage` is the one that the receiver waits for, and it was not reached yet.
    pub fn waits_for(&self, stage: Stage) -> bool {
        stage == self.shared.wanted && !self.is_settled()
    }

    /// Says that the backend refused the batch for good.
    pub fn reject(&self) {
        self.settle(Verdict::Rejected);
    }

    fn settle(&self, verdict: Verdict) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            self.shared.settle(verdict);
        }
    }
}

impl Clone for Ack {
    /// One more branch that needs a verdict. Cloning a settled token makes a settled token, and so does cloning one that
    /// is settled meanwhile, if it was the last: the waiter may have its verdict, which stays.
    fn clone(&self) -> Self {
        let one_more = || {
            let add = |pending| (pending > 0).then_some(pending + 1);
            self.shared.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
        };
        let settled = self.settled.load(Ordering::Acquire) || !one_more();
        Self { shared: Arc::clone(&self.shared), settled: AtomicBool::new(settled) }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.settle(Verdict::Nacked);
    }
}

impl AckWaiter {
    /// The verdict, if there is one yet.
    pub fn verdict(&self) -> Option<Verdict> {
        if self.shared.pending.load(Ordering::Acquire) > 0 {
            return None;
        }
        Some(match self.shared.worst.load(Ordering::Acquire) {
            0 => Verdict::Acked,
            1 => Verdict::Rejected,
            _ => Verdict::Nacked,
        })
    }
}

impl Future for AckWaiter {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        if let Some(verdict) = self.verdict() {
            return Poll::Ready(verdict);
        }
        *self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // A token may have settled between the look and the registration.
        match self.verdict() {
            Some(verdict) => Poll::Ready(verdict),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_must_reach_the_stage() {
        let (ack, waiter) = Ack::new(AckMode::Delivered);
        let other = ack.clone();
        ack.reached(Stage::Queued);
        ack.reached(Stage::Delivered);
        assert_eq!(waiter.verdict(), None);
        other.reached(Stage::Delivered);
        assert_eq!(waiter.verdict(), Some(Verdict::Acked));
    }

    #[test]
    fn a_dropped_token_is_a_nack_and_the_worst_verdict_wins() {
        let (ack, waiter) = Ack::new(AckMode::Received);
        let other = ack.clone();
        let third = ack.clone();
        ack.reached(Stage::Queued);
        other.reject();
        drop(third);
        assert_eq!(waiter.verdict(), Some(Verdict::Nacked));
    }

    #[test]
    fn a_verdict_given_twice_counts_once() {
        let (ack, waiter) = Ack::new(AckMode::Received);
        let other = ack.clone();
        ack.reached(Stage::Queued);
        ack.reject();
        drop(ack);
        assert_eq!(waiter.verdict(), None);
        other.reached(Stage::Delivered);
        assert_eq!(waiter.verdict(), Some(Verdict::Acked));
    }

    #[test]
    fn the_waiter_wakes() {
        let (ack, waiter) = Ack::new(AckMode::Durable);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            ack.reached(Stage::Durable);
        });
        assert_eq!(futures_block_on(waiter), Verdict::Acked);
        thread.join().unwrap();
    }

    fn futures_block_on(mut waiter: AckWaiter) -> Verdict {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(verdict) = Pin::new(&mut waiter).poll(&mut context) {
                return verdict;
            }
            std::thread::park();
        }
    }
}

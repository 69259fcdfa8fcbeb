//! How full a queue is, whether it still takes requests, and who is woken when that changes: what threads race for.
//!
//! Everything stands in one word, so that a request is let in, or refused, by one compare-and-swap that sees bytes, count and
//! closing at once:
//!
//! ```text
//! bit 63                     24                      2           1        0
//!     [ bytes, 40 bits       | requests, 22 bits     | abandoned | closed ]
//! ```
//!
//! Invariants:
//! - What was reserved is within both limits; only `resize` may pass the limit of bytes, by what processors added, and a single
//!   request that is larger than its queue's share of the budget.
//! - After `close` nothing is let in, so a queue that is closed and counts no requests stays drained.
//! - A request that was pushed is seen by whoever abandons the queue, or its pusher sees that the queue was abandoned.
//! - Whoever asked for a wake-up before it looked is woken by every change after its look.

use std::sync::atomic::AtomicUsize;

use super::NoRoom;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Notified, Notify};

const CLOSED: u64 = 1;
const ABANDONED: u64 = 1 << 1;
const REQUEST: u64 = 1 << 2;
const BYTE: u64 = 1 << 24;
/// The most that the word can count.
const MOST_REQUESTS: u64 = BYTE / REQUEST - 1;
const MOST_BYTES: u64 = u64::MAX / BYTE;

#[derive(Debug)]
pub(super) struct Level {
    /// Changes as rarely as a configuration, and nothing hangs on who sees it when.
    limit_bytes: AtomicUsize,
    most_bytes: usize,
    limit_requests: usize,
    word: AtomicU64,
    /// For workers: there is something to take, or nothing will come any more.
    wake: Notify,
    /// For those who wait: room was given back, or none will be.
    freed: Notify,
    closing: Notify,
}

fn requests(word: u64) -> u64 {
    word % BYTE / REQUEST
}

fn bytes(word: u64) -> u64 {
    word / BYTE
}

/// `bytes` in the word's unit.
fn weight(bytes: usize) -> u64 {
    (bytes as u64).min(MOST_BYTES) * BYTE
}

impl Level {
    /// Limits beyond what the word can count (a TiB, four million requests) are cut to that.
    pub(super) fn new(limit_bytes: usize, limit_requests: usize) -> Self {
        // Half of what fits is left to what processors add.
        let most_bytes = (limit_bytes as u64).min(MOST_BYTES / 2) as usize;
        let limit_requests = (limit_requests as u64).clamp(1, MOST_REQUESTS) as usize;
        Self {
            limit_bytes: AtomicUsize::new(most_bytes),
            most_bytes,
            limit_requests,
            word: AtomicU64::new(0),
            wake: Notify::new(),
            freed: Notify::new(),
            closing: Notify::new(),
        }
    }

    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// From now on takes at most `share` bytes, or what it was made for if that is less. A request that is larger than the share
    /// alone is taken when there is no other.
    pub(super) fn limit_to(&self, share: usize) {
        self.limit_bytes.store(self.most_bytes.min(share), Ordering::Relaxed);
    }

    pub(super) fn limit_requests(&self) -> usize {
        self.limit_requests
    }

    /// Takes room for one request of `wanted` bytes, or nothing.
    pub(super) fn reserve(&self, wanted: usize) -> Result<(), NoRoom> {
        let limit_bytes = self.limit_bytes();
        if wanted > self.most_bytes {
            return Err(NoRoom::TooLarge);
        }
        let fits = |word: u64| {
            word & CLOSED == 0
                && requests(word) < self.limit_requests as u64
                && (bytes(word) + wanted as u64 <= limit_bytes as u64 || requests(word) == 0)
        };
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                fits(word).then(|| word + REQUEST + weight(wanted))
            })
            .map(|_| ())
            .map_err(|word| if word & CLOSED != 0 { NoRoom::Closed } else { NoRoom::Full })
    }

    /// Whether less than half of both limits is taken.
    pub(super) fn is_below_half(&self) -> bool {
        let (bytes, requests) = self.taken();
        bytes <= self.limit_bytes() / 2 && requests <= self.limit_requests / 2
    }

    /// Wakes those who wait for room, where room is given back elsewhere.
    pub(super) fn room_elsewhere(&self) {
        self.freed.notify_waiters();
    }

    /// A request that holds `from` bytes holds `to` from now on, over the limit if need be.
    pub(super) fn resize(&self, from: usize, to: usize) {
        if to >= from {
            self.word.fetch_add(weight(to) - weight(from), Ordering::AcqRel);
        } else {
            self.word.fetch_sub(weight(from) - weight(to), Ordering::AcqRel);
        }
    }

    /// Gives back the room of a request that holds `bytes`.
    pub(super) fn release(&self, bytes: usize) {
        let had = self.word.fetch_sub(REQUEST + weight(bytes), Ordering::AcqRel);
        if requests(had) == 1 && had & CLOSED != 0 {
            self.wake.notify_waiters();
        }
        self.freed.notify_waiters();
    }

    /// To be called when a request was put where workers look. True when nobody may look there any more: the caller drops
    /// what waits.
    pub(super) fn pushed(&self) -> bool {
        self.wake.notify_one();
        // Against the fence in `abandon`: of the two, the later one's thread sees what the other did before.
        fence(Ordering::SeqCst);
        self.is_abandoned()
    }

    /// Hands a wake-up on to a further worker.
    pub(super) fn more_waits(&self) {
        self.wake.notify_one();
    }

    /// Lets nothing in any more.
    pub(super) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
        self.wake.notify_waiters();
        self.closing.notify_waiters();
        self.freed.notify_waiters();
    }

    /// Closes it, and has pushers told that workers may be gone. The caller drops what waits.
    pub(super) fn abandon(&self) {
        self.word.fetch_or(CLOSED | ABANDONED, Ordering::AcqRel);
        self.close();
        fence(Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.word.load(Ordering::Acquire) & ABANDONED != 0
    }

    /// True when it is closed and counts no request: then it stays so.
    pub(super) fn is_drained(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word & CLOSED != 0 && requests(word) == 0
    }

    /// Bytes and requests that are taken.
    pub(super) fn taken(&self) -> (usize, usize) {
        let word = self.word.load(Ordering::Relaxed);
        (bytes(word) as usize, requests(word) as usize)
    }

    /// Resolves when a worker should look again.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Resolves when a sender should ask for room again.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Resolves when it is closed; at once when it is.
    pub(super) async fn closed(&self) {
        let closing = self.closing.notified();
        if !self.is_closed() {
            closing.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_counted_in_bytes_and_requests() {
        let level = Level::new(100, 2);
        assert_eq!(level.reserve(101), Err(NoRoom::TooLarge));
        level.reserve(60).unwrap();
        assert_eq!(level.reserve(41), Err(NoRoom::Full));
        level.reserve(40).unwrap();
        assert_eq!(level.reserve(0), Err(NoRoom::Full), "two requests are the limit");
        level.resize(60, 300);
        assert_eq!(level.taken(), (340, 2));
        level.resize(300, 10);
        level.release(40);
        assert_eq!(level.taken(), (10, 1));
        level.close();
        assert_eq!(level.reserve(1), Err(NoRoom::Closed));
        assert!(!level.is_drained() && !level.is_abandoned());
        level.abandon();
        assert_eq!(level.taken(), (10, 1), "flags leave the counts alone");
        level.release(10);
        assert!(level.is_drained() && level.pushed());
    }

    #[test]
    fn a_share_lowers_the_limit_and_never_raises_it() {
        let level = Level::new(100, 2);
        level.limit_to(50);
        level.reserve(20).unwrap();
        assert_eq!(level.reserve(31), Err(NoRoom::Full));
        level.release(20);
        level.reserve(100).unwrap();
        assert_eq!(level.reserve(1), Err(NoRoom::Full));
        level.release(100);
        level.limit_to(1000);
        assert_eq!(level.reserve(101), Err(NoRoom::TooLarge));
        level.reserve(60).unwrap();
        level.reserve(40).unwrap();
    }

    #[test]
    fn limits_beyond_the_word_are_cut() {
        let level = Level::new(usize::MAX, usize::MAX);
        assert_eq!(level.limit_requests() as u64, MOST_REQUESTS);
        level.reserve(level.limit_bytes()).unwrap();
        assert_eq!(level.taken(), (level.limit_bytes(), 1));
        assert_eq!(level.reserve(1), Err(NoRoom::Full));
        level.release(level.limit_bytes());
        assert_eq!(level.taken(), (0, 0));
    }
}

//! What stands in the books for one request: its room in the queue, its memory, its sender.
//!
//! Invariant: a ticket ends in exactly one of settled, lost, and given back to the disk buffer that has its request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Ack, Signal, Stage};
use tokio::time::Instant;

use super::Books;
use super::spool::Stored;
use crate::budget::PermitShare;

/// Room taken in a queue. Dropping it gives the room back.
#[derive(Debug)]
pub(super) struct Room {
    books: Arc<Books>,
    bytes: usize,
    /// What it adds to the gauge of items.
    items: u64,
    /// Whether the queue's level counts it.
    counted: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        self.books.gauge_requests.decrement(1.0);
        self.books.gauge_bytes.decrement(self.bytes as f64);
        self.books.gauge_items.decrement(self.items as f64);
        self.books.level.release(self.bytes);
    }
}

impl Room {
    /// Room that `level` has counted.
    pub(super) fn taken(books: &Arc<Books>, bytes: usize, items: u64) -> Self {
        books.gauge_requests.increment(1.0);
        books.gauge_bytes.increment(bytes as f64);
        books.gauge_items.increment(items as f64);
        Self { books: Arc::clone(books), bytes, items, counted: true }
    }

    /// For a request that a worker has read from the disk. It takes nothing from senders: as many as there are workers, of
    /// `max_request_bytes` each, are in memory beyond the queue's limits.
    pub(super) fn of_worker(books: &Arc<Books>) -> Self {
        Self { books: Arc::clone(books), bytes: 0, items: 0, counted: false }
    }

    pub(super) fn resize(&mut self, bytes: usize, items: u64) {
        let books = &self.books;
        books.gauge_bytes.increment(bytes as f64 - self.bytes as f64);
        books.gauge_items.increment(items as f64 - self.items as f64);
        books.level.resize(self.bytes, bytes);
        (self.bytes, self.items) = (bytes, items);
    }
}

/// What must be settled for one request. Dropped unsettled, a request that a disk buffer has goes back there; another counts as
/// lost.
#[derive(Debug)]
pub(crate) struct Ticket {
    signal: Signal,
    items: u64,
    ack: Option<Ack>,
    permit: Option<PermitShare>,
    entered: Instant,
    room: Option<Room>,
    /// The disk buffer that has it.
    stored: Option<Stored>,
}

/// Records of a request that were not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// For the `reason` label.
    pub(crate) reason: &'static str,
    /// How many.
    pub(crate) items: u64,
    /// What the sender is told if it is all of them, or if some may be sent again.
    pub(crate) blame: Blame,
}

/// How a request that is dropped ends for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The destination refused it for good: do not send it again.
    Rejected,
    /// It was given up on: send it again.
    Nacked,
}

impl Ticket {
    pub(super) fn new(
        signal: Signal,
        room: Room,
        permit: Option<PermitShare>,
        ack: Option<Ack>,
        entered: Instant,
    ) -> Self {
        Self { signal, items: room.items, ack, permit, entered, room: Some(room), stored: None }
    }

    /// A ticket for what was read from a disk buffer, whose gauges count its items.
    pub(super) fn read(
        signal: Signal,
        items: u64,
        room: Room,
        ack: Option<Ack>,
        entered: Instant,
        stored: Stored,
    ) -> Self {
        Self { signal, items, ack, permit: None, entered, room: Some(room), stored: Some(stored) }
    }

    /// Records of the request.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// The disk buffer has it, which counts its items from now on.
    pub(super) fn is_stored(&mut self, stored: Stored) {
        if let Some(room) = &mut self.room {
            room.items = 0;
        }
        self.stored = Some(stored);
        if let Some(ack) = &self.ack {
            ack.reached(Stage::Durable);
        }
    }

    /// Its number in the disk buffer that has it.
    pub(super) fn seq(&self) -> Option<buffer::Seq> {
        self.stored.as_ref().map(Stored::seq)
    }

    /// Whether the sender waits for the disk buffer.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.ack.as_ref().is_some_and(|ack| ack.waits_for(Stage::Durable))
    }

    /// Leaves the request to the disk buffer alone: room and memory are given back. What is left is the sender, if it still waits.
    pub(super) fn leave(mut self) -> Option<Ack> {
        self.stored = None;
        drop(self.permit.take());
        drop(self.room.take());
        self.ack.take().filter(|ack| !ack.is_settled())
    }

    /// The destination took the request but for `lost`. A sender that is told to send again sends all of it: duplicates are
    /// better than a loss. With a disk buffer this may wait for the disk.
    pub(crate) fn settled(mut self, lost: &[Lost]) {
        let Some(room) = self.room.take() else { return };
        let metrics = &room.books.metrics;
        let items: u64 = lost.iter().map(|lost| lost.items).sum();
        if let Some(stored) = self.stored.as_ref().filter(|_| room.counted) {
            stored.took(self.entered.elapsed());
        }
        // What the disk buffer dropped meanwhile, for want of room, is counted as dropped.
        if self.stored.take().is_none_or(|stored| stored.done(!lost.is_empty())) {
            metrics.delivered(self.signal, self.items.saturating_sub(items));
            lost.iter().for_each(|lost| metrics.dropped(lost.reason, lost.items));
        }
        room.books.latency.record(self.entered.elapsed().as_secs_f64());
        let all = items > 0 && items >= self.items;
        self.release(room);
        match self.ack.take() {
            // Dropping the token is the nack.
            Some(ack) if lost.iter().any(|lost| lost.blame == Blame::Nacked) => drop(ack),
            Some(ack) if all => ack.reject(),
            Some(ack) => ack.reached(Stage::Delivered),
            None => {}
        }
    }

    /// Gives the request up, which no disk buffer has.
    pub(super) fn lose(&mut self, reason: &'static str) {
        let Some(room) = self.room.take() else { return };
        room.books.metrics.dropped(reason, self.items);
        if room.books.level.is_abandoned() {
            room.books.abandoned_items.fetch_add(self.items, Ordering::SeqCst);
        }
        self.release(room);
        // Dropping the token is the nack.
        drop(self.ack.take());
    }

    /// Gives back queue and memory before the sender is told, so that a sender who knows finds the room.
    fn release(&mut self, room: Room) {
        drop(self.permit.take());
        drop(room);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(room) = &self.room else { return };
        let abandoned = room.books.level.is_abandoned();
        match self.stored.take() {
            // It stays on the disk for the next start; a sender who waits for the delivery is nacked.
            Some(_) if abandoned => {}
            Some(stored) => stored.give_back(self.ack.take().filter(|ack| !ack.is_settled())),
            None => self.lose(if abandoned { "shutdown" } else { "lost" }),
        }
    }
}

//! A request's way through the disk buffer: handed over, durable or not, read back, settled.
//!
//! What it must keep to stands in [`super`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use buffer::{Error, Record, Seq};

use super::{Claim, Entry, Reserved, Spool, Stored};
use crate::queue::{Batch, Queue, Queued, Room, Ticket};
use crate::stored;

impl Queue {
    /// The disk buffer behind it.
    pub(crate) fn spool(&self) -> Option<&Arc<Spool>> {
        self.spool.as_ref()
    }

    /// Hands a request to the disk. It goes on in [`Queue::stored`].
    pub(in crate::queue) fn store(queue: &Arc<Self>, queued: Queued, mut room: Option<Reserved>) {
        let Some(spool) = &queue.spool else { return queue.push(queued) };
        let (tag, bytes) = stored::encode(&queued.payload);
        let items = u32::try_from(queued.ticket.items()).unwrap_or(u32::MAX);
        if let Some(room) = &mut room {
            // Processors may have made it larger than what was reserved. Should it be too large, its append says so.
            let _ = room.stretch(bytes.len());
        }
        spool.writing.fetch_add(1, Ordering::AcqRel);
        let (queue, owner) = (Arc::clone(queue), Arc::clone(spool));
        let answer = Box::new(move |result| {
            queue.stored(&owner, queued, result);
            owner.writing.fetch_sub(1, Ordering::AcqRel);
        });
        let entry = Entry { room, entered_ms: spool.clock.now_ms(), tag, items, bytes };
        spool.disk.append(entry, answer);
    }

    /// On the thread that writes: a request is durable, or it is not.
    fn stored(&self, spool: &Arc<Spool>, mut queued: Queued, result: Result<Seq, Error>) {
        match result {
            Ok(seq) => {
                spool.works();
                queued.ticket.is_stored(Stored { spool: Arc::clone(spool), seq });
                let mut state = spool.lock();
                // Pushed under the lock: where order matters nothing may come in between.
                if (!spool.ordered || state.is_caught_up()) && self.books.level.is_below_half() {
                    return self.push(queued);
                }
                let ack = queued.ticket.leave();
                let nacked = state.keep(seq, ack);
                drop(state);
                drop(nacked);
                self.books.level.more_waits();
            }
            Err(error) => {
                // A request that processors have made too large is not the disk's fault.
                if !matches!(error, Error::TooLarge { .. }) {
                    spool.failed(&error);
                }
                if queued.ticket.waits_for_disk() {
                    queued.ticket.lose("buffer_failed");
                } else {
                    spool.memory_only.store(true, Ordering::Release);
                    self.push(queued);
                }
            }
        }
    }

    /// Fills `batch`, which must be empty, from the disk, as [`Queue::fill`] does from memory. What is there when the queue
    /// closes stays there.
    pub(crate) async fn fill_from_disk(self: &Arc<Self>, batch: &mut Batch, max_bytes: usize) -> bool {
        let Some(spool) = &self.spool else { return false };
        while !self.books.level.is_closed()
            && let Some(claim) = spool.claim()
        {
            let queue = Arc::clone(self);
            let read = spool.run(move |spool| queue.read(spool, claim, max_bytes)).await;
            let Some(read) = read else { return false };
            if !spool.lock().backlog.is_empty() {
                self.books.level.more_waits();
            }
            if !read.tickets.is_empty() {
                *batch = read;
                return true;
            }
        }
        false
    }

    fn read(&self, spool: &Arc<Spool>, mut claim: Claim, max_bytes: usize) -> Batch {
        let mut batch = Batch::default();
        let (mut bytes, mut last) = (0, 0);
        // Records tend to be of one size: one that would not fit is better not read than read twice.
        while claim.is_left() && (batch.tickets.is_empty() || bytes + last <= max_bytes) {
            match spool.disk.read_next(claim.next - 1) {
                Ok(Some(record)) if record.seq <= claim.last => {
                    last = record.bytes.len();
                    if !self.take(spool, &mut claim, &mut batch, record, max_bytes.saturating_sub(bytes)) {
                        break;
                    }
                    bytes += last;
                }
                Ok(_) => {
                    claim.advance(claim.last.saturating_add(1));
                }
                Err(error) => {
                    let seq = if let Error::Read { seq, .. } = error { seq } else { claim.next };
                    if seq > claim.last {
                        claim.advance(claim.last.saturating_add(1));
                        break;
                    }
                    let ack = claim.advance(seq.saturating_add(1));
                    spool.unreadable(seq, &error);
                    let nacked = spool.lock().wait(seq, ack);
                    drop(nacked);
                }
            }
        }
        batch
    }

    /// Adds a record to the batch; false if it does not go with what is in it, and must be read again.
    fn take(
        &self,
        spool: &Arc<Spool>,
        claim: &mut Claim,
        batch: &mut Batch,
        record: Record,
        room: usize,
    ) -> bool {
        let Record { seq, entered_ms, tag, items, bytes } = record;
        let size = bytes.len();
        let payload = match stored::decode_any(tag, bytes) {
            Ok(payload) => payload,
            Err(error) => {
                claim.advance(seq.saturating_add(1));
                self.give_up(Stored { spool: Arc::clone(spool), seq }, items, &error.to_string());
                return true;
            }
        };
        let signal = payload.signal();
        let differs = |first: &model::Payload| first.signal() != signal || size > room;
        if batch.payloads.first().is_some_and(differs) {
            return false;
        }
        let ack = claim.advance(seq.saturating_add(1));
        let room = Room::of_worker(&self.books);
        let stored = Stored { spool: Arc::clone(spool), seq };
        let entered = spool.clock.instant(entered_ms);
        let ticket = Ticket::read(signal, u64::from(items), room, ack, entered, stored);
        batch.push(Queued { payload, ticket });
        true
    }

    #[cold]
    fn give_up(&self, stored: Stored, items: u32, message: &str) {
        let exporter = self.books.metrics.id();
        tracing::warn!(exporter, items, "disk buffer: a request in it is not what was written: {message}");
        if stored.done(true) {
            self.books.metrics.dropped("buffer_unreadable", u64::from(items));
        }
    }

    /// Tells senders what became of their requests, where the disk buffer must note it.
    pub(crate) async fn settle_stored(
        &self,
        spool: &Arc<Spool>,
        verdicts: Vec<(Ticket, Vec<crate::queue::Lost>)>,
    ) {
        spool.run(move |_| verdicts.into_iter().for_each(|(ticket, lost)| ticket.settled(&lost))).await;
    }

    /// Runs [`Spool::upkeep`], and wakes who may go on.
    pub(crate) async fn upkeep(&self) {
        let Some(spool) = &self.spool else { return };
        spool.run(|spool| spool.upkeep()).await;
        self.books.level.room_elsewhere();
        if !spool.lock().backlog.is_empty() {
            self.books.level.more_waits();
        }
    }
}

//! A request's way through the disk buffer: handed over, durable or not, read back, settled.
//!
//! What it must keep to stands in [`super`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use buffer::{Error, Record, Seq};
use tokio::time::Instant;

use super::{Claim, Clock, Entry, READ_AGAIN, Reserved, Spool, Stored};
use crate::queue::{Batch, Queue, Queued, Room, Ticket};
use crate::stored;

/// A destination that takes requests within this time is quick.
const QUICK: Duration = Duration::from_millis(200);

/// How fast the destination takes what is in memory. One that is quick is waited for, as without a disk buffer: to write what it
/// takes at once, and to read it back, would cost more than the senders' short wait.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Until when the last delivery counts; 0 if it was slow.
    quick_until_ms: AtomicU64,
}

impl Pace {
    fn is_quick(&self, clock: &Clock) -> bool {
        clock.now_ms() < self.quick_until_ms.load(Ordering::Relaxed)
    }

    fn took(&self, wait: Duration, clock: &Clock) {
        let until = if wait < QUICK { clock.now_ms() + QUICK.as_millis() as u64 } else { 0 };
        self.quick_until_ms.store(until, Ordering::Relaxed);
    }
}

impl Stored {
    pub(in crate::queue) fn seq(&self) -> Seq {
        self.seq
    }

    /// What was kept in memory is delivered, so long after it came.
    pub(in crate::queue) fn took(&self, wait: Duration) {
        self.spool.pace.took(wait, &self.spool.clock);
    }
}

impl Spool {
    /// The disk does not give a request: it is asked again later, and others go first.
    fn unreadable(&self, seq: Seq, error: &Error) {
        tracing::warn!(exporter = self.metrics.id(), "disk buffer: {error}; trying again later");
        let mut state = self.lock();
        if self.replay {
            state.left += 1;
        } else {
            state.unreadable.push(seq);
            state.read_again.get_or_insert_with(|| Instant::now() + READ_AGAIN);
        }
        state.fill.last_error = Some(error.to_string());
    }
}

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
                let has_room = self.books.level.is_below_half() || spool.pace.is_quick(&spool.clock);
                if (!spool.ordered || state.is_caught_up()) && has_room {
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

    /// If the destination is quick no more, leaves what waits in memory to the disk alone, so that there is room for what comes. All of
    /// it, since it is older than the backlog.
    fn unload(&self, spool: &Spool) {
        let level = &self.books.level;
        // What is in memory when the queue closes is delivered if the destination takes it; the backlog is not.
        if level.is_closed() || level.is_below_half() || spool.pace.is_quick(&spool.clock) {
            return;
        }
        let (mut nacked, mut only_here) = (Vec::new(), Vec::new());
        let mut state = spool.lock();
        for lane in &self.lanes {
            while let Some(queued) = lane.pop() {
                match queued.ticket.seq() {
                    Some(seq) => nacked.extend(state.keep(seq, queued.ticket.leave())),
                    None => only_here.push(queued),
                }
            }
        }
        only_here.into_iter().for_each(|queued| self.push(queued));
        drop(state);
        drop(nacked);
        self.books.level.more_waits();
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
        self.unload(spool);
        spool.run(|spool| spool.upkeep()).await;
        self.books.level.room_elsewhere();
        if !spool.lock().backlog.is_empty() {
            self.books.level.more_waits();
        }
    }
}

//! The bounded queue in front of an exporter, and the books kept on what stands in it.
//!
//! ```text
//! reserve(bytes, items) -> Slot      room taken, in bytes and in count; a fan-out reserves in every queue before it pushes
//!        Slot::push     -> Queued    on the lane of its signal; workers are woken. With a disk buffer: once it is durable ([`spool`])
//!         Queue::fill   -> Batch     a worker takes as much of one signal as fits in one request
//!   Ticket::settled                  books closed, room given back, sender told
//! ```
//!
//! Invariants:
//! - What is reserved, waiting and in flight together stays within the limits: room is given back by the verdict, not by
//!   leaving the queue. So an `ArrayQueue` with room for `max_requests` is never full.
//! - A request that stands in the queue ends in exactly one of delivered and dropped. A `Ticket` that is lost on the way
//!   (panic, deadline) counts as dropped and is a nack.
//! - No lock: crossbeam `ArrayQueue`s, and `level`, which holds everything that threads race for.
//!
//! It does not order requests: lanes are drained in turn, and workers overtake each other.

mod backlog;
mod level;
#[cfg(all(test, floodway_loom))]
mod loom_tests;
pub(crate) mod spool;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, Histogram};
use model::{Ack, Payload, Signal, Stage};
use tokio::time::Instant;

use self::level::Level;
use self::spool::{Reserved, Spool};
use self::ticket::Room;
pub(crate) use self::ticket::{Blame, Lost, Ticket};
use crate::budget::PermitShare;
use crate::delivery::{OnFull, QueueSettings};
use crate::health::QueueFill;
use crate::metrics::{ComponentMetrics, names};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{ArrayQueue, Notified};

/// Of a queue's limit of bytes, this part may wait for room.
const LINE: usize = 4;

/// Why a queue has no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Not now.
    Full,
    /// The request alone is larger than the queue.
    TooLarge,
    /// The disk buffer has none, or its disk does not take anything.
    Disk,
    /// The engine is stopping.
    Closed,
}

/// The queue of one exporter.
#[derive(Debug)]
pub struct Queue {
    lanes: [Lane; 3],
    turn: AtomicUsize,
    books: Arc<Books>,
    spool: Option<Arc<Spool>>,
}

/// Shows the counters from the start: a rate over a counter that appears with its first drop misses that drop.
fn announce(metrics: &ComponentMetrics) {
    Signal::ALL.iter().for_each(|signal| metrics.delivered(*signal, 0));
    ["queue_full", "rejected_by_destination", "shutdown"]
        .iter()
        .for_each(|reason| metrics.dropped(reason, 0));
}

/// What waits of one signal. One lane a signal, so that senders of traces and logs in turn do not keep each other from being
/// merged.
#[derive(Debug)]
struct Lane {
    waiting: ArrayQueue<Queued>,
    /// Requests that did not fit in the batch of the worker that took them. Never more than there are workers: a worker takes
    /// from here first, so that a batch either takes one before it puts one back or started when this was empty.
    put_back: ArrayQueue<Queued>,
}

#[derive(Debug)]
struct Books {
    level: Level,
    on_full: OnFull,
    abandoned_items: AtomicU64,
    max_wait: Duration,
    /// Bytes of those who wait for room and could be refused instead.
    in_line: AtomicUsize,
    metrics: ComponentMetrics,
    gauge_bytes: Gauge,
    gauge_requests: Gauge,
    gauge_items: Gauge,
    latency: Histogram,
}

impl Queue {
    /// A queue for the exporter that `metrics` counts for.
    pub fn new(settings: &QueueSettings, metrics: &ComponentMetrics) -> Self {
        Self::buffered(settings, metrics, None)
    }

    /// The same with a disk buffer behind it.
    pub(crate) fn buffered(
        settings: &QueueSettings,
        metrics: &ComponentMetrics,
        spool: Option<Arc<Spool>>,
    ) -> Self {
        let level = Level::new(settings.max_bytes, settings.max_requests);
        let lane = |_| Lane {
            waiting: ArrayQueue::new(level.limit_requests()),
            put_back: ArrayQueue::new(settings.concurrency.max(1)),
        };
        let lanes = [0, 1, 2].map(lane);
        announce(metrics);
        let books = Books {
            level,
            on_full: settings.on_full,
            abandoned_items: AtomicU64::new(0),
            max_wait: Duration::from_millis(settings.max_wait_ms),
            in_line: AtomicUsize::new(0),
            gauge_bytes: metrics.gauge(names::QUEUE_BYTES, &[]),
            gauge_requests: metrics.gauge(names::QUEUE_REQUESTS, &[]),
            gauge_items: metrics.gauge(names::QUEUE_ITEMS, &[]),
            latency: metrics.histogram(names::DELIVERY_SECONDS, &[]),
            metrics: metrics.clone(),
        };
        let queue = Self { lanes, turn: AtomicUsize::new(0), books: Arc::new(books), spool };
        queue.announce_limit();
        queue
    }

    /// Shows how much it takes.
    pub(crate) fn announce_limit(&self) {
        let books = &self.books;
        books.metrics.gauge(names::QUEUE_LIMIT_BYTES, &[]).set(books.level.limit_bytes() as f64);
        self.spool.iter().for_each(|spool| spool.announce_limit());
    }

    /// Takes room for one request.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing is taken then.
    pub fn reserve(self: &Arc<Self>, bytes: usize, items: u64) -> Result<Slot, NoRoom> {
        let books = &self.books;
        // The disk first: giving back room in memory wakes those who wait for it, and that may be who asks here.
        let disk = match &self.spool {
            Some(spool) if !books.level.is_closed() => Some(spool.reserve(bytes)?),
            _ => None,
        };
        books.level.reserve(bytes)?;
        let room = Room::taken(books, bytes, items);
        Ok(Slot { queue: Arc::clone(self), room, disk })
    }

    /// What a full queue does.
    pub fn on_full(&self) -> OnFull {
        self.books.on_full
    }

    /// How long a sender may wait for room.
    pub(crate) fn max_wait(&self) -> Duration {
        self.books.max_wait
    }

    /// Lowers its limit of bytes to its share of the memory budget.
    pub(crate) fn limit_to(&self, share: usize) {
        let books = &self.books;
        books.level.limit_to(share);
        books.metrics.gauge(names::QUEUE_LIMIT_BYTES, &[]).set(books.level.limit_bytes() as f64);
    }

    /// A place among those who wait for room, with `bytes` in their hands; `None` if too much waits already. So what a
    /// destination that is down costs the memory budget has an end, and other pipelines have the rest.
    pub(crate) fn line_up(&self, bytes: usize) -> Option<InLine<'_>> {
        let most = self.limit_bytes() / LINE;
        let add =
            |had: usize| (had == 0 || had.saturating_add(bytes) <= most).then_some(had.saturating_add(bytes));
        let waits = self.books.in_line.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        waits.is_ok().then_some(InLine { queue: self, bytes })
    }

    /// Resolves when room was given back or the queue was closed. Must be made before asking for room, or a wake-up is lost.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.books.level.freed()
    }

    /// Has those who wait for room look again: there may be another way for them.
    pub(crate) fn look_again(&self) {
        self.books.level.room_elsewhere();
    }

    /// The most bytes that it takes.
    pub fn limit_bytes(&self) -> usize {
        self.books.level.limit_bytes()
    }

    /// The largest request that it takes.
    pub(crate) fn largest_request(&self) -> usize {
        self.books.level.most_bytes()
    }

    /// The exporter's counters.
    pub fn metrics(&self) -> &ComponentMetrics {
        &self.books.metrics
    }

    /// How full it is.
    pub fn level(&self) -> QueueFill {
        let level = &self.books.level;
        let (bytes, requests) = level.taken();
        QueueFill {
            bytes,
            limit_bytes: level.limit_bytes(),
            requests,
            limit_requests: level.limit_requests(),
        }
    }

    /// Takes no more; what stands in it is still delivered.
    pub fn close(&self) {
        self.books.level.close();
    }

    /// Resolves when the queue is closed; at once when it is.
    pub(crate) async fn closed(&self) {
        self.books.level.closed().await;
    }

    /// Gives up on everything in it: waiting requests are dropped with reason `shutdown` and nacked, and so are those in
    /// flight when their worker drops them.
    pub(crate) fn abandon(&self) {
        self.books.level.abandon();
        self.drop_waiting();
        if let Some(spool) = &self.spool {
            spool.abandon();
        }
    }

    fn drop_waiting(&self) {
        for lane in &self.lanes {
            while lane.pop().is_some() {}
        }
    }

    /// Records dropped since [`Queue::abandon`].
    pub(crate) fn abandoned_items(&self) -> u64 {
        self.books.abandoned_items.load(Ordering::SeqCst)
    }

    /// True when it is closed and the last request in it has its verdict.
    pub fn is_drained(&self) -> bool {
        self.books.level.is_drained()
    }

    /// Resolves when it is worth looking again. Must be made before looking, or a wake-up is lost.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.books.level.changed()
    }

    /// Fills `batch`, which must be empty, with waiting requests of one signal: at least one if there are any, then more while
    /// all together hold at most `max_bytes`. Returns false when nothing waits.
    pub(crate) fn fill(&self, batch: &mut Batch, max_bytes: usize) -> bool {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some((lane, first)) = (0..self.lanes.len()).find_map(|n| {
            let lane = &self.lanes[turn.wrapping_add(n) % self.lanes.len()];
            lane.pop().map(|queued| (lane, queued))
        }) else {
            return false;
        };
        let mut bytes = first.payload.size();
        batch.push(first);
        while bytes < max_bytes {
            let Some(next) = lane.pop() else { break };
            bytes = bytes.saturating_add(next.payload.size());
            if bytes <= max_bytes {
                batch.push(next);
                continue;
            }
            // There is always room (see `Lane`); should that be wrong, a batch too large beats a request lost.
            if let Err(next) = lane.put_back.push(next) {
                batch.push(next);
            }
        }
        // One wake-up may stand for many pushes: hand it on.
        if self.lanes.iter().any(|lane| !lane.is_empty()) {
            self.books.level.more_waits();
        }
        true
    }

    fn push(&self, queued: Queued) {
        let lane = &self.lanes[queued.payload.signal() as usize];
        if let Err(lost) = lane.waiting.push(queued) {
            // Cannot be: the slot's room was reserved. Its ticket counts it as dropped and nacks it.
            drop(lost);
        }
        // A sender that reserved before the queue closed may come after the last worker has gone.
        if self.books.level.pushed() {
            self.drop_waiting();
        }
    }
}

impl Lane {
    fn pop(&self) -> Option<Queued> {
        self.put_back.pop().or_else(|| self.waiting.pop())
    }

    fn is_empty(&self) -> bool {
        self.put_back.is_empty() && self.waiting.is_empty()
    }
}

/// A place among those who wait for room.
#[derive(Debug)]
pub(crate) struct InLine<'q> {
    queue: &'q Queue,
    bytes: usize,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.queue.books.in_line.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Room for one request that was promised and not used yet. Dropping it gives the room back.
#[derive(Debug)]
pub struct Slot {
    queue: Arc<Queue>,
    room: Room,
    disk: Option<Reserved>,
}

impl Slot {
    /// Puts the request in the queue. It may be smaller than what was reserved, or larger by what processors added.
    pub(crate) fn push(
        mut self,
        payload: Payload,
        permit: Option<PermitShare>,
        ack: Option<Ack>,
        entered: Instant,
    ) {
        self.room.resize(payload.size(), payload.items() as u64);
        if let Some(ack) = &ack {
            ack.reached(Stage::Queued);
        }
        let ticket = Ticket::new(payload.signal(), self.room, permit, ack, entered);
        let queued = Queued { payload, ticket };
        match &self.queue.spool {
            Some(_) => Queue::store(&self.queue, queued, self.disk),
            None => self.queue.push(queued),
        }
    }
}

/// A request in the queue.
#[derive(Debug)]
struct Queued {
    payload: Payload,
    ticket: Ticket,
}

/// Requests of one signal that are sent as one, and their tickets, in the same order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) payloads: Vec<Payload>,
    pub(crate) tickets: Vec<Ticket>,
}

impl Batch {
    fn push(&mut self, queued: Queued) {
        self.payloads.push(queued.payload);
        self.tickets.push(queued.ticket);
    }
}

#[cfg(test)]
mod tests {
    use model::{AckMode, Request, Verdict, Writer};
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::ComponentKind;

    fn queue(change: impl FnOnce(&mut QueueSettings)) -> Arc<Queue> {
        let mut settings = QueueSettings::default();
        change(&mut settings);
        Arc::new(Queue::new(&settings, &ComponentMetrics::new(ComponentKind::Exporter, "queue_test")))
    }

    fn request(signal: Signal, size: usize) -> Request {
        let mut writer = Writer::new();
        writer.message(1, |resource| {
            resource.message(2, |scope| scope.message(2, |_| {}));
            resource.string(3, &"x".repeat(size));
        });
        Request::receive(signal, writer.finish()).unwrap().0
    }

    fn push(queue: &Arc<Queue>, request: Request, ack: Option<Ack>) -> Result<(), NoRoom> {
        let slot = queue.reserve(request.bytes().len(), 1)?;
        slot.push(request.into(), None, ack, Instant::now());
        Ok(())
    }

    #[test]
    fn room_is_given_back_by_the_verdict() {
        let queue = queue(|s| s.max_requests = 2);
        let slot = queue.reserve(10, 1).unwrap();
        push(&queue, request(Signal::Logs, 5), None).unwrap();
        assert_eq!(queue.reserve(10, 1).unwrap_err(), NoRoom::Full);
        drop(slot);
        let mut batch = Batch::default();
        assert!(queue.fill(&mut batch, 1000));
        assert_eq!(queue.level().requests, 1, "in flight is still in the books");
        batch.tickets.remove(0).settled(&[]);
        assert_eq!((queue.level().requests, queue.level().bytes), (0, 0));
    }

    #[test]
    fn a_lost_ticket_is_a_nack() {
        let queue = queue(|_| {});
        let (ack, waiter) = Ack::new(AckMode::Delivered);
        push(&queue, request(Signal::Traces, 5), Some(ack)).unwrap();
        drop(queue);
        assert_eq!(waiter.verdict(), Some(Verdict::Nacked));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_is_drained_by_its_last_verdict() {
        let queue = queue(|_| {});
        let late = queue.reserve(10, 1).unwrap();
        queue.close();
        assert_eq!(queue.reserve(10, 1).unwrap_err(), NoRoom::Closed);
        assert!(!queue.is_drained(), "a slot is still out");
        late.push(request(Signal::Logs, 5).into(), None, None, Instant::now());
        assert!(!queue.is_drained());
        let mut batch = Batch::default();
        assert!(queue.fill(&mut batch, 0));
        batch.tickets.clear();
        assert!(queue.is_drained());
    }

    #[test]
    fn what_comes_after_the_queue_was_abandoned_is_counted() {
        let queue = queue(|_| {});
        let late = queue.reserve(10, 3).unwrap();
        queue.abandon();
        late.push(request(Signal::Logs, 5).into(), None, None, Instant::now());
        assert!(queue.is_drained());
        assert_eq!(queue.abandoned_items(), 1);
    }

    proptest! {
        #[test]
        fn every_request_comes_out_once_in_batches_that_fit(
            sizes in proptest::collection::vec((0..3_usize, 0..300_usize), 1..60),
            max_bytes in 0..1000_usize,
        ) {
            let queue = queue(|_| {});
            let mut sent: [Vec<Payload>; 3] = Default::default();
            for (lane, size) in sizes {
                let request = request(Signal::ALL[lane], size);
                sent[request.signal() as usize].push(request.clone().into());
                push(&queue, request, None).unwrap();
            }
            let mut got: [Vec<Payload>; 3] = Default::default();
            let mut batch = Batch::default();
            while queue.fill(&mut batch, max_bytes) {
                let bytes: usize = batch.payloads.iter().map(Payload::size).sum();
                prop_assert!(bytes <= max_bytes || batch.payloads.len() == 1);
                prop_assert_eq!(batch.payloads.len(), batch.tickets.len());
                for payload in batch.payloads.drain(..) {
                    got[payload.signal() as usize].push(payload);
                }
                batch.tickets.drain(..).for_each(|ticket| ticket.settled(&[]));
            }
            // One worker keeps the order of each signal.
            prop_assert_eq!(sent, got);
            prop_assert_eq!(queue.level().requests + queue.level().bytes, 0);
        }
    }
}

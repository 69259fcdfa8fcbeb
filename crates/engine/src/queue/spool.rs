//! The disk buffer behind a queue: what a sender hands over is written, and made durable together with what others hand over
//! meanwhile, before a worker sees it.
//!
//! ```text
//! Slot::push -> Disk::append -> ... fsync ... -> stored --> lane of its signal      there is room in memory: it stays there
//!                                                     '--> backlog                 it stays on the disk alone: room is given back
//!      worker <- Queue::fill (lanes) | fill_from_disk (backlog) ... verdict ... Ticket::settled -> Disk::done
//! ```
//!
//! Where order matters what is durable goes to the backlog as long as anything is in it, and lanes are emptied first: so
//! everything comes out as it went in. Elsewhere workers take from both in turn: fresh data does not wait for hours of backlog.
//!
//! Invariants:
//! - A request that is durable is in exactly one of: a lane, a worker's batch, the backlog. A batch that is dropped goes back.
//! - The lock on the state is never held while the disk works, and never taken by a receiver's thread.
//! - The items of durable requests are in the gauge as often as they are in the log: what the log says was done or dropped
//!   comes off.
//!
//! When the disk fails, requests whose senders wait for it are refused; others stay in memory and are delivered from there.
//! It does not know what a log, a segment or a file is: crate `buffer` does.

mod requests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use buffer::{
    Answer, Drops, Error, FileStorage, Flushed, Log, Record, Report, Seq, Storage, Tally, Writer,
    WriterOptions,
};
use bytes::Bytes;
use metrics::Gauge;
use model::Ack;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::requests::Pace;
use super::NoRoom;
use super::backlog::Backlog;
use crate::component::BuildError;
use crate::delivery::{BufferFull, BufferSettings};
use crate::health::BufferFill;
use crate::metrics::{ComponentMetrics, names};
use crate::outside::now_ms;

/// For how long senders are refused after the disk did not take something.
const PAUSE_MS: u64 = 1000;

/// How often what the disk did not give is asked for again.
const READ_AGAIN: Duration = Duration::from_secs(10);

pub(super) use buffer::Reservation as Reserved;

/// A log of requests, with what its storage is erased. All but `reserve` and `append` may wait for the disk.
pub(crate) trait Disk: Send + Sync {
    fn reserve(&self, bytes: usize) -> Result<Reserved, Error>;
    fn append(&self, entry: Entry, answer: Answer);
    fn read_next(&self, after: Seq) -> Result<Option<Record>, Error>;
    fn done(&self, range: RangeInclusive<Seq>) -> Tally;
    fn expire(&self, now_ms: u64) -> Tally;
    fn undelivered(&self) -> Tally;
    fn drops(&self) -> Drops;
    fn disk_bytes(&self) -> u64;
    fn set_limits(&self, limits: &BufferSettings);
    /// Calls back when everything that was handed over is answered, and every note durable.
    fn flush(&self, flushed: Flushed);
}

/// What is written for one request.
pub(crate) struct Entry {
    pub(crate) room: Option<Reserved>,
    pub(crate) entered_ms: u64,
    pub(crate) tag: u8,
    pub(crate) items: u32,
    pub(crate) bytes: Bytes,
}

impl<S: Storage> Disk for Writer<S> {
    fn reserve(&self, bytes: usize) -> Result<Reserved, Error> {
        Writer::reserve(self, bytes)
    }

    fn append(&self, entry: Entry, answer: Answer) {
        let Entry { room, entered_ms, tag, items, bytes } = entry;
        self.try_append(room, entered_ms, tag, items, bytes, answer);
    }

    fn read_next(&self, after: Seq) -> Result<Option<Record>, Error> {
        Writer::read_next(self, after)
    }

    fn done(&self, range: RangeInclusive<Seq>) -> Tally {
        Writer::done(self, range)
    }

    fn expire(&self, now_ms: u64) -> Tally {
        Writer::expire(self, now_ms)
    }

    fn undelivered(&self) -> Tally {
        Writer::undelivered(self)
    }

    fn drops(&self) -> Drops {
        Writer::drops(self)
    }

    fn disk_bytes(&self) -> u64 {
        Writer::disk_bytes(self)
    }

    fn set_limits(&self, limits: &BufferSettings) {
        let buffer::Options { max_bytes, max_records, max_age_ms, on_full, .. } = options(limits);
        Writer::set_limits(self, max_bytes, max_records, max_age_ms, on_full);
    }

    fn flush(&self, flushed: Flushed) {
        self.flush_with(flushed);
    }
}

/// Where work is done that may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// On the runtime's threads for it.
    Pool,
    /// On the caller's thread: for a simulated disk, whose runs are to be repeated.
    #[cfg_attr(not(test), allow(dead_code, reason = "the simulation uses it"))]
    Here,
}

/// The disk buffer of one exporter's queue.
pub(crate) struct Spool {
    disk: Box<dyn Disk>,
    limit_bytes: AtomicU64,
    ordered: bool,
    /// What is not delivered whole stays: [`BufferSettings::replay`].
    replay: bool,
    blocking: Blocking,
    clock: Clock,
    state: Mutex<State>,
    /// What an earlier run left, until somebody delivers it.
    found: Mutex<Option<(Report, Seq)>>,
    /// Requests that were handed to the disk and have no answer yet.
    writing: AtomicUsize,
    /// Requests were kept in memory that the disk did not take.
    memory_only: AtomicBool,
    refused_until_ms: AtomicU64,
    pace: Pace,
    metrics: ComponentMetrics,
    gauges: Gauges,
}

struct Gauges {
    /// What the whole queue holds; of it the spool counts what is durable.
    items: Gauge,
    buffered_items: Gauge,
    buffered_bytes: Gauge,
    disk_bytes: Gauge,
}

#[derive(Default)]
struct State {
    backlog: Backlog,
    /// Claims on a part of the backlog.
    reading: usize,
    /// Senders that wait for the delivery of what is in the backlog.
    waiting: BTreeMap<Seq, Ack>,
    /// Nobody delivers any more: what is left is for the next start.
    abandoned: bool,
    /// Requests that stay where they are until the next start.
    left: u64,
    /// What the disk did not give.
    unreadable: Vec<Seq>,
    read_again: Option<Instant>,
    /// What of the log's drops is counted.
    counted: Drops,
    /// As it was at the last upkeep.
    fill: BufferFill,
}

/// Milliseconds since 1970 that do not jump while the program runs.
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn start() -> Self {
        Self { started: Instant::now(), started_ms: now_ms() }
    }

    fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }

    fn instant(&self, at_ms: u64) -> Instant {
        let age = Duration::from_millis(self.now_ms().saturating_sub(at_ms));
        let now = Instant::now();
        now.checked_sub(age).unwrap_or(now)
    }
}

/// A request's place in the disk buffer.
pub(super) struct Stored {
    spool: Arc<Spool>,
    seq: Seq,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({})", self.seq)
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({})", self.metrics.id())
    }
}

impl Stored {
    /// Notes that the request is delivered or, if `lost`, given up; false if it is not for us to count: the log has dropped it
    /// meanwhile, or it stays.
    pub(super) fn done(self, lost: bool) -> bool {
        if lost && self.spool.replay {
            self.spool.lock().left += 1;
            return false;
        }
        let tally = self.spool.disk.done(self.seq..=self.seq);
        self.spool.gauges.items.decrement(tally.items as f64);
        tally.records > 0
    }

    /// Leaves the request to another worker.
    pub(super) fn give_back(self, ack: Option<Ack>) {
        let nacked = self.spool.lock().keep(self.seq, ack);
        drop(nacked);
    }
}

impl State {
    fn keep(&mut self, seq: Seq, ack: Option<Ack>) -> Option<Ack> {
        self.backlog.insert(seq..=seq);
        self.wait(seq, ack)
    }

    /// A sender waits for the delivery of a request. Given back, to be dropped without the lock, which is the nack, if nobody will
    /// deliver it any more.
    #[must_use = "dropping it is the nack"]
    fn wait(&mut self, seq: Seq, ack: Option<Ack>) -> Option<Ack> {
        if self.abandoned {
            return ack;
        }
        self.waiting.extend(ack.map(|ack| (seq, ack)));
        None
    }

    /// Nothing is on the disk alone.
    fn is_caught_up(&self) -> bool {
        self.backlog.is_empty() && self.reading == 0
    }
}

/// A part of the backlog that one worker reads. What it has not read when it is dropped goes back.
struct Claim {
    spool: Arc<Spool>,
    next: Seq,
    last: Seq,
}

impl Claim {
    fn is_left(&self) -> bool {
        self.next <= self.last
    }

    /// Nothing before `next` is left. Who waits for what was not there, since the log has dropped it, is nacked.
    fn advance(&mut self, next: Seq) -> Option<Ack> {
        let mut state = self.spool.lock();
        let last = state.waiting.remove(&next.saturating_sub(1));
        let gone: Vec<_> = state.waiting.range(self.next..next).map(|(seq, _)| *seq).collect();
        let gone: Vec<_> = gone.iter().filter_map(|seq| state.waiting.remove(seq)).collect();
        drop(state);
        drop(gone);
        self.next = next;
        last
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.spool.lock();
        state.reading -= 1;
        if self.next <= self.last {
            state.backlog.insert(self.next..=self.last);
        }
    }
}

impl Spool {
    /// Opens the folder, and reads what is in it.
    pub(crate) fn open(
        settings: &BufferSettings,
        waiting: usize,
        ordered: bool,
        metrics: &ComponentMetrics,
    ) -> Result<Arc<Self>, BuildError> {
        let failed = |error: Error| BuildError::because(format!("buffer.directory: {error}"), error);
        #[cfg(test)]
        if let Some(spool) = Self::simulated(waiting, ordered, metrics) {
            return spool.map_err(failed);
        }
        let storage = FileStorage::open(&settings.directory).map_err(failed)?;
        let log = Log::open(storage, options(settings)).map_err(failed)?;
        let (report, next_seq) = (log.report().clone(), log.next_seq());
        let window = Duration::from_millis(settings.window_ms);
        // Every request that has room in the queue has a place in the writer's channel.
        let writer = Writer::spawn(log, WriterOptions { waiting, window, ..WriterOptions::default() });
        let disk = Box::new(writer.map_err(failed)?);
        let mut spool = Self::new(disk, settings.max_bytes, ordered, Blocking::Pool, metrics);
        spool.replay = settings.replay;
        *spool.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((report, next_seq));
        Ok(Arc::new(spool))
    }

    /// On the disk of a simulation, if there is one.
    #[cfg(test)]
    fn simulated(
        waiting: usize,
        ordered: bool,
        metrics: &ComponentMetrics,
    ) -> Option<Result<Arc<Self>, Error>> {
        use crate::outside::simulated;
        let (disk, options) = simulated::with(|outside| (outside.disk.clone(), outside.options.clone()))?;
        let limit_bytes = options.max_bytes;
        let log = match Log::open(disk, options) {
            Ok(log) => log,
            Err(error) => return Some(Err(error)),
        };
        let (report, next_seq) = (log.report().clone(), log.next_seq());
        let (writer, driver) = Writer::new(log, WriterOptions { waiting, ..WriterOptions::default() });
        simulated::drive(driver);
        let spool = Self::new(Box::new(writer), limit_bytes, ordered, Blocking::Here, metrics);
        spool.recover(&report, next_seq);
        let spool = Arc::new(spool);
        simulated::with(|outside| outside.spool = Arc::downgrade(&spool));
        Some(Ok(spool))
    }

    /// Takes up what [`open`](Self::open) found. Apart from it, since a reload that fails opens folders for nothing.
    pub(crate) fn begin(&self) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((report, next_seq)) = found {
            self.recover(&report, next_seq);
        }
    }

    /// Shows how much it takes.
    pub(super) fn announce_limit(&self) {
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        self.metrics.gauge(names::BUFFER_LIMIT_BYTES, &[]).set(limit as f64);
    }

    /// Takes what stays on the disk out of the books of this process. Returns its items.
    pub(crate) async fn leave(self: &Arc<Self>) -> u64 {
        let items = self.flush().await;
        self.gauges.items.decrement(items as f64);
        for gauge in [&self.gauges.buffered_items, &self.gauges.buffered_bytes, &self.gauges.disk_bytes] {
            gauge.set(0.0);
        }
        items
    }

    /// Other limits from now on; folder and window stay.
    pub(crate) fn set_limits(&self, settings: &BufferSettings) {
        self.limit_bytes.store(settings.max_bytes, Ordering::Relaxed);
        self.disk.set_limits(settings);
        self.announce_limit();
    }

    pub(crate) fn new(
        disk: Box<dyn Disk>,
        limit_bytes: u64,
        ordered: bool,
        blocking: Blocking,
        metrics: &ComponentMetrics,
    ) -> Self {
        let gauge = |name| metrics.gauge(name, &[]);
        ["buffer_full", "buffer_expired", "buffer_damaged", "buffer_failed"]
            .iter()
            .for_each(|reason| metrics.dropped(reason, 0));
        Self {
            disk,
            limit_bytes: AtomicU64::new(limit_bytes),
            ordered,
            replay: false,
            blocking,
            clock: Clock::start(),
            state: Mutex::default(),
            found: Mutex::default(),
            writing: AtomicUsize::new(0),
            memory_only: AtomicBool::new(false),
            refused_until_ms: AtomicU64::new(0),
            pace: Pace::default(),
            gauges: Gauges {
                items: gauge(names::QUEUE_ITEMS),
                buffered_items: gauge(names::BUFFER_ITEMS),
                buffered_bytes: gauge(names::BUFFER_BYTES),
                disk_bytes: gauge(names::BUFFER_DISK_BYTES),
            },
            metrics: metrics.clone(),
        }
    }

    /// Takes up what an earlier run left: everything before `next_seq`.
    pub(crate) fn recover(&self, report: &Report, next_seq: Seq) {
        let Report { undelivered, damaged, .. } = report;
        let recovered = undelivered.items + damaged.items;
        self.metrics.counter(names::BUFFER_RECOVERED_ITEMS, &[]).increment(recovered);
        self.metrics.dropped("buffer_damaged", damaged.items);
        self.gauges.items.increment(undelivered.items as f64);
        if undelivered.records > 0 {
            self.lock().backlog.insert(1..=next_seq.saturating_sub(1));
        }
        self.upkeep();
        let exporter = self.metrics.id();
        if undelivered.records > 0 {
            let (items, bytes) = (undelivered.items, undelivered.bytes);
            tracing::info!(
                exporter,
                items,
                bytes,
                "the disk buffer holds records of an earlier run: delivering them"
            );
        }
        if !report.is_clean() {
            let (damaged, lost_bytes, unreadable_bytes) =
                (damaged.items, report.lost_bytes + report.damaged_bytes, report.unreadable_bytes);
            tracing::warn!(
                exporter,
                damaged,
                lost_bytes,
                unreadable_bytes,
                "the disk buffer is damaged; what is sound in it is delivered. `floodway buffer check` says more"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what may wait for the disk. `None` if the runtime is ending, or `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Option<T> {
        let spool = Arc::clone(self);
        match self.blocking {
            Blocking::Here => Some(work(&spool)),
            Blocking::Pool => tokio::task::spawn_blocking(move || work(&spool)).await.ok(),
        }
    }

    pub(super) fn reserve(&self, bytes: usize) -> Result<Reserved, NoRoom> {
        let until = self.refused_until_ms.load(Ordering::Relaxed);
        if until > 0 && self.clock.now_ms() < until {
            return Err(NoRoom::Disk);
        }
        self.disk.reserve(bytes).map_err(|error| match error {
            Error::TooLarge { .. } => NoRoom::TooLarge,
            _ => NoRoom::Disk,
        })
    }

    /// How full it is, as of a moment ago.
    pub(crate) fn fill(&self) -> BufferFill {
        self.lock().fill.clone()
    }

    /// Whether nothing is left to deliver.
    pub(crate) fn is_empty(&self) -> bool {
        self.disk.undelivered().records == 0 && self.has_all()
    }

    /// Whether everything that is in memory is on the disk as well.
    pub(crate) fn has_all(&self) -> bool {
        self.writing.load(Ordering::Acquire) == 0 && !self.memory_only.load(Ordering::Acquire)
    }

    /// Waits until what was handed over is durable and what was delivered is noted. Returns the items that stay on the disk.
    pub(crate) async fn flush(self: &Arc<Self>) -> u64 {
        // What is dropped now for its age is to be noted too.
        self.run(|spool| spool.upkeep()).await;
        let (flushed, done) = oneshot::channel();
        self.disk.flush(Box::new(move |_| {
            let _ = flushed.send(());
        }));
        // An error is in the log; what is not noted is delivered twice.
        let _ = done.await;
        self.account();
        self.disk.undelivered().items
    }

    /// What is on the disk stays there: who waits for its delivery is nacked.
    pub(super) fn abandon(&self) {
        let waiting = {
            let mut state = self.lock();
            state.abandoned = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }

    /// To be called now and then: drops what is too old, and brings the books up to date.
    pub(crate) fn upkeep(&self) {
        self.disk.expire(self.clock.now_ms());
        self.account();
    }

    /// Brings the books up to date.
    pub(crate) fn account(&self) {
        let (drops, undelivered, disk_bytes) =
            (self.disk.drops(), self.disk.undelivered(), self.disk.disk_bytes());
        let mut state = self.lock();
        let counted = std::mem::replace(&mut state.counted, drops);
        state.fill.items = undelivered.items;
        state.fill.requests = undelivered.records;
        state.fill.bytes = undelivered.bytes;
        state.fill.disk_bytes = disk_bytes;
        state.fill.limit_bytes = self.limit_bytes.load(Ordering::Relaxed);
        state.fill.left_requests = state.left;
        if state.read_again.is_some_and(|at| at <= Instant::now()) {
            state.read_again = None;
            for seq in std::mem::take(&mut state.unreadable) {
                state.backlog.insert(seq..=seq);
            }
        }
        drop(state);
        self.gauges.buffered_items.set(undelivered.items as f64);
        self.gauges.buffered_bytes.set(undelivered.bytes as f64);
        self.gauges.disk_bytes.set(disk_bytes as f64);
        let dropped = |reason, now: Tally, before: Tally| {
            let items = now.items - before.items;
            self.metrics.dropped(reason, items);
            self.gauges.items.decrement(items as f64);
        };
        dropped("buffer_full", drops.full, counted.full);
        dropped("buffer_expired", drops.expired, counted.expired);
        dropped("buffer_damaged", drops.damaged, counted.damaged);
    }

    fn works(&self) {
        if self.refused_until_ms.load(Ordering::Relaxed) != 0 {
            self.refused_until_ms.store(0, Ordering::Relaxed);
            self.lock().fill.last_error = None;
        }
    }

    fn failed(&self, error: &Error) {
        self.refused_until_ms.store(self.clock.now_ms() + PAUSE_MS, Ordering::Relaxed);
        self.lock().fill.last_error = Some(error.to_string());
    }

    fn claim(self: &Arc<Self>) -> Option<Claim> {
        let mut state = self.lock();
        let (next, last) = state.backlog.take_first()?.into_inner();
        state.reading += 1;
        Some(Claim { spool: Arc::clone(self), next, last })
    }
}

fn options(settings: &BufferSettings) -> buffer::Options {
    buffer::Options {
        max_bytes: settings.max_bytes,
        max_records: settings.max_requests,
        max_age_ms: settings.max_age_ms,
        on_full: match settings.on_full {
            BufferFull::Refuse => buffer::OnFull::Refuse,
            BufferFull::DropOldest => buffer::OnFull::DropOldest,
        },
        ..buffer::Options::default()
    }
}

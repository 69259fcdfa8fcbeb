//! A thread that writes for many senders and syncs once for all that wait.
//!
//! ```text
//! append --bounded channel--> [ all that has come: write ] -> [ one fsync, log unlocked ] -> answers
//!                                        ^---- what comes meanwhile goes with the next -------'
//! ```
//!
//! Invariants:
//! - Each append that was taken is answered exactly once, also if the thread ends early.
//! - The log is locked while one record is written or read, or something noted; never during a sync of records nor an answer.
//! - What asks for room or for counts ([`Writer::reserve`], [`Writer::counts`]) or hands over ([`Writer::try_append`],
//!   [`Writer::flush_with`], [`Writer::set_limits`]) waits neither for the disk nor for the log. All else may: no call for a thread
//!   that must not block.
//!
//! It has no clock: who appends says when. It bounds the number of appends that wait, not their bytes: senders hold room or count
//! for themselves. [`driver`] is the thread's side of it.

mod driver;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use crate::Seq;
use crate::error::Error;
use crate::log::{Log, Record};
use crate::options::OnFull;
use crate::report::{Counts, Drops, Report, Tally};
use crate::room::{Reservation, Room};
use crate::storage::Storage;

pub use driver::Driver;

/// What an append is told, on the writer's thread: its number, durable from now on, or why not. It must not block.
pub type Answer = Box<dyn FnOnce(Result<Seq, Error>) + Send>;

/// What a flush is told, on the writer's thread. It must not block.
pub type Flushed = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// How the thread batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Appends that may wait. Default 1024.
    pub waiting: usize,
    /// Payload bytes after which a batch is synced though more is waiting. Default 16 MiB.
    pub batch_bytes: usize,
    /// How long a batch waits for company once its first append has come. Default none: what comes during an fsync is the
    /// next batch.
    pub window: Duration,
    /// How long notes of what is done may wait for an append to go along with. Default 200 ms.
    pub notes_after: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            waiting: 1024,
            batch_bytes: 16 << 20,
            window: Duration::ZERO,
            notes_after: Duration::from_millis(200),
        }
    }
}

/// A log on a thread. Dropping it writes and answers what is waiting, and waits for that.
#[derive(Debug)]
pub struct Writer<S: Storage> {
    log: Arc<Mutex<Log<S>>>,
    sender: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the writer and its driver share, the log apart.
#[derive(Debug)]
struct Shared {
    room: Arc<Room>,
    /// There are notes, and the driver was told.
    notes: AtomicBool,
    /// The driver was woken, and has not begun a commit since.
    woken: AtomicBool,
    /// Appends that were handed over, or are being so: counted before they are sent, so that none that is in the channel is missing.
    sent: AtomicU64,
    /// Who waits for a flush; `None` when the driver is gone.
    flushes: Mutex<Option<Vec<Flush>>>,
}

/// Somebody who waits until the appends of this moment are answered, and its notes durable.
struct Flush {
    /// With so many taken in, all of this moment are: a channel keeps the order.
    appends: u64,
    answer: Answered<()>,
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush").field("appends", &self.appends).finish_non_exhaustive()
    }
}

enum Message {
    Append(Append),
    /// There are notes to write.
    Notes,
    /// Somebody waits for something else than an append.
    Now,
}

struct Append {
    entered_ms: u64,
    tag: u8,
    items: u32,
    payload: Bytes,
    room: Option<Reservation>,
    answer: Answered,
}

type Callback<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// An answer that is given, if only when it is dropped.
struct Answered<T = Seq>(Option<Callback<T>>);

impl<T> Answered<T> {
    fn give(mut self, result: Result<T, Error>) {
        self.call(result);
    }

    fn call(&mut self, result: Result<T, Error>) {
        if let Some(answer) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| answer(result))).is_err()
        {
            tracing::error!("an answer of the disk buffer panicked; this is a bug, please report it");
        }
    }
}

impl<T> Drop for Answered<T> {
    fn drop(&mut self) {
        self.call(Err(Error::Closed));
    }
}

fn lock<S: Storage>(log: &Mutex<Log<S>>) -> MutexGuard<'_, Log<S>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Storage> Writer<S> {
    /// A writer and what must be run for it, on a thread of its own or step by step.
    pub fn new(log: Log<S>, options: WriterOptions) -> (Self, Driver<S>) {
        // Each of the other messages is there once at most, and takes no append's place.
        let (sender, receiver) = sync_channel(options.waiting.max(1) + 2);
        let shared = Arc::new(Shared {
            room: Arc::clone(log.room()),
            notes: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            flushes: Mutex::new(Some(Vec::new())),
        });
        let log = Arc::new(Mutex::new(log));
        let driver = Driver::new(Arc::clone(&log), receiver, options, Arc::clone(&shared));
        (Self { log, sender: Some(sender), thread: None, shared }, driver)
    }

    /// As [`Writer::new`], with the driver on a thread.
    ///
    /// # Errors
    /// [`Error::Open`] if the system gives no thread.
    pub fn spawn(log: Log<S>, options: WriterOptions) -> Result<Self, Error> {
        let (mut writer, driver) = Self::new(log, options);
        let thread = std::thread::Builder::new()
            .name("buffer".to_owned())
            .spawn(move || driver.run())
            .map_err(|source| Error::open("start the buffer's thread".to_owned(), source))?;
        writer.thread = Some(thread);
        Ok(writer)
    }

    /// Takes room for a payload of so many bytes, so that its append is not refused as [`Error::Full`]. Never waits. With
    /// [`OnFull::DropOldest`] there is always room: the append makes it.
    ///
    /// # Errors
    /// [`Error::Full`]; room that the log can make by itself is there shortly after. [`Error::TooLarge`].
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let room = self.shared.room.reserve(bytes);
        if let Err(Error::Full { .. }) = room
            && self.shared.room.want()
        {
            self.wake();
        }
        room
    }

    /// Hands over a record, waiting while [`WriterOptions::waiting`] others wait; `answer` is called when it is durable or has
    /// failed. `room` is what [`Writer::reserve`] gave, if it was asked; a payload that is larger takes the difference.
    pub fn append(
        &self,
        room: Option<Reservation>,
        entered_ms: u64,
        tag: u8,
        items: u32,
        payload: Bytes,
        answer: Answer,
    ) {
        let append = Append { entered_ms, tag, items, payload, room, answer: Answered(Some(answer)) };
        let Some(sender) = &self.sender else { return };
        self.shared.sent.fetch_add(1, Ordering::AcqRel);
        if let Err(refused) = sender.send(Message::Append(append)) {
            // The driver is gone; dropping the append answers it.
            drop(refused);
        }
    }

    /// As [`Writer::append`], but never waits: with too many others waiting the answer is [`Error::Busy`], given at once.
    pub fn try_append(
        &self,
        room: Option<Reservation>,
        entered_ms: u64,
        tag: u8,
        items: u32,
        payload: Bytes,
        answer: Answer,
    ) {
        let append = Append { entered_ms, tag, items, payload, room, answer: Answered(Some(answer)) };
        let Some(sender) = &self.sender else { return };
        self.shared.sent.fetch_add(1, Ordering::AcqRel);
        match sender.try_send(Message::Append(append)) {
            Ok(()) => {}
            Err(TrySendError::Full(Message::Append(append))) => {
                self.shared.sent.fetch_sub(1, Ordering::AcqRel);
                append.answer.give(Err(Error::Busy));
            }
            Err(refused) => drop(refused),
        }
    }

    /// As [`Log::read_next`].
    ///
    /// # Errors
    /// As there.
    pub fn read_next(&self, after: Seq) -> Result<Option<Record>, Error> {
        lock(&self.log).read_next(after)
    }

    /// As [`Log::done`]; the note is durable after the next append's fsync, at the latest after
    /// [`WriterOptions::notes_after`] and one more.
    pub fn done(&self, range: RangeInclusive<Seq>) -> Tally {
        let tally = lock(&self.log).done(range);
        self.note(tally);
        tally
    }

    /// As [`Log::expire`].
    pub fn expire(&self, now_ms: u64) -> Tally {
        let tally = lock(&self.log).expire(now_ms);
        self.note(tally);
        tally
    }

    /// As [`Log::undelivered`]. Never waits.
    pub fn undelivered(&self) -> Tally {
        self.counts().undelivered
    }

    /// As [`Log::drops`]. Never waits.
    pub fn drops(&self) -> Drops {
        self.counts().drops
    }

    /// As [`Log::counts`]. Never waits.
    pub fn counts(&self) -> Counts {
        *self.shared.room.counts()
    }

    /// As [`Log::disk_bytes`]. Never waits.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.room.bytes.used()
    }

    /// As [`Log::reserved_bytes`]. Never waits.
    pub fn reserved_bytes(&self) -> u64 {
        self.shared.room.bytes.reserved()
    }

    /// As [`Log::report`].
    pub fn report(&self) -> Report {
        lock(&self.log).report().clone()
    }

    /// As [`Log::set_limits`]. Never waits.
    pub fn set_limits(&self, max_bytes: u64, max_records: u64, max_age_ms: Option<u64>, on_full: OnFull) {
        self.shared.room.set_limits(max_bytes, max_records, max_age_ms, on_full);
        self.shared.room.want();
        self.wake();
    }

    /// Waits until all appends that were handed over before are answered, and all notes durable.
    ///
    /// # Errors
    /// Of the commit that was to make them durable; they stay to be written. [`Error::Closed`] if the thread has ended.
    pub fn flush(&self) -> Result<(), Error> {
        let (flushed, result) = sync_channel(1);
        self.flush_with(Box::new(move |result| drop(flushed.send(result))));
        result.recv().unwrap_or(Err(Error::Closed))
    }

    /// As [`Writer::flush`], but never waits: `answer` is called.
    pub fn flush_with(&self, answer: Flushed) {
        let appends = self.shared.sent.load(Ordering::Acquire);
        let flush = Flush { appends, answer: Answered(Some(answer)) };
        let refused = match &mut *self.shared.flushes() {
            Some(flushes) => {
                flushes.push(flush);
                None
            }
            None => Some(flush),
        };
        // Answered by being dropped, with nothing locked.
        drop(refused);
        self.wake();
    }

    /// Writes and answers what is waiting, and ends the thread.
    ///
    /// # Errors
    /// As [`Writer::flush`]. It has ended all the same: what was not noted as done comes again when the log is opened.
    pub fn close(self) -> Result<(), Error> {
        let flushed = self.flush();
        drop(self);
        flushed
    }

    /// Says once that there are notes.
    fn note(&self, done: Tally) {
        if done.records > 0 && !self.shared.notes.swap(true, Ordering::AcqRel) {
            self.tell(Message::Notes);
        }
    }

    /// Makes the driver look at what it is not sent.
    fn wake(&self) {
        if !self.shared.woken.swap(true, Ordering::AcqRel) {
            self.tell(Message::Now);
        }
    }

    /// A channel that is full all the same means that the driver is about to commit anyway.
    fn tell(&self, message: Message) {
        if let Some(sender) = &self.sender
            && let Err(full) = sender.try_send(message)
        {
            drop(full);
        }
    }
}

impl Shared {
    fn flushes(&self) -> MutexGuard<'_, Option<Vec<Flush>>> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Storage> Drop for Writer<S> {
    fn drop(&mut self) {
        self.sender = None;
        // An answer may own the last handle on the writer: the thread does not wait for itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the disk buffer's thread panicked; this is a bug, please report it");
        }
    }
}

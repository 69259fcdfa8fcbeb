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
//!
//! All but [`Writer::try_append`] may wait for the disk: no call for a thread that must not block.
//!
//! It has no clock: who appends says when. It bounds the number of appends that wait, not their bytes: senders hold room
//! ([`Writer::reserve`]) or count for themselves.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Seq;
use crate::error::Error;
use crate::log::{Committed, Log, Record, Reservation};
use crate::report::{Drops, Report, Tally};
use crate::storage::Storage;

/// What an append is told, on the writer's thread: its number, durable from now on, or why not. It must not block.
pub type Answer = Box<dyn FnOnce(Result<Seq, Error>) + Send>;

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
    notes: Arc<AtomicBool>,
}

enum Message {
    Append(Append),
    /// There are notes to write.
    Notes,
}

struct Append {
    entered_ms: u64,
    tag: u8,
    items: u32,
    payload: Bytes,
    room: Option<Reservation>,
    answer: Answered,
}

/// An answer that is given, if only when it is dropped.
struct Answered(Option<Answer>);

impl Answered {
    fn give(mut self, result: Result<Seq, Error>) {
        self.call(result);
    }

    fn call(&mut self, result: Result<Seq, Error>) {
        if let Some(answer) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| answer(result))).is_err()
        {
            tracing::error!("an answer of the disk buffer panicked; this is a bug, please report it");
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.call(Err(Error::Closed));
    }
}

fn lock<S: Storage>(log: &Mutex<Log<S>>) -> MutexGuard<'_, Log<S>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Storage> Writer<S> {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Open`] if the system gives no thread.
    pub fn spawn(log: Log<S>, options: WriterOptions) -> Result<Self, Error> {
        let (sender, receiver) = sync_channel(options.waiting.max(1));
        let log = Arc::new(Mutex::new(log));
        let notes = Arc::new(AtomicBool::new(false));
        let driver = Driver {
            log: Arc::clone(&log),
            receiver,
            options,
            notes: Arc::clone(&notes),
            written: Vec::new(),
            notes_since: None,
            failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("buffer".to_owned())
            .spawn(move || driver.run())
            .map_err(|source| Error::open("start the buffer's thread".to_owned(), source))?;
        Ok(Self { log, sender: Some(sender), thread: Some(thread), notes })
    }

    /// Takes room for a payload of so many bytes, so that its append cannot be refused as [`Error::Full`].
    ///
    /// # Errors
    /// As [`Log::reserve`].
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        lock(&self.log).reserve(bytes)
    }

    /// Hands over a record, waiting while [`WriterOptions::waiting`] others wait; `answer` is called when it is durable or has
    /// failed. `room` is what [`Writer::reserve`] gave, if it was asked.
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
        if let Some(sender) = &self.sender
            && let Err(refused) = sender.send(Message::Append(append))
        {
            // The thread is gone; dropping the append answers it.
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
        if let Err(TrySendError::Full(Message::Append(append))) = sender.try_send(Message::Append(append)) {
            append.answer.give(Err(Error::Busy));
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
        self.wake();
        tally
    }

    /// As [`Log::expire`].
    pub fn expire(&self, now_ms: u64) -> Tally {
        let tally = lock(&self.log).expire(now_ms);
        self.wake();
        tally
    }

    /// As [`Log::undelivered`].
    pub fn undelivered(&self) -> Tally {
        lock(&self.log).undelivered()
    }

    /// As [`Log::drops`].
    pub fn drops(&self) -> Drops {
        lock(&self.log).drops()
    }

    /// As [`Log::disk_bytes`].
    pub fn disk_bytes(&self) -> u64 {
        lock(&self.log).disk_bytes()
    }

    /// As [`Log::report`].
    pub fn report(&self) -> Report {
        lock(&self.log).report().clone()
    }

    /// Says once that there are notes. A full channel means that the thread is about to commit anyway.
    fn wake(&self) {
        if let Some(sender) = &self.sender
            && !self.notes.swap(true, Ordering::AcqRel)
            && let Err(full) = sender.try_send(Message::Notes)
        {
            drop(full);
        }
    }
}

impl<S: Storage> Drop for Writer<S> {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the disk buffer's thread panicked; this is a bug, please report it");
        }
    }
}

struct Driver<S: Storage> {
    log: Arc<Mutex<Log<S>>>,
    receiver: Receiver<Message>,
    options: WriterOptions,
    notes: Arc<AtomicBool>,
    /// Written and waiting for the fsync.
    written: Vec<(Seq, Answered)>,
    /// Since when there are notes that may wait for an append.
    notes_since: Option<Instant>,
    /// The last commit failed, which was said.
    failing: bool,
}

impl<S: Storage> Driver<S> {
    fn run(mut self) {
        let mut batch = Vec::new();
        while self.wait(&mut batch) {
            self.commit(&mut batch);
        }
        self.commit(&mut batch);
        lock(&self.log).close();
    }

    /// Waits for something to commit; false when all senders are gone.
    fn wait(&mut self, batch: &mut Vec<Append>) -> bool {
        loop {
            let message = match self.notes_since {
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => {
                    let left = self.options.notes_after.saturating_sub(since.elapsed());
                    self.receiver.recv_timeout(left)
                }
            };
            match message {
                Ok(Message::Append(append)) => {
                    batch.push(append);
                    self.gather(batch);
                    return true;
                }
                Ok(Message::Notes) => self.notes_since = self.notes_since.or_else(|| Some(Instant::now())),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Takes what else has come, or comes within the window.
    fn gather(&mut self, batch: &mut Vec<Append>) {
        let started = Instant::now();
        let mut bytes: usize = batch.iter().map(|append| append.payload.len()).sum();
        while bytes < self.options.batch_bytes && batch.len() < self.options.waiting.max(1) {
            let left = self.options.window.saturating_sub(started.elapsed());
            let message = if left.is_zero() {
                self.receiver.try_recv().ok()
            } else {
                self.receiver.recv_timeout(left).ok()
            };
            match message {
                Some(Message::Append(append)) => {
                    bytes += append.payload.len();
                    batch.push(append);
                }
                Some(Message::Notes) => {}
                None => break,
            }
        }
    }

    fn commit(&mut self, batch: &mut Vec<Append>) {
        // Before the notes are written: who comes later says so anew.
        self.notes.store(false, Ordering::Release);
        self.notes_since = None;
        for append in batch.drain(..) {
            let Append { entered_ms, tag, items, payload, room, answer } = append;
            let appended = match room {
                Some(room) => lock(&self.log).append_reserved(room, entered_ms, tag, items, &payload),
                None => lock(&self.log).append(entered_ms, tag, items, &payload),
            };
            match appended {
                Ok(seq) => self.written.push((seq, answer)),
                Err(error) => answer.give(Err(error)),
            }
        }
        let syncing = lock(&self.log).begin_commit();
        let synced = syncing.run();
        let committed = {
            let mut log = lock(&self.log);
            let committed = log.finish_commit(synced);
            // What failed is tried again when the next append comes, or after a while.
            self.notes_since = (!log.is_settled()).then(Instant::now);
            committed
        };
        self.answer(&committed);
    }

    fn answer(&mut self, committed: &Committed) {
        match &committed.error {
            Some(error) if !self.failing => {
                tracing::warn!("disk buffer: {error}; trying again until it works")
            }
            None if self.failing => tracing::info!("disk buffer: works again"),
            _ => {}
        }
        self.failing = committed.error.is_some();
        for (seq, answer) in self.written.drain(..) {
            answer.give(if committed.is_durable(seq) {
                Ok(seq)
            } else {
                Err(committed.error.clone().unwrap_or(Error::Closed))
            });
        }
    }
}

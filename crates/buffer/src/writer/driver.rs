//! What runs on the writer's thread: takes in what waits, commits, answers.
//!
//! Invariant: a flush is answered after a commit that began when all appends before the flush had been written.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Answered, Append, Message, Shared, WriterOptions, lock};
use crate::Seq;
use crate::error::Error;
use crate::log::{Committed, Log};
use crate::storage::Storage;

/// Writes, syncs and answers for a [`Writer`](super::Writer). Dropped before the writer, it answers all that waits with
/// [`Error::Closed`] and writes nothing more: a crash, for the log.
#[derive(Debug)]
pub struct Driver<S: Storage> {
    log: Arc<Mutex<Log<S>>>,
    receiver: Receiver<Message>,
    options: WriterOptions,
    shared: Arc<Shared>,
    /// Taken in, to be written.
    batch: Vec<Append>,
    /// Payload bytes in it.
    batch_bytes: usize,
    /// Appends taken in since the start.
    taken: u64,
    /// Written and waiting for the fsync.
    written: Vec<(Seq, Answered)>,
    /// Since when there are notes that may wait for an append.
    notes_since: Option<Instant>,
    /// The last commit failed, which was said.
    failing: bool,
}

impl std::fmt::Debug for Append {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Append").field("items", &self.items).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answered")
    }
}

impl<S: Storage> Driver<S> {
    pub(super) fn new(
        log: Arc<Mutex<Log<S>>>,
        receiver: Receiver<Message>,
        options: WriterOptions,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            log,
            receiver,
            options,
            shared,
            batch: Vec::new(),
            batch_bytes: 0,
            taken: 0,
            written: Vec::new(),
            notes_since: None,
            failing: false,
        }
    }

    /// Runs until the writer is dropped; for a thread.
    pub fn run(mut self) {
        while self.wait() {
            self.commit();
        }
        self.finish();
    }

    /// Writes, commits and answers what waits now, without waiting for more; false when the writer is dropped and all is
    /// answered. [`WriterOptions::window`] and [`WriterOptions::notes_after`] count for nothing here: whoever calls it has the clock.
    pub fn turn(&mut self) -> bool {
        let mut due = self.notes_since.is_some();
        loop {
            match self.receiver.try_recv() {
                Ok(message) => due = self.take(message) || due || self.notes_since.is_some(),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.finish();
                    return false;
                }
            }
            if self.is_full() {
                break;
            }
        }
        if due {
            self.commit();
        }
        true
    }

    /// Takes what is in the channel; whether that was all.
    fn catch_up(&mut self) -> bool {
        while !self.is_full() {
            match self.receiver.try_recv() {
                Ok(message) => drop(self.take(message)),
                Err(_) => return true,
            }
        }
        false
    }

    fn finish(&mut self) {
        self.commit();
        lock(&self.log).close();
    }

    /// Takes a message in; whether it is a reason to commit at once.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Append(append) => {
                self.batch_bytes += append.payload.len();
                self.batch.push(append);
                self.taken += 1;
                true
            }
            Message::Notes => {
                self.notes_since = self.notes_since.or_else(|| Some(Instant::now()));
                false
            }
            Message::Now => true,
        }
    }

    fn is_full(&self) -> bool {
        self.batch_bytes >= self.options.batch_bytes || self.batch.len() >= self.options.waiting.max(1)
    }

    /// Waits for something to commit; false when the writer is gone.
    fn wait(&mut self) -> bool {
        loop {
            let message = match self.notes_since {
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => {
                    let left = self.options.notes_after.saturating_sub(since.elapsed());
                    self.receiver.recv_timeout(left)
                }
            };
            match message {
                Ok(message) => {
                    if self.take(message) {
                        self.gather();
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Takes what comes within the window.
    fn gather(&mut self) {
        let started = Instant::now();
        while !self.is_full() {
            let left = self.options.window.saturating_sub(started.elapsed());
            // Who waits for a flush, or for room, does not wait for company.
            if left.is_zero() || self.batch.is_empty() {
                break;
            }
            let Ok(message) = self.receiver.recv_timeout(left) else { break };
            self.take(message);
        }
    }

    fn commit(&mut self) {
        // Before the notes are written: who comes later says so anew.
        self.shared.notes.store(false, Ordering::Release);
        self.shared.woken.store(false, Ordering::Release);
        self.notes_since = None;
        // A flush that comes from here on may have noted something that this commit does not see.
        let flushes = self.shared.flushes().as_mut().map(std::mem::take).unwrap_or_default();
        let caught_up = self.catch_up();
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        batch.drain(..).for_each(|append| self.write(append));
        self.batch = batch;
        let result = self.sync();
        for flush in flushes {
            if caught_up || flush.appends <= self.taken {
                flush.answer.give(result.clone());
            } else if let Some(flushes) = &mut *self.shared.flushes() {
                // More is in the channel, so there is a next time.
                flushes.push(flush);
            }
        }
    }

    fn write(&mut self, append: Append) {
        let Append { entered_ms, tag, items, payload, room, answer } = append;
        let room = room.map_or_else(|| lock(&self.log).reserve(payload.len()), Ok);
        let appended = room.and_then(|mut room| {
            let result = lock(&self.log).append_within(&mut room, entered_ms, tag, items, &payload);
            let may_drop = self.shared.room.drops_oldest() && !self.written.is_empty();
            if may_drop && matches!(result, Err(Error::Full { .. })) {
                // What is durable can be dropped to make room.
                self.sync().ok();
                return lock(&self.log).append_within(&mut room, entered_ms, tag, items, &payload);
            }
            result
        });
        match appended {
            Ok(seq) => self.written.push((seq, answer)),
            Err(error) => answer.give(Err(error)),
        }
    }

    /// Makes durable what is written, and answers; an error if something is not durable.
    fn sync(&mut self) -> Result<(), Error> {
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
        committed.error.map_or(Ok(()), Err)
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

impl<S: Storage> Drop for Driver<S> {
    fn drop(&mut self) {
        let flushes = self.shared.flushes().take();
        // Answered with nothing locked.
        drop(flushes);
    }
}

//! Who has how much of the log's room, and what became of its records: what senders and observers ask for without waiting for
//! the disk. The log and its [`Writer`](crate::Writer) share it.
//!
//! Invariants:
//! - `taken` is what segments use and what reservations hold, together: room is promised in one atomic step. While a record moves
//!   from its reservation into a segment it counts twice, so that nobody is promised room that is not there.
//! - Only the log, which one thread at a time has, changes what is used.
//! - The mutex of the counts is held for a few additions, never while something is read or written.
//!
//! Notes, the rest of a failed write and the block that a segment costs at least are used without having been reserved: they are
//! small, and nothing would be gained by refusing them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::options::{OnFull, Options};
use crate::record::HEADER;
use crate::report::Counts;

/// Stands for "no age is too old".
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) bytes: Account,
    pub(crate) records: Account,
    max_age_ms: AtomicU64,
    drop_oldest: AtomicBool,
    /// Somebody was refused, or the limits have changed, and nothing could be done about it yet.
    wanted: AtomicBool,
    counts: Mutex<Counts>,
}

/// Of bytes or of records.
#[derive(Debug)]
pub(crate) struct Account {
    limit: AtomicU64,
    used: AtomicU64,
    taken: AtomicU64,
}

impl Account {
    fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// What segments use.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// What reservations hold.
    pub(crate) fn reserved(&self) -> u64 {
        self.taken.load(Ordering::Acquire).saturating_sub(self.used())
    }

    /// Segments use `after` instead of `before`.
    pub(crate) fn change(&self, before: u64, after: u64) {
        if after >= before {
            self.taken.fetch_add(after - before, Ordering::AcqRel);
            self.used.fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.used.fetch_sub(before - after, Ordering::AcqRel);
            self.taken.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    fn take(&self, more: u64, checked: bool) -> bool {
        let taken = |taken: u64| taken.checked_add(more).filter(|all| !checked || *all <= self.limit());
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).is_ok()
    }

    fn give_back(&self, less: u64) {
        self.taken.fetch_sub(less, Ordering::AcqRel);
    }

    fn exceeded_by(&self, more: u64) -> bool {
        self.used().saturating_add(more) > self.limit()
    }
}

/// Room for one record, so that its append cannot be refused for want of room. Given back when dropped. Limits that are lowered
/// later do not take it back.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
    room: Arc<Room>,
}

impl Reservation {
    /// Makes it fit for a payload of so many bytes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`]; it stays as it was then.
    pub fn resize(&mut self, payload: usize) -> Result<(), Error> {
        self.change(payload, !self.room.drops_oldest())
    }

    /// As [`Reservation::resize`], but over the limits if need be: for a record that has grown after its sender was let in.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; it stays as it was then.
    pub fn stretch(&mut self, payload: usize) -> Result<(), Error> {
        self.change(payload, false)
    }

    fn change(&mut self, payload: usize, checked: bool) -> Result<(), Error> {
        let cost = on_disk(payload);
        if cost > self.bytes {
            self.room.cost(payload)?;
            if !self.room.bytes.take(cost - self.bytes, checked) {
                return Err(Error::Full { limit: "max_bytes" });
            }
        } else {
            self.room.bytes.give_back(self.bytes - cost);
        }
        self.bytes = cost;
        Ok(())
    }

    /// Whether a payload of so many bytes fits in it.
    pub(crate) fn holds(&self, payload: usize) -> bool {
        on_disk(payload) <= self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.bytes.give_back(self.bytes);
        self.room.records.give_back(1);
    }
}

/// What a record takes in a segment.
fn on_disk(payload: usize) -> u64 {
    payload as u64 + HEADER as u64
}

impl Room {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            bytes: Account::new(options.max_bytes),
            records: Account::new(options.max_records),
            max_age_ms: AtomicU64::new(options.max_age_ms.unwrap_or(NEVER)),
            drop_oldest: AtomicBool::new(options.on_full == OnFull::DropOldest),
            wanted: AtomicBool::new(false),
            counts: Mutex::default(),
        }
    }

    /// Puts other limits in place; what is reserved stays reserved.
    pub(crate) fn set_limits(
        &self,
        max_bytes: u64,
        max_records: u64,
        max_age_ms: Option<u64>,
        on_full: OnFull,
    ) {
        self.bytes.limit.store(max_bytes, Ordering::Release);
        self.records.limit.store(max_records, Ordering::Release);
        self.max_age_ms.store(max_age_ms.unwrap_or(NEVER), Ordering::Release);
        self.drop_oldest.store(on_full == OnFull::DropOldest, Ordering::Release);
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.bytes.limit()
    }

    pub(crate) fn max_age_ms(&self) -> Option<u64> {
        Some(self.max_age_ms.load(Ordering::Acquire)).filter(|age| *age != NEVER)
    }

    pub(crate) fn drops_oldest(&self) -> bool {
        self.drop_oldest.load(Ordering::Acquire)
    }

    /// What a record takes on disk.
    pub(crate) fn cost(&self, payload: usize) -> Result<u64, Error> {
        let bytes = payload as u64;
        let limit = self.max_bytes().min(u64::from(u32::MAX)).saturating_sub(HEADER as u64);
        if bytes > limit { Err(Error::TooLarge { bytes, limit }) } else { Ok(on_disk(payload)) }
    }

    /// Takes room for one record. Where the oldest are dropped there is always some: the append makes it.
    pub(crate) fn reserve(self: &Arc<Self>, payload: usize) -> Result<Reservation, Error> {
        let bytes = self.cost(payload)?;
        let checked = !self.drops_oldest();
        if !self.records.take(1, checked) {
            return Err(Error::Full { limit: "max_records" });
        }
        if !self.bytes.take(bytes, checked) {
            self.records.give_back(1);
            return Err(Error::Full { limit: "max_bytes" });
        }
        Ok(Reservation { bytes, room: Arc::clone(self) })
    }

    /// The limit that segments pass with so many bytes and records more, reservations left aside.
    pub(crate) fn exceeded(&self, bytes: u64, records: u64) -> Option<&'static str> {
        if self.bytes.exceeded_by(bytes) {
            Some("max_bytes")
        } else {
            self.records.exceeded_by(records).then_some("max_records")
        }
    }

    /// Says that room is wanted; whether that is news.
    pub(crate) fn want(&self) -> bool {
        !self.wanted.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    pub(crate) fn relieved(&self) {
        self.wanted.store(false, Ordering::Release);
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

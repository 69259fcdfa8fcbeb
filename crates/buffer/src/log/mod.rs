//! The log: segments, the index of what is in them, and the active segment, to which alone is written.
//!
//! ```text
//! segments   oldest ............................. newest
//!            [ sealed ] [ sealed ] [ sealed, unsynced ] [ active ]
//!            ^ deleted when all in it is done           ^ begun after opening, when full, after any failure
//! ```
//!
//! Invariants:
//! - A segment is written to only between its creation and its first failure, by the process that created it. So behind a
//!   half-written record nothing follows in its file. (An empty one that a full disk refused to fill is still empty.)
//! - A sequence number is given once, whatever became of its record.
//! - `open` of a segment counts its entries that are not done; `entries[..committed]` are durable; the room counts as used the
//!   sum over the segments, of at least a block each.

mod append;
mod commit;
mod read;
mod reclaim;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Seq;
use crate::error::Error;
use crate::inspect::{Entry, Surveyed, survey};
use crate::options::{OnFull, Options};
use crate::ranges::RangeSet;
use crate::record::Place;
use crate::report::{Counts, Drops, Report, Tally};
use crate::room::Room;
use crate::storage::Storage;

pub use commit::{Committed, Synced, Syncing};
pub use read::Record;

/// What a file costs at least.
const BLOCK: u64 = 4096;

/// A log of opaque bytes in a [`Storage`].
#[derive(Debug)]
pub struct Log<S: Storage> {
    storage: S,
    /// The size at which a segment is full, the limits apart.
    segment_bytes: u64,
    room: Arc<Room>,
    segments: VecDeque<Segment<S::File>>,
    /// Whether the last of the segments may be written to.
    active: bool,
    next_seq: Seq,
    next_segment: u64,
    /// Done, and not in the log yet.
    unwritten: RangeSet,
    /// Done and written, but not known to be durable.
    written: Vec<Note>,
    /// A file was removed, and the directory not synced since.
    removed: bool,
    /// The file that was read last.
    reading: Option<(u64, Arc<S::File>)>,
    report: Report,
}

#[derive(Debug)]
struct Segment<F> {
    place: Place,
    /// Open as long as there is something to write or to sync.
    file: Option<Arc<F>>,
    size: u64,
    /// How much of it is durable.
    synced: u64,
    entries: Vec<Entry>,
    /// How many of the entries are durable.
    committed: usize,
    /// How many entries are not done.
    open: usize,
    /// All entries before this one are done.
    first_open: usize,
    /// The disk did not give all of it: there may be more in it.
    unreadable: bool,
}

/// Why a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Done,
    Full,
    Expired,
    Damaged,
}

/// Notes in a segment, up to `end`.
#[derive(Debug)]
struct Note {
    segment: u64,
    end: u64,
    ranges: RangeSet,
}

impl<F> Segment<F> {
    fn disk_bytes(&self) -> u64 {
        self.size.max(BLOCK)
    }

    /// The index of the first entry with this number or a greater one.
    fn position(&self, seq: Seq) -> usize {
        self.entries.partition_point(|entry| entry.seq < seq)
    }

    fn number(&self) -> u64 {
        self.place.segment
    }
}

impl<S: Storage> Log<S> {
    /// Scans what is there ([`Log::report`] says what that was), and deletes segments of which all is done. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Open`] if the directory cannot be listed. Damage is no error.
    pub fn open(storage: S, options: Options) -> Result<Self, Error> {
        // What a killed process left in the page cache is read like what is durable: it is made so before it is relied on.
        let removed = storage.sync_dir().is_err();
        let survey = survey(&storage, &mut |_| {})?;
        let mut log = Self {
            storage,
            segment_bytes: options.segment_bytes,
            room: Arc::new(Room::new(&options)),
            segments: VecDeque::new(),
            active: false,
            next_seq: survey.next_seq,
            next_segment: survey.next_segment,
            unwritten: RangeSet::default(),
            written: Vec::new(),
            removed,
            reading: None,
            report: survey.report,
        };
        log.room.counts().undelivered = log.report.undelivered;
        for segment in survey.segments {
            log.adopt(segment);
        }
        log.reclaim();
        Ok(log)
    }

    /// Takes over a segment of an earlier process.
    fn adopt(&mut self, found: Surveyed) {
        let Surveyed { place, size, end: _, entries, notes, unreadable } = found;
        let name = place.name();
        // Nothing in it can be relied on by another segment, so it may go out of turn.
        if entries.is_empty() && notes.is_empty() && !unreadable && self.storage.remove(&name).is_ok() {
            self.removed = true;
            return;
        }
        if self.storage.open(&name).and_then(|file| crate::storage::StoredFile::sync(&file)).is_err() {
            notes.into_iter().for_each(|range| self.unwritten.insert(range));
        }
        let open = entries.iter().filter(|entry| !entry.done).count();
        let first_open = entries.iter().position(|entry| !entry.done).unwrap_or(entries.len());
        self.room.records.change(0, entries.len() as u64);
        let committed = entries.len();
        let segment = Segment {
            place,
            file: None,
            size,
            synced: size,
            entries,
            committed,
            open,
            first_open,
            unreadable,
        };
        self.room.bytes.change(0, segment.disk_bytes());
        self.segments.push_back(segment);
    }

    /// What opening found, and what it found lost.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The next record gets this number or a greater one.
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// What was given up since opening.
    pub fn drops(&self) -> Drops {
        self.counts().drops
    }

    /// What is durable and not done.
    pub fn undelivered(&self) -> Tally {
        self.counts().undelivered
    }

    /// Both of these, of one moment.
    pub fn counts(&self) -> Counts {
        *self.room.counts()
    }

    /// What all segments take on disk, in bytes, each counted with at least 4 KiB.
    pub fn disk_bytes(&self) -> u64 {
        self.room.bytes.used()
    }

    /// Room promised by [`Log::reserve`] and not used yet, in bytes.
    pub fn reserved_bytes(&self) -> u64 {
        self.room.bytes.reserved()
    }

    /// Puts other limits in place. With [`OnFull::DropOldest`] the next append or commit drops what is too much then; what was
    /// reserved before stays promised.
    pub fn set_limits(&mut self, max_bytes: u64, max_records: u64, max_age_ms: Option<u64>, on_full: OnFull) {
        self.room.set_limits(max_bytes, max_records, max_age_ms, on_full);
        self.room.want();
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Whether nothing that is done can come back after a crash: all notes, and the deletions that took the place of some, are
    /// durable. [`Log::commit`] makes it so. What could not be read when the log was opened ([`Report::unopened`],
    /// [`Report::unreadable_bytes`]) is not in it: notes on it may go while it stays.
    pub fn is_settled(&self) -> bool {
        self.unwritten.is_empty() && self.written.is_empty() && !self.removed
    }

    /// Closes the active segment, so that all goes that is done: a log that is empty leaves no files. Call it after the last
    /// commit; the log can be used on.
    pub fn close(&mut self) {
        self.seal();
        self.reclaim();
    }

    /// Closes the active segment for writing.
    fn seal(&mut self) {
        self.active = false;
        if let Some(segment) = self.segments.back_mut().filter(|segment| segment.synced == segment.size) {
            segment.file = None;
        }
    }
}

//! Making durable what was written: one fsync for all that wait.
//!
//! In three steps, so that the middle one, which takes long, needs no access to the log: readers go on meanwhile.
//!
//! Invariant: what is reported as failed is in the index no more, and a note keeps it from coming back. A segment whose fsync
//! failed is closed: a later fsync could succeed without having written what the failed one dropped.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Log, Note};
use crate::Seq;
use crate::error::Error;
use crate::ranges::RangeSet;
use crate::record::{Header, MAX_RANGES, encode_ranges};
use crate::report::Tally;
use crate::storage::{Storage, StoredFile};

/// What became of the appends since the last commit.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Committed {
    /// Durable from now on, in ascending order.
    pub durable: Vec<RangeInclusive<Seq>>,
    /// Not durable and given up, in ascending order.
    pub failed: Vec<RangeInclusive<Seq>>,
    /// Why, if something failed; notes that could not be made durable are tried again by the next commit.
    pub error: Option<Error>,
}

impl Committed {
    /// Whether this append is durable.
    pub fn is_durable(&self, seq: Seq) -> bool {
        self.durable.iter().any(|range| range.contains(&seq))
    }
}

/// The files to be synced.
#[derive(Debug)]
#[must_use]
pub struct Syncing<F> {
    files: Vec<(Dirty, Arc<F>)>,
    notes: Option<Error>,
}

/// The files that were synced.
#[derive(Debug)]
#[must_use]
pub struct Synced {
    files: Vec<(Dirty, io::Result<()>)>,
    notes: Option<Error>,
}

#[derive(Clone, Copy, Debug)]
struct Dirty {
    segment: u64,
    size: u64,
    entries: usize,
}

impl<F: StoredFile> Syncing<F> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Syncs. Takes as long as the disk does.
    pub fn run(self) -> Synced {
        let files = self.files.into_iter().map(|(dirty, file)| (dirty, file.sync())).collect();
        Synced { files, notes: self.notes }
    }
}

impl<S: Storage> Log<S> {
    /// Makes durable what was appended, and the notes of what is done.
    pub fn commit(&mut self) -> Committed {
        let synced = self.begin_commit().run();
        self.finish_commit(synced)
    }

    /// Writes the notes, and says which files to sync. Finish one commit before the next one begins.
    pub fn begin_commit(&mut self) -> Syncing<S::File> {
        let notes = self.write_notes().err().map(Error::write);
        let dirty = self.segments.iter().filter(|segment| segment.synced < segment.size);
        let files = dirty.filter_map(|segment| {
            let dirty =
                Dirty { segment: segment.number(), size: segment.size, entries: segment.entries.len() };
            Some((dirty, segment.file.clone()?))
        });
        Syncing { files: files.collect(), notes }
    }

    /// Takes in what [`Syncing::run`] brought about.
    pub fn finish_commit(&mut self, synced: Synced) -> Committed {
        let mut committed = Committed { error: synced.notes, ..Committed::default() };
        for (dirty, result) in synced.files {
            match result {
                Ok(()) => self.confirm(dirty, &mut committed),
                Err(error) => {
                    self.distrust(dirty.segment, &mut committed);
                    committed.error = Some(Error::NotDurable { source: Arc::new(error) });
                }
            }
        }
        self.reclaim();
        self.relieve();
        if self.removed {
            match self.storage.sync_dir() {
                Ok(()) => self.removed = false,
                Err(error) => {
                    committed.error.get_or_insert(Error::NotDurable { source: Arc::new(error) });
                }
            }
        }
        committed
    }

    fn write_notes(&mut self) -> io::Result<()> {
        let ranges: Vec<_> = self.unwritten.iter().collect();
        for ranges in ranges.chunks(MAX_RANGES) {
            let payload = encode_ranges(ranges);
            let header = Header::done(self.next_seq, &payload);
            self.rotate(header.total())?;
            let offset = self.write(&header, &payload)?;
            let Some(segment) = self.segments.back().map(super::Segment::number) else { break };
            let mut written = RangeSet::default();
            ranges.iter().for_each(|range| written.insert(range.clone()));
            self.written.push(Note { segment, end: offset + header.total(), ranges: written });
            if let Some(last) = ranges.last() {
                self.unwritten.remove_below(last.end() + 1);
            }
        }
        Ok(())
    }

    fn confirm(&mut self, dirty: Dirty, committed: &mut Committed) {
        let last = self.segments.back().map(super::Segment::number);
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.number() == dirty.segment) else {
            return;
        };
        segment.synced = segment.synced.max(dirty.size);
        let new = segment.entries.get(segment.committed..dirty.entries).unwrap_or_default();
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            committed.durable.push(first.seq..=last.seq);
        }
        let mut durable = Tally::default();
        new.iter().for_each(|entry| durable += entry.tally());
        self.room.counts().undelivered += durable;
        segment.committed = segment.committed.max(dirty.entries);
        if segment.synced == segment.size && !(self.active && last == Some(dirty.segment)) {
            segment.file = None;
        }
        self.written.retain(|note| note.segment != dirty.segment || note.end > dirty.size);
    }

    /// Gives up what is not durable in a segment, and the segment for writing.
    fn distrust(&mut self, number: u64, committed: &mut Committed) {
        if self.segments.back().is_some_and(|segment| segment.number() == number) {
            self.active = false;
        }
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.number() == number) else {
            return;
        };
        let failed = segment.entries.split_off(segment.committed);
        if let (Some(first), Some(last)) = (failed.first(), failed.last()) {
            committed.failed.push(first.seq..=last.seq);
            self.unwritten.insert(first.seq..=last.seq);
        }
        segment.open -= failed.len();
        self.room.records.change(failed.len() as u64, 0);
        let before = segment.disk_bytes();
        // For the space, and so that a killed process does not find it again; the note says the same to the others.
        if let Some(file) = segment.file.take()
            && file.truncate(segment.synced).is_ok()
        {
            segment.size = segment.synced;
        }
        segment.synced = segment.size;
        self.room.bytes.change(before, segment.disk_bytes());
        for note in self.written.extract_if(.., |note| note.segment == number) {
            note.ranges.iter().for_each(|range| self.unwritten.insert(range));
        }
    }
}

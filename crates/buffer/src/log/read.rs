//! Reading what is durable, and taking note of what is done.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use super::{Gone, Log, Segment};
use crate::Seq;
use crate::error::Error;
use crate::inspect::{Entry, on_disk};
use crate::record::{HEADER, Header, Kind};
use crate::report::Tally;
use crate::storage::{Storage, read_full};

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, for [`Log::done`].
    pub seq: Seq,
    /// When it came, in ms since 1970, as the sender said.
    pub entered_ms: u64,
    /// The sender's mark.
    pub tag: u8,
    /// What the sender counts in it.
    pub items: u32,
    /// The payload, bit by bit as it was appended.
    pub bytes: Bytes,
}

impl<S: Storage> Log<S> {
    /// The oldest record behind `after` that is durable and not done; 0 begins at the oldest of all. Checks it once more: what
    /// was damaged since opening is skipped and counted ([`Drops`](crate::Drops)).
    ///
    /// # Errors
    /// [`Error::Read`] if the disk does not give it; it stays where it is.
    pub fn read_next(&mut self, after: Seq) -> Result<Option<Record>, Error> {
        while let Some((index, entry)) = self.find(after) {
            let failed =
                |source| Error::Read { seq: entry.seq, items: entry.items, source: Arc::new(source) };
            if let Some(record) = self.read(index, &entry).map_err(failed)? {
                return Ok(Some(record));
            }
            self.mark_done(entry.seq..=entry.seq, Gone::Damaged);
        }
        Ok(None)
    }

    /// Notes that these are delivered, or given up: they are not read again. Returns what was noted; records that are gone
    /// already (done before, dropped meanwhile for want of room) are not in it. The note is durable after the next commit.
    pub fn done(&mut self, range: RangeInclusive<Seq>) -> Tally {
        let tally = self.mark_done(range, Gone::Done);
        if tally.records > 0 {
            self.reclaim();
            self.relieve();
        }
        tally
    }

    /// Drops what is older than `max_age_ms`, oldest first, up to the first that is young enough. Returns what that was.
    pub fn expire(&mut self, now_ms: u64) -> Tally {
        let mut expired = Tally::default();
        let Some(max_age_ms) = self.room.max_age_ms() else {
            return expired;
        };
        while let Some((_, entry)) = self.find(0) {
            if now_ms.saturating_sub(entry.entered_ms) <= max_age_ms {
                break;
            }
            expired += self.mark_done(entry.seq..=entry.seq, Gone::Expired);
        }
        if expired.records > 0 {
            self.reclaim();
            self.relieve();
        }
        expired
    }

    /// The first entry behind `after` to be delivered, and the index of its segment.
    fn find(&self, after: Seq) -> Option<(usize, Entry)> {
        let next = after.saturating_add(1);
        let end = |segment: &Segment<S::File>| {
            segment.entries.last().map_or(segment.place.base, |last| last.seq + 1)
        };
        let from = self.segments.partition_point(|segment| end(segment) <= next);
        let candidates = self.segments.iter().enumerate().skip(from).filter(|(_, segment)| segment.open > 0);
        candidates.into_iter().find_map(|(index, segment)| {
            let from = segment.position(next).max(segment.first_open);
            let entry = segment.entries.get(from..segment.committed)?.iter().find(|entry| !entry.done)?;
            Some((index, entry.clone()))
        })
    }

    /// `None` if what stands there is not what was written.
    fn read(&mut self, index: usize, entry: &Entry) -> std::io::Result<Option<Record>> {
        let segment = &self.segments[index];
        let place = segment.place;
        let file = match (&segment.file, &self.reading) {
            (Some(file), _) => Arc::clone(file),
            (None, Some((number, file))) if *number == place.segment => Arc::clone(file),
            (None, _) => Arc::new(self.storage.open(&place.name())?),
        };
        let mut bytes = vec![0; on_disk(entry.length) as usize];
        let filled = read_full(&*file, entry.offset, &mut bytes)?;
        self.reading = Some((place.segment, file));
        let expected = |header: &Header| {
            header.kind == Kind::Data && header.seq == entry.seq && header.total() == filled as u64
        };
        let Some(header) = Header::decode(&bytes, place, entry.offset).filter(expected) else {
            return Ok(None);
        };
        let bytes = Bytes::from(bytes).split_off(HEADER);
        if crc32c::crc32c(&bytes) != header.payload_crc {
            return Ok(None);
        }
        let Header { seq, entered_ms, tag, items, .. } = header;
        Ok(Some(Record { seq, entered_ms, tag, items, bytes }))
    }

    /// Marks what is durable in the range, and keeps the note of it. Deletes nothing.
    pub(super) fn mark_done(&mut self, range: RangeInclusive<Seq>, why: Gone) -> Tally {
        let mut all = Tally::default();
        for segment in &mut self.segments {
            if segment.open == 0 || segment.place.base > *range.end() {
                continue;
            }
            let Some((tally, noted)) = segment.mark_done(&range) else { continue };
            all += tally;
            self.unwritten.insert(noted);
        }
        let mut counts = self.room.counts();
        counts.undelivered -= all;
        match why {
            Gone::Done => {}
            Gone::Full => counts.drops.full += all,
            Gone::Expired => counts.drops.expired += all,
            Gone::Damaged => counts.drops.damaged += all,
        }
        all
    }
}

impl<F> Segment<F> {
    /// What was not done before, and the range of it.
    fn mark_done(&mut self, range: &RangeInclusive<Seq>) -> Option<(Tally, RangeInclusive<Seq>)> {
        let from = self.position(*range.start()).max(self.first_open);
        let entries = self.entries.get_mut(from..self.committed)?;
        let (mut tally, mut noted) = (Tally::default(), None);
        for entry in
            entries.iter_mut().take_while(|entry| entry.seq <= *range.end()).filter(|entry| !entry.done)
        {
            entry.done = true;
            tally += entry.tally();
            self.open -= 1;
            let first = noted.map_or(entry.seq, |(first, _)| first);
            noted = Some((first, entry.seq));
        }
        while self.entries.get(self.first_open).is_some_and(|entry| entry.done) {
            self.first_open += 1;
        }
        noted.map(|(first, last)| (tally, first..=last))
    }
}

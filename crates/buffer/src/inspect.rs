//! Looking at all segments of a directory: what opening does first, and what [`check`] and [`dump`] show. Changes nothing.
//!
//! Without the lock another process may be writing: what is half written then counts as a cut tail, and a segment that is
//! deleted meanwhile is left out.

use std::io;
use std::ops::RangeInclusive;

use crate::Seq;
use crate::error::Error;
use crate::ranges::RangeSet;
use crate::record::{HEADER, Header, Kind, MAX_SEQ, Place, decode_ranges};
use crate::report::{Report, Tally};
use crate::scan::{Found, Scan};
use crate::storage::Storage;

/// No segment holds more records: that would be 160 GiB of headers.
const MOST_RECORDS: u64 = 1 << 32;

/// One stretch of a segment, for [`dump`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped<'a> {
    /// The segment's file.
    pub segment: &'a str,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What stands there.
    pub what: Seen,
}

/// What [`dump`] sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A record of the caller's.
    Data(Header),
    /// What was delivered or given up.
    Done(Vec<RangeInclusive<Seq>>),
    /// A sound header with a damaged payload.
    Damaged(Header),
    /// Bytes without a sound header; `tail`: up to the end of the file.
    Lost {
        /// Nothing sound comes behind it.
        tail: bool,
    },
    /// The disk did not give it.
    Unreadable,
}

/// Scans all segments and counts.
///
/// # Errors
/// [`Error::Open`] if the directory cannot be listed. Files that cannot be read are counted.
pub fn check<S: Storage>(storage: &S) -> Result<Report, Error> {
    Ok(survey(storage, &mut |_| {})?.report)
}

/// Shows each stretch of each segment, in order; whether a record is done shows in the notes behind it.
///
/// # Errors
/// As [`check`].
pub fn dump<S: Storage>(storage: &S, mut show: impl FnMut(Dumped<'_>)) -> Result<Report, Error> {
    Ok(survey(storage, &mut show)?.report)
}

/// What all segments hold together.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) segments: Vec<Surveyed>,
    pub(crate) done: RangeSet,
    pub(crate) report: Report,
    /// Greater than all numbers seen.
    pub(crate) next_seq: Seq,
    /// Greater than the numbers of all segments, those that cannot be opened among them.
    pub(crate) next_segment: u64,
    /// The greatest number of a record so far.
    newest: Option<Seq>,
}

/// What one segment holds.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) place: Place,
    pub(crate) size: u64,
    /// All numbers in it are smaller: those from here on were given again, by later segments.
    pub(crate) end: Seq,
    pub(crate) entries: Vec<Entry>,
    pub(crate) notes: Vec<RangeInclusive<Seq>>,
    pub(crate) unreadable: bool,
}

/// A record in the index.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: Seq,
    pub(crate) entered_ms: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) items: u32,
    pub(crate) done: bool,
}

impl Entry {
    pub(crate) fn new(header: &Header, offset: u64) -> Self {
        let Header { seq, entered_ms, length, items, .. } = *header;
        Self { seq, entered_ms, offset, length, items, done: false }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally::one(self.items, u64::from(self.length))
    }
}

pub(crate) fn survey<S: Storage>(storage: &S, show: &mut dyn FnMut(Dumped<'_>)) -> Result<Survey, Error> {
    let list = storage.list().map_err(|source| Error::open("list the buffer's folder".to_owned(), source))?;
    let mut places: Vec<Place> = list.iter().filter_map(|name| Place::parse(name)).collect();
    places.sort_unstable_by_key(|place| (place.segment, place.salt));
    let mut survey = Survey { next_seq: 1, ..Survey::default() };
    for (index, &place) in places.iter().enumerate() {
        // A record from here on came to nothing when the next segment was begun: it was not there, and is back like a ghost.
        let end = places.get(index + 1..).and_then(|later| later.iter().map(|later| later.base).min());
        survey.next_segment = survey.next_segment.max(place.segment.saturating_add(1));
        survey.next_seq = survey.next_seq.max(place.base);
        match survey.segment(storage, place, end.unwrap_or(Seq::MAX), show) {
            Ok(segment) => {
                if segment.unreadable {
                    survey.skip_numbers(place);
                }
                survey.segments.push(segment);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                survey.report.unopened += 1;
                survey.skip_numbers(place);
            }
        }
    }
    survey.conclude();
    Ok(survey)
}

impl Survey {
    fn segment<S: Storage>(
        &mut self,
        storage: &S,
        place: Place,
        end: Seq,
        show: &mut dyn FnMut(Dumped<'_>),
    ) -> io::Result<Surveyed> {
        let name = place.name();
        let file = storage.open(&name)?;
        let scan = Scan::new(&file, place)?;
        let (entries, notes) = (Vec::new(), Vec::new());
        let mut segment = Surveyed { place, size: scan.size(), end, entries, notes, unreadable: false };
        self.report.segments += 1;
        self.report.file_bytes += scan.size();
        for found in scan {
            let (offset, bytes, what) = self.take(found, &mut segment);
            show(Dumped { segment: &name, offset, bytes, what });
        }
        Ok(segment)
    }

    fn take(&mut self, found: Found, segment: &mut Surveyed) -> (u64, u64, Seen) {
        let report = &mut self.report;
        match found {
            Found::Sound { offset, header, note } => {
                let what = self.sound(offset, &header, &note, segment);
                (offset, header.total(), what)
            }
            Found::Damaged { offset, header } => {
                report.damaged += Tally::one(header.items, u64::from(header.length));
                report.damaged_bytes += header.total();
                (offset, header.total(), Seen::Damaged(header))
            }
            Found::Lost { offset, bytes, tail } => {
                *(if tail { &mut report.tail_bytes } else { &mut report.lost_bytes }) += bytes;
                (offset, bytes, Seen::Lost { tail })
            }
            Found::Unreadable { offset, bytes } => {
                segment.unreadable = true;
                report.unreadable_bytes += bytes;
                (offset, bytes, Seen::Unreadable)
            }
        }
    }

    fn sound(&mut self, offset: u64, header: &Header, note: &[u8], segment: &mut Surveyed) -> Seen {
        let report = &mut self.report;
        let least = self.newest.map_or(0, |newest| newest + 1).max(segment.place.base);
        if header.kind == Kind::Data && (header.seq < least || header.seq >= segment.end) {
            report.damaged += Tally::one(header.items, u64::from(header.length));
            report.damaged_bytes += header.total();
            return Seen::Damaged(*header);
        }
        report.sound_bytes += header.total();
        match header.kind {
            Kind::Data => {
                segment.entries.push(Entry::new(header, offset));
                self.newest = Some(header.seq);
                self.next_seq = self.next_seq.max(header.seq + 1);
                Seen::Data(*header)
            }
            Kind::Done => {
                self.next_seq = self.next_seq.max(header.seq);
                // A ghost of a note must not say that a later record of the same number is done.
                let last = segment.end.saturating_sub(1);
                let clip = |range: RangeInclusive<Seq>| *range.start()..=last.min(*range.end());
                let ranges: Vec<_> =
                    decode_ranges(note).map(clip).filter(|range| !range.is_empty()).collect();
                for range in &ranges {
                    self.next_seq = self.next_seq.max(range.end() + 1);
                    self.done.insert(range.clone());
                }
                segment.notes.extend_from_slice(&ranges);
                Seen::Done(ranges)
            }
        }
    }

    /// Applies the notes, and counts what they leave.
    fn conclude(&mut self) {
        let Self { segments, done, report, .. } = self;
        // Nothing is known of what was before the first segment.
        let mut expected = segments.first().map(|segment| segment.place.base);
        let unanswered = |first: Seq, end: Seq| match end.saturating_sub(first) {
            0 => 0,
            // Left out on purpose.
            numbers if numbers >= MOST_RECORDS / 2 => 0,
            numbers => numbers - done.count_within(first..=end - 1),
        };
        for entry in segments.iter_mut().flat_map(|segment| &mut segment.entries) {
            let first = expected.unwrap_or(entry.seq).min(entry.seq);
            report.missing += unanswered(first, entry.seq);
            expected = Some(entry.seq + 1);
            entry.done = done.contains(entry.seq);
            if entry.done {
                report.done += entry.tally();
            } else {
                report.undelivered += entry.tally();
                let oldest = report.oldest_ms.get_or_insert(entry.entered_ms);
                *oldest = (*oldest).min(entry.entered_ms);
            }
        }
        let end =
            self.newest.map_or(0, |newest| newest + 1).max(segments.last().map_or(0, |last| last.place.base));
        report.missing += expected.map_or(0, |first| unanswered(first.min(end), end));
    }

    /// Leaves out all numbers that may stand in a segment which cannot be read now: another time it can be.
    fn skip_numbers(&mut self, place: Place) {
        self.next_seq = self.next_seq.max(place.base.saturating_add(MOST_RECORDS)).min(MAX_SEQ);
    }
}

/// The bytes of a record on disk, header included.
pub(crate) fn on_disk(length: u32) -> u64 {
    HEADER as u64 + u64::from(length)
}

//! The folder of a disk buffer or of dead letters, read and never written.
//!
//! ```text
//! first pass   the notes of what is done            second pass   each record: its payload, and whether a note names it
//! ```
//! Invariant: no lock is taken, nothing is created. A process that writes meanwhile may delete a segment between the passes: its
//! records are left out then.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ::buffer::record::{HEADER, Header, Place};
use ::buffer::{Dumped, ReadOnly, Report, Seen, Storage as _, Tally};
use anyhow::{Context as _, bail};
use engine::stored::{self, Letter, Unreadable};
use model::Payload;

/// A folder that holds a buffer.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: PathBuf,
    storage: ReadOnly,
}

/// A piece of a folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record, and whether it is delivered.
    Record { header: Header, done: bool, what: What },
    /// Bytes that are no record: in which segment, from where, how many, and what is wrong with them.
    Damage { segment: String, offset: u64, bytes: u64, what: &'static str },
}

/// What a record holds.
#[derive(Debug)]
pub(crate) enum What {
    Payload(Payload),
    Letter(Letter),
    /// Bytes that are sound, and that this version cannot read.
    Unknown(Unreadable),
    /// The segment is gone.
    Gone,
}

impl Found {
    /// Whether it is neither delivered nor a note of that.
    pub(crate) fn is_waiting(&self) -> bool {
        !matches!(self, Self::Record { done: true, .. })
    }
}

/// Records with something in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) requests: u64,
    pub(crate) items: u64,
}

impl Share {
    fn add(&mut self, header: &Header) {
        self.requests += 1;
        self.items += u64::from(header.items);
    }
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) report: Report,
    /// What waits, by its form: `logs`, `series`.
    pub(crate) forms: BTreeMap<&'static str, Share>,
    /// Dead letters that wait, by their reason.
    pub(crate) reasons: BTreeMap<String, Share>,
    /// What waits and cannot be read by this version.
    pub(crate) unknown: Share,
}

impl Contents {
    /// Whether nothing is damaged, and everything that waits can be delivered.
    pub(crate) fn is_sound(&self) -> bool {
        self.report.is_clean() && self.unknown == Share::default()
    }

    fn count(&mut self, header: &Header, what: &What) {
        match what {
            What::Gone => return,
            What::Unknown(_) => return self.unknown.add(header),
            What::Letter(letter) => self.reasons.entry(letter.reason.clone()).or_default().add(header),
            What::Payload(_) => {}
        }
        self.forms.entry(stored::form(header.tag).unwrap_or("unknown")).or_default().add(header);
    }
}

impl Folder {
    /// # Errors
    /// When it is not there, cannot be read, or holds files of something else and no segment.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let storage = ReadOnly::open(directory)?;
        let names =
            storage.list().with_context(|| format!("cannot list the folder {}", directory.display()))?;
        // An empty folder is an empty buffer.
        let is_ours = |name: &String| name == "lock" || Place::parse(name).is_some();
        if !names.is_empty() && !names.iter().any(is_ours) {
            bail!(
                "{} is not the folder of a buffer: no file in it is a segment (seg-...); the folder is what \
                 `buffer.directory` or `dead_letters.directory` of an exporter names",
                directory.display()
            );
        }
        Ok(Self { directory: directory.to_owned(), storage })
    }

    /// Looks through everything.
    pub(crate) fn check(&self) -> anyhow::Result<Contents> {
        self.records(|_| {})
    }

    /// Only counts, without a look into the payloads: one pass.
    pub(crate) fn report(&self) -> anyhow::Result<Report> {
        Ok(::buffer::check(&self.storage)?)
    }

    /// Hands out each record in order, and what is damaged; then says what there was.
    pub(crate) fn records(&self, mut each: impl FnMut(Found)) -> anyhow::Result<Contents> {
        let mut done = Vec::new();
        ::buffer::dump(&self.storage, |dumped| {
            if let Seen::Done(ranges) = dumped.what {
                done.extend(ranges);
            }
        })?;
        let done = merged(done);
        let mut contents = Contents::default();
        let mut open = None;
        contents.report = ::buffer::dump(&self.storage, |dumped| {
            let (found, waits) = match &dumped.what {
                Seen::Done(_) => return,
                Seen::Data(header) => {
                    let header = *header;
                    let what = self.read(&mut open, &dumped, &header);
                    let done = contains(&done, header.seq);
                    (Found::Record { header, done, what }, !done)
                }
                what => (damage(&dumped, what), false),
            };
            if let Found::Record { header, what, .. } = &found
                && waits
            {
                contents.count(header, what);
            }
            each(found);
        })?;
        Ok(contents)
    }

    fn read(&self, open: &mut Option<(String, File)>, dumped: &Dumped<'_>, header: &Header) -> What {
        if open.as_ref().is_none_or(|(name, _)| name != dumped.segment) {
            *open = File::open(self.directory.join(dumped.segment))
                .ok()
                .map(|file| (dumped.segment.to_owned(), file));
        }
        let mut bytes = vec![0; header.length as usize];
        match open {
            Some((_, file)) if file.read_exact_at(&mut bytes, dumped.offset + HEADER as u64).is_ok() => {}
            _ => return What::Gone,
        }
        let decoded = if stored::is_letter(header.tag) {
            stored::decode_letter(header.tag, bytes.into()).map(What::Letter)
        } else {
            stored::decode(header.tag, bytes.into()).map(What::Payload)
        };
        decoded.unwrap_or_else(What::Unknown)
    }
}

fn damage(dumped: &Dumped<'_>, what: &Seen) -> Found {
    let what = match what {
        Seen::Damaged(_) => "a record with a damaged payload",
        Seen::Lost { tail: true } => "a write that was cut short",
        Seen::Unreadable => "the disk did not give it",
        _ => "no record that can be recognised",
    };
    Found::Damage { segment: dumped.segment.to_owned(), offset: dumped.offset, bytes: dumped.bytes, what }
}

/// In order and without overlaps.
fn merged(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=(*last.end()).max(*range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn contains(merged: &[RangeInclusive<u64>], seq: u64) -> bool {
    let after = merged.partition_point(|range| *range.start() <= seq);
    after.checked_sub(1).and_then(|last| merged.get(last)).is_some_and(|range| range.contains(&seq))
}

/// A first line without what it is about, then indented ones.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, forms, reasons, unknown } = self;
        writeln!(f, "{}", waiting(report))?;
        for (form, share) in forms {
            writeln!(f, "  {form:<12} {share}")?;
        }
        for (reason, share) in reasons {
            writeln!(f, "  {:<12} {share} given up on: {reason}", "dead letters")?;
        }
        if unknown.requests > 0 {
            writeln!(f, "  {:<12} {unknown} that this version cannot read", "UNKNOWN")?;
        }
        let Report { segments, file_bytes, done, .. } = report;
        writeln!(
            f,
            "  {:<12} {segments} segments of {} together; {} delivered requests in them",
            "on disk",
            bytes(*file_bytes),
            done.records
        )?;
        for line in faults(report) {
            writeln!(f, "  {:<12} {line}", "DAMAGE")?;
        }
        if report.tail_bytes > 0 {
            let cut = bytes(report.tail_bytes);
            writeln!(
                f,
                "  {:<12} {cut} of a write that a crash cut short: nobody was told that it is safe",
                "tail"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests ({} items)", self.requests, self.items)
    }
}

/// In one line what waits in a folder, and since when.
pub(crate) fn waiting(report: &Report) -> String {
    let Tally { records, items, bytes: size } = report.undelivered;
    if records == 0 {
        return "nothing waits".to_owned();
    }
    let since = report.oldest_ms.map_or_else(String::new, |ms| {
        let entered = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let age = SystemTime::now().duration_since(entered).unwrap_or_default();
        format!(", the oldest since {} ({})", time(ms), ago(age))
    });
    format!("{records} requests ({items} items, {}) wait{since}", bytes(size))
}

/// What is damaged, a line each; none if nothing is.
pub(crate) fn faults(report: &Report) -> Vec<String> {
    let Report { damaged, damaged_bytes, lost_bytes, unreadable_bytes, unopened, missing, .. } = report;
    let mut lines = Vec::new();
    if damaged.records > 0 {
        let Tally { records, items, .. } = damaged;
        lines.push(format!("{records} damaged records ({items} items, {}) are lost", bytes(*damaged_bytes)));
    }
    if *lost_bytes > 0 {
        lines.push(format!("{} that are no records", bytes(*lost_bytes)));
    }
    if *unreadable_bytes > 0 {
        lines.push(format!("{} that the disk did not give", bytes(*unreadable_bytes)));
    }
    if *unopened > 0 {
        lines.push(format!(
            "{unopened} segments that cannot be opened; may the user that runs this read them?"
        ));
    }
    if *missing > 0 && !report.is_clean() {
        lines.push(format!("{missing} numbers of records that nothing is known of"));
    }
    lines
}

/// RFC 3339.
pub(crate) fn time(unix_ms: u64) -> String {
    let mut text = Vec::new();
    codec::timestamp::write_rfc3339(&mut text, unix_ms.saturating_mul(1_000_000));
    String::from_utf8_lossy(&text).into_owned()
}

fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_and_searched() {
        let merged = merged(vec![7..=9, 1..=2, 3..=3, 8..=12, 20..=20]);
        assert_eq!(merged, [1..=3, 7..=12, 20..=20]);
        let inside: Vec<u64> = (0..=21).filter(|seq| contains(&merged, *seq)).collect();
        assert_eq!(inside, [1, 2, 3, 7, 8, 9, 10, 11, 12, 20]);
        assert!(!contains(&[], 0));
    }

    #[test]
    fn sizes_and_ages_are_readable() {
        assert_eq!(
            [0, 1023, 1024, 3 << 20, 5 << 30].map(bytes),
            ["0 bytes", "1023 bytes", "1.0 KiB", "3.0 MiB", "5.0 GiB"]
        );
        let ages = [59, 60, 7200, 200_000].map(|s| ago(Duration::from_secs(s)));
        assert_eq!(ages, ["59 s ago", "1 min ago", "2 h ago", "2 days ago"]);
        assert_eq!(time(1_772_366_400_123), "2026-03-01T12:00:00.123Z");
    }
}

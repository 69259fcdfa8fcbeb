//! Counts: what is there, what recovery found and lost, what was dropped.

use std::ops::{AddAssign, SubAssign};

/// So many records, with their items and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// What the senders said that their records hold.
    pub items: u64,
    /// Payload bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn one(items: u32, bytes: u64) -> Self {
        Self { records: 1, items: u64::from(items), bytes }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.items += other.items;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Self) {
        self.records -= other.records;
        self.items -= other.items;
        self.bytes -= other.bytes;
    }
}

/// What was given up since the log was opened, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// No room for newer records ([`OnFull::DropOldest`](crate::OnFull)).
    pub full: Tally,
    /// Older than `max_age_ms`.
    pub expired: Tally,
    /// Sound when the log was opened, damaged when it was read.
    pub damaged: Tally,
}

/// What is there, and what was given up: counted in one step, so that no record is in neither or in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Durable and not done.
    pub undelivered: Tally,
    /// Given up.
    pub drops: Drops,
}

/// What a scan of all segments found. Every byte of the files is in exactly one of the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segment files.
    pub segments: u64,
    /// Their size, in bytes.
    pub file_bytes: u64,
    /// Bytes of sound records of all kinds, headers included.
    pub sound_bytes: u64,
    /// Records that are neither done nor damaged.
    pub undelivered: Tally,
    /// Records that are done and whose segment is still there.
    pub done: Tally,
    /// Time of entry of the oldest undelivered record, in ms since 1970.
    pub oldest_ms: Option<u64>,
    /// Records (of any kind) with a sound header and a damaged payload, or with a number out of order; items and bytes are what
    /// the header says. After a crash this may count records that nobody was told are durable.
    pub damaged: Tally,
    /// Bytes of damaged records, headers included.
    pub damaged_bytes: u64,
    /// Bytes between sound records that belong to none, damaged headers among them. How many records that was is unknown.
    pub lost_bytes: u64,
    /// Bytes behind the last sound record of a segment: a write that a crash or a full disk cut short.
    pub tail_bytes: u64,
    /// Bytes that the disk did not give. Their segments are not deleted, so that a later opening may find more in them; what is
    /// done in them may come again then.
    pub unreadable_bytes: u64,
    /// Segments that could not be opened. They are left where they are.
    pub unopened: u64,
    /// Sequence numbers between the oldest and the newest that no record and no note answers for: damaged, or written shortly
    /// before a crash and not durable. Numbers left out on purpose (2^32, where a segment could not be read) are not counted.
    pub missing: u64,
}

impl Report {
    /// Whether nothing is damaged or unreadable. A cut tail is what a crash leaves, and does not count.
    pub fn is_clean(&self) -> bool {
        let Self { damaged, lost_bytes, unreadable_bytes, unopened, .. } = self;
        damaged.records == 0 && *lost_bytes == 0 && *unreadable_bytes == 0 && *unopened == 0
    }
}

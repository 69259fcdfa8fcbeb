//! The limits of a log.

/// Limits; [`Default`] says what they are unless set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most that all segments may hold on disk, in bytes. Default 1 GiB. A segment counts at least one block (4 KiB).
    pub max_bytes: u64,
    /// The most records, done or not, that the segments may hold; each costs 40 bytes of memory. Default 1,000,000.
    pub max_records: u64,
    /// The size at which a new segment is begun, in bytes. Default 32 MiB; cut to a quarter of `max_bytes`, since space comes
    /// back by whole segments.
    pub segment_bytes: u64,
    /// How old a record may get before [`Log::expire`](crate::Log::expire) drops it, in ms. Default none: as old as it likes.
    pub max_age_ms: Option<u64>,
    /// What happens when there is no room. Default: refuse.
    pub on_full: OnFull,
}

/// What happens to an append for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It fails with [`Error::Full`](crate::Error::Full).
    Refuse,
    /// The oldest segments go, with what was not delivered in them; that is counted.
    DropOldest,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_records: 1_000_000,
            segment_bytes: 32 << 20,
            max_age_ms: None,
            on_full: OnFull::Refuse,
        }
    }
}

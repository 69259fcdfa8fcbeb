//! The disk buffer: a segmented log of opaque bytes that survives crashes, full disks and damaged sectors.
//!
//! ```text
//! append -> append -> commit (one fsync for all) -> read_next -> ... delivered ... -> done
//!    written to the active segment        what is durable, oldest first       noted in the same log
//! ```
//!
//! [`Log`] is synchronous and knows neither clock nor thread; [`Writer`] puts it on a thread that commits for many senders.
//! Room is promised without waiting for either ([`Writer::reserve`]).
//! [`record`] draws the format. [`check`] and [`dump`] look at a directory without changing it.
//!
//! Invariants, proved by `tests/simulation.rs`:
//! - What [`Log::commit`] reports as durable is read back bit by bit after any crash, until it is done, dropped or damaged.
//! - What is read back was appended: neither half-written nor stale nor forged bytes are taken for a record.
//! - What is done comes back only if its note was not durable yet ([`Log::is_settled`]).
//! - Opening ends, whatever the files hold, and says what was lost. A full or failing disk refuses; the log works again by itself.
//!
//! It does not compress, encrypt, or know what the bytes are; there is no repair, since recovery reads around damage.

mod error;
mod files;
pub mod fuzzing;
mod inspect;
mod log;
mod memory;
mod options;
mod ranges;
pub mod record;
mod report;
mod room;
mod scan;
pub mod simulated;
mod storage;
mod writer;

pub use error::Error;
pub use files::{FileStorage, ReadOnly};
pub use inspect::{Dumped, Seen, check, dump};
pub use log::{Committed, Log, Record, Synced, Syncing};
pub use memory::MemoryStorage;
pub use options::{OnFull, Options};
pub use report::{Counts, Drops, Report, Tally};
pub use room::Reservation;
pub use storage::{Storage, StoredFile};
pub use writer::{Answer, Driver, Flushed, Writer, WriterOptions};

/// The number of a record: ascending in the order of appending, never given twice.
pub type Seq = u64;

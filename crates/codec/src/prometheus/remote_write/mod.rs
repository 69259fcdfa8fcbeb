//! Remote-write requests, versions 1.0 and 2.0, into batches of series.
//!
//! Specifications: <https://prometheus.io/docs/specs/prw/remote_write_spec/> and
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>; the messages are in `proto/prometheus/`.
//!
//! ```text
//! 2.0   symbols ──> the batch's table, as they are        1.0   labels ──> the batch's table, each text once
//!       timeseries: labels, metadata ──> begin a series         timeseries: labels ──> begin a series
//!                   samples, histograms, exemplars                          samples, exemplars, histograms
//!                                                               metadata ──> families
//! ```
//!
//! What is wrong with one series costs that series alone, and what is wrong with one value that value ([`Reason`]); the rest is
//! taken, as the 2.0 specification asks. What is no protobuf, or not this message, refuses the request.
//!
//! Lenient where nothing is ambiguous: labels in any order are sorted (as Prometheus's own receiver does; senders of 1.0 are
//! not all careful), a label with an empty value is none, exemplars may stand in a series without samples (Prometheus sends
//! them so), samples and histograms may share a series, an order of samples is the backend's to judge.
//!
//! Invariants:
//! - The result is what every conforming protobuf reader sees: of a scalar that stands twice the last counts, a split message
//!   is merged, packed and unpacked elements are one list, unknown fields are passed over. Nothing of the bytes
//!   goes on but through that reading, so that no other reader of them could see more.
//! - Values keep their bits, those of stale markers too.
//! - Nothing is allocated for a series; memory is asked for before it is used, and bounded by a multiple of the request.
//!
//! Not here: the compression (the caller inflates), and encoding.

mod histogram;
mod reader;
mod refused;
mod sink;
mod v1;
mod v2;

use model::SeriesBatch;

pub use reader::{Malformed, Problem};
pub use refused::{Reason, Refused};

/// Which of the two messages a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

/// What was read: what the answer to a 2.0 sender must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// A decoded request.
#[derive(Debug)]
pub struct Decoded {
    /// What is sound.
    pub batch: SeriesBatch,
    /// What is in it.
    pub written: Written,
    /// What is not.
    pub refused: Refused,
    /// Help texts, units and exemplar labels whose invalid UTF-8 was replaced by U+FFFD. (Labels of series are refused: mended
    /// ones would be another series.)
    pub invalid_utf8: u64,
}

/// Why nothing of a request was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not such a message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The caller gave no memory for it.
    #[error("no memory for the decoded request")]
    NoRoom,
    /// No honest request takes so much more memory decoded than encoded.
    #[error("the request takes more than {limit} bytes of memory; send smaller ones")]
    TooLarge {
        /// The limit for a request of this size.
        limit: usize,
    },
}

/// Decodes a request of `version`. `room` is asked for every further piece of memory, in bytes, before it is used; when it
/// says no, so does this.
///
/// # Errors
/// [`DecodeError`]: nothing was taken then.
pub fn decode(
    version: Version,
    buf: &[u8],
    room: &mut dyn FnMut(usize) -> bool,
) -> Result<Decoded, DecodeError> {
    let room = sink::Room::new(buf.len(), room)?;
    match version {
        Version::V1 => v1::decode(buf, room),
        Version::V2 => v2::decode(buf, room),
    }
}

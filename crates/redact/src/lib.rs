//! Detectors and keyed pseudonyms for peer ids.
//!
//! Bytes in, ranges and replacements out. What a field, a span or a batch is, this crate does not know.
//!
//! ```text
//! whole request ──scan──> anchors: where an id may stand (packed SIMD search; usually none, and done)
//!   each text  ──detect─> findings: confirmed by decoding, with canonical bytes
//!              ──pseudonym─> replacement: HMAC of the canonical bytes, or mask, bucket, nothing
//! ```
//!
//! Start with [`Redactor`]. A new kind of id is a file in `detect/` and a line in its list of families.
//!
//! Invariants:
//! - closed when in doubt: an id that is cut off or garbled is redacted too;
//! - all spellings of one identity get one pseudonym;
//! - a pseudonym is never taken for an id: redacting twice is redacting once;
//! - keys are never printed and are wiped from memory;
//! - any bytes are valid input; nothing panics, allocates per finding, or takes more than linear time.
//!
//! Deliberately not here: telemetry formats, configuration, async, I/O other than key files.

mod base;
mod class;
mod deal;
mod detect;
pub mod fuzzing;
mod key;
mod pseudonym;
mod redactor;
mod scan;
mod text;

pub use class::{Class, ClassCounts, Counts};
pub use detect::{Canonical, Detectors, Finding, QmBare, Rules};
pub use key::{Key, KeyError, Keyring, MIN_KEY_BYTES};
pub use pseudonym::{Action, MAX_REPLACEMENT, PSEUDONYM_BYTES, Pseudonymizer};
pub use redactor::{Options, OptionsError, Redactor, Replacement};
pub use scan::{Anchors, BLOCK, Scanner};

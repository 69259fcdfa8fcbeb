//! Loki's push messages: log records to them, and from them.
//!
//! ```text
//! POST /loki/api/v1/push     application/x-protobuf: a snappy block of     application/json:
//! PushRequest                                                              {"streams": [
//!   streams (1)  StreamAdapter                                               {"stream": {"job": "x", ...},
//!     labels (1)   {job="x", ...}
//!     entries (2)  EntryAdapter                                               "values": [
//!       timestamp (1)            seconds (1), nanos (2)                         ["<nanoseconds>",
//!       line (2)                                                                 "line",
//!       structuredMetadata (3)   name (1), value (2)                             {"name": "value", ...}], ...]}, ...]}
//! ```
//!
//! The schema is `pkg/push/push.proto` of <https://github.com/grafana/loki>, the JSON is described at
//! <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>. The older JSON of `/api/prom/push`
//! (`labels` as text, `entries` of `ts`, `line`) is read too.
//!
//! | module | what it does |
//! |---|---|
//! | [`PushDecoder`] | either body to log records: one resource a stream |
//! | [`Encoder`] | log records to bodies: labels, structured metadata, lines; at most so many streams |
//! | [`labels`] | the text of a set of labels |
//!
//! Invariant: what is decoded is written anew by our own writer, so that no two readers behind us see it differently.
//! Deliberately absent: `hash`, `format` and `parsed` of the schema, which are Loki's own business.

mod decode;
mod encode;
mod entry;
mod json;
pub mod labels;
mod line;
mod metadata;
mod names;
mod streams;

pub use decode::{Push, PushDecoder, PushError};
pub use encode::{Encoder, EncoderOptions, LevelPlace, LineFormat, Pushes, StreamPush};
pub use streams::StreamTable;

/// Field numbers of the push messages.
mod field {
    pub(super) const STREAMS: u32 = 1;
    pub(super) const LABELS: u32 = 1;
    pub(super) const ENTRIES: u32 = 2;
    pub(super) const TIMESTAMP: u32 = 1;
    pub(super) const LINE: u32 = 2;
    pub(super) const METADATA: u32 = 3;
    pub(super) const SECONDS: u32 = 1;
    pub(super) const NANOS: u32 = 2;
    pub(super) const NAME: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

const NANOS_A_SECOND: u64 = 1_000_000_000;

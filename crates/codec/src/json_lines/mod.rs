//! Logstash's JSON over TCP: one JSON object a line, as winston-logstash and Logstash's `json_lines` codec have it.
//!
//! ```text
//! stream = *( object LF | array-of-objects LF | blank LF )
//! {"@timestamp":"2026-03-01T12:00:00.123Z","level":"info","message":"dialing","peer":"12D3KooW...","tags":["swarm"]}
//! ```
//!
//! Each object becomes one log record:
//!
//! | in the object | in the record |
//! |---|---|
//! | `message` | the body, of whatever type it is |
//! | `@timestamp` (RFC 3339) | the time; the observed time where there is none |
//! | `level`, else `severity`, else `log.level` | severity text and number; it stays an attribute too, since users query it |
//! | `trace_id`, `traceId` or `trace.id` (32 hex digits); `span_id`, `spanId` or `span.id` (16) | the record's ids |
//! | anything else, `tags` and `@version` included | attributes with their types |
//!
//! Numbers without fraction or exponent are integers; those beyond 64 bits are strings, so that no digit of an id is lost.
//!
//! Nothing that was sent is lost for being wrong. As in Logstash, the event is tagged:
//!
//! | tag | when | the event |
//! |---|---|---|
//! | `_jsonparsefailure` | not JSON, or not an object (or an array of objects) | its body is the raw line |
//! | `_line_cut` (with the one before) | longer than the limit, or broken off by its sender | its body is what is left |
//! | `_too_many_fields`, `_too_deep` (with the first) | past those limits | its body is the raw line |
//! | `_timestampparsefailure` | `@timestamp` is no time | the raw value is the attribute `_@timestamp`; time is now |
//!
//! Sans-io: [`JsonLines`] is the state of one connection, [`EventDecoder`] that of events whose framing is another's matter.
//! It deliberately does not group records by service: every batch has one resource.

mod event;

pub use event::EventDecoder;

use crate::lines::{Line, LineFramer};
use crate::logs::LogsBuilder;

/// The scope of the records.
pub const SCOPE: &str = "floodway/logstash";

/// Objects and arrays may be nested no deeper than this, the event itself counted: each level costs three messages of
/// the `model::wire::MAX_DEPTH` that a request may have.
pub const MAX_DEPTH: usize = 1 + (model::wire::MAX_DEPTH - crate::logs::ATTRIBUTE_DEPTH) / 3;

/// What a line and an event may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLinesLimits {
    /// Bytes of a line without its line break. Default: 1 MiB.
    pub max_line_bytes: usize,
    /// Values in one event, at all levels together. Default: 10,000.
    pub max_fields: usize,
    /// How deep objects and arrays are nested; at most [`MAX_DEPTH`], which is the default.
    pub max_depth: usize,
}

impl Default for JsonLinesLimits {
    fn default() -> Self {
        Self { max_line_bytes: 1 << 20, max_fields: 10_000, max_depth: MAX_DEPTH }
    }
}

/// What has come in, as counts since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written.
    pub events: u64,
    /// Those tagged `_jsonparsefailure`, cut lines included.
    pub parse_failures: u64,
    /// Lines over the limit.
    pub cut_lines: u64,
    /// Records tagged `_timestampparsefailure`.
    pub timestamp_failures: u64,
    /// Lines in which invalid UTF-8 was replaced by U+FFFD.
    pub invalid_utf8: u64,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct JsonLines {
    framer: LineFramer,
    decoder: EventDecoder,
}

impl JsonLines {
    /// A connection on which nothing came in yet.
    pub fn new(limits: JsonLinesLimits) -> Self {
        Self { framer: LineFramer::new(limits.max_line_bytes), decoder: EventDecoder::new(limits) }
    }

    /// Adds the events of `chunk` to `batch`, until the batch is full or the chunk is used up: returns how many of its bytes
    /// were taken. The caller then finishes the batch and pushes the rest.
    #[must_use = "what was not taken must be pushed again"]
    pub fn push(&mut self, chunk: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        let mut rest = chunk;
        while !rest.is_empty() && !batch.is_full() {
            if let Some(line) = self.framer.next(&mut rest) {
                self.decoder.line(line, now_unix_nano, batch);
            }
        }
        chunk.len() - rest.len()
    }

    /// Adds what the connection sent last, if it ended without a line break.
    pub fn finish(&mut self, now_unix_nano: u64, batch: &mut LogsBuilder) {
        if let Some(line) = self.framer.finish() {
            // A whole event lacks its line break only; anything else broke off, perhaps within an identifier.
            let whole = line.cut || serde_json::from_slice::<serde::de::IgnoredAny>(line.bytes).is_ok();
            self.decoder.line(if whole { line } else { line.broken_off() }, now_unix_nano, batch);
        }
    }

    /// Bytes of a line whose end has not come yet.
    pub fn held_bytes(&self) -> usize {
        self.framer.held_bytes()
    }

    /// Whether a line has begun whose end has not come yet, the rest of one that was cut included.
    pub fn is_inside(&self) -> bool {
        self.framer.is_inside()
    }

    /// Lines that ended on this connection, blank ones included.
    pub fn ended(&self) -> u64 {
        self.framer.breaks()
    }

    /// What has come in on this connection.
    pub fn counters(&self) -> Counters {
        self.decoder.counters()
    }
}

impl EventDecoder {
    /// Adds the events of a framed line; a blank line has none. Returns how many there were.
    pub fn line(&mut self, line: Line<'_>, now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        if line.cut {
            self.cut(line.bytes, now_unix_nano, batch)
        } else if line.bytes.trim_ascii().is_empty() {
            0
        } else {
            self.event(line.bytes, now_unix_nano, batch)
        }
    }
}

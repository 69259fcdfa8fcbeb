//! One entry of a stream as a log record, the same for both bodies.

use std::borrow::Cow;

use model::Writer;

use super::PushError;
use crate::json::{Json, Parser};
use crate::json_text::parse_hex;
use crate::logs::{LogsBuilder, any_value, log_record, string_attribute};
use crate::severity;

/// Most pairs of structured metadata of an entry. Loki's own default is 128.
pub(super) const MAX_METADATA: usize = 256;

/// A line that is longer is not looked into for ids.
const MAX_JSON_LINE: usize = 64 << 10;
/// Values in a line that is looked into, and how deep.
const MAX_JSON_VALUES: usize = 1000;
const MAX_JSON_DEPTH: usize = 32;

const TRACE_NAMES: [&str; 3] = ["trace_id", "traceId", "trace.id"];
const SPAN_NAMES: [&str; 3] = ["span_id", "spanId", "span.id"];
/// Where a level is looked for, in labels and in structured metadata.
pub(super) const LEVEL_NAMES: [&str; 3] = ["level", "detected_level", "severity"];

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An entry as it was read.
#[derive(Default)]
pub(super) struct Entry<'a> {
    /// Nanoseconds since 1970; 0 where the client gave none.
    pub(super) time: u64,
    pub(super) line: Cow<'a, str>,
    metadata: Vec<Pair<'a>>,
}

impl<'a> Entry<'a> {
    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        (self.time, self.line) = (0, Cow::Borrowed(""));
        self.metadata.clear();
    }

    /// Adds a pair of structured metadata. Of two with one name the last counts.
    pub(super) fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), PushError> {
        if let Some(known) = self.metadata.iter_mut().find(|(known, _)| *known == name) {
            known.1 = value;
            return Ok(());
        }
        if self.metadata.len() == MAX_METADATA {
            return Err(PushError::Metadata);
        }
        self.metadata.push((name, value));
        Ok(())
    }

    /// Writes the record. `level` is that of the stream, for an entry without one of its own.
    pub(super) fn write(&self, batch: &mut LogsBuilder, now_unix_nano: u64, level: Option<&str>) {
        let own = self.find(&LEVEL_NAMES).map(|at| self.metadata[at].1.as_ref());
        let level = own.or(level);
        let trace = self.id_in_metadata::<16>(&TRACE_NAMES);
        let span = self.id_in_metadata::<8>(&SPAN_NAMES);
        let inner = if trace.is_some() { Ids::default() } else { Ids::of_line(&self.line) };
        let trace_id = trace.map(|(_, id)| id).or(inner.trace);
        let span_id = span.map(|(_, id)| id).or(inner.span);
        batch.record(|w| {
            let time = if self.time == 0 { now_unix_nano } else { self.time };
            w.fixed64(log_record::TIME_UNIX_NANO, time);
            write_level(w, level);
            w.message(log_record::BODY, |w| w.string(any_value::STRING, &self.line));
            let taken = [trace.map(|(at, _)| at), span.map(|(at, _)| at)];
            for (at, (name, value)) in self.metadata.iter().enumerate() {
                if !taken.contains(&Some(at)) {
                    string_attribute(w, log_record::ATTRIBUTES, name, value);
                }
            }
            if let Some(id) = trace_id {
                w.bytes(log_record::TRACE_ID, &id);
            }
            if let Some(id) = span_id {
                w.bytes(log_record::SPAN_ID, &id);
            }
            w.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, now_unix_nano);
        });
    }

    /// The place of the first pair with one of `names`.
    fn find(&self, names: &[&str]) -> Option<usize> {
        self.metadata.iter().position(|(name, _)| names.contains(&name.as_ref()))
    }

    fn id_in_metadata<const N: usize>(&self, names: &[&str]) -> Option<(usize, [u8; N])> {
        let at = self.find(names)?;
        id(&self.metadata[at].1).map(|id| (at, id))
    }
}

fn write_level(w: &mut Writer, level: Option<&str>) {
    if let Some(level) = level {
        if let Some(number) = severity::number_of_name(level) {
            w.uint(log_record::SEVERITY_NUMBER, u64::from(number));
        }
        w.string(log_record::SEVERITY_TEXT, level);
    }
}

/// An id in hexadecimal; one of zeros only means that there is none.
fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    parse_hex(text).filter(|id| id.iter().any(|b| *b != 0))
}

/// The ids that a line in JSON carries.
#[derive(Default)]
struct Ids {
    trace: Option<[u8; 16]>,
    span: Option<[u8; 8]>,
}

impl Ids {
    fn of_line(line: &str) -> Self {
        let none = Self::default();
        // Most lines have none; finding that out must cost little.
        if line.len() > MAX_JSON_LINE || !line.trim_ascii_start().starts_with('{') || !line.contains("race") {
            return none;
        }
        let mut parser = Parser::new(line, MAX_JSON_DEPTH);
        parser.allow(MAX_JSON_VALUES);
        let Ok(members) = parser.object() else { return none };
        if parser.end().is_err() {
            return none;
        }
        let text = |names: &[&str]| {
            members.iter().find_map(|(name, value)| match value {
                Json::String(text) if names.contains(&name.as_ref()) => Some(text.as_ref()),
                _ => None,
            })
        };
        Self { trace: text(&TRACE_NAMES).and_then(id), span: text(&SPAN_NAMES).and_then(id) }
    }
}

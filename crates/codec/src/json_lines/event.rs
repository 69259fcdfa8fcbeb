//! One line to log records. The mapping is described in [`super`].

use std::borrow::Cow;

use model::Writer;

use super::{Counters, JsonLinesLimits, MAX_DEPTH};
use crate::json::{Json, JsonFault, Members, Parser};
use crate::json_text::parse_hex;
use crate::logs::{LogsBuilder, any_value, attribute, log_record};
use crate::severity;
use crate::timestamp::parse_rfc3339;

const PARSE_FAILURE: &str = "_jsonparsefailure";
const TIMESTAMP_FAILURE: &str = "_timestampparsefailure";
const TIMESTAMP: &str = "@timestamp";
const BAD_TIMESTAMP: &str = "_@timestamp";
const TAGS: &str = "tags";

/// Turns lines, or messages of anything that carries such events, into log records.
#[derive(Clone, Debug)]
pub struct EventDecoder {
    limits: JsonLinesLimits,
    counters: Counters,
}

impl EventDecoder {
    /// `limits.max_line_bytes` is the framer's matter and not looked at here.
    pub fn new(limits: JsonLinesLimits) -> Self {
        let max_depth = limits.max_depth.min(MAX_DEPTH);
        Self { limits: JsonLinesLimits { max_depth, ..limits }, counters: Counters::default() }
    }

    /// What was decoded so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Adds the event in `line`, or the events of an array, to `batch`; anything else is one event that holds the raw
    /// line. Returns how many were added.
    pub fn event(&mut self, line: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        let text = self.utf8(line);
        let mark = batch.mark();
        match self.objects(&text, now_unix_nano, batch) {
            Ok(parsed) => {
                self.counters.events += parsed.events as u64;
                self.counters.timestamp_failures += parsed.bad_timestamps;
                parsed.events
            }
            Err(fault) => {
                batch.rollback(mark);
                let tags: &[&str] = match fault {
                    JsonFault::Syntax => &[PARSE_FAILURE],
                    JsonFault::TooDeep => &[PARSE_FAILURE, "_too_deep"],
                    JsonFault::TooManyValues => &[PARSE_FAILURE, "_too_many_fields"],
                };
                self.raw(&text, tags, now_unix_nano, batch)
            }
        }
    }

    /// Adds the event that stands for a line that was cut.
    pub(super) fn cut(&mut self, line: &[u8], now_unix_nano: u64, batch: &mut LogsBuilder) -> usize {
        self.counters.cut_lines += 1;
        let text = self.utf8(line);
        self.raw(&text, &[PARSE_FAILURE, "_line_cut"], now_unix_nano, batch)
    }

    fn utf8<'a>(&mut self, line: &'a [u8]) -> Cow<'a, str> {
        let text = String::from_utf8_lossy(line);
        self.counters.invalid_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        text
    }

    fn raw(&mut self, text: &str, tags: &[&str], now: u64, batch: &mut LogsBuilder) -> usize {
        self.counters.events += 1;
        self.counters.parse_failures += 1;
        batch.record(|w| {
            w.fixed64(log_record::TIME_UNIX_NANO, now);
            w.message(log_record::BODY, |w| w.string(any_value::STRING, text));
            write_tags(w, None, tags);
            w.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, now);
        });
        1
    }

    /// Writes each object as it is read, so that only one is in memory.
    fn objects(&self, text: &str, now: u64, batch: &mut LogsBuilder) -> Result<Parsed, JsonFault> {
        let mut parser = Parser::new(text, self.limits.max_depth);
        let mut parsed = Parsed { events: 0, bad_timestamps: 0 };
        let mut object = |parser: &mut Parser<'_>| {
            parser.allow(self.limits.max_fields);
            let event = Event::of(parser.object()?);
            parsed.bad_timestamps += u64::from(event.bad_timestamp());
            parsed.events += 1;
            batch.record(|w| event.write(w, now));
            Ok(())
        };
        if parser.take(b'[') {
            if !parser.take(b']') {
                object(&mut parser)?;
                while parser.take(b',') {
                    object(&mut parser)?;
                }
                parser.expect(b']')?;
            }
        } else {
            object(&mut parser)?;
        }
        parser.end()?;
        Ok(parsed)
    }
}

struct Parsed {
    events: usize,
    bad_timestamps: u64,
}

/// An object, and where in it the members stand that mean something. Those that the record has a place for are taken.
struct Event<'a> {
    members: Members<'a>,
    body: Option<Json<'a>>,
    time: Time<'a>,
    /// As sent, and its number.
    severity: Option<(Cow<'a, str>, Option<u8>)>,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
    tags: Option<Json<'a>>,
}

enum Time<'a> {
    Now,
    At(u64),
    Bad(Json<'a>),
}

impl<'a> Event<'a> {
    fn of(members: Members<'a>) -> Self {
        let severity = ["level", "severity", "log.level"].iter().find_map(|name| severity(&members, name));
        let mut event = Self {
            members: Vec::new(),
            body: None,
            time: Time::Now,
            severity,
            trace_id: None,
            span_id: None,
            tags: None,
        };
        event.members = members.into_iter().filter_map(|(name, value)| event.take(name, value)).collect();
        if event.bad_timestamp() {
            // As in Logstash the raw time takes the place of a member of that name.
            event.members.retain(|(name, _)| name != BAD_TIMESTAMP);
        }
        event
    }

    /// Puts a member where it belongs, or gives it back as an attribute.
    fn take(&mut self, name: Cow<'a, str>, value: Json<'a>) -> Option<(Cow<'a, str>, Json<'a>)> {
        match name.as_ref() {
            "message" => self.body = Some(value),
            TAGS => self.tags = Some(value),
            TIMESTAMP => {
                self.time = match &value {
                    Json::Null => Time::Now,
                    Json::String(text) => parse_rfc3339(text).map_or(Time::Bad(value), Time::At),
                    _ => Time::Bad(value),
                }
            }
            "trace_id" | "traceId" | "trace.id" if self.trace_id.is_none() => match id(&value) {
                None => return Some((name, value)),
                id => self.trace_id = id,
            },
            "span_id" | "spanId" | "span.id" if self.span_id.is_none() => match id(&value) {
                None => return Some((name, value)),
                id => self.span_id = id,
            },
            _ => return Some((name, value)),
        }
        None
    }

    fn bad_timestamp(&self) -> bool {
        matches!(self.time, Time::Bad(_))
    }

    fn write(&self, w: &mut Writer, now: u64) {
        let time = if let Time::At(time) = self.time { time } else { now };
        w.fixed64(log_record::TIME_UNIX_NANO, time);
        if let Some((text, number)) = &self.severity {
            if let Some(number) = number {
                w.uint(log_record::SEVERITY_NUMBER, u64::from(*number));
            }
            w.string(log_record::SEVERITY_TEXT, text);
        }
        if let Some(body) = &self.body {
            w.message(log_record::BODY, |w| write_value(w, body));
        }
        for (name, value) in &self.members {
            write_attribute(w, log_record::ATTRIBUTES, name, value);
        }
        if let Time::Bad(raw) = &self.time {
            write_attribute(w, log_record::ATTRIBUTES, BAD_TIMESTAMP, raw);
            write_tags(w, self.tags.as_ref(), &[TIMESTAMP_FAILURE]);
        } else if let Some(tags) = &self.tags {
            write_attribute(w, log_record::ATTRIBUTES, TAGS, tags);
        }
        if let Some(id) = &self.trace_id {
            w.bytes(log_record::TRACE_ID, id);
        }
        if let Some(id) = &self.span_id {
            w.bytes(log_record::SPAN_ID, id);
        }
        w.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, now);
    }
}

fn severity<'a>(members: &Members<'a>, name: &str) -> Option<(Cow<'a, str>, Option<u8>)> {
    match &members.iter().find(|(n, _)| n == name)?.1 {
        Json::String(text) => Some((text.clone(), severity::number_of_name(text))),
        Json::Number(text) => {
            Some((Cow::Borrowed(*text), text.parse().ok().and_then(severity::number_of_bunyan)))
        }
        _ => None,
    }
}

/// A trace or span id; one of zeros only means that there is none.
fn id<const N: usize>(value: &Json<'_>) -> Option<[u8; N]> {
    let Json::String(text) = value else { return None };
    parse_hex(text).filter(|id| id.iter().any(|b| *b != 0))
}

fn write_attribute(w: &mut Writer, number: u32, name: &str, value: &Json<'_>) {
    attribute(w, number, name, |w| write_value(w, value));
}

/// The inside of an `AnyValue`. Recursion is bounded by the parser's limit.
fn write_value(w: &mut Writer, value: &Json<'_>) {
    match value {
        // An AnyValue without a value is OTLP's null.
        Json::Null => {}
        Json::Bool(value) => w.bool(any_value::BOOL, *value),
        Json::Number(text) => write_number(w, text),
        Json::String(text) => w.string(any_value::STRING, text),
        Json::Array(elements) => w.message(any_value::ARRAY, |w| {
            for element in elements {
                w.message(any_value::VALUES, |w| write_value(w, element));
            }
        }),
        Json::Object(members) => w.message(any_value::KVLIST, |w| {
            for (name, value) in members {
                write_attribute(w, any_value::VALUES, name, value);
            }
        }),
    }
}

fn write_number(w: &mut Writer, text: &str) {
    if !text.contains(['.', 'e', 'E']) {
        match text.parse() {
            Ok(integer) => w.int(any_value::INT, integer),
            Err(_) => w.string(any_value::STRING, text),
        }
        return;
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => w.double(any_value::DOUBLE, value),
        _ => w.string(any_value::STRING, text),
    }
}

/// The attribute `tags`: what was sent, as an array, and `more`.
fn write_tags(w: &mut Writer, sent: Option<&Json<'_>>, more: &[&str]) {
    let sent = match sent {
        Some(Json::Array(tags)) => tags.as_slice(),
        Some(Json::Null) | None => &[],
        Some(tag) => std::slice::from_ref(tag),
    };
    attribute(w, log_record::ATTRIBUTES, TAGS, |w| {
        w.message(any_value::ARRAY, |w| {
            for tag in sent {
                w.message(any_value::VALUES, |w| write_value(w, tag));
            }
            for tag in more {
                w.message(any_value::VALUES, |w| w.string(any_value::STRING, tag));
            }
        });
    });
}

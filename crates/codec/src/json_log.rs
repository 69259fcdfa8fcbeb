//! Log records as plain JSON, one object a record, for readers that know no OTLP.
//!
//! ```text
//! {"@timestamp":"2026-03-01T12:00:00.123Z","level":"INFO","severity_number":9,"message":"dialling",
//!  "trace_id":"5b8e...","span_id":"eee1...","event_name":"dial",
//!  "attributes":{"peer":"peer_a7","tries":3},"resource":{"service.name":"node"},"scope":"swarm"}
//! ```
//!
//! `@timestamp`, `level`, `message`, `trace_id` and `span_id` are what [`crate::json_lines`] and Logstash read. `@timestamp` is the
//! observed time where the record has none, and left out where it has neither; what a record does not have is left out, but for
//! `message`, which is then null. Values keep their types: bytes are base64, and numbers that JSON does not know are the strings
//! `NaN`, `Infinity` and `-Infinity`. Where an attribute stands twice, the first counts.
//!
//! It deliberately leaves out flags, dropped counts, schema URLs and the attributes of scopes.

use std::collections::HashSet;
use std::io::Write as _;

use jiff::Timestamp;
use model::otlp::{AnyValue, KeyValue, LogRecord, LogsData};
use model::{Request, Signal};

use crate::{json_text, severity};

/// Shows each record of a request of logs to `each` as a JSON object without line breaks, in order.
pub fn records(request: &Request, mut each: impl FnMut(&[u8])) {
    if request.signal() != Signal::Logs {
        return;
    }
    let (mut out, mut tail) = (Vec::new(), Vec::new());
    // `LogsData` is laid out as the export request is.
    for resource in LogsData::of(request.bytes()).resource_logs() {
        for scope in resource.scope_logs() {
            tail.clear();
            if let Some(attributes) = resource.resource().map(|resource| resource.attributes())
                && attributes.clone().next().is_some()
            {
                tail.extend_from_slice(b",\"resource\":");
                object(&mut tail, attributes);
            }
            text_member(&mut tail, "scope", scope.scope().map(|scope| scope.name()).unwrap_or_default());
            for record in scope.log_records() {
                out.clear();
                write_record(&mut out, &record);
                out.extend_from_slice(&tail);
                out.push(b'}');
                each(&out);
            }
        }
    }
}

fn write_record(out: &mut Vec<u8>, record: &LogRecord<'_>) {
    out.push(b'{');
    let time = [record.time_unix_nano(), record.observed_time_unix_nano()].into_iter().find(|time| *time > 0);
    if let Some(time) = time.and_then(|nanos| Timestamp::from_nanosecond(i128::from(nanos)).ok()) {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "\"@timestamp\":\"{time}\",");
    }
    out.extend_from_slice(b"\"message\":");
    match record.body() {
        Some(body) => value(out, &body),
        None => out.extend_from_slice(b"null"),
    }
    let number = record.severity_number();
    let level = match record.severity_text() {
        "" => severity::short_name(number).unwrap_or_default(),
        text => text,
    };
    text_member(out, "level", level);
    if number != 0 {
        out.extend_from_slice(b",\"severity_number\":");
        json_text::integer(out, number);
    }
    id_member(out, "trace_id", record.trace_id());
    id_member(out, "span_id", record.span_id());
    text_member(out, "event_name", record.event_name());
    if record.attributes().next().is_some() {
        out.extend_from_slice(b",\"attributes\":");
        object(out, record.attributes());
    }
}

fn text_member(out: &mut Vec<u8>, name: &str, text: &str) {
    if !text.is_empty() {
        let _ = write!(out, ",\"{name}\":");
        json_text::string(out, text.as_bytes());
    }
}

fn id_member(out: &mut Vec<u8>, name: &str, id: &[u8]) {
    // An id of zeros only means that there is none.
    if id.iter().any(|byte| *byte != 0) {
        let _ = write!(out, ",\"{name}\":");
        json_text::hex(out, id);
    }
}

fn object<'a>(out: &mut Vec<u8>, attributes: impl Iterator<Item = KeyValue<'a>>) {
    let mut seen = HashSet::new();
    out.push(b'{');
    for attribute in attributes {
        let key = attribute.key();
        if !seen.insert(key) {
            continue;
        }
        if seen.len() > 1 {
            out.push(b',');
        }
        json_text::string(out, key.as_bytes());
        out.push(b':');
        match attribute.value() {
            Some(inner) => value(out, &inner),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

/// Recursion is bounded: a checked request is nested at most `model::wire::MAX_DEPTH` deep.
fn value(out: &mut Vec<u8>, any: &AnyValue<'_>) {
    if let Some(text) = any.string_value() {
        json_text::string(out, text.as_bytes());
    } else if let Some(flag) = any.bool_value() {
        out.extend_from_slice(if flag { b"true" } else { b"false" });
    } else if let Some(number) = any.int_value() {
        json_text::integer(out, number);
    } else if let Some(number) = any.double_value() {
        json_text::double(out, number);
    } else if let Some(array) = any.array_value() {
        out.push(b'[');
        for (n, inner) in array.values().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            value(out, &inner);
        }
        out.push(b']');
    } else if let Some(map) = any.kvlist_value() {
        object(out, map.values());
    } else if let Some(bytes) = any.bytes_value() {
        json_text::base64(out, bytes);
    } else {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_lines::{EventDecoder, JsonLinesLimits};
    use crate::logs::{BatchLimits, LogsBuilder, any_value, attribute, log_record};
    use serde_json::{Value, json};

    fn all(request: &Request) -> Vec<Value> {
        let mut found = Vec::new();
        records(request, |json| found.push(serde_json::from_slice(json).unwrap()));
        found
    }

    #[test]
    fn a_record_becomes_one_object_with_its_types() {
        let mut batch = LogsBuilder::new("swarm", BatchLimits::default()).resource("service.name", "node");
        batch.record(|w| {
            w.fixed64(log_record::TIME_UNIX_NANO, 1_700_000_000_123_000_000);
            w.uint(log_record::SEVERITY_NUMBER, 9);
            w.message(log_record::BODY, |w| w.string(any_value::STRING, "dial\n\"x\""));
            attribute(w, log_record::ATTRIBUTES, "tries", |w| w.int(any_value::INT, -3));
            attribute(w, log_record::ATTRIBUTES, "tries", |w| w.int(any_value::INT, 4));
            attribute(w, log_record::ATTRIBUTES, "nan", |w| w.double(any_value::DOUBLE, f64::NAN));
            attribute(w, log_record::ATTRIBUTES, "raw", |w| w.bytes(any_value::BYTES, &[0xfb, 0xff]));
            attribute(w, log_record::ATTRIBUTES, "list", |w| {
                w.message(any_value::ARRAY, |w| {
                    w.message(any_value::VALUES, |w| w.bool(any_value::BOOL, true));
                    w.message(any_value::VALUES, |_| ());
                });
            });
            w.bytes(log_record::TRACE_ID, &[0x5b; 16]);
            w.bytes(log_record::SPAN_ID, &[0; 8]);
        });
        batch.record(|w| w.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, 1_000_000_000));
        let request = batch.finish().unwrap();
        let expected = json!({
            "@timestamp": "2023-11-14T22:13:20.123Z", "level": "INFO", "severity_number": 9,
            "message": "dial\n\"x\"", "trace_id": "5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b",
            "attributes": {"tries": -3, "nan": "NaN", "raw": "+/8=", "list": [true, null]},
            "resource": {"service.name": "node"}, "scope": "swarm",
        });
        let bare = json!({
            "@timestamp": "1970-01-01T00:00:01Z", "message": null,
            "resource": {"service.name": "node"}, "scope": "swarm",
        });
        assert_eq!(all(&request), [expected, bare]);
    }

    #[test]
    fn what_is_written_reads_back_as_an_event() {
        let line = br#"{"@timestamp":"2026-03-01T12:00:00.5Z","level":"warn","message":"m","trace_id":"0102030405060708090a0b0c0d0e0f10"}"#;
        let mut batch = LogsBuilder::new("a", BatchLimits::default());
        let mut decoder = EventDecoder::new(JsonLinesLimits::default());
        decoder.event(line, 7, &mut batch);
        let first = batch.finish().unwrap();
        records(&first, |json| {
            decoder.event(json, 7, &mut batch);
        });
        assert_eq!(decoder.counters().parse_failures + decoder.counters().timestamp_failures, 0);
        let again = all(&batch.finish().unwrap());
        for member in ["@timestamp", "level", "message", "trace_id"] {
            assert_eq!(again[0][member], all(&first)[0][member], "{member}");
        }
        assert_eq!(again[0]["@timestamp"], "2026-03-01T12:00:00.5Z");
    }
}

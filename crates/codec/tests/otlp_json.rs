//! OTLP/JSON both ways, held against prost and against opentelemetry-proto's own serde mapping.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use bytes::Bytes;
use codec::otlp_json::{DecodeLimits, JsonError, decode, encode, receive};
use model::descriptor::{FieldDescriptor, Kind, MessageDescriptor};
use model::otlp::request_descriptor;
use model::wire::Wire;
use model::{Repairs, Request, Signal, Writer};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

fn to_json(request: &Request) -> String {
    let mut json = Vec::new();
    encode(request, &mut json);
    String::from_utf8(json).unwrap()
}

fn from_json(signal: Signal, body: &str) -> Result<Request, JsonError> {
    decode(signal, body.as_bytes(), &DecodeLimits::default())
}

fn of<M: Message>(signal: Signal, message: &M) -> Request {
    Request::receive(signal, Bytes::from(message.encode_to_vec())).unwrap().0
}

/// The request's JSON as a tree.
fn tree(request: &Request) -> Value {
    serde_json::from_str(&to_json(request)).unwrap()
}

/// A log record given as JSON, inside its request.
fn log(record: &Value) -> String {
    json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).to_string()
}

fn log_round_trip(record: &Value) -> Value {
    let request = from_json(Signal::Logs, &log(record)).unwrap();
    assert_eq!(request.items(), 1);
    tree(&request)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].take()
}

fn log_error(record: &Value) -> JsonError {
    from_json(Signal::Logs, &log(record)).unwrap_err()
}

const RECORD: &str = "resourceLogs[0].scopeLogs[0].logRecords[0]";

#[test]
fn the_examples_come_back_as_they_are() {
    for (signal, text, items) in [
        (Signal::Traces, include_str!("examples/traces.json"), 2),
        (Signal::Logs, include_str!("examples/logs.json"), 2),
        (Signal::Metrics, include_str!("examples/metrics.json"), 5),
    ] {
        let request = from_json(signal, text).unwrap();
        assert_eq!(request.items(), items);
        let want: Value = serde_json::from_str(text).unwrap();
        assert_eq!(tree(&request), want);
        // opentelemetry-proto reads the example as the same message.
        let bytes = match signal {
            Signal::Traces => {
                serde_json::from_str::<ExportTraceServiceRequest>(text).unwrap().encode_to_vec()
            }
            Signal::Logs => serde_json::from_str::<ExportLogsServiceRequest>(text).unwrap().encode_to_vec(),
            Signal::Metrics => {
                serde_json::from_str::<ExportMetricsServiceRequest>(text).unwrap().encode_to_vec()
            }
        };
        assert_eq!(canonical(signal, request.bytes()), bytes);
    }
}

#[test]
fn values_of_every_type() {
    for value in [
        json!({"stringValue": ""}),
        json!({"stringValue": "a \"quoted\" \\ line\n\u{1}é😀"}),
        json!({"boolValue": false}),
        json!({"intValue": "0"}),
        json!({"intValue": "-9223372036854775808"}),
        json!({"doubleValue": 0.0}),
        json!({"doubleValue": "NaN"}),
        json!({"doubleValue": "-Infinity"}),
        json!({"bytesValue": "AAH/"}),
        json!({"arrayValue": {}}),
        json!({"arrayValue": {"values": [{}, {"intValue": "1"}]}}),
        json!({"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": true}}, {"key": "empty"}]}}),
        json!({}),
    ] {
        let record = json!({"body": value});
        assert_eq!(log_round_trip(&record), record);
    }
}

#[test]
fn spellings_that_are_read_but_not_written() {
    for (sent, written) in [
        (json!({"time_unix_nano": 5, "trace_id": ""}), json!({"timeUnixNano": "5"})),
        (json!({"timeUnixNano": 1e3}), json!({"timeUnixNano": "1000"})),
        (json!({"timeUnixNano": "18446744073709551615"}), json!({"timeUnixNano": "18446744073709551615"})),
        (json!({"severityNumber": "SEVERITY_NUMBER_INFO"}), json!({"severityNumber": 9})),
        (json!({"severityNumber": 9.0}), json!({"severityNumber": 9})),
        (json!({"severityNumber": 99}), json!({"severityNumber": 99})),
        (json!({"flags": "1", "droppedAttributesCount": 0}), json!({"flags": 1})),
        (
            json!({"traceId": "0AF7651916CD43DD8448EB211C80319C"}),
            json!({"traceId": "0af7651916cd43dd8448eb211c80319c"}),
        ),
        (json!({"body": {"intValue": 5}}), json!({"body": {"intValue": "5"}})),
        (json!({"body": {"doubleValue": 5}}), json!({"body": {"doubleValue": 5.0}})),
        (json!({"body": {"doubleValue": "1.5"}}), json!({"body": {"doubleValue": 1.5}})),
        (json!({"body": {"bytesValue": "_-8"}}), json!({"body": {"bytesValue": "/+8="}})),
        (json!({"body": {"stringValue": null, "intValue": 1}}), json!({"body": {"intValue": "1"}})),
        (json!({"body": null, "attributes": null, "flags": null}), json!({})),
        (json!({"attributes": []}), json!({})),
        (json!({"unknown": {"deep": [[[{"a": 1}]]]}, "severityText": "x"}), json!({"severityText": "x"})),
    ] {
        assert_eq!(log_round_trip(&sent), written, "{sent}");
    }
}

#[test]
fn what_is_refused_and_how_it_is_told() {
    for (record, path, problem) in [
        (json!({"traceId": "abc"}), "traceId", "expected 32 hexadecimal digits, found a string of 3 bytes"),
        (json!({"traceId": "zzf7651916cd43dd8448eb211c80319c"}), "traceId", "expected 32 hex"),
        (json!({"spanId": "0af7651916cd43dd8448eb211c80319c"}), "spanId", "expected 16 hex"),
        (json!({"spanId": 5}), "spanId", "found a number"),
        (
            json!({"timeUnixNano": "5x"}),
            "timeUnixNano",
            "an unsigned 64-bit integer, as a number or a decimal string",
        ),
        (json!({"timeUnixNano": -1}), "timeUnixNano", "out of range"),
        (json!({"timeUnixNano": "18446744073709551616"}), "timeUnixNano", "out of range"),
        (json!({"timeUnixNano": 1e20}), "timeUnixNano", "out of range"),
        (json!({"timeUnixNano": 1.5}), "timeUnixNano", "fraction"),
        (json!({"timeUnixNano": "NaN"}), "timeUnixNano", "no such number"),
        (json!({"flags": 4294967296u64}), "flags", "out of range"),
        (json!({"severityNumber": 3000000000u64}), "severityNumber", "out of range"),
        (json!({"severityNumber": "LOUD"}), "severityNumber", "send the number"),
        (json!({"severityText": 5}), "severityText", "expected a string, found a number"),
        (json!({"severityText": [1]}), "severityText", "expected a string, found an array"),
        (json!({"body": "text"}), "body", "expected an object, found a string"),
        (json!({"body": {"boolValue": "true"}}), "body.boolValue", "expected true or false"),
        (json!({"body": {"doubleValue": "inf"}}), "body.doubleValue", "expected a number"),
        (json!({"body": {"bytesValue": "a"}}), "body.bytesValue", "not base64"),
        (json!({"body": {"intValue": "9223372036854775808"}}), "body.intValue", "out of range"),
        (json!({"body": {"intValue": 1, "stringValue": ""}}), "body.", "may have one only"),
        (json!({"attributes": {}}), "attributes", "expected an array, found an object"),
        (json!({"attributes": [{}, null]}), "attributes[1]", "expected an object, found null"),
        (json!({"attributes": [{"key": "a"}, {"key": 1}]}), "attributes[1].key", "expected a string"),
    ] {
        let error = log_error(&record);
        assert!(error.path.starts_with(&format!("{RECORD}.{path}")), "{record}: {error}");
        assert!(error.problem.contains(problem), "{record}: {error}");
        assert!(error.line == 1 && error.column > 40, "{error}");
    }
}

#[test]
fn errors_name_the_place_and_quote_nothing() {
    let body =
        "{\"resourceSpans\":[{}, {\"scopeSpans\":[{\"spans\":[{},\n {\"traceId\":\"12D3KooWSecret\"}]}]}]}";
    let error = from_json(Signal::Traces, body).unwrap_err();
    assert_eq!(
        error.to_string(),
        "resourceSpans[1].scopeSpans[0].spans[1].traceId (line 2, column 28): \
         expected 32 hexadecimal digits, found a string of 14 bytes"
    );
    let metric = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":[1,"x"]}]}}]}]}]}"#;
    let error = from_json(Signal::Metrics, metric).unwrap_err();
    assert_eq!(
        error.path,
        "resourceMetrics[0].scopeMetrics[0].metrics[0].histogram.dataPoints[0].bucketCounts[1]"
    );
    for secret in
        ["\"12D3KooWSecret\"", "12345", "[\"12D3KooWSecret\"]", "true", "1.5", "{\"12D3KooWSecret\":1}"]
    {
        for key in
            ["traceId", "severityText", "timeUnixNano", "attributes", "body", "flags", "severityNumber"]
        {
            let body = log(&json!({})).replace("{}", &format!("{{\"{key}\":{secret}}}"));
            if let Err(error) = from_json(Signal::Logs, &body) {
                let error = error.to_string();
                assert!(!error.contains("12D3") && !error.contains("12345"), "{error}");
            }
        }
        if let Err(error) = from_json(Signal::Logs, secret) {
            assert!(!error.to_string().contains("12D3"), "{error}");
        }
    }
}

#[test]
fn text_that_is_no_unicode_is_replaced() {
    let body = b"{\"resourceLogs\":[{\"schemaUrl\":\"\xff \\ud83d\", \"\xff\": 1}]}";
    let (request, repairs) = receive(Signal::Logs, body, &DecodeLimits::default()).unwrap();
    assert_eq!(to_json(&request), "{\"resourceLogs\":[{\"schemaUrl\":\"\u{fffd} \u{fffd}\"}]}");
    // An unknown key is not looked into before something else is wrong.
    assert_eq!(repairs.invalid_utf8, 3);
    assert_eq!(receive(Signal::Logs, b"{}", &DecodeLimits::default()).unwrap().1, Repairs::default());
    assert!(receive(Signal::Logs, b"{\"resourceLogs\":\"\xff\"}", &DecodeLimits::default()).is_err());
}

#[test]
fn keys_that_stand_twice() {
    for record in [
        r#"{"flags":1,"flags":1}"#,
        r#"{"flags":null,"flags":1}"#,
        r#"{"timeUnixNano":1,"time_unix_nano":1}"#,
        r#"{"attributes":[],"attributes":[]}"#,
        r#"{"body":{},"body":{}}"#,
    ] {
        let body = log(&json!({})).replace("{}", record);
        let error = from_json(Signal::Logs, &body).unwrap_err();
        assert!(error.problem.contains("twice"), "{record}: {error}");
    }
    let unknown = log(&json!({})).replace("{}", r#"{"x":1,"x":2}"#);
    assert!(from_json(Signal::Logs, &unknown).is_ok());
}

#[test]
fn what_is_no_json() {
    for (body, problem) in [
        ("", "EOF while parsing"),
        ("[]", "expected an object, the ExportLogsServiceRequest, found an array"),
        ("null", "found null"),
        ("\"x\"", "found a string"),
        ("{", "EOF while parsing"),
        ("{} {}", "trailing characters"),
        ("{\"resourceLogs\":[{]}", "key must be a string"),
        ("{\"resourceLogs\":[{\"schemaUrl\":\"\n\"}]}", "control character"),
    ] {
        let error = from_json(Signal::Logs, body).unwrap_err();
        assert!(error.to_string().contains(problem), "{body}: {error}");
        assert!(!error.problem.contains("at line"), "{error}");
    }
    assert_eq!(from_json(Signal::Logs, "{}").unwrap().items(), 0);
}

/// A body of nested arrays, whose innermost value is `levels` messages deep in the request.
fn nested(levels: usize) -> String {
    let arrays = (levels - 5) / 2;
    let value = "{\"arrayValue\":{\"values\":[".repeat(arrays) + "{}" + &"]}}".repeat(arrays);
    log(&json!({"body": "@"})).replace("\"@\"", &value)
}

#[test]
fn nesting_has_a_limit() {
    let request = from_json(Signal::Logs, &nested(99)).unwrap();
    assert_eq!(from_json(Signal::Logs, &to_json(&request)).unwrap(), request);
    for levels in [101, 405, 200_001] {
        let error = from_json(Signal::Logs, &nested(levels)).unwrap_err();
        assert!(error.problem.contains("more than 100 deep"), "{error}");
        assert!(
            error.path.starts_with("resourceLogs[0].scopeLogs[0].logRecords[0].body.arrayValue.values[0]")
        );
    }
    // Nesting in what is skipped is no recursion.
    let skipped = format!("{{\"unknown\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(from_json(Signal::Logs, &skipped).is_ok());
}

#[test]
fn the_wire_format_has_a_limit() {
    let counts = vec!["1"; 1000].join(",");
    let body = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"histogram\":{{\"dataPoints\":[{{\"bucketCounts\":[{counts}]}}]}}}}]}}]}}]}}"
    );
    assert!(decode(Signal::Metrics, body.as_bytes(), &DecodeLimits { max_bytes: 8100 }).is_ok());
    let error = decode(Signal::Metrics, body.as_bytes(), &DecodeLimits { max_bytes: 7000 }).unwrap_err();
    assert!(error.problem.contains("smaller pieces"), "{error}");
}

#[test]
fn repeated_fields_are_gathered_and_unknown_ones_skipped() {
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(2, |w| {
                let attribute = |w: &mut Writer, key: &str| w.message(9, |w| w.string(1, key));
                let event = |w: &mut Writer, name: &str| w.message(11, |w| w.string(2, name));
                attribute(w, "a");
                event(w, "x");
                w.string(31, "unknown");
                w.uint(1000, 1);
                attribute(w, "b");
                w.string(5, "span");
                event(w, "y");
                attribute(w, "c");
            });
        });
    });
    let (request, _) = Request::receive(Signal::Traces, w.finish()).unwrap();
    assert_eq!(
        to_json(&request),
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a"},{"key":"b"},{"key":"c"}],"events":[{"name":"x"},{"name":"y"}],"name":"span"}]}]}]}"#
    );
}

#[test]
fn optional_fields_have_presence() {
    let point = |fields: &str| {
        format!(
            "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"histogram\":{{\"dataPoints\":[{fields}]}}}}]}}]}}]}}"
        )
    };
    for body in [
        point(r#"{"sum":0.0,"min":-0.0}"#),
        point("{}"),
        point(r#"{"bucketCounts":["0","5"],"explicitBounds":[0.0]}"#),
    ] {
        let request = from_json(Signal::Metrics, &body).unwrap();
        assert_eq!(to_json(&request), body);
    }
    let request = from_json(Signal::Metrics, &point(r#"{"count":0,"bucketCounts":[]}"#)).unwrap();
    assert_eq!(to_json(&request), point("{}"));
}

/// Decisions read from bytes, so that a failing request shrinks.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, n: u8) -> u8 {
        self.0.next().map_or(0, |b| b % n)
    }

    fn bits(&mut self) -> u64 {
        let bits = (0..8).fold(0, |bits, _| bits << 8 | u64::from(self.below(255)));
        match self.below(4) {
            0 => 0,
            1 => bits & 0x7f,
            2 => bits,
            _ => !bits,
        }
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 8] = ["a", "key", "\"", "\\", "\n", "\u{7}", "é", "😀"];
        (0..self.below(5)).map(|_| PIECES[usize::from(self.below(8))]).collect()
    }
}

/// What opentelemetry-proto's serde mapping cannot read: it has no defaults for the fields of an entity.
fn foreign(field: &FieldDescriptor) -> bool {
    field.name.ends_with("_strindex") || field.name == "entity_refs"
}

/// Writes a message with any of its fields, in any order, repeated ones packed or not.
/// `plain` leaves out what is [`foreign`].
fn any_message(
    w: &mut Writer,
    d: &'static MessageDescriptor,
    c: &mut Choices<'_>,
    depth: usize,
    plain: bool,
) {
    let mut slots = 0;
    match d.name {
        // opentelemetry-proto wants these even where they are empty.
        "KeyValue" if plain => {
            w.string(1, &format!("k{}", c.text()));
            slots = d.fields[0].slot;
        }
        "ArrayValue" if plain => w.message(1, |_| ()),
        "KeyValueList" if plain => w.message(1, |w| w.string(1, "k")),
        _ => {}
    }
    for _ in 0..c.below(if depth < 4 { 5 } else { 8 }) + u8::from(depth < 4) {
        let field = &d.fields[usize::from(c.below(d.fields.len() as u8))];
        if slots & field.slot != 0 || plain && foreign(field) {
            continue;
        }
        slots |= field.slot;
        if !plain && c.below(10) == 1 {
            w.string(30, "unknown");
        }
        let width = field.kind.wire();
        if field.repeated && width != Wire::Len && c.below(2) == 0 {
            w.message(field.number, |w| (0..c.below(5)).for_each(|_| any_scalar(w, field, c, plain)));
        } else if width != Wire::Len {
            w.tag(field.number, width);
            any_scalar(w, field, c, plain);
        } else if let Kind::Message(inner) = field.kind {
            if depth < 12 {
                w.message(field.number, |w| any_message(w, inner, c, depth + 1, plain));
            }
        } else if matches!(field.kind, Kind::String) {
            w.string(field.number, &c.text());
        } else {
            let id = c.bits().to_be_bytes().repeat(2);
            let len = match field.name {
                "trace_id" => 16,
                "span_id" | "parent_span_id" => 8,
                _ => usize::from(c.below(16)),
            };
            w.bytes(field.number, if c.below(8) == 7 { &[] } else { &id[..len] });
        }
    }
}

fn any_scalar(w: &mut Writer, field: &FieldDescriptor, c: &mut Choices<'_>, plain: bool) {
    let bits = c.bits();
    let double = match c.below(6) {
        0 => 0.0,
        1 => f64::from(bits as i32) / 8.0,
        2 if !plain => f64::INFINITY,
        3 if !plain => f64::NAN,
        _ => f64::from_bits(bits & !(1 << 62)),
    };
    match (field.kind, field.kind.wire()) {
        (Kind::Double, _) => w.raw(&double.to_bits().to_le_bytes()),
        (_, Wire::Fixed64) => w.raw(&bits.to_le_bytes()),
        (_, Wire::Fixed32) => w.raw(&(bits as u32).to_le_bytes()),
        (Kind::Bool, _) => w.varint(bits & 1),
        (Kind::Int32 | Kind::Enum(_), _) => w.varint(bits as i32 as i64 as u64),
        (Kind::Uint32 | Kind::Sint32, _) => w.varint(bits & 0xffff_ffff),
        _ => w.varint(bits),
    }
}

fn any_request(signal: Signal, choices: &[u8], plain: bool) -> Request {
    let mut w = Writer::new();
    any_message(&mut w, request_descriptor(signal), &mut Choices(choices.iter()), 0, plain);
    Request::receive(signal, w.finish()).unwrap().0
}

/// The bytes as prost writes them, which compares messages and lets NaN equal itself.
fn canonical(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
    }
}

fn serde_oracle<M: Message + Default + serde::de::DeserializeOwned>(json: &str) -> Vec<u8> {
    serde_json::from_str::<M>(json).unwrap_or_else(|e| panic!("{e}: {json}")).encode_to_vec()
}

fn any_signal() -> impl Strategy<Value = Signal> {
    prop::sample::select(Signal::ALL.as_slice())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_request_survives_the_round_trip(
        signal in any_signal(),
        choices in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let request = any_request(signal, &choices, false);
        let json = to_json(&request);
        let again = from_json(signal, &json).unwrap_or_else(|e| panic!("{e}: {json}"));
        prop_assert_eq!(again.items(), request.items());
        prop_assert_eq!(canonical(signal, again.bytes()), canonical(signal, request.bytes()), "{}", json);
        // What we decoded needs no mending, and encoding it again changes nothing.
        let (_, repairs) = Request::receive(signal, again.bytes().clone()).unwrap();
        prop_assert!(!repairs.any());
        prop_assert_eq!(to_json(&again), json);
    }

    #[test]
    fn any_request_reads_the_same_elsewhere(
        signal in any_signal(),
        choices in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let request = any_request(signal, &choices, true);
        let json = to_json(&request);
        let other = match signal {
            Signal::Traces => serde_oracle::<ExportTraceServiceRequest>(&json),
            Signal::Logs => serde_oracle::<ExportLogsServiceRequest>(&json),
            Signal::Metrics => serde_oracle::<ExportMetricsServiceRequest>(&json),
        };
        prop_assert_eq!(other, canonical(signal, request.bytes()), "{}", json);
    }

    #[test]
    fn damaged_json_is_an_error_or_a_sound_request(
        signal in any_signal(),
        choices in prop::collection::vec(any::<u8>(), 0..600),
        at: prop::sample::Index,
        with in "[\\[\\]{}\":,0-9eE.\\-tn]{0,3}",
    ) {
        let mut json = to_json(&any_request(signal, &choices, false)).into_bytes();
        let at = at.index(json.len());
        json.splice(at..at + 1, with.bytes());
        codec::fuzzing::otlp_json(&json);
    }
}

#[test]
fn requests_of_prost_encode_without_mending() {
    let request = of(Signal::Logs, &ExportLogsServiceRequest::default());
    assert_eq!(to_json(&request), "{}");
}

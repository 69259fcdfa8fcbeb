//! Logstash events into log records, looked at through prost.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use codec::json_lines::{EventDecoder, JsonLines, JsonLinesLimits, MAX_DEPTH, SCOPE};
use codec::logs::{BatchLimits, LogsBuilder};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message;

const NOW: u64 = 1_700_000_000_000_000_000;

fn batch() -> LogsBuilder {
    LogsBuilder::new(SCOPE, BatchLimits { max_records: usize::MAX, max_bytes: usize::MAX })
}

fn records(mut batch: LogsBuilder) -> Vec<LogRecord> {
    let Some(request) = batch.finish() else {
        return Vec::new();
    };
    let decoded = ExportLogsServiceRequest::decode(&request.bytes()[..]).unwrap();
    let records = decoded.resource_logs[0].scope_logs[0].log_records.clone();
    assert_eq!(decoded.resource_logs[0].scope_logs[0].scope.as_ref().unwrap().name, "floodway/logstash");
    assert_eq!(records.len(), request.items());
    records
}

fn events(line: &str) -> Vec<LogRecord> {
    let mut batch = batch();
    EventDecoder::new(JsonLinesLimits::default()).event(line.as_bytes(), NOW, &mut batch);
    records(batch)
}

fn event(line: &str) -> LogRecord {
    let [event] = &events(line)[..] else { panic!("one event expected: {line}") };
    assert_eq!(event.observed_time_unix_nano, NOW);
    event.clone()
}

/// A value in a notation short enough for tests.
fn show(value: &Option<AnyValue>) -> String {
    let list = |values: Vec<String>| values.join(",");
    match value.as_ref().and_then(|v| v.value.as_ref()) {
        None => "null".into(),
        Some(Value::StringValue(v)) => format!("{v:?}"),
        Some(Value::IntValue(v)) => format!("{v}i"),
        Some(Value::DoubleValue(v)) => format!("{v}f"),
        Some(Value::BoolValue(v)) => v.to_string(),
        Some(Value::ArrayValue(v)) => {
            format!("[{}]", list(v.values.iter().map(|v| show(&Some(v.clone()))).collect()))
        }
        Some(Value::KvlistValue(v)) => format!("{{{}}}", show_all(&v.values)),
        Some(other) => format!("{other:?}"),
    }
}

fn show_all(attributes: &[KeyValue]) -> String {
    attributes.iter().map(|a| format!("{}={}", a.key, show(&a.value))).collect::<Vec<_>>().join(" ")
}

fn attributes(line: &str) -> String {
    show_all(&event(line).attributes)
}

#[test]
fn a_winston_event() {
    let record = event(
        r#"{"@timestamp":"2026-03-01T12:00:00.123Z","@version":"1","level":"warn","message":"dial failed","tags":["swarm"],"peer":{"id":"x","rtt":1.5}}"#,
    );
    assert_eq!(record.time_unix_nano, 1_772_366_400_123_000_000);
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "warn"));
    assert_eq!(show(&record.body), "\"dial failed\"");
    assert_eq!(
        show_all(&record.attributes),
        r#"@version="1" level="warn" peer={id="x" rtt=1.5f} tags=["swarm"]"#
    );
}

#[test]
fn the_least_event() {
    let record = event(r#"{"message":"test"}"#);
    assert_eq!((record.time_unix_nano, record.severity_number), (NOW, 0));
    assert_eq!(show(&record.body), "\"test\"");
    assert!(record.attributes.is_empty());
    assert_eq!(event("{}").body, None);
}

#[test]
fn types_are_kept() {
    assert_eq!(
        attributes(r#"{"i":5,"n":-0,"f":1.0,"e":1e3,"b":true,"z":null,"a":[1,"x",[]],"o":{},"s":""}"#),
        r#"i=5i n=0i f=1f e=1000f b=true z=null a=[1i,"x",[]] o={} s="""#
    );
    assert_eq!(
        attributes(
            r#"{"max":9223372036854775807,"over":9223372036854775808,"huge":123456789012345678901234567890,"inf":1e999}"#
        ),
        r#"max=9223372036854775807i over="9223372036854775808" huge="123456789012345678901234567890" inf="1e999""#
    );
    assert_eq!(show(&event(r#"{"message":{"a":[1]}}"#).body), "{a=[1i]}");
    assert_eq!(show(&event(r#"{"message":7}"#).body), "7i");
}

#[test]
fn the_last_of_a_name_wins() {
    let record = event(r#"{"message":"a","x":1,"message":"b","x":2,"o":{"k":1,"k":2}}"#);
    assert_eq!(show(&record.body), "\"b\"");
    assert_eq!(show_all(&record.attributes), "x=2i o={k=2i}");
}

#[test]
fn bad_timestamps_are_tagged_and_kept() {
    let record = event(r#"{"@timestamp":"yesterday","message":"m","tags":["a"],"_@timestamp":"old"}"#);
    assert_eq!(record.time_unix_nano, NOW);
    assert_eq!(
        show_all(&record.attributes),
        r#"_@timestamp="yesterday" tags=["a","_timestampparsefailure"]"#
    );
    assert_eq!(attributes(r#"{"@timestamp":5}"#), r#"_@timestamp=5i tags=["_timestampparsefailure"]"#);
    assert_eq!(
        attributes(r#"{"@timestamp":"x","tags":"one"}"#),
        r#"_@timestamp="x" tags=["one","_timestampparsefailure"]"#
    );
    assert_eq!(attributes(r#"{"@timestamp":null}"#), "");
    let mut decoder = EventDecoder::new(JsonLinesLimits::default());
    decoder.event(br#"{"@timestamp":""}"#, NOW, &mut batch());
    assert_eq!(decoder.counters().timestamp_failures, 1);
}

#[test]
fn levels() {
    for (line, number, text) in [
        (r#"{"level":"ERROR"}"#, 17, "ERROR"),
        (r#"{"level":30}"#, 9, "30"),
        (r#"{"severity":"notice"}"#, 10, "notice"),
        (r#"{"log.level":"debug"}"#, 5, "debug"),
        (r#"{"severity":"info","level":"http"}"#, 7, "http"),
        (r#"{"level":{"x":1},"severity":"info"}"#, 9, "info"),
        (r#"{"level":"custom"}"#, 0, "custom"),
        (r#"{"level":3.5}"#, 0, "3.5"),
        (r#"{"level":true}"#, 0, ""),
    ] {
        let record = event(line);
        assert_eq!((record.severity_number, record.severity_text.as_str()), (number, text), "{line}");
        assert!(!record.attributes.is_empty(), "{line}");
    }
}

#[test]
fn trace_context() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for names in [("trace_id", "span_id"), ("traceId", "spanId"), ("trace.id", "span.id")] {
        let record = event(&format!(r#"{{"{}":"{trace}","{}":"B7AD6B7169203331"}}"#, names.0, names.1));
        assert_eq!(record.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(record.span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert!(record.attributes.is_empty());
    }
    for kept in
        [r#"{"trace_id":"abc"}"#, r#"{"span_id":5}"#, r#"{"trace_id":"00000000000000000000000000000000"}"#]
    {
        let record = event(kept);
        assert!(record.trace_id.is_empty() && record.attributes.len() == 1, "{kept}");
    }
    let both = event(&format!(r#"{{"trace_id":"{trace}","traceId":"{trace}"}}"#));
    assert!(both.trace_id.len() == 16 && both.attributes.len() == 1);
}

#[test]
fn an_array_of_objects_is_one_event_each() {
    let bodies: Vec<_> =
        events(r#" [ {"message":1} , {"message":2},{"message":3}] "#).iter().map(|r| show(&r.body)).collect();
    assert_eq!(bodies, ["1i", "2i", "3i"]);
    assert!(events("[]").is_empty());
}

#[test]
fn bad_lines_become_tagged_events() {
    for bad in [
        "hello",
        "{",
        "5",
        "\"text\"",
        "null",
        "{\"a\":1} x",
        "{\"a\":1}{\"b\":2}",
        "[{\"a\":1},5]",
        "[{\"a\":1}",
        "[{\"a\":1},]",
        "nul",
    ] {
        let record = event(bad);
        assert_eq!(show(&record.body), format!("{bad:?}"));
        assert_eq!(show_all(&record.attributes), r#"tags=["_jsonparsefailure"]"#, "{bad}");
        assert_eq!((record.time_unix_nano, record.severity_number), (NOW, 0));
    }
    let mut decoder = EventDecoder::new(JsonLinesLimits::default());
    let mut out = batch();
    decoder.event(b"bad \xff line", NOW, &mut out);
    decoder.event(b"{\"message\":\"\xfe\"}", NOW, &mut out);
    let bodies: Vec<_> = records(out).iter().map(|r| show(&r.body)).collect();
    assert_eq!(bodies, ["\"bad \u{fffd} line\"", "\"\u{fffd}\""]);
    let counters = decoder.counters();
    assert_eq!((counters.events, counters.parse_failures, counters.invalid_utf8), (2, 1, 2));
}

#[test]
fn events_past_the_limits_keep_their_text() {
    let limits = JsonLinesLimits { max_fields: 5, ..JsonLinesLimits::default() };
    let mut decoder = EventDecoder::new(limits);
    let mut out = batch();
    decoder.event(br#"{"a":1,"b":[2,3],"c":4}"#, NOW, &mut out);
    decoder.event(br#"{"a":1,"b":[2,3],"c":4,"d":5}"#, NOW, &mut out);
    decoder.event(br#"[{"a":1,"b":2,"c":3},{"a":1,"b":2,"c":3}]"#, NOW, &mut out);
    let shown: Vec<_> = records(out).iter().map(|r| show_all(&r.attributes)).collect();
    assert_eq!(
        shown,
        [
            "a=1i b=[2i,3i] c=4i",
            r#"tags=["_jsonparsefailure","_too_many_fields"]"#,
            "a=1i b=2i c=3i",
            "a=1i b=2i c=3i"
        ]
    );
    let nested = |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n);
    assert!(attributes(&nested(MAX_DEPTH)).starts_with("a={a={"));
    for n in [MAX_DEPTH + 1, 200, 100_000] {
        assert_eq!(attributes(&nested(n)), r#"tags=["_jsonparsefailure","_too_deep"]"#);
    }
}

#[test]
fn a_stream_of_lines() {
    let limits = JsonLinesLimits { max_line_bytes: 30, ..JsonLinesLimits::default() };
    let mut session = JsonLines::new(limits);
    let mut out = batch();
    let long = format!("{{\"message\":\"word {}\"}}\n", "x".repeat(300));
    for chunk in
        ["{\"message\":", "\"a\"}\r\n\r\n  \n{\"mess", "age\":\"b\"}\n", &long, "{\"message\":\"c\"}"]
    {
        assert_eq!(session.push(chunk.as_bytes(), NOW, &mut out), chunk.len());
        assert!(session.held_bytes() <= 32);
    }
    session.finish(NOW, &mut out);
    let shown: Vec<_> =
        records(out).iter().map(|r| format!("{} {}", show(&r.body), show_all(&r.attributes))).collect();
    assert_eq!(
        shown,
        ["\"a\" ", "\"b\" ", r#""{\"message\":\"word " tags=["_jsonparsefailure","_line_cut"]"#, "\"c\" "]
    );
    let counters = session.counters();
    assert_eq!((counters.events, counters.parse_failures, counters.cut_lines), (4, 1, 1));
}

#[test]
fn a_full_batch_stops_the_session() {
    let mut session = JsonLines::new(JsonLinesLimits::default());
    let mut out = LogsBuilder::new(SCOPE, BatchLimits { max_records: 2, max_bytes: usize::MAX });
    let mut rest = &b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}"[..];
    let mut sizes = Vec::new();
    while !rest.is_empty() {
        rest = &rest[session.push(rest, NOW, &mut out)..];
        if out.is_full() {
            sizes.push(out.finish().unwrap().items());
        }
    }
    session.finish(NOW, &mut out);
    sizes.push(out.finish().unwrap().items());
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn hostile_events_take_linear_time() {
    let keys: String = (0..100_000).map(|i| format!("\"key{i}\":{i},")).collect();
    let line = format!("{{{keys}\"message\":\"m\"}}");
    let limits = JsonLinesLimits { max_fields: usize::MAX, ..JsonLinesLimits::default() };
    let mut out = batch();
    EventDecoder::new(limits).event(line.as_bytes(), NOW, &mut out);
    assert_eq!(records(out)[0].attributes.len(), 100_000);
    // Under the default limit it costs even less.
    assert_eq!(attributes(&line), r#"tags=["_jsonparsefailure","_too_many_fields"]"#);
    // Newlines byte by byte, and long lines byte by byte.
    let mut session = JsonLines::new(JsonLinesLimits::default());
    let mut out = batch();
    for _ in 0..200_000 {
        assert_eq!(session.push(b"x", NOW, &mut out), 1);
    }
    session.finish(NOW, &mut out);
    assert_eq!(out.len(), 1);
}

proptest! {
    #[test]
    fn any_stream_keeps_the_invariants(
        size: u8,
        limit in 0u8..20,
        lines in prop::collection::vec(
            prop_oneof![
                "\\{(\"(message|level|tags|@timestamp|a)\":(1|\"x\"|\\[1,2\\]|\\{\"a\":null\\}),?){0,4}\\}",
                "[\\[\\]{}\":,a-c0-9 é\\\\]{0,60}",
            ],
            0..10,
        ),
    ) {
        let mut data = vec![size, limit];
        data.extend(lines.join("\n").bytes());
        codec::fuzzing::json_lines(&data);
    }
}

#[test]
fn a_line_that_breaks_off_loses_the_word_it_broke_in() {
    let last = |text: &str| {
        let mut session = JsonLines::new(JsonLinesLimits::default());
        let mut out = batch();
        assert_eq!(session.push(text.as_bytes(), NOW, &mut out), text.len());
        session.finish(NOW, &mut out);
        let records = records(out);
        format!("{} {}", show(&records[0].body), show_all(&records[0].attributes))
    };
    let id = "12D3KooWBtg3aaRM";
    let cut = r#""{\"message\":\"dial " tags=["_jsonparsefailure","_line_cut"]"#;
    assert_eq!(last(&format!("{{\"message\":\"dial {id}")), cut);
    assert_eq!(last("{\"message\":\"whole\"}"), "\"whole\" ");
    assert_eq!(last("not json"), r#""not json" tags=["_jsonparsefailure"]"#);
}

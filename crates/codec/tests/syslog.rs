//! Syslog messages to log records, read back by prost.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

use codec::logs::{BatchLimits, LogsBuilder};
use codec::syslog::{Counters, Framing, SCOPE, SyslogDecoder, SyslogStream, Zone};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

/// 2026-03-01T12:00:00Z
const NOW: u64 = 1_772_366_400_000_000_000;

fn finish(batch: &mut LogsBuilder) -> Vec<LogRecord> {
    let Some(request) = batch.finish() else { return Vec::new() };
    let decoded = ExportLogsServiceRequest::decode(&request.bytes()[..]).unwrap();
    let scopes = decoded.resource_logs.into_iter().flat_map(|r| r.scope_logs);
    let records: Vec<_> = scopes.flat_map(|s| s.log_records).collect();
    assert_eq!(records.len(), request.items());
    records
}

fn one(message: &[u8]) -> (LogRecord, Counters) {
    let mut decoder = SyslogDecoder::new(1000, Zone::utc());
    let mut batch = LogsBuilder::new(SCOPE, BatchLimits::default());
    decoder.datagram(message, NOW, &mut batch);
    let records = finish(&mut batch);
    assert_eq!(records.len(), 1);
    (records.into_iter().next().unwrap(), decoder.counters())
}

fn json_of(value: &AnyValue) -> serde_json::Value {
    match value.value.as_ref().unwrap() {
        Value::StringValue(text) => json!(text),
        Value::IntValue(int) => json!(int),
        Value::ArrayValue(array) => array.values.iter().map(json_of).collect(),
        Value::KvlistValue(list) => {
            let pair = |kv: &opentelemetry_proto::tonic::common::v1::KeyValue| {
                (kv.key.clone(), json_of(kv.value.as_ref().unwrap()))
            };
            serde_json::Value::Object(list.values.iter().map(pair).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn attributes(record: &LogRecord) -> serde_json::Value {
    let pairs = record.attributes.iter().map(|kv| (kv.key.clone(), json_of(kv.value.as_ref().unwrap())));
    let map: serde_json::Map<_, _> = pairs.collect();
    assert_eq!(map.len(), record.attributes.len(), "a key stands twice");
    map.into()
}

fn body(record: &LogRecord) -> serde_json::Value {
    json_of(record.body.as_ref().unwrap())
}

#[test]
fn an_rfc_5424_message_has_every_part() {
    let text = "<165>1 2003-10-11T22:14:15.003Z host.example evntslog 42 ID47 \
                [ex@32473 iut=\"3\" src=\"a \\\"b\\\"\"][origin ip=\"192.0.2.1\" ip=\"192.0.2.2\"] \u{feff}An \u{e9}vent\n";
    let (record, counters) = one(text.as_bytes());
    assert_eq!(counters, Counters { messages: 1, ..Counters::default() });
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1_065_910_455_003_000_000, NOW));
    assert_eq!((record.severity_number, record.severity_text.as_str()), (10, "notice"));
    assert_eq!(body(&record), "An \u{e9}vent");
    let expected = json!({
        "priority": 165, "facility": 20, "facility_text": "local4", "version": 1, "hostname": "host.example",
        "appname": "evntslog", "proc_id": "42", "msg_id": "ID47",
        "structured_data": {
            "ex@32473": {"iut": "3", "src": "a \"b\""}, "origin": {"ip": ["192.0.2.1", "192.0.2.2"]}
        }
    });
    assert_eq!(attributes(&record), expected);
}

#[test]
fn an_rfc_3164_message_has_every_part() {
    let (record, counters) = one(b"<34>Feb 28 23:59:58 mymachine su[230]: 'su root' failed\0");
    assert_eq!(counters, Counters { messages: 1, ..Counters::default() });
    assert_eq!(record.time_unix_nano, NOW - (12 * 3600 + 2) * 1_000_000_000);
    assert_eq!((record.severity_number, record.severity_text.as_str()), (18, "crit"));
    assert_eq!(body(&record), "'su root' failed");
    let expected = json!({
        "priority": 34, "facility": 4, "facility_text": "auth", "hostname": "mymachine", "appname": "su", "proc_id": "230"
    });
    assert_eq!(attributes(&record), expected);
}

#[test]
fn every_problem_is_counted_and_tagged() {
    let pri = json!({"priority": 13, "facility": 1, "facility_text": "user"});
    let with = |more: serde_json::Value| {
        let mut all = pri.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        serde_json::Value::Object(all)
    };
    let failed = json!(["_syslogparsefailure"]);
    let base = Counters { messages: 1, ..Counters::default() };
    let cases: [(&[u8], &str, serde_json::Value, Counters); 6] = [
        (b"plain text", "plain text", json!({"tags": failed}), Counters { no_pri: 1, ..base }),
        (b"<13>no time", "no time", pri.clone(), Counters { bad_timestamps: 1, ..base }),
        (b"<13>1 - host", "1 - host", with(json!({"tags": failed})), Counters { bad_headers: 1, ..base }),
        (
            b"<13>1 - h - - - [a b=c] x",
            "[a b=c] x",
            with(json!({"version": 1, "hostname": "h", "tags": failed})),
            Counters { bad_structured_data: 1, ..base },
        ),
        (
            b"<13>1 2026-99-01T00:00:00Z h - - - - x",
            "x",
            with(json!({
                "version": 1, "hostname": "h", "timestamp": "2026-99-01T00:00:00Z",
                "tags": ["_timestampparsefailure"]
            })),
            Counters { bad_timestamps: 1, ..base },
        ),
        (
            b"<13>Mar  1 12:00:00 h a: caf\xe9",
            "caf\u{fffd}",
            with(json!({"hostname": "h", "appname": "a"})),
            Counters { invalid_utf8: 1, ..base },
        ),
    ];
    for (message, expected_body, expected, counted) in cases {
        let (record, counters) = one(message);
        assert_eq!(body(&record), expected_body);
        assert_eq!(attributes(&record), expected, "{expected_body}");
        assert_eq!(counters, counted, "{expected_body}");
        assert_eq!(record.time_unix_nano, NOW);
        assert_eq!(record.severity_number, if counted.no_pri == 1 { 0 } else { 10 });
    }
}

#[test]
fn a_stream_is_framed_limited_and_counted() {
    let mut session = SyslogStream::new(Framing::OctetCounting, 32, Zone::utc());
    let mut batch = LogsBuilder::new(SCOPE, BatchLimits::default());
    let stream = b"5 <13>a100 <13>words and more words, too many of them, for the limit that is set above and so it is cut here, ok?\n<13>b\n";
    let taken = session.push(stream, NOW, &mut batch);
    assert_eq!(taken, stream.len());
    session.finish(NOW, &mut batch);
    let records = finish(&mut batch);
    let bodies: Vec<_> = records.iter().map(body).collect();
    assert_eq!(bodies[..2], ["a", "words and more words, too "]);
    assert_eq!(attributes(&records[1])["tags"], json!(["_line_cut"]));
    assert_eq!(bodies.last().unwrap(), "b");
    let counters = session.counters();
    assert_eq!((counters.cut, counters.messages, records.len()), (1, 4, 4), "{bodies:?}");
    assert!(counters.bad_framing >= 1);
}

#[test]
fn empty_messages_have_no_record() {
    let mut decoder = SyslogDecoder::new(1000, Zone::utc());
    let mut batch = LogsBuilder::new(SCOPE, BatchLimits::default());
    for empty in [&b""[..], b"\n", b"\r\n", b"\0"] {
        decoder.datagram(empty, NOW, &mut batch);
    }
    assert!(batch.is_empty() && decoder.counters() == Counters::default());
}

fn field(max: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("-".to_owned()),
        proptest::string::string_regex(&format!("[!-,.-~]{{1,{max}}}")).unwrap()
    ]
}

proptest! {
    /// Whatever is written by the rules of RFC 5424 is read as what it was.
    #[test]
    fn rfc_5424_round_trip(
        pri in 0_u8..192, host in field(20), app in field(20), pid in field(9), id in field(9),
        value in "[a\"\\\\\\] é]{0,9}", text in "[a-z <\\[\\]:é]{0,20}", micros in 0_u64..4_000_000_000_000_000,
    ) {
        let time = jiff::Timestamp::from_microsecond(micros as i64).unwrap();
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let message = format!("<{pri}>1 {time} {host} {app} {pid} {id} [x@1 v=\"{escaped}\"] {text}");
        let (record, counters) = one(message.as_bytes());
        prop_assert_eq!(counters, Counters { messages: 1, ..Counters::default() });
        prop_assert_eq!(record.time_unix_nano, micros * 1000);
        let attributes = attributes(&record);
        let or_nil = |name: &str| attributes.get(name).map_or("-", |v| v.as_str().unwrap()).to_owned();
        prop_assert_eq!(["hostname", "appname", "proc_id", "msg_id"].map(or_nil), [host, app, pid, id]);
        prop_assert_eq!(&attributes["structured_data"]["x@1"]["v"], &json!(value));
        prop_assert_eq!(&attributes["priority"], &json!(pri));
        prop_assert_eq!(body(&record), text);
    }

    #[test]
    fn any_bytes_are_one_record(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        codec::fuzzing::syslog_message(&bytes);
        codec::fuzzing::syslog_stream(&bytes);
    }

    #[test]
    fn any_almost_syslog_is_one_record(text in "(<[0-9]{1,3}>)?(1 )?([-:0-9TZJanFeb ]{0,24})( ?[-a-z:=\"\\[\\]0-9\\\\]{0,8}){0,8}") {
        codec::fuzzing::syslog_message(text.as_bytes());
        codec::fuzzing::syslog_stream(text.as_bytes());
    }
}

#[test]
fn a_datagram_over_the_limit_is_cut() {
    let (record, counters) = one(format!("<13>Mar  1 12:00:00 h a: {}", "word ".repeat(300)).as_bytes());
    assert_eq!(counters.cut, 1);
    assert_eq!(attributes(&record)["tags"], json!(["_line_cut"]));
    assert!((900..1000).contains(&body(&record).as_str().unwrap().len()));
}

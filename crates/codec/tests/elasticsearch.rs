//! Log records to bulk bodies, looked at through serde_json.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::HashSet;

use codec::elasticsearch::{Bulk, BulkEncoder, BulkOptions, DataStream, IndexPattern, Mapping, Target, keep};
use codec::fuzzing;
use model::{Request, Signal, Writer};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Otlp;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

const NOON: u64 = 1_772_366_400_123_000_000;
const NOW: u64 = 1_800_000_000_000_000_000;

fn text(value: &str) -> Otlp {
    Otlp::StringValue(value.to_owned())
}

fn any(value: Otlp) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Otlp) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn map(members: Vec<KeyValue>) -> Otlp {
    Otlp::KvlistValue(KeyValueList { values: members })
}

fn record(body: &str, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { time_unix_nano: NOON, body: Some(any(text(body))), attributes, ..LogRecord::default() }
}

fn group(resource: Vec<KeyValue>, records: Vec<LogRecord>) -> ResourceLogs {
    ResourceLogs {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

fn request(groups: Vec<ResourceLogs>) -> Request {
    let message = ExportLogsServiceRequest { resource_logs: groups };
    Request::receive(Signal::Logs, message.encode_to_vec().into()).unwrap().0
}

fn options(mapping: Mapping) -> BulkOptions {
    let index = IndexPattern::parse("logs-%{+yyyy.MM.dd}").unwrap();
    BulkOptions { target: Target::Index(index), mapping, content_ids: true }
}

fn bulk(request: &Request, options: BulkOptions) -> Bulk {
    let mut bulk = Bulk::default();
    assert!(!BulkEncoder::new(options).start(request, 7).fill(usize::MAX, NOW, &mut bulk));
    assert!(bulk.items.iter().all(|item| item.request == 7));
    bulk
}

/// Actions and documents.
fn lines(bulk: &Bulk) -> Vec<(Value, Value)> {
    let lines: Vec<_> = bulk.body.split_inclusive(|b| *b == b'\n').collect();
    lines.iter().for_each(|line| fuzzing::unique_keys(line));
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    parsed.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn document(mapping: Mapping, resource: Vec<KeyValue>, record: LogRecord) -> Value {
    lines(&bulk(&request(vec![group(resource, vec![record])]), options(mapping)))[0].1.clone()
}

fn flat(resource: Vec<KeyValue>, attributes: Vec<KeyValue>) -> Value {
    let mut document = document(Mapping::Flat, resource, record("m", attributes));
    let object = document.as_object_mut().unwrap();
    assert_eq!(object.remove("@timestamp"), Some(json!("2026-03-01T12:00:00.123Z")));
    assert_eq!(object.remove("message"), Some(json!("m")));
    document
}

fn ids(request: &Request) -> Vec<String> {
    let id = |(action, _): &(Value, Value)| action["create"]["_id"].as_str().unwrap().to_owned();
    lines(&bulk(request, options(Mapping::Flat))).iter().map(id).collect()
}

fn full_record() -> LogRecord {
    LogRecord {
        time_unix_nano: NOON,
        observed_time_unix_nano: NOON + 1,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(any(text("it \"failed\"\n"))),
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        event_name: "contract_tx".into(),
        attributes: vec![
            pair("query_duration", Otlp::IntValue(1500)),
            pair("big", Otlp::IntValue(i64::MAX)),
            pair("ratio", Otlp::DoubleValue(0.1)),
            pair("nan", Otlp::DoubleValue(f64::NAN)),
            pair("ok", Otlp::BoolValue(true)),
            pair("span.name", text("dial")),
            pair("raw", Otlp::BytesValue(vec![0xfb, 0xff])),
            pair("http", map(vec![pair("status", Otlp::IntValue(200)), pair("", map(vec![]))])),
            pair("tags", Otlp::ArrayValue(ArrayValue { values: vec![any(text("a")), AnyValue::default()] })),
        ],
        ..LogRecord::default()
    }
}

#[test]
fn a_flat_document_has_every_attribute_at_the_top() {
    let resource = vec![pair("service.name", text("backend")), pair("service.version", text("1.2"))];
    assert_eq!(
        document(Mapping::Flat, resource, full_record()),
        json!({
            "@timestamp": "2026-03-01T12:00:00.123Z", "level": "ERROR", "service": "backend",
            "service_version": "1.2", "message": "it \"failed\"\n", "event_type": "contract_tx",
            "trace_id": "ab".repeat(16), "span_id": "cd".repeat(8),
            "query_duration": 1500, "big": i64::MAX, "ratio": 0.1, "nan": null, "ok": true, "span.name": "dial",
            "raw": "+/8=", "http.status": 200, "http._": {}, "tags": ["a", null],
        })
    );
}

#[test]
fn an_ecs_document_is_nested_and_named_as_ecs_says() {
    let resource = vec![
        pair("service.name", text("backend")),
        pair("deployment.environment.name", text("prod")),
        pair("host", text("h1")),
    ];
    assert_eq!(
        document(Mapping::Ecs, resource, full_record()),
        json!({
            "@timestamp": "2026-03-01T12:00:00.123Z", "message": "it \"failed\"\n", "ecs": {"version": "8.11.0"},
            "log": {"level": "ERROR"}, "service": {"name": "backend", "environment": "prod"},
            "host": {"name": "h1"}, "trace": {"id": "ab".repeat(16)}, "span": {"id": "cd".repeat(8), "name": "dial"},
            "event": {"action": "contract_tx", "severity": 17, "created": "2026-03-01T12:00:00.123000001Z"},
            "query_duration": 1500, "big": i64::MAX, "ratio": 0.1, "nan": null, "ok": true, "raw": "+/8=",
            "http": {"status": 200, "_": {}}, "tags": ["a", null],
        })
    );
}

#[test]
fn what_collides_moves_and_nothing_is_lost() {
    let t = |key: &str, value: &str| pair(key, text(value));
    for (resource, attributes, expected) in [
        // The record's own before its resource's; where both say the same, once.
        (
            vec![t("a", "r"), t("b", "x")],
            vec![t("a", "v"), t("b", "x")],
            json!({"a": "v", "b": "x", "resource.a": "r"}),
        ),
        // Of two with one key the last.
        (vec![], vec![t("a", "1"), t("a", "2")], json!({"a": "2", "attributes.a": "1"})),
        (
            vec![],
            vec![t("a", "1"), t("a", "2"), t("a", "3"), t("a", "3")],
            json!({"a": "3", "attributes.a": "1", "attributes.attributes.a": "2"}),
        ),
        // A value that is an object too.
        (
            vec![],
            vec![t("a.b", "2"), t("a", "1"), t("a-b", "3")],
            json!({"a.value": "1", "a.b": "2", "a-b": "3"}),
        ),
        (
            vec![t("a.b.c", "3")],
            vec![t("a", "1"), t("a.b", "2")],
            json!({"a.value": "1", "a.b.value": "2", "a.b.c": "3"}),
        ),
        (
            vec![],
            vec![t("a", "1"), t("a.b", "2"), t("a.value", "3")],
            json!({"attributes.a.value": "1", "a.b": "2", "a.value": "3"}),
        ),
        // The mapping's own fields are plain in every document.
        (
            vec![],
            vec![t("message", "n"), t("message.x", "y")],
            json!({"attributes.message": "n", "message_x": "y"}),
        ),
        (
            vec![t("service.name", "r")],
            vec![t("service", "v")],
            json!({"service": "v", "resource.service": "r"}),
        ),
        (
            vec![],
            vec![t("_id", "1"), t("_source", "2"), t("_@timestamp", "3")],
            json!({"attributes._id": "1", "attributes._source": "2", "_@timestamp": "3"}),
        ),
        // Names that Elasticsearch refuses.
        (
            vec![],
            vec![t("", "1"), t("x.", "2"), t("a. .b", "3")],
            json!({"_": "1", "x._": "2", "a._.b": "3"}),
        ),
    ] {
        assert_eq!(flat(resource, attributes), expected);
    }
}

#[test]
fn what_has_moved_and_collides_again_moves_on() {
    let t = |key: &str, value: &str| pair(key, text(value));
    let mut document = document(
        Mapping::Ecs,
        vec![],
        record("m", vec![t("message", ""), pair("message.value", Otlp::DoubleValue(0.0))]),
    );
    assert_eq!(
        document["attributes"].take(),
        json!({"message": {"value": 0.0, "value_2": ""}}),
        "{document}"
    );
    // More than there are places to move to, and one of their names is taken.
    let taken = "attributes.attributes.a_3";
    let attributes = [t("a", "1"), t("a", "2"), t("a", "3"), t("a", "4"), t("a", "5"), t(taken, "6")];
    assert_eq!(
        flat(vec![], attributes.to_vec()),
        json!({
            "a": "5", "attributes.a": "1", "attributes.attributes.a": "4", "attributes.attributes.a_2": "3",
            "attributes.attributes.a_3": "6", "attributes.attributes.a_3_2": "2",
        })
    );
}

#[test]
fn a_level_that_is_an_attribute_too_stands_once() {
    for (attribute, level) in [(text("30"), "30"), (Otlp::IntValue(30), "30"), (text("info"), "info")] {
        let record = LogRecord { severity_text: level.into(), ..record("m", vec![pair("level", attribute)]) };
        let document = document(Mapping::Flat, vec![], record);
        assert_eq!(document["level"], json!(level));
        assert_eq!(document.as_object().unwrap().len(), 3, "{document}");
    }
    let numbered = LogRecord { severity_number: 13, ..record("m", vec![]) };
    assert_eq!(document(Mapping::Flat, vec![], numbered)["level"], json!("warn"));
}

#[test]
fn a_message_is_a_text_in_every_document() {
    for (body, message) in [
        (Otlp::IntValue(5), "5"),
        (Otlp::BoolValue(true), "true"),
        (Otlp::DoubleValue(f64::INFINITY), "Infinity"),
        (map(vec![pair("b", Otlp::IntValue(1)), pair("a", text("\""))]), r#"{"a":"\"","b":1}"#),
        (Otlp::ArrayValue(ArrayValue { values: vec![any(Otlp::IntValue(1))] }), "[1]"),
    ] {
        let record = LogRecord { body: Some(any(body)), ..record("", vec![]) };
        assert_eq!(document(Mapping::Flat, vec![], record)["message"], json!(message));
    }
    let bare = LogRecord { time_unix_nano: NOON, ..LogRecord::default() };
    assert_eq!(document(Mapping::Flat, vec![], bare), json!({"@timestamp": "2026-03-01T12:00:00.123Z"}));
}

#[test]
fn a_long_key_above_many_members_does_not_grow_the_document() {
    let members: Vec<_> = (0..2000).map(|n| pair(&n.to_string(), Otlp::IntValue(n))).collect();
    let key = "k".repeat(2000);
    let attributes = vec![pair(&key, map(members)), pair(&format!("{key}.0"), text("x"))];
    let request = request(vec![group(vec![], vec![record("m", attributes)])]);
    let bulk = bulk(&request, options(Mapping::Flat));
    assert!(bulk.body.len() < 2 * request.bytes().len(), "{}", bulk.body.len());
    let document = &lines(&bulk)[0].1;
    assert_eq!(document[format!("{key}.value")]["1999"], json!(1999));
    assert_eq!(document[format!("{key}.0")], json!("x"));
}

#[test]
fn deep_keys_stay_within_what_elasticsearch_takes() {
    let key = vec!["a"; 100].join(".");
    let mut nested = Otlp::IntValue(1);
    for _ in 0..25 {
        nested = map(vec![pair("n", nested)]);
    }
    let attributes = vec![pair(&key, Otlp::IntValue(1)), pair("m", nested)];
    let document = document(Mapping::Ecs, vec![], record("m", attributes));
    fn depth(value: &Value) -> usize {
        value.as_object().map_or(0, |members| 1 + members.values().map(depth).max().unwrap_or(0))
    }
    assert_eq!(depth(&document), 16);
}

#[test]
fn names_of_indices_come_from_the_record_its_resource_and_its_time() {
    let target = |pattern| BulkOptions {
        target: Target::Index(IndexPattern::parse(pattern).unwrap()),
        ..options(Mapping::Flat)
    };
    let named = |pattern, record: LogRecord| {
        let resource =
            vec![pair("service.name", text("Back End")), pair("m", map(vec![pair("x", Otlp::IntValue(7))]))];
        let bulk = bulk(&request(vec![group(resource, vec![record])]), target(pattern));
        lines(&bulk)[0].0["create"]["_index"].as_str().unwrap().to_owned()
    };
    let plain = || LogRecord { severity_text: "WARN".into(), ..record("m", vec![pair("app", text("a1"))]) };
    assert_eq!(named("l-%{+yyyy.MM.dd}", plain()), "l-2026.03.01");
    assert_eq!(named("l-%{[app]}-%{level}-%{service}-%{[m][x]}", plain()), "l-a1-warn-back_end-7");
    let observed = LogRecord { time_unix_nano: 0, observed_time_unix_nano: NOON, ..plain() };
    assert_eq!(named("l-%{+yyyy.MM.dd}", observed), "l-2026.03.01");
    let timeless = LogRecord { time_unix_nano: 0, ..plain() };
    assert_eq!(named("l-%{+yyyy.MM.dd}", timeless), "l-2027.01.15");
}

#[test]
fn a_data_stream_gets_its_name_and_a_time() {
    let stream = DataStream::parse("logs", "%{[service.name]}", "default").unwrap();
    let options =
        BulkOptions { target: Target::DataStream(stream), content_ids: false, ..options(Mapping::Ecs) };
    let timeless = LogRecord { time_unix_nano: 0, ..record("m", vec![]) };
    let request = request(vec![group(vec![pair("service.name", text("front-end"))], vec![timeless])]);
    let (action, document) = lines(&bulk(&request, options)).remove(0);
    assert_eq!(action, json!({"create": {"_index": "logs-front_end-default"}}));
    assert_eq!(document["@timestamp"], json!("2027-01-15T08:00:00.000Z"));
}

#[test]
fn ids_tell_records_apart_and_not_their_surroundings() {
    let (a, b) = (|| record("a", vec![]), || record("b", vec![]));
    let service = |name: &str| vec![pair("service.name", text(name))];
    let alone = ids(&request(vec![group(service("s"), vec![a()])]));
    let among = ids(&request(vec![
        group(service("t"), vec![a(), a()]),
        group(service("s"), vec![b(), a(), a(), a()]),
    ]));
    assert_eq!(among[3], alone[0]);
    assert_eq!(among.iter().collect::<HashSet<_>>().len(), 6, "equal records must stay several documents");
    assert!(among.iter().all(|id| id.len() == 22));
    let scoped = |name: &str| {
        let mut group = group(service("s"), vec![a()]);
        group.scope_logs[0].scope =
            Some(InstrumentationScope { name: name.into(), ..InstrumentationScope::default() });
        ids(&request(vec![group]))
    };
    assert_ne!(scoped("x"), scoped("y"));
    // Pinned: another id for the same record would make duplicates after an upgrade.
    assert_eq!(alone[0], "wq7v2o13zyl5TzmVOZG17w");
}

#[test]
fn what_is_kept_for_a_retry_keeps_its_ids() {
    let a = || record("a", vec![]);
    let whole = request(vec![
        group(vec![], vec![a(), record("b", vec![]), a(), a()]),
        group(vec![pair("x", text("y"))], vec![a(), a()]),
    ]);
    let (before, all) = (bulk(&whole, options(Mapping::Flat)), ids(&whole));
    assert_eq!(
        before.items.iter().map(|i| (i.record, i.number)).collect::<Vec<_>>(),
        [(0, 0), (1, 0), (2, 1), (3, 2), (4, 0), (5, 1)]
    );
    for kept in 1..64_u32 {
        let chosen = |n: usize| (kept >> n & 1 == 1).then(|| before.items[n].number);
        let rest = keep(&whole, chosen).unwrap();
        let expected: Vec<_> = (0..6).filter(|n| kept >> n & 1 == 1).map(|n| all[n].clone()).collect();
        assert_eq!(rest.items(), expected.len());
        assert_eq!(ids(&rest), expected, "{kept:b}");
        // And once more, from what was kept.
        let marked = bulk(&rest, options(Mapping::Flat));
        let last = keep(&rest, |n| (n + 1 == rest.items()).then(|| marked.items[n].number)).unwrap();
        assert_eq!(ids(&last), expected[expected.len() - 1..], "{kept:b}");
        Request::receive(Signal::Logs, rest.bytes().clone()).unwrap();
    }
    assert!(keep(&whole, |_| None).is_none());
    assert_eq!(keep(&whole, |n| Some(before.items[n].number)).unwrap().items(), 6);
}

#[test]
fn a_sender_cannot_take_the_id_of_another_record() {
    let record = |more: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new();
        writer.message(1, |w| {
            w.message(2, |w| {
                w.message(2, |w| {
                    w.fixed64(1, NOON);
                    w.message(5, |w| w.string(1, "a"));
                    more(w);
                });
            });
        });
        ids(&Request::receive(Signal::Logs, writer.finish()).unwrap().0).remove(0)
    };
    let plain = record(&|_| ());
    for number in [0, 1, 2] {
        // The field in which a retry keeps its number, but with something after it.
        let forged = record(&|w| {
            w.uint(0x1_e5d0, number);
            w.string(3, "forged");
        });
        assert_ne!(forged, plain);
        assert_ne!(record(&|w| w.uint(0x1_e5d0, number)), plain);
    }
}

#[test]
fn a_body_can_be_filled_piece_by_piece() {
    let records: Vec<_> = (0..100).map(|n| record(&n.to_string(), vec![])).collect();
    let request = request(vec![group(vec![], records[..50].to_vec()), group(vec![], records[50..].to_vec())]);
    let whole = bulk(&request, options(Mapping::Flat));
    let mut encoder = BulkEncoder::new(options(Mapping::Flat));
    let mut encoding = encoder.start(&request, 7);
    let (mut joined, mut records, mut bodies) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut piece = Bulk::default();
        let more = encoding.fill(1000, NOW, &mut piece);
        assert!(
            piece.body.len() < 1300 && piece.items.last().is_none_or(|item| item.end == piece.body.len())
        );
        joined.extend(piece.body);
        records.extend(piece.items.iter().map(|item| item.record));
        bodies += 1;
        if !more {
            break;
        }
    }
    assert!(bodies > 5);
    assert_eq!(joined, whole.body);
    assert_eq!(records, (0..100).collect::<Vec<_>>());
}

fn value() -> impl Strategy<Value = Otlp> {
    let leaf = prop_oneof![
        "\\PC{0,8}|[\\x00-\\x22]{0,3}".prop_map(Otlp::StringValue),
        any_double().prop_map(Otlp::DoubleValue),
        proptest::num::i64::ANY.prop_map(Otlp::IntValue),
        proptest::bool::ANY.prop_map(Otlp::BoolValue),
        prop::collection::vec(proptest::num::u8::ANY, 0..5).prop_map(Otlp::BytesValue),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let element = inner.clone().prop_map(any);
        prop_oneof![
            prop::collection::vec(element, 0..4).prop_map(|values| Otlp::ArrayValue(ArrayValue { values })),
            prop::collection::vec((key(), inner), 0..4)
                .prop_map(|members| map(members.into_iter().map(|(k, v)| pair(&k, v)).collect())),
        ]
    })
}

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![proptest::num::f64::ANY, Just(f64::NAN), Just(f64::INFINITY)]
}

/// Few names, so that they collide.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab](\\.[ab]){0,3}",
        "(a|service|level|message|trace|log|error|_id|attributes|resource)(\\.(name|value|a|id|level))?",
        "[.\\x00\\x01 \"é-]{0,3}",
    ]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec((key(), value()), 0..8)
        .prop_map(|pairs| pairs.into_iter().map(|(k, v)| pair(&k, v)).collect())
}

/// All leaves of a document by their whole path: no path twice, and none inside another.
fn paths(prefix: &str, value: &Value, found: &mut Vec<String>) {
    match value.as_object() {
        Some(members) if !members.is_empty() => {
            for (key, inner) in members {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                paths(&path, inner, found);
            }
        }
        _ => found.push(prefix.to_owned()),
    }
}

/// The naive way: what the leaves of attributes are worth as JSON.
fn leaves(attributes: &[KeyValue], found: &mut Vec<Value>) {
    for attribute in attributes {
        match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Otlp::KvlistValue(inner)) if !inner.values.is_empty() => leaves(&inner.values, found),
            Some(value) => found.push(naive(value)),
            None => found.push(Value::Null),
        }
    }
}

fn naive(value: &Otlp) -> Value {
    use base64::Engine as _;
    match value {
        Otlp::StringValue(text) => json!(text),
        Otlp::BoolValue(value) => json!(value),
        Otlp::IntValue(value) => json!(value),
        Otlp::DoubleValue(value) => json!(value),
        Otlp::BytesValue(bytes) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Otlp::ArrayValue(array) => {
            array.values.iter().map(|value| value.value.as_ref().map_or(Value::Null, naive)).collect()
        }
        Otlp::KvlistValue(members) => {
            let member = |m: &KeyValue| {
                let key = if m.key.is_empty() { "_".to_owned() } else { m.key.clone() };
                (key, m.value.as_ref().and_then(|v| v.value.as_ref()).map_or(Value::Null, naive))
            };
            Value::Object(members.values.iter().map(member).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn values_of(document: &Value, found: &mut Vec<Value>) {
    match document.as_object() {
        Some(members) if !members.is_empty() => members.values().for_each(|inner| values_of(inner, found)),
        _ => found.push(document.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_document_is_json_whose_fields_elasticsearch_can_tell_apart(
        resource in attributes(), records in prop::collection::vec((attributes(), value(), 0u64..3), 0..4),
    ) {
        let made = records.iter().map(|(attributes, body, time)| LogRecord {
            time_unix_nano: *time,
            body: Some(any(body.clone())),
            attributes: attributes.clone(),
            severity_text: if *time == 1 { "info".into() } else { String::new() },
            trace_id: vec![1; 16],
            ..LogRecord::default()
        });
        let request = request(vec![group(resource.clone(), made.collect())]);
        fuzzing::elasticsearch_bulk(request.bytes());
        for mapping in [Mapping::Flat, Mapping::Ecs] {
            let documents = lines(&bulk(&request, options(mapping)));
            prop_assert_eq!(documents.len(), records.len());
            for ((_, document), (attributes, _, _)) in documents.iter().zip(&records) {
                prop_assert!(document["message"].is_string() && document["@timestamp"].is_string());
                let mut found = Vec::new();
                paths("", document, &mut found);
                found.sort();
                for path in &found {
                    let inside = format!("{path}.");
                    prop_assert!(!found.iter().any(|other| other.starts_with(&inside)), "{} in {}", path, document);
                }
                let count = found.len();
                found.dedup();
                prop_assert_eq!(found.len(), count, "a path twice in {}", document);
                // Whatever was in an attribute is in the document, wherever it moved.
                let (mut expected, mut there) = (Vec::new(), Vec::new());
                leaves(attributes, &mut expected);
                values_of(document, &mut there);
                leaves(&resource, &mut expected);
                // Where a number and a text say the same at one place, it stands there once.
                let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let there: HashSet<String> = there.iter().map(plain).collect();
                let lost: Vec<_> = expected.iter().filter(|value| !there.contains(&plain(value))).collect();
                prop_assert!(lost.is_empty(), "{:?} of {:?} lost in {}", lost, expected, document);
            }
        }
    }
}

/// A corpus file with some bytes changed, taken out or put in.
fn damaged(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let edit = (proptest::prelude::any::<prop::sample::Index>(), 0..3, proptest::num::u8::ANY);
    (prop::sample::select(files), prop::collection::vec(edit, 0..4)).prop_map(|(mut bytes, edits)| {
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len() + 1).min(bytes.len().saturating_sub(1));
            match kind {
                _ if bytes.is_empty() => bytes.push(byte),
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_input_is_survived(
        response in damaged("elasticsearch_response"),
        index in damaged("elasticsearch_index"),
        bulk in damaged("elasticsearch_bulk"),
    ) {
        fuzzing::elasticsearch_response(&response);
        fuzzing::elasticsearch_index(&index);
        fuzzing::elasticsearch_bulk(&bulk);
    }
}

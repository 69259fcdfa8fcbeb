//! Loki's pushes, both ways, held against prost's reading of the schema.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;

use codec::loki::{Encoder, EncoderOptions, LevelPlace, LineFormat, Push, PushDecoder, PushError, Pushes};
use model::{Request, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;

const NOW: u64 = 1_790_000_000_123_456_789;

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn entry(time: u64, line: &str, metadata: &[(&str, &str)]) -> Entry {
    let timestamp =
        Some(Timestamp { seconds: (time / 1_000_000_000) as i64, nanos: (time % 1_000_000_000) as i32 });
    let pair = |(name, value): &(&str, &str)| Pair { name: (*name).into(), value: (*value).into() };
    Entry { timestamp, line: line.into(), metadata: metadata.iter().map(pair).collect() }
}

fn decoder() -> PushDecoder {
    let renames = [("service_name".to_owned(), "service.name".to_owned())];
    PushDecoder { max_bytes: 1 << 20, renames: std::sync::Arc::new(renames.into()) }
}

fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) })
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn decoded(push: &Push) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(&push.request.as_ref().unwrap().bytes()[..]).unwrap()
}

fn strings(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
    let value = |a: &'_ KeyValue| match &a.value.as_ref().unwrap().value {
        Some(Value::StringValue(text)) => text.as_str().to_owned().leak() as &str,
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|a| (a.key.as_str(), value(a))).collect()
}

#[test]
fn a_protobuf_push_becomes_a_resource_a_stream() {
    let push = PushRequest {
        streams: vec![
            Stream {
                labels: r#"{job="varlogs", service_name="api", level="warn"}"#.into(),
                entries: vec![
                    entry(NOW, "first", &[("peer", "p1"), ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]),
                    entry(
                        0,
                        r#"{"traceId":"4BF92F3577B34DA6A3CE929D0E0E4736","span_id":"00f067aa0ba902b7"}"#,
                        &[],
                    ),
                    entry(
                        NOW,
                        "odd",
                        &[("level", "ERROR"), ("trace_id", "xyz"), ("span_id", "0000000000000000")],
                    ),
                ],
                hash: 7,
            },
            Stream { labels: "{}".into(), entries: vec![], hash: 0 },
            Stream { labels: "{}".into(), entries: vec![entry(NOW, "", &[])], hash: 0 },
        ],
    };
    let pushed = decoder().protobuf(&push.encode_to_vec(), NOW + 5, Some("acme")).unwrap();
    assert_eq!((pushed.request.as_ref().unwrap().items(), pushed.invalid_utf8), (4, 0));
    let request = decoded(&pushed);
    let [first, second] = &request.resource_logs[..] else { panic!("{request:?}") };
    let resource = strings(&first.resource.as_ref().unwrap().attributes);
    assert_eq!(
        resource,
        [("loki.tenant", "acme"), ("job", "varlogs"), ("service.name", "api"), ("level", "warn")]
    );
    assert_eq!(strings(&second.resource.as_ref().unwrap().attributes), [("loki.tenant", "acme")]);
    assert_eq!(second.scope_logs[0].log_records[0].body, text(""));

    let [one, two, three] = &first.scope_logs[0].log_records[..] else { panic!() };
    assert_eq!((one.time_unix_nano, one.observed_time_unix_nano, &one.body), (NOW, NOW + 5, &text("first")));
    assert_eq!((one.severity_number, one.severity_text.as_str()), (13, "warn"));
    assert_eq!(strings(&one.attributes), [("peer", "p1")]);
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    assert_eq!((&one.trace_id[..], &one.span_id[..]), (&trace_id[..], &[][..]));
    assert_eq!(
        (&two.trace_id[..], &two.span_id[..]),
        (&trace_id[..], &0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()[..])
    );
    assert_eq!(two.time_unix_nano, NOW + 5, "no time");
    assert_eq!((three.severity_number, three.severity_text.as_str()), (17, "ERROR"));
    let kept = [("level", "ERROR"), ("trace_id", "xyz"), ("span_id", "0000000000000000")];
    assert_eq!((strings(&three.attributes), three.trace_id.len()), (kept.to_vec(), 0));
}

#[test]
fn both_json_shapes_read_as_protobuf_does() {
    let streams = vec![Stream {
        labels: "{job=\"x\", level=\"info\"}".into(),
        entries: vec![entry(NOW, "a \"line\"\n", &[("k", "v")]), entry(NOW + 1, "", &[])],
        hash: 0,
    }];
    let expected = decoder().protobuf(&PushRequest { streams }.encode_to_vec(), NOW, None).unwrap();
    let values = format!(r#"[["{NOW}","a \"line\"\n",{{"k":"v"}}],["{}",""]]"#, NOW + 1);
    let labels = r#"{"job":"x","level":"info"}"#;
    let legacy = r#"[{"ts":"2026-09-21T14:13:20.123456789Z","line":"a \"line\"\n","structuredMetadata":{"k":"v"}},
        {"ts":"2026-09-21T14:13:20.12345679Z","line":"","unknown":[1]}]"#;
    for body in [
        format!(r#"{{"streams":[{{"stream":{labels},"values":{values}}}]}}"#),
        format!(
            r#" {{ "x" : [1,{{}}], "streams" : [ {{ "values" : {values} , "y":null, "stream" : {labels} }} ] }} "#
        ),
        format!(r#"{{"streams":[{{"labels":"{{job=\"x\", level=\"info\"}}","entries":{legacy}}}]}}"#),
        format!(r#"{{"streams":[{{"entries":{legacy},"labels":"{{job=\"x\", level=\"info\"}}"}}]}}"#),
    ] {
        assert_eq!(decoder().json(body.as_bytes(), NOW, None).as_ref(), Ok(&expected), "{body}");
    }
}

#[test]
fn what_is_no_push() {
    let stream = |labels: &str, entries: Vec<Entry>| {
        PushRequest { streams: vec![Stream { labels: labels.into(), entries, hash: 0 }] }.encode_to_vec()
    };
    let late = Entry { timestamp: Some(Timestamp { seconds: -1, nanos: 0 }), ..entry(0, "x", &[]) };
    let bad_nanos = Entry { timestamp: Some(Timestamp { seconds: 1, nanos: -1 }), ..entry(0, "x", &[]) };
    let names: Vec<String> = (0..1025).map(|n| n.to_string()).collect();
    let many: Vec<_> = names.iter().map(|n| (n.as_str(), "")).collect();
    for (body, expected) in [
        (stream("", vec![]), PushError::Unlabelled),
        (stream("{a=\"b\"", vec![]), codec::loki::labels::LabelsError::Syntax.into()),
        (
            stream("{service_name=\"a\", \"service.name\"=\"b\"}", vec![]),
            codec::loki::labels::LabelsError::Duplicate.into(),
        ),
        (stream("{}", vec![late]), PushError::Timestamp),
        (stream("{}", vec![bad_nanos]), PushError::Timestamp),
        (stream("{}", vec![entry(1, "x", &many)]), PushError::Metadata),
        (vec![0x08, 1], PushError::Type { message: "PushRequest", number: 1 }),
        (vec![0x0a, 2, 0x10, 1, 0], PushError::Unlabelled),
        (vec![0x0a, 9, 0], model::wire::WireError::Length(9).into()),
    ] {
        assert_eq!(decoder().protobuf(&body, NOW, None), Err(expected), "{body:?}");
    }
    let small = PushDecoder { max_bytes: 200, ..decoder() };
    assert_eq!(
        small.protobuf(&stream("{}", vec![entry(1, &"x".repeat(300), &[])]), NOW, None),
        Err(PushError::TooLarge { limit: 200 })
    );
    assert_eq!(decoder().protobuf(b"", NOW, None), Ok(Push::default()));
    for body in [
        "",
        "x",
        "{}",
        "[]",
        r#"{"streams":{}}"#,
        r#"{"streams":[1]}"#,
        r#"{"streams":[{"values":[["1","x"]]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["1"]]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["x","x"]]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["-1","x"]]}]}"#,
        r#"{"streams":[{"stream":{"a":{}},"values":[]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["1","x",{"a":[]}]]}]}"#,
        r#"{"streams":[]} x"#,
        r#"{"streams":[{"stream":{},"values":[["1","x",{},1]]}]}"#,
        r#"{"streams":[{"stream":{},"values":[["1",2]]}]}"#,
        r#"{"streams":[{}]}"#,
    ] {
        let error = decoder().json(body.as_bytes(), NOW, None).unwrap_err();
        assert!(
            matches!(
                error,
                PushError::Json | PushError::Shape(_) | PushError::Timestamp | PushError::Unlabelled
            ),
            "{body}: {error:?}"
        );
    }
}

#[test]
fn invalid_utf8_is_replaced_and_counted() {
    let mut push = PushRequest {
        streams: vec![Stream {
            labels: "{a=\"??\"}".into(),
            entries: vec![entry(NOW, "??", &[("k", "??")])],
            hash: 0,
        }],
    }
    .encode_to_vec();
    push.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    let pushed = decoder().protobuf(&push, NOW, None).unwrap();
    assert_eq!(pushed.invalid_utf8, 3);
    assert_eq!(decoded(&pushed).resource_logs[0].scope_logs[0].log_records[0].body, text("\u{fffd}\u{fffd}"));
    let json = b"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"\xff\"]]}]}";
    assert_eq!(decoder().json(json, NOW, None).unwrap().invalid_utf8, 1);
}

fn options() -> EncoderOptions {
    EncoderOptions {
        labels: vec![("service_name".into(), "service.name".into()), ("peer".into(), "peer.id".into())],
        static_labels: vec![("job".into(), "shadowmesh".into())],
        level: LevelPlace::Metadata,
        level_name: "detected_level".into(),
        line: LineFormat::Body,
        max_push_bytes: 1 << 20,
        shards: 1,
    }
}

fn request(resource: Vec<KeyValue>, records: Vec<LogRecord>) -> Request {
    let scope =
        InstrumentationScope { name: "lib".into(), version: "1".into(), ..InstrumentationScope::default() };
    let message = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes: resource, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { scope: Some(scope), log_records: records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    };
    Request::receive(Signal::Logs, message.encode_to_vec().into()).unwrap().0
}

fn record(line: &str, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { time_unix_nano: NOW, body: text(line), attributes, ..LogRecord::default() }
}

fn encode(options: EncoderOptions, request: &Request) -> Pushes {
    let encoder = Encoder::new(options);
    let mut table = encoder.table(1000);
    encoder.encode([request], &mut table, NOW)
}

fn read(pushes: &Pushes) -> Vec<Stream> {
    let bodies = pushes.shards.iter().flatten().map(|push| PushRequest::decode(&push.body[..]).unwrap());
    bodies.flat_map(|body| body.streams).collect()
}

fn pairs(entry: &Entry) -> Vec<(&str, &str)> {
    entry.metadata.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect()
}

#[test]
fn labels_metadata_and_line_of_a_record() {
    let nested = Value::KvlistValue(KeyValueList {
        values: vec![attribute(
            "a",
            Value::ArrayValue(ArrayValue { values: vec![text("x").unwrap(), AnyValue { value: None }] }),
        )],
    });
    let mut full = record(
        "hello",
        vec![
            string("peer.id", "p\"1"),
            attribute("http.status", Value::IntValue(-7)),
            attribute("half", Value::DoubleValue(0.5)),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("yes", Value::BoolValue(true)),
            attribute("nested", nested.clone()),
            attribute("raw", Value::BytesValue(vec![0xfb, 0xff])),
        ],
    );
    (full.severity_number, full.severity_text) = (18, "CRIT".into());
    (full.trace_id, full.span_id) = (vec![0xab; 16], vec![1; 8]);
    let structured = LogRecord {
        body: Some(AnyValue { value: Some(nested) }),
        time_unix_nano: 0,
        observed_time_unix_nano: 5,
        ..record("", vec![])
    };
    let timeless = LogRecord { body: None, time_unix_nano: 0, ..record("", vec![]) };
    let request = request(
        vec![string("service.name", "api"), string("host.name", "h")],
        vec![full, structured, timeless],
    );
    let streams = read(&encode(options(), &request));
    let [one, two] = &streams[..] else { panic!("{streams:?}") };
    assert_eq!(one.labels, r#"{job="shadowmesh", peer="p\"1", service_name="api"}"#);
    assert_eq!(two.labels, r#"{job="shadowmesh", service_name="api"}"#);
    let [first] = &one.entries[..] else { panic!() };
    assert_eq!(
        (first.line.as_str(), first.timestamp.as_ref()),
        ("hello", entry(NOW, "", &[]).timestamp.as_ref())
    );
    assert_eq!(
        pairs(first),
        [
            ("detected_level", "error"),
            ("half", "0.5"),
            ("host_name", "h"),
            ("http_status", "-7"),
            ("nan", "NaN"),
            ("nested", r#"{"a":["x",null]}"#),
            ("raw", "+/8="),
            ("scope_name", "lib"),
            ("scope_version", "1"),
            ("severity_text", "CRIT"),
            ("span_id", "0101010101010101"),
            ("trace_id", "abababababababababababababababab"),
            ("yes", "true"),
        ]
    );
    let [second, third] = &two.entries[..] else { panic!() };
    assert_eq!(
        (second.line.as_str(), second.timestamp.as_ref()),
        (r#"{"a":["x",null]}"#, entry(5, "", &[]).timestamp.as_ref())
    );
    assert_eq!((third.line.as_str(), third.timestamp.as_ref()), ("", entry(NOW, "", &[]).timestamp.as_ref()));
    assert_eq!(pairs(third), [("host_name", "h"), ("scope_name", "lib"), ("scope_version", "1")]);
}

#[test]
fn a_line_of_json_holds_the_whole_record() {
    let mut full = record(
        "hello",
        vec![
            string("component", "signaling"),
            attribute("duration", Value::IntValue(1500)),
            string("resource", "odd"),
            string("peer.id", "p1"),
        ],
    );
    (full.severity_number, full.trace_id) = (17, vec![0xab; 16]);
    let own = record("", vec![string("level", "eror")]);
    let request = request(vec![string("service.name", "api"), string("host.name", "h")], vec![full, own]);
    let streams = read(&encode(
        EncoderOptions {
            line: LineFormat::Json,
            level: LevelPlace::Label,
            level_name: "level".into(),
            ..options()
        },
        &request,
    ));
    let [one, two] = &streams[..] else { panic!("{streams:?}") };
    assert_eq!(one.labels, r#"{job="shadowmesh", level="error", peer="p1", service_name="api"}"#);
    assert_eq!(two.labels, r#"{job="shadowmesh", level="unknown", service_name="api"}"#);
    assert_eq!(pairs(&one.entries[0]), [("trace_id", "abababababababababababababababab")]);
    let line: serde_json::Value = serde_json::from_str(&one.entries[0].line).unwrap();
    assert_eq!(
        line,
        serde_json::json!({
            "message": "hello", "level": "error", "component": "signaling", "duration": 1500, "attribute.resource": "odd",
            "peer.id": "p1", "trace_id": "abababababababababababababababab", "scope": "lib",
            "resource": {"service.name": "api", "host.name": "h"},
        })
    );
    assert!(two.entries[0].line.contains(r#""level":"eror""#), "{}", two.entries[0].line);
    assert!(pairs(&two.entries[0]).is_empty());
}

#[test]
fn what_has_no_label_gets_one() {
    let bare = EncoderOptions { static_labels: vec![], ..options() };
    let streams = read(&encode(
        bare.clone(),
        &request(vec![], vec![record("x", vec![string("service_name", "mine")])]),
    ));
    assert_eq!(streams[0].labels, r#"{service_name="unknown_service"}"#);
    assert!(pairs(&streams[0].entries[0]).contains(&("service_name_2", "mine")));
    let long = "x".repeat(3000);
    let streams =
        read(&encode(bare, &request(vec![string("service.name", &long)], vec![record("x", vec![])])));
    assert_eq!(streams[0].labels, r#"{service_name="unknown_service"}"#);
    assert!(
        pairs(&streams[0].entries[0]).contains(&("service_name_2", &long)),
        "too long for a label, not lost"
    );
}

#[test]
fn the_number_of_streams_is_bounded_and_no_value_is_lost() {
    let encoder =
        Encoder::new(EncoderOptions { level: LevelPlace::Label, level_name: "level".into(), ..options() });
    let mut table = encoder.table(50);
    let mut labels = std::collections::BTreeSet::new();
    let mut reduced = 0;
    for round in 0..10 {
        let records = (0..100)
            .map(|n| record("x", vec![string("peer.id", &format!("p{}", round * 100 + n))]))
            .collect();
        let request = request(vec![string("service.name", "api")], records);
        let pushes = encoder.encode([&request], &mut table, NOW + round);
        reduced += pushes.reduced;
        for stream in read(&pushes) {
            for entry in &stream.entries {
                let named =
                    pairs(entry).iter().any(|(name, value)| *name == "peer" && value.starts_with('p'));
                assert_ne!(named, stream.labels.contains("peer="), "{stream:?}");
            }
            labels.insert(stream.labels);
        }
    }
    // Nine tenths of the limit, and one without the label.
    assert_eq!((labels.len(), reduced), (46, 1000 - 45));
    assert!(labels.contains(r#"{job="shadowmesh", level="unknown", service_name="api"}"#), "{labels:?}");
}

#[test]
fn pushes_are_cut_and_streams_keep_their_shard_and_order() {
    let records: Vec<_> =
        (0..500).map(|n| record(&format!("{n}"), vec![string("peer.id", &format!("p{}", n % 17))])).collect();
    let request = request(vec![], records);
    let pushes = encode(EncoderOptions { shards: 4, max_push_bytes: 2000, ..options() }, &request);
    assert!(pushes.shards.len() > 1 && pushes.shards.iter().all(|shard| shard.len() > 1));
    let of_record = &pushes.of_record;
    let mut of_stream: BTreeMap<String, (usize, Vec<usize>)> = BTreeMap::new();
    for (shard, pushes) in pushes.shards.iter().enumerate() {
        for push in pushes {
            assert!(push.body.len() < 3000, "{} bytes", push.body.len());
            let body = PushRequest::decode(&push.body[..]).unwrap();
            for stream in body.streams {
                let known = of_stream.entry(stream.labels).or_insert((shard, vec![]));
                assert_eq!(known.0, shard, "a stream in two shards");
                known.1.extend(stream.entries.iter().map(|e| e.line.parse::<usize>().unwrap()));
            }
            let kept = request.retain(|at| of_record[at] == push.number).unwrap();
            assert_eq!(kept.items(), push.records);
        }
    }
    assert_eq!(of_stream.len(), 17);
    for (labels, (_, lines)) in of_stream {
        assert!(lines.is_sorted() && lines.len() >= 29, "{labels}: {lines:?}");
    }
}

proptest! {
    /// What is encoded decodes to the same lines, times and ids, and to every text that was there.
    #[test]
    fn records_come_back(
        records in proptest::collection::vec((1u64..4_000_000_000_000_000_000, "\\PC{0,20}", "[a-z._]{0,4}", "(\\PC|[\\x00-\\x22\\\\]){0,12}", any::<[u8; 16]>()), 1..20),
        service in "(\\PC|[\\x00-\\x22\\\\]){0,12}",
        shards in 1usize..4,
        limit in 1usize..5,
    ) {
        let logs = records.iter().map(|(time, line, key, value, id)| LogRecord {
            time_unix_nano: *time,
            trace_id: id.to_vec(),
            attributes: vec![string(key, value), string("peer.id", value)],
            ..record(line, vec![])
        });
        let request = request(vec![string("service.name", &service)], logs.collect());
        let encoder = Encoder::new(EncoderOptions { shards, max_push_bytes: 300, ..options() });
        let mut table = encoder.table(limit);
        let pushes = encoder.encode([&request], &mut table, NOW);
        let mut found = Vec::new();
        for push in pushes.shards.iter().flatten() {
            let pushed = decoder().protobuf(&push.body, NOW, None).unwrap();
            prop_assert_eq!(pushed.invalid_utf8, 0);
            for group in decoded(&pushed).resource_logs {
                for log in &group.scope_logs[0].log_records {
                    let mut all = group.resource.as_ref().unwrap().attributes.clone();
                    all.extend(log.attributes.clone());
                    found.push((log.time_unix_nano, log.body.clone(), log.trace_id.clone(), all));
                }
            }
        }
        prop_assert_eq!(found.len(), records.len());
        for (time, line, _, value, id) in &records {
            let at = found.iter().position(|(t, l, i, all)| {
                let id = if *id == [0; 16] { &[][..] } else { &id[..] };
                let values: Vec<_> = strings(all).into_iter().map(|(_, v)| v).collect();
                let has = |text: &str| text.is_empty() || values.contains(&text);
                t == time && *l == text(line) && i == id && has(value) && has(&service)
            });
            prop_assert!(at.is_some(), "{line:?} is lost: {found:?}");
            found.remove(at.unwrap());
        }
    }
}

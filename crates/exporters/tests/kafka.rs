//! The Kafka exporter against librdkafka's own mock of a cluster, which speaks the protocol on loopback and fails as it is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{SendRequests as _, build, log_request, permanent, request, retryable, traces};
use engine::testing::counters;
use engine::{ExportError, Exporter, Scope};
use model::{Payload, Request, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::{Value, json};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    MockCluster::new(1).unwrap()
}

fn settings(cluster: &Cluster, more: Value) -> Value {
    let mut settings = json!({"brokers": [cluster.bootstrap_servers()], "retry": {"timeout_ms": 3000}});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings
}

fn exporter(cluster: &Cluster, more: Value) -> Box<dyn Exporter> {
    build("kafka", &settings(cluster, more)).unwrap()
}

/// What stands in the partitions of a topic: partition, key and value.
fn read(
    cluster: &Cluster,
    topic: &str,
    partitions: i32,
    expected: usize,
) -> Vec<(i32, Option<String>, Vec<u8>)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "test");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut found, mut quiet) = (Vec::new(), 0);
    // A little longer than needed, so that a message too many is seen.
    while quiet < if found.len() < expected { 50 } else { 3 } {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let key = message.key().map(|key| String::from_utf8(key.to_vec()).unwrap());
                found.push((message.partition(), key, message.payload().unwrap().to_vec()));
                quiet = 0;
            }
            _ => quiet += 1,
        }
    }
    found
}

fn bodies(values: &[(i32, Option<String>, Vec<u8>)]) -> Vec<String> {
    let decoded = values.iter().map(|(_, _, value)| ExportLogsServiceRequest::decode(&value[..]).unwrap());
    let records =
        decoded.flat_map(|r| r.resource_logs).flat_map(|r| r.scope_logs).flat_map(|s| s.log_records);
    let text =
        |record: opentelemetry_proto::tonic::logs::v1::LogRecord| format!("{:?}", record.body.unwrap());
    records.map(text).map(|text| text.split('"').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_joined_into_one_message_on_the_topic_of_their_signal() {
    let cluster = cluster();
    let exporter = exporter(&cluster, json!({"compression": "lz4", "linger_ms": 0}));
    let logs = [log_request(&["a", "b"]), log_request(&["c"])];
    exporter.send(&logs).await.unwrap();
    exporter.send(&[request(Signal::Traces, &traces("dial"))]).await.unwrap();
    exporter.shutdown().await;
    let found = read(&cluster, "otlp_logs", 4, 1);
    assert_eq!(found.len(), 1);
    assert_eq!(bodies(&found), ["a", "b", "c"]);
    assert_eq!(read(&cluster, "otlp_spans", 4, 1)[0].2, traces("dial").encode_to_vec());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_encoding_and_compression_is_readable() {
    let cluster = cluster();
    for (n, compression) in ["none", "gzip", "snappy", "zstd"].into_iter().enumerate() {
        let topic = format!("json_{n}");
        let more = json!({"encoding": "json", "topics": {"logs": topic}, "compression": compression});
        exporter(&cluster, more).send(&[log_request(&["a", "b"])]).await.unwrap();
        let mut texts: Vec<Value> =
            read(&cluster, &topic, 4, 2).iter().map(|m| serde_json::from_slice(&m.2).unwrap()).collect();
        texts.sort_by_key(|text| text["message"].to_string());
        assert_eq!(texts, [json!({"message": "a"}), json!({"message": "b"})], "{compression}");
    }
    let more = json!({"encoding": "otlp_json", "topics": {"logs": "otlp_json"}});
    exporter(&cluster, more).send(&[log_request(&["a"])]).await.unwrap();
    let found: Value = serde_json::from_slice(&read(&cluster, "otlp_json", 4, 1)[0].2).unwrap();
    assert_eq!(found["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"], "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_lands_on_one_partition() {
    let cluster = cluster();
    cluster.create_topic("otlp_spans", 4, 1).unwrap();
    let spans = |from: u8| -> Request {
        let span =
            |n: u8| Span { trace_id: vec![n % 30 + 1; 16], span_id: vec![from + n; 8], ..Span::default() };
        let scope = ScopeSpans { spans: (0..60).map(span).collect(), ..ScopeSpans::default() };
        let mut message = traces("x");
        message.resource_spans = vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }];
        request(Signal::Traces, &message)
    };
    let one = exporter(&cluster, json!({"key": "trace_id"}));
    let other = exporter(&cluster, json!({"key": "trace_id"}));
    one.send(&[spans(0)]).await.unwrap();
    other.send(&[spans(100)]).await.unwrap();
    let found = read(&cluster, "otlp_spans", 4, 40);
    let mut partition_of: BTreeMap<u8, i32> = BTreeMap::new();
    let mut count = 0;
    for (partition, key, value) in &found {
        assert!(key.is_some());
        let decoded =
            opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest::decode(&value[..])
                .unwrap();
        for span in decoded.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans) {
            assert_eq!(*partition_of.entry(span.trace_id[0]).or_insert(*partition), *partition);
            count += 1;
        }
    }
    assert_eq!((partition_of.len(), count), (30, 120));
    let used: std::collections::BTreeSet<_> = partition_of.values().collect();
    assert_eq!(used.len(), 4, "all partitions are used");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_a_reason_to_try_again_and_nothing_is_lost_or_doubled() {
    let cluster = cluster();
    // Longer than librdkafka may wait before it connects again.
    let exporter = exporter(&cluster, json!({"retry": {"timeout_ms": 6000}}));
    exporter.send(&[log_request(&["first"])]).await.unwrap();
    cluster.broker_down(1).unwrap();
    let (_, message) = retryable(exporter.send(&[log_request(&["second"])]).await.unwrap_err());
    assert!(message.contains("not confirmed by the brokers in time"), "{message}");
    cluster.broker_up(1).unwrap();
    exporter.send(&[log_request(&["second"])]).await.unwrap();
    assert_eq!(bodies(&sorted(read(&cluster, "otlp_logs", 4, 2))), ["first", "second"]);
}

fn sorted(mut found: Vec<(i32, Option<String>, Vec<u8>)>) -> Vec<(i32, Option<String>, Vec<u8>)> {
    found.sort_by(|a, b| a.2.cmp(&b.2));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_errors_of_a_broker_are_met_within_an_attempt() {
    let cluster = cluster();
    let exporter = exporter(&cluster, json!({}));
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    exporter.send(&[log_request(&["a"])]).await.unwrap();
    assert_eq!(bodies(&read(&cluster, "otlp_logs", 4, 1)), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_broken_for_good_is_made_anew() {
    let cluster = cluster();
    let mut settings = settings(&cluster, json!({}));
    settings["client_id"] = json!("broken");
    let exporter = build("kafka", &settings).unwrap();
    exporter.send(&[log_request(&["first"])]).await.unwrap();
    let restarts = || counters().value("floodway_kafka_producer_restarts_total", &[("component", "kafka")]);
    let before = restarts();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    let mut attempts = 0;
    while let Err(error) = exporter.send(&[log_request(&["second"])]).await {
        retryable(error);
        attempts += 1;
        assert!(attempts < 5, "it does not recover");
    }
    assert!(attempts > 0 && restarts() > before, "attempts {attempts}, restarts {}", restarts() - before);
    assert_eq!(bodies(&sorted(read(&cluster, "otlp_logs", 4, 2))), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brokers_find_too_large_is_for_the_loop_to_halve() {
    let cluster = cluster();
    let exporter = exporter(&cluster, json!({"topics": {"logs": "small"}, "max_message_bytes": 2000}));
    exporter.send(&[log_request(&["before"])]).await.unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let error = exporter.send(&[log_request(&["a", "b"])]).await.unwrap_err();
    assert!(matches!(error, ExportError::Permanent { scope: Scope::Records, .. }), "{error}");
    // And what is larger than our own limit is not even sent.
    let long = "x".repeat(3000);
    let error = permanent(exporter.send(&[log_request(&["a", &long])]).await.unwrap_err());
    assert!(error.contains("max_message_bytes (2000)"), "{error}");
    assert_eq!(bodies(&read(&cluster, "small", 4, 1)), ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_room_in_the_buffer_wait_for_it() {
    let cluster = cluster();
    let more = json!({"max_message_bytes": 1024, "max_buffered_bytes": 2048, "encoding": "json"});
    let exporter = exporter(&cluster, more);
    let texts: Vec<String> = (0..200).map(|n| format!("{n:03}{}", "x".repeat(500))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut left = vec![Payload::from(log_request(&texts))];
    let mut attempts = 0;
    // What finds no room within an attempt is left, and it alone.
    while !left.is_empty() {
        let items: usize = left.iter().map(Payload::items).sum();
        let remainder = exporter.export(&left).await.unwrap().remainder;
        left = remainder.map(|remainder| remainder.payloads).unwrap_or_default();
        assert!(left.iter().map(Payload::items).sum::<usize>() < items, "no progress");
        attempts += 1;
        assert!(attempts < 50);
    }
    let found = read(&cluster, "otlp_logs", 4, 200);
    let distinct: std::collections::BTreeSet<_> = found.iter().map(|(_, _, value)| value).collect();
    assert_eq!((found.len(), distinct.len()), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_encoded_is_refused_with_the_reason() {
    let cluster = cluster();
    let json = exporter(&cluster, json!({"encoding": "json"}));
    let error = permanent(json.send(&[request(Signal::Traces, &traces("x"))]).await.unwrap_err());
    assert!(error.contains("logs only"), "{error}");
    let empty: [Payload; 0] = [];
    assert!(json.export(&empty).await.is_ok());
}

#[test]
fn settings_with_which_nothing_works_are_refused_at_build() {
    let at = |more: Value| {
        let mut settings = json!({"brokers": ["127.0.0.1:9092"]});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        settings
    };
    let bad = [
        (json!({"brokers": []}), "brokers is empty"),
        (at(json!({"brokers": ["kafka"]})), "\"kafka\" is not host:port"),
        (at(json!({"topics": {"logs": "a b"}})), "topics.logs"),
        (at(json!({"encoding": "json", "topics": {"traces": "t"}})), "json is for logs only"),
        (at(json!({"key_buckets": 0})), "key_buckets is 0"),
        (at(json!({"linger_ms": 60000})), "linger_ms is 60000"),
        (at(json!({"max_buffered_bytes": 10})), "max_buffered_bytes is 10"),
        (at(json!({"retry": {"timeout_ms": 10}})), "retry.timeout_ms is 10"),
        (at(json!({"librdkafka": {"acks": "1"}})), "acks cannot be set"),
        (at(json!({"librdkafka": {"enable.idempotence": "false"}})), "enable.idempotence cannot be set"),
        (at(json!({"librdkafka": {"message.timeout.ms": "300000"}})), "message.timeout.ms cannot be set"),
        (at(json!({"librdkafka": {"no.such": "x"}})), "no such property"),
        (at(json!({"tls": {"ca_file": "/not/there.pem"}})), "tls"),
    ];
    for (settings, expected) in bad {
        let error = build("kafka", &settings).err().unwrap();
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

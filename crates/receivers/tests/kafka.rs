//! The Kafka receiver against librdkafka's own mock of a cluster, which speaks the protocol on loopback.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{eventually, logs, parse, setup, traces};
use engine::testing::{self, Answer, Collected, Setup};
use engine::{ComponentKind, QueueSettings, ShutdownTrigger};
use model::{AckMode, Request};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// One broker, and one partition for each topic that is named.
fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).unwrap();
    }
    cluster
}

/// Writes values, in order, each to the partition named with it.
fn write<V: AsRef<[u8]>>(cluster: &Cluster, topic: &str, values: impl IntoIterator<Item = (i32, V)>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    for (partition, value) in values {
        let record = BaseRecord::<(), [u8]>::to(topic).payload(value.as_ref()).partition(partition);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// What the group has committed for the first partition of a topic.
fn committed(cluster: &Cluster, topic: &str) -> Option<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "floodway");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let found = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
    match found.elements()[0].offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

struct Running {
    id: String,
    collected: Collected,
    stop: ShutdownTrigger,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(cluster: &Cluster, setup: Setup, more: Value) -> Self {
        let id = setup.receiver.clone();
        let mut settings = json!({
            "brokers": [cluster.bootstrap_servers()], "commit_interval_ms": 50, "drain_timeout_ms": 1500,
            "librdkafka": {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200"},
        });
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let (inlet, collected) =
            Setup { ack: parse("kafka", &settings).unwrap().ack().unwrap(), ..setup }.inlet();
        let build = testing::build_context(ComponentKind::Receiver, &id);
        let receiver = parse("kafka", &settings).unwrap().build(&build).unwrap();
        let (context, stop) = testing::receiver_context(&id, inlet);
        let task = tokio::spawn(receiver.start(context).await.unwrap());
        Self { id, collected, stop, task }
    }

    async fn stop(self) -> Collected {
        self.stop.request();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap();
        self.collected
    }

    fn counter(&self, name: &str, label: (&str, &str)) -> u64 {
        testing::counters().value(name, &[("component", &self.id), label])
    }
}

fn bodies(requests: &[Request]) -> Vec<String> {
    let decode = |r: &Request| ExportLogsServiceRequest::decode(r.bytes().clone()).unwrap();
    let resources = requests.iter().map(decode).flat_map(|r| r.resource_logs);
    let records = resources.flat_map(|r| r.scope_logs).flat_map(|s| s.log_records);
    records.map(|record| format!("{:?}", record.body).split('"').nth(1).unwrap().to_owned()).collect()
}

fn log(text: &str) -> Vec<u8> {
    logs(&[text]).encode_to_vec()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:04}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_encoding_is_read_and_what_cannot_be_is_counted_and_passed_over() {
    let cluster = cluster(&[("otlp_logs", 1), ("otlp_spans", 1), ("events", 1)]);
    write(&cluster, "otlp_logs", [(0, log("a")), (0, b"no protobuf".to_vec()), (0, log("b"))]);
    let json = traces(2);
    write(&cluster, "otlp_spans", [(0, json.encode_to_vec()), (0, Vec::new())]);
    let events = ["{\"message\":\"c\",\"level\":\"warn\"}", "[{\"message\":\"d\"},{\"message\":\"e\"}]"];
    write(&cluster, "events", events.map(|event| (0, event)));
    let running = Running::start(&cluster, setup("kafka_encodings"), json!({})).await;
    let found = running.collected.wait_for(4).await;
    assert_eq!(found.iter().map(Request::items).sum::<usize>(), 4);
    assert_eq!(running.counter("floodway_refused_requests_total", ("reason", "malformed")), 1);
    eventually("the offset moves past what is malformed", || committed(&cluster, "otlp_logs") == Some(3))
        .await;
    eventually("and past what is empty", || committed(&cluster, "otlp_spans") == Some(2)).await;
    running.stop().await;

    let more = json!({"group": "json", "logs": {"topics": ["events"], "encoding": "json"}});
    let signals = vec![model::Signal::Logs];
    let running = Running::start(&cluster, Setup { signals, ..setup("kafka_json") }, more).await;
    assert_eq!(bodies(&running.collected.wait_for(3).await), ["c", "d", "e"]);
    let collected = running.stop().await;
    assert_eq!(collected.budget().used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_before_it_is_delivered_and_a_successor_reads_it_again() {
    let cluster = cluster(&[("otlp_logs", 1)]);
    let first = Running::start(&cluster, setup("kafka_first"), json!({})).await;
    write(&cluster, "otlp_logs", [(0, log("delivered"))]);
    first.collected.wait_for(1).await;
    eventually("it is committed", || committed(&cluster, "otlp_logs") == Some(1)).await;
    first.collected.answer(Answer::Hold);
    write(&cluster, "otlp_logs", numbers(0..5).iter().map(|n| (0, log(n))));
    eventually("they are in flight", || first.collected.budget().used() > 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = std::time::Instant::now();
    first.stop().await;
    assert!(begun.elapsed() > Duration::from_millis(1400), "it does not wait for what is in flight");
    assert_eq!(committed(&cluster, "otlp_logs"), Some(1));
    let second = Running::start(&cluster, setup("kafka_second"), json!({})).await;
    assert_eq!(bodies(&second.collected.wait_for(5).await), numbers(0..5));
    second.stop().await;
    assert_eq!(committed(&cluster, "otlp_logs"), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_while_it_stops_is_committed() {
    let cluster = cluster(&[("otlp_logs", 1)]);
    let running = Running::start(&cluster, setup("kafka_stopping"), json!({"drain_timeout_ms": 8000})).await;
    running.collected.answer(Answer::Hold);
    write(&cluster, "otlp_logs", [(0, log("a"))]);
    eventually("it is in flight", || running.collected.budget().used() > 0).await;
    let collected = running.collected.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        collected.answer(Answer::Deliver);
    });
    running.stop().await;
    assert_eq!(committed(&cluster, "otlp_logs"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_entered_again_in_its_order() {
    let cluster = cluster(&[("otlp_logs", 1)]);
    let running = Running::start(&cluster, setup("kafka_nack"), json!({})).await;
    running.collected.answer(Answer::Nack);
    write(&cluster, "otlp_logs", numbers(0..20).iter().map(|n| (0, log(n))));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(committed(&cluster, "otlp_logs"), None);
    running.collected.answer(Answer::Deliver);
    assert_eq!(bodies(&running.collected.wait_for(20).await), numbers(0..20));
    eventually("all is committed", || committed(&cluster, "otlp_logs") == Some(20)).await;
    // What is refused for good is no reason to stay.
    running.collected.answer(Answer::Reject);
    write(&cluster, "otlp_logs", [(0, log("refused"))]);
    eventually("the offset moves on", || committed(&cluster, "otlp_logs") == Some(21)).await;
    assert_eq!(running.stop().await.budget().used(), 0);
}

/// Five hundred messages through what has hardly any room, while the destination stands still for a time.
async fn through_a_narrow_way(id: &str, ack: &str, setup: Setup, more: Value) {
    let cluster = cluster(&[("otlp_logs", 1)]);
    let mut settings = json!({"ack": ack});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let running = Running::start(&cluster, setup, settings).await;
    running.collected.answer(Answer::Hold);
    write(&cluster, "otlp_logs", numbers(0..500).iter().map(|n| (0, log(n))));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    running.collected.answer(Answer::Deliver);
    let found = bodies(&running.collected.wait_for(500).await);
    assert_eq!(found, numbers(0..500), "{id}");
    eventually("all is committed", || committed(&cluster, "otlp_logs") == Some(500)).await;
    let collected = running.stop().await;
    assert_eq!(collected.items(), 500, "{id}: something came twice");
    assert_eq!(collected.budget().used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queues_keep_everything_and_its_order() {
    for ack in ["received", "delivered"] {
        let id = format!("kafka_queue_{ack}");
        let queue = QueueSettings { max_requests: 3, ..QueueSettings::default() };
        through_a_narrow_way(&id, ack, Setup { queue, ..setup(&id) }, json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_budget_keeps_everything_and_its_order() {
    for ack in ["received", "delivered"] {
        let id = format!("kafka_budget_{ack}");
        through_a_narrow_way(&id, ack, Setup { budget_bytes: 400, ..setup(&id) }, json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_window_pauses_the_partition_and_keeps_everything() {
    let id = "kafka_window";
    through_a_narrow_way(id, "delivered", setup(id), json!({"max_in_flight": 40})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_budget_is_counted_and_passed_over() {
    let cluster = cluster(&[("otlp_logs", 1)]);
    let running =
        Running::start(&cluster, Setup { budget_bytes: 1000, ..setup("kafka_large") }, json!({})).await;
    write(&cluster, "otlp_logs", [(0, log(&"x".repeat(900))), (0, log("a"))]);
    assert_eq!(bodies(&running.collected.wait_for(1).await), ["a"]);
    assert_eq!(running.counter("floodway_refused_requests_total", ("reason", "too_large")), 1);
    eventually("both are passed", || committed(&cluster, "otlp_logs") == Some(2)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_share_and_take_over_without_loss() {
    let cluster = cluster(&[("otlp_logs", 4)]);
    let spread = |from: usize, to: usize| {
        let all = numbers(from..to).into_iter().enumerate();
        all.map(|(n, text)| (n as i32 % 4, log(&text))).collect::<Vec<_>>()
    };
    let one = Running::start(&cluster, setup("kafka_one"), json!({})).await;
    write(&cluster, "otlp_logs", spread(0, 200));
    one.collected.wait_for(200).await;
    let two = Running::start(&cluster, setup("kafka_two"), json!({})).await;
    let mut written = 200;
    // The mock takes its time for a rebalance, and there are several.
    while two.collected.items() == 0 {
        write(&cluster, "otlp_logs", spread(written, written + 20));
        written += 20;
        assert!(written < 6000, "the other gets no share");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let one = one.stop().await;
    write(&cluster, "otlp_logs", spread(written, written + 200));
    written += 200;
    let all = |of: &[&Collected]| of.iter().flat_map(|c| bodies(&c.requests())).collect::<Vec<_>>();
    let members = [&one, &two.collected];
    let distinct = || all(&members).into_iter().collect::<BTreeSet<_>>().len();
    for _ in 0..40 {
        if distinct() < written {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert_eq!(distinct(), written);
    let two = two.stop().await;
    let found = all(&[&one, &two]);
    // Everyone drained before giving a partition up, so there is no duplicate either.
    assert_eq!(found.len(), written);
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
        (at(json!({"group": ""})), "group is empty"),
        (at(json!({"max_in_flight": 0})), "max_in_flight is 0"),
        (at(json!({"max_fetch_bytes": 10})), "max_fetch_bytes is 10"),
        (at(json!({"drain_timeout_ms": 600_000})), "drain_timeout_ms is 600000"),
        (at(json!({"traces": {"topics": ["t"], "encoding": "json"}})), "traces.encoding is json"),
        (at(json!({"logs": {"topics": []}})), "logs.topics is empty"),
        (at(json!({"logs": {"topics": ["^app-.*"]}})), "patterns are not supported"),
        (at(json!({"logs": {"topics": ["otlp_spans"]}})), "otlp_spans is named twice"),
        (at(json!({"librdkafka": {"enable.auto.commit": "true"}})), "enable.auto.commit cannot be set"),
        (at(json!({"librdkafka": {"group.id": "x"}})), "set `group`"),
    ];
    for (settings, expected) in bad {
        let context = testing::build_context(ComponentKind::Receiver, "kafka");
        let error = parse("kafka", &settings).unwrap().build(&context).err().unwrap().to_string();
        assert!(error.contains(expected), "{settings}: {error}");
    }
    assert_eq!(parse("kafka", &at(json!({}))).unwrap().ack(), Some(AckMode::Delivered));
}

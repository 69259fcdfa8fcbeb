//! A Kafka consumer group: several receivers with one `group` share the partitions of their topics, and take over from each other.
//!
//! An offset is committed when what was read up to it is settled: with `ack: delivered`, the default, when every destination has it;
//! with `received`, when it stands in the queues. So a program that is killed loses nothing: what was not committed is read again,
//! by another member or after a restart, and what of it had been delivered is a duplicate.
//!
//! | what happens | what becomes of the message |
//! |---|---|
//! | queues or the memory budget are full | it waits, the partition is paused; the group is polled all the same |
//! | a destination gave up on it, may be tried again | it is entered again; nothing behind it overtakes it meanwhile |
//! | refused for good, by a processor or a destination | counted by them; the offset moves on |
//! | it cannot be decoded | counted as `malformed`; the offset moves on |
//! | the partition goes to another member, or the program stops | what is in flight is awaited for `drain_timeout_ms`, then the offset is committed |
//!
//! What is read from Kafka and not settled is bounded for each partition, by `max_in_flight` and `max_in_flight_bytes`; what is read
//! ahead of that, by `max_fetch_bytes`.
//!
//! Deliberately not here: patterns of topics, exactly-once (destinations know no transactions), schema registries.

mod decode;
mod group;
mod partition;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{
    BoxFuture, BuildContext, BuildError, Claim, Receiver, ReceiverConfig, ReceiverContext, Serving,
};
use kafka_client::{Cluster, Encoding, KafkaTls, Sasl};
use model::{AckMode, Signal};
use rdkafka::config::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admission::positive;
use group::{Limits, Membership, Source};

/// Reads Kafka topics as a member of a consumer group.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaConfig {
    /// Some of the brokers, each `host:port`.
    brokers: Vec<String>,
    /// The consumer group. Members share the partitions. Default: floodway.
    #[serde(default = "floodway")]
    group: String,
    /// What the brokers call us in their logs and quotas. Default: floodway.
    #[serde(default = "floodway")]
    client_id: String,
    /// When an offset is committed: `delivered` (every destination has what is before it), `durable` (it is in every exporter's disk
    /// buffer) or `received` (it stands in every exporter's queue, and is lost if the program is killed). Default: delivered.
    #[serde(default = "delivered")]
    ack: AckMode,
    /// Where spans are. Read if a pipeline takes traces from this receiver. Default: otlp_spans.
    #[serde(default = "spans")]
    traces: TopicConfig,
    /// Where log records are. Default: otlp_logs.
    #[serde(default = "logs")]
    logs: TopicConfig,
    /// Where data points are. Default: otlp_metrics.
    #[serde(default = "metrics")]
    metrics: TopicConfig,
    /// Where a group begins that has committed nothing yet: `earliest` or `latest`. Default: earliest.
    #[serde(default)]
    start: Start,
    /// Messages of a partition that are read and not settled; more are not read. Default: 16384.
    #[serde(default = "max_in_flight")]
    max_in_flight: usize,
    /// The same in bytes. Default: 16777216 (16 MiB).
    #[serde(default = "sixteen_mebibytes")]
    max_in_flight_bytes: usize,
    /// Bytes that are fetched ahead. Default: 16777216 (16 MiB).
    #[serde(default = "sixteen_mebibytes")]
    max_fetch_bytes: usize,
    /// How often offsets are committed, in milliseconds. Default: 1000.
    #[serde(default = "commit_interval_ms")]
    commit_interval_ms: u64,
    /// How long, when a partition is given up or the program stops, what is in flight may take to be settled, in milliseconds.
    /// What takes longer is delivered twice. Default: 10000. At most 120000.
    #[serde(default = "drain_timeout_ms")]
    drain_timeout_ms: u64,
    /// TLS settings. Default: plain text.
    #[serde(default)]
    tls: Option<KafkaTls>,
    /// Credentials. Default: none.
    #[serde(default)]
    sasl: Option<Sasl>,
    /// Further properties of librdkafka, as its CONFIGURATION.md lists them, such as `session.timeout.ms: "10000"`. Those on which
    /// delivery depends are refused. Default: none.
    #[serde(default)]
    librdkafka: BTreeMap<String, String>,
}

fn floodway() -> String {
    "floodway".to_owned()
}

fn delivered() -> AckMode {
    AckMode::Delivered
}

fn spans() -> TopicConfig {
    TopicConfig::of("otlp_spans")
}

fn logs() -> TopicConfig {
    TopicConfig::of("otlp_logs")
}

fn metrics() -> TopicConfig {
    TopicConfig::of("otlp_metrics")
}

fn max_in_flight() -> usize {
    16_384
}

fn sixteen_mebibytes() -> usize {
    16 << 20
}

fn commit_interval_ms() -> u64 {
    1000
}

fn drain_timeout_ms() -> u64 {
    10_000
}

/// Where the records of a signal are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TopicConfig {
    /// The topics; a topic holds one signal.
    topics: Vec<String>,
    /// What a message holds: `otlp_proto` or `otlp_json` (an export request), or `json` (for logs: an object, or an array of
    /// objects, as the logstash receiver reads them). Default: otlp_proto.
    #[serde(default)]
    encoding: Encoding,
}

impl TopicConfig {
    fn of(topic: &str) -> Self {
        Self { topics: vec![topic.to_owned()], encoding: Encoding::default() }
    }
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Start {
    /// With what is oldest.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
}

impl ReceiverConfig for KafkaConfig {
    const NAME: &'static str = "kafka";
    const SUMMARY: &'static str = "Kafka topics as a consumer group: OTLP in protobuf or JSON, plain JSON";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn ack(&self) -> Option<AckMode> {
        Some(self.ack)
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        positive("max_in_flight", self.max_in_flight as u64)?;
        positive("max_in_flight_bytes", self.max_in_flight_bytes as u64)?;
        positive("commit_interval_ms", self.commit_interval_ms)?;
        if self.max_in_flight > 1 << 20 {
            return Err(BuildError::new(format!(
                "max_in_flight is {}; give 1 to 1048576",
                self.max_in_flight
            )));
        }
        if !(1 << 20..=1 << 30).contains(&self.max_fetch_bytes) {
            return Err(BuildError::new(format!(
                "max_fetch_bytes is {}; give 1048576 (1 MiB) to 1073741824 (1 GiB)",
                self.max_fetch_bytes
            )));
        }
        if self.drain_timeout_ms > 120_000 {
            return Err(BuildError::new(format!(
                "drain_timeout_ms is {}; the group would take us for dead: give at most 120000",
                self.drain_timeout_ms
            )));
        }
        if self.group.is_empty() {
            return Err(BuildError::new("group is empty; leave it out for `floodway`"));
        }
        self.check_topics()?;
        self.client()?;
        Ok(self)
    }
}

impl KafkaConfig {
    fn sources(&self) -> [(Signal, &TopicConfig); 3] {
        [(Signal::Traces, &self.traces), (Signal::Logs, &self.logs), (Signal::Metrics, &self.metrics)]
    }

    fn check_topics(&self) -> Result<(), BuildError> {
        let mut seen = BTreeSet::new();
        for (signal, source) in self.sources() {
            let section = signal.name();
            if source.encoding == Encoding::Json && signal != Signal::Logs {
                return Err(BuildError::new(format!(
                    "{section}.encoding is json, which is for logs only; use otlp_proto or otlp_json"
                )));
            }
            if source.topics.is_empty() {
                return Err(BuildError::new(format!(
                    "{section}.topics is empty; leave `{section}` out: it is read only if a pipeline takes it"
                )));
            }
            for topic in &source.topics {
                let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
                if !(1..=249).contains(&topic.len()) || !topic.bytes().all(fits) {
                    return Err(BuildError::new(format!(
                        "{section}.topics: {topic:?} is no topic: 1 to 249 letters, digits, '.', '_' and '-'; patterns \
                         are not supported"
                    )));
                }
                if !seen.insert(topic) {
                    return Err(BuildError::new(format!(
                        "{section}.topics: {topic} is named twice; a topic holds one signal in one encoding"
                    )));
                }
            }
        }
        Ok(())
    }

    fn client(&self) -> Result<ClientConfig, BuildError> {
        let cluster = Cluster {
            brokers: &self.brokers,
            client_id: &self.client_id,
            tls: self.tls.as_ref(),
            sasl: self.sasl.as_ref(),
            librdkafka: &self.librdkafka,
        };
        let start = if self.start == Start::Earliest { "earliest" } else { "latest" };
        let defaults = [
            ("reconnect.backoff.max.ms", "2000".to_owned()),
            // A topic that is made after us is found this soon.
            ("topic.metadata.refresh.interval.ms", "10000".to_owned()),
            ("fetch.message.max.bytes", "1048576".to_owned()),
            // A partition that was paused is read again only when the request that is under way has been answered.
            ("fetch.wait.max.ms", "100".to_owned()),
        ];
        let fixed = [
            ("group.id", self.group.clone()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("auto.offset.reset", start.to_owned()),
            ("queued.max.messages.kbytes", (self.max_fetch_bytes / 1024).to_string()),
            ("fetch.max.bytes", self.max_fetch_bytes.to_string()),
        ];
        cluster.client_config(&defaults, &fixed).map_err(|error| BuildError::new(error.to_string()))
    }
}

impl Receiver for KafkaConfig {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            let read = self.sources().into_iter().filter(|(signal, _)| context.inlet.accepts(*signal));
            let topics: BTreeMap<String, Source> = read
                .flat_map(|(signal, source)| {
                    let encoding = source.encoding;
                    source.topics.iter().map(move |topic| (topic.clone(), Source { signal, encoding }))
                })
                .collect();
            let limits = Limits {
                messages: self.max_in_flight,
                bytes: self.max_in_flight_bytes,
                commit_interval: Duration::from_millis(self.commit_interval_ms),
                drain: Duration::from_millis(self.drain_timeout_ms),
            };
            let names: Vec<&String> = topics.keys().collect();
            tracing::info!(
                component = context.metrics.id(),
                group = self.group,
                ?names,
                "Kafka group joined"
            );
            Membership::start(self.client()?, topics, limits, context)
        })
    }

    /// Topics are subscribed to by the signals that are taken.
    fn asks_for_signals_once(&self) -> bool {
        true
    }
}

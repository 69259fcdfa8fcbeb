//! Kafka: what waits becomes messages, and a batch counts as delivered when every one of its messages is confirmed.
//!
//! The producer is idempotent and waits for all in-sync replicas. librdkafka gives up on a message a little before the delivery
//! loop gives up on the attempt (`retry.timeout_ms`), says so, and the loop sends it again: nothing is dropped for being late. Where
//! an answer was lost, the second sending is a duplicate; that is the only way in which one comes about.
//!
//! | key | messages | a partition has |
//! |---|---|---|
//! | `none` | as few as the size allows | whatever comes |
//! | `trace_id` | one for each bucket of traces | whole traces; what has no trace goes by its resource |
//! | `stream` | one for each bucket of resources | the records of a resource, in their order |
//!
//! A key is the number of a bucket, and the bucket chooses the partition (`bucket % partitions`): traces of one bucket travel in one
//! message, where a message for each trace would cost a hundred times as many.
//!
//! Deliberately not here: transactions (the reader counts duplicates), Avro and schema registries.

mod messages;
mod producer;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{
    BoxFuture, BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings,
    ExportError, Exported, Exporter, ExporterConfig, QueueSettings, RetrySettings,
};
use kafka_client::{Cluster, Encoding, KafkaTls, Sasl};
use model::{Payload, Signal};
use rdkafka::config::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use messages::{Message, Packing};
use producer::{Outcome, Producer};

/// Writes to Kafka topics.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaConfig {
    /// Some of the brokers, each `host:port`.
    brokers: Vec<String>,
    /// What the brokers call us in their logs and quotas. Default: floodway.
    #[serde(default = "client_id")]
    client_id: String,
    /// The topic of each signal.
    #[serde(default)]
    topics: Topics,
    /// What a message holds: `otlp_proto` or `otlp_json` (an export request), or `json` (one log record as a plain object; logs
    /// only). Default: otlp_proto.
    #[serde(default)]
    encoding: Encoding,
    /// What decides on the partition: `none`, `trace_id` (a trace lands on one partition) or `stream` (a resource does, in order).
    /// Default: none.
    #[serde(default)]
    key: Key,
    /// With a key, into how many buckets traces or resources fall: most messages that one batch is split into. No fewer than the
    /// topic has partitions, best a multiple. Default: 64. At most 4096.
    #[serde(default = "key_buckets")]
    key_buckets: u32,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`. Default: none.
    #[serde(default)]
    compression: Compression,
    /// How long a message waits for others to travel with, in milliseconds. Default: 5. At most 1000.
    #[serde(default = "linger_ms")]
    linger_ms: u64,
    /// Largest message before compression, in bytes; no more than the topic's `max.message.bytes`. Default: 1000000.
    #[serde(default = "max_message_bytes")]
    max_message_bytes: usize,
    /// Most bytes of messages that are not confirmed yet. Default: 67108864 (64 MiB).
    #[serde(default = "max_buffered_bytes")]
    max_buffered_bytes: usize,
    /// TLS settings. Default: plain text.
    #[serde(default)]
    tls: Option<KafkaTls>,
    /// Credentials. Default: none.
    #[serde(default)]
    sasl: Option<Sasl>,
    /// Further properties of librdkafka, as its CONFIGURATION.md lists them, such as `socket.keepalive.enable: "true"`. Those on
    /// which delivery depends are refused. Default: none.
    #[serde(default)]
    librdkafka: BTreeMap<String, String>,
    /// The queue in front of this exporter.
    #[serde(default)]
    queue: QueueSettings,
    /// What happens when sending fails. `timeout_ms` is at least 3000.
    #[serde(default)]
    retry: RetrySettings,
    /// A disk buffer behind the queue: what is in it survives a dead destination, a crash and a power cut. Default: none.
    #[serde(default)]
    buffer: Option<BufferSettings>,
    /// A folder for the records that are given up on, with the reason. Default: none; they are counted and logged only.
    #[serde(default)]
    dead_letters: Option<DeadLetterSettings>,
}

fn client_id() -> String {
    "floodway".to_owned()
}

fn key_buckets() -> u32 {
    64
}

fn linger_ms() -> u64 {
    5
}

fn max_message_bytes() -> usize {
    1_000_000
}

fn max_buffered_bytes() -> usize {
    64 << 20
}

/// Where each signal goes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Topics {
    /// The topic of spans. Default: otlp_spans.
    traces: Option<String>,
    /// The topic of log records. Default: otlp_logs.
    logs: Option<String>,
    /// The topic of data points. Default: otlp_metrics.
    metrics: Option<String>,
}

impl Topics {
    fn named(&self) -> [(&'static str, Option<&String>); 3] {
        [("traces", self.traces.as_ref()), ("logs", self.logs.as_ref()), ("metrics", self.metrics.as_ref())]
    }

    fn of(&self, signal: Signal) -> &str {
        match signal {
            Signal::Traces => self.traces.as_deref().unwrap_or("otlp_spans"),
            Signal::Logs => self.logs.as_deref().unwrap_or("otlp_logs"),
            Signal::Metrics => self.metrics.as_deref().unwrap_or("otlp_metrics"),
        }
    }
}

/// What decides on the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Key {
    /// Nothing.
    #[default]
    None,
    /// The trace.
    TraceId,
    /// The resource.
    Stream,
}

/// Compression of message batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl ExporterConfig for KafkaConfig {
    const NAME: &'static str = "kafka";
    const SUMMARY: &'static str =
        "Kafka topics: OTLP in protobuf or JSON, or plain JSON; idempotent, all replicas";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn delivery(&self) -> DeliverySettings {
        DeliverySettings {
            queue: self.queue.clone(),
            retry: self.retry.clone(),
            buffer: self.buffer.clone(),
            dead_letters: self.dead_letters.clone(),
            // Batches that are sent side by side may overtake each other.
            ordered: self.key == Key::Stream,
        }
    }

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        self.check()?;
        let client = self.client()?;
        if context.dry_run {
            return Ok(Box::new(KafkaExporter { config: *self, producer: None }));
        }
        let producer =
            Producer::new(client, self.message_timeout(), self.key != Key::None, &context.metrics)?;
        Ok(Box::new(KafkaExporter { config: *self, producer: Some(producer) }))
    }
}

impl KafkaConfig {
    fn check(&self) -> Result<(), BuildError> {
        let range = |name: &str, value: u64, low: u64, high: u64| {
            let ok = (low..=high).contains(&value);
            ok.then_some(()).ok_or_else(|| {
                BuildError::new(format!("{name} is {value}; give {low} to {high}, or leave it out"))
            })
        };
        range("key_buckets", u64::from(self.key_buckets), 1, 4096)?;
        range("linger_ms", self.linger_ms, 0, 1000)?;
        range("max_message_bytes", self.max_message_bytes as u64, 1024, 100_000_000)?;
        range("max_buffered_bytes", self.max_buffered_bytes as u64, self.max_message_bytes as u64, 1 << 40)?;
        range("retry.timeout_ms", self.retry.timeout_ms, 3000, 3_600_000)?;
        for (signal, topic) in self.topics.named() {
            let Some(topic) = topic else { continue };
            if !is_topic(topic) {
                return Err(BuildError::new(format!(
                    "topics.{signal}: {topic:?} is no topic: 1 to 249 letters, digits, '.', '_' and '-'"
                )));
            }
            if self.encoding == Encoding::Json && signal != "logs" {
                return Err(BuildError::new(format!(
                    "topics.{signal}: encoding json is for logs only; use otlp_json, or a second kafka exporter for {signal}"
                )));
            }
        }
        Ok(())
    }

    /// Less than the delivery loop gives an attempt, so that it hears what became of every message: librdkafka looks for those that are
    /// late once a second.
    fn message_timeout(&self) -> Duration {
        Duration::from_millis(self.retry.timeout_ms - self.retry.timeout_ms / 10 - 1200)
    }

    fn client(&self) -> Result<ClientConfig, BuildError> {
        let cluster = Cluster {
            brokers: &self.brokers,
            client_id: &self.client_id,
            tls: self.tls.as_ref(),
            sasl: self.sasl.as_ref(),
            librdkafka: &self.librdkafka,
        };
        let timeout = self.message_timeout().as_millis().to_string();
        let defaults = [
            // Without a key: all that waits goes to one partition for so long, which makes large batches.
            ("sticky.partitioning.linger.ms", "10".to_owned()),
            ("reconnect.backoff.max.ms", "2000".to_owned()),
        ];
        let fixed = [
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("message.timeout.ms", timeout.clone()),
            ("request.timeout.ms", timeout),
            ("linger.ms", self.linger_ms.to_string()),
            ("compression.type", self.compression.name().to_owned()),
            // Room for what the protocol puts around a message.
            ("message.max.bytes", (self.max_message_bytes + OVERHEAD).to_string()),
            ("queue.buffering.max.kbytes", self.max_buffered_bytes.div_ceil(1024).to_string()),
        ];
        cluster.client_config(&defaults, &fixed).map_err(|error| BuildError::new(error.to_string()))
    }
}

/// Key, headers and framing of a message, in bytes.
const OVERHEAD: usize = 512;

fn is_topic(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(fits)
}

struct KafkaExporter {
    config: KafkaConfig,
    /// There is none in a dry run.
    producer: Option<Producer>,
}

impl KafkaExporter {
    async fn send(&self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let (Some(first), Some(producer)) = (payloads.first(), &self.producer) else {
            return Ok(Exported::default());
        };
        let packing = Packing {
            encoding: self.config.encoding,
            key: self.config.key,
            buckets: self.config.key_buckets,
            max_bytes: self.config.max_message_bytes,
        };
        let messages = packing.messages(payloads)?;
        let outcomes = producer.send(self.config.topics.of(first.signal()), &messages).await;
        verdict(messages, outcomes)
    }
}

impl Exporter for KafkaExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.send(payloads))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(producer) = &self.producer {
                producer.close().await;
            }
        })
    }
}

/// What became of the batch. What was not delivered is sent again alone; what is refused for good is judged once it is all that is
/// left, so that no delivered message is sent twice for it.
fn verdict(messages: Vec<Message>, outcomes: Vec<Outcome>) -> Result<Exported, ExportError> {
    let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
    let failures = || outcomes.iter().filter(|outcome| **outcome != Outcome::Delivered);
    let Some(worst) = failures().find(|outcome| outcome.is_retryable()).or_else(|| failures().next()) else {
        return Ok(Exported::default());
    };
    let failed = messages.len() - delivered;
    let message = format!("{failed} of {} messages: {}", messages.len(), worst.message());
    if delivered > 0 {
        let left = messages.into_iter().zip(&outcomes);
        let left = left.filter(|(_, outcome)| **outcome != Outcome::Delivered);
        return Ok(messages::remainder(left.map(|(message, _)| message), message));
    }
    match worst {
        Outcome::Refused(_) => Err(messages::too_bad("refused_by_destination", message)),
        _ => Err(ExportError::Retryable { message, retry_after: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_topics() {
        for good in ["otlp_spans", "a", "a.b-c_1"] {
            assert!(is_topic(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(!is_topic(bad), "{bad}");
        }
    }
}

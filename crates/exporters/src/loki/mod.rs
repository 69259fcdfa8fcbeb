//! Loki's own push API: protobuf in snappy over HTTP. What a record becomes is `codec::loki`'s matter.
//!
//! | answer | what follows |
//! |---|---|
//! | 200, 204 | delivered |
//! | none, 408, 429, 5xx | tried again, after `Retry-After` where there is one |
//! | 400, 413, 422 | sent in ever smaller parts, so that only what Loki refuses is lost; the reason is Loki's |
//! | 260 (ingestion is blocked), others | given up |
//!
//! Loki stores the good entries of a push that it answers with 400, and knows them again when they come a second time.
//!
//! Streams are spread over `queue.concurrency` requests at one time by the hash of their labels; the engine sends one batch
//! after the other, so the entries of a stream arrive in their order.

mod push;

use std::collections::BTreeMap;
use std::time::Duration;

use codec::loki::labels::is_label_name;
use codec::loki::{Encoder, EncoderOptions, LevelPlace, LineFormat};
use engine::{
    BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings, Exporter,
    ExporterConfig, QueueSettings, RetrySettings,
};
use model::Signal;
use net::config::ClientTls;
use schemars::JsonSchema;
use serde::Deserialize;

/// Sends log records to Grafana Loki 3, or to what takes its pushes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LokiConfig {
    /// Where to, such as `http://loki:3100`; `/loki/api/v1/push` is added where it is missing.
    endpoint: String,
    /// The tenant, sent as `X-Scope-OrgID`. Default: none, which a Loki without tenants takes.
    #[serde(default)]
    tenant: Option<String>,
    /// Headers of every request, such as an authorization. Default: none.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// TLS settings for `https`. Default: the public authorities.
    #[serde(default)]
    tls: Option<ClientTls>,
    /// Labels and the attributes that they come from: the resource's, else the record's. What has few values makes a good
    /// label; what has many belongs into structured metadata, where all other attributes go. Default: service_name from
    /// service.name, service_namespace from service.namespace, deployment_environment from deployment.environment.name.
    #[serde(default = "default_labels")]
    labels: BTreeMap<String, String>,
    /// Labels with a fixed value, such as `job: shadowmesh`. Default: none.
    #[serde(default)]
    static_labels: BTreeMap<String, String>,
    /// Where the level goes: `metadata` (structured metadata), `label`, or `none`. It is trace, debug, info, warn, error or
    /// fatal. Default: metadata.
    #[serde(default)]
    level: LokiLevel,
    /// What the level is called there. Default: detected_level in metadata, which is Loki's own name for it; level as a label.
    #[serde(default)]
    level_name: Option<String>,
    /// What a line is: `body`, or `json`: the whole record as one JSON object, for queries with `| json`. Default: body.
    #[serde(default)]
    line: LokiLine,
    /// Streams in use at one time. Beyond them a record loses the label with the most values, which becomes structured
    /// metadata; it is counted in floodway_reduced_labels_total. Default: 10000.
    #[serde(default = "default_max_streams")]
    #[schemars(range(min = 10))]
    max_streams: usize,
    /// A push is closed when it reaches this many bytes before compression. Default: 1048576 (1 MiB); Loki takes 4 MiB.
    #[serde(default = "default_max_push_bytes")]
    #[schemars(range(min = 1024))]
    max_push_bytes: usize,
    /// The queue in front of this exporter.
    #[serde(default)]
    queue: QueueSettings,
    /// What happens when sending fails.
    #[serde(default)]
    retry: RetrySettings,
    /// A disk buffer behind the queue: what is in it survives a dead destination, a crash and a power cut. Default: none.
    #[serde(default)]
    buffer: Option<BufferSettings>,
    /// A folder for the records that are given up on, with the reason. Default: none; they are counted and logged only.
    #[serde(default)]
    dead_letters: Option<DeadLetterSettings>,
}

fn default_labels() -> BTreeMap<String, String> {
    let labels = [
        ("service_name", "service.name"),
        ("service_namespace", "service.namespace"),
        ("deployment_environment", "deployment.environment.name"),
    ];
    labels.map(|(label, attribute)| (label.to_owned(), attribute.to_owned())).into()
}

fn default_max_streams() -> usize {
    10_000
}

fn default_max_push_bytes() -> usize {
    1 << 20
}

/// Where the level goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LokiLevel {
    /// Structured metadata.
    #[default]
    Metadata,
    /// A label: one stream for each level.
    Label,
    /// Nowhere.
    None,
}

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LokiLine {
    /// The body; attributes are structured metadata.
    #[default]
    Body,
    /// The whole record as JSON; level, trace and span id are structured metadata too.
    Json,
}

impl ExporterConfig for LokiConfig {
    const NAME: &'static str = "loki";
    const SUMMARY: &'static str = "Grafana Loki's push API: labels, structured metadata, lines";
    const SIGNALS: &'static [Signal] = &[Signal::Logs];

    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn delivery(&self) -> DeliverySettings {
        DeliverySettings {
            queue: self.queue.clone(),
            retry: self.retry.clone(),
            buffer: self.buffer.clone(),
            dead_letters: self.dead_letters.clone(),
            ordered: true,
        }
    }

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        self.check()?;
        Ok(Box::new(push::LokiExporter::new(&self, context)?))
    }
}

impl LokiConfig {
    fn level_name(&self) -> &str {
        let default = if self.level == LokiLevel::Label { "level" } else { "detected_level" };
        self.level_name.as_deref().unwrap_or(default)
    }

    fn encoder(&self) -> Encoder {
        let pairs =
            |map: &BTreeMap<String, String>| map.iter().map(|(a, b)| (a.clone(), b.clone())).collect();
        Encoder::new(EncoderOptions {
            labels: pairs(&self.labels),
            static_labels: pairs(&self.static_labels),
            level: match self.level {
                LokiLevel::Metadata => LevelPlace::Metadata,
                LokiLevel::Label => LevelPlace::Label,
                LokiLevel::None => LevelPlace::Nowhere,
            },
            level_name: self.level_name().to_owned(),
            line: match self.line {
                LokiLine::Body => LineFormat::Body,
                LokiLine::Json => LineFormat::Json,
            },
            max_push_bytes: self.max_push_bytes,
            shards: self.queue.concurrency,
        })
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.retry.timeout_ms)
    }

    fn check(&self) -> Result<(), BuildError> {
        let level = (self.level == LokiLevel::Label).then(|| self.level_name());
        let names = self.labels.keys().chain(self.static_labels.keys()).map(String::as_str).chain(level);
        for name in names.clone().chain([self.level_name()]) {
            if !is_label_name(name) || name.starts_with("__") {
                return Err(BuildError::new(format!(
                    "{name:?} is no name for a label: use letters, digits and _, a letter first"
                )));
            }
        }
        let mut sorted: Vec<&str> = names.collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let name = pair[0];
            return Err(BuildError::new(format!(
                "the label {name} is set twice: give it once among labels, static_labels and level"
            )));
        }
        if let Some((name, _)) = self.static_labels.iter().find(|(_, value)| value.is_empty()) {
            return Err(BuildError::new(format!(
                "static_labels: {name} has no value; give one or take it out"
            )));
        }
        if self.max_streams < 10 {
            return Err(BuildError::new(format!("max_streams is {}; give at least 10", self.max_streams)));
        }
        if self.max_push_bytes < 1024 {
            return Err(BuildError::new(format!(
                "max_push_bytes is {}; give at least 1024",
                self.max_push_bytes
            )));
        }
        Ok(())
    }
}

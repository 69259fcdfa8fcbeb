//! Settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codec::prometheus::delta::Limits;
use codec::prometheus::encode::{ExternalLabels, FamilyMap};
use codec::prometheus::from_otlp::{FromOtlp, FromOtlpOptions};
use codec::prometheus::names;
use engine::{
    BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings, Exporter,
    ExporterConfig, QueueSettings, RetrySettings,
};
use http::HeaderValue;
use model::Signal;
use model::series::LabelHasher;
use net::client::{HttpClient, HttpClientOptions};
use net::config::ClientTls;
use schemars::JsonSchema;
use serde::Deserialize;

use super::RemoteWrite;
use super::shard::{Metrics, Sender};
use super::version::Negotiated;
use crate::http_shared::header_map;

/// Families whose metadata is remembered for remote-write 2.0.
const MAX_FAMILIES: usize = 20_000;

/// Sends metrics to Prometheus and to what speaks its remote-write protocol.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrometheusRemoteWriteConfig {
    /// Where to, path included: `http://prometheus:9090/api/v1/write`, `https://mimir/api/v1/push`.
    endpoint: String,
    /// `auto` (2.0, and 1.0 where the destination does not know it), `v1` or `v2`. Default: auto.
    #[serde(default)]
    protocol_version: ProtocolVersion,
    /// Labels that every series gets. A label that it has already wins. Default: none.
    #[serde(default)]
    external_labels: BTreeMap<String, String>,
    /// The tenant, sent as `X-Scope-OrgID` (Mimir, Cortex, Thanos). Default: none.
    #[serde(default)]
    tenant: Option<String>,
    /// Headers of every request, such as an authorization. Default: none.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// TLS settings for `https`. Default: the public authorities.
    #[serde(default)]
    tls: Option<ClientTls>,
    /// Most samples in one request; a series is not split. Default: 10000.
    #[serde(default = "samples")]
    max_samples_per_send: usize,
    /// Names of metrics and labels that come as OTLP. Default: underscore_escaping_with_suffixes.
    #[serde(default)]
    translation: Translation,
    /// Resource attributes that every OTLP metric gets as labels; `"*"` for all. The others are in `target_info`. Default: none.
    #[serde(default)]
    resource_to_labels: Vec<String>,
    /// Whether OTLP metrics get the labels `otel_scope_name`, `otel_scope_version` and so on. Default: true.
    #[serde(default = "yes")]
    scope_labels: bool,
    /// Whether the attributes of OTLP resources are sent as `target_info`. Default: true.
    #[serde(default = "yes")]
    target_info: bool,
    /// `classic` (`_bucket`, `_sum`, `_count`) or `native` (custom buckets): what becomes of OTLP histograms with explicit
    /// buckets. Exponential ones are always native. Default: classic.
    #[serde(default)]
    explicit_histograms: ExplicitHistograms,
    /// What becomes of OTLP points with delta temporality: `refuse`, counted, or `accumulate` into totals. Default: refuse.
    #[serde(default)]
    delta: Delta,
    /// The totals of `delta: accumulate`.
    #[serde(default)]
    accumulate: AccumulateConfig,
    /// The queue in front of this exporter. The series of a batch are spread over `concurrency` connections.
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

fn samples() -> usize {
    10_000
}

fn yes() -> bool {
    true
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProtocolVersion {
    /// 2.0, then 1.0.
    #[default]
    Auto,
    /// 1.0.
    V1,
    /// 2.0.
    V2,
}

/// What becomes of names.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Translation {
    /// `http.server.duration` in seconds is `http_server_duration_seconds`.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// It is `http.server.duration_seconds`.
    NoUtf8EscapingWithSuffixes,
    /// It stays as it is.
    #[serde(rename = "no_translation")]
    Untouched,
}

/// What explicit histograms become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ExplicitHistograms {
    /// A series a bucket.
    #[default]
    Classic,
    /// A native histogram with custom buckets.
    Native,
}

/// What delta points become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Delta {
    /// They are refused.
    #[default]
    Refuse,
    /// They are added up, in memory; a restart begins at zero, which Prometheus takes for a counter reset.
    Accumulate,
}

/// Limits of the totals.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AccumulateConfig {
    /// Most series that are added up; points of further ones are refused. Default: 100000.
    max_series: usize,
    /// A series without a point for so long is forgotten. Milliseconds, default 3600000 (an hour).
    idle_ms: u64,
}

impl Default for AccumulateConfig {
    fn default() -> Self {
        Self { max_series: 100_000, idle_ms: 3_600_000 }
    }
}

impl ExporterConfig for PrometheusRemoteWriteConfig {
    const NAME: &'static str = "prometheus_remote_write";
    const SUMMARY: &'static str = "Prometheus remote-write 2.0 and 1.0, OTLP metrics converted";
    const SIGNALS: &'static [Signal] = &[Signal::Metrics];

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
        if self.max_samples_per_send == 0 {
            return Err(BuildError::new(
                "max_samples_per_send is 0: nothing could be sent; 10000 is the default",
            ));
        }
        for name in self.external_labels.keys() {
            if name.is_empty() || name == "__name__" {
                return Err(BuildError::new(format!(
                    "external_labels: {name:?} cannot be a label of every series"
                )));
            }
        }
        let options = HttpClientOptions {
            tls: self.tls.clone(),
            request_timeout: Duration::from_millis(self.retry.timeout_ms),
            max_idle_connections: self.queue.concurrency,
            ..HttpClientOptions::new(&self.endpoint)
        };
        let client = HttpClient::new(&options).map_err(|e| BuildError::new(e.to_string()))?;
        if matches!(client.target().path(), "" | "/") {
            return Err(BuildError::new(format!(
                "endpoint {} has no path; Prometheus takes remote-write at /api/v1/write, Mimir at /api/v1/push",
                self.endpoint
            )));
        }
        let mut headers = header_map(&self.headers, |name| name.starts_with("x-prometheus-remote-write-"))?;
        if let Some(tenant) = &self.tenant {
            let value = HeaderValue::try_from(tenant.as_str())
                .map_err(|e| BuildError::because("tenant has a character that a header cannot hold", e))?;
            headers.insert("x-scope-orgid", value);
        }
        let sender = Sender {
            client,
            headers,
            negotiated: Negotiated::new(self.protocol_version),
            max_samples: self.max_samples_per_send,
            encoders: Mutex::default(),
            metrics: Metrics::new(context),
        };
        Ok(Box::new(RemoteWrite {
            sender: Arc::new(sender),
            converter: Mutex::new(FromOtlp::new(self.conversion()?)),
            families: Mutex::new(Arc::new(FamilyMap::new(MAX_FAMILIES))),
            hasher: LabelHasher::new(),
            external: Arc::new(ExternalLabels::new(self.external_labels)),
            shards: self.queue.concurrency.max(1),
            timeout: Duration::from_millis(self.retry.timeout_ms),
        }))
    }
}

impl PrometheusRemoteWriteConfig {
    fn conversion(&self) -> Result<FromOtlpOptions, BuildError> {
        let AccumulateConfig { max_series, idle_ms } = self.accumulate;
        let accumulate = self.delta == Delta::Accumulate;
        if accumulate && (max_series == 0 || idle_ms == 0) {
            return Err(BuildError::new("accumulate: max_series and idle_ms must be above 0"));
        }
        let limits = Limits { max_series, idle_ms: i64::try_from(idle_ms).unwrap_or(i64::MAX) };
        Ok(FromOtlpOptions {
            translation: match self.translation {
                Translation::UnderscoreEscapingWithSuffixes => {
                    names::Translation::UnderscoreEscapingWithSuffixes
                }
                Translation::NoUtf8EscapingWithSuffixes => names::Translation::NoUtf8EscapingWithSuffixes,
                Translation::Untouched => names::Translation::NoTranslation,
            },
            resource_labels: self.resource_to_labels.clone(),
            scope_labels: self.scope_labels,
            target_info: self.target_info,
            custom_buckets: self.explicit_histograms == ExplicitHistograms::Native,
            accumulate: accumulate.then_some(limits),
        })
    }
}

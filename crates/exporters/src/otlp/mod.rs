//! OTLP over gRPC or HTTP: the bytes of the requests as they are, several merged by sending them one after the other.
//!
//! Which answers mean "try again" is the specification's: gRPC statuses CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE,
//! UNAVAILABLE, DATA_LOSS, and RESOURCE_EXHAUSTED with RetryInfo; HTTP 429, 502, 503, 504. Hints are honoured.

mod grpc;
mod http;
mod response;

use std::collections::BTreeMap;
use std::time::Duration;

use ::http::HeaderMap;
use engine::{
    BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings, Exporter,
    ExporterConfig, QueueSettings, RetrySettings,
};
use model::Signal;
use net::config::{ClientTls, Compression};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http_shared::header_map;

/// Sends OTLP to a collector or a backend that speaks it: Tempo, Jaeger, Loki, Prometheus and others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtlpConfig {
    /// `grpc` or `http` (protobuf). Default: grpc.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// Where to, such as `http://tempo:4317` or `https://otlp.example.net`. For HTTP, `/v1/traces` and so on is added.
    pub(crate) endpoint: String,
    /// `none`, `gzip` or `zstd`. Default: none, which costs the least CPU; use zstd where the network is the bottleneck.
    #[serde(default)]
    pub(crate) compression: Compression,
    /// Headers of every request, such as a tenant (`X-Scope-OrgID`) or an authorization. Default: none.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// TLS settings for `https`. Default: the public authorities.
    #[serde(default)]
    pub(crate) tls: Option<ClientTls>,
    /// gRPC connections that requests are spread over. Default: 1.
    #[serde(default = "one")]
    pub(crate) connections: usize,
    /// The queue in front of this exporter.
    #[serde(default)]
    pub(crate) queue: QueueSettings,
    /// What happens when sending fails.
    #[serde(default)]
    pub(crate) retry: RetrySettings,
    /// A disk buffer behind the queue: what is in it survives a dead destination, a crash and a power cut. Default: none.
    #[serde(default)]
    pub(crate) buffer: Option<BufferSettings>,
    /// A folder for the records that are given up on, with the reason. Default: none; they are counted and logged only.
    #[serde(default)]
    pub(crate) dead_letters: Option<DeadLetterSettings>,
}

fn one() -> usize {
    1
}

/// The transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// OTLP/gRPC.
    #[default]
    Grpc,
    /// OTLP/HTTP with protobuf bodies.
    Http,
}

impl ExporterConfig for OtlpConfig {
    const NAME: &'static str = "otlp";
    const SUMMARY: &'static str = "OTLP over gRPC or HTTP, the bytes as they are";
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
            ordered: false,
        }
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        if self.connections == 0 || self.connections > 64 {
            return Err(BuildError::new(format!("connections is {}; give 1 to 64", self.connections)));
        }
        Ok(match self.protocol {
            Protocol::Grpc => Box::new(grpc::GrpcExporter::new(&self)?),
            Protocol::Http => Box::new(http::HttpExporter::new(&self)?),
        })
    }
}

impl OtlpConfig {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.retry.timeout_ms)
    }

    fn header_map(&self) -> Result<HeaderMap, BuildError> {
        header_map(&self.headers, |name| name.starts_with("grpc-"))
    }
}

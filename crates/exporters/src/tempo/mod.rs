//! Grafana Tempo: OTLP with Tempo's address and its header for tenants, and traces alone.
//!
//! Everything on the wire is the `otlp` exporter's. Tempo refuses gRPC messages over 4 MiB unless told otherwise
//! (RESOURCE_EXHAUSTED without a hint), which the delivery loop takes as a reason to send the halves.

use std::collections::BTreeMap;

use engine::{
    BufferSettings, BuildContext, BuildError, Claim, DeadLetterSettings, DeliverySettings, Exporter,
    ExporterConfig, QueueSettings, RetrySettings,
};
use model::Signal;
use net::config::{ClientTls, Compression};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::otlp::{OtlpConfig, Protocol};

/// The header by which Tempo, Loki and Mimir tell tenants apart.
const TENANT: &str = "X-Scope-OrgID";

/// Sends traces to Grafana Tempo.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TempoConfig {
    /// Where Tempo's OTLP receiver listens. Default: http://127.0.0.1:4317, for `protocol: http` http://127.0.0.1:4318.
    endpoint: Option<String>,
    /// `grpc` or `http` (protobuf). Default: grpc.
    protocol: Protocol,
    /// The tenant, sent as `X-Scope-OrgID`; needed where Tempo has multi-tenancy enabled. Default: none.
    tenant: Option<String>,
    /// `none`, `gzip` or `zstd`. Default: none, which costs the least CPU.
    compression: Compression,
    /// Further headers of every request, such as an authorization. Default: none.
    headers: BTreeMap<String, String>,
    /// TLS settings for `https`. Default: the public authorities.
    tls: Option<ClientTls>,
    /// The queue in front of this exporter.
    queue: QueueSettings,
    /// What happens when sending fails.
    retry: RetrySettings,
    /// A disk buffer behind the queue: what is in it survives a dead destination, a crash and a power cut. Default: none.
    buffer: Option<BufferSettings>,
    /// A folder for the records that are given up on, with the reason. Default: none; they are counted and logged only.
    dead_letters: Option<DeadLetterSettings>,
}

impl ExporterConfig for TempoConfig {
    const NAME: &'static str = "tempo";
    const SUMMARY: &'static str = "Grafana Tempo: OTLP with Tempo's defaults and tenants";
    const SIGNALS: &'static [Signal] = &[Signal::Traces];

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

    fn build(self: Box<Self>, context: &BuildContext) -> Result<Box<dyn Exporter>, BuildError> {
        let port = match self.protocol {
            Protocol::Grpc => 4317,
            Protocol::Http => 4318,
        };
        let mut headers = self.headers;
        if let Some(tenant) = self.tenant {
            if headers.keys().any(|name| name.eq_ignore_ascii_case(TENANT)) {
                return Err(BuildError::new(format!(
                    "{TENANT} is in `headers` and in `tenant`; keep one of them"
                )));
            }
            headers.insert(TENANT.to_owned(), tenant);
        }
        let otlp = OtlpConfig {
            protocol: self.protocol,
            endpoint: self.endpoint.unwrap_or_else(|| format!("http://127.0.0.1:{port}")),
            compression: self.compression,
            headers,
            tls: self.tls,
            connections: 1,
            queue: self.queue,
            retry: self.retry,
            buffer: None,
            dead_letters: None,
        };
        Box::new(otlp).build(context)
    }
}

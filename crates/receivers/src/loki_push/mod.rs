//! Loki's push API, for what sends to Loki already: Promtail, Grafana Alloy and Agent, Fluent Bit, the Docker driver.
//!
//! `POST /loki/api/v1/push` (and `/api/prom/push`, as older clients have it) with protobuf in snappy, or with JSON. What is
//! taken is answered with 204. What is not: see `http_answer`; clients of Loki send again what is answered with 429 or 5xx,
//! and give up the rest. What streams and entries become is `codec::loki`'s matter.
//!
//! Deliberately not here: queries, `/ready`, Loki's OTLP endpoint (the `otlp` receiver takes that).

mod server;

use std::collections::BTreeMap;

use engine::{
    BoxFuture, BuildContext, BuildError, Claim, Receiver, ReceiverConfig, ReceiverContext, Serving,
};
use model::{AckMode, Signal};
use net::Listen;
use net::body::Limits;
use net::config::ServerTls;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::admission::{Connections, bind, checked, limits, positive};

/// Receives what Promtail and other clients push to Loki.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LokiPushConfig {
    /// When a client is answered: `received` (the batch stands in every exporter's queue), `durable` (it is in every exporter's disk
    /// buffer) or `delivered` (every backend has it). Default: durable where every exporter behind has a buffer, else received.
    ack: Option<AckMode>,
    /// Where to listen, `host:port`. Default: 127.0.0.1:3100.
    endpoint: String,
    /// TLS. Default: plain text.
    tls: Option<ServerTls>,
    /// What labels are called as attributes of the resource, where that is not their own name. Default: service_name is
    /// service.name.
    label_attributes: BTreeMap<String, String>,
    /// Whether the tenant that a client names in `X-Scope-OrgID` becomes the attribute loki.tenant of the resource. Default:
    /// false.
    tenant_attribute: bool,
    /// Connections at one time; more are closed at once. Default: 1024.
    max_connections: usize,
    /// Largest push, in bytes on the wire, inflated, and as log records. Default: 16777216 (16 MiB).
    max_request_bytes: usize,
    /// Longest silence within a request, in milliseconds. Default: 10000.
    idle_timeout_ms: u64,
    /// Longest time for one request to arrive, in milliseconds. Default: 60000.
    request_timeout_ms: u64,
}

impl Default for LokiPushConfig {
    fn default() -> Self {
        Self {
            ack: None,
            endpoint: "127.0.0.1:3100".to_owned(),
            tls: None,
            label_attributes: BTreeMap::from([("service_name".to_owned(), "service.name".to_owned())]),
            tenant_attribute: false,
            max_connections: 1024,
            max_request_bytes: 16 << 20,
            idle_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
        }
    }
}

impl LokiPushConfig {
    fn listen(&self) -> Listen {
        Listen::new(self.endpoint.clone()).tls(self.tls.clone()).max_connections(self.max_connections)
    }

    fn limits(&self) -> Limits {
        limits(self.max_request_bytes, self.idle_timeout_ms, self.request_timeout_ms)
    }

    async fn bind(self: Box<Self>, context: ReceiverContext) -> Result<Serving, BuildError> {
        let bound = bind(self.listen()).await?;
        tracing::info!(component = context.metrics.id(), address = %bound.local_addr(), "Loki push API listens");
        let hooks = Connections::new(&context.metrics, "http");
        let endpoint = server::Endpoint::new(&self, &context);
        Ok(Box::pin(server::serve(bound, hooks, endpoint, context.shutdown)))
    }
}

impl ReceiverConfig for LokiPushConfig {
    const NAME: &'static str = "loki_push";
    const SUMMARY: &'static str = "Loki's push API (3100): what Promtail and other clients of Loki send";
    const SIGNALS: &'static [Signal] = &[Signal::Logs];

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Tcp(self.endpoint.clone())]
    }

    fn ack(&self) -> Option<AckMode> {
        self.ack
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        checked(&self.listen())?;
        positive("max_connections", self.max_connections as u64)?;
        positive("max_request_bytes", self.max_request_bytes as u64)?;
        positive("idle_timeout_ms", self.idle_timeout_ms)?;
        positive("request_timeout_ms", self.request_timeout_ms)?;
        if self.label_attributes.values().any(String::is_empty) {
            return Err(BuildError::new("label_attributes has an empty name for an attribute; give it one"));
        }
        Ok(self)
    }
}

impl Receiver for LokiPushConfig {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(self.bind(context))
    }
}

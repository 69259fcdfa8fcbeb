//! Prometheus remote-write, 1.0 and 2.0, as Prometheus, Grafana Alloy, vmagent and the Collector send it.
//!
//! The body is inflated, decoded into a batch of series (`codec::prometheus::remote_write`), and handed to the pipelines. The
//! version is what `content-type` says; without a `proto` parameter it is 1.0.
//!
//! | what happens | answer |
//! |---|---|
//! | taken | 204 |
//! | some series or values are not sound: the others are taken | 400, with counts and reasons |
//! | not such a message, over a size limit, refused for good behind us | 400, 413, 400 |
//! | no pipeline for metrics | 404 |
//! | another content type or coding | 415 |
//! | queue or memory budget full, shutting down, not delivered | 503 with Retry-After |
//!
//! 2.0 senders are told by three headers what was written, whatever the status.
//!
//! Why 503 and not 429 for want of room: senders must come back after a 5xx, and need not after a 429. Prometheus by default
//! throws the samples away then (`retry_on_http_429`).
//!
//! Deliberately not here: remote-read, tenants (`X-Scope-OrgID`), and judging the order of samples, which is the
//! backend's to do.

mod http;

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

/// Receives metrics by Prometheus remote-write 1.0 and 2.0 at `/api/v1/write`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RemoteWriteConfig {
    /// Where to listen, `host:port`. Default: 127.0.0.1:19291.
    endpoint: String,
    /// When a sender is answered: `received` (the batch stands in every exporter's queue), `durable` (it is in every exporter's disk
    /// buffer) or `delivered` (every backend has it). Default: durable where every exporter behind has a buffer, else received.
    ack: Option<AckMode>,
    /// TLS. Default: plain text.
    tls: Option<ServerTls>,
    /// Connections at one time; more are closed at once. Default: 1024.
    max_connections: usize,
    /// Largest request, in bytes on the wire and also inflated. Default: 33554432 (32 MiB), as Prometheus takes it.
    max_request_bytes: usize,
    /// Longest silence within a request, in milliseconds. Default: 10000.
    idle_timeout_ms: u64,
    /// Longest time for one request to arrive, in milliseconds. Default: 60000.
    request_timeout_ms: u64,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:19291".to_owned(),
            ack: None,
            tls: None,
            max_connections: 1024,
            max_request_bytes: 32 << 20,
            idle_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
        }
    }
}

impl RemoteWriteConfig {
    fn listen(&self) -> Listen {
        Listen::new(self.endpoint.clone()).tls(self.tls.clone()).max_connections(self.max_connections)
    }

    fn limits(&self) -> Limits {
        limits(self.max_request_bytes, self.idle_timeout_ms, self.request_timeout_ms)
    }
}

impl ReceiverConfig for RemoteWriteConfig {
    const NAME: &'static str = "remote_write";
    const SUMMARY: &'static str = "Prometheus remote-write 1.0 and 2.0 (19291)";
    const SIGNALS: &'static [Signal] = &[Signal::Metrics];

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
        Ok(self)
    }
}

impl Receiver for RemoteWriteConfig {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            let bound = bind(self.listen()).await?;
            tracing::info!(component = context.metrics.id(), address = %bound.local_addr(), "remote-write listens");
            let hooks = Connections::new(&context.metrics, "http");
            let endpoint = http::Endpoint::new(&context, self.limits());
            Ok(Box::pin(http::serve(bound, hooks, endpoint, context.shutdown)) as Serving)
        })
    }
}

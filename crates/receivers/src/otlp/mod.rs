//! OTLP over gRPC and over HTTP, as the OpenTelemetry protocol specification 1.x says.
//!
//! The body of a request is taken as raw bytes, checked by one walk, and handed to the pipelines; nothing is decoded.
//!
//! | what happens | gRPC status | HTTP status |
//! |---|---|---|
//! | taken | OK | 200 |
//! | taken, invalid UTF-8 replaced | OK, `partial_success` with a warning | 200, the same |
//! | malformed | INVALID_ARGUMENT | 400 |
//! | no pipeline for the signal | UNIMPLEMENTED | 404 |
//! | over a size limit | RESOURCE_EXHAUSTED without RetryInfo | 413 |
//! | queue or memory budget full | RESOURCE_EXHAUSTED with RetryInfo | 429 with Retry-After |
//! | shutting down, not delivered | UNAVAILABLE with RetryInfo | 503 with Retry-After |
//! | a processor or a destination refuses for good | INTERNAL | 500 |
//!
//! Deliberately not here: CORS (browsers send through the application's own backend), the Arrow variant of the protocol.

mod grpc;
mod http;
mod intake;

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
use intake::Intake;

const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;

/// Receives OTLP traces, logs and metrics.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtlpConfig {
    /// When a client is answered: `received` (the batch stands in every exporter's queue), `durable` (it is in every exporter's disk
    /// buffer) or `delivered` (every backend has it). Default: durable where every exporter behind has a buffer, else received.
    #[serde(default)]
    ack: Option<AckMode>,
    /// OTLP/gRPC; without this section it is not served.
    #[serde(default)]
    grpc: Option<ListenConfig>,
    /// OTLP/HTTP with protobuf or JSON bodies; without this section it is not served.
    #[serde(default)]
    http: Option<ListenConfig>,
}

/// One of the two ports.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ListenConfig {
    /// Where to listen, `host:port`. Default: 127.0.0.1 and the protocol's own port, 4317 for gRPC and 4318 for HTTP.
    endpoint: Option<String>,
    /// TLS. Default: plain text.
    tls: Option<ServerTls>,
    /// Connections at one time; more are closed at once. Default: 1024.
    max_connections: usize,
    /// Largest request, in bytes on the wire and also inflated. Default: 16777216 (16 MiB).
    max_request_bytes: usize,
    /// Longest silence within a request, in milliseconds. Default: 10000.
    idle_timeout_ms: u64,
    /// Longest time for one request to arrive, in milliseconds. Default: 60000.
    request_timeout_ms: u64,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            tls: None,
            max_connections: 1024,
            max_request_bytes: 16 << 20,
            idle_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
        }
    }
}

impl ListenConfig {
    fn endpoint(&self, default_port: u16) -> String {
        self.endpoint.clone().unwrap_or_else(|| format!("127.0.0.1:{default_port}"))
    }

    fn listen(&self, default_port: u16) -> Listen {
        Listen::new(self.endpoint(default_port)).tls(self.tls.clone()).max_connections(self.max_connections)
    }

    /// Refuses settings with which nothing could ever be received.
    fn check(&self, section: &str) -> Result<(), BuildError> {
        let values = [
            ("max_connections", self.max_connections as u64),
            ("max_request_bytes", self.max_request_bytes as u64),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
        ];
        values.into_iter().try_for_each(|(name, value)| positive(&format!("{section}.{name}"), value))
    }

    fn limits(&self) -> Limits {
        limits(self.max_request_bytes, self.idle_timeout_ms, self.request_timeout_ms)
    }
}

impl ReceiverConfig for OtlpConfig {
    const NAME: &'static str = "otlp";
    const SUMMARY: &'static str = "OTLP over gRPC (4317) and HTTP (4318), protobuf and JSON";
    const SIGNALS: &'static [Signal] = &Signal::ALL;

    fn claims(&self) -> Vec<Claim> {
        let grpc = self.grpc.as_ref().map(|c| Claim::Tcp(c.endpoint(GRPC_PORT)));
        let http = self.http.as_ref().map(|c| Claim::Tcp(c.endpoint(HTTP_PORT)));
        grpc.into_iter().chain(http).collect()
    }

    fn ack(&self) -> Option<AckMode> {
        self.ack
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        if self.grpc.is_none() && self.http.is_none() {
            return Err(BuildError::new(
                "nothing to listen on: add `grpc: {}` for OTLP/gRPC on 127.0.0.1:4317, `http: {}` for OTLP/HTTP on \
                 127.0.0.1:4318, or both",
            ));
        }
        for (config, port) in [(&self.grpc, GRPC_PORT), (&self.http, HTTP_PORT)] {
            config.as_ref().map_or(Ok(()), |config| checked(&config.listen(port)))?;
        }
        for (section, config) in [("grpc", &self.grpc), ("http", &self.http)] {
            config.as_ref().map_or(Ok(()), |config| config.check(section))?;
        }
        Ok(self)
    }
}

impl Receiver for OtlpConfig {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(self.bind(context))
    }
}

impl OtlpConfig {
    async fn bind(self: Box<Self>, context: ReceiverContext) -> Result<Serving, BuildError> {
        let mut serving: Vec<Serving> = Vec::new();
        if let Some(config) = &self.grpc {
            let bound = bind(config.listen(GRPC_PORT)).await?;
            tracing::info!(component = context.metrics.id(), address = %bound.local_addr(), "OTLP/gRPC listens");
            let hooks = Connections::new(&context.metrics, "grpc");
            let intake = Intake::new(&context);
            serving.push(Box::pin(grpc::serve(
                bound,
                config.limits(),
                hooks,
                intake,
                context.shutdown.clone(),
            )));
        }
        if let Some(config) = &self.http {
            let bound = bind(config.listen(HTTP_PORT)).await?;
            tracing::info!(component = context.metrics.id(), address = %bound.local_addr(), "OTLP/HTTP listens");
            let hooks = Connections::new(&context.metrics, "http");
            let intake = Intake::new(&context);
            serving.push(Box::pin(http::serve(
                bound,
                config.limits(),
                hooks,
                intake,
                context.shutdown.clone(),
            )));
        }
        Ok(Box::pin(async move {
            let mut tasks: tokio::task::JoinSet<()> = serving.into_iter().collect();
            while tasks.join_next().await.is_some() {}
        }))
    }
}

//! OTLP/gRPC.

use engine::{BoxFuture, BuildError, ExportError, Exported, Exporter, Scope};
use http::HeaderMap;
use model::{Payload, Signal};
use net::Encoding;
use net::grpc::{CallError, Client, ClientOptions};

use super::OtlpConfig;
use super::response::exported;
use crate::forms;

pub(super) struct GrpcExporter {
    client: Client,
    encoding: Encoding,
    metadata: HeaderMap,
}

impl GrpcExporter {
    pub(super) fn new(config: &OtlpConfig) -> Result<Self, BuildError> {
        let options = ClientOptions {
            tls: config.tls.clone(),
            connections: config.connections,
            request_timeout: config.timeout(),
            ..ClientOptions::new(&config.endpoint)
        };
        let client = Client::new(options).map_err(|e| BuildError::new(e.to_string()))?;
        if !client.target().path().is_empty() {
            return Err(BuildError::new(format!(
                "endpoint {} has a path, which gRPC has no use for; leave it out or say `protocol: http`",
                config.endpoint
            )));
        }
        Ok(Self { client, encoding: config.compression.encoding(), metadata: config.header_map()? })
    }
}

fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

impl Exporter for GrpcExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(async move {
            let Some(first) = payloads.first() else {
                return Ok(Exported::default());
            };
            let chunks = payloads.iter().map(|payload| Ok(forms::otlp(payload)?.bytes().clone()));
            let chunks = chunks.collect::<Result<_, ExportError>>()?;
            let called =
                self.client.call(method(first.signal()), chunks, self.encoding, &self.metadata).await;
            called.map(|response| exported(&response)).map_err(|e| failed(&e))
        })
    }
}

fn failed(error: &CallError) -> ExportError {
    let message = error.to_string();
    if error.is_retryable() {
        ExportError::Retryable { message, retry_after: error.retry_after() }
    } else {
        let scope = if error.is_about_content() { Scope::Records } else { Scope::Request };
        ExportError::Permanent { reason: "refused_by_destination", message, scope }
    }
}

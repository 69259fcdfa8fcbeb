//! OTLP/HTTP with protobuf bodies.

use std::time::SystemTime;

use engine::{BoxFuture, BuildError, ExportError, Exported, Exporter, Scope};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{Payload, Signal, View};
use net::Encoding;
use net::client::{Chunks, HttpClient, HttpClientOptions, HttpResponse, retry_after};
use net::encoding::deflate;

use super::OtlpConfig;
use super::response::exported;
use crate::forms;
use crate::http_shared::printable;
use crate::http_shared::unanswered;

pub(super) struct HttpExporter {
    client: HttpClient,
    encoding: Encoding,
    headers: HeaderMap,
}

impl HttpExporter {
    pub(super) fn new(config: &OtlpConfig) -> Result<Self, BuildError> {
        let options = HttpClientOptions {
            tls: config.tls.clone(),
            request_timeout: config.timeout(),
            ..HttpClientOptions::new(&config.endpoint)
        };
        let client = HttpClient::new(&options).map_err(|e| BuildError::new(e.to_string()))?;
        let encoding = config.compression.encoding();
        let mut headers = config.header_map()?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if encoding != Encoding::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
        }
        Ok(Self { client, encoding, headers })
    }

    async fn post(&self, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let Some(first) = payloads.first() else {
            return Ok(Exported::default());
        };
        let chunks = payloads.iter().map(|payload| Ok(forms::otlp(payload)?.bytes().clone()));
        let chunks = chunks.collect::<Result<Vec<_>, ExportError>>()?;
        let body = match self.encoding {
            Encoding::Identity => chunks,
            encoding => vec![deflate(encoding, &chunks).map_err(|e| ExportError::Permanent {
                reason: "compression",
                message: format!("cannot compress: {e}"),
                scope: Scope::Request,
            })?],
        };
        let answer = self.client.post(path(first.signal()), self.headers.clone(), Chunks::new(body)).await;
        verdict(&answer.map_err(|e| unanswered(&e))?)
    }
}

impl Exporter for HttpExporter {
    fn export<'a>(&'a self, payloads: &'a [Payload]) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(self.post(payloads))
    }
}

fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
    }
}

/// OTLP 1.x, "OTLP/HTTP Response": 200 is success, 429, 502, 503 and 504 are to be tried again, the rest is final.
fn verdict(answer: &HttpResponse) -> Result<Exported, ExportError> {
    if answer.status.is_success() {
        return Ok(exported(&answer.body));
    }
    let message = format!("HTTP {}: {}", answer.status, said(answer));
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(ExportError::Retryable {
            message,
            retry_after: retry_after(&answer.headers, SystemTime::now()),
        }),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(ExportError::Permanent { reason: "refused_by_destination", message, scope: Scope::Records })
        }
        _ => Err(ExportError::Permanent { reason: "refused_by_destination", message, scope: Scope::Request }),
    }
}

/// The message of a `google.rpc.Status` body, or the body itself where it is text.
fn said(answer: &HttpResponse) -> String {
    let protobuf =
        answer.headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().ends_with(b"protobuf"));
    match protobuf {
        true => printable(View::root(&answer.body).string(2).unwrap_or_default()),
        false => printable(&String::from_utf8_lossy(&answer.body)),
    }
}

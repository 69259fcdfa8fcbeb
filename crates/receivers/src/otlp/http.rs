//! OTLP/HTTP: `POST /v1/traces`, `/v1/logs`, `/v1/metrics`, with `application/x-protobuf` or `application/json` bodies.
//!
//! An error is answered with a `google.rpc.Status` in the encoding of the request, as the specification asks.

use std::sync::Arc;

use bytes::Bytes;
use codec::otlp_json::{self, DecodeLimits};
use engine::Shutdown;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use model::{Signal, Writer};
use net::body::{BodyError, Limits, read_body};
use net::server::Hooks;
use net::{Body, Bound, BoxError};

use super::intake::{Accepted, Intake, Refused};
use crate::admission::Budgeted;
use crate::http_answer::{self, Failure, unread_reason};

pub(super) async fn serve(
    bound: Bound,
    limits: Limits,
    hooks: Arc<dyn Hooks>,
    intake: Intake,
    shutdown: Shutdown,
) {
    let endpoint = Arc::new(Endpoint { intake, limits });
    let handler = move |request| {
        let endpoint = Arc::clone(&endpoint);
        async move { endpoint.answer(request).await }
    };
    http_answer::serve("OTLP/HTTP", bound, hooks, shutdown, handler).await;
}

/// How a body is encoded, and how its answer will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

struct Endpoint {
    intake: Intake,
    limits: Limits,
}

impl Endpoint {
    async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let (signal, format) = match self.route(&parts) {
            Ok(routed) => routed,
            Err(response) => return *response,
        };
        match self.receive(signal, format, &parts, body).await {
            Ok(accepted) => success(format, &accepted),
            Err(failure) => error(format, &failure),
        }
    }

    fn route(&self, parts: &Parts) -> Result<(Signal, Format), Box<Response<Body>>> {
        let signal = match parts.uri.path() {
            "/v1/traces" => Signal::Traces,
            "/v1/logs" => Signal::Logs,
            "/v1/metrics" => Signal::Metrics,
            _ => {
                let text = "no such path; OTLP/HTTP is at /v1/traces, /v1/logs and /v1/metrics\n";
                return Err(Box::new(plain(StatusCode::NOT_FOUND, text)));
            }
        };
        if parts.method != Method::POST {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "OTLP/HTTP takes POST only\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return Err(Box::new(response));
        }
        let Some(format) = Format::of(&parts.headers) else {
            self.intake.refused("unsupported");
            let text = "content-type must be application/x-protobuf or application/json\n";
            return Err(Box::new(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)));
        };
        Ok((signal, format))
    }

    async fn receive<B>(
        &self,
        signal: Signal,
        format: Format,
        parts: &Parts,
        body: B,
    ) -> Result<Accepted, Failure>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut permit = Budgeted(self.intake.permit());
        let body = read_body(parts, body, &self.limits, &mut permit).await.map_err(|e| self.unread(&e))?;
        match format {
            Format::Protobuf => self.intake.protobuf(signal, body, permit.0).await.map_err(failure),
            Format::Json => self.json(signal, body, permit).await,
        }
    }

    async fn json(&self, signal: Signal, body: Bytes, mut permit: Budgeted) -> Result<Accepted, Failure> {
        let max_bytes = wire_room(body.len()).min(self.limits.max_inflated_bytes);
        net::Admission::grow(&mut permit, max_bytes).map_err(|full| self.unread(&BodyError::Full(full)))?;
        let decoded = otlp_json::receive(signal, &body, &DecodeLimits { max_bytes });
        // The protobuf form lives on; the queue keeps room for that alone.
        drop(body);
        let (request, repairs) = decoded.map_err(|e| failure(self.intake.malformed(&e)))?;
        self.intake.take(request, repairs, permit.0).await.map_err(failure)
    }

    fn unread(&self, error: &BodyError) -> Failure {
        self.intake.refused(unread_reason(error));
        Failure::unread(error)
    }
}

/// Room for the wire form of a JSON body, which is at most four times as long (see [`DecodeLimits`]). Nothing awaits between
/// taking it and giving back what is too much, so no more requests hold it than there are threads.
fn wire_room(json_bytes: usize) -> usize {
    json_bytes.saturating_mul(4).saturating_add(64)
}

fn failure(refused: Refused) -> Failure {
    match refused {
        Refused::Engine(refusal) => Failure::refused(&refusal),
        Refused::Malformed(_) => Failure::new(StatusCode::BAD_REQUEST, refused.to_string()),
    }
}

fn success(format: Format, accepted: &Accepted) -> Response<Body> {
    let body = match format {
        Format::Protobuf => Body::from(accepted.protobuf()),
        Format::Json => Body::from(accepted.json()),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
    response
}

/// A `google.rpc.Status { 1: code  2: message }`. OTLP/HTTP lets the code be left out.
fn error(format: Format, failure: &Failure) -> Response<Body> {
    let body = match format {
        Format::Protobuf => {
            let mut writer = Writer::new();
            writer.string(2, &failure.message);
            Body::from(writer.finish())
        }
        Format::Json => Body::from(serde_json::json!({"message": failure.message}).to_string()),
    };
    failure.response(format.content_type(), body)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

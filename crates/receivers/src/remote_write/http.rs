//! `POST /api/v1/write`: from a request to the pipelines, and the outcome in the protocol's words.

use std::sync::Arc;

use bytes::Bytes;
use codec::prometheus::remote_write::{self, DecodeError, Decoded, Refused, Version, Written};
use engine::{BudgetFull, ComponentMetrics, Inlet, Permit, ReceiverContext, Refusal, Shutdown};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use metrics::Counter;
use net::body::{BodyError, Limits, read_encoded};
use net::encoding::Encoding;
use net::server::Hooks;
use net::{Body, Bound, BoxError};

use crate::admission::Budgeted;
use crate::http_answer::{self, Failure, unread_reason};

const PATH: &str = "/api/v1/write";
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

pub(super) async fn serve(bound: Bound, hooks: Arc<dyn Hooks>, endpoint: Endpoint, shutdown: Shutdown) {
    let endpoint = Arc::new(endpoint);
    let handler = move |request| {
        let endpoint = Arc::clone(&endpoint);
        async move { endpoint.answer(request).await }
    };
    http_answer::serve("remote-write", bound, hooks, shutdown, handler).await;
}

/// What stands behind the path.
pub(super) struct Endpoint {
    inlet: Inlet,
    limits: Limits,
    metrics: ComponentMetrics,
    mended: Counter,
    refused_exemplars: Counter,
}

/// An answer that is no success, and what was taken nevertheless.
struct Short {
    failure: Failure,
    written: Written,
}

impl From<Failure> for Short {
    fn from(failure: Failure) -> Self {
        Self { failure: failure.instead_of_429(), written: Written::default() }
    }
}

impl Endpoint {
    pub(super) fn new(context: &ReceiverContext, limits: Limits) -> Self {
        Self {
            inlet: context.inlet.clone(),
            limits,
            metrics: context.metrics.clone(),
            mended: context.metrics.counter("floodway_repairs_total", &[("repair", "invalid_utf8")]),
            refused_exemplars: context.metrics.counter("floodway_refused_exemplars_total", &[]),
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let version = match route(&parts) {
            Ok(version) => version,
            Err(failure) => {
                self.metrics.refused("unsupported", 0);
                return failure.plain();
            }
        };
        let (mut response, written) = match self.receive(version, &parts, body).await {
            Ok(written) => (success(), written),
            Err(Short { failure, written }) => (failure.plain(), written),
        };
        say_written(version, &written, response.headers_mut());
        response
    }

    async fn receive<B>(&self, version: Version, parts: &Parts, body: B) -> Result<Written, Short>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut permit = Budgeted(self.inlet.permit());
        let body = read_encoded(parts, body, Encoding::Snappy, &self.limits, &mut permit).await;
        let body = body.map_err(|e| self.unread(&e))?;
        let (decoded, permit) = self.decode(version, &body, permit.0)?;
        // The series live on; the queue keeps room for those alone.
        drop(body);
        let Decoded { batch, written, refused, invalid_utf8 } = decoded;
        if !batch.is_empty() {
            self.inlet.send(batch, permit).await.map_err(|refusal| Failure::refused(&refusal))?;
        }
        // Not before: a request that is sent again would be counted again.
        self.mended.increment(invalid_utf8);
        if refused.any() {
            return Err(self.partial(&refused, written));
        }
        Ok(written)
    }

    fn decode(
        &self,
        version: Version,
        body: &[u8],
        mut permit: Permit,
    ) -> Result<(Decoded, Permit), Failure> {
        let mut full: Option<BudgetFull> = None;
        let decoded = remote_write::decode(version, body, &mut |more| {
            full = permit.grow(more).err();
            full.is_none()
        });
        let error = match (decoded, full) {
            (Ok(decoded), _) => return Ok((decoded, permit)),
            (Err(DecodeError::NoRoom), Some(full)) => {
                let refusal = Refusal::from(full);
                self.metrics.refused(refusal.reason, 0);
                return Err(Failure::refused(&refusal));
            }
            (Err(error), _) => error,
        };
        let (reason, status) = match error {
            DecodeError::TooLarge { .. } => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
            _ => ("malformed", StatusCode::BAD_REQUEST),
        };
        self.metrics.refused(reason, 0);
        Err(Failure::new(status, error.to_string()))
    }

    /// Some of it was not sound.
    fn partial(&self, refused: &Refused, written: Written) -> Short {
        for (reason, items) in refused.items() {
            self.metrics.refused(reason.name(), items);
        }
        self.refused_exemplars.increment(refused.exemplars());
        let Written { samples, histograms, exemplars } = written;
        let message = format!(
            "refused {refused}. Written: {samples} samples, {histograms} histograms, {exemplars} exemplars"
        );
        tracing::debug!(component = self.metrics.id(), "partial write: {message}");
        Short { failure: Failure::new(StatusCode::BAD_REQUEST, message), written }
    }

    fn unread(&self, error: &BodyError) -> Failure {
        self.metrics.refused(unread_reason(error), 0);
        Failure::unread(error)
    }
}

/// What the request is, by its line and headers.
fn route(parts: &Parts) -> Result<Version, Failure> {
    if parts.uri.path() != PATH {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("no such path; remote-write is at {PATH}")));
    }
    if parts.method != Method::POST {
        return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "remote-write takes POST only"));
    }
    let unsupported = |message| Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let version = version(&parts.headers).ok_or_else(|| {
        unsupported(
            "content-type must be application/x-protobuf, with proto=prometheus.WriteRequest (the default) or \
             proto=io.prometheus.write.v2.Request",
        )
    })?;
    let mut codings = parts.headers.get_all(header::CONTENT_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"snappy") => Ok(version),
        _ => Err(unsupported("content-encoding must be snappy (the block format)")),
    }
}

/// The version that `content-type` names; 1.0 where it names none, as the specification says.
fn version(headers: &HeaderMap) -> Option<Version> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Some(Version::V1);
    };
    let mut parts = value.to_str().ok()?.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
        return None;
    }
    let mut parameters = parts.filter_map(|parameter| parameter.split_once('='));
    let Some((_, proto)) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("proto")) else {
        return Some(Version::V1);
    };
    match proto.trim().trim_matches('"') {
        "prometheus.WriteRequest" => Some(Version::V1),
        "io.prometheus.write.v2.Request" => Some(Version::V2),
        _ => None,
    }
}

fn success() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// 1.0 does not know these headers; a sender of 2.0 takes a missing one for 0 or for a receiver that does not speak 2.0.
fn say_written(version: Version, written: &Written, headers: &mut HeaderMap) {
    if version == Version::V2 {
        headers.insert(SAMPLES_WRITTEN, HeaderValue::from(written.samples));
        headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(written.histograms));
        headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(written.exemplars));
    }
}

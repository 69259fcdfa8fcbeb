//! From a request to the pipelines. All memory that a push takes is asked of the budget first: its bytes, what they inflate
//! to, and the records that they become.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use codec::loki::{Push, PushDecoder, PushError};
use engine::{ComponentMetrics, Inlet, ReceiverContext, Shutdown};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use metrics::Counter;
use net::body::{BodyError, Limits, read_body, read_encoded};
use net::server::Hooks;
use net::{Admission as _, Body, Bound, BoxError, Encoding};

use super::LokiPushConfig;
use crate::admission::Budgeted;
use crate::http_answer::{self, Failure, unread_reason};

const PATHS: [&str; 2] = ["/loki/api/v1/push", "/api/prom/push"];

/// Loki's own limit on the name of a tenant, bytes.
const MAX_TENANT: usize = 150;

pub(super) async fn serve(bound: Bound, hooks: Arc<dyn Hooks>, endpoint: Endpoint, shutdown: Shutdown) {
    let endpoint = Arc::new(endpoint);
    let handler = move |request| {
        let endpoint = Arc::clone(&endpoint);
        async move { endpoint.answer(request).await }
    };
    http_answer::serve("Loki push API", bound, hooks, shutdown, handler).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// Loki's default is protobuf.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Some(Self::Protobuf);
        };
        let essence = value.to_str().ok()?.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }
}

pub(super) struct Endpoint {
    inlet: Inlet,
    metrics: ComponentMetrics,
    replaced: Counter,
    limits: Limits,
    renames: Arc<BTreeMap<String, String>>,
    tenant_attribute: bool,
}

impl Endpoint {
    pub(super) fn new(config: &LokiPushConfig, context: &ReceiverContext) -> Self {
        Self {
            inlet: context.inlet.clone(),
            metrics: context.metrics.clone(),
            replaced: context.metrics.counter("floodway_repairs_total", &[("repair", "invalid_utf8")]),
            limits: config.limits(),
            renames: Arc::new(config.label_attributes.clone()),
            tenant_attribute: config.tenant_attribute,
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        match self.receive(&parts, body).await {
            Ok(()) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Err(failure) => failure.plain(),
        }
    }

    async fn receive<B>(&self, parts: &Parts, body: B) -> Result<(), Failure>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let format = self.route(parts)?;
        let tenant = self.tenant(&parts.headers)?;
        let mut permit = Budgeted(self.inlet.permit());
        let body = match format {
            // Whatever the headers say: a protobuf body is a snappy block.
            Format::Protobuf => read_encoded(parts, body, Encoding::Snappy, &self.limits, &mut permit).await,
            Format::Json => read_body(parts, body, &self.limits, &mut permit).await,
        };
        let body = body.map_err(|e| self.unread(&e))?;
        let push = match format {
            Format::Protobuf => self.protobuf(&body, tenant, &mut permit),
            Format::Json => self.json(&body, tenant, &mut permit),
        }?;
        // The records live on; the queue keeps room for them alone.
        drop(body);
        if let Some(request) = push.request {
            self.inlet.send(request, permit.0).await.map_err(|refusal| Failure::refused(&refusal))?;
        }
        // Not before: a push that is sent again would be counted again.
        if push.invalid_utf8 > 0 {
            self.replaced.increment(push.invalid_utf8);
        }
        Ok(())
    }

    fn route(&self, parts: &Parts) -> Result<Format, Failure> {
        if !PATHS.contains(&parts.uri.path()) {
            let text = "no such path; pushes go to /loki/api/v1/push";
            return Err(Failure::new(StatusCode::NOT_FOUND, text));
        }
        if parts.method != Method::POST {
            return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "pushes are sent by POST"));
        }
        let Some(format) = Format::of(&parts.headers) else {
            self.metrics.refused("unsupported", 0);
            let text = "content-type must be application/x-protobuf or application/json";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        };
        Ok(format)
    }

    fn tenant(&self, headers: &HeaderMap) -> Result<Option<String>, Failure> {
        let Some(value) = headers.get("x-scope-orgid").filter(|_| self.tenant_attribute) else {
            return Ok(None);
        };
        match value.to_str() {
            Ok(tenant) if tenant.len() <= MAX_TENANT => Ok(Some(tenant.to_owned())),
            _ => {
                self.metrics.refused("malformed", 0);
                let text = format!("X-Scope-OrgID must be at most {MAX_TENANT} ASCII characters");
                Err(Failure::new(StatusCode::BAD_REQUEST, text))
            }
        }
    }

    fn protobuf(&self, body: &[u8], tenant: Option<String>, permit: &mut Budgeted) -> Result<Push, Failure> {
        let tenant = tenant.as_deref();
        self.decode(body.len(), permit, |decoder| decoder.protobuf(body, now_unix_nano(), tenant))
    }

    fn json(&self, body: &[u8], tenant: Option<String>, permit: &mut Budgeted) -> Result<Push, Failure> {
        if std::str::from_utf8(body).is_err() {
            // It is mended as a whole: each byte becomes three at most.
            permit.grow(body.len().saturating_mul(3)).map_err(|full| self.unread(&BodyError::Full(full)))?;
        }
        let tenant = tenant.as_deref();
        self.decode(body.len(), permit, |decoder| decoder.json(body, now_unix_nano(), tenant))
    }

    /// Decodes within room for the records of a body: first what they take as a rule, then what they could take at most.
    /// Nothing awaits between taking it and giving back what is too much, so no more requests hold it than there are threads.
    fn decode(
        &self,
        body_bytes: usize,
        permit: &mut Budgeted,
        decode: impl Fn(&PushDecoder) -> Result<Push, PushError>,
    ) -> Result<Push, Failure> {
        let limit = self.limits.max_inflated_bytes;
        let usual = body_bytes.saturating_mul(2).saturating_add(64 << 10).min(limit);
        // An entry of two bytes becomes a record of 24; a stream of eight becomes a resource of 60 and its tenant.
        let most = body_bytes.saturating_mul(32).saturating_add(64 << 10).min(limit);
        let mut granted = 0;
        for max_bytes in [usual, most] {
            permit.grow(max_bytes - granted).map_err(|full| self.unread(&BodyError::Full(full)))?;
            granted = max_bytes;
            match decode(&PushDecoder { max_bytes, renames: Arc::clone(&self.renames) }) {
                Err(PushError::TooLarge { .. }) if max_bytes < most => {}
                other => return other.map_err(|e| self.bad(e)),
            }
        }
        Err(self.bad(PushError::TooLarge { limit }))
    }

    fn unread(&self, error: &BodyError) -> Failure {
        self.metrics.refused(unread_reason(error), 0);
        Failure::unread(error)
    }

    fn bad(&self, error: PushError) -> Failure {
        let too_large = matches!(error, PushError::TooLarge { .. });
        self.metrics.refused(if too_large { "too_large" } else { "malformed" }, 0);
        let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        Failure::new(status, error.to_string())
    }
}

fn now_unix_nano() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

//! How receivers over HTTP serve, and what they answer when they do not take a request: the same statuses and hints for all.
//!
//! | what happens | status |
//! |---|---|
//! | malformed; a processor or a destination refuses it for good | 400 |
//! | no pipeline for the signal | 404 |
//! | over a size limit | 413 |
//! | queue or memory budget full | 429 with Retry-After |
//! | shutting down, not delivered | 503 with Retry-After |
//!
//! What is final is never a 5xx: clients of Loki and Prometheus repeat those for as long as they can.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Refusal, Shutdown};
use http::{HeaderValue, Response, StatusCode, header};
use net::body::BodyError;
use net::server::{Handler, Hooks, HttpOptions};
use net::{Body, Bound};

/// Serves until told to stop and what is under way is done. `name` is for the log.
pub(crate) async fn serve(
    name: &'static str,
    bound: Bound,
    hooks: Arc<dyn Hooks>,
    shutdown: Shutdown,
    handler: impl Handler,
) {
    let stop = async move { shutdown.requested().await };
    let drained = net::server::serve(bound, HttpOptions::default(), hooks, stop, handler).await;
    tracing::debug!(finished = drained.finished, cut = drained.cut, "{name} stopped");
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// The engine did not take it.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        let status = match refusal {
            Refusal { reason: "no_pipeline", .. } => StatusCode::NOT_FOUND,
            Refusal { reason: "too_large", .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal { reason: "budget_full" | "queue_full", .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal { retryable: true, .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let retry_after = refusal.retry_after.filter(|_| refusal.retryable);
        Self { retry_after, ..Self::new(status, refusal.to_string()) }
    }

    /// Its body was not read to the end.
    pub(crate) fn unread(error: &BodyError) -> Self {
        Self { retry_after: error.retry_after(), ..Self::new(error.http_status(), error.to_string()) }
    }

    /// As it is told where a sender throws away what is answered with 429, and so must get a 5xx for all that may pass.
    pub(crate) fn instead_of_429(self) -> Self {
        let passes = matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let status = if passes { StatusCode::SERVICE_UNAVAILABLE } else { self.status };
        Self { status, ..self }
    }

    /// The answer, with the failure told in `body`.
    pub(crate) fn response(&self, content_type: HeaderValue, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            // All that we receive comes by POST (RFC 9110, 15.5.6: a 405 names what is allowed).
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(after) = self.retry_after {
            // Whole seconds, and never 0: that would be no wait at all.
            let seconds = after.as_secs_f64().ceil().max(1.0) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The answer as plain text.
    pub(crate) fn plain(&self) -> Response<Body> {
        let text = Bytes::from(format!("{}\n", self.message));
        self.response(HeaderValue::from_static("text/plain; charset=utf-8"), Body::from(text))
    }
}

/// What a body that was not read is counted as.
pub(crate) fn unread_reason(error: &BodyError) -> &'static str {
    match error {
        BodyError::TooLarge { .. } | BodyError::Full(net::Full::ForGood) => "too_large",
        BodyError::Timeout { .. } => "timeout",
        BodyError::Full(_) => "budget_full",
        BodyError::Aborted(_) => "aborted",
        BodyError::UnsupportedEncoding(_) => "unsupported",
        _ => "malformed",
    }
}

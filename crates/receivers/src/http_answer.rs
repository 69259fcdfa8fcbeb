//! What receivers over HTTP answer when they do not take a request: the same statuses and hints for all.
//!
//! | what happens | status |
//! |---|---|
//! | malformed | 400 |
//! | no pipeline for the signal | 404 |
//! | over a size limit | 413 |
//! | queue or memory budget full | 429 with Retry-After |
//! | shutting down, not delivered | 503 with Retry-After |
//! | a processor or a destination refuses for good | 500 |

use std::time::Duration;

use bytes::Bytes;
use engine::Refusal;
use http::{HeaderValue, Response, StatusCode, header};
use net::Body;
use net::body::BodyError;

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
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let retry_after = refusal.retry_after.filter(|_| refusal.retryable);
        Self { retry_after, ..Self::new(status, refusal.to_string()) }
    }

    /// Its body was not read to the end.
    pub(crate) fn unread(error: &BodyError) -> Self {
        Self { retry_after: error.retry_after(), ..Self::new(error.http_status(), error.to_string()) }
    }

    /// The answer, with the failure told in `body`.
    pub(crate) fn response(&self, content_type: HeaderValue, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
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

//! Bodies: what a server answers with, and reading what a client sent under a budget, limits and timeouts.
//!
//! Invariants:
//! - Memory for a request body is asked of its [`Admission`] before it is allocated.
//! - A body that arrives in one piece is handed on as it is; any other is copied once, into a buffer that is
//!   allocated at its final size when the length is known.
//!
//! What the HTTP/2 windows let a peer send before anybody reads is not under the budget; the windows bound it.

mod read;

pub use read::{BodyError, Limits, discard, read_body, read_encoded};
pub(crate) use read::{Timed, own_if_small};

use crate::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Memory that a request may use, as the caller's budget grants it. The engine's permit implements this.
pub trait Admission: Send {
    /// Asks for `bytes` more.
    ///
    /// # Errors
    /// [`Full`] when the budget has none to give; nothing was taken then.
    fn grow(&mut self, bytes: usize) -> Result<(), Full>;

    /// Gives `bytes` back, when less was needed than asked for. Dropping the admission gives back the rest.
    fn shrink(&mut self, bytes: usize) {
        let _ = bytes;
    }
}

/// An admission that always agrees: for tests and for answers of trusted servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

impl Admission for Unlimited {
    fn grow(&mut self, _bytes: usize) -> Result<(), Full> {
        Ok(())
    }
}

/// The memory budget has no room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Not now.
    #[error("the memory budget is used up; try again in {} ms", retry_after.as_millis())]
    Now {
        /// When the sender may try again.
        retry_after: Duration,
    },
    /// Never: the request alone needs more than there is in all.
    #[error("the request needs more memory than the whole budget (limits.memory); send smaller requests")]
    ForGood,
}

impl Full {
    /// When the sender may try again; `None`: that is of no use.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Now { retry_after } => Some(*retry_after),
            Self::ForGood => None,
        }
    }
}

impl Default for Full {
    fn default() -> Self {
        Self::Now { retry_after: Duration::from_secs(1) }
    }
}

/// The body of a response.
#[derive(Debug)]
pub struct Body(Inner);

type Streamed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;

enum Inner {
    Once(Option<Bytes>),
    /// gRPC: a message, then trailers. No length is announced.
    Unary {
        data: Option<Bytes>,
        trailers: Option<HeaderMap>,
    },
    Streamed(Streamed),
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Once(data) => write!(f, "Once({:?} bytes)", data.as_ref().map(Bytes::len)),
            Self::Unary { data, .. } => write!(f, "Unary({:?} bytes)", data.as_ref().map(Bytes::len)),
            Self::Streamed(_) => f.write_str("Streamed"),
        }
    }
}

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Inner::Once(None))
    }

    /// The bytes, then trailers: what a gRPC response is made of.
    #[must_use]
    pub const fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self(Inner::Unary { data: Some(data), trailers: Some(trailers) })
    }

    /// Nothing, and no `content-length` either: gRPC's Trailers-Only.
    pub(crate) const fn trailers_only() -> Self {
        Self(Inner::Unary { data: None, trailers: None })
    }

    /// Any other body, such as a long-lived stream of lines.
    pub fn streamed(body: impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self(Inner::Streamed(Box::pin(body)))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(data: T) -> Self {
        let data = data.into();
        Self(Inner::Once((!data.is_empty()).then_some(data)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Once(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Inner::Unary { data, trailers } => Poll::Ready(match data.take() {
                Some(data) => Some(Ok(Frame::data(data))),
                None => trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            }),
            Inner::Streamed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Once(data) => data.is_none(),
            Inner::Unary { data, trailers } => data.is_none() && trailers.is_none(),
            Inner::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Once(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Inner::Unary { .. } => SizeHint::default(),
            Inner::Streamed(body) => body.size_hint(),
        }
    }
}

//! Reads a request body into one buffer, within limits, in time, and under a budget.
//!
//! Flow: `content-length` is checked and admitted as a whole before the first read; without it the buffer, and
//! what is admitted, grows as chunks come in. Then the content coding is undone ([`crate::encoding`]).
//!
//! Deliberately not here: streaming bodies to the caller. Telemetry requests are units that are accepted or
//! refused as a whole.

use super::{Admission, Full};
use crate::BoxError;
use crate::encoding::{Encoding, InflateError, inflate};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Version, header};
use http_body::{Body, Frame};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A received chunk shorter than this is copied rather than handed on, bytes: as a slice it would keep the
/// connection's whole read buffer alive for as long as the batch waits in a queue, and could not be edited in
/// place since the rest of that buffer is in use.
pub(crate) const COPY_BELOW: usize = 16 * 1024;
/// First buffer for a body of unknown length, bytes.
const FIRST_BUFFER: usize = 16 * 1024;
/// How long an HTTP/1 client that was refused may go on sending before the connection is cut.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Limits on one request body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes on the wire, compressed or not.
    pub max_wire_bytes: usize,
    /// Most bytes after inflating.
    pub max_inflated_bytes: usize,
    /// Longest silence between two pieces; enforced to within twice this value.
    pub idle_timeout: Duration,
    /// Longest time for the whole body.
    pub total_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_wire_bytes: 20 << 20,
            max_inflated_bytes: 64 << 20,
            idle_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a request body was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Over the limit on the wire or inflated. Not retryable.
    #[error("{what} over the limit of {limit} bytes: send smaller batches or raise the limit")]
    TooLarge {
        /// `request body`, `inflated size` or `message`.
        what: &'static str,
        /// The limit, bytes.
        limit: usize,
    },
    /// Too slow.
    #[error("the request body stalled: {waited} without the rest of it")]
    Timeout {
        /// Which limit was hit, for the message.
        waited: &'static str,
    },
    /// The budget has no room. Mostly retryable.
    #[error(transparent)]
    Full(#[from] Full),
    /// The client went away or broke the transfer.
    #[error("the request body ended early")]
    Aborted(#[source] BoxError),
    /// The bytes are not what their coding says, or break their framing.
    #[error("{0}")]
    BadEncoding(String),
    /// A coding that is not supported.
    #[error("content coding {0:?} is not supported; use gzip, zstd, deflate or identity")]
    UnsupportedEncoding(String),
}

impl BodyError {
    /// The HTTP status that says this to a client.
    #[must_use]
    pub const fn http_status(&self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            Self::TooLarge { .. } | Self::Full(Full::ForGood) => S::PAYLOAD_TOO_LARGE,
            Self::Timeout { .. } => S::REQUEST_TIMEOUT,
            Self::Full(_) => S::TOO_MANY_REQUESTS,
            Self::Aborted(_) | Self::BadEncoding(_) => S::BAD_REQUEST,
            Self::UnsupportedEncoding(_) => S::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// For how long the client should wait before it tries again; `None` when it should not, or not for a
    /// reason that passes with time.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full(full) => full.retry_after(),
            _ => None,
        }
    }
}

impl From<InflateError> for BodyError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLarge { limit } => Self::TooLarge { what: "inflated size", limit },
            InflateError::Full(full) => Self::Full(full),
            bad => Self::BadEncoding(bad.to_string()),
        }
    }
}

/// Reads the body of the request with these `parts`, and inflates it.
///
/// On refusal of an HTTP/1 request the rest of the body is read and thrown away for a while, so that the client
/// sees the answer rather than a reset connection. HTTP/2 resets the one stream instead.
///
/// # Errors
/// [`BodyError`]. What was admitted stays with `admit`, for its owner to drop.
pub async fn read_body<B, A>(
    parts: &Parts,
    mut body: B,
    limits: &Limits,
    admit: &mut A,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    A: Admission,
{
    let encoding = content_encoding(&parts.headers);
    read_refusing(parts, &mut body, encoding, limits, admit).await
}

/// As [`read_body`], with the coding that the caller's protocol prescribes, whatever the headers say.
///
/// # Errors
/// As [`read_body`].
pub async fn read_encoded<B, A>(
    parts: &Parts,
    mut body: B,
    encoding: Encoding,
    limits: &Limits,
    admit: &mut A,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    A: Admission,
{
    read_refusing(parts, &mut body, Ok(encoding), limits, admit).await
}

async fn read_refusing<B, A>(
    parts: &Parts,
    body: &mut B,
    encoding: Result<Encoding, BodyError>,
    limits: &Limits,
    admit: &mut A,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    A: Admission,
{
    let result = match encoding {
        Ok(encoding) => read_inner(encoding, body, limits, admit).await,
        Err(unsupported) => Err(unsupported),
    };
    let refused = matches!(
        result,
        Err(BodyError::TooLarge { .. } | BodyError::Full(_) | BodyError::UnsupportedEncoding(_))
    );
    // A client that waits for "100 Continue" has not sent its body: asking for it only to refuse it is rude.
    if refused && parts.version < Version::HTTP_2 && !parts.headers.contains_key(header::EXPECT) {
        discard(body, limits.max_wire_bytes, DISCARD_TIME.min(limits.total_timeout)).await;
    }
    result
}

async fn read_inner<B, A>(
    encoding: Encoding,
    body: &mut B,
    limits: &Limits,
    admit: &mut A,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    A: Admission,
{
    let max = match encoding {
        Encoding::Identity => limits.max_wire_bytes.min(limits.max_inflated_bytes),
        _ => limits.max_wire_bytes,
    };
    let (wire, admitted) = collect(body, max, limits, admit).await?;
    if encoding == Encoding::Identity {
        return Ok(wire);
    }
    let inflated = inflate(encoding, &wire, limits.max_inflated_bytes, admit)?;
    drop(wire);
    admit.shrink(admitted);
    Ok(inflated)
}

/// The one content coding of a request.
fn content_encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(Encoding::Identity);
    };
    match (Encoding::parse(value.as_bytes()), values.next()) {
        (Some(encoding), None) => Ok(encoding),
        _ => Err(BodyError::UnsupportedEncoding(String::from_utf8_lossy(value.as_bytes()).into_owned())),
    }
}

/// Reads the whole body. Returns it with the number of bytes that were admitted for it.
async fn collect<B, A>(
    body: &mut B,
    max: usize,
    limits: &Limits,
    admit: &mut A,
) -> Result<(Bytes, usize), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    A: Admission,
{
    let too_large = || BodyError::TooLarge { what: "request body", limit: max };
    let hint = body.size_hint();
    if usize::try_from(hint.lower()).is_ok_and(|n| n > max) {
        return Err(too_large());
    }
    let known = hint.exact().and_then(|n| usize::try_from(n).ok());
    let mut admitted = known.unwrap_or(0);
    admit.grow(admitted)?;

    let mut timed = std::pin::pin!(Timed::new(body, limits));
    let mut first: Option<Bytes> = None;
    let mut buffer = BytesMut::new();
    while let Some(frame) = timed.as_mut().next().await? {
        let Ok(data) = frame.into_data() else { continue };
        let held = buffer.len() + first.as_ref().map_or(0, Bytes::len);
        let len = held + data.len();
        if len > max {
            return Err(too_large());
        }
        if held == 0 && known.is_none_or(|n| n == data.len()) {
            grow_to(data.len(), &mut admitted, admit)?;
            first = Some(data);
            continue;
        }
        if buffer.capacity() < len {
            let wanted = known.unwrap_or_else(|| (len * 2).clamp(FIRST_BUFFER.min(max), max));
            grow_to(wanted.max(len), &mut admitted, admit)?;
            buffer.reserve(wanted.max(len) - buffer.len());
        }
        if let Some(first) = first.take() {
            buffer.extend_from_slice(&first);
        }
        buffer.extend_from_slice(&data);
    }
    let whole = match first {
        Some(one) => own_if_small(one),
        None => buffer.freeze(),
    };
    admit.shrink(admitted.saturating_sub(whole.len()));
    let len = whole.len();
    Ok((whole, admitted.min(len)))
}

/// Asks for what is missing up to `wanted`.
fn grow_to(wanted: usize, admitted: &mut usize, admit: &mut impl Admission) -> Result<(), Full> {
    if wanted > *admitted {
        admit.grow(wanted - *admitted)?;
        *admitted = wanted;
    }
    Ok(())
}

/// See [`COPY_BELOW`].
pub(crate) fn own_if_small(data: Bytes) -> Bytes {
    if data.len() < COPY_BELOW { Bytes::copy_from_slice(&data) } else { data }
}

/// Reads and throws away the rest of a body: at most `max_bytes`, for at most `time`.
pub async fn discard<B>(body: &mut B, max_bytes: usize, time: Duration)
where
    B: Body<Data = Bytes> + Unpin,
{
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > max_bytes {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(time, all).await;
}

/// A body with an idle and a total timeout, at the price of one clock read a body.
///
/// The timer is armed only when the body makes us wait, and looked at only when it fires: if a piece came in
/// meanwhile it is armed anew.
pub(crate) struct Timed<'a, B> {
    body: &'a mut B,
    sleep: Pin<Box<Sleep>>,
    idle: Duration,
    end: Instant,
    progress: bool,
}

impl<'a, B> Timed<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: &'a mut B, limits: &Limits) -> Self {
        let now = Instant::now();
        let end = now + limits.total_timeout;
        let sleep = Box::pin(sleep_until(end.min(now + limits.idle_timeout)));
        Self { body, sleep, idle: limits.idle_timeout, end, progress: false }
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(mut self: Pin<&mut Self>) -> Result<Option<Frame<Bytes>>, BodyError> {
        poll_fn(|cx| {
            let this = &mut *self;
            if let Poll::Ready(frame) = Pin::new(&mut *this.body).poll_frame(cx) {
                this.progress = true;
                return Poll::Ready(frame.transpose().map_err(|e| BodyError::Aborted(e.into())));
            }
            loop {
                ready!(this.sleep.as_mut().poll(cx));
                let now = Instant::now();
                if now >= this.end {
                    return Poll::Ready(Err(BodyError::Timeout { waited: "the total time passed" }));
                }
                if !std::mem::take(&mut this.progress) {
                    return Poll::Ready(Err(BodyError::Timeout { waited: "the idle time passed" }));
                }
                this.sleep.as_mut().reset(this.end.min(now + this.idle));
            }
        })
        .await
    }
}

//! The server side of unary gRPC: from an HTTP/2 request to one message and back.
//!
//! Order of events: the method is known (or `UNIMPLEMENTED`) -> a permit is taken -> the prefix tells the length,
//! which the permit grows by -> the message is read -> inflated, growing the permit -> the service answers.
//!
//! Answers are not compressed: to a telemetry request they are a few bytes.

use super::frame::{Assembler, FrameError, prefix};
use super::status::{Code, Status};
use crate::BoxError;
use crate::body::{Admission, Body, BodyError, Full, Limits, Timed};
use crate::encoding::{Encoding, InflateError, inflate};
use crate::server::Handler;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate");

/// One call, read and inflated.
#[derive(Debug)]
pub struct Request<P> {
    /// The header of the call: metadata, and what HTTP adds.
    pub metadata: HeaderMap,
    /// The message.
    pub message: Bytes,
    /// Holds the memory that the message was admitted with.
    pub permit: P,
    /// Where the call came from.
    pub peer: SocketAddr,
}

/// What a gRPC server offers.
pub trait UnaryService: Send + Sync + 'static {
    /// A method, as the service knows it.
    type Method: Send;
    /// A share of the memory budget.
    type Permit: Admission + 'static;

    /// Finds the method of a path such as `/package.Service/Method`.
    fn route(&self, path: &str) -> Option<Self::Method>;

    /// An empty permit for a call that is about to be read.
    fn permit(&self) -> Self::Permit;

    /// Answers a call. The future is dropped when the client gives up or its `grpc-timeout` passes.
    fn call(
        &self,
        method: Self::Method,
        request: Request<Self::Permit>,
    ) -> impl Future<Output = Result<Bytes, Status>> + Send;

    /// Told of every call that was refused before [`UnaryService::call`], for counting.
    fn refused(&self, status: &Status) {
        let _ = status;
    }
}

/// Serves a [`UnaryService`] over HTTP/2; a [`Handler`].
#[derive(Debug)]
pub struct Unary<S> {
    service: Arc<S>,
    limits: Limits,
}

impl<S> Clone for Unary<S> {
    fn clone(&self) -> Self {
        Self { service: Arc::clone(&self.service), limits: self.limits }
    }
}

impl<S: UnaryService> Unary<S> {
    /// Reads messages within `limits`.
    pub fn new(service: S, limits: Limits) -> Self {
        Self { service: Arc::new(service), limits }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &S {
        &self.service
    }

    /// Whether a request claims to be gRPC, for ports that serve other things too.
    #[must_use]
    pub fn is_grpc(headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return false;
        };
        value
            .as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
    }

    async fn respond(&self, request: http::Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if let Some(refusal) = not_grpc(&request, Self::is_grpc(request.headers())) {
            return refusal;
        }
        let deadline = request.headers().get(GRPC_TIMEOUT).and_then(|v| timeout(v.as_bytes()));
        let work = self.work(request, peer);
        let result = match deadline {
            None => work.await,
            Some(time) => tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
                Err(Status::new(Code::DeadlineExceeded, "the call's grpc-timeout passed before it was done"))
            }),
        };
        match result {
            Ok(message) => success(&message),
            Err(status) => failure(&status),
        }
    }

    async fn work(&self, request: http::Request<Incoming>, peer: SocketAddr) -> Result<Bytes, Status> {
        let (method, request) = match self.receive(request, peer).await {
            Ok(received) => received,
            Err(status) => {
                self.service.refused(&status);
                return Err(status);
            }
        };
        self.service.call(method, request).await
    }

    async fn receive(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<(S::Method, Request<S::Permit>), Status> {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path();
        let method = self
            .service
            .route(path)
            .ok_or_else(|| Status::new(Code::Unimplemented, format!("unknown method {path}")))?;
        let encoding = message_encoding(&parts.headers)?;
        let mut permit = self.service.permit();
        let message = self.read(&mut body, encoding, &mut permit).await?;
        Ok((method, Request { metadata: parts.headers, message, permit, peer }))
    }

    async fn read(
        &self,
        body: &mut Incoming,
        encoding: Encoding,
        permit: &mut S::Permit,
    ) -> Result<Bytes, Status> {
        let limit = match encoding {
            Encoding::Identity => self.limits.max_wire_bytes.min(self.limits.max_inflated_bytes),
            _ => self.limits.max_wire_bytes,
        };
        let message = read_message(body, limit, &self.limits, permit).await?;
        if !message.compressed {
            return Ok(message.data);
        }
        if encoding == Encoding::Identity {
            return Err(Status::new(
                Code::Internal,
                "message marked compressed, but no grpc-encoding was given",
            ));
        }
        let wire_len = message.data.len();
        let inflated = inflate(encoding, &message.data, self.limits.max_inflated_bytes, permit);
        permit.shrink(wire_len);
        inflated.map_err(inflate_status)
    }
}

impl<S: UnaryService> Handler for Unary<S> {
    fn handle(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.respond(request, peer)
    }
}

async fn read_message<B, A>(
    body: &mut B,
    limit: usize,
    limits: &Limits,
    permit: &mut A,
) -> Result<super::frame::Message, Status>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    A: Admission,
{
    let mut assembler = Assembler::new(limit);
    let mut timed = std::pin::pin!(Timed::new(body, limits));
    while let Some(frame) = timed.as_mut().next().await.map_err(body_status)? {
        if let Ok(piece) = frame.into_data() {
            assembler.push(piece, permit).map_err(frame_status)?;
        }
    }
    assembler.finish().map_err(frame_status)
}

fn message_encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    let Some(value) = headers.get(GRPC_ENCODING) else {
        return Ok(Encoding::Identity);
    };
    Encoding::parse(value.as_bytes()).ok_or_else(|| {
        let name = String::from_utf8_lossy(value.as_bytes());
        Status::new(Code::Unimplemented, format!("grpc-encoding {name:?} is not supported; use gzip or zstd"))
    })
}

/// Reads `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
pub(crate) fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// RESOURCE_EXHAUSTED, which is retryable with RetryInfo and final without (OTLP specification, "Throttling").
fn full_status(full: &Full) -> Status {
    let status = Status::new(Code::ResourceExhausted, full.to_string());
    match full.retry_after() {
        Some(delay) => status.retry_after(delay),
        None => status,
    }
}

fn frame_status(error: FrameError) -> Status {
    let code = match &error {
        FrameError::Full(full) => {
            return full_status(full);
        }
        FrameError::TooLarge { .. } => Code::ResourceExhausted,
        FrameError::MoreThanOne | FrameError::None => Code::InvalidArgument,
        FrameError::Flag(_) | FrameError::Truncated { .. } => Code::Internal,
    };
    Status::new(code, error.to_string())
}

fn inflate_status(error: InflateError) -> Status {
    let code = match &error {
        InflateError::Full(full) => {
            return full_status(full);
        }
        InflateError::TooLarge { .. } => Code::ResourceExhausted,
        InflateError::Corrupt { .. } | InflateError::Truncated { .. } => Code::InvalidArgument,
    };
    Status::new(code, error.to_string())
}

fn body_status(error: BodyError) -> Status {
    let code = match &error {
        BodyError::Timeout { .. } => Code::DeadlineExceeded,
        _ => Code::Cancelled,
    };
    Status::new(code, error.to_string())
}

/// Refuses, in HTTP's terms, what is not gRPC at all.
fn not_grpc(request: &http::Request<Incoming>, is_grpc: bool) -> Option<Response<Body>> {
    let (status, text) = if request.version() < Version::HTTP_2 {
        (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2; OTLP/HTTP has a port of its own, 4318\n")
    } else if !is_grpc {
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this port speaks gRPC: content-type must be application/grpc\n")
    } else if request.method() != Method::POST {
        (StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST requests\n")
    } else {
        return None;
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    Some(response)
}

fn success(message: &Bytes) -> Response<Body> {
    let Ok(len) = u32::try_from(message.len()) else {
        return failure(&Status::new(Code::Internal, "the answer is over 4 GiB"));
    };
    let mut data = BytesMut::with_capacity(super::PREFIX_LEN + message.len());
    data.extend_from_slice(&prefix(false, len));
    data.extend_from_slice(message);
    let mut trailers = HeaderMap::with_capacity(1);
    Status::write_ok(&mut trailers);
    respond_with(Body::with_trailers(data.freeze(), trailers))
}

/// A Trailers-Only response.
fn failure(status: &Status) -> Response<Body> {
    let mut response = respond_with(Body::trailers_only());
    status.write(response.headers_mut());
    response
}

fn respond_with(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        assert_eq!(timeout(b"10S"), Some(Duration::from_secs(10)));
        assert_eq!(timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout(b"5m"), Some(Duration::from_millis(5)));
        for bad in [&b""[..], b"S", b"1", b"123456789S", b"-1S", b"1x"] {
            assert_eq!(timeout(bad), None);
        }
    }
}

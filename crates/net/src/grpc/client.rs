//! The client side of unary gRPC: calls multiplexed over one or more connections to one server.
//!
//! A call's message is never joined or copied: the buffers go to the socket by vectored writes, with the prefix
//! in front of the first one. Connections open when first needed and again after they broke.
//!
//! A call is sent a second time only when the server surely did not see it (no stream was opened, or it was
//! refused). All other retrying is the caller's.

use super::driver::{self, KeepAlive, Live};
use super::frame::{Assembler, prefix};
use super::status::{Code, Status};
use crate::BoxError;
use crate::body::Unlimited;
use crate::client::{Chunks, ConnectError, Connector, SetupError, Target, USER_AGENT, retry_after};
use crate::config::ClientTls;
use crate::encoding::{Encoding, deflate, inflate};
use crate::tls::ALPN_H2;
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Sends of one call when the server refuses the stream unseen.
const ATTEMPTS: usize = 2;

/// How a [`Client`] behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `host:port`, or as [`Target::parse`] takes it.
    pub endpoint: String,
    /// TLS settings.
    pub tls: Option<ClientTls>,
    /// Connections that calls are spread over in turn. Default: 1.
    pub connections: usize,
    /// Name resolution, TCP, TLS and HTTP/2 together. Default: 5 s.
    pub connect_timeout: Duration,
    /// A whole call, connecting included; the server is told by `grpc-timeout`. Default: 10 s.
    pub request_timeout: Duration,
    /// Most bytes of an answer. Default: 4 MiB.
    pub max_response_bytes: usize,
    /// Pings while calls are under way. Default: 30 s.
    pub ping_interval: Duration,
    /// How long a ping may go unanswered. Default: 10 s.
    pub ping_timeout: Duration,
    /// `user-agent`.
    pub user_agent: HeaderValue,
}

impl ClientOptions {
    /// The defaults, towards `endpoint`.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls: None,
            connections: 1,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            max_response_bytes: 4 << 20,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            user_agent: USER_AGENT,
        }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection, or it broke. Whether the server has seen the call is unknown.
    #[error("{message}")]
    Transport {
        /// What happened, with the destination.
        message: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The server answered with a failure.
    #[error(transparent)]
    Status(#[from] Status),
    /// No answer in time.
    #[error("no answer from {target} within {} ms", timeout.as_millis())]
    Timeout {
        /// `host:port`.
        target: String,
        /// The limit.
        timeout: Duration,
    },
    /// The call cannot be sent at all: a bad path, or a message over 4 GiB.
    #[error("bad call: {0}")]
    Call(String),
}

impl CallError {
    /// Whether the same call may succeed later (OTLP's rules for statuses).
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Status(status) => status.is_retryable(),
            Self::Call(_) => false,
        }
    }

    /// Whether it is something in the request that is refused, so that a part of it might be taken.
    #[must_use]
    pub const fn is_about_content(&self) -> bool {
        matches!(self, Self::Status(Status { code: Code::InvalidArgument | Code::ResourceExhausted, .. }))
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_after,
            _ => None,
        }
    }
}

/// A client for one server. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    options: ClientOptions,
    timeout_header: HeaderValue,
    slots: Vec<Slot>,
    next: AtomicUsize,
}

/// One place for a connection.
#[derive(Debug, Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Held while connecting, so that waiting calls share the outcome's connection.
    connecting: tokio::sync::Mutex<()>,
}

impl Client {
    /// Reads the TLS files; opens no connection.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(options: ClientOptions) -> Result<Self, SetupError> {
        let target = Target::parse(&options.endpoint, options.tls.as_ref(), None)?;
        let connector = Connector::new(target, options.tls.as_ref(), ALPN_H2, options.connect_timeout)?;
        let slots = (0..options.connections.max(1)).map(|_| Slot::default()).collect();
        let timeout_header = timeout_header(options.request_timeout);
        let next = AtomicUsize::new(0);
        Ok(Self(Arc::new(Inner { connector, options, timeout_header, slots, next })))
    }

    /// The destination.
    #[must_use]
    pub fn target(&self) -> &Target {
        self.0.connector.target()
    }

    /// Calls `path` (`/package.Service/Method`) with the concatenation of `chunks` as its message, and returns
    /// the message of the answer. Dropping the future resets the stream.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        path: &str,
        chunks: Vec<Bytes>,
        encoding: Encoding,
        metadata: &HeaderMap,
    ) -> Result<Bytes, CallError> {
        let inner = &*self.0;
        let body = message(chunks, encoding)?;
        let request = inner.request(path, encoding, metadata)?;
        let slot = &inner.slots[inner.next.fetch_add(1, Ordering::Relaxed) % inner.slots.len()];
        // The connection that the call waits on, so that a silent one can be given up.
        let used = Mutex::new(None);
        let work = inner.attempts(slot, &request, body, &used);
        if let Ok(done) = tokio::time::timeout(inner.options.request_timeout, work).await {
            return done;
        }
        if let Some(live) = lock(&used).take() {
            slot.give_up(&live);
        }
        let target = inner.connector.target().authority().to_string();
        Err(CallError::Timeout { target, timeout: inner.options.request_timeout })
    }
}

impl Inner {
    fn request(
        &self,
        path: &str,
        encoding: Encoding,
        metadata: &HeaderMap,
    ) -> Result<Request<()>, CallError> {
        let bad = |e: &dyn std::fmt::Display| CallError::Call(format!("{path}: {e}"));
        let target = self.connector.target();
        let uri = Uri::builder()
            .scheme(target.scheme().clone())
            .authority(target.authority().clone())
            .path_and_query(path)
            .build()
            .map_err(|e| bad(&e))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.reserve(metadata.len() + 6);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::USER_AGENT, self.options.user_agent.clone());
        headers.insert(GRPC_TIMEOUT, self.timeout_header.clone());
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
        if encoding != Encoding::Identity {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(encoding.as_str()));
        }
        for (name, value) in metadata {
            headers.append(name, value.clone());
        }
        Ok(request)
    }

    async fn attempts(
        &self,
        slot: &Slot,
        request: &Request<()>,
        body: Chunks,
        used: &Mutex<Option<Live>>,
    ) -> Result<Bytes, CallError> {
        let mut attempt = 1;
        loop {
            let live = self
                .connected(slot)
                .await
                .map_err(|e| CallError::Transport { message: e.to_string(), source: Box::new(e) })?;
            *lock(used) = Some(live.clone());
            match self.exchange(&live, request.clone(), body.clone()).await {
                Ok(done) => return done,
                Err(error) => {
                    if error.is_io() || error.is_go_away() {
                        slot.give_up(&live);
                    }
                    if attempt < ATTEMPTS && unseen(&error) {
                        attempt += 1;
                        continue;
                    }
                    let message = format!("{}: {error}", self.connector.target().authority());
                    return Err(CallError::Transport { message, source: Box::new(error) });
                }
            }
        }
    }

    async fn connected(&self, slot: &Slot) -> Result<Live, ConnectError> {
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        let _turn = slot.connecting.lock().await;
        if let Some(live) = slot.live() {
            return Ok(live);
        }
        let keepalive =
            KeepAlive { interval: self.options.ping_interval, timeout: self.options.ping_timeout };
        let live = driver::connect(&self.connector, keepalive).await?;
        *lock(&slot.live) = Some(live.clone());
        Ok(live)
    }

    /// Sends one call and reads its answer. The outer error is the connection's or the stream's.
    async fn exchange(
        &self,
        live: &Live,
        request: Request<()>,
        body: Chunks,
    ) -> Result<Result<Bytes, CallError>, h2::Error> {
        let (sender, _counted) = live.begin();
        let mut sender = sender.ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        // As a whole: h2 cuts it to frames as the peer's window allows, without copying.
        stream.send_data(body, true)?;
        let response = response.await?;
        self.answer(response).await
    }

    async fn answer(&self, response: Response<RecvStream>) -> Result<Result<Bytes, CallError>, h2::Error> {
        let (parts, mut body) = response.into_parts();
        if let Some(refusal) = refused(parts.status, &parts.headers) {
            return Ok(Err(refusal.into()));
        }
        let mut assembler = Assembler::new(self.options.max_response_bytes);
        let mut broken = None;
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            if broken.is_none() {
                broken = assembler.push(piece, &mut Unlimited).err();
            }
            if broken.is_some() {
                break;
            }
        }
        if let Some(error) = broken {
            return Ok(Err(Status::new(Code::Internal, format!("bad answer: {error}")).into()));
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        match Status::read(&trailers) {
            Some(status) if status.code != Code::Ok => return Ok(Err(status.into())),
            Some(_) => {}
            None => {
                let status = Status::new(Code::Unknown, "the answer ended without a grpc-status");
                return Ok(Err(status.into()));
            }
        }
        Ok(self.unpack(&parts.headers, assembler).map_err(CallError::from))
    }

    fn unpack(&self, headers: &HeaderMap, assembler: Assembler) -> Result<Bytes, Status> {
        let bad = |e: &dyn std::fmt::Display| Status::new(Code::Internal, format!("bad answer: {e}"));
        let message = assembler.finish().map_err(|e| bad(&e))?;
        if !message.compressed {
            return Ok(message.data);
        }
        let name = headers.get(GRPC_ENCODING).map_or(&b"nothing"[..], HeaderValue::as_bytes);
        let encoding = Encoding::parse(name).ok_or_else(|| bad(&"compressed in an unknown way"))?;
        inflate(encoding, &message.data, self.options.max_response_bytes, &mut Unlimited).map_err(|e| bad(&e))
    }
}

impl Slot {
    fn live(&self) -> Option<Live> {
        lock(&self.live).as_ref().filter(|live| !live.is_closed()).cloned()
    }

    /// Takes a connection out of use, unless another one has taken its place already.
    fn give_up(&self, live: &Live) {
        live.retire();
        let mut slot = lock(&self.live);
        if slot.as_ref().is_some_and(|current| current.is(live)) {
            *slot = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The prefix and the message, compressed if wished.
fn message(chunks: Vec<Bytes>, encoding: Encoding) -> Result<Chunks, CallError> {
    let pieces = match encoding {
        Encoding::Identity => chunks,
        _ => vec![deflate(encoding, &chunks).map_err(|e| CallError::Call(format!("cannot compress: {e}")))?],
    };
    let len: usize = pieces.iter().map(Buf::remaining).sum();
    let len = u32::try_from(len).map_err(|_| CallError::Call("message over 4 GiB".to_owned()))?;
    Ok(Chunks::prefixed(prefix(encoding != Encoding::Identity, len), pieces))
}

/// `grpc-timeout`: at most eight digits.
fn timeout_header(timeout: Duration) -> HeaderValue {
    let millis = timeout.as_millis();
    let text = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", timeout.as_secs()) };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("99999999S"))
}

/// The server surely did nothing with the call: it refused the stream (RFC 9113 section 8.7), or it is shutting
/// down in good order, in which case only streams that it did not look at end this way.
fn unseen(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR))
}

/// A failure that is told by the header alone: Trailers-Only, or an answer that is not gRPC.
fn refused(http: StatusCode, headers: &HeaderMap) -> Option<Status> {
    if let Some(status) = Status::read(headers) {
        if status.code != Code::Ok {
            return Some(status);
        }
        return Some(Status::new(Code::Internal, "success without a message"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if http == StatusCode::OK && content_type.starts_with(b"application/grpc") {
        return None;
    }
    let kind = String::from_utf8_lossy(content_type);
    let message = format!("the answer is not gRPC: HTTP {http}, content-type {kind:?}; is the port right?");
    let retry_after = retry_after(headers, SystemTime::now());
    Some(Status { code: Code::from_http(http), message, retry_after })
}

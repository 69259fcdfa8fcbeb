//! An HTTP client for exporters: pooled connections, HTTP/1.1 or HTTP/2 as ALPN settles it, bounded answers.

use super::chunks::{Chunks, ChunksBody};
use super::connect::{ConnectError, Connector, Target, TargetError};
use crate::BoxError;
use crate::config::ClientTls;
use crate::stream::Stream;
use crate::tls::{ALPN_HTTP, TlsError};
use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How an [`HttpClient`] behaves.
#[derive(Debug, Clone)]
pub struct HttpClientOptions {
    /// `http://host:port/path`, or as [`Target::parse`] takes it.
    pub endpoint: String,
    /// TLS settings.
    pub tls: Option<ClientTls>,
    /// Name resolution, TCP and TLS together. Default: 5 s.
    pub connect_timeout: Duration,
    /// A whole request, connecting included. Default: 10 s.
    pub request_timeout: Duration,
    /// Most bytes of an answer that are kept; a longer one is cut. Default: 1 MiB.
    pub max_response_bytes: usize,
    /// Idle connections that are kept. Default: 16.
    pub max_idle_connections: usize,
    /// How long they are kept. Default: 60 s.
    pub idle_timeout: Duration,
    /// HTTP/2 pings while requests are under way. Default: 30 s.
    pub ping_interval: Duration,
    /// `user-agent`.
    pub user_agent: HeaderValue,
}

impl HttpClientOptions {
    /// The defaults, towards `endpoint`.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            max_response_bytes: 1 << 20,
            max_idle_connections: 16,
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            user_agent: USER_AGENT,
        }
    }
}

/// What we call ourselves, unless told otherwise.
pub(crate) const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("floodway/", env!("CARGO_PKG_VERSION")));

/// Why a client could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The endpoint is no destination.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no answer. All are retryable: whether the server has seen the request is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection, or it broke.
    #[error("{0}")]
    Transport(String, #[source] BoxError),
    /// No answer in time.
    #[error("no answer from {url} within {} ms", timeout.as_millis())]
    Timeout {
        /// The destination.
        url: String,
        /// The limit.
        timeout: Duration,
    },
    /// The path or a header cannot be sent. Not retryable: a mistake in the configuration.
    #[error("bad request: {0}")]
    Request(#[from] http::Error),
}

impl HttpError {
    /// False only for requests that can never be sent.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Request(_))
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// Status.
    pub status: StatusCode,
    /// Header.
    pub headers: HeaderMap,
    /// The body, cut at `max_response_bytes`.
    pub body: Bytes,
    /// The body was longer.
    pub truncated: bool,
}

/// A client for one destination. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<Opener, ChunksBody>,
    target: Target,
    request_timeout: Duration,
    max_response_bytes: usize,
    user_agent: HeaderValue,
}

impl HttpClient {
    /// Reads the TLS files; opens no connection.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(options: &HttpClientOptions) -> Result<Self, SetupError> {
        let target = Target::parse(&options.endpoint, options.tls.as_ref(), None)?;
        let connector =
            Connector::new(target.clone(), options.tls.as_ref(), ALPN_HTTP, options.connect_timeout)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.max_idle_connections)
            .http2_keep_alive_interval(options.ping_interval)
            .build(Opener(connector));
        Ok(Self {
            client,
            target,
            request_timeout: options.request_timeout,
            max_response_bytes: options.max_response_bytes,
            user_agent: options.user_agent.clone(),
        })
    }

    /// The destination.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Posts `body` to `path`, which is appended to the path of the endpoint.
    ///
    /// # Errors
    /// [`HttpError`]; an answer of any status is no error.
    pub async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Chunks,
    ) -> Result<HttpResponse, HttpError> {
        self.request(Method::POST, path, headers, body).await
    }

    /// Sends a request to `path`, which is appended to the path of the endpoint.
    ///
    /// # Errors
    /// [`HttpError`]; an answer of any status is no error.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Chunks,
    ) -> Result<HttpResponse, HttpError> {
        let full = format!("{}{path}", self.target.path());
        let path: PathAndQuery = full.parse().map_err(http::Error::from)?;
        let uri = Uri::builder()
            .scheme(self.target.scheme().clone())
            .authority(self.target.authority().clone())
            .path_and_query(path)
            .build()?;
        let mut request = Request::builder().method(method).uri(uri).body(ChunksBody::new(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        tokio::time::timeout(self.request_timeout, Box::pin(self.exchange(request))).await.unwrap_or_else(
            |_| Err(HttpError::Timeout { url: self.target.url(), timeout: self.request_timeout }),
        )
    }

    async fn exchange(&self, request: Request<ChunksBody>) -> Result<HttpResponse, HttpError> {
        let response = self.client.request(request).await.map_err(|e| transport(&self.target, e))?;
        let (parts, body) = response.into_parts();
        let (body, truncated) =
            capped(body, self.max_response_bytes).await.map_err(|e| transport(&self.target, e))?;
        Ok(HttpResponse { status: parts.status, headers: parts.headers, body, truncated })
    }
}

fn transport(target: &Target, error: impl Into<BoxError>) -> HttpError {
    let error = error.into();
    // hyper's own words ("client error (Connect)") say little: the last cause says what happened.
    let mut cause: &dyn std::error::Error = error.as_ref();
    while let Some(next) = cause.source() {
        if cause.is::<ConnectError>() {
            return HttpError::Transport(cause.to_string(), error);
        }
        cause = next;
    }
    HttpError::Transport(format!("{}: {cause}", target.url()), error)
}

async fn capped(mut body: Incoming, max: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = max - buffer.len();
        if data.len() > room {
            buffer.extend_from_slice(&data[..room]);
            return Ok((buffer.freeze(), true));
        }
        buffer.extend_from_slice(&data);
    }
    Ok((buffer.freeze(), false))
}

/// [`Connector`] in the shape that the pool wants.
#[derive(Debug, Clone)]
struct Opener(Connector);

impl tower_service::Service<Uri> for Opener {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        // The pool has one destination: ours.
        let connector = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(connector.connect().await?)) })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.alpn() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

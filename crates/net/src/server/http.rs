//! HTTP/1.1 and HTTP/2 on one port.
//!
//! Which of the two a client speaks is told by ALPN with TLS, and by the first bytes without it: HTTP/2 with
//! prior knowledge opens with `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113 section 3.4), which is no HTTP/1
//! request. The bytes are peeked at, not taken, so that nothing lies between the socket and the protocol.
//!
//! Deliberately not here: the HTTP/1.1 `Upgrade: h2c` (RFC 9113 removed it), HTTP/3, CONNECT, WebSockets.

use super::accept::{self, Drained, Hooks, Shutdown};
use super::read_ahead::ReadAhead;
use crate::body::Body;
use crate::listen::Bound;
use crate::stream::Stream;
use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause before looking again at a preface that came in part.
const SNIFF_PAUSE: Duration = Duration::from_millis(5);

/// Limits and tuning of an HTTP server.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// From connecting, or from the last answer on HTTP/1, to a complete request header. Default: 30 s.
    pub header_read_timeout: Duration,
    /// Most bytes of a request's header. Default: 64 KiB.
    pub max_header_bytes: u32,
    /// HTTP/2 requests at one time on one connection. Default: 256.
    pub max_concurrent_streams: u32,
    /// HTTP/2: what one request may send ahead of us, bytes. Default: 4 MiB.
    pub stream_window_bytes: u32,
    /// HTTP/2: what all requests of one connection may send ahead of us, bytes. Default: 16 MiB.
    pub connection_window_bytes: u32,
    /// HTTP/2: largest frame taken, bytes. Default: 1 MiB, so that most requests arrive in one piece.
    pub max_frame_bytes: u32,
    /// HTTP/1: largest read, and most of a request held unparsed, bytes. Default: 128 KiB.
    pub http1_buffer_bytes: usize,
    /// HTTP/2: how often to ask a client whether it is there. Default: 30 s.
    pub ping_interval: Duration,
    /// HTTP/2: how long it may take to answer. Default: 20 s.
    pub ping_timeout: Duration,
    /// At shutdown, how long requests in flight may take. Default: 10 s.
    pub drain_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(30),
            max_header_bytes: 64 << 10,
            max_concurrent_streams: 256,
            stream_window_bytes: 4 << 20,
            connection_window_bytes: 16 << 20,
            max_frame_bytes: 1 << 20,
            http1_buffer_bytes: 128 << 10,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Answers requests. Implemented by every `Fn(Request<Incoming>) -> Future<Output = Response<Body>>`.
///
/// The future is dropped when the client goes away or resets the stream: it must be safe to drop anywhere.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of `peer`.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send;
}

impl<F, Fut> Handler for F
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    fn handle(
        &self,
        request: Request<Incoming>,
        _peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        self(request)
    }
}

/// Serves `bound` until `shutdown` resolves; then requests in flight have `drain_timeout` to end.
pub async fn serve<H: Handler>(
    bound: Bound,
    options: HttpOptions,
    hooks: Arc<dyn Hooks>,
    shutdown: impl Future<Output = ()>,
    handler: H,
) -> Drained {
    let drain_timeout = options.drain_timeout;
    let server = Arc::new(Server { http1: http1(&options), http2: http2(&options), options, handler });
    accept::run(bound, hooks, shutdown, drain_timeout, move |stream, peer, shutdown| {
        Arc::clone(&server).connection(stream, peer, shutdown)
    })
    .await
}

struct Server<H> {
    options: HttpOptions,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    handler: H,
}

fn http1(options: &HttpOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_header_size(options.max_header_bytes as usize)
        .max_buf_size(options.http1_buffer_bytes.max(options.max_header_bytes as usize).max(8192))
        .half_close(true);
    builder
}

fn http2(options: &HttpOptions) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout)
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_header_list_size(options.max_header_bytes)
        .initial_stream_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .max_frame_size(options.max_frame_bytes);
    // Against floods of resets (CVE-2023-44487, CVE-2025-8671) h2's own limits stay as they are.
    builder
}

trait HttpService:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static
{
}

enum Protocol {
    Http1,
    Http2,
}

impl<H: Handler> Server<H> {
    async fn connection(self: Arc<Self>, stream: Stream, peer: SocketAddr, mut shutdown: Shutdown) {
        let protocol = tokio::select! {
            found = tokio::time::timeout(self.options.header_read_timeout, protocol(&stream)) => found,
            () = shutdown.last_call() => return,
        };
        let used = Arc::new(AtomicBool::new(false));
        let (server, seen) = (Arc::clone(&self), Arc::clone(&used));
        let service = service_fn(move |request| {
            seen.store(true, Ordering::Relaxed);
            let server = Arc::clone(&server);
            async move { Ok(server.handler.handle(request, peer).await) }
        });
        let done = match protocol {
            Ok(Some(Protocol::Http1)) => self.run_http1(stream, service, &used, shutdown).await,
            Ok(Some(Protocol::Http2)) => self.run_http2(stream, service, &used, shutdown).await,
            Ok(None) | Err(_) => return,
        };
        if let Err(error) = done {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn run_http1<S: HttpService>(
        &self,
        stream: Stream,
        service: S,
        used: &AtomicBool,
        mut shutdown: Shutdown,
    ) -> Result<(), hyper::Error>
    where
        S::Future: Send + 'static,
    {
        let mut connection = Box::pin(self.http1.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            biased;
            done = connection.as_mut() => return done,
            () = leave(&mut shutdown, used) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn run_http2<S: HttpService>(
        &self,
        stream: Stream,
        service: S,
        used: &AtomicBool,
        mut shutdown: Shutdown,
    ) -> Result<(), hyper::Error>
    where
        S::Future: Send + 'static,
    {
        // Without TLS the whole preface was seen, and pings watch the peer from now on. With TLS a peer may
        // still hold the preface back, which pings do not notice: it has until its first request.
        let unwatched = stream.is_tls();
        let mut connection =
            Box::pin(self.http2.serve_connection(TokioIo::new(ReadAhead::new(stream)), service));
        if unwatched {
            tokio::select! {
                biased;
                done = connection.as_mut() => return done,
                () = leave(&mut shutdown, used) => {
                    connection.as_mut().graceful_shutdown();
                    return connection.await;
                }
                () = tokio::time::sleep(self.options.header_read_timeout) => {}
            }
            if !used.load(Ordering::Relaxed) {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(self.options.drain_timeout, connection).await;
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            done = connection.as_mut() => return done,
            () = leave(&mut shutdown, used) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }
}

/// Resolves when a connection should end: at once if it had a request, later if its first may be on the way.
async fn leave(shutdown: &mut Shutdown, used: &AtomicBool) {
    shutdown.requested().await;
    if !used.load(Ordering::Relaxed) {
        shutdown.last_call().await;
    }
}

/// Finds out what the client speaks; `None` when it left without saying anything.
async fn protocol(stream: &Stream) -> Option<Protocol> {
    match stream {
        Stream::Plain(socket) => sniff(socket).await.ok().flatten(),
        Stream::Tls(_) if stream.alpn() == Some(b"h2") => Some(Protocol::Http2),
        Stream::Tls(_) => Some(Protocol::Http1),
    }
}

async fn sniff(socket: &TcpStream) -> std::io::Result<Option<Protocol>> {
    let mut start = [0; PREFACE.len()];
    let mut seen = 0;
    loop {
        let len = socket.peek(&mut start).await?;
        if len == 0 {
            return Ok(None);
        }
        if !PREFACE.starts_with(&start[..len]) {
            return Ok(Some(Protocol::Http1));
        }
        if len == PREFACE.len() {
            return Ok(Some(Protocol::Http2));
        }
        if len == seen {
            // Peeking leaves the socket readable, so that waiting for it would spin. A closed socket looks the
            // same; the caller's timeout ends that.
            tokio::time::sleep(SNIFF_PAUSE).await;
        }
        seen = len;
    }
}

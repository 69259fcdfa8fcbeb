//! The HTTP server over raw sockets, hyper and our own client: limits, timeouts, shutdown, TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use bytes::Bytes;
use common::{Budget, Server};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use net::body::{Body, Limits, read_body};
use net::client::{Chunks, HttpClient, HttpClientOptions};
use net::config::{ClientTls, ServerTls};
use net::grpc::{Client, ClientOptions};
use net::server::{Hooks, HttpOptions, NoHooks, Refusal, serve_tcp};
use net::{Encoding, Listen};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Answers with the length of the body; errors become their status and text.
async fn length(request: Request<Incoming>, limits: Limits, budget: Arc<Budget>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/slow" {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut permit = budget.permit();
    match read_body(&parts, body, &limits, &mut permit).await {
        Ok(body) => Response::new(Body::from(format!("{:?} {}", parts.version, body.len()))),
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = error.http_status();
            if let Some(delay) = error.retry_after() {
                response.headers_mut().insert("retry-after", HeaderValue::from(delay.as_secs().max(1)));
            }
            response
        }
    }
}

fn small_limits() -> Limits {
    Limits {
        max_wire_bytes: 1 << 20,
        max_inflated_bytes: 2 << 20,
        idle_timeout: Duration::from_millis(150),
        total_timeout: Duration::from_millis(600),
    }
}

async fn start(options: HttpOptions, hooks: Arc<dyn Hooks>, max: usize) -> (Server, Arc<Budget>) {
    let budget = Budget::new(1536 << 10);
    let shared = Arc::clone(&budget);
    let bound = Listen::new("127.0.0.1:0").max_connections(max).bind().await.unwrap();
    let handler = move |request| length(request, small_limits(), Arc::clone(&shared));
    (Server::on(bound, options, hooks, handler), budget)
}

fn client(addr: SocketAddr) -> HttpClient {
    HttpClient::new(&HttpClientOptions::new(format!("http://{addr}"))).unwrap()
}

async fn post(client: &HttpClient, coding: Option<&'static str>, body: Bytes) -> (u16, String) {
    let mut headers = HeaderMap::new();
    if let Some(coding) = coding {
        headers.insert("content-encoding", HeaderValue::from_static(coding));
    }
    let answer = client.post("/", headers, body.into()).await.unwrap();
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Writes `text` and reads what comes back until the server closes or half a second passes.
async fn talk(addr: SocketAddr, text: &[u8]) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(3), socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn bodies_within_and_over_the_limits() {
    let (server, budget) = start(HttpOptions::default(), Arc::new(NoHooks), 10).await;
    let client = client(server.addr);
    assert_eq!(post(&client, None, Bytes::new()).await, (200, "HTTP/1.1 0".into()));
    assert_eq!(post(&client, None, vec![1; 700_000].into()).await, (200, "HTTP/1.1 700000".into()));
    for coding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
        let packed = net::encoding::deflate(coding, &[Bytes::from(vec![0; 1 << 20])]).unwrap();
        let name = coding.as_str();
        assert_eq!(post(&client, Some(name), packed.clone()).await, (200, "HTTP/1.1 1048576".into()));
        let (status, text) = post(&client, Some(name), packed.slice(..packed.len() / 2)).await;
        assert!(status == 400 && text.contains(name), "{name}: {status} {text}");
        let bomb = net::encoding::deflate(coding, &[Bytes::from(vec![0; 100 << 20])]).unwrap();
        let (status, text) = post(&client, Some(name), bomb).await;
        // The budget of 1.5 MiB is reached before the limit of 2 MiB.
        assert_eq!(status, 429, "{text}");
    }
    let (status, text) = post(&client, None, vec![1; 3 << 20].into()).await;
    assert_eq!((status, text.contains("limit of 1048576 bytes")), (413, true), "{text}");
    let (status, text) = post(&client, Some("br"), Bytes::from_static(b"x")).await;
    assert_eq!((status, text.contains("\"br\"")), (415, true), "{text}");
    assert_eq!(budget.used(), 0);
    assert!(budget.peak.load(Ordering::SeqCst) <= 1536 << 10);
}

#[tokio::test]
async fn chunked_bodies_and_http2_on_the_same_port() {
    let (server, budget) = start(HttpOptions::default(), Arc::new(NoHooks), 10).await;
    let chunked = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    assert!(talk(server.addr, chunked).await.ends_with("HTTP/1.1 7"));

    let socket = TcpStream::connect(server.addr).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(socket),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}/", server.addr));
    let body = http_body_util::Full::new(Bytes::from(vec![5; 900_000]));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let text = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(text, "HTTP/2.0 900000");
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn slow_and_half_open_clients_are_cut() {
    let options = HttpOptions { header_read_timeout: Duration::from_millis(200), ..HttpOptions::default() };
    let (server, budget) = start(options, Arc::new(NoHooks), 10).await;
    // A stalled body: an answer that says so.
    let stalled = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc";
    let answer = talk(server.addr, stalled).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("stalled"), "{answer}");
    // Silent, a header that never ends, a preface that never ends: closed.
    for start in [&b""[..], b"POST / HTTP/1.1\r\nx: y", b"PRI * HTTP/2.0"] {
        let begun = Instant::now();
        let _ = talk(server.addr, start).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{start:?}");
    }
    // A body that drips fast enough for the idle timeout, but not for the total one.
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n").await.unwrap();
    let (mut read, mut write) = socket.split();
    let begun = Instant::now();
    let drip = async {
        loop {
            let _ = write.write_all(b"a").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        () = drip => {}
        done = read.read_exact(&mut answer) => { done.unwrap(); }
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(begun.elapsed() > Duration::from_millis(500) && begun.elapsed() < Duration::from_secs(2));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_huge_header_is_refused() {
    let (server, _budget) = start(HttpOptions::default(), Arc::new(NoHooks), 10).await;
    let mut request = b"GET / HTTP/1.1\r\nhost: x\r\nx: ".to_vec();
    request.extend(std::iter::repeat_n(b'a', 100 << 10));
    request.extend(b"\r\n\r\n");
    let answer = talk(server.addr, &request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{}", &answer[..answer.len().min(50)]);
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    closed: AtomicUsize,
    too_many: AtomicUsize,
}

impl Hooks for Counts {
    fn opened(&self) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }
    fn closed(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
    fn refused(&self, reason: Refusal) {
        if reason == Refusal::TooMany {
            self.too_many.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_and_counted() {
    let counts = Arc::new(Counts::default());
    let (server, _budget) = start(HttpOptions::default(), Arc::clone(&counts) as _, 2).await;
    let first = TcpStream::connect(server.addr).await.unwrap();
    let _second = TcpStream::connect(server.addr).await.unwrap();
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    assert!(matches!(third.read(&mut [0; 1]).await, Ok(0) | Err(_)), "closed at once");
    assert_eq!(counts.too_many.load(Ordering::SeqCst), 1);
    drop(first);
    // The place is free again.
    let deadline = Instant::now() + Duration::from_secs(2);
    while counts.closed.load(Ordering::SeqCst) < 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(post(&client(server.addr), None, Bytes::from_static(b"abc")).await.1, "HTTP/1.1 3");
    let _ = server.stop().await;
    assert_eq!(counts.opened.load(Ordering::SeqCst), counts.closed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn shutdown_lets_requests_finish_and_cuts_what_hangs() {
    let (server, _budget) = start(HttpOptions::default(), Arc::new(NoHooks), 10).await;
    let http = client(server.addr);
    let slow = tokio::spawn(async move {
        http.request(Method::POST, "/slow", HeaderMap::new(), Chunks::default()).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let addr = server.addr;
    let stopping = tokio::spawn(server.stop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(addr).await.is_err(), "no new connections");
    assert_eq!(slow.await.unwrap().unwrap().status, StatusCode::OK);
    assert_eq!(stopping.await.unwrap().cut, 0);

    let options = HttpOptions { drain_timeout: Duration::from_millis(50), ..HttpOptions::default() };
    let (server, _budget) = start(options, Arc::new(NoHooks), 10).await;
    let http = client(server.addr);
    let slow = tokio::spawn(async move {
        http.request(Method::POST, "/slow", HeaderMap::new(), Chunks::default()).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.stop().await.cut, 1);
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn grpc_calls_in_flight_finish_at_shutdown() {
    let server = Server::start(common::echo(&Budget::new(1 << 20), Limits::default())).await;
    let grpc = Client::new(ClientOptions::new(server.addr.to_string())).unwrap();
    let call = tokio::spawn(async move {
        let message = vec![Bytes::from_static(b"still here")];
        grpc.call("/test.Echo/Slow", message, Encoding::Identity, &HeaderMap::new()).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.stop().await.cut, 0);
    assert_eq!(call.await.unwrap().unwrap(), "still here");
}

#[tokio::test]
async fn plain_tcp_sessions_share_limits_and_shutdown() {
    let bound = Listen::new("127.0.0.1:0").bind().await.unwrap();
    let addr = bound.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve_tcp(
        bound,
        Arc::new(NoHooks),
        async {
            let _ = stopped.await;
        },
        Duration::from_secs(1),
        |stream, _peer, mut shutdown| async move {
            let mut lines = BufReader::new(stream).lines();
            loop {
                tokio::select! {
                    line = lines.next_line() => {
                        let Ok(Some(line)) = line else { return };
                        let answer = format!("{}\n", line.len());
                        let _ = lines.get_mut().write_all(answer.as_bytes()).await;
                    }
                    () = shutdown.requested() => return,
                }
            }
        },
    ));
    let mut socket = BufReader::new(TcpStream::connect(addr).await.unwrap());
    socket.write_all(b"hello\n").await.unwrap();
    let mut line = String::new();
    socket.read_line(&mut line).await.unwrap();
    assert_eq!(line, "5\n");
    stop.send(()).unwrap();
    let drained = served.await.unwrap();
    assert_eq!((drained.finished, drained.cut), (1, 0));
}

struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    /// An authority, a server certificate for `localhost` and a client certificate.
    fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let dir = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, ca_key);
        for name in ["localhost", "client"] {
            let key = KeyPair::generate().unwrap();
            let cert =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), cert.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, clients: bool) -> ServerTls {
        ServerTls {
            cert_file: self.path("localhost.pem"),
            key_file: self.path("localhost.key"),
            client_ca_file: clients.then(|| self.path("ca.pem")),
        }
    }
}

#[tokio::test]
async fn tls_both_ways() {
    let pki = Pki::new();
    let bound = Listen::new("localhost:0").tls(Some(pki.server(true))).bind().await.unwrap();
    let grpc_handler = common::echo(&Budget::new(8 << 20), Limits::default());
    let server = Server::on(bound, HttpOptions::default(), Arc::new(NoHooks), grpc_handler);
    let endpoint = format!("https://localhost:{}", server.addr.port());
    let tls = ClientTls {
        ca_file: Some(pki.path("ca.pem")),
        cert_file: Some(pki.path("client.pem")),
        key_file: Some(pki.path("client.key")),
        ..ClientTls::default()
    };
    let call = |tls: ClientTls| {
        let grpc = Client::new(ClientOptions { tls: Some(tls), ..ClientOptions::new(&endpoint) }).unwrap();
        async move {
            let message = vec![Bytes::from(vec![3; 500_000])];
            grpc.call("/test.Echo/Length", message, Encoding::Identity, &HeaderMap::new()).await
        }
    };
    assert_eq!(call(tls.clone()).await.unwrap(), &500_000_u64.to_be_bytes()[..]);
    let skip = ClientTls { ca_file: None, insecure_skip_verify: true, ..tls.clone() };
    assert!(call(skip).await.is_ok());
    let stranger = call(ClientTls { ca_file: None, ..tls.clone() }).await.unwrap_err();
    assert!(stranger.to_string().contains("ca_file"), "{stranger}");
    let nameless = call(ClientTls { cert_file: None, key_file: None, ..tls.clone() }).await;
    assert!(nameless.is_err(), "a client certificate is required");

    // HTTPS by ALPN: HTTP/2 here, since both sides offer it.
    let bound = Listen::new("localhost:0").tls(Some(pki.server(false))).bind().await.unwrap();
    let budget = Budget::new(1 << 20);
    let handler = move |request| length(request, small_limits(), Arc::clone(&budget));
    let server = Server::on(bound, HttpOptions::default(), Arc::new(NoHooks), handler);
    let options = HttpClientOptions {
        tls: Some(tls),
        ..HttpClientOptions::new(format!("https://localhost:{}", server.addr.port()))
    };
    let https = HttpClient::new(&options).unwrap();
    assert_eq!(post(&https, None, Bytes::from_static(b"abc")).await, (200, "HTTP/2.0 3".into()));
    // Plain text to a TLS port ends, and the next client is served.
    let answer = talk(server.addr, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(post(&https, None, Bytes::from_static(b"abcd")).await.1, "HTTP/2.0 4");
}

#[tokio::test]
async fn client_errors_say_what_happened() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = client(gone).post("/", HeaderMap::new(), Chunks::default()).await.unwrap_err();
    assert!(
        error.to_string().contains("cannot connect") && error.to_string().contains(&gone.to_string()),
        "{error}"
    );
    assert!(error.is_retryable());

    let (server, _budget) = start(HttpOptions::default(), Arc::new(NoHooks), 10).await;
    let mut options = HttpClientOptions::new(format!("http://{}", server.addr));
    options.request_timeout = Duration::from_millis(50);
    let slow = HttpClient::new(&options).unwrap().post("/slow", HeaderMap::new(), Chunks::default()).await;
    assert!(slow.unwrap_err().to_string().contains("within 50 ms"));
    options.request_timeout = Duration::from_secs(5);
    options.max_response_bytes = 4;
    let cut =
        HttpClient::new(&options).unwrap().post("/", HeaderMap::new(), Chunks::default()).await.unwrap();
    assert_eq!((&cut.body[..], cut.truncated), (&b"HTTP"[..], true));
}

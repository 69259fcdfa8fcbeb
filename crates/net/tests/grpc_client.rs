//! Our gRPC client against tonic as the server, against our own server, and against servers that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use bytes::Bytes;
use common::{Budget, Raw, Server, echo};
use http::HeaderMap;
use net::body::{Body, Limits};
use net::grpc::{CallError, Client, ClientOptions, Code};
use net::server::{HttpOptions, NoHooks};
use net::{Encoding, Listen};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const SAY: &str = "/test.Echo/Say";

fn client(addr: SocketAddr) -> Client {
    Client::new(ClientOptions::new(addr.to_string())).unwrap()
}

async fn say(client: &Client, message: &'static [u8]) -> Result<Bytes, CallError> {
    client.call(SAY, vec![Bytes::from_static(message)], Encoding::Identity, &HeaderMap::new()).await
}

/// tonic's server half, with the bytes as they are; `x-fail` in the metadata makes it fail.
#[derive(Clone)]
struct TonicEcho;

impl tonic::server::NamedService for TonicEcho {
    const NAME: &'static str = "test.Echo";
}

type Answer = http::Response<tonic::body::Body>;

impl tower_service::Service<http::Request<tonic::body::Body>> for TonicEcho {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw)
                .max_decoding_message_size(64 << 20)
                .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
                .accept_compressed(tonic::codec::CompressionEncoding::Zstd)
                .send_compressed(tonic::codec::CompressionEncoding::Zstd);
            Ok(grpc.unary(Answerer, request).await)
        })
    }
}

struct Answerer;

impl tonic::server::UnaryService<Bytes> for Answerer {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            match request.metadata().get("x-fail") {
                Some(_) => Err(tonic::Status::resource_exhausted("zu viel – später")),
                None => Ok(tonic::Response::new(request.into_inner())),
            }
        })
    }
}

async fn tonic_server() -> (SocketAddr, oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(TonicEcho)
            .serve_with_incoming_shutdown(incoming, async {
                let _ = stopped.await;
            })
            .await
            .unwrap();
    });
    (addr, stop)
}

#[tokio::test]
async fn we_talk_to_tonic_in_every_encoding_and_size() {
    let (addr, _stop) = tonic_server().await;
    let client = client(addr);
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
        for pieces in [vec![], vec![1], vec![100, 0, 200], vec![70_000, 3, 450_000], vec![3_000_000]] {
            let chunks: Vec<Bytes> =
                pieces.iter().enumerate().map(|(i, len)| Bytes::from(vec![i as u8; *len])).collect();
            let expected = chunks.concat();
            let answer = client.call(SAY, chunks, encoding, &HeaderMap::new()).await.unwrap();
            assert_eq!(answer, expected, "{encoding:?} {pieces:?}");
        }
    }
    let mut metadata = HeaderMap::new();
    metadata.insert("x-fail", http::HeaderValue::from_static("1"));
    let error = client.call(SAY, vec![], Encoding::Identity, &metadata).await.unwrap_err();
    let CallError::Status(status) = &error else { panic!("{error}") };
    assert_eq!((status.code, status.message.as_str()), (Code::ResourceExhausted, "zu viel – später"));
    assert!(!error.is_retryable(), "no RetryInfo: not retryable in OTLP");
}

#[tokio::test]
async fn retry_info_comes_through() {
    let server = Server::start(echo(&Budget::new(1 << 20), Limits::default())).await;
    let client = client(server.addr);
    let error =
        client.call("/test.Echo/Fail", vec![], Encoding::Identity, &HeaderMap::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "UNAVAILABLE: later – 100 % full");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(2500)));
    assert!(error.is_retryable());
    let full = client
        .call(SAY, vec![Bytes::from(vec![0; 2 << 20])], Encoding::Identity, &HeaderMap::new())
        .await
        .unwrap_err();
    assert_eq!(full.retry_after(), Some(Duration::from_millis(1500)), "{full}");
    assert_eq!(say(&client, b"next").await.unwrap(), "next");
}

#[tokio::test]
async fn calls_share_connections() {
    let server = Server::start(echo(&Budget::new(64 << 20), Limits::default())).await;
    for connections in [1, 3] {
        let options = ClientOptions { connections, ..ClientOptions::new(server.addr.to_string()) };
        let client = Client::new(options).unwrap();
        let begun = Instant::now();
        let calls: Vec<_> = (0..50_u8)
            .map(|i| {
                let client = client.clone();
                tokio::spawn(async move {
                    let message = Bytes::from(vec![i; 30_000 + usize::from(i)]);
                    let answer = client
                        .call("/test.Echo/Slow", vec![message.clone()], Encoding::Identity, &HeaderMap::new())
                        .await
                        .unwrap();
                    assert_eq!(answer, message);
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "one after the other would take 15 s");
    }
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let bound = Listen::new("127.0.0.1:0").bind().await.unwrap();
    let addr = bound.local_addr();
    let budget = Budget::new(1 << 20);
    let options = HttpOptions { drain_timeout: Duration::from_secs(2), ..HttpOptions::default() };
    let server = Server::on(bound, options.clone(), Arc::new(NoHooks), echo(&budget, Limits::default()));
    let client = client(addr);
    assert_eq!(say(&client, b"one").await.unwrap(), "one");
    assert_eq!(server.stop().await.cut, 0, "an idle connection leaves by itself");

    let error = say(&client, b"nobody there").await.unwrap_err();
    assert!(matches!(error, CallError::Transport { .. }) && error.is_retryable(), "{error}");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");

    let bound = Listen::new(addr.to_string()).bind().await.unwrap();
    let _server = Server::on(bound, options, Arc::new(NoHooks), echo(&budget, Limits::default()));
    assert_eq!(say(&client, b"two").await.unwrap(), "two");
}

#[tokio::test]
async fn answers_that_are_not_grpc_are_mapped() {
    let server = Server::start(|_request| async {
        let mut response = http::Response::new(Body::from("<html>"));
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/html"));
        response.headers_mut().insert("retry-after", http::HeaderValue::from_static("7"));
        response
    })
    .await;
    let error = say(&client(server.addr), b"x").await.unwrap_err();
    let CallError::Status(status) = &error else { panic!("{error}") };
    assert_eq!(status.code, Code::Unavailable);
    assert!(status.message.contains("503") && status.message.contains("text/html"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    // Accepts, and never says a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let options =
        ClientOptions { request_timeout: Duration::from_millis(200), ..ClientOptions::new(addr.to_string()) };
    let client = Client::new(options).unwrap();
    for _ in 0..2 {
        let error = say(&client, b"x").await.unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    }
    // Each timeout gave its connection up: two of them wait in the backlog.
    for _ in 0..2 {
        tokio::time::timeout(Duration::from_secs(1), listener.accept()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_dead_server_is_noticed_by_pings() {
    let server = Server::start(echo(&Budget::new(1 << 20), Limits::default())).await;
    // A proxy that stops passing bytes on, as a host does that was unplugged.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (cut, mut is_cut) = tokio::sync::watch::channel(false);
    let upstream = server.addr;
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(upstream).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = is_cut.changed() => std::future::pending().await,
        }
    });
    let options = ClientOptions {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(50),
        ..ClientOptions::new(addr.to_string())
    };
    let client = Client::new(options).unwrap();
    assert_eq!(say(&client, b"x").await.unwrap(), "x");
    cut.send(true).unwrap();
    let begun = Instant::now();
    let error = say(&client, b"y").await.unwrap_err();
    assert!(matches!(error, CallError::Transport { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

//! Our gRPC server against tonic as the client, and against hand-made frames.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use bytes::Bytes;
use common::{Budget, Raw, Server, echo};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use net::Encoding;
use net::body::Limits;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;

async fn tonic_client(addr: SocketAddr) -> tonic::client::Grpc<tonic::transport::Channel> {
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
    tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20)
}

async fn say(
    mut client: tonic::client::Grpc<tonic::transport::Channel>,
    path: &'static str,
    message: Bytes,
) -> Result<Bytes, tonic::Status> {
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    client.unary(tonic::Request::new(message), path, Raw).await.map(tonic::Response::into_inner)
}

fn noise(len: usize) -> Bytes {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

#[tokio::test]
async fn tonic_talks_to_us_in_every_encoding_and_size() {
    let budget = Budget::new(64 << 20);
    let server = Server::start(echo(&budget, Limits::default())).await;
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        for len in [0, 1, 4000, 5000, 20_000, 450_000, 3_000_000] {
            let mut client = tonic_client(server.addr).await;
            if let Some(encoding) = encoding {
                client = client.send_compressed(encoding);
            }
            let message = noise(len);
            let answer = say(client, "/test.Echo/Say", message.clone()).await.unwrap();
            assert_eq!(answer, message, "{encoding:?} {len}");
        }
    }
    assert_eq!(budget.used(), 0, "every permit was given back");
    let _ = server.stop().await;
}

#[tokio::test]
async fn refusals_have_the_right_codes_and_hints() {
    let budget = Budget::new(1 << 20);
    let limits = Limits { max_wire_bytes: 4 << 20, max_inflated_bytes: 2 << 20, ..Limits::default() };
    let handler = echo(&budget, limits);
    let refused = std::sync::Arc::clone(&handler.service().refused);
    let server = Server::start(handler).await;

    let unknown = say(tonic_client(server.addr).await, "/test.Echo/What", noise(10)).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);
    assert!(unknown.message().contains("/test.Echo/What"));

    let over = say(tonic_client(server.addr).await, "/test.Echo/Say", noise(5 << 20)).await.unwrap_err();
    assert_eq!(over.code(), tonic::Code::ResourceExhausted, "{over}");
    assert!(over.details().is_empty(), "oversize must not be retried");

    let full = say(tonic_client(server.addr).await, "/test.Echo/Say", noise(1500 << 10)).await.unwrap_err();
    assert_eq!(full.code(), tonic::Code::ResourceExhausted, "{full}");
    // google.rpc.Status with RetryInfo { retry_delay: 1.5 s }.
    let text = String::from_utf8_lossy(full.details());
    assert!(text.contains("type.googleapis.com/google.rpc.RetryInfo"), "{text}");
    assert!(
        full.details().ends_with(&[10, 8, 8, 1, 16, 0x80, 0xca, 0xb5, 0xee, 1][2..]),
        "{:?}",
        full.details()
    );
    assert_eq!(refused.load(std::sync::atomic::Ordering::SeqCst), 3);

    let later = say(tonic_client(server.addr).await, "/test.Echo/Fail", noise(1)).await.unwrap_err();
    assert_eq!((later.code(), later.message()), (tonic::Code::Unavailable, "later – 100 % full"));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_gzip_bomb_costs_the_limit_and_no_more() {
    let budget = Budget::new(64 << 20);
    let limits = Limits { max_inflated_bytes: 1 << 20, ..Limits::default() };
    let server = Server::start(echo(&budget, limits)).await;
    let client = tonic_client(server.addr).await.send_compressed(CompressionEncoding::Gzip);
    let error = say(client, "/test.Echo/Say", Bytes::from(vec![0; 100 << 20])).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::ResourceExhausted);
    assert_eq!(error.message(), "inflated size over the limit of 1048576 bytes");
    let peak = budget.peak.load(std::sync::atomic::Ordering::SeqCst);
    assert!(peak < 2 << 20, "peak {peak}");
    let next = say(tonic_client(server.addr).await, "/test.Echo/Say", noise(10)).await;
    assert_eq!(next.unwrap(), noise(10), "the next request is served");
}

/// Sends hand-made frames; returns `grpc-status`, or the HTTP status where there is none.
async fn raw(addr: SocketAddr, headers: &[(&str, &str)], frames: Vec<Bytes>) -> (u16, String) {
    let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{addr}/test.Echo/Say"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let frames: Vec<Result<_, std::convert::Infallible>> =
        frames.into_iter().map(|data| Ok(http_body::Frame::data(data))).collect();
    let body = StreamBody::new(Frames(frames.into_iter()));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = parts.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    match status {
        Some(status) => (parts.status.as_u16(), status.to_str().unwrap().to_owned()),
        None => (parts.status.as_u16(), String::new()),
    }
}

struct Frames<T>(std::vec::IntoIter<T>);

impl<T: Unpin> futures_core::Stream for Frames<T> {
    type Item = T;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn broken_frames_are_told_apart() {
    let budget = Budget::new(1 << 20);
    let server = Server::start(echo(&budget, Limits::default())).await;
    let grpc = ("content-type", "application/grpc");
    let b = Bytes::from_static;
    let gzip = ("grpc-encoding", "gzip");
    let cases = [
        (vec![grpc], vec![b(&[0, 0, 0, 0, 2, 1, 2])], (200, "0")),
        (vec![grpc], vec![b(&[0, 0]), b(&[0, 0, 2, 1]), b(&[2])], (200, "0")),
        (vec![grpc], vec![b(&[0, 0, 0, 0, 3, 1, 2])], (200, "13")),
        (vec![grpc], vec![b(&[7, 0, 0, 0, 0])], (200, "13")),
        (vec![grpc], vec![], (200, "3")),
        (vec![grpc], vec![b(&[0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1])], (200, "3")),
        (vec![grpc], vec![b(&[1, 0, 0, 0, 1, 1])], (200, "13")),
        (vec![grpc, gzip], vec![b(&[1, 0, 0, 0, 1, 1])], (200, "3")),
        (vec![grpc, ("grpc-encoding", "br")], vec![b(&[0, 0, 0, 0, 0])], (200, "12")),
        (vec![("content-type", "application/json")], vec![b(b"{}")], (415, "")),
        (vec![("content-type", "application/grpcish")], vec![b(b"{}")], (415, "")),
        (vec![("content-type", "application/grpc+proto")], vec![b(&[0, 0, 0, 0, 0])], (200, "0")),
    ];
    for (headers, frames, (http, grpc)) in cases {
        let got = raw(server.addr, &headers, frames.clone()).await;
        assert_eq!(got, (http, grpc.to_owned()), "{headers:?} {frames:?}");
    }
    // A truncated gzip stream in a whole frame.
    let packed = net::encoding::deflate(Encoding::Gzip, &[noise(1000)]).unwrap();
    let cut = &packed[..packed.len() / 2];
    let mut frame = vec![1, 0, 0, (cut.len() >> 8) as u8, cut.len() as u8];
    frame.extend_from_slice(cut);
    let got = raw(server.addr, &[grpc, ("grpc-encoding", "gzip")], vec![frame.into()]).await;
    assert_eq!(got, (200, "3".to_owned()));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_stalled_message_times_out_and_gives_its_memory_back() {
    let budget = Budget::new(1 << 20);
    let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = Server::start(echo(&budget, limits)).await;
    let socket = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/test.Echo/Say", server.addr))
        .header("content-type", "application/grpc");
    let body = Stalled(Some(Bytes::from_static(&[0, 0, 0, 0xff, 0xff, 1])));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    assert_eq!(budget.used(), 0);
}

/// One piece, and then nothing for ever.
struct Stalled(Option<Bytes>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(data) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test]
async fn the_clients_deadline_is_kept() {
    let budget = Budget::new(1 << 20);
    let server = Server::start(echo(&budget, Limits::default())).await;
    let socket = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/test.Echo/Slow", server.addr))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20m")
        .body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0])))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
}

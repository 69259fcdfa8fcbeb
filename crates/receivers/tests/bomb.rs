//! Compression bombs. A test program of its own, since it looks at the memory of the whole process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Running, exchange, gzip_bomb, logs, post, setup};
use engine::testing::Setup;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use prost::Message as _;
use serde_json::json;
use tonic::Code;

/// Peak resident memory of this process in MiB.
fn peak_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// One gRPC call by the h2 crate, since tonic compresses what it sends itself. Returns the header of the answer.
async fn grpc_bomb(addr: std::net::SocketAddr, bomb: &[u8]) -> http::HeaderMap {
    let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let path = "opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let request = http::Request::post(format!("http://{addr}/{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "gzip")
        .body(())
        .unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    let mut message = vec![1];
    message.extend_from_slice(&(bomb.len() as u32).to_be_bytes());
    message.extend_from_slice(bomb);
    body.send_data(message.into(), true).unwrap();
    answer.await.unwrap().headers().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_within_bounded_memory_and_the_next_request_served() {
    let setup = Setup { budget_bytes: 64 << 20, ..setup("bomb") };
    let grpc = common::free_address();
    let running = Running::start(
        "otlp",
        setup,
        |addr| json!({"grpc": {"endpoint": grpc.to_string()}, "http": {"endpoint": addr}}),
    )
    .await;
    let bomb = gzip_bomb(100);
    let before = peak_mib();

    // Eight at once, one after the other would hide a leak of one each.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bomb = bomb.clone();
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
        let request = post("/v1/logs", &headers, &bomb);
        let addr = running.addr;
        calls.spawn(async move { assert_eq!(exchange(addr, request).await.status, 413) });
        calls.spawn(async move {
            let answer = grpc_bomb(grpc, &bomb).await;
            // RESOURCE_EXHAUSTED, and no hint to send the bomb again.
            assert_eq!(answer["grpc-status"], "8");
            assert!(!answer.contains_key("grpc-status-details-bin"), "{answer:?}");
        });
    }
    calls.join_all().await;
    assert_eq!(running.refused("too_large"), 16);
    let grown = peak_mib() - before;
    // 16 MiB inflated for each of the two threads that inflate at a time, and room for the allocator.
    assert!(grown < 80, "peak memory grew by {grown} MiB");
    running.budget_is_free().await;

    let channel = tonic::transport::Channel::from_shared(format!("http://{grpc}")).unwrap();
    let mut client = LogsServiceClient::new(channel.connect_lazy());
    client.export(logs(&["alive"])).await.unwrap();
    let big = "x".repeat(20 << 20);
    let mut client = client.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let status = client.export(logs(&[&big])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.details().is_empty(), "a hint to send it again: {status:?}");
    let fine = post("/v1/logs", &[("content-type", "application/x-protobuf")], &logs(&["x"]).encode_to_vec());
    assert_eq!(exchange(running.addr, fine).await.status, 200);
}

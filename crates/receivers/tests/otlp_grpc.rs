//! OTLP/gRPC, with tonic and the clients that opentelemetry-proto generates on the other side.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use common::{Running, log_request, logs, malformed, metrics, nested, setup, traces};
use engine::QueueSettings;
use engine::testing::{Answer, Setup};
use model::{AckMode, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use serde_json::json;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

async fn start(setup: Setup) -> (Running, Channel) {
    start_with(setup, json!({})).await
}

async fn start_with(setup: Setup, grpc: serde_json::Value) -> (Running, Channel) {
    let ack = setup.ack;
    let running = Running::start("otlp", setup, |addr| {
        let mut grpc = grpc.clone();
        grpc["endpoint"] = json!(addr);
        let ack = if ack == AckMode::Delivered { "delivered" } else { "received" };
        json!({"ack": ack, "grpc": grpc})
    })
    .await;
    let channel = Channel::from_shared(format!("http://{}", running.addr)).unwrap();
    (running, channel.connect_lazy())
}

/// tonic codec that passes bytes, for those that no client would send.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

async fn call(channel: &Channel, path: &'static str, message: Vec<u8>) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let response = client.unary(tonic::Request::new(message), path, Raw).await?;
    Ok(response.into_inner())
}

/// The delay in a status's `google.rpc.RetryInfo`, read by hand.
fn retry_delay(status: &Status) -> Option<Duration> {
    #[derive(prost::Message)]
    struct Details {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(message, optional, tag = "2")]
        info: Option<RetryInfo>,
    }
    #[derive(prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        delay: Option<Delay>,
    }
    #[derive(prost::Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    if status.details().is_empty() {
        return None;
    }
    let details = Details::decode(status.details()).unwrap();
    assert_eq!(details.code, status.code() as i32);
    let any = &details.details[0];
    assert_eq!(any.type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let delay = any.info.as_ref()?.delay.as_ref()?;
    Some(Duration::new(delay.seconds as u64, delay.nanos as u32))
}

#[tokio::test]
async fn all_signals_arrive_byte_for_byte_in_every_encoding() {
    let encodings = [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)];
    for (n, encoding) in encodings.into_iter().enumerate() {
        let (running, channel) = start(setup(&format!("grpc_signals_{n}"))).await;
        let mut tracer = TraceServiceClient::new(channel.clone());
        let mut logger = LogsServiceClient::new(channel.clone());
        let mut meter = MetricsServiceClient::new(channel);
        if let Some(encoding) = encoding {
            tracer = tracer.send_compressed(encoding);
            logger = logger.send_compressed(encoding);
            meter = meter.send_compressed(encoding);
        }
        // Large enough to come in many HTTP/2 frames.
        let sent = (traces(3000), logs(&["one", "two"]), metrics(5));
        let answer = tracer.export(sent.0.clone()).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
        logger.export(sent.1.clone()).await.unwrap();
        meter.export(sent.2.clone()).await.unwrap();
        let got = running.collected.wait_for(3007).await;
        let got: Vec<_> = got.iter().map(|r| (r.signal(), r.items(), r.bytes().to_vec())).collect();
        assert_eq!(got[0], (Signal::Traces, 3000, sent.0.encode_to_vec()));
        assert_eq!(got[1], (Signal::Logs, 2, sent.1.encode_to_vec()));
        assert_eq!(got[2], (Signal::Metrics, 5, sent.2.encode_to_vec()));
        let accepted = running.counter("floodway_accepted_items_total", ("signal", "traces"));
        assert_eq!(accepted, 3000);
        running.budget_is_free().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn malformed_requests_are_invalid_and_say_where() {
    let (running, channel) = start(setup("grpc_malformed")).await;
    let cases = malformed();
    let n = cases.len();
    for (what, bytes) in cases {
        let status = call(&channel, LOGS, bytes).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert_eq!(retry_delay(&status), None, "{what}");
        assert!(status.message().starts_with("malformed request: "), "{status:?}");
    }
    let status = call(&channel, LOGS, log_request(&[5 << 3 | 5, 1, 2, 3, 4])).await.unwrap_err();
    assert!(status.message().contains("body"), "the place is missing: {}", status.message());
    assert_eq!(running.refused("malformed"), n as u64 + 1);
    // The connection and the receiver live on.
    LogsServiceClient::new(channel).export(logs(&["fine"])).await.unwrap();
    assert_eq!(running.collected.items(), 1);
    running.budget_is_free().await;
}

#[tokio::test]
async fn nesting_within_the_limit_is_taken() {
    let (running, channel) = start(setup("grpc_nested")).await;
    call(&channel, LOGS, nested(40)).await.unwrap();
    assert_eq!(running.collected.items(), 1);
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_warned_about() {
    let (running, channel) = start(setup("grpc_utf8")).await;
    let value = common::field(1, b"caf\xe9 \xff!");
    let bytes = log_request(&common::field(5, &value));
    let answer = call(&channel, LOGS, bytes).await.unwrap();
    let answer = ExportLogsServiceResponse::decode(answer).unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, 0);
    assert!(partial.error_message.contains("UTF-8"), "{partial:?}");
    let got = running.collected.wait_for(1).await;
    assert_eq!(got[0].bytes(), &logs(&["caf\u{fffd} \u{fffd}!"]).encode_to_vec());
    let repaired = running.counter("floodway_repairs_total", ("repair", "invalid_utf8"));
    assert_eq!(repaired, 1);
}

#[tokio::test]
async fn an_empty_request_is_taken() {
    let (running, channel) = start(setup("grpc_empty")).await;
    let answer = call(&channel, LOGS, Vec::new()).await.unwrap();
    assert!(answer.is_empty());
    assert!(running.collected.requests().is_empty());
}

#[tokio::test]
async fn over_the_size_limit_it_is_exhausted_and_not_to_be_sent_again() {
    let (running, channel) = start_with(setup("grpc_size"), json!({"max_request_bytes": 10_000})).await;
    let big = "x".repeat(20_000);
    let compressed = LogsServiceClient::new(channel.clone()).send_compressed(CompressionEncoding::Zstd);
    for mut client in [LogsServiceClient::new(channel.clone()), compressed] {
        let status = client.export(logs(&[&big])).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(retry_delay(&status), None);
        assert!(status.message().contains("10000"), "the limit is missing: {}", status.message());
        client.export(logs(&["small"])).await.unwrap();
    }
    assert_eq!(running.refused("too_large"), 2);
    running.budget_is_free().await;
}

#[tokio::test]
async fn a_full_queue_is_exhausted_with_a_hint() {
    let queue = QueueSettings { max_requests: 2, ..QueueSettings::default() };
    let (running, channel) = start(Setup { queue, ..setup("grpc_full") }).await;
    running.collected.answer(Answer::Hold);
    let mut client = LogsServiceClient::new(channel);
    client.export(logs(&["one"])).await.unwrap();
    client.export(logs(&["two"])).await.unwrap();
    let status = client.export(logs(&["three"])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(retry_delay(&status).unwrap() >= Duration::from_millis(100));
    assert_eq!(running.refused("queue_full"), 1);
    running.collected.answer(Answer::Deliver);
    running.collected.wait_for(2).await;
    client.export(logs(&["three"])).await.unwrap();
    assert_eq!(running.collected.wait_for(3).await.len(), 3);
}

#[tokio::test]
async fn a_full_budget_is_exhausted_with_a_hint() {
    let (running, channel) = start(Setup { budget_bytes: 50_000, ..setup("grpc_budget") }).await;
    running.collected.answer(Answer::Hold);
    let mut client = LogsServiceClient::new(channel);
    let big = "x".repeat(30_000);
    client.export(logs(&[&big])).await.unwrap();
    let status = client.export(logs(&[&big])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(retry_delay(&status).is_some());
    assert_eq!(running.refused("budget_full"), 1);
    running.collected.answer(Answer::Deliver);
    running.budget_is_free().await;
    client.export(logs(&[&big])).await.unwrap();
}

#[tokio::test]
async fn while_the_engine_stops_it_is_unavailable() {
    let (running, channel) = start(setup("grpc_closing")).await;
    running.collected.close();
    let status = LogsServiceClient::new(channel).export(logs(&["late"])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(retry_delay(&status).is_some());
}

#[tokio::test]
async fn without_a_pipeline_or_method_it_is_unimplemented() {
    let signals = vec![Signal::Traces];
    let (running, channel) = start(Setup { signals, ..setup("grpc_no_pipeline") }).await;
    let status = LogsServiceClient::new(channel.clone()).export(logs(&["x"])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert!(status.message().contains("no pipeline takes logs"), "{status:?}");
    let status = call(&channel, "/opentelemetry.proto.collector.logs.v1.LogsService/Delete", vec![])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    TraceServiceClient::new(channel).export(traces(1)).await.unwrap();
    assert_eq!(running.collected.items(), 1);
}

#[tokio::test]
async fn ack_delivered_waits_for_the_destination() {
    let ack = AckMode::Delivered;
    let (running, channel) = start(Setup { ack, ..setup("grpc_delivered") }).await;
    running.collected.answer(Answer::Hold);
    let mut client = LogsServiceClient::new(channel.clone());
    let waiting = tokio::spawn(async move { client.export(logs(&["one"])).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "answered before the destination had it");
    running.collected.answer(Answer::Deliver);
    waiting.await.unwrap().unwrap();

    let mut client = LogsServiceClient::new(channel);
    running.collected.answer(Answer::Reject);
    let status = client.export(logs(&["two"])).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    running.collected.answer(Answer::Nack);
    let status = client.export(logs(&["three"])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(retry_delay(&status).is_some());
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_waits_leaves_nothing_behind() {
    let ack = AckMode::Delivered;
    let (running, channel) = start(Setup { ack, ..setup("grpc_hangup") }).await;
    running.collected.answer(Answer::Hold);
    let mut client = LogsServiceClient::new(channel);
    let export = client.export(logs(&["one"]));
    assert!(tokio::time::timeout(Duration::from_millis(200), export).await.is_err());
    running.collected.answer(Answer::Deliver);
    assert_eq!(running.collected.wait_for(1).await.len(), 1);
    running.budget_is_free().await;
}

#[tokio::test]
async fn stopping_lets_a_call_finish_and_frees_the_port() {
    let ack = AckMode::Delivered;
    let (running, channel) = start(Setup { ack, ..setup("grpc_stop") }).await;
    running.collected.answer(Answer::Hold);
    let mut client = LogsServiceClient::new(channel);
    let waiting = tokio::spawn(async move { client.export(logs(&["one"])).await });
    common::eventually("the request stands in the queue", || running.collected.budget().used() > 0).await;
    running.request_stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.collected.answer(Answer::Deliver);
    waiting.await.unwrap().unwrap();
    let addr = running.addr;
    running.stop().await;
    assert!(std::net::TcpStream::connect(addr).is_err());
}

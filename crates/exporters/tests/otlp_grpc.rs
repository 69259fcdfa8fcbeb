//! OTLP/gRPC towards servers we did not write: tonic's with the services of opentelemetry-proto, and hyper's for the bare bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{
    HttpServer, SendRequests as _, build, grpc_reply, log_request, logs, metrics, permanent, request,
    retryable, traces,
};
use engine::{Exported, Exporter, Rejected};
use model::{Request, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// A backend made of the generated services.
#[derive(Clone, Default)]
struct Backend {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    metadata: Arc<Mutex<Vec<MetadataMap>>>,
    /// What logs are answered with; success when there is nothing left.
    answers: Arc<Mutex<VecDeque<Result<ExportLogsServiceResponse, Status>>>>,
    delay: Duration,
}

#[tonic::async_trait]
impl LogsService for Backend {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        let answer = self.answers.lock().unwrap().pop_front();
        self.metadata.lock().unwrap().push(request.metadata().clone());
        self.logs.lock().unwrap().push(request.into_inner());
        answer.unwrap_or_else(|| Ok(ExportLogsServiceResponse::default())).map(tonic::Response::new)
    }
}

#[tonic::async_trait]
impl TraceService for Backend {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Backend {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Serves `backend` until the task is aborted; connections die with it.
async fn serve(backend: &Backend, addr: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind(addr).unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let (gzip, zstd) = (CompressionEncoding::Gzip, CompressionEncoding::Zstd);
    let server = tonic::transport::Server::builder()
        .add_service(LogsServiceServer::new(backend.clone()).accept_compressed(gzip).accept_compressed(zstd))
        .add_service(TraceServiceServer::new(backend.clone()).accept_compressed(gzip).accept_compressed(zstd))
        .add_service(
            MetricsServiceServer::new(backend.clone()).accept_compressed(gzip).accept_compressed(zstd),
        );
    let task = tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
    (addr, task)
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn exporter(addr: SocketAddr, more: &Value) -> Box<dyn Exporter> {
    let mut settings = json!({"endpoint": format!("http://{addr}")});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    build("otlp", &settings).unwrap()
}

async fn started(more: &Value) -> (Backend, Box<dyn Exporter>) {
    let backend = Backend::default();
    let (addr, _) = serve(&backend, any_port()).await;
    (backend, exporter(addr, more))
}

async fn one_log(exporter: &dyn Exporter) -> Result<Exported, engine::ExportError> {
    exporter.send(&[log_request(&["x"])]).await
}

#[tokio::test]
async fn the_bytes_go_as_they_are() {
    let server = HttpServer::start([grpc_reply(&[]), grpc_reply(&[])]).await;
    let exporter = exporter(server.addr, &json!({"headers": {"X-Scope-OrgID": "peers"}}));
    // An unknown field, as a newer sender would write it: what receipt makes of it goes out.
    let mut newer = logs(&["new"]).encode_to_vec();
    newer.extend_from_slice(&[0xf2, 0x3f, 2, 8, 1]);
    let newer = Request::receive(Signal::Logs, newer.into()).unwrap().0;
    let requests = [log_request(&["one", "two"]), newer, log_request(&["three"])];
    exporter.send(&requests).await.unwrap();
    let seen = server.last();
    let joined: Vec<u8> = requests.iter().flat_map(|r| r.bytes().to_vec()).collect();
    assert_eq!(seen.body[0], 0, "marked compressed");
    assert_eq!(seen.body[1..5], (joined.len() as u32).to_be_bytes());
    assert_eq!(seen.body[5..], joined);
    assert_eq!(seen.path, "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    assert_eq!(seen.header("content-type"), Some("application/grpc"));
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("grpc-encoding"), None);
    assert_eq!(seen.header("x-scope-orgid"), Some("peers"));
    assert!(seen.header("user-agent").unwrap().starts_with("floodway/"));

    let large = log_request(&[&"x".repeat(3 << 20)]);
    exporter.send(std::slice::from_ref(&large)).await.unwrap();
    assert_eq!(server.last().body[5..], large.bytes()[..]);
}

#[tokio::test]
async fn every_signal_arrives_merged_in_every_encoding() {
    for (compression, encoding) in [("none", None), ("gzip", Some("gzip")), ("zstd", Some("zstd"))] {
        let (backend, exporter) = started(&json!({"compression": compression})).await;
        let (one, two) = (logs(&["one"]), logs(&["two", "three"]));
        let both = [request(Signal::Logs, &one), request(Signal::Logs, &two)];
        assert_eq!(exporter.send(&both).await.unwrap(), Exported::default());
        let union =
            ExportLogsServiceRequest { resource_logs: [one.resource_logs, two.resource_logs].concat() };
        assert_eq!(*backend.logs.lock().unwrap(), [union], "{compression}");
        let metadata = backend.metadata.lock().unwrap()[0].clone();
        assert_eq!(metadata.get("grpc-encoding").map(|v| v.to_str().unwrap()), encoding);

        exporter.send(&[request(Signal::Traces, &traces("dial"))]).await.unwrap();
        exporter.send(&[request(Signal::Metrics, &metrics(7))]).await.unwrap();
        assert_eq!(*backend.traces.lock().unwrap(), [traces("dial")]);
        assert_eq!(*backend.metrics.lock().unwrap(), [metrics(7)]);
        assert_eq!(exporter.send(&[]).await.unwrap(), Exported::default());
    }
}

/// `google.rpc.Status` with RetryInfo.
fn details(delay: Duration) -> Vec<u8> {
    let field = |number: u8, inside: &[u8]| [&[number << 3 | 2, inside.len() as u8], inside].concat();
    let nanos = delay.subsec_nanos();
    let mut duration = vec![8, delay.as_secs() as u8, 16];
    prost::encoding::encode_varint(u64::from(nanos), &mut duration);
    let info = field(1, &duration);
    let any = [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &info)].concat();
    [vec![8, 8], field(2, b"slow down"), field(3, &any)].concat()
}

#[tokio::test]
async fn the_specification_says_which_statuses_are_worth_another_try() {
    let (backend, exporter) = started(&json!({})).await;
    let fails = async |status: Status| {
        backend.answers.lock().unwrap().push_back(Err(status));
        one_log(&*exporter).await.unwrap_err()
    };
    for code in [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ] {
        let (after, message) = retryable(fails(Status::new(code, "not now")).await);
        assert!(after.is_none() && message.contains("not now"), "{message}");
    }
    for code in [
        Code::Unknown,
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Unimplemented,
        Code::Internal,
        Code::Unauthenticated,
    ] {
        let message = permanent(fails(Status::new(code, "never")).await);
        assert!(message.contains("never"), "{message}");
    }
    let hint = Duration::from_millis(2500);
    let slow = Status::with_details(Code::ResourceExhausted, "slow down", details(hint).into());
    assert_eq!(retryable(fails(slow).await).0, Some(hint));
    let slow = Status::with_details(Code::Unavailable, "slow down", details(hint).into());
    assert_eq!(retryable(fails(slow).await).0, Some(hint));
    // The client is none the worse for it.
    one_log(&*exporter).await.unwrap();
}

#[tokio::test]
async fn partial_success_is_told() {
    let (backend, exporter) = started(&json!({})).await;
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: 2,
        error_message: format!("too old\n{}", "x".repeat(10_000)),
    };
    backend
        .answers
        .lock()
        .unwrap()
        .push_back(Ok(ExportLogsServiceResponse { partial_success: Some(partial) }));
    let exported = one_log(&*exporter).await.unwrap();
    let [Rejected { items: 2, message, .. }] = &exported.rejected[..] else { panic!("{exported:?}") };
    assert!(message.starts_with("too old") && message.len() < 1000);
    assert!(!message.contains('\n'));
}

#[tokio::test]
async fn headers_are_sent() {
    let headers = json!({"Authorization": "Bearer secret", "x-tenant": "a"});
    let (backend, exporter) = started(&json!({"headers": headers})).await;
    one_log(&*exporter).await.unwrap();
    let metadata = backend.metadata.lock().unwrap()[0].clone();
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer secret");
    assert_eq!(metadata.get("x-tenant").unwrap(), "a");
    assert!(metadata.get("grpc-timeout").is_some());
}

#[tokio::test]
async fn a_server_that_goes_is_retryable_and_found_again_when_it_is_back() {
    let backend = Backend::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serving = backend.clone();
    let (addr, _) = runtime.spawn(async move { serve(&serving, any_port()).await }).await.unwrap();
    let exporter = exporter(addr, &json!({}));
    one_log(&*exporter).await.unwrap();
    // Every task of the server dies, its connections too.
    runtime.shutdown_background();
    let mut last = String::new();
    for _ in 0..3 {
        last = retryable(one_log(&*exporter).await.unwrap_err()).1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(last.contains(&addr.to_string()), "the place is missing: {last}");
    let (_, _task) = serve(&backend, addr).await;
    one_log(&*exporter).await.unwrap();
    assert_eq!(backend.logs.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let backend = Backend { delay: Duration::from_secs(30), ..Backend::default() };
    let (addr, _) = serve(&backend, any_port()).await;
    let exporter = exporter(addr, &json!({"retry": {"timeout_ms": 300}}));
    let begun = Instant::now();
    let (_, message) = retryable(one_log(&*exporter).await.unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(3), "{message}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_named() {
    let server = HttpServer::start([common::reply(404, &[("content-type", "text/html")], "nginx")]).await;
    let exporter = exporter(server.addr, &json!({}));
    let message = one_log(&*exporter).await.unwrap_err().to_string();
    assert!(message.contains("not gRPC") && message.contains("404"), "{message}");
}

#[tokio::test]
async fn many_at_once_share_the_connections() {
    let (backend, exporter) = started(&json!({"connections": 2})).await;
    let exporter: Arc<dyn Exporter> = Arc::from(exporter);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..100 {
        let exporter = Arc::clone(&exporter);
        calls.spawn(async move { exporter.send(&[log_request(&[&n.to_string()])]).await.unwrap() });
    }
    assert_eq!(calls.join_all().await.len(), 100);
    assert_eq!(backend.logs.lock().unwrap().len(), 100);
}

#[tokio::test]
async fn tempo_is_otlp_with_a_tenant() {
    let server = HttpServer::start([]).await;
    let settings =
        json!({"endpoint": format!("http://{}", server.addr), "tenant": "mesh", "headers": {"x-more": "1"}});
    let exporter = build("tempo", &settings).unwrap();
    server.will_reply(grpc_reply(&[]));
    exporter.send(&[request(Signal::Traces, &traces("dial"))]).await.unwrap();
    let seen = server.last();
    assert!(seen.path.ends_with("TraceService/Export"), "{}", seen.path);
    assert_eq!((seen.header("x-scope-orgid"), seen.header("x-more")), (Some("mesh"), Some("1")));
    let twice = json!({"tenant": "a", "headers": {"x-scope-orgid": "b"}});
    assert!(build("tempo", &twice).err().unwrap().contains("keep one"), "a tenant in two places");
}

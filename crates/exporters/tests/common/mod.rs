//! Exporters built from settings, requests, and servers that record what they get and answer as they are told.
#![allow(clippy::unwrap_used, reason = "a test helper may panic")]
#![allow(dead_code, unreachable_pub, reason = "test code, shared by several test programs")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use engine::component::AnyExporterConfig;
use engine::testing;
use engine::{ComponentKind, ExportError, Exported, Exporter};
use http::{HeaderMap, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{Payload, Request, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Reads settings as the configuration does.
pub fn parse(name: &str, settings: &Value) -> Result<Box<dyn AnyExporterConfig>, String> {
    let factory = exporters::EXPORTERS.iter().find(|f| f.name == name).unwrap();
    (factory.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(settings)).map_err(|e| e.to_string())
}

pub fn build(name: &str, settings: &Value) -> Result<Box<dyn Exporter>, String> {
    let context = testing::build_context(ComponentKind::Exporter, name);
    parse(name, settings)?.build(&context).map_err(|e| e.to_string())
}

/// Exports requests as the payloads that they are.
pub trait SendRequests {
    fn send(&self, requests: &[Request]) -> impl Future<Output = Result<Exported, ExportError>> + Send;
}

impl SendRequests for dyn Exporter + '_ {
    fn send(&self, requests: &[Request]) -> impl Future<Output = Result<Exported, ExportError>> + Send {
        let payloads: Vec<Payload> = requests.iter().cloned().map(Payload::Otlp).collect();
        async move { self.export(&payloads).await }
    }
}

/// A permanent error's reason, or how long a retryable one says to wait, with its text.
pub fn retryable(error: ExportError) -> (Option<std::time::Duration>, String) {
    match error {
        ExportError::Retryable { message, retry_after } => (retry_after, message),
        ExportError::Permanent { reason, message, .. } => panic!("permanent: {reason}: {message}"),
    }
}

pub fn permanent(error: ExportError) -> String {
    match error {
        ExportError::Permanent { message, .. } => message,
        ExportError::Retryable { message, .. } => panic!("retryable: {message}"),
    }
}

pub fn request(signal: Signal, message: &impl Message) -> Request {
    Request::receive(signal, message.encode_to_vec().into()).unwrap().0
}

pub fn logs(bodies: &[&str]) -> ExportLogsServiceRequest {
    let record = |body: &&str| LogRecord {
        body: Some(AnyValue { value: Some(any_value::Value::StringValue((*body).to_owned())) }),
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: bodies.iter().map(record).collect(), ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }],
    }
}

pub fn log_request(bodies: &[&str]) -> Request {
    request(Signal::Logs, &logs(bodies))
}

pub fn traces(name: &str) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        ..Span::default()
    };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    }
}

pub fn metrics(value: i64) -> ExportMetricsServiceRequest {
    let point =
        NumberDataPoint { value: Some(number_data_point::Value::AsInt(value)), ..NumberDataPoint::default() };
    let gauge = Gauge { data_points: vec![point] };
    let metric =
        Metric { name: "peers".to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() }],
    }
}

/// What an HTTP server got.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }
}

pub type Reply = Response<BoxBody<Bytes, std::convert::Infallible>>;

/// An answer of HTTP/1 or 2.
pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into()).boxed()).unwrap()
}

/// A successful answer of gRPC.
pub fn grpc_reply(message: &[u8]) -> Reply {
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(body)).with_trailers(async move { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(body.boxed()).unwrap()
}

/// What a server answers when it is not told.
pub type Judge = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// hyper's own server, for HTTP/1 and 2.
pub struct HttpServer {
    pub addr: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    task: JoinHandle<()>,
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpServer {
    /// Answers with `replies` in turn; then with 599.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(replies, Arc::new(|_| reply(599, &[], "no answer is left"))).await
    }

    /// Answers each request as `judge` says.
    pub async fn judging(judge: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with([], Arc::new(judge)).await
    }

    async fn start_with(replies: impl IntoIterator<Item = Reply>, judge: Judge) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let replies = Arc::new(Mutex::new(replies.into_iter().collect()));
        let task = tokio::spawn(serve(listener, Arc::clone(&seen), Arc::clone(&replies), judge));
        Self { addr, seen, replies, task }
    }

    pub fn will_reply(&self, reply: Reply) {
        self.replies.lock().unwrap().push_back(reply);
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    seen: Arc<Mutex<Vec<Seen>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    judge: Judge,
) {
    // Dropped with the server, and the connections with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (seen, replies, judge) = (Arc::clone(&seen), Arc::clone(&replies), Arc::clone(&judge));
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (seen, replies, judge) = (Arc::clone(&seen), Arc::clone(&replies), Arc::clone(&judge));
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let request = Seen {
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    headers: parts.headers,
                    body,
                };
                seen.lock().unwrap().push(request.clone());
                let next = replies.lock().unwrap().pop_front();
                Ok::<_, hyper::Error>(next.unwrap_or_else(|| judge(&request)))
            }
        });
        connections.spawn(async move {
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

//! A receiver on a free port in front of a test inlet, requests as opentelemetry-proto builds them, and sockets by hand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, unreachable_pub, reason = "test code, shared by several test programs")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use engine::component::AnyReceiverConfig;
use engine::testing::{self, Collected, Setup};
use engine::{ComponentKind, ShutdownTrigger};
use model::Request;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde_json::Value;
use tokio::task::JoinHandle;

/// Reads settings as the configuration does.
pub fn parse(name: &str, settings: &Value) -> Result<Box<dyn AnyReceiverConfig>, String> {
    let factory = receivers::RECEIVERS.iter().find(|f| f.name == name).unwrap();
    (factory.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(settings)).map_err(|e| e.to_string())
}

/// A receiver that runs.
pub struct Running {
    pub addr: SocketAddr,
    pub collected: Collected,
    pub id: String,
    stop: ShutdownTrigger,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts the receiver `name`; `settings` makes its settings of the address to listen on.
    pub async fn start(name: &str, setup: Setup, settings: impl Fn(&str) -> Value) -> Self {
        let id = setup.receiver.clone();
        let (inlet, collected) = setup.inlet();
        let build = testing::build_context(ComponentKind::Receiver, &id);
        let mut error = None;
        // Another process may take the port between our look and our use.
        for _ in 0..10 {
            let addr = free_address();
            let config = parse(name, &settings(&addr.to_string())).unwrap();
            let receiver = config.build(&build).unwrap();
            let (context, stop) = testing::receiver_context(&id, inlet.clone());
            match receiver.start(context).await {
                Ok(serving) => {
                    let task = tokio::spawn(serving);
                    return Self { addr, collected, id, stop, task };
                }
                Err(e) => error = Some(e),
            }
        }
        panic!("no free port in ten tries: {error:?}");
    }

    /// Asks it to stop and waits for its end.
    pub async fn stop(self) {
        self.stop.request();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap();
    }

    /// Asks it to stop.
    pub fn request_stop(&self) {
        self.stop.request();
    }

    /// A counter of this receiver.
    pub fn counter(&self, name: &str, label: (&str, &str)) -> u64 {
        testing::counters().value(name, &[("component", &self.id), label])
    }

    /// Requests that were refused for `reason`.
    pub fn refused(&self, reason: &str) -> u64 {
        self.counter("floodway_refused_requests_total", ("reason", reason))
    }

    /// Waits until nothing is held of the budget; what requests hold is given back when their tasks end.
    pub async fn budget_is_free(&self) {
        eventually("the budget is free", || self.collected.budget().used() == 0).await;
    }
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits up to ten seconds.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within ten seconds: {what}");
}

pub fn setup(id: &str) -> Setup {
    Setup { receiver: id.to_owned(), ..Setup::default() }
}

pub fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) })
}

pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() }
}

pub fn traces(spans: usize) -> ExportTraceServiceRequest {
    let span = |n: usize| Span {
        trace_id: vec![7; 16],
        span_id: (n as u64 + 1).to_be_bytes().to_vec(),
        name: format!("dial {n}"),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_000 + n as u64,
        attributes: vec![attribute("peer", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")],
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    }
}

pub fn logs(bodies: &[&str]) -> ExportLogsServiceRequest {
    let record = |body: &&str| LogRecord { body: text(body), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: bodies.iter().map(record).collect(), ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }],
    }
}

pub fn metrics(points: usize) -> ExportMetricsServiceRequest {
    let point = |n: usize| NumberDataPoint {
        value: Some(number_data_point::Value::AsInt(n as i64)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: (0..points).map(point).collect() };
    let metric =
        Metric { name: "peers".to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() }],
    }
}

/// A length-delimited protobuf field, for bytes that prost would not write.
pub fn field(number: u8, inside: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(inside.len() as u64, &mut out);
    out.extend_from_slice(inside);
    out
}

/// A logs request around the bytes of one `LogRecord`.
pub fn log_request(record: &[u8]) -> Vec<u8> {
    field(1, &field(2, &field(2, record)))
}

/// A logs request whose body is nested `levels` deep.
pub fn nested(levels: usize) -> Vec<u8> {
    let mut value = field(1, b"in the middle");
    for _ in 0..levels {
        value = field(5, &field(1, &value));
    }
    log_request(&field(5, &value))
}

/// Malformed requests for logs, with what each of them is.
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let good = prost::Message::encode_to_vec(&logs(&["a body that is long enough to cut"]));
    vec![
        ("truncated", good[..good.len() - 3].to_vec()),
        ("text", b"{\"resourceLogs\":[]}".to_vec()),
        ("wrong wire type: a varint for a message", vec![1 << 3, 5]),
        ("wrong wire type inside", log_request(&[5 << 3 | 5, 1, 2, 3, 4])),
        ("a length past the end", vec![1 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x07]),
        ("field number 0", vec![2, 0]),
        ("an endless varint", vec![0xff; 20]),
        ("200 levels", nested(200)),
    ]
}

/// What an HTTP/1.1 server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One HTTP/1.1 exchange on a socket of its own, by hand.
pub async fn exchange(addr: SocketAddr, request: Vec<u8>) -> Answer {
    tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        socket.write_all(&request).unwrap();
        read_answer(&mut socket)
    })
    .await
    .unwrap()
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// A POST with `content-length` and the given header lines.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

pub fn read_answer(socket: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("content-length").map_or(0, |v| v.parse().unwrap());
    answer.body = vec![0; length];
    socket.read_exact(&mut answer.body).unwrap();
    answer
}

/// Sends the pieces with a pause between them and closes the sending side; returns what came back until the other side closed.
pub async fn send_lines(addr: SocketAddr, pieces: &[&[u8]]) -> Vec<u8> {
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|p| p.to_vec()).collect();
    tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        for (n, piece) in pieces.iter().enumerate() {
            if n > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            // A connection over the limit is closed while we write.
            if socket.write_all(piece).is_err() {
                break;
            }
        }
        let _ = socket.shutdown(Shutdown::Write);
        let mut back = Vec::new();
        let _ = socket.read_to_end(&mut back);
        back
    })
    .await
    .unwrap()
}

/// All records of requests, as prost reads them.
pub fn records(requests: &[Request]) -> Vec<LogRecord> {
    let decode =
        |r: &Request| <ExportLogsServiceRequest as prost::Message>::decode(r.bytes().clone()).unwrap();
    let resources = requests.iter().map(decode).flat_map(|r| r.resource_logs);
    resources.flat_map(|r| r.scope_logs).flat_map(|s| s.log_records).collect()
}

/// The body, which is a text.
pub fn body(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|b| b.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("no text: {other:?}"),
    }
}

/// The attribute `tags`.
pub fn tags(record: &LogRecord) -> Vec<String> {
    let tags = record.attributes.iter().find(|a| a.key == "tags");
    let value = tags.and_then(|t| t.value.as_ref()?.value.as_ref());
    let Some(any_value::Value::ArrayValue(array)) = value else {
        return Vec::new();
    };
    let text = |v: &AnyValue| match &v.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("no text: {other:?}"),
    };
    array.values.iter().map(text).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `megabytes` of zeros in gzip, made without ever holding them.
pub fn gzip_bomb(megabytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..megabytes).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.finish().unwrap()
}

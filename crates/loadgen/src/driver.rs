//! The client side: sends prepared requests over OTLP gRPC and counts the answers.
//!
//! Each connection carries a fixed number of requests at once (closed loop), or requests become due at a fixed rate (open
//! loop, still bounded by the same number). With a rate, latency counts from the moment a request was due, so a stalled server
//! is not flattered by requests that were never sent.
//!
//! The prepared bytes go to the socket as they are: no encoding, no copy in user space. A refused request is not sent again. A
//! broken connection is opened anew for the next request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::{Error, Result};
use crate::grpc::{self, Signal};
use crate::latency::Latencies;
use crate::payload::{Payload, PayloadSet};

/// Largest answer that is read, in bytes: an OTLP answer holds a count and a message.
const MAX_ANSWER: usize = 64 * 1024;
/// Distinct error texts that are kept; further ones are counted as `other`.
const MAX_ERROR_KINDS: usize = 32;
/// Characters of a server's message kept in an error text.
const MAX_ERROR_CHARS: usize = 160;
/// Pause of a sender after an error, so that a refusing server is not flooded in a tight loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Where to and how wide.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// `host:port` of an OTLP gRPC server.
    pub target: String,
    /// TCP connections.
    pub connections: usize,
    /// Requests under way at once on each connection.
    pub in_flight: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl DriverConfig {
    /// Four connections of four requests each.
    pub fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), connections: 4, in_flight: 4, timeout: Duration::from_secs(20) }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// After this time; requests under way are still waited for.
    After(Duration),
    /// After at least this many records, sent whatever the answers.
    Records(u64),
}

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DriveReport {
    /// Requests answered with success.
    pub accepted_requests: u64,
    /// Records in them, without those that a partial success rejected.
    pub accepted_records: u64,
    /// Records rejected by partial successes.
    pub rejected_records: u64,
    /// Requests refused, failed or without an answer in time.
    pub failed_requests: u64,
    /// How often each reason was given.
    pub errors: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Median latency of accepted requests.
    pub p50_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
}

impl DriveReport {
    /// Accepted records a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.accepted_records as f64 / self.seconds } else { 0.0 }
    }
}

/// A client that may make several runs over the same connections.
#[derive(Debug)]
pub struct Driver {
    config: DriverConfig,
    payloads: Arc<PayloadSet>,
    connections: Vec<Arc<Connection>>,
}

impl Driver {
    /// Opens the connections.
    pub async fn connect(config: DriverConfig, payloads: Arc<PayloadSet>) -> Result<Self> {
        if config.connections == 0 || config.in_flight == 0 {
            return Err(Error::Setting(
                "at least one connection and one request in flight are needed".into(),
            ));
        }
        let template = Template::new(&config.target, &payloads)?;
        let mut connections = Vec::with_capacity(config.connections);
        for _ in 0..config.connections {
            let connection = Connection {
                target: config.target.clone(),
                template: template.clone(),
                sender: tokio::sync::Mutex::new(None),
            };
            connection
                .sender()
                .await
                .map_err(|reason| Error::Connect { target: config.target.clone(), reason })?;
            connections.push(Arc::new(connection));
        }
        Ok(Self { config, payloads, connections })
    }

    /// Makes one run: at this many records a second, or as fast as the answers come.
    pub async fn run(&self, records_per_second: Option<f64>, stop: Stop) -> DriveReport {
        let per_request = self.payloads.spec.records_per_request as f64;
        let run = Arc::new(Run {
            payloads: Arc::clone(&self.payloads),
            timeout: self.config.timeout,
            start: Instant::now(),
            interval: records_per_second.map(|rate| Duration::from_secs_f64(per_request / rate.max(1e-3))),
            stop,
            ticket: AtomicU64::new(0),
            tally: Tally::default(),
        });
        let mut senders = JoinSet::new();
        for connection in &self.connections {
            for _ in 0..self.config.in_flight {
                senders.spawn(send_until_stopped(Arc::clone(connection), Arc::clone(&run)));
            }
        }
        while senders.join_next().await.is_some() {}
        run.tally.report(run.start.elapsed())
    }
}

/// What the senders of one run share.
struct Run {
    payloads: Arc<PayloadSet>,
    timeout: Duration,
    start: Instant,
    /// Between two requests of the whole run, if they are paced.
    interval: Option<Duration>,
    stop: Stop,
    ticket: AtomicU64,
    tally: Tally,
}

impl Run {
    /// The next request to send and when it is due; `None` at the end of the run.
    fn next(&self) -> Option<(&Payload, Instant)> {
        let ticket = self.ticket.fetch_add(1, Relaxed);
        let due = match self.interval {
            Some(interval) => self.start + interval.mul_f64(ticket as f64),
            None => Instant::now(),
        };
        let over = match self.stop {
            Stop::After(time) => due >= self.start + time,
            Stop::Records(records) => ticket * self.payloads.spec.records_per_request as u64 >= records,
        };
        let requests = &self.payloads.requests;
        (!over).then(|| (&requests[ticket as usize % requests.len()], due))
    }
}

async fn send_until_stopped(connection: Arc<Connection>, run: Arc<Run>) {
    while let Some((payload, due)) = run.next() {
        if run.interval.is_some() {
            sleep_until(due).await;
        }
        let answer = timeout(run.timeout, connection.export(payload, run.payloads.spec.signal)).await;
        match answer.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(rejected) => run.tally.accepted(payload.records, rejected, due.elapsed()),
            Err(reason) => {
                run.tally.failed(reason);
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    requests: AtomicU64,
    records: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    latencies: Latencies,
}

impl Tally {
    fn accepted(&self, records: u64, rejected: u64, latency: Duration) {
        self.requests.fetch_add(1, Relaxed);
        self.records.fetch_add(records.saturating_sub(rejected), Relaxed);
        self.rejected.fetch_add(rejected, Relaxed);
        self.latencies.record(latency);
    }

    fn failed(&self, reason: String) {
        self.failed.fetch_add(1, Relaxed);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = errors.contains_key(&reason) || errors.len() < MAX_ERROR_KINDS;
        *errors.entry(if known { reason } else { "other".into() }).or_default() += 1;
    }

    fn report(&self, elapsed: Duration) -> DriveReport {
        DriveReport {
            accepted_requests: self.requests.load(Relaxed),
            accepted_records: self.records.load(Relaxed),
            rejected_records: self.rejected.load(Relaxed),
            failed_requests: self.failed.load(Relaxed),
            errors: self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            seconds: elapsed.as_secs_f64(),
            p50_ms: self.latencies.quantile_ms(0.5),
            p99_ms: self.latencies.quantile_ms(0.99),
        }
    }
}

/// The parts of a request that are the same for all.
#[derive(Clone, Debug)]
struct Template {
    uri: Uri,
    headers: HeaderMap,
}

impl Template {
    fn new(target: &str, payloads: &PayloadSet) -> Result<Self> {
        let uri = format!("http://{target}{}", payloads.spec.signal.path());
        let uri = uri.parse().map_err(|_| Error::Setting(format!("{target} is not host:port")))?;
        let mut headers = HeaderMap::new();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        if payloads.spec.gzip {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        Ok(Self { uri, headers })
    }
}

#[derive(Debug)]
struct Connection {
    target: String,
    template: Template,
    sender: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    /// The sender of the open connection; opens it if there is none.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let mut slot = self.sender.lock().await;
        if let Some(open) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(open.clone());
        }
        let stream = TcpStream::connect(&self.target).await.map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| format!("connect: {e}"))?;
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|e| format!("HTTP/2 handshake: {e}"))?;
        // Ends with the connection; its error reaches the senders as errors of their requests.
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    /// One call; the number of records that a partial success rejected, or why it failed.
    async fn export(&self, payload: &Payload, signal: Signal) -> Result<u64, String> {
        let mut sender = self.sender().await?;
        sender.ready().await.map_err(|e| format!("HTTP/2: {e}"))?;
        let mut request = Request::new(Full::new(payload.framed.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.template.uri.clone();
        *request.headers_mut() = self.template.headers.clone();
        let response = sender.send_request(request).await.map_err(|e| format!("HTTP/2: {e}"))?;
        read_answer(response, signal).await
    }
}

async fn read_answer(response: Response<Incoming>, signal: Signal) -> Result<u64, String> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(format!("HTTP status {}", head.status));
    }
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| format!("answer: {e}"))?;
    // A server that has nothing but an error to say puts its status into the headers.
    let status = match body.trailers() {
        Some(trailers) if trailers.contains_key("grpc-status") => trailers,
        _ => &head.headers,
    };
    let text = |name: &str| status.get(name).and_then(|value| value.to_str().ok());
    let code: u32 = text("grpc-status").and_then(|code| code.parse().ok()).ok_or("answer: no grpc-status")?;
    if code != 0 {
        let message: String =
            text("grpc-message").unwrap_or_default().chars().take(MAX_ERROR_CHARS).collect();
        return Err(format!("{} {message}", grpc::status_name(code)).trim_end().to_owned());
    }
    rejected_records(&body.to_bytes(), signal)
}

/// What a partial success rejected (OTLP specification, "Partial Success").
fn rejected_records(framed: &[u8], signal: Signal) -> Result<u64, String> {
    let Some(message) = framed.get(grpc::FRAME_HEADER_LEN..).filter(|message| !message.is_empty()) else {
        return Ok(0);
    };
    let unreadable = |e| format!("answer: {e}");
    let rejected = if signal == Signal::Logs {
        let answer = ExportLogsServiceResponse::decode(message).map_err(unreadable)?;
        answer.partial_success.map_or(0, |partial| partial.rejected_log_records)
    } else {
        let answer = ExportTraceServiceResponse::decode(message).map_err(unreadable)?;
        answer.partial_success.map_or(0, |partial| partial.rejected_spans)
    };
    Ok(u64::try_from(rejected).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    #[test]
    fn partial_success_is_read() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "no".into() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        let framed = grpc::frame(&answer.encode_to_vec(), false);
        assert_eq!(rejected_records(&framed, Signal::Traces), Ok(3));
        assert_eq!(rejected_records(&grpc::frame(&[], false), Signal::Traces), Ok(0));
        assert_eq!(rejected_records(&[], Signal::Logs), Ok(0));
        assert!(rejected_records(&grpc::frame(&[0xff], false), Signal::Logs).is_err());
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let tally = Tally::default();
        for i in 0..1_000 {
            tally.failed(format!("error {i}"));
        }
        let report = tally.report(Duration::from_secs(1));
        assert_eq!(report.errors.len(), MAX_ERROR_KINDS + 1);
        assert_eq!(report.errors["other"], 1_000 - MAX_ERROR_KINDS as u64);
        assert_eq!(report.failed_requests, 1_000);
    }

    #[tokio::test]
    async fn an_absent_server_is_named() {
        let payloads = Arc::new(
            PayloadSet::new(crate::payload::PayloadSpec {
                distinct: 1,
                records_per_request: 1,
                ..Default::default()
            })
            .unwrap(),
        );
        let error = Driver::connect(DriverConfig::new("127.0.0.1:1"), payloads).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}

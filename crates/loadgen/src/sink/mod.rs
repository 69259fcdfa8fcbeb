//! The server side: takes OTLP gRPC requests, and those of the backends that are plain HTTP (`http`); answers at once with
//! success, and counts.
//!
//! Most requests are counted as they stream by, without being kept. One in `check_every` is kept whole, decoded by prost,
//! counted a second time, and searched for peers that should not be in it.
//!
//! HTTP/2 settings are hyper's defaults (frames of 16 KiB as most servers have them, windows of 1 MiB), so that a client is
//! neither favoured nor throttled.

mod http;
mod kafka;

use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::error::{Error, Result};
use crate::grpc::{self, FRAME_HEADER_LEN, Signal};
use crate::peers::PeerBook;
use crate::wire::{self, RecordCounter};

/// Largest request that is kept or inflated, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Connections served at once; further ones are closed.
const MAX_CONNECTIONS: usize = 1_024;
const INVALID_ARGUMENT: u32 = 3;
const UNIMPLEMENTED: u32 = 12;

/// How to listen and what to look for.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// One request in this many is decoded and searched; 0: none.
    pub check_every: u64,
    /// The peers to search for.
    pub peers: Option<Arc<PeerBook>>,
}

/// What has been received so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Requests answered with success.
    pub requests: u64,
    /// Bytes of their messages as they came.
    pub bytes: u64,
    /// Spans.
    pub spans: u64,
    /// Log records.
    pub log_records: u64,
    /// Metrics, or samples of series.
    pub metrics: u64,
    /// Requests decoded and searched.
    pub checked: u64,
    /// Peers found in them.
    pub leaks: u64,
    /// The first of those.
    pub first_leak: Option<String>,
    /// Requests that were no OTLP, and were refused.
    pub malformed: u64,
    /// What was wrong with the last of them.
    pub last_error: Option<String>,
}

impl Received {
    /// Records of all signals.
    pub fn records(&self) -> u64 {
        self.spans + self.log_records + self.metrics
    }
}

/// A running sink. It stops, connections included, when dropped.
#[derive(Debug)]
pub struct Sink {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    broker: Option<kafka::Broker>,
}

impl Sink {
    /// Listens.
    pub async fn start(config: SinkConfig) -> Result<Self> {
        let listening = |source| Error::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let addr = listener.local_addr().map_err(listening)?;
        let shared = Arc::new(Shared {
            check_every: config.check_every,
            peers: config.peers,
            arrived: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            records: Default::default(),
            findings: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting, broker: None })
    }

    /// Starts a real Kafka broker and counts what comes out there too.
    pub async fn with_kafka(mut self) -> Result<Self> {
        let shared = Arc::clone(&self.shared);
        let started = tokio::task::spawn_blocking(move || kafka::Broker::start(shared)).await;
        let broker = started.map_err(|e| Error::Setting(format!("Kafka: {e}")))??;
        self.broker = Some(broker);
        Ok(self)
    }

    /// `host:port` to send to.
    pub fn target(&self) -> String {
        self.broker.as_ref().map_or_else(|| self.addr.to_string(), kafka::Broker::address)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The counts so far.
    pub fn received(&self) -> Received {
        let [spans, log_records, metrics] =
            Signal::ALL.map(|s| self.shared.records[s as usize].load(Relaxed));
        let findings = self.shared.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let requests = self.shared.requests.load(Relaxed);
        let bytes = self.shared.bytes.load(Relaxed);
        Received { requests, bytes, spans, log_records, metrics, ..findings }
    }

    /// Waits until `records` have come in all, or nothing has come for `quiet`, and gives the counts.
    pub async fn settled(&self, records: u64, quiet: Duration) -> Received {
        let mut last = self.received();
        let mut since = Instant::now();
        while last.records() < records && since.elapsed() < quiet {
            sleep(Duration::from_millis(5)).await;
            let now = self.received();
            if now.records() != last.records() {
                since = Instant::now();
            }
            last = now;
        }
        last
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Debug)]
struct Shared {
    check_every: u64,
    peers: Option<Arc<PeerBook>>,
    arrived: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// In the order of [`Signal::ALL`].
    records: [AtomicU64; 3],
    /// The rare counts.
    findings: Mutex<Received>,
}

impl Shared {
    fn find(&self, note: impl FnOnce(&mut Received)) {
        note(&mut self.findings.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Decodes and searches a whole message; `records` is what the walk has counted.
    fn check(&self, signal: Signal, message: &[u8], records: u64) -> Result<(), Refused> {
        let decoded =
            decoded_records(signal, message).map_err(|e| Refused::malformed(format!("prost: {e}")))?;
        if decoded != records {
            return Err(Refused::malformed(format!(
                "prost decodes {decoded} records, the walk counts {records}"
            )));
        }
        self.search(message);
        Ok(())
    }

    /// Searches a whole message for peers.
    fn search(&self, message: &[u8]) {
        let leaks = self.peers.as_ref().and_then(|peers| peers.find_leaks(message));
        self.find(|findings| {
            findings.checked += 1;
            if let Some(leaks) = leaks {
                findings.leaks += leaks.count;
                findings.first_leak.get_or_insert(leaks.first);
            }
        });
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set, when this task is aborted, ends all of them.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                if connections.len() < MAX_CONNECTIONS {
                    connections.spawn(serve(stream, Arc::clone(&shared)));
                }
            }
            // Out of file descriptors, most likely: they come back as connections end.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // An error here is the client's going away.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<impl Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>>>, Infallible> {
    if let Some(api) = http::Api::of(request.uri().path()) {
        return Ok(http::answer(api, request, &shared).await.map(Either::Right));
    }
    let (code, message) = match receive(request, &shared).await {
        Ok(()) => (0, String::new()),
        Err(refused) => {
            shared.find(|findings| {
                findings.malformed += 1;
                findings.last_error = Some(refused.message.clone());
            });
            (refused.code, refused.message)
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&message)
        && code != 0
    {
        trailers.insert("grpc-message", message);
    }
    let body = Full::new(Bytes::from_static(&[0; FRAME_HEADER_LEN]));
    let body = Either::Left(body.with_trailers(std::future::ready(Some(Ok(trailers)))));
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// Why a request gets an error.
struct Refused {
    code: u32,
    message: String,
}

impl Refused {
    fn malformed(message: impl Into<String>) -> Self {
        Self { code: INVALID_ARGUMENT, message: message.into() }
    }
}

async fn receive(request: Request<Incoming>, shared: &Shared) -> Result<(), Refused> {
    let Some(signal) = Signal::from_path(request.uri().path()) else {
        return Err(Refused {
            code: UNIMPLEMENTED,
            message: format!("no service at {}", request.uri().path()),
        });
    };
    let encoding = request.headers().get("grpc-encoding").map_or(&b"identity"[..], |value| value.as_bytes());
    let gzip = match encoding {
        b"identity" => false,
        b"gzip" => true,
        _ => {
            return Err(Refused {
                code: UNIMPLEMENTED,
                message: "only gzip and identity are understood".into(),
            });
        }
    };
    let turn = shared.arrived.fetch_add(1, Relaxed);
    let check = shared.check_every != 0 && turn.is_multiple_of(shared.check_every);
    let (bytes, records) = if gzip || check {
        receive_whole(signal, request.into_body(), shared, check).await?
    } else {
        receive_streamed(request.into_body()).await?
    };
    shared.requests.fetch_add(1, Relaxed);
    shared.bytes.fetch_add(bytes, Relaxed);
    shared.records[signal as usize].fetch_add(records, Relaxed);
    Ok(())
}

/// Keeps the message, inflates it if need be, counts, and checks. Gives bytes as received and records.
async fn receive_whole(
    signal: Signal,
    body: Incoming,
    shared: &Shared,
    check: bool,
) -> Result<(u64, u64), Refused> {
    let body = Limited::new(body, MAX_MESSAGE).collect().await;
    let framed = body.map_err(|e| Refused::malformed(format!("body: {e}")))?.to_bytes();
    let (header, message) = framed
        .split_first_chunk()
        .ok_or_else(|| Refused::malformed("body shorter than a gRPC frame header"))?;
    let (compressed, length) = grpc::parse_header(*header);
    if message.len() as u64 != u64::from(length) {
        return Err(Refused::malformed("the gRPC frame's length is not that of the message"));
    }
    let inflated = if compressed { Some(gunzip(message)?) } else { None };
    let plain = inflated.as_deref().unwrap_or(message);
    let records = wire::count_records(plain).map_err(|e| Refused::malformed(e.to_string()))?;
    if check {
        shared.check(signal, plain, records)?;
    }
    Ok((u64::from(length), records))
}

fn gunzip(message: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut plain = Vec::new();
    let limit = MAX_MESSAGE as u64 + 1;
    let read = GzDecoder::new(message).take(limit).read_to_end(&mut plain);
    read.map_err(|e| Refused::malformed(format!("gzip: {e}")))?;
    if plain.len() > MAX_MESSAGE {
        return Err(Refused::malformed("inflates to more than 64 MiB"));
    }
    Ok(plain)
}

/// Counts the message as it streams by. Gives its bytes and records.
async fn receive_streamed(mut body: Incoming) -> Result<(u64, u64), Refused> {
    let mut header = [0; FRAME_HEADER_LEN];
    let mut header_filled = 0;
    let mut counter = None;
    let mut length = 0;
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|e| Refused::malformed(format!("body: {e}")))?;
        let Ok(mut data) = piece.into_data() else { continue };
        if counter.is_none() {
            let taken = data.split_to(data.len().min(FRAME_HEADER_LEN - header_filled));
            header[header_filled..header_filled + taken.len()].copy_from_slice(&taken);
            header_filled += taken.len();
            if header_filled < FRAME_HEADER_LEN {
                continue;
            }
            let (compressed, message_length) = grpc::parse_header(header);
            if compressed {
                return Err(Refused::malformed("a compressed message without grpc-encoding"));
            }
            length = u64::from(message_length);
            counter = Some(RecordCounter::new(length));
        }
        if let Some(counter) = &mut counter {
            counter.feed(&data).map_err(|e| Refused::malformed(e.to_string()))?;
        }
    }
    let counter = counter.ok_or_else(|| Refused::malformed("body shorter than a gRPC frame header"))?;
    let records = counter.finish().map_err(|e| Refused::malformed(e.to_string()))?;
    Ok((length, records))
}

/// The records that prost finds in a message.
fn decoded_records(signal: Signal, message: &[u8]) -> Result<u64, prost::DecodeError> {
    let records: usize = match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(message)?;
            request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(message)?;
            request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(message)?;
            request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).map(|s| s.metrics.len()).sum()
        }
    };
    Ok(records as u64)
}

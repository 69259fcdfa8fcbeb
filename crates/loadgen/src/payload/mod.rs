//! Export requests, made before a run from a seed: what is measured is never the making of them.
//!
//! A request looks like what nodes of a libp2p network send: four resources of two scopes each, records of about 450 bytes with
//! nine attributes of the usual kinds, spans with an event. A given share of the records names peers, alone, in multiaddrs and
//! inside sentences; the others hold look-alikes (trace ids, digests, user agents), since a redactor must look at those too.
//!
//! A run sends several distinct requests in turn, more bytes than a core's cache holds.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use crate::error::{Error, Result};
use crate::grpc::{self, Signal};
use crate::peers::PeerBook;
use crate::rng::Rng;

mod lines;
mod series;

/// Resources of a request, if it has records enough.
const RESOURCES: usize = 4;
/// Scopes of a resource, likewise.
const SCOPES: usize = 2;
/// Spans of a trace: what trace-id sampling keeps or drops together.
const SPANS_PER_TRACE: usize = 5;
/// When the telemetry happened: fixed, so that a seed gives the same bytes on any day.
const BASE_TIME_NS: u64 = 1_780_000_000_000_000_000;

const PROTOCOLS: [&str; 6] = [
    "/ipfs/kad/1.0.0",
    "/ipfs/bitswap/1.2.0",
    "/meshsub/1.1.0",
    "/ipfs/id/1.0.0",
    "/libp2p/circuit/relay/0.2.0/hop",
    "/ipfs/ping/1.0.0",
];
const SPAN_NAMES: [&str; 6] = [
    "dht.find_node",
    "bitswap.get_block",
    "gossipsub.publish",
    "swarm.dial",
    "dht.put_provider",
    "identify.push",
];
const AGENTS: [&str; 4] =
    ["kubo/0.29.0/3f0947b", "rust-libp2p/0.44.2", "lodestar/v1.25.0/linux-x64/nodejs", "go-waku/v0.9.0-rc.1"];
const POD_NAMES: [&str; 4] =
    ["bootstrap-7f8c9d6b5-xk2lp", "relay-0", "gateway-66b8f7dfc9-q8zvm", "crawler-28791240-7jx4n"];

/// What a payload is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// An OTLP export request with its gRPC frame header.
    #[default]
    Otlp,
    /// A remote-write 2.0 request in a snappy block. Records are samples, and name no peers.
    RemoteWrite,
    /// Syslog messages (RFC 5424) with octet counting, for a TCP connection.
    Syslog,
    /// JSON lines, for a TCP connection.
    JsonLines,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct PayloadSpec {
    /// What it is on the wire.
    pub form: Form,
    /// Traces or logs, for [`Form::Otlp`].
    pub signal: Signal,
    /// Records a request.
    pub records_per_request: usize,
    /// Distinct requests, sent in turn.
    pub distinct: usize,
    /// Per cent of the records that name a peer.
    pub peer_percent: u32,
    /// Size of the pool of peers.
    pub peers: usize,
    /// Compress the requests beforehand.
    pub gzip: bool,
    /// Everything else follows from it.
    pub seed: u64,
}

impl Default for PayloadSpec {
    fn default() -> Self {
        Self {
            form: Form::Otlp,
            signal: Signal::Traces,
            records_per_request: 1_000,
            distinct: 16,
            peer_percent: 10,
            peers: 5_000,
            gzip: false,
            seed: 1,
        }
    }
}

/// One request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Payload {
    /// As it goes on the wire.
    pub framed: Bytes,
    /// Records in it.
    pub records: u64,
    /// Bytes of the message before compression.
    pub message_bytes: u64,
}

/// The requests of a run and the peers they name.
#[derive(Clone, Debug)]
pub struct PayloadSet {
    /// What was asked for.
    pub spec: PayloadSpec,
    /// At least one.
    pub requests: Vec<Payload>,
    /// Every peer that may occur.
    pub peers: Arc<PeerBook>,
}

impl PayloadSet {
    /// Makes the requests. Fails on numbers that make no request.
    pub fn new(spec: PayloadSpec) -> Result<Self> {
        if spec.records_per_request == 0 || spec.distinct == 0 || spec.peer_percent > 100 {
            return Err(Error::Setting(
                "a payload needs at least one record, one distinct request, and at most 100 % of peers"
                    .into(),
            ));
        }
        if spec.form == Form::Otlp && spec.signal == Signal::Metrics {
            return Err(Error::Setting("there are payloads for traces and logs, not for metrics".into()));
        }
        let peers = Arc::new(PeerBook::new(spec.seed, spec.peers));
        let mut rng = Rng::new(spec.seed);
        let requests =
            (0..spec.distinct).map(|n| one_request(&spec, n, &peers, &mut rng)).collect::<Result<_>>()?;
        Ok(Self { spec, requests, peers })
    }

    /// Mean bytes of a record before compression, its share of resource and scope included.
    pub fn bytes_per_record(&self) -> f64 {
        let bytes: u64 = self.requests.iter().map(|r| r.message_bytes).sum();
        let records: u64 = self.requests.iter().map(|r| r.records).sum();
        bytes as f64 / records as f64
    }
}

fn one_request(spec: &PayloadSpec, number: usize, peers: &PeerBook, rng: &mut Rng) -> Result<Payload> {
    let mut maker = Maker { peers, rng, percent: spec.peer_percent as usize, made: 0, trace_id: [0; 16] };
    let records = spec.records_per_request as u64;
    let mut log_records =
        || (0..spec.records_per_request).map(|_| maker.log_record()).collect::<Vec<_>>().into_iter();
    let lines = match spec.form {
        Form::Otlp => None,
        Form::RemoteWrite => {
            let (body, size) = series::request(number, spec.records_per_request, spec.seed)?;
            return Ok(Payload { framed: body.into(), records, message_bytes: size as u64 });
        }
        Form::Syslog => Some(lines::syslog(log_records())),
        Form::JsonLines => Some(lines::json(log_records())),
    };
    if let Some(lines) = lines {
        let message_bytes = lines.len() as u64;
        return Ok(Payload { framed: lines.into(), records, message_bytes });
    }
    let groups = maker.groups(spec.records_per_request);
    let message = match spec.signal {
        Signal::Logs => maker.logs(groups).encode_to_vec(),
        Signal::Traces | Signal::Metrics => maker.traces(groups).encode_to_vec(),
    };
    let framed = if spec.gzip { grpc::frame(&gzip(&message)?, true) } else { grpc::frame(&message, false) };
    Ok(Payload { framed, records, message_bytes: message.len() as u64 })
}

fn gzip(message: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message)?;
    Ok(encoder.finish()?)
}

/// Makes the records of one request.
struct Maker<'a> {
    peers: &'a PeerBook,
    rng: &'a mut Rng,
    percent: usize,
    made: usize,
    trace_id: [u8; 16],
}

impl Maker<'_> {
    /// How many records go into each scope of each resource; none is empty.
    fn groups(&self, records: usize) -> Vec<Vec<usize>> {
        let resources = RESOURCES.min(records.div_ceil(SCOPES));
        let share = |all: usize, parts: usize, part: usize| all * (part + 1) / parts - all * part / parts;
        let scopes = |records: usize| {
            let parts = SCOPES.min(records);
            (0..parts).map(|part| share(records, parts, part)).collect()
        };
        (0..resources).map(|part| scopes(share(records, resources, part))).collect()
    }

    fn traces(&mut self, groups: Vec<Vec<usize>>) -> ExportTraceServiceRequest {
        let mut resource_spans = Vec::with_capacity(groups.len());
        for scopes in groups {
            let resource = Some(self.resource());
            let scope_spans = scopes.into_iter().map(|count| ScopeSpans {
                scope: Some(self.scope()),
                spans: (0..count).map(|_| self.span()).collect(),
                schema_url: String::new(),
            });
            let scope_spans = scope_spans.collect();
            resource_spans.push(ResourceSpans { resource, scope_spans, schema_url: schema_url() });
        }
        ExportTraceServiceRequest { resource_spans }
    }

    fn logs(&mut self, groups: Vec<Vec<usize>>) -> ExportLogsServiceRequest {
        let mut resource_logs = Vec::with_capacity(groups.len());
        for scopes in groups {
            let resource = Some(self.resource());
            let scope_logs = scopes.into_iter().map(|count| ScopeLogs {
                scope: Some(self.scope()),
                log_records: (0..count).map(|_| self.log_record()).collect(),
                schema_url: String::new(),
            });
            let scope_logs = scope_logs.collect();
            resource_logs.push(ResourceLogs { resource, scope_logs, schema_url: schema_url() });
        }
        ExportLogsServiceRequest { resource_logs }
    }

    fn resource(&mut self) -> Resource {
        let attributes = vec![
            text("service.name", self.rng.pick(&["kubo", "beacon-node", "relay", "indexer"])),
            text("service.version", "0.29.0"),
            text("k8s.pod.name", self.rng.pick(&POD_NAMES)),
            text("host.id", &self.rng.hex::<16>()),
            int("process.pid", 1 + self.rng.below(60_000) as i64),
        ];
        Resource { attributes, ..Default::default() }
    }

    fn scope(&mut self) -> InstrumentationScope {
        let name =
            self.rng.pick(&["github.com/libp2p/go-libp2p-kad-dht", "libp2p_swarm", "@libp2p/gossipsub"]);
        InstrumentationScope { name: name.into(), version: "0.44.2".into(), ..Default::default() }
    }

    /// Whether the next record names a peer; spreads the given share evenly, so that every request holds it exactly.
    fn next_names_peer(&mut self) -> bool {
        let before = self.made * self.percent / 100;
        self.made += 1;
        self.made * self.percent / 100 > before
    }

    fn span(&mut self) -> Span {
        let first_of_trace = self.made.is_multiple_of(SPANS_PER_TRACE);
        if first_of_trace {
            self.trace_id = self.rng.bytes();
        }
        let names_peer = self.next_names_peer();
        let start = BASE_TIME_NS + self.made as u64 * 1_000_000 + self.rng.below(1_000_000);
        let end = start + 10_000 + self.rng.below(900_000_000);
        let failed = self.rng.below(50) == 0;
        let mut attributes = self.common_attributes();
        attributes.push(if names_peer { self.peer_attribute() } else { self.plain_attribute() });
        Span {
            trace_id: self.trace_id.to_vec(),
            span_id: self.rng.bytes::<8>().to_vec(),
            parent_span_id: if first_of_trace { vec![] } else { self.rng.bytes::<8>().to_vec() },
            // Sampled, id is random, parent is known to be local (bits 0, 1 and 8).
            flags: 0x103,
            name: self.rng.pick(&SPAN_NAMES).into(),
            kind: [SpanKind::Client, SpanKind::Server, SpanKind::Internal][self.rng.index(3)] as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes,
            events: vec![Event {
                time_unix_nano: start + 5_000,
                name: self.rng.pick(&["stream.opened", "stream.reset", "message"]).into(),
                attributes: vec![int("stream.id", self.rng.below(100_000) as i64)],
                ..Default::default()
            }],
            status: failed.then(|| Status { message: "context deadline exceeded".into(), code: 2 }),
            ..Default::default()
        }
    }

    fn log_record(&mut self) -> LogRecord {
        if self.made.is_multiple_of(SPANS_PER_TRACE) {
            self.trace_id = self.rng.bytes();
        }
        let names_peer = self.next_names_peer();
        // Of the records that name a peer every second does so in its body, as real logs do.
        let in_body = names_peer && self.rng.below(2) == 0;
        let mut attributes = self.common_attributes();
        attributes.push(if names_peer && !in_body { self.peer_attribute() } else { self.plain_attribute() });
        let time = BASE_TIME_NS + self.made as u64 * 1_000_000 + self.rng.below(1_000_000);
        let (number, severity) = [(5, "DEBUG"), (9, "INFO"), (9, "INFO"), (13, "WARN")][self.rng.index(4)];
        LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time + self.rng.below(50_000_000),
            severity_number: number,
            severity_text: severity.into(),
            body: Some(any(Value::StringValue(if in_body {
                self.peer_sentence()
            } else {
                self.plain_sentence()
            }))),
            attributes,
            flags: 1,
            trace_id: self.trace_id.to_vec(),
            span_id: self.rng.bytes::<8>().to_vec(),
            ..Default::default()
        }
    }

    /// Eight attributes that any record has.
    fn common_attributes(&mut self) -> Vec<KeyValue> {
        vec![
            text("rpc.system", "libp2p"),
            text("libp2p.protocol", self.rng.pick(&PROTOCOLS)),
            text("network.transport", self.rng.pick(&["quic", "tcp", "webtransport"])),
            text("session.id", &self.rng.hex::<8>()),
            int("message.bytes_sent", self.rng.below(1 << 20) as i64),
            int("message.bytes_received", self.rng.below(1 << 24) as i64),
            int("dht.hops", self.rng.below(20) as i64),
            KeyValue {
                value: Some(any(Value::BoolValue(self.rng.below(2) == 0))),
                ..text("connection.relayed", "")
            },
        ]
    }

    /// The ninth: something long without a peer, at times one that looks like one from afar.
    fn plain_attribute(&mut self) -> KeyValue {
        match self.rng.below(3) {
            0 => text("user_agent.original", self.rng.pick(&AGENTS)),
            1 => text("container.image.digest", &format!("sha256:{}", self.rng.hex::<32>())),
            _ => text("url.full", &format!("https://gateway.example/api/v0/block/{}", self.rng.hex::<12>())),
        }
    }

    fn peer_attribute(&mut self) -> KeyValue {
        let id = self.peers.draw(self.rng).to_owned();
        match self.rng.below(4) {
            0 => text("peer.id", &id),
            1 | 2 => text("network.peer.address", &self.multiaddr(&id)),
            _ => text("error.message", &self.peer_sentence()),
        }
    }

    fn multiaddr(&mut self, id: &str) -> String {
        let [a, b] = self.rng.bytes::<2>();
        let port = 4_001 + self.rng.below(1_000);
        match self.rng.below(4) {
            0 => format!("/ip4/198.51.100.{a}/tcp/{port}/p2p/{id}"),
            1 => format!("/ip4/203.0.113.{a}/udp/{port}/quic-v1/p2p/{id}"),
            2 => format!("/ip6/2001:db8::{a:x}:{b:x}/tcp/{port}/p2p/{id}"),
            _ => {
                let other = self.peers.draw(self.rng);
                format!("/dns4/relay-{a}.example/tcp/{port}/p2p/{other}/p2p-circuit/p2p/{id}")
            }
        }
    }

    fn peer_sentence(&mut self) -> String {
        let id = self.peers.draw(self.rng).to_owned();
        match self.rng.below(3) {
            0 => format!("failed to dial {id}: all dials failed"),
            1 => format!("connected to peer {} after {} ms", self.multiaddr(&id), self.rng.below(900)),
            _ => format!("pruned peer={id} score=-{} from mesh", self.rng.below(100)),
        }
    }

    fn plain_sentence(&mut self) -> String {
        match self.rng.below(3) {
            0 => format!(
                "GC removed {} blocks, freed {} bytes",
                self.rng.below(10_000),
                self.rng.below(1 << 30)
            ),
            1 => format!(
                "routing table refreshed in {} ms, {} buckets",
                self.rng.below(900),
                self.rng.below(256)
            ),
            _ => format!("block {} validated, queue length {}", self.rng.hex::<16>(), self.rng.below(500)),
        }
    }
}

fn schema_url() -> String {
    "https://opentelemetry.io/schemas/1.30.0".into()
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(Value::StringValue(value.into()))), ..Default::default() }
}

fn int(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(Value::IntValue(value))), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn message(payload: &Payload) -> &[u8] {
        &payload.framed[grpc::FRAME_HEADER_LEN..]
    }

    fn set(signal: Signal, records_per_request: usize) -> PayloadSet {
        PayloadSet::new(PayloadSpec { signal, records_per_request, distinct: 3, ..Default::default() })
            .unwrap()
    }

    /// Strings of every span, one list a span, from prost's view of the message.
    fn span_texts(payload: &Payload) -> Vec<Vec<String>> {
        let request = ExportTraceServiceRequest::decode(message(payload)).unwrap();
        let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
        let string = |kv: &KeyValue| match kv.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.clone()),
            _ => None,
        };
        spans.map(|span| span.attributes.iter().filter_map(string).collect()).collect()
    }

    #[test]
    fn spans_have_the_promised_size_and_share_of_peers() {
        let set = set(Signal::Traces, 1_000);
        let bytes = set.bytes_per_record();
        assert!((420.0..480.0).contains(&bytes), "{bytes} bytes a span");
        for payload in &set.requests {
            assert_eq!(wire::count_records(message(payload)), Ok(1_000));
            let texts = span_texts(payload);
            assert_eq!(texts.len(), 1_000);
            let with_peer =
                texts.iter().filter(|t| t.iter().any(|s| set.peers.find_leaks(s.as_bytes()).is_some()));
            assert_eq!(with_peer.count(), 100);
        }
    }

    #[test]
    fn log_records_have_the_promised_size_and_share_of_peers() {
        let set = set(Signal::Logs, 1_000);
        let bytes = set.bytes_per_record();
        assert!((400.0..480.0).contains(&bytes), "{bytes} bytes a log record");
        let request = ExportLogsServiceRequest::decode(message(&set.requests[0])).unwrap();
        let records = request.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records);
        let (mut named, mut in_body) = (0, 0);
        for record in records {
            let body = record.body.as_ref().unwrap().encode_to_vec();
            in_body += u32::from(set.peers.find_leaks(&body).is_some());
            named += u32::from(set.peers.find_leaks(&record.encode_to_vec()).is_some());
        }
        assert_eq!(named, 100);
        assert!((30..70).contains(&in_body), "{in_body} of 100 in the body");
    }

    #[test]
    fn a_seed_makes_the_same_bytes_and_requests_differ() {
        let (one, again) = (set(Signal::Traces, 50), set(Signal::Traces, 50));
        assert_eq!(one.requests[2].framed, again.requests[2].framed);
        assert_ne!(one.requests[0].framed, one.requests[1].framed);
    }

    #[test]
    fn every_count_of_records_is_kept_and_no_scope_is_empty() {
        for records in [1, 2, 3, 7, 10, 1_001] {
            let set = set(Signal::Traces, records);
            let request = ExportTraceServiceRequest::decode(message(&set.requests[0])).unwrap();
            let scopes: Vec<_> = request.resource_spans.iter().flat_map(|r| &r.scope_spans).collect();
            assert!(scopes.iter().all(|s| !s.spans.is_empty()));
            assert_eq!(scopes.iter().map(|s| s.spans.len()).sum::<usize>(), records);
        }
    }

    #[test]
    fn peers_repeat_but_many_occur() {
        let set = set(Signal::Traces, 1_000);
        let all: Vec<String> = set.requests.iter().flat_map(span_texts).flatten().collect();
        let seen = set.peers.ids().iter().filter(|id| all.iter().any(|text| text.contains(*id))).count();
        assert!((100..300).contains(&seen), "{seen} distinct peers in 300 records");
    }

    #[test]
    fn impossible_settings_are_refused() {
        for spec in [
            PayloadSpec { records_per_request: 0, ..Default::default() },
            PayloadSpec { distinct: 0, ..Default::default() },
            PayloadSpec { peer_percent: 101, ..Default::default() },
            PayloadSpec { signal: Signal::Metrics, ..Default::default() },
        ] {
            assert!(PayloadSet::new(spec).is_err());
        }
    }
}

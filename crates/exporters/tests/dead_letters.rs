//! What every exporter that can be refused promises: a bad record among good ones is alone in the dead letters, with its reason.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use buffer::{FileStorage, Log, Options};
use common::{HttpServer, Reply, Seen, grpc_reply, log_request, parse, reply, request, traces};
use engine::component::AnyReceiverConfig;
use engine::stored::{Letter, decode_letter};
use engine::{
    BoxFuture, BuildContext, BuildError, Claim, ComponentSpec, Graph, GraphSpec, Inlet, PipelineSpec,
    Receiver, ReceiverContext, Serving,
};
use exporters::EXPORTERS;
use http::HeaderValue;
use model::otlp::ExportLogsServiceRequest;
use model::{AckMode, Payload, Request, Signal};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use prost::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::{Value, json};

/// A receiver that hands out its inlet.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Option<Inlet>>>);

impl Receiver for Source {
    fn start(self: Box<Self>, context: ReceiverContext) -> BoxFuture<'static, Result<Serving, BuildError>> {
        Box::pin(async move {
            *self.0.lock().unwrap() = Some(context.inlet.clone());
            Ok(Box::pin(async move { context.shutdown.requested().await }) as Serving)
        })
    }
}

impl AnyReceiverConfig for Source {
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    fn ack(&self) -> Option<AckMode> {
        Some(AckMode::Received)
    }

    fn build(self: Box<Self>, _: &BuildContext) -> Result<Box<dyn Receiver>, BuildError> {
        Ok(self)
    }
}

/// Sends a request through the exporter in the delivery loop, and returns its dead letters.
async fn letters(name: &str, mut settings: Value, sent: Request) -> Vec<Letter> {
    let folder = tempfile::tempdir().unwrap();
    settings["dead_letters"] = json!({"directory": folder.path().join("letters")});
    settings["queue"] = json!({"concurrency": 1});
    let factory = EXPORTERS.iter().find(|factory| factory.name == name).unwrap();
    let source = Source::default();
    let ids = || vec!["x".to_owned()];
    let spec = GraphSpec {
        budget_bytes: 64 << 20,
        receivers: vec![ComponentSpec {
            id: "x".to_owned(),
            signals: &Signal::ALL,
            fingerprint: engine::Fingerprint::default(),
            config: Box::new(source.clone()),
        }],
        exporters: vec![ComponentSpec {
            id: "x".to_owned(),
            signals: factory.signals,
            fingerprint: engine::Fingerprint::default(),
            config: parse(name, &settings).unwrap(),
        }],
        pipelines: vec![PipelineSpec {
            name: "main".to_owned(),
            receivers: ids(),
            exporters: ids(),
            ..PipelineSpec::default()
        }],
        ..GraphSpec::default()
    };
    let running = Graph::build(spec, false).unwrap().start().await.unwrap();
    let inlet = source.0.lock().unwrap().clone().unwrap();
    inlet.send(sent, inlet.permit()).await.unwrap();
    drop(inlet);
    let report = running.stop(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{name}: {report:?}");
    read(&folder.path().join("letters"))
}

fn read(folder: &Path) -> Vec<Letter> {
    let mut log = Log::open(FileStorage::open(folder).unwrap(), Options::default()).unwrap();
    let (mut letters, mut after) = (Vec::new(), 0);
    while let Some(record) = log.read_next(after).unwrap() {
        after = record.seq;
        letters.push(decode_letter(record.tag, record.bytes).unwrap());
    }
    letters
}

fn assert_alone(name: &str, letters: &[Letter], reason: &str) {
    let [letter] = letters else { panic!("{name}: {letters:?}") };
    assert_eq!((letter.reason.as_str(), letter.payload.items()), (reason, 1), "{name}: {letter:?}");
    assert!(is_bad(&letter.payload), "{name}: {letter:?}");
    assert!(!letter.message.is_empty() && !letter.message.contains("bad"), "{name}: {}", letter.message);
}

fn holds_bad(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|window| window == b"bad")
}

fn is_bad(payload: &Payload) -> bool {
    match payload {
        Payload::Otlp(request) => holds_bad(request.bytes()),
        Payload::Series(series) => series.iter().any(|one| one.labels().iter().any(|(_, v)| v == "bad")),
    }
}

/// Whether what a server got is refused: snappy is undone.
fn refused(seen: &Seen) -> bool {
    let plain = snap::raw::Decoder::new().decompress_vec(&seen.body);
    holds_bad(&plain.unwrap_or_else(|_| seen.body.to_vec()))
}

fn http(status: u16, message: &'static str) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| if refused(seen) { reply(status, &[], message) } else { reply(200, &[], "") }
}

fn grpc(seen: &Seen) -> Reply {
    let mut answer = grpc_reply(&[]);
    if refused(seen) {
        answer = reply(200, &[("content-type", "application/grpc")], "");
        answer.headers_mut().insert("grpc-status", HeaderValue::from_static("3"));
    }
    answer
}

/// A bulk answer: a document that is bad has a field that does not parse.
fn bulk(seen: &Seen) -> Reply {
    let lines: Vec<_> = seen.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let items = lines.chunks(2).map(|pair| match holds_bad(pair[1]) {
        true => {
            json!({"create": {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "no"}}})
        }
        false => json!({"create": {"status": 201}}),
    });
    let items: Vec<Value> = items.collect();
    let body = json!({"took": 1, "errors": true, "items": items}).to_string();
    reply(200, &[("content-type", "application/json")], body)
}

fn logs() -> Request {
    log_request(&["one", "two", "three", "bad", "five"])
}

fn spans() -> Request {
    let mut all = traces("one");
    ["bad", "three", "four"].iter().for_each(|name| all.resource_spans.extend(traces(name).resource_spans));
    request(Signal::Traces, &all)
}

fn metrics(all: Vec<(&str, bool)>) -> Request {
    let metric = |(name, delta): (&str, bool)| {
        let value = Some(number_data_point::Value::AsInt(7));
        let data_points = vec![NumberDataPoint { value, time_unix_nano: 1, ..NumberDataPoint::default() }];
        let data = match delta {
            true => metric::Data::Sum(Sum { data_points, aggregation_temporality: 1, is_monotonic: true }),
            false => metric::Data::Gauge(Gauge { data_points }),
        };
        Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
    };
    let scope = ScopeMetrics { metrics: all.into_iter().map(metric).collect(), ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    request(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics: vec![resource] })
}

fn gauges() -> Request {
    metrics(["one", "bad", "three", "four", "five"].map(|name| (name, false)).to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_among_good_ones_is_in_the_dead_letters_alone_with_its_reason() {
    for factory in EXPORTERS {
        match factory.name {
            // They are not refused by anybody.
            "file" | "debug" => {}
            "otlp" | "tempo" => otlp(factory.name).await,
            "loki" => loki().await,
            "elasticsearch" => elasticsearch().await,
            "prometheus_remote_write" => prometheus().await,
            "kafka" => kafka().await,
            new => panic!("say here how a destination refuses a record of {new}"),
        }
    }
}

async fn otlp(name: &str) {
    let server = HttpServer::judging(grpc).await;
    let settings = json!({"endpoint": format!("http://{}", server.addr)});
    assert_alone(name, &letters(name, settings, spans()).await, "refused_by_destination");
    let server = HttpServer::judging(http(400, "no such thing")).await;
    let settings = json!({"endpoint": format!("http://{}", server.addr), "protocol": "http"});
    assert_alone(name, &letters(name, settings, spans()).await, "refused_by_destination");
}

async fn loki() {
    let server = HttpServer::judging(http(400, "entry for stream '{}' has timestamp too old")).await;
    let settings = json!({"endpoint": format!("http://{}", server.addr)});
    assert_alone("loki", &letters("loki", settings, logs()).await, "too_old");
}

async fn elasticsearch() {
    let server = HttpServer::judging(bulk).await;
    let settings = json!({"endpoints": [format!("http://{}", server.addr)]});
    assert_alone("elasticsearch", &letters("elasticsearch", settings, logs()).await, "mapping");
    // A single document that is too large for the server.
    let judge = |seen: &Seen| if refused(seen) { reply(413, &[], "") } else { bulk(seen) };
    let server = HttpServer::judging(judge).await;
    let settings = json!({"endpoints": [format!("http://{}", server.addr)]});
    assert_alone("elasticsearch", &letters("elasticsearch", settings, logs()).await, "too_large");
}

async fn prometheus() {
    let name = "prometheus_remote_write";
    let server = HttpServer::judging(http(400, "out of order sample")).await;
    let endpoint = format!("http://{}/api/v1/write", server.addr);
    let settings = json!({"endpoint": endpoint, "protocol_version": "v1"});
    assert_alone(name, &letters(name, settings, gauges()).await, "out_of_order");
}

async fn kafka() {
    let cluster: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let settings = json!({
        "brokers": [cluster.bootstrap_servers()],
        "retry": {"timeout_ms": 5000},
        "max_message_bytes": 1024,
    });
    let large = "ab".repeat(1000).replace("aba", "bad");
    let sent = log_request(&["one", "two", &large, "four"]);
    assert_alone("kafka", &letters("kafka", settings, sent).await, "message_too_large");
}

#[tokio::test]
async fn where_the_destination_does_not_say_which_the_letter_holds_all_that_it_may_be() {
    use opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceResponse,
    };
    let partial = ExportLogsPartialSuccess { rejected_log_records: 2, error_message: "too old".to_owned() };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let judge = move |_: &Seen| reply(200, &[("content-type", "application/x-protobuf")], answer.clone());
    let server = HttpServer::judging(judge).await;
    let settings = json!({"endpoint": format!("http://{}", server.addr), "protocol": "http"});
    let found = letters("otlp", settings, logs()).await;
    let [Letter { message, payload: Payload::Otlp(payload), .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(message, "2 of 5 records refused; the destination does not say which: too old");
    assert_eq!(ExportLogsServiceRequest::of(payload.bytes()).resource_logs().count(), 1);
    assert_eq!(payload.items(), 5);

    // Remote-write 2.0 says how many were written; only one shard was concerned.
    let written = |n: &'static str| [("x-prometheus-remote-write-samples-written", n)];
    let judge = move |seen: &Seen| match refused(seen) {
        true => reply(400, &written("3"), "out of order sample\nduplicate sample for timestamp"),
        false => reply(204, &written("1"), ""),
    };
    let server = HttpServer::judging(judge).await;
    let settings = json!({"endpoint": format!("http://{}/api/v1/write", server.addr)});
    let found = letters("prometheus_remote_write", settings, gauges()).await;
    let [Letter { reason, message, payload }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((reason.as_str(), payload.items()), ("out_of_order", 5));
    let told = "2 of 5 records refused; the destination does not say which (out_of_order 1, duplicate_sample 1): HTTP 400";
    assert!(message.starts_with(told), "{message}");
}

#[tokio::test]
async fn points_that_prometheus_cannot_have_are_letters_as_they_came() {
    let server =
        HttpServer::judging(|_| reply(204, &[("x-prometheus-remote-write-samples-written", "2")], "")).await;
    let settings = json!({"endpoint": format!("http://{}/api/v1/write", server.addr)});
    let sent = metrics(vec![("one", false), ("bad", true), ("three", false)]);
    let found = letters("prometheus_remote_write", settings, sent).await;
    assert_alone("prometheus_remote_write", &found, "delta_temporality");
    assert!(matches!(found[0].payload, Payload::Otlp(_)));
}

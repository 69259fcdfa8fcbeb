//! The chain of the examples as one: `pipelines/daemonset.yaml` on a node, Kafka, `pipelines/gateway.yaml`, and Tempo, Loki and
//! Prometheus behind it. The files are used as they are; only ports differ.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::UdpSocket;
use std::ops::Range;
use std::time::Duration;

use backends::{Options, Server, loki, prometheus, tempo};
use support::leaks::Leaks;
use support::numbered::{Kind, NAME, number};
use support::peers::{Kind as PeerKind, Peer};
use support::program::{Floodway, redact_lines, root};
use support::{await_that, http};

const WITHIN: Duration = Duration::from_secs(60);
/// The ports in the files, and the names of those that a test is given.
const PORTS: [(&str, &str); 6] = [
    ("4317", "grpc"),
    ("4318", "http"),
    ("19291", "remote_write"),
    ("5514", "syslog"),
    ("5000", "logstash"),
    ("3100", "loki_push"),
];
const TRACES: Range<u64> = 1..1001;
const LOGS: Range<u64> = 1001..1301;
const METRICS: Range<u64> = 2001..2301;
const SERIES: Range<u64> = 3001..3301;

/// A file of `pipelines/`, with what a user would set in the environment.
fn example(file: &str, env: &[(&str, String)]) -> Floodway {
    let mut config = std::fs::read_to_string(root().join("pipelines").join(file)).unwrap();
    for (port, name) in PORTS {
        config = config.replace(&format!("}}:{port}\""), &format!("}}:@{name}@\""));
    }
    Floodway::start_with(|ports| {
        let own =
            [("ADMIN", format!("127.0.0.1:{}", ports[3])), ("REDACT_KEY_FILE", "redact.key".to_owned())];
        let env = env.iter().chain(&own).map(|(name, value)| ((*name).to_owned(), value.clone()));
        (config.clone(), env.collect())
    })
}

fn server(name: &'static str) -> std::thread::JoinHandle<Server> {
    std::thread::spawn(move || Server::start(name, &Options::default()).unwrap())
}

fn post(program: &Floodway, kind: Kind, records: Range<u64>) {
    for first in records.clone().step_by(100) {
        let body = kind.encode(first..(first + 100).min(records.end));
        let answer = http::post_protobuf(program.port("http"), kind.signal(), &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn post_series(program: &Floodway, records: Range<u64>) {
    let headers = ["Content-Type: application/x-protobuf", "Content-Encoding: snappy"];
    let answer =
        http::post(program.port("remote_write"), "/api/v1/write", &headers, &Kind::Series.encode(records));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// A line by each of the ways in for logs, with a peer in it. How many.
fn lines(program: &Floodway, peer: &str) -> usize {
    let syslog = |way: &str| format!("<14>1 - node app 12 - - by {way} {peer}\n");
    let mut tcp = http::connect(program.port("syslog"));
    tcp.write_all(syslog("tcp").as_bytes()).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(syslog("udp").trim_end().as_bytes(), ("127.0.0.1", program.port("syslog"))).unwrap();
    let mut logstash = http::connect(program.port("logstash"));
    logstash.write_all(format!("{{\"message\":\"by logstash {peer}\"}}\n").as_bytes()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let push = format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{now}","by push {peer}"]]}}]}}"#);
    let answer = http::post(
        program.port("loki_push"),
        "/loki/api/v1/push",
        &["Content-Type: application/json"],
        push.as_bytes(),
    );
    assert_eq!(answer.status, 204, "{}", answer.text());
    4
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn kafka_tempo_loki_prometheus_the_examples_work_as_one_chain() {
    let starting = ["kafka", "tempo", "loki", "prometheus"].map(server);
    let [kafka, tempo, loki, prometheus] = starting.map(|starting| starting.join().unwrap());
    let broker = ("KAFKA", kafka.url().to_owned());
    let gateway = example(
        "gateway.yaml",
        &[
            broker.clone(),
            ("TEMPO", format!("http://127.0.0.1:{}", tempo.port("otlp_grpc").unwrap())),
            ("LOKI", loki.url().to_owned()),
            ("PROMETHEUS", prometheus.url().to_owned()),
        ],
    );
    let node = example("daemonset.yaml", &[broker]);
    let peer = Peer::fresh(PeerKind::Ed25519);
    post(&node, Kind::Traces, TRACES);
    post(&node, Kind::Logs, LOGS);
    post(&node, Kind::Metrics, METRICS);
    post_series(&node, SERIES);
    let lines = lines(&node, &peer.base58());

    let delivered = |program: &Floodway, signal: &str| {
        program.metric("floodway_delivered_items_total", &[&format!("signal=\"{signal}\"")])
    };
    let logs = LOGS.count() + lines;
    let points = METRICS.count() + SERIES.count();
    await_that("the node has handed on all", WITHIN, || {
        delivered(&node, "logs") == logs as f64
            && delivered(&node, "metrics") == points as f64
            && node.metric("floodway_queue_items", &[]) == 0.0
    });
    // One trace in ten stays, on every node the same.
    let kept = delivered(&node, "traces");
    assert!((50.0..160.0).contains(&kept), "{kept} of 1000 traces");
    await_that("the gateway has delivered all", WITHIN, || {
        delivered(&gateway, "traces") == kept
            && delivered(&gateway, "logs") == logs as f64
            && delivered(&gateway, "metrics") == points as f64
    });
    in_tempo(&tempo, kept as usize);
    in_loki(&loki, logs, &peer);
    in_prometheus(&prometheus);
    node.stop().cleanly();
    gateway.stop().cleanly();
}

fn in_tempo(server: &Server, kept: usize) {
    let query = format!("{{ resource.service.name = \"{NAME}\" }}");
    let found = tempo::await_traces(server, &query, kept, WITHIN).unwrap();
    let numbers: BTreeSet<u64> = found.iter().map(|trace| number(&trace.root_trace_name).unwrap()).collect();
    assert_eq!((numbers.len(), found.len()), (kept, kept));
    assert!(numbers.iter().all(|n| TRACES.contains(n)));
}

fn in_loki(server: &Server, count: usize, peer: &Peer) {
    let found = loki::await_entries(server, "{job=\"floodway\"}", count, WITHIN).unwrap();
    assert_eq!(found.len(), count);
    let numbers: Vec<u64> = found.iter().filter_map(|entry| number(&entry.line).ok()).collect();
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), LOGS.collect());
    let name = redact_lines(&[peer.base58()]).remove(0);
    for way in ["tcp", "udp", "logstash", "push"] {
        let line = format!("by {way} {name}");
        assert!(found.iter().any(|entry| entry.line == line), "{line:?} is not in Loki: {found:?}");
    }
    Leaks::of([peer]).assert_none("Loki", format!("{found:?}").as_bytes());
}

fn in_prometheus(server: &Server) {
    let expected = METRICS.count() + SERIES.count();
    let found = prometheus::await_query(server, NAME, WITHIN, |found| found.len() >= expected).unwrap();
    let numbers: BTreeSet<u64> = found.iter().map(|series| number(&series.labels["n"]).unwrap()).collect();
    assert_eq!(numbers, METRICS.chain(SERIES).collect());
    assert!(found.iter().all(|series| number(&series.labels["n"]).unwrap() as f64 == series.value));
}

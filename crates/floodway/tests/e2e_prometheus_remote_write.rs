//! A real Prometheus that scrapes itself and a target of ours, and sends to the program by remote-write of both versions.
//!
//! Prometheus counts what it sent, what was refused and what it had to repeat; its books and the program's must agree.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backends::{Options, Server, prometheus};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::program::{Floodway, free_port};
use support::{await_some, await_that};

const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";
const PATIENCE: Duration = Duration::from_secs(60);

/// Something to scrape: a counter with an exemplar and a start, and a gauge until it is told that the peers are gone.
struct Target {
    port: u16,
    gone: Arc<AtomicBool>,
}

impl Target {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gone = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&gone);
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut request = [0; 4096];
                let _ = socket.read(&mut request);
                let gauge = "# TYPE p2p_peers gauge\np2p_peers{transport=\"quic\"} 42\n";
                let body = format!(
                    "# HELP p2p_dials Dials so far.\n# TYPE p2p_dials counter\n\
                     p2p_dials_total{{outcome=\"ok\"}} 7 # {{trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}} 0.5\n\
                     p2p_dials_created{{outcome=\"ok\"}} 1700000000.5\n{}# EOF\n",
                    if told.load(Ordering::Relaxed) { "" } else { gauge }
                );
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\
                            content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
                let _ = write!(socket, "{head}content-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { port, gone }
    }
}

fn sending(message: &str, target: &Target, port: u16) -> Server {
    let config = format!(
        "
global:
  scrape_interval: 1s
  scrape_native_histograms: true
  scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4]
scrape_configs:
  - {{job_name: self, static_configs: [{{targets: ['127.0.0.1:@http@']}}]}}
  - {{job_name: p2p, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}
remote_write:
  - url: 'http://127.0.0.1:{port}/api/v1/write'
    protobuf_message: {message}
    send_exemplars: true
    send_native_histograms: true
    queue_config: {{batch_send_deadline: 100ms, min_backoff: 50ms, max_backoff: 500ms}}
    metadata_config: {{send: true, send_interval: 1s}}
",
        target.port,
    );
    let features = "--enable-feature=exemplar-storage,metadata-wal-records,st-storage";
    let options = Options { args: vec![features.to_owned()], ..Options::with_config(config) };
    Server::start("prometheus", &options).unwrap()
}

fn own(server: &Server, name: &str) -> f64 {
    prometheus::own_metric(server, &format!("prometheus_remote_storage_{name}")).unwrap()
}

/// Samples and histograms that Prometheus sent, what it sent again counted once.
fn sent(server: &Server) -> f64 {
    let of =
        |kind: &str| own(server, &format!("{kind}_total")) - own(server, &format!("{kind}_retried_total"));
    of("samples") + of("histograms")
}

/// A pipeline from remote-write on `port` to a file.
fn floodway(port: &str) -> Floodway {
    Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers: {{remote_write: {{endpoint: '127.0.0.1:{port}'}}}}
exporters: {{file: {{directory: '@dir@/out'}}}}
pipelines: {{metrics: {{receivers: [remote_write], exporters: [file]}}}}
"
    ))
}

/// Waits until the program has accepted what Prometheus has sent, no less and no more, and nothing was refused or dropped.
fn books_agree(server: &Server, program: &Floodway, accepted_before: f64) {
    await_that("the program's and Prometheus's books agree", PATIENCE, || {
        let before = sent(server);
        accepted_before + program.accepted() == before && before == sent(server)
    });
    for lost in
        ["samples_failed", "samples_dropped", "histograms_failed", "histograms_dropped", "exemplars_failed"]
    {
        assert_eq!(own(server, &format!("{lost}_total")), 0.0, "{lost}");
    }
    assert_eq!(program.metric("floodway_refused_requests_total", &[]), 0.0, "{}", program.metrics());
}

fn arrives_whole(message: &str) {
    let target = Target::start();
    let program = floodway("@http@");
    let server = sending(message, &target, program.port("http"));
    await_that("Prometheus sends everything that it has", PATIENCE, || {
        own(&server, "samples_total") > 2000.0
            && own(&server, "histograms_total") > 20.0
            && own(&server, "exemplars_total") > 0.0
            // In 2.0 it is a part of the series, and not counted.
            && (message == V2 || own(&server, "metadata_total") > 0.0)
    });
    books_agree(&server, &program, 0.0);
    // The gauge ends with a stale marker, which is no more to be refused than other samples.
    target.gone.store(true, Ordering::Relaxed);
    let before = own(&server, "samples_total");
    await_that("some scrapes more", PATIENCE, || own(&server, "samples_total") > before + 1500.0);
    books_agree(&server, &program, 0.0);
    assert_eq!(own(&server, "samples_retried_total"), 0.0);
    drop(server);
    values_arrived(program.stop().cleanly().dir());
}

/// Prometheus to the program to another Prometheus, by 2.0. What sends puts exemplars into series of their own, which 2.0 does not take.
fn passes_on(message: &str) {
    let target = Target::start();
    let destination = Server::start("prometheus", &Options::default()).unwrap();
    let program = Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers: {{remote_write: {{endpoint: '127.0.0.1:@http@'}}}}
exporters:
  prometheus_remote_write:
    endpoint: 'http://127.0.0.1:{}/api/v1/write'
    protocol_version: v2
    dead_letters: {{directory: '@dir@/letters'}}
pipelines: {{metrics: {{receivers: [remote_write], exporters: [prometheus_remote_write]}}}}
",
        destination.port("http").unwrap()
    ));
    let server = sending(message, &target, program.port("http"));
    await_that("the exemplar arrives", PATIENCE, || {
        let found = prometheus::exemplars(&destination, "p2p_dials_total").unwrap();
        found.iter().any(|labels| labels["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736")
    });
    await_that("some more", PATIENCE, || own(&server, "samples_total") > 2000.0);
    drop(server);
    assert_eq!(program.metric("floodway_dropped_items_total", &[]), 0.0, "{}", program.metrics());
    assert_eq!(program.metric("floodway_dead_letters_items_total", &[]), 0.0);
    program.stop().cleanly();
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_exemplars_pass_on_to_another_prometheus() {
    passes_on(V1);
    passes_on(V2);
}

/// The points of the metric `name` in the file, in order.
fn points(lines: &str, name: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for line in lines.lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
        for scope in list(&request, "resourceMetrics").iter().flat_map(|r| list(r, "scopeMetrics")) {
            for metric in list(&scope, "metrics").iter().filter(|metric| metric["name"] == name) {
                let kinds = ["gauge", "sum"].iter().flat_map(|kind| list(&metric[kind], "dataPoints"));
                found.extend(kinds);
            }
        }
    }
    found
}

fn values_arrived(dir: &Path) {
    let lines = std::fs::read_to_string(dir.join("out/metrics.jsonl")).unwrap();
    let stale = |point: &&Value| point["flags"] == 1;
    let peers = points(&lines, "p2p_peers");
    let (ends, values): (Vec<_>, Vec<_>) = peers.iter().partition(stale);
    assert!(values.len() > 2 && values.iter().all(|point| point["asDouble"] == 42.0), "{values:?}");
    let quic = |point: &&Value| point["attributes"].to_string().contains("quic");
    assert!(values.iter().all(quic), "{values:?}");
    assert_eq!(ends.len(), 1, "the gauge ends once: {peers:?}");
    assert!(stale(&peers.last().unwrap()), "{peers:?}");
    let dials = points(&lines, "p2p_dials_total");
    assert!(dials.len() > values.len() && dials.iter().all(|point| point["asDouble"] == 7.0), "{dials:?}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_remote_write_1_arrives_whole() {
    arrives_whole(V1);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_remote_write_2_arrives_whole() {
    arrives_whole(V2);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_loses_nothing_when_the_program_is_stopped_and_started() {
    let target = Target::start();
    let port = free_port();
    let first = floodway(&port.to_string());
    let server = sending(V2, &target, port);
    await_that("the first samples", PATIENCE, || first.accepted() > 1000.0);
    // Held still while the program is counted and ended, so that nothing comes in between.
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let mut last = first.accepted();
    let accepted = await_some("what was under way has arrived", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = first.accepted();
        (std::mem::replace(&mut last, now) == now).then_some(now)
    });
    first.stop();
    kill_process(pid, Signal::CONT).unwrap();
    await_that("Prometheus sends in vain", PATIENCE, || own(&server, "samples_retried_total") > 0.0);

    let second = floodway(&port.to_string());
    await_that("samples to the second", PATIENCE, || second.accepted() > 1000.0);
    books_agree(&server, &second, accepted);
    drop(server);
    second.stop();
}

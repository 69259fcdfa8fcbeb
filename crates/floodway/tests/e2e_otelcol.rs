//! The real OpenTelemetry Collector on either side of the program: as the sender, as the destination, as a destination that goes away
//! and comes back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use backends::{Options, Server};
use support::grpc::Client;
use support::leaks::{Leaks, count, json_lines};
use support::peers::{Kind, Peer};
use support::program::{Floodway, free_port, redact_lines};
use support::{await_that, requests, telemetrygen};

const STOP: Duration = Duration::from_secs(10);
const RESOURCE_EXHAUSTED: i32 = 8;

/// The Collector relays what it gets to `exporter`.
fn relaying_to(exporter: &str) -> Server {
    let config = format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:@otlp_grpc@'}}}}}}}}
exporters: {{{exporter}}}
service:
  pipelines:
    traces: {{receivers: [otlp], exporters: [{name}]}}
    logs: {{receivers: [otlp], exporters: [{name}]}}
    metrics: {{receivers: [otlp], exporters: [{name}]}}
",
        name = exporter.split(':').next().unwrap()
    );
    Server::start("otelcol", &Options::with_config(config)).unwrap()
}

/// The Collector prints what it gets. The ports are the test's, so that a second one can take the place of the first.
fn printing(grpc: u16, http: u16) -> Server {
    let config = format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters: {{debug: {{verbosity: detailed}}}}
service:
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    logs: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"
    );
    Server::start("otelcol", &Options::with_config(config)).unwrap()
}

fn collector_sends(exporter: impl Fn(&Floodway) -> String) {
    let program = Floodway::redacting_to("file: {directory: '@dir@/out'}");
    let collector = relaying_to(&exporter(&program));
    let port = collector.port("otlp_grpc").unwrap();
    let peer = Peer::fresh(Kind::Secp256k1);
    let ids = [peer.base58(), peer.base36()];
    let name = &redact_lines(&ids)[0];
    let attributes = [("peer.id", ids[0].as_str()), ("node.peer", &ids[1])];
    let body = format!("dialled {}", ids[0]);
    telemetrygen("traces", port, 20, &attributes, &[]);
    telemetrygen(
        "logs",
        port,
        30,
        &attributes,
        &["--body", &body, "--severity-text", "Warn", "--severity-number", "13"],
    );
    telemetrygen(
        "metrics",
        port,
        40,
        &attributes,
        &["--metric-type", "Sum", "--otlp-metric-name", "peers.seen"],
    );
    let items = 2 * 20 + 30 + 40;
    program.await_delivered(items);
    assert_eq!(program.accepted(), items as f64);
    assert_eq!(program.metric("floodway_refused_requests_total", &[]), 0.0);
    collector.stop(STOP).unwrap();
    assert_eq!(program.accepted(), items as f64, "the Collector sent something twice");

    let stopped = program.stop().cleanly();
    let out = stopped.dir().join("out");
    Leaks::of([&peer]).assert_none_in_folder(&out);
    for (file, array, expected) in
        [("traces", "spans", 40), ("logs", "logRecords", 30), ("metrics", "dataPoints", 40)]
    {
        let lines = json_lines(&out.join(format!("{file}.jsonl")));
        let found: usize = lines.iter().map(|line| count(line, array)).sum();
        assert_eq!(found, expected, "{file}");
        let text: String = lines.iter().map(ToString::to_string).collect();
        let attribute = format!("{{\"key\":\"peer.id\",\"value\":{{\"stringValue\":\"{name}\"}}}}");
        assert_eq!(text.matches(&attribute).count(), expected, "{file}");
        assert!(
            text.contains(&format!("{{\"key\":\"node.peer\",\"value\":{{\"stringValue\":\"{name}\"}}}}")),
            "{file}"
        );
    }
    let logs = std::fs::read_to_string(out.join("logs.jsonl")).unwrap();
    assert_eq!(logs.matches(&format!("\"dialled {name}\"")).count(), 30);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_client_over_grpc_with_gzip() {
    collector_sends(|program| {
        format!(
            "otlp: {{endpoint: '127.0.0.1:{}', compression: gzip, tls: {{insecure: true}}}}",
            program.port("grpc")
        )
    });
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_client_over_grpc_with_zstd() {
    collector_sends(|program| {
        format!(
            "otlp: {{endpoint: '127.0.0.1:{}', compression: zstd, tls: {{insecure: true}}}}",
            program.port("grpc")
        )
    });
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_client_over_http_in_protobuf() {
    collector_sends(|program| {
        format!("otlphttp: {{endpoint: 'http://127.0.0.1:{}', encoding: proto}}", program.port("http"))
    });
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_client_over_http_in_json() {
    collector_sends(|program| {
        format!(
            "otlphttp: {{endpoint: 'http://127.0.0.1:{}', encoding: json, compression: zstd}}",
            program.port("http")
        )
    });
}

/// The Collector meets a program that is not there yet: its retry delivers when it is.
#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_client_tries_again_what_was_refused() {
    // Nothing goes out, and the queue takes 8 requests: the Collector must be refused, with a hint that it honours.
    let (grpc, http) = (free_port(), free_port());
    let program = Floodway::redacting_to(&format!(
        "otlp: {{endpoint: 'http://127.0.0.1:{grpc}', queue: {{max_requests: 8, concurrency: 1}}, retry: {{max_backoff_ms: 300}}}}"
    ));
    let client = relaying_to(&format!(
        "otlp: {{endpoint: '127.0.0.1:{}', tls: {{insecure: true}}, retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}}}",
        program.port("grpc")
    ));
    // Batches of one, so that there are more than 8 requests.
    telemetrygen("logs", client.port("otlp_grpc").unwrap(), 60, &[], &["--batch=false", "--body", "again"]);
    await_that("refusing the Collector", Duration::from_secs(20), || program.refused("queue_full") > 0.0);
    let server = printing(grpc, http);
    program.await_delivered(60);
    assert_eq!(program.accepted(), 60.0);
    assert!(!client.log().unwrap().contains("Dropping data"), "the Collector gave up");
    let printed = server.stop(STOP).unwrap();
    assert_eq!(printed.matches("Body: Str(again)").count(), 60);
    program.stop().cleanly();
}

fn collector_receives(exporter: &str) {
    let (grpc, http) = (free_port(), free_port());
    let collector = printing(grpc, http);
    let exporter = exporter.replace("GRPC", &grpc.to_string()).replace("HTTP", &http.to_string());
    let program = Floodway::redacting_to(&exporter);
    let peer = Peer::fresh(Kind::Ed25519);
    let ids = [peer.base58(), peer.base36()];
    let name = &redact_lines(&ids)[0];
    let attributes = [("peer.id", ids[0].as_str()), ("node.peer", &ids[1])];
    let port = program.port("grpc");
    telemetrygen("traces", port, 10, &attributes, &[]);
    telemetrygen("logs", port, 20, &attributes, &["--body", &format!("dialled {}", ids[0])]);
    telemetrygen("metrics", port, 30, &attributes, &["--metric-type", "Histogram"]);
    program.await_delivered(20 + 20 + 30);
    program.stop().cleanly();
    let printed = collector.stop(STOP).unwrap();
    assert_eq!(printed.matches(&format!("-> peer.id: Str({name})")).count(), 70);
    assert_eq!(printed.matches(&format!("Body: Str(dialled {name})")).count(), 20);
    assert!(printed.contains(&format!("-> node.peer: Str({name})")));
    Leaks::of([&peer]).assert_none("what the Collector printed", printed.as_bytes());
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_server_over_grpc() {
    collector_receives("otlp: {endpoint: 'http://127.0.0.1:GRPC'}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_server_over_grpc_with_gzip() {
    collector_receives("otlp: {endpoint: 'http://127.0.0.1:GRPC', compression: gzip, connections: 2}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_server_over_grpc_with_zstd() {
    collector_receives("otlp: {endpoint: 'http://127.0.0.1:GRPC', compression: zstd}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_server_over_http() {
    collector_receives("otlp: {protocol: http, endpoint: 'http://127.0.0.1:HTTP'}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_as_server_over_http_with_zstd() {
    collector_receives("otlp: {protocol: http, compression: zstd, endpoint: 'http://127.0.0.1:HTTP'}");
}

/// The bodies that the Collector printed.
fn bodies(printed: &str) -> BTreeSet<String> {
    let after = printed.split("Body: Str(").skip(1);
    after.map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

/// The Collector is stopped and started again while requests keep coming: everything that was accepted arrives.
fn outage(exporter: &str) {
    let (grpc, http) = (free_port(), free_port());
    let first = printing(grpc, http);
    let exporter = exporter.replace("GRPC", &grpc.to_string()).replace("HTTP", &http.to_string());
    let program = Floodway::redacting_to(&exporter);
    let client = Client::connect(program.port("grpc"));
    let mut sent = BTreeSet::new();
    let mut send = |from: usize, pause: Duration| {
        for n in from..from + 200 {
            let batch: Vec<String> = (0..5).map(|i| format!("event {n}.{i}")).collect();
            let outcome = client.export("logs", &requests::many_logs(&batch));
            assert_eq!(outcome.code, 0, "{outcome:?}");
            sent.extend(batch);
            std::thread::sleep(pause);
        }
    };
    let stopping = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        first.stop(STOP).unwrap()
    });
    send(0, Duration::from_millis(5));
    let mut printed = stopping.join().unwrap();
    send(200, Duration::ZERO);
    let health = support::http::get(program.port("admin"), "/health");
    assert_eq!(health.status, 200);
    assert!(health.text().contains("\"status\":\"degraded\""), "{}", health.text());
    let second = printing(grpc, http);
    send(400, Duration::from_millis(1));
    program.await_delivered(sent.len());
    assert!(program.metric("floodway_export_retries_total", &[]) > 0.0);
    assert_eq!(program.metric("floodway_dropped_items_total", &[]), 0.0);
    program.stop().cleanly();
    printed += &second.stop(STOP).unwrap();
    let arrived = bodies(&printed);
    let lost: Vec<&String> = sent.difference(&arrived).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), sent.len());
    let times = printed.matches("Body: Str(").count();
    // What was in flight at the end may arrive twice: at most a request per worker.
    assert!(times < sent.len() + 4 * 1000, "{times} of {} printed", sent.len());
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_outage_loses_nothing_over_grpc() {
    outage("otlp: {endpoint: 'http://127.0.0.1:GRPC', retry: {max_backoff_ms: 500}}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_outage_loses_nothing_over_http() {
    outage("otlp: {protocol: http, endpoint: 'http://127.0.0.1:HTTP', retry: {max_backoff_ms: 500}}");
}

/// telemetrygen through an outage: no span is lost.
#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_telemetrygen_restart_in_the_middle_of_a_run() {
    let (grpc, http) = (free_port(), free_port());
    let first = printing(grpc, http);
    let program = Floodway::redacting_to(&format!(
        "otlp: {{endpoint: 'http://127.0.0.1:{grpc}', retry: {{max_backoff_ms: 500}}}}"
    ));
    let port = program.port("grpc");
    let sending = std::thread::spawn(move || {
        let more = ["--rate", "200", "--batch-size", "20"];
        telemetrygen("traces", port, 600, &[], &more);
    });
    await_that("the first spans", Duration::from_secs(10), || program.delivered() > 100.0);
    let mut printed = first.stop(STOP).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let second = printing(grpc, http);
    sending.join().unwrap();
    program.await_delivered(1200);
    program.stop().cleanly();
    printed += &second.stop(STOP).unwrap();
    let ids: BTreeSet<&str> = printed
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("ID ")?.split(": ").nth(1))
        .collect();
    assert_eq!(ids.len(), 1200);
}

/// Sends requests of 64 KiB from several clients at once. Returns the names of those accepted, and how many were refused.
fn press(port: u16, clients: usize, each: usize) -> (BTreeSet<String>, usize) {
    let filler = "x".repeat(64 << 10);
    let send_all = |client: usize| {
        let connection = Client::connect(port);
        let mut accepted = Vec::new();
        for n in 0..each {
            let outcome =
                connection.export("logs", &requests::one_log(&format!("event {client}.{n} {filler}")));
            if outcome.code == 0 {
                accepted.push(format!("event {client}.{n}"));
                continue;
            }
            assert_eq!(outcome.code, RESOURCE_EXHAUSTED, "{outcome:?}");
            assert!(outcome.has_retry_info, "no hint when to come again: {outcome:?}");
        }
        accepted
    };
    let accepted: BTreeSet<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..clients).map(|client| scope.spawn(move || send_all(client))).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let refused = clients * each - accepted.len();
    (accepted, refused)
}

/// The destination stays away: the queue fills, senders are told to wait, memory is bounded; and what was accepted arrives later.
#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_that_stays_down_makes_senders_wait_in_bounded_memory() {
    let (grpc, http) = (free_port(), free_port());
    let program = Floodway::redacting_to(&format!(
        "otlp: {{endpoint: 'http://127.0.0.1:{grpc}', queue: {{max_bytes: 4194304, max_wait_ms: 20}}, \
         retry: {{max_backoff_ms: 500}}}}"
    ));
    let before = program.peak_memory();
    let (clients, each) = (16, 120);
    let (mut accepted, refused) = press(program.port("grpc"), clients, each);
    // 4 MiB of 64 KiB each.
    assert!((55..=64).contains(&accepted.len()), "{} accepted", accepted.len());
    let grown = (program.peak_memory() - before) >> 20;
    let sent = (clients * each * 64) >> 10;
    assert!(grown < 40, "memory grew by {grown} MiB while {sent} MiB were sent");
    assert_eq!(program.refused("queue_full"), refused as f64);
    assert_eq!(program.metric("floodway_queue_items", &[]), accepted.len() as f64);
    let large = requests::one_log(&"x".repeat(64 << 10));
    let answer = support::http::post_protobuf(program.port("http"), "logs", &large);
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u32>().unwrap() > 0));

    let collector = printing(grpc, http);
    program.await_delivered(accepted.len());
    let after = Client::connect(program.port("grpc")).export("logs", &requests::one_log("event after"));
    assert_eq!(after.code, 0, "{after:?}");
    accepted.insert("event after".to_owned());
    program.await_delivered(accepted.len());
    program.stop().cleanly();
    let printed = collector.stop(STOP).unwrap();
    let arrived: BTreeSet<String> =
        bodies(&printed).iter().map(|body| body.split(" x").next().unwrap().to_owned()).collect();
    assert_eq!(arrived, accepted);
}

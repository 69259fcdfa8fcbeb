//! Real Loki behind the program, real Promtail before it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use backends::loki::{self, Entry};
use backends::{Options, Server};
use support::leaks::Leaks;
use support::peers::{Kind, Peer};
use support::program::{Floodway, WAYS_IN, redact_lines};
use support::{await_that, http};

const FOUND_WITHIN: Duration = Duration::from_secs(40);
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn lines_of(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.line.as_str()).collect()
}

/// Sends JSON lines as winston-logstash does.
fn send_lines(program: &Floodway, lines: &[String]) {
    let mut socket = http::connect(program.port("logstash"));
    lines.iter().for_each(|line| socket.write_all(format!("{line}\n").as_bytes()).unwrap());
}

/// OTLP/JSON logs of one service: time and body each.
fn otlp(records: &[(u64, String)]) -> String {
    let records: Vec<String> = records
        .iter()
        .map(|(time, body)| format!(r#"{{"timeUnixNano":"{time}","body":{{"stringValue":"{body}"}}}}"#))
        .collect();
    format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"e2e"}}}}]}},
            "scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#,
        records.join(",")
    )
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn loki_json_lines_are_found_by_their_fields_with_peer_ids_replaced() {
    let server = Server::start("loki", &Options::default()).unwrap();
    let url = server.url();
    let program = Floodway::redacting_to(&format!(
        "loki: {{endpoint: '{url}', static_labels: {{job: shadowmesh}}, line: json}}"
    ));
    let peer = Peer::fresh(Kind::Ed25519);
    let name = redact_lines(&[peer.base58()]).remove(0);
    let mut lines = Vec::new();
    for n in 0..40 {
        let level = if n % 2 == 0 { "error" } else { "info" };
        let component = if n % 4 == 0 { "signaling" } else { "transport" };
        let trace = if n == 8 {
            format!(r#","trace_id":"{TRACE_ID}","span_id":"00f067aa0ba902b7""#)
        } else {
            String::new()
        };
        lines.push(format!(
            r#"{{"level":"{level}","component":"{component}","duration":{},"n":{n},"peer":"{}","message":"dialling {}"{trace}}}"#,
            n * 50,
            peer.base58(),
            peer.base36(),
        ));
    }
    send_lines(&program, &lines);
    program.await_delivered(40);

    let numbers = |query: &str, count| -> Vec<u32> {
        let found = loki::await_entries(&server, query, count, FOUND_WITHIN).unwrap();
        let mut numbers: Vec<u32> = found.iter().map(|entry| entry.labels["n"].parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    let wanted = r#"{job="shadowmesh"} | json | level="error" | component="signaling""#;
    assert_eq!(numbers(wanted, 10), (0..40).step_by(4).collect::<Vec<_>>());
    assert_eq!(numbers(&format!("{wanted} | duration > 1000"), 4), [24, 28, 32, 36]);
    assert_eq!(numbers(&format!(r#"{{job="shadowmesh"}} | trace_id="{TRACE_ID}" | json"#), 1), [8]);
    assert_eq!(numbers(r#"{job="shadowmesh"} | detected_level="info" | json"#, 20).len(), 20);
    assert_eq!(numbers(&format!(r#"{{job="shadowmesh"}} | json | peer="{name}""#), 40).len(), 40);
    let of_peer = format!("{{job=\"shadowmesh\"}} |= \"{}\"", peer.base58());
    assert!(loki::query(&server, &of_peer).unwrap().is_empty());
    let leaks = Leaks::of([&peer]);
    for entry in loki::query(&server, r#"{job="shadowmesh"}"#).unwrap() {
        assert!(entry.line.contains(&format!("dialling {name}")), "{}", entry.line);
        leaks.assert_none("an entry", format!("{entry:?}").as_bytes());
    }
    program.stop().cleanly();
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn loki_an_entry_that_is_too_old_costs_itself_alone_and_is_counted() {
    let server = Server::start("loki", &Options::default()).unwrap();
    let program = Floodway::redacting_to(&format!("loki: {{endpoint: '{}'}}", server.url()));
    let (now, month) = (now(), 30 * 24 * 3_600_000_000_000);
    let mut records: Vec<(u64, String)> = (0..30).map(|n| (now + n, format!("line {n:02}"))).collect();
    records[17].0 -= month;
    let answer = http::post_json(program.port("http"), "logs", otlp(&records).as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    program.await_delivered(29);
    let found = loki::await_entries(&server, r#"{service_name="e2e"}"#, 29, FOUND_WITHIN).unwrap();
    let expected: Vec<String> = (0..30).filter(|n| *n != 17).map(|n| format!("line {n:02}")).collect();
    assert_eq!(lines_of(&found), expected, "lost, doubled or out of order");
    let dropped = |labels: &[&str]| program.metric("floodway_dropped_items_total", labels);
    assert_eq!((dropped(&["reason=\"too_old\""]), dropped(&[])), (1.0, 1.0));
    assert!(program.log().contains("too old"), "{}", program.log());
    program.stop();
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn loki_promtail_pushes_through_the_program_with_peer_ids_replaced() {
    let server = Server::start("loki", &Options::default()).unwrap();
    // The logstash port is not needed here: the push API takes its place.
    let ways_in = WAYS_IN.replace(
        "logstash: {endpoint: '127.0.0.1:@logstash@'}",
        "loki_push: {endpoint: '127.0.0.1:@logstash@', tenant_attribute: true}",
    );
    let program = Floodway::start(&format!(
        "{ways_in}
exporters:
  loki: {{endpoint: '{}', labels: {{job: job, tenant: loki.tenant}}}}
pipelines:
  main: {{receivers: [otlp, loki_push], processors: [redact], exporters: [loki]}}
",
        server.url()
    ));
    let peers = support::peers::one_of_each();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.log");
    let line = |n: usize| {
        let peer = &peers[n % 3];
        format!(
            r#"{{"n":{n},"trace_id":"{TRACE_ID}","peer":"{}"}}"#,
            if n.is_multiple_of(2) { peer.base58() } else { peer.base36() }
        )
    };
    let write = |range: std::ops::Range<usize>| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
        range.for_each(|n| file.write_all(format!("{}\n", line(n)).as_bytes()).unwrap());
    };
    write(0..50);
    let _promtail = Server::start("promtail", &Options::with_config(format!(
        "
server: {{http_listen_address: 127.0.0.1, http_listen_port: @http@, grpc_listen_address: 127.0.0.1, grpc_listen_port: 0}}
positions: {{filename: '{dir}/positions.yaml'}}
clients: [{{url: 'http://127.0.0.1:{port}/loki/api/v1/push', batchwait: 100ms, tenant_id: acme}}]
scrape_configs:
  - job_name: files
    static_configs: [{{targets: [localhost], labels: {{job: promtail, __path__: '{dir}/*.log'}}}}]
    pipeline_stages: [{{json: {{expressions: {{'n': 'n'}}}}}}, {{structured_metadata: {{'n': ''}}}}]
",
        dir = dir.path().display(),
        port = program.port("logstash"),
    )))
    .unwrap();
    await_that("the first lines", FOUND_WITHIN, || program.delivered() >= 50.0);
    write(50..80);
    program.await_delivered(80);
    let query = format!(r#"{{job="promtail", tenant="acme"}} | trace_id="{TRACE_ID}""#);
    let found = loki::await_entries(&server, &query, 80, FOUND_WITHIN).unwrap();
    let mut numbers: Vec<usize> = found.iter().map(|entry| entry.labels["n"].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..80).collect::<Vec<_>>());
    let expected = redact_lines(&(0..80).map(line).collect::<Vec<_>>());
    let leaks = Leaks::of(&peers);
    for entry in &found {
        let n: usize = entry.labels["n"].parse().unwrap();
        assert_eq!(entry.line, expected[n]);
        assert!(entry.labels["filename"].ends_with("app.log"), "{:?}", entry.labels);
        leaks.assert_none("an entry", format!("{entry:?}").as_bytes());
    }
    program.stop().cleanly();
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn loki_goes_away_and_comes_back_without_a_loss_or_a_double() {
    let mut server = Server::start("loki", &Options::default()).unwrap();
    let program = Floodway::redacting_to(&format!(
        "loki: {{endpoint: '{}', retry: {{max_backoff_ms: 1000}}, queue: {{concurrency: 3}}}}",
        server.url()
    ));
    let begun = now();
    let send = |range: std::ops::Range<u64>| {
        for n in range {
            let records: Vec<_> =
                (0..10).map(|m| (begun + n * 10 + m, format!("line {:04}", n * 10 + m))).collect();
            let answer = http::post_json(program.port("http"), "logs", otlp(&records).as_bytes());
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    send(0..20);
    // Some are on their way when it goes.
    server.interrupt(Duration::from_secs(20)).unwrap();
    send(20..60);
    assert!(program.delivered() < 600.0, "delivered to nobody");
    server.resume().unwrap();
    send(60..80);
    program.await_delivered(800);
    let found = loki::await_entries(&server, r#"{service_name="e2e"}"#, 800, FOUND_WITHIN).unwrap();
    let expected: Vec<String> = (0..800).map(|n| format!("line {n:04}")).collect();
    assert_eq!(lines_of(&found), expected, "lost or doubled");
    assert_eq!(program.metric("floodway_dropped_items_total", &[]), 0.0);
    program.stop().cleanly();
}

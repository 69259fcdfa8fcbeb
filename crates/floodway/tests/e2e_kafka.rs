//! Real Kafka between two programs, a broker that crashes, members of a group that are killed, and Kafka's own tools at both ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use backends::{Options, Server, kafka};
use serde_json::Value;
use support::leaks::{Leaks, json_lines};
use support::peers::{Kind, Peer};
use support::program::{Floodway, Stopped, redact_lines};
use support::{await_that, telemetrygen};

const WITHIN: Duration = Duration::from_secs(60);
/// A broker that has crashed keeps the group's members until their session is over.
const SESSION: &str = "librdkafka: {session.timeout.ms: '6000', heartbeat.interval.ms: '500'}";

fn broker() -> Server {
    Server::start("kafka", &Options::default()).unwrap()
}

/// The program that takes OTLP in, redacts it, and writes to Kafka.
fn edge(broker: &Server, more: &str) -> Floodway {
    Floodway::redacting_to(&format!("kafka: {{brokers: ['{}']{more}}}", broker.url()))
}

/// A member of the group, which writes files.
fn member(broker: &Server) -> Floodway {
    Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers: {{kafka: {{brokers: ['{}'], {SESSION}}}}}
exporters: {{file: {{directory: '@dir@/out'}}}}
pipelines: {{main: {{receivers: [kafka], exporters: [file]}}}}
",
        broker.url()
    ))
}

/// The span ids in a member's file, with repetitions. The last line of one that was killed may be torn.
fn span_ids(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("out/traces.jsonl")).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let mut found = Vec::new();
    for line in whole.lines() {
        collect_ids(&serde_json::from_str(line).unwrap(), &mut found);
    }
    found
}

fn collect_ids(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let (Some(span), true) = (members.get("spanId"), members.contains_key("name")) {
                found.push(span.as_str().unwrap().to_owned());
            }
            members.values().for_each(|inner| collect_ids(inner, found));
        }
        Value::Array(elements) => elements.iter().for_each(|inner| collect_ids(inner, found)),
        _ => {}
    }
}

fn distinct(dirs: &[&Path]) -> usize {
    dirs.iter().flat_map(|dir| span_ids(dir)).collect::<BTreeSet<_>>().len()
}

fn total(dirs: &[&Path]) -> usize {
    dirs.iter().map(|dir| span_ids(dir).len()).sum()
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn kafka_telemetrygen_every_record_passes_once_and_without_peer_ids() {
    let broker = broker();
    let (edge, gateway) = (edge(&broker, ""), member(&broker));
    let peer = Peer::fresh(Kind::Ed25519);
    let ids = [peer.base58(), peer.base36()];
    let name = &redact_lines(&ids)[0];
    let attributes = [("peer.id", ids[0].as_str()), ("node.peer", &ids[1])];
    let port = edge.port("grpc");
    telemetrygen("traces", port, 200, &attributes, &[]);
    telemetrygen("logs", port, 300, &attributes, &["--body", &format!("dialled {}", ids[0])]);
    telemetrygen("metrics", port, 100, &attributes, &["--metric-type", "Sum"]);
    let items = 2 * 200 + 300 + 100;
    edge.await_delivered(items);
    gateway.await_delivered(items);
    edge.stop().cleanly();
    let gateway = gateway.stop().cleanly();
    let out = gateway.dir().join("out");
    Leaks::of([&peer]).assert_none_in_folder(&out);
    for (file, array, expected) in
        [("traces", "spans", 400), ("logs", "logRecords", 300), ("metrics", "dataPoints", 100)]
    {
        let lines = json_lines(&out.join(format!("{file}.jsonl")));
        let found: usize = lines.iter().map(|line| support::leaks::count(line, array)).sum();
        assert_eq!(found, expected, "{file}");
        let text: String = lines.iter().map(ToString::to_string).collect();
        let named = text.matches(&format!("\"stringValue\":\"{name}\"")).count();
        assert!(named >= expected, "{file}: {named}");
    }
    assert_eq!(distinct(&[gateway.dir()]), 400);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn kafka_telemetrygen_nothing_is_lost_when_the_broker_crashes_and_comes_back() {
    let mut broker = broker();
    let edge = edge(&broker, ", retry: {timeout_ms: 4000, max_backoff_ms: 1000}");
    let gateway = member(&broker);
    let port = edge.port("grpc");
    telemetrygen("traces", port, 100, &[], &[]);
    await_that("the first spans", WITHIN, || distinct(&[gateway.dir()]) == 200);
    let sender = std::thread::spawn(move || telemetrygen("traces", port, 2000, &[], &["--rate", "200"]));
    std::thread::sleep(Duration::from_secs(2));
    // Without a word: as the machine's end would be.
    broker.interrupt(Duration::ZERO).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert!(edge.metric("floodway_export_retries_total", &[]) > 0.0, "the broker was not missed");
    broker.resume().unwrap();
    sender.join().unwrap();
    await_that("all spans", WITHIN, || distinct(&[gateway.dir()]) == 2 * 2100);
    assert_eq!(edge.metric("floodway_dropped_items_total", &[]), 0.0);
    edge.stop().cleanly();
    let gateway = gateway.stop().cleanly();
    let total = total(&[gateway.dir()]);
    // What was written and not confirmed, or read and not committed, when the broker went may come twice, and nothing else.
    assert!((4200..5200).contains(&total), "{total} spans for 4200");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn kafka_telemetrygen_nothing_is_lost_when_members_of_a_group_are_killed_and_stopped() {
    let broker = broker();
    kafka::create_topic(&broker, "otlp_spans", 6).unwrap();
    let edge = edge(&broker, ", key: trace_id");
    let members = [member(&broker), member(&broker), member(&broker)];
    let port = edge.port("grpc");
    let sender = std::thread::spawn(move || telemetrygen("traces", port, 4000, &[], &["--rate", "300"]));
    let dirs: Vec<_> = members.iter().map(|member| member.dir().to_owned()).collect();
    let dirs: Vec<&Path> = dirs.iter().map(std::path::PathBuf::as_path).collect();
    await_that("a share for everyone", WITHIN, || dirs.iter().all(|dir| !span_ids(dir).is_empty()));
    let [killed, stopped, last] = members;
    let killed = killed.kill();
    std::thread::sleep(Duration::from_secs(1));
    let stopped: Stopped = stopped.stop().cleanly();
    sender.join().unwrap();
    edge.await_delivered(8000);
    await_that("all spans", WITHIN, || distinct(&dirs) == 8000);
    let last = last.stop().cleanly();
    let total = total(&[killed.dir(), stopped.dir(), last.dir()]);
    // What the killed one had written and not committed: at most about a second of its share.
    assert!((8000..9000).contains(&total), "{total} spans for 8000");
    assert_eq!(edge.stop().cleanly().status.code(), Some(0));
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn kafka_own_tools_write_events_that_are_read_and_read_events_that_are_written() {
    let broker = broker();
    let program = Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers: {{kafka: {{brokers: ['{url}'], logs: {{topics: [events], encoding: json}}, {SESSION}}}}}
processors: {{redact: {{key_file: '@dir@/redact.key'}}}}
exporters: {{kafka: {{brokers: ['{url}'], encoding: json, topics: {{logs: clean}}, compression: zstd}}}}
pipelines: {{logs: {{receivers: [kafka], processors: [redact], exporters: [kafka]}}}}
",
        url = broker.url()
    ));
    let peer = Peer::fresh(Kind::Ed25519);
    let ids = [peer.base58()];
    let name = &redact_lines(&ids)[0];
    let lines: String = (0..50)
        .map(|n| format!("{{\"message\":\"dial {n} of {}\",\"level\":\"warn\",\"n\":{n}}}\n", ids[0]))
        .collect();
    kafka::produce(&broker, "events", &format!("{lines}no json at all\n")).unwrap();
    program.await_delivered(51);
    let read = kafka::consume(&broker, "clean", 51).unwrap();
    assert_eq!(read.len(), 51);
    let mut seen = BTreeSet::new();
    for line in read {
        let event: Value = serde_json::from_str(&line).unwrap();
        let Some(n) = event["attributes"]["n"].as_i64() else {
            assert_eq!(event["message"], "no json at all");
            continue;
        };
        assert_eq!(event["message"], format!("dial {n} of {name}"));
        assert_eq!(event["level"], "warn");
        assert!(event["@timestamp"].as_str().unwrap().starts_with("20"), "{event}");
        assert!(seen.insert(n), "{n} twice");
    }
    assert_eq!(seen.len(), 50);
    assert_eq!(program.metric("floodway_line_problems_total", &["problem=\"json\""]), 1.0);
    program.stop().cleanly();
}

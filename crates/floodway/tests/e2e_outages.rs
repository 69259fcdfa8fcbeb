//! Real destinations that go away in the middle of a run and come back, before a buffer on the disk: `support::outage` has the course.
//! OpenSearch, which takes long to start, has its outage in `e2e_opensearch.rs`.
//!
//! Prometheus and Loki know a record that comes twice; Kafka does not, and there the doubles are counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::time::Duration;

use backends::{Options, Server, kafka, loki, prometheus};
use serde_json::Value;
use support::numbered::{Kind, NAME, number};
use support::outage::{Outage, check, survive};

const WITHIN: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_is_killed_and_has_every_acknowledged_sample_in_the_end() {
    let mut server = Server::start("prometheus", &Options::default()).unwrap();
    let exporter = format!(
        "prometheus_remote_write: {{endpoint: '{}/api/v1/write', retry: {{max_backoff_ms: 500}}",
        server.url()
    );
    let outage = Outage { kind: Kind::Series, grace: Duration::ZERO, killed: true };
    let acknowledged = survive(&mut server, outage, &exporter);
    let found = prometheus::query(&server, NAME, None).unwrap();
    let again =
        check("Prometheus", &acknowledged, found.iter().map(|series| number(&series.labels["n"]).unwrap()));
    assert_eq!(again, 0);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn loki_is_stopped_and_has_every_acknowledged_line_in_the_end() {
    let mut server = Server::start("loki", &Options::default()).unwrap();
    let exporter = format!("loki: {{endpoint: '{}', retry: {{max_backoff_ms: 500}}", server.url());
    let outage = Outage { kind: Kind::Logs, grace: Duration::from_secs(20), killed: true };
    let acknowledged = survive(&mut server, outage, &exporter);
    let expected = acknowledged.iter().map(|run| run.end - run.start).sum::<u64>();
    let query = format!("{{service_name=\"{NAME}\"}}");
    let found = loki::await_entries(&server, &query, usize::try_from(expected).unwrap(), WITHIN).unwrap();
    let again = check("Loki", &acknowledged, found.iter().map(|entry| number(&entry.line).unwrap()));
    assert_eq!(again, 0);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn kafka_is_killed_and_has_every_acknowledged_message_in_the_end() {
    let mut server = Server::start("kafka", &Options::default()).unwrap();
    let exporter = format!(
        "kafka: {{brokers: ['{}'], encoding: json, topics: {{logs: numbered}}, \
         retry: {{timeout_ms: 4000, max_backoff_ms: 500}}",
        server.url()
    );
    let outage = Outage { kind: Kind::Logs, grace: Duration::ZERO, killed: false };
    let acknowledged = survive(&mut server, outage, &exporter);
    let messages = kafka::consume_all(&server, "numbered").unwrap();
    let said = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap();
        number(event["message"].as_str().unwrap()).unwrap()
    };
    let again = check("Kafka", &acknowledged, messages.iter().map(said));
    // What had no report when the broker went is written again, once: at most all that there was then.
    let records: u64 = acknowledged.iter().map(|run| run.end - run.start).sum();
    assert!(again < records, "{again} copies of {records} messages");
}

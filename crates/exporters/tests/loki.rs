//! The loki exporter towards hyper's server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{HttpServer, Seen, build, log_request, permanent, reply, request, retryable};
use engine::{ExportError, Exported, Exporter, Scope};
use model::{Payload, Signal, View};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use serde_json::{Value, json};

const PATH: &str = "/loki/api/v1/push";

async fn started(more: &Value) -> (HttpServer, Box<dyn Exporter>) {
    let server = HttpServer::start([]).await;
    let mut settings = json!({
        "endpoint": format!("http://{}", server.addr),
        "static_labels": {"job": "shadowmesh"},
        "queue": {"concurrency": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let exporter = build("loki", &settings).unwrap();
    (server, exporter)
}

fn logs(lines: &[&str]) -> Payload {
    log_request(lines).into()
}

/// Records whose line is also the value of the attribute `peer`.
fn of_peers(peers: &[&str]) -> Payload {
    let text = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    let record = |peer: &&str| LogRecord {
        time_unix_nano: 1_790_000_000_000_000_001,
        body: text(peer),
        attributes: vec![KeyValue { key: "peer".into(), value: text(peer), ..KeyValue::default() }],
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: peers.iter().map(record).collect(), ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    request(Signal::Logs, &ExportLogsServiceRequest { resource_logs: vec![resource] }).into()
}

/// The lines of each stream in a push.
fn streams(seen: &Seen) -> BTreeMap<String, Vec<String>> {
    let body = snap::raw::Decoder::new().decompress_vec(&seen.body).unwrap();
    let mut streams = BTreeMap::new();
    for stream in View::root(&body).fields() {
        let stream = View::at(&body, stream);
        let entries = stream.fields().filter(|f| f.number == 2).map(|f| View::at(&body, f));
        let lines = entries.map(|entry| entry.string(2).unwrap().to_owned()).collect();
        streams.insert(stream.string(1).unwrap().to_owned(), lines);
    }
    streams
}

fn lines(payloads: &[Payload]) -> Vec<String> {
    let mut lines = Vec::new();
    for payload in payloads {
        let Payload::Otlp(request) = payload else { panic!() };
        let message = ExportLogsServiceRequest::decode(&request.bytes()[..]).unwrap();
        for record in &message.resource_logs[0].scope_logs[0].log_records {
            let Some(any_value::Value::StringValue(text)) = record.body.clone().unwrap().value else {
                panic!()
            };
            lines.push(text);
        }
    }
    lines
}

#[tokio::test]
async fn a_push_goes_to_lokis_path_with_tenant_and_headers() {
    let (server, exporter) =
        started(&json!({"tenant": "acme", "headers": {"Authorization": "Basic eA=="}})).await;
    server.will_reply(reply(204, &[], ""));
    let exported = exporter.export(&[logs(&["one"]), logs(&["two"])]).await.unwrap();
    assert_eq!(exported, Exported::default());
    let seen = server.last();
    assert_eq!(seen.path, PATH);
    assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(seen.header("content-encoding"), None);
    assert_eq!(seen.header("x-scope-orgid"), Some("acme"));
    assert_eq!(seen.header("authorization"), Some("Basic eA=="));
    let expected = [(r#"{job="shadowmesh"}"#.to_owned(), vec!["one".to_owned(), "two".to_owned()])];
    assert_eq!(streams(&seen), BTreeMap::from(expected));
    assert_eq!(exporter.export(&[]).await.unwrap(), Exported::default());
    assert_eq!(server.seen.lock().unwrap().len(), 1, "an empty batch was sent");
}

#[tokio::test]
async fn an_endpoint_may_name_the_path_or_a_base() {
    for (path, expected) in [("/", PATH), (PATH, PATH), ("/base", "/base/loki/api/v1/push")] {
        let server = HttpServer::start([reply(204, &[], "")]).await;
        let exporter = build("loki", &json!({"endpoint": format!("http://{}{path}", server.addr)})).unwrap();
        exporter.export(&[logs(&["x"])]).await.unwrap();
        assert_eq!(server.last().path, expected);
        assert_eq!(streams(&server.last()).keys().next().unwrap(), r#"{service_name="unknown_service"}"#);
    }
}

#[tokio::test]
async fn answers_are_told_apart() {
    let (server, exporter) = started(&json!({})).await;
    for status in [408, 429, 500, 502, 503, 504] {
        server.will_reply(reply(status, &[("retry-after", "7")], "busy"));
        let error = exporter.export(&[logs(&["x"])]).await.unwrap_err();
        let (after, message) = retryable(error);
        assert_eq!(after, Some(Duration::from_secs(7)));
        assert!(message.contains(&status.to_string()) && message.contains("busy"), "{message}");
    }
    let old = "entry for stream '{job=\"shadowmesh\", peer=\"secret\"}' has timestamp too old: 2020";
    for (status, scope, reason) in [
        (400, Scope::Records, "too_old"),
        (413, Scope::Records, "too_old"),
        (260, Scope::Request, "refused_by_destination"),
        (401, Scope::Request, "refused_by_destination"),
        (403, Scope::Request, "refused_by_destination"),
        (404, Scope::Request, "refused_by_destination"),
    ] {
        server.will_reply(reply(status, &[], old));
        let error = exporter.export(&[logs(&["x"])]).await.unwrap_err();
        let ExportError::Permanent { reason: found, scope: of, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found, *of), (reason, scope), "{status}");
        let message = permanent(error);
        assert!(message.contains("too old") && !message.contains("secret"), "{message}");
    }
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let addr = HttpServer::start([]).await.addr;
    let exporter = build("loki", &json!({"endpoint": format!("http://{addr}")})).unwrap();
    let (_, message) = retryable(exporter.export(&[logs(&["x"])]).await.unwrap_err());
    assert!(message.contains(&addr.to_string()), "{message}");
}

#[tokio::test]
async fn what_was_not_taken_is_left_in_its_order() {
    let more = json!({"labels": {"peer": "peer"}, "max_push_bytes": 1024});
    let (server, exporter) = started(&more).await;
    let (a, b) = ("a".repeat(600), "b".repeat(600));
    let peers: Vec<&str> = vec![&a, &b, &a, &b, "c"];
    let payloads = [of_peers(&peers[..2]), of_peers(&peers[2..])];
    // Each of the long ones fills a push. The second push is refused for a reason that concerns records.
    server.will_reply(reply(204, &[], ""));
    server.will_reply(reply(400, &[], "timestamp too old"));
    let exported = exporter.export(&payloads).await.unwrap();
    assert!(exported.rejected.is_empty());
    let remainder = exported.remainder.unwrap();
    assert_eq!(lines(&remainder.payloads), [b.as_str(), &a, &b, "c"]);
    assert!(remainder.message.contains("too old") && remainder.retry_after.is_none());
    assert_eq!(server.seen.lock().unwrap().len(), 2, "what stands behind a refused push was sent");
    // Alone it is refused as such.
    server.will_reply(reply(400, &[], "timestamp too old"));
    let error = exporter.export(&remainder.payloads).await.unwrap_err();
    assert!(
        matches!(error, ExportError::Permanent { scope: Scope::Records, reason: "too_old", .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn streams_go_side_by_side_and_one_stream_on_one_connection() {
    let more = json!({"labels": {"peer": "peer"}, "queue": {"concurrency": 4}});
    let (server, exporter) = started(&more).await;
    (0..4).for_each(|_| server.will_reply(reply(204, &[], "")));
    let names: Vec<String> = (0..40).map(|n| format!("p{}", n % 8)).collect();
    let peers: Vec<&str> = names.iter().map(String::as_str).collect();
    exporter.export(&[of_peers(&peers)]).await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen.len() > 1, "eight streams in one push");
    let mut all = BTreeMap::new();
    for push in &seen {
        for (labels, lines) in streams(push) {
            assert_eq!(lines.len(), 5, "{labels} was split");
            assert!(all.insert(labels, lines).is_none());
        }
    }
    assert_eq!(all.len(), 8);
}

#[tokio::test]
async fn one_of_several_connections_fails() {
    let more = json!({"labels": {"peer": "peer"}, "queue": {"concurrency": 2}});
    let (server, exporter) = started(&more).await;
    server.will_reply(reply(204, &[], ""));
    server.will_reply(reply(429, &[("retry-after", "3")], "slow down"));
    let names: Vec<String> = (0..16).map(|n| format!("p{n}")).collect();
    let peers: Vec<&str> = names.iter().map(String::as_str).collect();
    let remainder = exporter.export(&[of_peers(&peers)]).await.unwrap().remainder.unwrap();
    assert_eq!(remainder.retry_after, Some(Duration::from_secs(3)));
    let left = lines(&remainder.payloads);
    assert!(!left.is_empty() && left.len() < 16, "{left:?}");
    assert!(left.is_sorted_by_key(|peer| peer[1..].parse::<u32>().unwrap()));
    // Everything is either in a push that was taken or left.
    let pushes = server.seen.lock().unwrap().clone();
    let held = |push: &Seen| streams(push).into_values().flatten().collect::<Vec<_>>();
    let taken = pushes.iter().map(held).find(|lines| !lines.contains(&left[0])).unwrap();
    assert_eq!(taken.len() + left.len(), 16);
}

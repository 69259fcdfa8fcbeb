//! Pushes as clients of Loki send them, on real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use codec::snappy::Snappy;
use common::{Answer, Running, exchange, gzip, gzip_bomb, post, setup};
use engine::testing::{self, Setup};
use model::Writer;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};

const PATH: &str = "/loki/api/v1/push";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn start(setup: Setup, more: Value) -> Running {
    Running::start("loki_push", setup, move |addr| {
        let mut settings = json!({"endpoint": addr});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    })
    .await
}

/// A `PushRequest` of one stream.
fn push(labels: &str, lines: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.message(1, |w| {
        w.string(1, labels);
        for line in lines {
            w.message(2, |w| {
                w.message(1, |w| {
                    w.uint(1, 1_790_000_000);
                    w.uint(2, 5);
                });
                w.string(2, line);
            });
        }
    });
    writer.finish().to_vec()
}

fn block(body: &[u8]) -> Vec<u8> {
    Snappy::default().compress(body).unwrap()
}

async fn send(running: &Running, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    exchange(running.addr, post(PATH, headers, body)).await
}

/// The push that was taken last.
fn taken(running: &Running) -> ExportLogsServiceRequest {
    let requests = running.collected.requests();
    ExportLogsServiceRequest::decode(&requests.last().unwrap().bytes()[..]).unwrap()
}

#[tokio::test]
async fn protobuf_and_json_are_taken_and_answered_with_204() {
    let running = start(setup("loki_taken"), json!({})).await;
    let protobuf = block(&push("{job=\"x\", service_name=\"api\"}", &["one", "two"]));
    let values = r#"[["1790000000000000005","one"],["1790000000000000005","two"]]"#;
    let text =
        format!(r#"{{"streams":[{{"stream":{{"job":"x","service_name":"api"}},"values":{values}}}]}}"#);
    let zipped = gzip(text.as_bytes());
    let requests: [(&str, Headers<'_>, &[u8]); 6] = [
        (PATH, &[PROTOBUF], &protobuf),
        (PATH, &[], &protobuf),
        (PATH, &[PROTOBUF, ("content-encoding", "snappy")], &protobuf),
        ("/api/prom/push", &[PROTOBUF, ("x-scope-orgid", "acme")], &protobuf),
        (PATH, &[("content-type", "application/json; charset=utf-8")], text.as_bytes()),
        (PATH, &[JSON, ("content-encoding", "gzip")], &zipped),
    ];
    let mut seen = Vec::new();
    for (path, headers, body) in requests {
        let answer = exchange(running.addr, post(path, headers, body)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path} {headers:?}");
        let mut request = taken(&running);
        let group = &mut request.resource_logs[0];
        let keys = group.resource.as_ref().unwrap().attributes.iter().map(|a| a.key.clone());
        assert_eq!(keys.collect::<Vec<_>>(), ["job", "service.name"]);
        for record in &mut group.scope_logs[0].log_records {
            assert!(std::mem::take(&mut record.observed_time_unix_nano) > 1_700_000_000_000_000_000);
            assert_eq!(record.time_unix_nano, 1_790_000_000_000_000_005);
        }
        seen.push(request);
    }
    assert_eq!(seen[0].resource_logs[0].scope_logs[0].log_records.len(), 2);
    assert!(seen.iter().all(|request| *request == seen[0]));
    // Nothing to take is no error.
    assert_eq!(send(&running, &[PROTOBUF], &block(b"")).await.status, 204);
    running.budget_is_free().await;
    running.stop().await;
}

#[tokio::test]
async fn the_tenant_becomes_an_attribute_where_that_is_asked_for() {
    let more = json!({"tenant_attribute": true, "label_attributes": {"job": "service.name"}});
    let running = start(setup("loki_tenant"), more).await;
    let body = block(&push("{job=\"x\"}", &["one"]));
    assert_eq!(send(&running, &[("X-Scope-OrgID", "acme")], &body).await.status, 204);
    let request = taken(&running);
    let attributes = &request.resource_logs[0].resource.as_ref().unwrap().attributes;
    let keys: Vec<_> = attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["loki.tenant", "service.name"]);
    let long = "x".repeat(151);
    assert_eq!(send(&running, &[("X-Scope-OrgID", &long)], &body).await.status, 400);
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_for_good_is_said_and_counted() {
    let running = start(setup("loki_bad"), json!({"max_request_bytes": 5000})).await;
    let good = block(&push("{a=\"b\"}", &["x"]));
    let large = block(&push("{a=\"b\"}", &[&"x".repeat(6000)]));
    // Few bytes on the wire, more than the limit as records.
    let many = block(&push("{a=\"b\"}", &[""; 400]));
    let cases: [(&str, Headers<'_>, Vec<u8>, u16, &str); 10] = [
        ("not snappy", &[PROTOBUF], b"\xff\xff".to_vec(), 400, "snappy"),
        ("not protobuf", &[PROTOBUF], block(b"\x0a\x7f"), 400, "push request"),
        ("labels", &[PROTOBUF], block(&push("{a=b}", &["x"])), 400, "labels"),
        ("not json", &[JSON], b"{".to_vec(), 400, "JSON"),
        ("other json", &[JSON], b"{}".to_vec(), 400, "streams"),
        ("a claim of 4 GiB", &[PROTOBUF], b"\xff\xff\xff\xff\x0f\x00".to_vec(), 413, "limit of 5000"),
        ("inflated", &[PROTOBUF], large, 413, "limit of 5000"),
        ("as records", &[PROTOBUF], many, 413, "limit of"),
        ("gzip bomb", &[JSON, ("content-encoding", "gzip")], gzip_bomb(4), 413, "limit of 5000"),
        ("type", &[("content-type", "text/plain")], good.clone(), 415, "content-type"),
    ];
    for (what, headers, body, status, message) in cases {
        let answer = send(&running, headers, &body).await;
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (status, None), "{what}: {text}");
        assert!(text.contains(message), "{what}: {text}");
    }
    assert_eq!((running.refused("malformed"), running.refused("too_large")), (5, 4));
    assert_eq!(exchange(running.addr, post("/loki/api/v1/query", &[], b"")).await.status, 404);
    let get = format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes();
    let answer = exchange(running.addr, get).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert!(running.collected.requests().is_empty());
    running.budget_is_free().await;
    running.stop().await;
}

#[tokio::test]
async fn under_pressure_clients_are_told_when_to_come_again() {
    let running = start(Setup { budget_bytes: 1 << 20, ..setup("loki_pressure") }, json!({})).await;
    running.collected.answer(testing::Answer::Hold);
    let push = block(&push("{a=\"b\"}", &[&"x".repeat(200_000)]));
    let mut answers = Vec::new();
    while answers.len() < 10 && answers.last().is_none_or(|answer: &Answer| answer.status == 204) {
        answers.push(send(&running, &[PROTOBUF], &push).await);
    }
    let refused = answers.last().unwrap();
    assert_eq!(refused.status, 429, "{}", String::from_utf8_lossy(&refused.body));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(running.refused("budget_full"), 1);
    running.collected.answer(testing::Answer::Deliver);
    running.budget_is_free().await;
    assert_eq!(send(&running, &[PROTOBUF], &push).await.status, 204);
    running.collected.close();
    let answer = send(&running, &[PROTOBUF], &push).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    running.stop().await;
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_counted() {
    let running = start(setup("loki_utf8"), json!({})).await;
    let mut body = push("{a=\"b\"}", &["???"]);
    let at = body.iter().position(|b| *b == b'?').unwrap();
    body[at] = 0xff;
    assert_eq!(send(&running, &[PROTOBUF], &block(&body)).await.status, 204);
    assert_eq!(running.counter("floodway_repairs_total", ("repair", "invalid_utf8")), 1);
    running.stop().await;
}

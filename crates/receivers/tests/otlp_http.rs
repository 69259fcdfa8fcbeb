//! OTLP/HTTP, spoken by hand over plain sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use common::{
    Answer, Running, connect, exchange, gzip, log_request, logs, malformed, metrics, post, read_answer,
    setup, traces,
};
use engine::QueueSettings;
use engine::testing::{self, Setup};
use model::{AckMode, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use serde_json::{Value, json};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

async fn start(setup: Setup) -> Running {
    start_with(setup, json!({})).await
}

async fn start_with(setup: Setup, http: Value) -> Running {
    let ack = setup.ack;
    Running::start("otlp", setup, |addr| {
        let mut http = http.clone();
        http["endpoint"] = json!(addr);
        let ack = if ack == AckMode::Delivered { "delivered" } else { "received" };
        json!({"ack": ack, "http": http})
    })
    .await
}

async fn post_logs(running: &Running, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    exchange(running.addr, post("/v1/logs", headers, body)).await
}

/// The message of a `google.rpc.Status`, from either encoding.
fn message(answer: &Answer) -> String {
    #[derive(prost::Message)]
    struct Status {
        #[prost(string, tag = "2")]
        message: String,
    }
    match answer.header("content-type") {
        Some("application/x-protobuf") => Status::decode(&answer.body[..]).unwrap().message,
        Some("application/json") => answer.json()["message"].as_str().unwrap().to_owned(),
        other => panic!("no Status: {other:?}"),
    }
}

#[tokio::test]
async fn protobuf_arrives_byte_for_byte() {
    let running = start(setup("http_protobuf")).await;
    let sent = [
        ("/v1/traces", Signal::Traces, traces(300).encode_to_vec()),
        ("/v1/logs", Signal::Logs, logs(&["one"]).encode_to_vec()),
        ("/v1/metrics", Signal::Metrics, metrics(4).encode_to_vec()),
    ];
    for (path, _, body) in &sent {
        for (encoding, body) in [
            ("identity", body.clone()),
            ("gzip", gzip(body)),
            ("zstd", zstd::encode_all(&body[..], 1).unwrap()),
        ] {
            let request = post(path, &[PROTOBUF, ("content-encoding", encoding)], &body);
            let answer = exchange(running.addr, request).await;
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{path} {encoding}");
            assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
        }
    }
    let got = running.collected.wait_for(3 * 305).await;
    assert_eq!(got.len(), 9);
    for (n, request) in got.iter().enumerate() {
        let (_, signal, body) = &sent[n / 3];
        assert_eq!((request.signal(), request.bytes().to_vec()), (*signal, body.clone()));
    }
    running.budget_is_free().await;
    running.stop().await;
}

#[tokio::test]
async fn json_is_taken_with_and_without_a_charset() {
    let running = start(setup("http_json")).await;
    let body =
        json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "grüße"}}]}]}]});
    let body = body.to_string().into_bytes();
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        let answer = post_logs(&running, &[("content-type", content_type)], &body).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{content_type}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let answer = post_logs(&running, &[JSON, ("content-encoding", "gzip")], &gzip(&body)).await;
    assert_eq!(answer.status, 200);
    let got = running.collected.wait_for(4).await;
    assert_eq!(got.len(), 4);
    for request in got {
        assert_eq!(request.bytes(), &logs(&["grüße"]).encode_to_vec());
    }
    running.budget_is_free().await;
}

#[tokio::test]
async fn chunked_bodies_and_connections_kept_open_work() {
    let running = start(setup("http_chunked")).await;
    let addr = running.addr;
    let body = logs(&["a", "b"]).encode_to_vec();
    tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        for _ in 0..3 {
            let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
            socket.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
            for piece in body.chunks(3) {
                socket.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
                socket.write_all(piece).unwrap();
                socket.write_all(b"\r\n").unwrap();
            }
            socket.write_all(b"0\r\n\r\n").unwrap();
            assert_eq!(read_answer(&mut socket).status, 200);
        }
    })
    .await
    .unwrap();
    assert_eq!(running.collected.wait_for(6).await.len(), 3);
}

#[tokio::test]
async fn malformed_bodies_are_400_with_a_status_in_their_own_encoding() {
    let running = start(setup("http_malformed")).await;
    for (what, body) in malformed() {
        let answer = post_logs(&running, &[PROTOBUF], &body).await;
        assert_eq!(answer.status, 400, "{what}");
        assert!(message(&answer).starts_with("malformed request: "), "{what}: {}", message(&answer));
        assert_eq!(answer.header("retry-after"), None);
    }
    let deep = format!("{}1{}", "{\"a\":[".repeat(2000), "]}".repeat(2000));
    for body in [
        "",
        "{",
        "[]",
        "7",
        "{\"resourceLogs\":7}",
        "{} {}",
        "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"timeUnixNano\":\"soon\"}]}]}]}",
        &deep,
    ] {
        let answer = post_logs(&running, &[JSON], body.as_bytes()).await;
        // Unknown keys are ignored, however deep.
        let expected = if body == deep { 200 } else { 400 };
        assert_eq!(answer.status, expected, "{body:.60}");
    }
    let corrupt = post_logs(&running, &[PROTOBUF, ("content-encoding", "gzip")], b"not gzip").await;
    assert_eq!(corrupt.status, 400);
    running.budget_is_free().await;
    assert_eq!(post_logs(&running, &[JSON], b"{}").await.status, 200);
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_with_its_path() {
    let running = start(setup("http_twice")).await;
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},
        {"body":{"stringValue":"12D3KooW"},"body":{"stringValue":"hidden"}}]}]}]}"#;
    let answer = post_logs(&running, &[JSON], body.as_bytes()).await;
    assert_eq!(answer.status, 400);
    let message = message(&answer);
    assert!(message.contains("resourceLogs[0].scopeLogs[0].logRecords[1]"), "{message}");
    assert!(!message.contains("12D3KooW") && !message.contains("hidden"), "quotes the data: {message}");
    assert!(running.collected.requests().is_empty());
}

#[tokio::test]
async fn invalid_utf8_is_replaced_and_warned_about() {
    let running = start(setup("http_utf8")).await;
    let body = log_request(&common::field(5, &common::field(1, b"caf\xe9")));
    let answer = post_logs(&running, &[PROTOBUF], &body).await;
    let partial = ExportLogsServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap();
    assert_eq!((answer.status, partial.rejected_log_records), (200, 0));
    assert!(partial.error_message.contains("UTF-8"));
    let body =
        b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"caf\xe9\"}}]}]}]}";
    let answer = post_logs(&running, &[JSON], body).await;
    assert_eq!(answer.status, 200);
    let warning = answer.json()["partialSuccess"]["errorMessage"].as_str().unwrap().to_owned();
    assert!(warning.contains("UTF-8"), "{warning}");
    for request in running.collected.wait_for(2).await {
        assert_eq!(request.bytes(), &logs(&["caf\u{fffd}"]).encode_to_vec());
    }
    let repaired = running.counter("floodway_repairs_total", ("repair", "invalid_utf8"));
    assert_eq!(repaired, 2);
}

#[tokio::test]
async fn overload_is_429_and_stopping_503_with_retry_after() {
    let queue = QueueSettings { max_requests: 1, ..QueueSettings::default() };
    let running = start(Setup { queue, ..setup("http_full") }).await;
    running.collected.answer(testing::Answer::Hold);
    let body = logs(&["x"]).encode_to_vec();
    assert_eq!(post_logs(&running, &[PROTOBUF], &body).await.status, 200);
    for (headers, body) in [
        ([PROTOBUF], body.clone()),
        ([JSON], br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#.to_vec()),
    ] {
        let answer = post_logs(&running, &headers, &body).await;
        assert_eq!(answer.status, 429, "{answer:?}");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        assert!(message(&answer).contains("full"));
    }
    running.collected.answer(testing::Answer::Deliver);
    running.collected.close();
    let answer = post_logs(&running, &[PROTOBUF], &body).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
}

#[tokio::test]
async fn a_full_budget_is_429() {
    let running = start(Setup { budget_bytes: 50_000, ..setup("http_budget") }).await;
    running.collected.answer(testing::Answer::Hold);
    let body = logs(&[&"x".repeat(30_000)]).encode_to_vec();
    assert_eq!(post_logs(&running, &[PROTOBUF], &body).await.status, 200);
    let answer = post_logs(&running, &[PROTOBUF], &body).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(running.refused("budget_full"), 1);
    running.collected.answer(testing::Answer::Deliver);
    running.budget_is_free().await;
    assert_eq!(post_logs(&running, &[PROTOBUF], &body).await.status, 200);
    // What can never fit is not asked to come again.
    let answer = post_logs(&running, &[PROTOBUF], &logs(&[&"x".repeat(60_000)]).encode_to_vec()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (413, None), "{answer:?}");
    assert_eq!(running.refused("too_large"), 1);
}

#[tokio::test]
async fn json_that_grows_is_under_the_budget_too() {
    // Each of these zeros takes two bytes as JSON and eight on the wire.
    let counts = format!("[0{}]", ",0".repeat(20_000));
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","histogram":{{"dataPoints":[{{"bucketCounts":{counts}}}]}}}}]}}]}}]}}"#
    );
    for (budget_bytes, status) in [(1 << 20, 200), (150_000, 413)] {
        let running = start(Setup { budget_bytes, ..setup(&format!("http_grow_{status}")) }).await;
        let answer = exchange(running.addr, post("/v1/metrics", &[JSON], body.as_bytes())).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            assert!(running.collected.requests()[0].bytes().len() > 160_000);
        }
        running.budget_is_free().await;
    }
}

#[tokio::test]
async fn refusals_in_http_terms() {
    let signals = vec![Signal::Logs];
    let setup = Setup { signals, ..setup("http_refusals") };
    let running = start_with(setup, json!({"max_request_bytes": 10_000})).await;
    let body = logs(&["x"]).encode_to_vec();
    let big = logs(&[&"x".repeat(20_000)]).encode_to_vec();
    let at = |path, headers: &[(&str, &str)], body: &[u8]| exchange(running.addr, post(path, headers, body));
    assert_eq!(at("/v1/logs", &[PROTOBUF], &big).await.status, 413);
    assert_eq!(at("/v1/logs", &[PROTOBUF, ("content-encoding", "gzip")], &gzip(&big)).await.status, 413);
    assert_eq!(at("/v1/logs", &[("content-type", "text/plain")], &body).await.status, 415);
    assert_eq!(at("/v1/logs", &[], &body).await.status, 415);
    assert_eq!(at("/v1/logs", &[PROTOBUF, ("content-encoding", "br")], &body).await.status, 415);
    assert_eq!(at("/v1/profiles", &[PROTOBUF], &body).await.status, 404);
    // No pipeline takes traces.
    let answer = at("/v1/traces", &[PROTOBUF], &traces(1).encode_to_vec()).await;
    assert_eq!(answer.status, 404);
    assert!(message(&answer).contains("no pipeline takes traces"));
    for method in ["GET", "PUT", "DELETE"] {
        let request = format!("{method} /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let answer = exchange(running.addr, request.into_bytes()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    }
    assert_eq!(running.refused("too_large"), 2);
    assert_eq!(at("/v1/logs", &[PROTOBUF], &body).await.status, 200);
    running.budget_is_free().await;
}

#[tokio::test]
async fn ack_delivered_tells_what_the_destination_said() {
    let running = start(Setup { ack: AckMode::Delivered, ..setup("http_delivered") }).await;
    let body = logs(&["x"]).encode_to_vec();
    for (answer, status, hint) in [
        (testing::Answer::Deliver, 200, false),
        (testing::Answer::Reject, 400, false),
        (testing::Answer::Nack, 503, true),
    ] {
        running.collected.answer(answer);
        let answer = post_logs(&running, &[PROTOBUF], &body).await;
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (status, hint));
    }
}

#[tokio::test]
async fn a_slow_loris_is_ended_with_408() {
    let running =
        start_with(setup("http_loris"), json!({"idle_timeout_ms": 200, "request_timeout_ms": 1000})).await;
    let addr = running.addr;
    let stalled = tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        socket.write_all(&post("/v1/logs", &[PROTOBUF], &[b'x'; 1000])[..200]).unwrap();
        read_answer(&mut socket).status
    });
    let dribbling = tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        let request = post("/v1/logs", &[PROTOBUF], &[b'x'; 100_000]);
        socket.write_all(&request[..200]).unwrap();
        let begun = std::time::Instant::now();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        for byte in &request[200..] {
            if socket.write_all(&[*byte]).is_err() || socket.peek(&mut [0]).is_ok_and(|n| n > 0) {
                break;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "it may go on for ever");
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        read_answer(&mut socket).status
    });
    assert_eq!(stalled.await.unwrap(), 408);
    assert_eq!(dribbling.await.unwrap(), 408);
    assert_eq!(running.refused("timeout"), 2);
    running.budget_is_free().await;
    assert_eq!(post_logs(&running, &[JSON], b"{}").await.status, 200);
}

#[tokio::test]
async fn half_open_connections_cost_nothing() {
    let running = start(setup("http_half_open")).await;
    let addr = running.addr;
    let body = logs(&["x"]).encode_to_vec();
    let request = post("/v1/logs", &[PROTOBUF], &body);
    let got = tokio::task::spawn_blocking(move || {
        // Gone in the middle of a body.
        let mut gone = connect(addr);
        gone.write_all(&request[..request.len() - 2]).unwrap();
        drop(gone);
        // Says nothing, and is still there.
        let silent = connect(addr);
        // Sends all it has and closes its side: it still gets its answer.
        let mut half = connect(addr);
        half.write_all(&request).unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = read_answer(&mut half);
        let mut rest = Vec::new();
        half.read_to_end(&mut rest).unwrap();
        drop(silent);
        (answer.status, rest.len())
    });
    assert_eq!(got.await.unwrap(), (200, 0));
    common::eventually("the aborted body is counted", || running.refused("aborted") == 1).await;
    running.budget_is_free().await;
    let open = || testing::counters().gauge("floodway_open_connections", &[("component", "http_half_open")]);
    common::eventually("all connections are closed", || open() == 0.0).await;
}

#[tokio::test]
async fn both_ports_of_one_receiver_serve() {
    let grpc = common::free_address();
    let running = Running::start(
        "otlp",
        setup("http_and_grpc"),
        |addr| json!({"grpc": {"endpoint": grpc.to_string()}, "http": {"endpoint": addr}}),
    )
    .await;
    assert_eq!(post_logs(&running, &[JSON], b"{}").await.status, 200);
    // HTTP/1 on the gRPC port is told where to go.
    let answer = exchange(grpc, post("/v1/logs", &[JSON], b"{}")).await;
    assert_eq!(answer.status, 505);
    running.stop().await;
    assert!(std::net::TcpStream::connect(grpc).is_err());
}

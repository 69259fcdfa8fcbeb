//! OTLP/HTTP towards hyper's server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use common::{
    HttpServer, Reply, SendRequests as _, build, log_request, logs, metrics, permanent, reply, request,
    retryable, traces,
};
use engine::{ExportError, Exported, Exporter, Rejected};
use model::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;
use serde_json::{Value, json};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn ok() -> Reply {
    reply(200, &[PROTOBUF], "")
}

async fn started(more: &Value) -> (HttpServer, Box<dyn Exporter>) {
    let server = HttpServer::start([]).await;
    let mut settings = json!({"protocol": "http", "endpoint": format!("http://{}", server.addr)});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let exporter = build("otlp", &settings).unwrap();
    (server, exporter)
}

async fn answered(
    server: &HttpServer,
    exporter: &dyn Exporter,
    reply: Reply,
) -> Result<Exported, ExportError> {
    server.will_reply(reply);
    exporter.send(&[log_request(&["x"])]).await
}

#[tokio::test]
async fn the_bytes_go_as_they_are_to_the_path_of_the_signal() {
    let (server, exporter) =
        started(&json!({"headers": {"Authorization": "Basic eA==", "x-tenant": "a"}})).await;
    let merged = [log_request(&["one"]), log_request(&["two", "three"])];
    let batches = [
        ("/v1/logs", merged.to_vec()),
        ("/v1/traces", vec![request(Signal::Traces, &traces("dial"))]),
        ("/v1/metrics", vec![request(Signal::Metrics, &metrics(1))]),
    ];
    for (path, requests) in batches {
        server.will_reply(ok());
        assert_eq!(exporter.send(&requests).await.unwrap(), Exported::default());
        let seen = server.last();
        let joined: Vec<u8> = requests.iter().flat_map(|r| r.bytes().to_vec()).collect();
        assert_eq!((seen.path.as_str(), &seen.body[..]), (path, &joined[..]));
        assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(seen.header("content-encoding"), None);
        assert_eq!(seen.header("content-length"), Some(joined.len().to_string().as_str()));
        assert_eq!(seen.header("authorization"), Some("Basic eA=="));
        assert_eq!(seen.header("x-tenant"), Some("a"));
        assert!(seen.header("user-agent").unwrap().starts_with("floodway/"));
    }
    assert_eq!(exporter.send(&[]).await.unwrap(), Exported::default());
    assert_eq!(server.seen.lock().unwrap().len(), 3, "an empty batch was sent");
}

#[tokio::test]
async fn a_base_path_is_kept() {
    for base in ["/otlp", "/otlp/", "/a/b"] {
        let server = HttpServer::start([ok()]).await;
        let settings = json!({"protocol": "http", "endpoint": format!("http://{}{base}", server.addr)});
        let exporter = build("otlp", &settings).unwrap();
        exporter.send(&[log_request(&["x"])]).await.unwrap();
        assert_eq!(server.last().path, format!("{}/v1/logs", base.trim_end_matches('/')));
    }
}

#[tokio::test]
async fn compressed_bodies_say_so_and_inflate_to_the_union() {
    for compression in ["gzip", "zstd"] {
        let (server, exporter) = started(&json!({"compression": compression})).await;
        server.will_reply(ok());
        let big = "peer ".repeat(10_000);
        let requests = [log_request(&[&big]), log_request(&["two"])];
        exporter.send(&requests).await.unwrap();
        let seen = server.last();
        assert_eq!(seen.header("content-encoding"), Some(compression));
        assert!(seen.body.len() < 5000, "{} bytes", seen.body.len());
        let mut inflated = Vec::new();
        if compression == "gzip" {
            flate2::read::GzDecoder::new(&seen.body[..]).read_to_end(&mut inflated).unwrap();
        } else {
            inflated = zstd::decode_all(&seen.body[..]).unwrap();
        }
        assert_eq!(inflated, [logs(&[&big]).encode_to_vec(), logs(&["two"]).encode_to_vec()].concat());
    }
}

#[tokio::test]
async fn the_specification_says_which_statuses_are_worth_another_try() {
    let (server, exporter) = started(&json!({})).await;
    for status in [429, 502, 503, 504] {
        let error = answered(&server, &*exporter, reply(status, &[], "busy")).await.unwrap_err();
        let (after, message) = retryable(error);
        assert_eq!(after, None);
        assert!(message.contains(&status.to_string()) && message.contains("busy"), "{message}");
    }
    for status in [301, 400, 401, 403, 404, 413, 415, 500, 501] {
        let error = answered(&server, &*exporter, reply(status, &[], "no")).await.unwrap_err();
        let message = permanent(error);
        assert!(message.contains(&status.to_string()), "{message}");
    }
    for status in [200, 202, 204] {
        let taken = answered(&server, &*exporter, reply(status, &[PROTOBUF], "")).await;
        assert_eq!(taken.unwrap(), Exported::default());
    }
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_a_date() {
    let (server, exporter) = started(&json!({})).await;
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    for (value, least, most) in [("7", 7, 7), ("0", 0, 0), (date.as_str(), 90, 100)] {
        for status in [429, 503] {
            let reply = reply(status, &[("retry-after", value)], "");
            let error = answered(&server, &*exporter, reply).await.unwrap_err();
            let seconds = retryable(error).0.unwrap().as_secs();
            assert!((least..=most).contains(&seconds), "{value}: {seconds} s");
        }
    }
    let reply = reply(429, &[("retry-after", "soon")], "");
    let error = answered(&server, &*exporter, reply).await.unwrap_err();
    assert_eq!(retryable(error).0, None);
}

#[tokio::test]
async fn what_the_server_says_is_told_and_cut() {
    let (server, exporter) = started(&json!({})).await;
    // google.rpc.Status { 2: "no tenant" }
    let status = [&[0x12, 9][..], b"no tenant"].concat();
    let error = answered(&server, &*exporter, reply(400, &[PROTOBUF], status)).await.unwrap_err();
    assert!(permanent(error).ends_with("no tenant"));
    let page = format!("<html>\x1b[2J\n{}", "x".repeat(2 << 20));
    let error = answered(&server, &*exporter, reply(400, &[("content-type", "text/html")], page)).await;
    let message = permanent(error.unwrap_err());
    assert!(message.len() < 1000 && !message.contains(['\x1b', '\n']), "{message}");
}

#[tokio::test]
async fn partial_success_is_told() {
    let (server, exporter) = started(&json!({})).await;
    let partial = ExportLogsPartialSuccess { rejected_log_records: 3, error_message: "too old".to_owned() };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) };
    let exported = answered(&server, &*exporter, reply(200, &[PROTOBUF], answer.encode_to_vec())).await;
    let (reason, message, payloads) = ("rejected_by_destination", "too old".to_owned(), Vec::new());
    let rejected = Rejected { reason, items: 3, message, payloads };
    assert_eq!(exported.unwrap(), Exported { rejected: vec![rejected], remainder: None });
    // Servers that answer with something of their own took it all the same.
    for body in ["{}", "{\"partialSuccess\":{}}", "OK", "\x0a\x7f"] {
        let exported = answered(&server, &*exporter, reply(200, &[], body)).await.unwrap();
        assert_eq!(exported, Exported::default(), "{body:?}");
    }
}

#[tokio::test]
async fn a_server_that_goes_is_retryable_and_found_again_when_it_is_back() {
    let (server, exporter) = started(&json!({"retry": {"timeout_ms": 2000}})).await;
    answered(&server, &*exporter, ok()).await.unwrap();
    let addr = server.addr;
    drop(server);
    // The first may still find the pooled connection.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        retryable(exporter.send(&[log_request(&["x"])]).await.unwrap_err());
    }
    let back = std::net::TcpListener::bind(addr).unwrap();
    let answering = tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        let (mut socket, _) = back.accept().unwrap();
        let mut start = [0; 64];
        let _ = socket.read(&mut start).unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        start
    });
    exporter.send(&[log_request(&["x"])]).await.unwrap();
    assert!(answering.await.unwrap().starts_with(b"POST /v1/logs HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let settings = json!({"protocol": "http", "endpoint": endpoint, "retry": {"timeout_ms": 300}});
    let exporter = build("otlp", &settings).unwrap();
    let begun = std::time::Instant::now();
    retryable(exporter.send(&[log_request(&["x"])]).await.unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(3));
}

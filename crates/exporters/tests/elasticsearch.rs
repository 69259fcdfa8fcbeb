//! Bulk requests towards hyper's server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Read as _;
use std::task::{Context, Poll};
use std::time::Duration;

use common::{HttpServer, Reply, Seen, SendRequests as _, build, log_request, permanent, reply, retryable};
use engine::{ExportError, Exported, Exporter, Rejected, Scope};
use http_body_util::BodyExt as _;
use model::{Payload, Request};
use serde_json::{Value, json};

async fn started(more: Value) -> (HttpServer, Box<dyn Exporter>) {
    let server = HttpServer::start([]).await;
    let exporter = towards(&[&server], more);
    (server, exporter)
}

fn towards(servers: &[&HttpServer], more: Value) -> Box<dyn Exporter> {
    let endpoints: Vec<String> = servers.iter().map(|server| format!("http://{}", server.addr)).collect();
    let mut settings = json!({"endpoints": endpoints, "index": "logs"});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    if settings["data_stream"].is_object() {
        settings.as_object_mut().unwrap().remove("index");
    }
    build("elasticsearch", &settings).unwrap()
}

/// The answer with these items: a status, or a status and an error's type.
fn answer(items: &[(u16, &str)]) -> Reply {
    let item = |(status, kind): &(u16, &str)| match *kind {
        "" => json!({"create": {"status": status}}),
        kind => json!({"create": {"status": status, "error": {"type": kind, "reason": "[secret] no"}}}),
    };
    let items: Vec<Value> = items.iter().map(item).collect();
    let body = json!({"took": 1, "errors": true, "items": items}).to_string();
    reply(200, &[("content-type", "application/json")], body)
}

fn taken(count: usize) -> Reply {
    answer(&vec![(201, ""); count])
}

/// Ids and messages of the documents in a body.
fn documents(body: &[u8]) -> Vec<(String, String)> {
    let lines: Vec<Value> = body
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert!(body.ends_with(b"\n"), "a body ends with a line break");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines.chunks(2).map(|pair| (text(&pair[0]["create"]["_id"]), text(&pair[1]["message"]))).collect()
}

fn messages(seen: &Seen) -> Vec<String> {
    documents(&seen.body).into_iter().map(|(_, message)| message).collect()
}

fn all_messages(server: &HttpServer) -> Vec<Vec<String>> {
    server.seen.lock().unwrap().iter().map(messages).collect()
}

fn rejected(exported: &Exported) -> Vec<(&'static str, u64)> {
    exported.rejected.iter().map(|Rejected { reason, items, .. }| (*reason, *items)).collect()
}

fn left(exported: &Exported) -> Vec<Payload> {
    exported.remainder.as_ref().map(|rest| rest.payloads.clone()).unwrap_or_default()
}

#[tokio::test]
async fn requests_are_merged_into_one_body_of_lines() {
    let (server, exporter) = started(json!({"pipeline": "geo ip"})).await;
    server.will_reply(taken(3));
    let requests = [log_request(&["one"]), log_request(&["two", "th\"ree\n"])];
    assert_eq!(exporter.send(&requests).await.unwrap(), Exported::default());
    let seen = server.last();
    assert_eq!(seen.path, "/_bulk");
    assert_eq!(
        seen.query,
        "filter_path=took,errors,items.*.status,items.*.error.type,items.*.error.reason&pipeline=geo%20ip"
    );
    assert_eq!(seen.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(seen.header("content-encoding"), None);
    assert_eq!(messages(&seen), ["one", "two", "th\"ree\n"]);
    let first = seen.body.split(|b| *b == b'\n').next().unwrap();
    let action: Value = serde_json::from_slice(first).unwrap();
    assert_eq!(action["create"]["_index"], json!("logs"));
}

#[tokio::test]
async fn only_what_may_be_taken_later_is_sent_again_with_its_id() {
    let (server, exporter) = started(json!({})).await;
    server.will_reply(answer(&[
        (201, ""),
        (429, "es_rejected_execution_exception"),
        (400, "mapper_parsing_exception"),
        (409, "version_conflict_engine_exception"),
        (503, "unavailable_shards_exception"),
    ]));
    // Equal records: their ids must not change when some of them are gone.
    let requests = [log_request(&["a", "a", "b"]), log_request(&["c", "a"])];
    let exported = exporter.send(&requests).await.unwrap();
    assert_eq!(rejected(&exported), [("mapping", 1)]);
    let message = &exported.rejected[0].message;
    assert!(message.contains("mapper_parsing_exception") && !message.contains("secret"), "{message}");
    let rest = exported.remainder.as_ref().unwrap();
    assert!(rest.message.contains("es_rejected_execution_exception"), "{}", rest.message);
    assert_eq!(rest.payloads.iter().map(Payload::items).collect::<Vec<_>>(), [1, 1]);
    let before = documents(&server.last().body);
    server.will_reply(taken(2));
    assert_eq!(exporter.export(&rest.payloads).await.unwrap(), Exported::default());
    assert_eq!(documents(&server.last().body), [before[1].clone(), before[4].clone()]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_counts_as_far_as_it_goes() {
    let (server, exporter) = started(json!({})).await;
    let cut = r#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"sta"#;
    for (body, count) in [(cut, 2), ("", 3), ("<html>", 3), ("{}", 3)] {
        server.will_reply(reply(200, &[], body));
        let exported = exporter.send(&[log_request(&["a", "b", "c"])]).await.unwrap();
        assert_eq!(left(&exported).iter().map(Payload::items).sum::<usize>(), count, "{body}");
    }
    server.will_reply(reply(200, &[], r#"{"took":0,"errors":false}"#));
    assert_eq!(exporter.send(&[log_request(&["a"])]).await.unwrap(), Exported::default());
}

#[tokio::test]
async fn a_conflict_is_a_loss_where_ids_are_not_of_the_content() {
    let (server, exporter) = started(json!({"document_id": "none"})).await;
    server.will_reply(answer(&[(409, "version_conflict_engine_exception")]));
    let exported = exporter.send(&[log_request(&["a"])]).await.unwrap();
    assert_eq!(rejected(&exported), [("version_conflict", 1)]);
    assert_eq!(documents(&server.last().body)[0].0, "");
}

#[tokio::test]
async fn large_batches_are_cut_and_what_came_through_is_not_sent_again() {
    let (server, exporter) = started(json!({"max_body_bytes": 300})).await;
    let bodies: Vec<String> = (0..6).map(|n| format!("{n}{}", "x".repeat(100))).collect();
    let request = log_request(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    [2, 2, 2].into_iter().for_each(|count| server.will_reply(taken(count)));
    assert_eq!(exporter.send(std::slice::from_ref(&request)).await.unwrap(), Exported::default());
    assert_eq!(all_messages(&server).concat(), bodies);
    // The second of three is refused: it and what comes after it are left over.
    server.will_reply(taken(2));
    server.will_reply(reply(429, &[("retry-after", "7")], ""));
    let exported = exporter.send(std::slice::from_ref(&request)).await.unwrap();
    let rest = exported.remainder.clone().unwrap();
    assert_eq!(
        (rest.retry_after, rest.message.as_str()),
        (Some(Duration::from_secs(7)), "HTTP 429 Too Many Requests")
    );
    assert_eq!(server.seen.lock().unwrap().len(), 5, "sent more after a refusal");
    [2, 2].into_iter().for_each(|count| server.will_reply(taken(count)));
    assert_eq!(exporter.export(&rest.payloads).await.unwrap(), Exported::default());
    assert_eq!(all_messages(&server)[5..].concat(), bodies[2..]);
    // Nothing was judged: the engine keeps all of it.
    server.will_reply(reply(429, &[], ""));
    retryable(exporter.send(&[request]).await.unwrap_err());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_halved_down_to_one_document() {
    let (server, exporter) = started(json!({})).await;
    let too_large = || reply(413, &[], "");
    for next in [too_large(), taken(1), too_large(), too_large(), reply(503, &[], "")] {
        server.will_reply(next);
    }
    let exported = exporter.send(&[log_request(&["a", "b", "c"])]).await.unwrap();
    let sent = all_messages(&server);
    assert_eq!(sent, [vec!["a", "b", "c"], vec!["a"], vec!["b", "c"], vec!["b"], vec!["c"]]);
    assert_eq!(rejected(&exported), [("too_large", 1)]);
    let rest = left(&exported);
    server.will_reply(taken(1));
    assert_eq!(exporter.export(&rest).await.unwrap(), Exported::default());
    assert_eq!(messages(&server.last()), ["c"]);
}

fn server_len(server: &HttpServer) -> usize {
    server.seen.lock().unwrap().len()
}

#[tokio::test]
async fn what_a_whole_answer_means() {
    let (server, exporter) = started(json!({})).await;
    let blocked = r#"{"error":{"type":"cluster_block_exception","reason":"disk full"},"status":403}"#;
    for (status, body) in [(429, ""), (502, ""), (503, "x"), (504, ""), (408, ""), (403, blocked)] {
        server.will_reply(reply(status, &[("retry-after", "3")], body));
        let (after, message) = retryable(exporter.send(&[log_request(&["x"])]).await.unwrap_err());
        assert_eq!(after, Some(Duration::from_secs(3)));
        assert!(message.contains(&status.to_string()), "{message}");
    }
    let denied =
        r#"{"error":{"type":"security_exception","reason":"missing authentication [secret]"},"status":401}"#;
    for (status, body, expected) in [
        (401, denied, Scope::Request),
        (403, "", Scope::Request),
        (404, "", Scope::Request),
        (301, "", Scope::Request),
        (400, "secret", Scope::Records),
        (500, "", Scope::Records),
    ] {
        server.will_reply(reply(status, &[], body));
        let ExportError::Permanent { message, scope, .. } =
            exporter.send(&[log_request(&["x"])]).await.unwrap_err()
        else {
            panic!("{status} is retryable");
        };
        assert_eq!(scope, expected, "{status}");
        assert!(message.contains(&status.to_string()) && !message.contains("secret"), "{message}");
        assert_eq!(message.contains("security_exception"), status == 401);
    }
}

#[tokio::test]
async fn gzip_says_so_and_inflates_to_the_lines() {
    let (server, exporter) = started(json!({"compression": "gzip"})).await;
    server.will_reply(taken(2));
    let big = "peer ".repeat(10_000);
    exporter.send(&[log_request(&[&big, "b"])]).await.unwrap();
    let seen = server.last();
    assert_eq!(seen.header("content-encoding"), Some("gzip"));
    assert!(seen.body.len() < 5000);
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(&seen.body[..]).read_to_end(&mut inflated).unwrap();
    assert_eq!(documents(&inflated)[1].1, "b");
}

#[tokio::test]
async fn credentials_of_every_kind() {
    for (auth, header) in [
        (json!({"user": "u", "password": "p:w"}), "Basic dTpwOnc="),
        (json!({"api_key": "id:key"}), "ApiKey aWQ6a2V5"),
        (json!({"api_key": "aWQ6a2V5"}), "ApiKey aWQ6a2V5"),
        (json!({"bearer_token": "t"}), "Bearer t"),
    ] {
        let (server, exporter) = started(json!({"auth": auth})).await;
        server.will_reply(taken(1));
        exporter.send(&[log_request(&["x"])]).await.unwrap();
        assert_eq!(server.last().header("authorization"), Some(header));
    }
}

#[tokio::test]
async fn requests_go_round_and_pass_over_who_does_not_answer() {
    let (one, two) = (HttpServer::start([]).await, HttpServer::start([]).await);
    let exporter = towards(&[&one, &two], json!({}));
    for _ in 0..2 {
        one.will_reply(taken(1));
        two.will_reply(taken(1));
    }
    for _ in 0..4 {
        exporter.send(&[log_request(&["x"])]).await.unwrap();
    }
    assert_eq!((server_len(&one), server_len(&two)), (2, 2));
    // 503 from the first: the second gets the same body.
    one.will_reply(reply(503, &[], ""));
    two.will_reply(taken(1));
    assert_eq!(exporter.send(&[log_request(&["y"])]).await.unwrap(), Exported::default());
    assert_eq!((messages(&one.last()), messages(&two.last())), (vec!["y".to_owned()], vec!["y".to_owned()]));
    // It is passed over now, and then gone for good.
    drop(one);
    for _ in 0..3 {
        two.will_reply(taken(1));
        assert_eq!(exporter.send(&[log_request(&["z"])]).await.unwrap(), Exported::default());
    }
    // The other says 429: that is an answer, and nobody else is asked.
    two.will_reply(reply(429, &[], ""));
    retryable(exporter.send(&[log_request(&["z"])]).await.unwrap_err());
    drop(two);
    tokio::time::sleep(Duration::from_millis(20)).await;
    retryable(exporter.send(&[log_request(&["z"])]).await.unwrap_err());
}

#[tokio::test]
async fn a_server_that_hangs_leaves_time_for_another() {
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = HttpServer::start([taken(1), taken(1)]).await;
    let endpoints = [format!("http://{}", hanging.local_addr().unwrap()), format!("http://{}", server.addr)];
    let settings = json!({"endpoints": endpoints, "retry": {"timeout_ms": 1000}});
    let exporter = build("elasticsearch", &settings).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(exporter.send(&[log_request(&["x"])]).await.unwrap(), Exported::default());
    }
    assert!(begun.elapsed() < Duration::from_millis(950), "{:?}", begun.elapsed());
}

/// An answer whose body takes its time.
fn late(wait: Duration, answer: Reply) -> Reply {
    struct Late(std::pin::Pin<Box<tokio::time::Sleep>>, Reply);
    impl hyper::body::Body for Late {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            std::task::ready!(self.0.as_mut().poll(cx));
            std::pin::Pin::new(self.1.body_mut()).poll_frame(cx)
        }
    }
    http::Response::new(Late(Box::pin(tokio::time::sleep(wait)), answer).boxed())
}

#[tokio::test]
async fn many_slow_bodies_make_progress_instead_of_timing_out_as_a_whole() {
    let (server, exporter) = started(json!({"max_body_bytes": 1, "retry": {"timeout_ms": 1000}})).await;
    // The first answer alone takes more than half of the time.
    server.will_reply(late(Duration::from_millis(700), taken(1)));
    let exported = exporter.send(&[log_request(&["a", "b", "c"])]).await.unwrap();
    assert_eq!(server_len(&server), 1);
    let rest = left(&exported);
    (0..2).for_each(|_| server.will_reply(taken(1)));
    assert_eq!(exporter.export(&rest).await.unwrap(), Exported::default());
    assert_eq!(all_messages(&server).concat(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_data_stream_and_ecs() {
    let stream = json!({"type": "logs", "dataset": "meshara", "namespace": "test"});
    let (server, exporter) = started(json!({"data_stream": stream, "mapping": "ecs"})).await;
    server.will_reply(taken(1));
    exporter.send(&[log_request(&["x"])]).await.unwrap();
    let body = server.last().body;
    let lines: Vec<Value> =
        body.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    assert_eq!(lines[0]["create"]["_index"], json!("logs-meshara-test"));
    assert_eq!(lines[1]["ecs"]["version"], json!("8.11.0"));
    assert!(lines[1]["@timestamp"].is_string());
}

#[test]
fn settings_with_which_nothing_works_are_refused_at_build() {
    for (more, expected) in [
        (json!({"endpoints": []}), "there are 0"),
        (json!({"endpoints": ["ftp://x"]}), "ftp"),
        (json!({"endpoints": ["http://user:secret@x"]}), "header"),
        (json!({"index": "Logs"}), "lower case"),
        (json!({"index": "l-%{+EEE}"}), "EEE"),
        (json!({"index": "a", "data_stream": {}}), "both `index` and `data_stream`"),
        (json!({"data_stream": {"dataset": "a-b"}}), "data_stream"),
        (json!({"compression": "zstd"}), "zstd"),
        (json!({"max_body_bytes": 0}), "max_body_bytes"),
        (json!({"pipeline": ""}), "pipeline"),
        (json!({"auth": {}}), "api_key"),
        (json!({"auth": {"user": "a", "password": "secret", "api_key": "b"}}), "auth"),
        (json!({"auth": {"bearer_token": "secret\n"}}), "line break"),
        (json!({"auth": {"bearer_token": "x"}, "headers": {"authorization": "y"}}), "both `auth`"),
        (json!({"headers": {"Content-Type": "x"}}), "set by the protocol"),
    ] {
        let mut settings = json!({"endpoints": ["http://127.0.0.1:9200"]});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let error = build("elasticsearch", &settings).err().unwrap();
        assert!(error.contains(expected), "{settings}: {error}");
        assert!(!error.contains("secret") || expected == "header", "quotes a credential: {error}");
    }
}

#[tokio::test]
async fn permanent_errors_are_told_shortly() {
    let (server, exporter) = started(json!({})).await;
    server.will_reply(reply(404, &[], "x".repeat(2 << 20)));
    assert!(permanent(exporter.send(&[log_request(&["x"])]).await.unwrap_err()).len() < 100);
    let none: [Request; 0] = [];
    assert_eq!(exporter.send(&none).await.unwrap(), Exported::default());
}

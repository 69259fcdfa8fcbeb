//! Real OpenSearch behind the program: log lines are found by the queries that users write, a document that the mapping refuses
//! is lost alone, an answer that gets lost makes no duplicates, and nothing acknowledged is missing after a crash of the server.
//!
//! A server takes long to start, so one test does all, each part with indices of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backends::{Options, Server};
use serde_json::{Value, json};
use support::leaks::Leaks;
use support::outage::{self, Outage, survive};
use support::peers::{Kind, Peer};
use support::program::{Floodway, redact_lines};
use support::{await_that, http, numbered};

const JSON: &[&str] = &["Content-Type: application/json"];

/// Posts JSON to the server, refreshed, and expects it to agree.
fn ask(port: u16, path: &str, body: &Value) -> Value {
    let answer = http::post(port, path, JSON, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn refresh(port: u16, indices: &str) {
    ask(port, &format!("/{indices}/_refresh"), &json!({}));
}

/// The field `n` of the documents that a query finds, in order.
fn found(port: u16, indices: &str, query: Value) -> Vec<i64> {
    let body = json!({"query": query, "size": 1000, "sort": [{"n": "asc"}]});
    let answer = ask(port, &format!("/{indices}/_search"), &body);
    let hits = answer["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["_source"]["n"].as_i64().unwrap()).collect()
}

fn text(query: &str) -> Value {
    json!({"query_string": {"query": query}})
}

fn send_lines(program: &Floodway, lines: &[Value]) {
    let mut socket = http::connect(program.port("logstash"));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    socket.write_all(text.as_bytes()).unwrap();
}

fn towards(port: u16, settings: &str) -> Floodway {
    Floodway::redacting_to(&format!(
        "elasticsearch: {{endpoints: ['http://127.0.0.1:{port}'], retry: {{max_backoff_ms: 200}}, {settings}}}"
    ))
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn opensearch_takes_log_lines_and_finds_them_again() {
    let server = Server::start("opensearch", &Options::default()).unwrap();
    let port = server.port("http").unwrap();
    queries_find_exactly_the_right_documents(port);
    a_document_that_the_mapping_refuses_is_lost_alone(port);
    a_request_that_is_sent_twice_is_stored_once(port);
    answers_that_get_lost_make_no_duplicates(port);
    a_data_stream_takes_documents_of_the_common_schema(port);
    a_server_that_is_killed_has_every_acknowledged_document_in_the_end(server);
}

fn queries_find_exactly_the_right_documents(port: u16) {
    let peer = Peer::fresh(Kind::Ed25519);
    let id = peer.base58();
    let name = redact_lines(std::slice::from_ref(&id)).remove(0);
    let program = towards(port, "index: 'meshara-logs-%{+yyyy.MM.dd}'");
    let (first, second) = ("2026-03-01T23:59:59.999Z", "2026-03-02T00:00:00.000Z");
    send_lines(
        &program,
        &[
            json!({"n": 0, "@timestamp": first, "level": "error", "service": "backend", "query_duration": 1500,
                   "message": format!("dial to {id} failed"), "peer": id, "span.name": "dial"}),
            json!({"n": 1, "@timestamp": first, "level": "info", "service": "backend", "query_duration": 900,
                   "message": "slow", "event_type": "contract_tx", "status": "ok", "span.name": "dial"}),
            json!({"n": 2, "@timestamp": second, "level": "ERROR", "service": "frontend", "message": "no",
                   "event_type": "contract_tx", "status": "failed", "message_id": "m-42", "span.name": "listen"}),
            json!({"n": 3, "@timestamp": second, "level": "warn", "service": "frontend", "message": "x",
                   "query_duration": 10_000, "big": 9_007_199_254_740_993_i64, "http": {"status": 200}}),
        ],
    );
    program.await_delivered(4);
    let all = "meshara-logs-*";
    refresh(port, all);
    for (query, expected) in [
        ("query_duration:>1000", vec![0, 3]),
        ("level:error AND service:backend", vec![0]),
        ("event_type:contract_tx AND status:failed", vec![2]),
        ("level:ERROR", vec![0, 2]),
        ("message_id:\"m-42\"", vec![2]),
        ("http.status:200", vec![3]),
        (&format!("peer:{name}"), vec![0]),
        (&format!("message:{name}"), vec![0]),
        (&id, vec![]),
    ] {
        assert_eq!(found(port, all, text(query)), expected, "{query}");
    }
    let range = json!({"range": {"query_duration": {"gte": 900, "lt": 2000}}});
    assert_eq!(found(port, all, range), [0, 1]);
    assert_eq!(found(port, all, json!({"term": {"big": 9_007_199_254_740_993_i64}})), [3]);
    let day = json!({"range": {"@timestamp": {"gte": "2026-03-02"}}});
    assert_eq!(found(port, all, day), [2, 3]);
    assert_eq!(found(port, "meshara-logs-2026.03.01", json!({"match_all": {}})), [0, 1]);
    assert_eq!(found(port, "meshara-logs-2026.03.02", json!({"match_all": {}})), [2, 3]);

    let count = json!({"size": 0, "aggs": {"names": {"terms": {"field": "span.name.keyword"}}}});
    let buckets = ask(port, &format!("/{all}/_search"), &count)["aggregations"]["names"]["buckets"].clone();
    assert_eq!(buckets, json!([{"key": "dial", "doc_count": 2}, {"key": "listen", "doc_count": 1}]));
    let stored = http::get(port, &format!("/{all}/_search?size=100"));
    assert!(stored.text().contains(&name));
    Leaks::of([&peer]).assert_none("what OpenSearch has stored", &stored.body);
    program.stop().cleanly();
}

fn a_document_that_the_mapping_refuses_is_lost_alone(port: u16) {
    let template = json!({"index_patterns": ["strict-*"], "template": {"mappings": {"properties": {
        "query_duration": {"type": "long"}}}}});
    ask(port, "/_index_template/strict", &template);
    let program = towards(port, "index: strict-logs");
    let line = |n: u32, value: Value| json!({"n": n, "message": "x", "query_duration": value});
    let lines: Vec<Value> =
        (0..20).map(|n| if n == 7 { line(n, json!("Cobblestone")) } else { line(n, json!(n)) }).collect();
    send_lines(&program, &lines);
    let reason = ["reason=\"mapping\""];
    await_that("the loss of one document", Duration::from_secs(30), || {
        program.metric("floodway_dropped_items_total", &reason) > 0.0
    });
    program.await_delivered(19);
    refresh(port, "strict-logs");
    let expected: Vec<i64> = (0..20).filter(|n| *n != 7).collect();
    assert_eq!(found(port, "strict-logs", json!({"match_all": {}})), expected);
    assert_eq!(program.metric("floodway_dropped_items_total", &reason), 1.0);
    assert_eq!(program.metric("floodway_dropped_items_total", &[]), 1.0);
    let log = program.log();
    assert!(log.contains("mapper_parsing_exception") && log.contains("query_duration"), "{log}");
    assert!(!log.contains("Cobblestone"), "the log quotes a document: {log}");
    program.stop().cleanly();
}

/// A sender that heard no answer sends again; floodway was even started anew in between.
fn a_request_that_is_sent_twice_is_stored_once(port: u16) {
    let record = |n: &str| {
        json!({"timeUnixNano": "1772409600123456789", "severityNumber": 17, "body": {"stringValue": "from OTLP"},
               "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
               "attributes": [{"key": "n", "value": {"intValue": n}}]})
    };
    let attribute = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
    let resource = [attribute("service.name", "gateway"), attribute("service.version", "1.2")];
    // Two of the three records are equal, and stay two.
    let records = [record("0"), record("1"), record("1")];
    let request = json!({"resourceLogs": [{"resource": {"attributes": resource},
        "scopeLogs": [{"scope": {"name": "lib"}, "logRecords": records}]}]});
    for _ in 0..2 {
        let program = towards(port, "index: 'otlp-%{[service.name]}-%{+yyyy.MM}'");
        let answer = http::post_json(program.port("http"), "logs", request.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        program.await_delivered(3);
        program.stop().cleanly();
    }
    let index = "otlp-gateway-2026.03";
    refresh(port, index);
    for query in [
        "service:gateway AND level:error",
        "service_version:\"1.2\"",
        "trace_id:5b8efff798038103d269b633813fc60c AND span_id:eee19b7ec3c1b174",
        "scope.name:lib",
    ] {
        assert_eq!(found(port, index, text(query)), [0, 1, 1], "{query}");
    }
}

fn answers_that_get_lost_make_no_duplicates(port: u16) {
    const LINES: u32 = 50;
    let lines: Vec<Value> = (0..LINES).map(|n| json!({"n": n / 2, "message": "twins"})).collect();
    let twice: Vec<i64> = (0..i64::from(LINES)).map(|n| n / 2).collect();

    let proxy = Proxy::start(port);
    proxy.cut_answers(2);
    let program = towards(proxy.port, "index: once");
    send_lines(&program, &lines);
    program.await_delivered(LINES as usize);
    assert_eq!(proxy.cuts_left(), 0, "no answer was lost");
    refresh(port, "once");
    assert_eq!(found(port, "once", json!({"match_all": {}})), twice);
    // Nobody there for a while.
    proxy.refuse(true);
    send_lines(&program, &lines);
    let retries = || program.metric("floodway_export_retries_total", &[]);
    await_that("retries", Duration::from_secs(30), || retries() > 4.0);
    proxy.refuse(false);
    program.await_delivered(2 * LINES as usize);
    refresh(port, "once");
    assert_eq!(found(port, "once", json!({"match_all": {}})).len(), 2 * LINES as usize);
    program.stop().cleanly();

    // Without ids of the content the same loss does make duplicates.
    proxy.cut_answers(1);
    let program = towards(proxy.port, "index: again, document_id: none");
    send_lines(&program, &lines);
    program.await_delivered(LINES as usize);
    refresh(port, "again");
    assert!(found(port, "again", json!({"match_all": {}})).len() > LINES as usize);
    program.stop().cleanly();
}

fn a_data_stream_takes_documents_of_the_common_schema(port: u16) {
    let template =
        json!({"index_patterns": ["logs-meshara-*"], "data_stream": {}, "priority": 500, "template": {}});
    ask(port, "/_index_template/logs-meshara", &template);
    let proxy = Proxy::start(port);
    proxy.cut_answers(1);
    let program = towards(
        proxy.port,
        "data_stream: {dataset: meshara, namespace: '%{[env]:none}'}, mapping: ecs, compression: gzip",
    );
    send_lines(
        &program,
        &[
            json!({"n": 0, "level": "error", "service": "backend", "message": "a", "env": "prod"}),
            json!({"n": 1, "level": "info", "service": "backend", "message": "b", "env": "prod"}),
            json!({"n": 2, "level": "error", "message": "c"}),
        ],
    );
    program.await_delivered(3);
    assert_eq!(proxy.cuts_left(), 0);
    let prod = "logs-meshara-prod";
    refresh(port, "logs-meshara-*");
    assert_eq!(found(port, prod, text("log.level:error AND service.name:backend")), [0]);
    assert_eq!(found(port, "logs-meshara-*", json!({"match_all": {}})), [0, 1, 2]);
    assert_eq!(found(port, "logs-meshara-none", json!({"exists": {"field": "@timestamp"}})), [2]);
    let stream = http::get(port, &format!("/_data_stream/{prod}"));
    let stream: Value = serde_json::from_slice(&stream.body).unwrap();
    assert_eq!(stream["data_streams"][0]["name"], json!(prod));
    program.stop().cleanly();
}

fn a_server_that_is_killed_has_every_acknowledged_document_in_the_end(mut server: Server) {
    let port = server.port("http").unwrap();
    let exporter = format!(
        "elasticsearch: {{endpoints: ['http://127.0.0.1:{port}'], index: numbered, retry: {{max_backoff_ms: 500}}"
    );
    let outage = Outage { kind: numbered::Kind::Logs, grace: Duration::ZERO, killed: false };
    let acknowledged = survive(&mut server, outage, &exporter);
    refresh(port, "numbered");
    let query = json!({"query": {"match_all": {}}, "size": 10_000, "_source": ["message"]});
    let answer = ask(port, "/numbered/_search", &query);
    let hits = answer["hits"]["hits"].as_array().unwrap();
    let said = |hit: &Value| numbered::number(hit["_source"]["message"].as_str().unwrap()).unwrap();
    assert_eq!(outage::check("OpenSearch", &acknowledged, hits.iter().map(said)), 0);
}

/// Stands between the program and the server, and can lose the server's answers.
struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Answers that are still to be lost.
    cuts: AtomicUsize,
    refusing: AtomicUsize,
}

impl Proxy {
    /// Listens until the test program ends.
    fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state) = (client.unwrap(), Arc::clone(&shared));
                if state.refusing.load(Ordering::SeqCst) == 0 {
                    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    let requests = Arc::clone(&state);
                    std::thread::spawn(move || {
                        pump(from, to, || requests.refusing.load(Ordering::SeqCst) == 0)
                    });
                    std::thread::spawn(move || pump(server, client, || !state.take_cut()));
                }
            }
        });
        Self { port, state }
    }

    fn cut_answers(&self, count: usize) {
        self.state.cuts.store(count, Ordering::SeqCst);
    }

    fn cuts_left(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }

    fn refuse(&self, refuse: bool) {
        self.state.refusing.store(usize::from(refuse), Ordering::SeqCst);
    }
}

impl State {
    fn take_cut(&self) -> bool {
        self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// Copies until the end, or until a piece may not pass: then both ways are closed.
fn pump(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !may_pass() || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

//! What bad senders get from the running program: a clear error and a count, while its memory stays bounded and the next good
//! request is served.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::grpc::{Client, frame, path};
use support::leaks::json_lines;
use support::peers::{Kind, Peer};
use support::program::{Floodway, Stopped};
use support::{await_that, http, requests};

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;
const MIB: u64 = 1 << 20;

fn program() -> Floodway {
    Floodway::redacting_to("file: {directory: '@dir@/out'}")
}

/// A program whose senders must be quick, and that takes few at a time.
fn impatient() -> Floodway {
    let limits = "idle_timeout_ms: 400, request_timeout_ms: 1200, max_connections: 150";
    Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
limits: {{memory: 48MiB}}
receivers:
  otlp:
    grpc: {{endpoint: '127.0.0.1:@grpc@', {limits}}}
    http: {{endpoint: '127.0.0.1:@http@', {limits}}}
  logstash: {{endpoint: '127.0.0.1:@logstash@', line_timeout_ms: 400}}
processors: {{redact: {{key_file: '@dir@/redact.key'}}}}
exporters: {{file: {{directory: '@dir@/out'}}}}
pipelines: {{main: {{receivers: [otlp, logstash], processors: [redact], exporters: [file]}}}}
"
    ))
}

/// A good request by each way in: whatever came before, it is served.
fn assert_serves(program: &Floodway) {
    let before = program.accepted();
    let outcome = Client::connect(program.port("grpc")).export("logs", &requests::one_log("good"));
    assert_eq!(outcome.code, OK, "{outcome:?}");
    let answer = http::post_protobuf(program.port("http"), "traces", &requests::one_span("good"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = http::post_json(
        program.port("http"),
        "logs",
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    http::connect(program.port("logstash")).write_all(b"{\"message\":\"good\"}\n").unwrap();
    await_that("taking good requests", Duration::from_secs(10), || program.accepted() >= before + 4.0);
    assert_eq!(http::get(program.port("admin"), "/health").status, 200);
}

/// Ends the program and checks that it delivered what it accepted.
fn finish(program: Floodway) -> Stopped {
    let accepted = program.accepted();
    await_that("delivering", Duration::from_secs(10), || program.delivered() == accepted);
    program.stop().cleanly()
}

/// Refused as malformed by gRPC and by HTTP, with a text that has one of `words`.
fn assert_malformed(program: &Floodway, what: &str, message: &[u8], words: &[&str]) {
    let before = program.refused("malformed");
    let outcome = Client::connect(program.port("grpc")).export("traces", message);
    assert_eq!(outcome.code, INVALID_ARGUMENT, "{what}: {outcome:?}");
    let answer = http::post_protobuf(program.port("http"), "traces", message);
    assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    for text in [outcome.message, answer.text()] {
        assert!(words.iter().any(|word| text.contains(word)), "{what}: {text:?} names none of {words:?}");
    }
    assert_eq!(program.refused("malformed"), before + 2.0, "{what} is not counted");
}

#[test]
fn truncated_protobuf_is_refused_at_every_length() {
    let program = program();
    let whole = requests::one_span("cut");
    let client = Client::connect(program.port("grpc"));
    let (mut refused, mut taken) = (0, 0);
    for length in 1..whole.len() {
        let outcome = client.export("traces", &whole[..length]);
        assert_eq!(outcome.code, INVALID_ARGUMENT, "{length} bytes: {outcome:?}");
        refused += 1;
    }
    assert_eq!(program.refused("malformed"), f64::from(refused));
    assert_eq!(client.export("traces", &whole).code, OK);
    taken += 1;
    assert_eq!(program.accepted(), f64::from(taken));
    assert_malformed(&program, "truncated", &whole[..whole.len() - 1], &["end", "truncated"]);
    assert_serves(&program);
    finish(program);
}

#[test]
fn what_is_no_export_request_is_refused() {
    let program = program();
    let cases: [(&str, &[u8], &[&str]); 7] = [
        ("a varint where a message belongs", &[0x08, 0x01], &["wire type"]),
        ("a number where a text belongs", &[0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x28, 0x01], &["wire type"]),
        ("a group", &[0x0b, 0x0c], &["group"]),
        ("a wire type that does not exist", &[0x0f], &["wire type"]),
        ("field number 0", &[0x02, 0x00], &["field"]),
        ("a length past the end", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &["end", "length", "past"]),
        (
            "a varint of 11 bytes",
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            &["varint"],
        ),
    ];
    for (what, message, words) in cases {
        assert_malformed(&program, what, message, words);
    }
    assert_malformed(&program, "text", b"hello, this is no protobuf", &["field", "end", "wire", "group"]);
    // The frame around the message is wrong.
    let client = Client::connect(program.port("grpc"));
    let whole = frame(&requests::one_span("x"), false);
    for (what, body) in [
        ("no frame", vec![]),
        ("half a frame header", whole[..3].to_vec()),
        ("less than announced", whole[..whole.len() - 1].to_vec()),
        ("more than announced", [whole.as_slice(), b"x"].concat()),
        ("a compression flag without a compression", [&[1], &whole[1..]].concat()),
        ("a flag of 7", [&[7], &whole[1..]].concat()),
    ] {
        let outcome = client.call(path("traces"), &[], vec![body], Duration::ZERO);
        assert!(
            matches!(outcome.code, INVALID_ARGUMENT | INTERNAL | UNIMPLEMENTED)
                && !outcome.message.is_empty(),
            "{what}: {outcome:?}"
        );
    }
    let outcome = client.call(
        path("traces"),
        &[("grpc-encoding", "snappy")],
        vec![[&[1], &whole[1..]].concat()],
        Duration::ZERO,
    );
    assert_eq!(outcome.code, UNIMPLEMENTED, "{outcome:?}");
    assert!(outcome.message.contains("gzip"), "{outcome:?}");
    let outcome = client.call(
        "/opentelemetry.proto.collector.trace.v2.TraceService/Export",
        &[],
        vec![whole],
        Duration::ZERO,
    );
    assert_eq!(outcome.code, UNIMPLEMENTED, "{outcome:?}");
    assert_eq!(program.accepted(), 0.0);
    assert_serves(&program);
    finish(program);
}

#[test]
fn http_mistakes_get_the_status_that_names_them() {
    let program = program();
    let port = program.port("http");
    let json = ["Content-Type: application/json"];
    for (path, headers, body, status, word) in [
        ("/v1/traces", &["Content-Type: text/plain"][..], &b"x"[..], 415, "application/json"),
        ("/v1/traces", &[][..], b"x", 415, "application/json"),
        ("/v1/nothing", &json, b"{}", 404, "/v1/traces"),
        ("/v1/traces", &json, b"{", 400, "line"),
        ("/v1/traces", &json, b"[]", 400, ""),
        ("/v1/traces", &json, b"", 400, ""),
        ("/v1/traces", &json, b"{\"resourceSpans\":{}}", 400, "resourceSpans"),
        (
            "/v1/traces",
            &json,
            b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"xyz\"}]}]}]}",
            400,
            "traceId",
        ),
        ("/v1/traces", &["Content-Type: application/json", "Content-Encoding: br"], b"x", 415, "gzip"),
        (
            "/v1/traces",
            &["Content-Type: application/json", "Content-Encoding: gzip"],
            b"no gzip",
            400,
            "gzip",
        ),
    ] {
        let answer = http::post(port, path, headers, body);
        let text = answer.text();
        assert_eq!(answer.status, status, "{path} {headers:?} {}: {text}", body.escape_ascii());
        assert!(text.contains(word), "{path} {headers:?}: {text:?} does not name {word:?}");
    }
    let get = http::get(port, "/v1/traces");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert!(
        program.refused("malformed") >= 6.0 && program.refused("unsupported") >= 3.0,
        "{}",
        program.metrics()
    );
    assert_serves(&program);
    finish(program);
}

/// `depth` values, each in a list in the one before, inside an attribute of a resource. Written from the end, as the inner lengths
/// must be known.
fn nested_protobuf(depth: usize) -> Vec<u8> {
    let mut reversed: Vec<u8> = b"deep".iter().rev().copied().collect();
    let mut wrap = |tag: u8| {
        let mut length = reversed.len();
        let mut varint = Vec::new();
        while length >= 128 {
            varint.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        varint.push(length as u8);
        reversed.extend(varint.iter().rev());
        reversed.push(tag);
    };
    wrap(0x0a);
    for _ in 0..depth {
        wrap(0x0a);
        wrap(0x2a);
    }
    [0x12, 0x0a, 0x0a, 0x0a].into_iter().for_each(wrap);
    reversed.reverse();
    reversed
}

fn nested_json(depth: usize) -> String {
    let (open, close) = ("{\"arrayValue\":{\"values\":[".repeat(depth), "]}}".repeat(depth));
    format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"k\",\"value\":{open}{{}}{close}}}]}}}}]}}"
    )
}

#[test]
fn two_hundred_levels_are_refused_and_a_million_too() {
    let program = program();
    for depth in [200, 100_000] {
        assert_malformed(
            &program,
            &format!("{depth} levels"),
            &nested_protobuf(depth),
            &["nest", "level", "deep"],
        );
        let before = program.refused("malformed");
        let answer = http::post_json(program.port("http"), "traces", nested_json(depth).as_bytes());
        assert_eq!(answer.status, 400, "{}", answer.text());
        let text = answer.text();
        assert!(["nest", "level", "deep", "recursion"].iter().any(|word| text.contains(word)), "{text}");
        assert_eq!(program.refused("malformed"), before + 1.0);
    }
    let answer = http::post_json(program.port("http"), "traces", "[".repeat(1_000_000).as_bytes());
    assert_eq!(answer.status, 400, "{}", answer.text());
    // Lines have no answer: they become events that say so.
    let line = format!("{{\"a\":{}1{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    http::connect(program.port("logstash")).write_all(line.as_bytes()).unwrap();
    await_that("counting the line", Duration::from_secs(10), || {
        program.metric("floodway_line_problems_total", &["problem=\"json\""]) == 1.0
    });
    // What other programs really send, 20 levels, passes.
    assert_eq!(http::post_protobuf(program.port("http"), "traces", &nested_protobuf(20)).status, 200);
    assert_eq!(http::post_json(program.port("http"), "traces", nested_json(20).as_bytes()).status, 200);
    assert_serves(&program);
    finish(program);
}

#[test]
fn gzip_bombs_are_refused_before_they_fill_the_memory() {
    let program = impatient();
    let before = program.peak_memory();
    // 100 MB of one text, and of zeros.
    let bombs = [vec![b'a'; 100_000_000], vec![0; 100_000_000]].map(|bytes| http::gzip(&bytes));
    assert!(bombs.iter().all(|bomb| bomb.len() < 200_000));
    std::thread::scope(|scope| {
        for bomb in bombs.iter().cycle().take(4) {
            scope.spawn(|| {
                for kind in ["application/json", "application/x-protobuf"] {
                    let headers = [&format!("Content-Type: {kind}"), "Content-Encoding: gzip"];
                    let answer = http::post(program.port("http"), "/v1/logs", &headers, bomb);
                    // 429: four at once may meet a full budget first.
                    assert!(matches!(answer.status, 413 | 429), "{}: {}", answer.status, answer.text());
                }
                let framed = frame(bomb, true);
                let client = Client::connect(program.port("grpc"));
                let outcome =
                    client.call(path("logs"), &[("grpc-encoding", "gzip")], vec![framed], Duration::ZERO);
                assert_eq!(outcome.code, RESOURCE_EXHAUSTED, "{outcome:?}");
            });
        }
    });
    let answer = http::post(
        program.port("http"),
        "/v1/logs",
        &["Content-Type: application/json", "Content-Encoding: gzip"],
        &bombs[0],
    );
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("16777216"), "the limit is not named: {}", answer.text());
    let grown = program.peak_memory() - before;
    // The budget of 48 MiB, and what decompressors and sockets need; far below the 1.3 GB that was announced.
    assert!(grown < 80 * MIB, "memory grew by {} MiB", grown / MIB);
    assert!(program.refused("too_large") >= 1.0);
    assert_eq!(program.refused("too_large") + program.refused("budget_full"), 13.0);
    assert_serves(&program);
    finish(program);
}

#[test]
fn a_request_over_the_limit_is_refused_without_being_read() {
    let program = program();
    let large = requests::one_log(&"x".repeat(17 << 20));
    let outcome = Client::connect(program.port("grpc")).export("logs", &large);
    assert_eq!(outcome.code, RESOURCE_EXHAUSTED, "{outcome:?}");
    // Sending it again would not help, so no hint to do so.
    assert!(!outcome.has_retry_info && outcome.message.contains("16777216"), "{outcome:?}");
    let answer = http::post_protobuf(program.port("http"), "logs", &large);
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(program.refused("too_large"), 2.0);
    assert_serves(&program);
    finish(program);
}

#[test]
fn invalid_utf8_is_replaced_and_counted_and_costs_no_record() {
    let program = program();
    let mut log = requests::one_log("bad @@ text");
    let mut span = requests::one_span("bad @@ name");
    for message in [&mut log, &mut span] {
        let at = message.windows(2).position(|window| window == b"@@").unwrap();
        message[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    }
    let outcome = Client::connect(program.port("grpc")).export("logs", &log);
    assert_eq!(outcome.code, OK, "{outcome:?}");
    assert!(String::from_utf8_lossy(&outcome.body).contains("UTF-8"), "no warning: {outcome:?}");
    let answer = http::post_protobuf(program.port("http"), "traces", &span);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("UTF-8"), "no warning: {}", answer.text());
    assert_eq!(program.metric("floodway_repairs_total", &["repair=\"invalid_utf8\""]), 2.0);
    let json = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"json \xff\xfe text\"}}]}]}]}";
    let answer = http::post_json(program.port("http"), "logs", json);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("UTF-8"), "no warning: {}", answer.text());
    http::connect(program.port("logstash")).write_all(b"{\"message\":\"line \xff\xfe text\"}\n").unwrap();
    await_that("taking the line", Duration::from_secs(10), || {
        program.metric("floodway_line_problems_total", &["problem=\"invalid_utf8\""]) == 1.0
    });
    assert_serves(&program);
    let stopped = finish(program);
    let logs = std::fs::read_to_string(stopped.dir().join("out/logs.jsonl")).unwrap();
    for text in ["bad \u{fffd}\u{fffd} text", "json \u{fffd}\u{fffd} text", "line \u{fffd}\u{fffd} text"] {
        assert!(logs.contains(text), "{text} is not in {logs}");
    }
    assert!(!json_lines(&stopped.dir().join("out/traces.jsonl")).is_empty());
}

#[test]
fn duplicate_keys_in_json_are_refused_wherever_readers_would_differ() {
    let program = program();
    let id = Peer::fresh(Kind::Ed25519).base58();
    for body in [
        r#"{"resourceSpans":[],"resourceSpans":[{}]}"#.to_owned(),
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"{id}","name":"shown"}}]}}]}}]}}"#),
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"shown","name":"{id}"}}]}}]}}]}}"#),
        format!(
            r#"{{"resourceSpans":[{{"scope_spans":[],"scopeSpans":[{{"spans":[{{"name":"{id}"}}]}}]}}]}}"#
        ),
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{{"stringValue":"{id}","intValue":1}}}}]}}}}]}}"#
        ),
    ] {
        let before = program.refused("malformed");
        let answer = http::post_json(program.port("http"), "traces", body.as_bytes());
        let text = answer.text();
        assert_eq!(answer.status, 400, "{body}: {text}");
        assert!(
            text.contains("twice") || text.contains("oneof") || text.contains("already"),
            "{body}: {text}"
        );
        assert!(!text.contains(&id), "the error quotes a peer: {text}");
        assert_eq!(program.refused("malformed"), before + 1.0);
    }
    // In a line there is nobody to refuse it to; no reader may see what redaction did not.
    let line = format!("{{\"message\":\"{id}\",\"message\":\"shown\",\"a\":{{\"b\":\"{id}\",\"b\":1}}}}\n");
    http::connect(program.port("logstash")).write_all(line.as_bytes()).unwrap();
    await_that("taking the line", Duration::from_secs(10), || program.accepted() == 1.0);
    assert_serves(&program);
    let stopped = finish(program);
    assert!(!std::fs::read_to_string(stopped.dir().join("out/logs.jsonl")).unwrap().contains(&id));
    assert!(!stopped.log().contains(&id));
}

#[test]
fn a_hundred_half_open_connections_do_not_keep_others_out() {
    let program = impatient();
    let beginnings: [(&str, &[u8]); 4] = [
        ("http", b""),
        ("http", b"POST /v1/traces HTTP/1.1\r\nHost: loc"),
        ("grpc", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("logstash", b"{\"mess"),
    ];
    let open: Vec<TcpStream> = (0..100)
        .map(|n| {
            let (port, beginning) = beginnings[n % beginnings.len()];
            let mut stream = http::connect(program.port(port));
            stream.write_all(beginning).unwrap();
            stream
        })
        .collect();
    await_that("counting open connections", Duration::from_secs(10), || {
        program.metric("floodway_open_connections", &[]) >= 75.0
    });
    let started = Instant::now();
    assert_serves(&program);
    assert!(started.elapsed() < Duration::from_secs(5), "others had to wait: {:?}", started.elapsed());
    // A line that stays unfinished is taken as it is, and its connection closed.
    await_that("ending unfinished lines", Duration::from_secs(10), || {
        program.metric("floodway_line_problems_total", &["problem=\"json\""]) == 25.0
    });
    drop(open);
    await_that("forgetting closed connections", Duration::from_secs(10), || {
        program.metric("floodway_open_connections", &[]) == 0.0
    });
    finish(program);
}

#[test]
fn connections_over_the_limit_are_closed_and_counted() {
    let program = impatient();
    let open: Vec<TcpStream> = (0..170).map(|_| http::connect(program.port("http"))).collect();
    await_that("counting refused connections", Duration::from_secs(10), || {
        program.metric("floodway_refused_connections_total", &["max_connections"]) == 20.0
    });
    drop(open);
    await_that("forgetting closed connections", Duration::from_secs(10), || {
        program.metric("floodway_open_connections", &["transport=\"http\""]) == 0.0
    });
    assert_serves(&program);
    finish(program);
}

#[test]
fn slow_bodies_are_cut_off_and_others_served_meanwhile() {
    let program = impatient();
    std::thread::scope(|scope| {
        // Silent within a request.
        scope.spawn(|| {
            let mut stream = http::connect(program.port("http"));
            let head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"res";
            stream.write_all(head).unwrap();
            let answer = http::read_answer(&mut stream).expect("an answer");
            assert_eq!(answer.status, 408, "{}", answer.text());
        });
        // A byte now and then: never silent for long, and never done.
        scope.spawn(|| {
            let mut stream = http::connect(program.port("http"));
            let head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
            stream.write_all(head).unwrap();
            let started = Instant::now();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut answer = Vec::new();
            while answer.is_empty() && started.elapsed() < Duration::from_secs(10) {
                let _ = stream.write_all(b" ");
                let mut buffer = [0; 4096];
                if let Ok(n @ 1..) = stream.read(&mut buffer) {
                    answer.extend_from_slice(&buffer[..n]);
                }
            }
            assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", answer.escape_ascii());
        });
        scope.spawn(|| {
            let pieces =
                frame(&requests::one_log(&"x".repeat(100)), false).chunks(2).map(<[u8]>::to_vec).collect();
            let client = Client::connect(program.port("grpc"));
            let outcome = client.call(path("logs"), &[], pieces, Duration::from_millis(100));
            assert_eq!(outcome.code, DEADLINE_EXCEEDED, "{outcome:?}");
        });
        scope.spawn(|| assert_serves(&program));
    });
    assert_eq!(program.refused("timeout"), 3.0);
    assert_serves(&program);
    finish(program);
}

#[test]
fn a_body_that_breaks_off_is_counted_and_leaves_no_memory_behind() {
    let program = program();
    for _ in 0..20 {
        let mut stream = http::connect(program.port("http"));
        let head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n{";
        stream.write_all(head).unwrap();
    }
    await_that("counting what broke off", Duration::from_secs(10), || program.refused("aborted") == 20.0);
    await_that("giving the budget back", Duration::from_secs(10), || {
        program.metric("floodway_budget_bytes", &[]) == 0.0
    });
    assert_serves(&program);
    finish(program);
}

#[test]
fn lines_that_never_end_are_cut_and_counted() {
    let program = program();
    let mut stream = http::connect(program.port("logstash"));
    let before = program.peak_memory();
    for _ in 0..64 {
        stream.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    stream.write_all(b"\n{\"message\":\"after\"}\n").unwrap();
    await_that("counting the cut", Duration::from_secs(20), || {
        program.metric("floodway_line_problems_total", &["problem=\"cut\""]) == 1.0
    });
    await_that("taking both", Duration::from_secs(10), || program.accepted() == 2.0);
    let grown = program.peak_memory() - before;
    assert!(grown < 32 * MIB, "memory grew by {} MiB", grown / MIB);
    let stopped = finish(program);
    assert!(std::fs::read_to_string(stopped.dir().join("out/logs.jsonl")).unwrap().contains("after"));
}

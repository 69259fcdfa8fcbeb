//! Reload as its users meet it: the file is changed, SIGHUP or a POST is sent, and the real program follows while clients are
//! connected and requests wait.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends, and says why")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::grpc::Client;
use support::http::{self, Answer};
use support::program::{Floodway, free_port};
use support::{await_some, await_that};

const LIMIT: Duration = Duration::from_secs(20);

/// One log record as OTLP JSON.
fn log(text: &str) -> Vec<u8> {
    json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "body": { "stringValue": text } }] }] }] })
        .to_string()
        .into_bytes()
}

fn send(program: &Floodway, text: &str) {
    assert_eq!(http::post_json(program.port("http"), "logs", &log(text)).status, 200, "{text}");
}

/// What the file exporter has written.
fn written(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("out/logs.jsonl")).unwrap_or_default()
}

/// The program's file, with its ports and folder as at the start.
fn rewrite(program: &Floodway, change: impl Fn(&str) -> String) {
    let file = program.dir().join("floodway.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "nothing was changed");
    std::fs::write(file, changed).unwrap();
}

fn replace(program: &Floodway, from: &str, to: &str) {
    rewrite(program, |text| text.replace(from, to));
}

fn post(program: &Floodway, headers: &[&str]) -> Answer {
    http::post(program.port("admin"), "/admin/reload", headers, b"")
}

/// Asks for a reload that must be done.
fn reload(program: &Floodway) -> Value {
    let answer = post(program, &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn health(program: &Floodway) -> Value {
    serde_json::from_slice(&http::get(program.port("admin"), "/health").body).unwrap()
}

const TO_FILE: &str = "
admin: {endpoint: '127.0.0.1:@admin@'}
receivers:
  otlp: {http: {endpoint: '127.0.0.1:@http@'}, grpc: {endpoint: '127.0.0.1:@grpc@'}}
exporters:
  file: {directory: '@dir@/out'}
pipelines:
  main: {receivers: [otlp], exporters: [file]}
";

#[test]
fn a_bad_file_changes_nothing_and_the_answer_says_why() {
    let program = Floodway::start(TO_FILE);
    assert!(health(&program).get("reload").is_none());
    replace(&program, "directory:", "directry:");
    let answer = post(&program, &[]);
    assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["result"], "failed");
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("floodway.yaml:6:10: unknown field `directry`") && error.contains('^'), "{error}");
    let problem = &body["problems"][0];
    assert_eq!((&problem["file"], &problem["line"]), (&json!("floodway.yaml"), &json!(6)), "{body}");
    assert!(problem["message"].as_str().unwrap().contains("did you mean `directory`"));
    let health = health(&program);
    assert_eq!((&health["status"], &health["reload"]["last"]), (&json!("ok"), &json!("failed")));
    assert!(health["reload"]["error"].as_str().unwrap().contains("floodway.yaml:6:10"), "{health}");
    assert!(health["reload"]["at"].as_str().unwrap().ends_with('Z'));
    send(&program, "still here");
    await_that("the record", LIMIT, || written(program.dir()).contains("still here"));
    assert_eq!(program.metric("floodway_reloads_total", &["result=\"failed\""]), 1.0);
    assert!(program.log().contains("reload failed, nothing has changed: floodway.yaml:6:10"));

    // A good file that cannot be started: somebody else has the port.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    replace(&program, "directry:", "directory:");
    let port = taken.local_addr().unwrap().port();
    replace(&program, "receivers:\n", &format!("receivers:\n  logstash: {{endpoint: '127.0.0.1:{port}'}}\n"));
    replace(&program, "[otlp]", "[otlp, logstash]");
    let answer = post(&program, &[]);
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains("in use"), "{}", answer.text());
    send(&program, "and here");
    drop(taken);
    assert_eq!(reload(&program)["receivers"]["added"], json!(["logstash"]));
    assert_eq!(program.metric("floodway_reloads_total", &["result=\"ok\""]), 1.0);
    program.stop().cleanly();
}

#[test]
fn receivers_come_and_go_and_connections_of_an_unchanged_one_live_on() {
    let program = Floodway::start(TO_FILE);
    let grpc = Client::connect(program.port("grpc"));
    let mut kept = http::connect(program.port("http"));
    let ask = |kept: &mut TcpStream| {
        let body = log("kept");
        let head = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length";
        kept.write_all(format!("{head}: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        kept.write_all(&body).unwrap();
        let mut answer = [0; 512];
        let n = kept.read(&mut answer).unwrap();
        assert!(answer[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..n]));
    };
    ask(&mut kept);
    assert_eq!(grpc.export("logs", b"").code, 0);

    let port = program.port("logstash");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    let logstash = format!("receivers:\n  logstash: {{endpoint: '127.0.0.1:{port}'}}\n");
    replace(&program, "receivers:\n", &logstash);
    replace(&program, "[otlp]", "[otlp, logstash]");
    let report = reload(&program);
    assert_eq!(report["receivers"]["added"], json!(["logstash"]), "{report}");
    assert_eq!(
        (&report["receivers"]["unchanged"], &report["exporters"]["unchanged"]),
        (&json!(["otlp"]), &json!(["file"]))
    );
    assert_eq!(report["pipelines"]["changed"], json!(["main"]));
    assert_eq!(report["unredacted"], json!(["main"]), "{report}");
    let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    line.write_all(b"{\"message\":\"by logstash\"}\n").unwrap();
    await_that("the line", LIMIT, || written(program.dir()).contains("by logstash"));
    ask(&mut kept);
    assert_eq!(grpc.export("logs", b"").code, 0, "the connection has lived on");

    replace(&program, &logstash, "receivers:\n");
    replace(&program, "[otlp, logstash]", "[otlp]");
    assert_eq!(reload(&program)["receivers"]["removed"], json!(["logstash"]));
    await_that("the port to be closed", LIMIT, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    await_that("the receiver to be gone", LIMIT, || health(&program)["retiring"] == json!([]));
    ask(&mut kept);
    assert_eq!(grpc.export("logs", b"").code, 0);
    program.stop().cleanly();
}

/// Two thousand new connections while the receiver is replaced again and again.
#[test]
fn nobody_who_connects_during_a_reload_is_refused() {
    let program = Floodway::start(TO_FILE);
    let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let port = program.port("http");
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (end, sent) = (Arc::clone(&end), Arc::clone(&sent));
            std::thread::spawn(move || {
                let mut n = 0;
                while !end.load(Ordering::SeqCst) {
                    let answer = http::post_json(port, "logs", &log(&format!("<{client}.{n}>")));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    n += 1;
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                n
            })
        })
        .collect();
    for round in 0..25 {
        let before = sent.load(Ordering::SeqCst);
        await_that("requests", LIMIT, || sent.load(Ordering::SeqCst) >= before + 40);
        let limit = 1_000_000 + round;
        rewrite(&program, |text| {
            let (head, rest) = text.split_once("http: {").unwrap();
            let rest = rest.split_once("endpoint").unwrap().1;
            format!("{head}http: {{max_request_bytes: {limit}, endpoint{rest}")
        });
        assert_eq!(reload(&program)["receivers"]["changed"], json!(["otlp"]));
    }
    end.store(true, Ordering::SeqCst);
    let counts: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let dir = program.stop().cleanly();
    let text = written(dir.dir());
    for (client, count) in counts.iter().enumerate() {
        for n in 0..*count {
            assert_eq!(text.matches(&format!("<{client}.{n}>")).count(), 1, "<{client}.{n}>");
        }
    }
}

/// To an OTLP destination over HTTP that hangs, or that is not there.
fn to_otlp(target: u16) -> String {
    format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers:
  otlp: {{http: {{endpoint: '127.0.0.1:@http@'}}}}
exporters:
  otlp: {{endpoint: 'http://127.0.0.1:{target}', protocol: http, retry: {{initial_backoff_ms: 60000, max_backoff_ms: 60000}}}}
pipelines:
  main: {{receivers: [otlp], exporters: [otlp]}}
"
    )
}

#[test]
fn what_waited_for_a_dead_address_goes_to_the_corrected_one() {
    let sink = Floodway::start(TO_FILE);
    let dead = free_port();
    let program = Floodway::start(&to_otlp(dead));
    (0..50).for_each(|n| send(&program, &format!("<{n}>")));
    await_that("an attempt that fails", LIMIT, || health(&program)["status"] == "degraded");
    replace(&program, &format!("127.0.0.1:{dead}"), &format!("127.0.0.1:{}", sink.port("http")));
    let started = Instant::now();
    let pid = rustix::process::Pid::from_raw(i32::try_from(program.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    program.await_delivered(50);
    assert!(started.elapsed() < Duration::from_secs(15), "the back-off was not sat out");
    let health = health(&program);
    assert_eq!((&health["status"], &health["reload"]["last"]), (&json!("ok"), &json!("ok")), "{health}");
    assert!(program.log().contains("reloaded"), "{}", program.log());
    program.stop().cleanly();
    let sink = sink.stop().cleanly();
    let text = written(sink.dir());
    (0..50).for_each(|n| assert_eq!(text.matches(&format!("<{n}>")).count(), 1, "<{n}>"));
}

#[test]
fn a_sink_that_hangs_does_not_hold_a_reload_up() {
    // It takes connections and never answers.
    let hangs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = hangs.local_addr().unwrap().port();
    let program = Floodway::start(&to_otlp(port).replace("retry: {", "retry: {timeout_ms: 600000, "));
    send(&program, "waits");
    let connection = hangs.accept().unwrap();
    rewrite(&program, |text| {
        let file = format!("exporters:\n  file: {{directory: '{}/out'}}\n", program.dir().display());
        text.replace("exporters:\n", &file).replace("exporters: [otlp]", "exporters: [file]")
    });
    let started = Instant::now();
    let report = reload(&program);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(
        (&report["exporters"]["added"], &report["exporters"]["removed"]),
        (&json!(["file"]), &json!(["otlp"]))
    );
    send(&program, "flows");
    await_that("the record", LIMIT, || written(program.dir()).contains("flows"));
    let retiring = health(&program)["retiring"].clone();
    assert_eq!(
        (&retiring[0]["id"], &retiring[0]["queue"]["requests"]),
        (&json!("otlp"), &json!(1)),
        "{retiring}"
    );
    assert_eq!(retiring.as_array().unwrap().len(), 1);
    drop(connection);
}

#[test]
fn a_page_of_another_site_cannot_reload() {
    let program = Floodway::start(TO_FILE);
    for headers in [&["Origin: https://evil.example"][..], &["Sec-Fetch-Site: cross-site"], &["Origin: null"]]
    {
        assert_eq!(post(&program, headers).status, 403, "{headers:?}");
    }
    let get = http::get(program.port("admin"), "/admin/reload");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert_eq!(program.metric("floodway_reloads_total", &[]), 0.0);
    let report = reload(&program);
    assert_eq!(report["receivers"]["unchanged"], json!(["otlp"]));
}

#[test]
fn what_needs_a_restart_is_named_and_stays_as_it_is() {
    let program = Floodway::start(TO_FILE);
    let admin = format!("127.0.0.1:{}", program.port("admin"));
    let moved = format!("127.0.0.1:{}", free_port());
    replace(
        &program,
        &format!("admin: {{endpoint: '{admin}'}}"),
        &format!(
            "admin: {{endpoint: '{moved}'}}\nlimits: {{memory: 64MiB}}\nlog: {{level: debug}}\nshutdown: {{deadline: 7s}}"
        ),
    );
    let named = json!(["admin", "limits", "log"]);
    assert_eq!(reload(&program)["needs_restart"], named);
    assert_eq!(reload(&program)["needs_restart"], named, "until it is restarted");
    assert_eq!(program.metric("floodway_budget_limit_bytes", &[]), f64::from(256 << 20));
    // The port that the admin server keeps is nobody else's.
    let otlp = format!("127.0.0.1:{}", program.port("http"));
    replace(&program, &otlp, &admin);
    let answer = post(&program, &[]);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("until the restart"), "{}", answer.text());
    send(&program, "still here");
    let stopped = program.stop().cleanly();
    assert!(stopped.log().contains("deadline_seconds=7"), "{}", stopped.log());
}

#[test]
fn one_reload_at_a_time() {
    let program = Floodway::start(TO_FILE);
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..24).map(|_| scope.spawn(|| post(&program, &[]).status)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|status| matches!(status, 200 | 409)), "{answers:?}");
    let done = answers.iter().filter(|status| **status == 200).count();
    assert!(done >= 1);
    assert_eq!(program.metric("floodway_reloads_total", &["result=\"ok\""]), done as f64);
    let _ = await_some("health", LIMIT, || health(&program)["reload"]["last"].as_str().map(str::to_owned));
    program.stop().cleanly();
}

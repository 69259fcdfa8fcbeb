//! The program as its users meet it: started, asked, fed, stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod buffers;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Floodway, PEER, Ports, command, http, stderr, stdout, wait_for, write};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn quickstart() -> PathBuf {
    root().join("pipelines/quickstart.yaml")
}

/// One span whose name holds a peer id.
fn trace(name: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"{name}","kind":1,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000"}}]}}]}}]}}"#
    )
}

#[test]
fn quickstart_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports::pick();
    let mut floodway = Floodway::start(&quickstart(), folder.path(), &ports);
    floodway.ready(&ports);

    let data = folder.path().join("floodway-data");
    assert!(data.join("redact.key").exists(), "the key is made at the first start");
    write(&ports.logstash, &format!("{{\"message\":\"dialled {PEER}\",\"level\":\"info\"}}\n"));
    let logs = wait_for("a log line in the file", || {
        fs::read_to_string(data.join("logs.jsonl")).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(!logs.contains(PEER) && logs.contains("dialled peer_"), "{logs}");

    let response = http(&ports.otlp_http, "POST", "/v1/traces", &trace(&format!("dial {PEER}")));
    assert_eq!(response.status, 200, "{response:?}");
    let traces = wait_for("a trace in the file", || {
        fs::read_to_string(data.join("traces.jsonl")).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(!traces.contains(PEER) && traces.contains("dial peer_"), "{traces}");

    // The command gives the same pseudonym as the pipeline.
    let output = support::run(folder.path(), &["redact"], PEER.as_bytes());
    let pseudonym = stdout(&output);
    assert!(logs.contains(&pseudonym) && traces.contains(&pseudonym), "{pseudonym}\n{logs}\n{traces}");
    assert_eq!(stderr(&output), "", "the key is there already");

    admin_answers(&ports);

    floodway.signal("TERM");
    let (code, log) = floodway.end();
    assert_eq!(code, Some(0), "{log}");
    for part in [
        &ports.otlp_grpc,
        &ports.logstash,
        "floodway-data/traces.jsonl",
        "redaction  on in every pipeline",
        "everything that was inside is delivered",
    ] {
        assert!(log.contains(part), "no {part} in:\n{log}");
    }
    assert!(!log.contains(PEER) && !log.contains("dialled"), "request data in our log:\n{log}");
}

fn admin_answers(ports: &Ports) {
    let health = http(&ports.admin, "GET", "/health", "");
    assert_eq!((health.status, health.header("content-type")), (200, "application/json"));
    let json: serde_json::Value = serde_json::from_str(&health.body).unwrap();
    assert_eq!(json["status"], "ok");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json["uptime_seconds"].is_u64(), "{json}");
    assert_eq!(json["components"]["receivers.otlp"]["state"], "ok", "{json}");
    assert_eq!(json["components"]["exporters.file"]["queue"]["requests"], 0, "{json}");
    let ready = http(&ports.admin, "GET", "/ready", "");
    assert_eq!((ready.status, ready.body.as_str()), (200, "{\"ready\":true}\n"));

    let metrics = http(&ports.admin, "GET", "/metrics", "");
    assert_eq!(
        (metrics.status, metrics.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    for part in [
        "floodway_accepted_items_total{",
        "floodway_delivered_items_total{",
        "floodway_queue_limit_bytes{",
        "floodway_budget_limit_bytes 268435456",
        "floodway_build_info{version=\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.body.contains(part), "no {part} in\n{}", metrics.body);
    }
    let series: Vec<_> =
        metrics.body.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(
        series
            .iter()
            .all(|line| line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok())),
        "{series:#?}"
    );

    let page = http(&ports.admin, "GET", "/", "");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(
        !page.body.contains("http://") && !page.body.contains("https://"),
        "the page fetches nothing from elsewhere"
    );
    let head = http(&ports.admin, "HEAD", "/", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), page.body.len().to_string());
    let nowhere = http(&ports.admin, "GET", "/metric", "");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("/metrics"), "{}", nowhere.body);
    let refused = http(&ports.admin, "POST", "/health", "");
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"));
    breaker_is_reset(ports, &json);
}

fn breaker_is_reset(ports: &Ports, health: &serde_json::Value) {
    const RESET: &str = "/admin/circuit-breaker/reset";
    let closed = serde_json::json!({"state": "closed", "failures": 0, "retry_in_ms": 0});
    assert_eq!(health["components"]["exporters.file"]["breaker"], closed, "{health}");
    let post = |path: &str| http(&ports.admin, "POST", path, "");
    let all = post(RESET);
    assert_eq!((all.status, all.body.as_str()), (200, "{\"reset\":[\"file\"]}\n"));
    assert_eq!(post(&format!("{RESET}?exporter=file")).body, all.body);
    assert_eq!(post(&format!("{RESET}?exporter=nobody")).status, 404);
    assert_eq!(post(&format!("{RESET}?who=file")).status, 400);
    let refused = http(&ports.admin, "GET", RESET, "");
    assert_eq!((refused.status, refused.header("allow")), (405, "POST"));
    let page = format!("{} HTTP/1.1\r\norigin: http://evil.example\r\nx:", RESET);
    assert_eq!(post(&page).status, 403, "a browser sent it for a page of another site");
}

#[test]
fn what_was_accepted_is_delivered_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports::pick();
    let mut floodway = Floodway::start(&quickstart(), folder.path(), &ports);
    floodway.ready(&ports);
    for n in 0..50 {
        assert_eq!(http(&ports.otlp_http, "POST", "/v1/traces", &trace(&format!("span-{n}-"))).status, 200);
    }
    floodway.signal("TERM");
    let (code, log) = floodway.end();
    assert_eq!(code, Some(0), "{log}");
    let traces = fs::read_to_string(folder.path().join("floodway-data/traces.jsonl")).unwrap();
    for n in 0..50 {
        assert!(traces.contains(&format!("span-{n}-")), "span {n} is lost");
    }
}

/// A pipeline whose destination is not there.
fn dead_end(folder: &Path, ports: &Ports, deadline: &str) -> PathBuf {
    let file = folder.join("dead.yaml");
    let text = format!(
        "receivers:\n  otlp: {{ http: {{ endpoint: '{}' }} }}\nexporters:\n  otlp: {{ endpoint: 'http://{}' }}\n\
         pipelines:\n  traces: {{ receivers: [otlp], exporters: [otlp] }}\nshutdown: {{ deadline: {deadline} }}\n\
         admin: {{ endpoint: '{}' }}\nlog: {{ format: json }}\n",
        ports.otlp_http, ports.otlp_grpc, ports.admin
    );
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_loss_at_the_deadline_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports::pick();
    let mut floodway = Floodway::start(&dead_end(folder.path(), &ports, "1s"), folder.path(), &ports);
    floodway.ready(&ports);
    assert_eq!(http(&ports.otlp_http, "POST", "/v1/traces", &trace("lost")).status, 200);
    let health = wait_for("the exporter to fail", || {
        let health = http(&ports.admin, "GET", "/health", "");
        health.body.contains("\"degraded\"").then_some(health)
    });
    assert_eq!(health.status, 200, "a dead destination is not cured by a restart");
    floodway.signal("INT");
    wait_for("/ready to say no", || (http(&ports.admin, "GET", "/ready", "").status != 200).then_some(()));
    let (code, log) = floodway.end();
    assert_eq!(code, Some(4), "{log}");
    let last = log.lines().rfind(|line| line.contains("given_up")).expect("a line about the loss");
    let json: serde_json::Value = serde_json::from_str(last).expect("JSON lines were asked for");
    assert_eq!(json["given_up"], 1, "{json}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports::pick();
    let mut floodway = Floodway::start(&dead_end(folder.path(), &ports, "60s"), folder.path(), &ports);
    floodway.ready(&ports);
    assert_eq!(http(&ports.otlp_http, "POST", "/v1/traces", &trace("lost")).status, 200);
    floodway.signal("TERM");
    wait_for("/ready to say no", || (http(&ports.admin, "GET", "/ready", "").status != 200).then_some(()));
    let asked = Instant::now();
    floodway.signal("TERM");
    let (code, log) = floodway.end();
    assert_eq!(code, Some(143), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_is_wrong_is_told_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str, command: &str| {
        fs::write(folder.path().join("x.yaml"), text).unwrap();
        support::run(folder.path(), &[command, "x.yaml"], b"")
    };
    let bad = "receivers:\n  otlp: { grpc: { endpont: 127.0.0.1:0 } }\nexporters: { debug: }\npipelines:\n  main: { receivers: [otlp], exporters: [debug] }\n";
    for command in ["run", "validate"] {
        let output = run(bad, command);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(
            text.starts_with(
                "x.yaml:2:19: unknown field `endpont` in receivers.otlp.grpc; did you mean `endpoint`?"
            ),
            "{text}"
        );
        assert_eq!(stdout(&output), "");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = bad.replace("endpont: 127.0.0.1:0", &format!("endpoint: '{}'", taken.local_addr().unwrap()));
    let output = run(&format!("{good}admin: {{ enabled: false }}\n"), "run");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("x.yaml:2:3: "), "{}", stderr(&output));
    assert_eq!(run(&good, "validate").status.code(), Some(0), "validate binds nothing");
    let output = support::run(folder.path(), &["run", "none.yaml"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("none.yaml"), "{}", stderr(&output));
    let output =
        command(folder.path()).env("FLOODWAY_LOG", "a=b=c").args(["validate", "x.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("FLOODWAY_LOG is `a=b=c`"), "{}", stderr(&output));
    assert_eq!(support::run(folder.path(), &["walk"], b"").status.code(), Some(2));
}

#[test]
fn every_pipeline_of_the_project_is_valid() {
    let empty = tempfile::tempdir().unwrap();
    let mut folders = vec![root().join("pipelines")];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let output = support::run(empty.path(), &["validate", path.to_str().unwrap()], b"");
                assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
                assert!(stdout(&output).contains(": OK\n"), "{}", stdout(&output));
                checked += 1;
            }
        }
    }
    assert!(checked >= 3, "{checked}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "validate creates nothing");
}

#[test]
fn the_committed_schema_is_what_the_program_says() {
    let folder = tempfile::tempdir().unwrap();
    let schema = stdout(&support::run(folder.path(), &["schema"], b""));
    let committed = fs::read_to_string(root().join("pipelines/schema.json")).unwrap_or_default();
    assert!(
        schema == committed,
        "pipelines/schema.json is out of date; run: cargo run -- schema > pipelines/schema.json"
    );
    let json: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(
        json["properties"]["receivers"]["patternProperties"].as_object().is_some_and(|map| map.len() >= 2)
    );
}

#[test]
fn components_and_version() {
    let folder = tempfile::tempdir().unwrap();
    let table = stdout(&support::run(folder.path(), &["components"], b""));
    for part in [
        "KIND",
        "receiver   otlp",
        "receiver   logstash",
        "processor  redact",
        "exporter   file",
        "traces, logs, metrics",
    ] {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    let version = stdout(&support::run(folder.path(), &["--version"], b""));
    assert_eq!(version, format!("floodway {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn redact_is_a_filter() {
    let folder = tempfile::tempdir().unwrap();
    let input = [b"a \xff\x00 ", PEER.as_bytes(), b"\r\nno newline at the end: ", PEER.as_bytes()].concat();
    let output = support::run(folder.path(), &["redact", "--stats"], &input);
    assert_eq!(output.status.code(), Some(0));
    let pseudonym = String::from_utf8_lossy(&output.stdout).rsplit(' ').next().unwrap().to_owned();
    assert!(pseudonym.starts_with("peer_"), "{pseudonym}");
    let expected =
        [b"a \xff\x00 ", pseudonym.as_bytes(), b"\r\nno newline at the end: ", pseudonym.as_bytes()].concat();
    assert_eq!(output.stdout, expected);
    let notes = stderr(&output);
    assert!(notes.starts_with("floodway: made a new key, ./floodway-data/redact.key"), "{notes}");
    assert!(notes.contains("2 ids replaced") && !notes.contains(PEER), "{notes}");
    let again = support::run(folder.path(), &["redact"], PEER.as_bytes());
    assert_eq!((stdout(&again), stderr(&again)), (pseudonym, String::new()));
}

#[test]
fn redact_without_a_key_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = support::run(folder.path(), &["redact", "--action", "mask"], PEER.as_bytes());
    assert_eq!(stdout(&output), "[peer]");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let output = support::run(folder.path(), &["redact", "--key-file", "none"], b"x");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("none") && output.stdout.is_empty(), "{}", stderr(&output));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path())
        .args(["redact", "--action", "mask"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        use std::io::Write as _;
        for _ in 0..10_000 {
            if input.write_all(&[b'\n'; 1000]).is_err() {
                break;
            }
        }
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

//! `pipelines/quickstart.yaml` as a new user runs it, with real telemetrygen, a line as `nc` sends it and JSON as `curl` does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use support::leaks::{Leaks, count, json_lines};
use support::peers::one_of_each;
use support::program::{Floodway, redact_lines_with, root};
use support::{await_that, http, telemetrygen};

/// The file as it is, and the ports by the environment variables that it offers.
fn quickstart() -> Floodway {
    let config = std::fs::read_to_string(root().join("pipelines/quickstart.yaml")).unwrap();
    Floodway::start_with(move |ports| {
        let names = ["OTLP_GRPC", "OTLP_HTTP", "LOGSTASH", "ADMIN"];
        let env =
            names.iter().zip(ports).map(|(name, port)| ((*name).to_owned(), format!("127.0.0.1:{port}")));
        (config.clone(), env.collect())
    })
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn telemetrygen_quickstart_writes_otlp_json_without_peers() {
    let program = quickstart();
    let peers = one_of_each();
    let ids: Vec<String> = peers.iter().map(|peer| peer.base58()).chain([peers[0].base36()]).collect();
    let attributes =
        [("peer.id", ids[0].as_str()), ("node.peer", &ids[1]), ("remote", &ids[2]), ("cid", &ids[3])];
    let port = program.port("grpc");
    telemetrygen("traces", port, 10, &attributes, &[]);
    telemetrygen("logs", port, 10, &attributes, &["--body", &format!("lost {}", ids[0])]);
    telemetrygen("metrics", port, 10, &attributes, &["--metric-type", "ExponentialHistogram"]);
    let http_endpoint = program.port("http");
    telemetrygen("traces", http_endpoint, 10, &attributes, &["--otlp-http"]);
    telemetrygen("logs", http_endpoint, 10, &attributes, &["--otlp-http"]);
    telemetrygen("metrics", http_endpoint, 10, &attributes, &["--otlp-http"]);
    let line = format!("{{\"level\":\"info\",\"message\":\"dialled {}\",\"tags\":[\"swarm\"]}}\n", ids[2]);
    http::connect(program.port("logstash")).write_all(line.as_bytes()).unwrap();
    let body = format!(
        "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"body\":{{\"stringValue\":\"curl {}\"}}}}]}}]}}]}}",
        ids[1]
    );
    assert_eq!(http::post_json(http_endpoint, "logs", body.as_bytes()).status, 200);
    program.await_delivered(40 + 20 + 20 + 2);
    assert_eq!(program.accepted(), 82.0);
    let findings =
        program.metric("floodway_redact_findings_total", &["class=\"peer_id\"", "action=\"pseudonym\""]);
    assert!(findings >= 82.0, "{findings} findings");
    await_that("an empty queue", Duration::from_secs(5), || {
        program.metric("floodway_queue_items", &[]) == 0.0
    });

    let health = http::get(program.port("admin"), "/health");
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!(health["status"], "ok");
    for field in ["version", "uptime_seconds", "components"] {
        assert!(!health[field].is_null(), "/health has no {field}: {health}");
    }
    assert_eq!(http::get(program.port("admin"), "/ready").status, 200);

    let stopped = program.stop().cleanly();
    let data = stopped.dir().join("floodway-data");
    let key = std::fs::metadata(data.join("redact.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let names = redact_lines_with(&data.join("redact.key"), &ids);
    assert_eq!(names[0], names[3], "two spellings, two pseudonyms");
    Leaks::of(&peers).assert_none_in_folder(&data);
    Leaks::of(&peers).assert_none("the program's log", stopped.log().as_bytes());
    for (file, top, array, expected) in [
        ("traces", "resourceSpans", "spans", 40),
        ("logs", "resourceLogs", "logRecords", 22),
        ("metrics", "resourceMetrics", "dataPoints", 20),
    ] {
        let path = data.join(format!("{file}.jsonl"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
        let lines = json_lines(&path);
        assert!(lines.iter().all(|line| line[top].is_array()), "{file}");
        assert_eq!(lines.iter().map(|line| count(line, array)).sum::<usize>(), expected, "{file}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(names.iter().all(|name| text.contains(name.as_str())), "{file} lacks a pseudonym");
    }
    let logs = std::fs::read_to_string(data.join("logs.jsonl")).unwrap();
    for text in [
        format!("\"lost {}\"", names[0]),
        format!("\"dialled {}\"", names[2]),
        format!("\"curl {}\"", names[1]),
    ] {
        assert!(logs.contains(&text), "{text} is not in logs.jsonl");
    }
}

/// SIGTERM while requests come in: every record that was answered with yes is in the file, and the exit code is 0.
#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn telemetrygen_quickstart_drains_on_sigterm() {
    let program = quickstart();
    let (port, admin) = (program.port("grpc"), program.port("admin"));
    let sender = std::thread::spawn(move || {
        let client = support::grpc::Client::connect(port);
        let mut yes = Vec::new();
        for n in 0.. {
            let body = format!("event {n}.");
            let sending =
                std::panic::AssertUnwindSafe(|| client.export("logs", &support::requests::one_log(&body)));
            // The connection ends under us, and the client panics: that is no yes.
            match std::panic::catch_unwind(sending) {
                Ok(outcome) if outcome.code == 0 => yes.push(body),
                _ => break,
            }
        }
        yes
    });
    await_that("requests under way", Duration::from_secs(10), || program.accepted() > 200.0);
    assert_eq!(http::get(admin, "/ready").status, 200);
    let stopped = program.stop().cleanly();
    let yes = sender.join().unwrap();
    assert!(yes.len() > 200);
    let logs = std::fs::read_to_string(stopped.dir().join("floodway-data/logs.jsonl")).unwrap();
    let lost: Vec<&String> = yes.iter().filter(|body| !logs.contains(body.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), yes.len());
}

//! The console exporter, its output caught in a child process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::process::Command;

use common::{SendRequests as _, build, log_request, request, traces};
use model::Signal;
use serde_json::json;

const VERBOSITY: &str = "FLOODWAY_TEST_VERBOSITY";

/// Does nothing on its own: the other tests run it in a process whose output they can read.
#[tokio::test]
async fn in_the_child() {
    let Ok(verbosity) = std::env::var(VERBOSITY) else {
        return;
    };
    let exporter = build("debug", &json!({"verbosity": verbosity})).unwrap();
    exporter.send(&[log_request(&["hello \x1b[2J", "two"])]).await.unwrap();
    exporter.send(&[request(Signal::Traces, &traces("dial"))]).await.unwrap();
}

fn child(verbosity: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "in_the_child", "--nocapture", "--test-threads=1"]).env(VERBOSITY, verbosity);
    command
}

#[test]
fn lines_stand_on_standard_output() {
    let output = child("normal").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("logs: 2 records, "), "{text}");
    assert!(text.contains("  log - - hello \\u{1b}[2J\n"), "{text}");
    assert!(text.contains("  span - dial "), "{text}");
    let output = child("summary").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("logs: 2 records, ") && !text.contains("hello"), "{text}");
}

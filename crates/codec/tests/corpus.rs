//! Replays the fuzz corpora.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    for file in files {
        run(&fs::read(&file).unwrap());
    }
}

#[test]
fn otlp_json() {
    replay("otlp_json", codec::fuzzing::otlp_json);
}

#[test]
fn json_lines() {
    replay("json_lines", codec::fuzzing::json_lines);
}

#[test]
fn elasticsearch_response() {
    replay("elasticsearch_response", codec::fuzzing::elasticsearch_response);
}

#[test]
fn elasticsearch_index() {
    replay("elasticsearch_index", codec::fuzzing::elasticsearch_index);
}

#[test]
fn elasticsearch_bulk() {
    replay("elasticsearch_bulk", codec::fuzzing::elasticsearch_bulk);
}

#[test]
fn remote_write() {
    replay("remote_write", codec::fuzzing::remote_write);
}

#[test]
fn syslog_message() {
    replay("syslog_message", codec::fuzzing::syslog_message);
}

#[test]
fn syslog_stream() {
    replay("syslog_stream", codec::fuzzing::syslog_stream);
}

#[test]
fn loki_push() {
    replay("loki_push", codec::fuzzing::loki_push);
}

#[test]
fn loki_json() {
    replay("loki_json", codec::fuzzing::loki_json);
}

#[test]
fn loki_encode() {
    replay("loki_encode", codec::fuzzing::loki_encode);
}

#[test]
fn prometheus_series() {
    replay("prometheus_series", codec::fuzzing::prometheus_series);
}

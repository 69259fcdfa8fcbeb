//! Files, read back.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use codec::otlp_json::{self, DecodeLimits};
use common::{SendRequests as _, build, log_request, metrics, request, retryable, traces};
use engine::Exporter;
use model::{Request, Signal};
use serde_json::json;

fn exporter(folder: &Path, more: &serde_json::Value) -> Box<dyn Exporter> {
    let mut settings = json!({"directory": folder});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    build("file", &settings).unwrap()
}

fn read_lines(path: &Path, signal: Signal) -> Vec<Request> {
    let text = fs::read(path).unwrap();
    assert!(text.ends_with(b"\n"));
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| otlp_json::decode(signal, line, &DecodeLimits::default()).unwrap())
        .collect()
}

fn read_proto(path: &Path, signal: Signal) -> Vec<Request> {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut requests) = (&bytes[..], Vec::new());
    while let Some((prefix, tail)) = rest.split_first_chunk::<4>() {
        let (request, tail) = tail.split_at(u32::from_be_bytes(*prefix) as usize);
        requests.push(Request::receive(signal, request.to_vec().into()).unwrap().0);
        rest = tail;
    }
    assert!(rest.is_empty());
    requests
}

#[tokio::test]
async fn lines_are_otlp_json_one_request_each() {
    let folder = tempfile::tempdir().unwrap();
    let exporter = exporter(folder.path(), &json!({}));
    let odd = log_request(&["line\nbreak \u{2028} \"quoted\" \\ \u{0} grüße"]);
    let merged = [log_request(&["one", "two"]), odd];
    exporter.send(&merged).await.unwrap();
    exporter.send(&[request(Signal::Traces, &traces("dial"))]).await.unwrap();
    exporter.send(&[request(Signal::Metrics, &metrics(-7))]).await.unwrap();
    exporter.send(&[]).await.unwrap();
    exporter.shutdown().await;
    assert_eq!(read_lines(&folder.path().join("logs.jsonl"), Signal::Logs), merged);
    let spans = read_lines(&folder.path().join("traces.jsonl"), Signal::Traces);
    assert_eq!(spans, [request(Signal::Traces, &traces("dial"))]);
    let points = read_lines(&folder.path().join("metrics.jsonl"), Signal::Metrics);
    assert_eq!(points, [request(Signal::Metrics, &metrics(-7))]);
    // Another reader of JSON, and the field names of the specification.
    let text = fs::read_to_string(folder.path().join("traces.jsonl")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let span = &value["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "07".repeat(16));
    assert_eq!(span["startTimeUnixNano"], "1700000000000000000");
}

#[tokio::test]
async fn protobuf_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let exporter = exporter(folder.path(), &json!({"format": "otlp_proto", "sync": true}));
    let merged = [log_request(&["one", "two"]), log_request(&["three"])];
    exporter.send(&merged).await.unwrap();
    exporter.send(&merged).await.unwrap();
    let path = folder.path().join("logs.binpb");
    assert_eq!(read_proto(&path, Signal::Logs), [&merged[..], &merged[..]].concat());
}

#[tokio::test]
async fn files_are_rotated_and_none_but_the_oldest_is_lost() {
    for (format, name) in [("otlp_json", "logs.jsonl"), ("otlp_proto", "logs.binpb")] {
        let folder = tempfile::tempdir().unwrap();
        let rotate = json!({"max_bytes": 2000, "max_files": 3});
        let exporter = exporter(folder.path(), &json!({"format": format, "rotate": rotate}));
        for n in 0..60 {
            exporter.send(&[log_request(&[&format!("{n:0200}")])]).await.unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [String::new(), ".1".into(), ".2".into(), ".3".into()];
        assert_eq!(names, expected.map(|suffix: String| format!("{name}{suffix}")));
        let mut kept = Vec::new();
        for file in names.iter().skip(1).rev().chain(&names[..1]) {
            let path = folder.path().join(file);
            assert!(fs::metadata(&path).unwrap().len() <= 2000);
            kept.extend(match format {
                "otlp_json" => read_lines(&path, Signal::Logs),
                _ => read_proto(&path, Signal::Logs),
            });
        }
        let last: Vec<_> = (60 - kept.len()..60).map(|n| log_request(&[&format!("{n:0200}")])).collect();
        assert_eq!(kept, last, "{format}");
        assert!(kept.len() > 15);
    }
}

#[tokio::test]
async fn what_is_made_is_for_our_own_user() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    let exporter = exporter(&inner, &json!({}));
    exporter.send(&[log_request(&["x"])]).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&inner.join("logs.jsonl")), 0o600);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_at_build() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("inside");
    let error = build("file", &json!({"directory": folder})).err().unwrap();
    assert!(error.contains("cannot make the folder") && error.contains("inside"), "{error}");
    let error = build("file", &json!({"directory": "x", "rotate": {"max_bytes": 0}})).err().unwrap();
    assert!(error.contains("rotate.max_bytes is 0"), "{error}");
}

#[tokio::test]
async fn a_folder_that_goes_is_retryable_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("data");
    let exporter = exporter(&inner, &json!({}));
    exporter.send(&[log_request(&["one"])]).await.unwrap();
    fs::remove_dir_all(&inner).unwrap();
    let (_, message) = retryable(exporter.send(&[log_request(&["two"])]).await.unwrap_err());
    assert!(message.contains("logs.jsonl"), "{message}");
    fs::create_dir(&inner).unwrap();
    exporter.send(&[log_request(&["two"])]).await.unwrap();
    assert_eq!(read_lines(&inner.join("logs.jsonl"), Signal::Logs), [log_request(&["two"])]);
}

#[tokio::test]
async fn after_a_kill_in_the_middle_of_a_write_what_follows_is_readable() {
    for (format, name, whole) in
        [("otlp_json", "logs.jsonl", b"{}\n".to_vec()), ("otlp_proto", "logs.binpb", vec![0, 0, 0, 2, 10, 0])]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let read = |path: &Path| match format {
            "otlp_json" => read_lines(path, Signal::Logs),
            _ => read_proto(path, Signal::Logs),
        };
        for torn in [false, true] {
            let mut old = whole.clone();
            if torn {
                old.extend_from_slice(&whole[..whole.len() - 1]);
            }
            fs::write(&path, &old).unwrap();
            let exporter = exporter(folder.path(), &json!({"format": format}));
            exporter.send(&[log_request(&["next"])]).await.unwrap();
            let aside = folder.path().join(format!("{name}.1"));
            assert_eq!(aside.exists(), torn, "{format}");
            let got = read(&path);
            assert_eq!(got.len(), if torn { 1 } else { 2 });
            assert_eq!(got.last(), Some(&log_request(&["next"])));
            if torn {
                assert_eq!(fs::read(aside).unwrap(), old);
            }
        }
    }
}

#[tokio::test]
async fn many_at_once_keep_their_lines_apart() {
    let folder = tempfile::tempdir().unwrap();
    let exporter = std::sync::Arc::new(exporter(
        folder.path(),
        &json!({"rotate": {"max_bytes": 20_000, "max_files": 100}}),
    ));
    let mut writing = tokio::task::JoinSet::new();
    for n in 0..200 {
        let exporter = std::sync::Arc::clone(&exporter);
        writing.spawn(async move {
            let body = format!("{n} {}", "x".repeat(n * 5));
            exporter.send(&[log_request(&[&body])]).await.unwrap();
        });
    }
    writing.join_all().await;
    let files = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
    let lines: Vec<_> = files.flat_map(|path| read_lines(&path, Signal::Logs)).collect();
    assert_eq!(lines.len(), 200);
}

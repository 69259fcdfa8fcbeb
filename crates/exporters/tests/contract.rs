//! What every exporter in the table promises.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};

use common::{SendRequests as _, build, parse};
use engine::component::Claim;
use exporters::EXPORTERS;
use serde_json::{Value, json};

/// The smallest settings of each.
fn smallest(name: &str, folder: &Path) -> Value {
    match name {
        "otlp" | "loki" => json!({"endpoint": "http://127.0.0.1:1"}),
        "prometheus_remote_write" => json!({"endpoint": "http://127.0.0.1:1/api/v1/write"}),
        "file" => json!({"directory": folder}),
        "elasticsearch" => json!({"endpoints": ["http://127.0.0.1:1"]}),
        "tempo" | "debug" => json!({}),
        "kafka" => json!({"brokers": ["127.0.0.1:1"]}),
        new => panic!("say here what the smallest settings of {new} are"),
    }
}

#[tokio::test]
async fn the_smallest_settings_are_enough_and_an_unknown_field_is_refused_by_name() {
    for factory in EXPORTERS {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = smallest(factory.name, folder.path());
        let exporter = build(factory.name, &settings).unwrap();
        assert!(exporter.send(&[]).await.is_ok(), "{}: an empty batch", factory.name);
        exporter.shutdown().await;
        settings["endpiont"] = json!("x");
        let error = parse(factory.name, &settings).err().unwrap();
        assert!(error.contains("endpiont"), "{}: {error}", factory.name);
    }
    let needed = [
        ("otlp", "endpoint"),
        ("loki", "endpoint"),
        ("prometheus_remote_write", "endpoint"),
        ("file", "directory"),
        ("elasticsearch", "endpoints"),
        ("kafka", "brokers"),
    ];
    for (name, missing) in needed {
        let error = parse(name, &json!({})).err().unwrap();
        assert!(error.contains(missing), "{error}");
    }
}

#[test]
fn claims_are_stated() {
    let path = |name: &str| Claim::Path(PathBuf::from("/data").join(name));
    let json = parse("file", &json!({"directory": "/data"})).unwrap().claims();
    assert_eq!(json, ["traces.jsonl", "logs.jsonl", "metrics.jsonl"].map(path));
    let proto = json!({"directory": "/data", "format": "otlp_proto"});
    let proto = parse("file", &proto).unwrap().claims();
    assert_eq!(proto, ["traces.binpb", "logs.binpb", "metrics.binpb"].map(path));
    assert!(parse("debug", &json!({})).unwrap().claims().is_empty());
}

#[test]
fn delivery_settings_reach_the_engine() {
    let all = [
        ("otlp", json!({"endpoint": "x:1"})),
        ("loki", json!({"endpoint": "x:1"})),
        ("prometheus_remote_write", json!({"endpoint": "x:1"})),
        ("file", json!({"directory": "x"})),
    ];
    for (name, settings) in all {
        let mut settings = settings;
        settings["queue"] = json!({"max_requests": 7});
        settings["retry"] = json!({"timeout_ms": 123});
        let delivery = parse(name, &settings).unwrap().delivery();
        assert_eq!((delivery.queue.max_requests, delivery.retry.timeout_ms), (7, 123), "{name}");
    }
}

#[test]
fn settings_with_which_nothing_works_are_refused_at_build() {
    let at = |more: Value| {
        let mut settings = json!({"endpoint": "http://127.0.0.1:4317"});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        settings
    };
    let bad = [
        (at(json!({"endpoint": "ftp://x"})), "ftp"),
        (at(json!({"endpoint": "http://user:secret@x"})), "header"),
        (at(json!({"endpoint": "http://x:4317/path"})), "path"),
        (at(json!({"connections": 0})), "connections is 0"),
        (at(json!({"headers": {"a b": "c"}})), "\"a b\" is no header name"),
        (at(json!({"headers": {"a": "secret\n"}})), "the value of a"),
        (at(json!({"headers": {"Content-Type": "x"}})), "Content-Type is set by the protocol"),
        (at(json!({"headers": {"grpc-timeout": "1S"}})), "grpc-timeout is set by the protocol"),
        (at(json!({"tls": {"ca_file": "/not/there.pem"}, "endpoint": "https://x"})), "/not/there.pem"),
    ];
    for (settings, expected) in bad {
        let error = build("otlp", &settings).err().unwrap();
        assert!(error.contains(expected), "{settings}: {error}");
        assert!(!error.contains("secret") || expected == "header", "quotes a credential: {error}");
    }
}

#[test]
fn settings_with_which_loki_could_take_nothing_are_refused_at_build() {
    let at = |more: Value| {
        let mut settings = json!({"endpoint": "http://127.0.0.1:3100"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    for (settings, expected) in [
        (at(json!({"endpoint": "ftp://x"})), "ftp"),
        (at(json!({"labels": {"a-b": "c"}})), "\"a-b\" is no name for a label"),
        (at(json!({"labels": {"__a": "c"}})), "__a"),
        (at(json!({"static_labels": {"": "c"}})), "\"\""),
        (at(json!({"static_labels": {"a": ""}})), "a has no value"),
        (at(json!({"labels": {"a": "x"}, "static_labels": {"a": "y"}})), "the label a is set twice"),
        (at(json!({"labels": {"level": "x"}, "level": "label"})), "the label level is set twice"),
        (at(json!({"level_name": "a.b"})), "a.b"),
        (at(json!({"max_streams": 1})), "max_streams is 1"),
        (at(json!({"max_push_bytes": 1})), "max_push_bytes is 1"),
        (at(json!({"tenant": "secret\n"})), "tenant has a line break"),
        (at(json!({"headers": {"host": "c"}})), "host is set by the protocol"),
        (at(json!({"headers": {"X-Scope-OrgID": "a"}, "tenant": "b"})), "keep one of them"),
    ] {
        let error = build("loki", &settings).err().unwrap();
        assert!(error.contains(expected), "{settings}: {error}");
        assert!(!error.contains("secret"), "quotes a credential: {error}");
    }
}

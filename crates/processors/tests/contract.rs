//! What every processor must do, whichever it is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use engine::ProcessorFactory;
use model::series::{Metadata, Sample, SeriesBatch, SeriesBuilder};
use model::{Request, Signal};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use processors::PROCESSORS;
use prost::Message;
use serde_json::{Value as Json, json};
use support::*;

/// The least that a processor can be configured with, and a configuration that matches nothing of [`plain`].
fn configs(factory: &ProcessorFactory) -> [Json; 2] {
    match factory.name {
        "redact" => [
            json!({"action": "mask"}),
            json!({"key": "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0"}),
        ],
        "sample" => [json!({"percent": 100}), json!({"percent": 50})],
        "relabel" => [
            json!({}),
            json!({"record": [{"source_labels": ["none"], "regex": "x", "action": "drop"}],
                   "resource": [{"regex": "none", "action": "labeldrop"}],
                   "series": [{"source_labels": ["none"], "regex": "x", "action": "drop"}]}),
        ],
        other => panic!("say here how {other} is configured"),
    }
}

/// A request without peers, whose trace is kept by any sampler and was thinned to next to nothing before.
fn plain(signal: Signal) -> Vec<u8> {
    let kept = vec![0xff; 16];
    let all = resource(strings(&[("service.name", "s")]));
    match signal {
        Signal::Traces => {
            let trace_state = "ot=th:fffffffffffff".into();
            let span = Span { trace_id: kept, trace_state, name: "n".into(), ..Default::default() };
            traces(all, vec![span.clone(), span]).encode_to_vec()
        }
        Signal::Logs => {
            let record = LogRecord { trace_id: kept, body: Some(string("hello")), ..Default::default() };
            logs(all, vec![record.clone(), record]).encode_to_vec()
        }
        Signal::Metrics => {
            let points = vec![point(strings(&[("a", "b")])), point(vec![])];
            metrics(all, vec![gauge("m", points)]).encode_to_vec()
        }
    }
}

fn each(mut check: impl FnMut(&ProcessorFactory, &Json, Signal)) {
    for factory in PROCESSORS {
        for config in configs(factory) {
            factory.signals.iter().for_each(|signal| check(factory, &config, *signal));
        }
    }
}

#[test]
fn an_empty_request_passes() {
    each(|factory, config, signal| {
        let empty = receive(signal, Bytes::new());
        let left = build(factory.name, config).process(empty.clone()).unwrap();
        assert_eq!(left, Some(empty), "{}", factory.name);
    });
}

#[test]
fn without_a_match_the_same_bytes_go_on() {
    each(|factory, config, signal| {
        let request = receive(signal, plain(signal));
        assert_eq!(request.items(), 2);
        let place = request.bytes().as_ptr();
        let left = build(factory.name, config).process(request).unwrap().unwrap();
        assert_eq!(left.bytes().as_ptr(), place, "{} copied {}", factory.name, signal.name());
        assert_eq!((left.items(), left.signal()), (2, signal));
    });
}

#[test]
fn a_shared_request_is_not_changed_under_its_other_owner() {
    let peer = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    let message =
        traces(resource(strings(&[("a", peer)])), vec![Span { name: peer.into(), ..Default::default() }]);
    let configs = [
        (
            "redact",
            json!({"key": "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0", "action": "pseudonym_same_length"}),
        ),
        ("sample", json!({"percent": 50})),
        ("relabel", json!({"record": [{"target_label": "x", "replacement": "y"}]})),
    ];
    for (name, config) in configs {
        let request = receive(Signal::Traces, message.encode_to_vec());
        let other = request.clone();
        build(name, &config).process(request).unwrap();
        assert_eq!(other, receive(Signal::Traces, message.encode_to_vec()), "{name}");
    }
}

#[test]
fn what_is_dropped_is_counted() {
    let counters = engine::testing::counters();
    let record = || LogRecord { body: Some(string("x")), ..Default::default() };
    let cases = [
        ("sample", json!({"percent": 50, "on_missing": "drop"}), "sampled"),
        ("relabel", json!({"record": [{"action": "drop"}]}), "relabel"),
    ];
    for (name, config, reason) in cases {
        let processor = build(name, &config);
        let request = receive(Signal::Logs, logs(None, vec![record(), record(), record()]).encode_to_vec());
        assert_eq!(processor.process(request).unwrap(), None);
        let labels = [("component", name), ("kind", "processor"), ("reason", reason)];
        assert_eq!(counters.value("floodway_dropped_items_total", &labels), 3, "{name}");
    }
}

/// Series without peers; every other one has no sample.
fn plain_series(count: i64) -> Arc<SeriesBatch> {
    let mut builder = SeriesBuilder::new();
    for n in 0..count {
        let labels = [("__name__", "up"), ("n", &n.to_string())];
        builder.series(labels, |b| b.metadata(Default::default(), "Help.", "s").unwrap()).unwrap();
        if n % 2 == 0 {
            builder.sample(Sample { value: 1.0, timestamp_ms: n, start_ms: 0 });
        }
    }
    let name = builder.intern("family").unwrap();
    builder.family(name, Metadata::default());
    Arc::new(builder.finish())
}

#[test]
fn what_deals_in_metrics_deals_in_series_and_nothing_else_does() {
    for factory in PROCESSORS {
        for config in configs(factory) {
            let processor = build(factory.name, &config);
            let takes_metrics = factory.signals.contains(&Signal::Metrics);
            for count in [0, 5] {
                let batch = plain_series(count);
                // Twice, since what is remembered must do the same.
                for _ in 0..2 {
                    match processor.process_series(Arc::clone(&batch)) {
                        Ok(left) => {
                            assert!(takes_metrics, "{} deals in no metrics", factory.name);
                            let same = left.is_some_and(|left| Arc::ptr_eq(&left, &batch));
                            assert!(same, "{} copied", factory.name);
                        }
                        Err(error) => {
                            assert!(!takes_metrics, "{}: {error}", factory.name);
                            assert_eq!(error.reason, "unsupported_form");
                        }
                    }
                }
            }
            if takes_metrics {
                let empty = Arc::new(SeriesBatch::default());
                assert_eq!(processor.process_series(Arc::clone(&empty)).unwrap(), Some(empty));
            }
        }
    }
}

#[test]
fn a_shared_batch_is_not_changed_under_its_other_owner() {
    let peer = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    let configs = [
        ("redact", json!({"action": "mask"})),
        ("relabel", json!({"series": [{"target_label": "x", "replacement": "y"}]})),
    ];
    for (name, config) in configs {
        let mut builder = SeriesBuilder::new();
        builder.series([("__name__", "up"), ("peer", peer)], |_| Metadata::default()).unwrap();
        let batch = Arc::new(builder.finish());
        let before = SeriesBatch::clone(&batch);
        let left = build(name, &config).process_series(Arc::clone(&batch)).unwrap().unwrap();
        assert_ne!(*left, before, "{name}");
        assert_eq!(*batch, before, "{name}");
    }
}

/// Malformed bytes cannot become a `Request`; bytes that are merely odd must come out whole.
#[test]
fn what_nobody_knows_survives() {
    each(|factory, config, signal| {
        let mut bytes = plain(signal);
        // Field 30 of the request: a string; field 29: a number.
        bytes.extend_from_slice(&[0xf2, 0x01, 3, b'a', b'b', b'c', 0xe8, 0x01, 7]);
        let request = receive(signal, bytes.clone());
        let left = build(factory.name, config).process(request).unwrap().map(Request::into_bytes);
        assert_eq!(left, Some(bytes.into()), "{}", factory.name);
    });
}

//! What the processors cost, in nanoseconds per span. Run it on a quiet machine:
//!
//! ```text
//! cargo test --release -p processors --test speed -- --ignored --nocapture
//! ```
//!
//! `ONLY=shadow` measures only what has this word in its name, for a profiler.
//! The payload: 1,000 spans of 450 bytes, one in ten with a peer id in an attribute.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

#[path = "support/random.rs"]
#[allow(dead_code, reason = "the generator of requests is another test's")]
mod random;
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use model::{Request, Signal};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use random::Random;
use serde_json::{Value as Json, json};
use support::*;

const SPANS: usize = 1_000;
const ROUNDS: usize = 500;
const KEY: &str = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn payload(one_in: usize) -> Request {
    let mut random = Random(42);
    let spans = (0..SPANS).map(|n| {
        let bytes =
            |random: &mut Random, len: usize| (0..len).map(|_| random.next() as u8).collect::<Vec<u8>>();
        let has_peer = one_in > 0 && n % one_in == 0;
        let peer = if has_peer {
            random.id()
        } else {
            "a-plain-value-as-long-as-a-peer-id-would-be-here-0001".into()
        };
        let digest = format!("sha256:{:032x}{:032x}", random.next(), random.next());
        Span {
            trace_id: bytes(&mut random, 16),
            span_id: bytes(&mut random, 8),
            parent_span_id: bytes(&mut random, 8),
            name: format!("peer/dial {}", n % 17),
            kind: 3,
            start_time_unix_nano: 1_700_000_000_000_000_000 + n as u64,
            end_time_unix_nano: 1_700_000_000_000_100_000 + n as u64,
            attributes: strings(&[
                ("net.protocol.name", "libp2p"),
                ("peer", &peer),
                ("http.url", "http://service.example.org:8080/api/v1/items?id=1234"),
                ("artifact.digest", &digest),
                ("thread.name", "tokio-runtime-worker"),
                ("code.namespace", "swarm::connection::pool"),
                ("outcome", "connected"),
            ]),
            ..Default::default()
        }
    });
    let message =
        traces(resource(strings(&[("service.name", "node"), ("host.name", "node-17")])), spans.collect());
    receive(Signal::Traces, message.encode_to_vec())
}

/// The best of many runs, in nanoseconds per span.
fn best(mut run: impl FnMut() -> Duration) -> f64 {
    (0..ROUNDS).map(|_| run()).min().unwrap_or_default().as_secs_f64() * 1e9 / SPANS as f64
}

fn cost(name: &str, config: &Json, request: &Request) -> f64 {
    let processor = build(name, config);
    best(|| {
        let request = request.clone();
        let start = Instant::now();
        let left = black_box(processor.process(black_box(request)).expect("processed"));
        let took = start.elapsed();
        drop(left);
        took
    })
}

#[test]
#[ignore = "a measurement: see the module"]
fn nanoseconds_per_span() {
    let (with, without) = (payload(10), payload(0));
    println!("{} bytes per span", with.bytes().len() / SPANS);
    let copy = best(|| {
        let start = Instant::now();
        black_box(with.bytes().to_vec());
        start.elapsed()
    });
    println!("{copy:8.1} ns  a copy");
    let redact = |more: Json| {
        let mut config = json!({"key": KEY});
        config.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
        config
    };
    let relabel = json!({"record": [
        {"source_labels": ["outcome"], "regex": "failed|timeout", "action": "drop"},
        {"source_labels": ["http.url"], "regex": "ftp:.*", "target_label": "old"},
        {"regex": "internal_.*", "action": "labeldrop"},
    ]});
    let rename = json!({"record": [{"source_labels": ["outcome"], "target_label": "result"}]});
    for (what, name, config, request) in [
        ("redact, no ids", "redact", redact(json!({})), &without),
        ("redact, 10 % with ids", "redact", redact(json!({})), &with),
        ("redact, 10 %, same length", "redact", redact(json!({"action": "pseudonym_same_length"})), &with),
        ("redact, 10 %, mask", "redact", json!({"action": "mask"}), &with),
        ("redact, 10 %, shadow", "redact", redact(json!({"mode": "shadow"})), &with),
        ("sample 10 %", "sample", json!({"percent": 10}), &with),
        ("sample 90 %", "sample", json!({"percent": 90}), &with),
        ("relabel, three rules, no match", "relabel", relabel, &with),
        ("relabel, one attribute added", "relabel", rename, &with),
    ] {
        if std::env::var("ONLY").is_ok_and(|only| !what.contains(&only)) {
            continue;
        }
        println!("{:8.1} ns  {what}", cost(name, &config, request));
    }
}

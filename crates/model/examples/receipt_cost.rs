//! Nanoseconds a span for the receipt check: `cargo run --release -p model --example receipt_cost`.
//!
//! Ratios against memcpy in the same run are what counts; absolute times move with the machine.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use model::{Request, Signal, Writer};

const SPANS: u64 = 1000;

fn main() {
    let request = request();
    let per_span = |what: &str, run: &mut dyn FnMut()| {
        let rounds = 3000;
        (0..rounds / 10).for_each(|_| run());
        let start = Instant::now();
        (0..rounds).for_each(|_| run());
        let ns = start.elapsed().as_nanos() as f64 / f64::from(rounds) / SPANS as f64;
        println!("{what:12} {ns:7.1} ns a span, {:.2} GB/s", request.len() as f64 / SPANS as f64 / ns);
    };
    per_span("memcpy", &mut || {
        black_box(black_box(&request).to_vec());
    });
    per_span("receive", &mut || {
        let received = Request::receive(Signal::Traces, black_box(request.clone()));
        assert_eq!(received.map(|(r, _)| r.items()), Ok(SPANS as usize));
    });
}

/// 1,000 spans of about 450 bytes with the attributes of an HTTP server.
fn request() -> Bytes {
    let mut writer = Writer::new();
    writer.message(1, |w| {
        w.message(1, |w| attribute(w, 1, "service.name", "gateway"));
        w.message(2, |w| (0..SPANS).for_each(|i| w.message(2, |w| span(w, i))));
    });
    writer.finish()
}

fn span(w: &mut Writer, i: u64) {
    w.bytes(1, &u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes());
    w.bytes(2, &i.to_be_bytes());
    w.string(5, "GET /api/v1/content/{id}");
    w.uint(6, 2);
    w.fixed64(7, 1_700_000_000_000_000_000 + i);
    w.fixed64(8, 1_700_000_000_001_000_000 + i);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/api/v1/content/4711"),
        ("url.scheme", "https"),
        ("server.address", "gateway.example.net"),
        ("user_agent.original", "shadowmesh/1.4 (linux; x86_64)"),
        ("network.protocol.version", "2"),
        ("content.kind", "fragment"),
    ] {
        attribute(w, 9, key, value);
    }
    w.message(9, |w| {
        w.string(1, "http.response.status_code");
        w.message(2, |w| w.int(3, 200));
    });
    w.message(11, |w| {
        w.fixed64(1, 1_700_000_000_000_500_000);
        w.string(2, "cache.miss");
    });
}

fn attribute(w: &mut Writer, number: u32, key: &str, value: &str) {
    w.message(number, |w| {
        w.string(1, key);
        w.message(2, |w| w.string(1, value));
    });
}

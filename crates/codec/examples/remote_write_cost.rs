//! Nanoseconds a series for decoding remote-write: `cargo run --release -p codec --example remote_write_cost`.
//!
//! Ratios against memcpy and Snappy's decoder in the same run are what counts; absolute times move with the machine.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "its output is its purpose")]

use std::hint::black_box;
use std::time::Instant;

use codec::prometheus::remote_write::{Version, decode};
use model::Writer;

const SERIES: usize = 2000;
const LABELS: [(&str, &str); 10] = [
    ("__name__", "p2p_dial_duration_seconds_bucket"),
    ("cluster", "eu-central-1"),
    ("instance", "10.17.3.211:9090"),
    ("job", "gateway"),
    ("le", "0.25"),
    ("namespace", "storage"),
    ("outcome", "ok"),
    ("pod", "gateway-6f7c9d5b8-x2x4q"),
    ("protocol", "/ipfs/kad/1.0.0"),
    ("transport", "quic-v1"),
];

fn main() {
    for (name, version, body) in [("1.0", Version::V1, v1()), ("2.0", Version::V2, v2())] {
        let rounds = 500;
        let per_series = |what: &str, run: &mut dyn FnMut()| {
            (0..rounds / 10).for_each(|_| run());
            let start = Instant::now();
            (0..rounds).for_each(|_| run());
            let ns = start.elapsed().as_nanos() as f64 / f64::from(rounds);
            let (each, rate) = (ns / SERIES as f64, body.len() as f64 / ns);
            println!("{name} {what:8} {each:7.1} ns a series, {rate:.2} GB/s of {} bytes", body.len());
        };
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        per_series("memcpy", &mut || {
            black_box(black_box(&body).to_vec());
        });
        per_series("inflate", &mut || {
            black_box(snap::raw::Decoder::new().decompress_vec(black_box(&packed)).unwrap());
        });
        per_series("decode", &mut || {
            let decoded = decode(version, black_box(&body), &mut |_| true).unwrap();
            assert_eq!(black_box(decoded).written.samples, SERIES as u64);
        });
    }
}

/// The labels of a series; the instance differs in every one of them.
fn labels(n: usize) -> Vec<(&'static str, String)> {
    let value = |(name, value): (&'static str, &str)| match name {
        "instance" => (name, format!("10.17.{}.{}:9090", n / 256, n % 256)),
        _ => (name, value.to_owned()),
    };
    LABELS.into_iter().map(value).collect()
}

fn sample(w: &mut Writer, number: u32, n: usize) {
    w.message(number, |w| {
        w.double(1, n as f64 + 0.5);
        w.int(2, 1_700_000_000_000 + n as i64);
    });
}

fn v1() -> Vec<u8> {
    let mut writer = Writer::new();
    for n in 0..SERIES {
        writer.message(1, |w| {
            for (name, value) in labels(n) {
                w.message(1, |w| {
                    w.string(1, name);
                    w.string(2, &value);
                });
            }
            sample(w, 2, n);
        });
    }
    writer.finish().to_vec()
}

fn v2() -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut symbol = |text: &str| {
        symbols.iter().position(|known| known == text).unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        }) as u64
    };
    let mut series = Writer::new();
    for n in 0..SERIES {
        let mut refs = Vec::new();
        for (name, value) in labels(n) {
            model::wire::write_varint(&mut refs, symbol(name));
            model::wire::write_varint(&mut refs, symbol(&value));
        }
        let help = symbol("How long dials took.");
        series.message(5, |w| {
            w.bytes(1, &refs);
            sample(w, 2, n);
            w.message(5, |w| {
                w.uint(1, 3);
                w.uint(3, help);
            });
        });
    }
    let mut writer = Writer::new();
    for symbol in &symbols {
        writer.message(4, |w| w.raw(symbol.as_bytes()));
    }
    [writer.finish(), series.finish()].concat()
}

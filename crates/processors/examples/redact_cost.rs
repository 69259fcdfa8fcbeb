//! What `redact` costs, part by part: `cargo run --release -p processors --example redact_cost [FILE...]`.
//!
//! Files hold OTLP export requests in protobuf, of logs where their name begins with `logs`, else of traces; without any, a
//! request like those of the benchmark is made. Each part runs over all of them in turn, so that a list of several megabytes
//! comes from memory as it does in the running program.
//!
//! Times move with the machine; for figures that do not, count the instructions of one part:
//! `ROUNDS=5 PART=redact valgrind --tool=callgrind --toggle-collect='*measured*' target/release/examples/redact_cost`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "its output is its purpose")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{ComponentKind, Processor, testing};
use model::{Request, Signal, Writer};
use redact::{Action, Key, Keyring, Options, Redactor};

const KEY: &str = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn main() {
    let files: Vec<_> = std::env::args().skip(1).collect();
    let requests: Vec<Request> = match files.len() {
        0 => vec![receive(Signal::Traces, &made())],
        _ => files.iter().map(|file| read(Path::new(file))).collect(),
    };
    let redact = processor(&format!("{{\"key\": \"{KEY}\"}}"));
    let shadow = processor(&format!("{{\"key\": \"{KEY}\", \"mode\": \"shadow\"}}"));
    let keys = Keyring::new(Key::parse(KEY.as_bytes()).unwrap());
    let redactor = Redactor::new(Options::all(Action::Pseudonym), Some(&keys)).unwrap();
    let mut anchors = Vec::new();
    part("search", &requests, |request| {
        anchors.clear();
        redactor.anchors(request.bytes(), &mut anchors);
        black_box(&anchors);
        request
    });
    part("shadow", &requests, |request| shadow.process(request).unwrap().unwrap());
    part("redact", &requests, |request| redact.process(request).unwrap().unwrap());
    part("check", &requests, |request| receive(request.signal(), request.bytes()));
}

/// Runs one part over copies of all requests, many times, and prints the best and the median time a record.
fn part(name: &str, requests: &[Request], mut run: impl FnMut(Request) -> Request) {
    if std::env::var("PART").is_ok_and(|part| part != name) {
        return;
    }
    let rounds = std::env::var("ROUNDS").map_or(4000 / requests.len(), |rounds| rounds.parse().unwrap());
    let records: usize = requests.iter().map(Request::items).sum();
    let mut times: Vec<Duration> = (0..rounds.max(1))
        .map(|_| {
            let copies: Vec<Request> = requests.iter().map(|r| receive(r.signal(), r.bytes())).collect();
            measured(copies, &mut run)
        })
        .collect();
    times.sort_unstable();
    let ns = |time: Duration| time.as_nanos() as f64 / records as f64;
    println!("{name:8} {:6.1} ns a record at best, {:6.1} median", ns(times[0]), ns(times[times.len() / 2]));
}

#[inline(never)]
fn measured(copies: Vec<Request>, run: &mut impl FnMut(Request) -> Request) -> Duration {
    let mut left = Vec::with_capacity(copies.len());
    let start = Instant::now();
    for request in copies {
        left.push(run(black_box(request)));
    }
    let took = start.elapsed();
    drop(black_box(left));
    took
}

fn processor(config: &str) -> Box<dyn Processor> {
    let config: serde_json::Value = serde_json::from_str(config).unwrap();
    let factory = processors::PROCESSORS.iter().find(|f| f.name == "redact").unwrap();
    let parsed = (factory.parse)(&mut <dyn erased_serde::Deserializer<'_>>::erase(&config)).unwrap();
    parsed.build(&testing::build_context(ComponentKind::Processor, "redact")).unwrap()
}

/// The request with memory of its own, so that it is edited in place.
fn receive(signal: Signal, bytes: &[u8]) -> Request {
    Request::receive(signal, Bytes::from(bytes.to_vec())).unwrap().0
}

fn read(path: &Path) -> Request {
    let logs = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("logs"));
    receive(if logs { Signal::Logs } else { Signal::Traces }, &std::fs::read(path).unwrap())
}

const SPANS: u64 = 1000;

/// 1,000 spans of about 450 bytes with the attributes of a libp2p node; one in ten names a peer.
fn made() -> Bytes {
    let mut writer = Writer::new();
    writer.message(1, |w| {
        w.message(1, |w| attribute(w, 1, "service.name", "relay"));
        w.message(2, |w| (0..SPANS).for_each(|i| w.message(2, |w| span(w, i))));
    });
    writer.finish()
}

fn span(w: &mut Writer, i: u64) {
    let random = |n: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32 * 13) ^ n;
    w.bytes(1, &(u128::from(random(1)) << 64 | u128::from(random(2))).to_be_bytes());
    w.bytes(2, &random(3).to_be_bytes());
    w.bytes(4, &random(4).to_be_bytes());
    w.string(5, ["dht.find_node", "bitswap.get_block", "swarm.dial"][i as usize % 3]);
    w.uint(6, 2);
    w.fixed64(7, 1_700_000_000_000_000_000 + i);
    w.fixed64(8, 1_700_000_000_001_000_000 + i);
    let session = format!("{:016x}", random(5));
    let digest = format!("sha256:{:016x}{:016x}{:016x}{:016x}", random(6), random(7), random(8), random(9));
    let peer = format!(
        "/ip4/198.51.100.{}/tcp/4001/p2p/12D3KooWSoEjtzCRGbVAQbZGqfxE4KUYeqB7NQg6YttdgfDXXSVZ",
        i % 256
    );
    for (key, value) in [
        ("rpc.system", "libp2p"),
        ("libp2p.protocol", "/ipfs/kad/1.0.0"),
        ("network.transport", "quic"),
        ("session.id", &session),
        ("message.type", "find_node"),
        ("user_agent.original", "rust-libp2p/0.44.2"),
        if i.is_multiple_of(10) {
            ("network.peer.address", &peer)
        } else {
            ("container.image.digest", &digest)
        },
    ] {
        attribute(w, 9, key, value);
    }
    w.message(9, |w| {
        w.string(1, "message.bytes_sent");
        w.message(2, |w| w.int(3, random(10) as i64 & 0xf_ffff));
    });
    w.message(11, |w| {
        w.fixed64(1, 1_700_000_000_000_500_000);
        w.string(2, "stream.opened");
    });
}

fn attribute(w: &mut Writer, number: u32, key: &str, value: &str) {
    w.message(number, |w| {
        w.string(1, key);
        w.message(2, |w| w.string(1, value));
    });
}

//! How fast it is: `cargo test -p redact --release --test speed -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "it is there to print")]

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{KINDS, base58, redactor};
use redact::{Action, Counts, Redactor};

/// Something like an OTLP request of 450 KB with no peer in it.
fn clean_request() -> Vec<u8> {
    let mut random = 12345u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let keys = [
        "http.method",
        "http.route",
        "net.peer.name",
        "service.name",
        "k8s.pod.name",
        "message.type",
        "rpc.system",
    ];
    let mut out = Vec::new();
    while out.len() < 450_000 {
        out.extend([0x12, 0xc2, 0x03, 0x0a, 0x10]);
        (0..3).for_each(|_| out.extend(next().to_le_bytes()));
        out.extend(b"*\x14GET /api/v1/users/list\x39");
        out.extend((1_790_000_000_000_000_000 + next() % 1_000_000_000).to_le_bytes());
        for key in keys {
            let value = format!("value-{}-{:x}", next() % 1000, next() % 65536);
            out.extend([0x4a, 0x20, 0x0a, key.len() as u8]);
            out.extend(key.bytes());
            out.extend([0x12, value.len() as u8 + 2, 0x0a, value.len() as u8]);
            out.extend(value.bytes());
        }
    }
    out
}

fn best_of(rounds: usize, mut run: impl FnMut()) -> f64 {
    (0..rounds)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

fn per_text(redactor: &Redactor, name: &str, texts: &[String]) {
    let mut counts = Counts::default();
    let seconds = best_of(50, || {
        for text in texts {
            redactor.redact_text_at(text.as_bytes(), 0, &ANCHORS[..], &mut counts, &mut |r| {
                black_box(r.bytes);
            });
        }
    });
    let scanned = best_of(50, || {
        for text in texts {
            redactor.redact_text(text.as_bytes(), &mut counts, &mut |r| {
                black_box(r.bytes);
            });
        }
    });
    let n = texts.len() as f64;
    println!(
        "{name}: {:.0} ns with known anchors, {:.0} ns with its own scan",
        seconds / n * 1e9,
        scanned / n * 1e9
    );
}

const ANCHORS: [u32; 1] = [0];

#[test]
#[ignore = "measures, judges nothing"]
fn speed() {
    let named = redactor(Action::Pseudonym);
    let clean = clean_request();
    let mut anchors = Vec::new();
    let scan = best_of(300, || named.anchors(black_box(&clean), &mut anchors));
    println!(
        "scan of {} clean bytes: {:.2} GB/s, {} anchors",
        clean.len(),
        clean.len() as f64 / scan / 1e9,
        anchors.len()
    );
    for (kind, name) in KINDS.into_iter().zip(["ed25519", "secp256k1", "Qm"]) {
        let ids: Vec<String> = (0..1000u32)
            .map(|i| {
                let mut key = [7u8; 32];
                key[..4].copy_from_slice(&i.wrapping_mul(2_654_435_761).to_le_bytes());
                base58(kind, &key)
            })
            .collect();
        per_text(&named, &format!("{name} pseudonym"), &ids);
        per_text(&redactor(Action::Mask), &format!("{name} mask"), &ids);
    }
    let same = redactor(Action::PseudonymSameLength);
    let ids: Vec<String> = (0..1000u32).map(|i| base58(KINDS[0], &[i as u8; 32])).collect();
    per_text(&same, "ed25519 same length", &ids);
    let addresses: Vec<String> =
        (0..1000u32).map(|i| format!("/ip4/203.0.{}.{}/tcp/4001", i / 256, i % 256)).collect();
    per_text(&named, "ip4", &addresses);
}

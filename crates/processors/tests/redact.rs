//! `redact`: no planted id comes out, whatever field and whatever wire form it stood in; nothing else changes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/naive.rs"]
mod naive;
#[path = "support/random.rs"]
mod random;
mod support;

use std::path::Path;

use ::redact::{Action, Key, Keyring, Options, QmBare, Redactor};
use bytes::Bytes;
use engine::Processor;
use model::descriptor::{FieldDescriptor, Kind, MessageDescriptor};
use model::otlp::request_descriptor;
use model::{Request, Signal, Writer};
use naive::Naive;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;
use random::{Generator, Random};
use serde_json::{Value as Json, json};
use support::*;

const KEY: &str = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const ED25519: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
const ED25519_CID: &str = "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6";
const SECP256K1: &str = "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY";
const QM: &str = "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk";

fn config() -> Json {
    json!({"key": KEY})
}

/// The detectors alone, with the same key.
fn redactor(action: Action) -> Redactor {
    let keys = Keyring::new(Key::parse(KEY.as_bytes()).unwrap());
    Redactor::new(Options::all(action), Some(&keys)).unwrap()
}

fn redact(processor: &dyn Processor, signal: Signal, bytes: impl Into<Bytes>) -> Bytes {
    let request = receive(signal, bytes);
    let items = request.items();
    let left = processor.process(request).expect("redacted").expect("something left");
    assert_eq!(left.items(), items);
    let (again, repairs) = Request::receive(signal, left.bytes().clone()).expect("well-formed result");
    assert!(!repairs.any() && again.items() == items, "{repairs:?}");
    left.into_bytes()
}

/// Not the id, nor ten characters in a row of what is its own.
#[track_caller]
fn assert_gone(bytes: &[u8], id: &str) {
    let own = &id.as_bytes()[id.len() - 30..];
    for window in own.windows(10) {
        let found = bytes.windows(10).position(|there| there == window);
        assert_eq!(found, None, "{} of {id} is left", window.escape_ascii());
    }
}

#[track_caller]
fn assert_binary_gone(bytes: &[u8], multihash: &[u8]) {
    let own = &multihash[multihash.len() - 32..];
    for window in own.windows(10) {
        assert!(!bytes.windows(10).any(|there| there == window), "part of a binary id is left");
    }
}

/// Every path from `descriptor` to a field of text or bytes on which no message type stands more than twice.
fn paths(
    descriptor: &'static MessageDescriptor,
    path: &mut Vec<&'static FieldDescriptor>,
    types: &mut Vec<&'static str>,
    found: &mut Vec<Vec<&'static FieldDescriptor>>,
) {
    if types.iter().filter(|name| **name == descriptor.name).count() == 2 {
        return;
    }
    types.push(descriptor.name);
    for field in descriptor.fields {
        path.push(field);
        match field.kind {
            Kind::Message(inner) => paths(inner, path, types, found),
            Kind::String | Kind::Bytes => found.push(path.clone()),
            _ => {}
        }
        path.pop();
    }
    types.pop();
}

fn along(path: &[&'static FieldDescriptor], leaf: &[u8], out: &mut Writer) {
    match path {
        [] => {}
        [last] => out.bytes(last.number, leaf),
        [first, rest @ ..] => out.message(first.number, |out| along(rest, leaf, out)),
    }
}

#[test]
fn an_id_in_any_field_of_any_message_is_found() {
    let processor = build("redact", &config());
    let mut random = Random(7);
    for (signal, least) in [(Signal::Traces, 60), (Signal::Logs, 40), (Signal::Metrics, 100)] {
        let mut found = Vec::new();
        paths(request_descriptor(signal), &mut vec![], &mut vec![], &mut found);
        assert!(found.len() >= least, "{} of {}", found.len(), signal.name());
        for path in found {
            let id = random.id();
            let mut writer = Writer::new();
            along(&path, id.as_bytes(), &mut writer);
            assert_gone(&redact(&*processor, signal, writer.finish()), &id);
            if matches!(path.last().map(|f| f.kind), Some(Kind::Bytes)) {
                let multihash = random.multihash();
                let mut writer = Writer::new();
                along(&path, &multihash, &mut writer);
                assert_binary_gone(&redact(&*processor, signal, writer.finish()), &multihash);
            }
        }
    }
}

/// The tag of what comes after a text is often a letter or a digit, and its length may be one.
#[test]
fn the_bytes_around_a_text_do_not_hide_it() {
    let processor = build("redact", &config());
    for id in [ED25519, ED25519_CID, SECP256K1, QM] {
        for tag in 1..=15u32 {
            for length in [0usize, 1, b'2'.into(), b'J'.into(), b'Q'.into(), b'm'.into()] {
                let mut writer = Writer::new();
                writer.message(1, |w| {
                    w.message(2, |w| {
                        w.message(2, |w| {
                            w.bytes(16 + tag, &vec![b'Q'; length]);
                            w.string(5, id);
                            w.bytes(30, &vec![b'm'; length]);
                        });
                    });
                });
                // Fields 17 to 31 but 30 are unknown to a span, all of them harmless; a `Wire::Len` 16 would be a fault.
                assert_gone(&redact(&*processor, Signal::Traces, writer.finish()), id);
            }
        }
    }
}

/// The search goes block by block, and the walk follows it: ids, and fields of any kind, across the end of a block.
#[test]
fn ids_across_the_ends_of_blocks_are_found() {
    let processor = build("redact", &config());
    let address = format!("/dns4/node.example/tcp/4001/p2p/{ED25519}");
    let last = ::redact::BLOCK;
    for shift in (0..180).step_by(5) {
        // One text over three blocks, with an id at each end of a block and one in the middle of nowhere.
        let before = "x".repeat(last - shift);
        let long = format!("{before}/{address} {}/{QM} {}", "y".repeat(last - QM.len()), "z".repeat(last));
        let mut writer = Writer::new();
        writer.message(1, |w| {
            w.message(2, |w| {
                w.message(2, |w| w.string(5, &long));
                // Records with an id each, so that tags, lengths and texts come to stand across the next ends.
                (0..600).for_each(|n| w.message(2, |w| w.string(5, &address[n % 7..])));
                w.message(2, |w| w.string(5, SECP256K1));
            });
        });
        let before = writer.finish();
        let after = redact(&*processor, Signal::Traces, before.clone());
        for secret in [ED25519, QM, SECP256K1] {
            assert_eq!(memchr::memmem::find(&after, secret.as_bytes()), None, "{secret} is left, {shift}");
        }
        let mut expected = ExportTraceServiceRequest::decode(before).unwrap();
        Naive(&redactor(Action::Pseudonym)).traces(&mut expected);
        assert!(ExportTraceServiceRequest::decode(after).unwrap() == expected, "{shift}");
    }
}

fn check_random(signal: Signal, seed: u64, rarity: u64, action: &Json, oracle: Action) {
    let mut config = config();
    config["action"] = action.clone();
    let processor = build("redact", &config);
    let mut generator = Generator::new(seed, rarity);
    let mut writer = Writer::new();
    generator.message(request_descriptor(signal), 9, &mut writer);
    let before = writer.finish();
    let after = redact(&*processor, signal, Bytes::copy_from_slice(&before));
    generator.planted.iter().for_each(|id| assert_gone(&after, id));
    generator.planted_binary.iter().for_each(|id| assert_binary_gone(&after, id));

    let redactor = redactor(oracle);
    let naive = Naive(&redactor);
    match signal {
        Signal::Traces => {
            let mut message = ExportTraceServiceRequest::decode(before).unwrap();
            naive.traces(&mut message);
            assert_eq!(ExportTraceServiceRequest::decode(&*after).unwrap(), message);
        }
        Signal::Logs => {
            let mut message = ExportLogsServiceRequest::decode(before).unwrap();
            naive.logs(&mut message);
            assert_eq!(ExportLogsServiceRequest::decode(&*after).unwrap(), message);
        }
        Signal::Metrics => {
            let mut message = ExportMetricsServiceRequest::decode(before).unwrap();
            naive.metrics(&mut message);
            assert_eq!(ExportMetricsServiceRequest::decode(&*after).unwrap(), message);
        }
    }
    // Once is enough.
    let twice = redact(&*processor, signal, after.clone());
    assert_eq!(twice, after);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn equals_decode_redact_encode(seed: u64, rarity in 1u64..12, signal in 0usize..3, action in 0usize..4) {
        let (name, oracle) = [
            (json!("pseudonym"), Action::Pseudonym),
            (json!("pseudonym_same_length"), Action::PseudonymSameLength),
            (json!({"bucket": 64}), Action::Bucket(64)),
            (json!("mask"), Action::Mask),
        ][action].clone();
        check_random(Signal::ALL[signal], seed, rarity, &name, oracle);
    }
}

#[test]
fn what_once_differed_from_decode_redact_encode() {
    check_random(Signal::ALL[0], 4_525_846_523_231_426_580, 1, &json!("pseudonym"), Action::Pseudonym);
}

/// Field `number` with the text `value`, its tag and length in more bytes than needed.
fn overlong(number: u8, value: &[u8]) -> Vec<u8> {
    let tag = [number << 3 | 2 | 0x80, 0x80, 0x00];
    [&tag[..], &[value.len() as u8 | 0x80, 0x80, 0x80, 0x00], value].concat()
}

fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.bytes(number, value);
    writer.finish().to_vec()
}

fn in_span(span: &[u8]) -> Vec<u8> {
    field(1, &field(2, &field(2, span)))
}

#[test]
fn tricks_of_the_wire() {
    let processor = build("redact", &config());
    let id = ED25519.as_bytes();
    let status = |message: &[u8]| field(15, &field(2, message));
    let attribute = |key: &[u8], value: &[u8]| field(9, &[field(1, key), value.to_vec()].concat());
    let any = |value: &[u8]| field(2, &field(1, value));
    for request in [
        // A singular field twice: one reader takes the first, another the last.
        in_span(&[field(5, id), field(5, b"clean")].concat()),
        in_span(&[field(5, b"clean"), field(5, id)].concat()),
        // An embedded message in two parts; a value twice; two members of one oneof.
        in_span(&[status(id), status(b"clean")].concat()),
        in_span(&[status(b"clean"), field(15, &[0x18, 1]), status(id)].concat()),
        in_span(&attribute(b"k", &[any(id), any(b"clean")].concat())),
        in_span(&attribute(b"k", &field(2, &[field(1, id), vec![0x18, 1]].concat()))),
        in_span(&attribute(b"k", &field(2, &[field(7, id), field(1, b"clean")].concat()))),
        // A resource in two parts; scopes before the resource.
        field(
            1,
            &[field(1, &field(1, &[field(1, b"a"), any(id)].concat())), field(1, &field(1, &field(1, b"b")))]
                .concat(),
        ),
        field(1, &[field(2, &field(2, &field(5, id))), field(1, &field(1, &field(1, id)))].concat()),
        // More bytes in a varint than it needs.
        in_span(&overlong(5, id)),
        in_span(&overlong(15, &overlong(2, id))),
        overlong(1, &overlong(2, &overlong(2, &overlong(5, id)))),
        // Fields in falling order.
        in_span(
            &[field(15, &field(2, id)), field(9, &field(1, id)), field(5, id), field(3, id), field(1, id)]
                .concat(),
        ),
        // Invalid UTF-8 around it.
        in_span(&field(5, &[b"\xff\xfe ", id, b" \xc3"].concat())),
        // An id where there should be 16 bytes of trace id.
        in_span(&[field(1, id), field(2, id), field(4, id)].concat()),
    ] {
        let out = redact(&*processor, Signal::Traces, request.clone());
        assert_gone(&out, ED25519);
    }
}

#[test]
fn unknown_fields_with_an_id_go_at_every_level() {
    let counters = engine::testing::counters();
    let processor = build_as("redact/unknown", "redact", &config(), false).unwrap();
    let count =
        || counters.value("floodway_redact_unknown_fields_dropped_total", &[("component", "redact/unknown")]);
    let multihash = [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &[0xa7; 32]].concat();
    let secrets: [&[u8]; 3] = [ED25519.as_bytes(), &multihash, &field(9, &field(3, SECP256K1.as_bytes()))];
    let with = |known: Vec<u8>, secret: &[u8]| {
        [field(99, b"kept"), known, field(100, secret), field(101, b"kept too")].concat()
    };
    for secret in secrets {
        let levels = [
            with(vec![], secret),
            field(1, &with(vec![], secret)),
            field(1, &field(2, &with(vec![], secret))),
            in_span(&with(field(5, b"n"), secret)),
            in_span(&field(9, &with(field(1, b"k"), secret))),
            in_span(&field(9, &field(2, &with(field(1, b"v"), secret)))),
            in_span(&field(15, &with(field(2, b"m"), secret))),
        ];
        for request in levels {
            let before = count();
            let out = redact(&*processor, Signal::Traces, request.clone());
            assert_eq!(out.len(), request.len() - field(100, secret).len() - shrunk(&request, &out, secret));
            assert!(out.windows(8).any(|w| w == b"kept too"));
            assert!(!out.windows(20).any(|w| secret.windows(20).any(|s| s == w)));
            assert_eq!(count(), before + 1);
        }
    }
}

/// Bytes saved in length prefixes: what is left of the difference, which must be few.
fn shrunk(before: &[u8], after: &[u8], secret: &[u8]) -> usize {
    let prefixes = before.len() - after.len() - field(100, secret).len();
    assert!(prefixes <= 6, "{prefixes}");
    prefixes
}

fn one_name(config: Json, name: &str) -> String {
    let processor = build("redact", &config);
    let message = traces(None, vec![Span { name: name.into(), ..Default::default() }]);
    let left = processed(&*processor, Signal::Traces, &message).unwrap();
    left.resource_spans[0].scope_spans[0].spans[0].name.clone()
}

#[test]
fn actions() {
    let text = format!("dial {ED25519} failed");
    let with = |action: Json| one_name(json!({"key": KEY, "action": action}), &text);
    let pseudonym = with(json!("pseudonym"));
    assert!(
        pseudonym.starts_with("dial peer_") && pseudonym.len() == "dial  failed".len() + 24,
        "{pseudonym}"
    );
    assert_eq!(with(json!("pseudonym_same_length")).len(), text.len());
    assert!(with(json!({"bucket": 64})).starts_with("dial peer_b0"));
    assert_eq!(with(json!("mask")), "dial [peer] failed");
    assert_eq!(with(json!("drop")), "dial  failed");
    // All spellings of one peer have one name, here and in every other field.
    let other = one_name(config(), &format!("dial {ED25519_CID} failed"));
    assert_eq!(other, pseudonym);
    // The addresses in a multiaddr go too.
    let address = one_name(json!({"action": "mask"}), &format!("/ip4/203.0.113.7/tcp/4001/p2p/{ED25519}"));
    assert_eq!(address, "/ip4/[addr]/tcp/4001/p2p/[peer]");
}

#[test]
fn same_length_is_edited_in_place() {
    let processor = build("redact", &json!({"key": KEY, "action": "pseudonym_same_length"}));
    let message = traces(None, vec![Span { name: ED25519.into(), ..Default::default() }]);
    let request = receive(Signal::Traces, message.encode_to_vec());
    let place = request.bytes().as_ptr();
    let left = processor.process(request).unwrap().unwrap();
    assert_eq!(left.bytes().as_ptr(), place);
    assert_gone(left.bytes(), ED25519);
}

#[test]
fn shadow_counts_and_off_does_nothing() {
    let counters = engine::testing::counters();
    let message =
        traces(None, vec![Span { name: format!("{ED25519} {QM}"), ..Default::default() }]).encode_to_vec();
    for (mode, findings) in [("shadow", 2), ("off", 0)] {
        let id = "redact/shadow";
        let processor = build_as(id, "redact", &json!({"action": "drop", "mode": mode}), false).unwrap();
        let value =
            || counters.value("floodway_redact_findings_total", &[("component", id), ("class", "peer_id")]);
        let request = receive(Signal::Traces, message.clone());
        let (place, before) = (request.bytes().as_ptr(), value());
        let left = processor.process(request).unwrap().unwrap();
        assert_eq!((left.bytes().as_ptr(), &left.bytes()[..]), (place, &message[..]));
        assert_eq!(value() - before, findings, "{mode}");
    }
}

#[test]
fn what_is_found_is_counted() {
    let counters = engine::testing::counters();
    let processor =
        build_as("redact/counted", "redact", &json!({"key": KEY, "action": {"bucket": 7}}), false).unwrap();
    let component = ("component", "redact/counted");
    let record = LogRecord { body: Some(string(&format!("{ED25519} /ip4/10.1.2.3"))), ..Default::default() };
    let request = receive(Signal::Logs, logs(None, vec![record]).encode_to_vec());
    processor.process(request).unwrap();
    let findings = |class| {
        counters.value("floodway_redact_findings_total", &[component, ("class", class), ("action", "bucket")])
    };
    assert_eq!((findings("peer_id"), findings("multiaddr_ip")), (1, 1));
    assert!(counters.value("floodway_redact_candidates_total", &[component, ("class", "peer_id")]) >= 1);
    assert!(counters.value("floodway_redact_bytes_scanned_total", &[component]) > 80);
}

#[test]
fn a_bare_qm_can_be_kept() {
    let attributes = || strings(&[("cid", QM), ("other", QM), ("nested", &format!("/p2p/{QM}"))]);
    let kept = |config: Json| {
        let processor = build("redact", &config);
        let message = traces(None, vec![Span { attributes: attributes(), ..Default::default() }]);
        let left = processed(&*processor, Signal::Traces, &message).unwrap();
        let span = &left.resource_spans[0].scope_spans[0].spans[0];
        span.attributes.iter().zip(attributes()).map(|(after, before)| *after == before).collect::<Vec<_>>()
    };
    assert_eq!(kept(json!({"action": "mask"})), [false, false, false]);
    assert_eq!(kept(json!({"action": "mask", "qm_bare": "keep"})), [true, true, false]);
    assert_eq!(kept(json!({"action": "mask", "keep_keys": ["cid", "nested"]})), [true, false, false]);
}

#[test]
fn without_a_key_it_does_not_start() {
    for action in [json!("pseudonym"), json!("pseudonym_same_length"), json!({"bucket": 3})] {
        let error = try_build("redact", &json!({"action": action}), true).err().expect("refused").to_string();
        assert!(error.contains("there is no key") && error.contains("generate_key: true"), "{error}");
    }
    for (config, problem) in [
        (json!({"key": "short"}), "key"),
        (json!({"key": KEY, "key_file": "x"}), "remove one"),
        (json!({"key_file": "/nonexistent/redact.key"}), "generate_key: true"),
        (json!({"key": KEY, "action": {"bucket": 0}}), "buckets"),
        (json!({"key": KEY, "action": "explode"}), "unknown variant `explode`"),
    ] {
        let error = try_build("redact", &config, true).err().expect("refused").to_string();
        assert!(error.contains(problem), "{error}");
        assert!(!error.contains(KEY));
    }
}

#[test]
fn a_key_file_is_made_once_and_not_by_a_dry_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/redact.key");
    let config = json!({"key_file": path, "generate_key": true});
    assert!(try_build("redact", &config, true).is_ok());
    assert!(!Path::new(&path).exists() && !folder.path().join("data").exists());
    let first = one_name(config.clone(), ED25519);
    assert!(path.exists());
    assert_eq!(one_name(config, ED25519), first);
    assert_eq!(one_name(json!({"key_file": path}), ED25519), first);
}

#[test]
fn the_settings_do_not_show_the_key() {
    let config: processors::redact::RedactConfig = serde_json::from_value(config()).unwrap();
    assert!(!format!("{config:?}").contains("0011"));
}

#[test]
fn the_oracle_is_told_what_the_processor_is_told() {
    let text = format!("x {QM} /ip4/1.2.3.4/p2p/{SECP256K1}");
    let redactor = redactor(Action::Pseudonym);
    let line = redactor.redact_line(text.as_bytes(), &mut ::redact::Counts::default()).into_owned();
    assert_eq!(one_name(config(), &text).as_bytes(), line);
    assert_eq!(QmBare::default(), QmBare::Redact);
}

/// The property over many more requests: `cargo test --release -p processors --test redact -- --ignored`.
#[test]
#[ignore = "seconds in release, minutes in debug"]
fn equals_decode_redact_encode_many_times() {
    for seed in 1..30_000u64 {
        let signal = Signal::ALL[seed as usize % 3];
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        check_random(signal, seed, 1 + seed % 12, &json!("pseudonym"), Action::Pseudonym);
    }
}

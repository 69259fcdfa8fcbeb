//! Splice against a naive model: parse into a tree, edit the tree, encode it.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Random, Tricks, message};
use model::descriptor::{Kind, MessageDescriptor};
use model::otlp::request_descriptor;
use model::wire::{Fields, Wire};
use model::{Request, Signal, Splice};
use proptest::prelude::*;
use prost::encoding::encode_varint;

/// Walks the request, making random edits in the splice and the same ones in the naive encoding that it returns.
struct Editor<'a> {
    buf: &'a [u8],
    random: Random,
    splice: Splice,
    same_size: bool,
    edits: usize,
}

impl Editor<'_> {
    fn message(&mut self, descriptor: &'static MessageDescriptor, range: std::ops::Range<usize>) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.same_size && self.random.chance(5) {
            self.insertion(range.start, &mut out);
        }
        for field in Fields::new(self.buf, range.clone()) {
            let kind = descriptor.field(field.number).map(|d| d.kind);
            match (kind, field.wire) {
                (Some(Kind::Message(inner)), Wire::Len) => {
                    self.splice.open(&field);
                    let body = self.message(inner, field.body_range());
                    if !self.same_size && self.random.chance(7) {
                        self.splice.discard();
                        self.edits += 1;
                    } else {
                        self.splice.close();
                        put(&mut out, field.number, &body);
                    }
                }
                _ if !self.same_size && self.random.chance(4) => {
                    self.splice.delete_field(&field);
                    self.edits += 1;
                }
                (Some(Kind::String), Wire::Len) => {
                    self.splice.open(&field);
                    let body = self.text(&field.body_range());
                    self.splice.close();
                    put(&mut out, field.number, &body);
                }
                _ => out.extend(&self.buf[field.range()]),
            }
        }
        if !self.same_size && self.random.chance(5) {
            self.insertion(range.end, &mut out);
        }
        out
    }

    /// Replaces up to two parts of a text.
    fn text(&mut self, range: &std::ops::Range<usize>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = range.start;
        for _ in 0..self.random.below(3) {
            if at == range.end || !self.random.chance(30) {
                continue;
            }
            let from = at + self.random.below(range.end - at);
            let to = from + self.random.below(range.end - from + 1);
            let len = if self.same_size { to - from } else { self.random.below(400) };
            let with = vec![b'#'; len];
            self.splice.replace(from..to, &with);
            self.edits += 1;
            out.extend(&self.buf[at..from]);
            out.extend(with);
            at = to;
        }
        out.extend(&self.buf[at..range.end]);
        out
    }

    fn insertion(&mut self, at: usize, out: &mut Vec<u8>) {
        let mut field = Vec::new();
        put(&mut field, 1000, &vec![b'+'; self.random.below(200)]);
        self.splice.insert(at, &field);
        self.edits += 1;
        out.extend(field);
    }
}

fn put(out: &mut Vec<u8>, number: u32, body: &[u8]) {
    encode_varint(u64::from(number << 3 | 2), out);
    encode_varint(body.len() as u64, out);
    out.extend(body);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_edits_equal_decode_edit_encode(seed: u64, same_size: bool) {
        for signal in Signal::ALL {
            let mut random = Random::new(seed);
            let tricks = Tricks { unknown: true, ..Tricks::default() };
            let bytes = Bytes::from(message(request_descriptor(signal), &mut random, tricks, 7));
            let (request, _) = Request::receive(signal, bytes.clone()).unwrap();
            let mut editor = Editor { buf: &bytes, random, splice: Splice::new(), same_size, edits: 0 };
            let want = editor.message(request_descriptor(signal), 0..bytes.len());
            let Editor { splice, edits, .. } = editor;
            prop_assert_eq!(splice.is_empty(), edits == 0);
            let kept = bytes.clone();
            let have = splice.apply(request.into_bytes());
            prop_assert_eq!(&have[..], &want[..]);
            let unshared = Bytes::from(bytes.to_vec());
            prop_assert_eq!(&splice.apply(unshared)[..], &want[..], "in place");
            if edits == 0 {
                prop_assert_eq!(have.as_ptr(), kept.as_ptr());
            }
        }
    }
}

#[test]
fn same_size_edits_of_an_unshared_buffer_happen_in_place() {
    let buffer = Bytes::from(b"\x0a\x04\x0a\x02ab".to_vec());
    let outer = Fields::new(&buffer, 0..buffer.len()).next().unwrap();
    let inner = Fields::new(&buffer, outer.body_range()).next().unwrap();
    let mut splice = Splice::new();
    splice.open(&outer);
    splice.open(&inner);
    splice.replace(4..6, b"yz");
    splice.close();
    splice.close();
    let shared = buffer.clone();
    let copied = splice.apply(buffer);
    assert_ne!(copied.as_ptr(), shared.as_ptr());
    assert_eq!(&shared[..], b"\x0a\x04\x0a\x02ab");
    drop(copied);
    let place = shared.as_ptr();
    let edited = splice.apply(shared);
    assert_eq!(edited.as_ptr(), place);
    assert_eq!(&edited[..], b"\x0a\x04\x0a\x02yz");
}

#[test]
fn edits_that_shrink_an_unshared_buffer_happen_in_place_even_after_one_that_grew_it() {
    let mut buffer = Vec::new();
    for text in ["0123456789"; 20] {
        put(&mut buffer, 1, text.as_bytes());
    }
    let buffer = Bytes::from(buffer);
    let mut splice = Splice::new();
    let mut want = Vec::new();
    for (n, field) in Fields::new(&buffer, 0..buffer.len()).enumerate() {
        splice.open(&field);
        let with: &[u8] = if n == 0 { b"longer than it was" } else { b"short" };
        splice.replace(field.body_range(), with);
        splice.close();
        put(&mut want, 1, with);
    }
    let place = buffer.as_ptr();
    let edited = splice.apply(buffer);
    assert_eq!(edited.as_ptr(), place);
    assert_eq!(&edited[..], &want[..]);
}

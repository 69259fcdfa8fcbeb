//! Random OTLP requests on the wire, any field of any message, made from the descriptor tables without the crate's writer.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared by tests, each of which uses its part")]

use model::descriptor::{FieldDescriptor, Kind, MessageDescriptor};
use model::wire::Wire;
use prost::encoding::encode_varint;

/// A small seeded generator (xorshift64*), so that a failing seed reproduces.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn text(&mut self, max: usize) -> String {
        let len = self.below(max + 1);
        (0..len).map(|_| ['a', 'Z', '0', ' ', '/', 'ß', '漢', '🦀'][self.below(8)]).collect()
    }
}

/// What kinds of irregularity the generator may put in.
#[derive(Clone, Copy, Default)]
pub struct Tricks {
    /// Singular fields twice, split messages, several members of a oneof.
    pub duplicates: bool,
    /// Tags and lengths in more bytes than needed.
    pub overlong: bool,
    /// Fields with numbers that the tables lack.
    pub unknown: bool,
}

/// The body of a random message.
pub fn message(descriptor: &MessageDescriptor, random: &mut Random, tricks: Tricks, depth: usize) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut seen = 0;
    for field in descriptor.fields {
        let times = match (field.repeated, tricks.duplicates) {
            (true, _) => random.below(3),
            (false, true) if random.chance(10) => 1 + random.below(3),
            (false, _) => usize::from(random.chance(50)),
        };
        for _ in 0..times {
            if depth == 0 && matches!(field.kind, Kind::Message(_)) {
                continue;
            }
            if !tricks.duplicates && seen & field.slot != 0 {
                continue;
            }
            seen |= field.slot;
            fields.push(encode(field, random, tricks, depth));
        }
    }
    if tricks.unknown && random.chance(20) {
        let mut out = Vec::new();
        tag(&mut out, 20 + random.below(2000) as u32, Wire::Len, random, tricks);
        let body = random.text(8);
        length(&mut out, body.len(), random, tricks);
        out.extend(body.as_bytes());
        fields.push(out);
    }
    if tricks.duplicates {
        for i in (1..fields.len()).rev() {
            fields.swap(i, random.below(i + 1));
        }
    }
    fields.concat()
}

fn encode(field: &FieldDescriptor, random: &mut Random, tricks: Tricks, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let wire = field.kind.wire();
    if field.repeated && wire != Wire::Len && random.chance(70) {
        let mut body = Vec::new();
        for _ in 0..random.below(5) {
            scalar(&mut body, wire, random);
        }
        tag(&mut out, field.number, Wire::Len, random, tricks);
        length(&mut out, body.len(), random, tricks);
        out.extend(body);
        return out;
    }
    tag(&mut out, field.number, wire, random, tricks);
    let body = match field.kind {
        Kind::String => random.text(12).into_bytes(),
        Kind::Bytes => (0..random.below(20)).map(|_| random.next() as u8).collect(),
        Kind::Message(inner) => message(inner, random, tricks, depth - 1),
        _ => {
            scalar(&mut out, wire, random);
            return out;
        }
    };
    length(&mut out, body.len(), random, tricks);
    out.extend(body);
    out
}

fn scalar(out: &mut Vec<u8>, wire: Wire, random: &mut Random) {
    let value = random.next() >> random.below(64);
    match wire {
        Wire::Varint => encode_varint(value, out),
        Wire::Fixed64 => out.extend(value.to_le_bytes()),
        Wire::Fixed32 => out.extend((value as u32).to_le_bytes()),
        Wire::Len => unreachable!(),
    }
}

fn tag(out: &mut Vec<u8>, number: u32, wire: Wire, random: &mut Random, tricks: Tricks) {
    varint(out, u64::from(number << 3 | wire.code()), 5, random, tricks);
}

fn length(out: &mut Vec<u8>, length: usize, random: &mut Random, tricks: Tricks) {
    varint(out, length as u64, 10, random, tricks);
}

fn varint(out: &mut Vec<u8>, value: u64, max: usize, random: &mut Random, tricks: Tricks) {
    let start = out.len();
    encode_varint(value, out);
    if tricks.overlong && random.chance(5) && out.len() - start < max {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
}

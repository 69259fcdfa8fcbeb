//! Random requests by the tables of the protocol, with ids planted anywhere; and ids, encoded independently.

use model::Writer;
use model::descriptor::{Kind, MessageDescriptor};
use model::wire::Wire;

/// xorshift64*: the same requests for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn key(&mut self) -> Vec<u8> {
        (0..32).map(|_| self.next() as u8).collect()
    }

    /// The binary form of a new peer id.
    pub(crate) fn multihash(&mut self) -> Vec<u8> {
        match self.below(3) {
            0 => [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &self.key()].concat(),
            1 => [&[0x00, 0x25, 0x08, 0x02, 0x12, 0x21, 0x03][..], &self.key()].concat(),
            _ => [&[0x12, 0x20][..], &self.key()].concat(),
        }
    }

    /// A new peer id in one of its text forms.
    pub(crate) fn id(&mut self) -> String {
        let multihash = self.multihash();
        let cid = [&[0x01, 0x72][..], &multihash].concat();
        match self.below(5) {
            0 | 1 => base(&multihash, BASE58, b'1'),
            2 => format!("b{}", base32(&cid)),
            3 => format!("k{}", base(&cid, b"0123456789abcdefghijklmnopqrstuvwxyz", b'0')),
            _ => format!("z{}", base(&cid, BASE58, b'1')),
        }
    }
}

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Long division; leading zero bytes become `zero`.
pub(crate) fn base(bytes: &[u8], alphabet: &[u8], zero: u8) -> String {
    let mut digits: Vec<usize> = Vec::new();
    for &byte in bytes {
        let mut carry = usize::from(byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % alphabet.len();
            carry /= alphabet.len();
        }
        while carry > 0 {
            digits.push(carry % alphabet.len());
            carry /= alphabet.len();
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| char::from(zero));
    zeros.chain(digits.iter().rev().map(|digit| char::from(alphabet[*digit]))).collect()
}

fn base32(bytes: &[u8]) -> String {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut out, mut bits, mut count) = (String::new(), 0u32, 0);
    for &byte in bytes {
        bits = bits << 8 | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            out.push(char::from(alphabet[(bits >> count) as usize & 31]));
        }
    }
    if count > 0 {
        out.push(char::from(alphabet[(bits << (5 - count)) as usize & 31]));
    }
    out
}

/// Writes random messages and remembers what it planted.
pub(crate) struct Generator {
    pub(crate) random: Random,
    /// One field in this many holds an id.
    pub(crate) rarity: u64,
    /// Ids in text.
    pub(crate) planted: Vec<String>,
    /// Ids in binary.
    pub(crate) planted_binary: Vec<Vec<u8>>,
    /// Unknown fields with an id in them.
    pub(crate) unknown: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64, rarity: u64) -> Self {
        Self { random: Random(seed | 1), rarity, planted: vec![], planted_binary: vec![], unknown: 0 }
    }

    pub(crate) fn message(&mut self, descriptor: &MessageDescriptor, depth: u32, out: &mut Writer) {
        let chosen: Vec<u64> = (0..4).map(|_| self.random.below(8)).collect();
        for field in descriptor.fields {
            let rank = descriptor
                .fields
                .iter()
                .filter(|f| f.oneof == field.oneof && f.number < field.number)
                .count();
            let times = match field.oneof {
                Some(oneof) => u64::from(chosen[usize::from(oneof)] == rank as u64),
                None if field.repeated => self.random.below(3),
                None => self.random.below(2),
            };
            for _ in 0..times {
                self.field(field.number, field.kind, field.repeated, depth, out);
            }
        }
        if self.random.one_in(12) {
            self.unknown_field(out);
        }
    }

    fn field(&mut self, number: u32, kind: Kind, repeated: bool, depth: u32, out: &mut Writer) {
        match kind {
            Kind::Message(inner) if depth > 0 => {
                out.message(number, |out| self.message(inner, depth - 1, out))
            }
            Kind::Message(_) => out.bytes(number, b""),
            Kind::String => {
                let text = self.text();
                out.string(number, &text);
            }
            Kind::Bytes => {
                let bytes = self.bytes();
                out.bytes(number, &bytes);
            }
            _ if repeated => out.message(number, |out| (0..3).for_each(|_| self.number(kind, out))),
            _ => {
                out.tag(number, kind.wire());
                self.number(kind, out);
            }
        }
    }

    fn number(&mut self, kind: Kind, out: &mut Writer) {
        let bits = self.random.next();
        match kind.wire() {
            Wire::Fixed64 => out.raw(&(bits as u32 as f64).to_bits().to_le_bytes()),
            Wire::Fixed32 => out.raw(&(bits as u32).to_le_bytes()),
            _ => out.varint(bits % 2),
        }
    }

    fn text(&mut self) -> String {
        let words = ["", "GET /peers", "läuft", "a=1,b=2", "/ip4", "Qm", "12D3KooW", "peer.ID", "0x08011220"];
        let mut text = words[self.random.below(9) as usize].to_owned();
        if self.random.one_in(self.rarity) {
            let id = self.random.id();
            let edges = ["", " ", "/p2p/", "\"", "=", "(", "\n", "{\"peer\":\"", "é"];
            text.push_str(edges[self.random.below(9) as usize]);
            // A letter right before it would make it part of a longer word.
            if text.ends_with(|c: char| c.is_ascii_alphanumeric()) {
                text.push(' ');
            }
            text.push_str(&id);
            text.push_str(["", "/x", ",", " b", "\"}"][self.random.below(5) as usize]);
            self.planted.push(id);
        }
        text
    }

    fn bytes(&mut self) -> Vec<u8> {
        if !self.random.one_in(self.rarity) {
            let length = [0, 8, 16, 34][self.random.below(4) as usize];
            return (0..length).map(|_| self.random.next() as u8).collect();
        }
        if self.random.one_in(2) {
            let multihash = self.random.multihash();
            self.planted_binary.push(multihash.clone());
            return multihash;
        }
        let id = self.random.id();
        self.planted.push(id.clone());
        [b"\xff\x00 ", id.as_bytes(), b" \xfe"].concat()
    }

    fn unknown_field(&mut self, out: &mut Writer) {
        match self.random.below(4) {
            0 => out.fixed64(101, self.random.next()),
            1 => out.string(102, "harmless"),
            2 => {
                // Not Qm: two letters are no anchor without an edge.
                let id = loop {
                    let id = self.random.id();
                    if !id.starts_with("Qm") {
                        break id;
                    }
                };
                // Glued to what stands around it.
                out.string(103, &format!("x{id}y"));
                self.planted.push(id);
                self.unknown += 1;
            }
            _ => {
                let multihash = [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &self.random.key()].concat();
                out.message(104, |out| out.bytes(1, &multihash));
                self.planted_binary.push(multihash);
                self.unknown += 1;
            }
        }
    }
}

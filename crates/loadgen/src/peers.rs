//! A pool of libp2p peer ids, and the search for them in what came out.
//!
//! A peer id of an Ed25519 key is an identity multihash over the protobuf of the public key, in base58 (bitcoin alphabet):
//! ```text
//! 00   24       08 01          12 20            k k k ... k
//! id   length   type: Ed25519  data: 32 bytes   public key        -> "12D3KooW" and 44 more characters
//! ```
//! The keys are random bytes: no consumer of a peer id checks that they are a point of the curve.
//!
//! The search looks at raw bytes. Every string of a protobuf message stands in one piece in its encoding, so a peer id that
//! any decoder would find is found here too, in whatever field it hides, known or not.

use std::collections::HashSet;

use memchr::memmem;

use crate::rng::Rng;

/// What every base58 peer id of an Ed25519 key starts with.
const TEXT_PREFIX: &[u8] = b"12D3KooW";
/// Characters of such an id: 37 bytes that start with 0x24 always make 51 digits, and the leading zero byte one more.
const TEXT_LEN: usize = 52;
/// What stands before the key in the binary form.
const BINARY_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
const KEY_LEN: usize = 32;
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The peers that a run's payloads name. Immutable once made; the same seed and count make the same peers.
#[derive(Debug)]
pub struct PeerBook {
    ids: Vec<String>,
    texts: HashSet<[u8; TEXT_LEN]>,
    keys: HashSet<[u8; KEY_LEN]>,
}

impl PeerBook {
    /// Makes `count` peers (at least one).
    pub fn new(seed: u64, count: usize) -> Self {
        let mut rng = Rng::new(seed ^ 0x7065_6572_5f69_6473);
        let mut book = Self { ids: Vec::new(), texts: HashSet::new(), keys: HashSet::new() };
        while book.ids.len() < count.max(1) {
            let key: [u8; KEY_LEN] = rng.bytes();
            let id = peer_id(&key);
            if let (Ok(text), true) = (id.as_bytes().try_into(), book.keys.insert(key)) {
                book.texts.insert(text);
                book.ids.push(id);
            }
        }
        book
    }

    /// The ids as text, most popular first.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// One of the ids, the popular ones more often.
    pub(crate) fn draw(&self, rng: &mut Rng) -> &str {
        &self.ids[rng.rank(self.ids.len())]
    }

    /// The first known peer in these bytes, as base58 text or as binary multihash, and how many there are.
    pub fn find_leaks(&self, bytes: &[u8]) -> Option<Leaks> {
        let text = memmem::find_iter(bytes, TEXT_PREFIX)
            .filter_map(|at| bytes.get(at..at + TEXT_LEN))
            .filter(|text| self.texts.contains(*text))
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let binary = memmem::find_iter(bytes, &BINARY_PREFIX)
            .filter_map(|at| bytes.get(at + BINARY_PREFIX.len()..at + BINARY_PREFIX.len() + KEY_LEN))
            .filter(|key| self.keys.contains(*key))
            .filter_map(|key| key.try_into().ok())
            .map(|key: &[u8; KEY_LEN]| peer_id(key));
        let mut found = text.chain(binary);
        let first = found.next()?;
        Some(Leaks { count: 1 + found.count() as u64, first })
    }
}

/// Peers that should not be there.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaks {
    /// How many occurrences.
    pub count: u64,
    /// The first, in base58.
    pub first: String,
}

/// The base58 peer id of an Ed25519 public key.
fn peer_id(key: &[u8; KEY_LEN]) -> String {
    let mut bytes = Vec::with_capacity(BINARY_PREFIX.len() + KEY_LEN);
    bytes.extend_from_slice(&BINARY_PREFIX);
    bytes.extend_from_slice(key);
    base58(&bytes)
}

/// Base58: the bytes as one big-endian number in base 58, with a `1` for each leading zero byte.
fn base58(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|&&b| b == 0).count();
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len() * 138 / 100 + 1);
    for &byte in &bytes[zeros..] {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let leading = std::iter::repeat_n('1', zeros);
    leading.chain(digits.iter().rev().map(|&d| char::from(BASE58[usize::from(d)]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long division the other way round, written without a look at `base58`.
    fn base58_decode(text: &str) -> Vec<u8> {
        let mut number: Vec<u8> = vec![];
        for c in text.bytes() {
            let mut carry = BASE58.iter().position(|&b| b == c).unwrap() as u32;
            for byte in number.iter_mut().rev() {
                carry += u32::from(*byte) * 58;
                *byte = carry as u8;
                carry >>= 8;
            }
            while carry > 0 {
                number.insert(0, carry as u8);
                carry >>= 8;
            }
        }
        let zeros = text.bytes().take_while(|&b| b == b'1').count();
        [vec![0; zeros], number].concat()
    }

    #[test]
    fn base58_known_values() {
        assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
        assert_eq!(base58(&[0, 0, 0x28, 0x7f, 0xb4, 0xcd]), "11233QC4");
        assert_eq!(base58(&[]), "");
    }

    #[test]
    fn ids_are_ed25519_peer_ids() {
        let book = PeerBook::new(7, 500);
        assert_eq!(book.ids().len(), 500);
        for id in book.ids() {
            assert!(id.starts_with("12D3KooW"), "{id}");
            assert_eq!(id.len(), TEXT_LEN);
            let bytes = base58_decode(id);
            assert_eq!(bytes[..6], BINARY_PREFIX);
            assert_eq!(bytes.len(), 38);
        }
        assert_eq!(book.ids(), PeerBook::new(7, 500).ids());
        assert_ne!(book.ids(), PeerBook::new(8, 500).ids());
    }

    #[test]
    fn finds_planted_ids_and_only_those() {
        let book = PeerBook::new(7, 50);
        let others = PeerBook::new(8, 1);
        let stranger = &others.ids()[0];
        assert_eq!(book.find_leaks(format!("/ip4/192.0.2.1/p2p/{stranger}/x").as_bytes()), None);
        assert_eq!(book.find_leaks(&book.ids()[3].as_bytes()[..51]), None);
        assert_eq!(book.find_leaks(b"12D3KooW"), None);

        let text = format!("a{}b12D3KooW{}", book.ids()[3], book.ids()[49]);
        assert_eq!(book.find_leaks(text.as_bytes()), Some(Leaks { count: 2, first: book.ids()[3].clone() }));
        let binary = base58_decode(&book.ids()[9]);
        assert_eq!(book.find_leaks(&binary), Some(Leaks { count: 1, first: book.ids()[9].clone() }));
    }
}

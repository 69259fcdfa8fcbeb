//! Shared by the tests: ids in every spelling, written by encoders that share no code with the crate.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "helpers of tests; an unwrap that fails is a failed test")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use redact::{Action, Counts, Key, Keyring, Options, QmBare, Redactor};

pub fn keyring() -> Keyring {
    Keyring::new(Key::new((0..32).collect()).unwrap())
}

pub fn redactor(action: Action) -> Redactor {
    Redactor::new(Options::all(action), Some(&keyring())).unwrap()
}

pub fn keeping_qm() -> Redactor {
    let options = Options { qm_bare: QmBare::Keep, ..Options::all(Action::Mask) };
    Redactor::new(options, None).unwrap()
}

pub fn redact(redactor: &Redactor, text: &str) -> String {
    let mut counts = Counts::default();
    String::from_utf8_lossy(&redactor.redact_line(text.as_bytes(), &mut counts)).into_owned()
}

/// Mask: `[peer]` and `[addr]`.
pub fn mask(text: &str) -> String {
    redact(&redactor(Action::Mask), text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ed25519,
    Secp256k1,
    Sha256,
}

pub const KINDS: [Kind; 3] = [Kind::Ed25519, Kind::Secp256k1, Kind::Sha256];

pub fn multihash(kind: Kind, key: &[u8; 32]) -> Vec<u8> {
    let header: &[u8] = match kind {
        Kind::Ed25519 => &[0x00, 0x24, 0x08, 0x01, 0x12, 0x20],
        Kind::Secp256k1 => &[0x00, 0x25, 0x08, 0x02, 0x12, 0x21, 0x02],
        Kind::Sha256 => &[0x12, 0x20],
    };
    let mut bytes = [header, key].concat();
    if kind == Kind::Secp256k1 {
        bytes[6] |= key[0] & 1;
    }
    bytes
}

/// Big number in the base of the alphabet, leading zeros as leading first characters.
pub fn base_x(bytes: &[u8], alphabet: &str) -> String {
    let alphabet = alphabet.as_bytes();
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
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let zeros = std::iter::repeat_n(0, zeros);
    zeros.chain(digits.into_iter().rev()).map(|digit| char::from(alphabet[digit])).collect()
}

/// Bit string, `width` bits a character.
pub fn bits(bytes: &[u8], alphabet: &str, width: usize) -> String {
    let all: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    all.chunks(width)
        .map(|chunk| {
            let value = (0..width).fold(0, |value, i| value << 1 | usize::from(*chunk.get(i).unwrap_or(&0)));
            char::from(alphabet.as_bytes()[value])
        })
        .collect()
}

const B58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const B36: &str = "0123456789abcdefghijklmnopqrstuvwxyz";
const B32: &str = "abcdefghijklmnopqrstuvwxyz234567";
const B32HEX: &str = "0123456789abcdefghijklmnopqrstuv";
const B64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const B64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub fn base58(kind: Kind, key: &[u8; 32]) -> String {
    base_x(&multihash(kind, key), B58)
}

/// Every spelling of a peer that is recognised wherever it stands; the base58 form first. `Qm…` is not among them
/// further back, because it needs a token of its own.
pub fn spellings(kind: Kind, key: &[u8; 32]) -> Vec<String> {
    let raw = multihash(kind, key);
    let cid = [&[0x01, 0x72][..], &raw].concat();
    let pad = |text: String| format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let mut all = vec![
        base_x(&raw, B58),
        format!("b{}", bits(&cid, B32, 5)),
        format!("B{}", bits(&cid, B32, 5).to_uppercase()),
        format!("k{}", base_x(&cid, B36)),
        format!("K{}", base_x(&cid, B36).to_uppercase()),
        format!("z{}", base_x(&cid, B58)),
        format!("v{}", bits(&cid, B32HEX, 5)),
        format!("V{}", bits(&cid, B32HEX, 5).to_uppercase()),
        format!("f{}", bits(&cid, "0123456789abcdef", 4)),
        format!("F{}", bits(&cid, "0123456789ABCDEF", 4)),
        format!("m{}", bits(&cid, B64, 6)),
        format!("u{}", bits(&cid, B64URL, 6)),
        format!("M{}", pad(bits(&cid, B64, 6))),
        format!("U{}", pad(bits(&cid, B64URL, 6))),
    ];
    if kind != Kind::Sha256 {
        all.push(bits(&raw, B64, 6));
        all.push(pad(bits(&raw, B64, 6)));
        all.push(bits(&raw, "0123456789abcdef", 4));
        all.push(bits(&raw[2..], "0123456789ABCDEF", 4));
    }
    all
}

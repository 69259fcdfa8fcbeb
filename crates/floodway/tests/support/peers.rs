//! Fresh peers, spelled in every way that libp2p software prints them. An encoder of its own for every base.
//!
//! ```text
//! ed25519     00 24 | 08 01 12 20 | 32 bytes        multihash = identity, length, public key
//! secp256k1   00 25 | 08 02 12 21 | 02/03 32 bytes
//! rsa         12 20 | 32 bytes                      SHA-256 of the public key
//! CIDv1       01 72 | multihash                     in any multibase
//! ```

/// One peer.
#[derive(Clone)]
pub(crate) struct Peer {
    kind: Kind,
    /// The part that tells it from others, without the 02 or 03 of a secp256k1 key.
    pub(crate) secret: [u8; 32],
    multihash: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ed25519,
    Secp256k1,
    Rsa,
}

/// One way to write a peer.
#[derive(Clone, Debug)]
pub(crate) struct Spelling {
    /// What it is, for messages.
    pub(crate) name: String,
    pub(crate) text: String,
    /// From where on the characters are this peer's own.
    pub(crate) fixed: usize,
    /// Whether it may stand in a path: base64 has slashes of its own.
    pub(crate) fits_paths: bool,
}

impl Peer {
    pub(crate) fn fresh(kind: Kind) -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).unwrap();
        Self::of(kind, secret)
    }

    fn of(kind: Kind, secret: [u8; 32]) -> Self {
        let header: &[u8] = match kind {
            Kind::Ed25519 => &[0x00, 0x24, 0x08, 0x01, 0x12, 0x20],
            Kind::Secp256k1 => &[0x00, 0x25, 0x08, 0x02, 0x12, 0x21, 0x02],
            Kind::Rsa => &[0x12, 0x20],
        };
        Self { kind, secret, multihash: [header, &secret].concat() }
    }

    /// The multihash: what all spellings stand for.
    pub(crate) fn multihash(&self) -> &[u8] {
        &self.multihash
    }

    /// `12D3KooW...`, `16Uiu2HA...` or `Qm...`.
    pub(crate) fn base58(&self) -> String {
        positional(&self.multihash, BASE58)
    }

    /// `k51qzi5uqu5d...` and the like.
    pub(crate) fn base36(&self) -> String {
        format!("k{}", positional(&self.cid(), BASE36))
    }

    fn cid(&self) -> Vec<u8> {
        [&[0x01, 0x72], self.multihash.as_slice()].concat()
    }

    /// In binary: multihash, CIDv1, and the public key where the id holds it.
    pub(crate) fn binary(&self) -> Vec<Vec<u8>> {
        let mut forms = vec![self.multihash.clone(), self.cid()];
        if self.kind != Kind::Rsa {
            forms.push(self.multihash[2..].to_vec());
        }
        forms
    }

    /// Every spelling.
    pub(crate) fn spellings(&self) -> Vec<Spelling> {
        let mut all: Vec<Spelling> = self
            .written()
            .into_iter()
            .map(|(name, text, fits_paths)| Spelling { fixed: 0, name: name.to_owned(), text, fits_paths })
            .collect();
        // What is the same for two other peers of the kind is fixed. Two: one may agree by chance in a character more.
        let others = [0x55, 0xaa].map(|byte| Self::of(self.kind, [byte; 32]).written());
        for (n, spelling) in all.iter_mut().enumerate() {
            let same = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            spelling.fixed = others.iter().map(|other| same(&other[n].1, &spelling.text)).min().unwrap_or(0);
        }
        all
    }

    fn written(&self) -> Vec<(&'static str, String, bool)> {
        let cid = self.cid();
        let key = &self.multihash[2..];
        let upper = |text: String| text.to_ascii_uppercase();
        let mut all = vec![
            ("multihash in base58", self.base58(), true),
            ("CID in base58", format!("z{}", positional(&cid, BASE58)), true),
            ("CID in base36", self.base36(), true),
            ("CID in base36, upper case", upper(self.base36()), true),
            ("CID in base32", format!("b{}", grouped(&cid, 5, BASE32)), true),
            ("CID in base32, upper case", upper(format!("b{}", grouped(&cid, 5, BASE32))), true),
            ("CID in base32hex", format!("v{}", grouped(&cid, 5, BASE32HEX)), true),
            ("CID in hex", format!("f{}", grouped(&cid, 4, HEX)), true),
            ("CID in hex, upper case", upper(format!("f{}", grouped(&cid, 4, HEX))), true),
            ("CID in base64", format!("m{}", grouped(&cid, 6, BASE64)), false),
            ("CID in base64url", format!("u{}", grouped(&cid, 6, BASE64URL)), true),
        ];
        if self.kind != Kind::Rsa {
            all.push(("multihash in hex", grouped(&self.multihash, 4, HEX), true));
            all.push(("public key in hex", grouped(key, 4, HEX), true));
            all.push(("multihash in base64", padded(grouped(&self.multihash, 6, BASE64)), false));
        }
        if self.kind == Kind::Ed25519 {
            all.push(("public key in base64", padded(grouped(key, 6, BASE64)), false));
        }
        all
    }
}

/// A peer of each kind.
pub(crate) fn one_of_each() -> [Peer; 3] {
    [Kind::Ed25519, Kind::Secp256k1, Kind::Rsa].map(Peer::fresh)
}

const BASE58: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE32HEX: &[u8] = b"0123456789abcdefghijklmnopqrstuv";
const HEX: &[u8] = b"0123456789abcdef";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// As one number in the base, with the zero digit for each leading zero byte.
fn positional(bytes: &[u8], digits: &[u8]) -> String {
    let base = u32::try_from(digits.len()).unwrap();
    let mut number = bytes.to_vec();
    let mut text = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / base).unwrap();
            rest = value % base;
        }
        text.push(digits[rest as usize]);
    }
    text.extend(bytes.iter().take_while(|byte| **byte == 0).map(|_| digits[0]));
    text.reverse();
    String::from_utf8(text).unwrap()
}

/// In groups of `bits` from the left, the last filled up with zeros.
pub(crate) fn grouped(bytes: &[u8], bits: usize, digits: &[u8]) -> String {
    let bit = |n: usize| bytes.get(n / 8).map_or(0, |byte| usize::from(byte >> (7 - n % 8) & 1));
    let groups = (bytes.len() * 8).div_ceil(bits);
    let digit = |group: usize| (0..bits).fold(0, |digit, n| digit << 1 | bit(group * bits + n));
    (0..groups).map(|group| char::from(digits[digit(group)])).collect()
}

/// In base32, lower case, as pseudonyms are written.
pub(crate) fn base32(bytes: &[u8]) -> String {
    grouped(bytes, 5, BASE32)
}

fn padded(mut text: String) -> String {
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

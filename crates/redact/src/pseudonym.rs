//! What is written in the place of an identity.
//!
//! ```text
//! HMAC-SHA-256(key, "floodway1" 00 tag 00 canonical bytes)         tag: "libp2p", "ip", … see `Class::tag`
//!
//! peer_a7_k3faq2mzx7wd5tbc     label _ key id _ first 80 bits in base32, lowercase
//! ```
//! Anyone with the key can compute the same with `openssl dgst -sha256 -mac HMAC`. 80 bits: among a billion peers two
//! share a pseudonym with a chance of 4 in ten million.
//!
//! It is keyed because peer ids are no secrets: crawlers list every peer of a public network, so a plain hash is undone
//! by hashing the list.
//!
//! The same-length form goes on in base32 after the first 80 bits, 48 characters for each 30 bytes of
//! ```text
//! block 0 = the HMAC above      block n+1 = HMAC(key, "floodway1" 00 "pad" 00 block n)
//! ```
//! Invariants: a pseudonym depends on the key, the class and the canonical bytes only (and its length, for the
//! same-length form); its first 24 characters are the same in both forms; writing it allocates nothing.
//!
//! Not here: where the text is put.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::class::Class;
use crate::detect::Canonical;
use crate::key::{Key, base32_char};

/// Names this way of computing pseudonyms, inside the HMAC. Another way gets another name.
pub(crate) const SCHEME: &[u8] = b"floodway1";
/// Longest replacement, in bytes; longer originals get the 24 characters.
pub const MAX_REPLACEMENT: usize = 256;
/// Length of a plain pseudonym, in bytes.
pub const PSEUDONYM_BYTES: usize = HEAD + 16;
/// Label, key id and two underscores.
const HEAD: usize = 8;
/// Bytes of an HMAC that are written out: whole groups of five, eight characters each.
const BLOCK: usize = 30;
/// Most buckets.
const MAX_BUCKETS: u32 = 1_000_000;

/// What to do with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// `peer_a7_k3faq2mzx7wd5tbc`: the same peer has the same name everywhere.
    #[default]
    Pseudonym,
    /// The same, made as long as the original where that has 24 to 256 characters, so that it can be replaced in
    /// place. The first 24 characters are those of [`Action::Pseudonym`], so that spellings of different length join.
    PseudonymSameLength,
    /// `peer_b017`: one of this many groups (1 to 1,000,000). For label values, whose number it bounds.
    Bucket(u32),
    /// `[peer]`, `[addr]`.
    Mask,
    /// Nothing.
    Drop,
}

impl Action {
    /// Whether the action needs a key.
    #[must_use]
    pub fn needs_key(self) -> bool {
        matches!(self, Action::Pseudonym | Action::PseudonymSameLength | Action::Bucket(_))
    }

    /// Whether the action can be carried out: a number of buckets within its limits.
    pub(crate) fn is_valid(self) -> bool {
        !matches!(self, Action::Bucket(count) if count == 0 || count > MAX_BUCKETS)
    }
}

/// Computes pseudonyms under one key.
#[derive(Clone)]
pub struct Pseudonymizer {
    /// HMAC that has taken in the key; cloned for each pseudonym.
    keyed: Hmac<Sha256>,
    kid: [u8; 2],
    /// Tells the digests of this key from those of others in the thread's cache.
    owner: u32,
}

impl std::fmt::Debug for Pseudonymizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonymizer").finish_non_exhaustive()
    }
}

impl Pseudonymizer {
    /// Takes in the key once, for all pseudonyms.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        static OWNERS: AtomicU32 = AtomicU32::new(1);
        Self { keyed: key.mac(), kid: key.kid_bytes(), owner: OWNERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Writes a pseudonym of [`PSEUDONYM_BYTES`] bytes, or as long as `out` where that is longer; a shorter `out` gets
    /// its start.
    pub fn write(&self, class: Class, canonical: &Canonical<'_>, out: &mut [u8]) {
        let mut block = if out.len() <= PSEUDONYM_BYTES {
            let mut block = [0; DIGEST];
            block[..DIGEST_HEAD].copy_from_slice(&self.digest_head(class, canonical));
            block
        } else {
            self.digest(class, canonical)
        };
        let head = [class.label().as_bytes(), b"_", &self.kid, b"_"];
        let mut places = out.iter_mut();
        // The head comes first in the zip: the other way round, one place would be taken and lost at its end.
        for (byte, place) in head.iter().copied().flatten().zip(places.by_ref()) {
            *place = *byte;
        }
        let mut rest = places.into_slice();
        loop {
            let (now, later) = rest.split_at_mut(rest.len().min(BLOCK / 5 * 8));
            base32(&block[..BLOCK], now);
            if later.is_empty() {
                return;
            }
            block = self.next_block(&block);
            rest = later;
        }
    }

    /// Which of `count` buckets the identity falls into.
    #[must_use]
    pub fn bucket(&self, class: Class, canonical: &Canonical<'_>, count: u32) -> u32 {
        let digest = self.digest_head(class, canonical);
        let number = digest[..8].iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        // The remainder is below `count`, so it fits.
        (number % u64::from(count.max(1))) as u32
    }

    /// The HMAC of an identity; that of one seen lately costs a comparison, and a network's peers come again and again.
    fn digest(&self, class: Class, canonical: &Canonical<'_>) -> [u8; DIGEST] {
        let Canonical::Bytes { buf, len } = canonical else { return self.compute(class, canonical) };
        RECENT.with_borrow_mut(|recent| {
            let slot = recent.find(&Name { id: *buf, owner: self.owner, class, len: *len }, || {
                self.compute(class, canonical)
            });
            recent.whole(slot)
        })
    }

    /// As much of the HMAC as most replacements need: the first half costs one line of the cache less than the whole.
    fn digest_head(&self, class: Class, canonical: &Canonical<'_>) -> [u8; DIGEST_HEAD] {
        let Canonical::Bytes { buf, len } = canonical else {
            let digest = self.compute(class, canonical);
            return std::array::from_fn(|n| digest[n]);
        };
        RECENT.with_borrow_mut(|recent| {
            let slot = recent.find(&Name { id: *buf, owner: self.owner, class, len: *len }, || {
                self.compute(class, canonical)
            });
            recent.heads[slot].digest_head
        })
    }

    fn compute(&self, class: Class, canonical: &Canonical<'_>) -> [u8; DIGEST] {
        let mut mac = self.start(class.tag());
        match canonical {
            Canonical::Bytes { buf, len } => mac.update(&buf[..usize::from(*len)]),
            Canonical::Text(text) => mac.update(text),
            Canonical::Folded(text) => {
                for chunk in text.chunks(64) {
                    let mut lower = [0u8; 64];
                    let lower = &mut lower[..chunk.len()];
                    lower.copy_from_slice(chunk);
                    lower.make_ascii_lowercase();
                    mac.update(lower);
                }
            }
        }
        mac.finalize().into_bytes().into()
    }

    fn next_block(&self, block: &[u8; DIGEST]) -> [u8; DIGEST] {
        let mut mac = self.start("pad");
        mac.update(block);
        mac.finalize().into_bytes().into()
    }

    fn start(&self, tag: &str) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(SCHEME);
        mac.update(&[0]);
        mac.update(tag.as_bytes());
        mac.update(&[0]);
        mac
    }
}

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent { heads: Vec::new(), tails: Vec::new() }) };
}

/// Digests that a thread keeps, a power of two: 160 KiB.
const SLOTS: usize = 2048;
/// Bytes of a digest, and of the part of it that a pseudonym of [`PSEUDONYM_BYTES`] or a bucket is made of.
const DIGEST: usize = 32;
const DIGEST_HEAD: usize = 16;

/// Digests by a hash of class and identity; a newer one takes the place of an older one. A table of this size is mostly not in
/// the nearest caches, so what a look-up reads is one line: the identity and the first half of its digest.
struct Recent {
    heads: Vec<Slot>,
    /// The second halves.
    tails: Vec<[u8; DIGEST - DIGEST_HEAD]>,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Slot {
    name: Option<Name>,
    digest_head: [u8; DIGEST_HEAD],
}

/// What a digest is of. The identity is filled up with zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name {
    id: [u8; 40],
    owner: u32,
    class: Class,
    len: u8,
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is one line of the cache");

impl Recent {
    /// The slot of this digest, computed if it is not there.
    fn find(&mut self, name: &Name, compute: impl FnOnce() -> [u8; DIGEST]) -> usize {
        if self.heads.is_empty() {
            self.heads.resize(SLOTS, Slot::default());
            self.tails.resize(SLOTS, Default::default());
        }
        let number = name.slot();
        let slot = &mut self.heads[number];
        if slot.name.as_ref() != Some(name) {
            let digest = compute();
            slot.name = Some(*name);
            slot.digest_head.copy_from_slice(&digest[..DIGEST_HEAD]);
            self.tails[number].copy_from_slice(&digest[DIGEST_HEAD..]);
        }
        number
    }

    fn whole(&self, slot: usize) -> [u8; DIGEST] {
        let mut digest = [0; DIGEST];
        let (head, tail) = digest.split_at_mut(DIGEST_HEAD);
        head.copy_from_slice(&self.heads[slot].digest_head);
        tail.copy_from_slice(&self.tails[slot]);
        digest
    }
}

impl Name {
    fn slot(&self) -> usize {
        let words = self.id.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mixed = words.fold(self.class.index() as u64, |mixed, word| {
            (mixed.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        (mixed >> (u64::BITS - SLOTS.trailing_zeros())) as usize
    }
}

/// Writes `bytes` (whole groups of five) in lowercase base32, as far as `out` goes.
fn base32(bytes: &[u8], out: &mut [u8]) {
    for (group, chars) in bytes.chunks_exact(5).zip(out.chunks_mut(8)) {
        let bits = group.iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        for (i, place) in chars.iter_mut().enumerate() {
            *place = base32_char((bits >> (35 - 5 * i)) as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonymizer() -> Pseudonymizer {
        Pseudonymizer::new(&Key::new((0..32).collect()).unwrap().with_kid("a7").unwrap())
    }

    #[test]
    fn lengths_share_their_first_24_characters() {
        let canonical = Canonical::Text(b"some peer");
        let mut long = [0u8; 200];
        pseudonymizer().write(Class::PeerId, &canonical, &mut long);
        assert!(long.starts_with(b"peer_a7_"));
        assert!(long[8..].iter().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')));
        for length in 24..200 {
            let mut out = vec![0u8; length];
            pseudonymizer().write(Class::PeerId, &canonical, &mut out);
            assert_eq!(out, long[..length]);
        }
        assert_ne!(long[8..56], long[56..104], "each block differs");
    }

    #[test]
    fn what_is_kept_of_earlier_ones_changes_nothing() {
        let other = Pseudonymizer::new(&Key::new((1..33).collect()).unwrap().with_kid("a7").unwrap());
        let ids: Vec<[u8; 34]> = (0..5000u32)
            .map(|n| {
                let mut id = [7; 34];
                id[n as usize % 31..][..4].copy_from_slice(&n.to_be_bytes());
                id
            })
            .collect();
        for pseudonymizer in [pseudonymizer(), other] {
            for _ in 0..2 {
                for (id, class) in ids.iter().flat_map(|id| [(id, Class::PeerId), (id, Class::MultiaddrIp)]) {
                    let canonical = Canonical::of(id);
                    let want = pseudonymizer.compute(class, &canonical);
                    assert_eq!(pseudonymizer.digest(class, &canonical), want);
                }
            }
        }
    }

    #[test]
    fn classes_and_case() {
        let p = pseudonymizer();
        let name = |class, canonical| {
            let mut out = [0u8; PSEUDONYM_BYTES];
            p.write(class, &canonical, &mut out);
            out
        };
        assert_eq!(
            name(Class::MultiaddrDns, Canonical::Folded(b"Node.Example")),
            name(Class::MultiaddrDns, Canonical::Text(b"node.example"))
        );
        assert_ne!(
            name(Class::MultiaddrDns, Canonical::Text(b"x"))[8..],
            name(Class::MultiaddrUnix, Canonical::Text(b"x"))[8..]
        );
    }
}

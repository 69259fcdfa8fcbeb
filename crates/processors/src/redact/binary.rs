//! Peer ids in their binary form, as `bytes` values hold them: where one can stand.
//!
//! The detectors know texts by their letters; a binary id has none, so it needs anchors of its own. Every binary form that
//! they confirm holds one of these:
//!
//! ```text
//! 08 01 12 20        an Ed25519 public key as libp2p encodes it, alone or behind its multihash header 00 24
//! 08 02 12 21        a secp256k1 public key likewise
//! 22 12 20           length 34 and the header of a SHA-256 multihash: a whole value, or the p2p part of a binary multiaddr
//! 01 72 12 20        a CIDv1 of a SHA-256 multihash
//! ```
//!
//! The position is that of `12`: within the value that holds the id, where a length before it may be that of the field.
//! A chance hit costs a look at one field.

use std::ops::Range;

use memchr::memmem::Finder;

/// The last two bytes of the anchors, and what stands before them. Two searches for pairs cost half of four for the whole.
const ANCHORS: [([u8; 2], &[&[u8]]); 2] =
    [([0x12, 0x20], &[&[0x08, 0x01], &[0x22], &[0x01, 0x72]]), ([0x12, 0x21], &[&[0x08, 0x02]])];

/// Finds the anchors of binary ids.
#[derive(Debug)]
pub(super) struct Scanner {
    pairs: [(Finder<'static>, &'static [&'static [u8]]); ANCHORS.len()],
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { pairs: ANCHORS.map(|(pair, before)| (Finder::new(&pair).into_owned(), before)) }
    }

    /// Adds those whose `12` stands within `range` of `bytes` to `out`, not sorted.
    pub(super) fn anchors_within(&self, bytes: &[u8], range: Range<usize>, out: &mut Vec<u32>) {
        // The second byte of a pair may stand behind the range.
        let searched = &bytes[range.start..bytes.len().min(range.end + 1)];
        for (finder, heads) in &self.pairs {
            let ends_with_head = |at: &usize| heads.iter().any(|head| bytes[..*at].ends_with(head));
            let found = finder.find_iter(searched).map(|at| range.start + at);
            out.extend(found.filter(ends_with_head).map(|at| at as u32));
        }
    }
}

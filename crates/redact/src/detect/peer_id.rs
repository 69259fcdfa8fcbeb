//! libp2p peer ids in every text form (libp2p specs, peer-ids).
//!
//! A peer id is a multihash: the public key itself where it is short, else its SHA-256.
//! ```text
//! ed25519     00 24 | 08 01 12 20 | 32 bytes        38 bytes
//! secp256k1   00 25 | 08 02 12 21 | 02/03 32 bytes  39 bytes
//! sha2-256    12 20 | 32 bytes                      34 bytes
//! ```
//! It is written in base58btc as it stands (`12D3KooW…`, `16Uiu2HA…`, `Qm…`), or as a CIDv1 (`01 72` before it) in any
//! base, with a letter for the base in front. The fixed bytes become fixed characters: those are the anchors. Base64 of
//! the bare multihash and of the public key's protobuf (`08 01 12 20 …`), and hex of either, name the peer as well.
//!
//! Everything here is confirmed by decoding to exactly these headers and lengths, so content ids (`bafybei`, `bafkrei`,
//! `zdj7W`, `bafykbzace`, other codecs than 72) pass, as do trace ids and digests. `Qm…` is the exception: it has the
//! form of an IPFS content id as well and no more than two fixed characters, so it needs a token of exactly 46 and
//! obeys [`QmBare`].
//!
//! An id that was cut off (a log limit, a syslog packet) or garbled still names its peer to whoever has a list of
//! peers. If enough of it stands there to be no accident, it is a partial finding.
//!
//! Not recognised: base32 with padding (`c`, `t`), z-base-32 (`h`), base58flickr (`Z`), base2, base8, base10, base45,
//! base64 or hex of a bare `12 20` multihash (any SHA-256 multihash looks like it), ids in changed case of a
//! case-sensitive base.

use super::{Canonical, Class, Family, Finding, Needle, QmBare, Site, Verdict};
use crate::base::Base;
use crate::text;

pub(super) const FAMILY: Family = Family {
    anchors: &[
        b"12D3KooW",
        b"16Uiu2HA",
        b"bafz",
        b"BAFZ",
        b"k51qzi5uqu5d",
        b"kzwfwjn5ji4pu",
        b"k2k4r8",
        b"K51QZI5UQU5D",
        b"KZWFWJN5JI4PU",
        b"K2K4R8",
        b"z5AanNVJC",
        b"zKPJ7QRX",
        b"zdvgq",
        b"08011220",
        b"08021221",
        b"01721220",
        b"v05p",
        b"V05P",
        b"AXIAJ",
        b"AXISI",
        b"ACQIARIg",
        b"ACUIAhIh",
        b"CAESI",
    ],
    needles: &[Needle { bytes: b"Qm", plausible: is_qm }],
    confirm,
};

/// Public key that a multihash stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Ed25519,
    Secp256k1,
    /// RSA, ECDSA, and older ids of any kind.
    Sha256,
}

/// What the decoded bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    Multihash,
    /// `01 72` and the multihash.
    Cid,
    /// The multihash without its first two bytes.
    PublicKey,
}

/// One way to write one kind of id.
#[derive(Debug)]
struct Spelling {
    /// Characters that every id of this spelling starts with; begins with one of the family's anchors.
    prefix: &'static [u8],
    /// How many of them stand before the encoded part: 1 for the letter of a multibase.
    letters: usize,
    base: Base,
    /// Characters of the encoded part.
    chars: usize,
    key: Key,
    wrap: Wrap,
    /// From how many encoded characters on an undecodable one counts as a partial id. 0: never.
    partial_from: usize,
    /// The prefix is so short that the token must end where the id ends.
    token: bool,
}

const fn spelling(
    prefix: &'static [u8],
    letters: usize,
    base: Base,
    chars: usize,
    key: Key,
    wrap: Wrap,
) -> Spelling {
    let partial_from = prefix.len() - letters + 8;
    Spelling { prefix, letters, base, chars, key, wrap, partial_from, token: false }
}

const fn never_partial(spelling: Spelling) -> Spelling {
    Spelling { partial_from: 0, ..spelling }
}

const fn whole_token(spelling: Spelling) -> Spelling {
    Spelling { token: true, partial_from: 0, ..spelling }
}

/// Every spelling. Of two with a common start the longer prefix need not come first: all are tried.
static SPELLINGS: &[Spelling] = &[
    spelling(b"12D3KooW", 0, Base::B58, 52, Key::Ed25519, Wrap::Multihash),
    spelling(b"16Uiu2HA", 0, Base::B58, 53, Key::Secp256k1, Wrap::Multihash),
    whole_token(spelling(b"Qm", 0, Base::B58, 46, Key::Sha256, Wrap::Multihash)),
    spelling(b"bafzaajaiaejc", 1, Base::B32, 64, Key::Ed25519, Wrap::Cid),
    spelling(b"bafzaajiiaijcca", 1, Base::B32, 66, Key::Secp256k1, Wrap::Cid),
    spelling(b"bafzbei", 1, Base::B32, 58, Key::Sha256, Wrap::Cid),
    spelling(b"k51qzi5uqu5d", 1, Base::B36, 61, Key::Ed25519, Wrap::Cid),
    spelling(b"kzwfwjn5ji4pu", 1, Base::B36, 62, Key::Secp256k1, Wrap::Cid),
    spelling(b"k2k4r8", 1, Base::B36, 55, Key::Sha256, Wrap::Cid),
    spelling(b"z5AanNVJC", 1, Base::B58, 54, Key::Ed25519, Wrap::Cid),
    spelling(b"zKPJ7QRX", 1, Base::B58, 55, Key::Secp256k1, Wrap::Cid),
    never_partial(spelling(b"zdvgq", 1, Base::B58, 48, Key::Sha256, Wrap::Cid)),
    spelling(b"v05p009080492", 1, Base::B32Hex, 64, Key::Ed25519, Wrap::Cid),
    spelling(b"v05p00988089220", 1, Base::B32Hex, 66, Key::Secp256k1, Wrap::Cid),
    spelling(b"v05p148", 1, Base::B32Hex, 58, Key::Sha256, Wrap::Cid),
    // Hex: one anchor for the public key, the multihash and the CID; `leads` looks at what stands before it.
    spelling(b"08011220", 0, Base::Hex, 72, Key::Ed25519, Wrap::PublicKey),
    spelling(b"08021221", 0, Base::Hex, 74, Key::Secp256k1, Wrap::PublicKey),
    spelling(b"01721220", 0, Base::Hex, 72, Key::Sha256, Wrap::Cid),
    // Base64: the multibase letter before a CID is optional.
    spelling(b"AXIAJAgBEi", 0, Base::B64, 54, Key::Ed25519, Wrap::Cid),
    spelling(b"AXIAJQgCEiE", 0, Base::B64, 55, Key::Secp256k1, Wrap::Cid),
    never_partial(spelling(b"AXISI", 0, Base::B64, 48, Key::Sha256, Wrap::Cid)),
    spelling(b"ACQIARIg", 0, Base::B64, 51, Key::Ed25519, Wrap::Multihash),
    spelling(b"ACUIAhIh", 0, Base::B64, 52, Key::Secp256k1, Wrap::Multihash),
    // The header of the key is 32 bits, which no other text has by chance: it counts wherever it stands.
    never_partial(spelling(b"CAESI", 0, Base::B64, 48, Key::Ed25519, Wrap::PublicKey)),
];

/// From how many characters on the start of a `Qm` id at the end of a text is taken for one that was cut off.
const QM_CUT: usize = 22;

/// How far beyond its proper length a garbled id is followed, in characters.
const GARBLED: usize = 16;

/// Says which peer id, if any, starts at (or around) the anchor.
pub(super) fn confirm<'t>(site: &Site<'t>) -> Verdict<'t> {
    let rest = &site.text[site.at..];
    // Every second anchor is the slash of a multiaddr, and no spelling starts with any kind of slash.
    if !rest.first().is_some_and(u8::is_ascii_alphanumeric) {
        return Verdict::Pass;
    }
    let mut verdict = Verdict::Pass;
    for spelling in SPELLINGS {
        if !spelling.matches(rest) {
            continue;
        }
        if let Some(finding) = spelling.confirm(site) {
            return Verdict::Found(finding);
        }
        verdict = Verdict::Rejected(Class::PeerId);
    }
    verdict
}

impl Spelling {
    fn matches(&self, rest: &[u8]) -> bool {
        let first = self.prefix[0];
        match rest.first() {
            Some(&byte) if byte == first => {}
            Some(byte) if self.base.folds_case() && byte.eq_ignore_ascii_case(&first) => {}
            _ => return false,
        }
        if self.base.folds_case() {
            text::starts_with_fold(rest, self.prefix)
        } else {
            rest.starts_with(self.prefix)
        }
    }

    fn confirm<'t>(&self, site: &Site<'t>) -> Option<Finding<'t>> {
        let body = site.at + self.letters;
        let end = body + self.chars;
        let whole = site.text.get(body..end).and_then(|chars| self.decode(chars));
        match whole {
            Some(canonical) if self.allows(site, end) => {
                let start = self.start(site);
                let end = if self.base == Base::B64 { padding(site.text, end) } else { end };
                let range = start..end;
                Some(Finding { range, class: Class::PeerId, partial: false, canonical, anchor: site.at })
            }
            _ => self.partial(site),
        }
    }

    /// Multihash of an encoded part of full length.
    fn decode(&self, chars: &[u8]) -> Option<Canonical<'static>> {
        let (skip, lack) = match self.wrap {
            Wrap::Multihash => (0, 0),
            Wrap::Cid => (2, 0),
            Wrap::PublicKey => (0, 2),
        };
        let mut multihash = [0u8; 40];
        let length = self.key.length();
        let decoded = self.base.decode(chars, skip + length - lack)?;
        if decoded[..skip] != [0x01, 0x72][..skip] {
            return None;
        }
        multihash[..lack].copy_from_slice(&self.key.header()[..lack]);
        multihash[lack..length].copy_from_slice(&decoded[skip..skip + length - lack]);
        self.key.is_multihash(&multihash[..length]).then(|| Canonical::of(&multihash[..length]))
    }

    /// Whether the surroundings let an id stand here that decodes.
    fn allows(&self, site: &Site<'_>, end: usize) -> bool {
        // Only base64 has the underscore; of the others, the first letters of a pseudonym may be the last of the id.
        let from = if self.base == Base::B64 { site.at } else { end - 4 };
        if text::contains_pseudonym(site.text, from, end) {
            return false;
        }
        if !self.token || site.rules.raw {
            return true;
        }
        if self.key == Key::Sha256 && site.rules.qm_bare == QmBare::Keep && !in_peer_context(site) {
            return false;
        }
        let starts = site.starts_token();
        let run = text::run_of(site.text, site.at, self.chars, self.base);
        starts && run == end && (text::ends_token(site.text, end) || whole_id_at(site, end))
    }

    /// Where the id starts that has its anchor here: a multibase letter, or hex digits of the header, may precede it.
    fn start(&self, site: &Site<'_>) -> usize {
        let letters: &[u8] = match self.base {
            Base::Hex => b"fF",
            Base::B64 if self.wrap == Wrap::Cid => b"mMuU",
            _ => return site.at,
        };
        let start = site.at - self.lead(site);
        let head = &site.text[..start];
        match head.last() {
            Some(letter) if letters.contains(letter) && text::starts_token(site.text, start - 1) => start - 1,
            _ => start,
        }
    }

    /// Length of the hex digits before a public key that make it a multihash or a CID.
    fn lead(&self, site: &Site<'_>) -> usize {
        let leads: [&[u8]; 2] = match self.key {
            Key::Ed25519 if self.base == Base::Hex => [b"01720024", b"0024"],
            Key::Secp256k1 if self.base == Base::Hex => [b"01720025", b"0025"],
            _ => return 0,
        };
        let head = &site.text[..site.at];
        leads.iter().find(|lead| head.ends_with(lead)).map_or(0, |lead| lead.len())
    }

    /// An id that does not decode, if enough of it is there.
    fn partial<'t>(&self, site: &Site<'t>) -> Option<Finding<'t>> {
        if self.partial_from == 0 {
            return self.cut_off(site);
        }
        let body = site.at + self.letters;
        let end = text::run_of(site.text, body, self.chars + GARBLED, self.base);
        let end = text::first_pseudonym(site.text, body, end).unwrap_or(end);
        let enough = end - body >= self.partial_from;
        let distinct = match self.base {
            // Eight digits alone may be any number; a public key that starts a word and was cut off is long.
            Base::Hex if self.wrap == Wrap::Cid || self.lead(site) > 0 => end - body >= 24,
            Base::Hex => end - body >= 40 && site.starts_token(),
            _ => self.prefix.len() >= 8 || site.starts_token(),
        };
        (enough && distinct).then(|| partial(site.text, self.start(site)..end, site.at))
    }
}

impl Spelling {
    /// `Qm` is too short a start to know an id by, save where the text ends within one: what cuts texts cuts at their end.
    fn cut_off<'t>(&self, site: &Site<'t>) -> Option<Finding<'t>> {
        if self.prefix != b"Qm" || (site.rules.qm_bare == QmBare::Keep && !in_peer_context(site)) {
            return None;
        }
        let end = text::run_of(site.text, site.at, self.chars, self.base);
        let rest = &site.text[end..];
        let ends = rest.is_empty() || rest == b"..." || rest == "…".as_bytes();
        let enough = (QM_CUT..self.chars).contains(&(end - site.at));
        (ends && enough && site.starts_token()).then(|| partial(site.text, site.at..end, site.at))
    }
}

impl Key {
    fn length(self) -> usize {
        match self {
            Key::Ed25519 => 38,
            Key::Secp256k1 => 39,
            Key::Sha256 => 34,
        }
    }

    fn header(self) -> &'static [u8] {
        match self {
            Key::Ed25519 => &[0x00, 0x24, 0x08, 0x01, 0x12, 0x20],
            Key::Secp256k1 => &[0x00, 0x25, 0x08, 0x02, 0x12, 0x21],
            Key::Sha256 => &[0x12, 0x20],
        }
    }

    fn is_multihash(self, bytes: &[u8]) -> bool {
        bytes.len() == self.length()
            && bytes.starts_with(self.header())
            && (self != Key::Secp256k1 || matches!(bytes[6], 2 | 3))
    }
}

/// Multihash of a peer id in its binary form: multihash, CIDv1, or public key of a short kind.
pub(crate) fn whole_binary(value: &[u8]) -> Option<Canonical<'static>> {
    let multihash = value.strip_prefix(&[0x01, 0x72]).unwrap_or(value);
    if [Key::Ed25519, Key::Secp256k1, Key::Sha256].iter().any(|key| key.is_multihash(multihash)) {
        return Some(Canonical::of(multihash));
    }
    [Key::Ed25519, Key::Secp256k1].iter().find_map(|key| {
        let mut bytes = [0u8; 40];
        bytes[..2].copy_from_slice(&key.header()[..2]);
        bytes.get_mut(2..2 + value.len())?.copy_from_slice(value);
        let multihash = &bytes[..2 + value.len()];
        key.is_multihash(multihash).then(|| Canonical::of(multihash))
    })
}

/// A finding over the text itself.
pub(super) fn partial(text: &[u8], range: std::ops::Range<usize>, anchor: usize) -> Finding<'_> {
    let canonical = Canonical::Text(&text[range.clone()]);
    Finding { range, class: Class::PeerId, partial: true, canonical, anchor }
}

/// Whether another id, of a kind that needs no edges, starts at `start`. Its anchor may come up to nine characters
/// later, as in `f0172002408011220…`.
fn whole_id_at(site: &Site<'_>, start: usize) -> bool {
    [0, 1, 4, 5, 8, 9].into_iter().any(|later| {
        let Some(rest) = site.text.get(start + later..) else {
            return false;
        };
        let next = Site { text: site.text, at: start + later, floor: start, rules: site.rules };
        SPELLINGS
            .iter()
            .filter(|spelling| !spelling.token && spelling.matches(rest))
            .any(|spelling| spelling.confirm(&next).is_some_and(|finding| finding.range.start == start))
    })
}

/// Whether what stands before says that this is a peer, not a file.
fn in_peer_context(site: &Site<'_>) -> bool {
    let head = &site.text[..site.at];
    if let Some(name) = text::separator_before(site.text, site.at) {
        return [&b"p2p"[..], b"ipfs", b"ipns"].iter().any(|proto| head[..name].ends_with(proto));
    }
    super::short_id::ends_with_label(head)
}

fn padding(text: &[u8], end: usize) -> usize {
    end + text[end..].iter().take(2).take_while(|&&byte| byte == b'=').count()
}

fn is_qm(rest: &[u8]) -> bool {
    rest.get(2..QM_CUT).is_some_and(|chars| chars.iter().all(|&byte| Base::B58.contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_an_anchor_at_its_start() {
        for spelling in SPELLINGS {
            assert!(spelling.prefix[0].is_ascii_alphanumeric(), "`confirm` passes over it");
            let found = FAMILY.anchors.iter().any(|anchor| spelling.prefix.starts_with(anchor))
                || FAMILY.needles.iter().any(|needle| spelling.prefix.starts_with(needle.bytes));
            assert!(found, "{:?}", spelling.prefix.escape_ascii().to_string());
            if spelling.base.folds_case() && spelling.base != Base::Hex {
                let upper = spelling.prefix.to_ascii_uppercase();
                assert!(FAMILY.anchors.iter().any(|anchor| upper.starts_with(anchor)));
            }
        }
    }

    #[test]
    fn ids_that_were_cut_off_are_found_and_words_that_look_alike_are_not() {
        let detectors = crate::detect::Detectors::new();
        let found = |text: &str| {
            let mut found = Vec::new();
            let mut counts = crate::Counts::default();
            let mut out = |finding: Finding<'_>| found.push(finding.range);
            detectors.find(text.as_bytes(), crate::detect::Rules::default(), &mut counts, &mut out);
            found
        };
        let qm = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        for len in QM_CUT..46 {
            let cut = &qm[..len];
            assert_eq!(found(&format!("dial {cut}")).first(), Some(&(5..5 + len)), "{len}");
            assert_eq!(found(&format!("dial {cut}...")).len(), 1, "{len}");
            assert!(found(&format!("dial {cut} and more")).is_empty(), "a whole word of {len}");
            assert!(found(&format!("x{cut}")).is_empty(), "within a word");
        }
        let key = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
        assert_eq!(found(&format!("key={}", &key[..62])).first(), Some(&(4..66)));
        assert!(found(&format!("n={}", &key[..24])).is_empty());
    }

    #[test]
    fn anchors_are_long_enough_for_four_byte_fingerprints() {
        for family in super::super::FAMILIES {
            assert!(family.anchors.iter().all(|anchor| anchor.len() >= 4));
        }
    }
}

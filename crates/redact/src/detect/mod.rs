//! From an anchor to a confirmed finding.
//!
//! A family of detectors is one file in this folder and one line in [`FAMILIES`]. It names its anchors (what the scan
//! looks for) and a function that looks at one anchor in one text and says what stands there. Nothing else has to
//! change for a new family.
//!
//! Invariants:
//! - findings come out in order, never empty, never overlapping, within the text;
//! - where two overlap, every byte of both stays covered: what is cut off gives way to what decodes;
//! - all spellings of one identity have the same [`Canonical`] bytes;
//! - a text that holds only pseudonyms has no findings.
//!
//! Not here: keys, pseudonyms, and which fields of a record are texts.

mod multiaddr;
mod peer_id;
mod short_id;

use std::ops::Range;

use crate::class::{Class, Counts};
use crate::scan::Scanner;

pub(crate) use peer_id::whole_binary;

/// All detectors.
pub(crate) const FAMILIES: &[Family] = &[peer_id::FAMILY, short_id::FAMILY, multiaddr::FAMILY];

/// Detectors that share anchors.
pub(crate) struct Family {
    /// Strings of at least four bytes; every spelling holds one of them. They share one fast pass: see `scan`.
    pub(crate) anchors: &'static [&'static [u8]],
    /// Shorter or rare strings; each costs a pass of its own.
    pub(crate) needles: &'static [Needle],
    /// Says what stands at an anchor.
    pub(crate) confirm: for<'t> fn(&Site<'t>) -> Verdict<'t>,
}

/// A string that the scan looks for by itself.
pub(crate) struct Needle {
    pub(crate) bytes: &'static [u8],
    /// Whether a hit can be an anchor, given everything from it to the end of the buffer. Must be cheap, must not
    /// look at what stands before, and must not refuse anything that `confirm` would accept.
    pub(crate) plausible: fn(&[u8]) -> bool,
}

/// A place in a text that may be an id.
pub(crate) struct Site<'t> {
    pub(crate) text: &'t [u8],
    /// Position of the anchor.
    pub(crate) at: usize,
    /// End of the finding before, or 0: a token may start right there.
    pub(crate) floor: usize,
    pub(crate) rules: Rules,
}

impl Site<'_> {
    /// Whether a token may start at the anchor.
    pub(crate) fn starts_token(&self) -> bool {
        self.at == self.floor || crate::text::starts_token(self.text, self.at)
    }
}

/// What a family makes of an anchor.
pub(crate) enum Verdict<'t> {
    /// Not an anchor of this family.
    Pass,
    /// Looked like an id of this class and is none, or one that names nobody.
    Rejected(Class),
    Found(Finding<'t>),
}

/// What to do with a bare `Qm…` of 46 characters, which may be a peer id or the content id of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QmBare {
    /// Redact it. Redacting a content id is the safe error.
    #[default]
    Redact,
    /// Keep it, unless it follows `/p2p/`, `/ipfs/`, `/ipns/` or `peer.ID`.
    Keep,
}

/// How strictly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// What to do with `Qm…` outside a multiaddr.
    pub qm_bare: QmBare,
    /// Set for bytes that are no text, such as an unknown protobuf field: ids need no edge before or after.
    pub raw: bool,
}

/// An identity found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'t> {
    /// Bytes of the text that name it.
    pub range: Range<usize>,
    /// Kind of identity.
    pub class: Class,
    /// Only a part of it stands there (cut off, shortened or garbled); `canonical` is then the text itself.
    pub partial: bool,
    /// What all of its spellings have in common.
    pub canonical: Canonical<'t>,
    /// Anchor at which it was decoded; the scan will come by there again.
    anchor: usize,
}

/// The bytes that a pseudonym is computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonical<'t> {
    /// A decoded id: the multihash of a peer id, the 4 or 16 bytes of an address.
    Bytes {
        /// Holds the bytes at its front.
        buf: [u8; 40],
        /// How many there are.
        len: u8,
    },
    /// The text as it stands.
    Text(&'t [u8]),
    /// The text with its ASCII letters in lowercase, as for a host name.
    Folded(&'t [u8]),
}

impl Canonical<'_> {
    /// A copy of the bytes. For tests and look-ups: the pseudonyms are computed without one.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Canonical::Bytes { buf, len } => buf[..usize::from(*len)].to_vec(),
            Canonical::Text(text) => text.to_vec(),
            Canonical::Folded(text) => text.to_ascii_lowercase(),
        }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut buf = [0; 40];
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Canonical::Bytes { buf, len: len as u8 }
    }
}

/// The scanner together with all detectors. Immutable; share it.
#[derive(Debug, Default)]
pub struct Detectors {
    scanner: Scanner,
}

impl Detectors {
    /// All families.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first pass by itself.
    #[must_use]
    pub fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Hands every finding in `text` to `sink`, in order, and adds to `counts`.
    pub fn find<'t>(
        &self,
        text: &'t [u8],
        rules: Rules,
        counts: &mut Counts,
        sink: &mut impl FnMut(Finding<'t>),
    ) {
        self.find_at(text, rules, self.scanner.iter(text), counts, sink);
    }

    /// As [`Detectors::find`], for a text whose anchors are known already: sorted positions within the text, at least
    /// those that the scanner yields for it.
    pub fn find_at<'t>(
        &self,
        text: &'t [u8],
        rules: Rules,
        anchors: impl Iterator<Item = usize>,
        counts: &mut Counts,
        sink: &mut impl FnMut(Finding<'t>),
    ) {
        let mut merge = Merge { pending: None, floor: 0 };
        let mut emit = |finding: Finding<'t>, counts: &mut Counts| {
            let class = counts.of(finding.class);
            if finding.partial {
                class.partial += 1
            } else {
                class.confirmed += 1
            }
            sink(finding);
        };
        for at in anchors.take_while(|&at| at < text.len()) {
            if merge.pending.as_ref().is_some_and(|pending| pending.anchor == at) {
                continue;
            }
            let site = Site { text, at, floor: merge.end(), rules };
            match confirm(&site) {
                Verdict::Pass => {}
                Verdict::Rejected(class) => {
                    counts.of(class).candidates += 1;
                    counts.of(class).rejected += 1;
                }
                Verdict::Found(finding) => {
                    counts.of(finding.class).candidates += 1;
                    merge.push(finding, &mut |finding| emit(finding, counts));
                }
            }
        }
        if let Some(last) = merge.pending {
            emit(last, counts);
        }
    }
}

/// The first family that has something to say about an anchor.
fn confirm<'t>(site: &Site<'t>) -> Verdict<'t> {
    let mut verdict = Verdict::Pass;
    for family in FAMILIES {
        match (family.confirm)(site) {
            Verdict::Pass => {}
            found @ Verdict::Found(_) => return found,
            rejected @ Verdict::Rejected(_) => verdict = rejected,
        }
    }
    verdict
}

/// Resolves overlaps. Holds back the last finding until the next one starts after it.
struct Merge<'t> {
    pending: Option<Finding<'t>>,
    /// Nothing that comes may start before this.
    floor: usize,
}

impl<'t> Merge<'t> {
    /// End of everything covered so far.
    fn end(&self) -> usize {
        self.pending.as_ref().map_or(self.floor, |pending| pending.range.end)
    }

    fn push(&mut self, mut new: Finding<'t>, emit: &mut impl FnMut(Finding<'t>)) {
        new.range.start = new.range.start.max(self.floor);
        let Some(mut old) = self.pending.take() else {
            self.pending = (!new.range.is_empty()).then_some(new);
            return;
        };
        if new.range.start < old.range.end {
            if old.partial && !new.partial {
                // A whole id stands inside or across the end of a garbled one. It takes the rest along.
                new.range.end = new.range.end.max(old.range.end);
                old.range.end = new.range.start.max(old.range.start);
            } else {
                // One replacement for both: two side by side could read as one long host name.
                old.range.end = old.range.end.max(new.range.end);
                self.pending = Some(old);
                return;
            }
        }
        if !old.range.is_empty() {
            emit(old);
        }
        self.floor = new.range.start;
        self.pending = Some(new);
    }
}

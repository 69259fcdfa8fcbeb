//! The cheap first pass: where in a buffer can an id stand at all?
//!
//! The scan runs over arbitrary bytes, usually the wire form of a whole request, and yields the sorted positions of
//! *anchors*: short byte strings that every spelling of an id must hold. It decides nothing else. Most requests have no
//! anchor and are done.
//!
//! Two kinds of search, both vectorised:
//! - anchors of four bytes or more: `aho_corasick::packed` (Teddy), one pass for all of them. With more than 32 it would
//!   switch to its "fat" variant of half the speed, which is for patterns that set off many false alarms; ours are dealt
//!   into its eight buckets such that they do not (see `deal`), so the "slim" one is asked for.
//! - *needles*, shorter: one `memchr::memmem` pass each (60 to 80 GB/s), with a predicate that throws out chance hits on
//!   the spot. A two-byte string in the Teddy set would make all of its fingerprints two bytes long.
//!
//! Invariant: no hit hides another. Searches go on one byte after the start of a hit, not after its end.
//!
//! Not here: what an anchor means (`detect`), and any notion of fields, strings or boundaries.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::Span;
use aho_corasick::packed::{self, MatchKind, Searcher};
use memchr::memmem::Finder;

use crate::deal::deal;
use crate::detect::{FAMILIES, Needle};

/// Finds anchors in bytes. Built once, shared by all threads.
#[derive(Debug)]
pub struct Scanner {
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    Packed(Searcher),
    Needle(Finder<'static>, fn(&[u8]) -> bool),
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner for the anchors of every family of detectors.
    #[must_use]
    pub fn new() -> Self {
        let mut anchors: Vec<&'static [u8]> =
            FAMILIES.iter().flat_map(|family| family.anchors).copied().collect();
        assert!(anchors.iter().all(|anchor| anchor.len() <= LONGEST), "raise LONGEST");
        anchors.sort_unstable();
        anchors.dedup();
        let mut sources = Source::literals(&anchors);
        sources.extend(FAMILIES.iter().flat_map(|family| family.needles).map(Source::needle));
        assert!(sources.len() <= MAX_SOURCES, "raise MAX_SOURCES");
        Self { sources }
    }

    /// Appends the positions of all anchors in `bytes` to `out`, sorted, each once.
    ///
    /// # Panics
    /// If `bytes` is 4 GiB long or longer: positions are 32-bit, and a request that large is refused much earlier.
    pub fn anchors(&self, bytes: &[u8], out: &mut Vec<u32>) {
        for from in (0..bytes.len()).step_by(BLOCK) {
            self.anchors_within(bytes, from..bytes.len().min(from + BLOCK), out);
        }
    }

    /// Appends the positions of the anchors that start within `range` of `bytes`, sorted, each once. Callers that have
    /// searches of their own go over a buffer block by block ([`BLOCK`]), so that only the first search has to fetch it.
    ///
    /// # Panics
    /// As [`Scanner::anchors`].
    pub fn anchors_within(&self, bytes: &[u8], range: Range<usize>, out: &mut Vec<u32>) {
        assert!(u32::try_from(bytes.len()).is_ok(), "a buffer of 4 GiB or more cannot be scanned");
        let first = out.len();
        let mut busy = 0;
        for source in &self.sources {
            let before = out.len();
            source.for_each(bytes, range.clone(), |at| out.push(at as u32));
            busy += u32::from(out.len() > before);
        }
        if busy > 1 {
            out[first..].sort_unstable();
            let mut kept = first;
            for i in first..out.len() {
                if i == first || out[i] != out[kept - 1] {
                    out[kept] = out[i];
                    kept += 1;
                }
            }
            out.truncate(kept);
        }
    }

    /// The positions of all anchors in `bytes`, sorted, each once, found as they are asked for.
    #[must_use]
    pub fn iter<'s>(&'s self, bytes: &'s [u8]) -> Anchors<'s> {
        let mut next = [NONE; MAX_SOURCES];
        for (slot, source) in next.iter_mut().zip(&self.sources) {
            *slot = source.find(bytes, 0..bytes.len()).unwrap_or(NONE);
        }
        Anchors { scanner: self, bytes, next }
    }
}

/// Positions of anchors; see [`Scanner::iter`].
#[derive(Debug)]
pub struct Anchors<'s> {
    scanner: &'s Scanner,
    bytes: &'s [u8],
    /// Next hit of each source.
    next: [usize; MAX_SOURCES],
}

impl Iterator for Anchors<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let sources = &self.scanner.sources;
        let at = self.next[..sources.len()].iter().copied().min().filter(|&at| at != NONE)?;
        for (slot, source) in self.next.iter_mut().zip(sources) {
            if *slot == at {
                *slot = source.find(self.bytes, at + 1..self.bytes.len()).unwrap_or(NONE);
            }
        }
        Some(at)
    }
}

impl Source {
    /// Searches for `anchors`: one Teddy pass, or a pass each where the CPU has no instructions that Teddy can use.
    fn literals(anchors: &[&'static [u8]]) -> Vec<Self> {
        /// Made once: the order is the same each time.
        static DEALT: LazyLock<Vec<&'static [u8]>> = LazyLock::new(|| {
            let all: Vec<_> = FAMILIES.iter().flat_map(|family| family.anchors).copied().collect();
            deal(&all)
        });
        let mut config = packed::Config::new();
        config
            .match_kind(MatchKind::LeftmostFirst)
            .only_teddy_fat(Some(false))
            .heuristic_pattern_limits(false);
        match config.builder().extend(DEALT.iter()).build() {
            Some(searcher) => vec![Source::Packed(searcher)],
            None => anchors.iter().map(|anchor| Source::Needle(Finder::new(*anchor), |_| true)).collect(),
        }
    }

    fn needle(needle: &Needle) -> Self {
        Source::Needle(Finder::new(needle.bytes), needle.plausible)
    }

    /// First hit that starts within `range`.
    fn find(&self, bytes: &[u8], range: Range<usize>) -> Option<usize> {
        if range.is_empty() {
            return None;
        }
        // A hit may end behind the range.
        let end = bytes.len().min(range.end + LONGEST - 1);
        match self {
            Source::Packed(searcher) => {
                let span = Span { start: range.start, end };
                Some(searcher.find_in(bytes, span)?.start()).filter(|at| *at < range.end)
            }
            Source::Needle(finder, plausible) => {
                let mut from = range.start;
                loop {
                    let at = from + finder.find(&bytes[from..end])?;
                    if at >= range.end {
                        return None;
                    }
                    if plausible(&bytes[at..]) {
                        return Some(at);
                    }
                    from = at + 1;
                }
            }
        }
    }

    fn for_each(&self, bytes: &[u8], range: Range<usize>, mut hit: impl FnMut(usize)) {
        let mut from = range.start;
        while let Some(at) = self.find(bytes, from..range.end) {
            hit(at);
            from = at + 1;
        }
    }
}

/// Bytes that all searches go over before any goes on: a block stays in the nearest cache, a whole request does not.
pub const BLOCK: usize = 32 << 10;
/// No anchor is longer (checked when the scanner is made).
const LONGEST: usize = 16;
/// Most searches over one buffer, also where each anchor needs its own.
const MAX_SOURCES: usize = 64;
const NONE: usize = usize::MAX;

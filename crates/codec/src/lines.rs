//! Cuts a stream of bytes into lines, with a limit on their length.
//!
//! ```text
//! stream = *( line LF )  [ line ]         a CR before the LF belongs to the line break
//! ```
//!
//! A line that stands in one chunk is lent from that chunk; only a line that spans chunks is copied. A line over the limit
//! is handed out cut, at once, and the rest of it is dropped as it comes in.
//! A cut does not end inside a word: half an identifier would not be recognised as one later, when identities are taken
//! out. The word that the limit falls into is dropped, if it is not absurdly long.
//!
//! Invariant: no more than the limit and two bytes is held back, whatever comes in.

use memchr::memchr;

/// How far a cut goes back to the start of a word, in bytes.
const WORD: usize = 256;

/// A word that broke off is kept when it is shorter than this, in bytes.
const SHORT_WORD: usize = 10;

/// A line without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes; not necessarily UTF-8.
    pub bytes: &'a [u8],
    /// Whether it was longer than the limit.
    pub cut: bool,
}

/// Finds the lines of one stream.
#[derive(Clone, Debug)]
pub struct LineFramer {
    max_line_bytes: usize,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// `partial` was handed out and is to be emptied.
    lent: bool,
    /// What comes in belongs to a line that was handed out cut.
    discarding: bool,
    /// Line breaks seen.
    breaks: u64,
}

impl LineFramer {
    /// A framer for a new stream. Lines may have `max_line_bytes` bytes, their line break not counted.
    pub fn new(max_line_bytes: usize) -> Self {
        Self { max_line_bytes, partial: Vec::new(), lent: false, discarding: false, breaks: 0 }
    }

    /// The next line that ends in `chunk`, which moves on to what was not looked at yet; `None` when the chunk is used up.
    pub fn next<'a, 'c: 'a>(&'a mut self, chunk: &mut &'c [u8]) -> Option<Line<'a>> {
        self.forget_lent();
        if self.discarding {
            let Some(end) = memchr(b'\n', chunk) else {
                *chunk = &[];
                return None;
            };
            *chunk = &chunk[end + 1..];
            self.discarding = false;
            self.breaks += 1;
        }
        let Some(end) = memchr(b'\n', chunk) else {
            return self.hold_back(chunk);
        };
        let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
        *chunk = rest;
        self.breaks += 1;
        if self.partial.is_empty() {
            return Some(limited(line, self.max_line_bytes));
        }
        self.copy(line);
        self.lent = true;
        Some(limited(&self.partial, self.max_line_bytes))
    }

    /// The last line, if the stream ended without a line break. The framer is then ready for another stream.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        self.forget_lent();
        self.discarding = false;
        self.lent = true;
        (!self.partial.is_empty()).then(|| limited(&self.partial, self.max_line_bytes))
    }

    /// Bytes held back.
    pub fn held_bytes(&self) -> usize {
        if self.lent { 0 } else { self.partial.len() }
    }

    /// Line breaks taken so far.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// Whether a line has begun whose end has not come yet, the rest of one that was handed out cut included.
    pub fn is_inside(&self) -> bool {
        self.discarding || self.held_bytes() > 0
    }

    fn forget_lent(&mut self) {
        if self.lent {
            self.partial.clear();
            self.lent = false;
        }
    }

    /// Keeps a chunk without a line break for later, or hands out its cut beginning.
    fn hold_back(&mut self, chunk: &mut &[u8]) -> Option<Line<'_>> {
        self.copy(chunk);
        *chunk = &[];
        // One byte over the limit may be the CR of a line break.
        if self.partial.len() <= self.max_line_bytes.saturating_add(1) {
            return None;
        }
        self.discarding = true;
        self.lent = true;
        Some(limited(&self.partial, self.max_line_bytes))
    }

    /// Copies of a line what is needed to see that it is too long.
    fn copy(&mut self, bytes: &[u8]) {
        let room = self.max_line_bytes.saturating_add(2).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl<'a> Line<'a> {
    /// A line whose end never came, without the word in which it broke off: half an identifier is not recognised as one. A
    /// word too short to tell anything stays.
    pub fn broken_off(self) -> Line<'a> {
        let end = cut_at(self.bytes, self.bytes.len());
        if self.bytes.len() - end < SHORT_WORD {
            return self;
        }
        Line { bytes: self.bytes.get(..end).unwrap_or_default(), cut: true }
    }
}

/// A line or message of which no more than `max` bytes are handed out; a CR at its end belongs to the line break.
pub(crate) fn limited(line: &[u8], max: usize) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= max {
        return Line { bytes: line, cut: false };
    }
    Line { bytes: &line[..cut_at(line, max)], cut: true }
}

/// Where to cut a line that is longer than `max`: not inside a word, and not inside a character.
fn cut_at(line: &[u8], max: usize) -> usize {
    let ends_word = |b: &u8| b.is_ascii_whitespace() || b"\"'`,;(){}[]<>|".contains(b);
    if max == 0 || line.get(max).is_some_and(ends_word) {
        return max;
    }
    let from = max.saturating_sub(WORD);
    if let Some(end) = line[from..max].iter().rposition(ends_word) {
        return from + end + 1;
    }
    // UTF-8 characters have at most three bytes of the form 10xxxxxx after the first.
    let inside = |at: &usize| line.get(*at).is_some_and(|b| b & 0xc0 == 0x80);
    (max.saturating_sub(3)..=max).rev().find(|at| !inside(at)).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(max: usize, chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let mut framer = LineFramer::new(max);
        let mut lines = Vec::new();
        let own = |l: Line<'_>| (String::from_utf8_lossy(l.bytes).into_owned(), l.cut);
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(line) = framer.next(&mut rest) {
                lines.push(own(line));
            }
            assert!(rest.is_empty() && framer.held_bytes() <= max + 2);
        }
        lines.extend(framer.finish().map(own));
        assert_eq!(framer.finish(), None);
        lines
    }

    fn whole(lines: &[&str]) -> Vec<(String, bool)> {
        lines.iter().map(|l| ((*l).to_owned(), false)).collect()
    }

    #[test]
    fn lines_over_chunks() {
        assert_eq!(lines(9, &[b"a\nb", b"c\r", b"\n\n", b"d"]), whole(&["a", "bc", "", "d"]));
        assert_eq!(lines(9, &[b"", b"\n", b""]), whole(&[""]));
        assert_eq!(lines(9, &[b"a\r"]), whole(&["a"]));
    }

    #[test]
    fn the_limit_does_not_count_the_line_break() {
        assert_eq!(lines(3, &[b"abc\r\nabc\nabc"]), whole(&["abc", "abc", "abc"]));
        assert_eq!(lines(3, &[b"abc", b"\r", b"\n", b"d"]), whole(&["abc", "d"]));
        assert_eq!(lines(3, &[b"abcd\nx", b"\n"]), [("abc".into(), true), ("x".into(), false)]);
        assert_eq!(lines(3, &[b"abc", b"d", b"e", b"f\nx"]), [("abc".into(), true), ("x".into(), false)]);
        assert_eq!(lines(3, &[b"abc", b"\rd"]), [("abc".into(), true)]);
    }

    #[test]
    fn a_long_line_is_handed_out_at_once_and_never_held() {
        let mut framer = LineFramer::new(8);
        let chunk = [b'x'; 4096];
        assert_eq!(framer.next(&mut &chunk[..]), Some(Line { bytes: b"xxxxxxxx", cut: true }));
        for _ in 0..100 {
            assert_eq!(framer.next(&mut &chunk[..]), None);
            assert_eq!(framer.held_bytes(), 0);
        }
        let mut rest = &b"x\nok\n"[..];
        assert_eq!(framer.next(&mut rest), Some(Line { bytes: b"ok", cut: false }));
    }

    #[test]
    fn a_cut_keeps_words_and_characters_whole() {
        assert_eq!(lines(12, &[b"peer 12D3KooWabc gone"]), [("peer ".into(), true)]);
        assert_eq!(lines(16, &[b"peer 12D3KooWabc gone"]), [("peer 12D3KooWabc".into(), true)]);
        assert_eq!(lines(4, &["aéé\n".as_bytes()]), [("aé".into(), true)]);
        assert_eq!(lines(4, &["😀😀\n".as_bytes()]), [("😀".into(), true)]);
        assert_eq!(lines(3, &["😀😀\n".as_bytes()]), [(String::new(), true)]);
        assert_eq!(lines(0, &[b"ab\n\n"]), [(String::new(), true), (String::new(), false)]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[ab \\r\\né]{0,60}", max in 0usize..12, size in 1usize..9) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let split = lines(max, &chunks);
            prop_assert_eq!(&split, &lines(max, &[text.as_bytes()]));
            // The naive reading: same number of lines, each a prefix of the true one, whole where it fits.
            let mut naive: Vec<&str> = text.split('\n').collect();
            if naive.last() == Some(&"") {
                naive.pop();
            }
            prop_assert_eq!(naive.len(), split.len());
            for (naive, (line, cut)) in naive.iter().zip(&split) {
                let naive = naive.strip_suffix('\r').unwrap_or(naive);
                prop_assert!(naive.starts_with(line.as_str()));
                prop_assert_eq!(*cut, naive.len() > max);
                prop_assert!(line.len() <= max && (*cut || line == naive));
            }
        }
    }
}

//! Where messages end in a stream: RFC 6587.
//!
//! ```text
//! octet counting (3.4.1)    MSG-LEN SP MSG          MSG-LEN = 1*9DIGIT, the first of which is not 0
//! newline (3.4.2)           MSG LF                  a CR before the LF belongs to the line break
//! ```
//! With [`Framing::Auto`] each frame is looked at by itself: digits, a space and a `<` are a count and the beginning of a
//! message, anything else is a line. Line breaks between counted frames are skipped, since some senders add them.
//!
//! Invariant: no more than the limit and two bytes is held back, whatever comes in, and nothing but the limit depends on how the
//! stream is cut into chunks.

use crate::lines::{Line, LineFramer, limited};

/// Most digits of a count. Longer ones would have the rest of a connection taken for one message.
const MAX_DIGITS: usize = 9;
/// Digits, a space, and the first byte of the message.
const MAX_PREFIX: usize = MAX_DIGITS + 2;

/// How a stream is cut into messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Seen for each frame.
    #[default]
    Auto,
    /// A count before each message.
    OctetCounting,
    /// A line break after each message.
    Newline,
}

/// A message as it stood in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its bytes; not necessarily UTF-8.
    pub bytes: &'a [u8],
    /// Whether it was longer than the limit or broke off.
    pub cut: bool,
}

impl<'a> From<Line<'a>> for Frame<'a> {
    fn from(line: Line<'a>) -> Self {
        Self { bytes: line.bytes, cut: line.cut }
    }
}

/// Finds the messages of one stream.
#[derive(Clone, Debug)]
pub struct FrameReader {
    framing: Framing,
    max_message_bytes: usize,
    state: State,
    /// The beginning of a frame of which it is not yet known whether a count stands there.
    prefix: Prefix,
    lines: LineFramer,
    /// The beginning of a counted message, as far as it is within the limit.
    partial: Vec<u8>,
    /// Counted messages that ended.
    counted: u64,
    bad_framing: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two messages, or within a prefix.
    Start,
    /// Within a line.
    Line,
    /// Within a counted message; so many bytes of it are still to come.
    Counted(usize),
    /// `partial` was handed out and is to be emptied.
    Lent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Prefix {
    bytes: [u8; MAX_PREFIX],
    len: usize,
}

/// What a prefix is.
enum Kind {
    /// More bytes are needed to tell.
    Unknown,
    /// A count, and how many bytes its digits and the space take.
    Count { octets: usize, taken: usize },
    /// No count.
    Line,
}

impl FrameReader {
    /// A reader for a new stream. Messages may have `max_message_bytes` bytes, and at least 16.
    pub fn new(framing: Framing, max_message_bytes: usize) -> Self {
        let max_message_bytes = max_message_bytes.max(MAX_PREFIX + 5);
        Self {
            framing,
            max_message_bytes,
            state: State::Start,
            prefix: Prefix::default(),
            lines: LineFramer::new(max_message_bytes),
            partial: Vec::new(),
            counted: 0,
            bad_framing: 0,
        }
    }

    /// The next message that ends in `chunk`, which moves on to what was not looked at yet; `None` when the chunk is used up,
    /// and sometimes before.
    pub fn next<'a, 'c: 'a>(&'a mut self, chunk: &mut &'c [u8]) -> Option<Frame<'a>> {
        self.forget_lent();
        if self.state == State::Start {
            self.begin(chunk);
        }
        match self.state {
            State::Start | State::Lent => None,
            State::Line => self.line(chunk),
            State::Counted(octets) => self.counted(octets, chunk),
        }
    }

    /// The last message, if the stream ended within one. The reader is then ready for another stream.
    pub fn finish(&mut self) -> Option<Frame<'_>> {
        self.forget_lent();
        match std::mem::replace(&mut self.state, State::Start) {
            State::Counted(_) => {
                self.state = State::Lent;
                let line = limited(&self.partial, self.max_message_bytes);
                let line = if line.cut { line } else { Line { cut: true, ..line.broken_off() } };
                (!self.partial.is_empty()).then(|| line.into())
            }
            _ => {
                if self.prefix.len > 0 {
                    self.begin_line();
                    self.state = State::Start;
                }
                let line = self.lines.finish()?;
                Some(if line.cut { line } else { line.broken_off() }.into())
            }
        }
    }

    /// Bytes held back.
    pub fn held_bytes(&self) -> usize {
        let partial = if self.state == State::Lent { 0 } else { self.partial.len() };
        self.prefix.len + self.lines.held_bytes() + partial
    }

    /// Whether a message has begun whose end has not come yet, the rest of one that was cut included.
    pub fn is_inside(&self) -> bool {
        self.prefix.len > 0 || matches!(self.state, State::Counted(_)) || self.lines.is_inside()
    }

    /// Messages that ended, empty ones included.
    pub fn ended(&self) -> u64 {
        self.lines.breaks() + self.counted
    }

    /// Frames without the octet count that they should have had.
    pub fn bad_framing(&self) -> u64 {
        self.bad_framing
    }

    fn forget_lent(&mut self) {
        if self.state == State::Lent {
            self.partial.clear();
            self.state = State::Start;
        }
    }

    /// Takes from the chunk until it is known what kind of frame begins.
    fn begin(&mut self, chunk: &mut &[u8]) {
        if self.framing == Framing::Newline {
            self.state = State::Line;
            return;
        }
        while let Some((byte, rest)) = chunk.split_first() {
            if self.prefix.len == 0 && matches!(byte, b'\n' | b'\r') {
                *chunk = rest;
                continue;
            }
            // The byte that decides may be the message's own: with a count it stays in the chunk.
            let before = self.prefix;
            self.prefix.bytes[before.len] = *byte;
            self.prefix.len += 1;
            match self.prefix.kind(self.framing) {
                Kind::Unknown => *chunk = rest,
                Kind::Count { octets, taken } => {
                    if taken > before.len {
                        *chunk = rest;
                    }
                    self.prefix = Prefix::default();
                    self.state = State::Counted(octets);
                    return;
                }
                Kind::Line => {
                    self.prefix = before;
                    self.begin_line();
                    return;
                }
            }
        }
    }

    /// What was held for a count is the beginning of a line.
    fn begin_line(&mut self) {
        self.state = State::Line;
        if self.framing == Framing::OctetCounting {
            self.bad_framing += 1;
        }
        let prefix = std::mem::take(&mut self.prefix);
        // There is no line break in it, and it is shorter than any limit: the framer keeps it.
        let _ = self.lines.next(&mut &prefix.bytes[..prefix.len]);
    }

    fn line<'a, 'c: 'a>(&'a mut self, chunk: &mut &'c [u8]) -> Option<Frame<'a>> {
        // The rest of a line that was cut ends here, and the next frame may be counted: it is not the framer's to look at.
        let here = memchr::memchr(b'\n', chunk).map_or(*chunk, |end| &chunk[..=end]);
        *chunk = &chunk[here.len()..];
        let ended = here.last() == Some(&b'\n');
        if ended {
            self.state = State::Start;
        }
        let mut rest = here;
        let line = self.lines.next(&mut rest)?;
        debug_assert!(rest.is_empty() && (ended || line.cut));
        Some(line.into())
    }

    fn counted<'a, 'c: 'a>(&'a mut self, octets: usize, chunk: &mut &'c [u8]) -> Option<Frame<'a>> {
        let (here, rest) = chunk.split_at(octets.min(chunk.len()));
        *chunk = rest;
        let left = octets - here.len();
        if left == 0 && self.partial.is_empty() {
            self.state = State::Start;
            self.counted += 1;
            return Some(limited(here, self.max_message_bytes).into());
        }
        // Two bytes over the limit: one to see that it is too long, and a CR that would not count.
        let room = (self.max_message_bytes + 2).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&here[..here.len().min(room)]);
        if left > 0 {
            self.state = State::Counted(left);
            return None;
        }
        self.state = State::Lent;
        self.counted += 1;
        Some(limited(&self.partial, self.max_message_bytes).into())
    }
}

impl Prefix {
    fn kind(&self, framing: Framing) -> Kind {
        let bytes = &self.bytes[..self.len];
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > MAX_DIGITS || digits == 0 || bytes[0] == b'0' {
            return Kind::Line;
        }
        let octets = bytes[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        match (bytes.get(digits), bytes.get(digits + 1)) {
            (None, _) => Kind::Unknown,
            (Some(b' '), None) if framing == Framing::Auto => Kind::Unknown,
            (Some(b' '), Some(b'<') | None) => Kind::Count { octets, taken: digits + 1 },
            _ => Kind::Line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(framing: Framing, max: usize, chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let mut reader = FrameReader::new(framing, max);
        let mut frames = Vec::new();
        let own = |f: Frame<'_>| (String::from_utf8_lossy(f.bytes).into_owned(), f.cut);
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                frames.extend(reader.next(&mut rest).map(own));
            }
            assert!(reader.held_bytes() <= max.max(16) + 2);
            assert!(reader.held_bytes() == 0 || reader.is_inside());
        }
        frames.extend(reader.finish().map(own));
        assert_eq!(reader.finish(), None);
        frames
    }

    fn whole(frames: &[&str]) -> Vec<(String, bool)> {
        frames.iter().map(|f| ((*f).to_owned(), false)).collect()
    }

    #[test]
    fn both_framings_on_one_connection() {
        let stream = b"<1>one\n6 <1>two<1>three\r\n8 <1>f\nour\n12 no count\n7 <1>five<1>six\n";
        assert_eq!(
            frames(Framing::Auto, 99, &[stream]),
            whole(&["<1>one", "<1>two", "<1>three", "<1>f\nour", "12 no count", "<1>five", "<1>six"])
        );
        for size in 1..9 {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(frames(Framing::Auto, 99, &chunks), frames(Framing::Auto, 99, &[stream]), "{size}");
        }
    }

    #[test]
    fn a_framing_that_was_told_is_kept() {
        assert_eq!(frames(Framing::Newline, 99, &[b"5 <1>a\nb\n"]), whole(&["5 <1>a", "b"]));
        assert_eq!(frames(Framing::OctetCounting, 99, &[b"3 a b5 <1>ab"]), whole(&["a b", "<1>ab"]));
        let mut reader = FrameReader::new(Framing::OctetCounting, 99);
        let mut rest = &b"<1>bad\n1 x"[..];
        let mut read = || reader.next(&mut rest).map(|f| f.bytes.to_vec());
        assert_eq!(read().unwrap(), b"<1>bad");
        assert_eq!(read().unwrap(), b"x");
        assert_eq!((reader.bad_framing(), reader.ended()), (1, 2));
    }

    #[test]
    fn counted_messages_over_the_limit_are_cut_and_the_next_is_found() {
        let long = "x".repeat(40);
        let stream = format!("40 {long}5 <1>abend");
        let stream = stream.replacen("xxx", "<1>", 1);
        for size in [1, 7, 100] {
            let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let got = frames(Framing::Auto, 20, &chunks);
            // Back to the last end of a word.
            assert_eq!(got[0], ("<1>".to_owned(), true));
            assert_eq!(got[1..], whole(&["<1>ab", "end"]));
        }
    }

    #[test]
    fn a_count_without_end_is_no_count() {
        assert_eq!(
            frames(Framing::Auto, 99, &[b"9999999999 <1>a\n<1>b\n"]),
            whole(&["9999999999 <1>a", "<1>b"])
        );
        assert_eq!(frames(Framing::Auto, 99, &[b"0 <1>a\n012 <1>b\n"]), whole(&["0 <1>a", "012 <1>b"]));
        assert_eq!(frames(Framing::Auto, 99, &[b"12"]), whole(&["12"]));
    }

    #[test]
    fn what_broke_off_loses_its_last_word() {
        let id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387J";
        assert_eq!(frames(Framing::Auto, 99, &[b"99 <1>lost ", id.as_bytes()]), [("<1>lost ".into(), true)]);
        assert_eq!(frames(Framing::Auto, 99, &[b"<1>lost ", id.as_bytes()]), [("<1>lost ".into(), true)]);
        assert_eq!(frames(Framing::Auto, 99, &[b"99 <1>a few words"]), [("<1>a few words".into(), true)]);
        assert_eq!(frames(Framing::Auto, 99, &[b"<1>a few words"]), whole(&["<1>a few words"]));
        assert_eq!(frames(Framing::Auto, 99, &[b"99 "]), whole(&["99 "]));
    }

    #[derive(Clone, Debug)]
    enum Piece {
        Counted(String),
        Line(String),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        prop_oneof![
            "<1>[ab \\n]{0,9}".prop_map(Piece::Counted),
            "(<1>|a|1 |1a)[ab 1]{0,9}".prop_map(Piece::Line),
        ]
    }

    proptest! {
        #[test]
        fn frames_written_are_frames_read(pieces in prop::collection::vec(piece(), 0..8), size in 1usize..12) {
            let mut stream = String::new();
            let mut expected = Vec::new();
            for piece in &pieces {
                let text = match piece {
                    Piece::Counted(text) => {
                        stream.push_str(&format!("{} {text}", text.len()));
                        text
                    }
                    Piece::Line(text) => {
                        stream.push_str(&format!("{text}\n"));
                        text
                    }
                };
                expected.push((text.clone(), false));
            }
            let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            prop_assert_eq!(frames(Framing::Auto, 64, &chunks), expected);
        }

        #[test]
        fn chunks_do_not_matter(stream in "[1-3 <>ab\\n\\r]{0,80}", max in 16usize..24, size in 1usize..9) {
            for framing in [Framing::Auto, Framing::OctetCounting, Framing::Newline] {
                let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
                prop_assert_eq!(frames(framing, max, &chunks), frames(framing, max, &[stream.as_bytes()]));
            }
        }
    }
}

//! Reading around a place in a text: separators in their escaped spellings, edges of tokens, our own pseudonyms.
//!
//! Telemetry nests encodings: a multiaddr in a URL in a JSON string in a log line. A slash may then stand as
//! ```text
//! /     \/     \\/     \u002f     %2F     %252F
//! ```
//! and an id may follow directly on the letter of an escape (`\n`, `%3D`, `ESC[32m`). The functions here know that.
//!
//! They also know the shape of a pseudonym, so that what was put in by an earlier pass is not taken for an id that was
//! cut off, nor for a host name:
//! ```text
//! peer_a7_k3f9q2mzx7wd5tbc      label _ key id _ 16 or more of a-z2-7
//! addr_b017                     label _ b digits
//! ```
//!
//! Invariant: every function is total over any bytes and any position up to the length.

use crate::base::Base;

/// If a slash in any spelling starts at `at`, the position after it.
pub(crate) fn separator_at(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'/' => Some(at + 1),
        b'\\' => {
            let slashes = text[at..].iter().take(MAX_ESCAPES).take_while(|&&b| b == b'\\').count();
            let rest = &text[at + slashes..];
            if rest.first() == Some(&b'/') {
                return Some(at + slashes + 1);
            }
            starts_with_fold(rest, b"u002f").then_some(at + slashes + 5)
        }
        b'%' => {
            let mut after = at + 1;
            for _ in 0..MAX_ESCAPES {
                if !text[after..].starts_with(b"25") {
                    break;
                }
                after += 2;
            }
            starts_with_fold(&text[after..], b"2f").then_some(after + 2)
        }
        _ => None,
    }
}

/// If a slash in any spelling ends just before `at`, the position where it starts.
pub(crate) fn separator_before(text: &[u8], at: usize) -> Option<usize> {
    let head = &text[..at];
    let mut start = match head.last()? {
        b'/' => at - 1,
        b'f' | b'F' if ends_with_fold(head, b"\\u002f") => at - 5,
        b'f' | b'F' if ends_with_fold(head, b"2f") => {
            let mut percent = at - 2;
            while text[..percent].ends_with(b"25") && percent > 2 {
                percent -= 2;
            }
            return text[..percent].ends_with(b"%").then(|| percent - 1);
        }
        _ => return None,
    };
    while start > 0 && text[start - 1] == b'\\' {
        start -= 1;
    }
    Some(start)
}

/// Whether a token may start at `at`: what stands before is no letter or digit, or only the end of an escape.
pub(crate) fn starts_token(text: &[u8], at: usize) -> bool {
    let head = &text[..at];
    let Some(&last) = head.last() else { return true };
    if !last.is_ascii_alphanumeric() {
        return last != b'+';
    }
    let n = head.len();
    let escape = |back: usize| n.checked_sub(back).map(|i| head[i]);
    let hex = |count: usize| head[n.saturating_sub(count)..].iter().all(u8::is_ascii_hexdigit);
    (escape(2) == Some(b'\\') && matches!(last, b'n' | b'r' | b't' | b'f' | b'b' | b'v' | b'0'))
        || (escape(3) == Some(b'%') && hex(2))
        || (n >= 4 && &head[n - 4..n - 2] == b"\\x" && hex(2))
        || (n >= 6 && &head[n - 6..n - 4] == b"\\u" && hex(4))
        || ends_colour(head)
}

/// Whether `head` ends with a terminal colour sequence, such as `ESC[32m` (in whatever spelling of ESC).
fn ends_colour(head: &[u8]) -> bool {
    let Some((&b'm', numbers)) = head.split_last() else {
        return false;
    };
    let digits = numbers.iter().rev().take(16).take_while(|&&b| b.is_ascii_digit() || b == b';').count();
    numbers[..numbers.len() - digits].ends_with(b"[")
}

/// Whether a token may end at `at`: no letter, digit, `+` or `=` follows.
pub(crate) fn ends_token(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|&next| !next.is_ascii_alphanumeric() && next != b'+' && next != b'=')
}

/// End of the run of characters of `base` from `from`, at most `cap` long, not reaching into a pseudonym.
pub(crate) fn run_of(text: &[u8], from: usize, cap: usize, base: Base) -> usize {
    run(text, from, cap, |byte| base.contains(byte))
}

/// End of the run of bytes that `member` accepts, as [`run_of`].
pub(crate) fn run(text: &[u8], from: usize, cap: usize, member: impl Fn(u8) -> bool) -> usize {
    let length = text[from..].iter().take(cap).take_while(|&&byte| member(byte)).count();
    let end = from + length;
    // The four letters of a label are characters of most alphabets; its underscore mostly is not.
    (1..=LABEL.min(length))
        .map(|back| end - back)
        .find(|&start| pseudonym_at(text, start).is_some())
        .unwrap_or(end)
}

/// If one of our own replacements starts at `at`, the position after it.
pub(crate) fn pseudonym_at(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    if !(rest.starts_with(b"peer_") || rest.starts_with(b"addr_")) {
        return None;
    }
    let tail = &rest[LABEL + 1..];
    if tail.len() >= 19 && tail[..2].iter().copied().all(is_pseudonym_byte) && tail[2] == b'_' {
        let length = tail[3..].iter().take_while(|&&b| is_pseudonym_byte(b)).count();
        return (length >= 16).then_some(at + LABEL + 4 + length);
    }
    let digits = tail.strip_prefix(b"b")?.iter().take_while(|b| b.is_ascii_digit()).count();
    (digits >= 3).then_some(at + LABEL + 2 + digits)
}

/// Where the first pseudonym starts in `text[from..to]`.
pub(crate) fn first_pseudonym(text: &[u8], from: usize, to: usize) -> Option<usize> {
    (from..to).find(|&at| matches!(text[at], b'p' | b'a') && pseudonym_at(text, at).is_some())
}

/// Whether a pseudonym starts anywhere in `text[from..to]`.
pub(crate) fn contains_pseudonym(text: &[u8], from: usize, to: usize) -> bool {
    first_pseudonym(text, from, to).is_some()
}

/// Whether `text` starts with `lower` (which is lowercase), in either case.
pub(crate) fn starts_with_fold(text: &[u8], lower: &[u8]) -> bool {
    text.get(..lower.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower))
}

fn ends_with_fold(text: &[u8], lower: &[u8]) -> bool {
    text.len() >= lower.len() && text[text.len() - lower.len()..].eq_ignore_ascii_case(lower)
}

fn is_pseudonym_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

/// Letters of a label (`peer`, `addr`).
const LABEL: usize = 4;
/// How often an escape may itself be escaped before we stop following.
const MAX_ESCAPES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_every_spelling() {
        for spelling in ["/", "\\/", "\\\\/", "\\u002f", "\\u002F", "\\\\u002F", "%2F", "%2f", "%252F"] {
            let text = format!("p2p{spelling}x");
            let after = 3 + spelling.len();
            assert_eq!(separator_at(text.as_bytes(), 3), Some(after), "{spelling}");
            assert_eq!(separator_before(text.as_bytes(), after), Some(3), "{spelling}");
        }
        for not in ["", "x", "%", "%2", "%20", "\\", "\\u0020", "%25", "u002f", "2f"] {
            assert_eq!(separator_at(not.as_bytes(), 0), None, "{not}");
            assert_eq!(separator_before(not.as_bytes(), not.len()), None, "{not}");
        }
    }

    #[test]
    fn edges_of_tokens() {
        for head in
            ["", " ", "_", "\\n", "\\t", "%3D", "\\x1b", "\\u0022", "\u{1b}[32m", "\\u001b[1;32m", "é"]
        {
            assert!(starts_token(head.as_bytes(), head.len()), "{head:?}");
        }
        for head in ["a", "7", "xn", "3D", "1b", "+", "m", "2m", "l"] {
            assert!(!starts_token(head.as_bytes(), head.len()), "{head:?}");
        }
    }

    #[test]
    fn own_pseudonyms_are_known() {
        let whole = b"peer_a7_k3faq2mzx7wd5tbc";
        assert_eq!(pseudonym_at(whole, 0), Some(24));
        assert_eq!(pseudonym_at(&whole[..23], 0), None);
        assert_eq!(pseudonym_at(b"addr_b017/tcp", 0), Some(9));
        assert_eq!(pseudonym_at(b"peer_id_12D3KooWBtg3aaRMjxwedh83", 0), None);
        assert_eq!(run_of(b"abcpeer_a7_k3faq2mzx7wd5tbc", 0, 100, Base::B58), 3);
    }
}

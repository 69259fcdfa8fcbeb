//! Text that Unicode does not allow, replaced by U+FFFD so that it does not cost the whole request: bytes that are no
//! UTF-8, and escapes of half a surrogate pair. JavaScript sends the latter when it cuts a string in the middle of a
//! character.
//!
//! This runs only over bodies that were refused, so it costs nothing where nothing is wrong.

use std::ops::Range;

use crate::json_text::parse_hex;

/// The body with such text replaced and how often that was needed; `None` if it was not.
pub(super) fn mend(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut replaced = 0;
    let mut mended = Vec::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        mended.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            mended.extend_from_slice("\u{fffd}".as_bytes());
            replaced += 1;
        }
    }
    let mut at = 0;
    while let Some(lone) = next_lone_surrogate(&mended, at) {
        at = lone.end;
        mended[lone].copy_from_slice(b"\\ufffd");
        replaced += 1;
    }
    (replaced > 0).then_some((mended, replaced))
}

/// The first escape at or after `at` of a surrogate without its other half. Backslashes stand in strings only, or the body is no
/// JSON anyway.
fn next_lone_surrogate(text: &[u8], mut at: usize) -> Option<Range<usize>> {
    loop {
        at += memchr::memchr(b'\\', text.get(at..)?)?;
        let (unit, low) = (code_unit(text, at), code_unit(text, at + 6));
        at += match (unit, low) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => return Some(at..at + 6),
            (Some(_), _) => 6,
            // Another escape, such as an escaped backslash: two bytes.
            (None, _) => 2,
        };
    }
}

/// The code unit that is escaped at `at`: `\u` and four digits.
fn code_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    parse_hex(std::str::from_utf8(digits).ok()?).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(body: &[u8]) -> Option<(String, usize)> {
        mend(body).map(|(body, n)| (String::from_utf8(body).unwrap(), n))
    }

    #[test]
    fn only_what_is_wrong_is_replaced() {
        for fine in
            [&b""[..], b"{}", br#""\ud83d\ude00""#, br#""\\ud83d""#, br#""\u00e9\n\"""#, "\"é\"".as_bytes()]
        {
            assert_eq!(mended(fine), None, "{}", String::from_utf8_lossy(fine));
        }
        for (body, want, count) in [
            (&b"a\xffb\xc3"[..], "a\u{fffd}b\u{fffd}", 2),
            (br#""\ud83d""#, r#""\ufffd""#, 1),
            (br#""\uDE00\ud83d""#, r#""\ufffd\ufffd""#, 2),
            (br#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, 1),
            (br#""\ud83d\n\\\ud83dx""#, r#""\ufffd\n\\\ufffdx""#, 2),
        ] {
            assert_eq!(mended(body), Some((want.to_owned(), count)));
        }
        // Cut short: left to the parser.
        assert_eq!(mended(br"\ud83"), None);
        assert_eq!(mended(br"\"), None);
    }
}

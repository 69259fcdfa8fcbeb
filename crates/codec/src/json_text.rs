//! Writing JSON by hand: strings, numbers, hexadecimal and base64.
//!
//! Almost all text needs no escaping, so the search for what does looks at eight bytes at a time and the clean run before
//! it is copied as a whole. This module writes tokens; commas and brackets are the caller's.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How many bytes at the start of `text` may stand in a JSON string as they are: no quote, backslash or control character.
#[inline]
pub(crate) fn clean_prefix(text: &[u8]) -> usize {
    let (chunks, _) = text.as_chunks::<8>();
    let mut clean = 0;
    for chunk in chunks {
        let marks = marks(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return clean + (marks.trailing_zeros() / 8) as usize;
        }
        clean += 8;
    }
    clean
        + text[clean..]
            .iter()
            .position(|&b| b < 0x20 || b == b'"' || b == b'\\')
            .unwrap_or(text.len() - clean)
}

/// The high bit of each byte that is a control character, a quote or a backslash. A borrow can mark bytes above a marked
/// one falsely, so only the lowest mark counts.
#[inline]
fn marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) & (ONES << 7)
}

/// Writes `text`, which is UTF-8, as a JSON string.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Writes `text`, which is UTF-8, as the inside of a JSON string.
#[inline]
pub(crate) fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let clean = clean_prefix(rest);
        out.extend_from_slice(&rest[..clean]);
        let Some(&byte) = rest.get(clean) else { break };
        escape(out, byte);
        rest = &rest[clean + 1..];
    }
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            hex_digits(out, &[byte]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes an integer as a JSON number.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes an integer as a JSON string, as protobuf's JSON mapping does for 64 bits.
#[inline]
pub(crate) fn quoted_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.push(b'"');
    integer(out, value);
    out.push(b'"');
}

/// Writes a floating-point number, with the shortest digits that read back as the same bits; what JSON has no number for
/// is written as the strings of protobuf's JSON mapping.
#[inline]
pub(crate) fn double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        non_finite(out, value);
    }
}

/// [`double`] for 32 bits.
pub(crate) fn float(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        non_finite(out, f64::from(value));
    }
}

fn non_finite(out: &mut Vec<u8>, value: f64) {
    let name: &[u8] = if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    };
    out.extend_from_slice(name);
}

/// Writes bytes as a JSON string of lower-case hexadecimal digits.
#[inline]
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    hex_digits(out, bytes);
    out.push(b'"');
}

/// Writes bytes as hexadecimal digits of lower case, without quotes.
pub(crate) fn hex_digits(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]));
}

/// Reads exactly `N` bytes of hexadecimal digits of either case.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(high)? << 4 | digit(low)?) as u8;
    }
    Some(bytes)
}

/// Writes bytes as a JSON string of padded standard base64.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len() + 1;
    let width = bytes.len().div_ceil(3) * 4;
    out.resize(start + width, b'"');
    // The room is exact, so this cannot fail.
    let _ = base64::engine::general_purpose::STANDARD.encode_slice(bytes, &mut out[start..]);
    out.push(b'"');
}

/// Reads base64, standard or URL-safe, padded or not.
pub(crate) fn parse_base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    static STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    static URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let url_safe = text.bytes().any(|b| b == b'-' || b == b'_');
    if url_safe { URL_SAFE.decode(text) } else { STANDARD.decode(text) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_at_every_place_is_found() {
        for byte in 0..=255u8 {
            let special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for place in 0..20 {
                let mut text = [b'!'; 20];
                text[place] = byte;
                assert_eq!(clean_prefix(&text), if special { place } else { 20 }, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn numbers_that_json_lacks_are_strings() {
        assert_eq!(written(|o| double(o, f64::NAN)), "\"NaN\"");
        assert_eq!(written(|o| double(o, f64::INFINITY)), "\"Infinity\"");
        assert_eq!(written(|o| float(o, f32::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(written(|o| double(o, 0.1)), "0.1");
    }

    #[test]
    fn base64_of_all_spellings() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(parse_base64(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(parse_base64("+_8="), None);
        assert_eq!(parse_base64("a"), None);
        assert_eq!(written(|o| base64(o, &[0xfb, 0xff])), "\"+/8=\"");
        assert_eq!(written(|o| base64(o, &[])), "\"\"");
    }

    #[test]
    fn hex_wants_the_exact_length() {
        assert_eq!(parse_hex::<2>("0aFf"), Some([0x0a, 0xff]));
        for bad in ["0aF", "0aFf0", "0aFg", "+aFf", "", "é0a"] {
            assert_eq!(parse_hex::<2>(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn strings_read_back(text in "(\\PC|[\\x00-\\x22\\\\]){0,40}") {
            let json = written(|o| string(o, text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn doubles_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let json = written(|o| double(o, value));
            prop_assert_eq!(serde_json::from_str::<f64>(&json).unwrap().to_bits(), bits);
        }

        #[test]
        fn bytes_read_back(bytes: Vec<u8>) {
            let json = written(|o| base64(o, &bytes));
            prop_assert_eq!(parse_base64(json.trim_matches('"')), Some(bytes));
        }
    }
}

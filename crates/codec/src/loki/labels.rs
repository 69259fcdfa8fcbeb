//! The text of a set of labels, as it stands in Loki's push messages.
//!
//! ```text
//! labels = "{" [ label *( "," label ) [ "," ] ] "}"
//! label  = name "=" value         name  = [a-zA-Z_][a-zA-Z0-9_]* | quoted        value = quoted
//! quoted = a Go string literal: "..." with \n \t \" \\ \x41 \101 \u0041 \U00000041 and their like, or `...` as it is
//! ```
//!
//! Clients write values with Go's `strconv.Quote`, which escapes whatever is not printable and, byte by byte, what is not
//! UTF-8. After unescaping, invalid UTF-8 is replaced and counted. White space may stand between all parts.

use std::borrow::Cow;

/// Most labels of a stream. Loki's own default is 15.
pub const MAX_LABELS: usize = 128;

/// Why a text is no set of labels. Says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// It breaks the grammar.
    #[error("the labels of a stream are not written as {{name=\"value\", ...}}")]
    Syntax,
    /// One name twice.
    #[error("a label stands twice in a stream")]
    Duplicate,
    /// More than [`MAX_LABELS`].
    #[error("a stream has more than {MAX_LABELS} labels")]
    TooMany,
}

/// The labels of one stream, in the order in which they stand.
pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Reads a set of labels. Adds to `replaced` the values in which invalid UTF-8 was replaced.
pub(super) fn parse<'a>(text: &'a str, replaced: &mut u64) -> Result<Labels<'a>, LabelsError> {
    let mut rest = text.trim_ascii().strip_prefix('{').ok_or(LabelsError::Syntax)?.trim_ascii_start();
    let mut labels = Labels::new();
    while !rest.starts_with('}') {
        let (name, after) = name(rest, replaced)?;
        let after = after.trim_ascii_start().strip_prefix('=').ok_or(LabelsError::Syntax)?;
        let (value, after) = quoted(after.trim_ascii_start(), replaced)?;
        add(&mut labels, name, value)?;
        rest = after.trim_ascii_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_ascii_start(),
            None if rest.starts_with('}') => {}
            None => return Err(LabelsError::Syntax),
        }
    }
    if rest == "}" { Ok(labels) } else { Err(LabelsError::Syntax) }
}

/// Adds a label, if it may be added.
pub(super) fn add<'a>(
    labels: &mut Labels<'a>,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
) -> Result<(), LabelsError> {
    if labels.len() == MAX_LABELS {
        return Err(LabelsError::TooMany);
    }
    if labels.iter().any(|(known, _)| *known == name) {
        return Err(LabelsError::Duplicate);
    }
    labels.push((name, value));
    Ok(())
}

/// Whether `name` can be the name of a label without quotes.
pub fn is_label_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

fn name<'a>(text: &'a str, replaced: &mut u64) -> Result<(Cow<'a, str>, &'a str), LabelsError> {
    if text.starts_with(['"', '`']) {
        return quoted(text, replaced);
    }
    let end = text.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if is_label_name(name) { Ok((Cow::Borrowed(name), rest)) } else { Err(LabelsError::Syntax) }
}

/// A Go string literal and what follows it.
fn quoted<'a>(text: &'a str, replaced: &mut u64) -> Result<(Cow<'a, str>, &'a str), LabelsError> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`').ok_or(LabelsError::Syntax)?;
        return Ok((Cow::Borrowed(value), rest));
    }
    let inside = text.strip_prefix('"').ok_or(LabelsError::Syntax)?;
    let clean = memchr::memchr3(b'"', b'\\', b'\n', inside.as_bytes()).ok_or(LabelsError::Syntax)?;
    if inside.as_bytes()[clean] == b'"' {
        return Ok((Cow::Borrowed(&inside[..clean]), &inside[clean + 1..]));
    }
    let mut bytes = Vec::with_capacity(inside.len().min(256));
    let mut rest = inside;
    loop {
        let next = memchr::memchr3(b'"', b'\\', b'\n', rest.as_bytes()).ok_or(LabelsError::Syntax)?;
        bytes.extend_from_slice(&rest.as_bytes()[..next]);
        match rest.as_bytes()[next] {
            b'"' => {
                rest = &rest[next + 1..];
                break;
            }
            b'\\' => rest = unescape(&rest[next + 1..], &mut bytes)?,
            _ => return Err(LabelsError::Syntax),
        }
    }
    let value = match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(value) => value.to_owned(),
        Cow::Owned(mended) => {
            *replaced += 1;
            mended
        }
    };
    Ok((Cow::Owned(value), rest))
}

/// Appends what an escape stands for; `text` begins after its backslash. Returns what follows it.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Result<&'a str, LabelsError> {
    let letter = *text.as_bytes().first().ok_or(LabelsError::Syntax)?;
    let number = |digits: &'a str, count: usize, radix: u32| -> Result<(u32, &'a str), LabelsError> {
        let (digits, rest) = digits.split_at_checked(count).ok_or(LabelsError::Syntax)?;
        // A sign would pass as part of a number.
        if !digits.bytes().all(|d| char::from(d).is_digit(radix)) {
            return Err(LabelsError::Syntax);
        }
        Ok((u32::from_str_radix(digits, radix).map_err(|_| LabelsError::Syntax)?, rest))
    };
    let byte = |(value, rest): (u32, &'a str), out: &mut Vec<u8>| {
        out.push(u8::try_from(value).map_err(|_| LabelsError::Syntax)?);
        Ok(rest)
    };
    let char = |(value, rest): (u32, &'a str), out: &mut Vec<u8>| {
        let char = char::from_u32(value).ok_or(LabelsError::Syntax)?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(rest)
    };
    let simple = match letter {
        b'x' => return byte(number(&text[1..], 2, 16)?, out),
        b'0'..=b'7' => return byte(number(text, 3, 8)?, out),
        b'u' => return char(number(&text[1..], 4, 16)?, out),
        b'U' => return char(number(&text[1..], 8, 16)?, out),
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' | b'\'' => letter,
        _ => return Err(LabelsError::Syntax),
    };
    out.push(simple);
    Ok(&text[1..])
}

/// Appends `name="value"` to a set of labels that is being written, with a comma before all but the first.
pub(super) fn write(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(if out.len() > 1 { b", " } else { b"" });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\x");
                crate::json_text::hex_digits(out, &[byte]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, LabelsError> {
        let labels = parse(text, &mut 0)?;
        Ok(labels.into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, LabelsError> {
        Ok(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_clients_write() {
        assert_eq!(read("{}"), pairs(&[]));
        assert_eq!(read(" { } "), pairs(&[]));
        assert_eq!(read(r#"{a="b", c="d\"e"}"#), pairs(&[("a", "b"), ("c", "d\"e")]));
        assert_eq!(read(r#"{ a = "b" ,_c1="",}"#), pairs(&[("a", "b"), ("_c1", "")]));
        assert_eq!(read("{a=`x\\n\"y`}"), pairs(&[("a", "x\\n\"y")]));
        assert_eq!(read(r#"{"k8s.pod"="x"}"#), pairs(&[("k8s.pod", "x")]));
        assert_eq!(read(r#"{a="\x41\102\u0043\U00000044\n\\é"}"#), pairs(&[("a", "ABCD\n\\é")]));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced_and_counted() {
        let mut replaced = 0;
        let labels = parse(r#"{a="x\xffy", b="\xc3\xa9"}"#, &mut replaced).unwrap();
        assert_eq!((labels[0].1.as_ref(), labels[1].1.as_ref(), replaced), ("x\u{fffd}y", "é", 1));
    }

    #[test]
    fn what_is_no_set_of_labels() {
        for bad in [
            "",
            "{",
            "}",
            "a=\"b\"",
            "{a}",
            "{a=b}",
            "{a=\"b}",
            "{a=\"b\"",
            "{a=\"b\"}x",
            "{a=\"b\" c=\"d\"}",
            "{,}",
            "{1a=\"b\"}",
            "{a-b=\"c\"}",
            "{=\"b\"}",
            "{a=~\"b\"}",
            "{a=\"\\q\"}",
            "{a=\"\\x4\"}",
            "{a=\"\\x+4\"}",
            "{a=\"\\400\"}",
            "{a=\"\\ud800\"}",
            "{a=\"\\U00110000\"}",
            "{a=\"\n\"}",
            "{a=`b}",
            "{a=\"\\é\"}",
            "{a=\"\\xé\"}",
        ] {
            assert_eq!(read(bad), Err(LabelsError::Syntax), "{bad}");
        }
        assert_eq!(read(r#"{a="1", a="2"}"#), Err(LabelsError::Duplicate));
        let many: Vec<String> = (0..=MAX_LABELS).map(|n| format!("a{n}=\"\"")).collect();
        assert_eq!(read(&format!("{{{}}}", many.join(","))), Err(LabelsError::TooMany));
        assert!(read(&format!("{{{}}}", many[1..].join(","))).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(values in proptest::collection::vec("(\\PC|[\\x00-\\x22\\\\\\x7f]){0,12}", 0..6)) {
            let mut text = vec![b'{'];
            let expected: Vec<_> = values.into_iter().enumerate().map(|(n, v)| (format!("l{n}"), v)).collect();
            expected.iter().for_each(|(name, value)| write(&mut text, name, value.as_bytes()));
            text.push(b'}');
            prop_assert_eq!(read(std::str::from_utf8(&text).unwrap()), Ok(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[{}=\",`\\\\a-cx]){0,30}") {
            let _ = read(&text);
            let _ = read(&format!("{{a=\"{text}\"}}"));
        }
    }
}

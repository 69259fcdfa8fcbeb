//! Attribute values as text, for rules and hashes that know text alone.
//!
//! ```text
//! KeyValue { 1 key, 2 value: AnyValue { 1 string | 2 bool | 3 int64 | 4 double | 5 array | 6 map | 7 bytes } }
//! ```
//!
//! Strings are themselves; `true`, `false`; integers in decimal; doubles in the shortest decimal form that reads back the
//! same, without an exponent (`1`, `0.5`), or `NaN`, `+Inf`, `-Inf`. Arrays, maps and bytes have no text here.

use std::fmt::Write as _;
use std::ops::Range;

use model::wire::{Field, Fields, Wire};

/// A value, as far as it has a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Text as it stands.
    String(&'a str),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// An array, a map or bytes: the encoded `AnyValue`.
    Other(&'a [u8]),
    /// No value at all.
    Empty,
}

impl<'a> Value<'a> {
    /// Reads the `AnyValue` in `field`.
    pub(crate) fn read(buf: &'a [u8], field: &Field) -> Self {
        let mut value = Self::Empty;
        for member in Fields::new(buf, field.body_range()) {
            value = match (member.number, member.wire) {
                (1, Wire::Len) => Self::String(text(buf, &member)),
                (2, Wire::Varint) => Self::Bool(member.bits != 0),
                (3, Wire::Varint) => Self::Int(member.bits as i64),
                (4, Wire::Fixed64) => Self::Double(f64::from_bits(member.bits)),
                (5..=7, Wire::Len) => Self::Other(buf.get(field.body_range()).unwrap_or_default()),
                _ => continue,
            };
        }
        value
    }

    /// Appends the text; `false` where there is none.
    pub(crate) fn append_to(&self, out: &mut String) -> bool {
        // Writing to a String cannot fail.
        let _ = match *self {
            Self::String(text) => out.write_str(text),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Double(value) if value.is_infinite() => {
                out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Double(value) => write!(out, "{value}"),
            Self::Other(_) | Self::Empty => return false,
        };
        true
    }
}

/// The text of a `string` field. A checked request holds valid UTF-8 alone, so nothing is ever lost here.
pub(crate) fn text<'a>(buf: &'a [u8], field: &Field) -> &'a str {
    buf.get(field.body_range()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Where key and value of a `KeyValue` stand.
#[derive(Clone, Debug)]
pub(crate) struct KeyValue {
    /// The key's bytes; empty where there is none.
    pub(crate) key: Range<usize>,
    /// The `AnyValue`.
    pub(crate) value: Option<Field>,
}

/// Reads the `KeyValue` in `field`.
pub(crate) fn key_value(buf: &[u8], field: &Field) -> KeyValue {
    let mut found = KeyValue { key: 0..0, value: None };
    for member in Fields::new(buf, field.body_range()) {
        match (member.number, member.wire) {
            (1, Wire::Len) => found.key = member.body_range(),
            (2, Wire::Len) => found.value = Some(member),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Writer;

    fn rendered(write: impl FnOnce(&mut Writer)) -> Option<String> {
        let mut writer = Writer::new();
        writer.message(2, write);
        let bytes = writer.finish();
        let field = Fields::new(&bytes, 0..bytes.len()).next().unwrap();
        let mut out = String::new();
        Value::read(&bytes, &field).append_to(&mut out).then_some(out)
    }

    #[test]
    fn texts() {
        assert_eq!(rendered(|w| w.string(1, "é")).as_deref(), Some("é"));
        assert_eq!(rendered(|w| w.string(1, "")).as_deref(), Some(""));
        assert_eq!(rendered(|w| w.bool(2, true)).as_deref(), Some("true"));
        assert_eq!(rendered(|w| w.int(3, -7)).as_deref(), Some("-7"));
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (1e21, "1000000000000000000000"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(rendered(|w| w.double(4, value)).as_deref(), Some(text));
        }
        assert_eq!(rendered(|w| w.bytes(7, b"x")), None);
        assert_eq!(rendered(|w| w.message(5, |_| ())), None);
        assert_eq!(rendered(|_| ()), None);
    }
}

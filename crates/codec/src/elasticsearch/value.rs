//! Values as places in the request's bytes, and how they are written as JSON.
//!
//! | OTLP | JSON |
//! |---|---|
//! | string, bool | as they are |
//! | int | a number with all its digits |
//! | double | the shortest number that reads back the same; `null` for NaN and the infinities, which JSON has no number for and which, as strings, would cost the whole document in a numeric field |
//! | bytes | padded standard base64 |
//! | array | an array |
//! | map | an object; of two members with one name the last one counts |
//! | no value | `null` |

use model::wire::{Field, Fields, Wire};

use crate::json_text;
use crate::timestamp::write_rfc3339;

/// A part of the request's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    pub(super) fn of(field: &Field) -> Self {
        Self { start: field.body, end: field.end }
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    pub(super) fn bytes(self, buf: &[u8]) -> &[u8] {
        buf.get(self.range()).unwrap_or_default()
    }
}

/// What stands behind a key. Copies nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Span),
    Base64(Span),
    Hex(Span),
    Array(Span),
    Map(Span),
    /// An `AnyValue` that is to be a string whatever it is: a scalar's text, or the JSON of an array or a map.
    AsText(Span),
    /// Nanoseconds since 1970.
    Time(u64),
    Word(&'static str),
}

/// Reads the `AnyValue` whose body is at `span`.
pub(super) fn any_value(buf: &[u8], span: Span) -> Value {
    let mut value = Value::Null;
    for field in Fields::new(buf, span.range()) {
        value = match (field.number, field.wire) {
            (1, Wire::Len) => Value::Text(Span::of(&field)),
            (2, Wire::Varint) => Value::Bool(field.bits != 0),
            (3, Wire::Varint) => Value::Int(field.bits as i64),
            (4, Wire::Fixed64) => Value::Double(f64::from_bits(field.bits)),
            (5, Wire::Len) => Value::Array(Span::of(&field)),
            (6, Wire::Len) => Value::Map(Span::of(&field)),
            (7, Wire::Len) => Value::Base64(Span::of(&field)),
            _ => continue,
        };
    }
    value
}

/// Key and value of the `KeyValue` in `field`.
pub(super) fn key_value(buf: &[u8], field: &Field) -> (Span, Value) {
    let (mut key, mut value) = (Span { start: 0, end: 0 }, Value::Null);
    for member in Fields::new(buf, field.body_range()) {
        match (member.number, member.wire) {
            (1, Wire::Len) => key = Span::of(&member),
            (2, Wire::Len) => value = any_value(buf, Span::of(&member)),
            _ => {}
        }
    }
    (key, value)
}

/// The elements of an array, the members of a map, or the attributes of a resource: the message fields `number` in `span`.
pub(super) fn elements(buf: &[u8], span: Span, number: u32) -> impl Iterator<Item = Field> {
    Fields::new(buf, span.range()).filter(move |field| field.number == number && field.wire == Wire::Len)
}

/// Appends `value`. Recursion is bounded: a checked request is nested at most `model::wire::MAX_DEPTH` deep.
pub(super) fn write(buf: &[u8], value: Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Int(value) => json_text::integer(out, value),
        Value::Double(value) if value.is_finite() => json_text::double(out, value),
        Value::Double(_) => out.extend_from_slice(b"null"),
        Value::Text(span) => json_text::string(out, span.bytes(buf)),
        Value::Base64(span) => json_text::base64(out, span.bytes(buf)),
        Value::Hex(span) => json_text::hex(out, span.bytes(buf)),
        Value::Array(span) => {
            out.push(b'[');
            for (n, element) in elements(buf, span, 1).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(buf, any_value(buf, Span::of(&element)), out);
            }
            out.push(b']');
        }
        Value::Map(span) => write_map(buf, span, out),
        Value::AsText(span) => write_as_text(buf, any_value(buf, span), out),
        Value::Time(unix_nano) => {
            out.push(b'"');
            write_rfc3339(out, unix_nano);
            out.push(b'"');
        }
        Value::Word(text) => json_text::string(out, text.as_bytes()),
    }
}

/// A map within an array, or one that is not taken apart.
fn write_map(buf: &[u8], span: Span, out: &mut Vec<u8>) {
    let mut members: Vec<_> = elements(buf, span, 1).map(|field| key_value(buf, &field)).collect();
    // Stable, so of equal names the last one stays last.
    members.sort_by(|(a, _), (b, _)| name(buf, *a).cmp(name(buf, *b)));
    out.push(b'{');
    for (n, (key, value)) in members.iter().enumerate() {
        let key = name(buf, *key);
        if members.get(n + 1).is_some_and(|(next, _)| name(buf, *next) == key) {
            continue;
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        json_text::string(out, key);
        out.push(b':');
        write(buf, *value, out);
    }
    out.push(b'}');
}

/// Elasticsearch refuses a document with an empty name in it.
fn name(buf: &[u8], key: Span) -> &[u8] {
    match key.bytes(buf) {
        b"" => b"_",
        key => key,
    }
}

fn write_as_text(buf: &[u8], value: Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(_) | Value::Base64(_) => write(buf, value, out),
        Value::Double(value) if !value.is_finite() => json_text::double(out, value),
        Value::Array(_) | Value::Map(_) => {
            let mut json = Vec::new();
            write(buf, value, &mut json);
            json_text::string(out, &json);
        }
        _ => {
            out.push(b'"');
            write(buf, value, out);
            out.push(b'"');
        }
    }
}

/// Whether two values say the same, be it once as a number and once as its text.
pub(super) fn say_the_same(buf: &[u8], a: Value, b: Value) -> bool {
    if let (Value::Text(a), Value::Text(b)) = (a, b) {
        return a.bytes(buf) == b.bytes(buf);
    }
    let text = |value| {
        let mut json = Vec::new();
        write(buf, value, &mut json);
        let inner = json.strip_prefix(b"\"").and_then(|json| json.strip_suffix(b"\""));
        inner.map_or_else(|| json.clone(), <[u8]>::to_vec)
    };
    text(a) == text(b)
}

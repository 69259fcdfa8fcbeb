//! The line of an entry, and values as text and as plain JSON.
//!
//! ```text
//! line: body    a string as it is; lists and maps as JSON; other values as JSON has them, without quotes; no body: empty
//! line: json    {"message": BODY, "level": "error", ATTRIBUTES..., "trace_id": "...", "span_id": "...",
//!                "event": "...", "scope": "...", "resource": {...}}
//! ```
//!
//! Attributes keep their names, and their types; one that is called like a member of ours is prefixed with `attribute.`.
//! A `level` among the attributes takes the place of the record's own.
//! Doubles that JSON has no number for, and bytes (as base64), are strings.

use model::otlp::{AnyValue, KeyValue, LogRecord, Resource};
use model::{Message as _, View};

use crate::json_text;
use crate::logs::any_value;

/// Members of the line that are not attributes.
const MEMBERS: [&str; 6] = ["message", "trace_id", "span_id", "event", "scope", "resource"];

/// Appends a value as text.
pub(super) fn text(out: &mut Vec<u8>, value: Option<AnyValue<'_>>) {
    let Some((number, view)) = value.and_then(member) else { return };
    match number {
        any_value::STRING => out.extend_from_slice(view.body()),
        _ => {
            let start = out.len();
            json(out, value);
            // Strings that JSON needs for what it has no numbers for.
            if out.get(start) == Some(&b'"') {
                out.remove(start);
                out.pop();
            }
        }
    }
}

/// Appends a value as JSON. Recursion is bounded by the receipt of the request.
fn json(out: &mut Vec<u8>, value: Option<AnyValue<'_>>) {
    let Some((number, view)) = value.and_then(member) else {
        return out.extend_from_slice(b"null");
    };
    let bits = view.place().map_or(0, |field| field.bits);
    match number {
        any_value::STRING => json_text::string(out, view.body()),
        any_value::BOOL => out.extend_from_slice(if bits != 0 { b"true" } else { b"false" }),
        any_value::INT => json_text::integer(out, bits as i64),
        any_value::DOUBLE => json_text::double(out, f64::from_bits(bits)),
        any_value::BYTES => json_text::base64(out, view.body()),
        any_value::ARRAY => {
            out.push(b'[');
            for (n, element) in view.messages::<AnyValue<'_>>(any_value::VALUES).enumerate() {
                out.extend_from_slice(if n > 0 { b"," } else { b"" });
                json(out, Some(element));
            }
            out.push(b']');
        }
        any_value::KVLIST => object(out, view.messages(any_value::VALUES)),
        _ => out.extend_from_slice(b"null"),
    }
}

fn object<'a>(out: &mut Vec<u8>, members: impl Iterator<Item = KeyValue<'a>>) {
    let mut object = Object::begin(out);
    for member in members {
        let (key, value) = pair(member);
        json(object.member(key), value);
    }
    object.end();
}

/// The one member of the oneof: its number, and its place.
fn member<'a>(value: AnyValue<'a>) -> Option<(u32, View<'a>)> {
    let view = value.view();
    let field = view.fields().last()?;
    Some((field.number, View::at(view.buf(), field)))
}

/// Key and value of an attribute, in one walk.
pub(super) fn pair<'a>(attribute: KeyValue<'a>) -> (&'a str, Option<AnyValue<'a>>) {
    let view = attribute.view();
    let (mut key, mut value) = ("", None);
    for field in view.fields() {
        match field.number {
            1 => {
                key =
                    view.buf().get(field.body_range()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("")
            }
            2 => value = Some(AnyValue::from_view(View::at(view.buf(), field))),
            _ => {}
        }
    }
    (key, value)
}

/// What stands around a record.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) resource: Option<Resource<'a>>,
    pub(super) scope: &'a str,
}

/// Appends the whole record as one JSON object.
pub(super) fn record(out: &mut Vec<u8>, record: LogRecord<'_>, level: Option<&str>, around: Around<'_>) {
    let mut object = Object::begin(out);
    if let Some(body) = record.body() {
        json(object.member("message"), Some(body));
    }
    let mut attributes = record.attributes().map(pair);
    if let Some(level) = level.filter(|_| !attributes.any(|(key, _)| key == "level")) {
        json_text::string(object.member("level"), level.as_bytes());
    }
    for (key, value) in record.attributes().map(pair) {
        if MEMBERS.contains(&key) {
            json(object.member(&format!("attribute.{key}")), value);
        } else {
            json(object.member(key), value);
        }
    }
    for (name, id) in [("trace_id", record.trace_id()), ("span_id", record.span_id())] {
        if !id.is_empty() {
            json_text::hex(object.member(name), id);
        }
    }
    for (name, text) in [("event", record.event_name()), ("scope", around.scope)] {
        if !text.is_empty() {
            json_text::string(object.member(name), text.as_bytes());
        }
    }
    if let Some(resource) = around.resource.filter(|r| r.attributes().next().is_some()) {
        self::object(object.member("resource"), resource.attributes());
    }
    object.end();
}

/// A JSON object under construction.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a name; the value must follow.
    fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        json_text::string(self.out, name.as_bytes());
        self.out.push(b':');
        self.out
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

//! JSON to wire format in one pass.
//!
//! serde_json walks the text and calls the visitors below, which look each key up in the descriptor tables and write its
//! value to the wire at once. Fields stand on the wire in the order of their keys, which protobuf allows.
//!
//! Invariants: what was decoded holds what a [`Request`] promises (no field twice, nesting bounded, UTF-8); no error quotes
//! a value from the body.
//!
//! Nothing is taken from serde's default error texts, because those quote the offending value: every `visit_*` that serde_json
//! can call is implemented here.

use std::fmt::{self, Display, Write as _};

use model::descriptor::{FieldDescriptor, Kind, MessageDescriptor};
use model::otlp::request_descriptor;
use model::wire::{MAX_DEPTH, Wire, zigzag};
use model::{Repairs, Request, Signal, Writer};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::id_len;
use super::mend::mend;
use crate::json_text::{parse_base64, parse_hex};

/// What a body may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of the request in wire format. It can be up to four times as large as the JSON, where that consists of
    /// arrays of small numbers. Default: 64 MiB.
    pub max_bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// Why a body is not an OTLP/JSON export request. Sending it again will not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} (line {line}, column {column}): {problem}", if path.is_empty() { "the request" } else { path })]
pub struct JsonError {
    /// The keys down to the place: `resourceSpans[0].scopeSpans[0].spans[3].traceId`; empty for the request itself.
    pub path: String,
    /// The line where reading stopped, from 1.
    pub line: usize,
    /// The column where reading stopped, in bytes from 1.
    pub column: usize,
    /// What is wrong, and what was expected instead. It quotes nothing from the body.
    pub problem: String,
}

/// Reads `body` as the export request of `signal`. Text that Unicode does not allow is replaced by U+FFFD and counted
/// as `Repairs::invalid_utf8`, as [`Request::receive`] does for the wire format.
///
/// # Errors
/// Not JSON, a value that does not fit its field, a key twice in one object, nesting past `model::wire::MAX_DEPTH`, or
/// past `limits`.
pub fn receive(signal: Signal, body: &[u8], limits: &DecodeLimits) -> Result<(Request, Repairs), JsonError> {
    let refused = match parse(signal, body, limits) {
        Ok(request) => return Ok((request, Repairs::default())),
        Err(error) => error,
    };
    match mend(body) {
        Some((mended, invalid_utf8)) => {
            let request = parse(signal, &mended, limits)?;
            Ok((request, Repairs { invalid_utf8, ..Repairs::default() }))
        }
        None => Err(refused),
    }
}

/// [`receive`] for those who don't count repairs.
///
/// # Errors
/// Those of [`receive`].
pub fn decode(signal: Signal, body: &[u8], limits: &DecodeLimits) -> Result<Request, JsonError> {
    receive(signal, body, limits).map(|(request, _)| request)
}

fn parse(signal: Signal, body: &[u8], limits: &DecodeLimits) -> Result<Request, JsonError> {
    let mut writer = Writer::with_capacity((body.len() / 2).min(limits.max_bytes));
    let mut context = Context { path: Vec::new(), items: 0, depth: 0, max_bytes: limits.max_bytes };
    let mut json = serde_json::Deserializer::from_slice(body);
    // Its limit counts JSON brackets; `Context::enter` counts messages, as the rest of the program does.
    json.disable_recursion_limit();
    let root = Root { descriptor: request_descriptor(signal), context: &mut context, writer: &mut writer };
    match json.deserialize_any(root).and_then(|()| json.end()) {
        Ok(()) => Ok(Request::written(signal, context.items, writer)),
        Err(error) => Err(context.error(&error)),
    }
}

/// Where the walk stands and what it has found.
struct Context {
    path: Vec<Step>,
    items: usize,
    depth: usize,
    max_bytes: usize,
}

#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    Index(usize),
}

impl Context {
    fn enter<E: Error>(&mut self, descriptor: &MessageDescriptor) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(E::custom(format_args!(
                "messages are nested more than {MAX_DEPTH} deep; flatten the value, or send it as a string"
            )));
        }
        self.items += usize::from(descriptor.record);
        Ok(())
    }

    fn check_size<E: Error>(&self, writer: &Writer) -> Result<(), E> {
        if writer.len() <= self.max_bytes {
            return Ok(());
        }
        Err(E::custom(format_args!(
            "the request takes more than {} bytes in wire format; send it in smaller pieces",
            self.max_bytes
        )))
    }

    #[cold]
    fn error(&self, error: &serde_json::Error) -> JsonError {
        let (line, column) = (error.line(), error.column());
        let mut problem = error.to_string();
        if let Some(text) = problem.strip_suffix(&format!(" at line {line} column {column}")) {
            problem.truncate(text.len());
        }
        let mut path = String::new();
        for step in &self.path {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Key(name) if path.is_empty() => write!(path, "{name}"),
                Step::Key(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
        }
        JsonError { path, line, column, problem }
    }
}

/// Implements the `visit_*` methods that stand for a value of the wrong type.
macro_rules! mismatch {
    ($($method:ident($type:ty) => $found:literal;)*) => {
        $(fn $method<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Err(self.mismatch($found))
        })*
    };
}

struct Root<'c> {
    descriptor: &'static MessageDescriptor,
    context: &'c mut Context,
    writer: &'c mut Writer,
}

impl Root<'_> {
    fn mismatch<E: Error>(&self, found: &str) -> E {
        let name = self.descriptor.name;
        E::custom(format_args!("expected an object, the {name}, found {found}"))
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        object(map, self.descriptor, self.context, self.writer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.mismatch("an array: send one request a body"))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(self.mismatch("null"))
    }

    mismatch! {
        visit_bool(bool) => "a boolean";
        visit_i64(i64) => "a number";
        visit_u64(u64) => "a number";
        visit_f64(f64) => "a number";
        visit_str(&str) => "a string";
    }
}

/// The keys of one message.
fn object<'de, A: MapAccess<'de>>(
    mut map: A,
    descriptor: &'static MessageDescriptor,
    context: &mut Context,
    writer: &mut Writer,
) -> Result<(), A::Error> {
    context.enter(descriptor)?;
    // One bit a field number: keys that stood here; and `FieldDescriptor::slot`s that have a value.
    let (mut keys, mut slots) = (0u32, 0u32);
    while let Some(key) = map.next_key_seed(Key(descriptor))? {
        let Some(field) = key else {
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        context.path.push(Step::Key(field.json_name));
        let bit = 1 << field.number;
        if keys & bit != 0 {
            return Err(A::Error::custom(
                "this key stands twice in its object; readers disagree on which one counts",
            ));
        }
        keys |= bit;
        let place = if field.repeated { Place::Repeated } else { Place::Singular };
        let present = map.next_value_seed(Value { field, place, context, writer })?;
        if present && slots & field.slot != 0 {
            return Err(A::Error::custom("this object has another value already, and may have one only"));
        }
        slots |= if present { field.slot } else { 0 };
        context.check_size(writer)?;
        context.path.pop();
    }
    context.depth -= 1;
    Ok(())
}

/// A key of a message: its field, or `None` if there is no such field.
struct Key(&'static MessageDescriptor);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static FieldDescriptor>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static FieldDescriptor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.by_json_name(key))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The value of a singular field.
    Singular,
    /// The array of a repeated field.
    Repeated,
    /// An element with its own tag.
    Element,
    /// An element of a packed field, without a tag.
    Packed,
}

/// A value of a field; yields whether there is one, since `null` stands for none.
struct Value<'c> {
    field: &'static FieldDescriptor,
    place: Place,
    context: &'c mut Context,
    writer: &'c mut Writer,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<bool, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected())
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        match self.place {
            Place::Singular | Place::Repeated => Ok(false),
            Place::Element | Place::Packed => Err(self.mismatch("null")),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        match self.field.kind {
            Kind::Bool if self.place != Place::Repeated => Ok(self.put(u64::from(value))),
            _ => Err(self.mismatch("a boolean")),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.integer(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        self.number(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        if self.place == Place::Repeated {
            return Err(self.mismatch("a string"));
        }
        match self.field.kind {
            Kind::String => Ok(self.put_bytes(text.as_bytes())),
            Kind::Bytes => self.bytes(text),
            Kind::Enum(names) => match names.values.iter().find(|(_, name)| *name == text) {
                Some((number, _)) => self.integer(i128::from(*number)),
                None => Err(self.mismatch("a string that is none of the names; send the number")),
            },
            Kind::Bool | Kind::Message(_) => Err(self.mismatch("a string")),
            _ => self.number_text(text),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        if self.place != Place::Repeated {
            return Err(self.mismatch("an array"));
        }
        let Self { field, context, writer, .. } = self;
        if field.kind.wire() == Wire::Len {
            elements(seq, Place::Element, field, context, writer)?;
        } else {
            let start = writer.len();
            if writer.message(field.number, |w| elements(seq, Place::Packed, field, context, w))? == 0 {
                writer.truncate(start);
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        match self.field.kind {
            Kind::Message(inner) if self.place != Place::Repeated => {
                let Self { field, context, writer, .. } = self;
                writer.message(field.number, |w| object(map, inner, context, w)).map(|()| true)
            }
            _ => Err(self.mismatch("an object")),
        }
    }
}

/// Writes the elements of an array: how many there were.
fn elements<'de, A: SeqAccess<'de>>(
    mut seq: A,
    place: Place,
    field: &'static FieldDescriptor,
    context: &mut Context,
    writer: &mut Writer,
) -> Result<usize, A::Error> {
    context.path.push(Step::Index(0));
    let at = context.path.len() - 1;
    let mut count = 0;
    while seq.next_element_seed(Value { field, place, context, writer })?.is_some() {
        count += 1;
        context.path[at] = Step::Index(count);
        context.check_size(writer)?;
    }
    context.path.pop();
    Ok(count)
}

impl Value<'_> {
    #[cold]
    fn mismatch<E: Error>(&self, found: impl Display) -> E {
        E::custom(format_args!("expected {}, found {found}", self.expected()))
    }

    fn expected(&self) -> &'static str {
        if self.place == Place::Repeated {
            return "an array";
        }
        match self.field.kind {
            Kind::Double | Kind::Float => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a 32-bit integer",
            Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                "a 64-bit integer, as a number or a decimal string"
            }
            Kind::Uint64 | Kind::Fixed64 => "an unsigned 64-bit integer, as a number or a decimal string",
            Kind::Bool => "true or false",
            Kind::String => "a string",
            Kind::Bytes => match id_len(self.field) {
                Some(16) => "32 hexadecimal digits",
                Some(_) => "16 hexadecimal digits",
                None => "a base64 string",
            },
            Kind::Enum(_) => "the number of an enumeration value",
            Kind::Message(_) => "an object",
        }
    }

    fn bytes<E: Error>(self, text: &str) -> Result<bool, E> {
        let length = || format!("a string of {} bytes", text.len());
        match id_len(self.field) {
            Some(_) if text.is_empty() => Ok(self.put_bytes(&[])),
            Some(16) => match parse_hex::<16>(text) {
                Some(id) => Ok(self.put_bytes(&id)),
                None => Err(self.mismatch(length())),
            },
            Some(_) => match parse_hex::<8>(text) {
                Some(id) => Ok(self.put_bytes(&id)),
                None => Err(self.mismatch(length())),
            },
            None => match parse_base64(text) {
                Some(bytes) => Ok(self.put_bytes(&bytes)),
                None => Err(self.mismatch("a string that is not base64")),
            },
        }
    }

    /// A number in a string: how 64-bit integers stand in JSON, and the doubles that JSON has no number for.
    fn number_text<E: Error>(self, text: &str) -> Result<bool, E> {
        if let Ok(value) = text.parse::<i128>() {
            return self.integer(value);
        }
        let is_float = matches!(self.field.kind, Kind::Double | Kind::Float);
        match text {
            "NaN" if is_float => self.number(f64::NAN),
            "Infinity" if is_float => self.number(f64::INFINITY),
            "-Infinity" if is_float => self.number(f64::NEG_INFINITY),
            // Rust would also read "inf" and the like.
            _ => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => self.number(value),
                _ => Err(self.mismatch("a string that holds no such number")),
            },
        }
    }

    fn number<E: Error>(self, value: f64) -> Result<bool, E> {
        match self.field.kind {
            _ if self.place == Place::Repeated => Err(self.mismatch("a number")),
            Kind::Double => Ok(self.put(value.to_bits())),
            Kind::Float => {
                let narrow = value as f32;
                if narrow.is_infinite() && value.is_finite() {
                    return Err(self.mismatch("a number out of range"));
                }
                Ok(self.put(u64::from(narrow.to_bits())))
            }
            Kind::String | Kind::Bytes | Kind::Bool | Kind::Message(_) => Err(self.mismatch("a number")),
            // 1.0 and 1e3 are integers too. Beyond 2^64 the range check refuses whatever it saturates to.
            _ if value.fract() == 0.0 => self.integer(value as i128),
            _ => Err(self.mismatch("a number with a fraction")),
        }
    }

    fn integer<E: Error>(self, value: i128) -> Result<bool, E> {
        if self.place == Place::Repeated {
            return Err(self.mismatch("a number"));
        }
        let signed = |value: i64| value as u64;
        let bits = match self.field.kind {
            Kind::Double => Some((value as f64).to_bits()),
            Kind::Float => return self.number(value as f64),
            Kind::Int32 | Kind::Enum(_) => i32::try_from(value).ok().map(|v| signed(i64::from(v))),
            Kind::Sint32 => i32::try_from(value).ok().map(|v| zigzag(i64::from(v))),
            Kind::Sfixed32 => i32::try_from(value).ok().map(|v| u64::from(v as u32)),
            Kind::Int64 | Kind::Sfixed64 => i64::try_from(value).ok().map(signed),
            Kind::Sint64 => i64::try_from(value).ok().map(zigzag),
            Kind::Uint32 | Kind::Fixed32 => u32::try_from(value).ok().map(u64::from),
            Kind::Uint64 | Kind::Fixed64 => u64::try_from(value).ok(),
            Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => {
                return Err(self.mismatch("a number"));
            }
        };
        match bits {
            Some(bits) => Ok(self.put(bits)),
            None => Err(self.mismatch("a number out of range")),
        }
    }

    /// Writes a scalar given as its varint or its little-endian bits. Default values that mean nothing are left out.
    fn put(self, bits: u64) -> bool {
        let Self { field, place, writer, .. } = self;
        let wire = field.kind.wire();
        if place == Place::Singular && field.oneof.is_none() && bits == 0 {
            return true;
        }
        if place != Place::Packed {
            writer.tag(field.number, wire);
        }
        match wire {
            Wire::Fixed64 => writer.raw(&bits.to_le_bytes()),
            Wire::Fixed32 => writer.raw(&(bits as u32).to_le_bytes()),
            Wire::Varint | Wire::Len => writer.varint(bits),
        }
        true
    }

    fn put_bytes(self, bytes: &[u8]) -> bool {
        if !(self.place == Place::Singular && self.field.oneof.is_none() && bytes.is_empty()) {
            self.writer.bytes(self.field.number, bytes);
        }
        true
    }
}

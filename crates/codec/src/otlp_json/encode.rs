//! Wire format to JSON in one pass, without decoding.
//!
//! Keys stand in the order in which their fields stand on the wire. All elements of a repeated field are gathered in one
//! array where the first of them stands: where elements of several fields are interleaved, the message is walked once more
//! per repeated field, and only over its own tags and lengths.

use std::ops::Range;

use model::Request;
use model::descriptor::{FieldDescriptor, Kind, MessageDescriptor};
use model::otlp::request_descriptor;
use model::wire::{Field, Fields, Wire, read_varint, unzigzag};

use super::id_len;
use crate::json_text;

/// Appends `request` to `out` as one JSON object without line breaks.
///
/// Default values are left out, except in oneofs and `optional` fields, where presence has a meaning. Fields that the
/// tables don't know are left out too: they have no name.
pub fn encode(request: &Request, out: &mut Vec<u8>) {
    let buf = request.bytes();
    // JSON takes about twice the room of the wire format.
    out.reserve(buf.len() * 2);
    Encoder { buf, out }.message(request_descriptor(request.signal()), 0..buf.len());
}

struct Encoder<'a> {
    buf: &'a [u8],
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    /// Recursion is bounded: a checked request is nested at most `model::wire::MAX_DEPTH` deep.
    fn message(&mut self, descriptor: &'static MessageDescriptor, range: Range<usize>) {
        self.out.push(b'{');
        // One bit a field number (at most 31): repeated fields that were gathered already.
        let mut gathered = 0u32;
        let mut fields = Fields::new(self.buf, range);
        while let Some(field) = fields.next() {
            let Some(known) = descriptor.field(field.number) else {
                continue;
            };
            if known.repeated {
                let bit = 1 << known.number;
                if gathered & bit == 0 {
                    gathered |= bit;
                    self.array(known, &field, fields.clone());
                }
            } else if known.oneof.is_some() || !is_default(known.kind, &field) {
                self.key(known);
                self.value(known, &field);
            }
        }
        self.out.push(b'}');
    }

    fn key(&mut self, known: &FieldDescriptor) {
        self.comma(b'{');
        self.out.push(b'"');
        self.out.extend_from_slice(known.json_name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A comma, unless nothing stands after the bracket yet. No value ends with an opening bracket.
    fn comma(&mut self, open: u8) {
        if self.out.last() != Some(&open) {
            self.out.push(b',');
        }
    }

    fn array(&mut self, known: &'static FieldDescriptor, first: &Field, rest: Fields<'_>) {
        let mark = self.out.len();
        self.key(known);
        self.out.push(b'[');
        self.element(known, first);
        for field in rest.filter(|f| f.number == known.number) {
            self.element(known, &field);
        }
        if self.out.last() == Some(&b'[') {
            // Packed fields of no elements.
            self.out.truncate(mark);
        } else {
            self.out.push(b']');
        }
    }

    fn element(&mut self, known: &'static FieldDescriptor, field: &Field) {
        if field.wire == Wire::Len && known.kind.wire() != Wire::Len {
            return self.packed(known.kind, field);
        }
        self.comma(b'[');
        self.value(known, field);
    }

    fn packed(&mut self, kind: Kind, field: &Field) {
        let Some(buf) = self.buf.get(..field.end) else {
            return;
        };
        let mut at = field.body;
        while at < field.end {
            // Checked at receipt; should it not have been, the array ends early.
            let Some((bits, next)) = packed_element(kind, buf, at) else {
                return;
            };
            self.comma(b'[');
            self.scalar(kind, bits);
            at = next;
        }
    }

    #[inline]
    fn value(&mut self, known: &'static FieldDescriptor, field: &Field) {
        match known.kind {
            Kind::Message(inner) => self.message(inner, field.body_range()),
            Kind::String => json_text::string(self.out, &self.buf[field.body_range()]),
            Kind::Bytes if id_len(known).is_some() => json_text::hex(self.out, &self.buf[field.body_range()]),
            Kind::Bytes => json_text::base64(self.out, &self.buf[field.body_range()]),
            kind => self.scalar(kind, field.bits),
        }
    }

    #[inline]
    fn scalar(&mut self, kind: Kind, bits: u64) {
        let out = &mut *self.out;
        match kind {
            Kind::Double => json_text::double(out, f64::from_bits(bits)),
            Kind::Float => json_text::float(out, f32::from_bits(bits as u32)),
            Kind::Int32 | Kind::Enum(_) | Kind::Sfixed32 => json_text::integer(out, bits as i32),
            Kind::Int64 | Kind::Sfixed64 => json_text::quoted_integer(out, bits as i64),
            Kind::Uint32 | Kind::Fixed32 => json_text::integer(out, bits as u32),
            Kind::Uint64 | Kind::Fixed64 => json_text::quoted_integer(out, bits),
            Kind::Sint32 => json_text::integer(out, unzigzag(bits & 0xffff_ffff)),
            Kind::Sint64 => json_text::quoted_integer(out, unzigzag(bits)),
            Kind::Bool => out.extend_from_slice(if bits != 0 { b"true" } else { b"false" }),
            // No scalars: `value` has dealt with them.
            Kind::String | Kind::Bytes | Kind::Message(_) => {}
        }
    }
}

fn packed_element(kind: Kind, buf: &[u8], at: usize) -> Option<(u64, usize)> {
    match kind.wire() {
        Wire::Fixed64 => Some((u64::from_le_bytes(*buf.get(at..)?.first_chunk()?), at + 8)),
        Wire::Fixed32 => Some((u64::from(u32::from_le_bytes(*buf.get(at..)?.first_chunk()?)), at + 4)),
        _ => read_varint(buf, at).ok(),
    }
}

/// Whether a reader would see the same without this field. A nested message has presence.
#[inline]
fn is_default(kind: Kind, field: &Field) -> bool {
    match kind {
        Kind::Message(_) => false,
        Kind::String | Kind::Bytes => field.body == field.end,
        // Readers take the low half of the varint.
        Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_) => field.bits as u32 == 0,
        _ => field.bits == 0,
    }
}

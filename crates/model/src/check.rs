//! The one walk over bytes that came from outside.
//!
//! It refuses what no protobuf reader could agree on: truncated values, lengths past the end, groups, wire types that do not
//! fit the field, nesting past [`MAX_DEPTH`]. It notes what readers could see differently, and [`crate::normalize`] then
//! rewrites the request so that they cannot: singular fields that stand twice, split embedded messages, over-long
//! varints, invalid UTF-8. On the way it counts the records.
//!
//! Invariant: a request that left here reads the same in every conforming protobuf reader.

use bytes::Bytes;

use crate::descriptor::{FieldDescriptor, Kind, MessageDescriptor, Shape};
use crate::normalize;
use crate::otlp::request_descriptor;
use crate::request::Signal;
use crate::wire::{Field, MAX_DEPTH, Wire, WireError, read_field, read_varint};

/// Why bytes are not an OTLP export request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {offset}: {problem}", path_or_root(.path))]
pub struct Malformed {
    /// The fields from the request down to the place: `resource_spans.scope_spans.spans`.
    pub path: String,
    /// The offset in the (inflated) request.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

fn path_or_root(path: &str) -> &str {
    if path.is_empty() { "the request" } else { path }
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A known field in a layout that its type does not have.
    #[error("wire type {found:?} does not fit this field; is the request of another signal?")]
    WireType {
        /// The layout found.
        found: Wire,
    },
    /// Nested too deep.
    #[error("messages are nested more than {MAX_DEPTH} deep")]
    Depth,
    /// A packed field whose length is no multiple of its element's.
    #[error("a packed field ends inside an element")]
    Packed,
    /// Offsets of edits are 32 bits wide in places.
    #[error("the request is larger than 4 GiB")]
    Size,
}

/// What was mended at receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Strings whose invalid UTF-8 was replaced by U+FFFD.
    pub invalid_utf8: usize,
    /// Singular fields that stood more than once in their message.
    pub duplicates: usize,
    /// Tags and lengths in more bytes than they need.
    pub overlong: usize,
}

impl Repairs {
    /// Whether the request has to be rewritten.
    pub fn any(&self) -> bool {
        self.invalid_utf8 + self.duplicates + self.overlong > 0
    }
}

/// Checks `bytes` and mends them where needed: what the walk found, and the bytes to go on with.
pub(crate) fn receive(signal: Signal, bytes: Bytes) -> Result<(Survey, Bytes), Malformed> {
    let descriptor = request_descriptor(signal);
    let found = survey(descriptor, &bytes)?;
    if !found.repairs.any() {
        return Ok((found, bytes));
    }
    let mended = normalize::rewrite(descriptor, &bytes);
    // Merging a split message can change what is in it; say what is there now.
    let now = survey(descriptor, &mended)?;
    Ok((Survey { repairs: found.repairs, ..now }, mended))
}

/// What the walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) records: usize,
    pub(crate) repairs: Repairs,
    /// A `bytes` field or an unknown one is at least [`LONG_BYTES`] long.
    pub(crate) long_bytes: bool,
}

/// Shorter `bytes` hold identifiers of traces and spans, and nothing that a network knows a peer by.
const LONG_BYTES: usize = 34;

pub(crate) fn survey(descriptor: &'static MessageDescriptor, buf: &[u8]) -> Result<Survey, Malformed> {
    let mut walk = Walk { buf, survey: Survey::default() };
    match walk.message(descriptor, 0, buf.len(), MAX_DEPTH) {
        Ok(()) => Ok(walk.survey),
        Err(mut fault) => {
            fault.path.reverse();
            Err(Malformed { path: fault.path.join("."), offset: fault.offset, problem: fault.problem })
        }
    }
}

/// A problem on its way up; each level adds its field's name.
struct Fault {
    path: Vec<&'static str>,
    offset: usize,
    problem: Problem,
}

impl Fault {
    #[cold]
    fn within(mut self: Box<Self>, field: &'static str) -> Box<Self> {
        self.path.push(field);
        self
    }
}

/// What the table of tags says of a field.
enum Short {
    /// Checked; the next one is there.
    Skip(usize),
    /// A message: field number, body, end.
    Message(u32, usize, usize),
    /// Not that simple.
    No,
}

#[cold]
fn fault(offset: usize, problem: impl Into<Problem>) -> Box<Fault> {
    Box::new(Fault { path: Vec::new(), offset, problem: problem.into() })
}

struct Walk<'a> {
    buf: &'a [u8],
    survey: Survey,
}

impl Walk<'_> {
    fn message(
        &mut self,
        descriptor: &'static MessageDescriptor,
        mut at: usize,
        end: usize,
        depth_left: usize,
    ) -> Result<(), Box<Fault>> {
        if depth_left == 0 {
            return Err(fault(at, Problem::Depth));
        }
        self.survey.records += usize::from(descriptor.record);
        let mut seen = 0u32;
        while at < end {
            at = match self.short(descriptor, at, end, &mut seen) {
                Short::Skip(next) => next,
                Short::Message(number, body, next) => {
                    let known = descriptor.field(number);
                    self.nested(known, body, next, depth_left)?;
                    next
                }
                Short::No => self.long(descriptor, at, end, depth_left, &mut seen)?,
            };
        }
        Ok(())
    }

    /// Nearly every field has one byte of tag and one of length, and is what its table says. One look into a table of tags
    /// then tells all there is to know; anything else is left to [`Self::long`].
    #[inline(always)]
    fn short(
        &mut self,
        descriptor: &'static MessageDescriptor,
        at: usize,
        end: usize,
        seen: &mut u32,
    ) -> Short {
        let Some(&[tag, length]) = self.buf.get(at..end).and_then(|b| b.first_chunk()) else {
            return Short::No;
        };
        let Some(entry) = descriptor.by_tag.get(usize::from(tag)) else {
            return Short::No;
        };
        let body = at + 2;
        let (next, text) = match entry.shape {
            Shape::Text | Shape::Blob | Shape::Message if length < 0x80 => (body + usize::from(length), true),
            Shape::Varint if length < 0x80 => (body, false),
            Shape::Fixed64 => (at + 9, false),
            Shape::Fixed32 => (at + 5, false),
            _ => return Short::No,
        };
        if next > end {
            return Short::No;
        }
        self.survey.repairs.duplicates += usize::from(*seen & entry.slot != 0);
        *seen |= entry.slot;
        match entry.shape {
            Shape::Message => return Short::Message(u32::from(tag >> 3), body, next),
            Shape::Blob => self.survey.long_bytes |= usize::from(length) >= LONG_BYTES,
            Shape::Text if text => {
                let valid = self.buf.get(body..next).is_some_and(is_utf8);
                self.survey.repairs.invalid_utf8 += usize::from(!valid);
            }
            _ => {}
        }
        Short::Skip(next)
    }

    /// Any field; returns the offset after it.
    fn long(
        &mut self,
        descriptor: &'static MessageDescriptor,
        at: usize,
        end: usize,
        depth_left: usize,
        seen: &mut u32,
    ) -> Result<usize, Box<Fault>> {
        let field = read_field(self.buf, at, end).map_err(|e| fault(at, e))?;
        self.note_overlong(&field);
        let known = descriptor.field(field.number);
        let opaque = known.is_none_or(|known| matches!(known.kind, Kind::Bytes));
        self.survey.long_bytes |= opaque && field.end - field.body >= LONG_BYTES;
        if let Some(known) = known {
            self.survey.repairs.duplicates += usize::from(*seen & known.slot != 0);
            *seen |= known.slot;
            self.value(known, &field, depth_left).map_err(|f| f.within(known.name))?;
        }
        Ok(field.end)
    }

    #[inline]
    fn nested(
        &mut self,
        known: Option<&'static FieldDescriptor>,
        body: usize,
        end: usize,
        depth_left: usize,
    ) -> Result<(), Box<Fault>> {
        match known {
            Some(FieldDescriptor { kind: Kind::Message(inner), name, .. }) => {
                self.message(inner, body, end, depth_left - 1).map_err(|f| f.within(name))
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn value(
        &mut self,
        known: &'static FieldDescriptor,
        field: &Field,
        depth_left: usize,
    ) -> Result<(), Box<Fault>> {
        match (known.kind, field.wire) {
            (Kind::Message(inner), Wire::Len) => self.message(inner, field.body, field.end, depth_left - 1),
            (Kind::String, Wire::Len) => {
                let text = &self.buf[field.body_range()];
                self.survey.repairs.invalid_utf8 += usize::from(!is_utf8(text));
                Ok(())
            }
            (Kind::Bytes, Wire::Len) => Ok(()),
            (kind, wire) if kind.wire() == wire => Ok(()),
            (kind, Wire::Len) if known.repeated && kind.wire() != Wire::Len => self.packed(kind, field),
            (_, found) => Err(fault(field.start, Problem::WireType { found })),
        }
    }

    fn packed(&self, kind: Kind, field: &Field) -> Result<(), Box<Fault>> {
        let width = match kind.wire() {
            Wire::Fixed64 => 8,
            Wire::Fixed32 => 4,
            _ => {
                let body = &self.buf[..field.end];
                let mut at = field.body;
                while at < field.end {
                    at = read_varint(body, at).map_err(|e| fault(at, e))?.1;
                }
                return Ok(());
            }
        };
        if (field.end - field.body).is_multiple_of(width) {
            Ok(())
        } else {
            Err(fault(field.start, Problem::Packed))
        }
    }

    /// Over-long tags and lengths are legal but readers and search patterns may disagree on them. A varint of several bytes
    /// is over-long when its last byte adds nothing.
    #[inline]
    fn note_overlong(&mut self, field: &Field) {
        let overlong = |from: usize, to: usize| to - from > 1 && self.buf.get(to - 1) == Some(&0);
        let any = overlong(field.start, field.prefix) || overlong(field.prefix, field.body);
        self.survey.repairs.overlong += usize::from(any);
    }
}

/// Most strings are short and ASCII: two loads that overlap cover up to 16 bytes.
#[inline(always)]
fn is_utf8(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let ascii = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) if text.len() <= 16 => {
            (u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last)) & HIGH == 0
        }
        (Some(_), _) => text.len() <= 64 && text.is_ascii(),
        _ => text.iter().fold(0, |high, byte| high | byte) < 0x80,
    };
    ascii || simdutf8::basic::from_utf8(text).is_ok()
}

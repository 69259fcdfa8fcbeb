//! The way from the anchors of a request to its edits.
//!
//! A message is entered only if an anchor lies between its first and its last byte; in it, whole fields are stepped over by
//! their lengths until the next anchor. So the cost is that of the hits, not of the request.
//!
//! | field | what happens |
//! |---|---|
//! | message | entered, by its own table |
//! | `string` | the detectors look at the text, with the anchors known already |
//! | `bytes` | likewise, and whether it is an id in binary |
//! | number, packed numbers | stepped over |
//! | not in the table, length-delimited | deleted if an id can be confirmed anywhere in it; nobody knows what it is |
//!
//! Invariant: the walk ends at the last byte of every message it entered, or fails.

use std::ops::Range;

use ::redact::{Counts, Redactor, Replacement};
use model::descriptor::{Kind, MessageDescriptor};
use model::otlp::{self, request_descriptor};
use model::wire::{Field, Fields, Wire, WireError, read_field};
use model::{Signal, Splice};

use super::Redact;

/// What was found in one request.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By class.
    pub(super) counts: Counts,
    /// Unknown fields with an id in them.
    pub(super) unknown_fields: u64,
}

impl Found {
    /// Whether something must have been edited.
    pub(super) fn any(&self) -> bool {
        self.unknown_fields > 0 || self.counts.findings() > 0
    }
}

/// The walk over one request.
pub(super) struct Visit<'a> {
    redact: &'a Redact,
    /// The redactor of the place at hand.
    redactor: &'a Redactor,
    buf: &'a [u8],
    /// Those not yet behind.
    anchors: &'a [u32],
    splice: &'a mut Splice,
    found: Found,
}

impl<'a> Visit<'a> {
    pub(super) fn new(redact: &'a Redact, buf: &'a [u8], anchors: &'a [u32], splice: &'a mut Splice) -> Self {
        Self { redact, redactor: &redact.redactor, buf, anchors, splice, found: Found::default() }
    }

    /// Records the edits of the whole request.
    pub(super) fn request(mut self, signal: Signal) -> Result<Found, WireError> {
        self.message(request_descriptor(signal), 0..self.buf.len())?;
        Ok(self.found)
    }

    fn message(
        &mut self,
        descriptor: &'static MessageDescriptor,
        range: Range<usize>,
    ) -> Result<(), WireError> {
        let mut at = range.start;
        while let Some(anchor) = self.next_anchor(at).filter(|anchor| *anchor < range.end) {
            while let Some(next) = end_of_short_field(self.buf, at).filter(|next| *next <= anchor) {
                at = next;
            }
            let mut field = read_field(self.buf, at, range.end)?;
            while field.end <= anchor {
                field = read_field(self.buf, field.end, range.end)?;
            }
            at = field.end;
            // The anchor may be a chance pattern of tag and length.
            if field.wire == Wire::Len
                && self.next_anchor(field.body).is_some_and(|anchor| anchor < field.end)
            {
                self.field(descriptor, &field)?;
            }
        }
        Ok(())
    }

    /// The first anchor at or after `at`; those before are left behind.
    #[inline]
    fn next_anchor(&mut self, at: usize) -> Option<usize> {
        while let Some((first, rest)) = self.anchors.split_first() {
            if *first as usize >= at {
                return Some(*first as usize);
            }
            self.anchors = rest;
        }
        None
    }

    fn field(&mut self, descriptor: &'static MessageDescriptor, field: &Field) -> Result<(), WireError> {
        match descriptor.field(field.number).map(|known| known.kind) {
            Some(Kind::Message(inner)) => {
                self.splice.open(field);
                if std::ptr::eq(inner, &otlp::KEY_VALUE) && self.keeps(field) {
                    let outer = std::mem::replace(&mut self.redactor, &self.redact.lenient);
                    self.message(inner, field.body_range())?;
                    self.redactor = outer;
                } else {
                    self.message(inner, field.body_range())?;
                }
                self.splice.close();
            }
            Some(Kind::String) => self.text(field, false),
            Some(Kind::Bytes) => self.text(field, true),
            Some(_) => {}
            None => self.unknown(field),
        }
        Ok(())
    }

    /// Whether `keep_keys` names the key of this attribute.
    fn keeps(&self, field: &Field) -> bool {
        let keep_keys = &self.redact.keep_keys;
        !keep_keys.is_empty()
            && Fields::new(self.buf, field.body_range())
                .find(|member| member.number == 1 && member.wire == Wire::Len)
                .and_then(|key| std::str::from_utf8(self.buf.get(key.body_range())?).ok())
                .is_some_and(|key| keep_keys.contains(key))
    }

    /// Replaces what the detectors find in a text, or in a value of bytes.
    fn text(&mut self, field: &Field, is_bytes: bool) {
        let Some(text) = self.buf.get(field.body_range()) else {
            return;
        };
        let splice = &mut *self.splice;
        splice.open(field);
        let mut edit = |found: Replacement<'_>| {
            splice.replace(field.body + found.range.start..field.body + found.range.end, found.bytes);
        };
        let counts = &mut self.found.counts;
        if is_bytes {
            self.redactor.redact_binary(text, counts, &mut edit);
        } else {
            // A request of 4 GiB was refused before: offsets fit.
            self.redactor.redact_text_at(text, field.body as u32, self.anchors, counts, &mut edit);
        }
        splice.close();
    }

    fn unknown(&mut self, field: &Field) {
        if self.buf.get(field.body_range()).is_some_and(|bytes| !self.redactor.is_clean_raw(bytes)) {
            self.splice.delete_field(field);
            self.found.unknown_fields += 1;
        }
    }
}

/// Where a length-delimited field with a tag of one byte and a length of one or two ends, which is what nearly all fields that
/// are worth stepping over are. For anything else [`read_field`] must be asked.
#[inline]
fn end_of_short_field(buf: &[u8], at: usize) -> Option<usize> {
    let [tag, low, high] = *buf.get(at..)?.first_chunk::<3>()?;
    match (tag, low, high) {
        (0x80.., ..) => None,
        _ if tag & 7 != 2 || tag < 8 => None,
        (_, ..0x80, _) => Some(at + 2 + usize::from(low)),
        (_, _, ..0x80) => Some(at + 3 + (usize::from(low & 0x7f) | usize::from(high) << 7)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_fields_end_where_all_fields_do(tag: u8, low: u8, high: u8, more: bool) {
            let mut buf = vec![tag, low, high, u8::from(more)];
            buf.resize(20_000, 0);
            if let Some(end) = end_of_short_field(&buf, 0) {
                prop_assert_eq!(read_field(&buf, 0, buf.len()).map(|field| field.end), Ok(end));
            }
        }
    }
}

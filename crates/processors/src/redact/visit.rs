//! The way from the anchors of a request to its edits.
//!
//! A message is entered only if an anchor lies between its first and its last byte; in it, whole fields are stepped over by
//! their lengths until the next anchor. So the cost is that of the hits, not of the request.
//!
//! The search goes on, a block at a time, only when the walk has come to the last anchor known: the walk then finds in the
//! nearest cache what the search has just fetched.
//!
//! | field | what happens |
//! |---|---|
//! | message | entered, by its own table |
//! | `string` | the detectors look at the text, with the anchors known already |
//! | `bytes` | likewise, and whether it is an id in binary |
//! | number, packed numbers | stepped over |
//! | not in the table, length-delimited | deleted if an id can be confirmed anywhere in it; nobody knows what it is |
//!
//! Invariants: the walk ends at the last byte of every message it entered, or fails; no detector is shown a text that has not
//! been searched to its end.

use std::ops::Range;

use ::redact::{BLOCK, Counts, Redactor, Replacement};
use model::descriptor::{Kind, MessageDescriptor};
use model::otlp::{self, request_descriptor};
use model::wire::{Field, Fields, Wire, WireError, read_field};
use model::{Request, Signal, Splice};

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
        self.total() > 0
    }

    /// How many things must have been edited.
    pub(super) fn total(&self) -> u64 {
        self.unknown_fields + self.counts.findings()
    }
}

/// The walk over one request.
pub(super) struct Visit<'a> {
    redact: &'a Redact,
    /// The redactor of the place at hand.
    redactor: &'a Redactor,
    buf: &'a [u8],
    /// Whether binary ids are searched for too.
    binary: bool,
    anchors: &'a mut Anchors,
    splice: &'a mut Splice,
    found: Found,
}

/// The places where an id may stand, as far as the search has come.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// Sorted. Those of blocks that the walk has left are forgotten.
    known: Vec<u32>,
    /// Those of `known` that lie behind the walk.
    behind: usize,
    /// Where the search goes on.
    searched: usize,
}

/// A list of anchors that grew longer than this is not kept for the next request.
const MAX_KEPT_ANCHORS: usize = 64 * 1024;

impl Anchors {
    /// Forgets them, keeping the memory of a usual request.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        (self.behind, self.searched) = (0, 0);
        if self.known.capacity() > MAX_KEPT_ANCHORS {
            self.known = Vec::new();
        }
    }

    /// Those not behind the walk.
    fn ahead(&self) -> &[u32] {
        self.known.get(self.behind..).unwrap_or_default()
    }
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        redact: &'a Redact,
        request: &'a Request,
        anchors: &'a mut Anchors,
        splice: &'a mut Splice,
    ) -> Self {
        let (buf, binary) = (request.bytes(), request.may_hold_binary_ids());
        Self { redact, redactor: &redact.redactor, buf, binary, anchors, splice, found: Found::default() }
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
            let mut field = field_at(self.buf, at, range.end)?;
            while field.end <= anchor {
                field = field_at(self.buf, field.end, range.end)?;
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
        loop {
            while let Some(anchor) = self.anchors.known.get(self.anchors.behind) {
                if *anchor as usize >= at {
                    return Some(*anchor as usize);
                }
                self.anchors.behind += 1;
            }
            if self.anchors.searched >= self.buf.len() {
                return None;
            }
            self.anchors.known.clear();
            self.anchors.behind = 0;
            self.search();
        }
    }

    /// Searches the next block.
    fn search(&mut self) {
        let Anchors { known, searched, .. } = &mut *self.anchors;
        let block = *searched..self.buf.len().min(*searched + BLOCK);
        *searched = block.end;
        self.redact.search(self.buf, block, self.binary, known);
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
        while self.anchors.searched < field.end {
            self.search();
        }
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
            self.redactor.redact_text_at(text, field.body as u32, self.anchors.ahead(), counts, &mut edit);
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

/// As [`read_field`], with a short way for what nearly all fields are that are worth entering.
#[inline(always)]
fn field_at(buf: &[u8], at: usize, end: usize) -> Result<Field, WireError> {
    match short_field(buf, at) {
        Some(field) if field.end <= end => Ok(field),
        _ => read_field(buf, at, end),
    }
}

/// The length-delimited field at `at`, if its tag has one byte and its length one or two. It may reach past its message.
#[inline(always)]
fn short_field(buf: &[u8], at: usize) -> Option<Field> {
    let [tag, low, high] = *buf.get(at..)?.first_chunk::<3>()?;
    if tag & 7 != 2 || !(8..0x80).contains(&tag) {
        return None;
    }
    let (body, length) = match (low, high) {
        (..0x80, _) => (at + 2, usize::from(low)),
        (_, ..0x80) => (at + 3, usize::from(low & 0x7f) | usize::from(high) << 7),
        _ => return None,
    };
    let number = u32::from(tag >> 3);
    Some(Field { number, wire: Wire::Len, start: at, prefix: at + 1, body, end: body + length, bits: 0 })
}

/// Where a field ends whose tag has one byte, and its length or number at most two; one byte where it is a number. For
/// anything else [`read_field`] must be asked.
#[inline(always)]
fn end_of_short_field(buf: &[u8], at: usize) -> Option<usize> {
    let [tag, low, _] = *buf.get(at..)?.first_chunk::<3>()?;
    match tag & 7 {
        _ if !(8..0x80).contains(&tag) => None,
        2 => short_field(buf, at).map(|field| field.end),
        0 if low < 0x80 => Some(at + 2),
        1 => Some(at + 9),
        5 => Some(at + 5),
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
            prop_assert_eq!(field_at(&buf, 0, buf.len()), read_field(&buf, 0, buf.len()));
            prop_assert_eq!(field_at(&buf, 0, 100), read_field(&buf, 0, 100));
        }
    }
}

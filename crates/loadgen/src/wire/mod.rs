//! Counts the records of an OTLP export request as its bytes arrive, without keeping or decoding them.
//!
//! Traces, logs and metrics have the same shape on the wire:
//! ```text
//! depth 0  Export...ServiceRequest   1: Resource...  (repeated message)
//! depth 1  Resource...               2: Scope...     (repeated message)
//! depth 2  Scope...                  2: a record     (repeated message; a span, a log record, a metric)
//! ```
//! The walk goes into these and skips all else by its length, so it touches a few hundred bytes of a request of 450 kB.
//! It checks that lengths nest and that the message ends where it should; it does not look into records. Groups are refused.

pub mod loki;
pub mod remote_write;

/// Depth at which records stand.
const RECORD_DEPTH: usize = 2;
/// The field to go into (or to count, at the last) at each depth.
const FIELD: [u64; RECORD_DEPTH + 1] = [1, 2, 2];

/// Why a message is not an OTLP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct Malformed {
    /// Offset in the message.
    pub at: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// The walk, to be fed with the pieces of one message in order.
#[derive(Debug)]
pub struct RecordCounter {
    at: u64,
    /// Where the message at each depth ends.
    ends: [u64; RECORD_DEPTH + 1],
    depth: usize,
    next: Next,
    varint: u64,
    shift: u32,
    records: u64,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Next {
    Tag,
    Varint,
    Length { field: u64 },
    Skip { bytes: u64 },
}

impl RecordCounter {
    /// For a message of this many bytes.
    pub fn new(message_len: u64) -> Self {
        Self { at: 0, ends: [message_len, 0, 0], depth: 0, next: Next::Tag, varint: 0, shift: 0, records: 0 }
    }

    /// Takes the next piece of the message. After an error the counter is of no more use.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Malformed> {
        while let Some((&byte, rest)) = piece.split_first() {
            if let Next::Skip { bytes } = self.next {
                let taken = bytes.min(piece.len() as u64);
                piece = &piece[taken as usize..];
                self.at += taken;
                self.next = Next::Skip { bytes: bytes - taken };
                if taken == bytes {
                    self.end_of_field()?;
                }
                continue;
            }
            piece = rest;
            self.at += 1;
            if let Some(value) = self.varint_byte(byte)? {
                match self.next {
                    Next::Tag => self.tag(value)?,
                    Next::Length { field } => self.length(field, value)?,
                    Next::Varint | Next::Skip { .. } => self.end_of_field()?,
                }
            }
        }
        Ok(())
    }

    /// The number of records, once the whole message was fed.
    pub fn finish(self) -> Result<u64, Malformed> {
        let between_fields = matches!(self.next, Next::Tag) && self.shift == 0;
        if self.depth != 0 || !between_fields || self.at != self.ends[0] {
            return Err(self.wrong("the message ends in the middle of a field"));
        }
        Ok(self.records)
    }

    fn varint_byte(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        if self.shift > 63 {
            return Err(self.wrong("a varint of more than ten bytes"));
        }
        self.varint |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        self.shift = 0;
        Ok(Some(std::mem::take(&mut self.varint)))
    }

    fn tag(&mut self, tag: u64) -> Result<(), Malformed> {
        self.next = match tag & 7 {
            0 => Next::Varint,
            1 => Next::Skip { bytes: 8 },
            2 => Next::Length { field: tag >> 3 },
            5 => Next::Skip { bytes: 4 },
            _ => return Err(self.wrong("a group or an unknown wire type")),
        };
        if tag >> 3 == 0 {
            return Err(self.wrong("field number 0"));
        }
        Ok(())
    }

    fn length(&mut self, field: u64, length: u64) -> Result<(), Malformed> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.ends[self.depth]);
        let Some(end) = end else {
            return Err(self.wrong("a length that goes beyond the message around it"));
        };
        let wanted = field == FIELD[self.depth];
        if wanted && self.depth < RECORD_DEPTH {
            self.depth += 1;
            self.ends[self.depth] = end;
            return self.end_of_field();
        }
        self.records += u64::from(wanted);
        self.next = Next::Skip { bytes: length };
        if length == 0 { self.end_of_field() } else { Ok(()) }
    }

    /// Between two fields: leaves the messages that end here.
    fn end_of_field(&mut self) -> Result<(), Malformed> {
        self.next = Next::Tag;
        if self.at > self.ends[self.depth] {
            return Err(self.wrong("a field that goes beyond the message around it"));
        }
        while self.depth > 0 && self.at == self.ends[self.depth] {
            self.depth -= 1;
        }
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }
}

/// The number of records of a whole message.
pub fn count_records(message: &[u8]) -> Result<u64, Malformed> {
    let mut counter = RecordCounter::new(message.len() as u64);
    counter.feed(message)?;
    counter.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use proptest::prelude::*;
    use prost::Message;

    fn request(shape: &[Vec<usize>]) -> ExportTraceServiceRequest {
        let scope = |spans: usize| ScopeSpans {
            spans: (0..spans).map(|i| Span { name: "n".repeat(i * 7), ..Default::default() }).collect(),
            schema_url: "s".into(),
            ..Default::default()
        };
        let resource = |scopes: &Vec<usize>| ResourceSpans {
            scope_spans: scopes.iter().map(|&spans| scope(spans)).collect(),
            schema_url: "https://opentelemetry.io/schemas/1.30.0".into(),
            ..Default::default()
        };
        ExportTraceServiceRequest { resource_spans: shape.iter().map(resource).collect() }
    }

    proptest! {
        #[test]
        fn counts_what_prost_wrote_however_it_is_cut(
            shape in prop::collection::vec(prop::collection::vec(0usize..40, 0..4), 0..4),
            piece in 1usize..700,
        ) {
            let message = request(&shape).encode_to_vec();
            let mut counter = RecordCounter::new(message.len() as u64);
            for piece in message.chunks(piece) {
                counter.feed(piece).unwrap();
            }
            let spans: usize = shape.iter().flatten().sum();
            prop_assert_eq!(counter.finish(), Ok(spans as u64));
        }

        #[test]
        fn a_cut_message_is_never_whole(cut in 1usize..500) {
            let message = request(&[vec![3, 2], vec![4]]).encode_to_vec();
            let kept = message.len() - cut.min(message.len() - 1);
            let mut counter = RecordCounter::new(message.len() as u64);
            counter.feed(&message[..kept]).unwrap();
            prop_assert!(counter.finish().is_err());
        }

        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = count_records(&bytes);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let what = |bytes: &[u8]| count_records(bytes).unwrap_err().what;
        assert!(what(&[0x0b]).contains("group"));
        assert!(what(&[0x0a, 0x7f]).contains("beyond"));
        assert!(what(&[0x0a, 0x02, 0x12, 0x05]).contains("beyond"));
        assert!(what(&[0x09, 1, 2]).contains("middle"));
        assert!(what(&[0xff; 12]).contains("ten bytes"));
        assert!(what(&[0x02, 0x00]).contains("number 0"));
        // A fixed64 that starts in a resource and ends behind it.
        assert!(what(&[0x0a, 0x03, 0x09, 0, 0, 0, 0, 0, 0, 0, 0]).contains("beyond"));
    }
}

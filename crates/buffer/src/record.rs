//! The format: segments of records that say everything about themselves.
//!
//! A segment is a file `seg-NUMBER-BASE-SALT` (three times 16 hexadecimal digits). Numbers ascend. Base is the first sequence number
//! that was free when it was created, so that numbers are not given twice though the segments before are gone, or this one cannot
//! be read. The salt is random and known only to who can read the directory. The file holds records and nothing else:
//!
//! ```text
//! offset  size  field                                                   all integers little-endian
//!      0     4  magic "FWB1"
//!      4     1  kind: 0 data, 1 done
//!      5     1  tag: the caller's, opaque (data), else 0
//!      6     2  0
//!      8     4  n, length of the payload in bytes
//!     12     4  items, as the caller said (data), else 0
//!     16     8  sequence number (data: its own; done: the next one to be given)
//!     24     8  time of entry, ms since 1970 (data), else 0
//!     32     4  CRC-32C of the payload
//!     36     4  CRC-32C of: salt (8), segment number (8), offset in the file (8), bytes 0..36
//!     40     n  payload: data: the caller's bytes
//!                        done: ranges of sequence numbers, each first (8) and last (8)
//! ```
//!
//! Invariant: a header is sound only where it was written. The CRC covers place and salt, so a copy of a record, at another
//! offset or in another segment or within a payload, is no record.

use std::ops::RangeInclusive;

use crate::Seq;

/// The length of a header in bytes.
pub const HEADER: usize = 40;

pub(crate) const MAGIC: [u8; 4] = *b"FWB1";
/// No number is greater; what claims to be is damaged. Leaves room to count on without overflow.
pub(crate) const MAX_SEQ: Seq = 1 << 62;
/// A note of more ranges is written as several.
pub(crate) const MAX_RANGES: usize = 1024;
const RANGE: usize = 16;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller's bytes.
    Data,
    /// A note of what was delivered or given up.
    Done,
}

/// All of a record but its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// The caller's mark on data.
    pub tag: u8,
    /// Bytes of the payload.
    pub length: u32,
    /// What the caller counts in it.
    pub items: u32,
    /// Its number; of notes the next one to be given.
    pub seq: Seq,
    /// When it came, in ms since 1970.
    pub entered_ms: u64,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
}

/// A segment, as its name says. Salt and number are part of what the CRC of a header covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The salt of the segment.
    pub salt: u64,
    /// The number of the segment.
    pub segment: u64,
    /// No record in it has a smaller number.
    pub base: Seq,
}

impl Place {
    /// The name of the file.
    pub fn name(self) -> String {
        format!("seg-{:016x}-{:016x}-{:016x}", self.segment, self.base, self.salt)
    }

    /// What the name of a file says; `None` if it is not a segment's.
    pub fn parse(name: &str) -> Option<Self> {
        let mut numbers =
            name.strip_prefix("seg-")?.split('-').map(|text| u64::from_str_radix(text, 16).ok());
        let mut next = || numbers.next().flatten();
        let place = Self { segment: next()?, base: next()?, salt: next()? };
        (place.name() == name && place.base <= MAX_SEQ).then_some(place)
    }

    fn seed(self, offset: u64) -> u32 {
        let mut place = [0; 24];
        place[..8].copy_from_slice(&self.salt.to_le_bytes());
        place[8..16].copy_from_slice(&self.segment.to_le_bytes());
        place[16..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c(&place)
    }
}

impl Header {
    pub(crate) fn data(seq: Seq, entered_ms: u64, tag: u8, items: u32, payload: &[u8]) -> Option<Self> {
        let length = u32::try_from(payload.len()).ok()?;
        Some(Self {
            kind: Kind::Data,
            tag,
            length,
            items,
            seq,
            entered_ms,
            payload_crc: crc32c::crc32c(payload),
        })
    }

    /// A note, whose payload is at most [`MAX_RANGES`] long.
    pub(crate) fn done(next_seq: Seq, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let payload_crc = crc32c::crc32c(payload);
        Self { kind: Kind::Done, tag: 0, length, items: 0, seq: next_seq, entered_ms: 0, payload_crc }
    }

    /// The header for one place in one segment.
    pub fn encode(&self, place: Place, offset: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = match self.kind {
            Kind::Data => 0,
            Kind::Done => 1,
        };
        bytes[5] = self.tag;
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.items.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.entered_ms.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(place.seed(offset), &bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header that stands at `offset`; `None` if what stands there was not written as a header for that place.
    pub fn decode(bytes: &[u8], place: Place, offset: u64) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if bytes[..4] != MAGIC || bytes[6..8] != [0, 0] {
            return None;
        }
        if crc32c::crc32c_append(place.seed(offset), &bytes[..36]) != u32_at(bytes, 36) {
            return None;
        }
        let kind = match bytes[4] {
            0 => Kind::Data,
            1 => Kind::Done,
            _ => return None,
        };
        let header = Self {
            kind,
            tag: bytes[5],
            length: u32_at(bytes, 8),
            items: u32_at(bytes, 12),
            seq: u64_at(bytes, 16),
            entered_ms: u64_at(bytes, 24),
            payload_crc: u32_at(bytes, 32),
        };
        (header.seq <= MAX_SEQ).then_some(header)
    }

    /// Header and payload together, in bytes.
    pub fn total(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }
}

pub(crate) fn encode_ranges(ranges: &[RangeInclusive<Seq>]) -> Vec<u8> {
    let pair =
        |range: &RangeInclusive<Seq>| [range.start().to_le_bytes(), range.end().to_le_bytes()].concat();
    ranges.iter().flat_map(pair).collect()
}

/// Ranges that run backwards or past the greatest number are left out: only damage that its CRC does not show makes them.
pub(crate) fn decode_ranges(payload: &[u8]) -> impl Iterator<Item = RangeInclusive<Seq>> + '_ {
    payload
        .chunks_exact(RANGE)
        .map(|pair| u64_at(pair, 0)..=u64_at(pair, 8))
        .filter(|range| range.start() <= range.end() && *range.end() <= MAX_SEQ)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |eight| u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = Header> {
        let kind = prop_oneof![Just(Kind::Data), Just(Kind::Done)];
        (kind, any::<u8>(), any::<(u32, u32, u64, u32)>(), 0..=MAX_SEQ).prop_map(
            |(kind, tag, (length, items, entered_ms, payload_crc), seq)| Header {
                kind,
                tag,
                length,
                items,
                seq,
                entered_ms,
                payload_crc,
            },
        )
    }

    proptest! {
        #[test]
        fn a_header_is_read_back_where_it_was_written_and_nowhere_else(
            header in header(), salt: u64, segment: u64, offset: u64, other in 1_u64..,
        ) {
            let place = Place { salt, segment, base: 1 };
            let bytes = header.encode(place, offset);
            prop_assert_eq!(Header::decode(&bytes, place, offset), Some(header));
            prop_assert_eq!(Header::decode(&bytes, place, offset ^ (other & 0xffff_ffff | 1)), None);
            prop_assert_eq!(Header::decode(&bytes, Place { segment: segment ^ (other & 0xffff_ffff | 1), ..place }, offset), None);
            prop_assert_eq!(Header::decode(&bytes, Place { salt: salt ^ (other & 0xffff_ffff | 1), ..place }, offset), None);
        }

        #[test]
        fn each_flipped_bit_of_a_header_is_noticed(header in header(), salt: u64, offset: u64) {
            let place = Place { salt, segment: 1, base: 1 };
            let bytes = header.encode(place, offset);
            for bit in 0..HEADER * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(Header::decode(&flipped, place, offset), None);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let place = Place { salt: 0, segment: 0, base: 1 };
            if let Some(header) = Header::decode(&bytes, place, 0) {
                prop_assert_eq!(&header.encode(place, 0)[..], &bytes[..HEADER]);
            }
            decode_ranges(&bytes).for_each(|range| assert!(range.start() <= range.end()));
        }

        #[test]
        fn ranges_are_read_back(ranges in prop::collection::vec((0..MAX_SEQ / 2, 0..MAX_SEQ / 2), 0..9)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, length)| first..=first + length).collect();
            prop_assert_eq!(decode_ranges(&encode_ranges(&ranges)).collect::<Vec<_>>(), ranges);
        }

        #[test]
        fn names_are_read_back(salt: u64, segment: u64, base in 0..=MAX_SEQ, junk in ".{0,60}") {
            let place = Place { salt, segment, base };
            prop_assert_eq!(Place::parse(&place.name()), Some(place));
            prop_assert!(Place::parse(&junk).is_none_or(|place| place.name() == junk));
        }
    }
}

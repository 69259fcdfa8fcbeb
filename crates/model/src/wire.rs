//! The protobuf wire format: varints, tags, and an iterator over the fields of one message.
//!
//! ```text
//! message = *( tag value )            tag = varint( number << 3 | wire type )
//! value   = varint | 8 bytes LE (type 1) | length varint, bytes (type 2) | 4 bytes LE (type 5)
//! ```
//!
//! Specification: <https://protobuf.dev/programming-guides/encoding/>. Groups (types 3 and 4) are refused: proto3 has none.
//! All offsets are absolute in the buffer that holds the whole request, so that an edit can name its place.

use std::ops::Range;

/// How deep messages may be nested, the request itself counted. The same limit as prost's.
pub const MAX_DEPTH: usize = 100;

/// How a value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Base-128 integer, type 0.
    Varint,
    /// Eight bytes, little endian, type 1.
    Fixed64,
    /// Length-delimited, type 2.
    Len,
    /// Four bytes, little endian, type 5.
    Fixed32,
}

impl Wire {
    /// The number in the tag.
    pub fn code(self) -> u32 {
        match self {
            Self::Varint => 0,
            Self::Fixed64 => 1,
            Self::Len => 2,
            Self::Fixed32 => 5,
        }
    }
}

/// What is wrong with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The buffer ends inside a varint or a fixed-size value.
    #[error("the message ends inside a value")]
    Truncated,
    /// A varint does not fit 64 bits.
    #[error("a varint is longer than 64 bits")]
    VarintOverflow,
    /// A tag names field 0 or a number over 2^29-1.
    #[error("a tag has no valid field number")]
    FieldNumber,
    /// Start or end of a group.
    #[error("groups are not part of proto3")]
    Group,
    /// Wire type 6 or 7.
    #[error("wire type {0} does not exist")]
    WireType(u8),
    /// A length reaches past the enclosing message.
    #[error("length {0} runs past the end of the message")]
    Length(u64),
}

/// One field as it stands in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field number.
    pub number: u32,
    /// The layout of the value.
    pub wire: Wire,
    /// Offset of the tag.
    pub start: usize,
    /// Offset of the length varint; of the value where there is none.
    pub prefix: usize,
    /// Offset of the value's first byte (after the length).
    pub body: usize,
    /// Offset after the value's last byte.
    pub end: usize,
    /// The value of a scalar; 0 for `Wire::Len`.
    pub bits: u64,
}

impl Field {
    /// Tag, length and value.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The value alone.
    pub fn body_range(&self) -> Range<usize> {
        self.body..self.end
    }
}

/// Reads a varint at `at`: its value and the offset after it.
#[inline]
pub fn read_varint(buf: &[u8], at: usize) -> Result<(u64, usize), WireError> {
    match buf.get(at) {
        Some(&byte) if byte < 0x80 => Ok((u64::from(byte), at + 1)),
        Some(_) => read_long_varint(buf, at),
        None => Err(WireError::Truncated),
    }
}

fn read_long_varint(buf: &[u8], at: usize) -> Result<(u64, usize), WireError> {
    let mut value = 0u64;
    for (index, &byte) in buf.iter().skip(at).take(10).enumerate() {
        if index == 9 && byte > 1 {
            return Err(WireError::VarintOverflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, at + index + 1));
        }
    }
    Err(if buf.len() - at < 10 { WireError::Truncated } else { WireError::VarintOverflow })
}

/// The bytes that `value` takes as a varint, 1 to 10.
#[inline]
pub fn varint_len(value: u64) -> usize {
    // ceil(bits / 7), at least 1, without a division.
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

/// Writes `value` as a varint into `out`, returning how many bytes it took.
#[inline]
pub fn put_varint(out: &mut [u8; 10], mut value: u64) -> usize {
    let mut len = 0;
    while value >= 0x80 {
        out[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    out[len] = value as u8;
    len + 1
}

/// Appends `value` as a varint.
pub fn write_varint(out: &mut impl Extend<u8>, value: u64) {
    let mut bytes = [0; 10];
    let len = put_varint(&mut bytes, value);
    out.extend(bytes.into_iter().take(len));
}

/// The signed value of a zigzag varint (`sint32`, `sint64`).
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The zigzag varint of a signed value.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Reads the field at `at` in a message that ends at `end`.
#[inline]
pub fn read_field(buf: &[u8], at: usize, end: usize) -> Result<Field, WireError> {
    let buf = buf.get(..end).ok_or(WireError::Truncated)?;
    let (tag, prefix) = read_varint(buf, at)?;
    let number = u32::try_from(tag >> 3).map_err(|_| WireError::FieldNumber)?;
    if number == 0 || number >= 1 << 29 {
        return Err(WireError::FieldNumber);
    }
    let mut field =
        Field { number, wire: Wire::Varint, start: at, prefix, body: prefix, end: prefix, bits: 0 };
    match tag & 7 {
        0 => (field.bits, field.end) = read_varint(buf, prefix)?,
        1 => {
            let bytes = buf.get(prefix..).and_then(|b| b.first_chunk::<8>()).ok_or(WireError::Truncated)?;
            (field.wire, field.bits, field.end) = (Wire::Fixed64, u64::from_le_bytes(*bytes), prefix + 8);
        }
        2 => {
            let (len, body) = read_varint(buf, prefix)?;
            if len > (end - body) as u64 {
                return Err(WireError::Length(len));
            }
            (field.wire, field.body, field.end) = (Wire::Len, body, body + len as usize);
        }
        5 => {
            let bytes = buf.get(prefix..).and_then(|b| b.first_chunk::<4>()).ok_or(WireError::Truncated)?;
            (field.wire, field.bits, field.end) =
                (Wire::Fixed32, u64::from(u32::from_le_bytes(*bytes)), prefix + 4);
        }
        3 | 4 => return Err(WireError::Group),
        other => return Err(WireError::WireType(other as u8)),
    }
    Ok(field)
}

/// The fields of one message, in the order in which they stand. Over checked bytes; on malformed ones it ends early.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The fields of the message whose body is `range` of `buf`.
    pub fn new(buf: &'a [u8], range: Range<usize>) -> Self {
        Self { buf, at: range.start, end: range.end.min(buf.len()) }
    }
}

impl Iterator for Fields<'_> {
    type Item = Field;

    #[inline]
    fn next(&mut self) -> Option<Field> {
        if self.at >= self.end {
            return None;
        }
        let field = read_field(self.buf, self.at, self.end).ok();
        self.at = field.map_or(self.end, |f| f.end);
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn over_long_and_overflowing_varints() {
        assert_eq!(read_varint(&[0x80, 0x80, 0x00], 0), Ok((0, 3)));
        let mut ten = [0xff; 10];
        ten[9] = 1;
        assert_eq!(read_varint(&ten, 0), Ok((u64::MAX, 10)));
        ten[9] = 2;
        assert_eq!(read_varint(&ten, 0), Err(WireError::VarintOverflow));
        assert_eq!(read_varint(&[0xff; 11], 0), Err(WireError::VarintOverflow));
        assert_eq!(read_varint(&[0xff; 3], 0), Err(WireError::Truncated));
    }

    #[test]
    fn what_a_tag_may_not_say() {
        for (bytes, error) in [
            (&[0x00u8, 0x00][..], WireError::FieldNumber),
            (&[0x0b], WireError::Group),
            (&[0x0c], WireError::Group),
            (&[0x0e], WireError::WireType(6)),
            (&[0x0f], WireError::WireType(7)),
            (&[0x0a, 0x05, 0x00], WireError::Length(5)),
            (&[0x09, 1, 2, 3], WireError::Truncated),
            (&[0x0d, 1, 2, 3], WireError::Truncated),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0], WireError::FieldNumber),
        ] {
            assert_eq!(read_field(bytes, 0, bytes.len()), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(out.len(), prost::encoding::encoded_len_varint(value));
            prop_assert_eq!(read_varint(&out, 0), Ok((value, out.len())));
        }

        #[test]
        fn zigzag_round_trips(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}

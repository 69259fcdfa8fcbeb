//! The fields of one message, and what can be wrong with them. Unlike `model::wire::Fields` it reads bytes that nobody checked.

use std::ops::Range;

use model::wire::{Field, Wire, WireError, read_field, read_varint};

/// Why bytes are not a remote-write request. It quotes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {offset}: {problem}")]
pub struct Malformed {
    /// The message in which it stands: `timeseries.samples`.
    pub message: &'static str,
    /// The offset in the inflated request.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A known field in a layout that its type does not have.
    #[error("wire type {found:?} does not fit field {number}")]
    WireType {
        /// The number of the field.
        number: u32,
        /// The layout found.
        found: Wire,
    },
    /// A packed field whose length is no multiple of its element's.
    #[error("a packed field ends inside an element")]
    Packed,
    /// The table of symbols is missing or begins with something.
    #[error("the symbols must begin with the empty string")]
    NoEmptySymbol,
    /// The fields are those of the other version.
    #[error(
        "the fields are those of the other remote-write version: the proto parameter of content-type must fit the body"
    )]
    OtherVersion,
    /// The texts pass 4 GiB.
    #[error(transparent)]
    TooMuchText(#[from] model::series::TooMuchText),
}

/// Reads the fields of one message in order.
pub(super) struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
    message: &'static str,
}

impl<'a> Reader<'a> {
    /// The message whose body is `range` of `buf`; errors call it `message`.
    pub(super) fn new(buf: &'a [u8], range: Range<usize>, message: &'static str) -> Self {
        Self { buf, at: range.start, end: range.end, message }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field>, Malformed> {
        if self.at >= self.end {
            return Ok(None);
        }
        match read_field(self.buf, self.at, self.end) {
            Ok(field) => {
                self.at = field.end;
                Ok(Some(field))
            }
            Err(error) => Err(self.fault(self.at, error)),
        }
    }

    #[cold]
    pub(super) fn fault(&self, offset: usize, problem: impl Into<Problem>) -> Malformed {
        Malformed { message: self.message, offset, problem: problem.into() }
    }

    /// The error for a known field of another layout.
    #[cold]
    pub(super) fn misfit(&self, field: &Field) -> Malformed {
        self.fault(field.start, Problem::WireType { number: field.number, found: field.wire })
    }

    /// The elements of a repeated varint field, packed or one of them.
    #[inline]
    pub(super) fn varints(&self, field: &Field, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
        match field.wire {
            Wire::Varint => each(field.bits),
            Wire::Len => {
                let body = self.buf.get(..field.end).unwrap_or_default();
                let mut at = field.body;
                while at < field.end {
                    let (bits, next) = read_varint(body, at).map_err(|e| self.fault(at, e))?;
                    each(bits);
                    at = next;
                }
            }
            _ => return Err(self.misfit(field)),
        }
        Ok(())
    }

    /// The elements of a repeated double field, packed or one of them.
    pub(super) fn doubles(&self, field: &Field, out: &mut Vec<f64>) -> Result<(), Malformed> {
        match field.wire {
            Wire::Fixed64 => out.push(f64::from_bits(field.bits)),
            Wire::Len => {
                let (elements, rest) = self.buf.get(field.body_range()).unwrap_or_default().as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(self.fault(field.start, Problem::Packed));
                }
                out.extend(elements.iter().map(|bytes| f64::from_le_bytes(*bytes)));
            }
            _ => return Err(self.misfit(field)),
        }
        Ok(())
    }
}

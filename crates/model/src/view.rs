//! What the generated [`crate::otlp`] views are made of.
//!
//! A [`View`] is a place in a checked request: the buffer, and where the message stands in it. Getters search the message
//! from its start each time: code that wants several fields of a message walks [`View::fields`] once instead.

use std::marker::PhantomData;
use std::ops::Range;

use crate::wire::{Field, Fields, Wire, read_varint, unzigzag};

/// A message in the buffer of a checked request.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    buf: &'a [u8],
    field: Option<Field>,
}

/// A generated view.
pub trait Message<'a>: Copy {
    /// The message at `view`.
    fn from_view(view: View<'a>) -> Self;
}

impl<'a> View<'a> {
    /// The request itself.
    pub fn root(buf: &'a [u8]) -> Self {
        Self { buf, field: None }
    }

    /// The message in the length-delimited `field` of the same buffer.
    pub fn at(buf: &'a [u8], field: Field) -> Self {
        Self { buf, field: Some(field) }
    }

    /// The whole request's bytes, which all offsets refer to.
    pub fn buf(&self) -> &'a [u8] {
        self.buf
    }

    /// Where the message stands in its parent; `None` for the request itself.
    pub fn place(&self) -> Option<Field> {
        self.field
    }

    /// The offsets of the message's own bytes.
    pub fn range(&self) -> Range<usize> {
        self.field.map_or(0..self.buf.len(), |f| f.body_range())
    }

    /// The message's own bytes.
    pub fn body(&self) -> &'a [u8] {
        self.buf.get(self.range()).unwrap_or_default()
    }

    /// Its fields in order.
    #[inline]
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.buf, self.range())
    }

    /// The field with this number: the last, should it be repeated.
    #[inline]
    pub fn field(&self, number: u32) -> Option<Field> {
        self.fields().filter(|f| f.number == number).last()
    }

    /// The value of a `bytes` or `string` field.
    #[inline]
    pub fn bytes(&self, number: u32) -> Option<&'a [u8]> {
        self.field(number).and_then(|f| self.buf.get(f.body_range()))
    }

    /// The value of a `string` field.
    #[inline]
    pub fn string(&self, number: u32) -> Option<&'a str> {
        self.bytes(number).and_then(|bytes| simdutf8::basic::from_utf8(bytes).ok())
    }

    /// The bits of a scalar field.
    #[inline]
    pub fn scalar(&self, number: u32) -> Option<u64> {
        self.field(number).map(|f| f.bits)
    }

    /// A nested message.
    #[inline]
    pub fn message<M: Message<'a>>(&self, number: u32) -> Option<M> {
        self.field(number).map(|f| M::from_view(View::at(self.buf, f)))
    }

    /// The elements of a repeated message field.
    #[inline]
    pub fn messages<M: Message<'a>>(&self, number: u32) -> Messages<'a, M> {
        Messages { view: *self, fields: self.fields(), number, message: PhantomData }
    }

    /// The elements of a repeated string field.
    pub fn strings(&self, number: u32) -> impl Iterator<Item = &'a str> + use<'a> {
        let buf = self.buf;
        self.fields()
            .filter(move |f| f.number == number)
            .filter_map(move |f| simdutf8::basic::from_utf8(buf.get(f.body_range())?).ok())
    }

    /// The bits of the elements of a repeated scalar field, packed or not.
    pub fn scalars(&self, number: u32, wire: Wire) -> impl Iterator<Item = u64> + use<'a> {
        let buf = self.buf;
        self.fields().filter(move |f| f.number == number).flat_map(move |f| match f.wire {
            Wire::Len => Elements::Packed { buf: buf.get(..f.end).unwrap_or_default(), at: f.body, wire },
            _ => Elements::One(Some(f.bits)),
        })
    }
}

/// The elements of a repeated message field.
#[derive(Clone, Debug)]
pub struct Messages<'a, M> {
    view: View<'a>,
    fields: Fields<'a>,
    number: u32,
    message: PhantomData<M>,
}

impl<'a, M: Message<'a>> Iterator for Messages<'a, M> {
    type Item = M;

    #[inline]
    fn next(&mut self) -> Option<M> {
        let number = self.number;
        let field = self.fields.find(|f| f.number == number)?;
        Some(M::from_view(View::at(self.view.buf, field)))
    }
}

enum Elements<'a> {
    One(Option<u64>),
    Packed { buf: &'a [u8], at: usize, wire: Wire },
}

impl Iterator for Elements<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::One(bits) => bits.take(),
            Self::Packed { buf, at, wire } => {
                let (bits, next) = match wire {
                    Wire::Fixed64 => (u64::from_le_bytes(*buf.get(*at..)?.first_chunk()?), *at + 8),
                    Wire::Fixed32 => {
                        (u64::from(u32::from_le_bytes(*buf.get(*at..)?.first_chunk()?)), *at + 4)
                    }
                    _ => read_varint(buf, *at).ok()?,
                };
                *at = next;
                Some(bits)
            }
        }
    }
}

/// The bits of a scalar as the value of a field's type.
pub trait Scalar {
    /// From the varint or the little-endian bits.
    fn from_bits(bits: u64) -> Self;
}

macro_rules! scalar {
    ($($type:ty: $bits:ident => $value:expr;)*) => {
        $(impl Scalar for $type {
            #[inline]
            fn from_bits($bits: u64) -> Self {
                $value
            }
        })*
    };
}

scalar! {
    u64: bits => bits;
    i64: bits => bits as i64;
    u32: bits => bits as u32;
    i32: bits => bits as i32;
    bool: bits => bits != 0;
    f64: bits => f64::from_bits(bits);
    f32: bits => f32::from_bits(bits as u32);
}

/// A zigzag integer.
#[derive(Clone, Copy, Debug)]
pub struct Zigzag<T>(pub T);

impl Scalar for Zigzag<i64> {
    fn from_bits(bits: u64) -> Self {
        Self(unzigzag(bits))
    }
}

impl Scalar for Zigzag<i32> {
    fn from_bits(bits: u64) -> Self {
        Self(unzigzag(bits & 0xffff_ffff) as i32)
    }
}

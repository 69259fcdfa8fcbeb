//! Builds protobuf messages field by field, for receivers whose input is not OTLP.
//!
//! Lengths are always in their shortest form. A nested message is written after one byte set aside for its length; when it
//! turns out to be 128 bytes or longer its bytes move up, which costs less than measuring everything first.
//! Nothing is omitted: whether a default value is worth its bytes is the caller's choice.

use bytes::{Bytes, BytesMut};

use crate::wire::{Wire, put_varint, varint_len, zigzag};

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    buf: BytesMut,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty message with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buf: BytesMut::with_capacity(bytes) }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Takes back everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buf
    }

    /// The finished message.
    pub fn finish(self) -> Bytes {
        self.buf.freeze()
    }

    /// The finished message, leaving this writer empty with what is left of its memory.
    pub fn take(&mut self) -> Bytes {
        self.buf.split().freeze()
    }

    /// Writes a tag; the value must follow by [`Self::varint`] or [`Self::raw`].
    pub fn tag(&mut self, number: u32, wire: Wire) {
        self.varint(u64::from(number << 3 | wire.code()));
    }

    /// Writes a bare varint.
    pub fn varint(&mut self, value: u64) {
        let mut bytes = [0; 10];
        let len = put_varint(&mut bytes, value);
        self.buf.extend_from_slice(&bytes[..len]);
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// A `uint32`, `uint64`, `int32`, `int64` (as two's complement) or enum field.
    pub fn uint(&mut self, number: u32, value: u64) {
        self.tag(number, Wire::Varint);
        self.varint(value);
    }

    /// An `int32` or `int64` field.
    pub fn int(&mut self, number: u32, value: i64) {
        self.uint(number, value as u64);
    }

    /// A `sint32` or `sint64` field.
    pub fn sint(&mut self, number: u32, value: i64) {
        self.uint(number, zigzag(value));
    }

    /// A `bool` field.
    pub fn bool(&mut self, number: u32, value: bool) {
        self.uint(number, u64::from(value));
    }

    /// A `fixed64` or `sfixed64` field.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        self.tag(number, Wire::Fixed64);
        self.raw(&value.to_le_bytes());
    }

    /// A `fixed32` or `sfixed32` field.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, Wire::Fixed32);
        self.raw(&value.to_le_bytes());
    }

    /// A `double` field.
    pub fn double(&mut self, number: u32, value: f64) {
        self.fixed64(number, value.to_bits());
    }

    /// A `float` field.
    pub fn float(&mut self, number: u32, value: f32) {
        self.fixed32(number, value.to_bits());
    }

    /// A `string` field.
    pub fn string(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    /// A `bytes` field, or a message that is already encoded.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, Wire::Len);
        self.varint(value.len() as u64);
        self.raw(value);
    }

    /// A nested message, or a packed field, written by `body`.
    pub fn message<T>(&mut self, number: u32, body: impl FnOnce(&mut Self) -> T) -> T {
        self.tag(number, Wire::Len);
        let prefix = self.buf.len();
        self.buf.extend_from_slice(&[0]);
        let result = body(self);
        self.mend_length(prefix);
        result
    }

    fn mend_length(&mut self, prefix: usize) {
        let body = prefix + 1;
        let len = self.buf.len() - body;
        let mut varint = [0; 10];
        let width = put_varint(&mut varint, len as u64);
        debug_assert_eq!(width, varint_len(len as u64));
        if width > 1 {
            self.buf.extend_from_slice(&varint[..width - 1]);
            self.buf.copy_within(body..body + len, prefix + width);
        }
        self.buf[prefix..prefix + width].copy_from_slice(&varint[..width]);
    }
}

//! What the tables generated from `proto/` say about messages and fields.
//!
//! The receipt check, normalisation, redaction and the JSON mapping are all driven by these tables, so that a field added to
//! a `.proto` file is checked, visited and mapped without a line of code for it.

/// A message type.
#[derive(Debug)]
pub struct MessageDescriptor {
    /// Its name without the package: `Span`.
    pub name: &'static str,
    /// Its fields by rising number.
    pub fields: &'static [FieldDescriptor],
    /// Position + 1 in `fields` by field number; 0 where there is no such field.
    pub index: [u8; MAX_FIELD_NUMBER + 1],
    /// What a tag of one byte stands for, for the check at receipt.
    pub by_tag: [TagEntry; 128],
    /// A record is what pipelines count: a span, a log record, a data point.
    pub record: bool,
}

/// No field of the protocol has a higher number (a test of the generated tables holds it).
pub const MAX_FIELD_NUMBER: usize = 31;

/// What a tag of one byte stands for: the field with its expected wire type, or [`Shape::Other`].
#[derive(Clone, Copy, Debug)]
pub struct TagEntry {
    /// How to pass over the value.
    pub shape: Shape,
    /// [`FieldDescriptor::slot`].
    pub slot: u32,
}

/// How a value is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Unknown, packed, or not the wire type of the field: not for the short way.
    Other,
    /// Length-delimited text, which has to be UTF-8.
    Text,
    /// Length-delimited bytes.
    Blob,
    /// A nested message.
    Message,
    /// A varint.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
}

/// A field of a message.
#[derive(Debug)]
pub struct FieldDescriptor {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in the `.proto` file.
    pub name: &'static str,
    /// Its name in JSON.
    pub json_name: &'static str,
    /// The type of one value.
    pub kind: Kind,
    /// Whether it may stand any number of times.
    pub repeated: bool,
    /// The oneof it belongs to, numbered within the message.
    pub oneof: Option<u8>,
    /// The bit by which a second occurrence is noticed; members of one oneof share it, repeated fields have none.
    pub slot: u32,
}

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `double`
    Double,
    /// `float`
    Float,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
    /// `sint32`
    Sint32,
    /// `sint64`
    Sint64,
    /// `fixed32`
    Fixed32,
    /// `fixed64`
    Fixed64,
    /// `sfixed32`
    Sfixed32,
    /// `sfixed64`
    Sfixed64,
    /// `bool`
    Bool,
    /// `string`: UTF-8
    String,
    /// `bytes`
    Bytes,
    /// An enumeration.
    Enum(&'static EnumDescriptor),
    /// A nested message.
    Message(&'static MessageDescriptor),
}

/// An enumeration.
#[derive(Debug)]
pub struct EnumDescriptor {
    /// Its name without the package.
    pub name: &'static str,
    /// Number and name of each value.
    pub values: &'static [(i32, &'static str)],
}

impl MessageDescriptor {
    /// The field with this number.
    #[inline]
    pub fn field(&self, number: u32) -> Option<&'static FieldDescriptor> {
        let position = *self.index.get(number as usize)?;
        self.fields.get(usize::from(position).wrapping_sub(1))
    }

    /// The field with this name, as JSON (`traceId`) or the `.proto` file (`trace_id`) spell it.
    pub fn by_json_name(&self, name: &str) -> Option<&'static FieldDescriptor> {
        self.fields.iter().find(|f| f.json_name == name || f.name == name)
    }
}

impl Kind {
    /// How one value of this type stands on the wire outside a packed field.
    #[inline]
    pub fn wire(self) -> crate::wire::Wire {
        use crate::wire::Wire;
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => Wire::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => Wire::Fixed32,
            Self::String | Self::Bytes | Self::Message(_) => Wire::Len,
            _ => Wire::Varint,
        }
    }
}

/// Fills [`MessageDescriptor::index`].
pub const fn index(fields: &[FieldDescriptor]) -> [u8; MAX_FIELD_NUMBER + 1] {
    let mut index = [0; MAX_FIELD_NUMBER + 1];
    let mut position = 0;
    while position < fields.len() {
        index[fields[position].number as usize] = position as u8 + 1;
        position += 1;
    }
    index
}

/// Fills [`MessageDescriptor::by_tag`].
pub const fn by_tag(fields: &[FieldDescriptor]) -> [TagEntry; 128] {
    let mut entries = [TagEntry { shape: Shape::Other, slot: 0 }; 128];
    let mut position = 0;
    while position < fields.len() {
        let field = &fields[position];
        let (shape, wire) = match field.kind {
            Kind::String => (Shape::Text, 2),
            Kind::Bytes => (Shape::Blob, 2),
            Kind::Message(_) => (Shape::Message, 2),
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => (Shape::Fixed64, 1),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => (Shape::Fixed32, 5),
            _ => (Shape::Varint, 0),
        };
        let tag = (field.number << 3 | wire) as usize;
        if tag < entries.len() {
            entries[tag] = TagEntry { shape, slot: field.slot };
        }
        position += 1;
    }
    entries
}

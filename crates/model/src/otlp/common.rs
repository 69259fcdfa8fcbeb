//! Generated from `proto/opentelemetry/proto/common/v1/common.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

static ANY_VALUE_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "string_value",
        json_name: "stringValue",
        kind: Kind::String,
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "bool_value",
        json_name: "boolValue",
        kind: Kind::Bool,
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "int_value",
        json_name: "intValue",
        kind: Kind::Int64,
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 4,
        name: "double_value",
        json_name: "doubleValue",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 5,
        name: "array_value",
        json_name: "arrayValue",
        kind: Kind::Message(&ARRAY_VALUE),
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 6,
        name: "kvlist_value",
        json_name: "kvlistValue",
        kind: Kind::Message(&KEY_VALUE_LIST),
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 7,
        name: "bytes_value",
        json_name: "bytesValue",
        kind: Kind::Bytes,
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
    FieldDescriptor {
        number: 8,
        name: "string_value_strindex",
        json_name: "stringValueStrindex",
        kind: Kind::Int32,
        repeated: false,
        oneof: Some(0),
        slot: 1,
    },
];

/// The table of `AnyValue`.
pub static ANY_VALUE: MessageDescriptor = MessageDescriptor {
    name: "AnyValue",
    fields: ANY_VALUE_FIELDS,
    index: descriptor::index(ANY_VALUE_FIELDS),
    by_tag: descriptor::by_tag(ANY_VALUE_FIELDS),
    record: false,
};

/// A `AnyValue` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct AnyValue<'a>(View<'a>);

impl<'a> Message<'a> for AnyValue<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> AnyValue<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `string_value`.
    pub fn string_value(&self) -> Option<&'a str> {
        self.0.string(1)
    }

    /// Field 2, `bool_value`.
    pub fn bool_value(&self) -> Option<bool> {
        self.0.scalar(2).map(bool::from_bits)
    }

    /// Field 3, `int_value`.
    pub fn int_value(&self) -> Option<i64> {
        self.0.scalar(3).map(i64::from_bits)
    }

    /// Field 4, `double_value`.
    pub fn double_value(&self) -> Option<f64> {
        self.0.scalar(4).map(f64::from_bits)
    }

    /// Field 5, `array_value`.
    pub fn array_value(&self) -> Option<ArrayValue<'a>> {
        self.0.message(5)
    }

    /// Field 6, `kvlist_value`.
    pub fn kvlist_value(&self) -> Option<KeyValueList<'a>> {
        self.0.message(6)
    }

    /// Field 7, `bytes_value`.
    pub fn bytes_value(&self) -> Option<&'a [u8]> {
        self.0.bytes(7)
    }

    /// Field 8, `string_value_strindex`.
    pub fn string_value_strindex(&self) -> Option<i32> {
        self.0.scalar(8).map(i32::from_bits)
    }
}

static ARRAY_VALUE_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "values",
    json_name: "values",
    kind: Kind::Message(&ANY_VALUE),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `ArrayValue`.
pub static ARRAY_VALUE: MessageDescriptor = MessageDescriptor {
    name: "ArrayValue",
    fields: ARRAY_VALUE_FIELDS,
    index: descriptor::index(ARRAY_VALUE_FIELDS),
    by_tag: descriptor::by_tag(ARRAY_VALUE_FIELDS),
    record: false,
};

/// A `ArrayValue` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ArrayValue<'a>(View<'a>);

impl<'a> Message<'a> for ArrayValue<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ArrayValue<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `values`.
    pub fn values(&self) -> Messages<'a, AnyValue<'a>> {
        self.0.messages(1)
    }
}

static KEY_VALUE_LIST_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "values",
    json_name: "values",
    kind: Kind::Message(&KEY_VALUE),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `KeyValueList`.
pub static KEY_VALUE_LIST: MessageDescriptor = MessageDescriptor {
    name: "KeyValueList",
    fields: KEY_VALUE_LIST_FIELDS,
    index: descriptor::index(KEY_VALUE_LIST_FIELDS),
    by_tag: descriptor::by_tag(KEY_VALUE_LIST_FIELDS),
    record: false,
};

/// A `KeyValueList` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct KeyValueList<'a>(View<'a>);

impl<'a> Message<'a> for KeyValueList<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> KeyValueList<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `values`.
    pub fn values(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(1)
    }
}

static KEY_VALUE_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "key",
        json_name: "key",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "value",
        json_name: "value",
        kind: Kind::Message(&ANY_VALUE),
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "key_strindex",
        json_name: "keyStrindex",
        kind: Kind::Int32,
        repeated: false,
        oneof: None,
        slot: 4,
    },
];

/// The table of `KeyValue`.
pub static KEY_VALUE: MessageDescriptor = MessageDescriptor {
    name: "KeyValue",
    fields: KEY_VALUE_FIELDS,
    index: descriptor::index(KEY_VALUE_FIELDS),
    by_tag: descriptor::by_tag(KEY_VALUE_FIELDS),
    record: false,
};

/// A `KeyValue` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<'a>(View<'a>);

impl<'a> Message<'a> for KeyValue<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> KeyValue<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `key`.
    pub fn key(&self) -> &'a str {
        self.0.string(1).unwrap_or_default()
    }

    /// Field 2, `value`.
    pub fn value(&self) -> Option<AnyValue<'a>> {
        self.0.message(2)
    }

    /// Field 3, `key_strindex`.
    pub fn key_strindex(&self) -> i32 {
        self.0.scalar(3).map(i32::from_bits).unwrap_or_default()
    }
}

static INSTRUMENTATION_SCOPE_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "name",
        json_name: "name",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "version",
        json_name: "version",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 4,
        name: "dropped_attributes_count",
        json_name: "droppedAttributesCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 4,
    },
];

/// The table of `InstrumentationScope`.
pub static INSTRUMENTATION_SCOPE: MessageDescriptor = MessageDescriptor {
    name: "InstrumentationScope",
    fields: INSTRUMENTATION_SCOPE_FIELDS,
    index: descriptor::index(INSTRUMENTATION_SCOPE_FIELDS),
    by_tag: descriptor::by_tag(INSTRUMENTATION_SCOPE_FIELDS),
    record: false,
};

/// A `InstrumentationScope` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct InstrumentationScope<'a>(View<'a>);

impl<'a> Message<'a> for InstrumentationScope<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> InstrumentationScope<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `name`.
    pub fn name(&self) -> &'a str {
        self.0.string(1).unwrap_or_default()
    }

    /// Field 2, `version`.
    pub fn version(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }

    /// Field 3, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(3)
    }

    /// Field 4, `dropped_attributes_count`.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.0.scalar(4).map(u32::from_bits).unwrap_or_default()
    }
}

static ENTITY_REF_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "schema_url",
        json_name: "schemaUrl",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "type",
        json_name: "type",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "id_keys",
        json_name: "idKeys",
        kind: Kind::String,
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 4,
        name: "description_keys",
        json_name: "descriptionKeys",
        kind: Kind::String,
        repeated: true,
        oneof: None,
        slot: 0,
    },
];

/// The table of `EntityRef`.
pub static ENTITY_REF: MessageDescriptor = MessageDescriptor {
    name: "EntityRef",
    fields: ENTITY_REF_FIELDS,
    index: descriptor::index(ENTITY_REF_FIELDS),
    by_tag: descriptor::by_tag(ENTITY_REF_FIELDS),
    record: false,
};

/// A `EntityRef` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct EntityRef<'a>(View<'a>);

impl<'a> Message<'a> for EntityRef<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> EntityRef<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(1).unwrap_or_default()
    }

    /// Field 2, `type`.
    pub fn r#type(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }

    /// Field 3, `id_keys`.
    pub fn id_keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.strings(3)
    }

    /// Field 4, `description_keys`.
    pub fn description_keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.strings(4)
    }
}

//! Generated from `proto/opentelemetry/proto/resource/v1/resource.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

static RESOURCE_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 2,
        name: "dropped_attributes_count",
        json_name: "droppedAttributesCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "entity_refs",
        json_name: "entityRefs",
        kind: Kind::Message(&ENTITY_REF),
        repeated: true,
        oneof: None,
        slot: 0,
    },
];

/// The table of `Resource`.
pub static RESOURCE: MessageDescriptor = MessageDescriptor {
    name: "Resource",
    fields: RESOURCE_FIELDS,
    index: descriptor::index(RESOURCE_FIELDS),
    by_tag: descriptor::by_tag(RESOURCE_FIELDS),
    record: false,
};

/// A `Resource` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a>(View<'a>);

impl<'a> Message<'a> for Resource<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Resource<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(1)
    }

    /// Field 2, `dropped_attributes_count`.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.0.scalar(2).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 3, `entity_refs`.
    pub fn entity_refs(&self) -> Messages<'a, EntityRef<'a>> {
        self.0.messages(3)
    }
}

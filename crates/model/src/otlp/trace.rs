//! Generated from `proto/opentelemetry/proto/trace/v1/trace.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

/// The table of `SpanFlags`.
pub static SPAN_FLAGS: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "SpanFlags",
    values: &[
        (0, "SPAN_FLAGS_DO_NOT_USE"),
        (255, "SPAN_FLAGS_TRACE_FLAGS_MASK"),
        (256, "SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK"),
        (512, "SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK"),
    ],
};

static TRACES_DATA_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "resource_spans",
    json_name: "resourceSpans",
    kind: Kind::Message(&RESOURCE_SPANS),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `TracesData`.
pub static TRACES_DATA: MessageDescriptor = MessageDescriptor {
    name: "TracesData",
    fields: TRACES_DATA_FIELDS,
    index: descriptor::index(TRACES_DATA_FIELDS),
    by_tag: descriptor::by_tag(TRACES_DATA_FIELDS),
    record: false,
};

/// A `TracesData` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct TracesData<'a>(View<'a>);

impl<'a> Message<'a> for TracesData<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> TracesData<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `resource_spans`.
    pub fn resource_spans(&self) -> Messages<'a, ResourceSpans<'a>> {
        self.0.messages(1)
    }
}

static RESOURCE_SPANS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "resource",
        json_name: "resource",
        kind: Kind::Message(&RESOURCE),
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "scope_spans",
        json_name: "scopeSpans",
        kind: Kind::Message(&SCOPE_SPANS),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 3,
        name: "schema_url",
        json_name: "schemaUrl",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 2,
    },
];

/// The table of `ResourceSpans`.
pub static RESOURCE_SPANS: MessageDescriptor = MessageDescriptor {
    name: "ResourceSpans",
    fields: RESOURCE_SPANS_FIELDS,
    index: descriptor::index(RESOURCE_SPANS_FIELDS),
    by_tag: descriptor::by_tag(RESOURCE_SPANS_FIELDS),
    record: false,
};

/// A `ResourceSpans` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ResourceSpans<'a>(View<'a>);

impl<'a> Message<'a> for ResourceSpans<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ResourceSpans<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `resource`.
    pub fn resource(&self) -> Option<Resource<'a>> {
        self.0.message(1)
    }

    /// Field 2, `scope_spans`.
    pub fn scope_spans(&self) -> Messages<'a, ScopeSpans<'a>> {
        self.0.messages(2)
    }

    /// Field 3, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }
}

static SCOPE_SPANS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "scope",
        json_name: "scope",
        kind: Kind::Message(&INSTRUMENTATION_SCOPE),
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "spans",
        json_name: "spans",
        kind: Kind::Message(&SPAN),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 3,
        name: "schema_url",
        json_name: "schemaUrl",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 2,
    },
];

/// The table of `ScopeSpans`.
pub static SCOPE_SPANS: MessageDescriptor = MessageDescriptor {
    name: "ScopeSpans",
    fields: SCOPE_SPANS_FIELDS,
    index: descriptor::index(SCOPE_SPANS_FIELDS),
    by_tag: descriptor::by_tag(SCOPE_SPANS_FIELDS),
    record: false,
};

/// A `ScopeSpans` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ScopeSpans<'a>(View<'a>);

impl<'a> Message<'a> for ScopeSpans<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ScopeSpans<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `scope`.
    pub fn scope(&self) -> Option<InstrumentationScope<'a>> {
        self.0.message(1)
    }

    /// Field 2, `spans`.
    pub fn spans(&self) -> Messages<'a, Span<'a>> {
        self.0.messages(2)
    }

    /// Field 3, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }
}

/// The table of `Span.SpanKind`.
pub static SPAN_SPAN_KIND: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "Span.SpanKind",
    values: &[
        (0, "SPAN_KIND_UNSPECIFIED"),
        (1, "SPAN_KIND_INTERNAL"),
        (2, "SPAN_KIND_SERVER"),
        (3, "SPAN_KIND_CLIENT"),
        (4, "SPAN_KIND_PRODUCER"),
        (5, "SPAN_KIND_CONSUMER"),
    ],
};

static SPAN_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "trace_id",
        json_name: "traceId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "span_id",
        json_name: "spanId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "trace_state",
        json_name: "traceState",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 4,
        name: "parent_span_id",
        json_name: "parentSpanId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 8,
    },
    FieldDescriptor {
        number: 5,
        name: "name",
        json_name: "name",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 16,
    },
    FieldDescriptor {
        number: 6,
        name: "kind",
        json_name: "kind",
        kind: Kind::Enum(&SPAN_SPAN_KIND),
        repeated: false,
        oneof: None,
        slot: 32,
    },
    FieldDescriptor {
        number: 7,
        name: "start_time_unix_nano",
        json_name: "startTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 64,
    },
    FieldDescriptor {
        number: 8,
        name: "end_time_unix_nano",
        json_name: "endTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 128,
    },
    FieldDescriptor {
        number: 9,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 10,
        name: "dropped_attributes_count",
        json_name: "droppedAttributesCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 256,
    },
    FieldDescriptor {
        number: 11,
        name: "events",
        json_name: "events",
        kind: Kind::Message(&SPAN_EVENT),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 12,
        name: "dropped_events_count",
        json_name: "droppedEventsCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 512,
    },
    FieldDescriptor {
        number: 13,
        name: "links",
        json_name: "links",
        kind: Kind::Message(&SPAN_LINK),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 14,
        name: "dropped_links_count",
        json_name: "droppedLinksCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 1024,
    },
    FieldDescriptor {
        number: 15,
        name: "status",
        json_name: "status",
        kind: Kind::Message(&STATUS),
        repeated: false,
        oneof: None,
        slot: 2048,
    },
    FieldDescriptor {
        number: 16,
        name: "flags",
        json_name: "flags",
        kind: Kind::Fixed32,
        repeated: false,
        oneof: None,
        slot: 4096,
    },
];

/// The table of `Span`.
pub static SPAN: MessageDescriptor = MessageDescriptor {
    name: "Span",
    fields: SPAN_FIELDS,
    index: descriptor::index(SPAN_FIELDS),
    by_tag: descriptor::by_tag(SPAN_FIELDS),
    record: true,
};

/// A `Span` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a>(View<'a>);

impl<'a> Message<'a> for Span<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Span<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `trace_id`.
    pub fn trace_id(&self) -> &'a [u8] {
        self.0.bytes(1).unwrap_or_default()
    }

    /// Field 2, `span_id`.
    pub fn span_id(&self) -> &'a [u8] {
        self.0.bytes(2).unwrap_or_default()
    }

    /// Field 3, `trace_state`.
    pub fn trace_state(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }

    /// Field 4, `parent_span_id`.
    pub fn parent_span_id(&self) -> &'a [u8] {
        self.0.bytes(4).unwrap_or_default()
    }

    /// Field 5, `name`.
    pub fn name(&self) -> &'a str {
        self.0.string(5).unwrap_or_default()
    }

    /// Field 6, `kind`.
    pub fn kind(&self) -> i32 {
        self.0.scalar(6).map(i32::from_bits).unwrap_or_default()
    }

    /// Field 7, `start_time_unix_nano`.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.0.scalar(7).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 8, `end_time_unix_nano`.
    pub fn end_time_unix_nano(&self) -> u64 {
        self.0.scalar(8).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 9, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(9)
    }

    /// Field 10, `dropped_attributes_count`.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.0.scalar(10).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 11, `events`.
    pub fn events(&self) -> Messages<'a, SpanEvent<'a>> {
        self.0.messages(11)
    }

    /// Field 12, `dropped_events_count`.
    pub fn dropped_events_count(&self) -> u32 {
        self.0.scalar(12).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 13, `links`.
    pub fn links(&self) -> Messages<'a, SpanLink<'a>> {
        self.0.messages(13)
    }

    /// Field 14, `dropped_links_count`.
    pub fn dropped_links_count(&self) -> u32 {
        self.0.scalar(14).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 15, `status`.
    pub fn status(&self) -> Option<Status<'a>> {
        self.0.message(15)
    }

    /// Field 16, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(16).map(u32::from_bits).unwrap_or_default()
    }
}

static SPAN_EVENT_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "time_unix_nano",
        json_name: "timeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "name",
        json_name: "name",
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

/// The table of `Span.Event`.
pub static SPAN_EVENT: MessageDescriptor = MessageDescriptor {
    name: "Span.Event",
    fields: SPAN_EVENT_FIELDS,
    index: descriptor::index(SPAN_EVENT_FIELDS),
    by_tag: descriptor::by_tag(SPAN_EVENT_FIELDS),
    record: false,
};

/// A `Span.Event` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct SpanEvent<'a>(View<'a>);

impl<'a> Message<'a> for SpanEvent<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> SpanEvent<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `time_unix_nano`.
    pub fn time_unix_nano(&self) -> u64 {
        self.0.scalar(1).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 2, `name`.
    pub fn name(&self) -> &'a str {
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

static SPAN_LINK_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "trace_id",
        json_name: "traceId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "span_id",
        json_name: "spanId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "trace_state",
        json_name: "traceState",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 4,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 5,
        name: "dropped_attributes_count",
        json_name: "droppedAttributesCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 8,
    },
    FieldDescriptor {
        number: 6,
        name: "flags",
        json_name: "flags",
        kind: Kind::Fixed32,
        repeated: false,
        oneof: None,
        slot: 16,
    },
];

/// The table of `Span.Link`.
pub static SPAN_LINK: MessageDescriptor = MessageDescriptor {
    name: "Span.Link",
    fields: SPAN_LINK_FIELDS,
    index: descriptor::index(SPAN_LINK_FIELDS),
    by_tag: descriptor::by_tag(SPAN_LINK_FIELDS),
    record: false,
};

/// A `Span.Link` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct SpanLink<'a>(View<'a>);

impl<'a> Message<'a> for SpanLink<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> SpanLink<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `trace_id`.
    pub fn trace_id(&self) -> &'a [u8] {
        self.0.bytes(1).unwrap_or_default()
    }

    /// Field 2, `span_id`.
    pub fn span_id(&self) -> &'a [u8] {
        self.0.bytes(2).unwrap_or_default()
    }

    /// Field 3, `trace_state`.
    pub fn trace_state(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }

    /// Field 4, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(4)
    }

    /// Field 5, `dropped_attributes_count`.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.0.scalar(5).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 6, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(6).map(u32::from_bits).unwrap_or_default()
    }
}

/// The table of `Status.StatusCode`.
pub static STATUS_STATUS_CODE: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "Status.StatusCode",
    values: &[(0, "STATUS_CODE_UNSET"), (1, "STATUS_CODE_OK"), (2, "STATUS_CODE_ERROR")],
};

static STATUS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 2,
        name: "message",
        json_name: "message",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "code",
        json_name: "code",
        kind: Kind::Enum(&STATUS_STATUS_CODE),
        repeated: false,
        oneof: None,
        slot: 2,
    },
];

/// The table of `Status`.
pub static STATUS: MessageDescriptor = MessageDescriptor {
    name: "Status",
    fields: STATUS_FIELDS,
    index: descriptor::index(STATUS_FIELDS),
    by_tag: descriptor::by_tag(STATUS_FIELDS),
    record: false,
};

/// A `Status` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a>(View<'a>);

impl<'a> Message<'a> for Status<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Status<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 2, `message`.
    pub fn message(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }

    /// Field 3, `code`.
    pub fn code(&self) -> i32 {
        self.0.scalar(3).map(i32::from_bits).unwrap_or_default()
    }
}

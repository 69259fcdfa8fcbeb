//! Generated from `proto/opentelemetry/proto/logs/v1/logs.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

/// The table of `SeverityNumber`.
pub static SEVERITY_NUMBER: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "SeverityNumber",
    values: &[
        (0, "SEVERITY_NUMBER_UNSPECIFIED"),
        (1, "SEVERITY_NUMBER_TRACE"),
        (2, "SEVERITY_NUMBER_TRACE2"),
        (3, "SEVERITY_NUMBER_TRACE3"),
        (4, "SEVERITY_NUMBER_TRACE4"),
        (5, "SEVERITY_NUMBER_DEBUG"),
        (6, "SEVERITY_NUMBER_DEBUG2"),
        (7, "SEVERITY_NUMBER_DEBUG3"),
        (8, "SEVERITY_NUMBER_DEBUG4"),
        (9, "SEVERITY_NUMBER_INFO"),
        (10, "SEVERITY_NUMBER_INFO2"),
        (11, "SEVERITY_NUMBER_INFO3"),
        (12, "SEVERITY_NUMBER_INFO4"),
        (13, "SEVERITY_NUMBER_WARN"),
        (14, "SEVERITY_NUMBER_WARN2"),
        (15, "SEVERITY_NUMBER_WARN3"),
        (16, "SEVERITY_NUMBER_WARN4"),
        (17, "SEVERITY_NUMBER_ERROR"),
        (18, "SEVERITY_NUMBER_ERROR2"),
        (19, "SEVERITY_NUMBER_ERROR3"),
        (20, "SEVERITY_NUMBER_ERROR4"),
        (21, "SEVERITY_NUMBER_FATAL"),
        (22, "SEVERITY_NUMBER_FATAL2"),
        (23, "SEVERITY_NUMBER_FATAL3"),
        (24, "SEVERITY_NUMBER_FATAL4"),
    ],
};

/// The table of `LogRecordFlags`.
pub static LOG_RECORD_FLAGS: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "LogRecordFlags",
    values: &[(0, "LOG_RECORD_FLAGS_DO_NOT_USE"), (255, "LOG_RECORD_FLAGS_TRACE_FLAGS_MASK")],
};

static LOGS_DATA_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "resource_logs",
    json_name: "resourceLogs",
    kind: Kind::Message(&RESOURCE_LOGS),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `LogsData`.
pub static LOGS_DATA: MessageDescriptor = MessageDescriptor {
    name: "LogsData",
    fields: LOGS_DATA_FIELDS,
    index: descriptor::index(LOGS_DATA_FIELDS),
    by_tag: descriptor::by_tag(LOGS_DATA_FIELDS),
    record: false,
};

/// A `LogsData` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct LogsData<'a>(View<'a>);

impl<'a> Message<'a> for LogsData<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> LogsData<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `resource_logs`.
    pub fn resource_logs(&self) -> Messages<'a, ResourceLogs<'a>> {
        self.0.messages(1)
    }
}

static RESOURCE_LOGS_FIELDS: &[FieldDescriptor] = &[
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
        name: "scope_logs",
        json_name: "scopeLogs",
        kind: Kind::Message(&SCOPE_LOGS),
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

/// The table of `ResourceLogs`.
pub static RESOURCE_LOGS: MessageDescriptor = MessageDescriptor {
    name: "ResourceLogs",
    fields: RESOURCE_LOGS_FIELDS,
    index: descriptor::index(RESOURCE_LOGS_FIELDS),
    by_tag: descriptor::by_tag(RESOURCE_LOGS_FIELDS),
    record: false,
};

/// A `ResourceLogs` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ResourceLogs<'a>(View<'a>);

impl<'a> Message<'a> for ResourceLogs<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ResourceLogs<'a> {
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

    /// Field 2, `scope_logs`.
    pub fn scope_logs(&self) -> Messages<'a, ScopeLogs<'a>> {
        self.0.messages(2)
    }

    /// Field 3, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }
}

static SCOPE_LOGS_FIELDS: &[FieldDescriptor] = &[
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
        name: "log_records",
        json_name: "logRecords",
        kind: Kind::Message(&LOG_RECORD),
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

/// The table of `ScopeLogs`.
pub static SCOPE_LOGS: MessageDescriptor = MessageDescriptor {
    name: "ScopeLogs",
    fields: SCOPE_LOGS_FIELDS,
    index: descriptor::index(SCOPE_LOGS_FIELDS),
    by_tag: descriptor::by_tag(SCOPE_LOGS_FIELDS),
    record: false,
};

/// A `ScopeLogs` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ScopeLogs<'a>(View<'a>);

impl<'a> Message<'a> for ScopeLogs<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ScopeLogs<'a> {
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

    /// Field 2, `log_records`.
    pub fn log_records(&self) -> Messages<'a, LogRecord<'a>> {
        self.0.messages(2)
    }

    /// Field 3, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }
}

static LOG_RECORD_FIELDS: &[FieldDescriptor] = &[
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
        name: "severity_number",
        json_name: "severityNumber",
        kind: Kind::Enum(&SEVERITY_NUMBER),
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "severity_text",
        json_name: "severityText",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "body",
        json_name: "body",
        kind: Kind::Message(&ANY_VALUE),
        repeated: false,
        oneof: None,
        slot: 8,
    },
    FieldDescriptor {
        number: 6,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 7,
        name: "dropped_attributes_count",
        json_name: "droppedAttributesCount",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 16,
    },
    FieldDescriptor {
        number: 8,
        name: "flags",
        json_name: "flags",
        kind: Kind::Fixed32,
        repeated: false,
        oneof: None,
        slot: 32,
    },
    FieldDescriptor {
        number: 9,
        name: "trace_id",
        json_name: "traceId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 64,
    },
    FieldDescriptor {
        number: 10,
        name: "span_id",
        json_name: "spanId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 128,
    },
    FieldDescriptor {
        number: 11,
        name: "observed_time_unix_nano",
        json_name: "observedTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 256,
    },
    FieldDescriptor {
        number: 12,
        name: "event_name",
        json_name: "eventName",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 512,
    },
];

/// The table of `LogRecord`.
pub static LOG_RECORD: MessageDescriptor = MessageDescriptor {
    name: "LogRecord",
    fields: LOG_RECORD_FIELDS,
    index: descriptor::index(LOG_RECORD_FIELDS),
    by_tag: descriptor::by_tag(LOG_RECORD_FIELDS),
    record: true,
};

/// A `LogRecord` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a>(View<'a>);

impl<'a> Message<'a> for LogRecord<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> LogRecord<'a> {
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

    /// Field 2, `severity_number`.
    pub fn severity_number(&self) -> i32 {
        self.0.scalar(2).map(i32::from_bits).unwrap_or_default()
    }

    /// Field 3, `severity_text`.
    pub fn severity_text(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }

    /// Field 5, `body`.
    pub fn body(&self) -> Option<AnyValue<'a>> {
        self.0.message(5)
    }

    /// Field 6, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(6)
    }

    /// Field 7, `dropped_attributes_count`.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.0.scalar(7).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 8, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(8).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 9, `trace_id`.
    pub fn trace_id(&self) -> &'a [u8] {
        self.0.bytes(9).unwrap_or_default()
    }

    /// Field 10, `span_id`.
    pub fn span_id(&self) -> &'a [u8] {
        self.0.bytes(10).unwrap_or_default()
    }

    /// Field 11, `observed_time_unix_nano`.
    pub fn observed_time_unix_nano(&self) -> u64 {
        self.0.scalar(11).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 12, `event_name`.
    pub fn event_name(&self) -> &'a str {
        self.0.string(12).unwrap_or_default()
    }
}

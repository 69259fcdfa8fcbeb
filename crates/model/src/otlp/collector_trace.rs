//! Generated from `proto/opentelemetry/proto/collector/trace/v1/trace_service.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

static EXPORT_TRACE_SERVICE_REQUEST_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "resource_spans",
    json_name: "resourceSpans",
    kind: Kind::Message(&RESOURCE_SPANS),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `ExportTraceServiceRequest`.
pub static EXPORT_TRACE_SERVICE_REQUEST: MessageDescriptor = MessageDescriptor {
    name: "ExportTraceServiceRequest",
    fields: EXPORT_TRACE_SERVICE_REQUEST_FIELDS,
    index: descriptor::index(EXPORT_TRACE_SERVICE_REQUEST_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_TRACE_SERVICE_REQUEST_FIELDS),
    record: false,
};

/// A `ExportTraceServiceRequest` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportTraceServiceRequest<'a>(View<'a>);

impl<'a> Message<'a> for ExportTraceServiceRequest<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportTraceServiceRequest<'a> {
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

static EXPORT_TRACE_SERVICE_RESPONSE_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "partial_success",
    json_name: "partialSuccess",
    kind: Kind::Message(&EXPORT_TRACE_PARTIAL_SUCCESS),
    repeated: false,
    oneof: None,
    slot: 1,
}];

/// The table of `ExportTraceServiceResponse`.
pub static EXPORT_TRACE_SERVICE_RESPONSE: MessageDescriptor = MessageDescriptor {
    name: "ExportTraceServiceResponse",
    fields: EXPORT_TRACE_SERVICE_RESPONSE_FIELDS,
    index: descriptor::index(EXPORT_TRACE_SERVICE_RESPONSE_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_TRACE_SERVICE_RESPONSE_FIELDS),
    record: false,
};

/// A `ExportTraceServiceResponse` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportTraceServiceResponse<'a>(View<'a>);

impl<'a> Message<'a> for ExportTraceServiceResponse<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportTraceServiceResponse<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `partial_success`.
    pub fn partial_success(&self) -> Option<ExportTracePartialSuccess<'a>> {
        self.0.message(1)
    }
}

static EXPORT_TRACE_PARTIAL_SUCCESS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "rejected_spans",
        json_name: "rejectedSpans",
        kind: Kind::Int64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "error_message",
        json_name: "errorMessage",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 2,
    },
];

/// The table of `ExportTracePartialSuccess`.
pub static EXPORT_TRACE_PARTIAL_SUCCESS: MessageDescriptor = MessageDescriptor {
    name: "ExportTracePartialSuccess",
    fields: EXPORT_TRACE_PARTIAL_SUCCESS_FIELDS,
    index: descriptor::index(EXPORT_TRACE_PARTIAL_SUCCESS_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_TRACE_PARTIAL_SUCCESS_FIELDS),
    record: false,
};

/// A `ExportTracePartialSuccess` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportTracePartialSuccess<'a>(View<'a>);

impl<'a> Message<'a> for ExportTracePartialSuccess<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportTracePartialSuccess<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `rejected_spans`.
    pub fn rejected_spans(&self) -> i64 {
        self.0.scalar(1).map(i64::from_bits).unwrap_or_default()
    }

    /// Field 2, `error_message`.
    pub fn error_message(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }
}

//! Generated from `proto/opentelemetry/proto/collector/logs/v1/logs_service.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

static EXPORT_LOGS_SERVICE_REQUEST_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "resource_logs",
    json_name: "resourceLogs",
    kind: Kind::Message(&RESOURCE_LOGS),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `ExportLogsServiceRequest`.
pub static EXPORT_LOGS_SERVICE_REQUEST: MessageDescriptor = MessageDescriptor {
    name: "ExportLogsServiceRequest",
    fields: EXPORT_LOGS_SERVICE_REQUEST_FIELDS,
    index: descriptor::index(EXPORT_LOGS_SERVICE_REQUEST_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_LOGS_SERVICE_REQUEST_FIELDS),
    record: false,
};

/// A `ExportLogsServiceRequest` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportLogsServiceRequest<'a>(View<'a>);

impl<'a> Message<'a> for ExportLogsServiceRequest<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportLogsServiceRequest<'a> {
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

static EXPORT_LOGS_SERVICE_RESPONSE_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "partial_success",
    json_name: "partialSuccess",
    kind: Kind::Message(&EXPORT_LOGS_PARTIAL_SUCCESS),
    repeated: false,
    oneof: None,
    slot: 1,
}];

/// The table of `ExportLogsServiceResponse`.
pub static EXPORT_LOGS_SERVICE_RESPONSE: MessageDescriptor = MessageDescriptor {
    name: "ExportLogsServiceResponse",
    fields: EXPORT_LOGS_SERVICE_RESPONSE_FIELDS,
    index: descriptor::index(EXPORT_LOGS_SERVICE_RESPONSE_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_LOGS_SERVICE_RESPONSE_FIELDS),
    record: false,
};

/// A `ExportLogsServiceResponse` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportLogsServiceResponse<'a>(View<'a>);

impl<'a> Message<'a> for ExportLogsServiceResponse<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportLogsServiceResponse<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `partial_success`.
    pub fn partial_success(&self) -> Option<ExportLogsPartialSuccess<'a>> {
        self.0.message(1)
    }
}

static EXPORT_LOGS_PARTIAL_SUCCESS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "rejected_log_records",
        json_name: "rejectedLogRecords",
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

/// The table of `ExportLogsPartialSuccess`.
pub static EXPORT_LOGS_PARTIAL_SUCCESS: MessageDescriptor = MessageDescriptor {
    name: "ExportLogsPartialSuccess",
    fields: EXPORT_LOGS_PARTIAL_SUCCESS_FIELDS,
    index: descriptor::index(EXPORT_LOGS_PARTIAL_SUCCESS_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_LOGS_PARTIAL_SUCCESS_FIELDS),
    record: false,
};

/// A `ExportLogsPartialSuccess` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportLogsPartialSuccess<'a>(View<'a>);

impl<'a> Message<'a> for ExportLogsPartialSuccess<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportLogsPartialSuccess<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `rejected_log_records`.
    pub fn rejected_log_records(&self) -> i64 {
        self.0.scalar(1).map(i64::from_bits).unwrap_or_default()
    }

    /// Field 2, `error_message`.
    pub fn error_message(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }
}

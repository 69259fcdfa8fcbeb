//! Generated from `proto/opentelemetry/proto/collector/metrics/v1/metrics_service.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

static EXPORT_METRICS_SERVICE_REQUEST_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "resource_metrics",
    json_name: "resourceMetrics",
    kind: Kind::Message(&RESOURCE_METRICS),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `ExportMetricsServiceRequest`.
pub static EXPORT_METRICS_SERVICE_REQUEST: MessageDescriptor = MessageDescriptor {
    name: "ExportMetricsServiceRequest",
    fields: EXPORT_METRICS_SERVICE_REQUEST_FIELDS,
    index: descriptor::index(EXPORT_METRICS_SERVICE_REQUEST_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_METRICS_SERVICE_REQUEST_FIELDS),
    record: false,
};

/// A `ExportMetricsServiceRequest` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportMetricsServiceRequest<'a>(View<'a>);

impl<'a> Message<'a> for ExportMetricsServiceRequest<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportMetricsServiceRequest<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `resource_metrics`.
    pub fn resource_metrics(&self) -> Messages<'a, ResourceMetrics<'a>> {
        self.0.messages(1)
    }
}

static EXPORT_METRICS_SERVICE_RESPONSE_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "partial_success",
    json_name: "partialSuccess",
    kind: Kind::Message(&EXPORT_METRICS_PARTIAL_SUCCESS),
    repeated: false,
    oneof: None,
    slot: 1,
}];

/// The table of `ExportMetricsServiceResponse`.
pub static EXPORT_METRICS_SERVICE_RESPONSE: MessageDescriptor = MessageDescriptor {
    name: "ExportMetricsServiceResponse",
    fields: EXPORT_METRICS_SERVICE_RESPONSE_FIELDS,
    index: descriptor::index(EXPORT_METRICS_SERVICE_RESPONSE_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_METRICS_SERVICE_RESPONSE_FIELDS),
    record: false,
};

/// A `ExportMetricsServiceResponse` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportMetricsServiceResponse<'a>(View<'a>);

impl<'a> Message<'a> for ExportMetricsServiceResponse<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportMetricsServiceResponse<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `partial_success`.
    pub fn partial_success(&self) -> Option<ExportMetricsPartialSuccess<'a>> {
        self.0.message(1)
    }
}

static EXPORT_METRICS_PARTIAL_SUCCESS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "rejected_data_points",
        json_name: "rejectedDataPoints",
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

/// The table of `ExportMetricsPartialSuccess`.
pub static EXPORT_METRICS_PARTIAL_SUCCESS: MessageDescriptor = MessageDescriptor {
    name: "ExportMetricsPartialSuccess",
    fields: EXPORT_METRICS_PARTIAL_SUCCESS_FIELDS,
    index: descriptor::index(EXPORT_METRICS_PARTIAL_SUCCESS_FIELDS),
    by_tag: descriptor::by_tag(EXPORT_METRICS_PARTIAL_SUCCESS_FIELDS),
    record: false,
};

/// A `ExportMetricsPartialSuccess` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExportMetricsPartialSuccess<'a>(View<'a>);

impl<'a> Message<'a> for ExportMetricsPartialSuccess<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExportMetricsPartialSuccess<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `rejected_data_points`.
    pub fn rejected_data_points(&self) -> i64 {
        self.0.scalar(1).map(i64::from_bits).unwrap_or_default()
    }

    /// Field 2, `error_message`.
    pub fn error_message(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }
}

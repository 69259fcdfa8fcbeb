//! Generated from `proto/opentelemetry/proto/metrics/v1/metrics.proto` by `tests/generated.rs`; do not edit.

#![allow(clippy::wildcard_imports, unused_imports, reason = "generated: not every file needs every import")]

use super::*;
use crate::descriptor::{self, FieldDescriptor, Kind, MessageDescriptor};
use crate::view::{Message, Messages, Scalar, View, Zigzag};
use crate::wire::Wire;

/// The table of `AggregationTemporality`.
pub static AGGREGATION_TEMPORALITY: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "AggregationTemporality",
    values: &[
        (0, "AGGREGATION_TEMPORALITY_UNSPECIFIED"),
        (1, "AGGREGATION_TEMPORALITY_DELTA"),
        (2, "AGGREGATION_TEMPORALITY_CUMULATIVE"),
    ],
};

/// The table of `DataPointFlags`.
pub static DATA_POINT_FLAGS: descriptor::EnumDescriptor = descriptor::EnumDescriptor {
    name: "DataPointFlags",
    values: &[(0, "DATA_POINT_FLAGS_DO_NOT_USE"), (1, "DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK")],
};

static METRICS_DATA_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "resource_metrics",
    json_name: "resourceMetrics",
    kind: Kind::Message(&RESOURCE_METRICS),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `MetricsData`.
pub static METRICS_DATA: MessageDescriptor = MessageDescriptor {
    name: "MetricsData",
    fields: METRICS_DATA_FIELDS,
    index: descriptor::index(METRICS_DATA_FIELDS),
    by_tag: descriptor::by_tag(METRICS_DATA_FIELDS),
    record: false,
};

/// A `MetricsData` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct MetricsData<'a>(View<'a>);

impl<'a> Message<'a> for MetricsData<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> MetricsData<'a> {
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

static RESOURCE_METRICS_FIELDS: &[FieldDescriptor] = &[
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
        name: "scope_metrics",
        json_name: "scopeMetrics",
        kind: Kind::Message(&SCOPE_METRICS),
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

/// The table of `ResourceMetrics`.
pub static RESOURCE_METRICS: MessageDescriptor = MessageDescriptor {
    name: "ResourceMetrics",
    fields: RESOURCE_METRICS_FIELDS,
    index: descriptor::index(RESOURCE_METRICS_FIELDS),
    by_tag: descriptor::by_tag(RESOURCE_METRICS_FIELDS),
    record: false,
};

/// A `ResourceMetrics` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ResourceMetrics<'a>(View<'a>);

impl<'a> Message<'a> for ResourceMetrics<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ResourceMetrics<'a> {
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

    /// Field 2, `scope_metrics`.
    pub fn scope_metrics(&self) -> Messages<'a, ScopeMetrics<'a>> {
        self.0.messages(2)
    }

    /// Field 3, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }
}

static SCOPE_METRICS_FIELDS: &[FieldDescriptor] = &[
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
        name: "metrics",
        json_name: "metrics",
        kind: Kind::Message(&METRIC),
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

/// The table of `ScopeMetrics`.
pub static SCOPE_METRICS: MessageDescriptor = MessageDescriptor {
    name: "ScopeMetrics",
    fields: SCOPE_METRICS_FIELDS,
    index: descriptor::index(SCOPE_METRICS_FIELDS),
    by_tag: descriptor::by_tag(SCOPE_METRICS_FIELDS),
    record: false,
};

/// A `ScopeMetrics` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ScopeMetrics<'a>(View<'a>);

impl<'a> Message<'a> for ScopeMetrics<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ScopeMetrics<'a> {
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

    /// Field 2, `metrics`.
    pub fn metrics(&self) -> Messages<'a, Metric<'a>> {
        self.0.messages(2)
    }

    /// Field 3, `schema_url`.
    pub fn schema_url(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }
}

static METRIC_FIELDS: &[FieldDescriptor] = &[
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
        name: "description",
        json_name: "description",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 3,
        name: "unit",
        json_name: "unit",
        kind: Kind::String,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "gauge",
        json_name: "gauge",
        kind: Kind::Message(&GAUGE),
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 7,
        name: "sum",
        json_name: "sum",
        kind: Kind::Message(&SUM),
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 9,
        name: "histogram",
        json_name: "histogram",
        kind: Kind::Message(&HISTOGRAM),
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 10,
        name: "exponential_histogram",
        json_name: "exponentialHistogram",
        kind: Kind::Message(&EXPONENTIAL_HISTOGRAM),
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 11,
        name: "summary",
        json_name: "summary",
        kind: Kind::Message(&SUMMARY),
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 12,
        name: "metadata",
        json_name: "metadata",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
];

/// The table of `Metric`.
pub static METRIC: MessageDescriptor = MessageDescriptor {
    name: "Metric",
    fields: METRIC_FIELDS,
    index: descriptor::index(METRIC_FIELDS),
    by_tag: descriptor::by_tag(METRIC_FIELDS),
    record: false,
};

/// A `Metric` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a>(View<'a>);

impl<'a> Message<'a> for Metric<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Metric<'a> {
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

    /// Field 2, `description`.
    pub fn description(&self) -> &'a str {
        self.0.string(2).unwrap_or_default()
    }

    /// Field 3, `unit`.
    pub fn unit(&self) -> &'a str {
        self.0.string(3).unwrap_or_default()
    }

    /// Field 5, `gauge`.
    pub fn gauge(&self) -> Option<Gauge<'a>> {
        self.0.message(5)
    }

    /// Field 7, `sum`.
    pub fn sum(&self) -> Option<Sum<'a>> {
        self.0.message(7)
    }

    /// Field 9, `histogram`.
    pub fn histogram(&self) -> Option<Histogram<'a>> {
        self.0.message(9)
    }

    /// Field 10, `exponential_histogram`.
    pub fn exponential_histogram(&self) -> Option<ExponentialHistogram<'a>> {
        self.0.message(10)
    }

    /// Field 11, `summary`.
    pub fn summary(&self) -> Option<Summary<'a>> {
        self.0.message(11)
    }

    /// Field 12, `metadata`.
    pub fn metadata(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(12)
    }
}

static GAUGE_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "data_points",
    json_name: "dataPoints",
    kind: Kind::Message(&NUMBER_DATA_POINT),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `Gauge`.
pub static GAUGE: MessageDescriptor = MessageDescriptor {
    name: "Gauge",
    fields: GAUGE_FIELDS,
    index: descriptor::index(GAUGE_FIELDS),
    by_tag: descriptor::by_tag(GAUGE_FIELDS),
    record: false,
};

/// A `Gauge` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Gauge<'a>(View<'a>);

impl<'a> Message<'a> for Gauge<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Gauge<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `data_points`.
    pub fn data_points(&self) -> Messages<'a, NumberDataPoint<'a>> {
        self.0.messages(1)
    }
}

static SUM_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "data_points",
        json_name: "dataPoints",
        kind: Kind::Message(&NUMBER_DATA_POINT),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 2,
        name: "aggregation_temporality",
        json_name: "aggregationTemporality",
        kind: Kind::Enum(&AGGREGATION_TEMPORALITY),
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "is_monotonic",
        json_name: "isMonotonic",
        kind: Kind::Bool,
        repeated: false,
        oneof: None,
        slot: 2,
    },
];

/// The table of `Sum`.
pub static SUM: MessageDescriptor = MessageDescriptor {
    name: "Sum",
    fields: SUM_FIELDS,
    index: descriptor::index(SUM_FIELDS),
    by_tag: descriptor::by_tag(SUM_FIELDS),
    record: false,
};

/// A `Sum` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Sum<'a>(View<'a>);

impl<'a> Message<'a> for Sum<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Sum<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `data_points`.
    pub fn data_points(&self) -> Messages<'a, NumberDataPoint<'a>> {
        self.0.messages(1)
    }

    /// Field 2, `aggregation_temporality`.
    pub fn aggregation_temporality(&self) -> i32 {
        self.0.scalar(2).map(i32::from_bits).unwrap_or_default()
    }

    /// Field 3, `is_monotonic`.
    pub fn is_monotonic(&self) -> bool {
        self.0.scalar(3).map(bool::from_bits).unwrap_or_default()
    }
}

static HISTOGRAM_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "data_points",
        json_name: "dataPoints",
        kind: Kind::Message(&HISTOGRAM_DATA_POINT),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 2,
        name: "aggregation_temporality",
        json_name: "aggregationTemporality",
        kind: Kind::Enum(&AGGREGATION_TEMPORALITY),
        repeated: false,
        oneof: None,
        slot: 1,
    },
];

/// The table of `Histogram`.
pub static HISTOGRAM: MessageDescriptor = MessageDescriptor {
    name: "Histogram",
    fields: HISTOGRAM_FIELDS,
    index: descriptor::index(HISTOGRAM_FIELDS),
    by_tag: descriptor::by_tag(HISTOGRAM_FIELDS),
    record: false,
};

/// A `Histogram` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a>(View<'a>);

impl<'a> Message<'a> for Histogram<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Histogram<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `data_points`.
    pub fn data_points(&self) -> Messages<'a, HistogramDataPoint<'a>> {
        self.0.messages(1)
    }

    /// Field 2, `aggregation_temporality`.
    pub fn aggregation_temporality(&self) -> i32 {
        self.0.scalar(2).map(i32::from_bits).unwrap_or_default()
    }
}

static EXPONENTIAL_HISTOGRAM_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "data_points",
        json_name: "dataPoints",
        kind: Kind::Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 2,
        name: "aggregation_temporality",
        json_name: "aggregationTemporality",
        kind: Kind::Enum(&AGGREGATION_TEMPORALITY),
        repeated: false,
        oneof: None,
        slot: 1,
    },
];

/// The table of `ExponentialHistogram`.
pub static EXPONENTIAL_HISTOGRAM: MessageDescriptor = MessageDescriptor {
    name: "ExponentialHistogram",
    fields: EXPONENTIAL_HISTOGRAM_FIELDS,
    index: descriptor::index(EXPONENTIAL_HISTOGRAM_FIELDS),
    by_tag: descriptor::by_tag(EXPONENTIAL_HISTOGRAM_FIELDS),
    record: false,
};

/// A `ExponentialHistogram` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialHistogram<'a>(View<'a>);

impl<'a> Message<'a> for ExponentialHistogram<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExponentialHistogram<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `data_points`.
    pub fn data_points(&self) -> Messages<'a, ExponentialHistogramDataPoint<'a>> {
        self.0.messages(1)
    }

    /// Field 2, `aggregation_temporality`.
    pub fn aggregation_temporality(&self) -> i32 {
        self.0.scalar(2).map(i32::from_bits).unwrap_or_default()
    }
}

static SUMMARY_FIELDS: &[FieldDescriptor] = &[FieldDescriptor {
    number: 1,
    name: "data_points",
    json_name: "dataPoints",
    kind: Kind::Message(&SUMMARY_DATA_POINT),
    repeated: true,
    oneof: None,
    slot: 0,
}];

/// The table of `Summary`.
pub static SUMMARY: MessageDescriptor = MessageDescriptor {
    name: "Summary",
    fields: SUMMARY_FIELDS,
    index: descriptor::index(SUMMARY_FIELDS),
    by_tag: descriptor::by_tag(SUMMARY_FIELDS),
    record: false,
};

/// A `Summary` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(View<'a>);

impl<'a> Message<'a> for Summary<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Summary<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `data_points`.
    pub fn data_points(&self) -> Messages<'a, SummaryDataPoint<'a>> {
        self.0.messages(1)
    }
}

static NUMBER_DATA_POINT_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 2,
        name: "start_time_unix_nano",
        json_name: "startTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "time_unix_nano",
        json_name: "timeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 4,
        name: "as_double",
        json_name: "asDouble",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(0),
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "exemplars",
        json_name: "exemplars",
        kind: Kind::Message(&EXEMPLAR),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 6,
        name: "as_int",
        json_name: "asInt",
        kind: Kind::Sfixed64,
        repeated: false,
        oneof: Some(0),
        slot: 4,
    },
    FieldDescriptor {
        number: 7,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 8,
        name: "flags",
        json_name: "flags",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 8,
    },
];

/// The table of `NumberDataPoint`.
pub static NUMBER_DATA_POINT: MessageDescriptor = MessageDescriptor {
    name: "NumberDataPoint",
    fields: NUMBER_DATA_POINT_FIELDS,
    index: descriptor::index(NUMBER_DATA_POINT_FIELDS),
    by_tag: descriptor::by_tag(NUMBER_DATA_POINT_FIELDS),
    record: true,
};

/// A `NumberDataPoint` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct NumberDataPoint<'a>(View<'a>);

impl<'a> Message<'a> for NumberDataPoint<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> NumberDataPoint<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 2, `start_time_unix_nano`.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.0.scalar(2).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 3, `time_unix_nano`.
    pub fn time_unix_nano(&self) -> u64 {
        self.0.scalar(3).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 4, `as_double`.
    pub fn as_double(&self) -> Option<f64> {
        self.0.scalar(4).map(f64::from_bits)
    }

    /// Field 5, `exemplars`.
    pub fn exemplars(&self) -> Messages<'a, Exemplar<'a>> {
        self.0.messages(5)
    }

    /// Field 6, `as_int`.
    pub fn as_int(&self) -> Option<i64> {
        self.0.scalar(6).map(i64::from_bits)
    }

    /// Field 7, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(7)
    }

    /// Field 8, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(8).map(u32::from_bits).unwrap_or_default()
    }
}

static HISTOGRAM_DATA_POINT_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 2,
        name: "start_time_unix_nano",
        json_name: "startTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "time_unix_nano",
        json_name: "timeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 4,
        name: "count",
        json_name: "count",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "sum",
        json_name: "sum",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 6,
        name: "bucket_counts",
        json_name: "bucketCounts",
        kind: Kind::Fixed64,
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 7,
        name: "explicit_bounds",
        json_name: "explicitBounds",
        kind: Kind::Double,
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 8,
        name: "exemplars",
        json_name: "exemplars",
        kind: Kind::Message(&EXEMPLAR),
        repeated: true,
        oneof: None,
        slot: 0,
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
        name: "flags",
        json_name: "flags",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 16,
    },
    FieldDescriptor {
        number: 11,
        name: "min",
        json_name: "min",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(1),
        slot: 32,
    },
    FieldDescriptor {
        number: 12,
        name: "max",
        json_name: "max",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(2),
        slot: 64,
    },
];

/// The table of `HistogramDataPoint`.
pub static HISTOGRAM_DATA_POINT: MessageDescriptor = MessageDescriptor {
    name: "HistogramDataPoint",
    fields: HISTOGRAM_DATA_POINT_FIELDS,
    index: descriptor::index(HISTOGRAM_DATA_POINT_FIELDS),
    by_tag: descriptor::by_tag(HISTOGRAM_DATA_POINT_FIELDS),
    record: true,
};

/// A `HistogramDataPoint` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct HistogramDataPoint<'a>(View<'a>);

impl<'a> Message<'a> for HistogramDataPoint<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> HistogramDataPoint<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 2, `start_time_unix_nano`.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.0.scalar(2).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 3, `time_unix_nano`.
    pub fn time_unix_nano(&self) -> u64 {
        self.0.scalar(3).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 4, `count`.
    pub fn count(&self) -> u64 {
        self.0.scalar(4).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 5, `sum`.
    pub fn sum(&self) -> Option<f64> {
        self.0.scalar(5).map(f64::from_bits)
    }

    /// Field 6, `bucket_counts`.
    pub fn bucket_counts(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.scalars(6, Wire::Fixed64).map(u64::from_bits)
    }

    /// Field 7, `explicit_bounds`.
    pub fn explicit_bounds(&self) -> impl Iterator<Item = f64> + use<'a> {
        self.0.scalars(7, Wire::Fixed64).map(f64::from_bits)
    }

    /// Field 8, `exemplars`.
    pub fn exemplars(&self) -> Messages<'a, Exemplar<'a>> {
        self.0.messages(8)
    }

    /// Field 9, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(9)
    }

    /// Field 10, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(10).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 11, `min`.
    pub fn min(&self) -> Option<f64> {
        self.0.scalar(11).map(f64::from_bits)
    }

    /// Field 12, `max`.
    pub fn max(&self) -> Option<f64> {
        self.0.scalar(12).map(f64::from_bits)
    }
}

static EXPONENTIAL_HISTOGRAM_DATA_POINT_FIELDS: &[FieldDescriptor] = &[
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
        name: "start_time_unix_nano",
        json_name: "startTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "time_unix_nano",
        json_name: "timeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 4,
        name: "count",
        json_name: "count",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "sum",
        json_name: "sum",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(0),
        slot: 8,
    },
    FieldDescriptor {
        number: 6,
        name: "scale",
        json_name: "scale",
        kind: Kind::Sint32,
        repeated: false,
        oneof: None,
        slot: 16,
    },
    FieldDescriptor {
        number: 7,
        name: "zero_count",
        json_name: "zeroCount",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 32,
    },
    FieldDescriptor {
        number: 8,
        name: "positive",
        json_name: "positive",
        kind: Kind::Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS),
        repeated: false,
        oneof: None,
        slot: 64,
    },
    FieldDescriptor {
        number: 9,
        name: "negative",
        json_name: "negative",
        kind: Kind::Message(&EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS),
        repeated: false,
        oneof: None,
        slot: 128,
    },
    FieldDescriptor {
        number: 10,
        name: "flags",
        json_name: "flags",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 256,
    },
    FieldDescriptor {
        number: 11,
        name: "exemplars",
        json_name: "exemplars",
        kind: Kind::Message(&EXEMPLAR),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 12,
        name: "min",
        json_name: "min",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(1),
        slot: 512,
    },
    FieldDescriptor {
        number: 13,
        name: "max",
        json_name: "max",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(2),
        slot: 1024,
    },
    FieldDescriptor {
        number: 14,
        name: "zero_threshold",
        json_name: "zeroThreshold",
        kind: Kind::Double,
        repeated: false,
        oneof: None,
        slot: 2048,
    },
];

/// The table of `ExponentialHistogramDataPoint`.
pub static EXPONENTIAL_HISTOGRAM_DATA_POINT: MessageDescriptor = MessageDescriptor {
    name: "ExponentialHistogramDataPoint",
    fields: EXPONENTIAL_HISTOGRAM_DATA_POINT_FIELDS,
    index: descriptor::index(EXPONENTIAL_HISTOGRAM_DATA_POINT_FIELDS),
    by_tag: descriptor::by_tag(EXPONENTIAL_HISTOGRAM_DATA_POINT_FIELDS),
    record: true,
};

/// A `ExponentialHistogramDataPoint` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialHistogramDataPoint<'a>(View<'a>);

impl<'a> Message<'a> for ExponentialHistogramDataPoint<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExponentialHistogramDataPoint<'a> {
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

    /// Field 2, `start_time_unix_nano`.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.0.scalar(2).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 3, `time_unix_nano`.
    pub fn time_unix_nano(&self) -> u64 {
        self.0.scalar(3).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 4, `count`.
    pub fn count(&self) -> u64 {
        self.0.scalar(4).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 5, `sum`.
    pub fn sum(&self) -> Option<f64> {
        self.0.scalar(5).map(f64::from_bits)
    }

    /// Field 6, `scale`.
    pub fn scale(&self) -> i32 {
        self.0.scalar(6).map(|b| Zigzag::<i32>::from_bits(b).0).unwrap_or_default()
    }

    /// Field 7, `zero_count`.
    pub fn zero_count(&self) -> u64 {
        self.0.scalar(7).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 8, `positive`.
    pub fn positive(&self) -> Option<ExponentialHistogramDataPointBuckets<'a>> {
        self.0.message(8)
    }

    /// Field 9, `negative`.
    pub fn negative(&self) -> Option<ExponentialHistogramDataPointBuckets<'a>> {
        self.0.message(9)
    }

    /// Field 10, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(10).map(u32::from_bits).unwrap_or_default()
    }

    /// Field 11, `exemplars`.
    pub fn exemplars(&self) -> Messages<'a, Exemplar<'a>> {
        self.0.messages(11)
    }

    /// Field 12, `min`.
    pub fn min(&self) -> Option<f64> {
        self.0.scalar(12).map(f64::from_bits)
    }

    /// Field 13, `max`.
    pub fn max(&self) -> Option<f64> {
        self.0.scalar(13).map(f64::from_bits)
    }

    /// Field 14, `zero_threshold`.
    pub fn zero_threshold(&self) -> f64 {
        self.0.scalar(14).map(f64::from_bits).unwrap_or_default()
    }
}

static EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "offset",
        json_name: "offset",
        kind: Kind::Sint32,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "bucket_counts",
        json_name: "bucketCounts",
        kind: Kind::Uint64,
        repeated: true,
        oneof: None,
        slot: 0,
    },
];

/// The table of `ExponentialHistogramDataPoint.Buckets`.
pub static EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS: MessageDescriptor = MessageDescriptor {
    name: "ExponentialHistogramDataPoint.Buckets",
    fields: EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS_FIELDS,
    index: descriptor::index(EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS_FIELDS),
    by_tag: descriptor::by_tag(EXPONENTIAL_HISTOGRAM_DATA_POINT_BUCKETS_FIELDS),
    record: false,
};

/// A `ExponentialHistogramDataPoint.Buckets` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct ExponentialHistogramDataPointBuckets<'a>(View<'a>);

impl<'a> Message<'a> for ExponentialHistogramDataPointBuckets<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> ExponentialHistogramDataPointBuckets<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `offset`.
    pub fn offset(&self) -> i32 {
        self.0.scalar(1).map(|b| Zigzag::<i32>::from_bits(b).0).unwrap_or_default()
    }

    /// Field 2, `bucket_counts`.
    pub fn bucket_counts(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.scalars(2, Wire::Varint).map(u64::from_bits)
    }
}

static SUMMARY_DATA_POINT_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 2,
        name: "start_time_unix_nano",
        json_name: "startTimeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "time_unix_nano",
        json_name: "timeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 2,
    },
    FieldDescriptor {
        number: 4,
        name: "count",
        json_name: "count",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "sum",
        json_name: "sum",
        kind: Kind::Double,
        repeated: false,
        oneof: None,
        slot: 8,
    },
    FieldDescriptor {
        number: 6,
        name: "quantile_values",
        json_name: "quantileValues",
        kind: Kind::Message(&SUMMARY_DATA_POINT_VALUE_AT_QUANTILE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 7,
        name: "attributes",
        json_name: "attributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
    FieldDescriptor {
        number: 8,
        name: "flags",
        json_name: "flags",
        kind: Kind::Uint32,
        repeated: false,
        oneof: None,
        slot: 16,
    },
];

/// The table of `SummaryDataPoint`.
pub static SUMMARY_DATA_POINT: MessageDescriptor = MessageDescriptor {
    name: "SummaryDataPoint",
    fields: SUMMARY_DATA_POINT_FIELDS,
    index: descriptor::index(SUMMARY_DATA_POINT_FIELDS),
    by_tag: descriptor::by_tag(SUMMARY_DATA_POINT_FIELDS),
    record: true,
};

/// A `SummaryDataPoint` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct SummaryDataPoint<'a>(View<'a>);

impl<'a> Message<'a> for SummaryDataPoint<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> SummaryDataPoint<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 2, `start_time_unix_nano`.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.0.scalar(2).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 3, `time_unix_nano`.
    pub fn time_unix_nano(&self) -> u64 {
        self.0.scalar(3).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 4, `count`.
    pub fn count(&self) -> u64 {
        self.0.scalar(4).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 5, `sum`.
    pub fn sum(&self) -> f64 {
        self.0.scalar(5).map(f64::from_bits).unwrap_or_default()
    }

    /// Field 6, `quantile_values`.
    pub fn quantile_values(&self) -> Messages<'a, SummaryDataPointValueAtQuantile<'a>> {
        self.0.messages(6)
    }

    /// Field 7, `attributes`.
    pub fn attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(7)
    }

    /// Field 8, `flags`.
    pub fn flags(&self) -> u32 {
        self.0.scalar(8).map(u32::from_bits).unwrap_or_default()
    }
}

static SUMMARY_DATA_POINT_VALUE_AT_QUANTILE_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 1,
        name: "quantile",
        json_name: "quantile",
        kind: Kind::Double,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 2,
        name: "value",
        json_name: "value",
        kind: Kind::Double,
        repeated: false,
        oneof: None,
        slot: 2,
    },
];

/// The table of `SummaryDataPoint.ValueAtQuantile`.
pub static SUMMARY_DATA_POINT_VALUE_AT_QUANTILE: MessageDescriptor = MessageDescriptor {
    name: "SummaryDataPoint.ValueAtQuantile",
    fields: SUMMARY_DATA_POINT_VALUE_AT_QUANTILE_FIELDS,
    index: descriptor::index(SUMMARY_DATA_POINT_VALUE_AT_QUANTILE_FIELDS),
    by_tag: descriptor::by_tag(SUMMARY_DATA_POINT_VALUE_AT_QUANTILE_FIELDS),
    record: false,
};

/// A `SummaryDataPoint.ValueAtQuantile` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct SummaryDataPointValueAtQuantile<'a>(View<'a>);

impl<'a> Message<'a> for SummaryDataPointValueAtQuantile<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> SummaryDataPointValueAtQuantile<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 1, `quantile`.
    pub fn quantile(&self) -> f64 {
        self.0.scalar(1).map(f64::from_bits).unwrap_or_default()
    }

    /// Field 2, `value`.
    pub fn value(&self) -> f64 {
        self.0.scalar(2).map(f64::from_bits).unwrap_or_default()
    }
}

static EXEMPLAR_FIELDS: &[FieldDescriptor] = &[
    FieldDescriptor {
        number: 2,
        name: "time_unix_nano",
        json_name: "timeUnixNano",
        kind: Kind::Fixed64,
        repeated: false,
        oneof: None,
        slot: 1,
    },
    FieldDescriptor {
        number: 3,
        name: "as_double",
        json_name: "asDouble",
        kind: Kind::Double,
        repeated: false,
        oneof: Some(0),
        slot: 2,
    },
    FieldDescriptor {
        number: 4,
        name: "span_id",
        json_name: "spanId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 4,
    },
    FieldDescriptor {
        number: 5,
        name: "trace_id",
        json_name: "traceId",
        kind: Kind::Bytes,
        repeated: false,
        oneof: None,
        slot: 8,
    },
    FieldDescriptor {
        number: 6,
        name: "as_int",
        json_name: "asInt",
        kind: Kind::Sfixed64,
        repeated: false,
        oneof: Some(0),
        slot: 2,
    },
    FieldDescriptor {
        number: 7,
        name: "filtered_attributes",
        json_name: "filteredAttributes",
        kind: Kind::Message(&KEY_VALUE),
        repeated: true,
        oneof: None,
        slot: 0,
    },
];

/// The table of `Exemplar`.
pub static EXEMPLAR: MessageDescriptor = MessageDescriptor {
    name: "Exemplar",
    fields: EXEMPLAR_FIELDS,
    index: descriptor::index(EXEMPLAR_FIELDS),
    by_tag: descriptor::by_tag(EXEMPLAR_FIELDS),
    record: false,
};

/// A `Exemplar` in a checked request.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a>(View<'a>);

impl<'a> Message<'a> for Exemplar<'a> {
    fn from_view(view: View<'a>) -> Self {
        Self(view)
    }
}

impl<'a> Exemplar<'a> {
    /// The message whose bytes are all of `buf`.
    pub fn of(buf: &'a [u8]) -> Self {
        Self(View::root(buf))
    }

    /// Where it stands and its fields.
    pub fn view(&self) -> View<'a> {
        self.0
    }

    /// Field 2, `time_unix_nano`.
    pub fn time_unix_nano(&self) -> u64 {
        self.0.scalar(2).map(u64::from_bits).unwrap_or_default()
    }

    /// Field 3, `as_double`.
    pub fn as_double(&self) -> Option<f64> {
        self.0.scalar(3).map(f64::from_bits)
    }

    /// Field 4, `span_id`.
    pub fn span_id(&self) -> &'a [u8] {
        self.0.bytes(4).unwrap_or_default()
    }

    /// Field 5, `trace_id`.
    pub fn trace_id(&self) -> &'a [u8] {
        self.0.bytes(5).unwrap_or_default()
    }

    /// Field 6, `as_int`.
    pub fn as_int(&self) -> Option<i64> {
        self.0.scalar(6).map(i64::from_bits)
    }

    /// Field 7, `filtered_attributes`.
    pub fn filtered_attributes(&self) -> Messages<'a, KeyValue<'a>> {
        self.0.messages(7)
    }
}

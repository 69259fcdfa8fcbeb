//! Export requests with a text of the test's choice in every string field that OTLP has, built with prost.
//!
//! `say` is called once a string: with a counter inside, every field gets its own. Numbers, trace ids and span ids are what must
//! come out unchanged.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

pub(crate) const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Texts that look somewhat like ids of peers and are none.
pub(crate) const SURVIVORS: &[&str] = &[
    "9b2c1e0a7f6d5c4b3a29181706f5e4d3c2b1a098",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
    "/ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/readme",
    "bafkreifoybygix7fh3r3g5rqle3wcnhqldgdg4shzf4k3ulyw3gn7mabt4",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "8c4f1c1e-1f2b-4c7e-9b1a-2f6d8e0a4b3c",
    "/ip4/127.0.0.1/tcp/4001",
];

/// Where texts come from.
pub(crate) type Say<'s> = dyn FnMut() -> String + 's;

fn text(say: &mut Say<'_>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(say())) }
}

fn attribute(key: String, value: Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text as key, as value, in lists, in lists of lists, as bytes; beside them what must survive.
fn attributes(say: &mut Say<'_>) -> Vec<KeyValue> {
    let inner = KeyValueList {
        values: vec![attribute(
            say(),
            Value::ArrayValue(ArrayValue { values: vec![text(say), AnyValue { value: None }, text(say)] }),
        )],
    };
    let mut all = vec![
        attribute("peer.id".into(), Value::StringValue(say())),
        attribute(say(), Value::IntValue(-7)),
        attribute("list".into(), Value::ArrayValue(ArrayValue { values: vec![text(say), text(say)] })),
        attribute("map".into(), Value::KvlistValue(inner)),
        attribute("bytes".into(), Value::BytesValue(say().into_bytes())),
        attribute("yes".into(), Value::BoolValue(true)),
        attribute("half".into(), Value::DoubleValue(0.5)),
    ];
    let survivors = SURVIVORS.iter().enumerate();
    all.extend(survivors.map(|(n, text)| attribute(format!("kept.{n}"), Value::StringValue((*text).into()))));
    all
}

fn resource(say: &mut Say<'_>) -> Resource {
    Resource {
        attributes: attributes(say),
        dropped_attributes_count: 1,
        entity_refs: vec![EntityRef {
            schema_url: say(),
            r#type: say(),
            id_keys: vec![say(), say()],
            description_keys: vec![say()],
        }],
    }
}

fn scope(say: &mut Say<'_>) -> InstrumentationScope {
    InstrumentationScope {
        name: say(),
        version: say(),
        attributes: attributes(say),
        dropped_attributes_count: 2,
    }
}

fn id(n: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| n.wrapping_mul(31).wrapping_add(i as u8 * 7)).collect()
}

pub(crate) fn traces(say: &mut Say<'_>) -> ExportTraceServiceRequest {
    let event =
        Event { time_unix_nano: 2, name: say(), attributes: attributes(say), dropped_attributes_count: 3 };
    let link = Link {
        trace_id: id(3, 16),
        span_id: id(4, 8),
        trace_state: format!("vendor={},ot=th:8", say()),
        attributes: attributes(say),
        dropped_attributes_count: 4,
        flags: 1,
    };
    let span = Span {
        trace_id: id(1, 16),
        span_id: id(2, 8),
        trace_state: format!("ot=th:8,vendor={}", say()),
        parent_span_id: id(5, 8),
        flags: 0x101,
        name: say(),
        kind: 2,
        start_time_unix_nano: 1_790_000_000_000_000_000,
        end_time_unix_nano: 1_790_000_000_000_000_001,
        attributes: attributes(say),
        dropped_attributes_count: 5,
        events: vec![event],
        dropped_events_count: 6,
        links: vec![link],
        dropped_links_count: 7,
        status: Some(Status { message: say(), code: 2 }),
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(say)),
            scope_spans: vec![ScopeSpans { scope: Some(scope(say)), spans: vec![span], schema_url: say() }],
            schema_url: say(),
        }],
    }
}

pub(crate) fn logs(say: &mut Say<'_>) -> ExportLogsServiceRequest {
    let record = |body: Option<AnyValue>, say: &mut Say<'_>| LogRecord {
        time_unix_nano: 1_790_000_000_000_000_000,
        observed_time_unix_nano: 1,
        severity_number: 9,
        severity_text: say(),
        body,
        attributes: attributes(say),
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: id(1, 16),
        span_id: id(2, 8),
        event_name: say(),
    };
    let nested = AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: attributes(say) })) };
    let plain = text(say);
    let bytes = AnyValue { value: Some(Value::BytesValue(say().into_bytes())) };
    let log_records = vec![
        record(Some(plain), say),
        record(Some(nested), say),
        record(Some(bytes), say),
        record(None, say),
    ];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(say)),
            scope_logs: vec![ScopeLogs { scope: Some(scope(say)), log_records, schema_url: say() }],
            schema_url: say(),
        }],
    }
}

/// Log records, for the counts that go with [`logs`].
pub(crate) const LOG_RECORDS: usize = 4;

fn exemplars(say: &mut Say<'_>) -> Vec<Exemplar> {
    vec![Exemplar {
        filtered_attributes: attributes(say),
        time_unix_nano: 9,
        span_id: id(2, 8),
        trace_id: id(1, 16),
        value: Some(exemplar::Value::AsInt(4)),
    }]
}

fn number(say: &mut Say<'_>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(say),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: exemplars(say),
        flags: 0,
        value: Some(number_data_point::Value::AsDouble(0.25)),
    }
}

fn histogram(say: &mut Say<'_>) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(say),
        time_unix_nano: 2,
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        exemplars: exemplars(say),
        min: Some(0.1),
        ..HistogramDataPoint::default()
    }
}

fn exponential(say: &mut Say<'_>) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(say),
        time_unix_nano: 2,
        count: 3,
        scale: -2,
        positive: Some(Buckets { offset: -1, bucket_counts: vec![3] }),
        exemplars: exemplars(say),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// One metric of each type; one data point each.
pub(crate) fn metrics(say: &mut Say<'_>) -> ExportMetricsServiceRequest {
    let summary = SummaryDataPoint {
        attributes: attributes(say),
        count: 1,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 2.0 }],
        ..SummaryDataPoint::default()
    };
    let data = [
        Data::Gauge(Gauge { data_points: vec![number(say)] }),
        Data::Sum(Sum { data_points: vec![number(say)], aggregation_temporality: 2, is_monotonic: true }),
        Data::Histogram(Histogram { data_points: vec![histogram(say)], aggregation_temporality: 1 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential(say)],
            aggregation_temporality: 1,
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    let metrics = data
        .into_iter()
        .map(|data| Metric {
            name: say(),
            description: say(),
            unit: say(),
            metadata: attributes(say),
            data: Some(data),
        })
        .collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(say)),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope(say)), metrics, schema_url: say() }],
            schema_url: say(),
        }],
    }
}

/// Data points, for the counts that go with [`metrics`].
pub(crate) const DATA_POINTS: usize = 5;

/// A request of one log record that says `body`.
pub(crate) fn one_log(body: &str) -> Vec<u8> {
    many_logs(&[body.to_owned()])
}

/// A request of a log record for each of `bodies`.
pub(crate) fn many_logs(bodies: &[String]) -> Vec<u8> {
    let record = |body: &String| LogRecord {
        body: Some(AnyValue { value: Some(Value::StringValue(body.clone())) }),
        ..LogRecord::default()
    };
    let log_records = bodies.iter().map(record).collect();
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

/// A request of one span called `name`.
pub(crate) fn one_span(name: &str) -> Vec<u8> {
    let span = Span { trace_id: id(1, 16), span_id: id(2, 8), name: name.to_owned(), ..Span::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

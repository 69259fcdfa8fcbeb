//! OTLP requests by hand.

use model::{Request, Signal};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

pub(crate) const CUMULATIVE: i32 = 2;
pub(crate) const DELTA: i32 = 1;

pub(crate) fn text(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.to_owned())
}

pub(crate) fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| attribute(key, text(value))).collect()
}

pub(crate) fn point(value: f64, time_ms: u64, pairs: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(pairs),
        time_unix_nano: time_ms * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

pub(crate) fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

pub(crate) fn gauge(points: Vec<NumberDataPoint>) -> metric::Data {
    metric::Data::Gauge(Gauge { data_points: points })
}

pub(crate) fn sum(points: Vec<NumberDataPoint>, temporality: i32, monotonic: bool) -> metric::Data {
    metric::Data::Sum(Sum {
        data_points: points,
        aggregation_temporality: temporality,
        is_monotonic: monotonic,
    })
}

pub(crate) fn histogram(points: Vec<HistogramDataPoint>, temporality: i32) -> metric::Data {
    metric::Data::Histogram(Histogram { data_points: points, aggregation_temporality: temporality })
}

pub(crate) fn exponential(points: Vec<ExponentialHistogramDataPoint>, temporality: i32) -> metric::Data {
    metric::Data::ExponentialHistogram(ExponentialHistogram {
        data_points: points,
        aggregation_temporality: temporality,
    })
}

pub(crate) fn summary(point: opentelemetry_proto::tonic::metrics::v1::SummaryDataPoint) -> metric::Data {
    metric::Data::Summary(Summary { data_points: vec![point] })
}

pub(crate) fn trace_exemplar(value: f64, time_ms: u64) -> Exemplar {
    Exemplar {
        time_unix_nano: time_ms * 1_000_000,
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        value: Some(exemplar::Value::AsDouble(value)),
        ..Exemplar::default()
    }
}

pub(crate) fn message(
    resource: &[(&str, &str)],
    scope: Option<InstrumentationScope>,
    metrics: Vec<Metric>,
) -> ExportMetricsServiceRequest {
    let resource = Resource { attributes: attributes(resource), ..Resource::default() };
    let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics,
            ..ResourceMetrics::default()
        }],
    }
}

pub(crate) fn request(message: &ExportMetricsServiceRequest) -> Request {
    Request::receive(Signal::Metrics, message.encode_to_vec().into()).unwrap().0
}

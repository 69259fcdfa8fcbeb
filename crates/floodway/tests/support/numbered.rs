//! Records with numbers: requests of a run of them, and reading the numbers back from what came out.
//!
//! ```text
//! text of record n:   n=000000001234 9c1f...        the number, and filler of a length and a content that follow from it
//! ```
//! So a record that arrives changed, or in pieces, is told from one that arrives.

use std::ops::Range;
use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::rng::mix;

/// What the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Traces,
    Logs,
    /// Gauges of OTLP.
    Metrics,
    /// Remote-write 1.0, in and out.
    Series,
}

/// The name of metrics and series, and of the service.
pub(crate) const NAME: &str = "numbered";
const DIGITS: usize = 12;

/// What record `n` says.
pub(crate) fn text(n: u64) -> String {
    let mut text = format!("n={n:0DIGITS$} ");
    (0..mix(n) % 24).for_each(|part| text.push_str(&format!("{:016x}", mix(n ^ (part << 40)))));
    text
}

/// The number of a text that [`text`] made, and nobody changed since.
pub(crate) fn number(said: &str) -> Result<u64, String> {
    let digits = said.strip_prefix("n=").and_then(|rest| rest.get(..DIGITS));
    let n = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("no number: {said:?}"))?;
    if text(n) == said { Ok(n) } else { Err(format!("record {n} was changed: {said:?}")) }
}

/// The numbers that stand in raw bytes, whatever the form around them.
pub(crate) fn numbers_in(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.windows(2 + DIGITS).filter_map(|window| {
        let digits = window.strip_prefix(b"n=")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

fn now_nanos() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

fn string(text: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.into())) })
}

fn resource() -> Option<Resource> {
    let name = KeyValue { key: "service.name".into(), value: string(NAME), ..KeyValue::default() };
    Some(Resource { attributes: vec![name], ..Resource::default() })
}

impl Kind {
    /// The signal, as the paths of OTLP/HTTP name it.
    pub(crate) fn signal(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics | Self::Series => "metrics",
        }
    }

    /// A request of these records: protobuf, of series compressed as remote-write wants it.
    pub(crate) fn encode(self, run: Range<u64>) -> Vec<u8> {
        match self {
            Self::Traces => traces(run),
            Self::Logs => logs(run),
            Self::Metrics => metrics(run),
            Self::Series => snap::raw::Encoder::new().compress_vec(&series(run)).unwrap(),
        }
    }

    /// The numbers in a request that came out.
    pub(crate) fn decode(self, body: &[u8]) -> Result<Vec<u64>, String> {
        let unreadable = |error: prost::DecodeError| error.to_string();
        match self {
            Self::Traces => {
                let request = ExportTraceServiceRequest::decode(body).map_err(unreadable)?;
                let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                scopes.flat_map(|scope| scope.spans).map(|span| number(&span.name)).collect()
            }
            Self::Logs => {
                let request = ExportLogsServiceRequest::decode(body).map_err(unreadable)?;
                let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
                scopes.flat_map(|scope| scope.log_records).map(|record| said(record.body)).collect()
            }
            Self::Metrics => {
                let request = ExportMetricsServiceRequest::decode(body).map_err(unreadable)?;
                let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
                let points = scopes.flat_map(|scope| scope.metrics).flat_map(|metric| match metric.data {
                    Some(Data::Gauge(gauge)) => gauge.data_points,
                    _ => Vec::new(),
                });
                points.map(point).collect()
            }
            Self::Series => {
                let plain =
                    snap::raw::Decoder::new().decompress_vec(body).map_err(|error| error.to_string())?;
                let request = WriteRequest::decode(plain.as_slice()).map_err(unreadable)?;
                request.series.into_iter().map(sample).collect()
            }
        }
    }
}

fn traces(run: Range<u64>) -> Vec<u8> {
    let now = now_nanos();
    let id = |n: u64, salt: u64| mix(n ^ (salt << 56)).max(1).to_be_bytes();
    let span = |n: u64| Span {
        trace_id: [id(n, 1), id(n, 2)].concat(),
        span_id: id(n, 3).to_vec(),
        name: text(n),
        kind: 1,
        start_time_unix_nano: now,
        end_time_unix_nano: now + 1_000_000,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: run.map(span).collect(), ..ScopeSpans::default() }];
    let spans = ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()
}

fn logs(run: Range<u64>) -> Vec<u8> {
    let now = now_nanos();
    // Times that differ: some destinations take equal lines of one time for one.
    let record =
        |n: u64| LogRecord { time_unix_nano: now + n % 1_000, body: string(text(n)), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: run.map(record).collect(), ..ScopeLogs::default() }];
    let logs = ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

fn said(body: Option<AnyValue>) -> Result<u64, String> {
    match body.and_then(|body| body.value) {
        Some(Value::StringValue(said)) => number(&said),
        other => Err(format!("a body that is no text: {other:?}")),
    }
}

fn metrics(run: Range<u64>) -> Vec<u8> {
    let now = now_nanos();
    let point = |n: u64| NumberDataPoint {
        attributes: vec![KeyValue { key: "n".into(), value: string(text(n)), ..KeyValue::default() }],
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(n as f64)),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: run.map(point).collect() }));
    let metric = Metric { name: NAME.into(), data, ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let metrics = ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![metrics] }.encode_to_vec()
}

fn point(point: NumberDataPoint) -> Result<u64, String> {
    let n = said(point.attributes.into_iter().find(|attribute| attribute.key == "n").and_then(|a| a.value))?;
    match point.value {
        Some(number_data_point::Value::AsDouble(value)) if value == n as f64 => Ok(n),
        other => Err(format!("point {n} has the value {other:?}")),
    }
}

/// Remote-write 1.0, as its specification has it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    time_ms: i64,
}

fn series(run: Range<u64>) -> Vec<u8> {
    let time_ms = i64::try_from(now_nanos() / 1_000_000).unwrap();
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let series = |n: u64| TimeSeries {
        labels: vec![label("__name__", NAME.to_owned()), label("n", text(n))],
        samples: vec![Sample { value: n as f64, time_ms }],
    };
    WriteRequest { series: run.map(series).collect() }.encode_to_vec()
}

fn sample(series: TimeSeries) -> Result<u64, String> {
    let label = series.labels.iter().find(|label| label.name == "n");
    let n = number(label.map_or("", |label| &label.value))?;
    match &series.samples[..] {
        [sample] if sample.value == n as f64 => Ok(n),
        other => Err(format!("series {n} has the samples {other:?}")),
    }
}

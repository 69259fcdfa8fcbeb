//! What the tests of this crate share: building processors from JSON, requests from prost messages.
#![allow(dead_code, reason = "every test binary uses its own part")]

use bytes::Bytes;
use engine::{BuildContext, BuildError, ComponentKind, ComponentMetrics, Processor};
use model::{Request, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value as Json;

/// Builds a processor as the configuration would.
pub(crate) fn try_build(name: &str, config: &Json, dry_run: bool) -> Result<Box<dyn Processor>, BuildError> {
    build_as(name, name, config, dry_run)
}

/// As [`try_build`], under another key in the configuration: for tests that read counters.
pub(crate) fn build_as(
    id: &str,
    name: &str,
    config: &Json,
    dry_run: bool,
) -> Result<Box<dyn Processor>, BuildError> {
    let factory = processors::PROCESSORS.iter().find(|f| f.name == name).expect("a processor of that name");
    let mut deserializer = <dyn erased_serde::Deserializer<'_>>::erase(config);
    let parsed = (factory.parse)(&mut deserializer).map_err(|e| BuildError::new(e.to_string()))?;
    parsed.build(&context(id, dry_run))
}

pub(crate) fn build(name: &str, config: &Json) -> Box<dyn Processor> {
    try_build(name, config, false).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn context(id: &str, dry_run: bool) -> BuildContext {
    let _ = engine::testing::counters();
    let metrics = ComponentMetrics::new(ComponentKind::Processor, id);
    BuildContext { id: id.to_owned(), metrics, dry_run }
}

pub(crate) fn receive(signal: Signal, bytes: impl Into<Bytes>) -> Request {
    Request::receive(signal, bytes.into()).expect("a good request").0
}

/// The message that is left after `processor`; `None` when nothing is.
pub(crate) fn processed<M: Message + Default>(
    processor: &dyn Processor,
    signal: Signal,
    message: &M,
) -> Option<M> {
    let request = receive(signal, message.encode_to_vec());
    let left = processor.process(request).expect("processed")?;
    // What comes out must be a good request with the number of records that it claims.
    let (checked, repairs) = Request::receive(signal, left.bytes().clone()).expect("well-formed result");
    assert!(!repairs.any(), "the result needed {repairs:?}");
    assert_eq!(checked.items(), left.items());
    Some(M::decode(left.bytes().clone()).expect("decodes"))
}

pub(crate) fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

pub(crate) fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

pub(crate) fn strings(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| attribute(key, string(value))).collect()
}

pub(crate) fn resource(attributes: Vec<KeyValue>) -> Option<Resource> {
    Some(Resource { attributes, ..Default::default() })
}

pub(crate) fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "scope".into(), version: "1".into(), ..Default::default() })
}

pub(crate) fn traces(resource: Option<Resource>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, schema_url: "s".into() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url: "r".into() }],
    }
}

pub(crate) fn logs(resource: Option<Resource>, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, schema_url: "s".into() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, schema_url: "r".into() }],
    }
}

pub(crate) fn metrics(resource: Option<Resource>, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, schema_url: "s".into() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, schema_url: "r".into() }],
    }
}

pub(crate) fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    let data = Some(Data::Gauge(Gauge { data_points: points }));
    Metric { name: name.into(), unit: "1".into(), data, ..Default::default() }
}

pub(crate) fn point(attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint { attributes, time_unix_nano: 7, ..Default::default() }
}

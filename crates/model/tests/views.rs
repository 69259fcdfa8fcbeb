//! The generated views against prost's structs, on random requests.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Random, Tricks, message};
use model::otlp::{self, request_descriptor};
use model::{Request, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message as _;

fn request(signal: Signal, seed: u64) -> Bytes {
    let tricks = Tricks { duplicates: true, overlong: true, unknown: true };
    let bytes = message(request_descriptor(signal), &mut Random::new(seed), tricks, 8);
    Request::receive(signal, bytes.into()).unwrap().0.into_bytes()
}

/// Pairs two sequences of equal length.
fn zip<A, B>(ours: impl Iterator<Item = A>, theirs: &[B]) -> impl Iterator<Item = (A, &B)> {
    let ours: Vec<A> = ours.collect();
    assert_eq!(ours.len(), theirs.len());
    ours.into_iter().zip(theirs)
}

fn same_attributes<'a>(ours: impl Iterator<Item = otlp::KeyValue<'a>>, theirs: &[KeyValue]) {
    for (our, their) in zip(ours, theirs) {
        assert_eq!(our.key(), their.key);
        same_value(our.value(), their.value.as_ref());
    }
}

fn same_value(our: Option<otlp::AnyValue<'_>>, their: Option<&AnyValue>) {
    assert_eq!(our.is_some(), their.is_some());
    let (Some(our), Some(their)) = (our, their) else {
        return;
    };
    match &their.value {
        None => assert!(our.string_value().is_none() && our.kvlist_value().is_none()),
        Some(Value::StringValue(v)) => assert_eq!(our.string_value(), Some(v.as_str())),
        Some(Value::BoolValue(v)) => assert_eq!(our.bool_value(), Some(*v)),
        Some(Value::IntValue(v)) => assert_eq!(our.int_value(), Some(*v)),
        Some(Value::DoubleValue(v)) => assert_eq!(our.double_value().map(f64::to_bits), Some(v.to_bits())),
        Some(Value::BytesValue(v)) => assert_eq!(our.bytes_value(), Some(v.as_slice())),
        Some(Value::ArrayValue(v)) => {
            for (a, b) in zip(our.array_value().unwrap().values(), &v.values) {
                same_value(Some(a), Some(b));
            }
        }
        Some(Value::KvlistValue(v)) => same_attributes(our.kvlist_value().unwrap().values(), &v.values),
        Some(_) => {}
    }
}

fn same_span(our: otlp::Span<'_>, their: &Span) {
    assert_eq!(our.trace_id(), their.trace_id);
    assert_eq!(our.span_id(), their.span_id);
    assert_eq!(our.trace_state(), their.trace_state);
    assert_eq!(our.name(), their.name);
    assert_eq!(our.kind(), their.kind);
    assert_eq!(our.flags(), their.flags);
    assert_eq!(our.start_time_unix_nano(), their.start_time_unix_nano);
    assert_eq!(our.dropped_links_count(), their.dropped_links_count);
    same_attributes(our.attributes(), &their.attributes);
    for (a, b) in zip(our.events(), &their.events) {
        assert_eq!((a.name(), a.time_unix_nano()), (b.name.as_str(), b.time_unix_nano));
        same_attributes(a.attributes(), &b.attributes);
    }
    for (a, b) in zip(our.links(), &their.links) {
        assert_eq!((a.span_id(), a.trace_state()), (b.span_id.as_slice(), b.trace_state.as_str()));
    }
    assert_eq!(
        our.status().map(|s| s.message().to_owned()),
        their.status.as_ref().map(|s| s.message.clone())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn traces(seed: u64) {
        let bytes = request(Signal::Traces, seed);
        let theirs = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
        for (our, their) in zip(otlp::ExportTraceServiceRequest::of(&bytes).resource_spans(), &theirs.resource_spans) {
            prop_assert_eq!(our.schema_url(), &their.schema_url);
            if let Some(resource) = &their.resource {
                same_attributes(our.resource().unwrap().attributes(), &resource.attributes);
            }
            for (our, their) in zip(our.scope_spans(), &their.scope_spans) {
                let name = our.scope().map(|s| s.name().to_owned());
                prop_assert_eq!(name, their.scope.as_ref().map(|s| s.name.clone()));
                zip(our.spans(), &their.spans).for_each(|(a, b)| same_span(a, b));
            }
        }
    }

    #[test]
    fn logs(seed: u64) {
        let bytes = request(Signal::Logs, seed);
        let theirs = ExportLogsServiceRequest::decode(bytes.clone()).unwrap();
        for (our, their) in zip(otlp::ExportLogsServiceRequest::of(&bytes).resource_logs(), &theirs.resource_logs) {
            for (our, their) in zip(our.scope_logs(), &their.scope_logs) {
                for (our, their) in zip(our.log_records(), &their.log_records) {
                    prop_assert_eq!(our.severity_number(), their.severity_number);
                    prop_assert_eq!(our.severity_text(), &their.severity_text);
                    prop_assert_eq!(our.event_name(), &their.event_name);
                    prop_assert_eq!(our.observed_time_unix_nano(), their.observed_time_unix_nano);
                    same_value(our.body(), their.body.as_ref());
                }
            }
        }
    }

    #[test]
    fn metrics(seed: u64) {
        let bytes = request(Signal::Metrics, seed);
        let theirs = ExportMetricsServiceRequest::decode(bytes.clone()).unwrap();
        let ours = otlp::ExportMetricsServiceRequest::of(&bytes);
        for (our, their) in zip(ours.resource_metrics(), &theirs.resource_metrics) {
            for (our, their) in zip(our.scope_metrics(), &their.scope_metrics) {
                for (our, their) in zip(our.metrics(), &their.metrics) {
                    prop_assert_eq!(our.unit(), &their.unit);
                    same_data(our, their.data.as_ref());
                }
            }
        }
    }
}

fn same_data(our: otlp::Metric<'_>, their: Option<&Data>) {
    match their {
        Some(Data::Gauge(their)) => {
            for (a, b) in zip(our.gauge().unwrap().data_points(), &their.data_points) {
                let value = a.as_int().map(number_data_point::Value::AsInt);
                let double = a.as_double().map(f64::to_bits);
                match b.value {
                    Some(number_data_point::Value::AsDouble(v)) => assert_eq!(double, Some(v.to_bits())),
                    other => assert_eq!(value, other),
                }
            }
        }
        Some(Data::Histogram(their)) => {
            for (a, b) in zip(our.histogram().unwrap().data_points(), &their.data_points) {
                assert_eq!(a.bucket_counts().collect::<Vec<_>>(), b.bucket_counts);
                let bounds: Vec<u64> = b.explicit_bounds.iter().map(|v| v.to_bits()).collect();
                assert_eq!(a.explicit_bounds().map(f64::to_bits).collect::<Vec<_>>(), bounds);
                assert_eq!(a.sum().map(f64::to_bits), b.sum.map(f64::to_bits));
            }
        }
        Some(Data::ExponentialHistogram(their)) => {
            for (a, b) in zip(our.exponential_histogram().unwrap().data_points(), &their.data_points) {
                assert_eq!(a.scale(), b.scale);
                let buckets = a.positive().map(|p| (p.offset(), p.bucket_counts().collect::<Vec<_>>()));
                assert_eq!(buckets, b.positive.as_ref().map(|p| (p.offset, p.bucket_counts.clone())));
            }
        }
        Some(Data::Sum(their)) => assert_eq!(our.sum().unwrap().is_monotonic(), their.is_monotonic),
        Some(Data::Summary(their)) => {
            for (a, b) in zip(our.summary().unwrap().data_points(), &their.data_points) {
                assert_eq!(a.quantile_values().count(), b.quantile_values.len());
                assert_eq!(a.count(), b.count);
            }
        }
        None => {}
    }
}

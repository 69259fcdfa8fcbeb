//! OTLP as series and back keeps what both can say.

use codec::prometheus::from_otlp::{FromOtlp, FromOtlpOptions, Report};
use codec::prometheus::names::Translation;
use codec::prometheus::to_otlp::to_otlp;
use model::SeriesBuilder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, metric,
};
use proptest::prelude::*;
use prost::Message as _;

use super::otlp::*;

/// As it comes back: with the type that it had in Prometheus.
fn known(metric: Metric, kind: &str) -> Metric {
    Metric { metadata: attributes(&[("prometheus.type", kind)]), ..metric }
}

fn labels() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    proptest::sample::subsequence(vec![("a", "1"), ("b.c", "2"), ("d", "ä;\"")], 0..=3)
}

fn number() -> impl Strategy<Value = NumberDataPoint> {
    (-1e9f64..1e9, labels(), 0u64..50, 0u32..2, proptest::collection::vec(1u64..90, 0..2)).prop_map(
        |(value, pairs, start, stale, exemplars)| {
            let point = point(value, 99, &pairs);
            let value = point.value.filter(|_| stale == 0);
            let exemplars = exemplars.into_iter().map(|time| trace_exemplar(1.0, time)).collect();
            NumberDataPoint {
                start_time_unix_nano: start * 1_000_000,
                flags: stale,
                value,
                exemplars,
                ..point
            }
        },
    )
}

fn counts(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0u64..1000, count)
}

fn explicit() -> impl Strategy<Value = HistogramDataPoint> {
    (counts(1..6), labels(), proptest::option::of(0f64..9.0), proptest::option::of(0f64..9.0)).prop_map(
        |(bucket_counts, pairs, sum, exemplar)| HistogramDataPoint {
            attributes: attributes(&pairs),
            time_unix_nano: 99_000_000,
            count: bucket_counts.iter().sum(),
            sum,
            explicit_bounds: (1..bucket_counts.len()).map(|n| n as f64 * 1.25).collect(),
            bucket_counts,
            exemplars: exemplar.map(|value| trace_exemplar(value, 5)).into_iter().collect(),
            ..HistogramDataPoint::default()
        },
    )
}

fn side() -> impl Strategy<Value = Option<Buckets>> {
    // A bucket at each end that is not empty: empty ones are not kept, and mean nothing.
    let buckets = (-50i32..50, counts(0..9)).prop_map(|(offset, mut bucket_counts)| {
        bucket_counts.insert(0, 1);
        bucket_counts.push(1);
        Buckets { offset, bucket_counts }
    });
    proptest::option::of(buckets)
}

fn exponential_point() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    (side(), side(), -4i32..=8, 0u64..9, labels(), proptest::option::of(0f64..9.0)).prop_map(
        |(positive, negative, scale, zero_count, pairs, sum)| {
            let all =
                |side: &Option<Buckets>| side.as_ref().map_or(0, |b| b.bucket_counts.iter().sum::<u64>());
            ExponentialHistogramDataPoint {
                attributes: attributes(&pairs),
                time_unix_nano: 99_000_000,
                count: zero_count + all(&positive) + all(&negative),
                sum,
                scale,
                zero_count,
                zero_threshold: 0.125,
                positive,
                negative,
                ..ExponentialHistogramDataPoint::default()
            }
        },
    )
}

fn quantiles() -> impl Strategy<Value = SummaryDataPoint> {
    (labels(), 0u64..9, proptest::collection::vec(-9f64..9.0, 0..4)).prop_map(|(pairs, count, values)| {
        let at = |(n, value): (usize, f64)| ValueAtQuantile { quantile: n as f64 / 4.0, value };
        SummaryDataPoint {
            attributes: attributes(&pairs),
            time_unix_nano: 99_000_000,
            count,
            sum: 4.5,
            quantile_values: values.into_iter().enumerate().map(at).collect(),
            ..SummaryDataPoint::default()
        }
    })
}

fn data() -> impl Strategy<Value = (metric::Data, &'static str)> {
    let without = |point: NumberDataPoint| NumberDataPoint { exemplars: Vec::new(), ..point };
    prop_oneof![
        number().prop_map(move |p| (gauge(vec![without(p)]), "gauge")),
        number().prop_map(move |p| (gauge(vec![without(p)]), "unknown")),
        number().prop_map(|p| (sum(vec![p], CUMULATIVE, true), "counter")),
        number().prop_map(move |p| (sum(vec![without(p)], CUMULATIVE, false), "stateset")),
        explicit().prop_map(|p| (histogram(vec![p], CUMULATIVE), "histogram")),
        exponential_point().prop_map(|p| (exponential(vec![p], CUMULATIVE), "histogram")),
        quantiles().prop_map(|p| (summary(p), "summary")),
    ]
}

fn sent() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    (proptest::collection::vec((data(), "[ -~]{0,9}"), 1..6), any::<bool>(), any::<bool>()).prop_map(
        |(metrics, has_resource, has_scope)| {
            let metrics = metrics.into_iter().enumerate().map(|(n, ((data, kind), help))| {
                let metric = metric(&format!("m.{n}"), "s", data);
                known(Metric { description: help, ..metric }, kind)
            });
            let resource: &[_] = match has_resource {
                true => &[("service.name", "api"), ("service.instance.id", "i"), ("host", "h")],
                false => &[],
            };
            let scope = InstrumentationScope {
                name: "lib".to_owned(),
                version: "1".to_owned(),
                attributes: attributes(&[("x", "y")]),
                ..InstrumentationScope::default()
            };
            let mut message = message(resource, has_scope.then_some(scope), metrics.collect());
            if !has_resource {
                message.resource_metrics[0].resource = None;
            }
            message
        },
    )
}

proptest! {
    #[test]
    fn otlp_to_series_to_otlp_is_the_same(sent in sent()) {
        let options = FromOtlpOptions { translation: Translation::NoTranslation, ..FromOtlpOptions::default() };
        let mut builder = SeriesBuilder::new();
        let request = request(&sent);
        let report = FromOtlp::new(options).convert([&request], 0, &mut builder).unwrap();
        prop_assert_eq!(report, Report::default());
        let batch = builder.finish();
        prop_assert_eq!(batch.items(), request.items());
        let back = to_otlp(&batch);
        prop_assert_eq!(back.items(), request.items());
        let back = ExportMetricsServiceRequest::decode(&back.bytes()[..]).unwrap();
        prop_assert_eq!(back, sent);
    }

    #[test]
    fn custom_buckets_go_both_ways(points in proptest::collection::vec(explicit(), 1..2)) {
        let options = FromOtlpOptions {
            translation: Translation::NoTranslation,
            custom_buckets: true,
            ..FromOtlpOptions::default()
        };
        let metric = known(metric("m", "s", histogram(points, CUMULATIVE)), "histogram");
        let mut sent = message(&[], None, vec![metric]);
        sent.resource_metrics[0].resource = None;
        let mut builder = SeriesBuilder::new();
        FromOtlp::new(options).convert([&request(&sent)], 0, &mut builder).unwrap();
        let back = to_otlp(&builder.finish());
        prop_assert_eq!(ExportMetricsServiceRequest::decode(&back.bytes()[..]).unwrap(), sent);
    }
}

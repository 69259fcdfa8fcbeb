//! Series as OTLP.

use codec::prometheus::otlp_form;
use model::series::{Metadata, MetricKind, STALE_NAN_BITS, Sample};
use model::{Payload, SeriesBatch, SeriesBuilder};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, metric, number_data_point};
use prost::Message as _;

use super::wire::batch;

fn otlp(batch: SeriesBatch) -> Vec<ResourceMetrics> {
    let payload = Payload::from(batch);
    let request = otlp_form(&payload);
    ExportMetricsServiceRequest::decode(&request.bytes()[..]).unwrap().resource_metrics
}

fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |kv: &KeyValue| match kv.value.as_ref().and_then(|v| v.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|kv| (kv.key.clone(), text(kv))).collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn only(resources: &[ResourceMetrics]) -> &Metric {
    assert_eq!((resources.len(), resources[0].scope_metrics.len()), (1, 1));
    assert_eq!(resources[0].scope_metrics[0].metrics.len(), 1);
    &resources[0].scope_metrics[0].metrics[0]
}

#[test]
fn counters_gauges_and_unknown_are_sums_and_gauges() {
    for (kind, name) in [
        (MetricKind::Counter, "counter"),
        (MetricKind::Gauge, "gauge"),
        (MetricKind::Unknown, "unknown"),
        (MetricKind::Info, "info"),
        (MetricKind::StateSet, "stateset"),
    ] {
        let found = otlp(batch(&[(&[("__name__", "m"), ("k", "v")], kind, 2.5, 7)]));
        let metric = only(&found);
        assert_eq!(
            (metric.name.as_str(), pairs(&metric.metadata)),
            ("m", vec![pair("prometheus.type", name)])
        );
        let points = match metric.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                assert_eq!(sum.is_monotonic, kind == MetricKind::Counter);
                assert_eq!(sum.aggregation_temporality, 2);
                &sum.data_points
            }
            metric::Data::Gauge(gauge) => {
                assert!(matches!(kind, MetricKind::Gauge | MetricKind::Unknown));
                &gauge.data_points
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(points[0].value, Some(number_data_point::Value::AsDouble(2.5)));
        assert_eq!(
            (points[0].time_unix_nano, pairs(&points[0].attributes)),
            (7_000_000, vec![pair("k", "v")])
        );
    }
}

#[test]
fn parts_of_a_histogram_are_joined_by_labels_and_time() {
    let kind = MetricKind::Histogram;
    type Part<'a> = (Vec<(&'a str, &'a str)>, f64, i64);
    let mut series: Vec<Part<'_>> = Vec::new();
    for (time, times) in [(10, 1.0), (20, 2.0)] {
        for (k, more) in [("a", 0.0), ("b", 100.0)] {
            for (le, count) in [("+Inf", 6.0), ("0.5", 1.0), ("10", 3.0)] {
                series.push((
                    vec![("__name__", "h_bucket"), ("k", k), ("le", le)],
                    count * times + more,
                    time,
                ));
            }
            series.push((vec![("__name__", "h_count"), ("k", k)], 6.0 * times + more, time));
            series.push((vec![("__name__", "h_sum"), ("k", k)], 9.0, time));
        }
    }
    let series: Vec<_> =
        series.iter().map(|(labels, value, time)| (&labels[..], kind, *value, *time)).collect();
    let found = otlp(batch(&series));
    let Some(metric::Data::Histogram(histogram)) = &only(&found).data else { panic!("{found:?}") };
    let points: Vec<_> = histogram
        .data_points
        .iter()
        .map(|p| {
            (pairs(&p.attributes)[0].1.clone(), p.time_unix_nano / 1_000_000, p.count, &p.bucket_counts[..])
        })
        .collect();
    assert_eq!(
        points,
        [
            ("a".to_owned(), 10, 6, &[1, 2, 3][..]),
            ("a".to_owned(), 20, 12, &[2, 4, 6]),
            ("b".to_owned(), 10, 106, &[101, 2, 3]),
            ("b".to_owned(), 20, 112, &[102, 4, 6]),
        ]
    );
    assert!(histogram.data_points.iter().all(|p| p.sum == Some(9.0) && p.explicit_bounds == [0.5, 10.0]));
}

#[test]
fn families_say_what_series_are() {
    let mut builder = SeriesBuilder::new();
    for (labels, value) in [
        (vec![("__name__", "h_bucket"), ("le", "+Inf")], 4.0),
        (vec![("__name__", "h_count")], 4.0),
        (vec![("__name__", "s"), ("quantile", "0.9")], 1.5),
        (vec![("__name__", "s_count")], 3.0),
        (vec![("__name__", "s_sum")], 2.0),
    ] {
        builder.series(labels, |_| Metadata::default()).unwrap();
        builder.sample(Sample { value, timestamp_ms: 5, start_ms: 1 });
    }
    for (name, kind) in [("h", MetricKind::Histogram), ("s", MetricKind::Summary)] {
        let metadata = builder.metadata(kind, "help", "seconds").unwrap();
        let name = builder.intern(name).unwrap();
        builder.family(name, metadata);
    }
    let found = otlp(builder.finish());
    let metrics = &found[0].scope_metrics[0].metrics;
    assert_eq!(metrics.len(), 2);
    let about: Vec<_> = metrics.iter().map(|m| (&*m.name, &*m.description, &*m.unit)).collect();
    assert_eq!(about, [("h", "help", "s"), ("s", "help", "s")]);
    let Some(metric::Data::Histogram(histogram)) = &metrics[0].data else { panic!() };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, &point.bucket_counts[..], point.start_time_unix_nano), (4, &[4][..], 1_000_000));
    assert_eq!(point.sum, None);
    let Some(metric::Data::Summary(summary)) = &metrics[1].data else { panic!() };
    let point = &summary.data_points[0];
    assert_eq!((point.count, point.sum, point.quantile_values[0].quantile), (3, 2.0, 0.9));
    assert_eq!(point.quantile_values[0].value, 1.5);
}

#[test]
fn a_part_without_its_whole_is_a_number() {
    let kind = MetricKind::Histogram;
    let found = otlp(batch(&[
        (&[("__name__", "h_bucket"), ("le", "1")], kind, 3.0, 1),
        (&[("__name__", "h_sum")], kind, 4.0, 1),
    ]));
    let names: Vec<_> = found[0].scope_metrics[0].metrics.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["h_bucket", "h_sum"]);
    let Some(metric::Data::Sum(sum)) = &found[0].scope_metrics[0].metrics[0].data else { panic!() };
    assert_eq!(pairs(&sum.data_points[0].attributes), [pair("le", "1")]);
}

#[test]
fn job_instance_target_info_and_scope_find_their_places() {
    let gauge = MetricKind::Gauge;
    let found = otlp(batch(&[
        (
            &[("__name__", "target_info"), ("instance", "i"), ("job", "j"), ("host", "h")],
            MetricKind::Info,
            1.0,
            1,
        ),
        (
            &[
                ("__name__", "m"),
                ("instance", "i"),
                ("job", "j"),
                ("otel_scope_name", "lib"),
                ("otel_scope_x", "y"),
            ],
            gauge,
            1.0,
            1,
        ),
        (&[("__name__", "m"), ("job", "other")], gauge, 1.0, 1),
        (&[("__name__", "m")], gauge, 1.0, 1),
        (&[("__name__", "target_info"), ("job", "alone"), ("host", "x")], MetricKind::Info, 1.0, 1),
    ]));
    let resources: Vec<_> =
        found.iter().map(|r| r.resource.as_ref().map(|r| pairs(&r.attributes)).unwrap_or_default()).collect();
    assert_eq!(
        resources,
        [
            vec![pair("service.name", "j"), pair("service.instance.id", "i"), pair("host", "h")],
            vec![pair("service.name", "other")],
            vec![],
            vec![pair("service.name", "alone")],
        ]
    );
    let scope = found[0].scope_metrics[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), pairs(&scope.attributes)), ("lib", vec![pair("x", "y")]));
    assert_eq!(found[3].scope_metrics[0].metrics[0].name, "target_info");
    assert!(!found[..3].iter().any(|r| r.scope_metrics[0].metrics.iter().any(|m| m.name == "target_info")));
}

#[test]
fn stale_markers_are_flags() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let found = otlp(batch(&[
        (&[("__name__", "g")], MetricKind::Gauge, stale, 1),
        (&[("__name__", "h_count")], MetricKind::Histogram, stale, 1),
    ]));
    let metrics = &found[0].scope_metrics[0].metrics;
    let Some(metric::Data::Gauge(gauge)) = &metrics[0].data else { panic!() };
    assert_eq!((gauge.data_points[0].flags, gauge.data_points[0].value), (1, None));
    let Some(metric::Data::Histogram(histogram)) = &metrics[1].data else { panic!() };
    assert_eq!((histogram.data_points[0].flags, histogram.data_points[0].count), (1, 0));
}

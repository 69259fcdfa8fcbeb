//! OTLP as series, against the specification's rules.

use codec::prometheus::delta::Limits;
use codec::prometheus::from_otlp::{FromOtlp, FromOtlpOptions, Report, reasons};
use codec::prometheus::names::Translation;
use model::series::{Count, MetricKind};
use model::{SeriesBatch, SeriesBuilder};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, InstrumentationScope, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
};

use super::otlp::*;
use super::wire::lines;

const NOW: i64 = 1_000_000;

fn convert_with(converter: &mut FromOtlp, message: &ExportMetricsServiceRequest) -> (SeriesBatch, Report) {
    let mut builder = SeriesBuilder::new();
    let request = request(message);
    let report = converter.convert([&request], NOW, &mut builder).unwrap();
    let batch = builder.finish();
    for series in batch.iter() {
        let names: Vec<_> = series.labels().iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
    let refused: u64 = report.refused.values().sum();
    assert_eq!(batch.items() as u64 + refused, request.items() as u64, "each point is counted once");
    let named: u64 = report.refused_points.iter().map(|(_, points)| points.end - points.start).sum();
    assert_eq!(refused, named);
    (batch, report)
}

fn convert(options: FromOtlpOptions, message: &ExportMetricsServiceRequest) -> (SeriesBatch, Report) {
    let (batch, report) = convert_with(&mut FromOtlp::new(options.clone()), message);
    // Without the points that it names as refused there is nothing to refuse, and the same comes out.
    let refused = |n: usize| report.refused_points.iter().any(|(_, points)| points.contains(&(n as u64)));
    if let Some(rest) = request(message).retain(|n| !refused(n)) {
        let mut builder = SeriesBuilder::new();
        let again = FromOtlp::new(options).convert([&rest], NOW, &mut builder).unwrap();
        assert!(again.refused.is_empty(), "{report:?}, then {again:?}");
        assert_eq!(lines(&builder.finish()), lines(&batch));
    }
    (batch, report)
}

fn series(metrics: Vec<Metric>) -> Vec<String> {
    let (batch, report) = convert(FromOtlpOptions::default(), &message(&[], None, metrics));
    assert_eq!(report, Report::default());
    lines(&batch)
}

#[test]
fn numbers_have_their_suffixes_and_types() {
    let points = || vec![point(1.5, 7, &[("http.method", "GET")])];
    let metrics = vec![
        metric("temp.inside", "Cel", gauge(points())),
        metric("io", "By", sum(points(), CUMULATIVE, true)),
        metric("queue", "{item}", sum(points(), CUMULATIVE, false)),
    ];
    let (batch, _) = convert(FromOtlpOptions::default(), &message(&[], None, metrics));
    let expected = ["temp_inside_celsius", "io_bytes_total", "queue"];
    assert_eq!(lines(&batch), expected.map(|name| format!("{name}{{http_method=\"GET\"}} 1.5 @7")));
    let kinds: Vec<_> = batch.iter().map(|s| s.metadata_text().0).collect();
    assert_eq!(kinds, [MetricKind::Gauge, MetricKind::Counter, MetricKind::Gauge]);
    assert_eq!(batch.get(1).unwrap().metadata_text().2, "bytes");
}

#[test]
fn a_resource_becomes_job_instance_and_target_info() {
    let resource = [
        ("service.name", "api"),
        ("service.namespace", "shop"),
        ("service.instance.id", "i-1"),
        ("host.name", "h"),
        ("__name__", "not this"),
    ];
    let points = vec![point(1.0, 400_000, &[]), point(2.0, 100_000, &[("job", "inner")])];
    let sent = message(&resource, None, vec![metric("x", "", gauge(points))]);
    let mut converter = FromOtlp::new(FromOtlpOptions::default());
    let (batch, _) = convert_with(&mut converter, &sent);
    let info = "target_info{host_name=\"h\",instance=\"i-1\",job=\"shop/api\"} 1";
    let x = "x{instance=\"i-1\",job=\"shop/api\"}";
    assert_eq!(
        lines(&batch),
        [
            format!("{x} 1 @400000"),
            format!("{x} 2 @100000"),
            format!("{info} @100000"),
            format!("{info} @250000"),
            format!("{info} @400000"),
        ]
    );
    // Not before one that was given already.
    let older = message(&resource, None, vec![metric("y", "", gauge(vec![point(1.0, 300_000, &[])]))]);
    assert!(!lines(&convert_with(&mut converter, &older).0).concat().contains("target_info"));
    let newer = message(&resource, None, vec![metric("y", "", gauge(vec![point(1.0, 400_001, &[])]))]);
    assert!(lines(&convert_with(&mut converter, &newer).0).concat().contains("@400001target_info"));
    // Without job and instance it would belong to nothing; without further attributes it would say nothing.
    for resource in [&[("host.name", "h")][..], &[("service.name", "a")]] {
        let sent = message(resource, None, vec![metric("y", "", gauge(vec![point(1.0, 3, &[])]))]);
        let (batch, _) = convert(FromOtlpOptions::default(), &sent);
        assert_eq!(batch.len(), 1, "{resource:?}");
    }
}

#[test]
fn chosen_resource_attributes_and_the_scope_become_labels() {
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1".to_owned(),
        attributes: attributes(&[("mascot.animal", "bear")]),
        ..InstrumentationScope::default()
    };
    let resource = [("service.name", "api"), ("host.name", "h"), ("zone", "eu")];
    let points = vec![point(1.0, 3, &[("zone", "own")])];
    let sent = message(&resource, Some(scope), vec![metric("x", "", gauge(points))]);
    let options = |resource_labels: &[&str], scope_labels| FromOtlpOptions {
        resource_labels: resource_labels.iter().map(|s| (*s).to_owned()).collect(),
        scope_labels,
        target_info: false,
        ..FromOtlpOptions::default()
    };
    let (batch, _) = convert(options(&["host.name", "zone"], false), &sent);
    assert_eq!(lines(&batch), ["x{host_name=\"h\",job=\"api\",zone=\"own\"} 1 @3"]);
    let (batch, _) = convert(options(&["*"], true), &sent);
    let scope = "otel_scope_mascot_animal=\"bear\",otel_scope_name=\"lib\",otel_scope_version=\"1\"";
    assert_eq!(lines(&batch), [format!("x{{host_name=\"h\",job=\"api\",{scope},zone=\"own\"}} 1 @3")]);
}

#[test]
fn a_histogram_becomes_cumulative_buckets_with_their_exemplars() {
    let point = HistogramDataPoint {
        time_unix_nano: 9_000_000,
        start_time_unix_nano: 2_000_000,
        count: 6,
        sum: Some(12.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 10.0],
        exemplars: vec![trace_exemplar(11.0, 8), trace_exemplar(0.5, 7), trace_exemplar(0.6, 6)],
        ..HistogramDataPoint::default()
    };
    let sent = message(&[], None, vec![metric("lat", "s", histogram(vec![point], CUMULATIVE))]);
    let (batch, _) = convert(FromOtlpOptions::default(), &sent);
    assert_eq!(
        lines(&batch),
        [
            "lat_seconds_sum{} 12.5 @9",
            "lat_seconds_count{} 6 @9",
            "lat_seconds_bucket{le=\"0.5\"} 1 @9",
            "lat_seconds_bucket{le=\"10\"} 3 @9",
            "lat_seconds_bucket{le=\"+Inf\"} 6 @9",
        ]
    );
    assert_eq!(batch.items(), 1, "one point");
    assert!(batch.iter().all(|s| s.samples()[0].start_ms == 2));
    let exemplars: Vec<Vec<f64>> = batch.iter().map(|s| s.exemplars().map(|e| e.value).collect()).collect();
    assert_eq!(exemplars, [vec![], vec![], vec![0.5], vec![0.6], vec![11.0]]);
    let exemplar = batch.get(2).unwrap().exemplars().next().unwrap();
    assert_eq!(exemplar.labels.get("trace_id"), Some("ab".repeat(16).as_str()));
    assert_eq!(exemplar.labels.get("span_id"), Some("cd".repeat(8).as_str()));
    assert_eq!(exemplar.timestamp_ms, 7);

    let (batch, _) = convert(FromOtlpOptions { custom_buckets: true, ..FromOtlpOptions::default() }, &sent);
    let native = batch.get(0).unwrap().histograms().next().unwrap();
    assert_eq!(
        (native.schema, native.custom_values, native.positive.deltas),
        (-53, &[0.5, 10.0][..], &[1, 1, 1][..])
    );
    assert_eq!(batch.get(0).unwrap().name(), "lat_seconds");
}

#[test]
fn histograms_that_say_less_are_still_histograms() {
    let bare = HistogramDataPoint { time_unix_nano: 9_000_000, count: 6, ..HistogramDataPoint::default() };
    let stale = HistogramDataPoint {
        flags: 1,
        explicit_bounds: vec![1.0],
        bucket_counts: vec![0, 0],
        attributes: attributes(&[("k", "v")]),
        ..bare.clone()
    };
    assert_eq!(
        series(vec![metric("h", "", histogram(vec![bare, stale], CUMULATIVE))]),
        [
            "h_count{} 6 @9",
            "h_bucket{le=\"+Inf\"} 6 @9",
            "h_sum{k=\"v\"} stale @9",
            "h_count{k=\"v\"} stale @9",
            "h_bucket{k=\"v\",le=\"1\"} stale @9",
            "h_bucket{k=\"v\",le=\"+Inf\"} stale @9",
        ]
    );
}

#[test]
fn a_summary_becomes_quantiles() {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let point = SummaryDataPoint {
        time_unix_nano: 9_000_000,
        count: 4,
        sum: 8.0,
        quantile_values: vec![quantile(0.5, 2.0), quantile(1.0, 3.0)],
        ..SummaryDataPoint::default()
    };
    assert_eq!(
        series(vec![metric("s", "", summary(point))]),
        ["s_sum{} 8 @9", "s_count{} 4 @9", "s{quantile=\"0.5\"} 2 @9", "s{quantile=\"1\"} 3 @9"]
    );
}

fn exponential_point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        time_unix_nano: 9_000_000,
        count: counts.iter().sum::<u64>() + 2,
        sum: Some(3.0),
        scale,
        zero_count: 2,
        positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
        ..ExponentialHistogramDataPoint::default()
    }
}

#[test]
fn an_exponential_histogram_becomes_a_native_one() {
    let points = vec![exponential_point(3, -1, &[1, 0, 2])];
    let (batch, _) = convert(
        FromOtlpOptions::default(),
        &message(&[], None, vec![metric("e", "", exponential(points, CUMULATIVE))]),
    );
    let native = batch.get(0).unwrap().histograms().next().unwrap();
    assert_eq!((native.count, native.zero_count), (Count::Int(5), Count::Int(2)));
    assert_eq!((native.schema, native.zero_threshold, native.sum), (3, 1e-128, 3.0));
    assert_eq!(native.positive.deltas, [1, -1, 2]);
    assert_eq!((native.positive.spans[0].offset, native.positive.spans[0].length), (0, 3));

    // Scale 10 is brought to 8: four buckets become one. Scale -5 has no place.
    let points = vec![exponential_point(10, 4, &[1, 1, 1, 1, 5])];
    let low = ExponentialHistogramDataPoint {
        attributes: attributes(&[("k", "v")]),
        ..exponential_point(-5, 0, &[1])
    };
    let data = exponential([points, vec![low]].concat(), CUMULATIVE);
    let (batch, report) =
        convert(FromOtlpOptions::default(), &message(&[], None, vec![metric("e", "", data)]));
    let native = batch.get(0).unwrap().histograms().next().unwrap();
    assert_eq!((native.schema, native.positive.deltas), (8, &[4, 1][..]));
    assert_eq!(native.positive.spans[0].offset, 2);
    assert_eq!(report.refused[reasons::SCALE], 1);
}

#[test]
fn what_prometheus_cannot_have_is_refused_by_itself() {
    let unfit = HistogramDataPoint {
        bucket_counts: vec![1],
        explicit_bounds: vec![1.0, 2.0],
        ..HistogramDataPoint::default()
    };
    let empty = NumberDataPoint { value: None, ..point(0.0, 1, &[]) };
    let metrics = vec![
        metric("ok", "", gauge(vec![point(1.0, 1, &[])])),
        metric("delta", "", sum(vec![point(1.0, 1, &[]), point(1.0, 2, &[])], DELTA, true)),
        metric("neither", "", sum(vec![point(1.0, 1, &[])], 0, true)),
        metric("...", "", gauge(vec![point(1.0, 1, &[])])),
        metric("unfit", "", histogram(vec![unfit], CUMULATIVE)),
        metric("empty", "", gauge(vec![empty])),
        metric("twice", "", gauge(vec![point(1.0, 1, &[]), point(2.0, 1, &[])])),
    ];
    let (batch, report) = convert(FromOtlpOptions::default(), &message(&[], None, metrics));
    assert_eq!(lines(&batch), ["ok{} 1 @1", "twice{} 1 @1"]);
    let expected = [
        (reasons::DELTA, 2),
        (reasons::TEMPORALITY, 1),
        (reasons::NAME, 1),
        (reasons::BUCKETS, 1),
        (reasons::VALUE, 1),
        (reasons::DUPLICATE, 1),
    ];
    assert_eq!(report.refused, expected.into_iter().collect());
}

#[test]
fn labels_that_meet_are_joined_and_values_are_text() {
    let list = any_value::Value::ArrayValue(ArrayValue {
        values: vec![
            attribute("", text("a\"b")).value.unwrap(),
            attribute("", any_value::Value::IntValue(2)).value.unwrap(),
        ],
    });
    let attributes = vec![
        attribute("a.b", text("2")),
        attribute("a-b", text("1")),
        attribute("list", list),
        attribute("on", any_value::Value::BoolValue(true)),
        attribute("n", any_value::Value::DoubleValue(0.5)),
        attribute("raw", any_value::Value::BytesValue(vec![1, 2])),
        attribute("none", text("")),
    ];
    let points = vec![NumberDataPoint { attributes, ..point(1.0, 1, &[]) }];
    let sent = message(&[], None, vec![metric("x", "", gauge(points))]);
    let (batch, report) = convert(FromOtlpOptions::default(), &sent);
    let expected = r#"x{a_b="1;2",list="[\"a\\\"b\",2]",n="0.5",on="true",raw="AQI="} 1 @1"#;
    assert_eq!(lines(&batch), [expected]);
    assert_eq!(report.joined_labels, 1);
    let kept = FromOtlpOptions { translation: Translation::NoTranslation, ..FromOtlpOptions::default() };
    assert!(lines(&convert(kept, &sent).0)[0].starts_with("x{a-b=\"1\",a.b=\"2\","));
}

#[test]
fn delta_points_are_accumulated_where_that_is_chosen() {
    let limits = Limits { max_series: 10, idle_ms: 60_000 };
    let mut converter =
        FromOtlp::new(FromOtlpOptions { accumulate: Some(limits), ..FromOtlpOptions::default() });
    let counter = |value: f64, time: u64| {
        let point = NumberDataPoint {
            start_time_unix_nano: (time - 10) * 1_000_000,
            ..point(value, time, &[("k", "v")])
        };
        metric("c", "", sum(vec![point], DELTA, true))
    };
    let hist = |count: u64, time: u64| {
        let point = HistogramDataPoint {
            time_unix_nano: time * 1_000_000,
            count,
            sum: Some(1.0),
            explicit_bounds: vec![1.0],
            bucket_counts: vec![1, count - 1],
            ..HistogramDataPoint::default()
        };
        metric("h", "", histogram(vec![point], DELTA))
    };
    let (first, _) = convert_with(&mut converter, &message(&[], None, vec![counter(2.0, 20), hist(3, 20)]));
    assert_eq!(lines(&first)[0], "c_total{k=\"v\"} 2 @20");
    let (second, _) = convert_with(&mut converter, &message(&[], None, vec![counter(3.0, 30), hist(4, 30)]));
    assert_eq!(
        lines(&second),
        [
            "c_total{k=\"v\"} 5 @30",
            "h_sum{} 2 @30",
            "h_count{} 7 @30",
            "h_bucket{le=\"1\"} 2 @30",
            "h_bucket{le=\"+Inf\"} 7 @30",
        ]
    );
    assert_eq!(second.get(0).unwrap().samples()[0].start_ms, 10, "where the total begins");
    assert_eq!(converter.accumulated_series(), 2);
    // The same request once more gives the same series, an older one is refused.
    let (again, _) = convert_with(&mut converter, &message(&[], None, vec![counter(3.0, 30), hist(4, 30)]));
    assert_eq!(lines(&again), lines(&second));
    let (_, report) = convert_with(&mut converter, &message(&[], None, vec![counter(3.0, 25)]));
    assert_eq!(report.refused["out_of_order"], 1);
}

#[test]
fn points_without_a_time_are_of_now_and_stale_ones_are_stale() {
    let stale = NumberDataPoint { flags: 1, value: None, ..point(0.0, 5, &[("k", "v")]) };
    assert_eq!(
        series(vec![metric("x", "", gauge(vec![point(1.0, 0, &[]), stale]))]),
        [format!("x{{}} 1 @{NOW}"), "x{k=\"v\"} stale @5".to_owned()]
    );
}

#[test]
fn exemplars_of_counters_are_kept_in_order_and_long_ones_lose_their_attributes() {
    let mut long = trace_exemplar(2.0, 3);
    long.filtered_attributes = attributes(&[("k", &"x".repeat(100))]);
    let mut short = trace_exemplar(1.0, 2);
    short.filtered_attributes = attributes(&[("k", "v")]);
    let points =
        || vec![NumberDataPoint { exemplars: vec![long.clone(), short.clone()], ..point(1.0, 4, &[]) }];
    let metrics = vec![metric("c", "", sum(points(), CUMULATIVE, true)), metric("g", "", gauge(points()))];
    let (batch, _) = convert(FromOtlpOptions::default(), &message(&[], None, metrics));
    let of = |n: usize| -> Vec<(i64, Option<&str>)> {
        batch.get(n).unwrap().exemplars().map(|e| (e.timestamp_ms, e.labels.get("k"))).collect()
    };
    assert_eq!(of(0), [(2, Some("v")), (3, None)]);
    assert_eq!(of(1), [], "only of histograms and counters");
}

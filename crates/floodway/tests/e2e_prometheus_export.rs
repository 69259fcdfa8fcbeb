//! Real Prometheus behind the program: OTLP metrics are found by PromQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backends::{Options, Server, prometheus};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use support::program::{Floodway, binary};
use support::{http, telemetrygen};

const FOUND_WITHIN: Duration = Duration::from_secs(30);
const CUMULATIVE: i32 = 2;
const DELTA: i32 = 1;

fn start_towards(server: &Server, more: &str) -> Floodway {
    let port = server.port("http").unwrap();
    Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers:
  otlp: {{grpc: {{endpoint: '127.0.0.1:@grpc@'}}, http: {{endpoint: '127.0.0.1:@http@'}}}}
exporters:
  prometheus_remote_write:
    endpoint: 'http://127.0.0.1:{port}/api/v1/write'
    external_labels: {{cluster: e2e, kept: outer}}
    retry: {{max_backoff_ms: 500}}
    {more}
pipelines:
  metrics: {{receivers: [otlp], exporters: [prometheus_remote_write]}}
"
    ))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let value = |text: &str| AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) };
    let pair = |(key, text): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(value(text)),
        ..KeyValue::default()
    };
    pairs.iter().map(pair).collect()
}

fn point(value: f64, time_ms: u64, pairs: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(pairs),
        time_unix_nano: time_ms * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn counter(name: &str, points: Vec<NumberDataPoint>, temporality: i32) -> Metric {
    let sum = Sum { data_points: points, aggregation_temporality: temporality, is_monotonic: true };
    metric(name, "1", metric::Data::Sum(sum))
}

fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    metric(name, "", metric::Data::Gauge(Gauge { data_points: points }))
}

/// Sends metrics of one resource and expects a yes.
fn post(program: &Floodway, metrics: Vec<Metric>) {
    let pairs = [("service.name", "shop"), ("service.instance.id", "i-1"), ("host.name", "box")];
    let message = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: attributes(&pairs), ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    };
    let answer = http::post_protobuf(program.port("http"), "metrics", &message.encode_to_vec());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn exemplar_of_trace(value: f64, time_ms: u64) -> Exemplar {
    Exemplar {
        time_unix_nano: time_ms * 1_000_000,
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        value: Some(exemplar::Value::AsDouble(value)),
        ..Exemplar::default()
    }
}

/// One of each kind, at one time.
fn every_kind(time_ms: u64) -> Vec<Metric> {
    let time_unix_nano = time_ms * 1_000_000;
    let histogram = HistogramDataPoint {
        time_unix_nano,
        count: 20,
        sum: Some(6.5),
        explicit_bounds: vec![0.25, 1.0],
        bucket_counts: vec![10, 10, 0],
        exemplars: vec![exemplar_of_trace(0.5, time_ms)],
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        time_unix_nano,
        count: 21,
        sum: Some(45.0),
        scale: 10,
        zero_count: 1,
        // At scale 10 these stand for (1, 2^(1/1024)] and (2, 2^(1025/1024)].
        positive: Some(Buckets { offset: 0, bucket_counts: [vec![10], vec![0; 1023], vec![10]].concat() }),
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano,
        count: 4,
        sum: 8.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 2.5 }],
        ..SummaryDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![histogram], aggregation_temporality: CUMULATIVE };
    let exponential =
        ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: CUMULATIVE };
    vec![
        metric("e2e.latency", "s", metric::Data::Histogram(histogram)),
        metric("e2e.size", "By", metric::Data::ExponentialHistogram(exponential)),
        metric("e2e.wait", "s", metric::Data::Summary(Summary { data_points: vec![summary] })),
        gauge("e2e.temperature", vec![point(21.5, time_ms, &[("room.name", "attic"), ("kept", "own")])]),
    ]
}

fn one(server: &Server, promql: &str) -> prometheus::Found {
    let found = prometheus::await_query(server, promql, FOUND_WITHIN, |found| found.len() == 1).unwrap();
    found.into_iter().next().unwrap()
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_every_kind_of_otlp_metric_answers_promql() {
    let server = Server::start("prometheus", &Options::default()).unwrap();
    let program = start_towards(&server, "queue: {concurrency: 3}");
    let end = now_ms();
    for step in 0..5u64 {
        let time = end - (4 - step) * 15_000;
        let mut total = point(30.0 * step as f64, time, &[("code", "200")]);
        if step == 4 {
            total.exemplars = vec![exemplar_of_trace(1.0, time)];
        }
        post(&program, vec![counter("e2e.requests", vec![total], CUMULATIVE)]);
    }
    post(&program, every_kind(end));
    program.await_delivered(5 + 4);

    let at = Some(end as f64 / 1000.0);
    let rate = prometheus::query(&server, "rate(e2e_requests_total{code=\"200\"}[1m])", at).unwrap();
    assert!((rate[0].value - 2.0).abs() < 0.001, "{rate:?}");
    let temperature = one(&server, "e2e_temperature");
    assert_eq!(temperature.value, 21.5);
    let label = |name: &str| temperature.labels.get(name).map(String::as_str);
    assert_eq!(
        (label("room_name"), label("job"), label("instance")),
        (Some("attic"), Some("shop"), Some("i-1"))
    );
    assert_eq!((label("cluster"), label("kept")), (Some("e2e"), Some("own")));

    assert_eq!(one(&server, "histogram_quantile(0.5, e2e_latency_seconds_bucket)").value, 0.25);
    assert_eq!(one(&server, "e2e_latency_seconds_bucket{le=\"+Inf\"}").value, 20.0);
    assert_eq!(one(&server, "e2e_latency_seconds_sum / e2e_latency_seconds_count").value, 6.5 / 20.0);
    assert_eq!(one(&server, "histogram_count(e2e_size_bytes)").value, 21.0);
    assert_eq!(one(&server, "histogram_sum(e2e_size_bytes)").value, 45.0);
    let median = one(&server, "histogram_quantile(0.5, e2e_size_bytes)").value;
    assert!((1.0..1.003).contains(&median), "{median}");
    let upper = one(&server, "histogram_quantile(0.99, e2e_size_bytes)").value;
    assert!((2.0..2.006).contains(&upper), "{upper}");
    assert_eq!(one(&server, "e2e_wait_seconds{quantile=\"0.5\"}").value, 2.5);
    assert_eq!(one(&server, "e2e_wait_seconds_count").value, 4.0);

    let joined = one(&server, "e2e_requests_total * on (job, instance) group_left (host_name) target_info");
    assert_eq!((joined.labels["host_name"].as_str(), joined.value), ("box", 120.0));
    for promql in ["e2e_requests_total", "e2e_latency_seconds_bucket"] {
        let found = prometheus::exemplars(&server, promql).unwrap();
        assert_eq!(found.len(), 1, "{promql}: {found:?}");
        assert_eq!(found[0]["trace_id"], "ab".repeat(16));
        assert_eq!(found[0]["span_id"], "cd".repeat(8));
    }
    assert_eq!(program.metric("floodway_dropped_items_total", &[]), 0.0);
    program.stop().cleanly();
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_telemetrygen_metrics_are_found() {
    for version in ["v1", "v2"] {
        let server = Server::start("prometheus", &Options::default()).unwrap();
        let program = start_towards(&server, &format!("protocol_version: {version}"));
        // One series has many points in a millisecond, of which Prometheus keeps one.
        let more =
            ["--unique-timeseries", "--metric-type", "Sum", "--service", "generated", "--otlp-metric-name"];
        let more = [&more[..], &["dial.attempts"]].concat();
        telemetrygen("metrics", program.port("grpc"), 10, &[("node.kind", "full"), ("site", "a")], &more);
        program.await_delivered(10);
        let found = prometheus::await_query(
            &server,
            "dial_attempts_total{job=\"generated\"}",
            FOUND_WITHIN,
            |found| found.len() == 10,
        );
        let labels = &found.unwrap()[0].labels;
        assert_eq!((labels["node_kind"].as_str(), labels["cluster"].as_str()), ("full", "e2e"));
        assert_eq!(one(&server, "target_info{job=\"generated\"}").labels["site"], "a");
        program.stop().cleanly();
    }
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_refuses_old_and_double_samples_and_takes_the_rest() {
    for version in ["v1", "v2"] {
        let server = Server::start("prometheus", &Options::default()).unwrap();
        let more = format!(
            "protocol_version: {version}\n    target_info: false\n    queue: {{concurrency: 1}}\n    dead_letters: {{directory: '@dir@/letters'}}"
        );
        let program = start_towards(&server, &more);
        let now = now_ms();
        let sample = |name: &str, value: f64, time: u64| gauge(name, vec![point(value, time, &[])]);
        post(&program, vec![sample("one", 1.0, now), sample("two", 1.0, now)]);
        program.await_delivered(2);
        post(
            &program,
            vec![
                sample("three", 1.0, now),
                sample("one", 2.0, now - 1000),
                sample("four", 1.0, now),
                sample("two", 2.0, now),
                sample("five", 1.0, now),
            ],
        );
        program.await_delivered(5);
        for name in ["one", "two", "three", "four", "five"] {
            assert_eq!(one(&server, name).value, 1.0, "{version} {name}");
        }
        let lost =
            |reason: &str| program.metric("floodway_dropped_items_total", &[&format!("reason=\"{reason}\"")]);
        assert_eq!((lost("out_of_order"), lost("duplicate_sample")), (1.0, 1.0), "{version}");
        assert_eq!(program.metric("floodway_dropped_items_total", &[]), 2.0);
        // 1.0 is sent in halves until they stand alone; 2.0 says how many there are, and not which.
        let mut letters = dumped(&program.stop().cleanly().dir().join("letters"));
        letters.sort();
        match version {
            "v1" => assert_eq!(letters, ["duplicate_sample 1", "out_of_order 1"]),
            _ => assert!(matches!(&letters[..], [one] if one.ends_with(" 5")), "{letters:?}"),
        }
    }
}

/// Reason and number of records of each dead letter, as `floodway buffer dump` shows them.
fn dumped(folder: &std::path::Path) -> Vec<String> {
    let output = std::process::Command::new(binary()).args(["buffer", "dump"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let line = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", line["reason"].as_str().unwrap(), line["items"])
    };
    String::from_utf8(output.stdout).unwrap().lines().map(line).collect()
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn prometheus_that_is_away_for_a_while_misses_nothing() {
    let mut server = Server::start("prometheus", &Options::default()).unwrap();
    let program = start_towards(&server, "delta: accumulate");
    let begin = now_ms() - 60_000;
    let send = |n: u64| {
        let time = begin + n * 1000;
        let up =
            |name: &str, value: f64, temporality| counter(name, vec![point(value, time, &[])], temporality);
        post(&program, vec![up("steps", n as f64, CUMULATIVE), up("deltas", 1.0, DELTA)]);
    };
    (1..=10).for_each(send);
    program.await_delivered(20);
    server.interrupt(Duration::from_secs(10)).unwrap();
    (11..=30).for_each(send);
    std::thread::sleep(Duration::from_secs(1));
    assert!(program.metric("floodway_export_retries_total", &[]) > 0.0);
    server.resume().unwrap();
    (31..=40).for_each(send);
    program.await_delivered(80);
    let expected: Vec<(i64, f64)> = (1..=40).map(|n| ((begin + n * 1000) as i64, n as f64)).collect();
    for name in ["steps_total", "deltas_total"] {
        let found = prometheus::samples(&server, name, "10m").unwrap();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].1, expected, "{name}");
    }
    assert_eq!(program.metric("floodway_dropped_items_total", &[]), 0.0);
    program.stop().cleanly();
}

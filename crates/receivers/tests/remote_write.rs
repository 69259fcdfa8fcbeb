//! Remote-write, spoken by hand over plain sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../../codec/tests/common/prometheus.rs"]
mod prometheus;

use std::io::Write as _;

use common::{Answer, Running, connect, eventually, exchange, post, read_answer, setup};
use engine::QueueSettings;
use engine::testing::{Answer as Destination, Setup};
use model::AckMode;
use model::series::{METRIC_NAME, MetricKind};
use prometheus::{Histogram, histogram, v1, v2};
use prost::Message as _;
use serde_json::{Value, json};

const SNAPPY: (&str, &str) = ("content-encoding", "snappy");
const V1: (&str, &str) = ("content-type", "application/x-protobuf");
const V2: (&str, &str) = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");

async fn start(setup: Setup) -> Running {
    start_with(setup, json!({})).await
}

async fn start_with(setup: Setup, settings: Value) -> Running {
    let ack = if setup.ack == AckMode::Delivered { "delivered" } else { "received" };
    Running::start("remote_write", setup, |addr| {
        let mut settings = settings.clone();
        settings["endpoint"] = json!(addr);
        settings["ack"] = json!(ack);
        settings
    })
    .await
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

async fn write(running: &Running, content_type: (&str, &str), message: &impl prost::Message) -> Answer {
    let body = snappy(&message.encode_to_vec());
    exchange(running.addr, post("/api/v1/write", &[content_type, SNAPPY], &body)).await
}

/// What a 2.0 sender is told was written: samples, histograms, exemplars.
fn written(answer: &Answer) -> Option<[u64; 3]> {
    let of = |kind: &str| {
        answer.header(&format!("x-prometheus-remote-write-{kind}-written")).map(|n| n.parse().unwrap())
    };
    Some([of("samples")?, of("histograms")?, of("exemplars")?])
}

fn text(answer: &Answer) -> &str {
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    std::str::from_utf8(&answer.body).unwrap().trim_end()
}

fn up(samples: usize) -> v2::Request {
    let mut request = v2::Request::new();
    for n in 0..samples {
        request.sample(&[(METRIC_NAME, "up"), ("n", &n.to_string())], 1.0, 1_700_000_000_000);
    }
    request
}

fn up_v1(samples: usize) -> v1::WriteRequest {
    let series = |n: usize| v1::TimeSeries {
        labels: v1::labels(&[(METRIC_NAME, "up"), ("n", &n.to_string())]),
        samples: vec![v1::Sample { value: n as f64, timestamp: 1_700_000_000_000 }],
        ..v1::TimeSeries::default()
    };
    v1::WriteRequest { timeseries: (0..samples).map(series).collect(), metadata: Vec::new() }
}

#[tokio::test]
async fn both_versions_arrive_and_only_the_second_is_told_what_was_written() {
    let running = start(setup("rw_versions")).await;
    let mut request = up(3);
    let labels_refs = request.refs(&[("trace_id", "0123")]);
    let series = request.series(&[(METRIC_NAME, "latency")]);
    series.histograms = vec![histogram(1), histogram(2)];
    series.exemplars = vec![v2::Exemplar { labels_refs, value: 0.5, timestamp: 1 }];
    let answer = write(&running, V2, &request).await;
    assert_eq!((answer.status, answer.body.len(), written(&answer)), (204, 0, Some([3, 2, 1])));
    for (n, proto) in
        ["", ";proto=prometheus.WriteRequest", "; charset=utf-8; Proto=\"prometheus.WriteRequest\""]
            .iter()
            .enumerate()
    {
        let content_type = format!("application/x-protobuf{proto}");
        let answer = write(&running, ("content-type", &content_type), &up_v1(n + 1)).await;
        assert_eq!((answer.status, written(&answer)), (204, None), "{content_type}");
    }
    running.collected.wait_for(11).await;
    let got = running.collected.series();
    assert_eq!(got.iter().map(|batch| batch.items()).collect::<Vec<_>>(), [5, 1, 2, 3]);
    let latency = got[0].get(3).unwrap();
    assert_eq!((latency.name(), latency.histograms().len()), ("latency", 2));
    assert_eq!(latency.exemplars().next().unwrap().labels.get("trace_id"), Some("0123"));
    assert_eq!(got[3].get(2).unwrap().samples()[0].value, 2.0);
    running.budget_is_free().await;
    running.stop().await;
}

#[tokio::test]
async fn metadata_alone_goes_on_and_an_empty_request_is_fine() {
    let running = start(setup("rw_metadata")).await;
    let family = v1::Metadata { kind: 1, name: "up".into(), help: "Whether it is.".into(), unit: "".into() };
    let request = v1::WriteRequest { timeseries: Vec::new(), metadata: vec![family] };
    assert_eq!(write(&running, V1, &request).await.status, 204);
    let empty = write(&running, V2, &v2::Request::default()).await;
    assert_eq!((empty.status, written(&empty)), (204, Some([0, 0, 0])));
    eventually("the metadata arrives", || !running.collected.series().is_empty()).await;
    let got = running.collected.series();
    assert_eq!((got.len(), got[0].families()[0].metadata.kind), (1, MetricKind::Counter));
    running.budget_is_free().await;
}

#[tokio::test]
async fn what_is_not_sound_is_refused_with_counts_and_the_rest_taken() {
    let running = start(setup("rw_partial")).await;
    let mut request = up(2);
    request.sample(&[("secret", "12D3KooW")], 1.0, 1);
    request.sample(&[(METRIC_NAME, "up"), ("a", "1"), ("a", "2")], 1.0, 1);
    let broken = Histogram { schema: 99, ..histogram(1) };
    request.series(&[(METRIC_NAME, "h")]).histograms = vec![histogram(1), broken];
    let answer = write(&running, V2, &request).await;
    assert_eq!((answer.status, written(&answer)), (400, Some([2, 1, 0])));
    let message = text(&answer);
    for part in [
        "no __name__ label: 1 series, 1 samples, first at timeseries[2]",
        "a label name that stands twice: 1 series, 1 samples, first at timeseries[3]",
        "neither -4 to 8 nor -53: 1 histograms, first at timeseries[4]",
        "Written: 2 samples, 1 histograms, 0 exemplars",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("12D3KooW") && !message.contains("secret"), "{message}");
    running.collected.wait_for(3).await;
    assert_eq!(running.collected.items(), 3);
    let refused = |reason| running.counter("floodway_refused_items_total", ("reason", reason));
    assert_eq!([refused("no_name"), refused("duplicate_label"), refused("histogram_schema")], [1, 1, 1]);

    // 1.0 the same; nothing is left of this one.
    let series = v1::TimeSeries { samples: vec![v1::Sample::default()], ..v1::TimeSeries::default() };
    let nameless = v1::WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let answer = write(&running, V1, &nameless).await;
    assert_eq!((answer.status, written(&answer)), (400, None));
    assert!(text(&answer).ends_with("Written: 0 samples, 0 histograms, 0 exemplars"), "{}", text(&answer));
    assert_eq!(running.collected.items(), 3);
    running.budget_is_free().await;
}

#[tokio::test]
async fn what_is_not_remote_write_is_refused_in_its_words() {
    let running = start(setup("rw_unsupported")).await;
    let body = snappy(&up(1).encode_to_vec());
    type Case = (&'static str, Vec<(&'static str, &'static str)>, u16, &'static str);
    let cases: [Case; 8] = [
        ("/api/v1/write", vec![("content-type", "application/json"), SNAPPY], 415, "content-type must be"),
        (
            "/api/v1/write",
            vec![("content-type", "application/x-protobuf;proto=x.Y"), SNAPPY],
            415,
            "content-type must be",
        ),
        ("/api/v1/write", vec![V2], 415, "content-encoding must be snappy"),
        ("/api/v1/write", vec![V2, ("content-encoding", "gzip")], 415, "content-encoding must be snappy"),
        ("/api/v1/write", vec![V2, SNAPPY, SNAPPY], 415, "content-encoding must be snappy"),
        ("/api/v1/push", vec![V2, SNAPPY], 404, "remote-write is at /api/v1/write"),
        ("/api/v1/write", vec![V1, SNAPPY], 400, "other remote-write version"),
        ("/api/v1/write", vec![SNAPPY], 400, "other remote-write version"),
    ];
    for (path, headers, status, message) in cases {
        let answer = exchange(running.addr, post(path, &headers, &body)).await;
        assert_eq!(answer.status, status, "{path} {headers:?}: {}", text(&answer));
        assert!(text(&answer).contains(message), "{}", text(&answer));
    }
    let get = b"GET /api/v1/write HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let answer = exchange(running.addr, get).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(running.refused("unsupported"), 7);
    assert_eq!(running.refused("malformed"), 2);
    assert_eq!(running.collected.items(), 0);
}

#[tokio::test]
async fn malformed_bodies_are_refused_for_good_and_the_next_is_served() {
    let running = start(setup("rw_malformed")).await;
    let good = up(1).encode_to_vec();
    let bodies: [(Vec<u8>, &str); 6] = [
        (Vec::new(), "snappy"),
        (b"not snappy at all".to_vec(), "snappy"),
        (snappy(&good)[..snappy(&good).len() - 3].to_vec(), "snappy"),
        (snappy(&good[..good.len() - 3]), "length"),
        (snappy(&[5 << 3, 7]), "wire type Varint does not fit field 5"),
        (snappy(&v2::Request { symbols: vec!["x".into()], ..up(1) }.encode_to_vec()), "empty string"),
    ];
    for (body, message) in &bodies {
        let answer = exchange(running.addr, post("/api/v1/write", &[V2, SNAPPY], body)).await;
        assert_eq!((answer.status, written(&answer)), (400, Some([0, 0, 0])), "{}", text(&answer));
        assert!(text(&answer).contains(message), "{} ({message})", text(&answer));
    }
    assert_eq!(running.refused("malformed"), bodies.len() as u64);
    assert_eq!(write(&running, V2, &up(1)).await.status, 204);
    assert_eq!(running.collected.wait_for(1).await.len(), 0, "series are no OTLP");
    assert_eq!(running.collected.items(), 1);
    running.budget_is_free().await;
}

#[tokio::test]
async fn bombs_and_giants_are_refused_before_they_take_memory() {
    let small = Setup { budget_bytes: 8 << 20, ..setup("rw_bomb") };
    let running = start_with(small, json!({"max_request_bytes": 1 << 20})).await;
    let inflated = snappy(&vec![0; 64 << 20]);
    // 2 GiB claimed, and 20 MiB of wire announced.
    let claim = [0x80, 0x80, 0x80, 0x80, 0x08, 0, 0].to_vec();
    for body in [inflated[..1 << 19].to_vec(), claim] {
        let answer = exchange(running.addr, post("/api/v1/write", &[V2, SNAPPY], &body)).await;
        assert_eq!((answer.status, written(&answer)), (413, Some([0, 0, 0])), "{}", text(&answer));
        assert_eq!(answer.header("retry-after"), None);
    }
    let addr = running.addr;
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = connect(addr);
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nhost: x\r\n{}: {}\r\ncontent-encoding: snappy\r\ncontent-length: 20971520\r\n\r\n",
            V2.0, V2.1
        );
        socket.write_all(head.as_bytes()).unwrap();
        read_answer(&mut socket)
    });
    assert_eq!(answer.await.unwrap().status, 413);
    // Two bytes a histogram on the wire, 136 in memory.
    let mut request = up(1);
    request.series(&[(METRIC_NAME, "h")]).histograms = vec![Histogram::default(); 200_000];
    let answer = write(&running, V2, &request).await;
    assert_eq!((answer.status, written(&answer)), (413, Some([0, 0, 0])), "{}", text(&answer));
    assert_eq!(running.refused("too_large"), 4);
    running.budget_is_free().await;
    assert_eq!(write(&running, V2, &up(1)).await.status, 204);
}

#[tokio::test]
async fn a_full_queue_is_a_503_with_retry_after_and_loses_nothing() {
    let queue = QueueSettings { max_requests: 1, max_wait_ms: 20, ..QueueSettings::default() };
    let running = start(Setup { queue, ..setup("rw_full") }).await;
    running.collected.answer(Destination::Hold);
    assert_eq!(write(&running, V2, &up(10)).await.status, 204);
    for (content_type, told) in [(V2, Some([0, 0, 0])), (V1, None)] {
        let answer = match content_type {
            V2 => write(&running, V2, &up(5)).await,
            _ => write(&running, V1, &up_v1(5)).await,
        };
        assert_eq!((answer.status, written(&answer)), (503, told), "{}", text(&answer));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    running.collected.answer(Destination::Deliver);
    assert_eq!(write(&running, V2, &up(5)).await.status, 204);
    running.collected.wait_for(15).await;
    assert_eq!(running.collected.items(), 15);
    running.budget_is_free().await;
}

#[tokio::test]
async fn a_full_budget_is_a_503_before_the_body_and_before_the_series() {
    let running = start(Setup { budget_bytes: 64 << 10, ..setup("rw_budget") }).await;
    // The body has room, what it inflates to and decodes to has not; never, so 413.
    let answer = write(&running, V2, &up(2000)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (413, None), "{}", text(&answer));
    let mut held = Vec::new();
    running.collected.answer(Destination::Hold);
    loop {
        let answer = write(&running, V2, &up(100)).await;
        if answer.status != 204 {
            assert_eq!((answer.status, written(&answer)), (503, Some([0, 0, 0])), "{}", text(&answer));
            assert_eq!(answer.header("retry-after"), Some("1"));
            break;
        }
        held.push(answer);
        assert!(held.len() < 50, "the budget does not fill");
    }
    assert!(!held.is_empty());
    assert_eq!(running.refused("budget_full"), 1);
    running.collected.answer(Destination::Deliver);
    running.budget_is_free().await;
    assert_eq!(running.collected.items(), 100 * held.len());
}

#[tokio::test]
async fn with_ack_delivered_the_answer_is_the_destinations() {
    let running = start(Setup { ack: AckMode::Delivered, ..setup("rw_delivered") }).await;
    assert_eq!(write(&running, V2, &up(1)).await.status, 204);
    assert_eq!(running.collected.items(), 1);
    running.collected.answer(Destination::Nack);
    let answer = write(&running, V2, &up(1)).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", text(&answer));
    running.collected.answer(Destination::Reject);
    // Not a 5xx: the sender would repeat it for ever.
    let answer = write(&running, V2, &up(1)).await;
    assert_eq!((answer.status, written(&answer)), (400, Some([0, 0, 0])), "{}", text(&answer));
    running.collected.close();
    let answer = write(&running, V2, &up(1)).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", text(&answer));
}

#[tokio::test]
async fn without_a_pipeline_for_metrics_it_is_told_so() {
    let signals = vec![model::Signal::Logs];
    let running = start(Setup { signals, ..setup("rw_nowhere") }).await;
    let answer = write(&running, V2, &up(1)).await;
    assert_eq!((answer.status, written(&answer)), (404, Some([0, 0, 0])));
    assert!(text(&answer).contains("no pipeline takes metrics"), "{}", text(&answer));
}

//! Remote-write towards a server that answers as it is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use common::{
    HttpServer, Reply, Seen, SendRequests as _, build, metrics, permanent, reply, request, retryable,
};
use engine::{Exported, Exporter};
use model::series::{Metadata, MetricKind, Sample};
use model::{Payload, SeriesBatch, SeriesBuilder, Signal};
use prost::Message;
use serde_json::{Value, json};

#[derive(Clone, PartialEq, Message)]
struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<SeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleMessage>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ExemplarMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarMessage {
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SampleMessage {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RequestV1 {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<SeriesV1>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetadataV1>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct MetadataV1 {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
}

fn plain(seen: &Seen) -> Vec<u8> {
    assert_eq!(seen.header("content-encoding"), Some("snappy"));
    snap::raw::Decoder::new().decompress_vec(&seen.body).unwrap()
}

/// `a=b,c=d @1 @2` for each series of a request of 2.0.
fn lines(seen: &Seen) -> Vec<String> {
    assert_eq!(seen.header("x-prometheus-remote-write-version"), Some("2.0.0"));
    assert_eq!(
        seen.header("content-type"),
        Some("application/x-protobuf;proto=io.prometheus.write.v2.Request")
    );
    let request = RequestV2::decode(&plain(seen)[..]).unwrap();
    let line = |series: &SeriesV2| {
        let text = |n: u32| request.symbols[n as usize].as_str();
        let labels: Vec<_> =
            series.labels_refs.chunks(2).map(|p| format!("{}={}", text(p[0]), text(p[1]))).collect();
        let times: String = series.samples.iter().map(|sample| format!(" @{}", sample.timestamp)).collect();
        format!("{}{times}", labels.join(","))
    };
    request.timeseries.iter().map(line).collect()
}

fn request_v1(seen: &Seen) -> RequestV1 {
    assert_eq!(seen.header("x-prometheus-remote-write-version"), Some("0.1.0"));
    assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
    RequestV1::decode(&plain(seen)[..]).unwrap()
}

fn names_v1(seen: &Seen) -> Vec<String> {
    request_v1(seen).timeseries.iter().map(|series| series.labels[0].value.clone()).collect()
}

fn batch(series: &[(&str, i64)]) -> SeriesBatch {
    let mut builder = SeriesBuilder::new();
    for (name, timestamp_ms) in series {
        builder
            .series([("__name__", *name)], |_| Metadata { kind: MetricKind::Gauge, ..Metadata::default() })
            .unwrap();
        builder.sample(Sample { value: 1.0, timestamp_ms: *timestamp_ms, start_ms: 0 });
    }
    builder.finish()
}

fn names(payloads: &[Payload]) -> Vec<String> {
    let series = payloads.iter().flat_map(|payload| match payload {
        Payload::Series(batch) => batch.iter().map(|series| series.name().to_owned()).collect::<Vec<_>>(),
        Payload::Otlp(_) => panic!("not converted"),
    });
    series.collect()
}

fn written(status: u16, samples: u64, body: &'static str) -> Reply {
    let samples = samples.to_string();
    let headers = [
        ("x-prometheus-remote-write-samples-written", samples.as_str()),
        ("x-prometheus-remote-write-histograms-written", "0"),
        ("x-prometheus-remote-write-exemplars-written", "0"),
    ];
    reply(status, &headers, body)
}

async fn started(more: &Value) -> (HttpServer, Box<dyn Exporter>) {
    let server = HttpServer::start([]).await;
    let mut settings = json!({
        "endpoint": format!("http://{}/api/v1/write", server.addr),
        "queue": {"concurrency": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let exporter = build("prometheus_remote_write", &settings).unwrap();
    (server, exporter)
}

#[tokio::test]
async fn payloads_are_merged_in_order_with_external_labels_headers_and_tenant() {
    let more = json!({
        "external_labels": {"cluster": "one", "__aa": "first"},
        "headers": {"Authorization": "Bearer x"},
        "tenant": "me",
    });
    let (server, exporter) = started(&more).await;
    server.will_reply(written(204, 3, ""));
    let payloads = [batch(&[("a", 1), ("b", 1)]).into(), batch(&[("a", 2)]).into()];
    assert_eq!(exporter.export(&payloads).await.unwrap(), Exported::default());
    let seen = server.last();
    assert_eq!(seen.path, "/api/v1/write");
    assert_eq!((seen.header("authorization"), seen.header("x-scope-orgid")), (Some("Bearer x"), Some("me")));
    let with = |name: &str, time: i64| format!("__aa=first,__name__={name},cluster=one @{time}");
    assert_eq!(lines(&seen), [with("a", 1), with("b", 1), with("a", 2)]);
}

#[tokio::test]
async fn otlp_is_converted_and_what_prometheus_cannot_have_is_counted() {
    let (server, exporter) = started(&json!({})).await;
    server.will_reply(written(200, 1, ""));
    let mut message = metrics(3);
    let mut delta = message.resource_metrics[0].scope_metrics[0].metrics[0].clone();
    let points = match delta.data.take() {
        Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Gauge(gauge)) => gauge.data_points,
        other => panic!("{other:?}"),
    };
    let sum = opentelemetry_proto::tonic::metrics::v1::Sum {
        data_points: points,
        aggregation_temporality: 1,
        is_monotonic: true,
    };
    delta.data = Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Sum(sum));
    message.resource_metrics[0].scope_metrics[0].metrics.push(delta);
    let exported = exporter.send(&[request(Signal::Metrics, &message)]).await.unwrap();
    assert_eq!(
        exported.rejected.iter().map(|r| (r.reason, r.items)).collect::<Vec<_>>(),
        [("delta_temporality", 1)]
    );
    assert!(lines(&server.last())[0].starts_with("__name__=peers @"));
}

#[tokio::test]
async fn a_destination_that_does_not_know_2_gets_1_and_is_remembered() {
    for first in [reply(415, &[], "no"), reply(200, &[], "ok"), reply(400, &[], "cannot unmarshal")] {
        let (server, exporter) = started(&json!({})).await;
        server.will_reply(first);
        server.will_reply(reply(204, &[], ""));
        let payload = [batch(&[("a", 1), ("b", 2)]).into()];
        assert_eq!(exporter.export(&payload).await.unwrap(), Exported::default());
        server.will_reply(reply(204, &[], ""));
        assert_eq!(exporter.export(&payload).await.unwrap(), Exported::default());
        let seen = server.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 3);
        assert_eq!(lines(&seen[0]).len(), 2);
        assert_eq!(
            (names_v1(&seen[1]), names_v1(&seen[2])),
            (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()])
        );
        let metadata = request_v1(&seen[1]).metadata;
        assert_eq!(
            metadata.iter().map(|m| (m.family.as_str(), m.kind)).collect::<Vec<_>>(),
            [("a", 2), ("b", 2)]
        );
    }
}

#[tokio::test]
async fn a_yes_without_numbers_is_no_yes_where_2_is_demanded() {
    let (server, exporter) = started(&json!({"protocol_version": "v2"})).await;
    server.will_reply(reply(200, &[], ""));
    let exported = exporter.export(&[batch(&[("a", 1)]).into()]).await.unwrap();
    assert_eq!(exported.rejected[0].items, 1);
    assert!(exported.rejected[0].message.contains("protocol_version: v1"), "{exported:?}");
}

#[tokio::test]
async fn what_is_not_written_is_counted_with_its_reason_and_quotes_no_label() {
    let (server, exporter) = started(&json!({})).await;
    let body = "out of order sample for series {__name__=\"a\", user=\"secret\"}\n\
                duplicate sample for timestamp for series {__name__=\"b\", user=\"secret\"}\n";
    server.will_reply(written(400, 1, body));
    let exported = exporter.export(&[batch(&[("a", 1), ("b", 1), ("c", 1)]).into()]).await.unwrap();
    let reasons: Vec<_> = exported.rejected.iter().map(|r| (r.reason, r.items)).collect();
    assert_eq!(reasons, [("out_of_order", 1), ("duplicate_sample", 1)]);
    assert!(!format!("{exported:?}").contains("secret"));
    assert_eq!(exported.remainder, None);
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn with_1_halves_are_sent_until_the_bad_series_stands_alone() {
    let (server, exporter) = started(&json!({"protocol_version": "v1"})).await;
    // abcd refused; ab taken; cd refused; c refused alone; d taken.
    for status in [400, 204, 400, 400, 204] {
        server.will_reply(reply(status, &[], if status == 400 { "out of order sample" } else { "" }));
    }
    let exported = exporter.export(&[batch(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]).into()]).await.unwrap();
    let reasons: Vec<_> = exported.rejected.iter().map(|r| (r.reason, r.items)).collect();
    assert_eq!((reasons, exported.remainder), (vec![("out_of_order", 1)], None));
    let seen: Vec<_> = server.seen.lock().unwrap().iter().map(|seen| names_v1(seen).concat()).collect();
    assert_eq!(seen, ["abcd", "ab", "cd", "c", "d"]);
}

#[tokio::test]
async fn shards_that_were_taken_are_not_sent_again() {
    let (server, exporter) = started(&json!({"queue": {"concurrency": 4}, "protocol_version": "v1"})).await;
    let all: Vec<String> = (0..40).map(|n| format!("m{n:02}")).collect();
    let series: Vec<_> = all.iter().map(|name| (name.as_str(), 1)).collect();
    for n in 0..4 {
        let busy = reply(503, &[("retry-after", "3")], "busy");
        server.will_reply(if n == 1 { busy } else { reply(204, &[], "") });
    }
    let exported = exporter.export(&[batch(&series).into()]).await.unwrap();
    assert!(exported.rejected.is_empty());
    let remainder = exported.remainder.unwrap();
    assert_eq!(remainder.retry_after, Some(Duration::from_secs(3)));
    assert!(remainder.message.contains("503"), "{}", remainder.message);
    let left = names(&remainder.payloads);
    let shards: Vec<Vec<String>> = server.seen.lock().unwrap().iter().map(names_v1).collect();
    assert_eq!(shards.len(), 4);
    assert!(shards.contains(&left), "one shard in its order: {left:?}");
    let mut sent = shards.concat();
    sent.sort();
    assert_eq!(sent, all, "each series in one shard");
    // The same series are in the same shard the next time.
    for _ in 0..4 {
        server.will_reply(reply(204, &[], ""));
    }
    exporter.export(&[batch(&series).into()]).await.unwrap();
    let again: Vec<Vec<String>> = server.seen.lock().unwrap()[4..].iter().map(names_v1).collect();
    assert!(again.iter().all(|shard| shards.contains(shard)));
}

#[tokio::test]
async fn requests_are_cut_by_samples_and_what_comes_after_a_failure_waits() {
    let (server, exporter) = started(&json!({"max_samples_per_send": 2})).await;
    server.will_reply(written(204, 2, ""));
    server.will_reply(reply(500, &[], "later"));
    let five = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("a", 2)];
    let exported = exporter.export(&[batch(&five).into()]).await.unwrap();
    assert_eq!(names(&exported.remainder.unwrap().payloads), ["c", "d", "a"]);
    assert_eq!(server.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn errors_say_whether_another_try_may_help() {
    let (server, exporter) = started(&json!({})).await;
    let payload = [batch(&[("a", 1)]).into()];
    for (status, wait) in [(429, Some(7)), (503, None), (500, None), (502, None)] {
        let headers: &[(&str, &str)] = if wait.is_some() { &[("retry-after", "7")] } else { &[] };
        server.will_reply(reply(status, headers, "x"));
        let (hint, message) = retryable(exporter.export(&payload).await.unwrap_err());
        assert_eq!(hint, wait.map(Duration::from_secs));
        assert!(message.contains(&status.to_string()), "{message}");
    }
    for status in [401, 403, 404] {
        server.will_reply(reply(status, &[], "who are you"));
        let message = permanent(exporter.export(&payload).await.unwrap_err());
        assert!(message.contains("who are you"), "{message}");
    }
    let gone = build("prometheus_remote_write", &json!({"endpoint": "http://127.0.0.1:1/w"})).unwrap();
    retryable(gone.export(&payload).await.unwrap_err());
}

#[tokio::test]
async fn otlp_that_must_wait_waits_as_series_and_counts_as_its_points() {
    let (server, exporter) = started(&json!({})).await;
    server.will_reply(reply(503, &[], ""));
    let request = request(Signal::Metrics, &metrics(1));
    let exported = exporter.send(std::slice::from_ref(&request)).await.unwrap();
    let remainder = exported.remainder.unwrap();
    assert_eq!(names(&remainder.payloads), ["peers"]);
    assert_eq!(remainder.payloads[0].items(), request.items());
    server.will_reply(written(204, 1, ""));
    assert_eq!(exporter.export(&remainder.payloads).await.unwrap(), Exported::default());
}

#[tokio::test]
async fn a_call_ends_before_its_time_is_up() {
    // Nobody answers: a listener that never accepts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/w", listener.local_addr().unwrap());
    let settings = json!({"endpoint": endpoint, "retry": {"timeout_ms": 300}});
    let exporter = build("prometheus_remote_write", &settings).unwrap();
    let payload = [batch(&[("a", 1)]).into()];
    let ended = tokio::time::timeout(Duration::from_millis(300), exporter.export(&payload)).await;
    retryable(ended.expect("before the loop cuts it off").unwrap_err());
}

#[test]
fn settings_with_which_nothing_works_are_refused_at_build() {
    for (more, expected) in [
        (json!({"endpoint": "http://x"}), "/api/v1/write"),
        (json!({"max_samples_per_send": 0}), "max_samples_per_send is 0"),
        (json!({"external_labels": {"__name__": "x"}}), "external_labels"),
        (json!({"headers": {"X-Prometheus-Remote-Write-Version": "1"}}), "set by the protocol"),
        (json!({"tenant": "a\nb"}), "tenant"),
        (json!({"delta": "accumulate", "accumulate": {"max_series": 0}}), "max_series"),
    ] {
        let mut settings = json!({"endpoint": "http://127.0.0.1:9/w"});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let error = build("prometheus_remote_write", &settings).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn exemplars_of_their_own_go_with_their_samples_and_2_is_sent_no_series_without_one() {
    let (server, exporter) = started(&json!({"protocol_version": "v2"})).await;
    let mut builder = SeriesBuilder::new();
    // As Prometheus' own sender has them: samples, then exemplars in series of their own.
    for (name, exemplar) in [("a", false), ("a", true), ("nobody", true)] {
        builder.series([("__name__", name)], |_| Metadata::default()).unwrap();
        if exemplar {
            let id = builder.intern("trace_id").unwrap();
            builder.exemplar(&[(id, id)], 1.0, 7).unwrap();
        } else {
            builder.sample(Sample { value: 1.0, timestamp_ms: 7, start_ms: 0 });
        }
    }
    server.will_reply(written(204, 1, ""));
    assert_eq!(exporter.export(&[builder.finish().into()]).await.unwrap(), Exported::default());
    assert_eq!(lines(&server.last()), ["__name__=a @7"]);
    let request = RequestV2::decode(&plain(&server.last())[..]).unwrap();
    assert_eq!(request.timeseries[0].exemplars, [ExemplarMessage { value: 1.0, timestamp: 7 }]);
    let left_out = [("component", "prometheus_remote_write"), ("reason", "no_sample")];
    let counted = engine::testing::counters().value("floodway_prometheus_dropped_exemplars_total", &left_out);
    assert_eq!(counted, 1);
}

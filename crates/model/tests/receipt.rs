//! The receipt check against prost: what it takes prost takes, what it mends reads the same, what it counts is there.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::{Random, Tricks, message};
use model::otlp::request_descriptor;
use model::{Problem, Request, Signal, Writer};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;
use prost::Message as _;

/// Decodes and encodes with prost: equal results mean equal messages, NaN included. With the number of records.
fn oracle(signal: Signal, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    match signal {
        Signal::Traces => {
            let m = ExportTraceServiceRequest::decode(bytes).ok()?;
            let n = m.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
            Some((m.encode_to_vec(), n))
        }
        Signal::Logs => {
            let m = ExportLogsServiceRequest::decode(bytes).ok()?;
            let n = m.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum();
            Some((m.encode_to_vec(), n))
        }
        Signal::Metrics => {
            let m = ExportMetricsServiceRequest::decode(bytes).ok()?;
            let metrics = m.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
            let n = metrics
                .map(|metric| match &metric.data {
                    Some(Data::Gauge(d)) => d.data_points.len(),
                    Some(Data::Sum(d)) => d.data_points.len(),
                    Some(Data::Histogram(d)) => d.data_points.len(),
                    Some(Data::ExponentialHistogram(d)) => d.data_points.len(),
                    Some(Data::Summary(d)) => d.data_points.len(),
                    None => 0,
                })
                .sum();
            Some((m.encode_to_vec(), n))
        }
    }
}

fn check(signal: Signal, tricks: Tricks, seed: u64) -> Result<(), TestCaseError> {
    let bytes = message(request_descriptor(signal), &mut Random::new(seed), tricks, 8);
    let (want, records) = oracle(signal, &bytes).expect("the generator makes what prost reads");
    let (request, repairs) = Request::receive(signal, Bytes::from(bytes.clone())).unwrap();
    let (have, _) = oracle(signal, request.bytes()).unwrap();
    prop_assert!(want == have, "the mended request reads differently");
    prop_assert_eq!(request.items(), records);
    if !repairs.any() {
        prop_assert_eq!(&bytes[..], &request.bytes()[..]);
    }
    let (again, repairs) = Request::receive(signal, request.bytes().clone()).unwrap();
    prop_assert!(!repairs.any(), "mending twice: {:?}", repairs);
    prop_assert_eq!(again, request);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn regular_requests_pass_unchanged(seed: u64) {
        for signal in Signal::ALL {
            check(signal, Tricks { unknown: true, ..Tricks::default() }, seed)?;
        }
    }

    #[test]
    fn irregular_requests_are_mended_to_what_prost_reads(seed: u64) {
        for signal in Signal::ALL {
            check(signal, Tricks { duplicates: true, overlong: true, unknown: true }, seed)?;
        }
    }

    #[test]
    fn damaged_requests_never_panic_and_agree_with_prost(seed: u64) {
        let mut random = Random::new(seed);
        for signal in Signal::ALL {
            let mut bytes = message(request_descriptor(signal), &mut random, Tricks { duplicates: true, ..Tricks::default() }, 6);
            for _ in 0..1 + random.below(3) {
                if bytes.is_empty() { break; }
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
            let received = Request::receive(signal, Bytes::from(bytes.clone()));
            match (&received, oracle(signal, &bytes)) {
                (Ok((request, repairs)), Some((want, records))) => {
                    if repairs.invalid_utf8 == 0 {
                        prop_assert!(oracle(signal, request.bytes()).unwrap().0 == want);
                    }
                    prop_assert_eq!(request.items(), records);
                }
                // prost refuses invalid UTF-8, which is mended here.
                (Ok((request, repairs)), None) => {
                    prop_assert!(repairs.invalid_utf8 > 0);
                    prop_assert!(oracle(signal, request.bytes()).is_some());
                }
                // prost skips groups, which are refused here.
                (Err(error), Some(_)) => prop_assert_eq!(&error.problem, &Problem::Wire(model::wire::WireError::Group)),
                (Err(_), None) => {}
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        for signal in Signal::ALL {
            let _ = Request::receive(signal, Bytes::from(bytes.clone()));
        }
    }
}

/// resource_spans > scope_spans > spans > attributes > value, `levels` arrays deep.
fn nested(levels: usize) -> Bytes {
    fn value(writer: &mut Writer, levels: usize) {
        match levels {
            0 => writer.string(1, "x"),
            _ => writer.message(5, |w| w.message(1, |w| value(w, levels - 1))),
        }
    }
    let mut writer = Writer::new();
    writer.message(1, |w| {
        w.message(2, |w| w.message(2, |w| w.message(9, |w| w.message(2, |w| value(w, levels)))));
    });
    writer.finish()
}

#[test]
fn two_hundred_levels_are_refused_with_their_place() {
    let error = Request::receive(Signal::Traces, nested(200)).unwrap_err();
    assert_eq!(error.problem, Problem::Depth);
    assert!(error.path.starts_with("resource_spans.scope_spans.spans.attributes.value.array_value.values"));
    assert!(error.to_string().contains("nested more than 100 deep"), "{error}");
}

#[test]
fn the_depth_limit_is_that_of_prost() {
    for levels in 40..55 {
        let ours = Request::receive(Signal::Traces, nested(levels)).is_ok();
        let theirs = ExportTraceServiceRequest::decode(nested(levels)).is_ok();
        assert!(!ours || theirs, "{levels} levels: taken here, refused by prost");
    }
    assert!(Request::receive(Signal::Traces, nested(46)).is_ok());
}

#[test]
fn errors_name_the_place() {
    let mut writer = Writer::new();
    writer.message(1, |w| w.message(2, |w| w.message(2, |w| w.uint(5, 7))));
    let error = Request::receive(Signal::Traces, writer.finish()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "resource_spans.scope_spans.spans.name at byte 6: wire type Varint does not fit this field; is the request of another signal?"
    );
}

#[test]
fn invalid_utf8_is_replaced_not_refused() {
    let mut writer = Writer::new();
    writer.message(1, |w| w.message(2, |w| w.message(2, |w| w.bytes(5, b"ok \xff\xfe end"))));
    let (request, repairs) = Request::receive(Signal::Traces, writer.finish()).unwrap();
    assert_eq!(repairs.invalid_utf8, 1);
    let spans = ExportTraceServiceRequest::decode(request.bytes().clone()).unwrap();
    assert_eq!(spans.resource_spans[0].scope_spans[0].spans[0].name, "ok \u{fffd}\u{fffd} end");
}

#[test]
fn merging_requests_is_concatenating_their_bytes() {
    let parts: Vec<Vec<u8>> = (0..2)
        .map(|seed| message(request_descriptor(Signal::Traces), &mut Random::new(seed), Tricks::default(), 6))
        .collect();
    let (merged, repairs) = Request::receive(Signal::Traces, parts.concat().into()).unwrap();
    assert!(!repairs.any());
    let want: usize = parts.iter().map(|p| oracle(Signal::Traces, p).unwrap().1).sum();
    assert_eq!(merged.items(), want);
}

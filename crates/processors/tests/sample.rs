//! `sample` against a naive model on decoded messages, and against numbers of the specification.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use model::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;
use serde_json::json;
use support::*;

fn span(id: u128, trace_state: &str) -> Span {
    Span {
        trace_id: id.to_be_bytes().to_vec(),
        trace_state: trace_state.to_owned(),
        name: "n".into(),
        ..Default::default()
    }
}

/// The trace state that a span has after sampling; `None` when it was dropped.
fn sampled(percent: f64, span: Span) -> Option<String> {
    let processor = build("sample", &json!({"percent": percent}));
    let left = processed(&*processor, Signal::Traces, &traces(None, vec![span]))?;
    Some(left.resource_spans[0].scope_spans[0].spans[0].trace_state.clone())
}

#[test]
fn thresholds_and_randomness() {
    let id = |low: u128| 0xabcd_0000_0000_0000_00ff_0000_0000_0000 & !0xff_ffff_ffff_ffff | low;
    let kept = |percent, low, state| sampled(percent, span(id(low), state));
    // Half of all: the upper half of the 56-bit numbers.
    assert_eq!(kept(50.0, 0x80_0000_0000_0000, ""), Some("ot=th:8".into()));
    assert_eq!(kept(50.0, 0x7f_ffff_ffff_ffff, ""), None);
    assert_eq!(kept(10.0, 0xe6_6600_0000_0000, ""), Some("ot=th:e666".into()));
    assert_eq!(kept(10.0, 0xe6_65ff_ffff_ffff, ""), None);
    // An explicit randomness overrules the trace id.
    assert_eq!(kept(50.0, 0, "ot=rv:80000000000000"), Some("ot=th:8;rv:80000000000000".into()));
    assert_eq!(kept(50.0, 0xff_ffff_ffff_ffff, "ot=rv:7fffffffffffff"), None);
    assert_eq!(kept(50.0, 0xff_ffff_ffff_ffff, "ot=rv:bad"), Some("ot=th:8".into()));
    // Thinned less before: the new threshold. Thinned as much or more: as it was, however it is written.
    assert_eq!(kept(25.0, 0xc0_0000_0000_0000, "x=1,ot=th:8"), Some("ot=th:c,x=1".into()));
    assert_eq!(kept(25.0, 0xf0_0000_0000_0000, "x=1 , ot=th:f00"), Some("x=1 , ot=th:f00".into()));
    assert_eq!(kept(50.0, 0x80_0000_0000_0000, "ot=th:8"), Some("ot=th:8".into()));
    // A threshold that the randomness contradicts, or that is none, is erased and decided anew.
    assert_eq!(kept(50.0, 0x80_0000_0000_0000, "ot=th:f"), Some("ot=th:8".into()));
    assert_eq!(kept(50.0, 0x80_0000_0000_0000, "ot=th:zz;k:v"), Some("ot=th:8;k:v".into()));
    assert_eq!(kept(50.0, 0x10_0000_0000_0000, "ot=th:f"), None);
    // The ends of the scale.
    assert_eq!(kept(100.0, 0, "ot=th:zz"), Some("ot=th:zz".into()));
    assert_eq!(kept(0.0, 0xff_ffff_ffff_ffff, "ot=th:ffffffffffffff"), None);
}

#[test]
fn spans_without_a_trace_id() {
    let drop = json!({"percent": 50, "on_missing": "drop"});
    for (config, left) in [(json!({"percent": 50}), true), (drop, false)] {
        let processor = build("sample", &config);
        for id in [vec![], vec![0; 16], vec![0xff; 15]] {
            let message = traces(None, vec![Span { trace_id: id, ..span(1, "ot=th:zz") }]);
            let result = processed(&*processor, Signal::Traces, &message);
            assert_eq!(result, left.then(|| message.clone()));
        }
    }
}

#[test]
fn log_records_follow_their_trace_or_a_field() {
    let record = |id: u128, attributes| LogRecord {
        trace_id: if id == 0 { vec![] } else { id.to_be_bytes().to_vec() },
        attributes,
        ..Default::default()
    };
    let kept = |config: serde_json::Value, resource, record| {
        let processor = build("sample", &config);
        processed::<ExportLogsServiceRequest>(&*processor, Signal::Logs, &logs(resource, vec![record]))
            .is_some()
    };
    let high = 0x80_0000_0000_0000;
    assert!(kept(json!({"percent": 50}), None, record(high, vec![])));
    assert!(!kept(json!({"percent": 50}), None, record(high - 1, vec![])));
    assert!(kept(json!({"percent": 50}), None, record(0, vec![])));
    assert!(!kept(json!({"percent": 50, "on_missing": "drop"}), None, record(0, vec![])));

    let by_field = json!({"percent": 50, "on_missing": "drop", "logs": {"by": "field", "field": "k"}});
    let fallback = json!({"percent": 50, "on_missing": "drop", "logs": {"field": "k"}});
    let mut seen = [0, 0];
    for n in 0..64 {
        let text = attribute("k", string(&n.to_string()));
        let number = attribute("k", AnyValue { value: Some(Value::IntValue(n)) });
        let by_text = kept(by_field.clone(), None, record(high, vec![text.clone()]));
        // The number's text hashes as the text; the resource's attribute as the record's; the trace id does not matter.
        assert_eq!(by_text, kept(by_field.clone(), None, record(1, vec![number])));
        assert_eq!(by_text, kept(by_field.clone(), resource(vec![text.clone()]), record(high, vec![])));
        // The record's own attribute comes first.
        let other = resource(vec![attribute("k", string("other"))]);
        assert_eq!(by_text, kept(by_field.clone(), other, record(0, vec![text.clone()])));
        assert_eq!(by_text, kept(fallback.clone(), None, record(0, vec![text.clone()])));
        assert!(kept(fallback.clone(), None, record(high, vec![text])));
        seen[usize::from(by_text)] += 1;
    }
    assert!(seen.iter().all(|n| *n > 16), "{seen:?}");
    let list = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![string("x")] })) };
    let array = record(0, vec![attribute("k", list)]);
    assert_eq!(kept(by_field.clone(), None, array.clone()), kept(by_field, None, array));
}

#[test]
fn settings_that_make_no_sense() {
    for (config, problem) in [
        (json!({"percent": 101}), "percent is 101, but a share is from 0 to 100"),
        (json!({"percent": -1}), "percent is -1"),
        (json!({"percent": 1, "logs": {"by": "field"}}), "logs.field does not name one"),
        (json!({"percent": 1, "logs": {"by": "colour"}}), "unknown variant `colour`"),
        (json!({}), "missing field `percent`"),
    ] {
        let error = try_build("sample", &config, true).err().expect("refused").to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn the_share_is_what_was_asked_for() {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (state >> 31)
    };
    let spans: Vec<Span> =
        (0..20_000).map(|_| span(u128::from(random()) << 64 | u128::from(random()), "")).collect();
    for percent in [1.0f64, 10.0, 50.0, 90.0] {
        let processor = build("sample", &json!({"percent": percent}));
        let request = receive(Signal::Traces, traces(None, spans.clone()).encode_to_vec());
        let kept = processor.process(request).unwrap().unwrap().items() as f64;
        let expected: f64 = 20_000.0 * percent / 100.0;
        let deviation = (expected * (1.0 - percent / 100.0)).sqrt();
        assert!((kept - expected).abs() < 5.0 * deviation, "{percent} %: {kept}");
    }
}

fn a_trace_state() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        1 => "ot=th:[0-9a-f]{1,3}",
        1 => "ot=rv:[0-9a-f]{14}",
        1 => "v=1,ot=(rv:[0-9a-f]{14};)?th:[0-9a-g]{1,2};x:y,w=2",
    ]
}

fn a_group() -> impl Strategy<Value = ResourceSpans> {
    let a_span = (any::<u128>(), a_trace_state(), "[a-z]{0,200}", any::<u64>()).prop_map(
        |(id, state, name, nanos)| Span {
            name,
            start_time_unix_nano: nanos,
            attributes: strings(&[("k", "v")]),
            ..span(id, &state)
        },
    );
    let scopes = proptest::collection::vec(proptest::collection::vec(a_span, 0..4), 0..3);
    (scopes, proptest::option::of("[a-z]{0,5}")).prop_map(|(scopes, service)| ResourceSpans {
        resource: service.and_then(|name| resource(strings(&[("service.name", &name)]))),
        scope_spans: scopes
            .into_iter()
            .map(|spans| ScopeSpans { scope: scope(), spans, schema_url: "s".into() })
            .collect(),
        schema_url: "r".into(),
    })
}

/// Sampling on decoded messages, from the text of the specification.
fn naive(message: &mut ExportTraceServiceRequest, th: &str) -> bool {
    let value = |hex: &str| u64::from_str_radix(&format!("{hex:0<14}"), 16).ok();
    let threshold = value(th).unwrap();
    let keep = |span: &mut Span| {
        let (ot, others): (Vec<&str>, Vec<&str>) =
            span.trace_state.split(',').partition(|m| m.starts_with("ot="));
        let pairs: Vec<(&str, &str)> =
            ot.first().map_or("", |m| &m[3..]).split(';').filter_map(|p| p.split_once(':')).collect();
        let get = |key| pairs.iter().find(|(k, _)| *k == key).and_then(|(_, v)| value(v));
        let id = u128::from_be_bytes(span.trace_id.clone().try_into().unwrap());
        let randomness = get("rv").unwrap_or(id as u64 & 0xff_ffff_ffff_ffff);
        if let Some(before) = get("th").filter(|t| *t >= threshold && randomness >= *t) {
            return randomness >= before;
        }
        let mut members = vec![format!("ot=th:{th}")];
        members[0].extend(pairs.iter().filter(|(k, _)| *k != "th").map(|(k, v)| format!(";{k}:{v}")));
        members.extend(others.iter().filter(|m| !m.is_empty()).map(|m| m.to_string()));
        span.trace_state = members.join(",");
        randomness >= threshold
    };
    let mut dropped_all = true;
    message.resource_spans.retain_mut(|group| {
        let scopes = group.scope_spans.len();
        group.scope_spans.retain_mut(|scope| {
            let before = scope.spans.len();
            scope.spans.retain_mut(keep);
            dropped_all &= scope.spans.is_empty();
            before == 0 || !scope.spans.is_empty()
        });
        // A group that lost a scope and has no span left goes, with its empty scopes.
        let has_spans = group.scope_spans.iter().any(|scope| !scope.spans.is_empty());
        scopes == group.scope_spans.len() || has_spans
    });
    !dropped_all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn equals_the_naive_model(groups in proptest::collection::vec(a_group(), 0..4), choice in 0usize..4) {
        let (percent, th) = [(50.0, "8"), (25.0, "c"), (10.0, "e666"), (93.75, "1")][choice];
        let message = ExportTraceServiceRequest { resource_spans: groups };
        let processor = build("sample", &json!({"percent": percent}));
        let result = processed(&*processor, Signal::Traces, &message);
        let spans: usize = message.resource_spans.iter().flat_map(|g| &g.scope_spans).map(|s| s.spans.len()).sum();
        let mut expected = message;
        let some_left = naive(&mut expected, th);
        prop_assert_eq!(result, (some_left || spans == 0).then_some(expected));
    }
}

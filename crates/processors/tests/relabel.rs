//! `relabel` on OTLP requests: what it reads, writes and removes, against a naive model on decoded messages.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use model::Signal;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, Sum, Summary,
    SummaryDataPoint, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};
use support::*;

fn span(name: &str, attributes: Vec<KeyValue>) -> Span {
    Span { name: name.into(), attributes, trace_id: vec![1; 16], end_time_unix_nano: 5, ..Default::default() }
}

/// Spans after `relabel`; the resource's attributes with them.
fn on_spans(
    config: Json,
    resource: Option<Resource>,
    spans: Vec<Span>,
) -> Option<(Vec<KeyValue>, Vec<Span>)> {
    let processor = build("relabel", &config);
    let left = processed(&*processor, Signal::Traces, &traces(resource, spans))?;
    let group = &left.resource_spans[0];
    let attributes = group.resource.clone().unwrap_or_default().attributes;
    Some((attributes, group.scope_spans[0].spans.clone()))
}

#[test]
fn resource_rules_write_the_resource_and_drop_its_records() {
    let before = resource(strings(&[("service.name", "a"), ("host", "h")]));
    let rules = json!({"resource": [
        {"source_labels": ["service.name"], "target_label": "job"},
        {"regex": "host", "action": "labeldrop"},
        {"target_label": "service.name", "replacement": "renamed"},
    ]});
    let (attributes, spans) = on_spans(rules.clone(), before, vec![span("s", vec![])]).unwrap();
    assert_eq!(attributes, strings(&[("service.name", "renamed"), ("job", "a")]));
    assert_eq!(spans, vec![span("s", vec![])]);
    // A group without a resource gets one.
    let (attributes, _) = on_spans(rules, None, vec![span("s", vec![])]).unwrap();
    assert_eq!(attributes, strings(&[("service.name", "renamed")]));
    let drop = json!({"resource": [{"source_labels": ["service.name"], "regex": "a", "action": "drop"}]});
    assert_eq!(on_spans(drop, resource(strings(&[("service.name", "a")])), vec![span("s", vec![])]), None);
}

#[test]
fn record_rules_see_the_resource_as_the_rules_before_left_it() {
    let rules = json!({
        "resource": [{"target_label": "zone", "replacement": "z2"}],
        "record": [
            {"source_labels": ["zone", "own", "__name__"], "target_label": "joined"},
            {"source_labels": ["own"], "target_label": "zone", "replacement": "mine"},
            {"regex": "own", "action": "labeldrop"},
        ],
    });
    let before = resource(strings(&[("zone", "z1")]));
    let (attributes, spans) = on_spans(rules, before, vec![span("s", strings(&[("own", "o")]))]).unwrap();
    assert_eq!(attributes, strings(&[("zone", "z2")]));
    assert_eq!(spans[0].attributes, strings(&[("joined", "z2;o;s"), ("zone", "mine")]));
}

#[test]
fn names_can_be_read_and_written() {
    let rules =
        json!({"record": [{"source_labels": ["__name__"], "regex": "GET (.*)", "target_label": "__name__"}]});
    let (_, spans) =
        on_spans(rules.clone(), None, vec![span("GET /x", vec![]), span("PUT", vec![])]).unwrap();
    assert_eq!(spans, vec![span("/x", vec![]), span("PUT", vec![])]);

    let record = LogRecord { event_name: "GET y".into(), ..Default::default() };
    let processor = build("relabel", &rules);
    let left = processed(&*processor, Signal::Logs, &logs(None, vec![record])).unwrap();
    assert_eq!(left.resource_logs[0].scope_logs[0].log_records[0].event_name, "y");

    // A metric's name is the metric rules' alone.
    let processor = build("relabel", &rules);
    let message = metrics(None, vec![gauge("GET z", vec![point(vec![])])]);
    assert_eq!(processed(&*processor, Signal::Metrics, &message), Some(message.clone()));
    let rename = json!({
        "metric": [{"source_labels": ["zone", "__name__"], "target_label": "__name__", "separator": "_"}],
        "record": [{"source_labels": ["__name__"], "target_label": "seen"}],
    });
    let processor = build("relabel", &rename);
    let zone = || resource(strings(&[("zone", "z")]));
    let left =
        processed(&*processor, Signal::Metrics, &metrics(zone(), vec![gauge("m", vec![point(vec![])])]));
    let seen = point(strings(&[("seen", "z_m")]));
    assert_eq!(left, Some(metrics(zone(), vec![gauge("z_m", vec![seen])])));
}

#[test]
fn every_kind_of_data_point() {
    let attributes = || strings(&[("a", "old")]);
    let histogram = HistogramDataPoint { attributes: attributes(), count: 1, ..Default::default() };
    let exponential =
        ExponentialHistogramDataPoint { attributes: attributes(), count: 1, ..Default::default() };
    let summary = SummaryDataPoint { attributes: attributes(), count: 1, ..Default::default() };
    let all = vec![
        Data::Sum(Sum { data_points: vec![point(attributes())], is_monotonic: true, ..Default::default() }),
        Data::Histogram(Histogram { data_points: vec![histogram], ..Default::default() }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            ..Default::default()
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ];
    for data in all {
        let metric = Metric { name: "m".into(), data: Some(data), ..Default::default() };
        let message = metrics(None, vec![metric]);
        let relabel =
            json!({"record": [{"source_labels": ["a"], "target_label": "a", "replacement": "new"}]});
        let left = processed(&*build("relabel", &relabel), Signal::Metrics, &message).unwrap();
        let text = format!("{left:?}");
        assert!(text.contains("\"new\"") && !text.contains("\"old\""), "{text}");
        let drop = json!({"record": [{"source_labels": ["a"], "regex": "old", "action": "drop"}]});
        assert_eq!(processed(&*build("relabel", &drop), Signal::Metrics, &message), None);
        let drop = json!({"metric": [{"source_labels": ["__name__"], "regex": "m", "action": "drop"}]});
        assert_eq!(processed(&*build("relabel", &drop), Signal::Metrics, &message), None);
    }
}

#[test]
fn what_is_emptied_goes() {
    let drop = json!({"record": [{"source_labels": ["a"], "regex": "1", "action": "drop"}]});
    let message = metrics(
        None,
        vec![
            gauge("gone", vec![point(strings(&[("a", "1")]))]),
            gauge("left", vec![point(strings(&[("a", "1")])), point(strings(&[("a", "2")]))]),
            gauge("empty before", vec![]),
        ],
    );
    let left = processed(&*build("relabel", &drop), Signal::Metrics, &message);
    let kept = vec![gauge("left", vec![point(strings(&[("a", "2")]))]), gauge("empty before", vec![])];
    assert_eq!(left, Some(metrics(None, kept)));
}

#[test]
fn values_that_are_no_strings() {
    let value = |value| AnyValue { value: Some(value) };
    let list = value(Value::ArrayValue(ArrayValue { values: vec![string("x")] }));
    let attributes = vec![
        attribute("int", value(Value::IntValue(-3))),
        attribute("double", value(Value::DoubleValue(0.5))),
        attribute("bool", value(Value::BoolValue(true))),
        attribute("list", list.clone()),
        KeyValue { key: "nothing".into(), ..Default::default() },
    ];
    let rules = json!({"record": [
        {"source_labels": ["int", "double", "bool", "list", "nothing"], "target_label": "all"},
        {"regex": "(list|int)", "action": "labelmap", "replacement": "copy_$1"},
        {"regex": "double", "action": "labeldrop"},
        {"target_label": "nothing", "replacement": "something"},
    ]});
    let (_, spans) = on_spans(rules, None, vec![span("s", attributes.clone())]).unwrap();
    let mut expected = vec![attributes[0].clone(), attributes[2].clone(), attributes[3].clone()];
    expected.extend(strings(&[("nothing", "something"), ("all", "-3;0.5;true;;"), ("copy_int", "-3")]));
    assert_eq!(spans[0].attributes, expected);
}

#[test]
fn a_key_that_stands_twice_is_one_label() {
    let twice = strings(&[("a", "1"), ("b", "2"), ("a", "3")]);
    let rules = json!({"record": [{"source_labels": ["a"], "target_label": "a", "replacement": "x$1"}]});
    let (_, spans) = on_spans(rules, None, vec![span("s", twice.clone())]).unwrap();
    assert_eq!(spans[0].attributes, strings(&[("a", "x1"), ("b", "2")]));
    let rules = json!({"record": [{"regex": "a", "action": "labeldrop"}]});
    let (_, spans) = on_spans(rules, None, vec![span("s", twice)]).unwrap();
    assert_eq!(spans[0].attributes, strings(&[("b", "2")]));
}

#[test]
fn label_sets_cannot_grow_without_end() {
    let rules: Vec<Json> =
        (0..900).map(|n| json!({"target_label": format!("l{n}"), "replacement": "x"})).collect();
    let (_, spans) = on_spans(json!({"record": rules}), None, vec![span("s", vec![])]).unwrap();
    assert_eq!(spans[0].attributes.len(), 512);
}

#[test]
fn errors_name_list_and_rule() {
    let rules =
        json!({"record": [{"action": "keep"}, {"source_labels": ["a"], "regex": "(", "action": "drop"}]});
    let error = try_build("relabel", &rules, true).err().expect("refused").to_string();
    assert!(
        error.contains("record: rule 2 (drop): regex `(` is not valid RE2") && error.contains("unclosed"),
        "{error}"
    );
}

#[test]
fn where_no_rule_matches_the_same_bytes_go_on() {
    let rules = json!({
        "resource": [{"source_labels": ["service.name"], "regex": "other", "action": "drop"}],
        "record": [
            {"source_labels": ["none"], "regex": "x(.*)", "target_label": "y"},
            {"source_labels": ["k"], "target_label": "k"},
            {"regex": "nope", "action": "labeldrop"},
        ],
    });
    let message =
        traces(resource(strings(&[("service.name", "a")])), vec![span("s", strings(&[("k", "v")]))]);
    let request = receive(Signal::Traces, message.encode_to_vec());
    let before = request.bytes().as_ptr();
    let after = build("relabel", &rules).process(request).unwrap().unwrap();
    assert_eq!(after.bytes().as_ptr(), before);
}

fn an_attribute() -> impl Strategy<Value = (String, AnyValue)> {
    let value = prop_oneof![
        4 => "[xy]{0,2}".prop_map(|text| string(&text)),
        1 => (0i64..3).prop_map(|n| AnyValue { value: Some(Value::IntValue(n)) }),
    ];
    ("[abc]", value)
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    proptest::collection::btree_map("[abc]", an_attribute().prop_map(|(_, value)| value), 0..4)
        .prop_map(|map| map.into_iter().map(|(key, value)| attribute(&key, value)).collect())
}

/// One rule on decoded attributes; `None` of a text is a label that is not there.
fn naive(rule: usize, attributes: &mut Vec<KeyValue>, outer: &[KeyValue], name: &str) -> bool {
    let text = |list: &[KeyValue], key: &str| {
        list.iter().find(|kv| kv.key == key).map(|kv| match kv.value.as_ref().and_then(|v| v.value.clone()) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(n)) => n.to_string(),
            _ => String::new(),
        })
    };
    let get = |attributes: &[KeyValue], key: &str| {
        text(attributes, key).or_else(|| text(outer, key)).unwrap_or_default()
    };
    let set = |attributes: &mut Vec<KeyValue>, key: &str, value: String| {
        if value.is_empty() {
            attributes.retain(|kv| kv.key != key);
        } else if let Some(kv) = attributes.iter_mut().find(|kv| kv.key == key) {
            kv.value = Some(string(&value));
        } else {
            attributes.push(attribute(key, string(&value)));
        }
    };
    match rule {
        0 => {
            let joined = format!("{};{}", get(attributes, "a"), name);
            set(attributes, "b", joined);
        }
        1 => attributes.retain(|kv| kv.key != "c"),
        2 => return !get(attributes, "a").starts_with('x'),
        3 => {
            if let Some(value) = text(attributes, "a").filter(|v| !v.is_empty()) {
                set(attributes, "a_copy", value);
            }
        }
        4 => {
            let lower = get(attributes, "b").to_uppercase();
            set(attributes, "c", lower);
        }
        _ => set(attributes, "a", String::new()),
    }
    true
}

fn rule(index: usize) -> Json {
    match index {
        0 => json!({"source_labels": ["a", "__name__"], "target_label": "b"}),
        1 => json!({"regex": "c", "action": "labeldrop"}),
        2 => json!({"source_labels": ["a"], "regex": "x.*", "action": "drop"}),
        3 => json!({"regex": "a", "action": "labelmap", "replacement": "${0}_copy"}),
        4 => json!({"source_labels": ["b"], "target_label": "c", "action": "uppercase"}),
        _ => json!({"target_label": "a", "replacement": ""}),
    }
}

/// A label as good as unset may come back: order among new attributes follows the first write. Compare as sets.
fn sorted(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn equals_the_naive_model(
        on_resource in proptest::collection::vec(0usize..6, 0..3),
        on_record in proptest::collection::vec(0usize..6, 0..5),
        of_resource in attributes(),
        of_spans in proptest::collection::vec((attributes(), "[a-z]{0,2}"), 1..5),
    ) {
        let config = json!({
            "resource": on_resource.iter().map(|r| rule(*r)).collect::<Vec<_>>(),
            "record": on_record.iter().map(|r| rule(*r)).collect::<Vec<_>>(),
        });
        let spans: Vec<Span> = of_spans.iter().map(|(a, name)| span(name, a.clone())).collect();
        let result = on_spans(config, resource(of_resource.clone()), spans.clone());

        let mut outer = of_resource;
        let keeps_all = on_resource.iter().all(|r| naive(*r, &mut outer, &[], ""));
        let mut expected = Vec::new();
        for mut span in spans {
            let mut attributes = span.attributes.clone();
            if keeps_all && on_record.iter().all(|r| naive(*r, &mut attributes, &outer, &span.name)) {
                span.attributes = sorted(attributes);
                expected.push(span);
            }
        }
        match result {
            None => prop_assert!(expected.is_empty()),
            Some((left, mut spans)) => {
                spans.iter_mut().for_each(|s| s.attributes = sorted(std::mem::take(&mut s.attributes)));
                prop_assert_eq!(sorted(left), sorted(outer));
                prop_assert_eq!(spans, expected);
            }
        }
    }
}

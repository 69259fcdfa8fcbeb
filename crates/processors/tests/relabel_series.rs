//! `relabel` on Prometheus series: the rules against a naive model and against what Prometheus itself printed; the cache
//! against none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/rules.rs"]
mod rules;
#[path = "support/series.rs"]
mod series;
mod support;

use std::sync::Arc;

use proptest::prelude::*;
use rules::{NaiveLabels, REGEXES, a_name, a_rule, naive};
use serde_json::{Value as Json, json};
use series::{LabelSet, Plain, batch, by_number, label_set, numbered, plain, processed};
use support::{build, build_as, try_build};

fn relabeled(rules: &Json, sets: &[&[(&str, &str)]]) -> Vec<Option<LabelSet>> {
    let sets: Vec<LabelSet> = sets.iter().map(|set| label_set(set)).collect();
    let left = processed(&*build("relabel", &json!({"series": rules})), numbered(&sets));
    by_number(left.as_deref(), sets.len())
}

/// A configuration of Prometheus as its documentation shows them, pasted.
#[test]
fn write_relabel_configs_are_pasted_as_they_are() {
    let rules = json!([
        {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"},
        {"source_labels": ["__name__", "le"], "separator": "@", "regex": "(.+)_bucket@(.+)", "target_label": "le", "replacement": "${2}s"},
        {"regex": "pod_.*", "action": "labeldrop"},
        {"target_label": "cluster", "replacement": "eu-1"},
        {"source_labels": ["instance"], "regex": "([^:]+):\\d+", "target_label": "instance", "replacement": "$1"},
    ]);
    let left = relabeled(
        &rules,
        &[
            &[("__name__", "go_threads"), ("instance", "a:1")],
            &[("__name__", "x_bucket"), ("instance", "a:1"), ("le", "1"), ("pod_uid", "7")],
            &[("__name__", "up"), ("cluster", "old"), ("instance", "b:22")],
        ],
    );
    assert_eq!(
        left,
        [
            None,
            Some(label_set(&[
                ("__name__", "x_bucket"),
                ("cluster", "eu-1"),
                ("instance", "a"),
                ("le", "1s")
            ])),
            Some(label_set(&[("__name__", "up"), ("cluster", "eu-1"), ("instance", "b")])),
        ]
    );
}

#[test]
fn the_name_is_a_label() {
    let rename = json!([{"source_labels": ["__name__"], "regex": "old_(.*)", "target_label": "__name__", "replacement": "new_$1"}]);
    assert_eq!(
        relabeled(&rename, &[&[("__name__", "old_up")]]),
        [Some(label_set(&[("__name__", "new_up")]))]
    );
}

#[test]
fn a_series_that_lost_its_labels_or_its_name_is_dropped_and_one_that_had_no_name_is_not() {
    let counters = engine::testing::counters();
    let rules = json!([{"regex": "__name__|b", "action": "labeldrop"}]);
    let processor = build_as("relabel/names", "relabel", &json!({"series": rules}), false).unwrap();
    let sets = [
        label_set(&[("__name__", "m"), ("a", "1")]),
        label_set(&[("a", "2"), ("b", "2")]),
        label_set(&[("b", "3")]),
        label_set(&[]),
    ];
    let left = processed(&*processor, numbered(&sets));
    assert_eq!(by_number(left.as_deref(), 4), [None, Some(label_set(&[("a", "2")])), None, None]);
    let dropped = |reason| {
        let labels = [("component", "relabel/names"), ("kind", "processor"), ("reason", reason)];
        counters.value("floodway_dropped_items_total", &labels)
    };
    assert_eq!((dropped("relabel"), dropped("no_metric_name")), (2, 1));
}

#[test]
fn a_batch_is_shared_until_something_changes_and_ends_when_nothing_is_left() {
    let rules = json!([{"source_labels": ["a"], "regex": "x", "action": "drop"}, {"source_labels": ["a"], "regex": "y", "target_label": "b", "replacement": "$0"}]);
    let processor = build("relabel", &json!({"series": rules}));
    for _ in 0..2 {
        let same = numbered(&[label_set(&[("a", "1")]), label_set(&[("a", "2")])]);
        let left = processed(&*processor, Arc::clone(&same)).unwrap();
        assert!(Arc::ptr_eq(&same, &left));
        assert!(processed(&*processor, numbered(&[label_set(&[("a", "x")])])).is_none());
        // The other owner of a batch sees no change.
        let shared = numbered(&[label_set(&[("a", "x")]), label_set(&[("a", "y")])]);
        let before = (*shared).clone();
        let left = processed(&*processor, Arc::clone(&shared)).unwrap();
        assert_eq!(plain(&left), [(label_set(&[("a", "y"), ("b", "y")]), vec![(1, 1.0)])]);
        assert_eq!(*shared, before);
    }
}

#[test]
fn without_rules_for_series_they_pass() {
    let processor = build("relabel", &json!({"record": [{"action": "drop"}]}));
    let same = numbered(&[label_set(&[("a", "1")])]);
    assert!(Arc::ptr_eq(&processed(&*processor, Arc::clone(&same)).unwrap(), &same));
}

#[test]
fn series_that_become_equal_are_merged_and_what_is_lost_is_counted() {
    let counters = engine::testing::counters();
    let rules = json!([{"regex": "peer", "action": "labeldrop"}]);
    let processor = build_as("relabel/merge", "relabel", &json!({"series": rules}), false).unwrap();
    let set = |peer: &str| label_set(&[("__name__", "m"), ("peer", peer)]);
    for round in 1..=2 {
        let input = batch(&[
            (set("a"), vec![(1, 1.0), (3, 3.0)]),
            (label_set(&[("__name__", "other")]), vec![(1, 9.0)]),
            (set("b"), vec![(2, 2.0), (3, 4.0)]),
            // One that has these labels already.
            (label_set(&[("__name__", "m")]), vec![(4, 5.0)]),
        ]);
        let left = processed(&*processor, input).unwrap();
        let merged: Plain = (label_set(&[("__name__", "m")]), vec![(1, 1.0), (2, 2.0), (3, 3.0), (4, 5.0)]);
        assert_eq!(plain(&left), [merged, (label_set(&[("__name__", "other")]), vec![(1, 9.0)])]);
        let own = ("component", "relabel/merge");
        assert_eq!(counters.value("floodway_series_merged_total", &[own]), 2 * round);
        let lost = [own, ("kind", "processor"), ("reason", "duplicate_series")];
        assert_eq!(counters.value("floodway_dropped_items_total", &lost), round);
    }
}

#[test]
fn hits_misses_and_entries_are_counted() {
    let counters = engine::testing::counters();
    let config = json!({"series": [{"target_label": "x", "replacement": "y"}]});
    let processor = build_as("relabel/cache", "relabel", &config, false).unwrap();
    let sets: Vec<_> = (0..100).map(|n| label_set(&[("a", &n.to_string())])).collect();
    processed(&*processor, numbered(&sets[..60]));
    processed(&*processor, numbered(&sets));
    let own = [("component", "relabel/cache")];
    assert_eq!(counters.value("floodway_relabel_cache_misses_total", &own), 100);
    assert_eq!(counters.value("floodway_relabel_cache_hits_total", &own), 60);
    assert_eq!(counters.gauge("floodway_relabel_cache_entries", &own), 100.0);
}

/// Numbers of labels do not fit a byte, and written texts neither.
#[test]
fn a_series_may_have_many_labels() {
    let rules = json!([{"regex": "l(.*)", "action": "labelmap", "replacement": "m$1"}, {"source_labels": ["l7"], "target_label": "a"}]);
    let processor = build("relabel", &json!({"series": rules}));
    for count in [60, 64, 126, 127, 128, 250, 255, 300] {
        let wide: LabelSet = (0..count).map(|n| (format!("l{n}"), format!("v{n}"))).collect();
        let mut expected = NaiveLabels { base: wide.clone(), ..NaiveLabels::default() };
        assert!(rules.as_array().unwrap().iter().all(|rule| naive(rule, &mut expected)));
        for _ in 0..2 {
            let left = by_number(processed(&*processor, numbered(std::slice::from_ref(&wide))).as_deref(), 1);
            let left = left[0].as_ref().unwrap();
            // No rule brings a series over 512 labels.
            let expected = expected.map();
            assert_eq!(left.len(), expected.len().min(512));
            assert!(left.iter().all(|(name, value)| expected.get(name) == Some(value)));
        }
    }
}

#[test]
fn settings_are_checked() {
    let error = |config: &Json| try_build("relabel", config, true).err().unwrap().to_string();
    assert!(
        error(&json!({"series": [{"action": "keep", "regex": "("}]})).starts_with("relabel: series: rule 1")
    );
    assert!(error(&json!({"cache": {"max_serie": 1}})).contains("max_serie"));
    assert!(
        try_build("relabel", &json!({"cache": {"max_series": 0}, "series": [{"action": "keep"}]}), true)
            .is_ok()
    );
}

/// Label sets of which many hold what a rule is likely to match; each once.
fn some_sets() -> impl Strategy<Value = Vec<LabelSet>> {
    let set = proptest::collection::btree_map(a_name(), "[abxyAB;]{1,3}", 0..5);
    proptest::collection::btree_set(set, 0..8).prop_map(|sets| sets.into_iter().collect())
}

fn expected(rules: &[Json], before: &LabelSet) -> Option<LabelSet> {
    let mut labels = NaiveLabels { base: before.clone(), ..NaiveLabels::default() };
    let kept = rules.iter().all(|rule| naive(rule, &mut labels));
    let after = labels.map();
    let lost_name = before.contains_key("__name__") && !after.contains_key("__name__");
    (kept && !after.is_empty() && !lost_name).then_some(after)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn series_become_what_the_documentation_says(
        rules in proptest::collection::vec(a_rule(REGEXES), 1..5),
        sets in some_sets(),
    ) {
        let processor = build("relabel", &json!({"series": rules}));
        let expected: Vec<_> = sets.iter().map(|set| expected(&rules, set)).collect();
        // The second time from the cache.
        for _ in 0..2 {
            let left = processed(&*processor, numbered(&sets));
            prop_assert_eq!(&by_number(left.as_deref(), sets.len()), &expected);
        }
    }

    #[test]
    fn any_cache_and_none_do_the_same(
        rules in proptest::collection::vec(a_rule(REGEXES), 1..4),
        pool in some_sets(),
        picks in proptest::collection::vec(proptest::collection::vec(0_usize..8, 0..8), 1..12),
        (max_series, max_bytes) in (0_usize..6, 0_usize..1_000),
    ) {
        let with = |cache: Json| build("relabel", &json!({"series": rules, "cache": cache}));
        let processors =
            [with(json!({"max_series": 0})), with(json!({})), with(json!({"max_series": max_series, "max_bytes": max_bytes}))];
        for picks in picks {
            // The same series may come twice, and at the same time.
            let input: Vec<Plain> = picks
                .iter()
                .filter_map(|n| pool.get(*n))
                .enumerate()
                .map(|(n, set)| (set.clone(), vec![(n as i64 / 3, n as f64)]))
                .collect();
            let [none, large, small] =
                [0, 1, 2].map(|n: usize| processed(&*processors[n], batch(&input)).map(|left| plain(&left)));
            prop_assert_eq!(&none, &large);
            prop_assert_eq!(&none, &small);
        }
    }
}

#[test]
fn many_threads_share_a_cache() {
    let rules = json!([
        {"source_labels": ["n"], "regex": ".*7", "action": "drop"},
        {"source_labels": ["n"], "regex": "(.).*", "target_label": "first"},
        {"source_labels": ["first"], "regex": "[2-9]", "target_label": "__name__", "replacement": "m_$0"},
    ]);
    let with = |cache: Json| build("relabel", &json!({"series": rules, "cache": cache}));
    let none = with(json!({"max_series": 0}));
    let sets: Vec<_> = (0..400).map(|n| label_set(&[("__name__", "m"), ("n", &n.to_string())])).collect();
    for cache in [json!({}), json!({"max_series": 100}), json!({"max_series": 200, "max_bytes": 4_000})] {
        let shared = with(cache);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (shared, none, sets) = (&*shared, &*none, &sets);
                scope.spawn(move || {
                    for round in 0..40 {
                        let from = (thread * 97 + round * 31) % 300;
                        let input = numbered(&sets[from..from + 100]);
                        let [left, wanted] = [shared, none].map(|p| processed(p, input.clone()).unwrap());
                        assert_eq!(plain(&left), plain(&wanted));
                    }
                });
            }
        });
    }
}

/// What Prometheus itself made of random rules and label sets; `e2e_relabel.rs` recorded it and says how.
#[test]
fn series_become_what_prometheus_printed() {
    let mut counts = (0, 0);
    for line in include_str!("data/prometheus_relabel.jsonl").lines() {
        let recorded: Json = serde_json::from_str(line).unwrap();
        let sets: Vec<LabelSet> = serde_json::from_value(recorded["series"].clone()).unwrap();
        let printed: Vec<Option<LabelSet>> = serde_json::from_value(recorded["printed"].clone()).unwrap();
        let wanted: Vec<_> =
            sets.iter().zip(printed).map(|(set, printed)| rules::sendable(set, printed)).collect();
        let processor = build("relabel", &json!({"series": recorded["rules"]}));
        for _ in 0..2 {
            let left = processed(&*processor, numbered(&sets));
            assert_eq!(by_number(left.as_deref(), sets.len()), wanted, "{line}");
        }
        counts.0 += sets.len();
        counts.1 += wanted.iter().flatten().count();
    }
    assert!(counts.0 >= 500 && counts.1 >= 200, "{counts:?}");
}

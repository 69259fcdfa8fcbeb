//! The rule engine against facts about Prometheus, and against a naive model written from its documentation.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/rules.rs"]
mod rules;

use std::collections::BTreeMap;

use processors::relabel::rules::{Labels, RuleConfig, Rules, Scratch};
use proptest::prelude::*;
use rules::{NaiveLabels, REGEXES, a_name, a_rule, md5_tail, naive};
use serde_json::{Value as Json, json};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Map(BTreeMap<String, String>);

impl Labels for Map {
    fn append(&self, name: &str, out: &mut String) {
        out.push_str(self.0.get(name).map_or("", String::as_str));
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(&str)) {
        self.0.keys().for_each(|name| visit(name));
    }

    fn set(&mut self, name: &str, value: &str) -> bool {
        assert!(!name.is_empty() && !value.is_empty());
        self.0.insert(name.to_owned(), value.to_owned());
        true
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

fn labels(pairs: &[(&str, &str)]) -> Map {
    Map(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

fn compile(rules: &Json) -> Result<Rules, String> {
    let configs: Vec<RuleConfig> = serde_json::from_value(rules.clone()).map_err(|e| e.to_string())?;
    Rules::compile(&configs).map_err(|e| e.to_string())
}

/// What is left of `pairs`; `None` when dropped.
fn relabeled(rules: Json, pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    let mut map = labels(pairs);
    let kept = compile(&rules).unwrap().apply(&mut map, &mut Scratch::default());
    kept.then(|| map.0.into_iter().collect())
}

#[track_caller]
fn check(rules: Json, before: &[(&str, &str)], after: &[(&str, &str)]) {
    let expected: Vec<_> = labels(after).0.into_iter().collect();
    assert_eq!(relabeled(rules.clone(), before), Some(expected), "{rules}");
}

const ABC: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn replace() {
    check(
        json!([{"source_labels": ["a"], "target_label": "d"}]),
        ABC,
        &[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "foo")],
    );
    check(
        json!([{"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "d", "replacement": "ch${1}-ch$1"}]),
        &[("a", "foo"), ("b", "bar")],
        &[("a", "foo"), ("b", "bar"), ("d", "choo-choo")],
    );
    // No source: the empty text, which the default regex matches.
    check(json!([{"target_label": "d", "replacement": "static"}]), &[], &[("d", "static")]);
    check(json!([{"target_label": "d", "regex": "x", "replacement": "static"}]), &[], &[]);
    // An empty result removes the label.
    check(json!([{"target_label": "a", "replacement": ""}]), &[("a", "1")], &[]);
    check(json!([{"source_labels": ["none"], "target_label": "a"}]), &[("a", "1")], &[]);
    // A regex that does not match leaves everything alone; matching is from start to end.
    check(
        json!([{"source_labels": ["a"], "regex": "fo", "target_label": "a", "replacement": "x"}]),
        &[("a", "foo")],
        &[("a", "foo")],
    );
    check(
        json!([{"source_labels": ["a"], "regex": "f|oo", "target_label": "a", "replacement": "x"}]),
        &[("a", "foo")],
        &[("a", "foo")],
    );
    // A dot matches a line break.
    check(
        json!([{"source_labels": ["a"], "regex": "(.).b", "target_label": "a"}]),
        &[("a", "a\nb")],
        &[("a", "a")],
    );
    // The target's name is a template too; an empty one skips the rule.
    check(
        json!([{"source_labels": ["a"], "regex": "(.*)=(.*)", "target_label": "k_${1}", "replacement": "$2"}]),
        &[("a", "x=1")],
        &[("a", "x=1"), ("k_x", "1")],
    );
    check(
        json!([{"source_labels": ["a"], "regex": "(x?)(.*)", "target_label": "${1}", "replacement": "$2"}]),
        &[("a", "foo")],
        &[("a", "foo")],
    );
    check(
        json!([{"source_labels": ["a"], "regex": "(?P<head>.)(?<tail>.*)", "target_label": "a", "replacement": "${tail}$head"}]),
        &[("a", "foo")],
        &[("a", "oof")],
    );
    // Names are UTF-8, as attribute names have dots.
    check(
        json!([{"source_labels": ["service.name"], "target_label": "größe.x"}]),
        &[("service.name", "s")],
        &[("größe.x", "s"), ("service.name", "s")],
    );
    check(
        json!([{"source_labels": ["a", "b"], "separator": "", "target_label": "c"}]),
        &[("a", "1"), ("b", "2")],
        &[("a", "1"), ("b", "2"), ("c", "12")],
    );
    check(
        json!([{"source_labels": ["a"], "regex": "", "target_label": "b", "replacement": "was empty"}]),
        &[],
        &[("b", "was empty")],
    );
}

#[test]
fn keep_and_drop() {
    assert_eq!(relabeled(json!([{"source_labels": ["a"], "regex": "f.*", "action": "drop"}]), ABC), None);
    assert_eq!(relabeled(json!([{"source_labels": ["a"], "regex": "b.*", "action": "keep"}]), ABC), None);
    check(json!([{"source_labels": ["a"], "regex": "b.*", "action": "drop"}]), ABC, ABC);
    check(json!([{"source_labels": ["a", "b"], "regex": "foo;bar", "action": "Keep"}]), ABC, ABC);
    // With the default regex everything matches, labels that are not there included.
    assert_eq!(relabeled(json!([{"source_labels": ["none"], "action": "drop"}]), ABC), None);
    check(json!([{"source_labels": ["none"], "action": "keep"}]), ABC, ABC);
    // Nothing runs after a drop, and rules before it are seen by it.
    assert_eq!(
        relabeled(
            json!([
                {"target_label": "d", "replacement": "go"},
                {"source_labels": ["d"], "regex": "go", "action": "drop"}
            ]),
            ABC
        ),
        None
    );
}

#[test]
fn equality() {
    let same: &[(&str, &str)] = &[("a", "main"), ("b", "main")];
    check(json!([{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}]), same, same);
    assert_eq!(
        relabeled(json!([{"source_labels": ["a"], "target_label": "b", "action": "dropequal"}]), same),
        None
    );
    assert_eq!(
        relabeled(json!([{"source_labels": ["a"], "target_label": "b", "action": "keepequal"}]), ABC),
        None
    );
    check(json!([{"source_labels": ["a"], "target_label": "b", "action": "dropequal"}]), ABC, ABC);
    // Two missing labels are equal.
    assert_eq!(
        relabeled(json!([{"source_labels": ["x"], "target_label": "y", "action": "dropequal"}]), ABC),
        None
    );
    check(
        json!([{"source_labels": ["a", "b"], "target_label": "c", "action": "keepequal"}]),
        &[("a", "1"), ("b", "2"), ("c", "1;2")],
        &[("a", "1"), ("b", "2"), ("c", "1;2")],
    );
}

#[test]
fn hashmod() {
    // echo -n foo | md5sum: acbd18db4cc2f85c edef654fccc4a4d8; the last eight bytes modulo 1000.
    let foo = 0xedef_654f_ccc4_a4d8_u64;
    check(
        json!([{"source_labels": ["a"], "target_label": "d", "action": "hashmod", "modulus": 1000}]),
        &[("a", "foo")],
        &[("a", "foo"), ("d", &(foo % 1000).to_string())],
    );
    check(
        json!([{"source_labels": ["a", "b"], "target_label": "d", "action": "hashmod", "modulus": u64::MAX}]),
        &[("a", "foo"), ("b", "bar")],
        // md5("foo;bar")
        &[("a", "foo"), ("b", "bar"), ("d", &md5_tail("foo;bar").to_string())],
    );
}

#[test]
fn names() {
    check(
        json!([{"regex": "meta_(.+)", "action": "labelmap"}]),
        &[("meta_a", "1"), ("meta_b", "2"), ("c", "3")],
        &[("a", "1"), ("b", "2"), ("c", "3"), ("meta_a", "1"), ("meta_b", "2")],
    );
    check(
        json!([{"regex": "meta_(.+)", "action": "labelmap", "replacement": "x_${1}"}]),
        &[("meta_a", "1")],
        &[("meta_a", "1"), ("x_a", "1")],
    );
    // What one rule maps it does not map again.
    check(
        json!([{"regex": "a*", "action": "labelmap", "replacement": "${0}a"}]),
        &[("a", "1")],
        &[("a", "1"), ("aa", "1")],
    );
    check(
        json!([{"regex": "b.*", "action": "labeldrop"}]),
        &[("a", "1"), ("b", "2"), ("bb", "3"), ("cb", "4")],
        &[("a", "1"), ("cb", "4")],
    );
    check(
        json!([{"regex": "b.*", "action": "labelkeep"}]),
        &[("a", "1"), ("b", "2"), ("bb", "3"), ("cb", "4")],
        &[("b", "2"), ("bb", "3")],
    );
    check(json!([{"action": "labeldrop"}]), ABC, &[]);
    check(json!([{"action": "labelkeep"}]), ABC, ABC);
}

#[test]
fn case() {
    check(
        json!([{"source_labels": ["a"], "target_label": "a", "action": "uppercase"}]),
        &[("a", "bAr-é-ß")],
        &[("a", "BAR-É-ß")],
    );
    check(
        json!([{"source_labels": ["a"], "target_label": "b", "action": "lowercase"}]),
        &[("a", "bAr-É-Σ")],
        &[("a", "bAr-É-Σ"), ("b", "bar-é-σ")],
    );
    check(json!([{"source_labels": ["x"], "target_label": "a", "action": "lowercase"}]), &[("a", "1")], &[]);
}

#[test]
fn what_prometheus_refuses() {
    for (rule, problem) in [
        (json!({}), "needs `target_label`"),
        (json!({"target_label": ""}), "needs `target_label`"),
        (json!({"action": "hashmod", "target_label": "a"}), "needs `modulus`"),
        (json!({"action": "hashmod", "modulus": 3}), "needs `target_label`"),
        (json!({"action": "lowercase"}), "needs `target_label`"),
        (
            json!({"action": "lowercase", "target_label": "a", "replacement": "x"}),
            "does not use `replacement`",
        ),
        (json!({"action": "keepequal", "target_label": "a", "regex": "x"}), "does not use `regex`"),
        (json!({"action": "dropequal", "target_label": "a", "separator": ","}), "does not use `separator`"),
        (json!({"action": "keepequal", "target_label": "a", "modulus": 2}), "does not use `modulus`"),
        (json!({"action": "labeldrop", "source_labels": ["a"]}), "does not use `source_labels`"),
        (json!({"action": "labelkeep", "target_label": "a"}), "does not use `target_label`"),
        (json!({"action": "labelmap", "replacement": ""}), "`replacement` is empty"),
        (json!({"action": "keep", "source_labels": [""]}), "`source_labels` is empty"),
        (json!({"action": "keep", "regex": "("}), "not valid RE2"),
        (json!({"action": "keep", "regex": "a)(b"}), "not valid RE2"),
        (json!({"action": "explode"}), "`explode` is no relabel action; there are replace, keep,"),
        (json!({"target": "a"}), "unknown field `target`"),
    ] {
        let error = compile(&json!([rule])).unwrap_err();
        assert!(error.contains(problem), "{rule}: {error}");
    }
    // Defaults written out are no offence.
    let spelled_out = json!([{"action": "keepequal", "source_labels": ["a"], "target_label": "b", "regex": "(.*)",
        "separator": ";", "replacement": "$1", "modulus": 0}]);
    assert!(compile(&spelled_out).is_ok());
    assert!(compile(&json!(vec![json!({"action": "keep"}); 1001])).unwrap_err().contains("1000 rules"));
}

#[test]
fn values_cannot_grow_without_end() {
    let double = json!({"source_labels": ["a"], "target_label": "a", "replacement": "$1$1$1$1$1$1$1$1"});
    let rules = compile(&json!(vec![double; 100])).unwrap();
    let mut map = labels(&[("a", "xxxxxxxx")]);
    let mut scratch = Scratch::default();
    assert!(rules.apply(&mut map, &mut scratch));
    assert_eq!(map.0["a"].len(), 32_768);
    assert_eq!(scratch.refused, 96);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn rules_do_what_the_documentation_says(
        rules in proptest::collection::vec(a_rule(REGEXES), 1..5),
        before in proptest::collection::btree_map(a_name(), "[abxyAB;]{1,3}", 0..5),
    ) {
        let compiled = compile(&json!(rules)).unwrap();
        let mut map = Map(before.clone());
        let kept = compiled.apply(&mut map, &mut Scratch::default());
        let mut expected = NaiveLabels { base: before, ..NaiveLabels::default() };
        let naively_kept = rules.iter().all(|rule| {
            // Those that do not say otherwise are in the order of their names.
            expected = NaiveLabels { base: expected.map(), ..NaiveLabels::default() };
            naive(rule, &mut expected)
        });
        prop_assert_eq!(kept, naively_kept);
        if kept {
            prop_assert_eq!(map.0, expected.map());
        }
    }
}

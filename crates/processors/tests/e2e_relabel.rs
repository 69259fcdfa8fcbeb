//! The rules against Prometheus's own code, over thousands of random rules and label sets.
//!
//! `UPDATE_RECORDED=1` writes the first of them to `data/prometheus_relabel.jsonl`, which the hermetic tests replay.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/rules.rs"]
mod rules;
#[path = "support/series.rs"]
mod series;
mod support;

use std::io::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rules::{GO_REGEXES, a_name, a_rule, sendable};
use serde_json::{Value as Json, json};
use series::{LabelSet, by_number, label_set, numbered, processed};
use support::build;

const CASES: usize = 4_000;
const RECORDED: usize = 150;

/// Hands `cases`, one a line, to Prometheus; returns what it printed for each.
fn prometheus(cases: &[Json]) -> Vec<Json> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    cases.iter().for_each(|case| writeln!(file, "{case}").unwrap());
    let path = file.path().to_string_lossy().into_owned();
    let printed = backends::run_tool("promrelabel", &[&path], Duration::from_secs(120)).unwrap();
    let printed: Vec<Json> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed.len(), cases.len());
    printed
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn promrelabel_agrees_on_random_rules_and_series() {
    let value = "[abxyAB;]{1,3}|[aé1 ٣É]{1,4}|abcd.?|a\\.b";
    let set = proptest::collection::btree_map(a_name(), value, 0..6);
    let case =
        (proptest::collection::vec(a_rule(GO_REGEXES), 1..5), proptest::collection::btree_set(set, 1..8));
    let mut runner = TestRunner::deterministic();
    let cases: Vec<Json> = (0..CASES)
        .map(|_| {
            let (rules, series) = case.new_tree(&mut runner).unwrap().current();
            json!({"rules": rules, "series": series})
        })
        .collect();
    let printed = prometheus(&cases);
    let (mut series, mut changed, mut dropped) = (0, 0, 0);
    for (case, printed) in cases.iter().zip(&printed) {
        assert!(printed["error"].is_null(), "{case}: {printed}");
        let sets: Vec<LabelSet> = serde_json::from_value(case["series"].clone()).unwrap();
        let printed: Vec<Option<LabelSet>> = serde_json::from_value(printed["series"].clone()).unwrap();
        let wanted: Vec<_> = sets.iter().zip(printed).map(|(set, printed)| sendable(set, printed)).collect();
        let processor = build("relabel", &json!({"series": case["rules"]}));
        for _ in 0..2 {
            let left = processed(&*processor, numbered(&sets));
            assert_eq!(by_number(left.as_deref(), sets.len()), wanted, "{case}");
        }
        series += sets.len();
        dropped += wanted.iter().filter(|wanted| wanted.is_none()).count();
        changed += sets
            .iter()
            .zip(&wanted)
            .filter(|(set, wanted)| wanted.as_ref().is_some_and(|w| w != *set))
            .count();
    }
    eprintln!("{series} series, {changed} changed, {dropped} dropped");
    assert!(series > 3 * CASES && changed > series / 10 && dropped > series / 10);
    if std::env::var_os("UPDATE_RECORDED").is_some() {
        record(&cases, &printed);
    }
}

fn record(cases: &[Json], printed: &[Json]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/prometheus_relabel.jsonl");
    let mut file = std::fs::File::create(path).unwrap();
    for (case, printed) in cases.iter().zip(printed).take(RECORDED) {
        let line = json!({"rules": case["rules"], "series": case["series"], "printed": printed["series"]});
        writeln!(file, "{line}").unwrap();
    }
}

/// Every letter that Prometheus writes in another case. Letters that are younger than its tables it leaves as they are.
#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn promrelabel_agrees_on_the_case_of_every_letter() {
    let printed = prometheus(&[json!({"letters": "lower"}), json!({"letters": "upper"})]);
    for (action, printed) in ["lowercase", "uppercase"].iter().zip(printed) {
        let pairs: Vec<(u32, u32)> = serde_json::from_value(printed["letters"].clone()).unwrap();
        let changed: std::collections::BTreeMap<u32, u32> = pairs.into_iter().collect();
        let rule = json!({"source_labels": ["a"], "target_label": "a", "action": action});
        let processor = build("relabel", &json!({"series": [rule]}));
        let letters: Vec<char> = ('\u{1}'..=char::MAX).collect();
        let (mut differing, mut younger) = (Vec::new(), 0);
        for letters in letters.chunks(10_000) {
            let sets: Vec<_> = letters
                .iter()
                .map(|c| label_set(&[("a", &c.to_string()), ("n", &format!("{:x}", u32::from(*c)))]))
                .collect();
            let left = processed(&*processor, numbered(&sets));
            for (letter, left) in letters.iter().zip(by_number(left.as_deref(), sets.len())) {
                let wanted =
                    changed.get(&u32::from(*letter)).and_then(|c| char::from_u32(*c)).unwrap_or(*letter);
                let left = &left.unwrap()["a"];
                match (*left == wanted.to_string(), wanted == *letter) {
                    (true, _) => {}
                    (false, true) => younger += 1,
                    (false, false) => differing.push((*letter, wanted, left.clone())),
                }
            }
        }
        assert!(differing.is_empty() && changed.len() > 1_300, "{action}: {differing:?}");
        assert!(younger < 100, "{action}: {younger} letters have another case here and none there");
    }
}

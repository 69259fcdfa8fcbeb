//! `redact` on Prometheus series: no id is left in any text of a batch, nothing else changes, and labels stay labels.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/naive.rs"]
mod naive;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "the generator of requests is another test's")]
mod random;
#[path = "support/series.rs"]
mod series;
mod support;

use std::sync::Arc;

use ::redact::{Action, Key, Keyring, Options, QmBare, Redactor};
use model::series::{Metadata, MetricKind, Sample, SeriesBatch, SeriesBuilder};
use naive::{Naive, NaiveSeries};
use proptest::prelude::*;
use random::Random;
use serde_json::{Value as Json, json};
use series::{batch, label_set, plain, processed};
use support::{build, build_as};

const KEY: &str = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const ED25519: &str = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
/// The same peer in another spelling.
const ED25519_CID: &str = "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6";
const QM: &str = "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk";

fn config() -> Json {
    json!({"key": KEY})
}

fn redactor(action: Action, qm_bare: QmBare) -> Redactor {
    let keys = Keyring::new(Key::parse(KEY.as_bytes()).unwrap());
    Redactor::new(Options { qm_bare, ..Options::all(action) }, Some(&keys)).unwrap()
}

/// Neither referred to nor left in the table: not ten characters in a row of what is the id's own.
#[track_caller]
fn assert_gone(batch: &SeriesBatch, id: &str) {
    let text = batch.symbols().text();
    for window in id.as_bytes()[id.len() - 30..].windows(10) {
        let found = text.as_bytes().windows(10).any(|there| there == window);
        assert!(!found, "{} of {id} is left", window.escape_ascii());
    }
}

/// Everything in a batch but numbers of histograms, as lists.
fn read(batch: &SeriesBatch) -> Vec<NaiveSeries> {
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let read = batch.iter().map(|series| NaiveSeries {
        labels: series.labels().iter().map(text).collect(),
        samples: series.samples().iter().map(|sample| (sample.timestamp_ms, sample.value)).collect(),
        exemplars: series
            .exemplars()
            .map(|exemplar| (exemplar.timestamp_ms, exemplar.labels.iter().map(text).collect()))
            .collect(),
        help: batch.symbols().get(series.metadata().help).to_owned(),
        unit: batch.symbols().get(series.metadata().unit).to_owned(),
    });
    read.collect()
}

fn write(series: &[NaiveSeries]) -> SeriesBatch {
    let mut builder = SeriesBuilder::new();
    for one in series {
        let labels = one.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        builder.series(labels, |b| b.metadata(MetricKind::Gauge, &one.help, &one.unit).unwrap()).unwrap();
        for (timestamp_ms, value) in &one.samples {
            builder.sample(Sample { value: *value, timestamp_ms: *timestamp_ms, start_ms: 0 });
        }
        for (time, labels) in &one.exemplars {
            let labels: Vec<_> = labels
                .iter()
                .map(|(n, v)| (builder.intern(n).unwrap(), builder.intern(v).unwrap()))
                .collect();
            builder.exemplar(&labels, 1.0, *time).unwrap();
        }
    }
    builder.finish()
}

#[test]
fn an_id_in_any_text_of_a_batch_is_replaced() {
    let processor = build("redact", &config());
    let mut random = Random(11);
    for place in 0..9 {
        for _ in 0..10 {
            let id = random.id();
            let text = |at: usize, other: &str| if at == place { id.clone() } else { other.to_owned() };
            let mut builder = SeriesBuilder::new();
            let labels = [("__name__".to_owned(), text(0, "up")), (text(1, "peer"), text(2, "none"))];
            let labels = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let metadata = |b: &mut SeriesBuilder| {
                b.metadata(MetricKind::Gauge, &text(3, "Help."), &text(4, "s")).unwrap()
            };
            builder.series(labels, metadata).unwrap();
            builder.sample(Sample::default());
            let exemplar =
                (builder.intern(&text(5, "trace_id")).unwrap(), builder.intern(&text(6, "7")).unwrap());
            builder.exemplar(&[exemplar], 1.0, 1).unwrap();
            let name = builder.intern(&text(7, "family")).unwrap();
            let metadata = builder.metadata(MetricKind::Info, &text(8, "Of a family."), "").unwrap();
            builder.family(name, metadata);
            let before = builder.finish();
            assert!(before.symbols().text().contains(&id), "{place}");
            let left = processed(&*processor, Arc::new(before.clone())).unwrap();
            assert_gone(&left, &id);
            assert_eq!((left.len(), left.items(), left.families().len()), (1, 1, 1));
            let changed = before.symbols().iter().zip(left.symbols().iter()).filter(|(a, b)| a != b);
            assert_eq!(changed.count(), 1);
        }
    }
}

/// Texts stand side by side in the table without anything between.
#[test]
fn the_texts_around_a_text_do_not_hide_it() {
    let processor = build("redact", &config());
    for id in [ED25519, ED25519_CID, QM] {
        for (before, after) in
            [("x", "y"), ("Q", "m"), ("12D3", "KooW"), (QM, ED25519), ("/p2p/", "/"), ("1", "1")]
        {
            let input = batch(&[(label_set(&[(before, id), (&format!("{after}~"), after)]), vec![(1, 1.0)])]);
            let left = processed(&*processor, input).unwrap();
            assert_gone(&left, id);
        }
    }
}

#[test]
fn without_an_id_the_same_batch_goes_on_and_in_shadow_mode_always() {
    let clean = batch(&[(
        label_set(&[
            ("__name__", "up"),
            ("cid", "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"),
        ]),
        vec![],
    )]);
    let left = processed(&*build("redact", &config()), Arc::clone(&clean)).unwrap();
    assert!(Arc::ptr_eq(&clean, &left));
    let counters = engine::testing::counters();
    let id = "redact/series_shadow";
    let shadow = build_as(id, "redact", &json!({"key": KEY, "mode": "shadow"}), false).unwrap();
    let unclean = batch(&[
        (label_set(&[("__name__", "up"), ("peer", ED25519)]), vec![]),
        (label_set(&[("peer", ED25519)]), vec![]),
    ]);
    assert!(Arc::ptr_eq(&processed(&*shadow, Arc::clone(&unclean)).unwrap(), &unclean));
    // Once a text, however often it is referred to.
    let labels = [("component", id), ("class", "peer_id")];
    assert_eq!(counters.value("floodway_redact_findings_total", &labels), 1);
    let off = build("redact", &json!({"mode": "off"}));
    assert!(Arc::ptr_eq(&processed(&*off, Arc::clone(&unclean)).unwrap(), &unclean));
}

#[test]
fn spellings_of_one_peer_become_one_series() {
    let counters = engine::testing::counters();
    let processor = build_as("redact/series_merge", "redact", &config(), false).unwrap();
    let set = |peer: &str| label_set(&[("__name__", "m"), ("peer", peer)]);
    let input =
        batch(&[(set(ED25519), vec![(2, 2.0), (3, 3.0)]), (set(ED25519_CID), vec![(1, 1.0), (3, 9.0)])]);
    let left = plain(&processed(&*processor, input).unwrap());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1, [(1, 1.0), (2, 2.0), (3, 3.0)]);
    let own = ("component", "redact/series_merge");
    assert_eq!(counters.value("floodway_series_merged_total", &[own]), 1);
    let lost = [own, ("kind", "processor"), ("reason", "duplicate_series")];
    assert_eq!(counters.value("floodway_dropped_items_total", &lost), 1);
}

#[test]
fn labels_that_are_cut_out_are_none_and_a_series_without_its_name_is_dropped() {
    let counters = engine::testing::counters();
    let config = json!({"action": "drop"});
    let processor = build_as("redact/series_drop", "redact", &config, false).unwrap();
    let input = batch(&[
        (label_set(&[("__name__", "m"), ("a", "1"), ("peer", ED25519), (ED25519, "2")]), vec![(1, 1.0)]),
        (label_set(&[("__name__", ED25519), ("a", "1")]), vec![(1, 1.0), (2, 1.0)]),
        (label_set(&[("nameless", ED25519), ("a", "1")]), vec![(1, 1.0)]),
    ]);
    let left = plain(&processed(&*processor, input).unwrap());
    let expected = [
        (label_set(&[("__name__", "m"), ("a", "1")]), vec![(1, 1.0)]),
        (label_set(&[("a", "1")]), vec![(1, 1.0)]),
    ];
    assert_eq!(left, expected);
    let dropped = [("component", "redact/series_drop"), ("kind", "processor"), ("reason", "no_metric_name")];
    assert_eq!(counters.value("floodway_dropped_items_total", &dropped), 2);
}

#[test]
fn keep_keys_are_names_of_labels() {
    let counters = engine::testing::counters();
    let id = "redact/series_keep";
    let config = json!({"key": KEY, "keep_keys": ["cid"]});
    let processor = build_as(id, "redact", &config, false).unwrap();
    // One text, three places: content, a peer, and a help text.
    let mut builder = SeriesBuilder::new();
    let metadata = |b: &mut SeriesBuilder| b.metadata(MetricKind::Gauge, QM, "").unwrap();
    builder.series([("__name__", "a"), ("cid", QM), ("peer", QM)], metadata).unwrap();
    let cid = (builder.intern("cid").unwrap(), builder.intern(QM).unwrap());
    builder.exemplar(&[cid], 1.0, 1).unwrap();
    builder.series([("__name__", "b"), ("cid", QM)], |_| Metadata::default()).unwrap();
    builder.series([("__name__", "c"), ("cid", ED25519)], |_| Metadata::default()).unwrap();
    let left = read(&processed(&*processor, Arc::new(builder.finish())).unwrap());
    let value =
        |n: usize, name: &str| left[n].labels.iter().find(|(label, _)| label == name).unwrap().1.clone();
    assert_eq!((value(0, "cid").as_str(), value(1, "cid").as_str()), (QM, QM));
    assert_eq!(left[0].exemplars[0].1[0].1, QM);
    assert!(value(0, "peer").starts_with("peer_") && left[0].help.starts_with("peer_"));
    assert!(value(2, "cid").starts_with("peer_"), "what is no bare Qm is a peer everywhere");
    let labels = [("component", id), ("class", "peer_id")];
    assert_eq!(counters.value("floodway_redact_findings_total", &labels), 2);
    // Content alone: nothing is found, though something was looked at.
    let only = batch(&[(label_set(&[("cid", QM)]), vec![])]);
    assert_eq!(plain(&processed(&*processor, only).unwrap())[0].0, label_set(&[("cid", QM)]));
    assert_eq!(counters.value("floodway_redact_findings_total", &labels), 2);
}

fn a_text() -> impl Strategy<Value = String> {
    let ids = proptest::sample::select(vec![ED25519, ED25519_CID, QM]);
    prop_oneof![
        3 => "[a-d]{1,2}",
        1 => "Qm|12D3KooW|läuft|/ip4/1.2.3.4/tcp/1|cid",
        1 => ids.clone().prop_map(str::to_owned),
        1 => (ids, "[ /=é]", "[ab]?").prop_map(|(id, edge, end)| format!("peer{edge}{id} {end}")),
    ]
}

fn some_series() -> impl Strategy<Value = Vec<NaiveSeries>> {
    let labels = || proptest::collection::btree_map(a_text(), a_text(), 0..4);
    let name = proptest::option::of(a_text());
    let samples = proptest::collection::btree_map(0_i64..6, -2.0..2.0, 0..3);
    let exemplars = proptest::collection::btree_map(0_i64..6, labels(), 0..2);
    let one = (name, labels(), samples, exemplars, a_text(), a_text()).prop_map(
        |(name, mut labels, samples, exemplars, help, unit)| {
            labels.extend(name.map(|name| ("__name__".to_owned(), name)));
            let exemplars = exemplars.into_iter().map(|(time, labels)| (time, labels.into_iter().collect()));
            NaiveSeries {
                labels: labels.into_iter().collect(),
                samples: samples.into_iter().collect(),
                exemplars: exemplars.collect(),
                help,
                unit,
            }
        },
    );
    proptest::collection::vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn series_are_redacted_as_text_by_text(
        series in some_series(),
        action in proptest::sample::select(vec!["pseudonym", "pseudonym_same_length", "mask", "drop"]),
        keep in any::<bool>(),
    ) {
        let keep_keys: &[&str] = if keep { &["cid", "a"] } else { &[] };
        let processor = build("redact", &json!({"key": KEY, "action": action, "keep_keys": keep_keys}));
        let action = match action {
            "mask" => Action::Mask,
            "drop" => Action::Drop,
            "pseudonym" => Action::Pseudonym,
            _ => Action::PseudonymSameLength,
        };
        let before = write(&series);
        let left = processed(&*processor, Arc::new(before.clone()));
        let (strict, lenient) = (redactor(action, QmBare::Redact), redactor(action, QmBare::Keep));
        let expected = Naive(&strict).series(&Naive(&lenient), keep_keys, read(&before));
        prop_assert_eq!(left.as_deref().map(read).unwrap_or_default(), expected);
        if let (Some(left), false) = (left, keep) {
            for id in [ED25519, ED25519_CID, QM] {
                assert_gone(&left, id);
            }
        }
    }
}

//! Batches of series against a naive model: a list of label maps with their samples.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::series::{
    BucketSpan, Buckets, Count, Histogram, LabelError, LabelHasher, Metadata, MetricKind, Sample,
    SeriesBatch, SeriesBuilder, Symbol, SymbolHashes, Symbols,
};
use proptest::prelude::*;

type Naive = Vec<(BTreeMap<String, String>, Vec<(f64, i64)>)>;

fn build(naive: &Naive) -> SeriesBatch {
    let mut builder = SeriesBuilder::new();
    for (labels, samples) in naive {
        let labels = labels.iter().rev().map(|(name, value)| (name.as_str(), value.as_str()));
        builder.series(labels, |_| Metadata::default()).unwrap();
        for (value, timestamp_ms) in samples {
            builder.sample(Sample { value: *value, timestamp_ms: *timestamp_ms, start_ms: 0 });
        }
    }
    builder.finish()
}

fn read(batch: &SeriesBatch) -> Naive {
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let samples = |samples: &[Sample]| samples.iter().map(|s| (s.value, s.timestamp_ms)).collect();
    batch
        .iter()
        .map(|series| (series.labels().iter().map(text).collect(), samples(series.samples())))
        .collect()
}

fn naive() -> impl Strategy<Value = Naive> {
    let labels = prop_oneof![
        3 => prop::collection::btree_map("[a-d]{1,2}", "[x-z]{1,3}", 0..5),
        1 => prop::collection::btree_map("a", "x", 0..2),
    ];
    let samples = prop::collection::vec((-5.0..5.0, 0..9_i64), 0..4);
    prop::collection::vec((labels, samples), 0..12)
}

proptest! {
    #[test]
    fn what_is_built_is_read(naive in naive()) {
        let batch = build(&naive);
        prop_assert_eq!(batch.items(), naive.iter().map(|(_, samples)| samples.len()).sum::<usize>());
        let distinct: std::collections::BTreeSet<_> = naive.iter().flat_map(|(l, _)| l.iter()).flat_map(|(n, v)| [n, v]).collect();
        prop_assert_eq!(batch.symbols().len(), 1 + distinct.len());
        prop_assert_eq!(read(&batch), naive);
    }

    #[test]
    fn series_are_dropped_and_halved(naive in naive(), keep in prop::collection::vec(any::<bool>(), 12)) {
        let mut batch = build(&naive);
        match batch.halves() {
            Some((first, second)) => {
                prop_assert_eq!([read(&first), read(&second)].concat(), naive.clone());
                prop_assert_eq!(first.items() + second.items(), batch.items());
                prop_assert!(first.len().abs_diff(second.len()) <= 1);
            }
            None => prop_assert!(naive.len() < 2),
        }
        batch.retain(|index| keep[index]);
        let left: Naive = naive.into_iter().enumerate().filter(|(n, _)| keep[*n]).map(|(_, s)| s).collect();
        prop_assert_eq!(batch.items(), left.iter().map(|(_, samples)| samples.len()).sum::<usize>());
        prop_assert_eq!(read(&batch), left);
    }

    #[test]
    fn equal_series_are_merged(naive in naive()) {
        let mut batch = build(&naive);
        let (hasher, mut symbols) = (LabelHasher::new(), SymbolHashes::default());
        hasher.symbols(batch.symbols(), &mut symbols);
        let hashes: Vec<_> = batch.iter().map(|series| symbols.labels(&series.labels())).collect();
        let merged = batch.merge_equal(&hashes);
        let mut expected: Naive = Vec::new();
        for (labels, samples) in naive.clone() {
            let is_empty = samples.is_empty();
            match expected.iter_mut().find(|(known, of)| *known == labels && of.is_empty() == is_empty) {
                Some((_, known)) => known.extend(samples),
                None => expected.push((labels, samples)),
            }
        }
        for (labels, samples) in &mut expected {
            let was_merged = naive.iter().filter(|(of, s)| of == labels && s.is_empty() == samples.is_empty()).count() > 1;
            if was_merged {
                samples.sort_by_key(|(_, time)| *time);
                samples.dedup_by_key(|(_, time)| *time);
            }
        }
        prop_assert_eq!(merged.series, naive.len() - expected.len());
        let items = |naive: &Naive| naive.iter().map(|(_, samples)| samples.len()).sum::<usize>();
        prop_assert_eq!(merged.lost, items(&naive) - items(&expected));
        prop_assert_eq!(batch.items(), items(&expected));
        prop_assert_eq!(read(&batch), expected);
    }

    #[test]
    fn replaced_texts_leave_sorted_labels(naive in naive(), from in "[a-d]{1,2}", to in "[a-e]{1,2}") {
        let mut batch = build(&naive);
        let renamed = |name: &str| if name == from { to.clone() } else { name.to_owned() };
        let changed = batch.replace_symbols(|text| (text == from).then(|| Cow::Owned(to.clone()))).unwrap();
        prop_assert!(changed.len() <= 1);
        for (series, (labels, samples)) in batch.iter().zip(&naive) {
            let names: Vec<_> = series.labels().iter().map(|(name, _)| name.to_owned()).collect();
            prop_assert!(names.is_sorted_by(|a, b| a < b), "{:?}", names);
            let want: std::collections::BTreeSet<_> = labels.keys().map(|name| renamed(name)).collect();
            prop_assert_eq!(names, want.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(series.samples().len(), samples.len());
        }
    }
}

#[test]
fn labels_without_a_text_are_none() {
    let mut builder = SeriesBuilder::new();
    builder.series([("a", "x"), ("b", "y"), ("c", "z")], |_| Metadata::default()).unwrap();
    let (b, y) = (builder.intern("b").unwrap(), builder.intern("y").unwrap());
    builder.exemplar(&[(b, y)], 1.0, 1).unwrap();
    builder.series([("c", "z")], |_| Metadata::default()).unwrap();
    let mut batch = builder.finish();
    let cut =
        batch.replace_symbols(|text| (text == "a" || text == "y").then_some(Cow::Borrowed(""))).unwrap();
    assert_eq!(cut.len(), 2);
    let labels = |n: usize| batch.get(n).unwrap().labels().iter().collect::<Vec<_>>();
    assert_eq!((labels(0), labels(1)), (vec![("c", "z")], vec![("c", "z")]));
    assert!(batch.get(0).unwrap().exemplars().next().unwrap().labels.is_empty());
}

#[test]
fn one_text_becomes_two_by_the_name_before_it() {
    let mut builder = SeriesBuilder::new();
    builder.series([("a", "x"), ("b", "x")], |_| Metadata::default()).unwrap();
    let (a, x) = (builder.intern("a").unwrap(), builder.intern("x").unwrap());
    builder.exemplar(&[(a, x), (x, a)], 1.0, 1).unwrap();
    let mut batch = builder.finish();
    let other = batch.push_symbol("other").unwrap();
    batch.retarget_values(|symbols, name, value| (symbols.get(name) == "a" && value == x).then_some(other));
    batch.retarget_values(|_, _, _| Some(Symbol(99)));
    let series = batch.get(0).unwrap();
    assert_eq!(series.labels().iter().collect::<Vec<_>>(), [("a", "other"), ("b", "x")]);
    let exemplar = series.exemplars().next().unwrap();
    assert_eq!(exemplar.labels.iter().collect::<Vec<_>>(), [("a", "other"), ("x", "a")]);
}

#[test]
fn histograms_exemplars_and_metadata_come_back() {
    let mut builder = SeriesBuilder::new();
    builder
        .series([("__name__", "latency"), ("empty", "")], |b| {
            b.metadata(MetricKind::Histogram, "How long.", "s").unwrap()
        })
        .unwrap();
    let positive = Buckets { spans: &[BucketSpan { offset: -3, length: 2 }], deltas: &[4, -1], counts: &[] };
    let histogram = Histogram {
        count: Count::Int(7),
        sum: 2.5,
        schema: 3,
        positive,
        timestamp_ms: 11,
        ..Default::default()
    };
    builder.histogram(&histogram);
    let trace = (builder.intern("trace_id").unwrap(), builder.intern("abc").unwrap());
    builder.exemplar(&[trace], 0.5, 12).unwrap();
    let name = builder.intern("alone").unwrap();
    builder.family(name, Metadata { kind: MetricKind::Gauge, ..Metadata::default() });
    let batch = builder.finish();
    assert_eq!((batch.items(), batch.len()), (1, 1));
    let series = batch.get(0).unwrap();
    assert_eq!(series.name(), "latency");
    assert_eq!(series.labels().len(), 1, "an empty label is none");
    assert_eq!(series.histograms().collect::<Vec<_>>(), [histogram]);
    let exemplar = series.exemplars().next().unwrap();
    assert_eq!(
        (exemplar.labels.get("trace_id"), exemplar.value, exemplar.timestamp_ms),
        (Some("abc"), 0.5, 12)
    );
    let metadata = series.metadata();
    assert_eq!(batch.symbols().get(metadata.help), "How long.");
    assert_eq!(batch.symbols().get(batch.families()[0].name), "alone");
}

#[test]
fn labels_that_cannot_be_are_refused() {
    let mut builder = SeriesBuilder::new();
    let twice = builder.series([("a", "1"), ("b", "2"), ("a", "3")], |_| Metadata::default());
    assert_eq!(twice, Err(LabelError::Duplicate));
    let mut symbols = Symbols::default();
    let (a, b) = (symbols.push("a").unwrap(), symbols.push("b").unwrap());
    let mut builder = SeriesBuilder::with_symbols(symbols);
    let unsorted = builder.series_of(&[(b, a), (a, b)], Metadata::default());
    assert_eq!(unsorted, Err(LabelError::Unsorted));
    assert_eq!(builder.series_of(&[(a, Symbol(3))], Metadata::default()), Err(LabelError::NoSymbol));
    assert_eq!(builder.exemplar(&[(Symbol(9), a)], 0.0, 0), Err(LabelError::NoSymbol));
    assert!(builder.finish().is_empty());
}

#[test]
fn uncounted_series_go_along_and_are_not_counted() {
    let mut builder = SeriesBuilder::new();
    for (name, is_part) in [("h_count", false), ("h_sum", true), ("h_bucket", true)] {
        builder.series([("__name__", name)], |_| Metadata::default()).unwrap();
        if is_part {
            builder.uncounted();
        }
        builder.sample(Sample { value: 1.0, timestamp_ms: 1, start_ms: 0 });
    }
    assert_eq!(builder.items(), 1);
    let mut batch = builder.finish();
    assert_eq!((batch.items(), batch.len()), (1, 3));
    assert_eq!(
        batch.iter().map(|series| (series.len(), series.items())).collect::<Vec<_>>(),
        [(1, 1), (1, 0), (1, 0)]
    );
    batch.retain(|index| index > 0);
    assert_eq!((batch.items(), batch.len()), (0, 2));
    assert!(batch.get(0).unwrap().is_uncounted());
}

#[test]
fn a_series_to_which_nothing_was_added_can_be_taken_back() {
    let mut builder = SeriesBuilder::new();
    assert!(!builder.drop_empty_series());
    for (name, kept) in [("a", true), ("b", false), ("c", true)] {
        builder.series([("__name__", name), ("job", "x")], |_| Metadata::default()).unwrap();
        if kept {
            builder.sample(Sample::default());
        }
        assert_eq!(builder.drop_empty_series(), !kept);
    }
    builder.series([("__name__", "d")], |_| Metadata::default()).unwrap();
    builder.exemplar(&[], 1.0, 2).unwrap();
    assert!(!builder.drop_empty_series());
    let batch = builder.finish();
    assert_eq!(batch.iter().map(|series| series.name()).collect::<Vec<_>>(), ["a", "c", "d"]);
    assert_eq!(batch.iter().map(|series| series.labels().len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(batch.items(), 2);
}

#[test]
fn a_series_named_like_the_one_before_is_checked_too() {
    let mut symbols = Symbols::default();
    let [a, b, x, y] = ["a", "b", "x", "y"].map(|text| symbols.push(text).unwrap());
    let mut builder = SeriesBuilder::with_symbols(symbols);
    let none = Metadata::default();
    builder.series_of(&[(a, x), (b, y)], none).unwrap();
    builder.series_of(&[(a, y), (b, y)], none).unwrap();
    assert_eq!(builder.series_of(&[(a, y), (b, Symbol(99))], none), Err(LabelError::NoSymbol));
    assert_eq!(builder.series_of(&[(b, y), (a, y)], none), Err(LabelError::Unsorted));
    assert_eq!(builder.series_of(&[(a, y), (a, x)], none), Err(LabelError::Duplicate));
    builder.series_of(&[(a, x)], none).unwrap();
    assert_eq!(builder.finish().len(), 3);
}

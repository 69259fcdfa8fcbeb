//! Batches of series from plain lists, and back.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Processor;
use model::series::{Metadata, Sample, SeriesBatch, SeriesBuilder};

pub(crate) type LabelSet = BTreeMap<String, String>;

/// A series as a list has it: labels, and values by time.
pub(crate) type Plain = (LabelSet, Vec<(i64, f64)>);

pub(crate) fn label_set(pairs: &[(&str, &str)]) -> LabelSet {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub(crate) fn batch(series: &[Plain]) -> Arc<SeriesBatch> {
    let mut builder = SeriesBuilder::new();
    for (labels, samples) in series {
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        builder.series(labels, |_| Metadata::default()).expect("labels");
        for (timestamp_ms, value) in samples {
            builder.sample(Sample { value: *value, timestamp_ms: *timestamp_ms, start_ms: 0 });
        }
    }
    Arc::new(builder.finish())
}

/// Each label set with one sample, whose time is its place: so it is found again, whatever it is merged with.
pub(crate) fn numbered(sets: &[LabelSet]) -> Arc<SeriesBatch> {
    let numbered = |(n, labels): (usize, &LabelSet)| (labels.clone(), vec![(n as i64, 1.0)]);
    batch(&sets.iter().enumerate().map(numbered).collect::<Vec<_>>())
}

/// What became of each of `count` numbered label sets.
pub(crate) fn by_number(batch: Option<&SeriesBatch>, count: usize) -> Vec<Option<LabelSet>> {
    let mut found = vec![None; count];
    for (labels, samples) in batch.map(plain).unwrap_or_default() {
        for (number, _) in samples {
            assert_eq!(found[number as usize].replace(labels.clone()), None, "{number} stands twice");
        }
    }
    found
}

pub(crate) fn plain(batch: &SeriesBatch) -> Vec<Plain> {
    let series = batch.iter().map(|series| {
        let labels: Vec<_> = series.labels().iter().collect();
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "{labels:?}");
        let samples = series.samples().iter().map(|sample| (sample.timestamp_ms, sample.value)).collect();
        (label_set(&labels), samples)
    });
    let series: Vec<Plain> = series.collect();
    assert_eq!(batch.items(), series.iter().map(|(_, samples)| samples.len()).sum::<usize>());
    series
}

pub(crate) fn processed(processor: &dyn Processor, batch: Arc<SeriesBatch>) -> Option<Arc<SeriesBatch>> {
    processor.process_series(batch).expect("processed")
}

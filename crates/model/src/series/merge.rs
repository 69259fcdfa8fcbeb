//! Series of one batch whose labels are the same, made one.
//!
//! Labels that differed become equal when they are relabeled or redacted. Receivers refuse a request in which one series has
//! two values at one time, and samples that are not in order; so equal series are merged into the first of them:
//!
//! ```text
//! {a="1"}  10:00 7   10:02 8          {a="1"}  10:00 7   10:01 5   10:02 8
//! {a="1"}  10:01 5   10:02 9    ->                                          9 is lost: there is a value at 10:02
//! ```
//! Where two values stand at one time, the one that came first stays. Nothing is added up: nobody here knows what a value means.
//!
//! A series of samples and one of histograms are not merged, since a series is either; they stay as they are.

use hashbrown::HashTable;

use super::{Entry, Metadata, Run, SeriesBatch};

/// What [`SeriesBatch::merge_equal`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Series that went into an earlier one with the same labels.
    pub series: usize,
    /// Samples and histograms left out, since there was one at that time.
    pub lost: usize,
}

impl SeriesBatch {
    /// Merges the series whose labels are the same. `hashes` are those of the label sets, by position; with fewer hashes
    /// than series the rest is left alone. See the module for what becomes of samples at the same time.
    pub fn merge_equal(&mut self, hashes: &[u128]) -> Merged {
        let mut later = self.find_equal(hashes);
        if later.is_empty() {
            return Merged::default();
        }
        let before = self.items;
        later.sort_unstable();
        for group in later.chunk_by(|a, b| a.0 == b.0) {
            self.merge(group);
        }
        let mut gone = vec![false; self.series.len()];
        later.iter().for_each(|(_, index)| gone[*index as usize] = true);
        self.retain(|index| !gone[index]);
        Merged { series: later.len(), lost: before - self.items }
    }

    /// Pairs of the first series with its labels and a later one.
    fn find_equal(&self, hashes: &[u128]) -> Vec<(u32, u32)> {
        let mut later = Vec::new();
        let mut firsts: HashTable<u32> = HashTable::with_capacity(hashes.len().min(self.series.len()));
        let hash = |index: u32| hashes[index as usize] as u64;
        let kind = |index: u32| {
            let Entry { samples, histograms, uncounted, .. } = self.series[index as usize];
            (samples.len > 0, histograms.len > 0, uncounted)
        };
        for index in 0..hashes.len().min(self.series.len()) as u32 {
            let same = |first: &u32| {
                hashes[*first as usize] == hashes[index as usize] && kind(*first) == kind(index)
            };
            match firsts.find(hash(index), same) {
                Some(first) => later.push((*first, index)),
                None => _ = firsts.insert_unique(hash(index), index, |first| hash(*first)),
            }
        }
        later
    }

    /// Merges the second of each pair into the first, which is the same in all of them.
    fn merge(&mut self, group: &[(u32, u32)]) {
        let Some((first, _)) = group.first() else { return };
        let first = *first as usize;
        let entries: Vec<Entry> = std::iter::once(first)
            .chain(group.iter().map(|(_, index)| *index as usize))
            .map(|index| self.series[index])
            .collect();
        let samples = merged(&mut self.samples, entries.iter().map(|e| e.samples), |s| s.timestamp_ms, true);
        let histograms =
            merged(&mut self.histograms, entries.iter().map(|e| e.histograms), |h| h.timestamp_ms, true);
        let exemplars =
            merged(&mut self.exemplars, entries.iter().map(|e| e.exemplars), |e| e.timestamp_ms, false);
        let known = entries.iter().map(|entry| entry.metadata).find(|known| *known != Metadata::default());
        let entry = &mut self.series[first];
        *entry = Entry {
            labels: entry.labels,
            samples,
            histograms,
            exemplars,
            metadata: known.unwrap_or_default(),
            uncounted: entry.uncounted,
        };
    }
}

/// Appends what stands in `runs` by time; of what has the same time the first alone, where `unique`.
fn merged<T: Copy>(
    pool: &mut Vec<T>,
    runs: impl Iterator<Item = Run>,
    time: impl Fn(&T) -> i64,
    unique: bool,
) -> Run {
    let mut all: Vec<T> = runs.flat_map(|run| run.of(pool).iter().copied()).collect();
    // Stable: what came first stays first.
    all.sort_by_key(&time);
    if unique {
        all.dedup_by_key(|item| time(item));
    }
    Run::append(pool, &all)
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn hashes(batch: &SeriesBatch) -> Vec<u128> {
        let (hasher, mut of) = (LabelHasher::new(), SymbolHashes::default());
        hasher.symbols(batch.symbols(), &mut of);
        batch.iter().map(|series| of.labels(&series.labels())).collect()
    }

    fn sample(timestamp_ms: i64, value: f64) -> Sample {
        Sample { value, timestamp_ms, start_ms: 0 }
    }

    #[test]
    fn equal_series_become_one_in_order_of_time() {
        let mut builder = SeriesBuilder::new();
        let trace = builder.intern("trace_id").unwrap();
        for (label, samples) in [
            ("x", &[(10, 7.0), (12, 8.0)][..]),
            ("y", &[(10, 1.0)]),
            ("x", &[(11, 5.0), (12, 9.0)]),
            ("x", &[(9, 4.0), (10, 7.0)]),
        ] {
            builder.series([("a", label)], |_| Metadata::default()).unwrap();
            samples.iter().for_each(|(time, value)| builder.sample(sample(*time, *value)));
            builder.exemplar(&[(trace, trace)], 1.0, 20 - samples[0].0).unwrap();
        }
        let kind = MetricKind::Counter;
        builder.set_metadata(Metadata { kind, ..Metadata::default() });
        let mut batch = builder.finish();
        assert_eq!(batch.merge_equal(&hashes(&batch)), Merged { series: 2, lost: 2 });
        assert_eq!((batch.len(), batch.items()), (2, 5));
        let first = batch.get(0).unwrap();
        let expected = [sample(9, 4.0), sample(10, 7.0), sample(11, 5.0), sample(12, 8.0)];
        assert_eq!(first.samples(), expected);
        assert_eq!(first.metadata().kind, kind);
        let times: Vec<i64> = first.exemplars().map(|exemplar| exemplar.timestamp_ms).collect();
        assert_eq!(times, [9, 10, 11]);
        assert_eq!(batch.get(1).unwrap().samples(), [sample(10, 1.0)]);
    }

    #[test]
    fn samples_and_histograms_are_not_merged() {
        let mut builder = SeriesBuilder::new();
        builder.series([("a", "x")], |_| Metadata::default()).unwrap();
        builder.sample(sample(1, 1.0));
        for timestamp_ms in [1, 1, 2] {
            builder.series([("a", "x")], |_| Metadata::default()).unwrap();
            builder.histogram(&Histogram { timestamp_ms, sum: 3.0, ..Histogram::default() });
        }
        let mut batch = builder.finish();
        assert_eq!(batch.merge_equal(&hashes(&batch)), Merged { series: 2, lost: 1 });
        let items: Vec<_> = batch.iter().map(|s| (s.samples().len(), s.histograms().len())).collect();
        assert_eq!(items, [(1, 0), (0, 2)]);
    }

    #[test]
    fn different_series_stay() {
        let mut builder = SeriesBuilder::new();
        for value in ["1", "2", "3"] {
            builder.series([("a", value)], |_| Metadata::default()).unwrap();
            builder.sample(sample(1, 1.0));
        }
        let mut batch = builder.finish();
        let before = batch.clone();
        assert_eq!(batch.merge_equal(&hashes(&batch)), Merged::default());
        assert_eq!(batch, before);
    }
}

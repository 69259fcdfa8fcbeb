//! Exemplars that came without a sample: Prometheus' own sender puts them into series of their own, and remote-write 2.0 refuses a
//! series that has neither samples nor histograms (Prometheus answers 400 for it).
//!
//! They go to the series with the same labels of the same call, in the order of their times. What finds none is left out and counted:
//! exemplars are not records, so the books are not concerned.

use std::collections::HashMap;
use std::sync::Arc;

use codec::prometheus::encode::copy;
use model::series::{Exemplar, LabelHasher, SeriesRef, SymbolHashes};
use model::{SeriesBatch, SeriesBuilder};

/// The batch, and the place in it.
type Place = (usize, usize);

/// Gives exemplars without a sample to the series that they are of, and says how many were left out. Batches in which there is nothing to
/// do stay as they are.
pub(super) fn joined(batches: &mut [Arc<SeriesBatch>], hasher: &LabelHasher) -> u64 {
    if !batches.iter().any(|batch| batch.iter().any(|series| series.is_empty())) {
        return 0;
    }
    let before = batches.to_vec();
    let (homes, lost) = homes(&before, hasher);
    for (number, batch) in batches.iter_mut().enumerate() {
        let concerned = |(index, series): (usize, SeriesRef<'_>)| {
            series.is_empty() || homes.contains_key(&(number, index))
        };
        if before[number].iter().enumerate().any(concerned) {
            *batch = Arc::new(rebuilt(number, &before, &homes));
        }
    }
    lost
}

/// Which series get the exemplars of which others; and how many exemplars have no home.
fn homes(batches: &[Arc<SeriesBatch>], hasher: &LabelHasher) -> (HashMap<Place, Vec<Place>>, u64) {
    let mut first: HashMap<u128, Place> = HashMap::new();
    let mut homeless = Vec::new();
    let mut hashes = SymbolHashes::default();
    for (number, batch) in batches.iter().enumerate() {
        hasher.symbols(batch.symbols(), &mut hashes);
        for (index, series) in batch.iter().enumerate() {
            let (hash, place) = (hashes.labels(&series.labels()), (number, index));
            if series.is_empty() {
                homeless.push((hash, place, series.exemplars().len() as u64));
            } else {
                first.entry(hash).or_insert(place);
            }
        }
    }
    let (mut homes, mut lost) = (HashMap::<Place, Vec<Place>>::new(), 0);
    for (hash, place, exemplars) in homeless {
        match first.get(&hash) {
            Some(home) => homes.entry(*home).or_default().push(place),
            None => lost += exemplars,
        }
    }
    (homes, lost)
}

fn rebuilt(number: usize, batches: &[Arc<SeriesBatch>], homes: &HashMap<Place, Vec<Place>>) -> SeriesBatch {
    let batch = &batches[number];
    let mut builder = SeriesBuilder::new();
    for (index, series) in batch.iter().enumerate().filter(|(_, series)| !series.is_empty()) {
        let guests = homes.get(&(number, index)).into_iter().flatten();
        let guests = guests.filter_map(|(batch, index)| batches.get(*batch)?.get(*index));
        let mut exemplars: Vec<Exemplar<'_>> = series.exemplars().collect();
        exemplars.extend(guests.flat_map(|guest| guest.exemplars()));
        exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
        copy(&series, exemplars, &mut builder);
    }
    let texts = batch.symbols();
    for family in batch.families() {
        let metadata = family.metadata;
        // No batch is larger than those that it was made of.
        if let (Ok(name), Ok(metadata)) = (
            builder.intern(texts.get(family.name)),
            builder.metadata(metadata.kind, texts.get(metadata.help), texts.get(metadata.unit)),
        ) {
            builder.family(name, metadata);
        }
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use model::series::{Metadata, MetricKind, Sample};

    use super::*;

    enum One {
        Sample(&'static str, i64),
        Exemplar(&'static str, i64),
    }

    fn batch(all: &[One]) -> Arc<SeriesBatch> {
        let mut builder = SeriesBuilder::new();
        for one in all {
            let (One::Sample(name, _) | One::Exemplar(name, _)) = one;
            builder.series([("__name__", *name)], |_| Metadata::default()).unwrap();
            match one {
                One::Sample(_, timestamp_ms) => {
                    builder.sample(Sample { value: 1.0, timestamp_ms: *timestamp_ms, start_ms: 0 });
                }
                One::Exemplar(_, timestamp_ms) => {
                    let id = builder.intern("trace_id").unwrap();
                    builder.exemplar(&[(id, id)], 2.0, *timestamp_ms).unwrap();
                }
            }
        }
        let name = builder.intern("family").unwrap();
        let metadata = builder.metadata(MetricKind::Gauge, "help", "s").unwrap();
        builder.family(name, metadata);
        Arc::new(builder.finish())
    }

    fn lines(batch: &SeriesBatch) -> Vec<String> {
        let times = |series: &SeriesRef<'_>| series.exemplars().map(|e| e.timestamp_ms).collect::<Vec<_>>();
        batch.iter().map(|one| format!("{} {} {:?}", one.name(), one.len(), times(&one))).collect()
    }

    #[test]
    fn exemplars_go_to_their_series_and_those_without_one_are_counted() {
        use One::{Exemplar, Sample};
        let mut batches = [
            batch(&[Exemplar("a", 9), Sample("a", 1), Exemplar("b", 1), Exemplar("a", 3), Sample("c", 1)]),
            batch(&[Exemplar("c", 5), Exemplar("nobody", 5), Sample("d", 1)]),
            batch(&[Sample("e", 1), Sample("b", 2)]),
            batch(&[Sample("f", 1)]),
        ];
        let before = batches.clone();
        assert_eq!(joined(&mut batches, &LabelHasher::new()), 1);
        let found: Vec<_> = batches.iter().map(|batch| lines(batch)).collect();
        assert_eq!(
            found,
            [vec!["a 1 [3, 9]", "c 1 [5]"], vec!["d 1 []"], vec!["e 1 []", "b 1 [1]"], vec!["f 1 []"]]
        );
        for (before, after) in before.iter().zip(&batches) {
            assert_eq!((before.items(), before.families().len()), (after.items(), after.families().len()));
        }
        assert!(Arc::ptr_eq(&before[3], &batches[3]));
        assert_eq!(joined(&mut batches, &LabelHasher::new()), 0);
    }
}

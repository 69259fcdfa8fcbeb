//! Hashes of label sets, by their texts: the same series has the same hash in every batch of a process.
//!
//! Each symbol of a batch is hashed once; the hash of a label set then mixes the hashes of its symbols, one multiplication
//! a label. 128 bits and a key drawn at start: two label sets that meet are not to be found by chance nor by a sender, so that
//! a table may be keyed by the hash alone.

use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;

use super::{Labels, Symbols};

/// The key of the hashes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LabelHasher {
    lanes: [DefaultHashBuilder; 2],
}

/// The hashes of the symbols of one batch.
#[derive(Clone, Debug, Default)]
pub struct SymbolHashes {
    of: Vec<[u64; 2]>,
}

impl LabelHasher {
    /// A key of its own.
    pub fn new() -> Self {
        Self { lanes: [DefaultHashBuilder::default(), DefaultHashBuilder::default()] }
    }

    /// Hashes every text of `symbols` into `hashes`, whose memory is used again.
    pub fn symbols(&self, symbols: &Symbols, hashes: &mut SymbolHashes) {
        hashes.of.clear();
        self.added(symbols, hashes);
    }

    /// Hashes the texts that came into `symbols` since `hashes` was made of it.
    pub fn added(&self, symbols: &Symbols, hashes: &mut SymbolHashes) {
        let new = symbols.iter_from(hashes.of.len());
        hashes.of.extend(new.map(|text| [0, 1].map(|lane: usize| self.lanes[lane].hash_one(text))));
    }

    /// The hash of a text alone.
    pub fn text(&self, text: &str) -> u64 {
        self.lanes[0].hash_one(text)
    }
}

impl SymbolHashes {
    /// The hash of a label set of the same batch.
    pub fn labels(&self, labels: &Labels<'_>) -> u128 {
        const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];
        let mut state = [labels.refs.len() as u64, !(labels.refs.len() as u64)];
        for symbol in labels.refs {
            let hash = self.of.get(*symbol as usize).copied().unwrap_or_default();
            for lane in [0, 1] {
                let mixed = u128::from(state[lane] ^ hash[lane]) * u128::from(MULTIPLIERS[lane]);
                state[lane] =
                    (mixed as u64 ^ (mixed >> 64) as u64).rotate_left(23).wrapping_add(hash[1 - lane]);
            }
        }
        u128::from(state[0]) << 64 | u128::from(state[1])
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn batch(sets: &[&[(&str, &str)]]) -> SeriesBatch {
        let mut builder = SeriesBuilder::new();
        for set in sets {
            builder.series(set.iter().copied(), |_| Metadata::default()).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn a_series_has_one_hash_whatever_batch_it_is_in() {
        let one =
            batch(&[&[("a", "1"), ("b", "2")], &[("a", "12")], &[("a", "1")], &[("a", ""), ("b", "1")]]);
        let two = batch(&[&[("c", "3")], &[("a", "1")], &[("a", "1"), ("b", "2")]]);
        let hasher = LabelHasher::new();
        let hashes = |batch: &SeriesBatch| -> Vec<u128> {
            let mut of = SymbolHashes::default();
            hasher.symbols(batch.symbols(), &mut of);
            batch.iter().map(|series| of.labels(&series.labels())).collect()
        };
        let (one, two) = (hashes(&one), hashes(&two));
        assert_eq!((one[0], one[2]), (two[2], two[1]));
        let mut all = [one, two].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn texts_that_came_later_are_hashed_with_the_rest() {
        let mut batch = batch(&[&[("a", "1")], &[("b", "2")]]);
        let hasher = LabelHasher::new();
        let (mut grown, mut fresh) = (SymbolHashes::default(), SymbolHashes::default());
        hasher.symbols(batch.symbols(), &mut grown);
        let old = batch.get(1).map(|series| grown.labels(&series.labels())).unwrap();
        let (name, value) = (batch.push_symbol("b").unwrap(), batch.push_symbol("2").unwrap());
        batch.set_labels(0, &[(name, value)]).unwrap();
        hasher.added(batch.symbols(), &mut grown);
        hasher.symbols(batch.symbols(), &mut fresh);
        let of = |hashes: &SymbolHashes| hashes.labels(&batch.get(0).unwrap().labels());
        assert_eq!((of(&grown), of(&fresh)), (old, old));
    }
}

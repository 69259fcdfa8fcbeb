//! The guard on the number of streams: every label with many values multiplies them, and each costs Loki memory and chunks.
//!
//! ```text
//! known set of labels -> its stream.    New one: while fewer than nine tenths of the limit are known -> a new stream,
//! else the labels are dropped one by one, those with the most values first, until what is left is known or fits into the
//! last tenth. What has lost all of them is always let through: there is one such stream for each level.
//! ```
//!
//! Streams that nobody has written to for one to two periods are forgotten (two generations, the older one dropped), so that
//! labels may change over the weeks. The values of each label are counted up to the limit, for that order alone.
//!
//! Invariant: 8 bytes and the table's own overhead for each of at most two times `limit` streams, and for each of at most
//! `limit` values a label. No text is kept.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

/// How long a generation lasts. Loki closes the chunks of a stream that idles for half an hour.
const PERIOD_NANOS: u64 = 3_600 * super::NANOS_A_SECOND;

/// The sets of labels that are in use. See the module.
#[derive(Clone, Debug)]
pub struct StreamTable {
    limit: usize,
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// The values of each label that comes from an attribute.
    values: Vec<HashSet<u64>>,
    rotated_unix_nano: u64,
}

impl StreamTable {
    /// An empty table for `limit` streams; `labels` of them come from attributes.
    pub fn new(limit: usize, labels: usize) -> Self {
        Self {
            limit,
            young: HashSet::new(),
            old: HashSet::new(),
            values: vec![HashSet::new(); labels],
            rotated_unix_nano: 0,
        }
    }

    /// Streams that are known.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what was not used for a while.
    pub(super) fn tick(&mut self, now_unix_nano: u64) {
        if now_unix_nano.saturating_sub(self.rotated_unix_nano) >= PERIOD_NANOS {
            self.rotated_unix_nano = now_unix_nano;
            self.old = std::mem::take(&mut self.young);
            self.values.iter_mut().for_each(HashSet::clear);
        }
    }

    /// Whether the stream with this hash may be written to. `reduced`: it has lost labels already.
    pub(super) fn admit(&mut self, stream: u64, reduced: bool) -> bool {
        if self.young.contains(&stream) {
            return true;
        }
        let room = if reduced { self.limit } else { self.limit - self.limit / 10 };
        if !self.old.remove(&stream) && self.len() >= room {
            return false;
        }
        self.young.insert(stream)
    }

    /// Counts a value of a label.
    pub(super) fn note(&mut self, label: usize, value: &[u8]) {
        let limit = self.limit;
        if let Some(values) = self.values.get_mut(label)
            && values.len() < limit
        {
            values.insert(hash(value));
        }
    }

    /// The labels in the order in which they are given up.
    pub(super) fn most_valued_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by_key(|&label| std::cmp::Reverse(self.values[label].len()));
        order
    }
}

/// The hash of a set of labels, the same in every run.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_streams_than_the_limit_and_a_tenth_for_those_that_lost_labels() {
        let mut table = StreamTable::new(100, 0);
        let admitted = (0..1000).filter(|n| table.admit(*n, false)).count();
        assert_eq!((admitted, table.len()), (90, 90));
        assert!(table.admit(5, false), "a known stream is let through");
        let admitted = (2000..3000).filter(|n| table.admit(*n, true)).count();
        assert_eq!((admitted, table.len()), (10, 100));
    }

    #[test]
    fn streams_are_forgotten_when_nobody_uses_them() {
        let mut table = StreamTable::new(10, 1);
        table.tick(PERIOD_NANOS);
        assert!((0..9).all(|n| table.admit(n, false)));
        table.tick(2 * PERIOD_NANOS);
        assert!(table.admit(3, false), "still known");
        assert!(!table.admit(100, false), "the others still count");
        assert_eq!(table.len(), 9);
        table.tick(2 * PERIOD_NANOS + 1);
        assert_eq!(table.len(), 9, "not yet");
        table.tick(3 * PERIOD_NANOS);
        assert_eq!(table.len(), 1);
        assert!(table.admit(100, false) && table.admit(3, false));
    }

    #[test]
    fn the_label_with_the_most_values_goes_first() {
        let mut table = StreamTable::new(10, 3);
        for n in 0..50u8 {
            table.note(0, &[n % 2]);
            table.note(1, &[n]);
            table.note(2, &[n % 3]);
        }
        assert_eq!(table.most_valued_first(), [1, 2, 0]);
        assert!(table.values.iter().all(|values| values.len() <= 10));
    }
}

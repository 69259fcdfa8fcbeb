//! Sets of sequence numbers, kept as ranges that neither touch nor overlap.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::Seq;

#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    /// First to last.
    ranges: BTreeMap<Seq, Seq>,
}

impl RangeSet {
    pub(crate) fn insert(&mut self, range: RangeInclusive<Seq>) {
        let (mut first, mut last) = range.into_inner();
        if first > last {
            return;
        }
        // What begins up to one past our end and reaches back to us becomes part of us.
        while let Some((&start, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.ranges.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        self.ranges.range(..=seq).next_back().is_some_and(|(_, last)| *last >= seq)
    }

    /// Forgets all numbers below `seq`.
    pub(crate) fn remove_below(&mut self, seq: Seq) {
        let kept = self.ranges.split_off(&seq);
        let reaching = self.ranges.last_key_value().map(|(_, last)| *last).filter(|last| *last >= seq);
        self.ranges = kept;
        if let Some(last) = reaching {
            self.ranges.insert(seq, last);
        }
    }

    /// How many numbers of the range are in the set.
    pub(crate) fn count_within(&self, range: RangeInclusive<Seq>) -> u64 {
        let (first, last) = range.into_inner();
        if first > last {
            return 0;
        }
        let before = self.ranges.range(..first).next_back();
        let overlapping = before.into_iter().chain(self.ranges.range(first..=last));
        let within = |(start, end): (&Seq, &Seq)| ((*end).min(last) + 1).saturating_sub((*start).max(first));
        overlapping.map(within).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = RangeInclusive<Seq>> + '_ {
        self.ranges.iter().map(|(first, last)| *first..=*last)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_set_is_a_set(edits in prop::collection::vec((0_u64..40, 0_u64..6, any::<bool>()), 0..40)) {
            let (mut ranges, mut naive) = (RangeSet::default(), BTreeSet::new());
            for (first, length, remove) in edits {
                if remove {
                    ranges.remove_below(first / 2);
                    naive.retain(|seq| *seq >= first / 2);
                } else {
                    ranges.insert(first..=first + length);
                    naive.extend(first..=first + length);
                }
                prop_assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), naive.iter().copied().collect::<Vec<_>>());
                prop_assert!((0..50).all(|seq| ranges.contains(seq) == naive.contains(&seq)));
                let within = naive.range(7..=20).count() as u64;
                prop_assert_eq!(ranges.count_within(7..=20), within);
                let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end() + 1 < *b.start());
                prop_assert!(apart, "ranges touch: {:?}", ranges);
            }
        }
    }

    #[test]
    fn the_greatest_numbers_do_not_overflow() {
        let mut ranges = RangeSet::default();
        ranges.insert(u64::MAX..=u64::MAX);
        ranges.insert(0..=u64::MAX);
        assert!(ranges.contains(0) && ranges.contains(u64::MAX));
        assert_eq!(ranges.iter().count(), 1);
        assert_eq!(ranges.count_within(5..=9), 5);
    }
}

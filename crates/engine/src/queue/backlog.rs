//! The requests that stand in the disk buffer alone: their sequence numbers, as ranges.
//!
//! A range may hold numbers that the log has no request for (notes, what was dropped for want of room): reading skips those.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use buffer::Seq;

/// Ranges that do not touch each other, from the first number to the last.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    ranges: BTreeMap<Seq, Seq>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn insert(&mut self, range: RangeInclusive<Seq>) {
        let (mut first, mut last) = range.into_inner();
        if first > last {
            return;
        }
        if let Some((&before, &end)) = self.ranges.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            (first, last) = (before, last.max(end));
        }
        // Those that begin within it or right behind it.
        while let Some((&behind, &end)) = self.ranges.range(first..=last.saturating_add(1)).next() {
            self.ranges.remove(&behind);
            last = last.max(end);
        }
        self.ranges.insert(first, last);
    }

    /// Takes the range with the lowest numbers.
    pub(super) fn take_first(&mut self) -> Option<RangeInclusive<Seq>> {
        self.ranges.pop_first().map(|(first, last)| first..=last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_that_is_taken_from_in_order(
            steps in prop::collection::vec(prop::option::weighted(0.8, (1..60_u64, 0..5_u64)), 0..80),
        ) {
            let (mut backlog, mut model) = (Backlog::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Some((first, more)) => {
                        backlog.insert(first..=first + more);
                        model.extend(first..=first + more);
                    }
                    None => {
                        let taken = backlog.take_first();
                        prop_assert_eq!(taken.as_ref().map(|range| *range.start()), model.first().copied());
                        for seq in taken.into_iter().flatten() {
                            prop_assert!(model.remove(&seq));
                        }
                    }
                }
                let ranges: Vec<_> = backlog.ranges.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0), "{:?}", ranges);
                prop_assert_eq!(backlog.is_empty(), model.is_empty());
            }
        }
    }
}

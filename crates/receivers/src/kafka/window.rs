//! What of a partition is on its way: which offset may be committed.
//!
//! ```text
//! settled settled | in flight  settled  in flight | not read yet
//!                 ^ position: the next offset that a new owner of the partition would have to read
//! ```
//! Entries stand in the order of their offsets and each covers one message or several in a row. Gaps between offsets are normal:
//! compaction and transactions leave them.
//!
//! Invariant: the position never passes an entry that is not settled, and never goes back.

use std::collections::VecDeque;

/// The entries of a partition that are not all settled, oldest first.
#[derive(Debug)]
pub(super) struct Window<T> {
    entries: VecDeque<Entry<T>>,
    position: Option<i64>,
}

#[derive(Debug)]
struct Entry<T> {
    last: i64,
    /// `None` when it is settled.
    open: Option<T>,
}

impl<T> Window<T> {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), position: None }
    }

    /// Adds what was read up to the offset `last`, which is beyond all before.
    pub(super) fn push(&mut self, last: i64, open: T) {
        self.entries.push_back(Entry { last, open: Some(open) });
    }

    /// Adds an offset that needs nothing more.
    pub(super) fn push_settled(&mut self, last: i64) {
        self.entries.push_back(Entry { last, open: None });
        self.advance();
    }

    /// The offset to commit; `None` before anything was settled.
    pub(super) fn position(&self) -> Option<i64> {
        self.position
    }

    /// What is not settled, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.open.as_ref())
    }

    /// The first of them that `wanted` accepts, with its last offset.
    pub(super) fn find(&mut self, wanted: impl Fn(&T) -> bool) -> Option<(i64, &mut T)> {
        let entry = self.entries.iter_mut().find(|entry| entry.open.as_ref().is_some_and(&wanted))?;
        Some((entry.last, entry.open.as_mut()?))
    }

    /// Settles the entry that ends at `last` and gives what it held.
    pub(super) fn settle(&mut self, last: i64) -> Option<T> {
        let at = self.entries.binary_search_by_key(&last, |entry| entry.last).ok()?;
        let held = self.entries.get_mut(at)?.open.take();
        self.advance();
        held
    }

    fn advance(&mut self) {
        while let Some(Entry { last, open: None }) = self.entries.front() {
            self.position = Some(last + 1);
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The naive model: all offsets ever read, and a scan from the beginning.
        #[test]
        fn the_position_is_that_of_a_scan_over_everything(
            steps in prop::collection::vec((1i64..4, any::<bool>(), any::<prop::sample::Index>()), 1..200),
        ) {
            let mut window = Window::new();
            let mut all: Vec<(i64, bool)> = Vec::new();
            let mut next = 0;
            for (gap, settled, which) in steps {
                next += gap;
                if settled { window.push_settled(next) } else { window.push(next, next) }
                all.push((next, settled));
                let (last, done) = all[which.index(all.len())];
                prop_assert_eq!(window.settle(last), (!done).then_some(last));
                for known in all.iter_mut().filter(|(offset, _)| *offset == last) {
                    known.1 = true;
                }
                let scanned = all.iter().take_while(|(_, done)| *done).last().map(|(offset, _)| offset + 1);
                prop_assert_eq!(window.position(), scanned);
                let open: Vec<i64> = all.iter().filter(|(_, done)| !done).map(|(offset, _)| *offset).collect();
                prop_assert_eq!(window.open().copied().collect::<Vec<_>>(), open.clone());
                prop_assert_eq!(window.find(|_| true).map(|(last, _)| last), open.first().copied());
                prop_assert_eq!(window.find(|n| n % 2 == 0).map(|(n, _)| n), open.into_iter().find(|n| n % 2 == 0));
            }
        }
    }
}

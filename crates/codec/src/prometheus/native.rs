//! Buckets of exponential and native histograms: OpenTelemetry's dense ones and Prometheus's sparse ones.
//!
//! ```text
//! OTLP        offset o, counts c0 c1 c2 ...    c_i counts values in (base^(o+i), base^(o+i+1)]
//! Prometheus  spans (gap, length), deltas      bucket p counts values in (base^(p-1), base^p]
//! ```
//! With base = 2^(2^-scale). So p = o + i + 1, and a scale lower by one joins buckets 2k and 2k+1 of OTLP. Explicit buckets
//! become custom ones (schema -53) with p = i.

use model::series::{BucketSpan, Buckets};

/// Gaps up to so many empty buckets are filled: a new span takes as much room.
const MAX_FILLED_GAP: i64 = 2;
/// Most buckets of one side that a dense histogram gets; a wider one is brought to a lower scale. Prometheus's spans can
/// claim a gap of two thousand million buckets in six bytes.
pub const MAX_DENSE_BUCKETS: usize = 4096;

/// Sparse buckets under construction.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    next: i64,
    last: u64,
}

/// An index does not fit 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bucket lies outside what a histogram can have")]
pub struct OutOfRange;

impl Sparse {
    /// Replaces what it holds by dense counts, the first of them bucket `offset` of OTLP; `2^shift` of them become one.
    ///
    /// # Errors
    /// When an index does not fit.
    pub fn exponential(&mut self, offset: i64, counts: &[u64], shift: u32) -> Result<(), OutOfRange> {
        self.fill(counts, |i| ((offset + i) >> shift.min(63)) + 1)
    }

    /// Replaces what it holds by the counts of explicit buckets.
    ///
    /// # Errors
    /// When an index does not fit.
    pub fn custom(&mut self, counts: &[u64]) -> Result<(), OutOfRange> {
        self.fill(counts, |i| i)
    }

    fn fill(&mut self, counts: &[u64], place: impl Fn(i64) -> i64) -> Result<(), OutOfRange> {
        self.clear();
        let (mut at, mut sum) = (i64::MIN, 0u64);
        for (i, count) in counts.iter().enumerate() {
            let bucket = place(i as i64);
            if bucket != at {
                self.push(at, sum)?;
                (at, sum) = (bucket, 0);
            }
            sum = sum.saturating_add(*count);
        }
        self.push(at, sum)
    }

    fn push(&mut self, bucket: i64, count: u64) -> Result<(), OutOfRange> {
        if count == 0 {
            return Ok(());
        }
        let first = self.spans.is_empty();
        let gap = if first { bucket } else { bucket - self.next };
        if first || gap > MAX_FILLED_GAP {
            let offset = i32::try_from(gap).map_err(|_| OutOfRange)?;
            self.spans.push(BucketSpan { offset, length: 0 });
        } else {
            (0..gap).for_each(|_| self.delta(0));
        }
        self.delta(count);
        self.next = bucket + 1;
        i32::try_from(bucket).map(|_| ()).map_err(|_| OutOfRange)
    }

    fn delta(&mut self, count: u64) {
        self.deltas.push((count as i64).wrapping_sub(self.last as i64));
        self.last = count;
        if let Some(span) = self.spans.last_mut() {
            span.length += 1;
        }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        *self = Self {
            spans: std::mem::take(&mut self.spans),
            deltas: std::mem::take(&mut self.deltas),
            ..Self::default()
        };
        self.spans.clear();
        self.deltas.clear();
    }

    /// What it holds.
    pub fn buckets(&self) -> Buckets<'_> {
        Buckets { spans: &self.spans, deltas: &self.deltas, counts: &[] }
    }
}

/// Calls `each` with the number and count of each bucket that is not empty. Counts below zero count as empty; fractions are
/// rounded.
pub fn each_bucket(buckets: &Buckets<'_>, mut each: impl FnMut(i64, u64)) {
    let (mut deltas, mut counts) = (buckets.deltas.iter(), buckets.counts.iter());
    let (mut bucket, mut last) = (0i64, 0i64);
    for span in buckets.spans {
        bucket += i64::from(span.offset);
        for _ in 0..span.length {
            let count = if let Some(delta) = deltas.next() {
                last = last.wrapping_add(*delta);
                last.max(0) as u64
            } else if let Some(count) = counts.next() {
                count.round() as u64
            } else {
                return;
            };
            if count > 0 {
                each(bucket, count);
            }
            bucket += 1;
        }
    }
}

/// Dense buckets of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dense {
    /// OTLP's number of the first.
    pub offset: i64,
    /// Their counts.
    pub counts: Vec<u64>,
}

impl Dense {
    /// The number after the last.
    fn end(&self) -> i64 {
        self.offset + self.counts.len() as i64
    }

    /// Joins `2^shift` buckets.
    pub fn downscale(&mut self, shift: u32) {
        if shift == 0 || self.counts.is_empty() {
            self.offset >>= shift.min(63);
            return;
        }
        let shift = shift.min(63);
        let first = self.offset >> shift;
        let mut joined = 0;
        for i in 0..self.counts.len() {
            let to = (((self.offset + i as i64) >> shift) - first) as usize;
            let count = self.counts[i];
            if to < joined {
                self.counts[to] = self.counts[to].saturating_add(count);
            } else {
                self.counts[to] = count;
                joined = to + 1;
            }
        }
        self.counts.truncate(joined);
        self.offset = first;
    }

    /// How many buckets both would take together.
    pub fn union_len(&self, other: &Self) -> i64 {
        match (self.counts.is_empty(), other.counts.is_empty()) {
            (true, _) => other.counts.len() as i64,
            (_, true) => self.counts.len() as i64,
            _ => self.end().max(other.end()) - self.offset.min(other.offset),
        }
    }

    /// Adds counts of the same scale. The caller has seen to [`Self::union_len`].
    pub fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        let (start, end) = (self.offset.min(other.offset), self.end().max(other.end()));
        let missing = (self.offset - start) as usize;
        self.counts.splice(0..0, std::iter::repeat_n(0, missing));
        self.counts.resize((end - start) as usize, 0);
        self.offset = start;
        let at = (other.offset - start) as usize;
        for (count, more) in self.counts[at..].iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// Takes out the buckets that end at or below `threshold` and returns their counts.
    pub fn take_below(&mut self, scale: i32, threshold: f64) -> u64 {
        let upper = |bucket: i64| ((bucket + 1) as f64 * (-f64::from(scale)).exp2()).exp2();
        let covered = (self.offset..self.end()).take_while(|bucket| upper(*bucket) <= threshold).count();
        self.offset += covered as i64;
        self.counts.drain(..covered).fold(0, u64::saturating_add)
    }
}

/// Both sides of a native histogram as dense buckets, and the scale at which they fit [`MAX_DENSE_BUCKETS`].
pub fn dense(schema: i32, positive: &Buckets<'_>, negative: &Buckets<'_>) -> (i32, Dense, Dense) {
    let mut sides = [Vec::new(), Vec::new()];
    for (side, buckets) in sides.iter_mut().zip([positive, negative]) {
        each_bucket(buckets, |bucket, count| side.push((bucket - 1, count)));
        // A gap below zero, which only the first span may have, would bring them out of order.
        side.sort_unstable();
    }
    let wide = |side: &[(i64, u64)], shift: u32| match (side.first(), side.last()) {
        (Some(first), Some(last)) => (last.0 >> shift) - (first.0 >> shift) >= MAX_DENSE_BUCKETS as i64,
        _ => false,
    };
    let shift = (0..63).find(|shift| !sides.iter().any(|side| wide(side, *shift))).unwrap_or(63);
    let [positive, negative] = sides.map(|side| {
        let offset = side.first().map_or(0, |first| first.0 >> shift);
        let len = side.last().map_or(0, |last| ((last.0 >> shift) - offset + 1) as usize);
        let mut counts = vec![0u64; len];
        for (bucket, count) in side {
            if let Some(sum) = counts.get_mut(((bucket >> shift) - offset) as usize) {
                *sum = sum.saturating_add(count);
            }
        }
        Dense { offset, counts }
    });
    (schema.saturating_sub(shift as i32), positive, negative)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn sparse_of(offset: i64, counts: &[u64], shift: u32) -> BTreeMap<i64, u64> {
        let mut sparse = Sparse::default();
        sparse.exponential(offset, counts, shift).unwrap();
        let buckets = sparse.buckets();
        assert_eq!(buckets.spans.iter().map(|s| s.length as usize).sum::<usize>(), buckets.deltas.len());
        assert!(buckets.spans.iter().skip(1).all(|span| span.offset > 2));
        let mut found = BTreeMap::new();
        each_bucket(&buckets, |bucket, count| assert!(found.insert(bucket, count).is_none()));
        found
    }

    #[test]
    fn an_example_by_hand() {
        let mut sparse = Sparse::default();
        sparse.exponential(-2, &[1, 0, 0, 4, 0, 0, 0, 2], 0).unwrap();
        let span = |offset, length| BucketSpan { offset, length };
        assert_eq!(sparse.buckets().spans, [span(-1, 4), span(3, 1)]);
        assert_eq!(sparse.buckets().deltas, [1, -1, 0, 4, -2]);
        assert_eq!(sparse.exponential(i64::from(i32::MAX), &[1], 0), Err(OutOfRange));
    }

    #[test]
    fn a_gap_of_millions_costs_scale_and_no_memory() {
        let spans = [BucketSpan { offset: i32::MIN, length: 1 }, BucketSpan { offset: i32::MAX, length: 1 }];
        let buckets = Buckets { spans: &spans, deltas: &[3, 0], counts: &[] };
        let (scale, positive, _) = dense(8, &buckets, &Buckets::default());
        assert!(scale < -4);
        assert_eq!(positive.counts.iter().sum::<u64>(), 6);
        assert!(positive.counts.len() <= MAX_DENSE_BUCKETS);
    }

    proptest! {
        #[test]
        fn any_spans_make_dense_buckets_without_loss(
            spans in proptest::collection::vec((any::<i32>(), 0u32..9), 0..6),
            deltas in proptest::collection::vec(0i64..9, 0..20),
        ) {
            let spans: Vec<_> = spans.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect();
            let buckets = Buckets { spans: &spans, deltas: &deltas, counts: &[] };
            let mut total = 0;
            each_bucket(&buckets, |_, count| total += count);
            let (_, positive, negative) = dense(0, &buckets, &buckets);
            prop_assert_eq!(positive.counts.iter().sum::<u64>(), total);
            prop_assert!(positive.counts.len() <= MAX_DENSE_BUCKETS);
            prop_assert_eq!(positive, negative);
        }

        #[test]
        fn sparse_buckets_are_those_of_a_naive_model(
            offset in -200i64..200,
            counts in proptest::collection::vec(prop_oneof![3 => Just(0u64), 2 => 0u64..50], 0..60),
            shift in 0u32..8,
        ) {
            let mut model = BTreeMap::new();
            for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                // The bucket that holds everything up to base^((k+1)): floor division.
                let bucket = (offset + i as i64).div_euclid(1 << shift) + 1;
                *model.entry(bucket).or_insert(0) += count;
            }
            prop_assert_eq!(sparse_of(offset, &counts, shift), model);
        }

        #[test]
        fn dense_and_sparse_are_inverse(
            offset in -200i64..200,
            counts in proptest::collection::vec(prop_oneof![2 => Just(0u64), 1 => 1u64..50], 1..60),
        ) {
            let mut sparse = Sparse::default();
            sparse.exponential(offset, &counts, 0).unwrap();
            let (scale, back, _) = dense(3, &sparse.buckets(), &Buckets::default());
            prop_assert_eq!(scale, 3);
            let first = counts.iter().position(|c| *c > 0);
            let last = counts.iter().rposition(|c| *c > 0);
            match (first, last) {
                (Some(first), Some(last)) => {
                    prop_assert_eq!(back.offset, offset + first as i64);
                    prop_assert_eq!(&back.counts[..], &counts[first..=last]);
                }
                _ => prop_assert!(back.counts.is_empty()),
            }
        }

        #[test]
        fn adding_and_downscaling_is_what_a_naive_model_does(
            a in (-50i64..50, proptest::collection::vec(0u64..9, 0..30)),
            b in (-50i64..50, proptest::collection::vec(0u64..9, 0..30)),
            shift in 0u32..5,
        ) {
            let map = |dense: &Dense| -> BTreeMap<i64, u64> {
                let at = dense.counts.iter().enumerate().map(|(i, c)| (dense.offset + i as i64, *c));
                at.filter(|(_, c)| *c > 0).collect()
            };
            let mut one = Dense { offset: a.0, counts: a.1 };
            let two = Dense { offset: b.0, counts: b.1 };
            let mut model: BTreeMap<i64, u64> = BTreeMap::new();
            for (bucket, count) in map(&one).into_iter().chain(map(&two)) {
                *model.entry(bucket.div_euclid(1 << shift)).or_insert(0) += count;
            }
            one.add(&two);
            one.downscale(shift);
            prop_assert_eq!(map(&one), model);
        }
    }
}

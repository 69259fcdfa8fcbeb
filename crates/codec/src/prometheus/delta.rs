//! Delta temporality made cumulative: running totals of each stream, in memory.
//!
//! Bounded in streams and idle time, and deterministic: what comes out depends on the points and the times passed in alone.
//! A point with the time of the one before is taken for the same point sent again: the total is given out once more and
//! nothing is added. An earlier point is refused, since its place in the total is gone.
//!
//! Absent: persistence. After a restart totals begin at zero, which Prometheus sees as a counter reset.

use std::collections::HashMap;

use super::native::{Dense, MAX_DENSE_BUCKETS};

/// Why a point cannot be added, as the `reason` of a metric.
pub type Refused = &'static str;

/// The point is older than the latest of its stream.
pub const OUT_OF_ORDER: Refused = "out_of_order";
/// As many streams as allowed are accumulated already.
pub const FULL: Refused = "too_many_series";
/// The buckets lie so far apart that no scale that Prometheus knows has room for them.
pub const BUCKETS: Refused = "unsupported_buckets";

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams.
    pub max_series: usize,
    /// Milliseconds after which a stream without a point is forgotten.
    pub idle_ms: i64,
}

/// A histogram with explicit buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explicit {
    /// All observations.
    pub count: u64,
    /// Their sum, where known.
    pub sum: Option<f64>,
    /// Upper bounds but the last, which is infinite.
    pub bounds: Vec<f64>,
    /// Observations of each bucket, one more than there are bounds; none if there are no buckets at all.
    pub counts: Vec<u64>,
}

/// A histogram with exponential buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exponential {
    /// All observations.
    pub count: u64,
    /// Their sum, where known.
    pub sum: Option<f64>,
    /// Resolution, -4 to 8.
    pub scale: i32,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// Its width.
    pub zero_threshold: f64,
    /// Buckets above zero.
    pub positive: Dense,
    /// Buckets below zero.
    pub negative: Dense,
}

#[derive(Clone, Debug)]
enum Total {
    /// Integers apart, so that large counts do not swallow small steps.
    Number {
        whole: i64,
        rest: f64,
    },
    Explicit(Explicit),
    Exponential(Box<Exponential>),
}

#[derive(Clone, Debug)]
struct Stream {
    start_ns: u64,
    time_ns: u64,
    seen_ms: i64,
    total: Total,
}

/// What a point is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Next,
    /// The same point once more.
    Repeat,
}

/// A number as a point has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `as_int`
    Int(i64),
    /// `as_double`
    Double(f64),
}

impl Number {
    /// As Prometheus has it.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Double(n) => n,
        }
    }
}

/// When a point was and what is known of its stream.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which stream: a hash of its name and labels.
    pub key: u128,
    /// Where the interval of the point begins, 0 where unknown. Set to where that of the total begins.
    pub start_ns: u64,
    /// Where it ends.
    pub time_ns: u64,
    /// The present.
    pub now_ms: i64,
}

/// The totals. See the module.
#[derive(Clone, Debug)]
pub struct Accumulator {
    limits: Limits,
    streams: HashMap<u128, Stream>,
    swept_ms: i64,
}

impl Accumulator {
    /// No totals yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, streams: HashMap::new(), swept_ms: 0 }
    }

    /// How many streams are accumulated.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Forgets a stream: it has ended.
    pub fn forget(&mut self, key: u128) {
        self.streams.remove(&key);
    }

    /// Adds a number; the total.
    ///
    /// # Errors
    /// See the constants.
    pub fn number(&mut self, place: &mut Place, value: Number) -> Result<f64, Refused> {
        let (stream, state) = self.stream(place, || Total::Number { whole: 0, rest: 0.0 })?;
        if !matches!(stream.total, Total::Number { .. }) {
            stream.total = Total::Number { whole: 0, rest: 0.0 };
        }
        let Total::Number { whole, rest } = &mut stream.total else { return Err(BUCKETS) };
        match value {
            _ if state == State::Repeat => {}
            Number::Int(n) => *whole = whole.saturating_add(n),
            Number::Double(n) => *rest += n,
        }
        Ok(*whole as f64 + *rest)
    }

    /// Adds a histogram, and puts the total in its place. Where the bounds are others than before, the total begins anew.
    ///
    /// # Errors
    /// See the constants.
    pub fn explicit(&mut self, place: &mut Place, point: &mut Explicit) -> Result<(), Refused> {
        let start = place.start_ns;
        let (stream, state) = self.stream(place, || Total::Explicit(Explicit::default()))?;
        match &mut stream.total {
            Total::Explicit(total)
                if total.bounds == point.bounds && total.counts.len() == point.counts.len() =>
            {
                if state != State::Repeat {
                    total.count = total.count.saturating_add(point.count);
                    total.sum = total.sum.zip(point.sum).map(|(a, b)| a + b);
                    for (sum, more) in total.counts.iter_mut().zip(&point.counts) {
                        *sum = sum.saturating_add(*more);
                    }
                }
                point.clone_from(total);
            }
            other => {
                *other = Total::Explicit(point.clone());
                stream.start_ns = if start == 0 { stream.time_ns } else { start };
                place.start_ns = stream.start_ns;
            }
        }
        Ok(())
    }

    /// As [`Self::explicit`].
    ///
    /// # Errors
    /// See the constants.
    pub fn exponential(&mut self, place: &mut Place, point: &mut Exponential) -> Result<(), Refused> {
        let (stream, state) = self.stream(place, || Total::Exponential(Box::new(point.clone())))?;
        match (&mut stream.total, state) {
            // Begun with this very point.
            (_, State::First) => {}
            (Total::Exponential(total), state) => {
                if state == State::Next {
                    total.merge(point)?;
                }
                point.clone_from(total);
            }
            (other, _) => *other = Total::Exponential(Box::new(point.clone())),
        }
        Ok(())
    }

    fn stream(
        &mut self,
        place: &mut Place,
        first: impl FnOnce() -> Total,
    ) -> Result<(&mut Stream, State), Refused> {
        self.sweep(place.now_ms);
        if !self.streams.contains_key(&place.key) {
            if self.streams.len() >= self.limits.max_series {
                return Err(FULL);
            }
            let start_ns = if place.start_ns == 0 { place.time_ns } else { place.start_ns };
            let stream = Stream { start_ns, time_ns: place.time_ns, seen_ms: place.now_ms, total: first() };
            place.start_ns = start_ns;
            return Ok((self.streams.entry(place.key).or_insert(stream), State::First));
        }
        let Some(stream) = self.streams.get_mut(&place.key) else { return Err(FULL) };
        if place.time_ns < stream.time_ns {
            return Err(OUT_OF_ORDER);
        }
        let state = if place.time_ns > stream.time_ns { State::Next } else { State::Repeat };
        (stream.time_ns, stream.seen_ms) = (place.time_ns, place.now_ms);
        place.start_ns = stream.start_ns;
        Ok((stream, state))
    }

    fn sweep(&mut self, now_ms: i64) {
        let idle = self.limits.idle_ms;
        let full = self.streams.len() >= self.limits.max_series;
        // When full, once a second at most: a table that stays full must not be walked for each point.
        let every = if full { 1000.min(idle / 4) } else { idle / 4 };
        if now_ms.saturating_sub(self.swept_ms) < every {
            return;
        }
        self.swept_ms = now_ms;
        self.streams.retain(|_, stream| now_ms.saturating_sub(stream.seen_ms) < idle);
    }
}

impl Exponential {
    /// Brings it to a lower scale.
    pub fn downscale_to(&mut self, scale: i32) {
        let shift = u32::try_from(i64::from(self.scale) - i64::from(scale)).unwrap_or(0);
        if shift > 0 {
            self.positive.downscale(shift);
            self.negative.downscale(shift);
            self.scale = scale;
        }
    }

    /// Adds another, at the lower of both scales or at one where both fit.
    fn merge(&mut self, other: &Self) -> Result<(), Refused> {
        let mut other = other.clone();
        let mut scale = self.scale.min(other.scale);
        loop {
            self.downscale_to(scale);
            other.downscale_to(scale);
            let width =
                self.positive.union_len(&other.positive).max(self.negative.union_len(&other.negative));
            if width <= MAX_DENSE_BUCKETS as i64 {
                break;
            }
            scale -= 1;
            if scale < MIN_SCALE {
                return Err(BUCKETS);
            }
        }
        // The wider zero bucket swallows what lies below its edge.
        let threshold = self.zero_threshold.max(other.zero_threshold);
        for side in [&mut *self, &mut other] {
            if side.zero_threshold < threshold {
                let below = side.positive.take_below(scale, threshold);
                let above = side.negative.take_below(scale, threshold);
                side.zero_count = side.zero_count.saturating_add(below).saturating_add(above);
                side.zero_threshold = threshold;
            }
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.positive.add(&other.positive);
        self.negative.add(&other.negative);
        Ok(())
    }
}

/// The lowest scale that Prometheus has.
pub const MIN_SCALE: i32 = -4;
/// The highest scale that Prometheus has.
pub const MAX_SCALE: i32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { max_series: 2, idle_ms: 1000 };

    fn place(key: u128, start_ns: u64, time_ns: u64, now_ms: i64) -> Place {
        Place { key, start_ns, time_ns, now_ms }
    }

    #[test]
    fn numbers_add_up_from_where_the_first_began() {
        let mut totals = Accumulator::new(LIMITS);
        let mut first = place(1, 5, 10, 0);
        assert_eq!(totals.number(&mut first, Number::Int(3)), Ok(3.0));
        let mut second = place(1, 10, 20, 1);
        assert_eq!(totals.number(&mut second, Number::Double(0.5)), Ok(3.5));
        assert_eq!((first.start_ns, second.start_ns), (5, 5));
        // Sent again: the same total. Older: refused.
        assert_eq!(totals.number(&mut place(1, 10, 20, 2), Number::Double(0.5)), Ok(3.5));
        assert_eq!(totals.number(&mut place(1, 5, 10, 2), Number::Int(3)), Err(OUT_OF_ORDER));
        assert_eq!(totals.number(&mut place(1, 20, 30, 3), Number::Int(1)), Ok(4.5));
    }

    #[test]
    fn streams_are_bounded_and_forgotten_when_idle() {
        let mut totals = Accumulator::new(LIMITS);
        for key in [1, 2] {
            assert!(totals.number(&mut place(key, 0, 1, 0), Number::Int(1)).is_ok());
        }
        assert_eq!(totals.number(&mut place(3, 0, 1, 0), Number::Int(1)), Err(FULL));
        assert_eq!(totals.number(&mut place(1, 0, 2, 900), Number::Int(1)), Ok(2.0));
        // Stream 2 has been idle for its time, stream 1 has not.
        assert_eq!(totals.number(&mut place(3, 0, 1, 1500), Number::Int(1)), Ok(1.0));
        assert_eq!(totals.len(), 2);
        assert_eq!(totals.number(&mut place(1, 0, 3, 1500), Number::Int(1)), Ok(3.0));
        totals.forget(1);
        assert_eq!(totals.len(), 1);
    }

    #[test]
    fn explicit_totals_begin_anew_with_other_bounds() {
        let mut totals = Accumulator::new(LIMITS);
        let point = Explicit { count: 3, sum: Some(2.0), bounds: vec![1.0], counts: vec![1, 2] };
        let mut first = point.clone();
        totals.explicit(&mut place(1, 1, 10, 0), &mut first).unwrap();
        assert_eq!(first, point);
        let mut second = point.clone();
        totals.explicit(&mut place(1, 10, 20, 0), &mut second).unwrap();
        assert_eq!(second, Explicit { count: 6, sum: Some(4.0), counts: vec![2, 4], ..point.clone() });
        let mut other = Explicit { bounds: vec![2.0], ..point };
        let mut at = place(1, 20, 30, 0);
        totals.explicit(&mut at, &mut other).unwrap();
        assert_eq!((other.count, at.start_ns), (3, 20));
    }

    fn exponential() -> impl Strategy<Value = Exponential> {
        let side = || (-20i64..20, proptest::collection::vec(0u64..5, 0..12));
        (-2i32..=4, side(), side(), 0u64..5, prop_oneof![Just(0.0), Just(0.01), Just(1.0)]).prop_map(
            |(scale, positive, negative, zero_count, zero_threshold)| {
                let dense = |(offset, counts)| Dense { offset, counts };
                let (positive, negative) = (dense(positive), dense(negative));
                let count = zero_count + positive.counts.iter().chain(&negative.counts).sum::<u64>();
                let sum = Some(1.0);
                Exponential { count, sum, scale, zero_count, zero_threshold, positive, negative }
            },
        )
    }

    proptest! {
        #[test]
        fn exponential_totals_lose_no_observation_and_stay_monotonic(
            points in proptest::collection::vec(exponential(), 1..6),
        ) {
            let mut totals = Accumulator::new(LIMITS);
            let (mut count, mut scale, mut threshold) = (0, i32::MAX, 0f64);
            for (n, point) in points.iter().enumerate() {
                let mut total = point.clone();
                totals.exponential(&mut place(1, 1, n as u64 + 2, 0), &mut total).unwrap();
                count += point.count;
                scale = scale.min(point.scale);
                threshold = threshold.max(point.zero_threshold);
                prop_assert_eq!((total.count, total.scale), (count, scale));
                prop_assert_eq!(total.zero_threshold, threshold);
                prop_assert_eq!(total.sum, Some(n as f64 + 1.0));
                let buckets: u64 = total.positive.counts.iter().chain(&total.negative.counts).sum();
                prop_assert_eq!(buckets + total.zero_count, count);
            }
        }
    }
}

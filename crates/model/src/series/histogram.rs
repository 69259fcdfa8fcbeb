//! A native histogram: what a batch stores of it, and what is read from and written to a batch.

use super::Run;

/// A number of observations: an integer in histograms of counters, a float after arithmetic on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// `count_int`, `zero_count_int`
    Int(u64),
    /// `count_float`, `zero_count_float`
    Float(f64),
}

impl Count {
    /// The number as a float.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(n) => n,
        }
    }
}

/// Whether the histogram starts anew: `Histogram.ResetHint` of the remote-write protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// The receiver has to find out.
    #[default]
    Unknown,
    /// This is the first after a reset.
    Yes,
    /// Surely none.
    No,
    /// Not a counter.
    Gauge,
}

/// A run of buckets: `offset` empty ones (from the end of the span before; the first from bucket 0), then `length` with a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    /// Gap before it. Negative in the first span only.
    pub offset: i32,
    /// Buckets in it.
    pub length: u32,
}

/// The buckets of one side. Histograms of integers have `deltas` (each against the bucket before), others `counts`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Buckets<'a> {
    /// Where the buckets are.
    pub spans: &'a [BucketSpan],
    /// Their counts, each as the difference to the one before.
    pub deltas: &'a [i64],
    /// Their counts as they are.
    pub counts: &'a [f64],
}

/// A native histogram sample, as remote-write 2.0 has it (`io.prometheus.write.v2.Histogram`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram<'a> {
    /// All observations.
    pub count: Count,
    /// Their sum.
    pub sum: f64,
    /// Resolution: -4 to 8 for exponential buckets (2^(2^-schema) wide), -53 for custom ones.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: Count,
    /// Buckets below zero.
    pub negative: Buckets<'a>,
    /// Buckets above zero.
    pub positive: Buckets<'a>,
    /// Whether it starts anew.
    pub reset_hint: ResetHint,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// Upper bounds of the buckets of schema -53.
    pub custom_values: &'a [f64],
    /// When counting began, Unix milliseconds; 0 where unknown.
    pub start_ms: i64,
}

impl Default for Histogram<'_> {
    fn default() -> Self {
        Self {
            count: Count::Int(0),
            sum: 0.0,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: Count::Int(0),
            negative: Buckets::default(),
            positive: Buckets::default(),
            reset_hint: ResetHint::Unknown,
            timestamp_ms: 0,
            custom_values: &[],
            start_ms: 0,
        }
    }
}

/// Where the buckets of one side stand in the pools of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StoredBuckets {
    pub(super) spans: Run,
    pub(super) deltas: Run,
    pub(super) counts: Run,
}

/// A histogram in a batch; the slices of [`Histogram`] are runs of the pools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) count: Count,
    pub(super) sum: f64,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: Count,
    pub(super) negative: StoredBuckets,
    pub(super) positive: StoredBuckets,
    pub(super) reset_hint: ResetHint,
    pub(super) timestamp_ms: i64,
    pub(super) custom_values: Run,
    pub(super) start_ms: i64,
}

/// The numbers of all histograms of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pools {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    floats: Vec<f64>,
}

impl Pools {
    pub(super) fn size(&self) -> usize {
        8 * (self.spans.len() + self.deltas.len() + self.floats.len())
    }

    pub(super) fn store(&mut self, histogram: &Histogram<'_>) -> Stored {
        Stored {
            count: histogram.count,
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            negative: self.store_buckets(&histogram.negative),
            positive: self.store_buckets(&histogram.positive),
            reset_hint: histogram.reset_hint,
            timestamp_ms: histogram.timestamp_ms,
            custom_values: Run::append(&mut self.floats, histogram.custom_values),
            start_ms: histogram.start_ms,
        }
    }

    fn store_buckets(&mut self, buckets: &Buckets<'_>) -> StoredBuckets {
        StoredBuckets {
            spans: Run::append(&mut self.spans, buckets.spans),
            deltas: Run::append(&mut self.deltas, buckets.deltas),
            counts: Run::append(&mut self.floats, buckets.counts),
        }
    }

    pub(super) fn read(&self, stored: &Stored) -> Histogram<'_> {
        Histogram {
            count: stored.count,
            sum: stored.sum,
            schema: stored.schema,
            zero_threshold: stored.zero_threshold,
            zero_count: stored.zero_count,
            negative: self.buckets(&stored.negative),
            positive: self.buckets(&stored.positive),
            reset_hint: stored.reset_hint,
            timestamp_ms: stored.timestamp_ms,
            custom_values: stored.custom_values.of(&self.floats),
            start_ms: stored.start_ms,
        }
    }

    fn buckets(&self, stored: &StoredBuckets) -> Buckets<'_> {
        Buckets {
            spans: stored.spans.of(&self.spans),
            deltas: stored.deltas.of(&self.deltas),
            counts: stored.counts.of(&self.floats),
        }
    }
}

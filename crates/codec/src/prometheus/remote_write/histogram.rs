//! Native histograms: reading them, and whether they hold together.
//!
//! The rules are those by which Prometheus takes a histogram into its storage (`Validate` of its package `histogram`). Besides,
//! no bucket may lie beyond what a float64 can hold, so that nobody behind us is made to fill a gap of 2^31 buckets.

use model::series::{BucketSpan, Buckets, Count, Histogram, ResetHint};
use model::wire::{Field, Wire, unzigzag};

use super::Version;
use super::reader::{Malformed, Reader};
use super::refused::Reason;

/// Buckets whose bounds the sender chose.
const CUSTOM_BUCKETS: i32 = -53;

/// The lists of one histogram, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    negative: Side,
    positive: Side,
    custom_values: Vec<f64>,
}

#[derive(Debug, Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Side {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
    }

    fn buckets(&self) -> Buckets<'_> {
        Buckets { spans: &self.spans, deltas: &self.deltas, counts: &self.counts }
    }
}

impl Scratch {
    /// The histogram in `field`.
    pub(super) fn read(
        &mut self,
        buf: &[u8],
        field: &Field,
        version: Version,
    ) -> Result<Histogram<'_>, Malformed> {
        self.negative.clear();
        self.positive.clear();
        self.custom_values.clear();
        let mut read = Histogram::default();
        let mut zero_count = None;
        let mut fields = Reader::new(buf, field.body_range(), "timeseries.histograms");
        while let Some(field) = fields.next()? {
            let float = f64::from_bits(field.bits);
            match (field.number, field.wire) {
                (1, Wire::Varint) => read.count = Count::Int(field.bits),
                (2, Wire::Fixed64) => read.count = Count::Float(float),
                (3, Wire::Fixed64) => read.sum = float,
                (4, Wire::Varint) => read.schema = sint32(field.bits),
                (5, Wire::Fixed64) => read.zero_threshold = float,
                (6, Wire::Varint) => zero_count = Some(Count::Int(field.bits)),
                (7, Wire::Fixed64) => zero_count = Some(Count::Float(float)),
                (8, Wire::Len) => self.negative.spans.push(span(buf, &field)?),
                (9, _) => fields.varints(&field, |bits| self.negative.deltas.push(unzigzag(bits)))?,
                (10, _) => fields.doubles(&field, &mut self.negative.counts)?,
                (11, Wire::Len) => self.positive.spans.push(span(buf, &field)?),
                (12, _) => fields.varints(&field, |bits| self.positive.deltas.push(unzigzag(bits)))?,
                (13, _) => fields.doubles(&field, &mut self.positive.counts)?,
                (14, Wire::Varint) => read.reset_hint = reset_hint(field.bits as i32),
                (15, Wire::Varint) => read.timestamp_ms = field.bits as i64,
                (16, _) => fields.doubles(&field, &mut self.custom_values)?,
                (17, Wire::Varint) if version == Version::V2 => read.start_ms = field.bits as i64,
                (1..=16, _) => return Err(fields.misfit(&field)),
                (17, _) if version == Version::V2 => return Err(fields.misfit(&field)),
                _ => {}
            }
        }
        let none = match read.count {
            Count::Int(_) => Count::Int(0),
            Count::Float(_) => Count::Float(0.0),
        };
        let (negative, positive) = (self.negative.buckets(), self.positive.buckets());
        let zero_count = zero_count.unwrap_or(none);
        Ok(Histogram { zero_count, negative, positive, custom_values: &self.custom_values, ..read })
    }
}

fn sint32(bits: u64) -> i32 {
    unzigzag(bits & 0xffff_ffff) as i32
}

fn span(buf: &[u8], field: &Field) -> Result<BucketSpan, Malformed> {
    let mut span = BucketSpan::default();
    let mut fields = Reader::new(buf, field.body_range(), "timeseries.histograms.spans");
    while let Some(field) = fields.next()? {
        match (field.number, field.wire) {
            (1, Wire::Varint) => span.offset = sint32(field.bits),
            (2, Wire::Varint) => span.length = field.bits as u32,
            (1 | 2, _) => return Err(fields.misfit(&field)),
            _ => {}
        }
    }
    Ok(span)
}

fn reset_hint(number: i32) -> ResetHint {
    match number {
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// What its lists take in a batch, in bytes.
pub(super) fn size(histogram: &Histogram<'_>) -> usize {
    let side = |side: &Buckets<'_>| side.spans.len() + side.deltas.len() + side.counts.len();
    8 * (side(&histogram.negative) + side(&histogram.positive) + histogram.custom_values.len())
}

/// Whether it holds together.
pub(super) fn check(histogram: &Histogram<'_>) -> Result<(), Reason> {
    match histogram.schema {
        -4..=8 if !histogram.custom_values.is_empty() => return Err(Reason::HistogramBounds),
        -4..=8 => {
            let buckets = reachable(histogram.schema);
            check_spans(&histogram.positive, -buckets..=buckets)?;
            check_spans(&histogram.negative, -buckets..=buckets)?;
        }
        CUSTOM_BUCKETS => check_custom(histogram)?,
        _ => return Err(Reason::HistogramSchema),
    }
    match (histogram.count, histogram.zero_count) {
        (Count::Int(count), Count::Int(zero)) => check_integers(histogram, count, zero),
        (Count::Float(count), Count::Float(zero)) => check_floats(histogram, count, zero),
        _ => Err(Reason::HistogramCounts),
    }
}

/// Buckets to each side of 1 that a float64 can fall into, and the one of infinity: bucket `i` ends at `2^(i * 2^-schema)`, and exponents
/// go from -1074 to 1024.
fn reachable(schema: i32) -> i64 {
    const EXPONENTS: i64 = 1075;
    (if schema >= 0 { EXPONENTS << schema } else { EXPONENTS >> -schema }) + 2
}

fn check_spans(buckets: &Buckets<'_>, reachable: std::ops::RangeInclusive<i64>) -> Result<(), Reason> {
    let mut next = 0_i64;
    let mut spanned = 0_u64;
    for (n, span) in buckets.spans.iter().enumerate() {
        if n > 0 && span.offset < 0 {
            return Err(Reason::HistogramBuckets);
        }
        let first = next + i64::from(span.offset);
        next = first + i64::from(span.length);
        if !reachable.contains(&first) || !reachable.contains(&next) {
            return Err(Reason::HistogramBuckets);
        }
        spanned += u64::from(span.length);
    }
    let stated = buckets.deltas.len() + buckets.counts.len();
    if spanned == stated as u64 { Ok(()) } else { Err(Reason::HistogramBuckets) }
}

fn check_custom(histogram: &Histogram<'_>) -> Result<(), Reason> {
    let bounds = histogram.custom_values;
    let rise = bounds.iter().all(|bound| !bound.is_nan()) && bounds.is_sorted_by(|a, b| a < b);
    if !rise || bounds.last() == Some(&f64::INFINITY) {
        return Err(Reason::HistogramBounds);
    }
    if histogram.zero_threshold != 0.0 || histogram.zero_count.as_f64() != 0.0 {
        return Err(Reason::HistogramCounts);
    }
    if histogram.negative != Buckets::default() {
        return Err(Reason::HistogramBuckets);
    }
    // One more bucket than bounds: the last ends at infinity.
    check_spans(&histogram.positive, 0..=bounds.len() as i64 + 1)
}

fn check_integers(histogram: &Histogram<'_>, count: u64, zero: u64) -> Result<(), Reason> {
    let mut observed = u128::from(zero);
    for side in [&histogram.negative, &histogram.positive] {
        if !side.counts.is_empty() {
            return Err(Reason::HistogramBuckets);
        }
        let mut bucket = 0_i64;
        for delta in side.deltas {
            bucket = bucket.checked_add(*delta).ok_or(Reason::HistogramCounts)?;
            observed += u128::try_from(bucket).map_err(|_| Reason::HistogramCounts)?;
        }
    }
    let count = u128::from(count);
    // Observations that are not a number are counted and fall into no bucket.
    if observed == count || (histogram.sum.is_nan() && observed < count) {
        Ok(())
    } else {
        Err(Reason::HistogramCounts)
    }
}

fn check_floats(histogram: &Histogram<'_>, count: f64, zero: f64) -> Result<(), Reason> {
    let mut negative = count < 0.0 || zero < 0.0;
    for side in [&histogram.negative, &histogram.positive] {
        if !side.deltas.is_empty() {
            return Err(Reason::HistogramBuckets);
        }
        negative |= side.counts.iter().any(|count| *count < 0.0);
    }
    if negative { Err(Reason::HistogramCounts) } else { Ok(()) }
}

//! What both remote-write encoders share: labels to add, remembered metadata, and the numbers in samples and histograms.
//!
//! An encoder takes series one by one from any number of batches, so that a request can be a shard of several payloads. Its
//! buffers are used again for the next request, and nothing is allocated for a series.
//!
//! Invariant: a request has the texts that its series refer to and no others. The table of a batch may still hold what was
//! redacted, relabelled or dropped.

use std::collections::HashMap;

use model::series::{
    BucketSpan, Buckets, Count, Exemplar, Histogram, METRIC_NAME, MetricKind, ResetHint, Sample, SeriesBatch,
    SeriesRef,
};
use model::wire::{Wire, varint_len, zigzag};
use model::{SeriesBuilder, Writer};

pub use super::encode_v1::EncoderV1;
pub use super::encode_v2::EncoderV2;

/// Labels that every series gets, sorted by name. A label that the series has already wins, as in Prometheus.
#[derive(Clone, Debug, Default)]
pub struct ExternalLabels {
    pairs: Vec<(String, String)>,
}

impl ExternalLabels {
    /// In any order; empty values are left out.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        pairs.sort();
        pairs.dedup_by(|b, a| a.0 == b.0);
        Self { pairs }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Calls `each` with the labels of a series and these, sorted by name. The number is that of the batch's symbols for a
    /// label of the series, `None` for one of these.
    pub(super) fn merged<'t>(
        &'t self,
        series: &SeriesRef<'t>,
        mut each: impl FnMut(Option<(u32, u32)>, &'t str, &'t str),
    ) {
        let mut own = series.labels().symbols().zip(series.labels().iter()).peekable();
        for (name, value) in &self.pairs {
            while let Some(((n, v), (own_name, own_value))) =
                own.next_if(|(_, (own_name, _))| *own_name < name.as_str())
            {
                each(Some((n.0, v.0)), own_name, own_value);
            }
            if own.peek().is_none_or(|(_, (own_name, _))| *own_name != name) {
                each(None, name, value);
            }
        }
        own.for_each(|((n, v), (name, value))| each(Some((n.0, v.0)), name, value));
    }
}

/// Metadata of metric families that came without a series (remote-write 1.0 sends them now and then, apart), remembered so
/// that 2.0 can put them on the series. Bounded: a new family beyond the limit is not remembered.
#[derive(Clone, Debug, Default)]
pub struct FamilyMap {
    families: HashMap<Box<str>, FamilyMetadata>,
    max: usize,
}

/// What is known about a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// What it is.
    pub kind: MetricKind,
    /// Its help text.
    pub help: Box<str>,
    /// Its unit.
    pub unit: Box<str>,
}

impl FamilyMap {
    /// Remembers up to `max` families.
    pub fn new(max: usize) -> Self {
        Self { families: HashMap::new(), max }
    }

    /// Remembers the families of a batch; the latest word on each counts.
    pub fn remember(&mut self, batch: &SeriesBatch) {
        for family in batch.families() {
            let text = |symbol| batch.symbols().get(symbol);
            let metadata = (family.metadata.kind, text(family.metadata.help), text(family.metadata.unit));
            let name = text(family.name);
            let known = self.families.get(name);
            if known.is_some_and(|k| (k.kind, &*k.help, &*k.unit) == metadata)
                || known.is_none() && self.families.len() >= self.max
            {
                continue;
            }
            let (kind, help, unit) = metadata;
            self.families.insert(name.into(), FamilyMetadata { kind, help: help.into(), unit: unit.into() });
        }
    }

    /// The family of a metric: by its own name, or by that without what its kind adds (`_bucket`, `_sum`, `_count`, `_total`).
    pub fn of(&self, metric: &str) -> Option<&FamilyMetadata> {
        if self.families.is_empty() {
            return None;
        }
        self.families.get(metric).or_else(|| {
            SUFFIXES.iter().find_map(|(suffix, kinds)| {
                let family = self.families.get(metric.strip_suffix(suffix)?)?;
                kinds.contains(&family.kind).then_some(family)
            })
        })
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.families.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }
}

/// What series of a family add to its name, and families of which kinds do.
const SUFFIXES: [(&str, &[MetricKind]); 5] = [
    ("_bucket", &[MetricKind::Histogram, MetricKind::GaugeHistogram]),
    ("_sum", &[MetricKind::Histogram, MetricKind::GaugeHistogram, MetricKind::Summary]),
    ("_count", &[MetricKind::Histogram, MetricKind::GaugeHistogram, MetricKind::Summary]),
    ("_total", &[MetricKind::Counter]),
    ("_info", &[MetricKind::Info]),
];

/// The name of the family of a series of this kind.
pub(super) fn family_name(metric: &str, kind: MetricKind) -> &str {
    let grouped = matches!(kind, MetricKind::Histogram | MetricKind::GaugeHistogram | MetricKind::Summary);
    let suffix = SUFFIXES[..3]
        .iter()
        .find(|(suffix, kinds)| grouped && kinds.contains(&kind) && metric.ends_with(suffix));
    suffix.and_then(|(suffix, _)| metric.strip_suffix(suffix)).unwrap_or(metric)
}

/// The value of `__name__`.
pub(super) fn name_of<'a>(series: &SeriesRef<'a>) -> &'a str {
    series.labels().get(METRIC_NAME).unwrap_or_default()
}

/// Puts chosen series of several batches into one batch, in order. For what must be sent again.
pub fn gather<'b>(chosen: impl IntoIterator<Item = SeriesRef<'b>>) -> SeriesBatch {
    let mut builder = SeriesBuilder::new();
    for series in chosen {
        copy(&series, series.exemplars(), &mut builder);
    }
    builder.finish()
}

/// Adds a series to a batch, with these exemplars in place of its own.
pub fn copy<'b>(
    series: &SeriesRef<'_>,
    exemplars: impl IntoIterator<Item = Exemplar<'b>>,
    builder: &mut SeriesBuilder,
) {
    let (kind, help, unit) = series.metadata_text();
    // Labels of a batch are sound, and no batch is larger than what it was gathered from.
    let begun = builder.series(series.labels().iter(), |b| b.metadata(kind, help, unit).unwrap_or_default());
    if begun.is_err() {
        return;
    }
    if series.is_uncounted() {
        builder.uncounted();
    }
    series.samples().iter().for_each(|sample| builder.sample(*sample));
    series.histograms().for_each(|histogram| builder.histogram(&histogram));
    for exemplar in exemplars {
        let labels: Result<Vec<_>, _> = exemplar
            .labels
            .iter()
            .map(|(name, value)| Ok((builder.intern(name)?, builder.intern(value)?)))
            .collect();
        let labels: Vec<_> = labels.unwrap_or_else(|_: model::series::TooMuchText| Vec::new());
        let _stored = builder.exemplar(&labels, exemplar.value, exemplar.timestamp_ms);
    }
}

/// `Sample`, the same in both protocols but for the start, which only 2.0 has.
pub(super) fn write_sample(w: &mut Writer, sample: &Sample, with_start: bool) {
    // The bits: -0.0 is a value.
    if sample.value.to_bits() != 0 {
        w.double(1, sample.value);
    }
    if sample.timestamp_ms != 0 {
        w.int(2, sample.timestamp_ms);
    }
    if with_start && sample.start_ms != 0 {
        w.int(3, sample.start_ms);
    }
}

/// `Histogram`, likewise.
pub(super) fn write_histogram(w: &mut Writer, histogram: &Histogram<'_>, with_start: bool) {
    match histogram.count {
        Count::Int(n) => w.uint(1, n),
        Count::Float(n) => w.double(2, n),
    }
    w.double(3, histogram.sum);
    w.sint(4, i64::from(histogram.schema));
    w.double(5, histogram.zero_threshold);
    match histogram.zero_count {
        Count::Int(n) => w.uint(6, n),
        Count::Float(n) => w.double(7, n),
    }
    write_buckets(w, 8, &histogram.negative);
    write_buckets(w, 11, &histogram.positive);
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    if hint != 0 {
        w.uint(14, hint);
    }
    w.int(15, histogram.timestamp_ms);
    write_doubles(w, 16, histogram.custom_values);
    if with_start && histogram.start_ms != 0 {
        w.int(17, histogram.start_ms);
    }
}

/// Spans, deltas and counts stand in three fields from `first` on.
fn write_buckets(w: &mut Writer, first: u32, buckets: &Buckets<'_>) {
    for BucketSpan { offset, length } in buckets.spans {
        w.message(first, |w| {
            if *offset != 0 {
                w.sint(1, i64::from(*offset));
            }
            if *length != 0 {
                w.uint(2, u64::from(*length));
            }
        });
    }
    if !buckets.deltas.is_empty() {
        w.tag(first + 1, Wire::Len);
        w.varint(buckets.deltas.iter().map(|delta| varint_len(zigzag(*delta)) as u64).sum());
        buckets.deltas.iter().for_each(|delta| w.varint(zigzag(*delta)));
    }
    write_doubles(w, first + 2, buckets.counts);
}

fn write_doubles(w: &mut Writer, number: u32, values: &[f64]) {
    if !values.is_empty() {
        w.tag(number, Wire::Len);
        w.varint(8 * values.len() as u64);
        values.iter().for_each(|value| w.raw(&value.to_le_bytes()));
    }
}

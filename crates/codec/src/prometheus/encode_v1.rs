//! Remote-write 1.0: `prometheus.WriteRequest`.
//!
//! ```text
//! WriteRequest { 1: TimeSeries { 1: Label { 1: name 2: value }*  2: Sample*  3: Exemplar*  4: Histogram* }*  3: MetricMetadata* }
//! Exemplar { 1: Label*  2: value (double)  3: timestamp }
//! MetricMetadata { 1: type  2: family  4: help  5: unit }
//! ```
//! Specification: <https://prometheus.io/docs/specs/prw/remote_write_spec/>. It has no start times. Metadata is a list beside
//! the series: that of families, and that of the series themselves, each family once a request.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use hashbrown::DefaultHashBuilder;
use model::Writer;
use model::series::{MetricKind, SeriesBatch, SeriesRef};

use super::encode::{ExternalLabels, family_name, name_of, write_histogram, write_sample};

/// Writes remote-write 1.0.
#[derive(Debug, Default)]
pub struct EncoderV1 {
    series: Writer,
    metadata: Writer,
    /// Hashes of the families in `metadata`. A family that is missing because of a collision comes with the next request.
    families: HashSet<u64>,
    hasher: DefaultHashBuilder,
    samples: usize,
}

impl EncoderV1 {
    /// An empty request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples and histograms in the request so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Adds the metadata of families that came without a series.
    pub fn families(&mut self, batch: &SeriesBatch) {
        for family in batch.families() {
            let text = |symbol| batch.symbols().get(symbol);
            let (help, unit) = (text(family.metadata.help), text(family.metadata.unit));
            self.family(text(family.name), family.metadata.kind, help, unit);
        }
    }

    fn family(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        if name.is_empty() || !self.families.insert(self.hasher.hash_one(name)) {
            return;
        }
        self.metadata.message(3, |w| {
            w.uint(1, kind as u64);
            w.string(2, name);
            if !help.is_empty() {
                w.string(4, help);
            }
            if !unit.is_empty() {
                w.string(5, unit);
            }
        });
    }

    /// Adds a series. One without a sample adds its metadata alone.
    pub fn push(&mut self, series: &SeriesRef<'_>, external: &ExternalLabels) {
        let (kind, help, unit) = series.metadata_text();
        if kind != MetricKind::Unknown || !help.is_empty() || !unit.is_empty() {
            self.family(family_name(name_of(series), kind), kind, help, unit);
        }
        if series.is_empty() {
            return;
        }
        self.samples += series.len();
        self.series.message(1, |w| {
            external.merged(series, |_, name, value| write_label(w, name, value));
            for sample in series.samples() {
                w.message(2, |w| write_sample(w, sample, false));
            }
            for exemplar in series.exemplars() {
                w.message(3, |w| {
                    exemplar.labels.iter().for_each(|(name, value)| write_label(w, name, value));
                    w.double(2, exemplar.value);
                    w.int(3, exemplar.timestamp_ms);
                });
            }
            for histogram in series.histograms() {
                w.message(4, |w| write_histogram(w, &histogram, false));
            }
        });
    }

    /// Appends the request to `out`, and begins the next.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.series.as_slice());
        out.extend_from_slice(self.metadata.as_slice());
        self.series.truncate(0);
        self.metadata.truncate(0);
        self.families.clear();
        self.samples = 0;
    }
}

fn write_label(w: &mut Writer, name: &str, value: &str) {
    w.message(1, |w| {
        w.string(1, name);
        w.string(2, value);
    });
}

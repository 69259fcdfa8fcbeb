//! Remote-write 2.0: `io.prometheus.write.v2.Request`.
//!
//! ```text
//! Request { 4: symbol (string)*  5: TimeSeries*  }
//! TimeSeries { 1: refs (packed)  2: Sample*  3: Histogram*  4: Exemplar*  5: Metadata }
//! Exemplar { 1: refs  2: value (double)  3: timestamp }      Metadata { 1: type  3: help ref  4: unit ref }
//! ```
//! Specification: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>. Symbol 0 is the empty string. A series without a
//! sample or histogram is not sent: the specification forbids it.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use model::Writer;
use model::series::{MetricKind, SeriesRef};
use model::wire::{Wire, varint_len};

use super::encode::{ExternalLabels, FamilyMap, name_of, write_histogram, write_sample};

/// No number yet.
const UNSEEN: u32 = u32::MAX;

/// Writes remote-write 2.0.
#[derive(Debug, Default)]
pub struct EncoderV2 {
    table: Table,
    /// The number in the request of each symbol of the batch that series come from.
    of_batch: Vec<u32>,
    refs: Vec<u32>,
    series: Writer,
    samples: usize,
}

/// The symbols of the request, written as they are found.
#[derive(Debug, Default)]
struct Table {
    written: Writer,
    /// Where each text stands in `written`.
    texts: Vec<(u32, u32)>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Table {
    fn intern(&mut self, text: &str) -> u32 {
        if self.texts.is_empty() {
            self.written.string(4, "");
            self.texts.push((self.written.len() as u32, 0));
        }
        if text.is_empty() {
            return 0;
        }
        let (written, texts, hasher) = (&self.written, &self.texts, &self.hasher);
        let at = |n: &u32| {
            let (start, len) = texts.get(*n as usize).copied().unwrap_or_default();
            written.as_slice().get(start as usize..(start + len) as usize).unwrap_or_default()
        };
        let hash = hasher.hash_one(text.as_bytes());
        if let Some(known) = self.index.find(hash, |n| at(n) == text.as_bytes()) {
            return *known;
        }
        let number = texts.len() as u32;
        self.index.insert_unique(hash, number, |n| hasher.hash_one(at(n)));
        self.written.string(4, text);
        self.texts.push(((self.written.len() - text.len()) as u32, text.len() as u32));
        number
    }

    fn clear(&mut self) {
        self.written.truncate(0);
        self.texts.clear();
        self.index.clear();
    }
}

impl EncoderV2 {
    /// An empty request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Samples and histograms in the request so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// To be called before the first series of each batch, with the number of the batch's symbols.
    pub fn begin_batch(&mut self, symbols: usize) {
        self.of_batch.clear();
        self.of_batch.resize(symbols, UNSEEN);
    }

    fn number(&mut self, symbol: u32, text: &str) -> u32 {
        let known = self.of_batch.get(symbol as usize).copied().unwrap_or(UNSEEN);
        if known != UNSEEN {
            return known;
        }
        let number = self.table.intern(text);
        if let Some(slot) = self.of_batch.get_mut(symbol as usize) {
            *slot = number;
        }
        number
    }

    /// Adds a series of the batch that was begun last.
    pub fn push(&mut self, series: &SeriesRef<'_>, external: &ExternalLabels, families: &FamilyMap) {
        if series.is_empty() {
            return;
        }
        self.samples += series.len();
        let mut refs = std::mem::take(&mut self.refs);
        refs.clear();
        external.merged(series, |numbers, name, value| match numbers {
            Some((n, v)) => refs.extend([self.number(n, name), self.number(v, value)]),
            None => refs.extend([self.table.intern(name), self.table.intern(value)]),
        });
        let of_series = refs.len();
        for exemplar in series.exemplars() {
            for ((n, v), (name, value)) in exemplar.labels.symbols().zip(exemplar.labels.iter()) {
                refs.extend([self.number(n.0, name), self.number(v.0, value)]);
            }
        }
        let metadata = self.metadata(series, families);
        self.series.message(5, |w| write_series(w, series, &refs, of_series, metadata));
        self.refs = refs;
    }

    fn metadata(&mut self, series: &SeriesRef<'_>, families: &FamilyMap) -> (MetricKind, u32, u32) {
        let (kind, help, unit) = series.metadata_text();
        if kind != MetricKind::Unknown || !help.is_empty() || !unit.is_empty() {
            let metadata = series.metadata();
            return (kind, self.number(metadata.help.0, help), self.number(metadata.unit.0, unit));
        }
        match families.of(name_of(series)) {
            Some(family) => (family.kind, self.table.intern(&family.help), self.table.intern(&family.unit)),
            None => (MetricKind::Unknown, 0, 0),
        }
    }

    /// Appends the request to `out`, and begins the next: [`Self::begin_batch`] comes first.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.table.written.as_slice());
        out.extend_from_slice(self.series.as_slice());
        self.table.clear();
        self.of_batch.clear();
        self.series.truncate(0);
        self.samples = 0;
    }
}

fn write_series(
    w: &mut Writer,
    series: &SeriesRef<'_>,
    refs: &[u32],
    of_series: usize,
    (kind, help, unit): (MetricKind, u32, u32),
) {
    let (labels, mut rest) = refs.split_at(of_series);
    write_refs(w, labels);
    for sample in series.samples() {
        w.message(2, |w| write_sample(w, sample, true));
    }
    for histogram in series.histograms() {
        w.message(3, |w| write_histogram(w, &histogram, true));
    }
    for exemplar in series.exemplars() {
        let (labels, others) = rest.split_at((2 * exemplar.labels.len()).min(rest.len()));
        rest = others;
        w.message(4, |w| {
            write_refs(w, labels);
            w.double(2, exemplar.value);
            w.int(3, exemplar.timestamp_ms);
        });
    }
    if kind != MetricKind::Unknown || help != 0 || unit != 0 {
        w.message(5, |w| {
            w.uint(1, kind as u64);
            if help != 0 {
                w.uint(3, u64::from(help));
            }
            if unit != 0 {
                w.uint(4, u64::from(unit));
            }
        });
    }
}

fn write_refs(w: &mut Writer, refs: &[u32]) {
    if !refs.is_empty() {
        w.tag(1, Wire::Len);
        w.varint(refs.iter().map(|n| varint_len(u64::from(*n)) as u64).sum());
        refs.iter().for_each(|n| w.varint(u64::from(*n)));
    }
}

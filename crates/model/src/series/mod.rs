//! Prometheus series in the shape of remote-write 2.0: one table of symbols, and flat vectors that refer to it.
//!
//! ```text
//! symbols    "" __name__ up job p2p ...                      every text once
//! refs       [1 2 3 4][1 5 3 4] ...                          name, value, name, value: the labels of series and exemplars
//! series     { labels: run of refs, samples: run, histograms: run, exemplars: run, metadata }
//! samples    [value, time, start] ...                        histograms, exemplars likewise
//! families   metadata that came without a series (remote-write 1.0 sends it apart)
//! ```
//! Specification: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>. Nothing is allocated for a series.
//!
//! Invariants: every reference leads into its table; the labels of a series are sorted by name and no name stands twice (the
//! builder sees to both). What no series refers to any more (a dropped series, a symbol that was relabelled away) may
//! still stand in the vectors: encoders write what is referred to, and nothing else.
//!
//! It knows no wire format but its own, for disks (`stored`); `codec::prometheus` reads and writes the others.

mod builder;
mod hash;
mod histogram;
mod merge;
mod stored;
mod symbols;

pub use builder::{LabelError, SeriesBuilder};
pub use hash::{LabelHasher, SymbolHashes};
pub use histogram::{BucketSpan, Buckets, Count, Histogram, ResetHint};
pub use merge::Merged;
pub use stored::NotSeries;
pub use symbols::{Symbol, Symbols, TooMuchText};

use histogram::{Pools, Stored};

/// The label that holds the name of the metric.
pub const METRIC_NAME: &str = "__name__";

/// The value that says that a series has ended: a NaN with these bits, which must be kept exactly.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A piece of one of the flat vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    start: u32,
    len: u32,
}

impl Run {
    fn of<T>(self, pool: &[T]) -> &[T] {
        let start = self.start as usize;
        pool.get(start..start + self.len as usize).unwrap_or_default()
    }

    fn append<T: Copy>(pool: &mut Vec<T>, items: &[T]) -> Self {
        let run = Self { start: pool.len() as u32, len: items.len() as u32 };
        pool.extend_from_slice(items);
        run
    }
}

/// A float sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// The value. Compare [`STALE_NAN_BITS`].
    pub value: f64,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// When counting began, Unix milliseconds; 0 where unknown.
    pub start_ms: i64,
}

/// What a metric is: `Metadata.MetricType` of the remote-write protocol, with its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum MetricKind {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetricKind {
    /// The kind with this number; unknown numbers are [`Self::Unknown`].
    pub fn from_number(number: i32) -> Self {
        const ALL: [MetricKind; 8] = [
            MetricKind::Unknown,
            MetricKind::Counter,
            MetricKind::Gauge,
            MetricKind::Histogram,
            MetricKind::GaugeHistogram,
            MetricKind::Summary,
            MetricKind::Info,
            MetricKind::StateSet,
        ];
        usize::try_from(number).ok().and_then(|n| ALL.get(n).copied()).unwrap_or_default()
    }
}

/// What is known about a metric beside its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: MetricKind,
    /// Its help text.
    pub help: Symbol,
    /// Its unit.
    pub unit: Symbol,
}

/// Metadata of a metric family that came without a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// The name of the family.
    pub name: Symbol,
    /// What is known about it.
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Entry {
    labels: Run,
    samples: Run,
    histograms: Run,
    exemplars: Run,
    metadata: Metadata,
    uncounted: bool,
}

impl Entry {
    fn samples(&self) -> usize {
        (self.samples.len + self.histograms.len) as usize
    }

    fn items(&self) -> usize {
        if self.uncounted { 0 } else { self.samples() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct StoredExemplar {
    labels: Run,
    value: f64,
    timestamp_ms: i64,
}

/// A batch of series. See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesBatch {
    symbols: Symbols,
    refs: Vec<u32>,
    series: Vec<Entry>,
    samples: Vec<Sample>,
    histograms: Vec<Stored>,
    pools: Pools,
    exemplars: Vec<StoredExemplar>,
    families: Vec<Family>,
    items: usize,
}

impl SeriesBatch {
    /// Samples and histograms in it: what pipelines count. Exemplars and metadata go with them uncounted, and so do series that
    /// are but a part of a record ([`SeriesBuilder::uncounted`]).
    pub fn items(&self) -> usize {
        self.items
    }

    /// Whether there is nothing to send: neither series nor families.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.families.is_empty()
    }

    /// Series in it.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        self.symbols.size()
            + 4 * self.refs.len()
            + size_of::<Entry>() * self.series.len()
            + size_of::<Sample>() * self.samples.len()
            + size_of::<Stored>() * self.histograms.len()
            + self.pools.size()
            + size_of::<StoredExemplar>() * self.exemplars.len()
            + size_of::<Family>() * self.families.len()
    }

    /// The table of texts.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The series in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SeriesRef<'_>> + Clone {
        self.series.iter().map(|entry| SeriesRef { batch: self, entry })
    }

    /// The series at a position.
    pub fn get(&self, index: usize) -> Option<SeriesRef<'_>> {
        self.series.get(index).map(|entry| SeriesRef { batch: self, entry })
    }

    /// Metadata that came without a series.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Keeps the series for which `keep` says so (it is asked once each, in order), and all families.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut index = 0;
        self.series.retain(|_| {
            index += 1;
            keep(index - 1)
        });
        self.items = self.series.iter().map(Entry::items).sum();
    }

    /// Gives the series at `index` other labels, which must be sorted by name; texts that the batch does not have are added
    /// with [`Self::push_symbol`].
    ///
    /// # Errors
    /// When the labels are not in order or a name stands twice; the series keeps its labels then.
    pub fn set_labels(&mut self, index: usize, labels: &[(Symbol, Symbol)]) -> Result<(), LabelError> {
        builder::check_labels(&self.symbols, labels)?;
        let start = self.refs.len() as u32;
        self.refs.extend(labels.iter().flat_map(|(name, value)| [name.0, value.0]));
        if let Some(entry) = self.series.get_mut(index) {
            entry.labels = Run { start, len: 2 * labels.len() as u32 };
        }
        Ok(())
    }

    /// The same for labels of which the caller knows that they are in the table and in order: what the rules made of the same
    /// label set before. Only debug builds look.
    pub fn set_known_labels(&mut self, index: usize, labels: impl Iterator<Item = (Symbol, Symbol)>) {
        let start = self.refs.len();
        self.refs.extend(labels.flat_map(|(name, value)| [name.0, value.0]));
        let run = Run { start: start as u32, len: (self.refs.len() - start) as u32 };
        if let Some(entry) = self.series.get_mut(index) {
            entry.labels = run;
        }
        debug_assert!(self.get(index).is_none_or(|series| {
            let labels: Vec<_> = series.labels().symbols().collect();
            builder::check_labels(&self.symbols, &labels).is_ok()
        }));
    }

    /// Adds a text to the table.
    ///
    /// # Errors
    /// When the table would pass 4 GiB.
    pub fn push_symbol(&mut self, text: &str) -> Result<Symbol, TooMuchText> {
        self.symbols.push(text)
    }

    /// Replaces texts, each once however often it is referred to, and sorts the labels again where a name was among them.
    /// A series in which two names became the same keeps the first of them in the old order; a label whose name or value
    /// became empty is none any more.
    ///
    /// # Errors
    /// When the table would pass 4 GiB; nothing is changed then.
    pub fn replace_symbols<'s>(
        &mut self,
        change: impl FnMut(&str) -> Option<std::borrow::Cow<'s, str>>,
    ) -> Result<Vec<Symbol>, TooMuchText> {
        let changed = self.symbols.replace(change)?;
        if !changed.is_empty() {
            self.sort_labels(&changed);
        }
        Ok(changed)
    }

    /// Lets labels of series and exemplars refer to other values: `change` is shown name and value of each.
    /// A symbol that is not in the table changes nothing.
    pub fn retarget_values(&mut self, mut change: impl FnMut(&Symbols, Symbol, Symbol) -> Option<Symbol>) {
        let Self { refs, symbols, .. } = self;
        for pair in refs.chunks_exact_mut(2) {
            if let Some(value) = change(symbols, Symbol(pair[0]), Symbol(pair[1]))
                && (value.0 as usize) < symbols.len()
            {
                pair[1] = value.0;
            }
        }
    }

    /// Brings the labels in order again in which a name changed or something became empty.
    fn sort_labels(&mut self, changed: &[Symbol]) {
        let Self { symbols, refs, series, exemplars, .. } = self;
        let is_empty = |symbol: u32| symbols.get(Symbol(symbol)).is_empty();
        let mut is_changed = vec![false; symbols.len()];
        let mut is_emptied = vec![false; symbols.len()];
        for Symbol(n) in changed {
            is_changed[*n as usize] = true;
            is_emptied[*n as usize] = is_empty(*n);
        }
        let of_series = series.iter_mut().map(|entry| &mut entry.labels);
        let of_exemplars = exemplars.iter_mut().map(|exemplar| &mut exemplar.labels);
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for run in of_series.chain(of_exemplars) {
            let labels = run.of(refs).chunks_exact(2);
            if !labels.clone().any(|pair| is_changed[pair[0] as usize] || is_emptied[pair[1] as usize]) {
                continue;
            }
            pairs.clear();
            pairs.extend(labels.map(|pair| (pair[0], pair[1])));
            pairs.retain(|(name, value)| !is_empty(*name) && !is_empty(*value));
            let name = |pair: &(u32, u32)| symbols.bytes(Symbol(pair.0));
            pairs.sort_by(|a, b| name(a).cmp(name(b)));
            pairs.dedup_by(|b, a| name(a) == name(b));
            let places = refs[run.start as usize..].chunks_exact_mut(2);
            for (place, (name, value)) in places.zip(&pairs) {
                place.copy_from_slice(&[*name, *value]);
            }
            run.len = 2 * pairs.len() as u32;
        }
    }

    /// The first and the second half of the series; `None` where there is but one. The families stay with the first.
    pub fn halves(&self) -> Option<(Self, Self)> {
        if self.series.len() < 2 {
            return None;
        }
        let middle = self.series.len() / 2;
        let (mut first, mut second) = (self.clone(), self.clone());
        first.retain(|index| index < middle);
        second.retain(|index| index >= middle);
        second.families.clear();
        Some((first, second))
    }
}

/// A series of a batch.
#[derive(Clone, Copy, Debug)]
pub struct SeriesRef<'a> {
    batch: &'a SeriesBatch,
    entry: &'a Entry,
}

impl<'a> SeriesRef<'a> {
    /// Its labels by rising name, `__name__` among them.
    pub fn labels(&self) -> Labels<'a> {
        Labels { symbols: &self.batch.symbols, refs: self.entry.labels.of(&self.batch.refs) }
    }

    /// The value of `__name__`, or the empty string.
    pub fn name(&self) -> &'a str {
        self.labels().get(METRIC_NAME).unwrap_or_default()
    }

    /// Its float samples.
    pub fn samples(&self) -> &'a [Sample] {
        self.entry.samples.of(&self.batch.samples)
    }

    /// Its native histograms.
    pub fn histograms(&self) -> impl ExactSizeIterator<Item = Histogram<'a>> + use<'a> {
        let batch = self.batch;
        self.entry.histograms.of(&batch.histograms).iter().map(|stored| batch.pools.read(stored))
    }

    /// Its exemplars.
    pub fn exemplars(&self) -> impl ExactSizeIterator<Item = Exemplar<'a>> + use<'a> {
        let batch = self.batch;
        self.entry.exemplars.of(&batch.exemplars).iter().map(|exemplar| Exemplar {
            labels: Labels { symbols: &batch.symbols, refs: exemplar.labels.of(&batch.refs) },
            value: exemplar.value,
            timestamp_ms: exemplar.timestamp_ms,
        })
    }

    /// What is known about its metric.
    pub fn metadata(&self) -> Metadata {
        self.entry.metadata
    }

    /// The same with the texts: kind, help, unit.
    pub fn metadata_text(&self) -> (MetricKind, &'a str, &'a str) {
        let Metadata { kind, help, unit } = self.entry.metadata;
        (kind, self.batch.symbols.get(help), self.batch.symbols.get(unit))
    }

    /// Samples and histograms in it.
    pub fn len(&self) -> usize {
        self.entry.samples()
    }

    /// Whether it has neither a sample nor a histogram.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What pipelines count of it: its samples and histograms, or none if it is but a part of a record.
    pub fn items(&self) -> usize {
        self.entry.items()
    }

    /// Whether it is but a part of a record: [`SeriesBuilder::uncounted`].
    pub fn is_uncounted(&self) -> bool {
        self.entry.uncounted
    }
}

/// An exemplar of a series.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a> {
    /// Its labels: `trace_id` above all.
    pub labels: Labels<'a>,
    /// The observed value.
    pub value: f64,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
}

/// Labels of a series or an exemplar.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    symbols: &'a Symbols,
    refs: &'a [u32],
}

impl<'a> Labels<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.refs.len() / 2
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + use<'a> {
        let symbols = self.symbols;
        self.symbols().map(|(name, value)| (symbols.get(name), symbols.get(value)))
    }

    /// Names and values by number.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = (Symbol, Symbol)> + use<'a> {
        self.refs.chunks_exact(2).map(|pair| (Symbol(pair[0]), Symbol(pair[1])))
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(label, _)| *label == name).map(|(_, value)| value)
    }
}

//! Builds batches of series, every text stored once.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    Entry, Family, Histogram, Metadata, MetricKind, Run, Sample, SeriesBatch, StoredExemplar, Symbol,
    Symbols, TooMuchText,
};

/// Why labels are not those of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A name stands twice.
    #[error("a label name stands twice in one series")]
    Duplicate,
    /// Names are not in order.
    #[error("the labels of a series are not sorted by name")]
    Unsorted,
    /// A reference leads nowhere.
    #[error("a label refers to a symbol that the request does not have")]
    NoSymbol,
    /// Too much text.
    #[error(transparent)]
    TooMuchText(#[from] TooMuchText),
}

pub(super) fn check_labels(symbols: &Symbols, labels: &[(Symbol, Symbol)]) -> Result<(), LabelError> {
    let known = |symbol: Symbol| (symbol.0 as usize) < symbols.len();
    if !labels.iter().all(|(name, value)| known(*name) && known(*value)) {
        return Err(LabelError::NoSymbol);
    }
    let mut names = labels.iter().map(|(name, _)| symbols.bytes(*name));
    let Some(mut before) = names.next() else {
        return Ok(());
    };
    for name in names {
        // The order of bytes is that of the characters that they encode.
        match before.cmp(name) {
            std::cmp::Ordering::Less => before = name,
            std::cmp::Ordering::Equal => return Err(LabelError::Duplicate),
            std::cmp::Ordering::Greater => return Err(LabelError::Unsorted),
        }
    }
    Ok(())
}

fn check_values(symbols: &Symbols, labels: &[(Symbol, Symbol)]) -> Result<(), LabelError> {
    let known = |(_, value): &(Symbol, Symbol)| (value.0 as usize) < symbols.len();
    if labels.iter().all(known) { Ok(()) } else { Err(LabelError::NoSymbol) }
}

/// Builds a [`SeriesBatch`]. Samples, histograms and exemplars belong to the series that was begun last.
#[derive(Debug, Default)]
pub struct SeriesBuilder {
    batch: SeriesBatch,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    labels: Vec<(Symbol, Symbol)>,
}

impl SeriesBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch with the table of symbols that a sender made. Texts interned later are stored beside them.
    pub fn with_symbols(symbols: Symbols) -> Self {
        Self { batch: SeriesBatch { symbols, ..SeriesBatch::default() }, ..Self::default() }
    }

    /// Room for what is about to come, so that vectors do not grow step by step.
    pub fn reserve(&mut self, series: usize, samples: usize, refs: usize) {
        self.batch.series.reserve(series);
        self.batch.samples.reserve(samples);
        self.batch.refs.reserve(refs);
    }

    /// The symbol of a text, stored now if it was not yet.
    ///
    /// # Errors
    /// When the table would pass 4 GiB.
    pub fn intern(&mut self, text: &str) -> Result<Symbol, TooMuchText> {
        if text.is_empty() {
            return Ok(Symbol::EMPTY);
        }
        let (symbols, hasher) = (&mut self.batch.symbols, &self.hasher);
        let hash = hasher.hash_one(text);
        if let Some(known) = self.index.find(hash, |n| symbols.get(Symbol(*n)) == text) {
            return Ok(Symbol(*known));
        }
        let symbol = symbols.push(text)?;
        self.index.insert_unique(hash, symbol.0, |n| hasher.hash_one(symbols.get(Symbol(*n))));
        Ok(symbol)
    }

    /// Adds a text without looking whether it is there.
    pub(super) fn push_symbol(&mut self, text: &str) -> Result<Symbol, TooMuchText> {
        self.batch.symbols.push(text)
    }

    /// The texts so far.
    pub fn symbols(&self) -> &Symbols {
        &self.batch.symbols
    }

    /// Begins a series. The labels may come in any order; those with an empty value are left out, since to Prometheus an empty
    /// label is none.
    ///
    /// # Errors
    /// When a name stands twice. No series is begun then.
    pub fn series<'t>(
        &mut self,
        labels: impl IntoIterator<Item = (&'t str, &'t str)>,
        metadata: impl FnOnce(&mut Self) -> Metadata,
    ) -> Result<(), LabelError> {
        let mut pairs = std::mem::take(&mut self.labels);
        pairs.clear();
        let interned =
            labels.into_iter().filter(|(_, value)| !value.is_empty()).try_for_each(|(name, value)| {
                pairs.push((self.intern(name)?, self.intern(value)?));
                Ok::<(), LabelError>(())
            });
        let symbols = &self.batch.symbols;
        if !pairs.is_sorted_by(|a, b| symbols.get(a.0) < symbols.get(b.0)) {
            pairs.sort_by(|a, b| symbols.get(a.0).cmp(symbols.get(b.0)));
        }
        let metadata = metadata(self);
        let begun = interned.and_then(|()| self.series_of(&pairs, metadata));
        self.labels = pairs;
        begun
    }

    /// Begins a series with labels that are in the table and sorted by name.
    ///
    /// # Errors
    /// When they are not. No series is begun then.
    pub fn series_of(&mut self, labels: &[(Symbol, Symbol)], metadata: Metadata) -> Result<(), LabelError> {
        if self.named_like_the_last(labels) {
            check_values(&self.batch.symbols, labels)?;
        } else {
            check_labels(&self.batch.symbols, labels)?;
        }
        let labels = self.push_refs(labels);
        let batch = &mut self.batch;
        let here = |len: usize| Run { start: len as u32, len: 0 };
        batch.series.push(Entry {
            labels,
            samples: here(batch.samples.len()),
            histograms: here(batch.histograms.len()),
            exemplars: here(batch.exemplars.len()),
            metadata,
            uncounted: false,
        });
        Ok(())
    }

    /// Sets what is known about the metric of the last series.
    pub fn set_metadata(&mut self, metadata: Metadata) {
        if let Some(last) = self.batch.series.last_mut() {
            last.metadata = metadata;
        }
    }

    /// Metadata from texts.
    ///
    /// # Errors
    /// When the table would pass 4 GiB.
    pub fn metadata(&mut self, kind: MetricKind, help: &str, unit: &str) -> Result<Metadata, TooMuchText> {
        Ok(Metadata { kind, help: self.intern(help)?, unit: self.intern(unit)? })
    }

    /// Says that the last series is but a part of a record that another series stands for: the buckets and the sum of a
    /// histogram, of which the count is counted. To be called before it has samples.
    pub fn uncounted(&mut self) {
        if let Some(last) = self.batch.series.last_mut() {
            self.batch.items -= last.items();
            last.uncounted = true;
        }
    }

    /// Adds a float sample to the last series.
    pub fn sample(&mut self, sample: Sample) {
        if let Some(last) = self.batch.series.last_mut() {
            last.samples.len += 1;
            self.batch.items += usize::from(!last.uncounted);
            self.batch.samples.push(sample);
        }
    }

    /// Adds a native histogram to the last series.
    pub fn histogram(&mut self, histogram: &Histogram<'_>) {
        if let Some(last) = self.batch.series.last_mut() {
            last.histograms.len += 1;
            self.batch.items += usize::from(!last.uncounted);
            let stored = self.batch.pools.store(histogram);
            self.batch.histograms.push(stored);
        }
    }

    /// Adds an exemplar to the last series. Its labels must be in the table; they need not be sorted.
    ///
    /// # Errors
    /// When a label refers to no symbol. No exemplar is added then.
    pub fn exemplar(
        &mut self,
        labels: &[(Symbol, Symbol)],
        value: f64,
        timestamp_ms: i64,
    ) -> Result<(), LabelError> {
        let known = |symbol: &Symbol| (symbol.0 as usize) < self.batch.symbols.len();
        if !labels.iter().all(|(name, value)| known(name) && known(value)) {
            return Err(LabelError::NoSymbol);
        }
        let labels = self.push_refs(labels);
        if let Some(last) = self.batch.series.last_mut() {
            last.exemplars.len += 1;
            self.batch.exemplars.push(StoredExemplar { labels, value, timestamp_ms });
        }
        Ok(())
    }

    /// Adds metadata of a family without a series.
    pub fn family(&mut self, name: Symbol, metadata: Metadata) {
        self.batch.families.push(Family { name, metadata });
    }

    /// Takes the last series away again if nothing was added to it, so that a series of which everything had to be refused leaves
    /// no trace. True when it was.
    pub fn drop_empty_series(&mut self) -> bool {
        let empty =
            |entry: &mut Entry| entry.samples.len + entry.histograms.len == 0 && entry.exemplars.len == 0;
        let Some(entry) = self.batch.series.pop_if(empty) else { return false };
        self.batch.refs.truncate(entry.labels.start as usize);
        true
    }

    /// Samples and histograms so far, those of uncounted series left out.
    pub fn items(&self) -> usize {
        self.batch.items
    }

    /// The batch.
    pub fn finish(self) -> SeriesBatch {
        self.batch
    }

    /// Whether the names are those of the last series, which are in order. Mostly they are: comparing numbers is then enough.
    fn named_like_the_last(&self, labels: &[(Symbol, Symbol)]) -> bool {
        let refs = self.batch.series.last().map(|last| last.labels.of(&self.batch.refs));
        let (names, _) = refs.unwrap_or_default().as_chunks::<2>();
        names.len() == labels.len() && names.iter().zip(labels).all(|(last, (name, _))| last[0] == name.0)
    }

    fn push_refs(&mut self, labels: &[(Symbol, Symbol)]) -> Run {
        let start = self.batch.refs.len() as u32;
        self.batch.refs.reserve(2 * labels.len());
        for (name, value) in labels {
            self.batch.refs.extend_from_slice(&[name.0, value.0]);
        }
        Run { start, len: 2 * labels.len() as u32 }
    }
}

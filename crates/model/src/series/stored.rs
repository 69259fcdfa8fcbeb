//! A batch as bytes of a form of our own, for a disk: only what the series refer to, each text once.
//!
//! ```text
//! batch      1, n series, n samples, n label references, series..., n families, family...       1: the version
//! series     flags, labels, [help, unit], n, sample..., [n, histogram...], [n, exemplar...]
//!            flags: kind of the metric (3 bits), uncounted, has histograms, has exemplars, has help or unit
//! labels     n, (name, value)...
//! sample     value, time, start
//! histogram  flags, count, sum, schema, zero threshold, zero count, negative, positive, n, bound..., time, start
//!            flags: reset hint (2 bits), count is a float, zero count is a float
//! buckets    n, (offset, length)..., n, delta..., n, count...
//! exemplar   labels, value, time
//! family     name, kind, help, unit
//! text       its number. 0 is the empty one; the number that follows the highest so far brings its text along: length, UTF-8
//! ```
//! Integers are varints; signed ones are zigzag. Floats are 8 bytes, little-endian, so that a NaN keeps its bits. Times are
//! the difference to the one before in the batch, and so are starts.
//!
//! Invariants: [`SeriesBatch::from_bytes`] never panics and holds to the invariants of a batch, whatever the bytes; it takes no
//! more memory than a small multiple of their length. What `to_bytes` writes reads back as the same series.
//! A new version must go on reading the old ones: a buffer outlives an upgrade.

use bytes::Bytes;

use super::{
    BucketSpan, Buckets, Count, Histogram, LabelError, Labels, Metadata, MetricKind, ResetHint, Sample,
    SeriesBatch, SeriesBuilder, SeriesRef, Symbol, TooMuchText,
};
use crate::wire::{read_varint, unzigzag, zigzag};
use crate::writer::Writer;

const VERSION: u8 = 1;

const KIND: u8 = 0b111;
const UNCOUNTED: u8 = 1 << 3;
const HISTOGRAMS: u8 = 1 << 4;
const EXEMPLARS: u8 = 1 << 5;
const TEXTS: u8 = 1 << 6;

const HINT: u8 = 0b11;
const COUNT_FLOAT: u8 = 1 << 2;
const ZERO_FLOAT: u8 = 1 << 3;

/// The fewest bytes of a series, a sample and a reference: more of them than fit are not there.
const LEAST_SERIES: usize = 3;
const LEAST_SAMPLE: usize = 10;
const LEAST_REFERENCE: usize = 1;

/// Why bytes are no batch of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSeries {
    /// Written by a later version, or by something else.
    #[error("stored series of form {0}, which this version does not know")]
    Version(u8),
    /// The bytes end too early.
    #[error("stored series are cut short")]
    Cut,
    /// Bytes are left at the end.
    #[error("something follows the stored series")]
    Excess,
    /// A number that cannot stand where it does.
    #[error("stored series hold a number that cannot be")]
    Number,
    /// A text that is not UTF-8.
    #[error("stored series hold a text that is not UTF-8")]
    Text,
    /// Labels that no series has.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

impl From<TooMuchText> for NotSeries {
    fn from(error: TooMuchText) -> Self {
        Self::Labels(error.into())
    }
}

impl SeriesBatch {
    /// The batch in the form that [`Self::from_bytes`] reads.
    pub fn to_bytes(&self) -> Bytes {
        let mut encoder = Encoder {
            batch: self,
            out: Writer::with_capacity(self.size() / 2 + 64),
            numbers: vec![0; self.symbols.len()],
            next: 1,
            time: 0,
            start: 0,
        };
        encoder.batch();
        encoder.out.finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotSeries> {
        let mut decoder = Decoder {
            rest: bytes,
            builder: SeriesBuilder::new(),
            time: 0,
            start: 0,
            labels: Vec::new(),
            scratch: Scratch::default(),
        };
        decoder.batch()?;
        Ok(decoder.builder.finish())
    }
}

struct Encoder<'a> {
    batch: &'a SeriesBatch,
    out: Writer,
    /// By symbol; 0 where none was given yet.
    numbers: Vec<u32>,
    next: u32,
    time: i64,
    start: i64,
}

impl Encoder<'_> {
    fn batch(&mut self) {
        let batch = self.batch;
        let sum = |of: fn(&super::Entry) -> u32| batch.series.iter().map(|entry| of(entry) as usize).sum();
        self.out.raw(&[VERSION]);
        self.count(batch.series.len());
        self.count(sum(|entry| entry.samples.len));
        self.count(sum(|entry| entry.labels.len));
        for series in batch.iter() {
            self.series(&series);
        }
        self.count(batch.families.len());
        for family in &batch.families {
            self.text(family.name);
            self.count(family.metadata.kind as usize);
            self.text(family.metadata.help);
            self.text(family.metadata.unit);
        }
    }

    fn series(&mut self, series: &SeriesRef<'_>) {
        let Metadata { kind, help, unit } = series.metadata();
        let (histograms, exemplars) = (series.histograms(), series.exemplars());
        let has_text = [help, unit].iter().any(|text| !self.batch.symbols.is_blank(*text));
        let mut flags = kind as u8;
        for (bit, is_set) in [
            (UNCOUNTED, series.is_uncounted()),
            (HISTOGRAMS, histograms.len() > 0),
            (EXEMPLARS, exemplars.len() > 0),
            (TEXTS, has_text),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        self.out.raw(&[flags]);
        self.labels(&series.labels());
        if has_text {
            self.text(help);
            self.text(unit);
        }
        self.count(series.samples().len());
        for sample in series.samples() {
            self.float(sample.value);
            self.times(sample.timestamp_ms, sample.start_ms);
        }
        if histograms.len() > 0 {
            self.count(histograms.len());
            histograms.for_each(|histogram| self.histogram(&histogram));
        }
        if exemplars.len() > 0 {
            self.count(exemplars.len());
            for exemplar in exemplars {
                self.labels(&exemplar.labels);
                self.float(exemplar.value);
                self.time(exemplar.timestamp_ms);
            }
        }
    }

    fn labels(&mut self, labels: &Labels<'_>) {
        self.count(labels.len());
        for (name, value) in labels.symbols() {
            self.text(name);
            self.text(value);
        }
    }

    fn histogram(&mut self, histogram: &Histogram<'_>) {
        let hint = match histogram.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Yes => 1,
            ResetHint::No => 2,
            ResetHint::Gauge => 3,
        };
        let float = |count, bit| if matches!(count, Count::Float(_)) { bit } else { 0 };
        let flags = hint | float(histogram.count, COUNT_FLOAT) | float(histogram.zero_count, ZERO_FLOAT);
        self.out.raw(&[flags]);
        self.observed(histogram.count);
        self.float(histogram.sum);
        self.signed(i64::from(histogram.schema));
        self.float(histogram.zero_threshold);
        self.observed(histogram.zero_count);
        for side in [&histogram.negative, &histogram.positive] {
            self.count(side.spans.len());
            for span in side.spans {
                self.signed(i64::from(span.offset));
                self.out.varint(u64::from(span.length));
            }
            self.count(side.deltas.len());
            side.deltas.iter().for_each(|delta| self.signed(*delta));
            self.floats(side.counts);
        }
        self.floats(histogram.custom_values);
        self.times(histogram.timestamp_ms, histogram.start_ms);
    }

    fn observed(&mut self, count: Count) {
        match count {
            Count::Int(count) => self.out.varint(count),
            Count::Float(count) => self.float(count),
        }
    }

    fn times(&mut self, time: i64, start: i64) {
        self.time(time);
        self.signed(start.wrapping_sub(self.start));
        self.start = start;
    }

    fn time(&mut self, time: i64) {
        self.signed(time.wrapping_sub(self.time));
        self.time = time;
    }

    fn text(&mut self, symbol: Symbol) {
        let symbols = &self.batch.symbols;
        if symbols.is_blank(symbol) {
            return self.out.varint(0);
        }
        let Some(number) = self.numbers.get_mut(symbol.0 as usize) else {
            return self.out.varint(0);
        };
        if *number == 0 {
            *number = self.next;
            self.next += 1;
            let text = symbols.bytes(symbol);
            self.out.varint(u64::from(*number));
            self.out.varint(text.len() as u64);
            self.out.raw(text);
        } else {
            self.out.varint(u64::from(*number));
        }
    }

    fn floats(&mut self, values: &[f64]) {
        self.count(values.len());
        values.iter().for_each(|value| self.float(*value));
    }

    fn float(&mut self, value: f64) {
        self.out.raw(&value.to_bits().to_le_bytes());
    }

    fn signed(&mut self, value: i64) {
        self.out.varint(zigzag(value));
    }

    fn count(&mut self, count: usize) {
        self.out.varint(count as u64);
    }
}

/// The lists of the histogram that is being read.
#[derive(Default)]
struct Scratch {
    sides: [Side; 2],
    bounds: Vec<f64>,
}

#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Side {
    fn buckets(&self) -> Buckets<'_> {
        Buckets { spans: &self.spans, deltas: &self.deltas, counts: &self.counts }
    }
}

struct Decoder<'a> {
    rest: &'a [u8],
    builder: SeriesBuilder,
    time: i64,
    start: i64,
    labels: Vec<(Symbol, Symbol)>,
    scratch: Scratch,
}

impl<'a> Decoder<'a> {
    fn batch(&mut self) -> Result<(), NotSeries> {
        let version = self.byte()?;
        if version != VERSION {
            return Err(NotSeries::Version(version));
        }
        // Positions in a batch are 32 bits wide, and whatever has one takes a byte here.
        if u32::try_from(self.rest.len()).is_err() {
            return Err(NotSeries::Number);
        }
        let series = self.count(LEAST_SERIES)?;
        let samples = self.count(LEAST_SAMPLE)?;
        let references = self.count(LEAST_REFERENCE)?;
        self.builder.reserve(series, samples, references);
        for _ in 0..series {
            self.series()?;
        }
        for _ in 0..self.count(LEAST_REFERENCE)? {
            let name = self.text()?;
            let kind = u8::try_from(self.varint()?).map_err(|_| NotSeries::Number)?;
            let metadata = self.metadata(kind, true)?;
            self.builder.family(name, metadata);
        }
        if self.rest.is_empty() { Ok(()) } else { Err(NotSeries::Excess) }
    }

    fn series(&mut self) -> Result<(), NotSeries> {
        let flags = self.byte()?;
        if flags & !(KIND | UNCOUNTED | HISTOGRAMS | EXEMPLARS | TEXTS) != 0 {
            return Err(NotSeries::Number);
        }
        self.labels()?;
        let metadata = self.metadata(flags & KIND, flags & TEXTS != 0)?;
        self.builder.series_of(&self.labels, metadata)?;
        if flags & UNCOUNTED != 0 {
            self.builder.uncounted();
        }
        for _ in 0..self.count(LEAST_SAMPLE)? {
            let value = self.float()?;
            let (timestamp_ms, start_ms) = self.times()?;
            self.builder.sample(Sample { value, timestamp_ms, start_ms });
        }
        if flags & HISTOGRAMS != 0 {
            for _ in 0..self.count(LEAST_SAMPLE)? {
                self.histogram()?;
            }
        }
        if flags & EXEMPLARS != 0 {
            for _ in 0..self.count(LEAST_SAMPLE)? {
                self.labels()?;
                let (value, timestamp_ms) = (self.float()?, self.time()?);
                self.builder.exemplar(&self.labels, value, timestamp_ms)?;
            }
        }
        Ok(())
    }

    fn metadata(&mut self, kind: u8, has_text: bool) -> Result<Metadata, NotSeries> {
        if kind & !KIND != 0 {
            return Err(NotSeries::Number);
        }
        let mut text = || if has_text { self.text() } else { Ok(Symbol::EMPTY) };
        Ok(Metadata { kind: MetricKind::from_number(kind.into()), help: text()?, unit: text()? })
    }

    fn labels(&mut self) -> Result<(), NotSeries> {
        self.labels.clear();
        for _ in 0..self.count(2 * LEAST_REFERENCE)? {
            let label = (self.text()?, self.text()?);
            self.labels.push(label);
        }
        Ok(())
    }

    fn histogram(&mut self) -> Result<(), NotSeries> {
        let flags = self.byte()?;
        if flags & !(HINT | COUNT_FLOAT | ZERO_FLOAT) != 0 {
            return Err(NotSeries::Number);
        }
        let count = self.observed(flags & COUNT_FLOAT != 0)?;
        let sum = self.float()?;
        let schema = i32::try_from(self.signed()?).map_err(|_| NotSeries::Number)?;
        let zero_threshold = self.float()?;
        let zero_count = self.observed(flags & ZERO_FLOAT != 0)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        for side in &mut scratch.sides {
            self.side(side)?;
        }
        self.floats(&mut scratch.bounds)?;
        let (timestamp_ms, start_ms) = self.times()?;
        let reset_hint = match flags & HINT {
            1 => ResetHint::Yes,
            2 => ResetHint::No,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        let [negative, positive] = [scratch.sides[0].buckets(), scratch.sides[1].buckets()];
        self.builder.histogram(&Histogram {
            count,
            sum,
            schema,
            zero_threshold,
            zero_count,
            negative,
            positive,
            reset_hint,
            timestamp_ms,
            custom_values: &scratch.bounds,
            start_ms,
        });
        self.scratch = scratch;
        Ok(())
    }

    fn side(&mut self, side: &mut Side) -> Result<(), NotSeries> {
        side.spans.clear();
        for _ in 0..self.count(2)? {
            let offset = i32::try_from(self.signed()?).map_err(|_| NotSeries::Number)?;
            let length = u32::try_from(self.varint()?).map_err(|_| NotSeries::Number)?;
            side.spans.push(BucketSpan { offset, length });
        }
        side.deltas.clear();
        for _ in 0..self.count(1)? {
            side.deltas.push(self.signed()?);
        }
        self.floats(&mut side.counts)
    }

    fn observed(&mut self, is_float: bool) -> Result<Count, NotSeries> {
        Ok(if is_float { Count::Float(self.float()?) } else { Count::Int(self.varint()?) })
    }

    fn times(&mut self) -> Result<(i64, i64), NotSeries> {
        let time = self.time()?;
        self.start = self.start.wrapping_add(self.signed()?);
        Ok((time, self.start))
    }

    fn time(&mut self) -> Result<i64, NotSeries> {
        self.time = self.time.wrapping_add(self.signed()?);
        Ok(self.time)
    }

    fn text(&mut self) -> Result<Symbol, NotSeries> {
        let number = self.varint()?;
        let known = self.builder.symbols().len() as u64;
        if number < known {
            return Ok(Symbol(number as u32));
        }
        if number > known {
            return Err(NotSeries::Number);
        }
        let length = self.count(1)?;
        let text = simdutf8::basic::from_utf8(self.take(length)?).map_err(|_| NotSeries::Text)?;
        Ok(self.builder.push_symbol(text)?)
    }

    fn floats(&mut self, values: &mut Vec<f64>) -> Result<(), NotSeries> {
        values.clear();
        for _ in 0..self.count(8)? {
            values.push(self.float()?);
        }
        Ok(())
    }

    fn float(&mut self) -> Result<f64, NotSeries> {
        let (bits, rest) = self.rest.split_first_chunk().ok_or(NotSeries::Cut)?;
        self.rest = rest;
        Ok(f64::from_bits(u64::from_le_bytes(*bits)))
    }

    fn signed(&mut self) -> Result<i64, NotSeries> {
        self.varint().map(unzigzag)
    }

    /// How many of something follow, each at least `least` bytes long: never more than there are bytes for.
    fn count(&mut self, least: usize) -> Result<usize, NotSeries> {
        let count = usize::try_from(self.varint()?).map_err(|_| NotSeries::Cut)?;
        if count > self.rest.len() / least { Err(NotSeries::Cut) } else { Ok(count) }
    }

    fn varint(&mut self) -> Result<u64, NotSeries> {
        let (value, length) = read_varint(self.rest, 0).map_err(|_| NotSeries::Cut)?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(value)
    }

    fn byte(&mut self) -> Result<u8, NotSeries> {
        self.take(1).map(|byte| byte[0])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], NotSeries> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(NotSeries::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }
}

//! Remote-write 2.0: `io.prometheus.write.v2.Request`.
//!
//! The request is passed over twice: once for the symbols (protobuf lets them stand behind what refers to them), once for the
//! series. A series likewise: its labels first, then its values.

use std::ops::Range;

use model::SeriesBuilder;
use model::series::{LabelError, METRIC_NAME, Metadata, MetricKind, Symbol, Symbols};
use model::wire::{Field, Wire};

use super::reader::{Malformed, Problem, Reader};
use super::refused::Reason;
use super::sink::{Room, Sink, label_reason, too_much_text};
use super::{DecodeError, Decoded, Version};

const REQUEST: &str = "the request";
const SYMBOLS: u32 = 4;
const TIMESERIES: u32 = 5;

pub(super) fn decode(buf: &[u8], mut room: Room<'_>) -> Result<Decoded, DecodeError> {
    let found = Survey::of(buf, &mut room)?;
    let mut sink = Sink::new(Version::V2, SeriesBuilder::with_symbols(found.symbols), room);
    sink.reserve(found.series, found.bytes)?;
    sink.invalid_utf8 = found.mended.len() as u64;
    let mut decoder =
        Decoder { buf, sink, mended: found.mended, refs: Vec::new(), pairs: Vec::with_capacity(32) };
    let mut fields = Reader::new(buf, 0..buf.len(), REQUEST);
    while let Some(field) = fields.next()? {
        if field.number == TIMESERIES {
            decoder.series(&field)?;
        }
    }
    Ok(decoder.sink.finish())
}

/// What the first pass finds.
#[derive(Default)]
struct Survey {
    symbols: Symbols,
    /// Symbols whose text is not UTF-8, rising.
    mended: Vec<u32>,
    series: usize,
    bytes: usize,
}

impl Survey {
    fn of(buf: &[u8], room: &mut Room<'_>) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let (mut count, mut other_version) = (0_u32, false);
        let mut fields = Reader::new(buf, 0..buf.len(), REQUEST);
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (SYMBOLS, Wire::Len) => {
                    let text = buf.get(field.body_range()).unwrap_or_default();
                    room.take(text.len() + 4)?;
                    found.symbol(count, text, &field, &fields)?;
                    count += 1;
                }
                (TIMESERIES, Wire::Len) => {
                    found.series += 1;
                    found.bytes += field.end - field.body;
                }
                (SYMBOLS | TIMESERIES, _) => return Err(fields.misfit(&field).into()),
                (1 | 3, Wire::Len) => other_version = true,
                _ => {}
            }
        }
        if count == 0 && found.series > 0 {
            return Err(fields.fault(0, Problem::NoEmptySymbol).into());
        }
        if count == 0 && other_version {
            return Err(fields.fault(0, Problem::OtherVersion).into());
        }
        Ok(found)
    }

    fn symbol(
        &mut self,
        number: u32,
        text: &[u8],
        field: &Field,
        fields: &Reader<'_>,
    ) -> Result<(), Malformed> {
        // The table of a batch begins with the empty string by itself.
        if number == 0 {
            return if text.is_empty() {
                Ok(())
            } else {
                Err(fields.fault(field.start, Problem::NoEmptySymbol))
            };
        }
        let pushed = match std::str::from_utf8(text) {
            Ok(text) => self.symbols.push(text),
            Err(_) => {
                self.mended.push(number);
                self.symbols.push(&String::from_utf8_lossy(text))
            }
        };
        pushed.map(drop).map_err(|error| too_much_text(error, field.start))
    }
}

struct Decoder<'a, 'r> {
    buf: &'a [u8],
    sink: Sink<'r>,
    mended: Vec<u32>,
    /// The label references of the series or the exemplar at hand.
    refs: Vec<u32>,
    /// The same in pairs, without those that say nothing.
    pairs: Vec<(Symbol, Symbol)>,
}

/// What a series says beside its values.
#[derive(Default)]
struct Head {
    kind: i32,
    help: u32,
    unit: u32,
    created_ms: i64,
    values: usize,
}

impl Decoder<'_, '_> {
    fn series(&mut self, series: &Field) -> Result<(), DecodeError> {
        let head = self.head(series.body_range())?;
        let begun = if head.values == 0 { Err(Reason::NoValues) } else { self.begin(&head, series.start)? };
        self.sink.begun(begun);
        let mut fields = Reader::new(self.buf, series.body_range(), "timeseries");
        while let Some(field) = fields.next()? {
            match field.number {
                2 => self.sink.sample(self.buf, &field, head.created_ms)?,
                3 => self.sink.histogram(self.buf, &field, head.created_ms)?,
                4 => self.exemplar(&field)?,
                _ => {}
            }
        }
        self.sink.end_series();
        Ok(())
    }

    /// Reads all but the values, and the references into `refs`.
    fn head(&mut self, range: Range<usize>) -> Result<Head, Malformed> {
        let mut head = Head::default();
        self.refs.clear();
        let mut fields = Reader::new(self.buf, range, "timeseries");
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (1, _) => fields.varints(&field, |bits| self.refs.push(bits as u32))?,
                (2..=4, Wire::Len) => head.values += 1,
                (5, Wire::Len) => head.metadata(self.buf, &field)?,
                (6, Wire::Varint) => head.created_ms = field.bits as i64,
                (2..=6, _) => return Err(fields.misfit(&field)),
                _ => {}
            }
        }
        Ok(head)
    }

    fn begin(&mut self, head: &Head, offset: usize) -> Result<Result<(), Reason>, DecodeError> {
        self.sink.take_series(self.refs.len() / 2, 0)?;
        if let Err(reason) = self.pair(true) {
            return Ok(Err(reason));
        }
        let symbols = self.sink.builder.symbols();
        let known = |symbol: u32| (symbol as usize) < symbols.len();
        if !known(head.help) || !known(head.unit) {
            return Ok(Err(Reason::NoSymbol));
        }
        if !self.pairs.iter().any(|(name, _)| symbols.get(*name) == METRIC_NAME) {
            return Ok(Err(Reason::NoName));
        }
        let metadata = Metadata {
            kind: MetricKind::from_number(head.kind),
            help: Symbol(head.help),
            unit: Symbol(head.unit),
        };
        let mut begun = self.sink.builder.series_of(&self.pairs, metadata);
        if begun == Err(LabelError::Unsorted) {
            let symbols = self.sink.builder.symbols();
            self.pairs.sort_by(|a, b| symbols.get(a.0).cmp(symbols.get(b.0)));
            begun = self.sink.builder.series_of(&self.pairs, metadata);
        }
        match begun {
            Ok(()) => Ok(Ok(())),
            Err(error) => Ok(Err(label_reason(error, offset)?)),
        }
    }

    /// Takes the references in pairs. `identity`: they are the labels of a series, which have to be right as they are.
    fn pair(&mut self, identity: bool) -> Result<(), Reason> {
        let symbols = self.sink.builder.symbols();
        self.pairs.clear();
        let (refs, rest) = self.refs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Reason::OddReferences);
        }
        for pair in refs {
            if pair.iter().any(|symbol| *symbol as usize >= symbols.len()) {
                return Err(Reason::NoSymbol);
            }
            let [name, value] = pair.map(Symbol);
            if symbols.is_blank(name) {
                return Err(Reason::EmptyLabelName);
            }
            if !symbols.is_blank(value) {
                self.pairs.push((name, value));
            }
        }
        let mended = |symbol: &u32| self.mended.binary_search(symbol).is_ok();
        if identity && !self.mended.is_empty() && self.refs.iter().any(mended) {
            return Err(Reason::InvalidUtf8);
        }
        Ok(())
    }

    fn exemplar(&mut self, exemplar: &Field) -> Result<(), DecodeError> {
        let (mut value, mut timestamp_ms) = (0.0, 0);
        self.refs.clear();
        let mut fields = Reader::new(self.buf, exemplar.body_range(), "timeseries.exemplars");
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (1, _) => fields.varints(&field, |bits| self.refs.push(bits as u32))?,
                (2, Wire::Fixed64) => value = f64::from_bits(field.bits),
                (3, Wire::Varint) => timestamp_ms = field.bits as i64,
                (2 | 3, _) => return Err(fields.misfit(&field).into()),
                _ => {}
            }
        }
        let labels = self.pair(false);
        self.sink.exemplar(labels.map(|()| self.pairs.as_slice()), value, timestamp_ms)
    }
}

impl Head {
    /// A metadata message in two pieces is one: what the second does not say stays.
    fn metadata(&mut self, buf: &[u8], metadata: &Field) -> Result<(), Malformed> {
        let mut fields = Reader::new(buf, metadata.body_range(), "timeseries.metadata");
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (1, Wire::Varint) => self.kind = field.bits as i32,
                (3, Wire::Varint) => self.help = field.bits as u32,
                (4, Wire::Varint) => self.unit = field.bits as u32,
                (1 | 3 | 4, _) => return Err(fields.misfit(&field)),
                _ => {}
            }
        }
        Ok(())
    }
}

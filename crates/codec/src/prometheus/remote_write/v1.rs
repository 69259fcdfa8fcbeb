//! Remote-write 1.0: `prometheus.WriteRequest`, with the exemplars, histograms and metadata that its senders came to write.
//!
//! Labels are texts in every series; they are stored once.

use std::borrow::Cow;

use model::SeriesBuilder;
use model::series::{METRIC_NAME, Metadata, MetricKind, Symbol};
use model::wire::{Field, Wire};

use super::reader::{Malformed, Problem, Reader};
use super::refused::Reason;
use super::sink::{Room, Sink, label_reason, too_much_text};
use super::{DecodeError, Decoded, Version};

const REQUEST: &str = "the request";

pub(super) fn decode(buf: &[u8], room: Room<'_>) -> Result<Decoded, DecodeError> {
    let sink = Sink::new(Version::V1, SeriesBuilder::new(), room);
    let mut decoder = Decoder { buf, sink, labels: Vec::with_capacity(16), pairs: Vec::new() };
    decoder.reserve()?;
    let (mut known, mut other_version) = (false, false);
    let mut fields = Reader::new(buf, 0..buf.len(), REQUEST);
    while let Some(field) = fields.next()? {
        match (field.number, field.wire) {
            (1, Wire::Len) => decoder.series(&field)?,
            (3, Wire::Len) => decoder.family(&field)?,
            (1 | 3, _) => return Err(fields.misfit(&field).into()),
            (4 | 5, Wire::Len) => other_version = true,
            _ => {}
        }
        known |= matches!(field.number, 1 | 3);
    }
    if other_version && !known {
        return Err(fields.fault(0, Problem::OtherVersion).into());
    }
    Ok(decoder.sink.finish())
}

struct Decoder<'a, 'r> {
    buf: &'a [u8],
    sink: Sink<'r>,
    /// The labels of the series at hand; of those that are not UTF-8 only that there are such.
    labels: Vec<(&'a str, &'a str)>,
    /// The labels of the exemplar at hand.
    pairs: Vec<(Symbol, Symbol)>,
}

/// A label as it stands.
#[derive(Clone, Copy, Default)]
struct Label<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Decoder<'a, '_> {
    fn reserve(&mut self) -> Result<(), DecodeError> {
        let (mut series, mut bytes) = (0, 0);
        let mut fields = Reader::new(self.buf, 0..self.buf.len(), REQUEST);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                series += 1;
                bytes += field.end - field.body;
            }
        }
        self.sink.reserve(series, bytes)
    }

    fn series(&mut self, series: &Field) -> Result<(), DecodeError> {
        let mut values = 0;
        let mut text = 0;
        let mut valid = true;
        self.labels.clear();
        let mut fields = Reader::new(self.buf, series.body_range(), "timeseries");
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (1, Wire::Len) => {
                    let label = self.label(&field)?;
                    text += label.name.len() + label.value.len();
                    match (std::str::from_utf8(label.name), std::str::from_utf8(label.value)) {
                        (Ok(name), Ok(value)) => self.labels.push((name, value)),
                        _ => valid = false,
                    }
                }
                (2..=4, Wire::Len) => values += 1,
                (1..=4, _) => return Err(fields.misfit(&field).into()),
                _ => {}
            }
        }
        if values == 0 {
            self.sink.skip_series();
            return Ok(());
        }
        let begun = if valid { self.begin(text, series.start)? } else { Err(Reason::InvalidUtf8) };
        self.sink.begun(begun);
        let mut fields = Reader::new(self.buf, series.body_range(), "timeseries");
        while let Some(field) = fields.next()? {
            match field.number {
                2 => self.sink.sample(self.buf, &field, 0)?,
                3 => self.exemplar(&field)?,
                4 => self.sink.histogram(self.buf, &field, 0)?,
                _ => {}
            }
        }
        self.sink.end_series();
        Ok(())
    }

    fn label(&self, label: &Field) -> Result<Label<'a>, Malformed> {
        let mut read = Label::default();
        let mut fields = Reader::new(self.buf, label.body_range(), "timeseries.labels");
        while let Some(field) = fields.next()? {
            let text = self.buf.get(field.body_range()).unwrap_or_default();
            match (field.number, field.wire) {
                (1, Wire::Len) => read.name = text,
                (2, Wire::Len) => read.value = text,
                (1 | 2, _) => return Err(fields.misfit(&field)),
                _ => {}
            }
        }
        Ok(read)
    }

    fn begin(&mut self, text: usize, offset: usize) -> Result<Result<(), Reason>, DecodeError> {
        self.sink.take_series(self.labels.len(), text)?;
        if self.labels.iter().any(|(name, _)| name.is_empty()) {
            return Ok(Err(Reason::EmptyLabelName));
        }
        if !self.labels.iter().any(|(name, value)| *name == METRIC_NAME && !value.is_empty()) {
            return Ok(Err(Reason::NoName));
        }
        match self.sink.builder.series(self.labels.iter().copied(), |_| Metadata::default()) {
            Ok(()) => Ok(Ok(())),
            Err(error) => Ok(Err(label_reason(error, offset)?)),
        }
    }

    fn exemplar(&mut self, exemplar: &Field) -> Result<(), DecodeError> {
        let (mut value, mut timestamp_ms) = (0.0, 0);
        let mut named = true;
        self.pairs.clear();
        let mut fields = Reader::new(self.buf, exemplar.body_range(), "timeseries.exemplars");
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (1, Wire::Len) => {
                    let label = self.label(&field)?;
                    named &= !label.name.is_empty();
                    if !label.value.is_empty() {
                        let pair = (self.text(label.name, &field)?, self.text(label.value, &field)?);
                        self.pairs.push(pair);
                    }
                }
                (2, Wire::Fixed64) => value = f64::from_bits(field.bits),
                (3, Wire::Varint) => timestamp_ms = field.bits as i64,
                (1..=3, _) => return Err(fields.misfit(&field).into()),
                _ => {}
            }
        }
        let labels = if named { Ok(self.pairs.as_slice()) } else { Err(Reason::EmptyLabelName) };
        self.sink.exemplar(labels, value, timestamp_ms)
    }

    fn family(&mut self, family: &Field) -> Result<(), DecodeError> {
        let (mut kind, mut name, mut help, mut unit) = (0, &[][..], &[][..], &[][..]);
        let mut fields = Reader::new(self.buf, family.body_range(), "metadata");
        while let Some(field) = fields.next()? {
            let text = self.buf.get(field.body_range()).unwrap_or_default();
            match (field.number, field.wire) {
                (1, Wire::Varint) => kind = field.bits as i32,
                (2, Wire::Len) => name = text,
                (4, Wire::Len) => help = text,
                (5, Wire::Len) => unit = text,
                (1 | 2 | 4 | 5, _) => return Err(fields.misfit(&field).into()),
                _ => {}
            }
        }
        if name.is_empty() {
            return Ok(());
        }
        self.sink.room.take(size_of::<model::series::Family>())?;
        let name = self.text(name, family)?;
        let metadata = Metadata {
            kind: MetricKind::from_number(kind),
            help: self.text(help, family)?,
            unit: self.text(unit, family)?,
        };
        self.sink.builder.family(name, metadata);
        Ok(())
    }

    /// The symbol of a text, mended where it is not UTF-8.
    fn text(&mut self, text: &[u8], field: &Field) -> Result<Symbol, DecodeError> {
        let text = String::from_utf8_lossy(text);
        self.sink.invalid_utf8 += u64::from(matches!(text, Cow::Owned(_)));
        self.sink.room.take(text.len() + 16)?;
        Ok(self.sink.builder.intern(&text).map_err(|error| too_much_text(error, field.start))?)
    }
}

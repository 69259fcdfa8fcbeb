//! Where both versions put what they read: the batch under construction, the counts for the answer, and the memory asked for.

use model::SeriesBuilder;
use model::series::{LabelError, Sample, Symbol};
use model::wire::{Field, Wire};

use super::histogram::{self, Scratch};
use super::reader::{Malformed, Problem, Reader};
use super::refused::{Reason, Refused, Value};
use super::{DecodeError, Decoded, Version, Written};

/// Largest distance from 1970 in milliseconds, so that nanoseconds fit 64 bits.
const MAX_TIMESTAMP_MS: i64 = i64::MAX / 1_000_000;
/// What a series takes in a batch beside its labels, about.
const SERIES_BYTES: usize = 48;
/// What a histogram takes beside its lists, about.
const HISTOGRAM_BYTES: usize = 144;
/// What an exemplar takes beside its labels, about.
const EXEMPLAR_BYTES: usize = 32;

/// Memory for the decoded request.
pub(super) struct Room<'r> {
    used: usize,
    granted: usize,
    limit: usize,
    more: &'r mut dyn FnMut(usize) -> bool,
}

impl<'r> Room<'r> {
    /// The usual need of a request of `wire` bytes is granted at once. A series of one label and one sample, the worst among
    /// honest requests, takes some 8 times its bytes.
    pub(super) fn new(wire: usize, more: &'r mut dyn FnMut(usize) -> bool) -> Result<Self, DecodeError> {
        let limit = wire.saturating_mul(16).saturating_add(64 << 10);
        let mut room = Self { used: 0, granted: 0, limit, more };
        room.grow(wire.saturating_mul(2).saturating_add(1024))?;
        Ok(room)
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.granted { self.grow(self.used.saturating_mul(2)) } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self, wanted: usize) -> Result<(), DecodeError> {
        if self.used > self.limit {
            return Err(DecodeError::TooLarge { limit: self.limit });
        }
        let wanted = wanted.min(self.limit);
        if !(self.more)(wanted - self.granted) {
            return Err(DecodeError::NoRoom);
        }
        self.granted = wanted;
        Ok(())
    }
}

pub(super) struct Sink<'r> {
    pub(super) builder: SeriesBuilder,
    pub(super) room: Room<'r>,
    pub(super) version: Version,
    pub(super) invalid_utf8: u64,
    written: Written,
    refused: Refused,
    histogram: Scratch,
    /// Position of the series in the request.
    position: u64,
    /// Why the series as a whole was refused.
    outcast: Option<Reason>,
}

impl<'r> Sink<'r> {
    pub(super) fn new(version: Version, builder: SeriesBuilder, room: Room<'r>) -> Self {
        Self {
            builder,
            room,
            version,
            invalid_utf8: 0,
            written: Written::default(),
            refused: Refused::default(),
            histogram: Scratch::default(),
            position: 0,
            outcast: None,
        }
    }

    /// Reserves for `series` of `bytes` in all, as far as honest ones could need it.
    pub(super) fn reserve(&mut self, series: usize, bytes: usize) -> Result<(), DecodeError> {
        let series = series.min(bytes / 24);
        let refs = match self.version {
            Version::V1 => 16 * series,
            Version::V2 => (bytes / 3).min(32 * series),
        };
        self.builder.reserve(series, series, refs);
        Ok(())
    }

    /// Memory for a series of `labels`, whose texts hold `text` bytes that may be new to the batch.
    pub(super) fn take_series(&mut self, labels: usize, text: usize) -> Result<(), DecodeError> {
        self.room.take(SERIES_BYTES + 8 * labels + text)
    }

    /// Notes how beginning the series went; what it holds is then given to [`Self::sample`] and the others either way.
    pub(super) fn begun(&mut self, begun: Result<(), Reason>) {
        self.outcast = begun.err();
        if let Some(reason) = self.outcast {
            self.refused.series(reason, self.position);
        }
    }

    pub(super) fn end_series(&mut self) {
        if self.outcast.is_none() {
            self.builder.drop_empty_series();
        }
        self.position += 1;
    }

    /// Passes over a series that holds nothing.
    pub(super) fn skip_series(&mut self) {
        self.position += 1;
    }

    /// The sample in `field`. `created_ms` is the start of samples that name none, 0 where unknown.
    #[inline]
    pub(super) fn sample(&mut self, buf: &[u8], field: &Field, created_ms: i64) -> Result<(), DecodeError> {
        let mut sample = Sample::default();
        let mut fields = Reader::new(buf, field.body_range(), "timeseries.samples");
        let numbers = if self.version == Version::V2 { 1..=3 } else { 1..=2 };
        while let Some(field) = fields.next()? {
            match (field.number, field.wire) {
                (1, Wire::Fixed64) => sample.value = f64::from_bits(field.bits),
                (2, Wire::Varint) => sample.timestamp_ms = field.bits as i64,
                (3, Wire::Varint) if self.version == Version::V2 => sample.start_ms = field.bits as i64,
                (number, _) if numbers.contains(&number) => return Err(fields.misfit(&field).into()),
                _ => {}
            }
        }
        if sample.start_ms == 0 {
            sample.start_ms = created_ms;
        }
        let sound = self.sound(&[sample.timestamp_ms, sample.start_ms]);
        if let Err(reason) = sound {
            self.refused.value(reason, self.position, Value::Sample);
            return Ok(());
        }
        self.room.take(size_of::<Sample>())?;
        self.builder.sample(sample);
        self.written.samples += 1;
        Ok(())
    }

    pub(super) fn histogram(
        &mut self,
        buf: &[u8],
        field: &Field,
        created_ms: i64,
    ) -> Result<(), DecodeError> {
        let sound = self.sound(&[]);
        let mut read = self.histogram.read(buf, field, self.version)?;
        if read.start_ms == 0 {
            read.start_ms = created_ms;
        }
        let sound = sound
            .and_then(|()| in_range(&[read.timestamp_ms, read.start_ms]))
            .and_then(|()| histogram::check(&read));
        if let Err(reason) = sound {
            self.refused.value(reason, self.position, Value::Histogram);
            return Ok(());
        }
        self.room.take(HISTOGRAM_BYTES + histogram::size(&read))?;
        self.builder.histogram(&read);
        self.written.histograms += 1;
        Ok(())
    }

    /// An exemplar whose labels were read.
    pub(super) fn exemplar(
        &mut self,
        labels: Result<&[(Symbol, Symbol)], Reason>,
        value: f64,
        timestamp_ms: i64,
    ) -> Result<(), DecodeError> {
        let sound = self.sound(&[timestamp_ms]).and(labels);
        let added = match sound {
            Ok(labels) => {
                self.room.take(EXEMPLAR_BYTES + 8 * labels.len())?;
                self.builder.exemplar(labels, value, timestamp_ms).map_err(|_| Reason::NoSymbol)
            }
            Err(reason) => Err(reason),
        };
        match added {
            Ok(()) => self.written.exemplars += 1,
            Err(reason) => self.refused.value(reason, self.position, Value::Exemplar),
        }
        Ok(())
    }

    #[inline]
    fn sound(&self, times_ms: &[i64]) -> Result<(), Reason> {
        self.outcast.map_or(Ok(()), Err).and_then(|()| in_range(times_ms))
    }

    pub(super) fn finish(self) -> Decoded {
        Decoded {
            batch: self.builder.finish(),
            written: self.written,
            refused: self.refused,
            invalid_utf8: self.invalid_utf8,
        }
    }
}

#[inline]
fn in_range(times_ms: &[i64]) -> Result<(), Reason> {
    let fits = |ms: &i64| (-MAX_TIMESTAMP_MS..=MAX_TIMESTAMP_MS).contains(ms);
    if times_ms.iter().all(fits) { Ok(()) } else { Err(Reason::TimestampRange) }
}

/// The reason for labels that the builder did not take.
pub(super) fn label_reason(error: LabelError, offset: usize) -> Result<Reason, Malformed> {
    match error {
        LabelError::Duplicate | LabelError::Unsorted => Ok(Reason::DuplicateLabel),
        LabelError::NoSymbol => Ok(Reason::NoSymbol),
        LabelError::TooMuchText(error) => Err(too_much_text(error, offset)),
    }
}

pub(super) fn too_much_text(error: model::series::TooMuchText, offset: usize) -> Malformed {
    Malformed { message: "the request", offset, problem: Problem::from(error) }
}

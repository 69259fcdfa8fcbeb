//! What flows from a receiver to an exporter: one of two forms.

use std::sync::Arc;

use crate::series::SeriesBatch;
use crate::{Request, Signal};

/// A batch of telemetry. Clones share what they hold.
///
/// Both forms of metrics may meet in one pipeline: components that deal in metrics deal in both, and what needs the other form
/// converts it (`codec::prometheus`).
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// OTLP in wire format, of any signal.
    Otlp(Request),
    /// Prometheus series: metrics.
    Series(Arc<SeriesBatch>),
}

impl From<Request> for Payload {
    fn from(request: Request) -> Self {
        Self::Otlp(request)
    }
}

impl From<SeriesBatch> for Payload {
    fn from(series: SeriesBatch) -> Self {
        Self::Series(Arc::new(series))
    }
}

impl Payload {
    /// The kind of telemetry.
    pub fn signal(&self) -> Signal {
        match self {
            Self::Otlp(request) => request.signal(),
            Self::Series(_) => Signal::Metrics,
        }
    }

    /// Records in it: spans, log records, data points, samples and native histograms.
    pub fn items(&self) -> usize {
        match self {
            Self::Otlp(request) => request.items(),
            Self::Series(series) => series.items(),
        }
    }

    /// Whether there is nothing in it to deliver. Series may be without a sample and yet carry metadata.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Otlp(request) => request.items() == 0,
            Self::Series(series) => series.is_empty(),
        }
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        match self {
            Self::Otlp(request) => request.bytes().len(),
            Self::Series(series) => series.size(),
        }
    }

    /// Whether two payloads are the same memory.
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Otlp(a), Self::Otlp(b)) => {
                a.bytes().as_ptr() == b.bytes().as_ptr() && a.bytes().len() == b.bytes().len()
            }
            (Self::Series(a), Self::Series(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The first and the second half of the records (of the series); `None` where it is but one.
    pub fn halves(&self) -> Option<(Self, Self)> {
        match self {
            Self::Otlp(request) if request.items() < 2 => None,
            Self::Otlp(request) => {
                let middle = request.items() / 2;
                let first = request.retain(|index| index < middle)?;
                let second = request.retain(|index| index >= middle)?;
                Some((first.into(), second.into()))
            }
            Self::Series(series) => series.halves().map(|(first, second)| (first.into(), second.into())),
        }
    }
}

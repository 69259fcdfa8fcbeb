//! A checked OTLP export request in wire format.
//!
//! Invariant: the bytes of a [`Request`] are well-formed protobuf of their signal's export request, nested at most
//! [`crate::wire::MAX_DEPTH`] deep, every string valid UTF-8, and no singular field stands twice. Readers rely on it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::check::{Malformed, Repairs};
use crate::splice::Splice;
use crate::walk;
use crate::wire::Field;

/// A kind of telemetry.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans: `ExportTraceServiceRequest`.
    Traces,
    /// Log records: `ExportLogsServiceRequest`.
    Logs,
    /// Data points: `ExportMetricsServiceRequest`.
    Metrics,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// `traces`, `logs` or `metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// The bytes of one OTLP export request, checked. Clones share them.
#[derive(Clone, Debug)]
pub struct Request {
    signal: Signal,
    items: usize,
    bytes: Bytes,
    long_bytes: bool,
}

impl PartialEq for Request {
    /// What was found out about the bytes is no part of them.
    fn eq(&self, other: &Self) -> bool {
        (self.signal, self.items, &self.bytes) == (other.signal, other.items, &other.bytes)
    }
}

impl Eq for Request {}

impl Request {
    /// Checks bytes that came from outside and mends what can be mended: invalid UTF-8 is replaced, singular fields that
    /// stand twice are merged as protobuf says, over-long varints are shortened. What cannot be mended is refused.
    pub fn receive(signal: Signal, bytes: Bytes) -> Result<(Self, Repairs), Malformed> {
        let (found, bytes) = crate::check::receive(signal, bytes)?;
        let request = Self { signal, items: found.records, bytes, long_bytes: found.long_bytes };
        Ok((request, found.repairs))
    }

    /// The request that our own writer built, with `items` records. Trusted; debug builds check it.
    pub fn written(signal: Signal, items: usize, writer: crate::Writer) -> Self {
        let bytes = writer.finish();
        debug_assert_eq!(
            crate::check::survey(crate::otlp::request_descriptor(signal), &bytes).map(|s| s.records),
            Ok(items)
        );
        Self { signal, items, bytes, long_bytes: true }
    }

    /// Applies the edits of `splice`, after which `items` records are left.
    pub fn spliced(self, splice: &Splice, items: usize) -> Self {
        Self { items, bytes: splice.apply(self.bytes), ..self }
    }

    /// The records for which `keep` says so, by their position in the request (it is asked once each, in order); `None` when none
    /// is left. What stands around them stays, but for what would be empty. The bytes are copied, unless all are kept.
    pub fn retain(&self, keep: impl FnMut(usize) -> bool) -> Option<Self> {
        struct Chosen<F> {
            keep: F,
            next: usize,
        }
        impl<F: FnMut(usize) -> bool> walk::Visitor for Chosen<F> {
            fn record(&mut self, _: walk::RecordKind, _: &Field, _: &mut Splice) -> walk::Verdict {
                self.next += 1;
                if (self.keep)(self.next - 1) { walk::Verdict::Keep } else { walk::Verdict::Drop }
            }
        }
        let mut splice = Splice::new();
        let outcome = walk::walk(self, &mut Chosen { keep, next: 0 }, &mut splice);
        (outcome.kept > 0).then(|| self.clone().spliced(&splice, outcome.kept))
    }

    /// The kind of telemetry.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Spans, log records or data points in it.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Whether a `bytes` field, or a field that the tables do not know, is 34 bytes long or longer, so that it could hold the
    /// binary form of a peer id. True also where nobody has looked.
    pub fn may_hold_binary_ids(&self) -> bool {
        self.long_bytes
    }

    /// The protobuf bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Takes the protobuf bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

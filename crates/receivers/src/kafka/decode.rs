//! Messages to requests.

use bytes::Bytes;
use codec::json_lines::{Counters, EventDecoder, JsonLinesLimits};
use codec::logs::{BatchLimits, LogsBuilder};
use codec::otlp_json::{self, DecodeLimits};
use engine::ComponentMetrics;
use metrics::Counter;
use model::{Request, Signal};

use kafka_client::Encoding;

/// The scope of records that were plain JSON.
const SCOPE: &str = "floodway/kafka";

/// How much larger than its JSON a request may be in wire format: an array of small numbers is four times as large.
const GROWTH: usize = 4;

/// Decodes the messages of one partition.
pub(super) struct Decoder {
    signal: Signal,
    encoding: Encoding,
    events: EventDecoder,
    batch: LogsBuilder,
    counted: Counters,
    metrics: ComponentMetrics,
    parse_failures: Counter,
    timestamp_failures: Counter,
    invalid_utf8: Counter,
}

impl Decoder {
    pub(super) fn new(signal: Signal, encoding: Encoding, metrics: &ComponentMetrics) -> Self {
        let problem = |kind| metrics.counter("floodway_line_problems_total", &[("problem", kind)]);
        Self {
            signal,
            encoding,
            events: EventDecoder::new(JsonLinesLimits::default()),
            batch: LogsBuilder::new(SCOPE, BatchLimits::default()),
            counted: Counters::default(),
            metrics: metrics.clone(),
            parse_failures: problem("json"),
            timestamp_failures: problem("timestamp"),
            invalid_utf8: problem("invalid_utf8"),
        }
    }

    /// Whether another message may be added before [`Decoder::finish`].
    pub(super) fn takes_more(&self) -> bool {
        self.encoding == Encoding::Json && !self.batch.is_full()
    }

    /// Takes a message. With plain JSON the records come by [`Decoder::finish`]. What cannot be decoded is counted, and nothing
    /// comes of it: it would not decode the next time either.
    pub(super) fn message(&mut self, payload: Bytes, unix_nanos: u64) -> Option<Request> {
        // A tombstone, or a request without records.
        if payload.is_empty() {
            return None;
        }
        let decoded = match self.encoding {
            Encoding::OtlpProto => {
                Request::receive(self.signal, payload).map(|(request, _)| request).map_err(|e| e.to_string())
            }
            Encoding::OtlpJson => {
                let limits = DecodeLimits { max_bytes: payload.len().saturating_mul(GROWTH) };
                let decoded = otlp_json::receive(self.signal, &payload, &limits);
                decoded.map(|(request, _)| request).map_err(|e| e.to_string())
            }
            Encoding::Json => {
                self.events.event(&payload, unix_nanos, &mut self.batch);
                return None;
            }
        };
        match decoded {
            Ok(request) => Some(request),
            Err(error) => {
                let component = self.metrics.id();
                tracing::debug!(component, "a message is no {} request: {error}", self.signal.name());
                self.metrics.refused("malformed", 0);
                None
            }
        }
    }

    /// The records of plain JSON since the last call.
    pub(super) fn finish(&mut self) -> Option<Request> {
        let (now, before) = (self.events.counters(), self.counted);
        self.parse_failures.increment(now.parse_failures - before.parse_failures);
        self.timestamp_failures.increment(now.timestamp_failures - before.timestamp_failures);
        self.invalid_utf8.increment(now.invalid_utf8 - before.invalid_utf8);
        self.counted = now;
        self.batch.finish()
    }
}

//! The little of gRPC and OTLP that a load generator needs: signals, paths, message frames, status.
//!
//! A gRPC message on the wire:
//! ```text
//! byte 0      1 if the message is compressed as the header grpc-encoding says, else 0
//! bytes 1-4   length of the message, big-endian
//! then        the message
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// Bytes before a message.
pub const FRAME_HEADER_LEN: usize = 5;

/// A kind of telemetry, as OTLP divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metrics: received and counted only, there is no payload for them yet.
    Metrics,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

    /// The path of the OTLP export call.
    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The signal of a path.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.path() == path)
    }

    /// `traces`, `logs` or `metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        }
    }
}

/// Puts the frame header before a message. The length must fit 32 bits, as it does for any payload made here.
pub fn frame(message: &[u8], compressed: bool) -> Bytes {
    let mut framed = BytesMut::with_capacity(FRAME_HEADER_LEN + message.len());
    framed.put_u8(u8::from(compressed));
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

/// A frame header: whether the message is compressed, and its length.
pub fn parse_header(header: [u8; FRAME_HEADER_LEN]) -> (bool, u32) {
    let [flag, length @ ..] = header;
    (flag & 1 == 1, u32::from_be_bytes(length))
}

/// The name of a status code, as the gRPC specification has it.
pub fn status_name(code: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(code as usize).copied().unwrap_or("UNKNOWN_CODE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let framed = frame(b"abc", true);
        assert_eq!(&framed[..], b"\x01\0\0\0\x03abc");
        assert_eq!(parse_header(framed[..5].try_into().unwrap()), (true, 3));
    }

    #[test]
    fn paths_lead_back_to_their_signal() {
        for signal in Signal::ALL {
            assert_eq!(Signal::from_path(signal.path()), Some(signal));
        }
        assert_eq!(Signal::from_path("/grpc.health.v1.Health/Check"), None);
    }
}

//! gRPC status codes and how a status travels: `grpc-status`, percent-encoded `grpc-message`, and RetryInfo in
//! `grpc-status-details-bin`.
//!
//! ```text
//! grpc-status-details-bin = base64( google.rpc.Status {
//!     1: code (int32)  2: message (string)
//!     3: details (repeated google.protobuf.Any { 1: type_url  2: value }) } )
//! value of type.googleapis.com/google.rpc.RetryInfo = { 1: retry_delay Duration { 1: seconds  2: nanos } }
//! ```
//! Other kinds of details are not kept.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use std::time::Duration;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Longest message that is sent or kept, bytes.
const MAX_MESSAGE: usize = 2048;
/// Longest delay that is believed: a server that asks for more has made a mistake.
const MAX_DELAY: Duration = Duration::from_secs(3600);
/// Senders must not pad `-bin` values, receivers must take both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The outcome of a call, numbered as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Reads `grpc-status`. A number that gRPC does not know is [`Code::Unknown`].
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<usize>().ok())
            .and_then(|n| Self::ALL.get(n).copied())
            .unwrap_or(Self::Unknown)
    }

    /// What an HTTP status stands for when an answer carries no `grpc-status` (gRPC's
    /// http-grpc-status-mapping).
    #[must_use]
    pub const fn from_http(status: http::StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// As in the specification: `RESOURCE_EXHAUSTED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// A call that did not succeed, as server and client see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// For a person to read.
    pub message: String,
    /// Sent and received as RetryInfo: when to try again.
    pub retry_after: Option<Duration>,
}

impl Status {
    /// Without a retry hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// With a retry hint.
    #[must_use]
    pub const fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Whether OTLP wants the same request sent again (OTLP 1.x, "OTLP/gRPC Response", the table of codes):
    /// `RESOURCE_EXHAUSTED` only with a retry hint.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self.code {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            Code::ResourceExhausted => self.retry_after.is_some(),
            _ => false,
        }
    }

    /// Writes the status into trailers, or into the header of a Trailers-Only response.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from(self.code as u16));
        if !self.message.is_empty()
            && let Ok(value) = HeaderValue::try_from(percent_encode(&self.message))
        {
            headers.insert(GRPC_MESSAGE, value);
        }
        if let Some(delay) = self.retry_after
            && let Ok(value) = HeaderValue::try_from(BASE64.encode(self.details(delay)))
        {
            headers.insert(GRPC_DETAILS, value);
        }
    }

    /// Writes success.
    pub fn write_ok(headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    }

    fn details(&self, delay: Duration) -> Vec<u8> {
        let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        let nanos = i32::try_from(delay.subsec_nanos()).unwrap_or(0);
        let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
        RpcStatus {
            code: self.code as i32,
            message: clip(&self.message).to_owned(),
            details: vec![Any { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() }],
        }
        .encode_to_vec()
    }

    /// Reads a status; `None` when there is no `grpc-status`.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let code = Code::parse(headers.get(GRPC_STATUS)?.as_bytes());
        let message = headers.get(GRPC_MESSAGE).map(|v| percent_decode(v.as_bytes())).unwrap_or_default();
        let retry_after = headers.get(GRPC_DETAILS).and_then(|v| retry_delay(v.as_bytes()));
        Some(Self { code, message, retry_after })
    }
}

/// Finds RetryInfo in `grpc-status-details-bin`.
pub(crate) fn retry_delay(value: &[u8]) -> Option<Duration> {
    // Several values of one name may have been joined by commas; we write and expect one.
    let status = RpcStatus::decode(&BASE64.decode(value.trim_ascii()).ok()?[..]).ok()?;
    let info = status.details.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos).min(MAX_DELAY))
}

fn clip(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Percent-encodes what is not printable ASCII, and `%` (gRPC over HTTP/2, "Status-Message").
fn percent_encode(message: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(message.len().min(MAX_MESSAGE));
    for byte in clip(message).bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// Undoes [`percent_encode`]; what is malformed is kept as it is. At most [`MAX_MESSAGE`] bytes.
pub(crate) fn percent_decode(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len().min(MAX_MESSAGE));
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        if out.len() >= MAX_MESSAGE {
            break;
        }
        let hex = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match tail {
            [high, low, after @ ..] if *first == b'%' => {
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                    out.push(high << 4 | low);
                    rest = after;
                    continue;
                }
            }
            _ => {}
        }
        out.push(*first);
        rest = tail;
    }
    // Each byte that is no UTF-8 becomes three.
    clip(&String::from_utf8_lossy(&out)).to_owned()
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_retry_info() {
        // google.rpc.Status{8, "x", [RetryInfo{1.5 s}]} as grpc-go writes it.
        let mut headers = HeaderMap::new();
        Status::new(Code::ResourceExhausted, "x")
            .retry_after(Duration::from_millis(1500))
            .write(&mut headers);
        let bytes = BASE64.decode(&headers["grpc-status-details-bin"]).unwrap();
        let mut expected = vec![8, 8, 18, 1, b'x', 26, 52, 10, 40];
        expected.extend_from_slice(RETRY_INFO.as_bytes());
        expected.extend_from_slice(&[18, 8, 10, 6, 8, 1, 16, 128, 0xca, 0xb5, 0xee, 1]);
        expected[6] = u8::try_from(expected.len() - 7).unwrap();
        expected[14 + RETRY_INFO.len() - 3] = 10;
        assert_eq!(RpcStatus::decode(&bytes[..]).unwrap().details.len(), 1);
        assert_eq!(
            retry_delay(headers["grpc-status-details-bin"].as_bytes()),
            Some(Duration::from_millis(1500))
        );
    }

    #[test]
    fn codes() {
        assert_eq!(Code::parse(b"8"), Code::ResourceExhausted);
        assert_eq!(Code::parse(b"99"), Code::Unknown);
        assert_eq!(Code::parse(b"-1"), Code::Unknown);
        for (n, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, n);
        }
        assert!(!Status::new(Code::ResourceExhausted, "").is_retryable());
        assert!(Status::new(Code::ResourceExhausted, "").retry_after(Duration::ZERO).is_retryable());
        assert_eq!(Code::from_http(http::StatusCode::BAD_GATEWAY), Code::Unavailable);
    }

    #[test]
    fn bad_details_are_no_hint() {
        assert_eq!(retry_delay(b"!!!"), None);
        assert_eq!(retry_delay(b""), None);
        assert_eq!(percent_decode(b"100% of %41%zz%4"), "100% of A%zz%4");
    }

    proptest! {
        #[test]
        fn a_status_survives_the_way(
            message in "\\PC{0,80}\n?%?",
            millis in prop::option::of(0_u64..3_600_000),
            code in 1_usize..17,
        ) {
            let retry_after = millis.map(Duration::from_millis);
            let status = Status { code: Code::ALL[code], message, retry_after };
            let mut headers = HeaderMap::new();
            status.write(&mut headers);
            prop_assert_eq!(Status::read(&headers), Some(status));
        }

        #[test]
        fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = retry_delay(&noise);
            let _ = percent_decode(&noise);
            let _ = retry_delay(BASE64.encode(&noise).as_bytes());
        }
    }
}

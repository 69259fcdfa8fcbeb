//! What a disk buffer and dead letters hold: a payload as a tag and bytes.
//!
//! | tag | bytes |
//! |---|---|
//! | 1 traces, 2 logs, 3 metrics | the OTLP request as it is |
//! | 4 series | `model::SeriesBatch::to_bytes` |
//! | 0x80 + one of these | a dead letter: length and text of the reason, length and text of the message, then the same bytes |
//!
//! Lengths are 2 bytes, little-endian.
//!
//! Invariants: what is encoded is decoded to the same telemetry; a disk is input, so what is decoded is checked as if it came from
//! a sender, and nothing panics whatever the bytes. The tags are for ever: a buffer outlives an upgrade.

use bytes::{BufMut as _, Bytes, BytesMut};
use model::series::NotSeries;
use model::{Malformed, Payload, Request, SeriesBatch, Signal};

const TRACES: u8 = 1;
const LOGS: u8 = 2;
const METRICS: u8 = 3;
const SERIES: u8 = 4;
/// Added to the tag of a payload that was given up on.
const LETTER: u8 = 0x80;

/// Most bytes of a reason and of a message; what is longer is cut.
const MAX_TEXT: usize = 4096;

/// Why stored bytes are no telemetry. Holds nothing of them.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Written by a later version, or by something else.
    #[error("the record has tag {0:#04x}, which this version does not know")]
    Tag(u8),
    /// OTLP that cannot be.
    #[error("the record is no OTLP request: {0}")]
    Request(#[from] Malformed),
    /// Series that cannot be.
    #[error("the record holds no series: {0}")]
    Series(#[from] NotSeries),
    /// A dead letter whose envelope is cut short or holds no text.
    #[error("the record is a dead letter with a damaged envelope")]
    Envelope,
}

/// What was given up on, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// The `reason` with which it was counted as dropped.
    pub reason: String,
    /// What the destination said.
    pub message: String,
    /// The records.
    pub payload: Payload,
}

/// Tag and bytes of a payload. OTLP is not copied.
pub fn encode(payload: &Payload) -> (u8, Bytes) {
    match payload {
        Payload::Otlp(request) => (tag_of(request.signal()), request.bytes().clone()),
        Payload::Series(series) => (SERIES, series.to_bytes()),
    }
}

/// Reads what [`encode`] made.
///
/// # Errors
/// [`Unreadable`], also for a dead letter.
pub fn decode(tag: u8, bytes: Bytes) -> Result<Payload, Unreadable> {
    let signal = match tag {
        TRACES => Signal::Traces,
        LOGS => Signal::Logs,
        METRICS => Signal::Metrics,
        SERIES => return Ok(SeriesBatch::from_bytes(&bytes)?.into()),
        _ => return Err(Unreadable::Tag(tag)),
    };
    let (request, _) = Request::receive(signal, bytes)?;
    Ok(request.into())
}

/// Reads what [`encode`] or [`encode_letter`] made, without the envelope.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_any(tag: u8, bytes: Bytes) -> Result<Payload, Unreadable> {
    if is_letter(tag) { Ok(decode_letter(tag, bytes)?.payload) } else { decode(tag, bytes) }
}

/// Whether a record with this tag is a dead letter.
pub fn is_letter(tag: u8) -> bool {
    tag & LETTER != 0
}

/// The name of what a record with this tag holds, `None` if this version does not know it: `traces`, `logs`, `metrics`, or `series`
/// for metrics in the form of Prometheus.
pub fn form(tag: u8) -> Option<&'static str> {
    match tag & !LETTER {
        TRACES => Some(Signal::Traces.name()),
        LOGS => Some(Signal::Logs.name()),
        METRICS => Some(Signal::Metrics.name()),
        SERIES => Some("series"),
        _ => None,
    }
}

/// Tag and bytes of a dead letter.
pub fn encode_letter(reason: &str, message: &str, payload: &Payload) -> (u8, Bytes) {
    let (tag, inner) = encode(payload);
    let mut bytes = BytesMut::with_capacity(4 + reason.len() + message.len() + inner.len());
    for text in [reason, message] {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        bytes.put_u16_le(text.len() as u16);
        bytes.put_slice(text.as_bytes());
    }
    bytes.put_slice(&inner);
    (tag | LETTER, bytes.freeze())
}

/// Reads what [`encode_letter`] made.
///
/// # Errors
/// [`Unreadable`], also for what is no dead letter.
pub fn decode_letter(tag: u8, mut bytes: Bytes) -> Result<Letter, Unreadable> {
    if !is_letter(tag) {
        return Err(Unreadable::Tag(tag));
    }
    let mut text = || {
        let length = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
        if bytes.len() < 2 + length {
            return None;
        }
        let text = bytes.split_to(2 + length);
        Some(String::from_utf8_lossy(&text[2..]).into_owned())
    };
    let (reason, message) = text().zip(text()).ok_or(Unreadable::Envelope)?;
    Ok(Letter { reason, message, payload: decode(tag & !LETTER, bytes)? })
}

fn tag_of(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => TRACES,
        Signal::Logs => LOGS,
        Signal::Metrics => METRICS,
    }
}

#[cfg(test)]
mod tests {
    use model::series::{Metadata, Sample};
    use model::{SeriesBuilder, Writer};
    use proptest::prelude::*;

    use super::*;

    fn otlp(signal: Signal, text: &str) -> Payload {
        let mut writer = Writer::new();
        let record = |w: &mut Writer| {
            w.message(1, |w| {
                w.message(2, |w| w.message(2, |w| w.string(if signal == Signal::Logs { 3 } else { 5 }, text)))
            });
        };
        match signal {
            Signal::Metrics => {}
            _ => record(&mut writer),
        }
        Request::receive(signal, writer.finish()).unwrap().0.into()
    }

    fn series(name: &str, value: f64) -> Payload {
        let mut builder = SeriesBuilder::new();
        builder.series([("__name__", name)], |_| Metadata::default()).unwrap();
        builder.sample(Sample { value, timestamp_ms: 5, start_ms: 0 });
        builder.finish().into()
    }

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![
            (prop::sample::select(&Signal::ALL[..]), "\\PC{0,40}")
                .prop_map(|(signal, text)| otlp(signal, &text)),
            ("[a-z]{1,8}", -1e9..1e9).prop_map(|(name, value)| series(&name, value)),
        ]
    }

    #[test]
    fn the_tags_are_for_ever() {
        let tags: Vec<u8> = Signal::ALL.iter().map(|signal| encode(&otlp(*signal, "x")).0).collect();
        assert_eq!(tags, [1, 2, 3]);
        assert_eq!(encode(&series("up", 1.0)).0, 4);
        assert_eq!(encode_letter("r", "m", &series("up", 1.0)).0, 0x84);
        let (_, bytes) = encode_letter("no", "why", &otlp(Signal::Logs, "x"));
        assert!(bytes.starts_with(b"\x02\0no\x03\0why"));
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(form),
            [None, Some("traces"), Some("logs"), Some("metrics"), Some("series"), None]
        );
    }

    #[test]
    fn one_is_not_taken_for_the_other() {
        let payload = otlp(Signal::Logs, "x");
        let (tag, bytes) = encode(&payload);
        assert!(matches!(decode_letter(tag, bytes.clone()), Err(Unreadable::Tag(2))));
        let (letter, enclosed) = encode_letter("r", "m", &payload);
        assert!(matches!(decode(letter, enclosed.clone()), Err(Unreadable::Tag(0x82))));
        assert!(matches!(decode(0, bytes), Err(Unreadable::Tag(0))));
        for cut in 0..6 {
            assert!(
                matches!(decode_letter(letter, enclosed.slice(..cut)), Err(Unreadable::Envelope)),
                "{cut}"
            );
        }
        assert!(matches!(
            decode(4, Bytes::from_static(b"\x09")),
            Err(Unreadable::Series(NotSeries::Version(9)))
        ));
        assert!(matches!(decode(2, Bytes::from_static(b"\xff\xff")), Err(Unreadable::Request(_))));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let (tag, bytes) = encode_letter("r", &"é".repeat(40_000), &otlp(Signal::Logs, "x"));
        let letter = decode_letter(tag, bytes).unwrap();
        assert_eq!(letter.message, "é".repeat(MAX_TEXT / 2));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(payload in payload(), reason in "[a-z_]{0,20}", message in "\\PC{0,80}") {
            let (tag, bytes) = encode(&payload);
            prop_assert_eq!(&decode(tag, bytes).unwrap(), &payload);
            let (tag, bytes) = encode_letter(&reason, &message, &payload);
            prop_assert!(is_letter(tag));
            prop_assert_eq!(decode_any(tag, bytes.clone()).unwrap(), payload.clone());
            prop_assert_eq!(decode_letter(tag, bytes).unwrap(), Letter { reason, message, payload });
        }

        #[test]
        fn any_bytes_are_survived(tag: u8, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            if let Ok(payload) = decode(tag, bytes.clone()) {
                let (again, bytes) = encode(&payload);
                prop_assert_eq!(again, tag);
                prop_assert_eq!(decode(again, bytes).unwrap().items(), payload.items());
            }
            if let Ok(letter) = decode_letter(tag, bytes) {
                prop_assert!(is_letter(tag) && form(tag).is_some());
                prop_assert!(letter.reason.len() <= 3 * 80, "each byte that is no text becomes three");
            }
        }
    }
}

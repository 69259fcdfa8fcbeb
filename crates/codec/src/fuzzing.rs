//! What must hold for any input: called by the fuzz targets, and by `cargo test` on their corpora.
//!
//! Each function takes what a peer could send and panics if an invariant of its format breaks.

use model::{Request, Signal};

use crate::json_lines::{JsonLines, JsonLinesLimits};
use crate::logs::{BatchLimits, LogsBuilder};
use crate::otlp_json::{self, DecodeLimits};

/// `data` as the body of each signal: what decodes is a sound request, and encodes to JSON that decodes to the same bytes.
pub fn otlp_json(data: &[u8]) {
    let limits = DecodeLimits { max_bytes: 1 << 20 };
    for signal in Signal::ALL {
        match otlp_json::decode(signal, data, &limits) {
            Ok(request) => {
                assert!(request.bytes().len() <= limits.max_bytes);
                sound(&request);
                let json = encoded(&request);
                match otlp_json::decode(signal, &json, &limits) {
                    Ok(again) => assert_eq!(again, request),
                    Err(error) => panic!("what was encoded does not decode: {error}"),
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// `data` as a stream; its first two bytes choose how it is cut into chunks and the limit on lines.
pub fn json_lines(data: &[u8]) {
    let Some((&[size, limit], stream)) = data.split_first_chunk() else {
        return;
    };
    let limits =
        JsonLinesLimits { max_line_bytes: 8 + usize::from(limit) * 16, max_fields: 40, max_depth: 40 };
    let whole = run(limits, stream, stream.len().max(1));
    let chunks = run(limits, stream, 1 + usize::from(size));
    assert_eq!(whole, chunks, "the result depends on how the stream is cut");
}

/// All records of a stream, batch by batch.
fn run(limits: JsonLinesLimits, stream: &[u8], chunk_bytes: usize) -> Vec<Request> {
    const NOW: u64 = 1_700_000_000_000_000_000;
    let mut session = JsonLines::new(limits);
    let mut batch =
        LogsBuilder::new(crate::json_lines::SCOPE, BatchLimits { max_records: 4, max_bytes: 2000 });
    let mut requests = Vec::new();
    for chunk in stream.chunks(chunk_bytes) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = &rest[session.push(rest, NOW, &mut batch)..];
            if batch.is_full() {
                requests.extend(batch.finish());
            }
        }
        assert!(session.held_bytes() <= limits.max_line_bytes + 2);
    }
    session.finish(NOW, &mut batch);
    requests.extend(batch.finish());
    for request in &requests {
        sound(request);
        encoded(request);
    }
    let records: usize = requests.iter().map(Request::items).sum();
    assert_eq!(records as u64, session.counters().events);
    requests
}

/// The request passes the check for bytes from outside, with nothing to mend.
fn sound(request: &Request) {
    match Request::receive(request.signal(), request.bytes().clone()) {
        Ok((checked, repairs)) => {
            assert!(!repairs.any(), "{repairs:?}");
            assert_eq!(&checked, request);
        }
        Err(malformed) => panic!("{malformed}"),
    }
}

/// The request as JSON, which serde_json can read.
fn encoded(request: &Request) -> Vec<u8> {
    let mut json = Vec::new();
    otlp_json::encode(request, &mut json);
    assert!(!json.contains(&b'\n'));
    let mut reader = serde_json::Deserializer::from_slice(&json);
    reader.disable_recursion_limit();
    let read =
        <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut reader).and_then(|_| reader.end());
    assert!(read.is_ok(), "not JSON: {}", String::from_utf8_lossy(&json));
    json
}

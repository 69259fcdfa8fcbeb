//! What must hold for any input: called by the fuzz targets, and by `cargo test` on their corpora.
//!
//! Each function takes what a peer could send and panics if an invariant of its format breaks.

use bytes::Bytes;
use model::{Request, Signal};

use crate::elasticsearch::{self, Bulk, BulkEncoder, BulkOptions, DataStream, IndexPattern, Mapping, Target};
use crate::json_lines::{JsonLines, JsonLinesLimits};
use crate::json_log;
use crate::logs::{BatchLimits, LogsBuilder};
use crate::loki::{Encoder, EncoderOptions, LevelPlace, LineFormat, Push, PushDecoder, PushError};
use crate::otlp_json::{self, DecodeLimits};
use crate::prometheus::remote_write::{self, DecodeError, Version};
use crate::syslog::{Framing, SyslogDecoder, SyslogStream, Zone};

/// When everything is received.
const NOW: u64 = 1_700_000_000_000_000_000;

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

/// `data` as OTLP metrics that become series and OTLP again: every point is counted once, labels are in order, and what comes out
/// is a sound request. Both remote-write encoders take the series.
pub fn prometheus_series(data: &[u8]) {
    use crate::prometheus::delta::Limits;
    use crate::prometheus::encode::{EncoderV1, EncoderV2, ExternalLabels, FamilyMap};
    use crate::prometheus::from_otlp::{FromOtlp, FromOtlpOptions};

    let Ok((request, _)) = Request::receive(Signal::Metrics, Bytes::copy_from_slice(data)) else { return };
    let accumulate = Some(Limits { max_series: 2, idle_ms: 1000 });
    for (custom_buckets, accumulate) in [(false, None), (true, accumulate)] {
        let options = FromOtlpOptions {
            custom_buckets,
            accumulate,
            resource_labels: vec!["*".to_owned()],
            ..FromOtlpOptions::default()
        };
        let mut builder = model::SeriesBuilder::new();
        let Ok(report) = FromOtlp::new(options).convert([&request], 1_000, &mut builder) else { return };
        let batch = builder.finish();
        assert_eq!(batch.items() as u64 + report.refused.values().sum::<u64>(), request.items() as u64);
        let external = ExternalLabels::new([("a".to_owned(), "b".to_owned())]);
        let (mut v1, mut v2) = (EncoderV1::new(), EncoderV2::new());
        v2.begin_batch(batch.symbols().len());
        for series in batch.iter() {
            assert!(series.labels().iter().map(|(name, _)| name).is_sorted_by(|a, b| a < b));
            assert!(series.labels().iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
            v1.push(&series, &external);
            v2.push(&series, &external, &FamilyMap::default());
        }
        assert_eq!(v1.samples(), v2.samples());
        sound(&crate::prometheus::to_otlp::to_otlp(&batch));
    }
}

/// `data` as the answer of a server to as many documents as its first byte says: every document has one verdict.
pub fn elasticsearch_response(data: &[u8]) {
    let Some((&items, body)) = data.split_first() else {
        return;
    };
    let items = usize::from(items);
    for content_ids in [true, false] {
        let answer = elasticsearch::read(body, items, content_ids);
        let mut judged = vec![false; items];
        for positions in answer.refusals.iter().map(|refusal| &refusal.positions).chain([&answer.retry]) {
            assert!(positions.is_sorted_by(|a, b| a < b));
            positions.iter().for_each(|position| assert!(!std::mem::replace(&mut judged[*position], true)));
        }
        assert!(answer.refusals.iter().all(|refusal| !refusal.positions.is_empty()));
        for text in answer.refusals.iter().map(|refusal| &refusal.message).chain([&answer.message]) {
            assert!(text.chars().count() < 300 && !text.contains(char::is_control));
        }
    }
    elasticsearch::error_of(body);
}

/// `data` as a pattern, a line break, and the value of every field: the name is legal.
pub fn elasticsearch_index(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pattern, value) = text.split_once('\n').unwrap_or((&text, ""));
    let mut name = Vec::new();
    let targets = [
        IndexPattern::parse(pattern).map(Target::Index),
        DataStream::parse("logs", pattern, "default").map(Target::DataStream),
    ];
    for target in targets {
        match target {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(target) => {
                let field = |_: &str, out: &mut String| {
                    out.push_str(value);
                    true
                };
                target.render(1_772_366_400_123_456_789, field, &mut name);
                legal_index(&name);
            }
        }
    }
}

fn legal_index(name: &[u8]) {
    let Ok(name) = std::str::from_utf8(name) else { panic!("not UTF-8") };
    assert!(!name.is_empty() && name.len() <= 255 && name != "." && name != "..", "{name:?}");
    assert!(!name.starts_with(['-', '_', '+']) && name.to_lowercase() == name, "{name:?}");
    let bad = |c: char| c.is_control() || "\\/*?\"<>| ,#:".contains(c);
    assert!(!name.contains(bad), "{name:?}");
}

/// `data` as log records: in either mapping each becomes one document, which is JSON without equal keys, and the same one again
/// if it is encoded again.
pub fn elasticsearch_bulk(data: &[u8]) {
    let Ok((request, _)) = Request::receive(Signal::Logs, Bytes::copy_from_slice(data)) else {
        return;
    };
    for mapping in [Mapping::Ecs, Mapping::Flat] {
        let Ok(index) = IndexPattern::parse("logs-%{+yyyy}-%{[service.name]}") else { return };
        let options = BulkOptions { target: Target::Index(index), mapping, content_ids: true };
        let mut encoder = BulkEncoder::new(options);
        let (mut whole, mut pieces) = (Bulk::default(), Bulk::default());
        assert!(!encoder.start(&request, 0).fill(usize::MAX, 1, &mut whole));
        assert_eq!(whole.items.len(), request.items());
        let mut encoding = encoder.start(&request, 0);
        while encoding.fill(pieces.body.len() + 1, 1, &mut pieces) {}
        assert!(whole.body == pieces.body && whole.items == pieces.items);
        let mut start = 0;
        for item in &whole.items {
            let line = &whole.body[start..item.end];
            start = item.end;
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 2);
            let lines = line.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            assert_eq!(lines.inspect(|line| unique_keys(line)).count(), 2);
        }
        assert_eq!(start, whole.body.len());
    }
}

/// One JSON value in which no object has two equal keys.
pub fn unique_keys(json: &[u8]) {
    use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

    struct Unique;
    impl<'de> Deserialize<'de> for Unique {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Self)
        }
    }
    macro_rules! scalars {
        ($($visit:ident: $type:ty),*) => { $(fn $visit<E>(self, _: $type) -> Result<Self, E> { Ok(self) })* };
    }
    impl<'de> Visitor<'de> for Unique {
        type Value = Self;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }

        scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

        fn visit_unit<E>(self) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
            while seq.next_element::<Self>()?.is_some() {}
            Ok(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            let mut keys = std::collections::HashSet::new();
            while let Some((key, _)) = map.next_entry::<String, Self>()? {
                assert!(keys.insert(key), "two equal keys");
            }
            Ok(self)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.disable_recursion_limit();
    let read = Unique::deserialize(&mut reader).and_then(|_| reader.end());
    assert!(read.is_ok(), "not JSON: {}", String::from_utf8_lossy(json));
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

/// `data` as a protobuf body of a push, inflated: what decodes is a sound request.
pub fn loki_push(data: &[u8]) {
    loki_pushed(push_decoder().protobuf(data, NOW, Some("tenant")));
}

/// `data` as a JSON body of a push.
pub fn loki_json(data: &[u8]) {
    loki_pushed(push_decoder().json(data, NOW, None));
}

/// `data` as a logs request, encoded to pushes: each is one that decodes, and no record is lost on the way.
pub fn loki_encode(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Ok((request, _)) = Request::receive(Signal::Logs, bytes.to_vec().into()) else { return };
    let encoder = Encoder::new(EncoderOptions {
        labels: vec![("peer".into(), "peer".into()), ("a".into(), "a.b".into())],
        static_labels: vec![("job".into(), "fuzz".into())],
        level: [LevelPlace::Metadata, LevelPlace::Label, LevelPlace::Nowhere][usize::from(choice % 3)],
        level_name: "level".into(),
        line: if choice & 64 == 0 { LineFormat::Body } else { LineFormat::Json },
        max_push_bytes: 1 + usize::from(choice) * 16,
        shards: 1 + usize::from(choice % 4),
    });
    let mut table = encoder.table(1 + usize::from(choice % 16));
    let pushes = encoder.encode([&request], &mut table, NOW);
    assert_eq!(pushes.of_record.len(), request.items());
    let decoder = PushDecoder { max_bytes: usize::MAX, ..push_decoder() };
    for push in pushes.shards.iter().flatten() {
        assert_eq!(pushes.of_record.iter().filter(|number| **number == push.number).count(), push.records);
        match decoder.protobuf(&push.body, NOW, None) {
            Ok(Push { request: Some(decoded), invalid_utf8: 0 }) => assert_eq!(decoded.items(), push.records),
            // Times that Loki's own format has no place for, and more than a client may send us, are a destination's matter.
            Err(PushError::Timestamp | PushError::Metadata) => {}
            other => panic!("what was encoded does not decode: {other:?}"),
        }
    }
    assert!(table.len() <= 17 + 7, "{} streams", table.len());
}

fn push_decoder() -> PushDecoder {
    let renames = [("service_name".to_owned(), "service.name".to_owned())];
    PushDecoder { max_bytes: 1 << 16, renames: std::sync::Arc::new(renames.into()) }
}

fn loki_pushed(pushed: Result<Push, PushError>) {
    match pushed {
        Ok(push) => {
            if let Some(request) = &push.request {
                assert!(request.bytes().len() <= 1 << 16);
                sound(request);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// `data` as the inflated body of a remote-write request of either version: what is decoded keeps the promises of a batch, in the
/// memory that it asked for.
pub fn remote_write(data: &[u8]) {
    for version in [Version::V1, Version::V2] {
        let mut room = 0;
        let decoded = remote_write::decode(version, data, &mut |more| {
            room += more;
            true
        });
        match decoded {
            Ok(decoded) => {
                let batch = &decoded.batch;
                assert!(batch.size() <= room, "{} bytes in a room of {room}", batch.size());
                assert!(room <= 16 * data.len() + (64 << 10));
                let written = decoded.written;
                assert_eq!(batch.items() as u64, written.samples + written.histograms);
                assert_eq!(
                    batch.iter().map(|series| series.exemplars().len() as u64).sum::<u64>(),
                    written.exemplars
                );
                for series in batch.iter() {
                    assert!(!series.name().is_empty());
                    assert!(series.items() + series.exemplars().len() > 0);
                    assert!(series.labels().iter().is_sorted_by(|a, b| a.0 < b.0));
                    assert!(
                        series.labels().iter().all(|(name, value)| !name.is_empty() && !value.is_empty())
                    );
                }
                assert_eq!(decoded.refused.any(), !decoded.refused.to_string().is_empty());
            }
            Err(DecodeError::NoRoom) => panic!("there was room"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// All records of a stream, batch by batch.
fn run(limits: JsonLinesLimits, stream: &[u8], chunk_bytes: usize) -> Vec<Request> {
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
        plain(request);
    }
    let records: usize = requests.iter().map(Request::items).sum();
    assert_eq!(records as u64, session.counters().events);
    requests
}

/// `data` as one message: it is one record, or none if it is empty, and what is no header is in the record.
pub fn syslog_message(data: &[u8]) {
    let mut decoder = SyslogDecoder::new(usize::MAX - 2, Zone::utc());
    let mut batch = LogsBuilder::new(crate::syslog::SCOPE, BatchLimits::default());
    decoder.datagram(data, NOW, &mut batch);
    let empty = data.iter().all(|byte| matches!(byte, b'\n' | b'\r' | 0));
    assert_eq!(batch.len(), usize::from(!empty));
    assert_eq!(decoder.counters().messages, u64::from(!empty));
    if let Some(request) = batch.finish() {
        sound(&request);
        encoded(&request);
        // The longest word is never part of the syntax alone.
        let text = String::from_utf8_lossy(data);
        let words = text.split(|c: char| !c.is_ascii_alphabetic());
        let longest = words.max_by_key(|word| word.len()).unwrap_or_default();
        let found = memchr::memmem::find(request.bytes(), longest.as_bytes()).is_some();
        assert!(found || longest.len() <= 4, "{longest} is lost");
    }
}

/// `data` as a stream; its first two bytes choose framing, chunks and the limit on messages.
pub fn syslog_stream(data: &[u8]) {
    let Some((&[size, choice], stream)) = data.split_first_chunk() else {
        return;
    };
    let framing = [Framing::Auto, Framing::OctetCounting, Framing::Newline][usize::from(choice % 3)];
    let max = 16 + usize::from(choice / 3) * 4;
    let run = |chunk_bytes: usize| {
        let mut session = SyslogStream::new(framing, max, Zone::utc());
        let limits = BatchLimits { max_records: 4, max_bytes: 2000 };
        let mut batch = LogsBuilder::new(crate::syslog::SCOPE, limits);
        let mut requests = Vec::new();
        for chunk in stream.chunks(chunk_bytes) {
            let mut rest = chunk;
            while !rest.is_empty() {
                rest = &rest[session.push(rest, NOW, &mut batch)..];
                if batch.is_full() {
                    requests.extend(batch.finish());
                }
            }
            assert!(session.held_bytes() <= max + 2);
            assert!(session.is_inside() || session.held_bytes() == 0);
        }
        session.finish(NOW, &mut batch);
        requests.extend(batch.finish());
        requests.iter().for_each(sound);
        let records: usize = requests.iter().map(Request::items).sum();
        assert_eq!(records as u64, session.counters().messages);
        (requests, session.counters())
    };
    let whole = run(stream.len().max(1));
    assert_eq!(whole, run(1 + usize::from(size)), "the result depends on how the stream is cut");
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

/// Each record as plain JSON, which serde_json can read.
fn plain(request: &Request) {
    let mut records = 0;
    json_log::records(request, |json| {
        records += 1;
        assert!(!json.contains(&b'\n'));
        read(json);
    });
    assert_eq!(records, request.items());
}

fn read(json: &[u8]) {
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.disable_recursion_limit();
    let read =
        <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut reader).and_then(|_| reader.end());
    assert!(read.is_ok(), "not JSON: {}", String::from_utf8_lossy(json));
}

/// The request as JSON, which serde_json can read.
fn encoded(request: &Request) -> Vec<u8> {
    let mut json = Vec::new();
    otlp_json::encode(request, &mut json);
    assert!(!json.contains(&b'\n'));
    read(&json);
    json
}

//! From payloads to messages: split by key, encoded, packed to the size that a message may have.
//!
//! Invariant: a message knows which records it was made of, so that exactly those can be sent again.

use bytes::Bytes;
use codec::{json_log, otlp_json};
use engine::{ExportError, Exported, Remainder, Scope};
use model::walk::{RecordKind, Verdict, Visitor, walk};
use model::wire::{Field, Fields, Wire};
use model::{Payload, Request, Signal, Splice};

use super::Key;
use crate::forms;
use kafka_client::Encoding;

/// One message.
pub(super) struct Message {
    /// With a key: its bucket.
    pub(super) bucket: Option<u32>,
    /// The value.
    pub(super) bytes: Bytes,
    origin: Origin,
}

/// The records in a message.
enum Origin {
    /// All of these requests.
    Requests(Vec<Request>),
    /// One record of a request. Messages of one request stand one after the other.
    Record { request: Request, payload: usize, position: usize },
}

/// How messages are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    pub(super) encoding: Encoding,
    pub(super) key: Key,
    pub(super) buckets: u32,
    pub(super) max_bytes: usize,
}

impl Packing {
    /// The messages of a batch.
    ///
    /// # Errors
    /// Where a message would be larger than it may be, or the encoding cannot hold the signal. Nothing was sent then.
    pub(super) fn messages(&self, payloads: &[Payload]) -> Result<Vec<Message>, ExportError> {
        let mut messages = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            let request = forms::otlp(payload)?.into_owned();
            if request.items() == 0 {
                continue;
            }
            match self.encoding {
                Encoding::Json => self.records(&request, n, &mut messages)?,
                encoding => {
                    for (bucket, part) in self.split(request) {
                        self.add(encoding, bucket, part, &mut messages)?;
                    }
                }
            }
        }
        for message in &mut messages {
            message.join();
        }
        Ok(messages)
    }

    /// Adds a request to the last message of its bucket that has room, or as a message of its own; as two where it is too large.
    fn add(
        &self,
        encoding: Encoding,
        bucket: Option<u32>,
        request: Request,
        messages: &mut Vec<Message>,
    ) -> Result<(), ExportError> {
        let json = (encoding == Encoding::OtlpJson).then(|| {
            let mut json = Vec::new();
            otlp_json::encode(&request, &mut json);
            json
        });
        let size = json.as_ref().map_or(request.bytes().len(), Vec::len);
        if let Err(too_large) = self.check_size(size) {
            let middle = request.items() / 2;
            let halves = (request.retain(|n| n < middle), request.retain(|n| n >= middle));
            let (Some(first), Some(second)) = halves else { return Err(too_large) };
            self.add(encoding, bucket, first, messages)?;
            return self.add(encoding, bucket, second, messages);
        }
        let last = messages.iter_mut().rev().find(|message| message.bucket == bucket);
        match (json, last) {
            (None, Some(Message { origin: Origin::Requests(requests), .. }))
                if requests.iter().map(|r| r.bytes().len()).sum::<usize>() + size <= self.max_bytes =>
            {
                requests.push(request);
            }
            (json, _) => {
                let bytes = json.map_or_else(Bytes::new, Bytes::from);
                messages.push(Message { bucket, bytes, origin: Origin::Requests(vec![request]) });
            }
        }
        Ok(())
    }

    /// A message for each log record.
    fn records(
        &self,
        request: &Request,
        payload: usize,
        messages: &mut Vec<Message>,
    ) -> Result<(), ExportError> {
        if request.signal() != Signal::Logs {
            return Err(ExportError::Permanent {
                reason: "unsupported_signal",
                message: format!(
                    "encoding json is for logs only; send {} through a kafka exporter with otlp_proto or otlp_json",
                    request.signal().name()
                ),
                scope: Scope::Request,
            });
        }
        let buckets = self.buckets_of(request);
        let (mut index, mut result) = (0, Ok(()));
        json_log::records(request, |json| {
            if result.is_ok() {
                result = self.check_size(json.len());
            }
            let bucket = buckets.get(index).copied();
            let origin = Origin::Record { request: request.clone(), payload, position: index };
            messages.push(Message { bucket, bytes: Bytes::copy_from_slice(json), origin });
            index += 1;
        });
        result
    }

    /// The request in its buckets.
    fn split(&self, request: Request) -> Vec<(Option<u32>, Request)> {
        let buckets = self.buckets_of(&request);
        let mut present = buckets.clone();
        present.sort_unstable();
        present.dedup();
        match present[..] {
            [] => vec![(None, request)],
            [one] => vec![(Some(one), request)],
            _ => {
                let part =
                    |bucket| Some((Some(bucket), request.retain(|n| buckets.get(n) == Some(&bucket))?));
                present.into_iter().filter_map(part).collect()
            }
        }
    }

    /// The bucket of each record, in order; nothing without a key.
    fn buckets_of(&self, request: &Request) -> Vec<u32> {
        if self.key == Key::None {
            return Vec::new();
        }
        let mut found = Buckets {
            buf: request.bytes(),
            by_trace: self.key == Key::TraceId,
            buckets: self.buckets.max(1),
            resource: 0,
            of_records: Vec::with_capacity(request.items()),
        };
        walk(request, &mut found, &mut Splice::new());
        found.of_records
    }

    fn check_size(&self, bytes: usize) -> Result<(), ExportError> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        let max = self.max_bytes;
        Err(too_bad(
            "message_too_large",
            format!("a message of {bytes} bytes is over max_message_bytes ({max})"),
        ))
    }
}

impl Message {
    /// Joins what was packed: repeated fields of a protobuf message append.
    fn join(&mut self) {
        let Origin::Requests(requests) = &self.origin else { return };
        match &requests[..] {
            _ if !self.bytes.is_empty() => {}
            [one] => self.bytes = one.bytes().clone(),
            several => {
                let mut joined = Vec::with_capacity(several.iter().map(|r| r.bytes().len()).sum());
                several.iter().for_each(|request| joined.extend_from_slice(request.bytes()));
                self.bytes = joined.into();
            }
        }
    }
}

/// Something in the batch is refused for good: the delivery loop finds out what by halves.
pub(super) fn too_bad(reason: &'static str, message: String) -> ExportError {
    ExportError::Permanent { reason, message, scope: Scope::Records }
}

/// What is left to send.
pub(super) fn remainder(messages: impl Iterator<Item = Message>, message: String) -> Exported {
    let mut payloads: Vec<Payload> = Vec::new();
    // Of one payload: which one, and where in it.
    let mut records: Option<(usize, Request, Vec<usize>)> = None;
    let rest = |records: Option<(usize, Request, Vec<usize>)>| {
        let (_, request, positions) = records?;
        request.retain(|n| positions.binary_search(&n).is_ok()).map(Payload::from)
    };
    for left in messages {
        match left.origin {
            Origin::Requests(requests) => payloads.extend(requests.into_iter().map(Payload::from)),
            Origin::Record { request, payload, position } => match &mut records {
                Some((same, _, positions)) if *same == payload => positions.push(position),
                other => payloads.extend(rest(other.replace((payload, request, vec![position])))),
            },
        }
    }
    payloads.extend(rest(records));
    let remainder = (!payloads.is_empty()).then_some(Remainder { payloads, message, retry_after: None });
    Exported { rejected: Vec::new(), remainder }
}

/// Finds the bucket of every record.
struct Buckets<'a> {
    buf: &'a [u8],
    by_trace: bool,
    buckets: u32,
    /// The hash of the resource at hand.
    resource: u64,
    of_records: Vec<u32>,
}

impl Buckets<'_> {
    fn body(&self, around: &Field, number: u32) -> &[u8] {
        let mut fields = Fields::new(self.buf, around.body_range());
        let field = fields.find(|field| field.number == number && field.wire == Wire::Len);
        field.and_then(|field| self.buf.get(field.body_range())).unwrap_or_default()
    }
}

impl Visitor for Buckets<'_> {
    fn enter_resource(&mut self, group: &Field) -> Verdict {
        self.resource = hash(self.body(group, 1));
        Verdict::Keep
    }

    fn record(&mut self, kind: RecordKind, record: &Field, _: &mut Splice) -> Verdict {
        let trace_id = match kind {
            RecordKind::Span if self.by_trace => self.body(record, 1),
            RecordKind::Log if self.by_trace => self.body(record, 9),
            _ => &[],
        };
        let known = trace_id.iter().any(|byte| *byte != 0);
        let hash = if known { hash(trace_id) } else { self.resource };
        self.of_records.push((hash % u64::from(self.buckets)) as u32);
        Verdict::Keep
    }
}

/// FNV-1a with the finaliser of MurmurHash3. It must not change: other nodes and later versions choose the same partitions.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;
    use std::collections::BTreeMap;

    fn packing(key: Key) -> Packing {
        Packing { encoding: Encoding::OtlpProto, key, buckets: 8, max_bytes: 4000 }
    }

    fn spans(ids: impl IntoIterator<Item = (u8, u8)>) -> Payload {
        let span =
            |(trace, span)| Span { trace_id: vec![trace; 16], span_id: vec![span; 8], ..Span::default() };
        let scope = ScopeSpans { spans: ids.into_iter().map(span).collect(), ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource] };
        Request::receive(Signal::Traces, request.encode_to_vec().into()).unwrap().0.into()
    }

    fn traces_of(message: &Message) -> Vec<u8> {
        let decoded = ExportTraceServiceRequest::decode(&message.bytes[..]).unwrap();
        let scopes = decoded.resource_spans.into_iter().flat_map(|r| r.scope_spans);
        scopes.flat_map(|s| s.spans).map(|s| s.trace_id[0]).collect()
    }

    #[test]
    fn a_trace_is_in_one_bucket_whatever_batch_it_comes_in() {
        let batch = [spans((1..60).map(|n| (n % 20, n))), spans((1..40).map(|n| (n % 20, n)))];
        let messages = packing(Key::TraceId).messages(&batch).unwrap();
        assert!(messages.len() > 3 && messages.len() <= 9);
        let mut bucket_of: BTreeMap<u8, Option<u32>> = BTreeMap::new();
        for message in &messages {
            for trace in traces_of(message) {
                assert_eq!(*bucket_of.entry(trace).or_insert(message.bucket), message.bucket);
            }
        }
        let count: usize = messages.iter().map(|m| traces_of(m).len()).sum();
        assert_eq!((bucket_of.len(), count), (20, 59 + 39));
        assert_eq!(hash(&[7; 16]) % 64, 43, "partitions would change with the hash");
    }

    #[test]
    fn requests_are_joined_up_to_the_size() {
        let batch: Vec<_> = (0..40).map(|n| spans((0..10).map(|m| (n, m)))).collect();
        let messages = packing(Key::None).messages(&batch).unwrap();
        assert!(messages.len() > 1 && messages.len() < 10);
        assert!(messages.iter().all(|m| m.bucket.is_none() && m.bytes.len() <= 4000));
        let order: Vec<u8> = messages.iter().flat_map(traces_of).collect();
        assert!(order.is_sorted() && order.len() == 400);
    }

    #[test]
    fn a_request_that_is_too_large_becomes_several_messages() {
        for encoding in [Encoding::OtlpProto, Encoding::OtlpJson] {
            let packing = Packing { encoding, ..packing(Key::None) };
            let messages = packing.messages(&[spans((0..200).map(|n| (n, n)))]).unwrap();
            assert!(messages.len() > 1 && messages.iter().all(|m| m.bytes.len() <= 4000));
            if encoding == Encoding::OtlpProto {
                assert!(messages.iter().flat_map(traces_of).eq(0..200));
            }
        }
    }

    #[test]
    fn a_record_that_is_too_large_is_left_to_the_loop_to_find() {
        let small = Packing { max_bytes: 20, ..packing(Key::None) };
        let error = small.messages(&[spans([(1, 1), (2, 2)])]).err().unwrap();
        let ExportError::Permanent { reason, scope, .. } = error else { panic!() };
        assert_eq!((reason, scope), ("message_too_large", Scope::Records));
    }

    #[test]
    fn the_remainder_is_what_was_not_delivered_and_nothing_else() {
        let logs = {
            use codec::logs::{BatchLimits, LogsBuilder, log_record};
            let mut batch = LogsBuilder::new("t", BatchLimits::default());
            (0..5u64).for_each(|n| batch.record(|w| w.fixed64(log_record::TIME_UNIX_NANO, 1 + n)));
            batch.finish().unwrap()
        };
        let json = Packing { encoding: Encoding::Json, ..packing(Key::None) };
        let messages = json.messages(&[logs.clone().into(), logs.into()]).unwrap();
        assert_eq!(messages.len(), 10);
        let failed = messages.into_iter().enumerate().filter(|(n, _)| [1, 3, 9].contains(n));
        let left = remainder(failed.map(|(_, message)| message), "why".to_owned()).remainder.unwrap();
        assert_eq!(left.payloads.iter().map(Payload::items).collect::<Vec<_>>(), [2, 1]);
        let again = json.messages(&left.payloads).unwrap();
        let texts: Vec<_> = again.iter().map(|m| String::from_utf8_lossy(&m.bytes).into_owned()).collect();
        for (text, nanos) in texts.iter().zip(["000000002", "000000004", "000000005"]) {
            assert!(text.contains(nanos), "{text}");
        }
        assert_eq!(
            json.messages(&[spans([(1, 1)])]).err().map(|e| e.to_string().contains("json")),
            Some(true)
        );
    }
}

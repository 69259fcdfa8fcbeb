//! A batch of log records for inputs that are lines or events: syslog, JSON lines, files.
//!
//! ```text
//! ExportLogsServiceRequest
//!   resource_logs (1)    resource (1): the attributes given to `LogsBuilder::resource`, then those of `LogsBuilder::begin_resource`
//!     scope_logs (2)     scope (1): name (1), version (2)
//!       log_records (2)  one for each `LogsBuilder::record`
//! ```
//! All records of a batch share one scope, and one resource unless the caller begins others. Records are written in wire format as they come; [`LogsBuilder::finish`]
//! puts the envelope around them. The field numbers of a record, an attribute and a value are here, for those who write them.

use model::{Request, Signal, Writer};

/// Field numbers of `opentelemetry.proto.logs.v1.LogRecord`.
#[expect(missing_docs, reason = "the names are those of the fields")]
pub mod log_record {
    pub const TIME_UNIX_NANO: u32 = 1;
    pub const SEVERITY_NUMBER: u32 = 2;
    pub const SEVERITY_TEXT: u32 = 3;
    pub const BODY: u32 = 5;
    pub const ATTRIBUTES: u32 = 6;
    pub const DROPPED_ATTRIBUTES_COUNT: u32 = 7;
    pub const FLAGS: u32 = 8;
    pub const TRACE_ID: u32 = 9;
    pub const SPAN_ID: u32 = 10;
    pub const OBSERVED_TIME_UNIX_NANO: u32 = 11;
    pub const EVENT_NAME: u32 = 12;
}

/// Field numbers of `opentelemetry.proto.common.v1.AnyValue`.
#[expect(missing_docs, reason = "the names are those of the fields")]
pub mod any_value {
    pub const STRING: u32 = 1;
    pub const BOOL: u32 = 2;
    pub const INT: u32 = 3;
    pub const DOUBLE: u32 = 4;
    pub const ARRAY: u32 = 5;
    pub const KVLIST: u32 = 6;
    pub const BYTES: u32 = 7;
    /// The elements inside `ArrayValue` and `KeyValueList`.
    pub const VALUES: u32 = 1;
}

/// Messages around a value inside an attribute of a record in this batch: request, resource logs, scope logs, record,
/// attribute, value. What writes nested values keeps the sum below `model::wire::MAX_DEPTH`.
pub const ATTRIBUTE_DEPTH: usize = 6;

/// Writes a `KeyValue` as field `number`; `value` writes the inside of its `AnyValue`.
pub fn attribute(w: &mut Writer, number: u32, key: &str, value: impl FnOnce(&mut Writer)) {
    w.message(number, |w| {
        w.string(1, key);
        w.message(2, value);
    });
}

/// Writes a `KeyValue` whose value is a string.
pub fn string_attribute(w: &mut Writer, number: u32, key: &str, value: &str) {
    attribute(w, number, key, |w| w.string(any_value::STRING, value));
}

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records. Default: 8192.
    pub max_records: usize,
    /// Bytes of all records in wire format. Default: 1 MiB.
    pub max_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_records: 8192, max_bytes: 1 << 20 }
    }
}

/// Collects log records into export requests.
#[derive(Clone, Debug)]
pub struct LogsBuilder {
    scope: &'static str,
    limits: BatchLimits,
    /// The encoded `Resource`.
    resource: Writer,
    /// Bytes of it that belong to every batch.
    shared: usize,
    /// The encoded `resource_logs` fields of resources before the present one.
    sealed: Writer,
    /// The encoded `log_records` fields of the present resource.
    records: Writer,
    count: usize,
}

/// A state of a batch to which it can go back.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    count: usize,
}

impl LogsBuilder {
    /// An empty batch. `scope` names the input, as in `floodway/logstash`.
    pub fn new(scope: &'static str, limits: BatchLimits) -> Self {
        let empty = Writer::new;
        Self { scope, limits, resource: empty(), shared: 0, sealed: empty(), records: empty(), count: 0 }
    }

    /// Adds an attribute to the resource of every batch.
    #[must_use]
    pub fn resource(mut self, key: &str, value: &str) -> Self {
        string_attribute(&mut self.resource, 1, key, value);
        self.shared = self.resource.len();
        self
    }

    /// Begins a resource: the records that follow belong to it. `write` writes its attributes (field 1), after those of every
    /// batch. A resource that no record follows leaves no trace. Marks from before are of no use afterwards.
    pub fn begin_resource(&mut self, write: impl FnOnce(&mut Writer)) {
        self.seal();
        self.resource.truncate(self.shared);
        write(&mut self.resource);
    }

    /// Puts the records of the present resource aside.
    fn seal(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let (scope, resource, records) = (self.scope, &self.resource, &self.records);
        self.sealed.message(1, |w| write_group(w, scope, resource.as_slice(), records.as_slice()));
        self.records.truncate(0);
    }

    /// Adds one `LogRecord`; `write` writes its fields.
    pub fn record(&mut self, write: impl FnOnce(&mut Writer)) {
        self.records.message(2, write);
        self.count += 1;
    }

    /// Records in the batch.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.sealed.len() + self.records.len()
    }

    /// Whether it is time to [`finish`](Self::finish). More can be added all the same: a batch passes its limits by at most what
    /// the caller adds before it asks again.
    pub fn is_full(&self) -> bool {
        self.count >= self.limits.max_records || self.bytes() >= self.limits.max_bytes
    }

    /// The present state.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.records.len(), count: self.count }
    }

    /// Takes back all records since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.records.truncate(mark.bytes);
        self.count = self.count.min(mark.count);
    }

    /// The batch as an export request, if it has any records. The builder is empty afterwards.
    pub fn finish(&mut self) -> Option<Request> {
        if self.count == 0 {
            return None;
        }
        let request = if self.sealed.is_empty() {
            let records = self.records.take();
            let mut request = Writer::with_capacity(records.len() + self.resource.len() + 128);
            request.message(1, |w| write_group(w, self.scope, self.resource.as_slice(), &records));
            request
        } else {
            self.seal();
            std::mem::take(&mut self.sealed)
        };
        self.resource.truncate(self.shared);
        Some(Request::written(Signal::Logs, std::mem::take(&mut self.count), request))
    }
}

/// The inside of a `ResourceLogs`, of fields that are encoded already.
fn write_group(w: &mut Writer, scope: &str, resource: &[u8], records: &[u8]) {
    w.bytes(1, resource);
    w.message(2, |w| {
        w.message(1, |w| {
            w.string(1, scope);
            w.string(2, env!("CARGO_PKG_VERSION"));
        });
        w.raw(records);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use prost::Message as _;

    #[test]
    fn batches_are_sound_requests() {
        let limits = BatchLimits { max_records: 3, max_bytes: 1000 };
        let mut batch = LogsBuilder::new("floodway/test", limits).resource("host.name", "here");
        assert_eq!(batch.finish(), None);
        for round in 0..2 {
            for record in 0..3u64 {
                assert!(!batch.is_full());
                batch.record(|w| w.fixed64(log_record::TIME_UNIX_NANO, round * 10 + record));
            }
            assert!(batch.is_full());
            let request = batch.finish().unwrap();
            assert!(batch.is_empty() && batch.bytes() == 0 && !batch.is_full());
            assert_eq!(request.items(), 3);
            let decoded = ExportLogsServiceRequest::decode(&request.bytes()[..]).unwrap();
            let [resource] = &decoded.resource_logs[..] else { panic!() };
            assert_eq!(resource.resource.as_ref().unwrap().attributes[0].key, "host.name");
            let scope = &resource.scope_logs[0];
            assert_eq!(scope.scope.as_ref().unwrap().name, "floodway/test");
            let times: Vec<_> = scope.log_records.iter().map(|r| r.time_unix_nano - round * 10).collect();
            assert_eq!(times, [0, 1, 2]);
        }
    }

    #[test]
    fn records_belong_to_the_resource_that_was_begun_before_them() {
        let mut batch = LogsBuilder::new("floodway/test", BatchLimits::default()).resource("tenant", "t");
        let record = |batch: &mut LogsBuilder, text: &str| {
            batch.record(|w| w.string(log_record::SEVERITY_TEXT, text));
        };
        for _ in 0..2 {
            for (name, records) in [("a", &["1", "2"][..]), ("empty", &[]), ("b", &["3"])] {
                batch.begin_resource(|w| string_attribute(w, 1, "stream", name));
                records.iter().for_each(|text| record(&mut batch, text));
            }
            let request = batch.finish().unwrap();
            assert_eq!((request.items(), batch.bytes()), (3, 0));
            let decoded = ExportLogsServiceRequest::decode(&request.bytes()[..]).unwrap();
            let seen: Vec<_> = decoded
                .resource_logs
                .iter()
                .map(|group| {
                    let keys = group.resource.as_ref().unwrap().attributes.iter().map(|a| a.key.as_str());
                    assert_eq!(keys.collect::<Vec<_>>(), ["tenant", "stream"]);
                    group.scope_logs[0]
                        .log_records
                        .iter()
                        .map(|r| r.severity_text.as_str())
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(seen, [vec!["1", "2"], vec!["3"]]);
            // What was begun is over with the batch.
            record(&mut batch, "4");
            let decoded = ExportLogsServiceRequest::decode(&batch.finish().unwrap().bytes()[..]).unwrap();
            assert_eq!(decoded.resource_logs[0].resource.as_ref().unwrap().attributes.len(), 1);
        }
    }

    #[test]
    fn rollback_forgets_records() {
        let mut batch = LogsBuilder::new("floodway/test", BatchLimits::default());
        batch.record(|w| w.string(log_record::SEVERITY_TEXT, "kept"));
        let mark = batch.mark();
        batch.record(|w| w.string(log_record::SEVERITY_TEXT, "gone"));
        batch.rollback(mark);
        let request = batch.finish().unwrap();
        assert_eq!(request.items(), 1);
        assert!(memchr::memmem::find(request.bytes(), b"gone").is_none());
    }
}

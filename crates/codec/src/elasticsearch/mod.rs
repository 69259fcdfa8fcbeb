//! Elasticsearch and OpenSearch: log records to the body of a bulk request, and the answer to it.
//!
//! ```text
//! body   = *( action LF document LF )
//! action = {"create":{"_index":"meshara-logs-2026.03.01","_id":"Jx0m..."}}
//! ```
//! <https://www.elastic.co/guide/en/elasticsearch/reference/current/docs-bulk.html>
//!
//! The action is always `create`: it works for indices and data streams, never overwrites, and answers 409 where the document
//! is there already, which after a retry is what one wants to hear. `id.rs` says what makes that safe, `mapping.rs` which field
//! of a document is what, `fields.rs` how keys that collide are told apart, `index.rs` how names are written, `response.rs` how
//! the answer is read.
//!
//! Documents are written from the wire format straight into the body; the buffers are used again for the next one.

mod fields;
mod id;
mod index;
mod mapping;
mod response;
mod value;

use model::otlp::{LogRecord, ResourceLogs, ScopeLogs};
use model::wire::Field;
use model::{Messages, Request, View};

pub use id::keep;
pub use index::{DataStream, IndexPattern, PatternError, Target};
pub use mapping::Mapping;
pub use response::{Answer, FILTER_PATH, Refusal, Verdict, error_of, read};

use fields::{FieldSet, Mark};
use id::Ids;
use value::{Span, Value};

/// What becomes of records.
#[derive(Clone, Debug)]
pub struct BulkOptions {
    /// Where documents go.
    pub target: Target,
    /// Their form.
    pub mapping: Mapping,
    /// Whether documents get ids of their content, so that a retry makes no second one.
    pub content_ids: bool,
}

/// A body, and what stands where in it.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    /// Actions and documents.
    pub body: Vec<u8>,
    /// One entry a document.
    pub items: Vec<Item>,
}

/// A document in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which request, as [`BulkEncoder::start`] was told.
    pub request: usize,
    /// Which of its records.
    pub record: usize,
    /// Its number among equal records, for [`keep`].
    pub number: u32,
    /// Where its line ends in the body.
    pub end: usize,
}

impl Bulk {
    /// Forgets all documents, keeping the memory.
    pub fn clear(&mut self) {
        self.body.clear();
        self.items.clear();
    }
}

/// Writes bodies. Holds memory that is used again from document to document.
#[derive(Debug)]
pub struct BulkEncoder {
    options: BulkOptions,
    fields: FieldSet,
    ids: Ids,
    index: Vec<u8>,
}

/// The records of a request that are not encoded yet.
#[derive(Debug)]
pub struct Encoding<'a> {
    encoder: &'a mut BulkEncoder,
    buf: &'a [u8],
    request: usize,
    next: usize,
    groups: Messages<'a, ResourceLogs<'a>>,
    scopes: Option<Messages<'a, ScopeLogs<'a>>>,
    records: Option<Messages<'a, LogRecord<'a>>>,
    resource: Span,
    /// The fields of the resource, and of the scope after them.
    of_resource: Mark,
    of_scope: Mark,
}

impl BulkEncoder {
    /// An encoder; `options` are for good.
    pub fn new(options: BulkOptions) -> Self {
        let fields = FieldSet::new(options.mapping);
        Self { options, fields, ids: Ids::default(), index: Vec::new() }
    }

    /// Begins with the records of `request`, which must be logs. `number` tells it from others in the same body.
    pub fn start<'a>(&'a mut self, request: &'a Request, number: usize) -> Encoding<'a> {
        self.ids.clear();
        let buf: &[u8] = request.bytes();
        Encoding {
            encoder: self,
            buf,
            request: number,
            next: 0,
            groups: View::root(buf).messages(1),
            scopes: None,
            records: None,
            resource: Span::default(),
            of_resource: Mark::default(),
            of_scope: Mark::default(),
        }
    }
}

impl<'a> Encoding<'a> {
    /// Appends documents until the body has `max_bytes` or more; at least one, if one is left. False when none is left.
    /// `now_unix_nano` is the time of records that have none.
    pub fn fill(&mut self, max_bytes: usize, now_unix_nano: u64, bulk: &mut Bulk) -> bool {
        loop {
            let Some(record) = self.next_record() else {
                return false;
            };
            self.document(&record, now_unix_nano, bulk);
            if bulk.body.len() >= max_bytes {
                return true;
            }
        }
    }

    fn next_record(&mut self) -> Option<Field> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return record.view().place();
            }
            if let Some(scope) = self.scopes.as_mut().and_then(Iterator::next) {
                self.enter_scope(scope);
                continue;
            }
            let group = self.groups.next()?;
            let resource = group.resource().and_then(|resource| resource.view().place());
            self.resource = resource.as_ref().map(Span::of).unwrap_or_default();
            self.scopes = Some(group.scope_logs());
            let fields = &mut self.encoder.fields;
            fields.rewind(Mark::default());
            mapping::resource(fields, self.buf, self.resource);
            self.of_resource = fields.mark();
        }
    }

    fn enter_scope(&mut self, scope: ScopeLogs<'a>) {
        let encoder = &mut *self.encoder;
        let inner = scope.scope().and_then(|scope| scope.view().place());
        let inner = inner.as_ref().map(Span::of).unwrap_or_default();
        encoder.fields.rewind(self.of_resource);
        mapping::scope(encoder.options.mapping, &mut encoder.fields, self.buf, inner);
        self.of_scope = encoder.fields.mark();
        encoder.ids.enter(self.resource.bytes(self.buf), inner.bytes(self.buf));
        self.records = Some(scope.log_records());
    }

    fn document(&mut self, place: &Field, now: u64, bulk: &mut Bulk) {
        let encoder = &mut *self.encoder;
        let buf = self.buf;
        let record = mapping::Record::read(buf, place);
        let resource = self.resource;
        let find = |name: &str, out: &mut String| {
            let attribute = mapping::find(buf, Span::of(place), 6, name.as_bytes());
            let own = || match name {
                "level" | "log.level" => record.level(),
                "service" => mapping::find(buf, resource, 1, b"service.name"),
                _ => mapping::find(buf, resource, 1, name.as_bytes()),
            };
            attribute.or_else(own).is_some_and(|value| as_name(buf, value, out))
        };
        encoder.options.target.render(record.time(now), find, &mut encoder.index);
        let out = &mut bulk.body;
        out.extend_from_slice(b"{\"create\":{\"_index\":");
        crate::json_text::string(out, &encoder.index);
        let mut number = 0;
        if encoder.options.content_ids {
            let (n, id) = encoder.ids.next(buf, place);
            number = n;
            out.extend_from_slice(b",\"_id\":\"");
            out.extend_from_slice(&id);
            out.push(b'"');
        }
        out.extend_from_slice(b"}}\n");
        encoder.fields.rewind(self.of_scope);
        mapping::record(encoder.options.mapping, &mut encoder.fields, buf, place, &record, now);
        encoder.fields.write(buf, out);
        out.push(b'\n');
        bulk.items.push(Item { request: self.request, record: self.next, number, end: out.len() });
        self.next += 1;
    }
}

/// A value as part of a name; false for those that have no text.
fn as_name(buf: &[u8], value: Value, out: &mut String) -> bool {
    match value {
        Value::Text(span) => out.push_str(&String::from_utf8_lossy(span.bytes(buf))),
        Value::Word(word) => out.push_str(word),
        Value::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(itoa::Buffer::new().format(value)),
        _ => return false,
    }
    true
}

//! Log records to pushes.
//!
//! | in the record | in Loki |
//! |---|---|
//! | attributes that the options name (the resource's first, then the record's) | labels, beside the fixed ones |
//! | time, else observed time, else now | timestamp |
//! | body, or the whole record | line: see [`LineFormat`] |
//! | severity | `trace`, `debug`, `info`, `warn`, `error` or `fatal`; where it is: see [`LevelPlace`] |
//! | trace and span id | structured metadata `trace_id`, `span_id` |
//! | all other attributes of record, scope and resource; scope name and version, event name, a severity text of its own | structured metadata, unless they are in the line |
//!
//! Not sent: observed time beside a time, flags, counts of dropped attributes, schema URLs.
//!
//! Streams are spread over shards by the hash of their labels, so that what sends one shard in order keeps the order of each
//! stream. Within a stream entries stand in the order in which they came: Loki takes them out of order within half of
//! `max_chunk_age`, and sorts when it is asked. A shard is cut into pushes of limited size, to be sent one after the other.
//!
//! A stream must have a label: where there is none it is `service_name="unknown_service"`, Loki's own name for that.

use std::collections::HashMap;

use bytes::Bytes;
use model::otlp::{AnyValue, ExportLogsServiceRequest, LogRecord};
use model::{Request, Writer};

use super::line::{self, Around};
use super::metadata::{Metadata, Origin, Value};
use super::streams::{StreamTable, hash};
use super::{NANOS_A_SECOND, field, labels};
use crate::severity;

/// Longer values are not used as labels, bytes. Loki's default limit is 2048.
const MAX_LABEL_VALUE: usize = 1024;

/// The label of what has none.
const UNLABELLED: (&str, &str) = ("service_name", "unknown_service");

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// The body; attributes become structured metadata.
    #[default]
    Body,
    /// The whole record as one JSON object; only ids and level are structured metadata too.
    Json,
}

/// Where the level goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LevelPlace {
    /// Structured metadata.
    #[default]
    Metadata,
    /// A label: one stream for each level.
    Label,
    /// Nowhere.
    Nowhere,
}

/// How records are encoded.
#[derive(Clone, Debug)]
pub struct EncoderOptions {
    /// Label and the attribute that it comes from.
    pub labels: Vec<(String, String)>,
    /// Label and value of every stream.
    pub static_labels: Vec<(String, String)>,
    /// Where the level goes.
    pub level: LevelPlace,
    /// What it is called there.
    pub level_name: String,
    /// What a line is.
    pub line: LineFormat,
    /// A push is closed when it reaches this many bytes before compression.
    pub max_push_bytes: usize,
    /// Shards; at least 1.
    pub shards: usize,
}

/// One push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPush {
    /// The `PushRequest`, not yet compressed.
    pub body: Bytes,
    /// Its entries.
    pub records: usize,
    /// Its number, as in [`Pushes::of_record`].
    pub number: usize,
}

/// What a batch became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushes {
    /// The pushes of each shard in their order. Shards without any are left out.
    pub shards: Vec<Vec<StreamPush>>,
    /// For each record of the batch in order, the number of its push.
    pub of_record: Vec<usize>,
    /// Records that lost labels to the guard on the number of streams.
    pub reduced: u64,
}

/// Where the value of a label comes from.
#[derive(Clone, Debug)]
enum Source {
    Fixed(String),
    Attribute(usize),
    Level,
}

/// Encodes batches of log records.
#[derive(Clone, Debug)]
pub struct Encoder {
    options: EncoderOptions,
    /// All labels in the order of their names.
    slots: Vec<(String, Source)>,
}

impl Encoder {
    /// An encoder. Names of labels must be fit for Loki and differ; see [`labels::is_label_name`].
    pub fn new(options: EncoderOptions) -> Self {
        let fixed =
            options.static_labels.iter().map(|(name, value)| (name.clone(), Source::Fixed(value.clone())));
        let from =
            options.labels.iter().enumerate().map(|(n, (name, _))| (name.clone(), Source::Attribute(n)));
        let level = (options.level == LevelPlace::Label).then(|| (options.level_name.clone(), Source::Level));
        let mut slots: Vec<_> = fixed.chain(from).chain(level).collect();
        slots.sort_by(|a, b| a.0.cmp(&b.0));
        Self { options, slots }
    }

    /// A table of streams for this encoder.
    pub fn table(&self, max_streams: usize) -> StreamTable {
        StreamTable::new(max_streams, self.options.labels.len())
    }

    /// Encodes log requests as one batch.
    pub fn encode<'a>(
        &'a self,
        requests: impl IntoIterator<Item = &'a Request>,
        table: &mut StreamTable,
        now_unix_nano: u64,
    ) -> Pushes {
        table.tick(now_unix_nano);
        let mut batch = Batch::new(self, table, now_unix_nano);
        for request in requests {
            batch.request(ExportLogsServiceRequest::of(request.bytes()));
        }
        batch.finish()
    }
}

/// A stream of the present batch.
struct Stream {
    labels: Vec<u8>,
    shard: usize,
    /// Entries of the push that is open.
    entries: Writer,
}

#[derive(Default)]
struct Shard {
    streams: Vec<usize>,
    bytes: usize,
    records: usize,
    number: usize,
    pushes: Vec<StreamPush>,
}

struct Batch<'t, 'a> {
    encoder: &'a Encoder,
    table: &'t mut StreamTable,
    now: u64,
    streams: Vec<Stream>,
    by_labels: HashMap<Vec<u8>, usize>,
    shards: Vec<Shard>,
    numbers: usize,
    of_record: Vec<usize>,
    reduced: u64,
    metadata: Metadata<'a>,
    /// The values of labels: those of the resource, then those of the record.
    values: Vec<Option<AnyValue<'a>>>,
    labels: Vec<u8>,
    /// The names in it, which structured metadata cannot have.
    taken: Vec<&'a str>,
    text: Vec<u8>,
    line: Vec<u8>,
}

impl<'t, 'a> Batch<'t, 'a> {
    fn new(encoder: &'a Encoder, table: &'t mut StreamTable, now: u64) -> Self {
        let shards = encoder.options.shards.max(1);
        Self {
            encoder,
            table,
            now,
            streams: Vec::new(),
            by_labels: HashMap::new(),
            shards: (0..shards).map(|number| Shard { number, ..Shard::default() }).collect(),
            numbers: shards,
            of_record: Vec::new(),
            reduced: 0,
            metadata: Metadata::default(),
            values: Vec::new(),
            labels: Vec::new(),
            taken: Vec::new(),
            text: Vec::new(),
            line: Vec::new(),
        }
    }

    fn request(&mut self, request: ExportLogsServiceRequest<'a>) {
        for group in request.resource_logs() {
            let before = self.metadata.mark();
            let mut of_resource = vec![None; self.encoder.options.labels.len()];
            let resource = group.resource();
            for (key, value) in resource.into_iter().flat_map(|r| r.attributes()).map(line::pair) {
                self.attribute(Origin::Resource, key, value, &mut of_resource);
            }
            for scope_logs in group.scope_logs() {
                let mark = self.metadata.mark();
                let scope = scope_logs.scope();
                let name = scope.map_or("", |s| s.name());
                if self.encoder.options.line == LineFormat::Body {
                    self.text_pair(Origin::Scope, "scope_name", name);
                    self.text_pair(Origin::Scope, "scope_version", scope.map_or("", |s| s.version()));
                    for (key, value) in scope.into_iter().flat_map(|s| s.attributes()).map(line::pair) {
                        self.metadata.add(Origin::Scope, key, Value::Any(value));
                    }
                }
                for record in scope_logs.log_records() {
                    let mark = self.metadata.mark();
                    self.record(record, Around { resource, scope: name }, &of_resource);
                    self.metadata.rollback(mark);
                }
                self.metadata.rollback(mark);
            }
            self.metadata.rollback(before);
        }
    }

    /// An attribute is the value of labels, or metadata, or (in a line of JSON) neither.
    fn attribute(
        &mut self,
        origin: Origin,
        key: &'a str,
        value: Option<AnyValue<'a>>,
        values: &mut [Option<AnyValue<'a>>],
    ) {
        let mut used = false;
        for (slot, (_, from)) in values.iter_mut().zip(&self.encoder.options.labels) {
            if slot.is_none() && from == key && value.is_some() {
                (*slot, used) = (value, true);
            }
        }
        if !used && self.encoder.options.line == LineFormat::Body {
            self.metadata.add(origin, key, Value::Any(value));
        }
    }

    fn text_pair(&mut self, origin: Origin, key: &'a str, text: &'a str) {
        if !text.is_empty() {
            self.metadata.add(origin, key, Value::Text(text));
        }
    }

    fn record(&mut self, record: LogRecord<'a>, around: Around<'a>, of_resource: &[Option<AnyValue<'a>>]) {
        let encoder = self.encoder;
        let options = &encoder.options;
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        values.extend_from_slice(of_resource);
        for (key, value) in record.attributes().map(line::pair) {
            self.attribute(Origin::Record, key, value, &mut values);
        }
        let level = level(record);
        if options.line == LineFormat::Body {
            self.text_pair(Origin::Field, "event_name", record.event_name());
            if level.is_none_or(|level| !record.severity_text().eq_ignore_ascii_case(level)) {
                self.text_pair(Origin::Field, "severity_text", record.severity_text());
            }
        }
        if let Some(level) = level.filter(|_| options.level == LevelPlace::Metadata) {
            self.metadata.add(Origin::Field, &options.level_name, Value::Text(level));
        }
        for (name, id) in [("trace_id", record.trace_id()), ("span_id", record.span_id())] {
            if !id.is_empty() {
                self.metadata.add(Origin::Field, name, Value::Hex(id));
            }
        }
        let stream = self.stream(&mut values, level);
        self.values = values;
        self.line.clear();
        match options.line {
            LineFormat::Body => line::text(&mut self.line, record.body()),
            LineFormat::Json => line::record(&mut self.line, record, level, around),
        }
        let time = [record.time_unix_nano(), record.observed_time_unix_nano(), self.now];
        let time = time.into_iter().find(|time| *time > 0).unwrap_or_default();
        self.entry(stream, time);
    }

    fn entry(&mut self, stream: usize, time: u64) {
        let Self { streams, metadata, line, encoder, shards, taken, .. } = self;
        let number = stream;
        let stream = &mut streams[number];
        let shard = &mut shards[stream.shard];
        let before = stream.entries.len();
        if before == 0 {
            shard.streams.push(number);
            shard.bytes += stream.labels.len() + 16;
        }
        stream.entries.message(field::ENTRIES, |w| {
            w.message(field::TIMESTAMP, |w| {
                w.uint(field::SECONDS, time / NANOS_A_SECOND);
                w.uint(field::NANOS, time % NANOS_A_SECOND);
            });
            w.bytes(field::LINE, line);
            metadata.write(w, taken);
        });
        shard.bytes += stream.entries.len() - before;
        shard.records += 1;
        self.of_record.push(shard.number);
        if shard.bytes >= encoder.options.max_push_bytes {
            let shard = self.streams[number].shard;
            self.close(shard);
        }
    }

    /// The stream of the present record. Labels that it loses become structured metadata.
    fn stream(&mut self, values: &mut [Option<AnyValue<'a>>], level: Option<&str>) -> usize {
        for label in 0..values.len() {
            if values[label].is_some_and(|value| value.view().body().len() > MAX_LABEL_VALUE) {
                self.drop_label(label, values);
            }
        }
        self.write_labels(values, level);
        if let Some(&known) = self.by_labels.get(&self.labels) {
            return known;
        }
        for (label, value) in values.iter().enumerate() {
            if let Some(value) = value {
                self.table.note(label, value.view().body());
            }
        }
        let mut reduced = false;
        while !self.table.admit(hash(&self.labels), reduced) {
            let order = self.table.most_valued_first();
            let Some(label) = order.into_iter().find(|label| values[*label].is_some()) else { break };
            self.drop_label(label, values);
            self.write_labels(values, level);
            self.reduced += u64::from(!reduced);
            reduced = true;
        }
        if let Some(&known) = self.by_labels.get(&self.labels) {
            return known;
        }
        let shard = (hash(&self.labels) % self.shards.len() as u64) as usize;
        let number = self.streams.len();
        self.streams.push(Stream { labels: self.labels.clone(), shard, entries: Writer::new() });
        self.by_labels.insert(self.labels.clone(), number);
        number
    }

    fn drop_label(&mut self, label: usize, values: &mut [Option<AnyValue<'a>>]) {
        let value = values[label].take();
        let name = &self.encoder.options.labels[label].0;
        self.metadata.add(Origin::Record, name, Value::Any(value));
    }

    fn write_labels(&mut self, values: &[Option<AnyValue<'a>>], level: Option<&str>) {
        let Self { labels: out, text, encoder, taken, .. } = self;
        taken.clear();
        out.clear();
        out.push(b'{');
        for (name, source) in &encoder.slots {
            let value = match source {
                Source::Fixed(value) => value.as_bytes(),
                Source::Level => level.unwrap_or("unknown").as_bytes(),
                Source::Attribute(n) => {
                    text.clear();
                    line::text(text, values[*n]);
                    text.as_slice()
                }
            };
            // To Loki a label without a value is no label.
            if !value.is_empty() {
                labels::write(out, name, value);
                taken.push(name);
            }
        }
        if out.len() == 1 {
            taken.push(UNLABELLED.0);
            labels::write(out, UNLABELLED.0, UNLABELLED.1.as_bytes());
        }
        out.push(b'}');
    }

    /// Makes a push of what a shard holds.
    fn close(&mut self, shard: usize) {
        let shard = &mut self.shards[shard];
        if shard.records == 0 {
            return;
        }
        let mut body = Writer::with_capacity(shard.bytes + shard.streams.len() * 16);
        for number in shard.streams.drain(..) {
            let stream = &mut self.streams[number];
            body.message(field::STREAMS, |w| {
                w.bytes(field::LABELS, &stream.labels);
                w.raw(stream.entries.as_slice());
            });
            stream.entries.truncate(0);
        }
        shard.pushes.push(StreamPush {
            body: body.finish(),
            records: std::mem::take(&mut shard.records),
            number: std::mem::replace(&mut shard.number, self.numbers),
        });
        shard.bytes = 0;
        self.numbers += 1;
    }

    fn finish(mut self) -> Pushes {
        (0..self.shards.len()).for_each(|shard| self.close(shard));
        Pushes {
            shards: self.shards.into_iter().map(|shard| shard.pushes).filter(|p| !p.is_empty()).collect(),
            of_record: self.of_record,
            reduced: self.reduced,
        }
    }
}

/// The level of a record: of its number, else of its text if that is a known name.
fn level(record: LogRecord<'_>) -> Option<&'static str> {
    let of_text = || severity::number_of_name(record.severity_text()).map(i32::from);
    severity::lower_name(record.severity_number()).or_else(|| severity::lower_name(of_text()?))
}

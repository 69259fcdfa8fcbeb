//! Which field of a document each part of a record becomes.
//!
//! | record | `ecs` | `flat` |
//! |---|---|---|
//! | time, else observed time, else now | `@timestamp` | `@timestamp` |
//! | body | `message` | `message` |
//! | severity text, else the name of the number | `log.level` | `level` |
//! | severity number | `event.severity` | |
//! | event name | `event.action` | `event_type` |
//! | trace and span id | `trace.id`, `span.id` | `trace_id`, `span_id` |
//! | observed time | `event.created` | |
//! | `service.name` of the resource | `service.name` | `service` |
//! | scope | `log.logger`, `scope.*` | `scope.name`, `scope.*` |
//! | attributes of record and resource | nested objects, some renamed as ECS calls them | keys of the top level |
//!
//! A body that is not text is written as text, an array or a map as JSON, so that `message` is a text in every document.
//! In `flat`, keys below a field of the mapping get a `_` for their first dot: were `service.version` an object, then
//! `service` could not be a text in the same index. In `ecs`, a plain value where ECS has an object (`service`, `host`,
//! `error`) goes where ECS would have it: `service.name`, `host.name`, `error.message`, else `*.value`.
//!
//! ECS: <https://www.elastic.co/guide/en/ecs/current/>. Left out: flags, counts of dropped attributes, schema URLs.

use model::wire::{Field, Fields, Wire};

use super::fields::{FieldSet, Rank, SEPARATOR};
use super::value::{Span, Value, elements, key_value};
use crate::severity;

/// The form of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The Elastic Common Schema, nested.
    Ecs,
    /// Every attribute a key of the top level.
    Flat,
}

/// The version of ECS that names are taken from.
const ECS_VERSION: &str = "8.11.0";

/// Fields of `flat` that are plain values in every document.
const FLAT_FIELDS: [&str; 7] =
    ["@timestamp", "event_type", "level", "message", "service", "span_id", "trace_id"];

/// What OpenTelemetry's conventions call it, and ECS.
const ECS_NAMES: [(&str, &str); 17] = [
    ("cloud.platform", "cloud.service.name"),
    ("deployment.environment", "service.environment"),
    ("deployment.environment.name", "service.environment"),
    ("exception.message", "error.message"),
    ("exception.stacktrace", "error.stack_trace"),
    ("exception.type", "error.type"),
    ("host.arch", "host.architecture"),
    ("k8s.container.name", "kubernetes.container.name"),
    ("k8s.deployment.name", "kubernetes.deployment.name"),
    ("k8s.namespace.name", "kubernetes.namespace"),
    ("k8s.node.name", "kubernetes.node.name"),
    ("k8s.pod.name", "kubernetes.pod.name"),
    ("k8s.pod.uid", "kubernetes.pod.uid"),
    ("os.type", "host.os.platform"),
    ("process.executable.path", "process.executable"),
    ("service.instance.id", "service.node.name"),
    ("telemetry.sdk.name", "agent.name"),
];

/// Objects of ECS, and where a plain value of that name goes.
const ECS_OBJECTS: [(&str, &str); 28] = [
    ("agent", "name"),
    ("client", "address"),
    ("cloud", "value"),
    ("container", "name"),
    ("data_stream", "value"),
    ("destination", "address"),
    ("ecs", "value"),
    ("error", "message"),
    ("event", "action"),
    ("file", "path"),
    ("host", "name"),
    ("http", "value"),
    ("kubernetes", "value"),
    ("labels", "value"),
    ("log", "value"),
    ("network", "name"),
    ("observer", "name"),
    ("orchestrator", "value"),
    ("organization", "name"),
    ("process", "name"),
    ("server", "address"),
    ("service", "name"),
    ("source", "address"),
    ("span", "value"),
    ("trace", "value"),
    ("transaction", "value"),
    ("url", "original"),
    ("user", "name"),
];

/// Moves the attribute's path that begins at `start`, its dots written as separators, to where the mapping has it.
pub(super) fn place(mapping: Mapping, paths: &mut Vec<u8>, start: usize, is_map: bool) {
    match mapping {
        Mapping::Flat => place_flat(paths, start),
        Mapping::Ecs => place_ecs(paths, start, is_map),
    }
}

fn place_flat(paths: &mut Vec<u8>, start: usize) {
    let Some(at) = paths[start..].iter().position(|b| *b == SEPARATOR) else {
        return;
    };
    let (root, rest) = (&paths[start..start + at], &paths[start + at + 1..]);
    if root == b"service" && rest == b"name" {
        paths.truncate(start + at);
    } else if FLAT_FIELDS.iter().any(|field| field.as_bytes() == root) {
        paths[start + at] = b'_';
    }
}

fn place_ecs(paths: &mut Vec<u8>, start: usize, is_map: bool) {
    let path = &paths[start..];
    if let Some((_, ecs)) = ECS_NAMES.iter().find(|(name, _)| is_path(path, name)) {
        paths.truncate(start);
        paths.extend(ecs.bytes().map(|b| if b == b'.' { SEPARATOR } else { b }));
    } else if !is_map && let Some((_, inner)) = ECS_OBJECTS.iter().find(|(name, _)| path == name.as_bytes()) {
        paths.push(SEPARATOR);
        paths.extend_from_slice(inner.as_bytes());
    }
}

fn is_path(path: &[u8], name: &str) -> bool {
    let same = |(a, b): (&u8, u8)| if b == b'.' { *a == SEPARATOR } else { *a == b };
    path.len() == name.len() && path.iter().zip(name.bytes()).all(same)
}

/// Adds what all records of a resource share.
pub(super) fn resource(fields: &mut FieldSet, buf: &[u8], resource: Span) {
    fields.attributes(buf, resource, 1, Rank::Resource);
}

/// Adds what all records of a scope share.
pub(super) fn scope(mapping: Mapping, fields: &mut FieldSet, buf: &[u8], scope: Span) {
    for field in Fields::new(buf, scope.range()) {
        match (field.number, field.wire) {
            (1 | 2, Wire::Len) if field.body == field.end => {}
            (1, Wire::Len) => {
                let name = if mapping == Mapping::Ecs { "log.logger" } else { "scope.name" };
                fields.attribute(buf, name.as_bytes(), Value::Text(Span::of(&field)), Rank::Scope);
            }
            (2, Wire::Len) => {
                fields.attribute(buf, b"scope.version", Value::Text(Span::of(&field)), Rank::Scope);
            }
            (3, Wire::Len) => {
                let (key, value) = key_value(buf, &field);
                fields.attribute(buf, &[b"scope.", key.bytes(buf)].concat(), value, Rank::Scope);
            }
            _ => {}
        }
    }
}

/// The fields of a record that are not attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    time: u64,
    observed: u64,
    severity_number: i32,
    severity_text: Option<Span>,
    body: Option<Span>,
    trace_id: Option<Span>,
    span_id: Option<Span>,
    event_name: Option<Span>,
}

impl Record {
    pub(super) fn read(buf: &[u8], record: &Field) -> Self {
        let mut read = Self::default();
        for field in Fields::new(buf, record.body_range()) {
            let filled = (field.body < field.end).then(|| Span::of(&field));
            match (field.number, field.wire) {
                (1, Wire::Fixed64) => read.time = field.bits,
                (2, Wire::Varint) => read.severity_number = field.bits as i32,
                (3, Wire::Len) => read.severity_text = filled,
                (5, Wire::Len) => read.body = filled,
                (9, Wire::Len) => read.trace_id = filled,
                (10, Wire::Len) => read.span_id = filled,
                (11, Wire::Fixed64) => read.observed = field.bits,
                (12, Wire::Len) => read.event_name = filled,
                _ => {}
            }
        }
        read
    }

    /// When it happened: a record without a time was at least seen at some time, and be it `now`.
    pub(super) fn time(&self, now_unix_nano: u64) -> u64 {
        [self.time, self.observed].into_iter().find(|time| *time > 0).unwrap_or(now_unix_nano)
    }

    /// Severity as text.
    pub(super) fn level(&self) -> Option<Value> {
        if let Some(text) = self.severity_text {
            return Some(Value::Text(text));
        }
        severity::lower_name(self.severity_number).map(Value::Word)
    }
}

/// Adds a record's own fields and its attributes.
pub(super) fn record(
    mapping: Mapping,
    fields: &mut FieldSet,
    buf: &[u8],
    place: &Field,
    record: &Record,
    now: u64,
) {
    let name = |ecs, flat| if mapping == Mapping::Ecs { ecs } else { flat };
    fields.fixed("@timestamp", Value::Time(record.time(now)));
    if let Some(body) = record.body {
        fields.fixed("message", Value::AsText(body));
    }
    if let Some(level) = record.level() {
        fields.fixed(name("log.level", "level"), level);
    }
    if let Some(event) = record.event_name {
        fields.fixed(name("event.action", "event_type"), Value::Text(event));
    }
    if let Some(id) = record.trace_id {
        fields.fixed(name("trace.id", "trace_id"), Value::Hex(id));
    }
    if let Some(id) = record.span_id {
        fields.fixed(name("span.id", "span_id"), Value::Hex(id));
    }
    if mapping == Mapping::Ecs {
        fields.fixed("ecs.version", Value::Word(ECS_VERSION));
        if record.severity_number != 0 {
            fields.fixed("event.severity", Value::Int(i64::from(record.severity_number)));
        }
        if record.observed != 0 {
            fields.fixed("event.created", Value::Time(record.observed));
        }
    }
    fields.attributes(buf, Span::of(place), 6, Rank::Record);
}

/// Finds an attribute by its name, dots reaching into maps, among the fields `number` in `span`.
pub(super) fn find(buf: &[u8], span: Span, number: u32, name: &[u8]) -> Option<Value> {
    elements(buf, span, number).find_map(|field| {
        let (key, value) = key_value(buf, &field);
        match (name.strip_prefix(key.bytes(buf))?, value) {
            ([], value) => Some(value),
            ([b'.', inner @ ..], Value::Map(map)) => find(buf, map, 1, inner),
            _ => None,
        }
    })
}

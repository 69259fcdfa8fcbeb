//! The attributes of a resource or a record as labels: read from the wire, changed beside it, written back as edits.
//!
//! What the rules write is kept in a list of changes by name; only when all rules have run are the attributes walked again
//! and those that differ replaced. So an attribute that no rule changes stays byte-identical, its type with it, and a value
//! that a rule writes is a string. Where a key stands twice (which OTLP forbids) the first counts; a write leaves one.
//!
//! `__name__` is the name of the span, the metric or the log event. Like a scope's or a resource's labels for a record, it
//! can be read as a label, but `labelmap`, `labeldrop` and `labelkeep` see the record's own attributes alone.

use model::wire::{Field, Fields, Wire};
use model::{Splice, Writer};

use super::rules::Labels;
use crate::value::{KeyValue, Value, key_value, text};

/// The label that stands for the name of the span, the metric or the log event.
pub(super) const NAME: &str = "__name__";

/// No rule may bring a resource or a record to more attributes.
pub(super) const MAX_ATTRIBUTES: usize = 512;

/// Where a message keeps its attributes and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The number of `repeated KeyValue`; 0 where it has none.
    pub(super) attributes: u32,
    /// The number of the string that `__name__` is, where rules may write it.
    pub(super) name: Option<u32>,
}

/// The attributes of one message: offsets into the request, and what the rules changed. Made once, loaded again and again.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    base: Vec<Attribute>,
    name: Option<Field>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Attribute {
    field: Field,
    parts: KeyValue,
}

/// What became of a label; `None`: it was removed.
#[derive(Debug)]
struct Change {
    name: String,
    value: Option<String>,
}

/// What is known about a name.
enum Found<'a> {
    Text(&'a str),
    Value(Value<'a>),
    Removed,
    Missing,
}

impl Attributes {
    /// Reads the message in `field`; without one there are no attributes.
    pub(super) fn load(&mut self, buf: &[u8], message: Option<&Field>, layout: Layout) {
        self.base.clear();
        self.changes.clear();
        self.name = None;
        let Some(message) = message else { return };
        for field in Fields::new(buf, message.body_range()) {
            if field.wire != Wire::Len {
                continue;
            }
            if field.number == layout.attributes {
                self.base.push(Attribute { field, parts: key_value(buf, &field) });
            } else if Some(field.number) == layout.name {
                self.name = Some(field);
            }
        }
    }

    /// Whether nothing has to be written back.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }

    fn find<'a>(&'a self, buf: &'a [u8], name: &str) -> Found<'a> {
        if let Some(change) = self.changes.iter().find(|change| change.name == name) {
            return change.value.as_deref().map_or(Found::Removed, Found::Text);
        }
        if name == NAME {
            return self.name.map_or(Found::Missing, |field| Found::Text(text(buf, &field)));
        }
        let found = self.base.iter().find(|attribute| attribute.key(buf) == name.as_bytes());
        found.map_or(Found::Missing, |attribute| Found::Value(attribute.value(buf)))
    }

    /// Appends the text of `name`; `false` where it is not here.
    fn append(&self, buf: &[u8], name: &str, out: &mut String) -> bool {
        match self.find(buf, name) {
            Found::Text(text) => out.push_str(text),
            // What has no text is there all the same, and hides what stands around it.
            Found::Value(value) => _ = value.append_to(out),
            Found::Removed | Found::Missing => return false,
        }
        true
    }

    fn change(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.changes.iter_mut().find(|change| change.name == name) {
            Some(change) => change.value = value,
            None => self.changes.push(Change { name: name.to_owned(), value }),
        }
    }

    fn change_of(&self, name: &[u8]) -> Option<&Change> {
        self.changes.iter().find(|change| change.name.as_bytes() == name)
    }

    /// Records the edits of one field of the message. Its frame must be open, its fields come in order.
    pub(super) fn edit_field(&self, buf: &[u8], field: &Field, layout: Layout, splice: &mut Splice) {
        if field.wire != Wire::Len {
            return;
        }
        if Some(field.number) == layout.name {
            if let Some(change) = self.change_of(NAME.as_bytes()) {
                edit_name(buf, field, change, splice);
            }
        } else if field.number == layout.attributes {
            let Some(index) = self.base.iter().position(|attribute| attribute.field.start == field.start)
            else {
                return;
            };
            let attribute = &self.base[index];
            let Some(change) = self.change_of(attribute.key(buf)) else {
                return;
            };
            let is_second = self.base[..index].iter().any(|first| first.key(buf) == attribute.key(buf));
            match &change.value {
                Some(value) if !is_second => attribute.edit(buf, value, splice),
                _ => splice.delete(field.range()),
            }
        }
    }

    /// Records what is new, at the end of the message.
    pub(super) fn append_new(&self, buf: &[u8], end: usize, layout: Layout, splice: &mut Splice) {
        let new = self.encode_new(buf, layout);
        if !new.is_empty() {
            splice.insert(end, new.as_slice());
        }
    }

    /// Labels that were not there before, encoded as fields of the message.
    pub(super) fn encode_new(&self, buf: &[u8], layout: Layout) -> Writer {
        let mut writer = Writer::new();
        for Change { name, value } in &self.changes {
            let Some(value) = value else { continue };
            if name == NAME {
                if let (Some(number), None) = (layout.name, self.name) {
                    writer.string(number, value);
                }
            } else if !self.base.iter().any(|attribute| attribute.key(buf) == name.as_bytes()) {
                writer.message(layout.attributes, |writer| {
                    writer.string(1, name);
                    writer.message(2, |writer| writer.string(1, value));
                });
            }
        }
        writer
    }
}

impl Attribute {
    fn key<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf.get(self.parts.key.clone()).unwrap_or_default()
    }

    fn value<'a>(&self, buf: &'a [u8]) -> Value<'a> {
        self.parts.value.map_or(Value::Empty, |field| Value::read(buf, &field))
    }

    /// Gives it the string `value`.
    fn edit(&self, buf: &[u8], value: &str, splice: &mut Splice) {
        if self.value(buf) == Value::String(value) {
            return;
        }
        let mut writer = Writer::with_capacity(value.len() + 12);
        writer.message(2, |writer| writer.string(1, value));
        splice.open(&self.field);
        match self.parts.value {
            Some(field) => splice.replace(field.range(), writer.as_slice()),
            None => splice.insert(self.field.end, writer.as_slice()),
        }
        splice.close();
    }
}

fn edit_name(buf: &[u8], field: &Field, change: &Change, splice: &mut Splice) {
    match &change.value {
        Some(name) if name == text(buf, field) => {}
        Some(name) => {
            splice.open(field);
            splice.replace(field.body_range(), name.as_bytes());
            splice.close();
        }
        None => splice.delete(field.range()),
    }
}

/// Attributes as the rules see them.
pub(super) struct View<'a> {
    /// The request.
    pub(super) buf: &'a [u8],
    /// What can be written.
    pub(super) own: &'a mut Attributes,
    /// Where its fields are.
    pub(super) layout: Layout,
    /// What can be read as well, nearest first: the metric's name, the resource's attributes.
    pub(super) outer: &'a [&'a Attributes],
}

impl Labels for View<'_> {
    fn append(&self, name: &str, out: &mut String) {
        if !self.own.append(self.buf, name, out) {
            let _ = self.outer.iter().any(|outer| outer.append(self.buf, name, out));
        }
    }

    fn for_each_name(&self, visit: &mut dyn FnMut(&str)) {
        for (index, attribute) in self.own.base.iter().enumerate() {
            let key = attribute.key(self.buf);
            let is_second = self.own.base[..index].iter().any(|first| first.key(self.buf) == key);
            if let (false, None, Ok(key)) = (is_second, self.own.change_of(key), std::str::from_utf8(key)) {
                visit(key);
            }
        }
        for change in self.own.changes.iter().filter(|change| change.value.is_some() && change.name != NAME) {
            visit(&change.name);
        }
    }

    fn set(&mut self, name: &str, value: &str) -> bool {
        let writable = if name == NAME { self.layout.name.is_some() } else { self.layout.attributes != 0 };
        let is_new = matches!(self.own.find(self.buf, name), Found::Missing);
        let is_full = self.own.base.len() + self.own.changes.len() >= MAX_ATTRIBUTES;
        if !writable || (is_new && is_full) {
            return false;
        }
        self.own.change(name, Some(value));
        true
    }

    fn remove(&mut self, name: &str) {
        // The name of a metric is there or is dropped with the metric; an outer label is not ours to remove.
        let is_ours = name != NAME || self.layout.name.is_some();
        if is_ours && matches!(self.own.find(self.buf, name), Found::Text(_) | Found::Value(_)) {
            self.own.change(name, None);
        }
    }
}

//! The structured metadata of an entry: names made fit for Loki, each name once.
//!
//! Of several sources of one name, in this order: the record's own fields, its attributes, its scope, its resource; within
//! one of them, what is called so to begin with; then the order of the original names. The first gets the name, the others
//! `name_2`, `name_3` and so on. So the result does not depend on the order in which a sender writes attributes.
//! Names of labels are taken: Loki would show such metadata as `name_extracted`.
//!
//! Names and values that must be made are kept in one buffer for a record, after those of its resource.

use std::ops::Range;

use model::Writer;
use model::otlp::AnyValue;

use super::{field, line, names};

/// Where a pair comes from, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Field,
    Record,
    Scope,
    Resource,
}

/// The value of a pair.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Hex(&'a [u8]),
    Any(Option<AnyValue<'a>>),
}

struct Pair<'a> {
    /// Its name in the buffer.
    name: Range<usize>,
    origin: Origin,
    /// The name differs from the key.
    changed: bool,
    key: &'a str,
    value: Value<'a>,
}

/// The pairs of the present record, and those of its resource and scope, which stay.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    buffer: Vec<u8>,
    pairs: Vec<Pair<'a>>,
    order: Vec<usize>,
    text: Vec<u8>,
}

/// A state to go back to.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    bytes: usize,
    pairs: usize,
}

impl<'a> Metadata<'a> {
    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.buffer.len(), pairs: self.pairs.len() }
    }

    /// Forgets what was added since.
    pub(super) fn rollback(&mut self, mark: Mark) {
        self.buffer.truncate(mark.bytes);
        self.pairs.truncate(mark.pairs);
    }

    /// Adds a pair; its name is made of `key`.
    pub(super) fn add(&mut self, origin: Origin, key: &'a str, value: Value<'a>) {
        let start = self.buffer.len();
        let changed = names::sanitize(&mut self.buffer, key);
        self.pairs.push(Pair { name: start..self.buffer.len(), origin, changed, key, value });
    }

    /// Writes all pairs as fields of an entry, in the order of their names. `taken` are names of labels.
    pub(super) fn write(&mut self, entry: &mut Writer, taken: &[impl AsRef<str>]) {
        let Self { buffer, pairs, order, text } = self;
        let name = |at: usize| -> &[u8] { &buffer[pairs[at].name.clone()] };
        order.clear();
        order.extend(0..pairs.len());
        order.sort_unstable_by(|&a, &b| {
            let rest = |at: usize| (pairs[at].origin, pairs[at].changed, pairs[at].key, at);
            name(a).cmp(name(b)).then_with(|| rest(a).cmp(&rest(b)))
        });
        let is_label = |name: &[u8]| taken.iter().any(|label| label.as_ref().as_bytes() == name);
        let is_name = |wanted: &[u8]| order.binary_search_by(|&at| name(at).cmp(wanted)).is_ok();
        let mut number = 1;
        for (place, &at) in order.iter().enumerate() {
            let repeated = place > 0 && name(order[place - 1]) == name(at);
            number = if repeated { number } else { 1 };
            text.clear();
            match pairs[at].value {
                Value::Text(value) => text.extend_from_slice(value.as_bytes()),
                Value::Hex(bytes) => crate::json_text::hex_digits(text, bytes),
                Value::Any(value) => line::text(text, value),
            }
            if !repeated && !is_label(name(at)) {
                write_pair(entry, name(at), text);
                continue;
            }
            // Names made of different ones differ, and those of one name count on: each is made once.
            let free = loop {
                number += 1;
                let candidate = [name(at), format!("_{number}").as_bytes()].concat();
                if !is_name(&candidate) && !is_label(&candidate) {
                    break candidate;
                }
            };
            write_pair(entry, &free, text);
        }
    }
}

fn write_pair(entry: &mut Writer, name: &[u8], value: &[u8]) {
    entry.message(field::METADATA, |w| {
        w.bytes(field::NAME, name);
        w.bytes(field::VALUE, value);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::View;

    fn written(pairs: &[(Origin, &str, &str)], taken: &[&str]) -> Vec<(String, String)> {
        let mut metadata = Metadata::default();
        for (origin, key, value) in pairs {
            metadata.add(*origin, key, Value::Text(value));
        }
        let mut entry = Writer::new();
        metadata.write(&mut entry, taken);
        let root = View::root(entry.as_slice());
        root.fields()
            .map(|field| {
                let pair = View::at(entry.as_slice(), field);
                (pair.string(1).unwrap().to_owned(), pair.string(2).unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn names_that_meet_are_told_apart_whatever_their_order() {
        use Origin::*;
        let mut pairs = vec![
            (Resource, "peer_id", "resource"),
            (Record, "peer.id", "dotted"),
            (Record, "peer-id", "dashed"),
            (Record, "peer_id", "exact"),
            (Record, "peer_id_2", "own"),
            (Field, "trace_id", "field"),
            (Record, "trace_id", "attribute"),
            (Record, "job", "x"),
        ];
        let expected = [
            ("job_2", "x"),
            ("peer_id", "exact"),
            ("peer_id_3", "dashed"),
            ("peer_id_4", "dotted"),
            ("peer_id_5", "resource"),
            ("peer_id_2", "own"),
            ("trace_id", "field"),
            ("trace_id_2", "attribute"),
        ];
        for _ in 0..pairs.len() {
            let found = written(&pairs, &["job"]);
            let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(found, expected);
            pairs.rotate_left(1);
        }
    }

    #[test]
    fn a_rollback_forgets_a_record() {
        let mut metadata = Metadata::default();
        metadata.add(Origin::Resource, "host.name", Value::Text("h"));
        let mark = metadata.mark();
        for text in ["1", "2"] {
            metadata.rollback(mark);
            metadata.add(Origin::Record, "n", Value::Text(text));
            let mut entry = Writer::new();
            metadata.write(&mut entry, &[""; 0]);
            assert_eq!(View::root(entry.as_slice()).fields().count(), 2);
        }
    }
}

//! The fields of one document: collected as paths, freed of collisions, written as an object.
//!
//! Elasticsearch reads `{"a.b": 1}` and `{"a": {"b": 1}}` as the same field, and refuses a document in which `a` is both a
//! value and an object. So all keys are paths: a dot in a key separates segments as nesting does. Maps are taken apart
//! down to their leaves.
//!
//! | collision | what happens |
//! |---|---|
//! | two values for one path | the one of higher rank stays, within a rank the last one; the other moves under `attributes.` (of the record), `scope.` or `resource.`, unless both say the same |
//! | `a` has a value and so has `a.b` | the value of `a` moves to `a.value`; where `a` is a field of the mapping itself, `a.b` moves as above |
//! | what moved twice finds its place taken again | its last name gets a number: `attributes.attributes.a_2` |
//!
//! So nothing is lost, however keys are alike, but in a record that was made for it: one whose own keys are the names that
//! [`ROUNDS`] moves in a row would make.
//!
//! Names that Elasticsearch keeps for itself (`_id` and the like) move as above. An empty segment becomes `_`.
//!
//! Invariant: no object has two equal keys, whatever the record holds; the same record always makes the same document.

use crate::json_text;

use super::mapping::{Mapping, place};
use super::value::{Span, Value, elements, key_value, say_the_same, write};

/// Between the segments of a path. It sorts before every other byte, so that in order of path `a` stands just before `a.b`.
pub(super) const SEPARATOR: u8 = 0;

/// Segments of a path; further ones are joined by `_`. Elasticsearch refuses more than 20 (`index.mapping.depth.limit`).
const MAX_SEGMENTS: usize = 16;

/// Bytes of path that the maps of one document may take apart to; then they are written as objects. Without it a long key
/// above many small members would grow a document far beyond its record.
const MAX_NESTED_PATH_BYTES: usize = 16 << 10;

/// Collisions are looked for again after fields have moved; in the last round what collides is left out. The limit is for the
/// time that it takes: each round is a sort.
const ROUNDS: usize = 16;

/// Moves after which a field stays where it is and gets a number, for each move before may nest it deeper.
const DEEPER_MOVES: u8 = 2;

/// Fields that a document may not have (Elasticsearch: "Metadata fields").
const METADATA: &[&str] = &[
    "_data_stream_timestamp",
    "_doc_count",
    "_feature",
    "_field_names",
    "_id",
    "_ignored",
    "_ignored_source",
    "_index",
    "_index_mode",
    "_nested_path",
    "_primary_term",
    "_recovery_source",
    "_routing",
    "_routing_path",
    "_seq_no",
    "_size",
    "_source",
    "_tier",
    "_tsid",
    "_type",
    "_version",
];

/// Whose a field is; the lower stays where two want one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The mapping's own: `@timestamp`, `message` and so on.
    Fixed,
    Record,
    Scope,
    Resource,
}

impl Rank {
    /// Where a field of this rank moves to.
    fn refuge(self) -> &'static str {
        match self {
            Self::Fixed | Self::Record => "attributes",
            Self::Scope => "scope",
            Self::Resource => "resource",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    /// The first eight bytes of the path, which mostly decide its order.
    prefix: u64,
    start: u32,
    end: u32,
    rank: Rank,
    moves: u8,
    value: Value,
}

/// The fields of a document, and memory for the next one's.
#[derive(Debug)]
pub(super) struct FieldSet {
    mapping: Mapping,
    paths: Vec<u8>,
    leaves: Vec<Leaf>,
    /// In order of path; indices of `leaves`.
    order: Vec<u32>,
    nested_path_bytes: usize,
}

/// How many fields there are, to go back to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    paths: usize,
    leaves: usize,
}

impl FieldSet {
    pub(super) fn new(mapping: Mapping) -> Self {
        Self { mapping, paths: Vec::new(), leaves: Vec::new(), order: Vec::new(), nested_path_bytes: 0 }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { paths: self.paths.len(), leaves: self.leaves.len() }
    }

    /// Forgets what was added after `mark`.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.paths.truncate(mark.paths);
        self.leaves.truncate(mark.leaves);
        self.nested_path_bytes = 0;
    }

    /// Adds a field of the mapping itself.
    pub(super) fn fixed(&mut self, key: &str, value: Value) {
        let start = self.paths.len();
        self.segments(key.as_bytes(), start);
        self.push(start, value, Rank::Fixed);
    }

    /// Adds an attribute; of a map, its leaves.
    pub(super) fn attribute(&mut self, buf: &[u8], key: &[u8], value: Value, rank: Rank) {
        let start = self.paths.len();
        self.segments(key, start);
        self.value(buf, start, value, rank);
    }

    /// Adds the attributes that are the fields `number` in `span`.
    pub(super) fn attributes(&mut self, buf: &[u8], span: Span, number: u32, rank: Rank) {
        for field in elements(buf, span, number) {
            let (key, value) = key_value(buf, &field);
            self.attribute(buf, key.bytes(buf), value, rank);
        }
    }

    /// Adds what stands at the path that begins at `start`. Recursion is bounded: a checked request is nested at most
    /// `model::wire::MAX_DEPTH` deep.
    fn value(&mut self, buf: &[u8], start: usize, value: Value, rank: Rank) {
        let end = self.paths.len();
        let Value::Map(span) = value else {
            return self.leaf(start, value, rank);
        };
        let path_bytes = |(key, _): (Span, Value)| end - start + 1 + key.bytes(buf).len();
        let needed: usize = elements(buf, span, 1).map(|field| path_bytes(key_value(buf, &field))).sum();
        self.nested_path_bytes += needed;
        if needed == 0 || self.nested_path_bytes > MAX_NESTED_PATH_BYTES {
            return self.leaf(start, value, rank);
        }
        for member in elements(buf, span, 1) {
            let (key, value) = key_value(buf, &member);
            let at = self.paths.len();
            self.paths.extend_from_within(start..end);
            self.paths.push(if self.depth(at) < MAX_SEGMENTS { SEPARATOR } else { b'_' });
            self.segments(key.bytes(buf), at);
            self.value(buf, at, value, rank);
        }
    }

    /// Appends a key to the path that begins at `start`.
    fn segments(&mut self, key: &[u8], start: usize) {
        let plain = memchr::memchr2(b'.', SEPARATOR, key).is_none();
        if plain && key.first().is_some_and(u8::is_ascii_graphic) {
            return self.paths.extend_from_slice(key);
        }
        let mut depth = self.depth(start);
        for (n, segment) in key.split(|b| *b == b'.').enumerate() {
            if n > 0 {
                self.paths.push(if depth < MAX_SEGMENTS { SEPARATOR } else { b'_' });
                depth += 1;
            }
            if segment.trim_ascii().is_empty() {
                self.paths.push(b'_');
            } else {
                self.paths.extend(segment.iter().map(|b| if *b == SEPARATOR { b'_' } else { *b }));
            }
        }
    }

    /// Segments of the path that begins at `start`.
    fn depth(&self, start: usize) -> usize {
        1 + self.paths[start..].iter().filter(|b| **b == SEPARATOR).count()
    }

    /// Adds the value whose path is the end of `paths` from `start` on, at the place that the mapping has for it.
    fn leaf(&mut self, start: usize, value: Value, rank: Rank) {
        let is_map = matches!(value, Value::Map(_));
        place(self.mapping, &mut self.paths, start, is_map);
        let path = &self.paths[start..];
        if path.first() == Some(&b'_') && METADATA.iter().any(|name| name.as_bytes() == path) {
            let end = self.paths.len();
            self.moved(start..end, rank.refuge(), rank, value, 0);
        } else {
            self.push(start, value, rank);
        }
    }

    fn push(&mut self, start: usize, value: Value, rank: Rank) {
        self.push_moved(start, value, rank, 0);
    }

    fn push_moved(&mut self, start: usize, value: Value, rank: Rank, moves: u8) {
        let path = &self.paths[start..];
        let mut prefix = [SEPARATOR; 8];
        let len = path.len().min(8);
        prefix[..len].copy_from_slice(&path[..len]);
        // Requests are far smaller than 4 GiB; what is not would only be sorted wrongly.
        let (start, end) = (start as u32, self.paths.len() as u32);
        self.leaves.push(Leaf { prefix: u64::from_be_bytes(prefix), start, end, rank, moves, value });
    }

    /// Adds a field once more, below `refuge`.
    fn moved(&mut self, path: std::ops::Range<usize>, refuge: &str, rank: Rank, value: Value, moves: u8) {
        let start = self.paths.len();
        self.paths.extend_from_slice(refuge.as_bytes());
        self.paths.push(SEPARATOR);
        self.paths.extend_from_within(path);
        self.push_moved(start, value, rank, moves);
    }

    fn path(&self, leaf: &Leaf) -> &[u8] {
        self.paths.get(leaf.start as usize..leaf.end as usize).unwrap_or_default()
    }

    /// Puts the fields in order of path and resolves collisions.
    fn resolve(&mut self, buf: &[u8]) {
        self.order.clear();
        self.order.extend(0..self.leaves.len() as u32);
        for round in 1..=ROUNDS {
            let mut order = std::mem::take(&mut self.order);
            // Of equal paths the one that stays comes first: the highest rank, then what was there before, then the last one.
            order.sort_unstable_by(|a, b| {
                let (x, y) = (&self.leaves[*a as usize], &self.leaves[*b as usize]);
                x.prefix.cmp(&y.prefix).then_with(|| {
                    let ranks = (x.rank, x.moves).cmp(&(y.rank, y.moves));
                    self.path(x).cmp(self.path(y)).then(ranks).then(b.cmp(a))
                })
            });
            let before = self.leaves.len();
            self.order = self.settle(buf, order, round < ROUNDS);
            if self.leaves.len() == before {
                break;
            }
            self.order.extend(before as u32..self.leaves.len() as u32);
        }
    }

    /// One round: takes the fields that collide out of `order` and, if they `may_move`, adds them again elsewhere.
    fn settle(&mut self, buf: &[u8], mut order: Vec<u32>, may_move: bool) -> Vec<u32> {
        let mut kept = 0_usize;
        // How many fields want the place of the last one kept, which is the number of the next that does.
        let mut rivals = 1_usize;
        for n in 0..order.len() {
            let leaf = self.leaves[order[n] as usize];
            let last = kept.checked_sub(1).map(|last| self.leaves[order[last] as usize]);
            let clash = last.map_or(Clash::None, |last| self.clash(&last, &leaf));
            let loser = match clash {
                Clash::None => None,
                Clash::Same(winner) if say_the_same(buf, winner.value, leaf.value) => continue,
                Clash::Same(_) => Some((leaf, false)),
                Clash::Inside(outer) if outer.rank == Rank::Fixed => Some((leaf, false)),
                Clash::Inside(outer) => {
                    kept -= 1;
                    Some((outer, true))
                }
            };
            let goes_on = loser.is_none_or(|(_, outer)| outer);
            if let Some((loser, outer)) = loser
                && may_move
            {
                rivals += 1;
                self.relocate(&loser, outer, rivals);
            }
            if goes_on {
                rivals = 1;
                order[kept] = order[n];
                kept += 1;
            }
        }
        order.truncate(kept);
        order
    }

    /// How the field that follows `last` in order of path collides with it.
    fn clash(&self, last: &Leaf, leaf: &Leaf) -> Clash {
        match self.path(leaf).strip_prefix(self.path(last)) {
            Some([]) => Clash::Same(*last),
            Some([SEPARATOR, ..]) => Clash::Inside(*last),
            _ => Clash::None,
        }
    }

    /// Adds the field again at its next place. Of those that leave one place at once each has another `number`.
    fn relocate(&mut self, loser: &Leaf, outer: bool, number: usize) {
        let path = loser.start as usize..loser.end as usize;
        if loser.moves >= DEEPER_MOVES {
            let start = self.paths.len();
            self.paths.extend_from_within(path);
            self.paths.push(b'_');
            self.paths.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            return self.push_moved(start, loser.value, loser.rank, loser.moves + 1);
        }
        if !outer {
            return self.moved(path, loser.rank.refuge(), loser.rank, loser.value, loser.moves + 1);
        }
        let start = self.paths.len();
        self.paths.extend_from_within(path);
        self.paths.push(SEPARATOR);
        self.paths.extend_from_slice(b"value");
        self.push_moved(start, loser.value, loser.rank, loser.moves + 1);
    }

    /// Appends the document.
    pub(super) fn write(&mut self, buf: &[u8], out: &mut Vec<u8>) {
        self.resolve(buf);
        out.push(b'{');
        match self.mapping {
            Mapping::Flat => self.write_dotted(buf, out),
            Mapping::Ecs => self.write_nested(buf, out),
        }
        out.push(b'}');
    }

    fn write_dotted(&self, buf: &[u8], out: &mut Vec<u8>) {
        for index in &self.order {
            let leaf = &self.leaves[*index as usize];
            comma(out);
            out.push(b'"');
            for (n, segment) in self.path(leaf).split(|b| *b == SEPARATOR).enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                json_text::escaped(out, segment);
            }
            out.extend_from_slice(b"\":");
            write(buf, leaf.value, out);
        }
    }

    fn write_nested(&self, buf: &[u8], out: &mut Vec<u8>) {
        let mut open: &[u8] = &[];
        for index in &self.order {
            let leaf = &self.leaves[*index as usize];
            let path = self.path(leaf);
            let end = path.iter().rposition(|b| *b == SEPARATOR);
            let (parents, name) = end.map_or((&[][..], path), |at| (&path[..=at], &path[at + 1..]));
            // Both end with a separator, so what they share up to the last one are whole segments.
            let shared = open.iter().zip(parents).take_while(|(a, b)| a == b).count();
            let shared = open[..shared].iter().rposition(|b| *b == SEPARATOR).map_or(0, |at| at + 1);
            let closing = open[shared..].iter().filter(|b| **b == SEPARATOR).count();
            out.extend(std::iter::repeat_n(b'}', closing));
            for segment in parents[shared..].split_inclusive(|b| *b == SEPARATOR) {
                comma(out);
                json_text::string(out, segment.strip_suffix(&[SEPARATOR]).unwrap_or(segment));
                out.extend_from_slice(b":{");
            }
            comma(out);
            json_text::string(out, name);
            out.push(b':');
            write(buf, leaf.value, out);
            open = parents;
        }
        out.extend(open.iter().filter(|b| **b == SEPARATOR).map(|_| b'}'));
    }
}

enum Clash {
    None,
    /// The same path as the field that stays.
    Same(Leaf),
    /// A path inside of the field's, which is a value.
    Inside(Leaf),
}

/// A comma, unless the object was just opened. No value ends with an opening bracket.
fn comma(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

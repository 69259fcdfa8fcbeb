//! The file as a tree of nodes that know where they stand.
//!
//! serde-saphyr reads the YAML (limits, anchors, merge keys, duplicate keys are its business); this file keeps of each
//! scalar the text as it was written, because what `4317` or `${PORT:-4317}` means is only known once the field that it is
//! for asks for a type.
//!
//! Invariant: a node's children are fixed here, before any environment variable is looked at. Expansion changes the text of
//! scalars and nothing else, so no value from outside can add a key, a list entry or a component.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{MessageFormatter, Spanned};

use crate::fault::Fault;

/// Nodes nested deeper than this are refused; a configuration needs about eight.
const MAX_DEPTH: usize = 48;
/// More YAML events than this are refused: about a thousand components.
const MAX_EVENTS: usize = 200_000;

/// What to say about a file that says nothing.
pub(crate) const EMPTY: &str = "the file is empty; pipelines/quickstart.yaml is a start";

/// A range in one line of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Counted from 1.
    pub(crate) line: u32,
    /// Counted from 1, in characters.
    pub(crate) column: u32,
    /// In characters; at least 1 when shown.
    pub(crate) length: u32,
}

/// One value of the file.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Where it stands. A map, a list or nothing that is the value of a key stands where the key does: that is where a
    /// reader looks for it.
    pub(crate) at: Place,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) at: Place,
}

/// A scalar before its type is known.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// Decoded, and after expansion with the values in it.
    pub(crate) text: String,
    /// Written without quotes and not as a block: may be a number, a truth value or nothing.
    pub(crate) bare: bool,
    /// As written, when `text` holds something from outside: what error messages show instead of `text`.
    pub(crate) written: Option<String>,
}

impl Scalar {
    /// `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        self.bare && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// What an error message may show.
    pub(crate) fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }
}

/// Reads one document.
pub(crate) fn read(source: &str) -> Result<Node, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_events: MAX_EVENTS,
            max_aliases: 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_EVENTS },
        with_snippet: false,
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(source, options).map_err(|e| syntax(&e))?;
    Ok(locate(raw, source, None))
}

/// A fault of the YAML itself.
fn syntax(error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let at =
        error.location().map(|l| Place { line: narrow(l.line()), column: narrow(l.column()), length: 1 });
    let message = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!(
                "the key `{key}` stands twice in one map; join the two, or give a second component a name: `{key}/second`"
            )
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "a second document (`---`) begins here; one file holds one configuration".to_owned()
        }
        serde_saphyr::Error::Eof { .. } => EMPTY.to_owned(),
        other => format!("not valid YAML: {}", serde_saphyr::DefaultMessageFormatter.format_message(other)),
    };
    Fault::new(message).or_at(at, "")
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// As serde-saphyr hands it over: the span of a node is only known outside of it.
enum Raw {
    Text(String),
    /// A number, a truth value or nothing: its text is in the source.
    Bare,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn locate(raw: Spanned<Raw>, source: &str, key: Option<Place>) -> Node {
    let (own, slice) = extent(&raw, source);
    match raw.value {
        Raw::Text(text) => {
            let bare = !slice.trim_start().starts_with(['"', '\'', '|', '>', '!', '&'])
                && !follows_block_mark(&raw.defined, source);
            Node { value: Value::Scalar(Scalar { text, bare, written: None }), at: own }
        }
        Raw::Bare => {
            let text = bare_text(slice);
            let at = if text.is_empty() { key.unwrap_or(own) } else { own };
            Node { value: Value::Scalar(Scalar { text: text.to_owned(), bare: true, written: None }), at }
        }
        Raw::List(items) => {
            let items = items.into_iter().map(|item| locate(item, source, None)).collect();
            Node { value: Value::List(items), at: key.unwrap_or(own) }
        }
        Raw::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                let (at, _) = extent(&key, source);
                (Key { text: key.value, at }, locate(value, source, Some(at)))
            });
            Node { value: Value::Map(entries.collect()), at: key.unwrap_or(own) }
        }
    }
}

/// Whether a text is a block (`|` or `>`): its span begins after the mark.
fn follows_block_mark(defined: &serde_saphyr::Location, source: &str) -> bool {
    let start = defined.span().byte_offset().and_then(|start| usize::try_from(start).ok());
    let before = start.and_then(|start| source.get(..start)).unwrap_or("");
    let mark = before.split_whitespace().next_back().unwrap_or("");
    mark.starts_with(['|', '>']) && mark[1..].chars().all(|c| c.is_ascii_digit() || "+-".contains(c))
}

/// The text of a number, a truth value or nothing, without an anchor or a tag before it.
fn bare_text(slice: &str) -> &str {
    let text = slice.trim();
    if text.starts_with(['&', '!']) { text.split_whitespace().last().unwrap_or("") } else { text }
}

/// Where a value stands, and the text between its ends. An alias stands where it is used; its text is where it was defined.
fn extent<'s, T>(spanned: &Spanned<T>, source: &'s str) -> (Place, &'s str) {
    let defined = spanned.defined.span();
    let slice = defined.byte_offset().zip(defined.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    let slice = slice.unwrap_or("");
    let used = spanned.referenced;
    let length = slice.lines().next().map_or(0, |line| line.trim_end().chars().count());
    let place = Place {
        line: narrow(used.line()),
        column: narrow(used.column()),
        length: u32::try_from(length).unwrap_or(u32::MAX),
    };
    (place, slice)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Bare)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(node: &Node) -> &[(Key, Node)] {
        match &node.value {
            Value::Map(entries) => entries,
            other => panic!("not a map: {other:?}"),
        }
    }

    fn scalar(node: &Node) -> &Scalar {
        match &node.value {
            Value::Scalar(scalar) => scalar,
            other => panic!("not a scalar: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text() {
        let node =
            read("a: 007\nb: 1.10\nc: \"12\"\nd: ${X:-4}\ne:\nf: |\n  block\ng: null\nh: 0x1F\n").unwrap();
        let texts: Vec<_> =
            map(&node).iter().map(|(_, value)| (scalar(value).text.as_str(), scalar(value).bare)).collect();
        assert_eq!(
            texts,
            [
                ("007", true),
                ("1.10", true),
                ("12", false),
                ("${X:-4}", true),
                ("", true),
                ("block\n", false),
                ("null", true),
                ("0x1F", true)
            ]
        );
    }

    #[test]
    fn places_point_at_what_a_reader_looks_for() {
        let node = read("top:\n  inner:\n    port: 4317\n  empty:\n").unwrap();
        let top = &map(&node)[0];
        assert_eq!((top.0.at.line, top.0.at.column, top.0.at.length), (1, 1, 3));
        let inner = &map(&top.1)[0];
        assert_eq!((inner.1.at.line, inner.1.at.column), (2, 3), "a map stands at its key");
        let port = &map(&inner.1)[0].1;
        assert_eq!((port.at.line, port.at.column, port.at.length), (3, 11, 4));
        assert_eq!(map(&top.1)[1].1.at.line, 4, "nothing stands at its key");
    }

    #[test]
    fn anchors_and_merges_work() {
        let node = read("a: &x\n  port: 12\nb:\n  <<: *x\n  more: 1\nc: &n 7\nd: *n\n").unwrap();
        let b = &map(&node)[1].1;
        assert_eq!(map(b).len(), 2);
        let port = map(b).iter().find(|(key, _)| key.text == "port").unwrap();
        assert_eq!(scalar(&port.1).text, "12");
        assert_eq!(scalar(&map(&node)[2].1).text, "7");
        assert_eq!(scalar(&map(&node)[3].1).text, "7");
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(read(&text).is_err());
        let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
        assert!(read(&deep).is_err());
    }
}

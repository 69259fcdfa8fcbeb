//! The JSON bodies, read in one pass: only one entry is in memory besides what is written.
//!
//! ```text
//! {"streams": [{"stream": {NAME: VALUE, ...}, "values": [["<ns>", "line", {NAME: VALUE, ...}], ...]}, ...]}
//! {"streams": [{"labels": "{NAME=\"VALUE\"}", "entries": [{"ts": "<RFC 3339>", "line": "...", "structuredMetadata": {...}}]}]}
//! ```
//! Where the entries stand before the labels they are read over and come back to.

use std::borrow::Cow;

use super::PushError;
use super::decode::Streams;
use super::entry::{Entry, MAX_METADATA};
use super::labels::{self, Labels, MAX_LABELS};
use crate::json::{Json, Members, Parser};
use crate::timestamp::parse_rfc3339;

/// Nothing that is read as a whole is nested.
const MAX_DEPTH: usize = 4;

/// How the entries of a stream are written.
#[derive(Clone, Copy)]
enum Shape {
    Values,
    Entries,
}

pub(super) fn decode(text: &str, streams: &mut Streams<'_>) -> Result<(), PushError> {
    let mut parser = Parser::new(text, MAX_DEPTH);
    let mut found = false;
    each_member(&mut parser, |parser, name| {
        if name != "streams" {
            return parser.skip().map_err(PushError::from);
        }
        found = true;
        each_element(parser, |parser| stream(parser, streams))
    })?;
    parser.end()?;
    if found { Ok(()) } else { Err(PushError::Shape("there is no member `streams`")) }
}

fn stream<'a>(parser: &mut Parser<'a>, streams: &mut Streams<'_>) -> Result<(), PushError> {
    let mut labels: Option<Labels<'a>> = None;
    // Entries that stand before the labels.
    let mut early = Vec::new();
    let mut begun = false;
    each_member(parser, |parser, name| {
        let shape = match name {
            "stream" => {
                labels = Some(members(parser, MAX_LABELS)?.into_iter().try_fold(Labels::new(), label)?);
                return Ok(());
            }
            "labels" => {
                let text = parser.text()?;
                let owned = labels::parse(&text, &mut streams.invalid_utf8)?;
                let owned =
                    owned.into_iter().map(|(n, v)| (Cow::Owned(n.into_owned()), Cow::Owned(v.into_owned())));
                labels = Some(owned.collect());
                return Ok(());
            }
            "values" => Shape::Values,
            "entries" => Shape::Entries,
            _ => return parser.skip().map_err(PushError::from),
        };
        match labels.take() {
            Some(labels) => streams.begin(labels)?,
            None if begun => {}
            None if early.len() < 2 => {
                early.push((parser.clone(), shape));
                return parser.skip().map_err(PushError::from);
            }
            None => return Err(PushError::Unlabelled),
        }
        begun = true;
        entries(parser, shape, streams)
    })?;
    if early.is_empty() {
        return if begun || labels.is_some() { Ok(()) } else { Err(PushError::Unlabelled) };
    }
    match labels {
        Some(labels) => streams.begin(labels)?,
        None if begun => {}
        None => return Err(PushError::Unlabelled),
    }
    early.into_iter().try_for_each(|(mut parser, shape)| entries(&mut parser, shape, streams))
}

fn label<'a>(
    mut labels: Labels<'a>,
    (name, value): (Cow<'a, str>, Json<'a>),
) -> Result<Labels<'a>, PushError> {
    labels::add(&mut labels, name, scalar(value, "the value of a label is no text")?)?;
    Ok(labels)
}

fn entries(parser: &mut Parser<'_>, shape: Shape, streams: &mut Streams<'_>) -> Result<(), PushError> {
    let mut entry = Entry::default();
    each_element(parser, |parser| {
        entry.clear();
        match shape {
            Shape::Values => value(parser, &mut entry)?,
            Shape::Entries => legacy(parser, &mut entry)?,
        }
        streams.add(&entry)
    })
}

/// `["<nanoseconds>", "line"]` or with an object of metadata at the end.
fn value<'a>(parser: &mut Parser<'a>, entry: &mut Entry<'a>) -> Result<(), PushError> {
    let mut at = 0;
    each_element(parser, |parser| {
        at += 1;
        match at {
            1 => {
                parser.allow(1);
                let text = scalar(parser.value()?, "a timestamp is neither a text nor a number")?;
                entry.time = text.parse().map_err(|_| PushError::Timestamp)?;
            }
            2 => entry.line = parser.text()?,
            3 => metadata(parser, entry)?,
            _ => return Err(PushError::Shape("an entry has more than three elements")),
        }
        Ok(())
    })?;
    if at < 2 { Err(PushError::Shape("an entry has no line")) } else { Ok(()) }
}

/// `{"ts": ..., "line": ...}`.
fn legacy<'a>(parser: &mut Parser<'a>, entry: &mut Entry<'a>) -> Result<(), PushError> {
    each_member(parser, |parser, name| {
        match name {
            "ts" => entry.time = parse_rfc3339(&parser.text()?).ok_or(PushError::Timestamp)?,
            "line" => entry.line = parser.text()?,
            "structuredMetadata" => metadata(parser, entry)?,
            _ => parser.skip()?,
        }
        Ok(())
    })
}

fn metadata<'a>(parser: &mut Parser<'a>, entry: &mut Entry<'a>) -> Result<(), PushError> {
    members(parser, MAX_METADATA)?
        .into_iter()
        .try_for_each(|(name, value)| entry.add(name, scalar(value, "structured metadata is no text")?))
}

fn members<'a>(parser: &mut Parser<'a>, most: usize) -> Result<Members<'a>, PushError> {
    // One more, so that what is too much is told apart from what is no JSON.
    parser.allow(most + 1);
    if parser.peek() != Some(b'{') {
        return Err(PushError::Shape("an object is expected for labels and structured metadata"));
    }
    Ok(parser.object()?)
}

/// A text, or the text of a number or a truth value.
fn scalar<'a>(value: Json<'a>, otherwise: &'static str) -> Result<Cow<'a, str>, PushError> {
    match value {
        Json::String(text) => Ok(text),
        Json::Number(text) => Ok(Cow::Borrowed(text)),
        Json::Bool(yes) => Ok(Cow::Borrowed(if yes { "true" } else { "false" })),
        _ => Err(PushError::Shape(otherwise)),
    }
}

fn each_element<'a>(
    parser: &mut Parser<'a>,
    mut element: impl FnMut(&mut Parser<'a>) -> Result<(), PushError>,
) -> Result<(), PushError> {
    if !parser.take(b'[') {
        return Err(PushError::Shape("an array is expected for streams, their entries and an entry"));
    }
    if parser.take(b']') {
        return Ok(());
    }
    element(parser)?;
    while parser.take(b',') {
        element(parser)?;
    }
    Ok(parser.expect(b']')?)
}

fn each_member<'a>(
    parser: &mut Parser<'a>,
    mut member: impl FnMut(&mut Parser<'a>, &str) -> Result<(), PushError>,
) -> Result<(), PushError> {
    if !parser.take(b'{') {
        return Err(PushError::Shape("an object is expected for the request and for a stream"));
    }
    if parser.take(b'}') {
        return Ok(());
    }
    loop {
        let name = parser.text()?;
        parser.expect(b':')?;
        member(parser, &name)?;
        if !parser.take(b',') {
            return Ok(parser.expect(b'}')?);
        }
    }
}

//! The section `pipelines`: which components a request passes, and whether they exist.
//!
//! Whether their signals fit is the engine's to check.

use std::collections::{BTreeMap, BTreeSet};

use engine::graph::PipelineSpec;
use model::Signal;
use serde::Deserialize;

use crate::cursor::Cursor;
use crate::fault::Fault;
use crate::node::{Key, Node, Value};
use crate::sections::{Components, is_name};
use crate::suggest;

/// More pipelines are refused.
const MAX_PIPELINES: usize = 1000;
const PARTS: &[&str] = &["receivers", "processors", "exporters", "signal"];
const SIGNAL: usize = 3;
const EXAMPLE: &str =
    "for example `pipelines: { main: { receivers: [otlp], processors: [redact], exporters: [file] } }`";

/// The keys of one section, its type erased.
pub(crate) struct Declared<'c> {
    kind: &'static str,
    keys: Vec<&'c str>,
    types: &'c [&'static str],
}

impl<C: ?Sized> Components<C> {
    pub(crate) fn names(&self) -> Declared<'_> {
        Declared {
            kind: self.kind,
            keys: self.declared.keys().map(String::as_str).collect(),
            types: &self.types,
        }
    }
}

/// Reads the section. `declared` is in the order of [`PARTS`].
pub(crate) fn read(
    section: Option<&(&Key, &Node)>,
    declared: &[Declared<'_>; 3],
    faults: &mut Vec<Fault>,
) -> Vec<PipelineSpec> {
    let Some((section_key, node)) = section else {
        faults.push(Fault::new(format!("the section `pipelines:` is missing; {EXAMPLE}")));
        return Vec::new();
    };
    let entries = match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        Value::List(_) => {
            faults.push(Fault::at(
                section_key.at,
                "",
                format!("expected a map from names to pipelines, found a list; {EXAMPLE}"),
            ));
            return Vec::new();
        }
        _ => {
            faults.push(Fault::at(section_key.at, "", format!("there is no pipeline; {EXAMPLE}")));
            return Vec::new();
        }
    };
    if let Some((key, _)) = entries.get(MAX_PIPELINES) {
        faults.push(Fault::at(key.at, "", format!("more than {MAX_PIPELINES} pipelines")));
        return Vec::new();
    }
    entries.iter().map(|(key, node)| pipeline(key, node, declared, faults)).collect()
}

fn pipeline(key: &Key, node: &Node, declared: &[Declared<'_>; 3], faults: &mut Vec<Fault>) -> PipelineSpec {
    let path = format!("pipelines.{}", key.text);
    if !key.text.split('/').all(is_name) {
        let message = format!(
            "`{}` is no good name for a pipeline; write letters, digits, `_`, `-`, `.` or `/`",
            key.text
        );
        faults.push(Fault::at(key.at, "", message));
    }
    let mut lists: BTreeMap<&str, (Vec<String>, bool)> = BTreeMap::new();
    let mut signal = None;
    match &node.value {
        Value::Map(entries) => {
            for (part, value) in entries {
                let Some(at) = PARTS.iter().position(|known| *known == part.text) else {
                    faults.push(Fault::at(
                        part.at,
                        path.clone(),
                        suggest::unknown("field", &part.text, "fields here", PARTS),
                    ));
                    continue;
                };
                if at == SIGNAL {
                    let read = Option::<Signal>::deserialize(Cursor::new(value, format!("{path}.signal")));
                    signal = read.unwrap_or_else(|fault| {
                        faults.push(fault);
                        None
                    });
                    continue;
                }
                let names = references(part, value, at, declared, &path, faults);
                lists.insert(PARTS[at], names);
            }
        }
        _ => {
            faults.push(Fault::at(key.at, path.clone(), format!("a pipeline is a map; {EXAMPLE}")));
            return PipelineSpec { name: key.text.clone(), ..PipelineSpec::default() };
        }
    }
    for part in ["receivers", "exporters"] {
        // An empty list is a fault as well; a list whose entries are wrong has been reported.
        if lists.get(part).is_none_or(|(_, written)| !written) {
            let use_of = if part == "receivers" { "nothing would come in" } else { "nothing would go out" };
            faults.push(Fault::at(key.at, path.clone(), format!("the pipeline names no {part}; {use_of}")));
        }
    }
    let mut take = |part| lists.remove(part).unwrap_or_default().0;
    PipelineSpec {
        name: key.text.clone(),
        signal,
        receivers: take("receivers"),
        processors: take("processors"),
        exporters: take("exporters"),
    }
}

/// The names in one list, and whether anything was written there at all.
fn references(
    part: &Key,
    value: &Node,
    at: usize,
    declared: &[Declared<'_>; 3],
    path: &str,
    faults: &mut Vec<Fault>,
) -> (Vec<String>, bool) {
    let items = match &value.value {
        Value::List(items) => items,
        Value::Scalar(scalar) if scalar.is_null() => return (Vec::new(), false),
        other => {
            let example = match other {
                Value::Scalar(scalar) => scalar.shown().to_owned(),
                _ => declared[at].keys.first().copied().unwrap_or("name").to_owned(),
            };
            let message = format!("expected a list of names such as `{}: [{example}]`", part.text);
            faults.push(Fault::at(value.at, format!("{path}.{}", part.text), message));
            return (Vec::new(), true);
        }
    };
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        let Value::Scalar(scalar) = &item.value else {
            let message = format!("expected the name of a {}", declared[at].kind);
            faults.push(Fault::at(item.at, format!("{path}.{}", part.text), message));
            continue;
        };
        if !declared[at].keys.contains(&scalar.text.as_str()) {
            faults.push(Fault::at(item.at, path, unknown_reference(&scalar.text, at, declared)));
        } else if !seen.insert(scalar.text.as_str()) {
            let message = format!("`{}` stands twice in {}", scalar.text, part.text);
            faults.push(Fault::at(item.at, path, message));
        } else {
            names.push(scalar.text.clone());
        }
    }
    (names, !items.is_empty())
}

fn unknown_reference(name: &str, at: usize, declared: &[Declared<'_>; 3]) -> String {
    let own = &declared[at];
    if let Some(other) = declared.iter().find(|other| other.keys.contains(&name)) {
        return format!(
            "`{name}` is defined as {} {}, not as {} {}",
            article(other.kind),
            other.kind,
            article(own.kind),
            own.kind
        );
    }
    let type_name = name.split('/').next().unwrap_or(name);
    if own.types.contains(&type_name) && suggest::nearest(name, own.keys.iter().copied()).is_none() {
        return format!(
            "the {} `{name}` is not defined; add `{name}:` with its settings under `{}s:`",
            own.kind, own.kind
        );
    }
    if own.keys.is_empty() {
        return format!("unknown {} `{name}`; the section `{}s:` defines none", own.kind, own.kind);
    }
    suggest::unknown(own.kind, name, "defined", &own.keys)
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with('e') { "an" } else { "a" }
}

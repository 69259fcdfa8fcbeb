//! Where a configuration came from, kept so that what goes wrong after reading can still be shown with its place.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt::Write as _;

use engine::graph::GraphError;

use crate::expand::Values;
use crate::fault::Fault;
use crate::node::{Node, Place, Value};
use crate::report::Problems;

/// The file, the places of its keys, and what it took from outside.
#[derive(Clone)]
pub struct Origin {
    pub(crate) file: String,
    pub(crate) source: String,
    /// By setting: `receivers.otlp`, `pipelines.main`.
    pub(crate) places: HashMap<String, Place>,
    pub(crate) values: Values,
    pub(crate) root: Node,
}

/// The file's name and nothing of its content.
impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Origin({})", self.file)
    }
}

impl Origin {
    /// The file as the caller named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What the engine says about the graph, with the place of the component or the pipeline, and without secrets.
    pub fn explain(&self, error: &GraphError) -> Problems {
        let path = path(error);
        let mut message = error.to_string();
        if let GraphError::Build { id, .. } | GraphError::Start { id, .. } = error {
            // Some components begin with their own name.
            message = message.replacen(&format!(": {id}: "), ": ", 1);
        }
        // The engine's text ends with the component's; what caused that stands behind it.
        let mut cause = error.source().and_then(std::error::Error::source);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = inner.source();
        }
        let at = path.as_ref().and_then(|path| self.places.get(path)).copied();
        let fault = Fault { message, at, path: String::new() };
        Problems::new(&self.file, &self.source, &self.values.secrets(), vec![fault])
    }

    /// What the file says at a place, such as `["processors", "redact", "mode"]`: a scalar's text. `None` where it says nothing, even
    /// if there is a default.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        let mut node = &self.root;
        for name in path {
            let Value::Map(entries) = &node.value else {
                return None;
            };
            node = &entries.iter().find(|(key, _)| key.text == *name)?.1;
        }
        match &node.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// `text` without the secrets that the file took from outside.
    pub fn hide_secrets(&self, text: &str) -> String {
        self.values.secrets().hide(text)
    }
}

/// The setting that an error is about.
fn path(error: &GraphError) -> Option<String> {
    match error {
        GraphError::Duplicate { what, id } => Some(format!("{what}s.{id}")),
        GraphError::Unknown { pipeline, .. }
        | GraphError::Repeated { pipeline, .. }
        | GraphError::Incomplete { pipeline, .. }
        | GraphError::SignalMismatch { pipeline, .. }
        | GraphError::NoSignal { pipeline, .. } => Some(format!("pipelines.{pipeline}")),
        // `receiver otlp`, or something of the program's own such as `admin`.
        GraphError::Clash { second, .. } => Some(second.replacen(' ', "s.", 1)),
        GraphError::NoDiskBuffer { receiver, .. } => Some(format!("receivers.{receiver}")),
        GraphError::NoBudget => Some("limits".to_owned()),
        GraphError::Build { kind, id, .. } => Some(format!("{kind}s.{id}")),
        GraphError::Start { id, .. } => Some(format!("receivers.{id}")),
        _ => None,
    }
}

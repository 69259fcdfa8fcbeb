//! The sections of the file: which there are, and the components in `receivers`, `processors` and `exporters`.
//!
//! Every component is read on its own, so that a fault in one hides none in the others.

use std::collections::BTreeMap;

use engine::graph::ComponentSpec;
use serde::de::{DeserializeOwned, Error as _};

use crate::cursor::Cursor;
use crate::expand::Environment;
use crate::fault::Fault;
use crate::fingerprint;
use crate::node::{Key, Node, Place, Value};
use crate::registry::Factory;
use crate::suggest;

/// More components of one kind are refused.
const MAX_COMPONENTS: usize = 1000;

/// The top-level keys, in the order in which people write them.
pub(crate) const SECTIONS: &[&str] =
    &["receivers", "processors", "exporters", "pipelines", "admin", "limits", "log", "runtime", "shutdown"];

/// The components of one section that could be read.
pub(crate) struct Components<C: ?Sized> {
    /// `receiver`, for messages.
    pub(crate) kind: &'static str,
    /// Every key of the section, also of components whose settings are wrong, so that a reference to them is no second fault.
    pub(crate) declared: BTreeMap<String, Place>,
    /// In the order of the file.
    pub(crate) read: Vec<ComponentSpec<C>>,
    /// The types that exist.
    pub(crate) types: Vec<&'static str>,
}

/// The sections by name.
pub(crate) fn split<'n>(
    entries: &'n [(Key, Node)],
    faults: &mut Vec<Fault>,
) -> BTreeMap<&'static str, (&'n Key, &'n Node)> {
    let mut sections = BTreeMap::new();
    for (key, node) in entries {
        match SECTIONS.iter().find(|section| **section == key.text) {
            Some(section) => {
                sections.insert(*section, (key, node));
            }
            None if key.text == "service" || key.text == "extensions" => faults.push(Fault::at(
                key.at,
                "",
                format!("there is no section `{}`; pipelines stand at the top, under `pipelines:`", key.text),
            )),
            None => faults.push(Fault::at(
                key.at,
                "",
                suggest::unknown("section", &key.text, "sections", SECTIONS),
            )),
        }
    }
    sections
}

/// A section that is one struct with defaults.
pub(crate) fn settings<T: DeserializeOwned + Default>(
    name: &str,
    section: Option<&(&Key, &Node)>,
    faults: &mut Vec<Fault>,
) -> T {
    let Some((_, node)) = section else {
        return T::default();
    };
    T::deserialize(Cursor::new(node, name)).unwrap_or_else(|fault| {
        faults.push(fault);
        T::default()
    })
}

/// A section of components.
pub(crate) fn components<F: Factory>(
    kind: &'static str,
    section: Option<&(&Key, &Node)>,
    factories: &[F],
    environment: &dyn Environment,
    faults: &mut Vec<Fault>,
) -> Components<F::Config> {
    let types = factories.iter().map(Factory::name).collect();
    let mut components = Components { kind, declared: BTreeMap::new(), read: Vec::new(), types };
    let entries = match section {
        None => return components,
        Some((_, Node { value: Value::Map(entries), .. })) => entries,
        Some((_, Node { value: Value::Scalar(scalar), .. })) if scalar.is_null() => return components,
        Some((key, _)) => {
            let message = format!(
                "expected a map of {kind}s, such as `{}:` with its settings below",
                sample(factories)
            );
            faults.push(Fault::at(key.at, key.text.clone(), message));
            return components;
        }
    };
    if let Some((key, _)) = entries.get(MAX_COMPONENTS) {
        faults.push(Fault::at(key.at, "", format!("more than {MAX_COMPONENTS} {kind}s")));
        return components;
    }
    for (key, node) in entries {
        components.declared.insert(key.text.clone(), key.at);
        match component(kind, key, node, factories, environment) {
            Ok(spec) => components.read.push(spec),
            Err(fault) => faults.push(fault),
        }
    }
    components
}

fn sample<F: Factory>(factories: &[F]) -> &'static str {
    factories.first().map_or("type", Factory::name)
}

fn component<F: Factory>(
    kind: &'static str,
    key: &Key,
    node: &Node,
    factories: &[F],
    environment: &dyn Environment,
) -> Result<ComponentSpec<F::Config>, Fault> {
    let (type_name, name) = match key.text.split_once('/') {
        Some((type_name, name)) => (type_name, Some(name)),
        None => (key.text.as_str(), None),
    };
    let Some(factory) = factories.iter().find(|factory| factory.name() == type_name) else {
        let types: Vec<_> = factories.iter().map(Factory::name).collect();
        let message = suggest::unknown(&format!("{kind} type"), type_name, "there are", &types);
        return Err(Fault::at(key.at, "", message));
    };
    if name.is_some_and(|name| !is_name(name)) {
        let message = format!(
            "`{}` is no good name for a {kind}; after `{type_name}/` write 1 to 64 letters, digits, `_`, `-` or `.`",
            key.text
        );
        return Err(Fault::at(key.at, "", message));
    }
    let path = format!("{kind}s.{}", key.text);
    let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(Cursor::new(node, path.clone()));
    let config =
        factory.parse(&mut erased).map_err(|error| Fault::custom(error).or_at(Some(key.at), &path))?;
    let fingerprint = fingerprint::of(node, environment);
    Ok(ComponentSpec { id: key.text.clone(), signals: factory.signals(), fingerprint, config })
}

/// 1 to 64 letters, digits, `_`, `-` or `.`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

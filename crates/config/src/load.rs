//! The whole way from a file to a configuration.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use engine::component::Claim;
use engine::graph::GraphSpec;

use crate::expand::{self, Environment, Values};
use crate::fault::Fault;
use crate::node::{self, Key, Node, Place, Value};
use crate::origin::Origin;
use crate::pipelines;
use crate::registry::Registry;
use crate::report::Problems;
use crate::sections;
use crate::settings::Settings;

/// A larger file is refused: bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than 1 MiB.
    #[error("the configuration {path} is {bytes} bytes long; the limit is {MAX_FILE_BYTES}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// What the file says is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

/// A file that was read and checked.
pub struct Config {
    /// What the engine builds.
    pub graph: GraphSpec,
    /// The program's own settings.
    pub settings: Settings,
    /// To show later errors with their place.
    pub origin: Origin,
}

/// Reads and checks a file.
///
/// # Errors
/// See [`Error`]; [`Error::Invalid`] names everything that is wrong, not only the first.
pub fn load(path: &Path, registry: &Registry<'_>, environment: &dyn Environment) -> Result<Config, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(read)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(Error::TooLarge { path: path.to_owned(), bytes });
    }
    let text = fs::read_to_string(path).map_err(read)?;
    parse(&path.display().to_string(), &text, registry, environment).map_err(Error::Invalid)
}

/// Checks the text of a file; `name` stands in front of every message.
///
/// # Errors
/// Everything that is wrong.
pub fn parse(
    name: &str,
    source: &str,
    registry: &Registry<'_>,
    environment: &dyn Environment,
) -> Result<Config, Problems> {
    let mut values = Values::default();
    let mut faults = Vec::new();
    let mut root =
        node::read(source).map_err(|fault| Problems::new(name, source, &Values::default(), vec![fault]))?;
    let whole = |message: &str| Problems::new(name, source, &Values::default(), vec![Fault::new(message)]);
    expand::expand_tree(&mut root, source, environment, &mut values, &mut faults);
    let unexpanded: Vec<Place> = faults.iter().filter_map(|fault| fault.at).collect();

    let entries = match &root.value {
        Value::Map(entries) => entries,
        Value::Scalar(scalar) if scalar.is_null() => return Err(whole(node::EMPTY)),
        _ => {
            return Err(whole("expected a map with `receivers:`, `exporters:` and `pipelines:`"));
        }
    };
    let sections = sections::split(entries, &mut faults);
    let receivers = sections::components(
        "receiver",
        sections.get("receivers"),
        registry.receivers,
        environment,
        &mut faults,
    );
    let processors = sections::components(
        "processor",
        sections.get("processors"),
        registry.processors,
        environment,
        &mut faults,
    );
    let exporters = sections::components(
        "exporter",
        sections.get("exporters"),
        registry.exporters,
        environment,
        &mut faults,
    );
    let declared = [receivers.names(), processors.names(), exporters.names()];
    let pipelines = pipelines::read(sections.get("pipelines"), &declared, &mut faults);
    let settings = Settings {
        admin: sections::settings("admin", sections.get("admin"), &mut faults),
        limits: sections::settings("limits", sections.get("limits"), &mut faults),
        log: sections::settings("log", sections.get("log"), &mut faults),
        runtime: sections::settings("runtime", sections.get("runtime"), &mut faults),
        shutdown: sections::settings("shutdown", sections.get("shutdown"), &mut faults),
    };
    let faults = without_echoes(faults, &unexpanded);
    if !faults.is_empty() {
        return Err(Problems::new(name, source, &values, faults));
    }
    let reserved =
        settings.admin.enabled.then(|| ("admin".to_owned(), Claim::Tcp(settings.admin.endpoint.clone())));
    let graph = GraphSpec {
        budget_bytes: usize::try_from(settings.limits.memory.0).unwrap_or(usize::MAX),
        reserved: reserved.into_iter().collect(),
        receivers: receivers.read,
        processors: processors.read,
        exporters: exporters.read,
        pipelines,
    };
    let places = places(entries);
    let origin = Origin { file: name.to_owned(), source: source.to_owned(), places, values, root };
    Ok(Config { graph, settings, origin })
}

/// Leaves out what is only the echo of a placeholder without a value: the field then holds `${PORT}`, which is no number.
fn without_echoes(faults: Vec<Fault>, unexpanded: &[Place]) -> Vec<Fault> {
    let first = unexpanded.len();
    let echo = |fault: &Fault| {
        fault.at.is_some_and(|at| {
            unexpanded.iter().any(|place| place.line == at.line && at.column <= place.column)
        })
    };
    faults
        .into_iter()
        .enumerate()
        .filter(|(i, fault)| *i < first || !echo(fault))
        .map(|(_, fault)| fault)
        .collect()
}

/// The places of the keys that later errors may be about.
fn places(sections: &[(Key, Node)]) -> HashMap<String, Place> {
    let mut places = HashMap::new();
    for (section, node) in sections {
        places.insert(section.text.clone(), section.at);
        if let Value::Map(entries) = &node.value {
            places.extend(entries.iter().map(|(key, _)| (format!("{}.{}", section.text, key.text), key.at)));
        }
    }
    places
}

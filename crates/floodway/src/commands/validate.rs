//! `floodway validate`: checks a configuration as `run` would, and starts nothing.
//!
//! Invariant: nothing is bound, created or generated. What only the system knows, such as whether a port is free, is therefore not
//! checked.

use std::process::ExitCode;

use config::{Config, ProcessEnvironment};
use engine::Graph;

use crate::cli::ConfigArgs;
use crate::summary::Summary;
use crate::{component_tables, logging};

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let Config { graph, settings, origin } =
        config::load(&args.file, &component_tables::ALL, &ProcessEnvironment)?;
    logging::filter(&settings.log)?;
    let summary = Summary::of(&graph, &origin);
    let graph = Graph::build(graph, true).map_err(|error| origin.explain(&error))?;
    let mut text = format!("{}: OK\n{summary}", origin.file());
    for warning in graph.warnings() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    super::print(&text)
}

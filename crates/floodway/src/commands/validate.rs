//! `floodway validate`: checks a configuration as `run` would, and starts nothing.
//!
//! Invariant: nothing is bound, created or generated; disk buffers and dead letters that are there are read and left as they are.
//! What only the system knows, such as whether a port is free, is therefore not checked.

use std::path::PathBuf;
use std::process::ExitCode;

use config::{Config, ProcessEnvironment};
use engine::{Graph, GraphSpec};

use super::buffer::{Folder, faults, waiting};
use crate::cli::ConfigArgs;
use crate::summary::Summary;
use crate::{component_tables, logging};

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let Config { graph, settings, origin } =
        config::load(&args.file, &component_tables::ALL, &ProcessEnvironment)?;
    logging::filter(&settings.log)?;
    let summary = Summary::of(&graph, &origin);
    let folders = folders(&graph);
    let graph = Graph::build(graph, true).map_err(|error| origin.explain(&error))?;
    let stored = folders.into_iter().map(look).collect::<anyhow::Result<Vec<_>>>()?;
    let mut text = format!("{}: OK\n{summary}", origin.file());
    for (line, _) in &stored {
        text.push_str(line);
    }
    for warning in graph.warnings() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    for warning in stored.iter().flat_map(|(_, warnings)| warnings) {
        text.push_str(&format!("warning: {warning}\n"));
    }
    super::print(&text)
}

/// A folder that the engine writes for an exporter.
struct Stored {
    setting: &'static str,
    exporter: String,
    directory: PathBuf,
}

/// Those of the exporters that a pipeline names.
fn folders(spec: &GraphSpec) -> Vec<Stored> {
    let mut folders = Vec::new();
    for exporter in &spec.exporters {
        if !spec.pipelines.iter().any(|pipeline| pipeline.exporters.contains(&exporter.id)) {
            continue;
        }
        let delivery = exporter.config.delivery();
        let buffer = delivery.buffer.map(|buffer| ("buffer", buffer.directory));
        let letters = delivery.dead_letters.map(|letters| ("dead_letters", letters.directory));
        folders.extend(buffer.into_iter().chain(letters).map(|(setting, directory)| Stored {
            setting,
            exporter: exporter.id.clone(),
            directory,
        }));
    }
    folders
}

/// What there is in it, as a line of the summary, and what is wrong with it.
fn look(Stored { setting, exporter, directory }: Stored) -> anyhow::Result<(String, Vec<String>)> {
    let place = directory.display();
    let named = |what: &str| format!("  {:<10} {exporter}  {place}: {what}\n", setting.replace('_', " "));
    // A name that leads nowhere, but not a folder that we may not look for.
    if directory.try_exists().is_ok_and(|exists| !exists) {
        return Ok((named("not there yet; the first run makes it"), Vec::new()));
    }
    let explained = |error: anyhow::Error| error.context(format!("exporters.{exporter}.{setting}.directory"));
    let report = Folder::open(&directory).and_then(|folder| folder.report()).map_err(explained)?;
    let mut warnings: Vec<String> = faults(&report);
    if let Some(last) = warnings.last_mut() {
        last.push_str(&format!("; `floodway buffer check {place}` says more"));
    }
    let warnings = warnings.into_iter().map(|fault| format!("{place}: {fault}")).collect();
    Ok((named(&waiting(&report)), warnings))
}

//! `floodway schema`: the JSON Schema of the configuration.

use std::process::ExitCode;

use crate::component_tables;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let schema = config::schema(&component_tables::ALL);
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    super::print(&text)
}

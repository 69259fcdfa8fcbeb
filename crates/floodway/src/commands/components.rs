//! `floodway components`: what a configuration may name.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::component_tables;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    super::print(&table())
}

fn table() -> String {
    let config::Registry { receivers, processors, exporters } = component_tables::ALL;
    let signals = |signals: &[model::Signal]| signals.iter().map(|s| s.name()).collect::<Vec<_>>().join(", ");
    let mut rows = vec![["KIND".to_owned(), "TYPE".to_owned(), "SIGNALS".to_owned(), "SUMMARY".to_owned()]];
    let mut add = |kind: &str, name: &str, of: &[model::Signal], summary: &str| {
        rows.push([kind.to_owned(), name.to_owned(), signals(of), summary.to_owned()]);
    };
    receivers.iter().for_each(|f| add("receiver", f.name, f.signals, f.summary));
    processors.iter().for_each(|f| add("processor", f.name, f.signals, f.summary));
    exporters.iter().for_each(|f| add("exporter", f.name, f.signals, f.summary));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (kind, name, of) = (width(0), width(1), width(2));
    let mut text = String::new();
    for row in &rows {
        let _ = writeln!(text, "{:<kind$}  {:<name$}  {:<of$}  {}", row[0], row[1], row[2], row[3]);
    }
    text
}

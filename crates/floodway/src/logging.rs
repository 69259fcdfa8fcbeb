//! The program's own log, on standard error.
//!
//! Invariant: no line holds data of a request. Our own crates keep to that; of other crates, whose debug lines show frames and
//! headers, only warnings and errors are shown, whatever the level; a panic is logged with its place and without its message.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use config::{Log, LogFormat};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

/// Overrides `log.level`.
pub(crate) const VARIABLE: &str = "FLOODWAY_LOG";

/// The crates of this project.
const OWN: &[&str] = &[
    "floodway",
    "codec",
    "config",
    "engine",
    "exporters",
    "model",
    "net",
    "processors",
    "receivers",
    "redact",
];

/// The filter that the settings and the environment ask for.
pub(crate) fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    let (source, level) = match std::env::var(VARIABLE) {
        Ok(level) if !level.trim().is_empty() => (VARIABLE, level),
        _ => ("log.level", log.level.clone()),
    };
    EnvFilter::try_new(&level).with_context(|| {
        format!("{source} is `{level}`, which is no log level; write error, warn, info, debug, trace or a list such as `info,receivers=debug`")
    })
}

/// Starts logging. Call it once.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = filter(log)?.and(filter_fn(shows));
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .context("cannot start logging")?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a part of the program panicked; this is a bug, please report it");
    }));
    Ok(())
}

fn shows(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or("");
    *metadata.level() <= Level::WARN || OWN.contains(&root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let log = |level: &str| Log { level: level.to_owned(), ..Log::default() };
        assert!(filter(&log("info,receivers=debug")).is_ok());
        let error = filter(&log("in=fo=x")).unwrap_err().to_string();
        assert!(error.contains("log.level is `in=fo=x`"), "{error}");
    }
}

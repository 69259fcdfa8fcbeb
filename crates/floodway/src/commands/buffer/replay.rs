//! `floodway buffer replay`: delivers what waits in a folder, and ends.
//!
//! ```text
//! look through the folder -> configuration -> the exporter alone, the folder as its disk buffer (engine::GraphSpec::replaying)
//!     -> wait until nothing waits, or a signal comes -> drain -> say what was delivered and what is left
//! ```
//! Invariant: what was not delivered stays in the folder.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use config::{Config, ProcessEnvironment, Settings};
use engine::{Graph, GraphSpec, Progress, Running};
use model::Signal;
use tokio::time::{Instant, sleep};

use super::folder::{Contents, Folder, faults};
use crate::cli::ReplayArgs;
use crate::commands::note;
use crate::commands::run::{Signals, runtime};
use crate::{component_tables, exit, logging};

/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(200);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let ReplayArgs { directory, config: file, exporter } = args;
    let contents = Folder::open(directory)?.check()?;
    let Config { graph, settings, origin } = config::load(file, &component_tables::ALL, &ProcessEnvironment)?;
    logging::start(&settings.log)?;
    check_forms(&contents, &graph, exporter)?;
    let keys: Vec<_> = graph.exporters.iter().map(|exporter| exporter.id.clone()).collect();
    let Some(spec) = graph.replaying(exporter, directory) else {
        bail!("{} has no exporter {exporter}; it has: {}", file.display(), keys.join(", "));
    };
    let place = directory.display();
    for fault in faults(&contents.report) {
        note(&format!("{place}: {fault}\n"));
    }
    let runtime = runtime(&settings)?;
    let left = runtime.block_on(async {
        let signals = Signals::new()?;
        // A folder that is in use is the usual reason, and that is not the configuration's fault.
        let graph =
            Graph::build(spec, false).map_err(|error| exit::no_start(origin.explain(&error).to_string()))?;
        let running =
            graph.start().await.map_err(|error| exit::no_start(origin.explain(&error).to_string()))?;
        deliver(running, &settings, directory, &contents, signals).await
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::LOSS) })
}

/// What the exporter cannot deliver would be refused one by one.
fn check_forms(contents: &Contents, graph: &GraphSpec, id: &str) -> anyhow::Result<()> {
    let Some(exporter) = graph.exporters.iter().find(|exporter| exporter.id == id) else { return Ok(()) };
    for form in contents.forms.keys() {
        let signal = Signal::ALL.into_iter().find(|signal| signal.name() == *form).unwrap_or(Signal::Metrics);
        if !exporter.signals.contains(&signal) {
            bail!("the folder holds {form}, which exporter {id} does not deliver");
        }
    }
    Ok(())
}

/// Waits until nothing waits. Returns the requests that are left.
async fn deliver(
    running: Running,
    settings: &Settings,
    directory: &Path,
    contents: &Contents,
    mut signals: Signals,
) -> anyhow::Result<u64> {
    let monitor = running.monitor();
    let all = contents.report.undelivered.records;
    note(&format!("{}: {}\n", directory.display(), super::waiting(&contents.report)));
    let done = async {
        let mut told = Instant::now();
        loop {
            let progress = monitor.status().replay();
            if progress.waiting == 0 {
                return;
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                note(&told_of(&progress, all));
            }
            sleep(LOOK).await;
        }
    };
    let stopped = tokio::select! {
        () = done => false,
        _ = signals.next() => true,
    };
    if stopped {
        note("stopping: what is under way is finished, the rest stays in the folder\n");
    }
    tokio::select! {
        _ = running.stop(settings.shutdown.deadline.0) => {}
        code = signals.next() => std::process::exit(i32::from(code)),
    }
    conclude(directory, all)
}

fn told_of(progress: &Progress, all: u64) -> String {
    let Progress { waiting, left, failing } = progress;
    let delivered = all.saturating_sub(waiting + left);
    let mut text = format!("{delivered} of {all} requests delivered, {waiting} wait");
    if *left > 0 {
        text.push_str(&format!(", {left} refused"));
    }
    if let Some(error) = failing {
        text.push_str(&format!("; trying again: {error}"));
    }
    text + "\n"
}

/// Looks at what is in the folder now, which is the truth.
fn conclude(directory: &Path, all: u64) -> anyhow::Result<u64> {
    let report = Folder::open(directory)
        .and_then(|folder| folder.report())
        .context("delivered, but the folder cannot be read any more")?;
    let left = report.undelivered.records;
    let delivered = all.saturating_sub(left);
    note(&match left {
        0 => format!("{delivered} requests delivered, nothing is left\n"),
        _ => format!(
            "{delivered} requests delivered, {left} are left in {}; `floodway buffer dump` shows them\n",
            directory.display()
        ),
    });
    Ok(left)
}

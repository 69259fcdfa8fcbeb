//! `floodway run`: from a file to a running graph, and to its end.
//!
//! ```text
//! read and check the file -> log -> recorder -> runtime -> build -> admin binds -> graph starts -> summary
//! SIGHUP, POST /admin/reload: the file is read again and the graph follows it, or everything stays and the log says why
//! first signal: the graph drains, /ready says 503, /health goes on answering -> what was delivered and dropped -> exit
//! second signal: exit at once
//! ```

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use config::{Config, LogFormat, Origin, ProcessEnvironment, Settings};
use engine::{DrainReport, Graph, GraphSpec};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::Admin;
use crate::cli::ConfigArgs;
use crate::reload::{Desk, Follower, Request};
use crate::summary::Summary;
use crate::telemetry::{Telemetry, Totals};
use crate::{component_tables, exit, logging};

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let Config { graph, settings, origin } =
        config::load(&args.file, &component_tables::ALL, &ProcessEnvironment)?;
    logging::start(&settings.log)?;
    let telemetry = Telemetry::install()?;
    let runtime = runtime(&settings)?;
    let code = runtime.block_on(serve(&args.file, graph, settings, &origin, telemetry))?;
    // A blocking task that hangs, a name lookup for one, must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(code)
}

/// Worker threads: as configured, or one a core.
fn workers(settings: &Settings) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    settings.runtime.workers.map_or_else(cores, |workers| usize::from(workers.get()))
}

pub(super) fn runtime(settings: &Settings) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers(settings))
        .thread_name("floodway")
        .enable_all()
        .build()
        .context("cannot start the worker threads")
        .map_err(|error| exit::no_start(format!("{error:#}")))
}

async fn serve(
    file: &Path,
    spec: GraphSpec,
    settings: Settings,
    origin: &Origin,
    telemetry: Telemetry,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    telemetry.spawn_upkeep();
    let summary = Summary::of(&spec, origin);
    let graph = Graph::build(spec, false).map_err(|error| origin.explain(&error))?;
    for warning in graph.warnings() {
        tracing::warn!("{warning}");
    }
    // The admin server binds first: whoever waits for it must not find somebody else's.
    let (desk, asked) = Desk::new();
    let admin = Admin::start(&settings.admin, telemetry.clone(), desk.clone()).await?;
    let started = tokio::select! {
        started = graph.start() => started,
        code = signals.next() => return Ok(ExitCode::from(code)),
    };
    let running = started.map_err(|error| exit::no_start(origin.explain(&error).to_string()))?;
    admin.watch(running.monitor());
    announce(&settings, &summary);
    let mut follower = Follower::new(running, settings, file.to_owned(), desk);
    let code = follow(&mut follower, &mut signals, asked).await;
    let stopped = stop(follower, &telemetry, signals).await;
    admin.stop().await;
    tracing::debug!(code, "stopped by a signal");
    Ok(ExitCode::from(stopped))
}

/// Reloads until a signal to stop comes, whose code is returned. One that comes during a reload ends that without a trace.
async fn follow(follower: &mut Follower, signals: &mut Signals, mut asked: mpsc::Receiver<Request>) -> u8 {
    loop {
        let reload = async {
            tokio::select! {
                _ = signals.hang_up.recv() => follower.hang_up().await,
                Some(request) = asked.recv() => follower.answer(request).await,
            }
        };
        tokio::select! {
            code = next(&mut signals.terminate, &mut signals.interrupt) => return code,
            () = reload => {}
        }
    }
}

fn announce(settings: &Settings, summary: &Summary) {
    let version = env!("CARGO_PKG_VERSION");
    let workers = workers(settings);
    let unredacted = summary.unredacted();
    if settings.log.format == LogFormat::Json {
        let admin = if settings.admin.enabled { settings.admin.endpoint.as_str() } else { "" };
        tracing::info!(version, workers, admin, unredacted = unredacted.join(","), "started");
        return;
    }
    let admin = if settings.admin.enabled {
        format!("http://{}/ (also /health, /ready, /metrics)", settings.admin.endpoint)
    } else {
        "nowhere: `admin.enabled` is false".to_owned()
    };
    let pid = std::process::id();
    super::note(&format!(
        "floodway {version} runs (process {pid}, {workers} worker threads)\n{summary}  {:<10} {admin}\n  \
         Ctrl-C stops; what is inside is delivered first.\n",
        "look at"
    ));
}

/// Drains the graph. A second signal ends the process here.
async fn stop(follower: Follower, telemetry: &Telemetry, mut signals: Signals) -> u8 {
    let Follower { running, settings, .. } = follower;
    let deadline = settings.shutdown.deadline.0;
    let before = telemetry.totals();
    tracing::info!(
        deadline_seconds = deadline.as_secs_f64(),
        "stopping: taking no more requests, delivering what is inside"
    );
    let report = tokio::select! {
        report = running.stop(deadline) => report,
        code = signals.next() => {
            tracing::warn!("second signal: ending at once, what is inside is lost");
            std::process::exit(i32::from(code));
        }
    };
    report_drain(&report, before, telemetry.totals());
    if report.dropped_items > 0 { exit::LOSS } else { 0 }
}

fn report_drain(report: &DrainReport, before: Totals, after: Totals) {
    let drained = after.delivered.saturating_sub(before.delivered);
    let took_seconds = report.took.as_secs_f64();
    let Totals { accepted, refused, delivered, dropped } = after;
    let on_disk = report.persisted_items;
    if report.is_clean() {
        let message = if on_disk > 0 {
            "stopped: what is not delivered is in the disk buffers and goes out after the next start"
        } else {
            "stopped: everything that was inside is delivered"
        };
        tracing::info!(took_seconds, drained, on_disk, accepted, delivered, dropped, refused, "{message}");
        return;
    }
    tracing::warn!(
        took_seconds,
        drained,
        given_up = report.dropped_items,
        on_disk,
        cut_off = report.cut_off.join(","),
        not_closed = report.not_closed.join(","),
        accepted,
        delivered,
        dropped,
        refused,
        "stopped at the deadline: something was given up on"
    );
}

/// The signals that the program listens to: two that stop it, one that reloads.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The next one that stops, as the exit code of a process that it ends at once.
    pub(super) async fn next(&mut self) -> u8 {
        next(&mut self.terminate, &mut self.interrupt).await
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> u8 {
    tokio::select! {
        _ = terminate.recv() => 143,
        _ = interrupt.recv() => 130,
    }
}

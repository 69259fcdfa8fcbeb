//! Reload: reads the file again and has the running graph follow it, on SIGHUP or when the admin server is asked.
//!
//! One reload at a time: who asks for a second one over HTTP is told so; a SIGHUP meanwhile is served after it. What the engine cannot
//! swap is compared here and named (`needs_restart`). `docs/adr/0010-reload.md` says what happens to requests.
//!
//! Invariant: a reload that fails leaves everything as it was, and says what `validate` would say. Neither text holds secrets: they
//! come from where `validate`'s come from.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use config::{Config, Problems, ProcessEnvironment, Settings};
use engine::component::Claim;
use engine::{Changes, GraphError, ReloadReport, Running};
use metrics::{counter, describe_counter};
use serde::Serialize;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, mpsc, oneshot};

use crate::summary::Summary;
use crate::{component_tables, logging};

const RELOADS: &str = "floodway_reloads_total";
/// No more faults of a file are logged one by one.
const MAX_LOGGED: usize = 20;

/// What a reload came to.
pub(crate) type Outcome = Result<Report, Failure>;

/// A reload that was done.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    result: &'static str,
    #[serde(flatten)]
    changes: ReloadReport,
    /// Pipelines that let peer ids pass.
    unredacted: Vec<String>,
    took_ms: u64,
}

/// A reload that changed nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    result: &'static str,
    /// As `floodway validate` prints it.
    error: String,
    problems: Vec<Fault>,
    #[serde(skip)]
    pub(crate) kind: FailureKind,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The file is wrong.
    Invalid,
    /// The file is good, but something could not be started: an address is in use, say.
    NoStart,
}

/// One thing that is wrong with the file; line and column are 0 if it is about the whole.
#[derive(Debug, Serialize)]
struct Fault {
    file: String,
    line: u32,
    column: u32,
    message: String,
}

/// Why there was no reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// One is under way.
    Busy,
    /// The program starts or stops.
    NotRunning,
}

/// What `/health` shows of the last reload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Last {
    last: &'static str,
    /// RFC 3339, UTC.
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Held while a reload is under way.
type Turn = OwnedMutexGuard<()>;

/// A reload that somebody waits for.
pub(crate) struct Request {
    turn: Turn,
    answer: oneshot::Sender<Outcome>,
}

/// Where reloads are asked for. Clones are the same desk.
#[derive(Clone)]
pub(crate) struct Desk {
    turns: Arc<Turns<()>>,
    requests: mpsc::Sender<Request>,
    last: Arc<Mutex<Option<Last>>>,
}

impl Desk {
    /// A desk, and what comes in there.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        describe_counter!(RELOADS, "Reloads of the configuration, by result.");
        ["ok", "failed"].iter().for_each(|result| counter!(RELOADS, "result" => *result).increment(0));
        let (requests, incoming) = mpsc::channel(1);
        (Self { turns: Arc::default(), requests, last: Arc::default() }, incoming)
    }

    /// Asks for a reload and waits for its outcome.
    pub(crate) async fn ask(&self) -> Result<Outcome, Unavailable> {
        let turn = Arc::clone(&self.turns).try_lock_owned().map_err(|_| Unavailable::Busy)?;
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.try_send(Request { turn, answer });
        sent.map_err(|_| Unavailable::NotRunning)?;
        answered.await.map_err(|_| Unavailable::NotRunning)
    }

    /// The last one, if there was any.
    pub(crate) fn last(&self) -> Option<Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, outcome: &Outcome) {
        let result = if outcome.is_ok() { "ok" } else { "failed" };
        counter!(RELOADS, "result" => result).increment(1);
        let error = outcome.as_ref().err().map(Failure::short);
        let at = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string();
        let last = Last { last: result, at, error };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

/// The running graph and the file that it follows.
pub(crate) struct Follower {
    pub(crate) running: Running,
    /// In force; those that need a restart are as they were at the start.
    pub(crate) settings: Settings,
    file: PathBuf,
    desk: Desk,
}

impl Follower {
    pub(crate) fn new(running: Running, settings: Settings, file: PathBuf, desk: Desk) -> Self {
        Self { running, settings, file, desk }
    }

    /// Does what somebody asked the desk for.
    pub(crate) async fn answer(&mut self, request: Request) {
        let outcome = self.reload("POST /admin/reload").await;
        drop(request.turn);
        // Who asked may have gone; the reload is done all the same.
        let _ = request.answer.send(outcome);
    }

    /// Does what SIGHUP asks for. One that is under way at the desk has not read the file yet, and will do.
    pub(crate) async fn hang_up(&mut self) {
        if let Ok(turn) = Arc::clone(&self.desk.turns).try_lock_owned() {
            let _ = self.reload("SIGHUP").await;
            drop(turn);
        }
    }

    async fn reload(&mut self, asked_by: &'static str) -> Outcome {
        let file = self.file.display().to_string();
        tracing::info!(asked_by, file, "reloading");
        let outcome = self.follow().await;
        self.desk.note(&outcome);
        match &outcome {
            Ok(report) => report.log(),
            Err(failure) => failure.log(),
        }
        outcome
    }

    async fn follow(&mut self) -> Outcome {
        let started = Instant::now();
        let read = config::load(&self.file, &component_tables::ALL, &ProcessEnvironment);
        let Config { mut graph, settings, origin } = read.map_err(|error| match error {
            config::Error::Invalid(problems) => Failure::of(&problems, FailureKind::Invalid),
            other => Failure::plain(format!("{:#}", anyhow::Error::from(other))),
        })?;
        logging::filter(&settings.log).map_err(|error| Failure::plain(format!("{error:#}")))?;
        let summary = Summary::of(&graph, &origin);
        // The admin server stays where it is.
        let admin = &self.settings.admin;
        if admin.enabled && *admin != settings.admin {
            let claim = Claim::Tcp(admin.endpoint.clone());
            graph.reserved.push(("admin (until the restart)".to_owned(), claim));
        }
        let reloaded = net::share::sharing(self.running.reload(graph)).await;
        let mut changes = reloaded.map_err(|error| {
            let kind = match error {
                GraphError::Start { .. } | GraphError::TooManyRetiring { .. } => FailureKind::NoStart,
                _ => FailureKind::Invalid,
            };
            Failure::of(&origin.explain(&error), kind)
        })?;
        changes.needs_restart.extend(needs_restart(&self.settings, &settings));
        self.settings.shutdown = settings.shutdown;
        let unredacted = summary.unredacted().into_iter().map(str::to_owned).collect();
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Report { result: "ok", changes, unredacted, took_ms })
    }
}

/// Sections that are only read at the start and now say something else.
fn needs_restart(now: &Settings, file: &Settings) -> Vec<String> {
    let Settings { admin, limits, log, runtime, shutdown: _ } = now;
    let differs = [
        ("admin", *admin != file.admin),
        ("limits", *limits != file.limits),
        ("log", *log != file.log),
        ("runtime", *runtime != file.runtime),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

impl Report {
    fn log(&self) {
        let changes = &self.changes;
        tracing::info!(
            receivers = short(&changes.receivers),
            processors = short(&changes.processors),
            exporters = short(&changes.exporters),
            pipelines = short(&changes.pipelines),
            unredacted = self.unredacted.join(","),
            took_ms = self.took_ms,
            "reloaded"
        );
        if !changes.needs_restart.is_empty() {
            let settings = changes.needs_restart.join(", ");
            tracing::warn!(settings, "changed in the file, but only read when the program is started again");
        }
        changes.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
}

/// `+added ~changed -removed`, or `=`.
fn short(changes: &Changes) -> String {
    let marked = |mark: &str, ids: &[String]| ids.iter().map(|id| format!("{mark}{id}")).collect::<Vec<_>>();
    let mut parts = marked("+", &changes.added);
    parts.extend(marked("~", &changes.changed));
    parts.extend(marked("-", &changes.removed));
    if parts.is_empty() { "=".to_owned() } else { parts.join(" ") }
}

impl Failure {
    fn plain(error: String) -> Self {
        Self { result: "failed", error, problems: Vec::new(), kind: FailureKind::Invalid }
    }

    fn of(problems: &Problems, kind: FailureKind) -> Self {
        let fault = |problem: &config::Problem| Fault {
            file: problems.file.clone(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
        };
        let list = problems.list.iter().map(fault).collect();
        Self { result: "failed", error: problems.to_string(), problems: list, kind }
    }

    /// One line.
    fn short(&self) -> String {
        let Some(first) = self.problems.first() else { return self.error.clone() };
        match self.problems.len() - 1 {
            0 => first.line(),
            more => format!("{} (and {more} more)", first.line()),
        }
    }

    fn log(&self) {
        tracing::error!("reload failed, nothing has changed: {}", self.short());
        self.problems.iter().skip(1).take(MAX_LOGGED).for_each(|fault| tracing::error!("{}", fault.line()));
    }
}

impl Fault {
    fn line(&self) -> String {
        let Self { file, line, column, message } = self;
        if *line > 0 { format!("{file}:{line}:{column}: {message}") } else { format!("{file}: {message}") }
    }
}

//! A graph at work: started, watched, stopped.
//!
//! ```text
//! start: receivers bind -> workers run -> receivers serve
//! stop:  receivers asked to stop, finish what they have      until half of the deadline, or until they have ended
//!        queues closed, workers drain                        until the deadline, or until they are empty; an exporter that fails
//!                                                            is not waited for where its disk buffer has everything
//!        the rest dropped with reason `shutdown`, nacked     what a disk buffer has stays there
//!        receivers tell their senders, then are ended        one second more
//!        exporters shut down                                 five seconds at most
//! ```
//!
//! Invariant: after [`Running::stop`] no task of the graph runs, and every request that entered has its verdict.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::breaker::Breaker;
use crate::budget::Budget;
use crate::component::{Exporter, ReceiverContext, Serving};
use crate::dead_letters::DeadLetters;
use crate::graph::{BuiltExporter, BuiltReceiver, Graph, GraphError};
use crate::health::{ComponentStatus, Health, State, Status};
use crate::metrics::ComponentMetrics;
use crate::panics::{Panicked, guard_future};
use crate::queue::Queue;
use crate::shutdown::{Shutdown, ShutdownTrigger};
use crate::worker::Worker;

/// What receivers get, after the deadline, to tell their senders.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a disk buffer gets to note what was delivered.
const LAST_NOTES: Duration = Duration::from_secs(5);

/// How often a disk buffer is looked after.
const UPKEEP: Duration = Duration::from_millis(250);

/// How often draining is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What all exporters together get to flush and close.
const EXPORTERS_SHUTDOWN: Duration = Duration::from_secs(5);

/// A started graph. Stop it with [`Running::stop`]; dropping it ends its tasks without draining.
pub struct Running {
    stop: ShutdownTrigger,
    abandon: ShutdownTrigger,
    receivers: Vec<RunningReceiver>,
    exporters: Vec<RunningExporter>,
    monitor: Monitor,
}

struct RunningReceiver {
    id: String,
    task: JoinHandle<()>,
}

struct RunningExporter {
    exporter: Arc<dyn Exporter>,
    queue: Arc<Queue>,
    health: Arc<Health>,
    breaker: Arc<Breaker>,
    letters: Option<Arc<DeadLetters>>,
    workers: JoinSet<()>,
    upkeep: Option<AbortOnDrop>,
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How a shutdown went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Records that were given up on at the deadline, over all exporters. They count as dropped with reason `shutdown`.
    pub dropped_items: u64,
    /// Records that stay in disk buffers for the next start, over all exporters.
    pub persisted_items: u64,
    /// Receivers that had not ended and were cut off.
    pub cut_off: Vec<String>,
    /// Exporters that did not shut down in time.
    pub not_closed: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl DrainReport {
    /// True when nothing was lost and nobody was cut off.
    pub fn is_clean(&self) -> bool {
        self.dropped_items == 0 && self.cut_off.is_empty() && self.not_closed.is_empty()
    }
}

/// Looks at a running graph; for `/health` and `/ready`. Cheap to clone, outlives the graph.
#[derive(Clone)]
pub struct Monitor {
    watched: Arc<[Watched]>,
    budget: Budget,
    stop: Shutdown,
}

struct Watched {
    metrics: ComponentMetrics,
    health: Arc<Health>,
    queue: Option<Arc<Queue>>,
    breaker: Option<Arc<Breaker>>,
    letters: Option<Arc<DeadLetters>>,
}

impl Graph {
    /// Starts it: receivers bind first, so that an address in use is an error here and not later.
    ///
    /// # Errors
    /// [`GraphError::Start`] names the receiver; those that had started are let go.
    pub async fn start(self) -> Result<Running, GraphError> {
        let Self { budget, receivers, exporters, .. } = self;
        let (stop, stopping) = Shutdown::new();
        let (abandon, abandoned) = Shutdown::new();
        let mut bound = Vec::with_capacity(receivers.len());
        for BuiltReceiver { receiver, inlet, metrics } in receivers {
            let context = ReceiverContext { inlet, metrics: metrics.clone(), shutdown: stopping.clone() };
            let started = receiver.start(context).await;
            let serving =
                started.map_err(|source| GraphError::Start { id: metrics.id().to_owned(), source })?;
            bound.push((metrics, serving));
        }
        let exporters: Vec<_> =
            exporters.into_iter().map(|exporter| spawn_workers(exporter, &abandoned)).collect();
        let mut watched = Vec::new();
        let mut receivers = Vec::new();
        for (metrics, serving) in bound {
            let health = Arc::new(Health::new());
            watched.push(Watched {
                metrics: metrics.clone(),
                health: Arc::clone(&health),
                queue: None,
                breaker: None,
                letters: None,
            });
            let id = metrics.id().to_owned();
            let task = tokio::spawn(supervise(serving, metrics, health, stopping.clone()));
            receivers.push(RunningReceiver { id, task });
        }
        watched.extend(exporters.iter().map(|exporter| Watched {
            metrics: exporter.queue.metrics().clone(),
            health: Arc::clone(&exporter.health),
            queue: Some(Arc::clone(&exporter.queue)),
            breaker: Some(Arc::clone(&exporter.breaker)),
            letters: exporter.letters.clone(),
        }));
        let monitor = Monitor { watched: watched.into(), budget, stop: stopping };
        Ok(Running { stop, abandon, receivers, exporters, monitor })
    }
}

fn spawn_workers(built: BuiltExporter, abandoned: &Shutdown) -> RunningExporter {
    let BuiltExporter { exporter, queue, letters, settings } = built;
    let health = Arc::new(Health::new());
    let breaker = Arc::new(Breaker::new(&settings.retry, queue.metrics()));
    let mut workers = JoinSet::new();
    for _ in 0..settings.workers() {
        let (exporter, queue) = (Arc::clone(&exporter), Arc::clone(&queue));
        let (health, breaker) = (Arc::clone(&health), Arc::clone(&breaker));
        let worker = Worker::new(exporter, queue, health, breaker, letters.clone(), settings.clone());
        let abandoned = abandoned.clone();
        workers.spawn(async move {
            tokio::select! {
                () = worker.run() => {}
                // What the worker holds is counted and nacked by being dropped.
                () = abandoned.requested() => {}
            }
        });
    }
    let upkeep = queue.spool().map(|_| AbortOnDrop(tokio::spawn(keep_up(Arc::clone(&queue)))));
    RunningExporter { exporter, queue, health, breaker, letters, workers, upkeep }
}

/// Looks after a disk buffer.
async fn keep_up(queue: Arc<Queue>) {
    loop {
        sleep(UPKEEP).await;
        queue.upkeep().await;
    }
}

impl RunningExporter {
    /// Waits until its workers have delivered what is in memory, or until it makes no difference: the destination does not
    /// answer, and the disk buffer has everything.
    async fn drained(&mut self) {
        loop {
            if let Ok(None) = timeout(LOOK_AGAIN, self.workers.join_next()).await {
                return;
            }
            if self.health.is_failing() && self.queue.spool().is_some_and(|spool| spool.has_all()) {
                return;
            }
        }
    }
}

/// Runs a receiver to its end, and says so when that comes unasked.
async fn supervise(serving: Serving, metrics: ComponentMetrics, health: Arc<Health>, stopping: Shutdown) {
    match guard_future(|| serving).await {
        Ok(()) if stopping.is_requested() => health.stopped(),
        Ok(()) => health.failed(&metrics, "it ended by itself; restart the program"),
        Err(Panicked) => {
            health.failed(&metrics, "it panicked; this is a bug, please report it and restart the program")
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({} receivers, {} exporters)", self.receivers.len(), self.exporters.len())
    }
}

impl Running {
    /// Something that looks at it while it runs and while it stops.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// How everything is. See [`Monitor::status`].
    pub fn status(&self) -> Status {
        self.monitor.status()
    }

    /// Stops in the order that this file's head gives. Takes at most `deadline` and six seconds.
    pub async fn stop(mut self, deadline: Duration) -> DrainReport {
        let started = Instant::now();
        let mut report = DrainReport::default();
        self.stop.request();
        // Senders that never finish must not use up the time that the queues need.
        self.receivers_ended(started + deadline / 2).await;
        for exporter in &self.exporters {
            exporter.queue.close();
        }
        self.drained(started + deadline).await;
        for exporter in &self.exporters {
            exporter.queue.abandon();
        }
        self.abandon.request();
        for exporter in &mut self.exporters {
            while exporter.workers.join_next().await.is_some() {}
        }
        report.cut_off = self.end_receivers().await;
        report.persisted_items = self.persisted().await;
        report.dropped_items = self.exporters.iter().map(|exporter| exporter.queue.abandoned_items()).sum();
        report.not_closed = self.close_exporters().await;
        report.took = started.elapsed();
        report
    }

    /// Waits until every receiver has ended, at most until `deadline`.
    async fn receivers_ended(&mut self, deadline: Instant) -> bool {
        let mut all = true;
        for receiver in self.receivers.iter_mut().filter(|receiver| !receiver.task.is_finished()) {
            all &= timeout_at(deadline, &mut receiver.task).await.is_ok();
        }
        all
    }

    async fn drained(&mut self, deadline: Instant) {
        for exporter in &mut self.exporters {
            let _ = timeout_at(deadline, exporter.drained()).await;
        }
    }

    /// Has the disk buffers note what was delivered; what is left in them.
    async fn persisted(&mut self) -> u64 {
        let mut items = 0;
        for exporter in &mut self.exporters {
            exporter.upkeep = None;
            if let Some(spool) = exporter.queue.spool() {
                items += timeout(LAST_NOTES, spool.flush()).await.unwrap_or_default();
            }
        }
        items
    }

    async fn end_receivers(&mut self) -> Vec<String> {
        self.receivers_ended(Instant::now() + LAST_WORDS).await;
        let late: Vec<_> =
            self.receivers.iter_mut().filter(|receiver| !receiver.task.is_finished()).collect();
        let mut cut_off = Vec::with_capacity(late.len());
        for receiver in late {
            receiver.task.abort();
            let _ = (&mut receiver.task).await;
            cut_off.push(receiver.id.clone());
        }
        cut_off
    }

    async fn close_exporters(&self) -> Vec<String> {
        let mut closing = JoinSet::new();
        let mut open: Vec<_> =
            self.exporters.iter().map(|exporter| Some(exporter.queue.metrics().id())).collect();
        for (n, exporter) in self.exporters.iter().enumerate() {
            let (exporter, health) = (Arc::clone(&exporter.exporter), Arc::clone(&exporter.health));
            closing.spawn(async move {
                let closed = guard_future(|| exporter.shutdown()).await;
                health.stopped();
                closed.map(|()| n)
            });
        }
        let all = async {
            while let Some(closed) = closing.join_next().await {
                if let Ok(Ok(n)) = closed {
                    open[n] = None;
                }
            }
        };
        let _ = timeout(EXPORTERS_SHUTDOWN, all).await;
        open.into_iter().flatten().map(str::to_owned).collect()
    }
}

impl Drop for Running {
    /// The triggers end the tasks when they are dropped; what waits in the queues is counted here.
    fn drop(&mut self) {
        for exporter in &self.exporters {
            exporter.queue.abandon();
        }
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.status(), f)
    }
}

impl Monitor {
    /// Closes the circuit breaker of an exporter, or of all, and ends their back-off: what waits is sent at once. Returns the ids of
    /// the exporters; none if there is no exporter of that id.
    pub fn reset_breakers(&self, exporter: Option<&str>) -> Vec<String> {
        let mut reset = Vec::new();
        for watched in self.watched.iter() {
            let id = watched.metrics.id();
            if let Some(breaker) = &watched.breaker
                && exporter.is_none_or(|exporter| exporter == id)
            {
                breaker.reset();
                reset.push(id.to_owned());
            }
        }
        reset
    }

    /// How everything is now.
    pub fn status(&self) -> Status {
        let components: Vec<_> = self
            .watched
            .iter()
            .map(|watched| ComponentStatus {
                kind: watched.metrics.kind(),
                id: watched.metrics.id().to_owned(),
                state: watched.health.state(),
                queue: watched.queue.as_ref().map(|queue| queue.level()),
                buffer: watched.queue.as_ref().and_then(|queue| Some(queue.spool()?.fill())),
                breaker: watched.breaker.as_ref().map(|breaker| breaker.status()),
                dead_letters: watched.letters.as_ref().map(|letters| letters.fill()),
            })
            .collect();
        // A destination that is down is no reason to send us nothing: its queue says when it has no room.
        let receives =
            |component: &ComponentStatus| component.queue.is_some() || component.state == State::Ok;
        let ready = !self.stop.is_requested() && components.iter().all(receives);
        Status {
            ready,
            budget_used_bytes: self.budget.used(),
            budget_limit_bytes: self.budget.limit(),
            components,
        }
    }
}

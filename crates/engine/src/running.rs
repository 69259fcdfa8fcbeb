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

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::budget::Budget;
use crate::component::Serving;
use crate::graph::{Fingerprint, Graph, GraphError, PipelineSpec};
use crate::health::{ComponentStatus, Health, State, Status};
use crate::inlet::Inlet;
use crate::metrics::ComponentMetrics;
use crate::mount::{EXPORTER_SHUTDOWN, Fitting, Mount, Parts};
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
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A started graph. Stop it with [`Running::stop`]; dropping it ends its tasks without draining.
pub struct Running {
    pub(crate) budget: Budget,
    stop: ShutdownTrigger,
    /// Asks workers to lose no time.
    pub(crate) hurry: ShutdownTrigger,
    pub(crate) receivers: Vec<RunningReceiver>,
    pub(crate) exporters: Vec<RunningExporter>,
    pub(crate) processors: Vec<(String, Fingerprint)>,
    pub(crate) pipelines: Vec<PipelineSpec>,
    /// What reloads replaced and has not ended yet.
    pub(crate) retiring_receivers: Vec<RunningReceiver>,
    pub(crate) retiring_exporters: Vec<RunningExporter>,
    /// Closes what reloads replaced, once it is done.
    pub(crate) background: JoinSet<()>,
    monitor: Monitor,
}

pub(crate) struct RunningReceiver {
    pub(crate) id: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) metrics: ComponentMetrics,
    pub(crate) inlet: Inlet,
    pub(crate) stop: ShutdownTrigger,
    pub(crate) health: Arc<Health>,
    /// Heard when it has ended.
    pub(crate) gone: Shutdown,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) struct RunningExporter {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) mount: Arc<Mount>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) health: Arc<Health>,
    pub(crate) workers: JoinSet<()>,
    /// Looks after the disk buffer.
    pub(crate) upkeep: Option<AbortOnDrop>,
    /// Ends the workers: what they hold is counted and nacked, or goes back to the disk buffer.
    pub(crate) abandon: Arc<ShutdownTrigger>,
    /// Heard when the last worker has ended.
    pub(crate) workers_ended: Shutdown,
    /// Heard when it was replaced, drained and shut down.
    pub(crate) gone: Shutdown,
    /// Settings that were changed in the file and wait for a restart.
    pub(crate) held_back: Vec<String>,
}

impl RunningExporter {
    /// Its key in the configuration.
    pub(crate) fn id(&self) -> &str {
        self.queue.metrics().id()
    }

    /// Gives up on what is in the queue; what a disk buffer has stays there.
    fn abandon(&self) {
        self.queue.abandon();
        self.abandon.request();
    }

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

/// A task that ends with its owner.
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks after a disk buffer.
async fn keep_up(queue: Arc<Queue>) {
    loop {
        sleep(UPKEEP).await;
        queue.upkeep().await;
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

/// Looks at a running graph; for `/health` and `/ready`. Cheap to clone, outlives the graph, and follows its reloads.
#[derive(Clone)]
pub struct Monitor {
    watched: Arc<ArcSwap<Vec<Watched>>>,
    budget: Budget,
    stop: Shutdown,
}

struct Watched {
    metrics: ComponentMetrics,
    health: Arc<Health>,
    queue: Option<Arc<Queue>>,
    mount: Option<Arc<Mount>>,
    /// Of what a reload replaced: heard when it has ended.
    gone: Option<Shutdown>,
}

impl Graph {
    /// Starts it: receivers bind first, so that an address in use is an error here and not later.
    ///
    /// # Errors
    /// [`GraphError::Start`] names the receiver; those that had started are let go.
    pub async fn start(self) -> Result<Running, GraphError> {
        let mut running = Running::empty(self.budget.clone());
        running.adopt(self).await?;
        Ok(running)
    }
}

/// Runs a receiver to its end, and says so when that comes unasked.
pub(crate) async fn supervise(
    serving: Serving,
    metrics: ComponentMetrics,
    health: Arc<Health>,
    stopping: Shutdown,
) {
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
    /// A graph without parts.
    fn empty(budget: Budget) -> Self {
        let (stop, stopping) = Shutdown::new();
        let (hurry, _) = Shutdown::new();
        let monitor = Monitor { watched: Arc::default(), budget: budget.clone(), stop: stopping };
        Self {
            budget,
            stop,
            hurry,
            receivers: Vec::new(),
            exporters: Vec::new(),
            processors: Vec::new(),
            pipelines: Vec::new(),
            retiring_receivers: Vec::new(),
            retiring_exporters: Vec::new(),
            background: JoinSet::new(),
            monitor,
        }
    }

    /// Has workers empty the queue with `parts`.
    pub(crate) fn spawn_workers(
        &self,
        fingerprint: Fingerprint,
        queue: Arc<Queue>,
        parts: Parts,
    ) -> RunningExporter {
        if let Some(spool) = queue.spool() {
            spool.begin();
        }
        let count = parts.settings.workers();
        let fitting = Fitting::new(parts, queue.metrics());
        let (mount, health) = (Arc::new(Mount::new(fitting)), Arc::new(Health::new()));
        let ((abandon, abandoned), (ending, workers_ended)) = (Shutdown::new(), Shutdown::new());
        let (abandon, ending) = (Arc::new(abandon), Arc::new(ending));
        let mut workers = JoinSet::new();
        for _ in 0..count {
            let (mount, queue) = (Arc::clone(&mount), Arc::clone(&queue));
            let worker = Worker::new(mount, queue, Arc::clone(&health), self.hurry.signal());
            let (abandoned, ending) = (abandoned.clone(), Arc::clone(&ending));
            workers.spawn(async move {
                let _ending = ending;
                tokio::select! {
                    () = worker.run() => {}
                    // What the worker holds is counted and nacked by being dropped.
                    () = abandoned.requested() => {}
                }
            });
        }
        let upkeep = queue.spool().map(|_| AbortOnDrop(tokio::spawn(keep_up(Arc::clone(&queue)))));
        let (_, gone) = Shutdown::new();
        RunningExporter {
            fingerprint,
            mount,
            queue,
            health,
            workers,
            upkeep,
            abandon,
            workers_ended,
            gone,
            held_back: Vec::new(),
        }
    }

    /// Has the monitor look at what runs now.
    pub(crate) fn show(&self) {
        let receiver = |receiver: &RunningReceiver, gone| Watched {
            metrics: receiver.metrics.clone(),
            health: Arc::clone(&receiver.health),
            queue: None,
            mount: None,
            gone,
        };
        let exporter = |exporter: &RunningExporter, gone| Watched {
            metrics: exporter.queue.metrics().clone(),
            health: Arc::clone(&exporter.health),
            queue: Some(Arc::clone(&exporter.queue)),
            mount: Some(Arc::clone(&exporter.mount)),
            gone,
        };
        let mut watched: Vec<_> = self.receivers.iter().map(|r| receiver(r, None)).collect();
        watched.extend(self.exporters.iter().map(|e| exporter(e, None)));
        watched.extend(self.retiring_receivers.iter().map(|r| receiver(r, Some(r.gone.clone()))));
        watched.extend(self.retiring_exporters.iter().map(|e| exporter(e, Some(e.gone.clone()))));
        self.monitor.watched.store(Arc::new(watched));
    }

    /// What runs, and what reloads replaced and is still at work.
    fn all_exporters(&mut self) -> impl Iterator<Item = &mut RunningExporter> {
        self.exporters.iter_mut().chain(&mut self.retiring_exporters)
    }

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
        self.receivers.append(&mut self.retiring_receivers);
        self.receivers.iter().for_each(|receiver| receiver.stop.request());
        // Senders that never finish must not use up the time that the queues need.
        self.receivers_ended(started + deadline / 2).await;
        self.all_exporters().for_each(|exporter| exporter.queue.close());
        self.hurry.request();
        self.drained(started + deadline).await;
        self.all_exporters().for_each(|exporter| exporter.abandon());
        for exporter in self.all_exporters() {
            while exporter.workers.join_next().await.is_some() {}
        }
        report.cut_off = self.end_receivers().await;
        report.persisted_items = self.persisted().await;
        report.dropped_items = self.all_exporters().map(|exporter| exporter.queue.abandoned_items()).sum();
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
        for exporter in self.all_exporters() {
            let _ = timeout_at(deadline, exporter.drained()).await;
        }
    }

    /// Has the disk buffers note what was delivered; what is left in them.
    async fn persisted(&mut self) -> u64 {
        let mut items = 0;
        for exporter in self.all_exporters() {
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

    async fn close_exporters(&mut self) -> Vec<String> {
        let mut closing = JoinSet::new();
        let mut open: Vec<_> = self.exporters.iter().map(|exporter| Some(exporter.id())).collect();
        for (n, exporter) in self.exporters.iter().enumerate() {
            let (with, health) = (exporter.mount.current(), Arc::clone(&exporter.health));
            closing.spawn(async move {
                let closed = guard_future(|| with.exporter.shutdown()).await;
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
            // Those that were replaced are closed by their own tasks.
            while self.background.join_next().await.is_some() {}
        };
        let _ = timeout(EXPORTER_SHUTDOWN, all).await;
        let replaced = self.retiring_exporters.iter().filter(|exporter| !exporter.gone.is_requested());
        open.extend(replaced.map(|exporter| Some(exporter.id())));
        open.into_iter().flatten().map(str::to_owned).collect()
    }
}

impl Drop for Running {
    /// The triggers end the tasks when they are dropped; what waits in the queues is counted here.
    fn drop(&mut self) {
        self.all_exporters().for_each(|exporter| exporter.abandon());
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.status(), f)
    }
}

impl Monitor {
    /// Closes the circuit breaker of an exporter, or of all, and ends their back-off: what waits is sent at once. Returns the ids of
    /// the exporters; none if there is no exporter of that id. What a reload replaced counts with its successor.
    pub fn reset_breakers(&self, exporter: Option<&str>) -> Vec<String> {
        let mut reset = Vec::new();
        for watched in self.watched.load().iter() {
            let id = watched.metrics.id();
            if let Some(mount) = &watched.mount
                && exporter.is_none_or(|exporter| exporter == id)
            {
                mount.current().breaker.reset();
                if !reset.iter().any(|known| known == id) {
                    reset.push(id.to_owned());
                }
            }
        }
        reset
    }

    /// How everything is now.
    pub fn status(&self) -> Status {
        let watched = self.watched.load();
        let of = |watched: &Watched| ComponentStatus {
            kind: watched.metrics.kind(),
            id: watched.metrics.id().to_owned(),
            state: watched.health.state(),
            queue: watched.queue.as_ref().map(|queue| queue.level()),
            buffer: watched.queue.as_ref().and_then(|queue| Some(queue.spool()?.fill())),
            breaker: watched.mount.as_ref().map(|mount| mount.current().breaker.status()),
            dead_letters: watched
                .mount
                .as_ref()
                .and_then(|mount| Some(mount.current().letters.as_ref()?.fill())),
        };
        let components: Vec<_> = watched.iter().filter(|watched| watched.gone.is_none()).map(of).collect();
        let at_work = |watched: &&Watched| watched.gone.as_ref().is_some_and(|gone| !gone.is_requested());
        let retiring = watched.iter().filter(at_work).map(of).collect();
        // A destination that is down is no reason to send us nothing: its queue says when it has no room.
        let receives =
            |component: &ComponentStatus| component.queue.is_some() || component.state == State::Ok;
        let ready = !self.stop.is_requested() && components.iter().all(receives);
        Status {
            ready,
            budget_used_bytes: self.budget.used(),
            budget_limit_bytes: self.budget.limit(),
            components,
            retiring,
        }
    }
}

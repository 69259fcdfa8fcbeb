//! Reload: what changed in the settings is built and bound first, then swapped in under running requests.
//!
//! ```text
//! build beside what runs -> new receivers bind -> | swap: fittings, routes, tasks | -> what was replaced drains behind
//!        an error up to here changes nothing      |  nothing awaited, no errors   |
//! ```
//! A start is the same, beside nothing. `docs/adr/0010-reload.md` says what is kept and why.
//!
//! Invariants:
//! - Routes are swapped before a queue closes: who finds one closed and the routes unchanged is at the end of its receiver's life.
//! - A queue without an exporter closes after the receivers that have no other way have ended, and is then delivered in full, however
//!   long its destination takes; only the end of the program ends that.
//! - Nothing of what is replaced is waited for by [`Running::reload`].
//!
//! It compares fingerprints and never settings: what they mean is the components' own business.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::Signal;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::budget::Budget;
use crate::component::{Receiver, ReceiverContext, Serving};
use crate::delivery::DeliverySettings;
use crate::graph::{BuiltExporter, BuiltReceiver, Fingerprint, Graph, GraphError, GraphSpec, PipelineSpec};
use crate::health::Health;
use crate::inlet::{Inlet, Routes};
use crate::metrics::{ComponentMetrics, names};
use crate::mount::{EXPORTER_SHUTDOWN, Fitting, Parts};
use crate::panics::guard_future;
use crate::queue::Queue;
use crate::running::{AbortOnDrop, LOOK_AGAIN, Running, RunningExporter, RunningReceiver};
use crate::shutdown::{Shutdown, ShutdownTrigger};

/// Replaced components at work behind the running ones. With more a reload is refused: each may hold sockets and memory.
const MAX_RETIRING: usize = 64;

/// The longest that a queue without an exporter stays open for receivers that were removed and do not end.
const LAST_REQUESTS: Duration = Duration::from_secs(60);

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Ways in.
    pub receivers: Changes,
    /// Steps between. They are built anew even where their settings are the same.
    pub processors: Changes,
    /// Ways out.
    pub exporters: Changes,
    /// What connects them.
    pub pipelines: Changes,
    /// Settings that were changed in the file and stay as they are until the program is started again.
    pub needs_restart: Vec<String>,
    /// What is not wrong but probably not meant.
    pub warnings: Vec<String>,
}

/// Names, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Were not there before.
    pub added: Vec<String>,
    /// Have other settings.
    pub changed: Vec<String>,
    /// Are not there any more.
    pub removed: Vec<String>,
    /// Are as they were.
    pub unchanged: Vec<String>,
}

impl Changes {
    fn between<T: PartialEq>(old: &[(String, T)], new: &[(String, T)]) -> Self {
        let mut changes = Self::default();
        for (id, value) in new {
            match old.iter().find(|(known, _)| known == id) {
                None => changes.added.push(id.clone()),
                Some((_, had)) if had == value => changes.unchanged.push(id.clone()),
                Some(_) => changes.changed.push(id.clone()),
            }
        }
        let gone = old.iter().filter(|(id, _)| !new.iter().any(|(known, _)| known == id));
        changes.removed = gone.map(|(id, _)| id.clone()).collect();
        changes
    }

    /// True when everything is as it was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What runs and may be kept, as [`Graph::build_beside`] sees it.
#[derive(Default)]
pub(crate) struct Standing<'r> {
    pub(crate) budget: Option<&'r Budget>,
    receivers: HashMap<&'r str, &'r RunningReceiver>,
    exporters: HashMap<&'r str, &'r RunningExporter>,
}

impl Standing<'_> {
    /// The queue of an exporter that goes on as it is.
    pub(crate) fn unchanged_exporter(&self, id: &str, fingerprint: Fingerprint) -> Option<Arc<Queue>> {
        let runs = self.exporters.get(id).filter(|runs| runs.fingerprint == fingerprint)?;
        Some(Arc::clone(&runs.queue))
    }

    /// The queue that an exporter with other settings takes over.
    pub(crate) fn queue_for(&self, id: &str, settings: &DeliverySettings) -> Option<Arc<Queue>> {
        let runs = self.exporters.get(id)?;
        keeps_queue(&runs.mount.current().settings, settings).then(|| Arc::clone(&runs.queue))
    }

    /// True when the receiver that runs serves these settings and routes. One that has ended does not.
    pub(crate) fn receiver_stays(
        &self,
        id: &str,
        fingerprint: Fingerprint,
        routes: &Routes,
        built: &dyn Receiver,
    ) -> bool {
        let Some(runs) = self.receivers.get(id).filter(|runs| runs.fingerprint == fingerprint) else {
            return false;
        };
        let same_signals = || Signal::ALL.iter().all(|s| routes.takes(*s) == runs.inlet.accepts(*s));
        !runs.task.is_finished() && (!built.asks_for_signals_once() || same_signals())
    }
}

/// A queue is kept with the folder of its buffer, which has one writer; without one, if nothing changes that it was made of.
fn keeps_queue(old: &DeliverySettings, new: &DeliverySettings) -> bool {
    let folder =
        |settings: &DeliverySettings| settings.buffer.as_ref().map(|buffer| buffer.directory.clone());
    let same_rest = || old.queue == new.queue && old.ordered == new.ordered;
    folder(old) == folder(new) && (folder(old).is_some() || same_rest())
}

/// Settings of a kept queue that do not change while it is kept: put back to what they are, and named.
fn hold_back(id: &str, old: &DeliverySettings, new: &mut DeliverySettings) -> Vec<String> {
    let mut held = Vec::new();
    if old.queue != new.queue {
        new.queue = old.queue.clone();
        held.push(format!("exporters.{id}.queue"));
    }
    if let (Some(old), Some(new)) = (&old.buffer, &mut new.buffer)
        && old.window_ms != new.window_ms
    {
        new.window_ms = old.window_ms;
        held.push(format!("exporters.{id}.buffer.window_ms"));
    }
    new.ordered = old.ordered;
    held
}

/// A receiver that has bound its sockets and serves nobody yet.
struct Bound {
    serving: Serving,
    inlet: Inlet,
    stop: ShutdownTrigger,
}

impl Running {
    /// Builds what `spec` says beside what runs, and swaps it in. What is replaced drains behind; nobody waits for that. The
    /// budget stays as it is.
    ///
    /// Dropping the future before it is done changes nothing either.
    ///
    /// # Errors
    /// As [`Graph::build`] and [`Graph::start`]; everything then runs on as before.
    pub async fn reload(&mut self, spec: GraphSpec) -> Result<ReloadReport, GraphError> {
        self.forget_gone();
        self.show();
        let retiring = self.retiring_exporters.len() + self.retiring_receivers.len();
        if retiring >= MAX_RETIRING {
            return Err(GraphError::TooManyRetiring { retiring });
        }
        let result = match Graph::build_beside(spec, false, &self.standing()) {
            Ok(graph) => self.adopt(graph).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            // Queues that were built and came to nothing have announced their own limits.
            self.exporters.iter().for_each(|exporter| exporter.queue.announce_limit());
        }
        result
    }

    fn standing(&self) -> Standing<'_> {
        Standing {
            budget: Some(&self.budget),
            receivers: self.receivers.iter().map(|receiver| (receiver.id.as_str(), receiver)).collect(),
            exporters: self.exporters.iter().map(|exporter| (exporter.id(), exporter)).collect(),
        }
    }

    fn forget_gone(&mut self) {
        self.retiring_receivers.retain(|receiver| !receiver.task.is_finished());
        self.retiring_exporters.retain(|exporter| !exporter.gone.is_requested());
        while self.background.try_join_next().is_some() {}
    }

    /// Starts what the graph has to start, and puts it in the place of what runs.
    pub(crate) async fn adopt(&mut self, mut graph: Graph) -> Result<ReloadReport, GraphError> {
        let mut bound = Vec::with_capacity(graph.receivers.len());
        for built in &mut graph.receivers {
            bound.push(self.bind(built).await?);
        }
        let report = self.swap(graph, bound);
        self.show();
        Ok(report)
    }

    async fn bind(&self, built: &mut BuiltReceiver) -> Result<Option<Bound>, GraphError> {
        let Some(receiver) = built.receiver.take() else { return Ok(None) };
        let (stop, shutdown) = Shutdown::new();
        let inlet = Inlet::new(self.budget.clone(), built.metrics.clone(), Arc::clone(&built.routes));
        let context = ReceiverContext { inlet: inlet.clone(), metrics: built.metrics.clone(), shutdown };
        match receiver.start(context).await {
            Ok(serving) => Ok(Some(Bound { serving, inlet, stop })),
            Err(source) => Err(GraphError::Start { id: built.metrics.id().to_owned(), source }),
        }
    }

    /// Not async: a request sees what was before or what is after.
    fn swap(&mut self, graph: Graph, bound: Vec<Option<Bound>>) -> ReloadReport {
        let processors = Changes::between(&self.processors, &graph.processors);
        let named = |pipelines: &[PipelineSpec]| -> Vec<_> {
            pipelines.iter().map(|pipeline| (pipeline.name.clone(), pipeline.clone())).collect()
        };
        let pipelines = Changes::between(&named(&self.pipelines), &named(&graph.pipelines));
        (self.processors, self.pipelines) = (graph.processors, graph.pipelines);
        let (exporters, replaced) = self.swap_exporters(graph.exporters);
        let receivers = self.swap_receivers(graph.receivers, bound);
        // A queue that is full because its destination is down leaves the others their shares, and receivers one to work with.
        let share = self.budget.limit() / (self.exporters.len() + 1);
        self.exporters.iter().for_each(|exporter| exporter.queue.limit_to(share));
        // Whoever waits for room may have other queues to go to now.
        let queues = self.exporters.iter().chain(&replaced).map(|exporter| &exporter.queue);
        queues.for_each(|queue| queue.look_again());
        replaced.into_iter().for_each(|exporter| self.retire(exporter));
        let needs_restart = self.exporters.iter().flat_map(|exporter| exporter.held_back.clone()).collect();
        ReloadReport { receivers, processors, exporters, pipelines, needs_restart, warnings: graph.warnings }
    }

    /// The second result is what has no place any more.
    fn swap_exporters(&mut self, built: Vec<BuiltExporter>) -> (Changes, Vec<RunningExporter>) {
        let mut changes = Changes::default();
        let mut old = std::mem::take(&mut self.exporters);
        let mut replaced = Vec::new();
        for BuiltExporter { fingerprint, queue, parts } in built {
            let id = queue.metrics().id().to_owned();
            let runs = old.iter().position(|runs| runs.id() == id).map(|at| old.remove(at));
            let exporter = match (runs, parts) {
                (Some(runs), None) => {
                    changes.unchanged.push(id);
                    runs
                }
                (Some(mut runs), Some(parts)) if Arc::ptr_eq(&runs.queue, &queue) => {
                    changes.changed.push(id);
                    self.refit(&mut runs, fingerprint, parts);
                    runs
                }
                (runs, Some(parts)) => {
                    if runs.is_some() { &mut changes.changed } else { &mut changes.added }.push(id);
                    replaced.extend(runs);
                    self.spawn_workers(fingerprint, queue, parts)
                }
                // Without parts it is one that runs.
                (None, None) => continue,
            };
            self.exporters.push(exporter);
        }
        for removed in old {
            changes.removed.push(removed.id().to_owned());
            removed.queue.metrics().gauge(names::QUEUE_LIMIT_BYTES, &[]).set(0.0);
            replaced.push(removed);
        }
        (changes, replaced)
    }

    fn refit(&mut self, runs: &mut RunningExporter, fingerprint: Fingerprint, mut parts: Parts) {
        runs.fingerprint = fingerprint;
        runs.held_back = hold_back(runs.id(), &runs.mount.current().settings, &mut parts.settings);
        if let (Some(spool), Some(buffer)) = (runs.queue.spool(), &parts.settings.buffer) {
            spool.set_limits(buffer);
        }
        let fitting = Fitting::new(parts, runs.queue.metrics());
        self.background.spawn(runs.mount.replace(fitting));
    }

    fn swap_receivers(&mut self, built: Vec<BuiltReceiver>, bound: Vec<Option<Bound>>) -> Changes {
        let mut changes = Changes::default();
        let mut old = std::mem::take(&mut self.receivers);
        for (BuiltReceiver { fingerprint, metrics, routes, .. }, bound) in built.into_iter().zip(bound) {
            let id = metrics.id().to_owned();
            // Those that drain go the new ways too.
            let same = |receiver: &&RunningReceiver| receiver.id == id;
            let here = old.iter().chain(&self.retiring_receivers).filter(same);
            here.for_each(|receiver| receiver.inlet.reroute(Arc::clone(&routes)));
            let runs = old.iter().position(|runs| runs.id == id).map(|at| old.remove(at));
            let receiver = match (runs, bound) {
                (Some(runs), None) => {
                    changes.unchanged.push(id);
                    runs
                }
                (runs, Some(Bound { serving, inlet, stop })) => {
                    if runs.is_some() { &mut changes.changed } else { &mut changes.added }.push(id);
                    let starts = RunningReceiver::spawn(fingerprint, metrics, inlet, stop, serving);
                    runs.into_iter().for_each(|runs| self.ask_to_stop(runs));
                    starts
                }
                // What was not started is one that runs.
                (None, None) => continue,
            };
            self.receivers.push(receiver);
        }
        for removed in old {
            changes.removed.push(removed.id.clone());
            self.ask_to_stop(removed);
        }
        changes
    }

    fn ask_to_stop(&mut self, receiver: RunningReceiver) {
        receiver.stop.request();
        self.retiring_receivers.push(receiver);
    }

    /// Has the exporter deliver what is in its queue, and shut down.
    fn retire(&mut self, mut exporter: RunningExporter) {
        let has_other_way =
            |receiver: &&RunningReceiver| self.receivers.iter().any(|runs| runs.id == receiver.id);
        let last = self.retiring_receivers.iter().filter(|receiver| !has_other_way(receiver));
        let (gone, retired) = Shutdown::new();
        let retirement = Retirement {
            senders: last.map(|receiver| receiver.gone.clone()).collect(),
            queue: Arc::clone(&exporter.queue),
            health: Arc::clone(&exporter.health),
            with: exporter.mount.current(),
            workers_ended: exporter.workers_ended.clone(),
            abandon: Arc::clone(&exporter.abandon),
            upkeep: exporter.upkeep.take(),
            hurry: self.hurry.signal(),
            _gone: gone,
        };
        self.background.spawn(retirement.run());
        exporter.gone = retired;
        self.retiring_exporters.push(exporter);
    }
}

/// The end of an exporter that has no place any more.
struct Retirement {
    /// Receivers that send to it and nowhere else.
    senders: Vec<Shutdown>,
    queue: Arc<Queue>,
    health: Arc<Health>,
    with: Arc<Fitting>,
    workers_ended: Shutdown,
    abandon: Arc<ShutdownTrigger>,
    upkeep: Option<AbortOnDrop>,
    hurry: Shutdown,
    _gone: ShutdownTrigger,
}

impl Retirement {
    async fn run(mut self) {
        self.last_requests().await;
        if self.queue.spool().is_some() {
            self.empty_buffer().await;
        } else {
            self.queue.close();
            self.workers_ended.requested().await;
        }
        let closed = timeout(EXPORTER_SHUTDOWN, guard_future(|| self.with.exporter.shutdown())).await;
        if !matches!(closed, Ok(Ok(()))) {
            let exporter = self.queue.metrics().id();
            tracing::warn!(exporter, "was replaced, and did not shut down in time");
        }
        self.health.stopped();
    }

    async fn last_requests(&self) {
        let all_sent = async {
            for sender in &self.senders {
                sender.requested().await;
            }
        };
        tokio::select! {
            () = all_sent => {}
            () = sleep(LAST_REQUESTS) => {}
            () = self.hurry.requested() => {}
        }
    }

    /// Delivers what the disk buffer has as long as the destination takes it. Otherwise it stays there, and the folder is free for
    /// whoever takes it up.
    async fn empty_buffer(&mut self) {
        let Some(spool) = self.queue.spool() else { return };
        while !spool.is_empty() && !self.health.is_failing() && !self.hurry.is_requested() {
            sleep(LOOK_AGAIN).await;
        }
        self.queue.close();
        while !self.workers_ended.is_requested() {
            if self.health.is_failing() && spool.has_all() && !self.hurry.is_requested() {
                self.queue.abandon();
                self.abandon.request();
            }
            sleep(LOOK_AGAIN).await;
        }
        self.upkeep = None;
        if self.hurry.is_requested() {
            return;
        }
        let items = spool.leave().await;
        if items > 0 {
            let exporter = self.queue.metrics().id();
            tracing::warn!(
                exporter,
                items,
                "was replaced while its destination failed: what is undelivered stays in its disk buffer"
            );
        }
    }
}

/// Counters of `metrics` belong to the component that is started.
impl RunningReceiver {
    fn spawn(
        fingerprint: Fingerprint,
        metrics: ComponentMetrics,
        inlet: Inlet,
        stop: ShutdownTrigger,
        serving: Serving,
    ) -> Self {
        let health = Arc::new(Health::new());
        let (ending, gone) = Shutdown::new();
        let supervised =
            crate::running::supervise(serving, metrics.clone(), Arc::clone(&health), stop.signal());
        let task = tokio::spawn(async move {
            let _ending = ending;
            supervised.await;
        });
        Self { id: metrics.id().to_owned(), fingerprint, metrics, inlet, stop, health, gone, task }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use model::{AckMode, Request, Writer};

    use super::*;
    use crate::delivery::QueueSettings;
    use crate::inlet::Pipeline;
    use crate::metrics::ComponentKind;
    use crate::queue::Batch;

    #[test]
    fn a_queue_is_kept_with_its_folder_or_if_nothing_changes_that_it_was_made_of() {
        let plain = DeliverySettings::default();
        let buffered = |folder: &str| {
            let buffer = serde_json::from_value(serde_json::json!({ "directory": folder })).unwrap();
            DeliverySettings { buffer: Some(buffer), ..DeliverySettings::default() }
        };
        let mut other = DeliverySettings::default();
        other.retry.timeout_ms = 7;
        assert!(keeps_queue(&plain, &other));
        other.queue.max_bytes = 7;
        assert!(!keeps_queue(&plain, &other) && !keeps_queue(&plain, &buffered("a")));
        assert!(!keeps_queue(&buffered("a"), &buffered("b")) && !keeps_queue(&buffered("a"), &plain));
        let mut larger = buffered("a");
        (larger.queue.max_bytes, larger.buffer.as_mut().unwrap().max_bytes) = (7, 1 << 40);
        assert!(keeps_queue(&buffered("a"), &larger));
        assert_eq!(hold_back("x", &buffered("a"), &mut larger), ["exporters.x.queue"]);
        assert_eq!((larger.queue, larger.buffer.unwrap().max_bytes), (QueueSettings::default(), 1 << 40));
    }

    /// The moment between looking at the routes and reserving in their queues.
    #[test]
    fn who_finds_a_queue_closed_looks_at_the_new_routes() {
        let metrics = |kind| ComponentMetrics::new(kind, "moment");
        let settings = QueueSettings { max_requests: 64, ..QueueSettings::default() };
        let queue = || Arc::new(Queue::new(&settings, &metrics(ComponentKind::Exporter)));
        let routes = |queue: &Arc<Queue>| {
            let pipeline = Arc::new(Pipeline { steps: Vec::new(), outlets: vec![Arc::clone(queue)] });
            let mut routes = Routes { ack: AckMode::Received, ..Routes::default() };
            routes.by_signal[Signal::Logs as usize].push(pipeline);
            Arc::new(routes)
        };
        let mut writer = Writer::new();
        writer.message(1, |resource| resource.message(2, |scope| scope.message(2, |_| {})));
        let request = Request::receive(Signal::Logs, writer.finish()).unwrap().0;
        let mut current = queue();
        let inlet = Inlet::new(Budget::new(1 << 30), metrics(ComponentKind::Receiver), routes(&current));
        let (end, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut delivered = 0;
        let mut empty = |queue: &Queue| {
            let mut batch = Batch::default();
            while queue.fill(&mut batch, 0) {
                delivered += batch.tickets.len() as u64;
                batch.payloads.clear();
                batch.tickets.drain(..).for_each(|ticket| ticket.settled(&[]));
            }
        };
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                while !end.load(Ordering::SeqCst) {
                    match inlet.enter(request.clone(), inlet.permit()) {
                        Ok(entered) => assert!(entered.is_settled()),
                        Err(refusal) if refusal.reason == "queue_full" => continue,
                        Err(refusal) => panic!("{refusal}"),
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
            for _ in 0..2000 {
                let next = queue();
                inlet.reroute(routes(&next));
                let old = std::mem::replace(&mut current, next);
                old.close();
                while !old.is_drained() {
                    empty(&old);
                    std::thread::yield_now();
                }
                if sender.is_finished() {
                    break;
                }
            }
            end.store(true, Ordering::SeqCst);
        });
        empty(&current);
        assert_eq!(delivered, sent.into_inner());
    }
}

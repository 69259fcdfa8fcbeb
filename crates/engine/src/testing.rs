//! For tests, of this crate and of components: an inlet that ends in a list, and a recorder whose counters can be read.
//!
//! ```
//! # use engine::testing; use model::{AckMode, Signal};
//! let (inlet, collected) = testing::inlet(AckMode::Received, &[Signal::Logs]);
//! assert!(inlet.accepts(Signal::Logs) && !inlet.accepts(Signal::Traces));
//! assert!(collected.requests().is_empty());
//! ```
//!
//! The queue, the budget and the counters behind the inlet are the real ones. Nothing else in the program uses this module.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{AckMode, Payload, Request, SeriesBatch, Signal};
use tokio::time::{Instant, sleep};

use crate::budget::Budget;
use crate::component::{BuildContext, Processor, ReceiverContext};
use crate::delivery::QueueSettings;
use crate::inlet::{Inlet, Pipeline, Routes, Step};
use crate::metrics::{ComponentKind, ComponentMetrics};
use crate::queue::{Batch, Blame, Lost, Queue};
use crate::shutdown::{Shutdown, ShutdownTrigger};

mod recorder;

pub use recorder::{Counters, counters};

/// How long [`Collected::wait_for`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// An inlet that collects what is sent to it. With `ack: delivered` it must be made within a tokio runtime.
pub fn inlet(ack: AckMode, signals: &[Signal]) -> (Inlet, Collected) {
    Setup { ack, signals: signals.to_vec(), ..Setup::default() }.inlet()
}

/// What a component is given when it is built.
pub fn build_context(kind: ComponentKind, id: &str) -> BuildContext {
    let _ = counters();
    BuildContext { id: id.to_owned(), metrics: ComponentMetrics::new(kind, id), dry_run: false }
}

/// What a receiver is given when it starts, and what ends it.
pub fn receiver_context(id: &str, inlet: Inlet) -> (ReceiverContext, ShutdownTrigger) {
    let (trigger, shutdown) = Shutdown::new();
    let metrics = build_context(ComponentKind::Receiver, id).metrics;
    (ReceiverContext { inlet, metrics, shutdown }, trigger)
}

/// What to make an inlet of; change what matters to the test.
pub struct Setup {
    /// The receiver's id, for counters. Tests run at the same time, so those that look at counters need one of their own.
    pub receiver: String,
    /// When `send` answers.
    pub ack: AckMode,
    /// The signals that the one pipeline takes.
    pub signals: Vec<Signal>,
    /// The process's budget in bytes.
    pub budget_bytes: usize,
    /// The queue's limits.
    pub queue: QueueSettings,
    /// What stands in the pipeline, with ids.
    pub processors: Vec<(String, Box<dyn Processor>)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            receiver: "test".to_owned(),
            ack: AckMode::Received,
            signals: Signal::ALL.to_vec(),
            budget_bytes: 1 << 30,
            queue: QueueSettings::default(),
            processors: Vec::new(),
        }
    }
}

impl Setup {
    /// The inlet and where its requests end.
    pub fn inlet(self) -> (Inlet, Collected) {
        let _ = counters();
        let exporter = ComponentMetrics::new(ComponentKind::Exporter, "collected");
        let queue = Arc::new(Queue::new(&self.queue, &exporter));
        let step = |(id, processor): (String, _)| Step {
            processor,
            metrics: ComponentMetrics::new(ComponentKind::Processor, id),
        };
        let steps = self.processors.into_iter().map(step).collect();
        let pipeline = Arc::new(Pipeline { steps, outlets: vec![Arc::clone(&queue)] });
        let mut routes =
            Routes { ack: self.ack, description: "pipeline test".to_owned(), ..Routes::default() };
        for signal in self.signals {
            routes.by_signal[signal as usize].push(Arc::clone(&pipeline));
        }
        let budget = Budget::new(self.budget_bytes);
        let metrics = ComponentMetrics::new(ComponentKind::Receiver, self.receiver);
        let inlet = Inlet::new(budget.clone(), metrics, Arc::new(routes));
        let state = State { payloads: Vec::new(), answer: Answer::Deliver };
        let collected = Collected { queue, budget, state: Arc::new(Mutex::new(state)) };
        if tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(collected.clone().serve());
        }
        (inlet, collected)
    }
}

/// What the destination behind [`Collected`] does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Takes them.
    Deliver,
    /// Lets them stand, so that the queue fills and `ack: delivered` waits.
    Hold,
    /// Refuses them for good.
    Reject,
    /// Loses them.
    Nack,
}

/// Where the requests of a test inlet end. Clones look at the same list.
#[derive(Clone)]
pub struct Collected {
    queue: Arc<Queue>,
    budget: Budget,
    state: Arc<Mutex<State>>,
}

struct State {
    payloads: Vec<Payload>,
    answer: Answer,
}

impl Collected {
    /// All payloads that were delivered so far. What `send` said yes to is among them.
    pub fn payloads(&self) -> Vec<Payload> {
        self.drain();
        self.lock().payloads.clone()
    }

    /// Those of them that are OTLP.
    pub fn requests(&self) -> Vec<Request> {
        let otlp = |payload| match payload {
            Payload::Otlp(request) => Some(request),
            Payload::Series(_) => None,
        };
        self.payloads().into_iter().filter_map(otlp).collect()
    }

    /// Those of them that are Prometheus series.
    pub fn series(&self) -> Vec<Arc<SeriesBatch>> {
        let series = |payload| match payload {
            Payload::Otlp(_) => None,
            Payload::Series(series) => Some(series),
        };
        self.payloads().into_iter().filter_map(series).collect()
    }

    /// Records in all requests that were delivered so far.
    pub fn items(&self) -> usize {
        self.payloads().iter().map(Payload::items).sum()
    }

    /// Waits until at least `items` records were delivered, and gives all requests. Gives what there is after ten seconds.
    pub async fn wait_for(&self, items: usize) -> Vec<Request> {
        let deadline = Instant::now() + PATIENCE;
        while self.items() < items && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
        self.requests()
    }

    /// What happens to requests from now on, those that were held included.
    pub fn answer(&self, answer: Answer) {
        self.lock().answer = answer;
        self.drain();
    }

    /// From now on every `send` is refused as it is while the engine stops.
    pub fn close(&self) {
        self.queue.close();
    }

    /// The budget behind the inlet.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    async fn serve(self) {
        loop {
            let changed = self.queue.changed();
            self.drain();
            if self.queue.is_drained() {
                return;
            }
            changed.await;
        }
    }

    fn drain(&self) {
        let mut state = self.lock();
        if state.answer == Answer::Hold {
            return;
        }
        let mut batch = Batch::default();
        while self.queue.fill(&mut batch, 0) {
            let payloads = batch.payloads.drain(..);
            let blame = match state.answer {
                Answer::Reject => Some(Blame::Rejected),
                Answer::Nack => Some(Blame::Nacked),
                Answer::Deliver | Answer::Hold => {
                    state.payloads.extend(payloads);
                    None
                }
            };
            for ticket in batch.tickets.drain(..) {
                let items = ticket.items();
                let lost = blame.map(|blame| Lost { reason: "test", items, blame });
                ticket.settled(lost.as_slice());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use model::Writer;

    use super::*;

    fn request() -> Request {
        let mut writer = Writer::new();
        writer.message(1, |resource| resource.message(2, |scope| scope.message(2, |_| {})));
        Request::receive(Signal::Logs, writer.finish()).unwrap().0
    }

    #[tokio::test]
    async fn what_send_said_yes_to_is_in_the_list() {
        for ack in [AckMode::Received, AckMode::Delivered] {
            let (inlet, collected) = inlet(ack, &[Signal::Logs]);
            inlet.send(request(), inlet.permit()).await.unwrap();
            assert_eq!(collected.requests(), [request()]);
            assert_eq!(collected.wait_for(1).await.len(), 1);
            assert_eq!(collected.budget().used(), 0);
        }
    }

    #[tokio::test]
    async fn the_destination_answers_as_told() {
        let (inlet, collected) = inlet(AckMode::Delivered, &[Signal::Logs]);
        let send = || inlet.send(request(), inlet.permit());
        collected.answer(Answer::Reject);
        assert_eq!(send().await.unwrap_err().reason, "rejected");
        collected.answer(Answer::Nack);
        assert_eq!(send().await.unwrap_err().reason, "not_delivered");
        collected.answer(Answer::Hold);
        let held = inlet.enter(request(), inlet.permit()).unwrap();
        assert!(collected.requests().is_empty());
        collected.answer(Answer::Deliver);
        held.settled().await.unwrap();
        collected.close();
        assert_eq!(send().await.unwrap_err().reason, "shutting_down");
    }

    #[test]
    fn it_needs_no_runtime_where_nothing_waits() {
        let queue = QueueSettings { max_requests: 1, ..QueueSettings::default() };
        let (inlet, collected) = Setup { queue, ..Setup::default() }.inlet();
        collected.answer(Answer::Hold);
        assert!(inlet.enter(request(), inlet.permit()).unwrap().is_settled());
        assert_eq!(inlet.enter(request(), inlet.permit()).unwrap_err().reason, "queue_full");
        collected.answer(Answer::Deliver);
        assert_eq!(collected.items(), 1);
    }
}

//! The door of the graph: what a receiver hands its requests to.
//!
//! ```text
//! send: find the pipelines -> reserve in every queue -> count as accepted -> run processors -> push to every queue -> answer
//!             |                      |                                          |
//!        no_pipeline            queue_full ...                      processor error: dropped, counted, refused for good
//! ```
//!
//! Room is reserved *before* the processors run: an overloaded engine refuses without having worked, and a request that is
//! refused has not been counted by any processor, so that a sender's second try counts once.
//!
//! Invariants:
//! - A request enters every queue of every pipeline or none; a sender that is told to try again makes no duplicates.
//! - With `ack: received` and room in the queues the answer is known without an await, a lock, or an allocation beyond what the bytes need.
//! - A request sees one set of `Routes`, whole: what it reserved in is what it is pushed to, whatever a reload swaps meanwhile. Only
//!   one that has no room yet looks again.
//!
//! It does not read sockets and does not know what a processor does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use model::{Ack, AckMode, AckWaiter, Payload, Signal, Verdict};
use smallvec::SmallVec;
use tokio::time::{Instant, sleep};

use crate::budget::{Budget, BudgetFull, Permit, PermitShare};
use crate::component::{ProcessError, Processor};
use crate::delivery::OnFull;
use crate::metrics::ComponentMetrics;
use crate::panics::{Panicked, guard};
use crate::queue::{NoRoom, Queue, Slot};

/// When a sender that was turned away for want of room should come again.
const RETRY_HINT: Duration = Duration::from_secs(1);

/// The pause before a request that could not be delivered is handed over again.
const AGAIN: Duration = Duration::from_millis(100);

/// Where a receiver hands its requests to. Cheap to clone; clones are the same door.
#[derive(Clone)]
pub struct Inlet {
    door: Arc<Door>,
}

/// What stands behind an inlet.
struct Door {
    budget: Budget,
    metrics: ComponentMetrics,
    /// All that a reload swaps.
    routes: ArcSwap<Routes>,
}

/// The pipelines that a receiver feeds, by signal.
#[derive(Default)]
pub(crate) struct Routes {
    /// When senders are answered.
    pub(crate) ack: AckMode,
    pub(crate) by_signal: [Vec<Arc<Pipeline>>; 3],
    /// What there is for the receiver, for the error that says that there is nothing for this signal.
    pub(crate) description: String,
}

/// Processors in their order, and the queues at the end.
pub(crate) struct Pipeline {
    pub(crate) steps: Vec<Step>,
    pub(crate) outlets: Vec<Arc<Queue>>,
}

/// A processor as it stands in a pipeline.
pub(crate) struct Step {
    pub(crate) processor: Box<dyn Processor>,
    pub(crate) metrics: ComponentMetrics,
}

/// Why a request was not taken, for the receiver to tell its sender in the protocol's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// True when sending the same request again may help.
    pub retryable: bool,
    /// When to send it again.
    pub retry_after: Option<Duration>,
    /// A short fixed name: `budget_full`, `queue_full`, `too_large`, `shutting_down`, `no_pipeline`, `not_delivered`,
    /// `rejected`, or the reason that a processor gave.
    pub reason: &'static str,
    /// For the sender; holds no data of the request.
    pub message: String,
}

impl Refusal {
    fn retry(reason: &'static str, message: impl Into<String>) -> Self {
        Self { retryable: true, retry_after: Some(RETRY_HINT), reason, message: message.into() }
    }

    fn permanent(reason: &'static str, message: impl Into<String>) -> Self {
        Self { retryable: false, retry_after: None, reason, message: message.into() }
    }
}

impl From<BudgetFull> for Refusal {
    fn from(full: BudgetFull) -> Self {
        if full.retryable() {
            Self::retry("budget_full", full.to_string())
        } else {
            Self::permanent("too_large", full.to_string())
        }
    }
}

/// A request that stands in the queues; its sender may have to wait for more.
#[must_use = "with `ack: delivered` the sender must not be told yes before `settled` says so"]
#[derive(Debug)]
pub struct Entered {
    waiter: Option<AckWaiter>,
}

impl Entered {
    /// True when the sender can be told yes at once.
    pub fn is_settled(&self) -> bool {
        self.waiter.is_none()
    }

    /// Waits until the stage that the receiver's `ack` names is reached.
    ///
    /// # Errors
    /// A destination refused the request for good, or a branch gave up on it.
    pub async fn settled(self) -> Result<(), Refusal> {
        let Some(waiter) = self.waiter else { return Ok(()) };
        match waiter.await {
            Verdict::Acked => Ok(()),
            Verdict::Rejected => Err(Refusal::permanent(
                "rejected",
                "a destination refused the request for good; Floodway's log says which and why",
            )),
            Verdict::Nacked => Err(Refusal::retry(
                "not_delivered",
                "the request could not be delivered everywhere; send it again",
            )),
        }
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inlet({})", self.door.metrics.id())
    }
}

impl Inlet {
    pub(crate) fn new(budget: Budget, metrics: ComponentMetrics, routes: Arc<Routes>) -> Self {
        routes.announce(&metrics);
        Self { door: Arc::new(Door { budget, metrics, routes: ArcSwap::new(routes) }) }
    }

    /// From now on requests take these routes. Those that have room in a queue keep theirs.
    pub(crate) fn reroute(&self, routes: Arc<Routes>) {
        routes.announce(&self.door.metrics);
        self.door.routes.store(routes);
    }

    /// An empty permit of the process's memory budget. Grow it before reading or inflating bytes.
    pub fn permit(&self) -> Permit {
        self.door.budget.permit()
    }

    /// True when a pipeline takes this signal from this receiver.
    pub fn accepts(&self, signal: Signal) -> bool {
        self.door.routes.load().takes(signal)
    }

    /// When this receiver's senders are answered. A reload may change it.
    pub fn ack_mode(&self) -> AckMode {
        self.door.routes.load().ack
    }

    /// Hands over a request and waits for what the receiver's `ack` asks for. While a queue is full it first waits for room, up
    /// to that queue's `max_wait_ms`, unless a quarter of what the queue holds waits already; with room there, `ack: received`
    /// never waits.
    ///
    /// # Errors
    /// What to tell the sender. A retryable refusal left nothing behind, save after `not_delivered`.
    pub async fn send(&self, payload: impl Into<Payload>, permit: Permit) -> Result<(), Refusal> {
        let payload = payload.into();
        let reserved = match self.reserve(&payload) {
            Err(Blocked { full: Some(full), refusal, .. }) => match full.line_up(payload.size()) {
                Some(_in_line) => {
                    let deadline = Instant::now() + full.max_wait();
                    self.wait_for_room(&payload, Arc::clone(&full), Some(deadline)).await
                }
                None => Err(self.door.refuse(payload.items() as u64, refusal)),
            },
            other => other.map_err(|blocked| self.door.refuse(payload.items() as u64, blocked.refusal)),
        }?;
        self.place(reserved, payload, permit)?.settled().await
    }

    /// As [`Self::send`], for senders that cannot be told to come back (TCP, files): waits until there is room, however long that
    /// takes; a request that could not be delivered (`not_delivered`) is handed over again.
    ///
    /// # Errors
    /// The engine is stopping, or the request is refused for good.
    pub async fn push(&self, payload: impl Into<Payload>, permit: Permit) -> Result<(), Refusal> {
        let (mut payload, mut permit) = (payload.into(), Some(permit));
        loop {
            let reserved = match self.reserve(&payload) {
                Err(Blocked { full: Some(full), .. }) => self.wait_for_room(&payload, full, None).await,
                other => other.map_err(|blocked| self.door.refuse(payload.items() as u64, blocked.refusal)),
            }?;
            // Kept only where there may be a second try: bytes that nobody else holds are changed in place. The budget does not count
            // it again, which a sender can have but once.
            let again = (reserved.routes.ack != AckMode::Received).then(|| payload.clone());
            let permit = permit.take().unwrap_or_else(|| self.permit());
            match (self.place(reserved, payload, permit)?.settled().await, again) {
                (Err(refusal), Some(again)) if refusal.retryable => payload = again,
                (outcome, _) => return outcome,
            }
            sleep(AGAIN).await;
        }
    }

    /// Runs the processors and puts the request in every exporter's queue, without waiting for anything. For receivers that
    /// are not async, or that answer many requests together.
    ///
    /// `permit` holds the request's bytes; what it holds beyond them is given back here. A request of which no record is left
    /// counts as delivered.
    ///
    /// # Errors
    /// What to tell the sender. Nothing entered any queue.
    pub fn enter(&self, payload: impl Into<Payload>, permit: Permit) -> Result<Entered, Refusal> {
        let payload = payload.into();
        let reserved = self.reserve(&payload);
        let reserved =
            reserved.map_err(|blocked| self.door.refuse(payload.items() as u64, blocked.refusal))?;
        self.place(reserved, payload, permit)
    }

    /// Room for the request in every queue, or in none.
    fn reserve(&self, payload: &Payload) -> Result<Reserved, Blocked> {
        loop {
            let routes = self.door.routes.load();
            match self.door.reserve(&routes, payload) {
                Ok(slots) => return Ok(Reserved { routes, slots }),
                // A queue is closed after the routes were swapped: the new ones do not lead there.
                Err(blocked) if blocked.closed && !Arc::ptr_eq(&routes, &self.door.routes.load()) => {}
                Err(blocked) => return Err(blocked),
            }
        }
    }

    /// Waits for room until `deadline`, without one for ever.
    async fn wait_for_room(
        &self,
        payload: &Payload,
        mut full: Arc<Queue>,
        deadline: Option<Instant>,
    ) -> Result<Reserved, Refusal> {
        loop {
            let queue = Arc::clone(&full);
            let freed = queue.freed();
            let refusal = match self.reserve(payload) {
                Ok(reserved) => return Ok(reserved),
                Err(Blocked { full: Some(other), .. }) if !Arc::ptr_eq(&other, &full) => {
                    full = other;
                    continue;
                }
                Err(blocked) if blocked.full.is_none() => blocked.refusal,
                Err(blocked) => {
                    let in_time = match deadline {
                        Some(deadline) => tokio::time::timeout_at(deadline, freed).await.is_ok(),
                        None => {
                            freed.await;
                            true
                        }
                    };
                    if in_time {
                        continue;
                    }
                    blocked.refusal
                }
            };
            return Err(self.door.refuse(payload.items() as u64, refusal));
        }
    }

    fn place(&self, reserved: Reserved, payload: Payload, permit: Permit) -> Result<Entered, Refusal> {
        if payload.is_empty() {
            return Ok(Entered { waiter: None });
        }
        let Reserved { routes, slots } = reserved;
        let pipelines = routes.pipelines(payload.signal());
        self.door.metrics.accepted(payload.signal(), payload.items() as u64);
        let results = process(pipelines, payload)?;
        Ok(Entered { waiter: place(routes.ack, pipelines, slots, results, permit) })
    }
}

impl Routes {
    fn pipelines(&self, signal: Signal) -> &[Arc<Pipeline>] {
        &self.by_signal[signal as usize]
    }

    /// True when a pipeline takes this signal.
    pub(crate) fn takes(&self, signal: Signal) -> bool {
        !self.pipelines(signal).is_empty()
    }

    /// Counters show from the start: a rate over one that appears with its first record misses that record.
    fn announce(&self, metrics: &ComponentMetrics) {
        Signal::ALL
            .iter()
            .filter(|signal| self.takes(**signal))
            .for_each(|signal| metrics.accepted(*signal, 0));
    }
}

/// Room in the queues of the routes that were there when it was asked for.
struct Reserved {
    routes: Guard<Arc<Routes>>,
    slots: Slots,
}

/// Why there is no room for a request.
struct Blocked {
    refusal: Refusal,
    /// The queue that is full, if waiting may help.
    full: Option<Arc<Queue>>,
    /// A queue takes no more, now or ever.
    closed: bool,
}

impl Door {
    fn reserve(&self, routes: &Routes, payload: &Payload) -> Result<Slots, Blocked> {
        let pipelines = routes.pipelines(payload.signal());
        if pipelines.is_empty() {
            let refusal = self.no_pipeline(payload.signal(), &routes.description);
            return Err(Blocked { refusal, full: None, closed: false });
        }
        if payload.is_empty() {
            return Ok(Slots::new());
        }
        reserve(pipelines, payload.size(), payload.items() as u64)
    }

    fn refuse(&self, items: u64, refusal: Refusal) -> Refusal {
        self.metrics.refused(refusal.reason, items);
        refusal
    }

    #[cold]
    fn no_pipeline(&self, signal: Signal, description: &str) -> Refusal {
        let message =
            format!("no pipeline takes {} from receiver {}: {description}", signal.name(), self.metrics.id());
        Refusal::permanent("no_pipeline", message)
    }
}

/// One entry an outlet, pipeline by pipeline; an error stands for a queue that drops what it has no room for.
type Slots = SmallVec<[Result<Slot, NoRoom>; 4]>;
/// One entry a pipeline; none when no record was left.
type Results = SmallVec<[Option<Payload>; 2]>;

fn reserve(pipelines: &[Arc<Pipeline>], bytes: usize, items: u64) -> Result<Slots, Blocked> {
    let mut slots = Slots::new();
    for queue in pipelines.iter().flat_map(|pipeline| &pipeline.outlets) {
        let slot = queue.reserve(bytes, items);
        match &slot {
            Err(NoRoom::Closed) => {
                let refusal = Refusal::retry("shutting_down", "Floodway is stopping; send it again");
                return Err(Blocked { refusal, full: None, closed: true });
            }
            Err(no_room) if queue.on_full() == OnFull::Refuse => {
                let may_help = matches!(no_room, NoRoom::Full | NoRoom::Disk);
                let full = may_help.then(|| Arc::clone(queue));
                let refusal = no_room_refusal(queue, bytes, *no_room);
                return Err(Blocked { refusal, full, closed: false });
            }
            _ => slots.push(slot),
        }
    }
    Ok(slots)
}

#[cold]
fn no_room_refusal(queue: &Queue, bytes: usize, no_room: NoRoom) -> Refusal {
    let exporter = queue.metrics().id();
    if no_room == NoRoom::TooLarge {
        let limit = queue.largest_request();
        return Refusal::permanent(
            "too_large",
            format!(
                "the request holds {bytes} bytes, more than the queue of exporter {exporter} (queue.max_bytes, {limit}) or its disk \
                 buffer (buffer.max_bytes) takes: send smaller requests or raise the limit"
            ),
        );
    }
    if no_room == NoRoom::Disk {
        return Refusal::retry(
            "buffer_full",
            format!("the disk buffer of exporter {exporter} has no room; send it again later"),
        );
    }
    Refusal::retry("queue_full", format!("the queue of exporter {exporter} is full; send it again later"))
}

fn process(pipelines: &[Arc<Pipeline>], payload: Payload) -> Result<Results, Refusal> {
    let mut results = Results::new();
    let mut payload = Some(payload);
    for (n, pipeline) in pipelines.iter().enumerate() {
        // The last one gets the bytes unshared, so that it may change them in place.
        let own = if n + 1 == pipelines.len() { payload.take() } else { payload.clone() };
        let result = own.map_or(Ok(None), |own| pipeline.process(own))?;
        results.push(result);
    }
    Ok(results)
}

impl Pipeline {
    fn process(&self, mut payload: Payload) -> Result<Option<Payload>, Refusal> {
        for step in &self.steps {
            let items = payload.items() as u64;
            let outcome = guard(|| step.process(payload));
            payload = match outcome {
                Ok(Ok(Some(left))) if !left.is_empty() => left,
                Ok(Ok(_)) => return Ok(None),
                Ok(Err(error)) => return Err(step.refuse(items, error.reason, &error.message)),
                Err(Panicked) => {
                    return Err(step.refuse(
                        items,
                        "processor_panic",
                        "it panicked; this is a bug, please report it",
                    ));
                }
            };
        }
        Ok(Some(payload))
    }
}

impl Step {
    fn process(&self, payload: Payload) -> Result<Option<Payload>, ProcessError> {
        match payload {
            Payload::Otlp(request) => Ok(self.processor.process(request)?.map(Payload::Otlp)),
            Payload::Series(series) => Ok(self.processor.process_series(series)?.map(Payload::Series)),
        }
    }

    #[cold]
    fn refuse(&self, items: u64, reason: &'static str, message: &str) -> Refusal {
        self.metrics.dropped(reason, items);
        let id = self.metrics.id();
        tracing::debug!(processor = id, reason, items, "request refused: {message}");
        Refusal::permanent(reason, format!("processor {id} refused the request: {message}"))
    }
}

/// Puts every result in its pipeline's queues. Returns what to wait for.
fn place(
    mode: AckMode,
    pipelines: &[Arc<Pipeline>],
    slots: Slots,
    results: Results,
    mut permit: Permit,
) -> Option<AckWaiter> {
    permit.resize(distinct_bytes(&results));
    let branches = pipelines.iter().zip(&results).filter(|(_, result)| result.is_some());
    let mut permits = Permits::new(permit, branches.map(|(pipeline, _)| pipeline.outlets.len()).sum());
    let (ack, waiter) = match mode {
        AckMode::Received => (None, None),
        AckMode::Durable | AckMode::Delivered => {
            let (ack, waiter) = Ack::new(mode);
            (Some(ack), Some(waiter))
        }
    };
    let entered = Instant::now();
    let mut slots = slots.into_iter();
    for (pipeline, result) in pipelines.iter().zip(results) {
        let mut payload = result;
        for (n, queue) in pipeline.outlets.iter().enumerate() {
            let last = n + 1 == pipeline.outlets.len();
            let own = if last { payload.take() } else { payload.clone() };
            match (slots.next(), own) {
                (Some(Ok(slot)), Some(own)) => slot.push(own, permits.next(), ack.clone(), entered),
                (Some(Err(no_room)), Some(own)) => {
                    let reason = match no_room {
                        NoRoom::TooLarge => "too_large",
                        NoRoom::Disk => "buffer_full",
                        NoRoom::Full | NoRoom::Closed => "queue_full",
                    };
                    queue.metrics().dropped(reason, own.items() as u64);
                }
                // No record was left: the slot gives its room back.
                _ => {}
            }
        }
    }
    // The token that the branches were cloned from has nothing to wait for.
    if let Some(ack) = ack {
        ack.reached(model::Stage::Delivered);
    }
    waiter
}

/// Bytes of the results, counting those once that pipelines share since neither changed them.
fn distinct_bytes(results: &Results) -> usize {
    let left = || results.iter().flatten();
    let counted = left()
        .enumerate()
        .filter(|(n, payload)| !left().take(*n).any(|seen| seen.shares_memory_with(payload)));
    counted.map(|(_, payload)| payload.size()).sum()
}

/// Hands out the permit's shares.
enum Permits {
    Sole(Option<Permit>),
    Shared(Arc<Permit>),
}

impl Permits {
    fn new(permit: Permit, branches: usize) -> Self {
        if branches == 1 { Self::Sole(Some(permit)) } else { Self::Shared(Arc::new(permit)) }
    }

    fn next(&mut self) -> Option<PermitShare> {
        match self {
            Self::Sole(permit) => permit.take().map(PermitShare::sole),
            Self::Shared(permit) => Some(PermitShare::shared(permit)),
        }
    }
}

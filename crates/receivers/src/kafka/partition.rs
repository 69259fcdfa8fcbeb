//! One partition: messages in their order into the pipelines, and what may be committed out of it.
//!
//! ```text
//! poll thread -> channel -> decode -> enter -> in flight ... settled -> position -> poll thread commits
//!                             ^          |refused for now       |nacked
//!                             |          '--- back-off, again <-'
//!                             '-- nothing new is entered meanwhile: order is kept
//! ```
//!
//! Invariant: a message that entered the pipelines is settled, or entered again, or it lies behind the position.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::component::BoxFuture;
use engine::{Inlet, Permit, Refusal, Shutdown};
use model::{AckMode, Request};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::decode::Decoder;
use super::window::Window;

/// The first pause before a request is entered again; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// No offset yet.
const NONE: i64 = -1;

/// A message as it was read, with its room in the budget.
pub(super) struct Message {
    pub(super) offset: i64,
    pub(super) payload: Bytes,
    /// When it was written, or now.
    pub(super) unix_nanos: u64,
    /// Room for the request in the pipelines.
    pub(super) permit: Permit,
    /// Room for what is kept here until it is settled.
    pub(super) kept: Option<Permit>,
}

/// What the poll thread sees of a partition.
pub(super) struct Level {
    position: AtomicI64,
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Level {
    pub(super) fn new() -> Self {
        Self { position: AtomicI64::new(NONE), messages: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    /// The offset to commit.
    pub(super) fn position(&self) -> Option<i64> {
        let position = self.position.load(Ordering::Acquire);
        (position != NONE).then_some(position)
    }

    /// Messages and bytes that are read and not settled.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.messages.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire))
    }

    pub(super) fn add(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn remove(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// The task of a partition.
pub(super) struct Worker {
    inlet: Inlet,
    decoder: Decoder,
    level: Arc<Level>,
    messages: mpsc::Receiver<Message>,
    window: Window<Held>,
    stop: Shutdown,
    stopping: bool,
}

/// A request that is not settled.
struct Held {
    request: Request,
    messages: usize,
    bytes: usize,
    kept: Option<Permit>,
    pause: Duration,
    state: State,
}

enum State {
    /// To be entered at this time.
    Waiting(Instant, Option<Permit>),
    InFlight(BoxFuture<'static, Result<(), Refusal>>),
}

/// What a worker does next.
enum Step {
    Stop,
    Settled(i64, Result<(), Refusal>),
    Enter,
    Take(Option<Message>),
}

impl Worker {
    pub(super) fn new(
        inlet: Inlet,
        decoder: Decoder,
        level: Arc<Level>,
        messages: mpsc::Receiver<Message>,
        stop: Shutdown,
    ) -> Self {
        Self { inlet, decoder, level, messages, window: Window::new(), stop, stopping: false }
    }

    /// Works until it is told to stop and what is in flight is settled.
    pub(super) async fn run(mut self) {
        loop {
            let in_flight = self.window.open().any(|held| matches!(held.state, State::InFlight(_)));
            if self.stopping && !in_flight {
                return;
            }
            match self.step().await {
                Step::Stop => self.stopping = true,
                Step::Settled(last, result) => self.settled(last, result),
                Step::Enter => self.enter(),
                Step::Take(Some(message)) => self.take(message),
                Step::Take(None) => self.stopping = true,
            }
            if let Some(position) = self.window.position() {
                self.level.position.store(position, Ordering::Release);
            }
        }
    }

    async fn step(&mut self) -> Step {
        let Self { window, messages, stop, stopping, .. } = self;
        let due = window.open().find_map(|held| match &held.state {
            State::Waiting(due, _) => Some(*due),
            State::InFlight(_) => None,
        });
        let active = !*stopping;
        tokio::select! {
            biased;
            () = stop.requested(), if active => Step::Stop,
            (last, result) = oldest_in_flight(window) => Step::Settled(last, result),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if active && due.is_some() => Step::Enter,
            message = messages.recv(), if active && due.is_none() => Step::Take(message),
        }
    }

    /// Decodes a message, and with plain JSON those that wait behind it.
    fn take(&mut self, message: Message) {
        let Message { mut offset, payload, unix_nanos, mut permit, mut kept } = message;
        let (mut count, mut bytes) = (1, payload.len());
        let mut request = self.decoder.message(payload, unix_nanos);
        while self.decoder.takes_more() {
            let Ok(more) = self.messages.try_recv() else { break };
            offset = more.offset;
            count += 1;
            bytes += more.payload.len();
            join(&mut permit, more.permit);
            if let (Some(kept), Some(more)) = (&mut kept, more.kept) {
                join(kept, more);
            }
            self.decoder.message(more.payload, more.unix_nanos);
        }
        request = request.or_else(|| self.decoder.finish());
        match request.filter(|request| request.items() > 0) {
            None => {
                self.level.remove(count, bytes);
                self.window.push_settled(offset);
            }
            Some(request) => {
                let state = State::Waiting(Instant::now(), Some(permit));
                self.window
                    .push(offset, Held { request, messages: count, bytes, kept, pause: FIRST_PAUSE, state });
                self.enter();
            }
        }
    }

    /// Enters the oldest request that waits for it.
    fn enter(&mut self) {
        let delivered = self.inlet.ack_mode() != AckMode::Received;
        let Some((last, held)) = self.window.find(|held| matches!(held.state, State::Waiting(..))) else {
            return;
        };
        let State::Waiting(_, permit) = &mut held.state else { return };
        let permit = match permit.take() {
            Some(permit) => Ok(permit),
            None => {
                let mut permit = self.inlet.permit();
                permit.grow(held.request.bytes().len()).map(|()| permit).map_err(Refusal::from)
            }
        };
        match permit.and_then(|permit| self.inlet.enter(held.request.clone(), permit)) {
            Ok(entered) if entered.is_settled() => self.done(last),
            Ok(entered) => {
                debug_assert!(delivered, "with `ack: received` the answer is known at once");
                held.state = State::InFlight(Box::pin(entered.settled()));
            }
            Err(refusal) if refusal.retryable => held.wait(&refusal),
            Err(_) => self.done(last),
        }
    }

    fn settled(&mut self, last: i64, result: Result<(), Refusal>) {
        match result {
            Err(refusal) if refusal.retryable => {
                if let Some((_, held)) = self.window.find(|held| matches!(held.state, State::InFlight(_))) {
                    held.wait(&refusal);
                }
            }
            // What was refused for good is counted where that was said.
            _ => self.done(last),
        }
    }

    fn done(&mut self, last: i64) {
        if let Some(held) = self.window.settle(last) {
            self.level.remove(held.messages, held.bytes);
            drop(held.kept);
        }
    }
}

impl Held {
    fn wait(&mut self, refusal: &Refusal) {
        tracing::trace!(reason = refusal.reason, "a request waits to be entered again");
        self.state = State::Waiting(Instant::now() + self.pause, None);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }
}

/// The verdict on the oldest request in flight; never, when there is none. Those behind it cannot move the position before.
async fn oldest_in_flight(window: &mut Window<Held>) -> (i64, Result<(), Refusal>) {
    let oldest = window.find(|held| matches!(held.state, State::InFlight(_)));
    let Some((last, Held { state: State::InFlight(settled), .. })) = oldest else {
        return std::future::pending().await;
    };
    let result = poll_fn(|context| settled.as_mut().poll(context)).await;
    (last, result)
}

/// Puts the room of two permits into the first.
fn join(first: &mut Permit, second: Permit) {
    let bytes = second.bytes();
    drop(second);
    // Another may be quicker: the pipelines count what the request really takes.
    let _ = first.grow(bytes);
}

/// Messages that found no room yet. While there are any the partition is paused, so that there is hardly ever more than one.
pub(super) type Stalled = VecDeque<Raw>;

/// A message that holds no room yet.
pub(super) struct Raw {
    pub(super) offset: i64,
    pub(super) payload: Bytes,
    pub(super) unix_nanos: u64,
}

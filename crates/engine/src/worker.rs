//! The one delivery loop that all exporters share: take what waits, send it, retry it, settle it.
//!
//! ```text
//! Queue::fill -> export -> all taken ----------------------------------> settled
//!                  ^  |--> retryable, or a remainder -> wait (backoff, hint) -'  until max_elapsed_ms -> lost, nacked
//!                  '---------------------------------------'
//!                     |--> refused for what is in it: several merged -> each alone; one -> its halves, and theirs
//!                     '--> refused whatever is in it -> lost, rejected
//! ```
//!
//! Each exporter has `concurrency` workers, or one where order matters. A worker holds one batch at a time, and what piles up
//! while all are busy is merged by the next one that is free: batching follows the load and needs no timer.
//!
//! Invariants:
//! - A worker never ends while its queue may still hold a request, save at the shutdown deadline; an exporter that panics costs
//!   the request, not the worker.
//! - Halving ends: a request of n records that are all refused costs at most 2n - 1 attempts.
//! - One worker keeps order: what is sent alone or in halves is sent in its order.
//!
//! Before each attempt stands the circuit breaker, which all workers share: see [`crate::breaker`]. What is lost is written to the
//! dead letters ([`crate::dead_letters`]) before it is settled, so that whoever is told finds it there.
//!
//! What it sends with is looked up for each attempt (see [`crate::mount`]): a reload may replace it in between.
//!
//! It does not know what destinations are, and does not write to disk.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram};
use model::Payload;
use tokio::time::{Instant, sleep_until, timeout};

use crate::breaker::Pass;
use crate::component::{ExportError, Exported, Rejected, Scope};
use crate::dead_letters::{self, Letter, Posted};
use crate::delivery::{LAST_PAUSE, LONGEST_HINT};
use crate::health::Health;
use crate::metrics::names;
use crate::mount::{Fitting, Mount};
use crate::outside::chance;
use crate::panics::{Panicked, guard_future};
use crate::queue::{Batch, Blame, Lost, Queue, Ticket};
use crate::shutdown::Shutdown;

/// One of the workers that empty an exporter's queue.
pub(crate) struct Worker {
    mount: Arc<Mount>,
    queue: Arc<Queue>,
    health: Arc<Health>,
    /// The engine stops: what is in the queue has little time left.
    hurry: Shutdown,
    duration: Histogram,
    retries: Counter,
    /// Whether the disk buffer is asked before the lanes.
    turn: AtomicBool,
}

/// What a batch has lost.
#[derive(Default)]
struct Losses {
    records: Vec<Lost>,
    /// The dead letters on them.
    letters: Vec<Posted>,
}

/// Why payloads were given up on.
struct GaveUp<'p> {
    /// What was not delivered: all of it, or what a destination had left of it.
    left: Cow<'p, [Payload]>,
    reason: &'static str,
    message: String,
    cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The destination refused it for good.
    Refused(Scope),
    /// Time is up.
    Exhausted,
}

impl Worker {
    pub(crate) fn new(mount: Arc<Mount>, queue: Arc<Queue>, health: Arc<Health>, hurry: Shutdown) -> Self {
        let duration = queue.metrics().histogram(names::EXPORT_SECONDS, &[]);
        let retries = queue.metrics().counter(names::EXPORT_RETRIES, &[]);
        let turn = AtomicBool::new(false);
        Self { mount, queue, health, hurry, duration, retries, turn }
    }

    /// Works until the queue is closed and drained. It may be dropped at any await: what it holds is counted and nacked.
    pub(crate) async fn run(self) {
        let mut batch = Batch::default();
        while self.next(&mut batch).await {
            self.deliver(&mut batch).await;
            batch.payloads.clear();
        }
    }

    async fn next(&self, batch: &mut Batch) -> bool {
        loop {
            let changed = self.queue.changed();
            let (max_bytes, ordered) = {
                let settings = &self.mount.current().settings;
                (settings.queue.max_request_bytes, settings.ordered)
            };
            // Where order matters memory goes first, since what is on the disk alone came later; elsewhere they take turns.
            let disk_first = !ordered && self.turn.fetch_xor(true, Ordering::Relaxed);
            if disk_first && self.queue.fill_from_disk(batch, max_bytes).await {
                return true;
            }
            if self.queue.fill(batch, max_bytes) {
                return true;
            }
            if !disk_first && self.queue.fill_from_disk(batch, max_bytes).await {
                return true;
            }
            if self.queue.is_drained() {
                return false;
            }
            changed.await;
        }
    }

    async fn deliver(&self, batch: &mut Batch) {
        let mut lost = Losses::default();
        match self.send(&batch.payloads, &mut lost).await {
            Ok(()) => {}
            Err(gave_up) if gave_up.is_about_records() => {
                // Nothing of it was taken yet: each request is judged alone, with its own sender.
                if batch.tickets.len() > 1 && matches!(gave_up.left, Cow::Borrowed(_)) {
                    return self.deliver_each(batch).await;
                }
                self.isolate(gave_up, &mut lost).await;
            }
            Err(gave_up) => self.lose(&gave_up, &mut lost).await,
        }
        let lost = self.durable(lost).await;
        self.settle(batch.tickets.drain(..), lost).await;
    }

    /// Sends the requests of a refused batch one by one, so that a bad one does not cost its neighbours.
    async fn deliver_each(&self, batch: &mut Batch) {
        for payload in batch.payloads.drain(..) {
            let mut lost = Losses::default();
            match self.send(std::slice::from_ref(&payload), &mut lost).await {
                Ok(()) => {}
                Err(gave_up) if gave_up.is_about_records() => self.isolate(gave_up, &mut lost).await,
                Err(gave_up) => self.lose(&gave_up, &mut lost).await,
            }
            // A ticket leaves the batch only when its verdict is there: a deadline finds the others in it.
            let lost = self.durable(lost).await;
            let next = batch.tickets.len().min(1);
            self.settle(batch.tickets.drain(..next), lost).await;
        }
    }

    /// Sends ever smaller parts of what was refused for something in it, until what is bad stands alone.
    async fn isolate(&self, refused: GaveUp<'_>, lost: &mut Losses) {
        let Some(first) = parts(&refused.left) else {
            return self.lose(&refused, lost).await;
        };
        tracing::debug!(
            exporter = self.queue.metrics().id(),
            "refused for something in it ({}); sending the parts",
            refused.message
        );
        let mut waiting: Vec<Payload> = first.into_iter().rev().collect();
        while let Some(payload) = waiting.pop() {
            let Err(gave_up) = self.send(std::slice::from_ref(&payload), lost).await else { continue };
            match parts(&gave_up.left).filter(|_| gave_up.is_about_records()) {
                Some(smaller) => waiting.extend(smaller.into_iter().rev()),
                None => self.lose(&gave_up, lost).await,
            }
        }
    }

    /// Sends until there is a verdict; what the destination refused while it took the rest is added to `lost`.
    async fn send<'p>(&self, payloads: &'p [Payload], lost: &mut Losses) -> Result<(), GaveUp<'p>> {
        let (mut left, mut message) = (Cow::Borrowed(payloads), String::new());
        let mut deadline: Option<Instant> = None;
        let mut failures = 0;
        loop {
            let with = self.mount.current();
            let retry = &with.settings.retry;
            let pass = tokio::select! {
                biased;
                () = with.replaced() => continue,
                pass = with.breaker.pass(self.must_hurry(), deadline) => pass,
            };
            let Some(pass) = pass else {
                return Err(GaveUp::exhausted(left, message));
            };
            if failures == 0 {
                // From the first attempt on: the wait for a destination that is known to be down costs nobody his time.
                let most = retry.max_elapsed_ms.map(Duration::from_millis);
                deadline = most.and_then(|most| Instant::now().checked_add(most));
            }
            let (open, hint) = match self.attempt(&with, &left).await {
                Ok(Exported { rejected, remainder }) => {
                    let refused: u64 = rejected.iter().map(|rejected| rejected.items).sum();
                    self.rejected(rejected, &left, lost).await;
                    let Some(remainder) = remainder else {
                        pass.answered();
                        self.health.succeeded(self.queue.metrics());
                        return Ok(());
                    };
                    // A destination that takes nothing does not answer.
                    let taken = items(&remainder.payloads) + refused < items(&left);
                    (left, message) = (Cow::Owned(remainder.payloads), remainder.message);
                    (judge(&with, pass, taken, remainder.retry_after), remainder.retry_after)
                }
                Err(ExportError::Permanent { reason, message, scope }) => {
                    pass.answered();
                    return Err(GaveUp { left, reason, message, cause: Cause::Refused(scope) });
                }
                Err(ExportError::Retryable { message: said, retry_after }) => {
                    message = said;
                    (judge(&with, pass, false, retry_after), retry_after)
                }
            };
            self.health.failed(self.queue.metrics(), &message);
            let wait = open.unwrap_or_else(|| retry.delay(failures, hint, chance()));
            if deadline.is_some_and(|deadline| Instant::now() + wait > deadline) {
                return Err(GaveUp::exhausted(left, message));
            }
            if open.is_none() {
                self.pause(&with, wait, hint.unwrap_or_default().min(LONGEST_HINT)).await;
            }
            failures = failures.saturating_add(1);
            self.retries.increment(1);
        }
    }

    /// Waits for `delay`. When the engine stops, what is in the queue has little time left: the wait is cut to a second, though not
    /// below `least`, which the destination asked for. What a reload put in the place of `with` is tried at once.
    async fn pause(&self, with: &Fitting, delay: Duration, least: Duration) {
        let now = Instant::now();
        let until = now + delay;
        tokio::select! {
            () = sleep_until(until) => {}
            () = with.breaker.was_reset() => {}
            () = with.replaced() => {}
            () = self.must_hurry() => sleep_until(until.min((now + least).max(Instant::now() + LAST_PAUSE))).await,
        }
    }

    /// Resolves when the queue is closed for the engine's stop. One that is closed since nothing leads to it has all the time.
    async fn must_hurry(&self) {
        self.queue.closed().await;
        self.hurry.requested().await;
    }

    async fn attempt(&self, with: &Fitting, payloads: &[Payload]) -> Result<Exported, ExportError> {
        let started = Instant::now();
        let limit = Duration::from_millis(with.settings.retry.timeout_ms);
        let result = tokio::select! {
            result = timeout(limit, guard_future(|| with.exporter.export(payloads))) => result,
            () = with.cut_off() => {
                let message = "the destination had not answered when the exporter's settings were changed".to_owned();
                return Err(ExportError::Retryable { message, retry_after: None });
            }
        };
        self.duration.record(started.elapsed().as_secs_f64());
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(Panicked)) => Err(ExportError::Permanent {
                reason: "exporter_panic",
                message: "the exporter panicked; this is a bug, please report it".to_owned(),
                scope: Scope::Records,
            }),
            Err(_) => Err(ExportError::Retryable {
                message: format!("no answer within {} ms (retry.timeout_ms)", limit.as_millis()),
                retry_after: None,
            }),
        }
    }

    async fn rejected(&self, mut rejected: Vec<Rejected>, sent: &[Payload], lost: &mut Losses) {
        rejected.retain(|rejected| rejected.items > 0);
        for Rejected { reason, items, message, .. } in &rejected {
            self.health.dropped(self.queue.metrics(), *items, reason, message);
            lost.records.push(Lost { reason, items: *items, blame: Blame::Rejected });
        }
        if let Some(letters) = &self.mount.current().letters {
            for letter in dead_letters::letters(rejected, sent) {
                lost.letters.push(letters.post(&letter).await);
            }
        }
    }

    async fn lose(&self, gave_up: &GaveUp<'_>, lost: &mut Losses) {
        let GaveUp { left, reason, message, cause } = gave_up;
        let blame = match cause {
            Cause::Exhausted => Blame::Nacked,
            Cause::Refused(_) => {
                // A destination that refuses everything (wrong credentials, say) is not well, though it answers.
                self.health.failed(self.queue.metrics(), message);
                Blame::Rejected
            }
        };
        let items = items(left);
        self.health.dropped(self.queue.metrics(), items, reason, message);
        lost.records.push(Lost { reason, items, blame });
        if let Some(letters) = &self.mount.current().letters {
            for payload in left.iter() {
                let letter = Letter { reason, message: message.clone(), payload: payload.clone() };
                lost.letters.push(letters.post(&letter).await);
            }
        }
    }

    /// Waits for the letters of a batch: nothing is settled before they are durable, or lost.
    async fn durable(&self, lost: Losses) -> Vec<Lost> {
        if lost.letters.is_empty() {
            return lost.records;
        }
        // Whoever took them, a reload may have put others in their place since.
        for letter in lost.letters {
            let _ = letter.await;
        }
        if let Some(letters) = &self.mount.current().letters {
            letters.look();
        }
        lost.records
    }
}

impl Worker {
    /// Tells each sender what became of its request.
    async fn settle(&self, tickets: impl Iterator<Item = Ticket>, lost: Vec<Lost>) {
        let mut shares = Shares::new(lost);
        let Some(spool) = self.queue.spool() else {
            return tickets.for_each(|ticket| {
                let own = shares.next(ticket.items());
                ticket.settled(own);
            });
        };
        let verdicts = tickets.map(|ticket| {
            let own = shares.next(ticket.items()).to_vec();
            (ticket, own)
        });
        self.queue.settle_stored(spool, verdicts.collect()).await;
    }
}

impl<'p> GaveUp<'p> {
    fn exhausted(left: Cow<'p, [Payload]>, message: String) -> Self {
        Self { left, reason: "retries_exhausted", message, cause: Cause::Exhausted }
    }

    fn is_about_records(&self) -> bool {
        self.cause == Cause::Refused(Scope::Records)
    }
}

/// As [`Pass::judged`]; what an exporter that was replaced meets says nothing on its successor.
fn judge(with: &Fitting, pass: Pass<'_>, taken: bool, hint: Option<Duration>) -> Option<Duration> {
    if with.is_replaced() { None } else { pass.judged(taken, hint) }
}

fn items(payloads: &[Payload]) -> u64 {
    payloads.iter().map(|payload| payload.items() as u64).sum()
}

/// What a refused piece is made of: its payloads, or the halves of the one that it is. `None` for a single record.
fn parts(payloads: &[Payload]) -> Option<Vec<Payload>> {
    match payloads {
        [one] => one.halves().map(|(first, second)| vec![first, second]),
        several => Some(several.to_vec()),
    }
}

/// Records that were lost of several requests, to be spread over them. Where several requests were sent as one nobody says whose
/// records were lost, and for the sum it does not matter.
struct Shares {
    lost: Vec<Lost>,
    own: Vec<Lost>,
}

impl Shares {
    fn new(mut lost: Vec<Lost>) -> Self {
        lost.retain(|lost| lost.items > 0);
        // The first is at the end.
        lost.reverse();
        Self { lost, own: Vec::new() }
    }

    /// The share of the next request, of so many records.
    fn next(&mut self, mut room: u64) -> &[Lost] {
        self.own.clear();
        while room > 0
            && let Some(next) = self.lost.last_mut()
        {
            let items = next.items.min(room);
            self.own.push(Lost { items, ..next.clone() });
            room -= items;
            next.items -= items;
            if next.items == 0 {
                self.lost.pop();
            }
        }
        &self.own
    }
}

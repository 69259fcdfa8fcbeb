//! The circuit breaker that an exporter's workers share: a destination that is down is asked by one of them at a time.
//!
//! ```text
//!           breaker_failures in a row             back-off is over
//!  closed -----------------------------> open ----------------------> half-open: one worker asks
//!    ^                                    ^----------- failed, longer -----'   |
//!    '-------------------- an answer, or a reset --------------------------------'
//! ```
//!
//! An answer is a success or a refusal for good: who refuses is there. Failures are those that may pass.
//!
//! Invariants:
//! - Half-open there is one probe at most; a probe that is dropped without a verdict gives its turn to the next.
//! - A batch that goes well while it is closed takes no lock: two atomic reads.
//! - Nobody waits longer than `until`, the end of a probe, or a reset; less when the queue closes.
//!
//! It drops nothing and does not know what is sent. While it is closed, waiting is the worker's own matter.

use std::future::Future;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Gauge;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::delivery::{LAST_PAUSE, LONGEST_HINT, RetrySettings};
use crate::metrics::{ComponentMetrics, names};
use crate::outside::chance;

/// How an exporter's circuit breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// Whether the destination is asked.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// When it is open, how long nobody asks; else 0. Milliseconds.
    pub retry_in_ms: u64,
}

/// Whether a destination is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// By every worker.
    Closed,
    /// By none.
    Open,
    /// By one.
    HalfOpen,
}

/// The circuit breaker of one exporter.
#[derive(Debug)]
pub(crate) struct Breaker {
    retry: RetrySettings,
    course: Mutex<Course>,
    /// The course's state and failures once more, written under its lock, for those who only look.
    state: AtomicU8,
    failures: AtomicU32,
    /// It was closed, a probe ended.
    changed: Notify,
    resets: Notify,
    open: Gauge,
}

/// The state machine, without clock and threads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Course {
    phase: Phase,
    failures: u32,
    probes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        until: Instant,
        /// The destination asked not to come before; a closing queue keeps to this.
        least: Instant,
    },
    HalfOpen {
        probe: u64,
    },
}

/// What a worker that wants to send is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Go on, and with a number as the probe.
    Go(Option<u64>),
    /// Ask again then, or when something has changed.
    Wait(Option<Instant>),
}

impl Course {
    fn enter(&mut self, now: Instant, closing: bool) -> Turn {
        if closing && let Phase::Open { until, least } = &mut self.phase {
            // What is in a closing queue has little time left.
            *until = (*until).min((now + LAST_PAUSE).max(*least));
        }
        match self.phase {
            Phase::Closed => Turn::Go(None),
            Phase::HalfOpen { .. } => Turn::Wait(None),
            Phase::Open { until, .. } if now < until => Turn::Wait(Some(until)),
            Phase::Open { .. } => {
                self.probes += 1;
                self.phase = Phase::HalfOpen { probe: self.probes };
                Turn::Go(Some(self.probes))
            }
        }
    }

    fn answered(&mut self) {
        self.phase = Phase::Closed;
        self.failures = 0;
    }

    /// An attempt failed; `probe` is its number if it was one.
    fn failed(
        &mut self,
        probe: Option<u64>,
        now: Instant,
        hint: Option<Duration>,
        retry: &RetrySettings,
        random: u64,
    ) {
        let least = now + hint.unwrap_or_default().min(LONGEST_HINT);
        match &mut self.phase {
            Phase::HalfOpen { probe: current } if probe != Some(*current) => return,
            // It was under way when the others had failed. What the destination asks for still holds.
            Phase::Open { until, least: had } => {
                *until = (*until).max(least);
                *had = (*had).max(least);
                return;
            }
            _ => {}
        }
        self.failures = self.failures.saturating_add(1);
        let trips = retry.breaker_failures > 0 && self.failures >= retry.breaker_failures;
        if trips || self.phase != Phase::Closed {
            let until = now + retry.delay(self.failures - 1, hint, random);
            self.phase = Phase::Open { until, least };
        }
    }

    /// A probe will never have a verdict: the next may ask at once.
    fn given_back(&mut self, probe: u64, now: Instant) {
        if self.phase == (Phase::HalfOpen { probe }) {
            self.phase = Phase::Open { until: now, least: now };
        }
    }

    fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long nobody may ask; `None` when it is closed.
    fn wait(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { until, .. } => Some(until.saturating_duration_since(now)),
            Phase::HalfOpen { .. } => Some(Duration::ZERO),
        }
    }
}

impl Breaker {
    pub(crate) fn new(retry: &RetrySettings, metrics: &ComponentMetrics) -> Self {
        let open = metrics.gauge(names::BREAKER_OPEN, &[]);
        open.set(0.0);
        Self {
            retry: retry.clone(),
            course: Mutex::new(Course { phase: Phase::Closed, failures: 0, probes: 0 }),
            state: AtomicU8::new(BreakerState::Closed as u8),
            failures: AtomicU32::new(0),
            changed: Notify::new(),
            resets: Notify::new(),
            open,
        }
    }

    /// Waits until the destination may be asked. `None` when it may not before `deadline`. `closed` resolves when the queue closes,
    /// which cuts waits short.
    pub(crate) async fn pass(
        &self,
        closed: impl Future<Output = ()>,
        deadline: Option<Instant>,
    ) -> Option<Pass<'_>> {
        if self.is_closed() {
            return Some(Pass { breaker: self, probe: None });
        }
        tokio::pin!(closed);
        let mut closing = false;
        loop {
            // Made before looking, or a wake-up is lost.
            let changed = self.changed.notified();
            let turn = self.change(|course| course.enter(Instant::now(), closing));
            let until = match turn {
                Turn::Go(probe) => return Some(Pass { breaker: self, probe }),
                Turn::Wait(until) => until,
            };
            tokio::select! {
                () = changed => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                () = &mut closed, if !closing => closing = true,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return None,
            }
        }
    }

    /// Closes it and ends all waiting for this destination.
    pub(crate) fn reset(&self) {
        self.change(Course::answered);
        self.changed.notify_waiters();
        self.resets.notify_waiters();
    }

    /// Resolves with the next reset.
    pub(crate) async fn was_reset(&self) {
        self.resets.notified().await;
    }

    /// How it is now.
    pub(crate) fn status(&self) -> BreakerStatus {
        let course = self.lock();
        let wait = course.wait(Instant::now()).unwrap_or_default();
        BreakerStatus {
            state: course.state(),
            failures: course.failures,
            retry_in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == BreakerState::Closed as u8
    }

    fn lock(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Course) -> T) -> T {
        let mut course = self.lock();
        let before = course.state();
        let result = change(&mut course);
        let state = course.state();
        self.failures.store(course.failures, Ordering::Release);
        self.state.store(state as u8, Ordering::Release);
        if (before == BreakerState::Closed) != (state == BreakerState::Closed) {
            self.open.set(if state == BreakerState::Closed { 0.0 } else { 1.0 });
        }
        result
    }
}

/// The right to ask the destination once. Dropped without a verdict it says nothing on the destination.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'b> {
    breaker: &'b Breaker,
    probe: Option<u64>,
}

impl Pass<'_> {
    /// The destination answered, whatever it said.
    pub(crate) fn answered(mut self) {
        self.probe = None;
        let breaker = self.breaker;
        if breaker.is_closed() && breaker.failures.load(Ordering::Acquire) == 0 {
            return;
        }
        breaker.change(Course::answered);
        breaker.changed.notify_waiters();
    }

    /// Something is to be sent again, and something was taken or nothing. Returns how long nobody may ask; `None` if waiting is the
    /// caller's own matter.
    pub(crate) fn judged(self, taken: bool, hint: Option<Duration>) -> Option<Duration> {
        if taken {
            self.answered();
            return None;
        }
        self.failed(hint)
    }

    fn failed(mut self, hint: Option<Duration>) -> Option<Duration> {
        let (breaker, probe) = (self.breaker, self.probe.take());
        let random = chance();
        let wait = breaker.change(|course| {
            let now = Instant::now();
            course.failed(probe, now, hint, &breaker.retry, random);
            course.wait(now)
        });
        if probe.is_some() {
            breaker.changed.notify_waiters();
        }
        wait
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(probe) = self.probe {
            self.breaker.change(|course| course.given_back(probe, Instant::now()));
            self.breaker.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;
    use crate::metrics::ComponentKind;

    fn breaker(retry: RetrySettings) -> Breaker {
        Breaker::new(&retry, &ComponentMetrics::new(ComponentKind::Exporter, "breaker_test"))
    }

    fn after(failures: u32) -> RetrySettings {
        RetrySettings { breaker_failures: failures, ..RetrySettings::default() }
    }

    async fn pass(breaker: &Breaker) -> Pass<'_> {
        breaker.pass(pending(), None).await.unwrap()
    }

    /// Fails so often that it opens for the hint's time.
    async fn open(breaker: &Breaker, hint: Duration) {
        let several = [pass(breaker).await, pass(breaker).await];
        let waits = several.map(|pass| pass.failed(Some(hint)));
        assert!(waits[0].is_none() && waits[1].is_some_and(|wait| wait >= hint), "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_lets_one_probe_and_closes_with_an_answer() {
        let breaker = breaker(after(2));
        open(&breaker, Duration::from_secs(20)).await;
        let opened = Instant::now();
        assert_eq!(breaker.status().state, BreakerState::Open);
        assert_eq!((breaker.status().failures, breaker.status().retry_in_ms), (2, 20_000));
        let probe = pass(&breaker).await;
        assert_eq!(opened.elapsed().as_secs(), 20);
        assert_eq!(breaker.status().state, BreakerState::HalfOpen);
        assert!(timeout(Duration::from_secs(60), pass(&breaker)).await.is_err(), "one at a time");
        probe.answered();
        assert_eq!(
            breaker.status(),
            BreakerStatus { state: BreakerState::Closed, failures: 0, retry_in_ms: 0 }
        );
        let _several = [pass(&breaker).await, pass(&breaker).await];
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_dropped_gives_its_turn_to_the_next() {
        let breaker = breaker(after(2));
        open(&breaker, Duration::from_secs(1)).await;
        let probe = pass(&breaker).await;
        let next = async {
            let now = Instant::now();
            let next = pass(&breaker).await;
            assert!(next.probe.is_some() && now.elapsed() < Duration::from_secs(6), "{:?}", now.elapsed());
        };
        let drops = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(probe);
        };
        tokio::join!(next, drops);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_wakes_all_at_once() {
        let breaker = breaker(after(2));
        open(&breaker, Duration::from_secs(200)).await;
        let started = Instant::now();
        let resets = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            breaker.reset();
        };
        let (a, b, ()) = tokio::join!(pass(&breaker), pass(&breaker), resets);
        assert_eq!(started.elapsed().as_secs(), 3);
        assert!(a.probe.is_none() && b.probe.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_and_a_closing_queue_end_the_wait() {
        let breaker =
            breaker(RetrySettings { initial_backoff_ms: 3_600_000, max_backoff_ms: 3_600_000, ..after(1) });
        assert!(pass(&breaker).await.failed(Some(Duration::from_secs(2))).is_some());
        let deadline = Instant::now() + Duration::from_secs(1);
        assert!(breaker.pass(pending(), Some(deadline)).await.is_none());
        let started = Instant::now();
        let probe = breaker.pass(async {}, None).await.unwrap();
        assert!(started.elapsed() <= Duration::from_millis(1010), "{:?}", started.elapsed());
        assert!(probe.failed(Some(Duration::from_secs(4))).is_some());
        let started = Instant::now();
        let _probe = breaker.pass(async {}, None).await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(4), "the hint holds: {:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn switched_off_it_never_opens() {
        let breaker = breaker(after(0));
        for _ in 0..50 {
            assert_eq!(pass(&breaker).await.failed(Some(Duration::from_secs(1))), None);
        }
        assert_eq!(breaker.status().state, BreakerState::Closed);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter { closing: bool },
        Answer(usize),
        Fail(usize, Option<u64>),
        Drop(usize),
        Reset,
        Time(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<bool>().prop_map(|closing| Step::Enter { closing }),
            2 => (0..8_usize).prop_map(Step::Answer),
            6 => (0..8_usize, proptest::option::of(0..5_000_u64)).prop_map(|(n, hint)| Step::Fail(n, hint)),
            1 => (0..8_usize).prop_map(Step::Drop),
            1 => Just(Step::Reset),
            3 => (0..3_000_u64).prop_map(Step::Time),
        ]
    }

    proptest! {
        #[test]
        fn there_is_one_probe_and_nobody_asks_while_it_is_open(
            steps in proptest::collection::vec(step(), 1..120),
            threshold in 0..4_u32,
        ) {
            let retry = RetrySettings { breaker_failures: threshold, ..RetrySettings::default() };
            let mut course = Course { phase: Phase::Closed, failures: 0, probes: 0 };
            let mut now = Instant::now();
            let mut under_way: Vec<Option<u64>> = Vec::new();
            for step in steps {
                let before = course.clone();
                let mut take = |n: usize| (!under_way.is_empty()).then(|| n % under_way.len()).map(|n| under_way.remove(n));
                match step {
                    Step::Time(ms) => now += Duration::from_millis(ms),
                    Step::Reset => course.answered(),
                    Step::Enter { closing } => match course.enter(now, closing) {
                        Turn::Go(None) => {
                            prop_assert_eq!(before.phase, Phase::Closed);
                            under_way.push(None);
                        }
                        Turn::Go(Some(probe)) => {
                            let over = matches!(before.phase, Phase::Open { until, .. } if until <= now);
                            prop_assert!(over, "{:?} at {:?}", before, now);
                            under_way.push(Some(probe));
                        }
                        Turn::Wait(Some(until)) => {
                            prop_assert!(until > now);
                            let bound = LONGEST_HINT.max(Duration::from_millis(retry.max_backoff_ms));
                            prop_assert!(until <= now + bound);
                        }
                        // Who waits without an end is woken by the one probe that is out, or by a reset.
                        Turn::Wait(None) => {
                            let Phase::HalfOpen { probe } = course.phase else { panic!("{course:?}") };
                            prop_assert_eq!(under_way.iter().filter(|out| **out == Some(probe)).count(), 1);
                        }
                    },
                    Step::Answer(n) => if take(n).is_some() {
                        course.answered();
                        prop_assert_eq!((course.phase, course.failures), (Phase::Closed, 0));
                    },
                    Step::Fail(n, hint) => if let Some(probe) = take(n) {
                        let hint = hint.map(Duration::from_millis);
                        course.failed(probe, now, hint, &retry, u64::MAX / 2);
                        if let Phase::Open { until, .. } = course.phase {
                            prop_assert!(threshold > 0);
                            prop_assert!(until >= now + hint.unwrap_or_default(), "the hint is kept");
                        }
                        if before.phase == Phase::Closed {
                            let opens = threshold > 0 && before.failures + 1 >= threshold;
                            prop_assert_eq!(course.phase != Phase::Closed, opens);
                        } else {
                            prop_assert!(course.phase != Phase::Closed, "a failure closes nothing");
                        }
                    },
                    Step::Drop(n) => if let Some(Some(probe)) = take(n) { course.given_back(probe, now) },
                }
            }
        }
    }
}

//! How the components are: what `/health` shows, and what the log says when it changes.
//!
//! An exporter fails when an attempt to send fails and is well again with the first that succeeds; a receiver fails when its
//! task ends before it was told to. The log gets one line a change, and at most one line in ten seconds for dropped records.
//!
//! Invariant: the way of a batch that goes well takes no lock here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::breaker::BreakerStatus;
use crate::dead_letters::LetterFill;
use crate::metrics::{ComponentKind, ComponentMetrics};

/// One line about dropped records in this time, for each exporter.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How the engine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Every receiver takes requests and no shutdown was requested.
    pub ready: bool,
    /// Bytes of the memory budget in use.
    pub budget_used_bytes: usize,
    /// The memory budget in bytes.
    pub budget_limit_bytes: usize,
    /// Receivers and exporters, in the order of the configuration.
    pub components: Vec<ComponentStatus>,
    /// What a reload replaced and is still at work, in no order. Several may have the same id.
    pub retiring: Vec<ComponentStatus>,
}

/// How one component is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentStatus {
    /// What it is.
    pub kind: ComponentKind,
    /// Its key in the configuration.
    pub id: String,
    /// Whether it works.
    #[serde(flatten)]
    pub state: State,
    /// An exporter's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueFill>,
    /// The disk buffer behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<BufferFill>,
    /// An exporter's circuit breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerStatus>,
    /// An exporter's dead letters, if they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<LetterFill>,
}

/// Whether a component works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// What it last tried did not work.
    Failing {
        /// What happened last.
        last_error: String,
        /// For how long it has not worked.
        since_seconds: u64,
    },
    /// It has ended, as it was told to.
    Stopped,
}

/// How full a queue is; what is in flight is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QueueFill {
    /// Bytes in it.
    pub bytes: usize,
    /// Most bytes.
    pub limit_bytes: usize,
    /// Requests in it.
    pub requests: usize,
    /// Most requests.
    pub limit_requests: usize,
}

/// How full a disk buffer is, as of a moment ago. What is in memory too is part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BufferFill {
    /// Records that are durable and not delivered.
    pub items: u64,
    /// Requests that hold them.
    pub requests: u64,
    /// Bytes of those requests.
    pub bytes: u64,
    /// What all its files take on disk.
    pub disk_bytes: u64,
    /// The most that they may take.
    pub limit_bytes: u64,
    /// Requests of them that are left where they are: what a replay could not deliver.
    #[serde(skip)]
    pub left_requests: u64,
    /// What the disk did not do, until it works again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The state of one component.
#[derive(Debug)]
pub(crate) struct Health {
    failing: AtomicBool,
    stopped: AtomicBool,
    failure: Mutex<Option<Failure>>,
    dropped_items: AtomicU64,
    last_drop_line: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Failure {
    since: Instant,
    message: String,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            failing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
            dropped_items: AtomicU64::new(0),
            last_drop_line: Mutex::new(None),
        }
    }

    /// Something worked.
    pub(crate) fn succeeded(&self, component: &ComponentMetrics) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::AcqRel) {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            let seconds = failure.map_or(0, |failure| failure.since.elapsed().as_secs());
            tracing::info!(
                kind = component.kind().name(),
                component = component.id(),
                seconds,
                "works again"
            );
        }
    }

    /// Something did not work and will be tried again, or has ended.
    pub(crate) fn failed(&self, component: &ComponentMetrics, message: &str) {
        let (kind, component) = (component.kind().name(), component.id());
        {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            let since = failure.as_ref().map_or_else(Instant::now, |failure| failure.since);
            *failure = Some(Failure { since, message: message.to_owned() });
        }
        if self.failing.swap(true, Ordering::AcqRel) {
            tracing::debug!(kind, component, "failed again: {message}");
        } else {
            tracing::warn!(kind, component, "failing: {message}");
        }
    }

    /// Records were given up on.
    pub(crate) fn dropped(&self, component: &ComponentMetrics, items: u64, reason: &str, message: &str) {
        self.dropped_items.fetch_add(items, Ordering::Relaxed);
        {
            let mut last = self.last_drop_line.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < DROP_LOG_INTERVAL) {
                return;
            }
            *last = Some(Instant::now());
        }
        let items = self.dropped_items.swap(0, Ordering::Relaxed);
        let (kind, component) = (component.kind().name(), component.id());
        tracing::warn!(kind, component, items, reason, "dropped records since the last such line: {message}");
    }

    /// It ended as it was told to.
    pub(crate) fn stopped(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> State {
        if self.failing.load(Ordering::Acquire)
            && let Some(failure) = &*self.failure.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let since_seconds = failure.since.elapsed().as_secs();
            return State::Failing { last_error: failure.message.clone(), since_seconds };
        }
        if self.stopped.load(Ordering::Acquire) { State::Stopped } else { State::Ok }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerState;

    #[test]
    fn a_component_fails_and_recovers() {
        let component = ComponentMetrics::new(ComponentKind::Exporter, "otlp");
        let health = Health::new();
        assert_eq!(health.state(), State::Ok);
        health.failed(&component, "connection refused");
        health.failed(&component, "timed out");
        assert_eq!(health.state(), State::Failing { last_error: "timed out".to_owned(), since_seconds: 0 });
        health.succeeded(&component);
        assert_eq!(health.state(), State::Ok);
        health.stopped();
        assert_eq!(health.state(), State::Stopped);
    }

    #[test]
    fn a_status_reads_as_json() {
        let queue = QueueFill { bytes: 1, limit_bytes: 2, requests: 3, limit_requests: 4 };
        let status = ComponentStatus {
            kind: ComponentKind::Exporter,
            id: "otlp".to_owned(),
            state: State::Failing { last_error: "refused".to_owned(), since_seconds: 9 },
            queue: Some(queue),
            buffer: None,
            breaker: Some(BreakerStatus { state: BreakerState::HalfOpen, failures: 7, retry_in_ms: 0 }),
            dead_letters: Some(LetterFill { items: 5, bytes: 4096 }),
        };
        let json = serde_json::to_value(status).unwrap();
        assert_eq!(json["state"], "failing");
        assert_eq!(json["kind"], "exporter");
        assert_eq!(json["last_error"], "refused");
        assert_eq!(json["queue"]["bytes"], 1);
        let breaker = serde_json::json!({"state": "half_open", "failures": 7, "retry_in_ms": 0});
        assert_eq!(json["breaker"], breaker);
        assert_eq!(json["dead_letters"], serde_json::json!({"items": 5, "bytes": 4096}));
    }
}

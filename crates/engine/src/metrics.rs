//! The engine's counters, and the handle through which components count.
//!
//! Every series carries `component` (the key in the configuration) and `kind` (`receiver`, `processor`, `exporter`), since a
//! receiver and an exporter may both be called `otlp`.
//!
//! # What adds up
//! All numbers are records: spans, log records, data points.
//! - *accepted* (receiver): room for the request was found in every queue; from here on each record ends as one of the others.
//! - *refused* (receiver): turned away before that. Nothing of it was taken in; the sender may send it again.
//! - *delivered* (exporter): the destination took it.
//! - *dropped* (processor or exporter): ended on purpose or by giving up, with the reason.
//! - *buffered* (`floodway_queue_items`, exporter): stands in the queue or the disk buffer, or is on its way to the destination.
//! - *recovered* (`floodway_buffer_recovered_items_total`, exporter): an earlier run left it in the disk buffer.
//!
//! For a pipeline with one exporter: `accepted + recovered = delivered + dropped + buffered`. With `ack: delivered` a request that was
//! dropped after it was accepted is nacked or rejected to its sender, and counts as accepted once more if it comes again.
//! With several exporters, delivered, dropped and buffered count once per exporter, and what a processor drops counts once
//! per pipeline; so the sum holds per exporter: `accepted = dropped by its pipeline's processors + its own three numbers`.
//! A request that a processor of one pipeline refuses enters no pipeline; it is counted as dropped by that processor alone.

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};
use model::Signal;

/// The names of the engine's metrics.
pub mod names {
    /// Counter, receivers, by `signal`: records taken in.
    pub const ACCEPTED_ITEMS: &str = "floodway_accepted_items_total";
    /// Counter, receivers, by `reason`: records turned away.
    pub const REFUSED_ITEMS: &str = "floodway_refused_items_total";
    /// Counter, receivers, by `reason`: requests turned away, those included whose records were never counted.
    pub const REFUSED_REQUESTS: &str = "floodway_refused_requests_total";
    /// Counter, exporters, by `signal`: records that the destination took.
    pub const DELIVERED_ITEMS: &str = "floodway_delivered_items_total";
    /// Counter, by `reason`: records dropped.
    pub const DROPPED_ITEMS: &str = "floodway_dropped_items_total";
    /// Gauge, exporters: records queued or in flight.
    pub const QUEUE_ITEMS: &str = "floodway_queue_items";
    /// Gauge, exporters: requests queued or in flight.
    pub const QUEUE_REQUESTS: &str = "floodway_queue_requests";
    /// Gauge, exporters: bytes queued or in flight.
    pub const QUEUE_BYTES: &str = "floodway_queue_bytes";
    /// Gauge, exporters: the most bytes that the queue takes.
    pub const QUEUE_LIMIT_BYTES: &str = "floodway_queue_limit_bytes";
    /// Counter, exporters: records that an earlier run left in the disk buffer, damaged ones included.
    pub const BUFFER_RECOVERED_ITEMS: &str = "floodway_buffer_recovered_items_total";
    /// Gauge, exporters: records in the disk buffer that are not delivered.
    pub const BUFFER_ITEMS: &str = "floodway_buffer_items";
    /// Gauge, exporters: bytes of the requests that hold them.
    pub const BUFFER_BYTES: &str = "floodway_buffer_bytes";
    /// Gauge, exporters: bytes that the buffer's files take.
    pub const BUFFER_DISK_BYTES: &str = "floodway_buffer_disk_bytes";
    /// Gauge, exporters: the most bytes that they may take.
    pub const BUFFER_LIMIT_BYTES: &str = "floodway_buffer_limit_bytes";
    /// Gauge: bytes of the memory budget in use.
    pub const BUDGET_BYTES: &str = "floodway_budget_bytes";
    /// Gauge: the memory budget.
    pub const BUDGET_LIMIT_BYTES: &str = "floodway_budget_limit_bytes";
    /// Histogram, exporters: one attempt to send.
    pub const EXPORT_SECONDS: &str = "floodway_export_duration_seconds";
    /// Histogram, exporters: from the receiver's hand-over to the destination's yes.
    pub const DELIVERY_SECONDS: &str = "floodway_delivery_latency_seconds";
    /// Counter, exporters: attempts after the first.
    pub const EXPORT_RETRIES: &str = "floodway_export_retries_total";
    /// Gauge, exporters: 1 while the circuit breaker lets at most one attempt through, else 0.
    pub const BREAKER_OPEN: &str = "floodway_breaker_open";
    /// Counter, exporters, by `reason`: records in dead letters that were written. They are dropped ones, and where a destination does not
    /// say which it refused, those around them.
    pub const DEAD_LETTERS_ITEMS: &str = "floodway_dead_letters_items_total";
    /// Counter, exporters, by `reason`: records in dead letters that could not be written, or went from the folder.
    pub const DEAD_LETTERS_LOST_ITEMS: &str = "floodway_dead_letters_lost_items_total";
    /// Gauge, exporters: records in the folder of dead letters.
    pub const DEAD_LETTERS_STORED_ITEMS: &str = "floodway_dead_letters_stored_items";
    /// Gauge, exporters: bytes of disk that the folder of dead letters takes.
    pub const DEAD_LETTERS_STORED_BYTES: &str = "floodway_dead_letters_stored_bytes";
}

/// Registers the help texts of all metrics of the engine with the installed recorder. Call it once, at start.
pub fn describe_all() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    use names::*;
    describe_counter!(ACCEPTED_ITEMS, "Records taken in by a receiver.");
    describe_counter!(
        REFUSED_ITEMS,
        "Records that a receiver turned away, by reason; their sender was told."
    );
    describe_counter!(
        REFUSED_REQUESTS,
        "Requests that a receiver turned away, by reason; their sender was told."
    );
    describe_counter!(DELIVERED_ITEMS, "Records that an exporter's destination took.");
    describe_counter!(DROPPED_ITEMS, "Records dropped, by reason.");
    describe_gauge!(QUEUE_ITEMS, "Records in an exporter's queue or in flight.");
    describe_gauge!(QUEUE_REQUESTS, "Requests in an exporter's queue or in flight.");
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes in an exporter's queue or in flight.");
    describe_gauge!(QUEUE_LIMIT_BYTES, Unit::Bytes, "Most bytes that an exporter's queue takes.");
    describe_counter!(BUFFER_RECOVERED_ITEMS, "Records that an earlier run left in the disk buffer.");
    describe_gauge!(BUFFER_ITEMS, "Records in the disk buffer that are not delivered.");
    describe_gauge!(BUFFER_BYTES, Unit::Bytes, "Bytes of undelivered requests in the disk buffer.");
    describe_gauge!(BUFFER_DISK_BYTES, Unit::Bytes, "Bytes that the disk buffer's files take.");
    describe_gauge!(BUFFER_LIMIT_BYTES, Unit::Bytes, "Most bytes that the disk buffer's files may take.");
    describe_gauge!(BUDGET_BYTES, Unit::Bytes, "Bytes of the memory budget in use.");
    describe_gauge!(BUDGET_LIMIT_BYTES, Unit::Bytes, "Memory budget for requests.");
    describe_histogram!(EXPORT_SECONDS, Unit::Seconds, "Time of one attempt to send to a destination.");
    describe_histogram!(
        DELIVERY_SECONDS,
        Unit::Seconds,
        "Time from a receiver's hand-over to the destination's yes."
    );
    describe_counter!(EXPORT_RETRIES, "Attempts to send after the first.");
    describe_gauge!(
        BREAKER_OPEN,
        "1 while the destination does not answer and one attempt at a time is made, else 0."
    );
    describe_counter!(DEAD_LETTERS_ITEMS, "Records in dead letters that were written, by reason.");
    describe_counter!(
        DEAD_LETTERS_LOST_ITEMS,
        "Records in dead letters that could not be written (failed, full, too_large, busy), or that went from the folder (displaced, \
         expired)."
    );
    describe_gauge!(DEAD_LETTERS_STORED_ITEMS, "Records in the folder of dead letters.");
    describe_gauge!(DEAD_LETTERS_STORED_BYTES, Unit::Bytes, "Disk that the folder of dead letters takes.");
}

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    /// A way in.
    Receiver,
    /// A step in between.
    Processor,
    /// A way out.
    Exporter,
}

impl ComponentKind {
    /// The value of the label `kind`: `receiver`, `processor` or `exporter`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
        }
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts for one component. Handles are looked up once and kept; clones share them.
///
/// Make it after the recorder is installed: a handle made before counts nothing.
#[derive(Clone)]
pub struct ComponentMetrics {
    shared: Arc<Shared>,
}

struct Shared {
    kind: ComponentKind,
    id: String,
    accepted: PerSignal,
    delivered: PerSignal,
    dropped: ByReason,
    refused_items: ByReason,
    refused_requests: ByReason,
}

impl fmt::Debug for ComponentMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentMetrics({} {})", self.shared.kind, self.shared.id)
    }
}

impl ComponentMetrics {
    /// Counters labelled with this component.
    pub fn new(kind: ComponentKind, id: impl Into<String>) -> Self {
        Self {
            shared: Arc::new(Shared {
                kind,
                id: id.into(),
                accepted: PerSignal::new(names::ACCEPTED_ITEMS),
                delivered: PerSignal::new(names::DELIVERED_ITEMS),
                dropped: ByReason::new(names::DROPPED_ITEMS),
                refused_items: ByReason::new(names::REFUSED_ITEMS),
                refused_requests: ByReason::new(names::REFUSED_REQUESTS),
            }),
        }
    }

    /// The component's key in the configuration.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// What the component is.
    pub fn kind(&self) -> ComponentKind {
        self.shared.kind
    }

    /// Counts `items` records as dropped. `reason` is a short fixed name. Cheap enough for every request: after the first use
    /// of a reason it is a short walk and one atomic add.
    pub fn dropped(&self, reason: &'static str, items: u64) {
        self.shared.dropped.add(self, reason, items);
    }

    /// Counts one request as turned away. The [`crate::inlet::Inlet`] counts what it refuses itself; a receiver counts what it
    /// refuses before (malformed, too large, over the budget), with 0 `items` where it cannot know how many there were.
    pub fn refused(&self, reason: &'static str, items: u64) {
        self.shared.refused_items.add(self, reason, items);
        self.shared.refused_requests.add(self, reason, 1);
    }

    /// Counts records that were taken in. The inlet does this for every receiver.
    pub(crate) fn accepted(&self, signal: Signal, items: u64) {
        self.shared.accepted.get(self, signal).increment(items);
    }

    /// Counts records that the destination took. The delivery loop does this for every exporter.
    pub(crate) fn delivered(&self, signal: Signal, items: u64) {
        self.shared.delivered.get(self, signal).increment(items);
    }

    /// A counter of the component's own, with labels besides `component` and `kind`. Look it up once and keep it.
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        counter!(name, self.labels(labels))
    }

    /// A gauge of the component's own. Look it up once and keep it.
    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        gauge!(name, self.labels(labels))
    }

    /// A histogram of the component's own. Look it up once and keep it.
    pub fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        histogram!(name, self.labels(labels))
    }

    fn labels(&self, more: &[(&'static str, &str)]) -> Vec<Label> {
        let own = [
            Label::new("component", self.shared.id.clone()),
            Label::from_static_parts("kind", self.shared.kind.name()),
        ];
        own.into_iter().chain(more.iter().map(|(name, value)| Label::new(*name, value.to_string()))).collect()
    }
}

/// One counter a signal, registered when first used so that `/metrics` shows no signal that a component never saw.
struct PerSignal {
    name: &'static str,
    counters: [OnceLock<Counter>; 3],
}

impl PerSignal {
    fn new(name: &'static str) -> Self {
        Self { name, counters: [const { OnceLock::new() }; 3] }
    }

    fn get(&self, metrics: &ComponentMetrics, signal: Signal) -> &Counter {
        self.counters[signal as usize]
            .get_or_init(|| metrics.counter(self.name, &[("signal", signal.name())]))
    }
}

/// Counters by reason: a list that only grows, and is walked without a lock. Reasons are literals, so it stays short.
pub(crate) struct ByReason {
    name: &'static str,
    first: OnceLock<Box<Reason>>,
}

struct Reason {
    reason: &'static str,
    counter: Counter,
    next: OnceLock<Box<Reason>>,
}

impl fmt::Debug for ByReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByReason({})", self.name)
    }
}

impl ByReason {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, first: OnceLock::new() }
    }

    pub(crate) fn add(&self, metrics: &ComponentMetrics, reason: &'static str, n: u64) {
        let mut place = &self.first;
        loop {
            let entry = place.get_or_init(|| {
                let counter = metrics.counter(self.name, &[("reason", reason)]);
                Box::new(Reason { reason, counter, next: OnceLock::new() })
            });
            if entry.reason == reason {
                return entry.counter.increment(n);
            }
            place = &entry.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::counters;

    #[test]
    fn every_series_names_component_and_kind() {
        let counters = counters();
        let metrics = ComponentMetrics::new(ComponentKind::Exporter, "otlp/metrics_test");
        metrics.dropped("queue_full", 3);
        metrics.dropped("too_large", 1);
        metrics.dropped("queue_full", 2);
        metrics.delivered(Signal::Logs, 7);
        metrics.refused("budget_full", 0);
        metrics.counter("floodway_test_total", &[("colour", "red")]).increment(1);
        let of = |name: &str, label| {
            counters.value(name, &[("component", "otlp/metrics_test"), ("kind", "exporter"), label])
        };
        assert_eq!(of(names::DROPPED_ITEMS, ("reason", "queue_full")), 5);
        assert_eq!(of(names::DROPPED_ITEMS, ("reason", "too_large")), 1);
        assert_eq!(of(names::DELIVERED_ITEMS, ("signal", "logs")), 7);
        assert_eq!(of(names::REFUSED_REQUESTS, ("reason", "budget_full")), 1);
        assert_eq!(of("floodway_test_total", ("colour", "red")), 1);
    }

    #[test]
    fn reasons_counted_from_many_threads_add_up() {
        let counters = counters();
        let metrics = ComponentMetrics::new(ComponentKind::Processor, "sample/threads_test");
        let reasons = ["a", "b", "c", "d"];
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let metrics = metrics.clone();
                scope.spawn(move || (0..1000).for_each(|n| metrics.dropped(reasons[(n + thread) % 4], 1)));
            }
        });
        for reason in reasons {
            let labels = [("component", "sample/threads_test"), ("reason", reason)];
            assert_eq!(counters.value(names::DROPPED_ITEMS, &labels), 2000);
        }
    }
}

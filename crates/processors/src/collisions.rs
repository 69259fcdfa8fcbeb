//! What is left to do on a batch of series when labels have changed: series whose labels became equal are made one, and
//! counted; series that lost the name of their metric go.
//!
//! Both would make receivers refuse the request, and with it the series that nothing is wrong with. How equal series are
//! merged, and which samples are lost by it, is told in `model::series::Merged` and counted as dropped with the reason
//! `duplicate_series`.

use std::sync::atomic::{AtomicBool, Ordering};

use engine::ComponentMetrics;
use metrics::Counter;
use model::series::SeriesBatch;

/// The reason for which samples are dropped whose series has no name any more.
pub(crate) const NO_NAME: &str = "no_metric_name";
/// The reason for which samples are dropped that stand at one time in series that became equal.
const DUPLICATE: &str = "duplicate_series";

/// Merges and counts for one processor.
pub(crate) struct Collisions {
    merged: Counter,
    metrics: ComponentMetrics,
    was_logged: AtomicBool,
}

impl Collisions {
    pub(crate) fn new(metrics: &ComponentMetrics) -> Self {
        Self {
            merged: metrics.counter("floodway_series_merged_total", &[]),
            metrics: metrics.clone(),
            was_logged: AtomicBool::new(false),
        }
    }

    /// Merges the series of `batch` that have the same labels; `hashes` are those of their labels.
    pub(crate) fn merge(&self, batch: &mut SeriesBatch, hashes: &[u128]) {
        let merged = batch.merge_equal(hashes);
        if merged.series == 0 {
            return;
        }
        self.merged.increment(merged.series as u64);
        if merged.lost > 0 {
            self.metrics.dropped(DUPLICATE, merged.lost as u64);
        }
        // Once: the counters say how often.
        if !self.was_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                component = self.metrics.id(),
                series = merged.series,
                samples_lost = merged.lost,
                "different series have the same labels now and were merged; of samples at the same time the first was kept. \
                 Keep a label that tells them apart. Not logged again: see floodway_series_merged_total"
            );
        }
    }
}

//! A metrics recorder whose values can be read back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SetRecorderError, SharedString,
    Unit,
};

static COUNTERS: OnceLock<Counters> = OnceLock::new();

/// The recorder of this test process, installed at the first call. Handles made before it count nothing.
pub fn counters() -> &'static Counters {
    COUNTERS.get_or_init(|| {
        let counters = Counters::default();
        // A test that installed another recorder reads its counters there.
        let _: Result<(), SetRecorderError<Counters>> = metrics::set_global_recorder(counters.clone());
        counters
    })
}

/// Every series by name and labels.
#[derive(Clone, Default)]
pub struct Counters {
    series: Arc<Mutex<HashMap<Key, Arc<Value>>>>,
}

/// A counter's value, a gauge's bits, or how often a histogram recorded.
#[derive(Default)]
struct Value(Arc<AtomicU64>);

impl HistogramFn for Value {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counters {
    /// The sum of the counters called `name` that carry all of `labels`; for histograms how often they recorded.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.matching(name, labels).into_iter().sum()
    }

    /// The sum of the gauges called `name` that carry all of `labels`.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).into_iter().map(f64::from_bits).sum()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<u64> {
        let carries = |key: &Key, (label, value): &(&str, &str)| {
            key.labels().any(|there| there.key() == *label && there.value() == *value)
        };
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series
            .iter()
            .filter(|(key, _)| key.name() == name && labels.iter().all(|label| carries(key, label)))
            .map(|(_, value)| value.0.load(Ordering::SeqCst))
            .collect()
    }

    fn series(&self, key: &Key) -> Arc<Value> {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(series.entry(key.clone()).or_default())
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(&self.series(key).0))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(&self.series(key).0))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

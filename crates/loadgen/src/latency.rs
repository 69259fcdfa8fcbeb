//! Latencies in fixed memory: counts in buckets of about 3 % width, from 1 microsecond to several days.
//!
//! ```text
//! below 64 µs         one bucket a microsecond
//! 2^e .. 2^(e+1) µs   32 buckets of equal width, for e = 6 .. 40
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LINEAR: usize = 64;
const PER_OCTAVE: usize = 32;
const OCTAVES: usize = 35;

/// A histogram that many tasks may record into at once.
#[derive(Debug)]
pub struct Latencies {
    buckets: Vec<AtomicU64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let buckets = (0..LINEAR + OCTAVES * PER_OCTAVE).map(|_| AtomicU64::new(0)).collect();
        Self { buckets }
    }
}

impl Latencies {
    /// Counts one latency.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// The latency in milliseconds that this share (0..=1) of all does not exceed: the upper edge of its bucket.
    /// Zero when nothing was recorded.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(index) as f64 / 1_000.0;
            }
        }
        0.0
    }
}

fn bucket(micros: u64) -> usize {
    if micros < LINEAR as u64 {
        return micros as usize;
    }
    let exponent = 63 - micros.leading_zeros() as usize;
    let within = (micros >> (exponent - 5)) as usize & (PER_OCTAVE - 1);
    let octave = (exponent - 6).min(OCTAVES - 1);
    LINEAR + octave * PER_OCTAVE + within
}

fn upper_edge(index: usize) -> u64 {
    if index < LINEAR {
        return index as u64 + 1;
    }
    let (octave, within) = ((index - LINEAR) / PER_OCTAVE, (index - LINEAR) % PER_OCTAVE);
    ((PER_OCTAVE + within + 1) as u64) << (octave + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_value(micros in 0u64..1 << 40) {
            let edge = upper_edge(bucket(micros));
            prop_assert!(edge > micros, "{edge} for {micros}");
            prop_assert!(edge as f64 <= micros as f64 * 1.04 + 1.0, "{edge} for {micros}");
        }
    }

    #[test]
    fn quantiles() {
        let latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.5), 0.0);
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let (p50, p99) = (latencies.quantile_ms(0.5), latencies.quantile_ms(0.99));
        assert!((50.0..52.5).contains(&p50), "{p50}");
        assert!((99.0..104.0).contains(&p99), "{p99}");
        latencies.record(Duration::MAX);
    }
}

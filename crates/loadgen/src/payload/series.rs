//! Remote-write 2.0 requests: label sets of a dozen labels, one sample each.
//!
//! In every request one half of the label sets is drawn from a pool that all requests share, as a scrape repeats itself; the
//! other half occurs in this request alone, as pods come and go. With enough distinct requests a program that remembers label
//! sets finds one half, and no more.

use prost::Message;

use super::BASE_TIME_NS;
use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::wire::remote_write::{Metadata, Request, Sample, TimeSeries};

/// Label sets that requests share.
const POOL: u64 = 5_000;
/// Between two label sets of the pool in one request; it has no factor in common with the pool's size.
const STRIDE: u64 = 7;
/// `Metadata.MetricType.METRIC_TYPE_COUNTER`.
const COUNTER: i32 = 1;

const METRICS: [&str; 5] = [
    "p2p_gateway_requests_total",
    "p2p_gateway_request_bytes_total",
    "p2p_signaling_messages_total",
    "p2p_content_requests_total",
    "p2p_bandwidth_out_bytes_total",
];

/// Request `number` of a run, compressed: its body and its size before.
pub(super) fn request(number: usize, series: usize, seed: u64) -> Result<(Vec<u8>, usize)> {
    let mut rng = Rng::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9));
    let mut table = Table { symbols: vec![String::new()] };
    let from = rng.below(POOL);
    let timeseries = (0..series).map(|n| {
        // Numbers below the pool are common, none of them twice in a request; each request has numbers of its own above it.
        let set =
            if n % 2 == 0 { (from + STRIDE * n as u64) % POOL } else { POOL + (number * series + n) as u64 };
        let timestamp = (BASE_TIME_NS / 1_000_000) as i64 + 15_000 * number as i64;
        TimeSeries {
            labels_refs: label_set(set, &mut table),
            samples: vec![Sample { value: rng.below(1 << 30) as f64, timestamp }],
            metadata: Some(Metadata {
                kind: COUNTER,
                help_ref: table.intern("Requests served."),
                unit_ref: 0,
            }),
        }
    });
    let timeseries = timeseries.collect();
    let message = Request { symbols: table.symbols, timeseries }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&message);
    Ok((body.map_err(|e| Error::Setting(format!("snappy: {e}")))?, message.len()))
}

/// The references of a label set: twelve labels by rising name.
fn label_set(set: u64, table: &mut Table) -> Vec<u32> {
    let pod = format!("gateway-{:x}-{}", set / 7, set % 7);
    let labels = [
        ("__name__", METRICS[(set % 5) as usize].to_owned()),
        ("cluster", "eu-west-1".to_owned()),
        ("container", "gateway".to_owned()),
        ("endpoint", "http-metrics".to_owned()),
        ("env", "prod".to_owned()),
        ("instance", format!("10.{}.{}.{}:9090", set >> 16 & 255, set >> 8 & 255, set & 255)),
        ("job", "p2p-gateway".to_owned()),
        ("method", ["GET", "POST", "PUT"][(set % 3) as usize].to_owned()),
        ("namespace", ["core", "edge"][(set % 2) as usize].to_owned()),
        ("path", ["/api/v0/block", "/api/v0/dag", "/ipfs", "/ipns"][(set % 4) as usize].to_owned()),
        ("pod", pod),
        ("status", ["200", "404", "503"][(set / 3 % 3) as usize].to_owned()),
    ];
    labels.iter().flat_map(|(name, value)| [table.intern(name), table.intern(value)]).collect()
}

/// Symbols by linear search from the end: requests are made before the run, and tables are small.
struct Table {
    symbols: Vec<String>,
}

impl Table {
    fn intern(&mut self, text: &str) -> u32 {
        let known = self.symbols.iter().position(|symbol| symbol == text);
        let position = known.unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        });
        position as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn label_sets(number: usize) -> Vec<Vec<String>> {
        let (body, size) = request(number, 1_000, 1).unwrap();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        assert_eq!(message.len(), size);
        let decoded = Request::decode(&message[..]).unwrap();
        assert_eq!(decoded.symbols[0], "");
        let text = |reference: &u32| decoded.symbols[*reference as usize].clone();
        decoded.timeseries.iter().map(|series| series.labels_refs.iter().map(text).collect()).collect()
    }

    #[test]
    fn one_half_of_the_label_sets_is_shared_and_the_other_is_not() {
        let (one, two) = (label_sets(0), label_sets(1));
        for labels in one.iter().chain(&two) {
            assert_eq!(labels.len(), 24);
            let names: Vec<_> = labels.iter().step_by(2).collect();
            assert!(names.is_sorted_by(|a, b| a < b));
        }
        let odd = |sets: &[Vec<String>]| -> BTreeSet<Vec<String>> {
            sets.iter().skip(1).step_by(2).cloned().collect()
        };
        assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), 1_000, "no series stands twice in a request");
        assert_eq!(odd(&one).len(), 500);
        assert!(odd(&one).is_disjoint(&two.iter().cloned().collect()));
    }
}

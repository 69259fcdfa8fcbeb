//! What it costs to relabel and redact Prometheus series: `cargo run --release -p processors --example series_cost`.
//!
//! 1,000 series of 12 labels a request, four rules, by how many of the series were seen before. With the name of a scenario
//! and a number of requests it runs that alone, for instruction counts: `valgrind --tool=callgrind ... rewritten/none 20`.
//! Ratios within one run are what counts.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "its output is its purpose")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{BuildContext, ComponentKind, ComponentMetrics, Processor, ProcessorConfig};
use model::series::{Metadata, Sample, SeriesBatch, SeriesBuilder};
use processors::redact::RedactConfig;
use processors::relabel::RelabelConfig;
use serde_json::{Value, json};

const SERIES: usize = 1_000;
/// Distinct requests; more series than the small cache holds.
const REQUESTS: usize = 40;

struct Scenario {
    name: &'static str,
    processor: Box<dyn Processor>,
    /// How many series of a request are the same in all, and how many of a hundred name a peer.
    seen: usize,
    percent: usize,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let chosen = args.next();
    let rounds: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(REQUESTS);
    let mut scenarios = scenarios();
    if let Some(name) = chosen {
        scenarios.retain(|scenario| scenario.name == name);
        for Scenario { processor, seen, percent, .. } in &scenarios {
            let requests = requests(*seen, *percent);
            (0..rounds).map(|n| run(&**processor, &requests[n % REQUESTS])).for_each(drop);
        }
        return;
    }
    for Scenario { name, processor, seen, percent } in &scenarios {
        let requests = requests(*seen, *percent);
        let round = || requests.iter().map(|request| run(&**processor, request)).sum::<Duration>();
        (0..2).map(|_| round()).for_each(drop);
        let mut times: Vec<Duration> = (0..7).map(|_| (0..3).map(|_| round()).sum()).collect();
        times.sort_unstable();
        let ns = |time: Duration| time.as_nanos() as f64 / (3 * REQUESTS * SERIES) as f64;
        println!("{name:24} {:7.1} ns a series ({:.1} to {:.1})", ns(times[3]), ns(times[0]), ns(times[6]));
    }
}

/// Hands a copy to the processor, since a request that is not shared is changed in place.
fn run(processor: &dyn Processor, request: &SeriesBatch) -> Duration {
    let batch = Arc::new(request.clone());
    let begun = Instant::now();
    let left = processor.process_series(black_box(batch)).expect("processed");
    let time = begun.elapsed();
    black_box(left);
    time
}

fn scenarios() -> Vec<Scenario> {
    // Every series is rewritten, as by external labels; or all are looked at and go on as they are.
    let rewrite = json!([
        {"source_labels": ["__name__"], "regex": "go_.*|process_.*", "action": "drop"},
        {"source_labels": ["instance"], "regex": "([^:]+):\\d+", "target_label": "instance", "replacement": "$1"},
        {"regex": "pod_template_hash|controller_.*", "action": "labeldrop"},
        {"target_label": "cluster", "replacement": "eu-central-1"},
    ]);
    let look = json!([
        {"source_labels": ["__name__"], "regex": "go_.*|process_.*", "action": "drop"},
        {"source_labels": ["namespace", "pod"], "regex": "kube-system;.*", "action": "drop"},
        {"source_labels": ["code"], "regex": "2..|3..|4..", "action": "keep"},
        {"source_labels": ["instance"], "regex": "", "action": "drop"},
    ]);
    let relabel = |name, rules: &Value, max_series: usize, seen: usize| {
        let config = json!({"series": rules, "cache": {"max_series": max_series}});
        let config: RelabelConfig = serde_json::from_value(config).expect("settings");
        let processor = Box::new(config).build(&context()).expect("a processor");
        Scenario { name, processor, seen, percent: 0 }
    };
    let redact = |name, percent| {
        let config = json!({"key": "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0"});
        let config: RedactConfig = serde_json::from_value(config).expect("settings");
        let processor = Box::new(config).build(&context()).expect("a processor");
        Scenario { name, processor, seen: SERIES, percent }
    };
    vec![
        relabel("rewritten/no cache", &rewrite, 0, SERIES),
        relabel("rewritten/none", &rewrite, 4_000, 0),
        relabel("rewritten/half", &rewrite, 4_000, SERIES / 2),
        relabel("rewritten/all", &rewrite, 100_000, SERIES),
        relabel("unchanged/no cache", &look, 0, SERIES),
        relabel("unchanged/none", &look, 4_000, 0),
        relabel("unchanged/half", &look, 4_000, SERIES / 2),
        relabel("unchanged/all", &look, 100_000, SERIES),
        redact("redact/no peer", 0),
        redact("redact/10 % name a peer", 10),
    ]
}

fn context() -> BuildContext {
    let metrics = ComponentMetrics::new(ComponentKind::Processor, "example");
    BuildContext { id: "example".to_owned(), metrics, dry_run: false }
}

/// Requests whose first `seen` series are the same in all of them. `percent` of the series name a peer of their own.
fn requests(seen: usize, percent: usize) -> Vec<SeriesBatch> {
    let peers = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    let request = |request: usize| {
        let mut builder = SeriesBuilder::new();
        for n in 0..SERIES {
            let of = if n < seen { 0 } else { request };
            let (pod, instance) = (format!("gateway-{of}-{}", n / 40), format!("10.1.{of}.{}:9090", n / 40));
            let (name, path) = (format!("http_requests_{}_total", n % 8), format!("/api/v1/{}", n % 40));
            let peer = if n % 100 < percent {
                format!("{}{:04}", &peers[..48], 1111 + n)
            } else {
                "none".to_owned()
            };
            let labels = [
                ("__name__", name.as_str()),
                ("instance", &instance),
                ("job", "gateway"),
                ("namespace", "shadowmesh"),
                ("pod", &pod),
                ("pod_template_hash", "5d9c7b6f4"),
                ("container", "gateway"),
                ("method", ["GET", "PUT"][n / 20 % 2]),
                ("code", ["200", "404"][n / 10 % 2]),
                ("path", &path),
                ("version", "1.4.2"),
                ("peer", &peer),
            ];
            builder.series(labels, |_| Metadata::default()).expect("labels");
            builder.sample(Sample { value: n as f64, timestamp_ms: 1_700_000_000_000, start_ms: 0 });
        }
        builder.finish()
    };
    (0..REQUESTS).map(request).collect()
}

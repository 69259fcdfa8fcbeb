//! What the program measures about itself: the metrics recorder, and numbers of the process.
//!
//! The engine's and the components' metrics go through the `metrics` facade. Numbers of the process are read when somebody
//! asks, and are written behind the recorder's text, since the facade's counters cannot hold fractions of seconds.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rustix::time::{ClockId, clock_gettime};

/// Histograms of latencies, in seconds: from a local hand-over to a destination that is barely there.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The recorder empties its buffers this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders all metrics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Telemetry {
    handle: PrometheusHandle,
    started: Arc<Started>,
}

struct Started {
    at: Instant,
    unix_seconds: f64,
}

/// Sums over all components, for the summary at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
}

impl Telemetry {
    /// Installs the recorder. Call it once, before any component is built: a handle made before counts nothing.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .context("cannot install the metrics recorder")?;
        engine::describe_all();
        receivers::describe_all();
        processors::describe_all();
        exporters::describe_all();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            handle,
            started: Arc::new(Started { at: Instant::now(), unix_seconds: unix.as_secs_f64() }),
        })
    }

    /// Keeps the recorder's memory bounded for as long as the runtime lives.
    pub(crate) fn spawn_upkeep(&self) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                handle.run_upkeep();
            }
        });
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.at.elapsed()
    }

    /// All metrics in the Prometheus text format 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut text = self.handle.render();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.write_process(&mut text);
        text
    }

    pub(crate) fn totals(&self) -> Totals {
        totals(&self.handle.render())
    }

    fn write_process(&self, text: &mut String) {
        let mut add = |name: &str, kind: &str, help: &str, labels: &str, value: f64| {
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n");
        };
        let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        add("floodway_build_info", "gauge", "The version that runs.", version, 1.0);
        add("floodway_uptime_seconds", "gauge", "Time since the start.", "", self.uptime().as_secs_f64());
        let start = self.started.unix_seconds;
        add("process_start_time_seconds", "gauge", "When the process started, since 1970.", "", start);
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds of CPU time stay far below 2^52")]
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        add("process_cpu_seconds_total", "counter", "User and system CPU time.", "", cpu);
        let process = Process::read();
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes),
            ("process_threads", "Threads.", process.threads),
            ("process_open_fds", "Open file descriptors.", process.open_files),
        ] {
            if let Some(value) = value {
                add(name, "gauge", help, "", value);
            }
        }
    }
}

/// Numbers of this process; nothing where the system has no `/proc`.
#[derive(Debug, Default)]
struct Process {
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    threads: Option<f64>,
    open_files: Option<f64>,
}

impl Process {
    fn read() -> Self {
        let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
            return Self::default();
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of open files is small")]
        let open_files = std::fs::read_dir("/proc/self/fd").ok().map(|folder| folder.count() as f64);
        Self {
            resident_bytes: field("VmRSS").map(|kib| kib * 1024.0),
            virtual_bytes: field("VmSize").map(|kib| kib * 1024.0),
            threads: field("Threads"),
            open_files,
        }
    }
}

fn totals(text: &str) -> Totals {
    use engine::metrics::names;
    let mut totals = Totals::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<u64>() else { continue };
        let name = series.split('{').next().unwrap_or("");
        match name {
            names::ACCEPTED_ITEMS => totals.accepted += value,
            names::REFUSED_ITEMS => totals.refused += value,
            names::DELIVERED_ITEMS => totals.delivered += value,
            names::DROPPED_ITEMS => totals.dropped += value,
            _ => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_series() {
        let text = "# HELP x y\nfloodway_accepted_items_total{component=\"a b\",kind=\"receiver\"} 3\n\
                    floodway_accepted_items_total{component=\"c\"} 4\nfloodway_dropped_items_total{reason=\"x\"} 1\nother 9\n";
        assert_eq!(totals(text), Totals { accepted: 7, refused: 0, delivered: 0, dropped: 1 });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_numbers() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000.0), "{process:?}");
        assert!(process.threads.is_some_and(|count| count >= 1.0), "{process:?}");
        assert!(process.open_files.is_some_and(|count| count >= 3.0), "{process:?}");
    }
}

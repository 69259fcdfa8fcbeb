//! Figures, goals, and how they are printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{BenchConfig, System, scenario};
use crate::error::{Error, Result};
use crate::procfs::Machine;

/// Share of the records that must have come through for a figure to count, where none may be dropped.
const RATE_TOLERANCE: f64 = 0.98;

/// One system under one load, once.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The system under test.
    pub system: System,
    /// From 1.
    pub round: usize,
    /// Records that it accepted.
    pub accepted_records: u64,
    /// Records that came out.
    pub received_records: u64,
    /// Requests that it refused or did not answer.
    pub failed_requests: u64,
    /// Records it rejected in partial successes.
    pub rejected_records: u64,
    /// Why requests failed.
    pub errors: BTreeMap<String, u64>,
    /// Accepted records a second of wall clock: what client, sink and program reach together on this machine.
    pub records_per_second: f64,
    /// CPU seconds of the program.
    pub cpu_seconds: f64,
    /// The figure: CPU seconds of the program per million accepted records.
    pub cpu_seconds_per_million: f64,
    /// The same for client and sink together.
    pub harness_cpu_seconds_per_million: f64,
    /// Cores that everything else on the machine kept busy meanwhile (kernel threads included).
    pub other_cores: f64,
    /// Median latency of a request.
    pub p50_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
    /// Most resident memory since its start.
    pub peak_rss_mib: f64,
    /// Requests that the sink decoded and searched.
    pub checked_requests: u64,
    /// Peers found in those.
    pub leaks: u64,
    /// The first of them.
    pub first_leak: Option<String>,
    /// Requests that the sink could not read.
    pub malformed_requests: u64,
    /// What was wrong with the last of those.
    pub last_error: Option<String>,
}

impl Measurement {
    /// Accepted records that did not come out; `None` where records are dropped on purpose.
    pub fn lost(&self) -> Option<i64> {
        (!self.system.samples()).then_some(self.accepted_records as i64 - self.received_records as i64)
    }

    /// One line for the console.
    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "{:12} round {} {:23} {:7.3} CPU s/M  {:9.0} records/s  p99 {:6.1} ms  peak {:6.1} MiB",
            self.scenario,
            self.round,
            self.system.name(),
            self.cpu_seconds_per_million,
            self.records_per_second,
            self.p99_ms,
            self.peak_rss_mib,
        );
        for fault in self.faults() {
            let _ = write!(line, "  [{fault}]");
        }
        line
    }

    /// Everything that makes the figure doubtful.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match self.lost() {
            Some(0) => {}
            Some(lost) if lost > 0 => faults.push(format!("{lost} records lost")),
            Some(lost) => faults.push(format!("{} records came out twice", -lost)),
            None => {}
        }
        if self.failed_requests > 0 {
            let reasons: Vec<_> =
                self.errors.iter().map(|(reason, count)| format!("{count} x {reason}")).collect();
            faults.push(format!("{} requests failed: {}", self.failed_requests, reasons.join(", ")));
        }
        if self.rejected_records > 0 {
            faults.push(format!("{} records rejected", self.rejected_records));
        }
        if self.malformed_requests > 0 {
            let reason = self.last_error.as_deref().unwrap_or_default();
            faults.push(format!("{} unreadable requests came out: {reason}", self.malformed_requests));
        }
        if self.system.redacts() && self.leaks > 0 {
            let first = self.first_leak.as_deref().unwrap_or_default();
            faults.push(format!("{} peers leaked, first {first}", self.leaks));
        }
        faults
    }
}

/// Median, least and greatest of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one (of an even number, the mean of the two in the middle).
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }
}

/// A comparison, with the limit it is to stay under if there is one.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What is compared.
    pub name: String,
    /// `x` for a ratio, `MiB`, `records` or `peers`.
    pub unit: &'static str,
    /// The figure.
    pub value: Spread,
    /// The median must not be above it.
    pub limit: Option<f64>,
    /// Whether it is not; `None` without a limit.
    pub reached: Option<bool>,
}

impl Goal {
    fn new(name: String, unit: &'static str, value: Spread, limit: Option<f64>) -> Self {
        Self { name, unit, value, limit, reached: limit.map(|limit| value.median <= limit) }
    }
}

/// All figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Rounds of each scenario.
    pub rounds: usize,
    /// Seconds of load per measurement, before the scenario's own factor.
    pub load_seconds: f64,
    /// Client connections and requests under way on each.
    pub connections: usize,
    /// Requests under way at once on each connection.
    pub in_flight: usize,
    /// Whether program and harness were kept on one core each.
    pub pinned: bool,
    /// Every single measurement.
    pub measurements: Vec<Measurement>,
    /// The comparisons.
    pub goals: Vec<Goal>,
}

/// Numerator, denominator, limit.
const RATIOS: &[(System, System, Option<f64>)] = &[
    (System::FloodwayRedact, System::FloodwayForward, Some(1.35)),
    (System::FloodwayRedact, System::CollectorRedact, Some(1.0 / 7.0)),
    (System::FloodwayRedact, System::CollectorRedactAll, None),
    (System::FloodwayRedactSample, System::CollectorRedact, None),
    (System::FloodwayRedactSample, System::FloodwayForward, None),
    (System::FloodwayRedact, System::CollectorForward, None),
    (System::FloodwayForward, System::CollectorForward, None),
    (System::FloodwayDurable, System::FloodwayRedact, Some(1.5)),
    (System::FloodwaySeriesRelabel, System::FloodwaySeriesForward, None),
];

/// Numerator and denominator in different scenarios of one round: what a protocol costs above forwarding bytes.
const ACROSS: &[[(&str, System); 2]] = &[
    [("remote-write", System::FloodwaySeriesForward), ("logs", System::FloodwayForward)],
    [("syslog", System::FloodwaySyslogLoki), ("logs", System::FloodwayForward)],
    [("logstash", System::FloodwayLogstashElastic), ("logs", System::FloodwayForward)],
    [("kafka", System::FloodwayKafka), ("logs", System::FloodwayForward)],
];

/// Peak RSS to stay under, in MiB, at the fixed rate of the scenario `memory`.
const RSS_LIMIT_MIB: f64 = 64.0;

impl Report {
    pub(super) fn new(config: &BenchConfig) -> Self {
        Self {
            machine: Machine::read(),
            rounds: config.rounds,
            load_seconds: config.load.as_secs_f64(),
            connections: config.connections,
            in_flight: config.in_flight,
            pinned: config.pin,
            measurements: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Works out the comparisons from the measurements.
    pub(super) fn conclude(&mut self) {
        let mut goals = Vec::new();
        for scenario in scenario::SCENARIOS {
            if scenario.rate.is_none() {
                // The limits are set for full batches; small ones are compared without.
                let limits = scenario.records_per_request >= 1_000;
                goals.extend(self.ratios(scenario.name, limits));
            } else {
                goals.extend(self.memory(scenario));
            }
        }
        goals.extend(ACROSS.iter().filter_map(|pair| self.across(pair)));
        goals.extend(self.totals());
        self.goals = goals;
    }

    /// Whether every goal was reached.
    pub fn all_reached(&self) -> bool {
        self.goals.iter().all(|goal| goal.reached != Some(false))
    }

    fn of(&self, scenario: &str, system: System) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |m| m.scenario == scenario && m.system == system)
    }

    fn ratios(&self, scenario: &str, limits: bool) -> Vec<Goal> {
        let ratio = |&(of, to, limit): &(System, System, Option<f64>)| {
            let in_round = |m: &Measurement| {
                let other = self.of(scenario, to).find(|other| other.round == m.round)?;
                let cost = other.cpu_seconds_per_million;
                (cost > 0.0).then(|| m.cpu_seconds_per_million / cost)
            };
            let spread = Spread::of(self.of(scenario, of).filter_map(in_round).collect())?;
            let name = format!("{scenario}: CPU of {} / {}", of.name(), to.name());
            Some(Goal::new(name, "x", spread, limit.filter(|_| limits)))
        };
        RATIOS.iter().filter_map(ratio).collect()
    }

    fn across(&self, &[(scenario, of), (other, to)]: &[(&str, System); 2]) -> Option<Goal> {
        let in_round = |m: &Measurement| {
            let floor = self.of(other, to).find(|floor| floor.round == m.round)?.cpu_seconds_per_million;
            (floor > 0.0).then(|| m.cpu_seconds_per_million / floor)
        };
        let spread = Spread::of(self.of(scenario, of).filter_map(in_round).collect())?;
        Some(Goal::new(
            format!("{scenario}: CPU of {} / {} of {other}", of.name(), to.name()),
            "x",
            spread,
            None,
        ))
    }

    fn memory(&self, scenario: &super::Scenario) -> Vec<Goal> {
        let rate = scenario.rate.unwrap_or_default();
        let peak = |&system: &System| {
            let all: Vec<_> = self.of(scenario.name, system).collect();
            let spread = Spread::of(all.iter().map(|m| m.peak_rss_mib).collect())?;
            let limit = (system == System::FloodwayRedact).then_some(RSS_LIMIT_MIB);
            let name = format!("{}: peak RSS of {} at {rate:.0} records/s", scenario.name, system.name());
            let mut goal = Goal::new(name, "MiB", spread, limit);
            let slowest = all.iter().map(|m| m.records_per_second).fold(f64::INFINITY, f64::min);
            if slowest < rate * RATE_TOLERANCE {
                let _ = write!(goal.name, " (reached only {slowest:.0}/s)");
                goal.reached = goal.reached.map(|_| false);
            }
            Some(goal)
        };
        scenario.systems.iter().filter_map(peak).collect()
    }

    /// What must be zero over all measurements of Floodway.
    fn totals(&self) -> Vec<Goal> {
        let ours: Vec<_> = self
            .measurements
            .iter()
            .filter(|m| !m.system.is_collector() && m.system != System::Nothing)
            .collect();
        let goal = |name: &str, unit, count: u64| {
            let count = count as f64;
            Goal::new(name.into(), unit, Spread { median: count, min: count, max: count }, Some(0.0))
        };
        if ours.is_empty() {
            return vec![];
        }
        let lost = ours.iter().filter_map(|m| m.lost()).map(i64::unsigned_abs).sum();
        let leaks = ours.iter().filter(|m| m.system.redacts()).map(|m| m.leaks).sum();
        let malformed = ours.iter().map(|m| m.malformed_requests).sum();
        vec![
            goal("floodway: accepted records that did not come out once", "records", lost),
            goal("floodway: peers that came through redaction, in the requests searched", "peers", leaks),
            goal("floodway: requests that came out unreadable", "requests", malformed),
        ]
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let pinned = if self.pinned { ", program and harness pinned to one core each" } else { "" };
        let _ = writeln!(text, "\nMachine: {}{pinned}", self.machine);
        let _ = writeln!(
            text,
            "{} rounds of {} s; {} connections x {} requests; median (least - greatest) of the rounds",
            self.rounds, self.load_seconds, self.connections, self.in_flight
        );
        for scenario in scenario::SCENARIOS {
            self.table(&mut text, scenario);
        }
        self.goal_lines(&mut text);
        text
    }

    fn table(&self, text: &mut String, scenario: &super::Scenario) {
        if !self.measurements.iter().any(|m| m.scenario == scenario.name) {
            return;
        }
        let _ = writeln!(text, "\n{}: {}", scenario.name, scenario.about);
        let _ = writeln!(
            text,
            "  {:23} {:>23} {:>11} {:>8} {:>8} {:>9} {:>7} {:>12} {:>12}",
            "system",
            "CPU s per million",
            "records/s",
            "p50 ms",
            "p99 ms",
            "peak MiB",
            "kept",
            "harness s/M",
            "other cores"
        );
        for &system in scenario.systems {
            let of = |value: fn(&Measurement) -> f64| {
                Spread::of(self.of(scenario.name, system).map(value).collect())
            };
            let median = |value: fn(&Measurement) -> f64| of(value).map_or(0.0, |spread| spread.median);
            let Some(cpu) = of(|m| m.cpu_seconds_per_million) else {
                continue;
            };
            let _ = writeln!(
                text,
                "  {:23} {:7.3} ({:6.3} - {:6.3}) {:11.0} {:8.1} {:8.1} {:9.1} {:6.1}% {:12.3} {:12.2}",
                system.name(),
                cpu.median,
                cpu.min,
                cpu.max,
                median(|m| m.records_per_second),
                median(|m| m.p50_ms),
                median(|m| m.p99_ms),
                of(|m| m.peak_rss_mib).map_or(0.0, |spread| spread.max),
                median(|m| 100.0 * m.received_records as f64 / (m.accepted_records as f64).max(1.0)),
                median(|m| m.harness_cpu_seconds_per_million),
                median(|m| m.other_cores),
            );
        }
    }

    fn goal_lines(&self, text: &mut String) {
        let _ = writeln!(text, "\nCompared within a round:");
        for goal in &self.goals {
            let Spread { median, min, max } = goal.value;
            let verdict = match (goal.limit, goal.reached) {
                (Some(limit), Some(true)) => format!("limit {limit:.3}: reached"),
                (Some(limit), _) => format!("limit {limit:.3}: NOT REACHED"),
                (None, _) => String::new(),
            };
            let value = format!("{median:.3} {} ({min:.3} - {max:.3})", goal.unit);
            let line = format!("  {:85} {value:32} {verdict}", goal.name);
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let doubtful: Vec<_> = self.measurements.iter().filter(|m| !m.faults().is_empty()).collect();
        if !doubtful.is_empty() {
            let _ = writeln!(text, "\nTo be looked at:");
        }
        for m in doubtful {
            let _ = writeln!(text, "  {}", m.line());
        }
    }

    /// Writes everything as JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        fs::write(path, json).map_err(Error::file(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config() -> BenchConfig {
        BenchConfig {
            rounds: 3,
            load: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            scenarios: vec![],
            systems: vec![],
            seed: 1,
            connections: 1,
            in_flight: 1,
            pin: false,
            programs: super::super::Programs { floodway: "f".into(), pipelines: "p".into(), otelcol: None },
            work_dir: "w".into(),
        }
    }

    fn measured(scenario: &'static str, system: System, round: usize, cpu: f64) -> Measurement {
        Measurement {
            scenario,
            system,
            round,
            accepted_records: 1_000,
            received_records: 1_000,
            failed_requests: 0,
            rejected_records: 0,
            errors: BTreeMap::new(),
            records_per_second: 60_000.0,
            cpu_seconds: cpu,
            cpu_seconds_per_million: cpu,
            harness_cpu_seconds_per_million: 0.1,
            other_cores: 0.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            peak_rss_mib: 40.0,
            checked_requests: 1,
            leaks: 0,
            first_leak: None,
            malformed_requests: 0,
            last_error: None,
        }
    }

    fn report(measurements: Vec<Measurement>) -> Report {
        let mut report = Report { measurements, ..Report::new(&config()) };
        report.conclude();
        report
    }

    fn goal<'a>(report: &'a Report, part: &str) -> &'a Goal {
        report.goals.iter().find(|goal| goal.name.contains(part)).unwrap()
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is half as fast in round 2; the ratio is the same.
        let mut all = vec![];
        for (round, slow) in [(1, 1.0), (2, 2.0), (3, 1.0)] {
            all.push(measured("traces", System::FloodwayForward, round, 0.5 * slow));
            all.push(measured("traces", System::FloodwayRedact, round, 0.6 * slow));
            all.push(measured("traces", System::CollectorRedact, round, 4.0 * slow));
        }
        let report = report(all);
        let own = goal(&report, "floodway-redact / floodway-forward");
        assert!((own.value.min - 1.2).abs() < 1e-9 && (own.value.max - 1.2).abs() < 1e-9);
        assert_eq!(own.reached, Some(true));
        let theirs = goal(&report, "floodway-redact / collector-redact");
        assert!((theirs.value.median - 0.15).abs() < 1e-9);
        assert_eq!(theirs.reached, Some(false), "0.15 is more than one seventh");
        assert!(!report.all_reached());
        assert!(report.to_text().contains("NOT REACHED"));
    }

    #[test]
    fn a_peak_counts_only_at_the_full_rate() {
        let at = |rate| {
            let m = Measurement {
                records_per_second: rate,
                ..measured("memory", System::FloodwayRedact, 1, 1.0)
            };
            report(vec![m])
        };
        assert_eq!(goal(&at(59_900.0), "peak RSS").reached, Some(true));
        assert_eq!(goal(&at(30_000.0), "peak RSS").reached, Some(false));
    }

    #[test]
    fn loss_and_leaks_are_goals_and_are_named() {
        let lossy = Measurement {
            received_records: 990,
            leaks: 2,
            first_leak: Some("12D3KooWx".into()),
            ..measured("traces", System::FloodwayRedact, 1, 1.0)
        };
        // A forwarding system lets peers through as it should, and a sampling one drops records.
        let forward = Measurement { leaks: 9, ..measured("traces", System::FloodwayForward, 1, 1.0) };
        let sample =
            Measurement { received_records: 100, ..measured("traces", System::FloodwayRedactSample, 1, 1.0) };
        let report = report(vec![lossy, forward, sample]);
        assert_eq!(goal(&report, "did not come out").value.median, 10.0);
        assert_eq!(goal(&report, "came through").value.median, 2.0);
        let text = report.to_text();
        assert!(text.contains("10 records lost") && text.contains("first 12D3KooWx"), "{text}");
        assert_eq!(text.matches(" round 1 ").count(), 1, "{text}");
    }

    #[test]
    fn the_median_of_two_lies_between() {
        assert_eq!(Spread::of(vec![3.0, 1.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }
}

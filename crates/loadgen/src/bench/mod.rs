//! The comparison: several programs, one after the other, in rounds, under the same load.
//!
//! ```text
//! for each scenario
//!   for each round                      A B C D E, then B C D E A, ...: drift of the machine falls on all alike
//!     for each system                   start, warm up, read the counters, load, wait until all has come out, read again, stop
//! ```
//! A figure is CPU seconds of that process per million records that it accepted. Figures are compared within a round only, and
//! the report gives the median of the rounds with the least and the greatest. Client, sink and program share the machine.
//!
//! Deliberately absent: wall-clock figures as a target. They depend on what else the machine does; CPU seconds much less.

mod report;
mod scenario;
mod sut;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::{DriveReport, Driver, DriverConfig, Stop};
use crate::error::{Error, Result};
use crate::payload::{Form, PayloadSet, PayloadSpec};
use crate::procfs;
use crate::sink::{Received, Sink, SinkConfig};

pub use report::{Goal, Measurement, Report};
pub use scenario::{SCENARIOS, Scenario};
pub use sut::{Programs, System};
use sut::{Sut, Target};

/// One request in this many is decoded and searched: cheap, and some hundred requests a measurement.
const CHECK_EVERY: u64 = 50;
/// Distinct requests of series: with 500 label sets of its own in each, more than a program may remember.
const DISTINCT_SERIES: usize = 512;
/// How long after the last record the rest may take to come out.
const QUIET: Duration = Duration::from_millis(1_500);
/// The same for a system that drops records on purpose, where nobody knows how many are to come.
const QUIET_SAMPLED: Duration = Duration::from_millis(300);

/// What to measure and how long.
#[derive(Clone, Debug)]
pub struct BenchConfig {
    /// Rounds of each scenario.
    pub rounds: usize,
    /// Seconds of load per measurement.
    pub load: Duration,
    /// Seconds of load before it.
    pub warm_up: Duration,
    /// Names of scenarios; empty: those that run by default.
    pub scenarios: Vec<String>,
    /// Systems; empty: those of the scenario.
    pub systems: Vec<System>,
    /// Seed of the payloads.
    pub seed: u64,
    /// Client connections.
    pub connections: usize,
    /// Requests under way at once on each.
    pub in_flight: usize,
    /// Keep the program under test on the last core and this one on the first.
    pub pin: bool,
    /// Where the programs are.
    pub programs: Programs,
    /// Where logs and generated configurations go.
    pub work_dir: PathBuf,
}

/// Runs everything that was asked for; progress goes to `progress`, a line per measurement.
pub async fn run(config: &BenchConfig, progress: &mut dyn Write) -> Result<Report> {
    let scenarios = scenario::chosen(&config.scenarios)?;
    std::fs::create_dir_all(&config.work_dir).map_err(Error::file(&config.work_dir))?;
    for scenario in &scenarios {
        config.programs.check(&config.systems_of(scenario))?;
    }
    if config.pin {
        pin_self()?;
    }
    let mut report = Report::new(config);
    for scenario in scenarios {
        measure_scenario(config, scenario, &mut report, progress).await?;
    }
    report.conclude();
    Ok(report)
}

impl BenchConfig {
    fn systems_of(&self, scenario: &Scenario) -> Vec<System> {
        let wanted = |system: &System| self.systems.is_empty() || self.systems.contains(system);
        scenario.systems.iter().copied().filter(wanted).collect()
    }
}

async fn measure_scenario(
    config: &BenchConfig,
    scenario: &'static Scenario,
    report: &mut Report,
    progress: &mut dyn Write,
) -> Result<()> {
    let spec = PayloadSpec {
        form: scenario.form,
        signal: scenario.signal,
        records_per_request: scenario.records_per_request,
        // As many bytes in all, whatever the size of a request.
        distinct: match scenario.form {
            Form::RemoteWrite => DISTINCT_SERIES,
            _ => (16_000 / scenario.records_per_request).clamp(1, 1_600),
        },
        seed: config.seed,
        ..Default::default()
    };
    let payloads = Arc::new(PayloadSet::new(spec)?);
    let mut systems = config.systems_of(scenario);
    for round in 0..config.rounds {
        for &system in &systems {
            let measurement = Bench { config, scenario, payloads: &payloads }.measure(system, round).await?;
            writeln!(progress, "{}", measurement.line())?;
            report.measurements.push(measurement);
        }
        if !systems.is_empty() {
            systems.rotate_left(1);
        }
    }
    Ok(())
}

/// The counters at one moment.
struct Counters {
    at: Instant,
    program: f64,
    harness: f64,
    machine: f64,
    received: Received,
}

/// One scenario, ready to be measured on any system.
struct Bench<'a> {
    config: &'a BenchConfig,
    scenario: &'static Scenario,
    payloads: &'a Arc<PayloadSet>,
}

impl Bench<'_> {
    async fn measure(&self, system: System, round: usize) -> Result<Measurement> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let peers = Some(Arc::clone(&self.payloads.peers));
        let mut sink = Sink::start(SinkConfig { listen: any_port, check_every: CHECK_EVERY, peers }).await?;
        if system.sends_to_kafka() {
            sink = sink.with_kafka().await?;
        }
        let out = sink.target();
        let target = Target {
            programs: &self.config.programs,
            work_dir: &self.config.work_dir,
            sink: &out,
            pin: self.config.pin,
        };
        let sut = Sut::start(system, target).await?;
        let driver_config = DriverConfig {
            connections: self.config.connections,
            in_flight: self.config.in_flight,
            ..DriverConfig::new(sut.addr().to_string())
        };
        let driver = Driver::connect(driver_config, Arc::clone(self.payloads)).await?;
        let warm = driver.run(self.scenario.rate, Stop::After(self.config.warm_up)).await;
        self.settle(&sink, system, warm.accepted_records).await;

        let before = self.counters(&sut, &sink)?;
        let length = self.config.load.mul_f64(self.scenario.length);
        let drive = driver.run(self.scenario.rate, Stop::After(length)).await;
        self.settle(&sink, system, before.received.records() + drive.accepted_records).await;
        let after = self.counters(&sut, &sink)?;
        let peak_rss = sut.peak_rss_bytes()?;
        sut.stop().await?;
        Ok(self.figures(system, round, &drive, &before, &after, peak_rss))
    }

    async fn settle(&self, sink: &Sink, system: System, records: u64) {
        let (records, quiet) = if system.samples() { (u64::MAX, QUIET_SAMPLED) } else { (records, QUIET) };
        sink.settled(records, quiet).await;
    }

    fn counters(&self, sut: &Sut, sink: &Sink) -> Result<Counters> {
        Ok(Counters {
            at: Instant::now(),
            program: sut.cpu_seconds()?,
            harness: procfs::cpu_seconds(std::process::id())?,
            machine: procfs::machine_busy_seconds()?,
            received: sink.received(),
        })
    }

    fn figures(
        &self,
        system: System,
        round: usize,
        drive: &DriveReport,
        before: &Counters,
        after: &Counters,
        peak_rss: u64,
    ) -> Measurement {
        let program = after.program - before.program;
        let harness = after.harness - before.harness;
        let others = (after.machine - before.machine - program - harness).max(0.0);
        let wall = (after.at - before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        let millions = (drive.accepted_records as f64 / 1e6).max(f64::MIN_POSITIVE);
        Measurement {
            scenario: self.scenario.name,
            system,
            round: round + 1,
            accepted_records: drive.accepted_records,
            received_records: after.received.records() - before.received.records(),
            failed_requests: drive.failed_requests,
            rejected_records: drive.rejected_records,
            errors: drive.errors.clone(),
            records_per_second: drive.rate(),
            cpu_seconds: program,
            cpu_seconds_per_million: program / millions,
            harness_cpu_seconds_per_million: harness / millions,
            other_cores: others / wall,
            p50_ms: drive.p50_ms,
            p99_ms: drive.p99_ms,
            peak_rss_mib: peak_rss as f64 / f64::from(1 << 20),
            checked_requests: after.received.checked,
            leaks: after.received.leaks,
            first_leak: after.received.first_leak.clone(),
            malformed_requests: after.received.malformed,
            last_error: after.received.last_error.clone(),
        }
    }
}

/// Moves all threads of this process to the first core.
fn pin_self() -> Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-a", "-c", "-p", "0", &pid]).output();
    let done = status.map_err(|source| Error::Start { program: "taskset".into(), source })?.status.success();
    if done {
        Ok(())
    } else {
        Err(Error::Setting("taskset could not pin this process; leave out --pin".into()))
    }
}

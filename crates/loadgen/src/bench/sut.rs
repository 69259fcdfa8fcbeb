//! Systems under test: starts each as its own process on loopback, reads its counters, stops it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal as Kill, kill_process};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::procfs;

/// How long a program may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;
const COLLECTOR_FORWARD: &str = include_str!("../../../../benches/otelcol/passthrough.yaml");
const COLLECTOR_REDACT: &str = include_str!("../../../../benches/otelcol/redact.yaml");
const COLLECTOR_REDACT_ALL: &str = include_str!("../../../../benches/otelcol/redact-all.yaml");

/// A program with its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Floodway, `pipelines/bench/forward.yaml`.
    FloodwayForward,
    /// Floodway, `pipelines/bench/redact.yaml`.
    FloodwayRedact,
    /// Floodway, `pipelines/bench/redact-sample.yaml`.
    FloodwayRedactSample,
    /// Floodway, `pipelines/bench/durable.yaml`.
    FloodwayDurable,
    /// Floodway, `pipelines/bench/series-forward.yaml`.
    FloodwaySeriesForward,
    /// Floodway, `pipelines/bench/series-relabel.yaml`.
    FloodwaySeriesRelabel,
    /// Floodway, `pipelines/bench/syslog-loki.yaml`.
    FloodwaySyslogLoki,
    /// Floodway, `pipelines/bench/logstash-elasticsearch.yaml`.
    FloodwayLogstashElastic,
    /// Floodway, `pipelines/bench/otlp-kafka.yaml`.
    FloodwayKafka,
    /// OpenTelemetry Collector, `benches/otelcol/passthrough.yaml`.
    CollectorForward,
    /// OpenTelemetry Collector, `benches/otelcol/redact.yaml`.
    CollectorRedact,
    /// OpenTelemetry Collector, `benches/otelcol/redact-all.yaml`.
    CollectorRedactAll,
    /// No program: the client talks to the sink.
    Nothing,
}

impl System {
    /// All of them.
    pub const ALL: [System; 13] = [
        System::FloodwayForward,
        System::FloodwayRedact,
        System::FloodwayRedactSample,
        System::FloodwayDurable,
        System::FloodwaySeriesForward,
        System::FloodwaySeriesRelabel,
        System::FloodwaySyslogLoki,
        System::FloodwayLogstashElastic,
        System::FloodwayKafka,
        System::CollectorForward,
        System::CollectorRedact,
        System::CollectorRedactAll,
        System::Nothing,
    ];

    /// For `--systems` and the report.
    pub fn name(self) -> &'static str {
        match self {
            System::FloodwayForward => "floodway-forward",
            System::FloodwayRedact => "floodway-redact",
            System::FloodwayRedactSample => "floodway-redact-sample",
            System::FloodwayDurable => "floodway-durable",
            System::FloodwaySeriesForward => "floodway-series-forward",
            System::FloodwaySeriesRelabel => "floodway-series-relabel",
            System::FloodwaySyslogLoki => "floodway-syslog-loki",
            System::FloodwayLogstashElastic => "floodway-logstash-es",
            System::FloodwayKafka => "floodway-otlp-kafka",
            System::CollectorForward => "collector-forward",
            System::CollectorRedact => "collector-redact",
            System::CollectorRedactAll => "collector-redact-all",
            System::Nothing => "nothing",
        }
    }

    /// The system of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.name() == name)
    }

    /// Whether it drops records on purpose.
    pub fn samples(self) -> bool {
        self == System::FloodwayRedactSample
    }

    /// Whether it promises that no peer comes through.
    pub fn redacts(self) -> bool {
        self == System::FloodwayRedact
            || self == System::FloodwayRedactSample
            || self == System::FloodwayDurable
            || matches!(self, System::CollectorRedact | System::CollectorRedactAll)
    }

    /// Whether what comes out goes to a Kafka broker.
    pub fn sends_to_kafka(self) -> bool {
        self == System::FloodwayKafka
    }

    /// Whether it keeps what it takes on the disk.
    fn buffers(self) -> bool {
        self == System::FloodwayDurable
    }

    /// Floodway's pipeline, if it is Floodway.
    fn pipeline(self) -> Option<&'static str> {
        Some(match self {
            System::FloodwayForward => "forward.yaml",
            System::FloodwayRedact => "redact.yaml",
            System::FloodwayRedactSample => "redact-sample.yaml",
            System::FloodwayDurable => "durable.yaml",
            System::FloodwaySeriesForward => "series-forward.yaml",
            System::FloodwaySeriesRelabel => "series-relabel.yaml",
            System::FloodwaySyslogLoki => "syslog-loki.yaml",
            System::FloodwayLogstashElastic => "logstash-elasticsearch.yaml",
            System::FloodwayKafka => "otlp-kafka.yaml",
            _ => return None,
        })
    }

    /// Whether it is the OpenTelemetry Collector.
    pub fn is_collector(self) -> bool {
        self.collector_config().is_some()
    }

    /// The Collector's configuration, if it is the Collector.
    fn collector_config(self) -> Option<&'static str> {
        match self {
            System::CollectorForward => Some(COLLECTOR_FORWARD),
            System::CollectorRedact => Some(COLLECTOR_REDACT),
            System::CollectorRedactAll => Some(COLLECTOR_REDACT_ALL),
            _ => None,
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The floodway binary, built for release.
    pub floodway: PathBuf,
    /// Folder with the pipelines that are measured.
    pub pipelines: PathBuf,
    /// The OpenTelemetry Collector, if there is one.
    pub otelcol: Option<PathBuf>,
}

impl Programs {
    /// Fails when one of these systems could not be started, before anything is measured.
    pub(super) fn check(&self, systems: &[System]) -> Result<()> {
        for &system in systems {
            let (program, hint) = match system {
                System::Nothing => continue,
                _ if system.is_collector() => {
                    let hint = "give --otelcol, or choose --systems without the collector";
                    (self.otelcol.clone().unwrap_or_else(|| "otelcol".into()), hint)
                }
                _ => (self.floodway.clone(), "build it: cargo build --release -p floodway"),
            };
            if !program.is_file() {
                return Err(Error::Missing { what: program.display().to_string(), hint: hint.into() });
            }
        }
        Ok(())
    }

    fn pipeline(&self, name: &str) -> PathBuf {
        self.pipelines.join(name)
    }
}

/// What a system is to be started with.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) programs: &'a Programs,
    pub(super) work_dir: &'a Path,
    /// `host:port`
    pub(super) sink: &'a str,
    pub(super) pin: bool,
}

/// A running system. Its process is killed when this is dropped without [`Sut::stop`].
pub(super) struct Sut {
    system: System,
    addr: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

impl Sut {
    /// Starts it and waits until it listens.
    pub(super) async fn start(system: System, target: Target<'_>) -> Result<Self> {
        let log = target.work_dir.join(format!("{}.log", system.name()));
        if system == System::Nothing {
            let addr =
                target.sink.parse().map_err(|_| Error::Setting(format!("{} is no address", target.sink)))?;
            return Ok(Self { system, addr, log, child: None });
        }
        let addr = free_address()?;
        let mut command = command(system, &target, addr)?;
        let output = File::create(&log).map_err(Error::file(&log))?;
        let errors = output.try_clone().map_err(Error::file(&log))?;
        command.current_dir(target.work_dir).stdin(Stdio::null()).stdout(output).stderr(errors);
        let program = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(|source| Error::Start { program, source })?;
        let mut sut = Self { system, addr, log, child: Some(child) };
        sut.wait_until_listening().await?;
        Ok(sut)
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// CPU seconds it has used so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        self.child.as_ref().map_or(Ok(0.0), |child| procfs::cpu_seconds(child.id()))
    }

    /// The most memory it has had.
    pub(super) fn peak_rss_bytes(&self) -> Result<u64> {
        self.child.as_ref().map_or(Ok(0), |child| procfs::peak_rss_bytes(child.id()))
    }

    /// Ends it; an error if it had ended by itself before.
    pub(super) async fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(self.not_ready(format!("ended during the run with {status}")));
        }
        terminate(&child);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        kill(&mut child);
        Ok(())
    }

    async fn wait_until_listening(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.addr).await.is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(self.not_ready(format!("ended at once with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("did not listen on {} within {START_LIMIT:?}", self.addr)));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn not_ready(&self, what: String) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Error::NotReady { system: self.system.name(), what, log: self.log.clone(), tail }
    }
}

impl Drop for Sut {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill(child);
        }
    }
}

fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself, which is what we want.
        let _ = kill_process(pid, Kill::TERM);
    }
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The command line and environment of a system that is to listen on `addr`.
fn command(system: System, target: &Target<'_>, addr: SocketAddr) -> Result<Command> {
    if let Some(template) = system.collector_config() {
        let file = target.work_dir.join(format!("{}.yaml", system.name()));
        let config = template.replace("${LISTEN}", &addr.to_string()).replace("${TARGET}", target.sink);
        fs::write(&file, config).map_err(Error::file(&file))?;
        let program = target.programs.otelcol.clone().unwrap_or_else(|| "otelcol".into());
        let mut command = pinned(&program, target.pin);
        command.arg("--config").arg(absolute(&file)?);
        return Ok(command);
    }
    let pipeline = system.pipeline().unwrap_or("forward.yaml");
    let key = absolute(target.work_dir)?.join("redact.key");
    let buffer = absolute(target.work_dir)?.join("buffer");
    if system.buffers() {
        fresh_on_disk(&buffer)?;
    }
    let mut command = pinned(&absolute(&target.programs.floodway)?, target.pin);
    command.arg("run").arg(absolute(&target.programs.pipeline(pipeline))?);
    command.env("LISTEN", addr.to_string()).env("TARGET", target.sink);
    command.env("ADMIN", free_address()?.to_string()).env("REDACT_KEY", key);
    command.env("BUFFER", buffer);
    Ok(command)
}

/// Sees to it that a buffer begins empty, and on a disk: an fsync in memory costs nothing, and a figure with it says nothing.
fn fresh_on_disk(buffer: &Path) -> Result<()> {
    if buffer.exists() {
        fs::remove_dir_all(buffer).map_err(Error::file(buffer))?;
    }
    fs::create_dir_all(buffer).map_err(Error::file(buffer))?;
    let kind = procfs::file_system(buffer)?;
    if matches!(kind.as_str(), "tmpfs" | "ramfs") {
        let dir = buffer.display();
        return Err(Error::Setting(format!("{dir} is in memory ({kind}): give --work-dir on a disk")));
    }
    Ok(())
}

/// The program, on the last core alone if wanted. `taskset` becomes the program, so the process id is the same.
fn pinned(program: &Path, pin: bool) -> Command {
    if !pin {
        return Command::new(program);
    }
    let last = procfs::cores().saturating_sub(1);
    let mut command = Command::new("taskset");
    command.arg("-c").arg(last.to_string()).arg(program);
    command
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::file(path))
}

/// A loopback port that is free now; nothing else on a benchmark's machine is likely to take it in between.
fn free_address() -> Result<SocketAddr> {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = |source| Error::Listen { addr, source };
    TcpListener::bind(addr).and_then(|listener| listener.local_addr()).map_err(listening)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(floodway: &str) -> Programs {
        Programs { floodway: floodway.into(), pipelines: "/tmp".into(), otelcol: None }
    }

    #[test]
    fn names_lead_back() {
        for system in System::ALL {
            assert_eq!(System::from_name(system.name()), Some(system));
        }
    }

    #[test]
    fn a_missing_program_is_found_before_the_run() {
        let programs = programs("/nonexistent/floodway");
        assert!(programs.check(&[System::Nothing]).is_ok());
        let error = programs.check(&[System::FloodwayForward]).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/floodway") && error.contains("cargo build"), "{error}");
        let error = programs.check(&[System::CollectorRedact]).unwrap_err().to_string();
        assert!(error.contains("--otelcol"), "{error}");
    }

    #[test]
    fn collector_configurations_hold_both_addresses() {
        for template in System::ALL.into_iter().filter_map(System::collector_config) {
            let uses =
                |name: &str| template.lines().filter(|l| !l.starts_with('#') && l.contains(name)).count();
            assert_eq!((uses("${LISTEN}"), uses("${TARGET}")), (1, 1));
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_reported_with_its_log() {
        let work_dir = tempfile::tempdir().unwrap();
        let program = work_dir.path().join("floodway");
        fs::write(work_dir.path().join("forward.yaml"), "").unwrap();
        fs::write(&program, "#!/bin/sh\necho no such key: ack >&2\nexit 3\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Programs { floodway: program, pipelines: work_dir.path().into(), otelcol: None };
        let target =
            Target { programs: &programs, work_dir: work_dir.path(), sink: "127.0.0.1:9", pin: false };
        let error = Sut::start(System::FloodwayForward, target).await.err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such key: ack"), "{error}");
    }
}

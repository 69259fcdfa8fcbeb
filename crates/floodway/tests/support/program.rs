//! The program under test as a child process: free ports, its own folder, gone when the value is dropped.
//!
//! It is the binary in `FLOODWAY_BIN` where that is set, else the one that cargo built for these tests.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{await_some, http};

/// 32 bytes, so that pseudonyms are the same in every run.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Names of ports that a configuration may use as `@name@`.
const PORTS: [&str; 8] =
    ["grpc", "http", "logstash", "admin", "syslog", "syslog_tls", "remote_write", "loki_push"];
const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(45);
/// A free port may be taken by another process before the program binds it.
const ATTEMPTS: usize = 4;
/// What the program ends with when it cannot bind.
const NO_START: i32 = 3;

/// Receivers on free ports and redaction, as the quickstart has them; exporters and pipelines are the test's.
pub(crate) const WAYS_IN: &str = "
admin: {endpoint: '127.0.0.1:@admin@'}
receivers:
  otlp: {grpc: {endpoint: '127.0.0.1:@grpc@'}, http: {endpoint: '127.0.0.1:@http@'}}
  logstash: {endpoint: '127.0.0.1:@logstash@'}
processors:
  redact: {key_file: '@dir@/redact.key'}
";

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("FLOODWAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_floodway").into(), PathBuf::from)
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A loopback port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A running `floodway run`.
pub(crate) struct Floodway {
    child: Child,
    ports: [u16; PORTS.len()],
    dir: TempDir,
    /// The configuration, with names for ports.
    template: String,
    env: Vec<(String, String)>,
    /// How much of its log is of earlier starts.
    log_before: usize,
}

impl Floodway {
    /// Runs a configuration in which `@grpc@` and the like stand for ports, and `@dir@` for the program's folder, and waits until
    /// it is ready.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(|_| (config.to_owned(), Vec::new()))
    }

    /// The pipeline `main` from all receivers through `redact` to `exporter`, which is YAML.
    pub(crate) fn redacting_to(exporter: &str) -> Self {
        Self::start(&format!(
            "{WAYS_IN}\nexporters:\n  {exporter}\npipelines:\n  main: {{receivers: [otlp, logstash], processors: [redact], \
             exporters: [{}]}}\n",
            exporter.split(':').next().unwrap().trim()
        ))
    }

    /// As [`Floodway::start`], with environment variables; both may name the ports.
    pub(crate) fn start_with(setup: impl Fn(&[u16; PORTS.len()]) -> (String, Vec<(String, String)>)) -> Self {
        for _ in 1..ATTEMPTS {
            if let Some(running) = Self::try_start(&setup) {
                return running;
            }
        }
        Self::try_start(&setup).unwrap_or_else(|| panic!("no free ports after {ATTEMPTS} attempts"))
    }

    fn try_start(setup: &impl Fn(&[u16; PORTS.len()]) -> (String, Vec<(String, String)>)) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("floodway-test-").tempdir().unwrap();
        write_key(&dir.path().join("redact.key"));
        let ports = free_ports();
        let (config, env) = setup(&ports);
        let template = config.replace("@dir@", dir.path().to_str().unwrap());
        write_config(dir.path(), &template, &ports);
        let child = spawn(dir.path(), &env);
        let mut running = Self { child, ports, dir, template, env, log_before: 0 };
        running.await_ready().then_some(running)
    }

    /// Starts it once more in its folder, on its ports; on others if one of those was taken meanwhile.
    fn start_again(&mut self) {
        for _ in 0..ATTEMPTS {
            self.log_before = self.log().len();
            self.child = spawn(self.dir.path(), &self.env);
            if self.await_ready() {
                return;
            }
            self.ports = free_ports();
            write_config(self.dir.path(), &self.template, &self.ports);
        }
        panic!("no free ports after {ATTEMPTS} attempts");
    }

    /// Whether it runs; false if a port was taken.
    fn await_ready(&mut self) -> bool {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = self.log_since_start();
                assert!(
                    status.code() == Some(NO_START) && log.contains("ddress already in use"),
                    "floodway ended at its start ({status}):\n{log}"
                );
                return false;
            }
            let ready =
                http::try_get(self.port("admin"), "/ready").is_some_and(|answer| answer.status == 200);
            // The second look: the answer may have been that of another test's program, on a port that ours could not bind.
            if ready && self.child.try_wait().unwrap().is_none() {
                return true;
            }
            assert!(Instant::now() < deadline, "floodway is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The number of the port called `name`.
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.ports[PORTS.iter().position(|known| *known == name).unwrap()]
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its folder: the working directory, with `floodway.yaml`, `redact.key` and what it wrote.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything that it has printed.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log.txt")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it has printed since it was started last.
    pub(crate) fn log_since_start(&self) -> String {
        self.log().split_off(self.log_before)
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        http::get(self.port("admin"), "/metrics").text()
    }

    /// The sum over the series of `name` that carry all of `labels`, each written as `reason="malformed"`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        super::books::sum(&self.metrics(), name, labels)
    }

    /// Requests refused so far for `reason`.
    pub(crate) fn refused(&self, reason: &str) -> f64 {
        self.metric("floodway_refused_requests_total", &[&format!("reason=\"{reason}\"")])
    }

    pub(crate) fn accepted(&self) -> f64 {
        self.metric("floodway_accepted_items_total", &[])
    }

    pub(crate) fn delivered(&self) -> f64 {
        self.metric("floodway_delivered_items_total", &[])
    }

    /// Waits until `items` records were delivered, no fewer and no more.
    pub(crate) fn await_delivered(&self, items: usize) {
        let limit = Duration::from_secs(30);
        let delivered = await_some(&format!("delivering {items} records"), limit, || {
            let delivered = self.delivered();
            (delivered >= items as f64).then_some(delivered)
        });
        assert_eq!(delivered, items as f64, "delivered more than was sent");
    }

    /// The most memory that it ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        kib << 10
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Sends SIGKILL and waits until it has ended.
    pub(crate) fn kill(mut self) -> Stopped {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        Stopped { status, running: self }
    }

    /// Sends SIGTERM and waits until it has ended.
    pub(crate) fn stop(mut self) -> Stopped {
        self.terminate();
        let status =
            await_some("the end of floodway after SIGTERM", STOP_WITHIN, || self.child.try_wait().unwrap());
        Stopped { status, running: self }
    }
}

/// What is left of a program that has ended: its folder stays until this is dropped.
pub(crate) struct Stopped {
    pub(crate) status: ExitStatus,
    running: Floodway,
}

impl Stopped {
    pub(crate) fn dir(&self) -> &Path {
        self.running.dir()
    }

    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Starts it again in its folder, with what it left there, and waits until it is ready.
    pub(crate) fn start_again(self) -> Floodway {
        let mut running = self.running;
        running.start_again();
        running
    }

    /// Everything was delivered.
    pub(crate) fn cleanly(self) -> Self {
        assert_eq!(self.status.code(), Some(0), "floodway did not end cleanly");
        self
    }
}

impl Drop for Floodway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of floodway's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// What `floodway redact` makes of each line, with the key of [`write_key`].
pub(crate) fn redact_lines(lines: &[String]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("redact.key");
    write_key(&key);
    redact_lines_with(&key, lines)
}

/// What `floodway redact` makes of each line with the key in `file`.
pub(crate) fn redact_lines_with(file: &Path, lines: &[String]) -> Vec<String> {
    let mut child = Command::new(binary())
        .args(["redact", "--key-file", file.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    let redacted: Vec<String> = output.lines().map(str::to_owned).collect();
    assert_eq!(redacted.len(), lines.len());
    redacted
}

/// Writes [`KEY`] as the program wants key files: for their owner alone.
pub(crate) fn write_key(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(KEY.as_bytes()).unwrap();
}

fn write_config(dir: &Path, template: &str, ports: &[u16]) {
    let named = PORTS.iter().zip(ports);
    let config = named.fold(template.to_owned(), |config, (name, port)| {
        config.replace(&format!("@{name}@"), &port.to_string())
    });
    std::fs::write(dir.join("floodway.yaml"), config).unwrap();
}

fn spawn(dir: &Path, env: &[(String, String)]) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("log.txt")).unwrap();
    Command::new(binary())
        .args(["run", "floodway.yaml"])
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Ports that differ: all are held until the last is chosen.
fn free_ports() -> [u16; PORTS.len()] {
    let held = PORTS.map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

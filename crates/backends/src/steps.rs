//! Runs the commands of an installation one after another: progress to a callback, output to a log file, the end of the
//! log into the error.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Longer than any step needs on two slow cores; a step that hangs must not hold a CI machine for ever.
const STEP_LIMIT: Duration = Duration::from_secs(45 * 60);
const HEARTBEAT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// How much of a log goes into an error.
const TAIL_LINES: usize = 30;
const TAIL_BYTES: u64 = 16 * 1024;

/// Where an installation stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The backend.
    pub backend: &'static str,
    /// What the step does.
    pub step: &'a str,
    /// Whether the step begins, is still running, or is over.
    pub phase: Phase,
    /// Time since the installation began.
    pub elapsed: Duration,
}

/// The phases of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It begins now.
    Started,
    /// It still runs; told every 20 s.
    Waiting,
    /// It failed and is tried again, as steps that use the network are.
    Retrying,
}

/// The running installation of one backend.
pub(crate) struct Steps<'a> {
    backend: &'static str,
    log: PathBuf,
    started: Instant,
    progress: &'a dyn Fn(Progress<'_>),
}

impl<'a> Steps<'a> {
    /// Begins with an empty log.
    pub(crate) fn new(
        backend: &'static str,
        log: PathBuf,
        progress: &'a dyn Fn(Progress<'_>),
    ) -> Result<Self> {
        File::create(&log).map_err(Error::io("create", &log))?;
        Ok(Self { backend, log, started: Instant::now(), progress })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs a command to its end; its output goes to the log.
    pub(crate) fn run(&self, step: &str, command: &mut Command) -> Result<()> {
        self.tell(step, Phase::Started);
        let log = self.open_log(step, command)?;
        let error_log = log.try_clone().map_err(Error::io("open", &self.log))?;
        command.stdout(log).stderr(error_log);
        self.finish(step, command)
    }

    /// As `run`, up to three times: for steps that talk to a registry.
    pub(crate) fn run_online(&self, step: &str, command: &mut Command) -> Result<()> {
        for pause_secs in [2, 10] {
            match self.run(step, command) {
                Err(Error::Step { .. }) => {
                    self.tell(step, Phase::Retrying);
                    std::thread::sleep(Duration::from_secs(pause_secs));
                }
                other => return other,
            }
        }
        self.run(step, command)
    }

    /// Runs a command and returns its standard output; only standard error goes to the log.
    pub(crate) fn capture(&self, step: &str, command: &mut Command) -> Result<String> {
        self.tell(step, Phase::Started);
        let log = self.open_log(step, command)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let output = command.output().map_err(|source| spawn_error(command, source))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        // `go ... -json` reports its errors on standard output.
        if let Ok(mut log) = OpenOptions::new().append(true).open(&self.log) {
            log.write_all(&output.stdout).map_err(Error::io("write", &self.log))?;
        }
        Err(self.failed(step, output.status.to_string()))
    }

    fn finish(&self, step: &str, command: &mut Command) -> Result<()> {
        let mut child =
            command.stdin(Stdio::null()).spawn().map_err(|source| spawn_error(command, source))?;
        let begun = Instant::now();
        let mut beats = 0;
        loop {
            match child.try_wait().map_err(|source| spawn_error(command, source))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failed(step, status.to_string())),
                None => std::thread::sleep(POLL),
            }
            if begun.elapsed() > STEP_LIMIT {
                child.kill().and_then(|()| child.wait()).map_err(|source| spawn_error(command, source))?;
                return Err(self.failed(step, format!("stopped after {} min", STEP_LIMIT.as_secs() / 60)));
            }
            if begun.elapsed() > HEARTBEAT * (beats + 1) {
                beats += 1;
                self.tell(step, Phase::Waiting);
            }
        }
    }

    fn tell(&self, step: &str, phase: Phase) {
        (self.progress)(Progress { backend: self.backend, step, phase, elapsed: self.elapsed() });
    }

    fn open_log(&self, step: &str, command: &Command) -> Result<File> {
        let mut log =
            OpenOptions::new().append(true).open(&self.log).map_err(Error::io("open", &self.log))?;
        writeln!(log, "== {step}: {command:?}").map_err(Error::io("write", &self.log))?;
        Ok(log)
    }

    fn failed(&self, step: &str, status: String) -> Error {
        Error::Step {
            backend: self.backend,
            step: step.to_owned(),
            status,
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

fn spawn_error(command: &Command, source: std::io::Error) -> Error {
    Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// The last lines of a file, for an error message; empty if it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let skipped = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn steps<'a>(dir: &Path, progress: &'a dyn Fn(Progress<'_>)) -> Steps<'a> {
        Steps::new("example", dir.join("log"), progress).unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failing_step_carries_the_end_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let seen = RefCell::new(Vec::new());
        let note = |p: Progress<'_>| seen.borrow_mut().push((p.step.to_owned(), p.phase));
        let steps = steps(dir.path(), &note);
        steps.run("fine", &mut shell("echo early")).unwrap();
        let error =
            steps.run("bad", &mut shell("seq 100; echo the cause >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("step `bad` failed (exit status: 3)"), "{error}");
        assert!(
            error.ends_with("the cause") && error.contains("\n100\n") && !error.contains("early"),
            "{error}"
        );
        assert_eq!(*seen.borrow(), [("fine".to_owned(), Phase::Started), ("bad".to_owned(), Phase::Started)]);
    }

    #[test]
    fn captured_output_stays_out_of_the_log_unless_it_explains_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let steps = steps(dir.path(), &|_| {});
        assert_eq!(steps.capture("ask", &mut shell("echo answer; echo noise >&2")).unwrap(), "answer\n");
        assert!(!tail(&steps.log).contains("\nanswer"));
        let error = steps.capture("ask", &mut shell("echo why; exit 1")).unwrap_err();
        assert!(error.to_string().ends_with("why"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            steps(dir.path(), &|_| {}).run("try", &mut Command::new("floodway-no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot run floodway-no-such-program");
    }
}

//! Ends processes: politely first, then by force, and only those that are certainly ours.
//!
//! A recorded process id may have been given to another process since. So the record holds the start time as well
//! (Linux: clock ticks since boot, field 22 of `/proc/PID/stat`), and a process that started at another time is not ours.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};

const POLL: Duration = Duration::from_millis(20);

/// Identifies a process beyond the reuse of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: u32,
    /// `None` where there is no `/proc`.
    started: Option<u64>,
}

impl ProcessRecord {
    pub(crate) fn of(child: &Child) -> Self {
        Self { pid: child.id(), started: start_time(child.id()) }
    }

    /// Whether the recorded process still runs.
    pub(crate) fn is_alive(self) -> bool {
        pid(self.pid).is_some_and(|pid| test_kill_process(pid).is_ok())
            && start_time(self.pid) == self.started
    }

    /// Ends the recorded process, which need not be a child of this one; waits up to `grace` before using force.
    pub(crate) fn stop(self, grace: Duration) {
        for signal in [Signal::TERM, Signal::KILL] {
            if !self.is_alive() {
                return;
            }
            send(self.pid, signal);
            let deadline = Instant::now() + grace;
            while self.is_alive() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// Ends a child and reaps it; waits up to `grace` before using force.
pub(crate) fn stop_child(child: &mut Child, grace: Duration) -> std::io::Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    send(child.id(), Signal::TERM);
    match wait(child, grace)? {
        Some(status) => Ok(status),
        None => {
            child.kill()?;
            child.wait()
        }
    }
}

/// Waits for a child up to a limit; `None` when it still runs.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(POLL);
    }
}

/// Best effort: the process may have ended by itself, which is what we want.
fn send(id: u32, signal: Signal) {
    if let Some(pid) = pid(id) {
        let _gone_already = kill_process(pid, signal);
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// `None` where there is no `/proc`, for a process that is gone, and for one that ended but is not reaped yet.
fn start_time(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in parentheses, with any bytes inside; the others are plain.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (state != "Z").then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().unwrap()
    }

    #[test]
    fn a_polite_child_is_ended_politely_and_a_stubborn_one_by_force() {
        use std::os::unix::process::ExitStatusExt;
        let mut polite = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(stop_child(&mut polite, Duration::from_secs(5)).unwrap().signal(), Some(15));
        let mut stubborn = shell("trap '' TERM; while :; do sleep 0.05; done");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(stop_child(&mut stubborn, Duration::from_millis(200)).unwrap().signal(), Some(9));
    }

    #[test]
    fn a_record_whose_start_time_differs_is_not_ours() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let record = ProcessRecord::of(&child);
        assert!(record.is_alive());
        let other = ProcessRecord { started: record.started.map(|ticks| ticks + 1), ..record };
        assert!(!other.is_alive());
        other.stop(Duration::from_secs(1));
        assert!(child.try_wait().unwrap().is_none(), "a process that only shares the id was signalled");
        record.stop(Duration::from_secs(5));
        assert!(!record.is_alive());
        child.wait().unwrap();
    }
}

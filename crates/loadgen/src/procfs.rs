//! What the kernel knows about a process and the machine: CPU time, peak memory, and the note that goes with every figure.
//!
//! CPU time is `utime + stime` of `/proc/PID/stat`: all threads of the process, ended ones included, children not. The kernel
//! scales it to the scheduler's exact run time, so it is good to one tick of 10 ms.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// Ticks a second in `/proc`: a constant of the Linux ABI on every architecture that Rust's std supports (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds that a process has used, in user and kernel mode.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = read(&path)?;
    parse_cpu_ticks(&text)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or(Error::Proc { path, what: "utime and stime" })
}

/// The most memory, in bytes, that a process has had resident at once (`VmHWM`).
pub fn peak_rss_bytes(pid: u32) -> Result<u64> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = read(&path)?;
    kib_field(&text, "VmHWM:").map(|kib| kib * 1024).ok_or(Error::Proc { path, what: "VmHWM" })
}

/// CPU seconds that the whole machine has spent other than idle since it started.
pub fn machine_busy_seconds() -> Result<f64> {
    let path = PathBuf::from("/proc/stat");
    let text = read(&path)?;
    parse_busy_ticks(&text).map(|t| t as f64 / TICKS_PER_SECOND).ok_or(Error::Proc { path, what: "line cpu" })
}

/// The type of the file system that a directory is on, such as `ext4` or `tmpfs`; `path` is absolute.
pub fn file_system(path: &Path) -> Result<String> {
    let mounts = PathBuf::from("/proc/self/mounts");
    let text = read(&mounts)?;
    file_system_of(&text, path).ok_or(Error::Proc { path: mounts, what: "the mount of the directory" })
}

/// The last mount counts among those of the longest path that leads to `path`: it covers the others. A line is
/// `DEVICE PATH TYPE OPTIONS 0 0`.
fn file_system_of(mounts: &str, path: &Path) -> Option<String> {
    let line = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    };
    let leading = mounts.lines().filter_map(line).filter(|(mount, _)| path.starts_with(mount));
    leading.max_by_key(|(mount, _)| mount.components().count()).map(|(_, kind)| kind)
}

/// Cores of the machine, also of those that this process is kept away from.
pub fn cores() -> usize {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // A line `cpuN ...` for each, after the line `cpu ...` for all.
    text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

/// The machine that a figure was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its cores.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Runnable tasks over the last minute, when it was asked.
    pub load_1min: f64,
}

impl Machine {
    /// Asks the kernel; what it does not say stays empty.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = text("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = text("/proc/loadavg");
        Self {
            cpu: cpu.map_or("unknown processor", |(_, name)| name).trim().to_owned(),
            cores: cores(),
            memory_mib: kib_field(&text("/proc/meminfo"), "MemTotal:").unwrap_or(0) / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_1min: load.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cpu, cores, memory_mib, kernel, load_1min } = self;
        write!(
            f,
            "{cpu}, {cores} cores, {memory_mib} MiB, Linux {kernel}, load {load_1min:.1} before the run"
        )
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file(path))
}

/// Fields 14 and 15. The second field is the program's name in parentheses and may itself hold spaces and parentheses, so
/// counting starts after the last closing one, at field 3.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

/// The line `cpu user nice system idle iowait irq softirq steal ...`, without idle, iowait and what is stolen or counted twice.
fn parse_busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    (ticks.len() >= 7).then(|| ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6])
}

/// The number of a line `Name:   123 kB`.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_file_system_is_that_of_the_nearest_mount_and_the_last_one_there() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\nnone /tmp/x ramfs rw 0 0\n";
        let kind = |path: &str| file_system_of(mounts, Path::new(path)).unwrap();
        assert_eq!(
            (kind("/home"), kind("/tmp/y"), kind("/tmp/x/z")),
            ("ext4".into(), "tmpfs".into(), "ramfs".into())
        );
        assert_eq!(kind("/tmpx"), "ext4");
    }

    #[test]
    fn a_stat_line_with_an_odd_name() {
        let line = "4242 (a) b (c)) S 1 4242 4242 0 -1 4194304 100 0 0 0 1234 56 7 8 20 0 3 0 99 1000 10";
        assert_eq!(parse_cpu_ticks(line), Some(1_290));
        assert_eq!(parse_cpu_ticks("4242 (x) S 1 2"), None);
        assert_eq!(parse_cpu_ticks(""), None);
    }

    #[test]
    fn other_files() {
        assert_eq!(kib_field("VmPeak:\t  10 kB\nVmHWM:\t    5132 kB\n", "VmHWM:"), Some(5_132));
        assert_eq!(parse_busy_ticks("cpu  1 2 3 1000 1000 4 5 9 9 9\ncpu0 1"), Some(15));
        assert_eq!(parse_busy_ticks("cpu  1 2"), None);
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let pid = std::process::id();
        let before = cpu_seconds(pid).unwrap();
        let start = Instant::now();
        let mut x = 1u64;
        let mut used = 0.0;
        // Others may have the processor; without work the clock would stand however long that took.
        while used < 0.03 && start.elapsed() < Duration::from_secs(60) {
            for _ in 0..1 << 16 {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
            used = cpu_seconds(pid).unwrap() - before;
        }
        assert!(used >= 0.03, "{used} s after {:?} of work", start.elapsed());
        assert!(peak_rss_bytes(pid).unwrap() > 1 << 20);
        assert!(machine_busy_seconds().unwrap() > 0.0);
        assert!(cores() >= std::thread::available_parallelism().map_or(1, usize::from));
    }
}

//! Appends a second by number of senders, on the disk of a directory: `cargo run --release -p buffer --example group_commit -- DIR`.
//!
//! Each sender waits for its answer before it sends again. `alone` commits each append by itself; the ratio of the two in one run
//! is what counts, absolute figures are the disk's. CPU is that of the whole process, user and kernel.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "its output is its purpose")]

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use buffer::{FileStorage, Log, OnFull, Options, Writer, WriterOptions};
use bytes::Bytes;

const RUN: Duration = Duration::from_secs(3);

fn main() {
    let dir = std::env::args_os().nth(1).expect("a directory to write to");
    let mut opened = Vec::new();
    println!("payload | senders | alone/s | group/s | ratio | p50 ms | p99 ms | MB/s | CPU ms/MB");
    for bytes in [4 << 10, 450_000] {
        let payload: Bytes = (0..bytes).map(|n: usize| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
        for senders in [1, 4, 16, 64] {
            let alone = alone(Path::new(&dir), senders, &payload);
            let group = group(Path::new(&dir), senders, &payload);
            opened.push(reopened(Path::new(&dir)));
            let megabytes = group.rate() * bytes as f64 / 1e6;
            println!(
                "{bytes:7} | {senders:7} | {:7.0} | {:7.0} | {:5.1} | {:6.2} | {:6.2} | {megabytes:4.0} | {:.2}",
                alone.rate(),
                group.rate(),
                group.rate() / alone.rate(),
                group.latency(0.5),
                group.latency(0.99),
                group.cpu.as_secs_f64() * 1e3 / (megabytes * group.time.as_secs_f64()),
            );
        }
    }
    opened.iter().for_each(|line| println!("{line}"));
}

/// How many records and megabytes an opening has scanned, and in what time.
fn reopened(dir: &Path) -> String {
    let started = Instant::now();
    let log = Log::open(FileStorage::open(dir).expect("a directory"), Options::default()).expect("a log");
    let (time, report) = (started.elapsed(), log.report());
    let records = report.undelivered.records + report.done.records;
    format!("opened {records} records, {} MB, in {} ms", report.file_bytes / 1_000_000, time.as_millis())
}

struct Measured {
    latencies: Vec<Duration>,
    time: Duration,
    cpu: Duration,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    fn latency(&self, quantile: f64) -> f64 {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

fn log(dir: &Path) -> Log<FileStorage> {
    let options = Options { max_bytes: 512 << 20, on_full: OnFull::DropOldest, ..Options::default() };
    let mut log = Log::open(FileStorage::open(dir).expect("a directory"), options).expect("a log");
    log.done(0..=u64::MAX);
    log.close();
    log
}

/// Each sender appends again and again until the time is up.
fn measure(senders: usize, append: impl Fn() + Sync) -> Measured {
    let (started, cpu) = (Instant::now(), cpu());
    let run = || {
        let mut latencies = Vec::new();
        while started.elapsed() < RUN {
            let began = Instant::now();
            append();
            latencies.push(began.elapsed());
        }
        latencies
    };
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..senders).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a sender")).collect()
    });
    latencies.sort_unstable();
    Measured { latencies, time: started.elapsed(), cpu: self::cpu() - cpu }
}

fn alone(dir: &Path, senders: usize, payload: &Bytes) -> Measured {
    let log = Mutex::new(log(dir));
    measure(senders, || {
        let mut log = log.lock().expect("no panic");
        let seq = log.append(0, 0, 1, payload).expect("room");
        assert!(log.commit().is_durable(seq));
    })
}

fn group(dir: &Path, senders: usize, payload: &Bytes) -> Measured {
    let writer = Writer::spawn(log(dir), WriterOptions::default()).expect("a thread");
    measure(senders, || {
        let (answered, answer) = sync_channel(1);
        let tell = Box::new(move |result: Result<u64, buffer::Error>| {
            answered.send(result).expect("the sender waits");
        });
        writer.append(None, 0, 0, 1, payload.clone(), tell);
        answer.recv().expect("an answer").expect("durable");
    })
}

/// What the process has used, in the kernel's ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

//! The program is killed at random moments under load, again and again, before a destination that fails in every way, and every
//! record that it acknowledged must arrive.
//!
//! ```text
//! senders --numbers, again until acknowledged--> floodway (kill -9, start, kill -9, ...) --> sink that fails, hangs, is slow, cuts
//! in the end: the sink is well, all drains;  acknowledged - arrived = nothing
//! ```
//! Each round has a kind of records, settings and a fate of its own, all from one seed; `SEED=n` makes the same choices again (what
//! threads and the machine make of them differs), `ROUNDS=n` makes as many rounds. In some rounds the files of the buffer are damaged
//! while the program is down: then only what stood in the damaged places may be lost.
//!
//! A process that is killed leaves what it has written to the kernel, so this says nothing of power cuts: those are the matter of
//! `crates/buffer/tests/simulation.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on ends, and this one reports"
)]

mod support;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::books::{self, Books};
use support::numbered::{Kind, numbers_in, text};
use support::program::{Floodway, Stopped};
use support::rng::Rng;
use support::senders::{Load, Senders};
use support::sink::{Mood, Sink};

const ROUNDS: u64 = 5;
const KINDS: [Kind; 4] = [Kind::Traces, Kind::Logs, Kind::Metrics, Kind::Series];
/// Starts of the program in a round, without the last, which drains.
const LIVES: usize = 4;
/// Every so many rounds the files are damaged.
const DAMAGED: u64 = 5;
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// What is counted over a round, or over all.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    acknowledged: u64,
    /// Arrivals after the first.
    again: u64,
    recovered: u64,
    told_to_wait: u64,
    /// Acknowledged, and lost by damage that the test did.
    lost: u64,
    kills: u64,
}

#[test]
#[ignore = "takes half a minute: cargo xtask test"]
fn what_was_acknowledged_arrives_however_often_the_program_is_killed() {
    let seed = Rng::seed();
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    println!("SEED={seed} ROUNDS={rounds}");
    let mut total = Score::default();
    for n in 0..rounds {
        let begun = Instant::now();
        let score = round(seed.wrapping_add(n));
        println!("  {score:?}, {:.1?}", begun.elapsed());
        total.add(&score);
    }
    println!("all: {total:?}");
    assert!(
        rounds < ROUNDS || total.recovered > 0,
        "nothing was ever on the disk when the program was killed"
    );
}

impl Score {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.again += other.again;
        self.recovered += other.recovered;
        self.told_to_wait += other.told_to_wait;
        self.lost += other.lost;
        self.kills += other.kills;
    }
}

fn round(seed: u64) -> Score {
    let mut rng = Rng::new(seed);
    let kind = KINDS[usize::try_from(seed % KINDS.len() as u64).unwrap()];
    let damages = seed.is_multiple_of(DAMAGED);
    let mut sink = Sink::start(kind);
    let load = Load {
        kind,
        senders: usize::try_from(rng.within(2, 9)).unwrap(),
        most: rng.pick(&[1, 20, 200]),
        pause_ms: rng.pick(&[0, 5, 40]),
    };
    // Unset, it is `durable`, since the only exporter has a buffer.
    let ack = if damages { "durable" } else { rng.pick(&["durable", "unset", "delivered"]) };
    let config = config(kind, ack, sink.port, &mut rng);
    println!("SEED={seed} ROUNDS=1: {load:?}, ack {ack}{}", if damages { ", files damaged" } else { "" });
    let senders = Senders::start(load, rng.fork());
    let mut score = Score::default();
    let mut forgiven = Forgiven::default();
    let mut program = Floodway::start(&config);
    for life in 0..LIVES {
        if damages {
            // So that there is something to damage.
            sink.set(Mood::Failing);
        } else {
            sink.storm(rng.fork());
        }
        live(&program, &senders, life, &mut rng);
        senders.nobody_there();
        let stopped = if !damages && rng.one_in(8) {
            sink.calm();
            program.stop().cleanly()
        } else {
            score.kills += 1;
            if rng.one_in(6) {
                // Killed while it stops.
                program.terminate();
                std::thread::sleep(rng.millis(0, 60));
            }
            program.kill()
        };
        sink.calm();
        let before = missing(&senders.acknowledged(), &sink);
        if damages {
            forgiven.damage(stopped.dir(), &mut rng);
            sink.set(Mood::Failing);
        }
        program = stopped.start_again();
        score.recovered += check_start(&program, &senders, &before, damages);
        forgiven.hear(&program);
    }
    sink.calm();
    senders.aim(&program);
    score.told_to_wait = senders.told_to_wait();
    let acknowledged = senders.finish();
    books::drained(&program, DRAIN_WITHIN);
    let lost = missing(&acknowledged, &sink);
    score.lost = lost.len() as u64;
    forgiven.check(&lost, &acknowledged, &program);
    score.acknowledged = acknowledged.iter().map(|run| run.end - run.start).sum();
    score.again = sink.arrived().values().map(|times| u64::from(times - 1)).sum();
    nothing_is_left(program.stop().cleanly());
    score
}

/// Settings by chance: a queue that holds nearly all, or nearly nothing, so that what comes lives in memory or on disk only.
fn config(kind: Kind, ack: &str, sink: u16, rng: &mut Rng) -> String {
    let ack = if ack == "unset" { String::new() } else { format!(", ack: {ack}") };
    let (receiver, exporter) = match kind {
        Kind::Series => (
            format!("remote_write: {{endpoint: '127.0.0.1:@http@'{ack}}}"),
            format!(
                "prometheus_remote_write: {{endpoint: 'http://127.0.0.1:{sink}/api/v1/write', protocol_version: v1"
            ),
        ),
        _ => (
            format!(
                "otlp: {{grpc: {{endpoint: '127.0.0.1:@grpc@'}}, http: {{endpoint: '127.0.0.1:@http@'}}{ack}}}"
            ),
            format!("otlp: {{endpoint: 'http://127.0.0.1:{sink}', protocol: http, compression: none"),
        ),
    };
    let name = |component: &str| component.split(':').next().unwrap().to_owned();
    format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers:
  {receiver}
exporters:
  {exporter}, queue: {{max_bytes: {}, concurrency: {}}}, retry: {{max_backoff_ms: 100, timeout_ms: 1000}},
    buffer: {{directory: '@dir@/buffer', max_bytes: {}, window_ms: {}}}}}
pipelines: {{main: {{receivers: [{}], exporters: [{}]}}}}
",
        rng.pick(&[300_000, 4 << 20, 32 << 20]),
        if kind == Kind::Series { 1 } else { rng.within(1, 5) },
        // The smaller fills up when the destination is away for long: senders wait, and nothing is lost.
        rng.pick(&[8 << 20, 256 << 20]),
        rng.pick(&[0, 2, 10]),
        name(&receiver),
        name(&exporter),
    )
}

/// Load for a moment; at times hardly any, so that the next kill falls into the start; at times with a look at the books in between.
fn live(program: &Floodway, senders: &Senders, life: usize, rng: &mut Rng) {
    senders.aim(program);
    if rng.one_in(5) {
        return std::thread::sleep(rng.millis(0, 60));
    }
    std::thread::sleep(rng.millis(100, 1200));
    if life == 1 || rng.one_in(4) {
        senders.hold();
        books::agree(program);
        senders.go_on();
        std::thread::sleep(rng.millis(0, 300));
    }
}

/// What was acknowledged and has not arrived.
fn missing(acknowledged: &[Range<u64>], sink: &Sink) -> BTreeSet<u64> {
    let arrived = sink.arrived();
    acknowledged.iter().cloned().flatten().filter(|n| !arrived.contains_key(n)).collect()
}

/// The program came up: its books agree, and what it owes was found again. How much that was, in records.
fn check_start(program: &Floodway, senders: &Senders, owed: &BTreeSet<u64>, damaged: bool) -> u64 {
    senders.hold();
    let Books { recovered, .. } = books::agree(program);
    senders.go_on();
    assert!(
        damaged || recovered >= owed.len() as f64,
        "{} records were owed, {recovered} recovered; the first is {:?}",
        owed.len(),
        owed.first()
    );
    recovered as u64
}

/// What was delivered and noted does not come back.
fn nothing_is_left(stopped: Stopped) {
    let program = stopped.start_again();
    let books = books::agree(&program);
    assert_eq!((books.recovered, books.waiting), (0.0, 0.0), "{books:?}");
    program.stop().cleanly();
}

/// What may be lost, since the test destroyed it.
#[derive(Default)]
struct Forgiven {
    /// Numbers that stood in what was cut off.
    cut: BTreeSet<u64>,
    /// Requests of which a part may have stood in what was cut off, or in which a bit was turned.
    requests: usize,
    /// Files cut.
    cuts: usize,
    /// Bytes that the program has reported as damaged or lost.
    reported: u64,
}

impl Forgiven {
    fn damage(&mut self, dir: &Path, rng: &mut Rng) {
        let segments = segments(&dir.join("buffer"));
        if segments.is_empty() {
            return;
        }
        if rng.one_in(2) {
            self.cut(segments.last().unwrap(), rng);
        } else {
            let count = rng.within(1, 4);
            for _ in 0..count {
                let file = usize::try_from(rng.within(0, segments.len() as u64)).unwrap();
                self.turn(&segments[file], rng);
            }
        }
    }

    fn cut(&mut self, file: &Path, rng: &mut Rng) {
        let bytes = std::fs::read(file).unwrap();
        let keep = usize::try_from(rng.within(0, bytes.len() as u64 + 1)).unwrap();
        std::fs::write(file, &bytes[..keep]).unwrap();
        self.cut.extend(numbers_in(&bytes[keep..]));
        self.requests += 1;
        self.cuts += 1;
    }

    fn turn(&mut self, file: &Path, rng: &mut Rng) {
        let mut bytes = std::fs::read(file).unwrap();
        if bytes.is_empty() {
            return;
        }
        let at = usize::try_from(rng.within(0, bytes.len() as u64)).unwrap();
        bytes[at] ^= 1 << rng.within(0, 8);
        std::fs::write(file, &bytes).unwrap();
        self.requests += 1;
    }

    /// Adds up what the log of this start says. A file that was cut looks like what a crash leaves, and is not reported.
    fn hear(&mut self, program: &Floodway) {
        let log = program.log_since_start();
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        let figures = log.split("lost_bytes=").skip(1).map(|rest| digits(rest).parse::<u64>().unwrap());
        self.reported += figures.sum::<u64>();
    }

    /// Lost is at most what was destroyed: the requests that were cut off, and one for each cut and each turned bit.
    fn check(&self, lost: &BTreeSet<u64>, acknowledged: &[Range<u64>], program: &Floodway) {
        let hit: Vec<_> =
            acknowledged.iter().filter(|run| lost.range((*run).clone()).next().is_some()).collect();
        let unexplained = hit.iter().filter(|run| self.cut.range((**run).clone()).next().is_none()).count();
        assert!(
            unexplained <= self.requests,
            "{} acknowledged records are lost, of {unexplained} requests that nobody damaged (but {}): first {:?}\n{}",
            lost.len(),
            self.requests,
            hit.first(),
            program.metrics()
        );
        let bytes: usize = lost.iter().map(|n| text(*n).len()).sum();
        assert!(
            self.cuts > 0 || bytes as u64 <= self.reported,
            "records of {bytes} bytes are lost, and {} bytes were reported as damaged",
            self.reported
        );
    }
}

/// The segment files, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("seg-"))
        .map(|entry| entry.path())
        .collect();
    names.sort_unstable();
    names
}

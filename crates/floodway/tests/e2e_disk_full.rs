//! No room: a buffer that reaches its limit, and a file system that is really full. Senders are told to wait, nothing that was
//! acknowledged is lost, and it goes on by itself when there is room again.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on ends, and these report"
)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::numbered::Kind;
use support::program::Floodway;
use support::rng::Rng;
use support::senders::{Load, Senders};
use support::sink::{Mood, Sink};
use support::{await_that, books, try_some};

const WITHIN: Duration = Duration::from_secs(30);

/// From OTLP to the sink, with a buffer in `directory`.
fn buffering(sink: &Sink, directory: &str, limits: &str) -> Floodway {
    Floodway::start(&format!(
        "
admin: {{endpoint: '127.0.0.1:@admin@'}}
receivers:
  otlp: {{ack: durable, grpc: {{endpoint: '127.0.0.1:@grpc@'}}, http: {{endpoint: '127.0.0.1:@http@'}}}}
exporters:
  otlp: {{endpoint: 'http://127.0.0.1:{}', protocol: http, queue: {{max_bytes: 500000, max_wait_ms: 50}},
    retry: {{max_backoff_ms: 100}}, buffer: {{directory: '{directory}'{limits}}}}}
pipelines: {{main: {{receivers: [otlp], exporters: [otlp]}}}}
",
        sink.port
    ))
}

fn senders() -> Senders {
    Senders::start(Load { kind: Kind::Logs, senders: 4, most: 100, pause_ms: 5 }, Rng::new(11))
}

/// Waits until nobody gets anything in any more: many were told to wait, and nothing was acknowledged for a while.
fn await_full(program: &Floodway, senders: &Senders) {
    let told_before = senders.told_to_wait();
    let mut before = 0;
    let full = try_some(WITHIN, || {
        before = senders.acknowledged_records();
        std::thread::sleep(Duration::from_millis(700));
        let told = senders.told_to_wait() > told_before + 20;
        (told && senders.acknowledged_records() == before).then_some(())
    });
    let (now, told) = (senders.acknowledged_records(), senders.told_to_wait());
    assert!(
        full.is_some(),
        "{before}, then {now} records acknowledged, {told} told to wait: not full?\n{}",
        program.metrics()
    );
}

/// The destination is back: all that was acknowledged arrives, and senders get on again without anybody's help.
fn recovers(program: Floodway, senders: Senders, sink: &Sink) -> Floodway {
    let before = senders.acknowledged_records();
    sink.set(Mood::Healthy);
    await_that("senders get on", WITHIN, || senders.acknowledged_records() > before + 2_000);
    let acknowledged = senders.finish();
    books::drained(&program, WITHIN);
    let arrived = sink.arrived();
    let missing: Vec<u64> = acknowledged.into_iter().flatten().filter(|n| !arrived.contains_key(n)).collect();
    assert!(missing.is_empty(), "{} acknowledged records are lost, first {}", missing.len(), missing[0]);
    let again: u32 = arrived.values().map(|times| times - 1).sum();
    println!(
        "{} records arrived, {again} times more than once; {before} were acknowledged when it was full",
        arrived.len()
    );
    program
}

#[test]
#[ignore = "takes some seconds: cargo xtask test"]
fn a_buffer_at_its_limit_makes_senders_wait_and_loses_nothing() {
    let sink = Sink::start(Kind::Logs);
    sink.set(Mood::Failing);
    let program = buffering(&sink, "@dir@/buffer", ", max_bytes: 2097152, on_full: refuse");
    let senders = senders();
    senders.aim(&program);
    await_full(&program, &senders);
    assert!(program.refused("buffer_full") > 0.0, "{}", program.metrics());
    let size = size_of(&program.dir().join("buffer"));
    assert!((1 << 20..=2 << 20).contains(&size), "the buffer has {size} bytes");
    // Full, and killed: it comes up with a full buffer.
    senders.hold();
    let owed = books::agree(&program);
    assert_eq!(owed.dropped, 0.0, "{owed:?}");
    senders.nobody_there();
    let program = program.kill().start_again();
    assert_eq!(books::agree(&program).recovered, owed.waiting);
    senders.go_on();
    senders.aim(&program);
    await_full(&program, &senders);
    let program = recovers(program, senders, &sink);
    assert_eq!(books::agree(&program).dropped, 0.0, "{}", program.metrics());
    program.stop().cleanly();
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// A small file system in memory, which goes away with the value.
struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    /// `None`, with the reason printed, where mounting is not allowed.
    fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        match done {
            Ok(output) if output.status.success() => Some(Self { dir }),
            Ok(output) => {
                eprintln!(
                    "SKIPPED: cannot mount a tmpfs: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: cannot mount a tmpfs: {error}");
                None
            }
        }
    }

    /// Takes all the room that is left, under this name.
    fn fill(&self, name: &str) {
        let mut file = std::fs::File::create(self.dir.path().join(name)).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join(name)).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the program may still have files there.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[test]
#[ignore = "needs to be root: cargo xtask test"]
fn a_disk_that_is_full_makes_senders_wait_and_loses_nothing() {
    let Some(mount) = Mount::new(6 << 20) else { return };
    let sink = Sink::start(Kind::Logs);
    sink.set(Mood::Failing);
    // Far more than there is room.
    let directory = mount.dir.path().join("buffer");
    let program = buffering(&sink, directory.to_str().unwrap(), ", max_bytes: 1073741824");
    let senders = senders();
    senders.aim(&program);
    await_full(&program, &senders);
    senders.hold();
    let books = books::agree(&program);
    assert!(books.dropped > 0.0 || program.refused("buffer_full") > 0.0, "{}", program.metrics());
    // Killed with a full disk: it starts all the same, although it cannot write a byte.
    senders.nobody_there();
    mount.fill("filler");
    let program = program.kill().start_again();
    let recovered = books::agree(&program).recovered;
    assert!(recovered >= senders.acknowledged_records() as f64 - sink.arrived().len() as f64);
    senders.aim(&program);
    senders.go_on();
    await_full(&program, &senders);
    // Somebody else's file goes: there is room again, though nothing was delivered.
    let before = senders.acknowledged_records();
    mount.remove("filler");
    if before == 0 {
        await_that("acknowledgements", WITHIN, || senders.acknowledged_records() > before);
    }
    let program = recovers(program, senders, &sink);
    program.stop().cleanly();
}

//! A real process with real files, killed while it writes: what it was told is durable is there.
//!
//! The test starts itself again as the process to be killed. That one says on its standard output what it heard; the pipe is
//! written before the kill or not at all, so each line is a promise.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use buffer::{Error, FileStorage, Log, Options, ReadOnly, Writer, WriterOptions, check};
use bytes::Bytes;

const DIR: &str = "BUFFER_KILL_DIR";
const FIRST: &str = "BUFFER_KILL_FIRST";
const ROUNDS: u64 = 5;
const SENDERS: u64 = 4;

fn options() -> Options {
    Options { segment_bytes: 256 << 10, ..Options::default() }
}

/// What the record with this identity holds: anyone can tell whether it is whole.
fn payload(id: u64) -> Vec<u8> {
    let length = 100 + (id.wrapping_mul(0x9e37_79b9) % 9000) as usize;
    let mut state = id.wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the process that the other test starts and kills"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let log = Log::open(FileStorage::open(Path::new(&dir)).unwrap(), options()).unwrap();
    let writer = Writer::spawn(log, WriterOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let writer = &writer;
            scope.spawn(move || {
                let (answered, answer) = sync_channel(64);
                for n in 0.. {
                    let id = first + n * SENDERS + sender;
                    let done = answered.clone();
                    let answer_to = Box::new(move |result: Result<u64, Error>| {
                        say(&format!("durable {id} {}\n", result.unwrap()));
                        let _ = done.send(());
                    });
                    writer.append(None, id, 7, 1, Bytes::from(payload(id)), answer_to);
                    if n % 3 != 0 {
                        answer.recv().unwrap();
                    }
                }
            });
        }
        // Deliver some of what is there: every second record stays.
        let mut after = 0;
        loop {
            match writer.read_next(after).unwrap() {
                Some(record) => {
                    after = record.seq;
                    if record.entered_ms % 2 == 0 {
                        say(&format!("noting {}\n", record.entered_ms));
                        writer.done(after..=after);
                    }
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    });
}

#[derive(Default)]
struct Heard {
    durable: BTreeMap<u64, u64>,
    noting: BTreeSet<u64>,
}

/// Lets the child write for a while, kills it, and takes in what it said.
fn round(dir: &Path, first: u64, time: Duration, heard: &mut Heard) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in out.split(b'\n').map_while(Result::ok) {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    });
    let until = Instant::now() + time;
    while Instant::now() < until {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut lines = reader.join().unwrap();
    // The last line may be cut short.
    let last = lines.pop().unwrap_or_default();
    assert!(!lines.is_empty(), "the child said nothing: {last:?}");
    for line in &lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["durable", id, seq] => drop(heard.durable.insert(id.parse().unwrap(), seq.parse().unwrap())),
            ["noting", id] => drop(heard.noting.insert(id.parse().unwrap())),
            _ => {}
        }
    }
    if let Some(id) = last.strip_prefix("noting ").and_then(|id| id.parse().ok()) {
        heard.noting.insert(id);
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_durable() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("buffer");
    let mut heard = Heard::default();
    let mut before = 0;
    for number in 0..ROUNDS {
        round(&dir, number << 32, Duration::from_millis(250 + number * 70), &mut heard);
        assert!(heard.durable.len() > before, "round {number} wrote nothing");
        before = heard.durable.len();
        let report = check(&ReadOnly::open(&dir).unwrap()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        let mut log = Log::open(FileStorage::open(&dir).unwrap(), options()).unwrap();
        assert_eq!(log.undelivered(), report.undelivered);
        let (mut there, mut after) = (BTreeSet::new(), 0);
        while let Some(record) = log.read_next(after).unwrap() {
            assert!(record.seq > after);
            after = record.seq;
            let id = record.entered_ms;
            assert!(record.bytes == payload(id), "record {id} is not what was appended");
            assert_eq!((record.tag, record.items), (7, 1));
            assert!(heard.durable.get(&id).is_none_or(|seq| *seq == after));
            assert!(there.insert(id), "record {id} came twice");
        }
        for id in heard.durable.keys().filter(|id| !heard.noting.contains(id)) {
            assert!(there.contains(id), "round {number}: record {id} was durable and is lost; {report:?}");
        }
    }
    assert!(heard.noting.len() > 10, "nothing was delivered");
}

#[test]
fn a_directory_has_one_owner_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("a/b");
    let mut log = Log::open(FileStorage::open(&dir).unwrap(), options()).unwrap();
    let seq = log.append(1, 2, 3, b"payload").unwrap();
    assert!(log.commit().is_durable(seq));
    assert!(matches!(FileStorage::open(&dir), Err(Error::Locked { .. })));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&dir), mode(dir.parent().unwrap())], [0o700; 2]);
    for file in std::fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    drop(log);
    let mut log = Log::open(FileStorage::open(&dir).unwrap(), options()).unwrap();
    assert_eq!(log.read_next(0).unwrap().unwrap().bytes, b"payload".as_slice());
    log.done(0..=seq);
    let files = || -> Vec<String> {
        let entries = std::fs::read_dir(&dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(files().iter().all(|name| name == "lock" || name == "spare-0"), "{:?}", files());
    drop(log);
    assert_eq!(files(), ["lock"], "an empty log has no files but its lock");
}

//! `floodway buffer` and what `floodway validate` says of buffers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use buffer::{FileStorage, Log, Options};
use engine::stored;
use model::series::{Metadata, STALE_NAN_BITS, Sample};
use model::{Payload, Request, SeriesBuilder, Signal, Writer};
use serde_json::{Value, json};

use crate::support::{command, run, stderr, stdout, wait_for};

/// 2026-03-01T12:00:00Z
const NOON_MS: u64 = 1_772_366_400_000;

pub(crate) fn log_line(body: &str) -> Payload {
    let mut writer = Writer::new();
    writer.message(1, |w| w.message(2, |w| w.message(2, |w| w.message(5, |w| w.string(1, body)))));
    Request::receive(Signal::Logs, writer.finish()).unwrap().0.into()
}

fn series() -> Payload {
    let mut builder = SeriesBuilder::new();
    builder.series([("__name__", "up"), ("job", "p2p")], |_| Metadata::default()).unwrap();
    for (timestamp_ms, value) in [(1, 1.5), (2, f64::INFINITY), (3, f64::from_bits(STALE_NAN_BITS))] {
        builder.sample(Sample { value, timestamp_ms, start_ms: 0 });
    }
    builder.finish().into()
}

pub(crate) fn open(directory: &Path) -> Log<FileStorage> {
    Log::open(FileStorage::open(directory).unwrap(), Options::default()).unwrap()
}

pub(crate) fn append(log: &mut Log<FileStorage>, items: usize, (tag, bytes): (u8, bytes::Bytes)) -> u64 {
    let seq = log.append(NOON_MS, tag, u32::try_from(items).unwrap(), &bytes).unwrap();
    assert!(log.commit().is_durable(seq));
    seq
}

/// Three requests, of which the second is delivered.
fn make_buffer(directory: &Path) {
    let mut log = open(directory);
    append(&mut log, 1, stored::encode(&log_line("first")));
    let second = append(&mut log, 1, stored::encode(&log_line("second")));
    append(&mut log, 3, stored::encode(&series()));
    log.done(second..=second);
    assert!(log.commit().error.is_none());
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn segment(directory: &Path) -> PathBuf {
    let is_segment = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("seg-");
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find(is_segment).unwrap()
}

/// Names, sizes and contents of everything in a folder.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn what_waits_is_counted_and_shown_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("b");
    make_buffer(&directory);
    let before = snapshot(&directory);

    let output = run(folder.path(), &["buffer", "check", "b"], b"");
    let text = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{text}");
    for part in [
        "b: 2 requests (4 items, ",
        "since 2026-03-01T12:00:00.000Z (",
        "logs         1 requests (1 items)",
        "series       1 requests (3 items)",
        "1 delivered requests",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("DAMAGE"), "{text}");

    let summary = &lines(&run(folder.path(), &["buffer", "check", "--json", "b"], b""))[0];
    assert_eq!(summary["sound"], json!(true));
    assert_eq!((&summary["waiting"]["items"], &summary["delivered"]["requests"]), (&json!(4), &json!(1)));
    assert_eq!(summary["oldest"], "2026-03-01T12:00:00.000Z");

    let shown = lines(&run(folder.path(), &["buffer", "dump", "b"], b""));
    assert_eq!(shown.len(), 2);
    let record = &shown[0]["payload"]["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["body"]["stringValue"], "first");
    assert_eq!(
        (&shown[0]["form"], &shown[0]["entered"]),
        (&json!("logs"), &json!("2026-03-01T12:00:00.000Z"))
    );
    let series = &shown[1]["payload"]["series"][0];
    assert_eq!(series["labels"], json!({"__name__": "up", "job": "p2p"}));
    let values: Vec<_> =
        series["samples"].as_array().unwrap().iter().map(|sample| &sample["value"]).collect();
    assert_eq!(values, [&json!(1.5), &json!("Infinity"), &json!("stale")]);
    let all = lines(&run(folder.path(), &["buffer", "dump", "--all", "b"], b""));
    assert_eq!((all.len(), &all[1]["done"]), (3, &json!(true)));

    // Also while a process has the folder.
    let log = open(&directory);
    assert_eq!(run(folder.path(), &["buffer", "check", "b"], b"").status.code(), Some(0));
    drop(log);
    assert_eq!(snapshot(&directory), before, "looking changed something");
}

#[test]
fn dead_letters_are_shown_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder.path().join("d"));
    append(&mut log, 1, stored::encode_letter("rejected", "field [x] is no number", &log_line("bad")));
    append(&mut log, 1, stored::encode_letter("rejected", "field [y] is no number", &log_line("worse")));
    drop(log);
    let text = stdout(&run(folder.path(), &["buffer", "check", "d"], b""));
    assert!(text.contains("dead letters 2 requests (2 items) given up on: rejected"), "{text}");
    let shown = lines(&run(folder.path(), &["buffer", "dump", "d"], b""));
    assert_eq!(
        (&shown[1]["reason"], &shown[1]["message"]),
        (&json!("rejected"), &json!("field [y] is no number"))
    );
    assert!(shown[1]["payload"].to_string().contains("worse"));
}

#[test]
fn damage_is_told_and_costs_only_what_it_hit() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("b");
    make_buffer(&directory);
    let segment = segment(&directory);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[buffer::record::HEADER] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let output = run(folder.path(), &["buffer", "check", "b"], b"");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("1 requests (3 items,") && text.contains("DAMAGE       1 damaged records (1 items"),
        "{text}"
    );
    let output = run(folder.path(), &["buffer", "dump", "b"], b"");
    assert_eq!(output.status.code(), Some(1));
    let shown = lines(&output);
    assert_eq!(shown[0]["damage"], "a record with a damaged payload");
    assert_eq!(shown[1]["form"], "series");
    assert!(stderr(&output).contains("DAMAGE"), "{}", stderr(&output));
}

#[test]
fn records_of_a_later_version_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder.path().join("b"));
    append(&mut log, 7, (9, bytes::Bytes::from_static(b"what will be")));
    drop(log);
    let output = run(folder.path(), &["buffer", "check", "b"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("UNKNOWN      1 requests (7 items) that this version cannot read"));
    let shown = lines(&run(folder.path(), &["buffer", "dump", "b"], b""));
    assert!(shown[0]["unreadable"].as_str().unwrap().contains("0x09"), "{shown:?}");
}

#[test]
fn what_is_no_buffer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::write(folder.path().join("other/notes.txt"), "x").unwrap();
    for (name, code, what) in [
        ("empty", 0, "nothing waits"),
        ("none", 1, "none: No such file"),
        ("other", 1, "other is not the folder of a buffer"),
        ("other/notes.txt", 1, "notes.txt"),
    ] {
        for command in ["check", "dump"] {
            let output = run(folder.path(), &["buffer", command, name], b"");
            assert_eq!(output.status.code(), Some(code), "{name}");
            let text = stdout(&output) + &stderr(&output);
            assert!((command == "dump" && code == 0) || text.contains(what), "{text}");
        }
    }
}

#[test]
fn validate_says_what_buffers_hold() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    let validate = || run(folder.path(), &["validate", "x.yaml"], b"");
    fs::write(
        &file,
        "receivers:\n  otlp: { http: { endpoint: '127.0.0.1:4318' } }\nexporters:\n  otlp:\n    endpoint: http://127.0.0.1:1\n    \
         buffer: { directory: b }\n    dead_letters: { directory: d }\npipelines:\n  logs: { receivers: [otlp], exporters: [otlp] }\n",
    )
    .unwrap();
    let text = stdout(&validate());
    assert!(text.contains("buffer     otlp  b: not there yet"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "validate creates nothing");

    make_buffer(&folder.path().join("b"));
    let before = snapshot(&folder.path().join("b"));
    let text = stdout(&validate());
    assert!(text.contains("buffer     otlp  b: 2 requests (4 items, "), "{text}");
    assert!(text.contains("dead letters otlp  d: not there yet") && !text.contains("warning"), "{text}");
    assert_eq!(snapshot(&folder.path().join("b")), before);

    let segment = segment(&folder.path().join("b"));
    let mut bytes = fs::read(&segment).unwrap();
    bytes[buffer::record::HEADER] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let output = validate();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("warning: b: 1 damaged records") && text.contains("floodway buffer check b"),
        "{text}"
    );

    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/notes.txt"), "x").unwrap();
    let output = validate();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with("exporters.otlp.dead_letters.directory: d is not the folder of a buffer"),
        "{text}"
    );
}

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration whose file exporter writes `out/logs.jsonl`, and whose OTLP exporter sends to `address`.
fn replay_config(folder: &Path, address: &str) {
    let text = format!(
        "receivers:\n  otlp: {{ http: {{ endpoint: '127.0.0.1:0' }} }}\nexporters:\n  file: {{ directory: out }}\n  otlp:\n    \
         endpoint: 'http://{address}'\n    dead_letters: {{ directory: d }}\n    retry: {{ initial_backoff_ms: 10, max_backoff_ms: 50 }}\n\
         pipelines:\n  logs: {{ receivers: [otlp], exporters: [file, otlp] }}\nlog: {{ level: warn }}\n"
    );
    fs::write(folder.join("x.yaml"), text).unwrap();
}

#[test]
fn replay_delivers_what_waits_and_leaves_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    replay_config(folder.path(), "127.0.0.1:1");
    let mut log = open(&folder.path().join("d"));
    for n in 0..20 {
        append(&mut log, 1, stored::encode_letter("rejected", "no", &log_line(&format!("line-{n}-"))));
    }
    drop(log);
    let args = ["buffer", "replay", "d", "--config", "x.yaml", "--exporter", "file"];
    let output = run(folder.path(), &args, b"");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("20 requests delivered, nothing is left"), "{}", stderr(&output));
    let written = fs::read_to_string(folder.path().join("out/logs.jsonl")).unwrap();
    assert!((0..20).all(|n| written.matches(&format!("line-{n}-")).count() == 1), "{written}");
    assert!(stdout(&run(folder.path(), &["buffer", "check", "d"], b"")).contains("nothing waits"));
    // And once more: nothing to do.
    assert_eq!(run(folder.path(), &args, b"").status.code(), Some(0));
    assert_eq!(fs::read_to_string(folder.path().join("out/logs.jsonl")).unwrap(), written);
}

#[test]
fn replay_to_a_dead_destination_goes_on_until_it_is_stopped_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    replay_config(folder.path(), "127.0.0.1:1");
    let mut log = open(&folder.path().join("d"));
    (0..5).for_each(|n| _ = append(&mut log, 1, stored::encode(&log_line(&n.to_string()))));
    drop(log);
    let errors = folder.path().join("errors");
    let mut child = command(folder.path())
        .args(["buffer", "replay", "d", "--config", "x.yaml", "--exporter", "otlp"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors).unwrap())
        .spawn()
        .map(Killed)
        .unwrap();
    wait_for("progress", || {
        fs::read_to_string(&errors)
            .ok()
            .filter(|text| text.contains("0 of 5 requests delivered, 5 wait; trying again"))
    });
    // Two of them at a time would deliver everything twice.
    let args = ["buffer", "replay", "d", "--config", "x.yaml", "--exporter", "file"];
    let second = run(folder.path(), &args, b"");
    assert_eq!(second.status.code(), Some(3), "{}", stderr(&second));
    assert!(stderr(&second).contains("d is used by another"), "{}", stderr(&second));
    let id = rustix::process::Pid::from_raw(child.0.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let status = wait_for("the end", || child.0.try_wait().unwrap());
    let text = fs::read_to_string(&errors).unwrap();
    assert_eq!(status.code(), Some(4), "{text}");
    assert!(text.contains("0 requests delivered, 5 are left in d"), "{text}");
    assert_eq!(run(folder.path(), &args, b"").status.code(), Some(0));
    assert_eq!(fs::read_to_string(folder.path().join("out/logs.jsonl")).unwrap().lines().count(), 5);
}

#[test]
fn replay_says_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    replay_config(folder.path(), "127.0.0.1:1");
    make_buffer(&folder.path().join("b"));
    let config = fs::read_to_string(folder.path().join("x.yaml")).unwrap();
    let loki = config.replace("  file: {", "  loki: { endpoint: 'http://127.0.0.1:1' }\n  file: {");
    fs::write(folder.path().join("loki.yaml"), loki).unwrap();
    for (directory, file, exporter, what) in [
        ("none", "x.yaml", "file", "none: No such file"),
        ("b", "y.yaml", "file", "y.yaml"),
        ("b", "x.yaml", "lokki", "x.yaml has no exporter lokki; it has: file, otlp"),
        ("b", "loki.yaml", "loki", "the folder holds series, which exporter loki does not deliver"),
    ] {
        let output = run(
            folder.path(),
            &["buffer", "replay", directory, "--config", file, "--exporter", exporter],
            b"",
        );
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    }
    let output = run(folder.path(), &["buffer", "check", "b"], b"");
    assert!(stdout(&output).contains("2 requests (4 items"), "{}", stdout(&output));
}

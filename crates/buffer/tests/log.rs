//! What a user of the log relies on, one thing a test, on a storage in memory or on files.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use buffer::record::{Header, Kind, Place};
use buffer::{
    Dumped, Error, FileStorage, Log, MemoryStorage, OnFull, Options, Seen, Storage, Tally, Writer,
    WriterOptions, check, dump,
};
use bytes::Bytes;

fn open(storage: &MemoryStorage, options: Options) -> Log<MemoryStorage> {
    Log::open(storage.clone(), options).unwrap()
}

fn small() -> Options {
    Options { max_bytes: 64 << 10, segment_bytes: 4096, ..Options::default() }
}

#[test]
fn only_what_is_committed_can_be_read_and_only_what_is_left_counts() {
    let mut log = open(&MemoryStorage::default(), small());
    let seq = log.append(5, 6, 7, b"payload").unwrap();
    assert!(log.read_next(0).unwrap().is_none());
    assert_eq!(log.undelivered(), Tally::default());
    assert!(log.commit().is_durable(seq));
    assert_eq!(log.undelivered(), Tally { records: 1, items: 7, bytes: 7 });
    let record = log.read_next(0).unwrap().unwrap();
    assert_eq!((record.entered_ms, record.tag, record.items, &record.bytes[..]), (5, 6, 7, &b"payload"[..]));
    assert_eq!(log.done(seq..=seq), Tally { records: 1, items: 7, bytes: 7 });
    assert_eq!(log.done(seq..=seq), Tally::default(), "nothing is done twice");
    assert!(log.read_next(0).unwrap().is_none());
}

#[test]
fn a_full_log_refuses_until_something_is_done() {
    let mut log = open(&MemoryStorage::default(), small());
    let mut appended = 0;
    let error = loop {
        match log.append(0, 0, 1, &[1; 3000]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
        drop(log.commit());
    };
    assert!(matches!(error, Error::Full { limit: "max_bytes" }) && error.is_retryable(), "{error}");
    assert!(appended >= 12 && log.disk_bytes() <= 64 << 10, "{appended}");
    log.done(1..=1);
    log.append(0, 0, 1, &[1; 3000]).unwrap();
    let too_large = log.append(0, 0, 1, &[1; 65 << 10]);
    assert!(
        matches!(&too_large, Err(error @ Error::TooLarge { .. }) if !error.is_retryable()),
        "{too_large:?}"
    );
}

#[test]
fn a_full_log_drops_the_oldest_and_counts_their_items() {
    let mut log = open(&MemoryStorage::default(), Options { on_full: OnFull::DropOldest, ..small() });
    for n in 0..100 {
        let seq = log.append(n, 0, 10, &[n as u8; 3000]).unwrap();
        assert!(log.commit().is_durable(seq));
    }
    let (dropped, left) = (log.drops().full, log.undelivered());
    assert_eq!(dropped.records + left.records, 100);
    assert_eq!((dropped.items, left.items), (dropped.records * 10, left.records * 10));
    assert_eq!(log.read_next(0).unwrap().unwrap().entered_ms, dropped.records, "the oldest are gone");
}

#[test]
fn reserved_room_cannot_be_taken_by_others() {
    let mut log = open(&MemoryStorage::default(), Options { max_bytes: 16 << 10, ..Options::default() });
    let room = log.reserve(3900).unwrap();
    while log.append(0, 0, 1, &[0; 1000]).is_ok() {}
    log.append_reserved(room, 0, 0, 1, &[0; 3900]).unwrap();
    let room = log.reserve(1);
    assert!(room.is_err(), "{room:?}");
    assert_eq!(log.reserved_bytes(), 0);
}

#[test]
fn what_is_too_old_is_dropped_and_stays_so() {
    let storage = MemoryStorage::default();
    let options = Options { max_age_ms: Some(100), ..small() };
    let mut log = open(&storage, options.clone());
    for entered_ms in [10, 20, 120] {
        log.append(entered_ms, 0, 2, b"x").unwrap();
    }
    drop(log.commit());
    assert_eq!(log.expire(110), Tally::default());
    assert_eq!(log.expire(121), Tally { records: 2, items: 4, bytes: 2 });
    assert_eq!(log.drops().expired.items, 4);
    drop(log.commit());
    assert!(log.is_settled());
    assert_eq!(open(&storage, options).read_next(0).unwrap().unwrap().entered_ms, 120);
}

#[test]
fn a_damaged_record_costs_itself_and_a_damaged_header_is_read_past() {
    let storage = MemoryStorage::default();
    let mut log = open(&storage, Options::default());
    for n in 0..5 {
        log.append(n, 0, 1, &[n as u8; 100]).unwrap();
    }
    drop(log.commit());
    let name = storage.list().unwrap().remove(0);
    let mut bytes = storage.get(&name).unwrap();
    bytes[140 + 60] ^= 1; // the payload of the second
    bytes[3 * 140 + 9] ^= 1; // the length of the fourth
    storage.put(&name, bytes);
    let report = check(&storage).unwrap();
    assert!(!report.is_clean());
    assert_eq!((report.damaged.records, report.lost_bytes, report.missing), (1, 140, 2));
    let mut log = open(&storage, Options::default());
    assert_eq!(log.report(), &report);
    let mut times = Vec::new();
    let mut after = 0;
    while let Some(record) = log.read_next(after).unwrap() {
        after = record.seq;
        times.push(record.entered_ms);
    }
    assert_eq!(times, [0, 2, 4]);
}

/// A segment with these records, as another life of the log could have left it.
fn segment(storage: &MemoryStorage, number: u64, base: u64, records: &[(Kind, u64, &[u8])]) {
    let place = Place { salt: number, segment: number, base };
    let mut bytes = Vec::new();
    for &(kind, seq, payload) in records {
        let (length, payload_crc) = (payload.len() as u32, crc32c::crc32c(payload));
        let header = Header { kind, tag: 0, length, items: 1, seq, entered_ms: number, payload_crc };
        bytes.extend_from_slice(&header.encode(place, bytes.len() as u64));
        bytes.extend_from_slice(payload);
    }
    storage.put(&place.name(), bytes);
}

#[test]
fn a_number_that_was_given_again_is_the_later_segments() {
    let storage = MemoryStorage::default();
    let all: Vec<u8> = [1_u64, 1, 3, 9].iter().flat_map(|n| n.to_le_bytes()).collect();
    // A failed fsync, a killed process and a power cut can bring back what the next process did not see.
    segment(
        &storage,
        1,
        1,
        &[(Kind::Data, 1, b"a"), (Kind::Data, 2, b"b"), (Kind::Data, 3, b"ghost"), (Kind::Done, 9, &all)],
    );
    segment(&storage, 2, 3, &[(Kind::Data, 3, b"c"), (Kind::Data, 4, b"d")]);
    let mut log = open(&storage, Options::default());
    let mut read = Vec::new();
    while let Some(record) = log.read_next(read.last().map_or(0, |(seq, _)| *seq)).unwrap() {
        read.push((record.seq, record.bytes));
    }
    let expected: [(u64, &[u8]); 3] = [(2, b"b"), (3, b"c"), (4, b"d")];
    assert!(read.iter().map(|(seq, bytes)| (*seq, &bytes[..])).eq(expected), "{read:?}");
    assert_eq!(log.report().damaged.records, 1);
}

#[test]
fn notes_of_many_ranges_are_all_kept() {
    let storage = MemoryStorage::default();
    let mut log = open(&storage, Options::default());
    (0..2200).for_each(|_| assert!(log.append(0, 0, 1, b"x").is_ok()));
    drop(log.commit());
    (1..=1100).for_each(|n| assert_eq!(log.done(n * 2..=n * 2).records, 1));
    drop(log.commit());
    assert!(log.is_settled());
    let report = check(&storage).unwrap();
    assert_eq!((report.done.records, report.undelivered.records), (1100, 1100));
    assert!(report.is_clean() && report.missing == 0);
}

#[test]
fn a_dump_shows_all_that_is_there() {
    let storage = MemoryStorage::default();
    let mut log = open(&storage, Options::default());
    log.append(1, 2, 3, b"abc").unwrap();
    log.append(1, 2, 3, b"def").unwrap();
    drop(log.commit());
    log.done(1..=1);
    drop(log.commit());
    let mut seen = Vec::new();
    let report = dump(&storage, |Dumped { offset, what, .. }| seen.push((offset, what))).unwrap();
    assert!(matches!(&seen[0], (0, Seen::Data(header)) if header.seq == 1 && header.length == 3));
    assert!(matches!(&seen[1], (43, Seen::Data(header)) if header.seq == 2));
    assert_eq!(seen[2], (86, Seen::Done(vec![1..=1])));
    assert_eq!((report.undelivered.records, report.done.records), (1, 1));
}

#[test]
fn a_writer_answers_each_append_and_commits_many_at_once() {
    let temporary = tempfile::tempdir().unwrap();
    let log = Log::open(FileStorage::open(temporary.path()).unwrap(), Options::default()).unwrap();
    let writer = Writer::spawn(log, WriterOptions::default()).unwrap();
    let answers = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for sender in 0..8_u64 {
            let (writer, answers) = (&writer, &answers);
            scope.spawn(move || {
                for n in 0..50 {
                    let answers = Arc::clone(answers);
                    let answer = Box::new(move |result: Result<u64, Error>| {
                        answers.fetch_add(u64::from(result.is_ok()), Ordering::SeqCst);
                    });
                    let room = writer.reserve(9).unwrap();
                    writer.append(
                        Some(room),
                        sender << 32 | n,
                        0,
                        1,
                        Bytes::from_static(b"a payload"),
                        answer,
                    );
                }
            });
        }
    });
    let (answered, answer) = sync_channel(1);
    writer.append(
        None,
        0,
        0,
        1,
        Bytes::new(),
        Box::new(move |result| answered.send(result.is_ok()).unwrap()),
    );
    assert!(answer.recv_timeout(Duration::from_secs(30)).unwrap());
    assert_eq!(answers.load(Ordering::SeqCst), 400, "answers come in the order of appends");
    assert_eq!(writer.undelivered().records, 401);
    let mut after = 0;
    while let Some(record) = writer.read_next(after).unwrap() {
        after = record.seq;
        assert_eq!(writer.done(after..=after).records, 1);
    }
    drop(writer);
    let report = check(&FileStorage::open(temporary.path()).unwrap()).unwrap();
    assert_eq!(report.undelivered.records, 0, "notes are written at the end");
}

#[test]
fn a_panicking_answer_does_not_cost_the_others_theirs() {
    let log = open(&MemoryStorage::default(), Options::default());
    let writer = Writer::spawn(log, WriterOptions::default()).unwrap();
    let (answered, answer) = sync_channel(1);
    writer.append(None, 0, 0, 1, Bytes::new(), Box::new(|_| panic!("a test")));
    writer.append(None, 0, 0, 1, Bytes::new(), Box::new(move |result| answered.send(result).unwrap()));
    assert_eq!(answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap(), 2);
}

#[test]
fn what_waits_when_a_writer_is_dropped_is_written_and_answered() {
    let storage = MemoryStorage::default();
    let options = WriterOptions { window: Duration::from_secs(3600), ..WriterOptions::default() };
    let writer = Writer::spawn(open(&storage, Options::default()), options).unwrap();
    let answers = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let answers = Arc::clone(&answers);
        let answer = Box::new(move |result: Result<u64, Error>| {
            answers.fetch_add(u64::from(result.is_ok()), Ordering::SeqCst);
        });
        writer.try_append(None, 0, 0, 1, Bytes::from_static(b"x"), answer);
    }
    drop(writer);
    assert_eq!(answers.load(Ordering::SeqCst), 10);
    assert_eq!(check(&storage).unwrap().undelivered.records, 10);
}

#[test]
fn notes_are_written_though_nothing_is_appended() {
    let storage = MemoryStorage::default();
    let mut log = open(&storage, Options::default());
    log.append(0, 0, 1, b"x").unwrap();
    log.append(0, 0, 1, b"y").unwrap();
    drop(log.commit());
    let options = WriterOptions { notes_after: Duration::from_millis(5), ..WriterOptions::default() };
    let writer = Writer::spawn(log, options).unwrap();
    writer.done(1..=1);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while check(&storage).unwrap().done.records == 0 {
        assert!(std::time::Instant::now() < until, "the note was not written");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(writer);
}

#[test]
#[ignore = "needs a file system of about 1 MiB: mount -t tmpfs -o size=1m tmpfs DIR; SMALL_DIR=DIR"]
fn a_full_file_system_refuses_and_the_log_works_again_when_there_is_room() {
    let dir = std::path::PathBuf::from(std::env::var_os("SMALL_DIR").expect("SMALL_DIR")).join("buffer");
    let options = Options { segment_bytes: 100_000, ..Options::default() };
    let mut log = Log::open(FileStorage::open(&dir).unwrap(), options.clone()).unwrap();
    let mut durable = Vec::new();
    let mut refused = 0;
    for round in 0..3 {
        // Until it has been full for a while.
        for _ in 0..200 {
            match log.append(round, 0, 1, &[round as u8; 10_000]) {
                Ok(seq) => durable.extend(log.commit().is_durable(seq).then_some(seq)),
                Err(Error::Write { source }) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 50, "{refused}");
        // What is there is read, and makes room, though no note can be written.
        let half = durable.len() / 2;
        for seq in durable.drain(..half) {
            assert_eq!(log.read_next(seq - 1).unwrap().unwrap().seq, seq);
            assert_eq!(log.done(seq..=seq).records, 1);
        }
        assert!(log.append(round, 0, 1, &[9; 10_000]).is_ok(), "round {round}: no room was made");
        drop(log.commit());
        drop(log);
        log = Log::open(FileStorage::open(&dir).unwrap(), options.clone()).unwrap();
        assert!(log.report().is_clean(), "{:?}", log.report());
        assert_eq!(log.undelivered().records, durable.len() as u64 + 1, "{:?}", log.report());
        durable = all(&mut log);
    }
}

fn all(log: &mut Log<FileStorage>) -> Vec<u64> {
    let mut seqs: Vec<u64> = Vec::new();
    while let Some(record) = log.read_next(seqs.last().copied().unwrap_or(0)).unwrap() {
        seqs.push(record.seq);
    }
    seqs
}

#[test]
fn finished_segments_are_used_again_until_the_disk_is_full() {
    use buffer::simulated::{Disk, Lies};
    let disk = Disk::new(1, Lies::default());
    let options = Options { max_bytes: 64 << 10, segment_bytes: 4 << 10, ..Options::default() };
    let mut log = Log::open(disk.clone(), options).unwrap();
    let mut last = 0;
    for _ in 0..40 {
        last = log.append(0, 0, 1, &[7; 1000]).unwrap();
        assert!(log.commit().is_durable(last));
        log.done(0..=last);
    }
    assert!(disk.retired() > 0, "nothing is kept");
    assert!(disk.used() <= 8 << 10, "{} bytes under names", disk.used());
    // Somebody else needs the space more.
    disk.state().space = Some(0);
    assert!((0..10).any(|_| log.append(0, 0, 1, &[7; 1000]).is_err()));
    assert_eq!(disk.retired(), 0);
    disk.heal();
    let seq = log.append(0, 0, 1, b"again").unwrap();
    assert!(seq > last && log.commit().is_durable(seq));
}

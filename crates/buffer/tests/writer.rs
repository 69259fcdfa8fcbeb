//! What a sender relies on that must not wait, and what stepping a writer by hand does.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::{self, IoSlice};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use buffer::simulated::{Disk, Lies};
use buffer::{
    Answer, Error, Log, MemoryStorage, OnFull, Options, Storage, StoredFile, Writer, WriterOptions, check,
};
use bytes::Bytes;

fn small(on_full: OnFull) -> Options {
    Options { max_bytes: 64 << 10, on_full, ..Options::default() }
}

fn new<S: Storage>(storage: S, options: Options) -> (Writer<S>, buffer::Driver<S>) {
    Writer::new(Log::open(storage, options).unwrap(), WriterOptions::default())
}

fn answer() -> (Answer, Receiver<Result<u64, Error>>) {
    let (answered, answer) = sync_channel(2);
    (Box::new(move |result| answered.send(result).unwrap()), answer)
}

fn append<S: Storage>(writer: &Writer<S>, bytes: usize) -> Receiver<Result<u64, Error>> {
    let (tell, answer) = answer();
    let room = writer.reserve(bytes).unwrap();
    writer.try_append(Some(room), 0, 0, 1, Bytes::from(vec![7; bytes]), tell);
    answer
}

/// A disk that hangs in a write as long as somebody holds the gate.
#[derive(Clone, Debug, Default)]
struct Hanging {
    storage: MemoryStorage,
    gate: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct HangingFile(<MemoryStorage as Storage>::File, Arc<Mutex<()>>);

impl Storage for Hanging {
    type File = HangingFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn create(&self, name: &str) -> io::Result<HangingFile> {
        Ok(HangingFile(self.storage.create(name)?, Arc::clone(&self.gate)))
    }

    fn open(&self, name: &str) -> io::Result<HangingFile> {
        Ok(HangingFile(self.storage.open(name)?, Arc::clone(&self.gate)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.storage.sync_dir()
    }

    fn salt(&self) -> io::Result<u64> {
        self.storage.salt()
    }
}

impl StoredFile for HangingFile {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        drop(self.1.lock());
        self.0.append(parts)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, into)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.truncate(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn a_disk_that_hangs_holds_up_no_sender() {
    let disk = Hanging::default();
    let log = Log::open(disk.clone(), small(OnFull::Refuse)).unwrap();
    let writer = Writer::spawn(log, WriterOptions::default()).unwrap();
    let hangs = disk.gate.lock().unwrap();
    let first = append(&writer, 100);
    // Whether the thread hangs by now or not: none of these waits.
    let mut taken = vec![append(&writer, 10_000)];
    while let Ok(room) = writer.reserve(10_000) {
        drop(room);
        taken.push(append(&writer, 10_000));
    }
    assert_eq!(taken.len(), 6, "room for six and a bit");
    assert!(writer.disk_bytes() + writer.reserved_bytes() >= 60_000);
    assert_eq!(writer.counts(), Default::default());
    writer.set_limits(128 << 10, 1000, None, OnFull::Refuse);
    drop(writer.reserve(10_000).unwrap());
    let (flushed, flush) = sync_channel(2);
    writer.flush_with(Box::new(move |result| flushed.send(result).unwrap()));
    assert!(first.try_recv().is_err());
    drop(hangs);
    flush.recv().unwrap().unwrap();
    for answer in std::iter::once(&first).chain(&taken) {
        answer.try_recv().expect("answered before the flush").unwrap();
    }
    assert_eq!((writer.reserved_bytes(), writer.undelivered().records), (0, 7));
}

#[test]
fn a_turn_writes_syncs_and_answers_what_waits() {
    let disk = Disk::new(1, Lies::default());
    let (writer, mut driver) = new(disk.clone(), small(OnFull::Refuse));
    let answers = [append(&writer, 10), append(&writer, 20)];
    assert!(answers[0].try_recv().is_err());
    assert!(driver.turn());
    assert!(answers.iter().map(|answer| answer.recv().unwrap().unwrap()).eq(1..=2));
    assert_eq!(writer.done(1..=1).records, 1);
    assert!(driver.turn());
    drop(writer);
    assert!(!driver.turn(), "the writer is gone");
    disk.cut();
    let report = check(&disk).unwrap();
    assert_eq!((report.done.records, report.undelivered.records), (1, 1));
}

#[test]
fn a_driver_that_is_gone_answers_all() {
    let disk = Disk::new(1, Lies::default());
    let (writer, driver) = new(disk.clone(), small(OnFull::Refuse));
    let answer = append(&writer, 10);
    let (flushed, flush) = sync_channel(2);
    let again = flushed.clone();
    writer.flush_with(Box::new(move |result| flushed.send(result).unwrap()));
    drop(driver);
    assert!(matches!(answer.recv().unwrap(), Err(Error::Closed)));
    writer.flush_with(Box::new(move |result| again.send(result).unwrap()));
    assert!(matches!(flush.recv().unwrap(), Err(Error::Closed)));
    assert!(matches!(flush.recv().unwrap(), Err(Error::Closed)));
    assert!(matches!(append(&writer, 10).recv().unwrap(), Err(Error::Closed)));
    assert!(matches!(writer.close(), Err(Error::Closed)));
    assert_eq!(check(&disk).unwrap().segments, 0, "nothing was written");
}

#[test]
fn a_refused_sender_makes_the_log_give_back_what_is_done() {
    let (writer, mut driver) = new(MemoryStorage::default(), small(OnFull::Refuse));
    let large = append(&writer, 60_000);
    driver.turn();
    assert_eq!(large.recv().unwrap().unwrap(), 1);
    assert!(matches!(writer.reserve(10_000), Err(Error::Full { limit: "max_bytes" })));
    driver.turn();
    assert!(writer.reserve(10_000).is_err(), "it is not delivered");
    writer.done(1..=1);
    drop(writer.reserve(10_000).expect("the sender who was refused had that noted"));
    // The other way round: done first, refused then.
    let large = append(&writer, 60_000);
    driver.turn();
    writer.done(large.recv().unwrap().map(|seq| seq..=seq).unwrap());
    assert!(writer.reserve(10_000).is_err());
    driver.turn();
    drop(writer.reserve(10_000).unwrap());
}

#[test]
fn records_are_reserved_as_bytes_are() {
    let options = Options { max_records: 3, ..small(OnFull::Refuse) };
    let (writer, mut driver) = new(MemoryStorage::default(), options);
    let first = append(&writer, 1);
    let rooms = [writer.reserve(1).unwrap(), writer.reserve(1).unwrap()];
    assert!(matches!(writer.reserve(1), Err(Error::Full { limit: "max_records" })));
    driver.turn();
    first.recv().unwrap().unwrap();
    assert!(writer.reserve(1).is_err());
    drop(rooms);
    drop(writer.reserve(1).unwrap());
}

#[test]
fn a_payload_may_have_another_size_than_its_room() {
    let (writer, mut driver) = new(MemoryStorage::default(), small(OnFull::Refuse));
    let send = |reserved: usize, bytes: usize| {
        let (tell, answer) = answer();
        let room = writer.reserve(reserved).unwrap();
        writer.try_append(Some(room), 0, 0, 1, Bytes::from(vec![1; bytes]), tell);
        answer
    };
    let answers = [send(1000, 10), send(10, 1000), send(10, 60_000), send(0, 70_000)];
    let mut room = writer.reserve(10).unwrap();
    assert!(matches!(room.resize(70_000), Err(Error::TooLarge { .. })));
    room.resize(20_000).unwrap();
    driver.turn();
    let answers = answers.map(|answer| answer.recv().unwrap());
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert!(matches!(answers[2], Err(Error::Full { .. })), "{answers:?}");
    assert!(matches!(answers[3], Err(Error::TooLarge { .. })), "{answers:?}");
    assert!(writer.reserved_bytes() > 20_000);
    assert!(matches!(room.resize(64_000), Err(Error::Full { .. })));
    room.stretch(64_000).unwrap();
    assert!(matches!(room.stretch(70_000), Err(Error::TooLarge { .. })));
    assert!(writer.reserve(0).is_err(), "over the limit");
    room.resize(0).unwrap();
    assert!(writer.reserved_bytes() < 100);
    drop(room);
    assert_eq!(writer.reserved_bytes(), 0);
}

#[test]
fn where_the_oldest_are_dropped_there_is_always_room() {
    let (writer, mut driver) = new(MemoryStorage::default(), small(OnFull::DropOldest));
    let answers: Vec<_> = (0..100).map(|_| append(&writer, 5000)).collect();
    assert!(matches!(writer.reserve(70_000), Err(Error::TooLarge { .. })));
    driver.turn();
    assert!(answers.iter().all(|answer| answer.recv().unwrap().is_ok()));
    let counts = writer.counts();
    assert_eq!(counts.drops.full.records + counts.undelivered.records, 100);
    assert!(writer.disk_bytes() <= 64 << 10 && counts.undelivered.records > 5, "{counts:?}");
    assert_eq!(writer.done(1..=1).records, 0, "what was dropped is not delivered");
}

#[test]
fn limits_change_while_it_runs() {
    let (writer, mut driver) = new(MemoryStorage::default(), small(OnFull::Refuse));
    let answers: Vec<_> = (0..6).map(|_| append(&writer, 10_000)).collect();
    driver.turn();
    assert!(answers.iter().all(|answer| answer.recv().unwrap().is_ok()));
    assert!(writer.reserve(10_000).is_err());
    writer.set_limits(32 << 10, 10, Some(5), OnFull::DropOldest);
    driver.turn();
    assert!(writer.disk_bytes() <= 32 << 10, "{}", writer.disk_bytes());
    let (dropped, left) = (writer.drops().full.records, writer.undelivered().records);
    assert_eq!(dropped + left, 6);
    assert_eq!(writer.expire(6).records, left);
}

#[test]
fn a_flush_ends_with_notes_durable_and_says_when_they_are_not() {
    let disk = Disk::new(3, Lies::default());
    let log = Log::open(disk.clone(), small(OnFull::Refuse)).unwrap();
    let writer = Writer::spawn(log, WriterOptions::default()).unwrap();
    let answers = [append(&writer, 10), append(&writer, 10)];
    writer.flush().unwrap();
    assert!(answers.iter().all(|answer| answer.try_recv().unwrap().is_ok()));
    writer.done(1..=1);
    disk.state().faults = 100;
    assert!(matches!(writer.flush(), Err(Error::Write { .. } | Error::NotDurable { .. })));
    disk.heal();
    writer.flush().unwrap();
    assert_eq!(check(&disk).unwrap().done.records, 1);
    writer.close().unwrap();
    disk.cut();
    assert_eq!(check(&disk).unwrap().undelivered.records, 1);
}

#[test]
fn a_killed_process_does_not_write_any_more() {
    let disk = Disk::new(4, Lies::default());
    let (writer, mut driver) = new(disk.clone(), small(OnFull::Refuse));
    let answer = append(&writer, 10);
    let next = disk.next_life();
    driver.turn();
    assert!(matches!(answer.recv().unwrap(), Err(Error::Write { .. })));
    assert_eq!(check(&next).unwrap().segments, 0);
}

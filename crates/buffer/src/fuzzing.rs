//! What must hold for any bytes on the disk: called by the fuzz target, and by `cargo test` on its corpus.

use crate::log::Log;
use crate::memory::MemoryStorage;
use crate::options::Options;
use crate::record::{HEADER, MAX_SEQ, Place};
use crate::report::Report;
use crate::storage::Storage;
use crate::{check, dump};

/// Opening two segments that hold `data`, raw and laid over sound records, ends and accounts for each byte; what is read is
/// sound; and the log works afterwards.
pub fn buffer_segment(data: &[u8]) {
    let raw = MemoryStorage::default();
    raw.put(&Place { salt: 0, segment: 1, base: 1 }.name(), data.to_vec());
    opens(&raw);
    if let Ok(storage) = overlaid(data) {
        opens(&storage);
    }
}

/// A log of a few records with `data` over it: the first four bytes say where, the fifth how many records come before.
fn overlaid(data: &[u8]) -> Result<MemoryStorage, crate::Error> {
    let storage = MemoryStorage::default();
    let mut log = Log::open(storage.clone(), Options { segment_bytes: 512, ..Options::default() })?;
    let (head, rest) = data.split_at(data.len().min(5));
    for n in 0..=head.get(4).copied().unwrap_or(7) % 16 {
        log.append(u64::from(n), n, u32::from(n), &vec![n; usize::from(n) * 37])?;
        if n % 3 == 2 {
            drop(log.commit());
            log.done(2..=u64::from(n));
        }
    }
    drop(log.commit());
    drop(log);
    let names = storage.list().map_err(|source| crate::Error::open("list".to_owned(), source))?;
    let place = head.first_chunk::<4>().map_or(0, |four| u32::from_le_bytes(*four) as usize);
    let Some(name) = names.get(place % names.len().max(1)) else { return Ok(storage) };
    let mut bytes = storage.get(name).unwrap_or_default();
    let at = (place / 8) % (bytes.len() + 1);
    bytes.iter_mut().skip(at).zip(rest).for_each(|(byte, over)| *byte ^= over);
    storage.put(name, bytes);
    Ok(storage)
}

fn opens(storage: &MemoryStorage) {
    let bytes: u64 = sizes(storage);
    let mut dumped = 0;
    let mut expected = 0;
    let seen = dump(storage, |seen| {
        if seen.offset == 0 {
            expected = 0;
        }
        assert_eq!(seen.offset, expected, "stretches lie end to end");
        expected += seen.bytes;
        dumped += seen.bytes;
    });
    let report = seen.unwrap_or_default();
    assert_eq!(dumped, bytes);
    accounts_for(&report, bytes);
    let Ok(mut log) = Log::open(storage.clone(), Options::default()) else {
        panic!("a log in memory can be opened");
    };
    assert_eq!(log.report(), &report, "a check sees what opening sees");
    let read = read_all(&mut log);
    assert_eq!(read.len() as u64, report.undelivered.records);
    let Ok(seq) = log.append(1, 2, 3, data_of_ours()) else { panic!("a log in memory can be written to") };
    assert!(log.commit().is_durable(seq));
    if seq > MAX_SEQ {
        // Only whoever forges records uses the numbers up.
        return;
    }
    assert!(read.iter().all(|(old, _)| *old < seq));
    let Ok(mut again) = Log::open(storage.clone(), Options::default()) else {
        panic!("a log in memory can be opened");
    };
    let mut expected = read;
    expected.push((seq, data_of_ours().to_vec()));
    assert_eq!(read_all(&mut again), expected, "a second opening finds the same, and what was appended");
    accounts_for(&check(storage).unwrap_or_default(), sizes(storage));
}

fn data_of_ours() -> &'static [u8] {
    b"FWB1 is also the beginning of this payload"
}

fn read_all(log: &mut Log<MemoryStorage>) -> Vec<(u64, Vec<u8>)> {
    let mut read: Vec<(u64, Vec<u8>)> = Vec::new();
    while let Ok(Some(record)) = log.read_next(read.last().map_or(0, |(seq, _)| *seq)) {
        assert!(read.last().is_none_or(|(seq, _)| *seq < record.seq), "numbers ascend");
        read.push((record.seq, record.bytes.to_vec()));
    }
    read
}

fn sizes(storage: &MemoryStorage) -> u64 {
    let names = storage.list().unwrap_or_default();
    names.iter().filter_map(|name| storage.get(name)).map(|bytes| bytes.len() as u64).sum()
}

fn accounts_for(report: &Report, bytes: u64) {
    let Report { sound_bytes, damaged_bytes, lost_bytes, tail_bytes, unreadable_bytes, .. } = *report;
    assert_eq!(report.file_bytes, bytes);
    assert_eq!(sound_bytes + damaged_bytes + lost_bytes + tail_bytes + unreadable_bytes, bytes);
    assert!((report.undelivered.records + report.done.records) * HEADER as u64 <= sound_bytes);
}

//! Reading one segment from its start to its end, past whatever is damaged in it.
//!
//! Invariants: the position only grows, so a scan ends; each byte of the file is in exactly one [`Found`]; memory is one window,
//! however long the records are. The work is linear: a damaged payload is skipped by the length in its sound header, and a
//! header's CRC covers 60 bytes wherever a magic stands.

use std::io;

use memchr::memmem;

use crate::record::{HEADER, Header, Kind, MAGIC, Place};
use crate::storage::{StoredFile, read_full};

const WINDOW: usize = 64 << 10;
/// How much is given up where the disk gives nothing.
const BLOCK: u64 = 4096;

/// A stretch of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record. Of notes the payload comes with it.
    Sound { offset: u64, header: Header, note: Vec<u8> },
    /// A sound header, and a payload that is not what was written.
    Damaged { offset: u64, header: Header },
    /// Bytes that no sound header accounts for; `tail`: up to the end of the segment.
    Lost { offset: u64, bytes: u64, tail: bool },
    /// Bytes that the disk did not give.
    Unreadable { offset: u64, bytes: u64 },
}

/// The scan of one segment, up to the size that it has when the scan begins.
pub(crate) struct Scan<'f, F> {
    window: Window<'f, F>,
    place: Place,
    size: u64,
    at: u64,
}

enum Payload {
    Sound(Vec<u8>),
    Damaged,
    Unreadable,
}

impl<'f, F: StoredFile> Scan<'f, F> {
    pub(crate) fn new(file: &'f F, place: Place) -> io::Result<Self> {
        let size = file.size()?;
        Ok(Self { window: Window { file, start: 0, bytes: Vec::new() }, place, size, at: 0 })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let bytes = self.window.at(self.at, HEADER)?;
        let header = Header::decode(bytes, self.place, self.at);
        Ok(header.filter(|header| header.total() <= self.size - self.at))
    }

    /// Goes on to the next place where a magic stands, or behind what cannot be one.
    fn seek(&mut self) -> io::Result<()> {
        self.at += 1;
        while self.at < self.size {
            let bytes = self.window.at(self.at, HEADER)?;
            match memmem::find(bytes, &MAGIC) {
                Some(found) => {
                    self.at += found as u64;
                    return Ok(());
                }
                // The last three bytes may be the beginning of one.
                None => self.at += (bytes.len().saturating_sub(MAGIC.len() - 1)).max(1) as u64,
            }
        }
        Ok(())
    }

    fn payload(&mut self, header: &Header) -> Payload {
        let mut note = Vec::new();
        let (mut crc, mut at) = (0, self.at + HEADER as u64);
        let mut left = header.length as usize;
        while left > 0 {
            let bytes = match self.window.at(at, 1) {
                Ok([]) => return Payload::Damaged,
                Ok(bytes) => &bytes[..bytes.len().min(left)],
                Err(_) => return Payload::Unreadable,
            };
            crc = crc32c::crc32c_append(crc, bytes);
            if header.kind == Kind::Done {
                note.extend_from_slice(bytes);
            }
            left -= bytes.len();
            at += bytes.len() as u64;
        }
        if crc == header.payload_crc { Payload::Sound(note) } else { Payload::Damaged }
    }

    /// What begins at a sound header.
    fn record(&mut self, header: Header) -> Found {
        let offset = self.at;
        let payload = self.payload(&header);
        self.at += header.total();
        match payload {
            Payload::Sound(note) => Found::Sound { offset, header, note },
            Payload::Damaged => Found::Damaged { offset, header },
            Payload::Unreadable => Found::Unreadable { offset, bytes: header.total() },
        }
    }

    /// What begins where there is no sound header: all up to the next one.
    fn lost(&mut self) -> Found {
        let offset = self.at;
        loop {
            // Where the disk gives nothing this stretch ends, and the next one begins there.
            if self.seek().is_err() {
                break;
            }
            if self.at >= self.size || !matches!(self.header(), Ok(None)) {
                break;
            }
        }
        self.at = self.at.min(self.size);
        Found::Lost { offset, bytes: self.at - offset, tail: self.at == self.size }
    }
}

impl<F: StoredFile> Iterator for Scan<'_, F> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if self.at >= self.size {
            return None;
        }
        Some(match self.header() {
            Ok(Some(header)) => self.record(header),
            Ok(None) => self.lost(),
            Err(_) => {
                let offset = self.at;
                self.at = ((self.at / BLOCK + 1) * BLOCK).min(self.size);
                Found::Unreadable { offset, bytes: self.at - offset }
            }
        })
    }
}

/// A piece of the file in memory.
struct Window<'f, F> {
    file: &'f F,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: StoredFile> Window<'_, F> {
    /// What stands at `offset`, at least `wanted` bytes (at most [`WINDOW`]) unless the file ends before.
    fn at(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + wanted as u64 > end {
            self.bytes.resize(WINDOW, 0);
            // A failed or a short read leaves no bytes that are not the file's.
            let filled = read_full(self.file, offset, &mut self.bytes).inspect_err(|_| self.bytes.clear())?;
            self.bytes.truncate(filled);
            self.start = offset;
        }
        Ok(self.bytes.get((offset - self.start) as usize..).unwrap_or_default())
    }
}

//! Writing records, and beginning segments.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Log, Segment};
use crate::Seq;
use crate::error::Error;
use crate::inspect::Entry;
use crate::record::{HEADER, Header, Place};
use crate::storage::{Storage, StoredFile, append_all};

/// Room for one record, so that its append cannot be refused for want of room. Given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
    reserved: Arc<AtomicU64>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl<S: Storage> Log<S> {
    /// Takes room for a payload of so many bytes; drops older records if that is how the log makes room.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`].
    pub fn reserve(&mut self, bytes: usize) -> Result<Reservation, Error> {
        let bytes = self.cost(bytes)?;
        self.make_room(bytes)?;
        self.reserved.fetch_add(bytes, Ordering::AcqRel);
        Ok(Reservation { bytes, reserved: Arc::clone(&self.reserved) })
    }

    /// Writes a record. It is neither durable nor can it be read before a [`Log::commit`] says so; `tag` and `items` come back
    /// with it. The number grows with each append, but not always by one.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`]; [`Error::Write`], after which the log goes on in a new segment.
    pub fn append(&mut self, entered_ms: u64, tag: u8, items: u32, payload: &[u8]) -> Result<Seq, Error> {
        let cost = self.cost(payload.len())?;
        self.make_room(cost)?;
        self.write_data(entered_ms, tag, items, payload)
    }

    /// As [`Log::append`], into room that was taken before. The reservation must be of this log and of this size.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Write`].
    pub fn append_reserved(
        &mut self,
        room: Reservation,
        entered_ms: u64,
        tag: u8,
        items: u32,
        payload: &[u8],
    ) -> Result<Seq, Error> {
        if self.cost(payload.len())? > room.bytes {
            let limit = room.bytes.saturating_sub(HEADER as u64);
            return Err(Error::TooLarge { bytes: payload.len() as u64, limit });
        }
        drop(room);
        self.write_data(entered_ms, tag, items, payload)
    }

    /// What a record takes on disk.
    fn cost(&self, payload: usize) -> Result<u64, Error> {
        let bytes = payload as u64;
        let limit = self.options.max_bytes.min(u64::from(u32::MAX)).saturating_sub(HEADER as u64);
        if bytes > limit { Err(Error::TooLarge { bytes, limit }) } else { Ok(bytes + HEADER as u64) }
    }

    fn write_data(&mut self, entered_ms: u64, tag: u8, items: u32, payload: &[u8]) -> Result<Seq, Error> {
        let seq = self.next_seq;
        let too_large = || Error::TooLarge { bytes: payload.len() as u64, limit: u64::from(u32::MAX) };
        let header = Header::data(seq, entered_ms, tag, items, payload).ok_or_else(too_large)?;
        self.rotate(header.total()).map_err(Error::write)?;
        self.next_seq += 1;
        let offset = match self.write(&header, payload) {
            Ok(offset) => offset,
            Err(error) => {
                // Should all of it stand there after all, the note keeps it from coming back.
                self.unwritten.insert(seq..=seq);
                return Err(Error::write(error));
            }
        };
        self.records += 1;
        if let Some(segment) = self.segments.back_mut() {
            segment.entries.push(Entry::new(&header, offset));
            segment.open += 1;
        }
        Ok(seq)
    }

    /// Sees to it that there is an active segment, and begins a new one if so many more bytes make it too long.
    pub(super) fn rotate(&mut self, bytes: u64) -> io::Result<()> {
        let limit = self.options.segment_limit();
        let has_room = |segment: &Segment<S::File>| segment.size == 0 || segment.size + bytes <= limit;
        if self.active && self.segments.back().is_some_and(has_room) {
            return Ok(());
        }
        self.seal();
        self.begin()
    }

    fn begin(&mut self) -> io::Result<()> {
        let place = Place { salt: self.storage.salt()?, segment: self.next_segment, base: self.next_seq };
        let name = place.name();
        let file = self.storage.create(&name)?;
        self.next_segment += 1;
        // Before anything is in it: records in a file without a durable name are not durable.
        if let Err(error) = self.storage.sync_dir() {
            self.removed |= self.storage.remove(&name).is_ok();
            return Err(error);
        }
        self.removed = false;
        let segment = Segment {
            place,
            file: Some(Arc::new(file)),
            size: 0,
            synced: 0,
            entries: Vec::new(),
            committed: 0,
            open: 0,
            first_open: 0,
            unreadable: false,
        };
        self.disk_bytes += segment.disk_bytes();
        self.segments.push_back(segment);
        self.active = true;
        Ok(())
    }

    /// Writes to the active segment and returns where. After a failure the segment is closed, unless it was empty and the disk is
    /// only full: then the next append tries the same file, and a disk that stays full costs no files and no syncs.
    pub(super) fn write(&mut self, header: &Header, payload: &[u8]) -> io::Result<u64> {
        let Some(segment) = self.segments.back_mut().filter(|_| self.active) else {
            return Err(io::Error::other("no active segment"));
        };
        let Some(file) = segment.file.clone() else {
            return Err(io::Error::other("the active segment is not open"));
        };
        let (before, offset) = (segment.disk_bytes(), segment.size);
        let result = append_all(&*file, &header.encode(segment.place, offset), payload);
        let mut usable = true;
        match &result {
            Ok(()) => segment.size += header.total(),
            Err((written, error)) => {
                // For the space; recovery reads around it as well.
                let cut = *written == 0 || file.truncate(offset).is_ok();
                if !cut {
                    segment.size += written;
                }
                usable = cut && offset == 0 && is_full(error);
            }
        }
        self.disk_bytes = self.disk_bytes + segment.disk_bytes() - before;
        if !usable {
            self.seal();
            self.reclaim();
        }
        result.map(|()| offset).map_err(|(_, error)| error)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

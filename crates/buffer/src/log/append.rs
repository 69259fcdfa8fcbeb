//! Writing records, and beginning segments.

use std::io;
use std::sync::Arc;

use super::{Log, Segment};
use crate::Seq;
use crate::error::Error;
use crate::inspect::Entry;
use crate::record::{HEADER, Header, Place};
use crate::room::Reservation;
use crate::storage::{Storage, StoredFile, append_all};

impl<S: Storage> Log<S> {
    /// Takes room for a payload of so many bytes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`].
    pub fn reserve(&mut self, bytes: usize) -> Result<Reservation, Error> {
        loop {
            match self.room.reserve(bytes) {
                Err(Error::Full { .. }) if self.free(false) => {}
                result => return result,
            }
        }
    }

    /// Writes a record. It is neither durable nor can it be read before a [`Log::commit`] says so; `tag` and `items` come back
    /// with it. The number grows with each append, but not always by one.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::TooLarge`]; [`Error::Write`], after which the log goes on in a new segment.
    pub fn append(&mut self, entered_ms: u64, tag: u8, items: u32, payload: &[u8]) -> Result<Seq, Error> {
        let room = self.reserve(payload.len())?;
        self.append_reserved(room, entered_ms, tag, items, payload)
    }

    /// As [`Log::append`], into room of this log that was taken before. A payload that is larger than that takes the difference.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::TooLarge`] if the difference is not to be had. [`Error::Full`] also where the oldest are dropped,
    /// if all there is still waits for its commit, or cannot be deleted. [`Error::Write`].
    pub fn append_reserved(
        &mut self,
        mut room: Reservation,
        entered_ms: u64,
        tag: u8,
        items: u32,
        payload: &[u8],
    ) -> Result<Seq, Error> {
        self.append_within(&mut room, entered_ms, tag, items, payload)
    }

    /// As [`Log::append_reserved`]; after [`Error::Full`] it may be tried again. The room is not given back: the caller does that,
    /// after the record counts as used.
    pub(crate) fn append_within(
        &mut self,
        room: &mut Reservation,
        entered_ms: u64,
        tag: u8,
        items: u32,
        payload: &[u8],
    ) -> Result<Seq, Error> {
        while !room.holds(payload.len()) {
            match room.resize(payload.len()) {
                Err(Error::Full { .. }) if self.free(false) => {}
                result => result?,
            }
        }
        self.drop_oldest((payload.len() + HEADER) as u64, 1)?;
        self.write_data(entered_ms, tag, items, payload)
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
        self.room.records.change(0, 1);
        if let Some(segment) = self.segments.back_mut() {
            segment.entries.push(Entry::new(&header, offset));
            segment.open += 1;
        }
        Ok(seq)
    }

    /// Sees to it that there is an active segment, and begins a new one if so many more bytes make it too long.
    pub(super) fn rotate(&mut self, bytes: u64) -> io::Result<()> {
        let limit = self.segment_limit();
        let has_room = |segment: &Segment<S::File>| segment.size == 0 || segment.size + bytes <= limit;
        if self.active && self.segments.back().is_some_and(has_room) {
            return Ok(());
        }
        self.seal();
        self.begin()
    }

    /// The size at which a segment ends, in bytes.
    pub(super) fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(self.room.max_bytes() / 4)
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
        self.room.bytes.change(0, segment.disk_bytes());
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
        self.room.bytes.change(before, segment.disk_bytes());
        if result.as_ref().is_err_and(|(_, error)| is_full(error)) {
            self.storage.drop_retired();
        }
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

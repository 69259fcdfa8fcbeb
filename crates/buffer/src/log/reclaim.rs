//! Giving space back.
//!
//! Invariant: the oldest segment goes first, and the next one only when its deletion is durable: the next one may hold the notes
//! that say what is done in it. No note is needed on what is deleted, so a full disk can be emptied without writing.

use super::{Gone, Log};
use crate::error::Error;
use crate::storage::Storage;

impl<S: Storage> Log<S> {
    /// Deletes sealed segments of which all is done; whether one went. One that the disk did not give in full when it was opened
    /// is left where it is: the next opening looks again.
    pub(super) fn reclaim(&mut self) -> bool {
        let mut any = false;
        while self.front_is_done() {
            // On a failure the same is tried again next time.
            if self.removed && self.storage.sync_dir().is_err() {
                break;
            }
            self.removed = false;
            let Some(front) = self.segments.front() else { break };
            if front.unreadable {
                // What could not be read may be there another time. It still counts as used.
                self.room.bytes.change(0, front.disk_bytes());
                self.forget_front();
                continue;
            }
            // As long as files and spare ones together are less than half of what they may be, the space is kept to be overwritten. A
            // log that grows uses what is spare first, so it stays within its limit. Files that ended early are of little use.
            let kept = self.room.bytes.used() + self.storage.spare_bytes();
            let keeps = kept <= self.room.max_bytes() / 2 && front.size >= self.segment_limit() / 2;
            let name = front.place.name();
            let removed = if keeps { self.storage.retire(&name) } else { self.storage.remove(&name) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => break,
                _ => {}
            }
            self.removed = true;
            any = true;
            self.forget_front();
        }
        if any && self.storage.sync_dir().is_ok() {
            self.removed = false;
        }
        any
    }

    fn front_is_done(&self) -> bool {
        let is_active = self.active && self.segments.len() == 1;
        !is_active && self.segments.front().is_some_and(|segment| segment.open == 0)
    }

    fn forget_front(&mut self) {
        let Some(front) = self.segments.pop_front() else { return };
        self.room.bytes.change(front.disk_bytes(), 0);
        self.room.records.change(front.entries.len() as u64, 0);
        // Notes in it were on records in it or before it.
        self.written.retain(|note| note.segment != front.number());
        let oldest = self.segments.front().map_or(self.next_seq, |segment| segment.place.base);
        self.unwritten.remove_below(oldest);
        self.reading.take_if(|(number, _)| *number == front.number());
    }

    /// Gives back space in which all is done, or that of the oldest records if they may be dropped; whether there was some.
    pub(super) fn free(&mut self, drop_records: bool) -> bool {
        self.reclaim() || (self.give_up_front(drop_records) && self.reclaim())
    }

    /// Where the oldest are dropped: sees to it that so many bytes and records more stay within the limits. What others have
    /// reserved does not count, or many senders could empty the log before one of them has written.
    pub(super) fn drop_oldest(&mut self, bytes: u64, records: u64) -> Result<(), Error> {
        while self.room.drops_oldest()
            && let Some(limit) = self.room.exceeded(bytes, records)
        {
            if !self.free(true) {
                return Err(Error::Full { limit });
            }
        }
        Ok(())
    }

    /// If a sender was refused, or the limits have changed: makes what room there can be. As long as there is none, the next
    /// record that is done is a reason to look again.
    pub(crate) fn relieve(&mut self) {
        if self.room.is_wanted() {
            let drops_oldest = self.room.drops_oldest();
            let relieved = if drops_oldest { self.drop_oldest(0, 0).is_ok() } else { self.free(false) };
            if relieved {
                self.room.relieved();
            }
        }
    }

    /// Makes the oldest segment one that can be deleted: closes it, if it is the active one; drops what is in it, if that is
    /// allowed. Whether that is done; never if something in it still waits for its commit.
    fn give_up_front(&mut self, drop_records: bool) -> bool {
        let Some(front) = self.segments.front() else { return false };
        let waits = front.committed < front.entries.len();
        if waits || (front.open > 0 && !drop_records) {
            return false;
        }
        if let (Some(first), Some(last)) = (front.entries.first(), front.entries.last()) {
            self.mark_done(first.seq..=last.seq, Gone::Full);
        }
        if self.segments.len() == 1 {
            self.seal();
        }
        true
    }
}

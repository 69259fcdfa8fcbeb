//! The few operations on files that the log needs, so that a simulated disk can take their place.
//!
//! What an implementation must promise is what a file system does, and no more: a write may be short, may survive a crash in
//! part, and is durable only after [`StoredFile::sync`]; a file that was created or removed is so durably only after
//! [`Storage::sync_dir`].

use std::io::{self, IoSlice};

/// A directory of segment files.
pub trait Storage: Send + 'static {
    /// An open file.
    type File: StoredFile;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new file, to be read and written from its start. It may hold bytes that stood elsewhere ([`Storage::retire`]): what is
    /// behind the last write means nothing.
    ///
    /// # Errors
    /// `AlreadyExists`, and the system's.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read it.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes a file as [`Storage::remove`] does; its space may be used for one that is created later. Overwriting costs a file system
    /// a fraction of what fresh space does. Nothing is written to such a file before [`Storage::sync_dir`] has made its new
    /// name, and the end of the old one, durable: that is the log's to see to.
    ///
    /// # Errors
    /// As there.
    fn retire(&self, name: &str) -> io::Result<()> {
        self.remove(name)
    }

    /// Gives the space of retired files back to others.
    fn drop_retired(&self) {}

    /// What files take that were retired and not used yet, in bytes.
    fn spare_bytes(&self) -> u64 {
        0
    }

    /// Makes what was created and removed durable.
    ///
    /// # Errors
    /// The system's: then it is unknown what of it is durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// A number that nobody can foresee: the salt of a segment.
    ///
    /// # Errors
    /// The system has no randomness to give.
    fn salt(&self) -> io::Result<u64>;
}

/// An open file of a [`Storage`].
pub trait StoredFile: std::fmt::Debug + Send + Sync + 'static {
    /// Writes behind what was written before, possibly less than all (as [`io::Write::write_vectored`]).
    ///
    /// # Errors
    /// The system's. Something may have been written all the same.
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Reads from a place, possibly less than all; 0 at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// The file's size in bytes.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file; what is written next goes to its end.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The system's. What was written since the last success must then be taken for lost, even if a later sync succeeds.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of it, or says how much stands in the file.
pub(crate) fn append_all<F: StoredFile>(
    file: &F,
    head: &[u8],
    payload: &[u8],
) -> Result<(), (u64, io::Error)> {
    let total = head.len() + payload.len();
    let mut written = 0;
    while written < total {
        let head = head.get(written..).unwrap_or_default();
        let rest = payload.get(written.saturating_sub(total - payload.len())..).unwrap_or_default();
        match file.append(&[IoSlice::new(head), IoSlice::new(rest)]) {
            Ok(0) => return Err((written as u64, io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written as u64, error)),
        }
    }
    Ok(())
}

/// Reads until `into` is full or the file ends; returns how much there was.
pub(crate) fn read_full<F: StoredFile>(file: &F, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(offset + filled as u64, &mut into[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

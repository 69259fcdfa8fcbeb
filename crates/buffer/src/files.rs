//! A [`Storage`] that is a directory.
//!
//! The folder is made 0700, files 0600. One process has it at a time: it holds a lock on the file `lock`, which the system
//! takes back when the process ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::storage::{Storage, StoredFile};

const LOCK: &str = "lock";

/// A buffer's directory, locked for this process.
#[derive(Debug)]
pub struct FileStorage {
    files: ReadOnly,
    _lock: File,
}

impl FileStorage {
    /// Makes the directory if there is none, and locks it. A folder that exists keeps its permissions.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Open`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let failed = |what: &str, source| Error::open(format!("{what} {}", dir.display()), source);
        make_dir(dir).map_err(|source| failed("make the folder", source))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join(LOCK))
            .map_err(|source| failed("open the file lock in", source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", source)),
        }
        Ok(Self { files: ReadOnly::open(dir)?, _lock: lock })
    }
}

/// Makes a folder and those above it, each of them durable in the one that holds it.
fn make_dir(dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = dir;
    while !at.as_os_str().is_empty() && !at.try_exists()? {
        missing.push(at);
        let Some(parent) = at.parent() else { break };
        at = parent;
    }
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// A buffer's directory without the lock, to look at what another process writes: see [`check`](crate::check) and
/// [`dump`](crate::dump). Whatever would change it fails.
#[derive(Debug)]
pub struct ReadOnly {
    dir: PathBuf,
    handle: File,
}

impl ReadOnly {
    /// # Errors
    /// [`Error::Open`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let handle = File::open(dir)
            .map_err(|source| Error::open(format!("open the folder {}", dir.display()), source))?;
        Ok(Self { dir: dir.to_owned(), handle })
    }
}

impl Storage for FileStorage {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600).open(self.files.dir.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        Storage::open(&self.files, name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.files.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.files.handle.sync_all()
    }

    fn salt(&self) -> io::Result<u64> {
        getrandom::u64().map_err(|error| io::Error::other(error.to_string()))
    }
}

impl Storage for ReadOnly {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok());
        fs::read_dir(&self.dir)?.filter_map(|entry| name(entry).transpose()).collect()
    }

    fn create(&self, _: &str) -> io::Result<File> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.dir.join(name))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn salt(&self) -> io::Result<u64> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

impl StoredFile for File {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self;
        file.write_vectored(parts)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

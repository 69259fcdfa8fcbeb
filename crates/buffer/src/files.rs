//! A [`Storage`] that is a directory.
//!
//! The folder is made 0700, files 0600. One process has it at a time: it holds a lock on the file `lock`, which the system
//! takes back when the process ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::storage::{Storage, StoredFile};

const LOCK: &str = "lock";
/// How the name of a spare file begins.
const SPARE: &str = "spare-";

/// A buffer's directory, locked for this process.
#[derive(Debug)]
pub struct FileStorage {
    files: ReadOnly,
    /// Files that held segments, to be overwritten by new ones.
    spares: Mutex<Spares>,
    _lock: File,
}

#[derive(Debug, Default)]
struct Spares {
    /// Names, and sizes in bytes.
    files: Vec<(String, u64)>,
    made: u64,
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
        let storage = Self { files: ReadOnly::open(dir)?, spares: Mutex::default(), _lock: lock };
        storage.drop_spares().map_err(|source| failed("remove spare files from", source))?;
        Ok(storage)
    }
}

impl FileStorage {
    fn path(&self, name: &str) -> PathBuf {
        self.files.dir.join(name)
    }

    fn spares(&self) -> MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a process that is gone.
    fn drop_spares(&self) -> io::Result<()> {
        let names = self.files.list()?;
        names
            .iter()
            .filter(|name| name.starts_with(SPARE))
            .try_for_each(|name| fs::remove_file(self.path(name)))
    }
}

impl Drop for FileStorage {
    /// What cannot be removed now is removed by the next opening.
    fn drop(&mut self) {
        let _ = self.drop_spares();
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
        options.read(true).write(true);
        if let Some((spare, _)) = self.spares().files.pop()
            && fs::rename(self.path(&spare), self.path(name)).is_ok()
        {
            return options.open(self.path(name));
        }
        options.create_new(true).mode(0o600).open(self.path(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        Storage::open(&self.files, name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn retire(&self, name: &str) -> io::Result<()> {
        let mut spares = self.spares();
        let spare = format!("{SPARE}{}", spares.made);
        let bytes = fs::metadata(self.path(name))?.len();
        fs::rename(self.path(name), self.path(&spare))?;
        spares.made += 1;
        spares.files.push((spare, bytes));
        Ok(())
    }

    fn drop_retired(&self) {
        for (spare, _) in std::mem::take(&mut self.spares().files) {
            // What cannot be removed now is removed by the next opening.
            let _ = fs::remove_file(self.path(&spare));
        }
    }

    fn spare_bytes(&self) -> u64 {
        self.spares().files.iter().map(|(_, bytes)| bytes).sum()
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
        self.set_len(size)?;
        let mut file = self;
        file.seek(SeekFrom::Start(size)).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

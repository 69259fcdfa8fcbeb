//! A file that is put aside when it is full, or when its end is torn.
//!
//! Synchronous, and it knows no format. It deliberately does not lock the file: two writers are found by their claims.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::RotateConfig;

/// Why bytes could not be written. All of it may pass: a full disk gets room, a folder comes back.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(super) struct WriteError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Whether a file of so many bytes ends where a request ends.
pub(super) type EndsWhole = fn(&File, u64) -> io::Result<bool>;

/// The file being written, opened when first needed.
pub(super) struct RotatedFile {
    path: PathBuf,
    rotate: RotateConfig,
    sync: bool,
    ends_whole: EndsWhole,
    open: Option<Open>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl RotatedFile {
    pub(super) fn new(path: PathBuf, rotate: RotateConfig, sync: bool, ends_whole: EndsWhole) -> Self {
        Self { path, rotate, sync, ends_whole, open: None }
    }

    /// Appends `bytes`, all of them or, on an error, none.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.open.as_ref().is_some_and(|open| !self.is_ours(open)) {
            self.open = None;
        }
        let size = self.opened()?.bytes;
        if size > 0 && size + bytes.len() as u64 > self.rotate.max_bytes {
            self.open = None;
            self.put_aside()?;
        }
        let sync = self.sync;
        let open = self.opened()?;
        let before = open.bytes;
        let written =
            open.file.write_all(bytes).and_then(|()| if sync { open.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // A torn line would spoil the next one too. If even this fails, the file is opened afresh.
            let _ = open.file.set_len(before);
            self.open = None;
            return Err(self.error("write", error));
        }
        open.bytes += bytes.len() as u64;
        Ok(())
    }

    /// False when someone moved or deleted the file: what is written to it would be seen by nobody.
    fn is_ours(&self, open: &Open) -> bool {
        match (fs::metadata(&self.path), open.file.metadata()) {
            (Ok(named), Ok(opened)) => named.ino() == opened.ino() && named.dev() == opened.dev(),
            _ => false,
        }
    }

    fn opened(&mut self) -> Result<&mut Open, WriteError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open_whole()?,
        };
        Ok(self.open.insert(open))
    }

    /// Opens the file, or a new one where the end of the old one is torn.
    fn open_whole(&self) -> Result<Open, WriteError> {
        let open = || self.open_file().map_err(|e| self.error("open", e));
        let old = open()?;
        if old.bytes == 0 || (self.ends_whole)(&old.file, old.bytes).map_err(|e| self.error("read", e))? {
            return Ok(old);
        }
        tracing::warn!(path = %self.path.display(), "the end of the file is torn; it is put aside");
        self.put_aside()?;
        open()
    }

    fn open_file(&self) -> io::Result<Open> {
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).mode(0o600).open(&self.path)?;
        let bytes = file.metadata()?.len();
        Ok(Open { file, bytes })
    }

    /// `x` becomes `x.1`, `x.1` becomes `x.2`, the last one goes.
    fn put_aside(&self) -> Result<(), WriteError> {
        if self.rotate.max_files == 0 {
            return fs::remove_file(&self.path).map_err(|e| self.error("remove", e));
        }
        for n in (1..self.rotate.max_files).rev() {
            match fs::rename(self.aside(n), self.aside(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.error("rotate", e)),
                _ => {}
            }
        }
        fs::rename(&self.path, self.aside(1)).map_err(|e| self.error("rotate", e))
    }

    fn aside(&self, n: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn error(&self, action: &'static str, source: io::Error) -> WriteError {
        WriteError { action, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: EndsWhole = |file, len| {
        use std::os::unix::fs::FileExt as _;
        let mut last = [0];
        file.read_exact_at(&mut last, len - 1)?;
        Ok(last == *b"\n")
    };

    fn contents(folder: &std::path::Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let rotate = RotateConfig { max_bytes: 8, max_files: 2 };
        let mut file = RotatedFile::new(folder.path().join("x"), rotate, false, LINES);
        for line in ["aaaa\n", "bbbb\n", "cc\n", "dddd\n", "a line over the limit\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let want = [("x", "a line over the limit\n"), ("x.1", "dddd\n"), ("x.2", "bbbb\ncc\n")];
        assert_eq!(contents(folder.path()), want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_file_moved_away_by_others_is_made_anew_and_an_old_one_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "old\n").unwrap();
        let mut file = RotatedFile::new(path.clone(), RotateConfig::default(), true, LINES);
        file.write(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        file.write(b"two\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.write(b"three\n").unwrap();
        let want = [("moved", "old\none\n"), ("x", "three\n")];
        assert_eq!(contents(folder.path()), want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_torn_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "whole\ntor").unwrap();
        RotatedFile::new(path, RotateConfig::default(), false, LINES).write(b"next\n").unwrap();
        let want = [("x", "next\n"), ("x.1", "whole\ntor")];
        assert_eq!(contents(folder.path()), want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_missing_folder_is_an_error_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("later");
        let mut file = RotatedFile::new(inner.join("x"), RotateConfig::default(), false, LINES);
        let error = file.write(b"one\n").unwrap_err().to_string();
        assert!(error.starts_with("cannot open "), "{error}");
        fs::create_dir(&inner).unwrap();
        file.write(b"one\n").unwrap();
        assert_eq!(contents(&inner), [("x".to_owned(), "one\n".to_owned())]);
    }

    #[test]
    fn a_write_that_fails_half_way_is_taken_back() {
        // /dev/full opens and refuses every byte, as a full disk does.
        let mut file = RotatedFile::new("/dev/full".into(), RotateConfig::default(), false, LINES);
        let error = file.write(b"one\n").unwrap_err().to_string();
        assert!(error.contains("cannot write /dev/full"), "{error}");
        assert!(file.open.is_none());
    }
}

//! A file that is put aside when it is full, or when its end is torn.
//!
//! Synchronous, and it knows no format. Two writers of one path in this process (an exporter and the one that a reload puts in its place)
//! take turns, and neither relies on what the other left. It deliberately does not lock the file against other processes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

/// Who writes a path has its lock.
type Turn = Arc<Mutex<()>>;

static TURNS: Mutex<Vec<(PathBuf, Weak<Mutex<()>>)>> = Mutex::new(Vec::new());

fn turn(path: &Path) -> Turn {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|(_, turn)| turn.strong_count() > 0);
    let known = turns.iter().find(|(known, _)| *known == path).and_then(|(_, turn)| turn.upgrade());
    known.unwrap_or_else(|| {
        let turn = Turn::default();
        turns.push((path, Arc::downgrade(&turn)));
        turn
    })
}

/// The file being written, opened when first needed.
pub(super) struct RotatedFile {
    path: PathBuf,
    rotate: RotateConfig,
    sync: bool,
    ends_whole: EndsWhole,
    open: Option<Open>,
    turn: Turn,
}

struct Open {
    file: File,
    bytes: u64,
}

impl RotatedFile {
    pub(super) fn new(path: PathBuf, rotate: RotateConfig, sync: bool, ends_whole: EndsWhole) -> Self {
        let turn = turn(&path);
        Self { path, rotate, sync, ends_whole, open: None, turn }
    }

    /// Appends `bytes`, all of them or, on an error, none.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let turn = Arc::clone(&self.turn);
        let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.open = self.open.take().and_then(|open| self.still_ours(open));
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

    /// The file as it is now; nothing when someone moved or deleted it: what is written to it would be seen by nobody.
    fn still_ours(&self, open: Open) -> Option<Open> {
        let (named, opened) = (fs::metadata(&self.path).ok()?, open.file.metadata().ok()?);
        let is_ours = named.ino() == opened.ino() && named.dev() == opened.dev();
        is_ours.then(|| Open { bytes: opened.len(), ..open })
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

    #[test]
    fn two_writers_of_one_path_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let write = |mark: char| {
            let rotate = RotateConfig { max_bytes: 300, max_files: 1000 };
            let mut file = RotatedFile::new(folder.path().join("x"), rotate, false, LINES);
            std::thread::spawn(move || {
                (0..500).for_each(|n| file.write(format!("{mark}{n}\n").as_bytes()).unwrap());
            })
        };
        let writers = [write('a'), write('b')];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let files = contents(folder.path());
        let mut lines: Vec<_> = files.iter().flat_map(|(_, text)| text.lines()).map(str::to_owned).collect();
        lines.sort_unstable();
        let mut want: Vec<_> = "ab".chars().flat_map(|m| (0..500).map(move |n| format!("{m}{n}"))).collect();
        want.sort_unstable();
        assert_eq!(lines, want);
        assert!(files.iter().all(|(_, text)| text.len() <= 300), "neither writes past the limit");
    }
}

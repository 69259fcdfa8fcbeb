//! A disk for tests that does what a disk may do: it loses, tears and reorders what was not synced, fills up, fails, and rots.
//!
//! ```
//! use buffer::simulated::{Disk, Lies};
//! use buffer::{Log, Options};
//!
//! let disk = Disk::new(7, Lies::default());
//! let mut log = Log::open(disk.clone(), Options::default())?;
//! let seq = log.append(0, 0, 1, b"payload")?;
//! assert!(log.commit().is_durable(seq));
//! drop(log);
//! disk.cut();
//! assert_eq!(Log::open(disk.next_life(), Options::default())?.undelivered().records, 1);
//! # Ok::<(), buffer::Error>(())
//! ```
//!
//! What a file holds is kept twice: as a process sees it (`current`), and as it would be after a power cut (`durable`), with the
//! changes between the two (`pending`) cut at sectors. A power cut applies any of them, and forgets the others. The same goes
//! for names: what was created or removed since the directory was synced may or may not have been.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::storage::{Storage, StoredFile};

const SECTOR: usize = 64;
/// More operations than any short program needs: who gets there runs in a circle.
const ENDLESS: u64 = 400_000;

/// SplitMix64, from this seed.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it is no iterator: it does not end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What the disk claims and does not do: the simulation must notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lies {
    /// `sync` of a file does nothing.
    pub sync: bool,
    /// `sync_dir` does nothing.
    pub sync_dir: bool,
    /// A failed `sync` is reported as a success.
    pub failed_sync: bool,
    /// A full disk takes writes, and keeps nothing of them.
    pub full: bool,
    /// Reads of what was flipped give what was written... in the wrong file: stale bytes where there should be others.
    pub stale_read: bool,
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
    /// Where the next write goes.
    at: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, usize),
    Remove(String),
}

/// The disk as it is, and what is to go wrong.
#[derive(Debug)]
pub struct State {
    /// Decides what fails.
    pub rng: Rng,
    /// What it claims and does not do.
    pub lies: Lies,
    inodes: Vec<Inode>,
    /// Files that were retired, to be created again under another name.
    spares: Vec<usize>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    /// Operations until the power fails.
    pub fuse: Option<u64>,
    /// The power has failed: nothing works.
    pub down: bool,
    /// Percent of operations that fail, reads aside.
    pub faults: u64,
    /// Percent of reads that fail.
    pub read_faults: u64,
    /// `sync_dir` fails.
    pub dir_fails: bool,
    /// Bytes left on the disk.
    pub space: Option<u64>,
    operations: u64,
    /// Panics after so many operations: whoever gets there runs in a circle. 400,000 unless set.
    pub endless: u64,
    /// Only handles of this life work.
    life: u64,
    /// A sync failed since the last power cut: what processes see is not what is or will be on the disk.
    pub forgot: bool,
}

/// A handle on a disk. Clones are handles on the same disk.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    /// The life of the process that has it.
    life: u64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        let file = |(name, inode): (&String, &usize)| {
            let file = &state.inodes[*inode];
            (
                name.get(4..20).unwrap_or(name).trim_start_matches('0').to_owned(),
                file.durable.len(),
                file.current.len(),
                file.pending.len(),
            )
        };
        f.debug_struct("Disk")
            .field("down", &state.down)
            .field("names", &state.pending_names)
            .field("files", &state.names.iter().map(file).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// An open file of a [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    disk: Disk,
    inode: usize,
}

fn io_error(what: &'static str) -> io::Error {
    io::Error::other(what)
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, mut hole: impl FnMut(usize) -> Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                if *offset > bytes.len() {
                    let fill = hole(*offset - bytes.len());
                    bytes.extend_from_slice(&fill);
                }
                let end = (offset + data.len()).max(bytes.len());
                bytes.resize(end, 0);
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Truncate(size) => bytes.truncate(*size),
        }
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        assert!(self.operations < self.endless, "the log runs in a circle");
        if let Some(fuse) = &mut self.fuse {
            *fuse = fuse.saturating_sub(1);
            self.down |= *fuse == 0;
        }
        if self.down { Err(io_error("no power")) } else { Ok(()) }
    }

    fn fault(&mut self) -> io::Result<()> {
        self.step()?;
        let faults = self.faults;
        if self.rng.percent(faults) { Err(io_error("EIO")) } else { Ok(()) }
    }

    fn write(&mut self, inode: usize, data: &[u8]) {
        let file = &mut self.inodes[inode];
        let at = file.at;
        let mut offset = at;
        let mut left = data;
        while !left.is_empty() {
            let (piece, rest) = left.split_at((SECTOR - offset % SECTOR).min(left.len()));
            file.pending.push(Change::Write(offset, piece.to_vec()));
            offset += piece.len();
            left = rest;
        }
        Change::Write(at, data.to_vec()).apply(&mut file.current, |length| vec![0; length]);
    }

    /// What stands where nothing was written: zeros, or what some other file held.
    fn hole(rng: &mut Rng, stale: &[u8], length: usize) -> Vec<u8> {
        let mut fill = vec![0; length];
        if rng.percent(50) && !stale.is_empty() {
            let from = rng.below(stale.len() as u64) as usize;
            fill.iter_mut().zip(&stale[from..]).for_each(|(to, from)| *to = *from);
        }
        fill
    }

    /// The power fails and comes back.
    fn cut(&mut self) {
        let stale: Vec<u8> = match self.inodes.len() {
            0 => Vec::new(),
            n => self.inodes[self.rng.below(n as u64) as usize].current.clone(),
        };
        let survives = [0, 10, 50, 90, 100][self.rng.below(5) as usize];
        let rng = &mut self.rng;
        for file in &mut self.inodes {
            let wanted = file.current.len();
            for change in std::mem::take(&mut file.pending) {
                if rng.percent(survives) {
                    change.apply(&mut file.durable, |length| Self::hole(rng, &stale, length));
                }
            }
            if file.durable.len() < wanted && rng.percent(20) {
                // The size came through, the bytes did not.
                let fill = Self::hole(rng, &stale, wanted - file.durable.len());
                file.durable.extend_from_slice(&fill);
            }
            file.current.clone_from(&file.durable);
        }
        for change in std::mem::take(&mut self.pending_names) {
            if rng.percent(survives) {
                match change {
                    NameChange::Create(name, inode) => drop(self.durable_names.insert(name, inode)),
                    NameChange::Remove(name) => drop(self.durable_names.remove(&name)),
                }
            }
        }
        self.names.clone_from(&self.durable_names);
        // Who opens the folder anew removes them.
        self.spares.clear();
        (self.down, self.fuse, self.forgot) = (false, None, false);
    }
}

impl Disk {
    /// An empty disk. The seed decides what goes wrong where [`State`] says how much may.
    pub fn new(seed: u64, lies: Lies) -> Self {
        let state = State {
            rng: Rng(seed ^ 0xd15c),
            lies,
            inodes: Vec::new(),
            spares: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            fuse: None,
            down: false,
            faults: 0,
            read_faults: 0,
            dir_fails: false,
            space: None,
            operations: 0,
            endless: ENDLESS,
            life: 0,
            forgot: false,
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    /// To look at it, and to make it fail.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Kills the process that has it: all handles and files of before fail from now on. What it wrote is in the page cache.
    #[must_use]
    pub fn next_life(&self) -> Self {
        let mut state = self.state();
        state.life += 1;
        // Who opens the folder anew removes them.
        state.spares.clear();
        Self { state: Arc::clone(&self.state), life: state.life }
    }

    /// The state, for an operation of the process that has this handle.
    fn operation(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.life == self.life { Ok(state) } else { Err(io_error("the process was killed")) }
    }

    /// The power fails and comes back: what was not synced is lost, in part, in any order.
    pub fn cut(&self) {
        self.state().cut();
    }

    /// Whether anything may fail now.
    pub fn is_healthy(&self) -> bool {
        let state = self.state();
        !state.down && state.fuse.is_none() && state.faults + state.read_faults == 0 && state.space.is_none()
    }

    /// Nothing fails from now on.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.faults, state.read_faults, state.space, state.fuse) = (0, 0, None, None);
    }

    /// All files and their sizes in bytes.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        let state = self.state();
        state
            .names
            .iter()
            .map(|(name, inode)| (name.clone(), state.inodes[*inode].current.len() as u64))
            .collect()
    }

    /// All files, and where what was written last ends in each; behind it a file may hold what it held under another name.
    pub fn ends(&self) -> Vec<(String, u64)> {
        let state = self.state();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].at as u64)).collect()
    }

    /// Their sizes together.
    pub fn used(&self) -> u64 {
        let state = self.state();
        state.names.values().map(|inode| state.inodes[*inode].current.len() as u64).sum()
    }

    /// Some bytes that are on the disk now, to be put into a payload.
    pub fn copy(&self, from: u64, length: usize) -> Vec<u8> {
        let state = self.state();
        let file = from as usize % state.inodes.len().max(1);
        let bytes = state.inodes.get(file).map_or(&[][..], |inode| &inode.current);
        let from = (from >> 32) as usize % bytes.len().max(1);
        bytes.iter().skip(from).take(length).copied().collect()
    }

    /// Files that were retired and are kept to be used again.
    pub fn retired(&self) -> usize {
        self.state().spares.len()
    }

    /// Flips a bit of what is durable.
    pub fn flip(&self, name: &str, offset: u64, bit: u64) -> bool {
        let mut state = self.state();
        let Some(&inode) = state.names.get(name) else { return false };
        let file = &mut state.inodes[inode];
        let offset = offset as usize;
        if offset >= file.durable.len() || !file.pending.is_empty() {
            return false;
        }
        file.durable[offset] ^= 1 << bit;
        file.current[offset] ^= 1 << bit;
        true
    }
}

impl Storage for Disk {
    type File = DiskFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.operation()?;
        state.step()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<DiskFile> {
        let mut state = self.operation()?;
        state.fault()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.spares.pop().unwrap_or(state.inodes.len());
        if inode == state.inodes.len() {
            state.inodes.push(Inode::default());
        }
        state.names.insert(name.to_owned(), inode);
        state.pending_names.push(NameChange::Create(name.to_owned(), inode));
        state.inodes[inode].at = 0;
        Ok(DiskFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<DiskFile> {
        let mut state = self.operation()?;
        state.step()?;
        let read_faults = state.read_faults;
        if state.rng.percent(read_faults) {
            return Err(io_error("EIO"));
        }
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(DiskFile { disk: self.clone(), inode })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.operation()?;
        state.fault()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.pending_names.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn retire(&self, name: &str) -> io::Result<()> {
        let inode = self.operation()?.names.get(name).copied();
        self.remove(name)?;
        self.operation()?.spares.extend(inode);
        Ok(())
    }

    fn drop_retired(&self) {
        if let Ok(mut state) = self.operation() {
            state.spares.clear();
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.operation()?;
        state.fault()?;
        if state.dir_fails {
            return Err(io_error("EIO"));
        }
        if !state.lies.sync_dir {
            state.pending_names.clear();
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    fn salt(&self) -> io::Result<u64> {
        Ok(self.operation()?.rng.next())
    }
}

impl StoredFile for DiskFile {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.disk.operation()?;
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let some = state.rng.below(all.len() as u64 + 1) as usize;
        if let Err(error) = state.fault() {
            // Part of it, and sometimes all of it, stands there all the same.
            let some = if state.rng.percent(20) { all.len() } else { some };
            state.write(self.inode, &all[..some]);
            return Err(error);
        }
        if state.rng.percent(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut length = if state.rng.percent(10) { some.max(1).min(all.len()) } else { all.len() };
        if let Some(space) = state.space {
            if space == 0 && !all.is_empty() {
                return if state.lies.full { Ok(all.len()) } else { Err(io::ErrorKind::StorageFull.into()) };
            }
            length = length.min(space as usize);
            state.space = Some(space - length as u64);
        }
        state.write(self.inode, &all[..length]);
        state.inodes[self.inode].at += length;
        Ok(length)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.operation()?;
        state.step()?;
        let read_faults = state.read_faults;
        if state.rng.percent(read_faults) {
            return Err(io_error("EIO"));
        }
        let stale = state.lies.stale_read && state.rng.percent(5);
        let inode = if stale { self.inode.saturating_sub(1) } else { self.inode };
        let from = state.inodes[inode].current.get(offset as usize..).unwrap_or_default();
        let mut length = from.len().min(into.len());
        if length > 1 && offset.is_multiple_of(7) {
            length = length.div_ceil(2);
        }
        into[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.operation()?;
        state.step()?;
        Ok(state.inodes[self.inode].current.len() as u64)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.operation()?;
        state.fault()?;
        let file = &mut state.inodes[self.inode];
        file.current.truncate(size as usize);
        file.pending.push(Change::Truncate(size as usize));
        file.at = size as usize;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.operation()?;
        let result = state.fault();
        if state.lies.sync {
            return result;
        }
        state.forgot |= result.is_err();
        let State { inodes, rng, lies, down, .. } = &mut *state;
        let file = &mut inodes[self.inode];
        if result.is_err() && *down {
            return result;
        }
        for change in std::mem::take(&mut file.pending) {
            // What a failed sync did not write is clean in the page cache: no later sync writes it.
            if result.is_ok() || rng.percent(50) {
                change.apply(&mut file.durable, |length| vec![0; length]);
            }
        }
        if lies.failed_sync && !*down { Ok(()) } else { result }
    }
}

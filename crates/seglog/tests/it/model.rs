//! A file system in memory that knows what is durable. A power cut keeps an arbitrary subset of what was not synced, sector
//! by sector and directory entry by directory entry, and may leave rubbish in a sector that was being written.

use muxbridge_seglog::vfs::{Mode, Vfs, VfsFile};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Inode {
    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Change::Len(len) => bytes.resize(*len, 0),
        }
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            Self::apply(&mut self.durable, &change);
        }
    }

    /// Some of what is pending reaches the disk, the rest never does.
    fn lose(&mut self, rng: &mut fastrand::Rng) {
        // Some cuts keep nearly everything and some nearly nothing.
        let keep = [0, 10, 50, 90, 100][rng.usize(..5)];
        let mut length = self.durable.len();
        for change in std::mem::take(&mut self.pending) {
            match &change {
                Change::Len(len) if rng.u32(..100) < keep => {
                    Self::apply(&mut self.durable, &change);
                    length = *len;
                }
                Change::Len(_) => {}
                Change::Write(at, data) => {
                    let mut from = 0;
                    while from < data.len() {
                        let to = data.len().min(from + SECTOR - (at + from) % SECTOR);
                        if rng.u32(..100) < keep {
                            let mut sector = data[from..to].to_vec();
                            if rng.u32(..40) == 0 {
                                // Torn: a prefix of the new bytes, then rubbish.
                                let whole = rng.usize(..sector.len());
                                sector[whole..].iter_mut().for_each(|b| *b = rng.u8(..));
                            }
                            // The length of a file and its blocks travel separately.
                            Self::apply(&mut self.durable, &Change::Write(at + from, sector));
                            if rng.u32(..100) < keep {
                                length = length.max(at + to);
                            }
                        }
                        from = to;
                    }
                }
            }
        }
        self.durable.resize(length, 0);
    }
}

#[derive(Clone, Debug)]
enum Entry {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

fn link(names: &mut BTreeMap<PathBuf, usize>, entry: &Entry) {
    match entry {
        Entry::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
        Entry::Unlink(path) => drop(names.remove(path)),
        Entry::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

/// What shall go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Of 1,000 writes, this many fail with EIO, some of them after a part.
    pub(crate) write_eio: u32,
    /// Of 1,000 syncs of a file, this many fail, and what they should have written is partly lost.
    pub(crate) sync_eio: u32,
    /// Of 1,000 reads, this many fail.
    pub(crate) read_eio: u32,
    /// Of 1,000 writes, this many take only a part.
    pub(crate) short: u32,
    /// Bytes that all files together may have.
    pub(crate) capacity: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Entry>,
    faults: Faults,
    /// Operations until the power goes.
    fuse: Option<u64>,
    /// Handles of before the last crash do nothing.
    life: u64,
    locked: BTreeSet<PathBuf>,
    /// Successful and failed syncs of files.
    syncs: u64,
    failed_syncs: u64,
    rng: fastrand::Rng,
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl State {
    /// Every operation passes here: it fails once the power is gone.
    fn tick(&mut self, life: u64) -> io::Result<()> {
        if life != self.life || self.fuse == Some(0) {
            return Err(errno(5));
        }
        self.fuse = self.fuse.map(|left| left - 1);
        Ok(())
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.rng.u32(..1000) < of_thousand
    }

    fn used(&self) -> usize {
        self.names.values().map(|&i| self.inodes[i].now.len()).sum()
    }
}

/// The file system. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Model {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

struct Guard(Arc<Mutex<State>>, u64, PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life == self.1 {
            state.locked.remove(&self.2);
        }
    }
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { state: Arc::new(Mutex::new(State { rng, ..State::default() })), life: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Cuts the power after so many operations.
    pub(crate) fn fuse(&self, operations: u64) {
        self.state().fuse = Some(operations);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().fuse == Some(0)
    }

    fn next_life(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.life += 1;
        state.fuse = None;
        state.locked.clear();
        self.life = state.life;
    }

    /// The power goes: what is left is a possible state of the disk.
    pub(crate) fn power_cut(&mut self) {
        self.next_life();
        let mut state = self.state();
        let mut rng = fastrand::Rng::with_seed(state.rng.u64(..));
        let keep = [0, 50, 90, 100][rng.usize(..4)];
        for entry in std::mem::take(&mut state.pending_names) {
            if rng.u32(..100) < keep {
                link(&mut state.durable_names, &entry);
            }
        }
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            inode.lose(&mut rng);
            inode.now = inode.durable.clone();
        }
    }

    /// The process dies, the operating system lives.
    pub(crate) fn kill(&mut self) {
        self.next_life();
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let state = self.state();
        state.names.keys().filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect()
    }

    pub(crate) fn read(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].now.clone()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.inodes.push(Inode { now: bytes.clone(), durable: bytes, pending: Vec::new() });
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
    }

    /// A copy with the same files.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending_names: state.pending_names.clone(),
            rng: fastrand::Rng::with_seed(1),
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(copy)), life: 0 }
    }

    pub(crate) fn syncs(&self) -> (u64, u64) {
        let state = self.state();
        (state.syncs, state.failed_syncs)
    }
}

impl Vfs for Model {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.state().tick(self.life)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.tick(self.life)?;
        let inside = state.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(inside.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn VfsFile>> {
        let mut state = self.state();
        state.tick(self.life)?;
        let inode = match (state.names.get(path).copied(), mode) {
            (Some(_), Mode::Create) => return Err(errno(17)),
            (None, Mode::Create) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                let entry = Entry::Link(path.to_owned(), inode);
                link(&mut state.names, &entry);
                state.pending_names.push(entry);
                inode
            }
            (Some(inode), _) => inode,
            (None, _) => return Err(errno(2)),
        };
        drop(state);
        Ok(Arc::new(ModelFile { model: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick(self.life)?;
        let entry = Entry::Rename(from.to_owned(), to.to_owned());
        link(&mut state.names, &entry);
        state.pending_names.push(entry);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick(self.life)?;
        if !state.names.contains_key(path) {
            return Err(errno(2));
        }
        let entry = Entry::Unlink(path.to_owned());
        link(&mut state.names, &entry);
        state.pending_names.push(entry);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.tick(self.life)?;
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = self.state();
        state.tick(self.life)?;
        if !state.locked.insert(path.to_owned()) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(Box::new(Guard(Arc::clone(&self.state), self.life, path.to_owned())))
    }

    fn lock_owner(&self, _path: &Path) -> Option<u32> {
        Some(1)
    }
}

#[derive(Debug)]
struct ModelFile {
    model: Model,
    inode: usize,
}

impl ModelFile {
    fn change(&self, state: &mut State, change: Change) {
        let inode = &mut state.inodes[self.inode];
        Inode::apply(&mut inode.now, &change);
        inode.pending.push(change);
    }
}

impl VfsFile for ModelFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.model.state();
        state.tick(self.model.life)?;
        let odds = state.faults.read_eio;
        if state.chance(odds) {
            return Err(errno(5));
        }
        let bytes = &state.inodes[self.inode].now;
        let start = bytes.len().min(offset as usize);
        let n = buffer.len().min(bytes.len() - start);
        buffer[..n].copy_from_slice(&bytes[start..start + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.model.state();
        state.tick(self.model.life)?;
        let offset = offset as usize;
        let faults = state.faults;
        let grows = (offset + bytes.len()).saturating_sub(state.inodes[self.inode].now.len());
        let (fail, short) = (state.chance(faults.write_eio), state.chance(faults.short));
        let part = state.rng.usize(..=bytes.len());
        if faults.capacity.is_some_and(|most| state.used() + grows > most) {
            return Err(errno(28));
        }
        // The power may go in the middle of a write.
        let dying = state.fuse == Some(0);
        if fail || dying {
            self.change(&mut state, Change::Write(offset, bytes[..part].to_vec()));
            return Err(errno(5));
        }
        let n = if short { part.max(1) } else { bytes.len() };
        self.change(&mut state, Change::Write(offset, bytes[..n].to_vec()));
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.model.state();
        state.tick(self.model.life)?;
        let odds = state.faults.sync_eio;
        if state.chance(odds) {
            // What the kernel does: the pages count as clean, some of them never reach the disk.
            let mut rng = fastrand::Rng::with_seed(state.rng.u64(..));
            state.inodes[self.inode].lose(&mut rng);
            state.failed_syncs += 1;
            return Err(errno(5));
        }
        state.inodes[self.inode].sync();
        state.syncs += 1;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.model.state();
        state.tick(self.model.life)?;
        let grows = (len as usize).saturating_sub(state.inodes[self.inode].now.len());
        if state.faults.capacity.is_some_and(|most| state.used() + grows > most) {
            return Err(errno(28));
        }
        if grows > 0 {
            self.change(&mut state, Change::Len(len as usize));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.model.state();
        state.tick(self.model.life)?;
        self.change(&mut state, Change::Len(len as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.model.state();
        state.tick(self.model.life)?;
        Ok(state.inodes[self.inode].now.len() as u64)
    }
}

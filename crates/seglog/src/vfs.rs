//! The file system as the log sees it: what a test replaces to cut the power, fill the disk or fail a sync.

pub mod disk;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; fails where the name is taken.
    Create,
}

/// Names in directories. Nothing is durable before [`Vfs::sync_dir`].
pub trait Vfs: Debug + Send + Sync + 'static {
    /// Creates the directory and its parents, durably, readable by the owner alone. Succeeds where it exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn VfsFile>>;
    /// Renames within a directory, replacing.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock file until the returned value is dropped. `WouldBlock` where another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// The process that has the lock, where the file says it.
    fn lock_owner(&self, path: &Path) -> Option<u32>;
}

/// One open file. Nothing is durable before [`VfsFile::sync_data`].
pub trait VfsFile: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of the bytes and says how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// As [`VfsFile::write_at`], for what is synced next and hardly ever read: may leave the page cache out.
    fn write_through_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(bytes, offset)
    }
    /// Contents and length become durable. After an error nothing is known about what was written since the last success.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves space up to `len` bytes, read as zeros, so that writing there does not run out of it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Writes all bytes, however few a call takes.
///
/// # Errors
/// What the file says, but for interruptions.
pub fn write_all(file: &dyn VfsFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_whole(bytes, offset, |bytes, offset| file.write_at(bytes, offset))
}

/// The same with [`VfsFile::write_through_at`].
///
/// # Errors
/// What the file says, but for interruptions.
pub fn write_all_through(file: &dyn VfsFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_whole(bytes, offset, |bytes, offset| file.write_through_at(bytes, offset))
}

fn write_whole(
    mut bytes: &[u8],
    mut offset: u64,
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(bytes, offset) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or_default();
                offset = offset.saturating_add(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; says how many bytes were read.
///
/// # Errors
/// What the file says, but for interruptions.
pub fn read_full(file: &dyn VfsFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(n) => filled = filled.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

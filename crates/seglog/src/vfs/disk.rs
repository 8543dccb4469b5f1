//! The real file system.

use super::{Mode, Vfs, VfsFile};
use rustix::fs::{FallocateFlags, OFlags};
use std::any::Any;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Files of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Vfs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Each new name stands in the directory above it.
        for above in dir.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()) {
            if self.sync_dir(above).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != Mode::Read).create_new(mode == Mode::Create).mode(0o600);
        let file = options.open(path)?;
        Ok(Arc::new(DiskFile { file, path: path.to_owned(), direct: OnceLock::new() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Only for the message of the process that comes second.
        if file.set_len(0).is_ok() {
            let _ = writeln!(file, "{}", std::process::id());
        }
        Ok(Box::new(file))
    }

    fn lock_owner(&self, path: &Path) -> Option<u32> {
        let mut text = String::new();
        File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

/// From so many bytes on a write leaves the page cache out. Copying into it, and its pages and their bookkeeping, took a sixth of
/// the CPU time of a durable pipeline under load. What is smaller is likely to be read from there by those that do not keep up.
const DIRECT: usize = 64 << 10;
/// What such a write must be aligned to in memory and in the file. A disk that wants more says so, and gets none.
const ALIGNED: usize = 512;

#[derive(Debug)]
struct DiskFile {
    file: File,
    path: PathBuf,
    /// The same file without the page cache, opened when it is needed first; `None` if that cannot be.
    direct: OnceLock<Option<File>>,
}

impl DiskFile {
    /// Writes past the page cache. The kernel drops what the cache has of the same bytes, so that both ways show the same.
    /// `None` if it cannot be done for these.
    fn write_direct(&self, bytes: &[u8], offset: u64) -> Option<io::Result<usize>> {
        let aligned = bytes.as_ptr().align_offset(ALIGNED) == 0
            && bytes.len().is_multiple_of(ALIGNED)
            && offset.is_multiple_of(ALIGNED as u64);
        if bytes.len() < DIRECT || !aligned {
            return None;
        }
        let open = || {
            let flag = i32::try_from(OFlags::DIRECT.bits()).ok()?;
            OpenOptions::new().write(true).custom_flags(flag).open(&self.path).ok()
        };
        let direct = self.direct.get_or_init(open).as_ref()?;
        match FileExt::write_at(direct, bytes, offset) {
            // The file system or the disk wants a larger alignment, or cannot do this at all.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => None,
            written => Some(written),
        }
    }
}

impl VfsFile for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(&self.file, bytes, offset)
    }

    fn write_through_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_direct(bytes, offset).unwrap_or_else(|| self.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Not every file system can reserve. The length alone then stands for it.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.file.set_len(len),
            Err(error) => Err(error.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

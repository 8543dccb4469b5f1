//! The open file: whole lines only, also when the disk is full or somebody else moves the file.

use crate::config::Config;
use crate::rotation;
use muxbridge_core::Clock;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Telemetry is nobody's business but that of who runs the bridge.
const MODE: u32 = 0o600;

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {action}: {source}")]
pub(crate) struct FileError {
    path: String,
    action: &'static str,
    source: io::Error,
}

impl FileError {
    pub(crate) fn new(path: &Path, action: &'static str, source: io::Error) -> Self {
        FileError { path: path.display().to_string(), action, source }
    }
}

/// Appends lines to a file.
pub(crate) struct Writer {
    path: PathBuf,
    config: Config,
    clock: Clock,
    file: Option<File>,
    /// Whether the file ends in a part of a line that could not be taken back.
    torn: bool,
    /// Whether something was written since the last sync.
    dirty: bool,
    /// Whether the last rotation failed, so that only the first failure is logged.
    stuck: bool,
}

impl Writer {
    /// Opens the file, and makes it if it is not there.
    pub(crate) fn open(config: Config, clock: Clock) -> Result<Self, FileError> {
        let path = PathBuf::from(&config.path);
        let mut writer = Writer { path, config, clock, file: None, torn: false, dirty: false, stuck: false };
        writer.reopen()?;
        // Only at start: a file that is opened again later holds what this process wrote.
        if !writer.config.append
            && let Some(file) = &writer.file
            && file.metadata().is_ok_and(|m| m.is_file())
        {
            file.set_len(0).map_err(|e| FileError::new(&writer.path, "empty", e))?;
            writer.torn = false;
        }
        Ok(writer)
    }

    fn reopen(&mut self) -> Result<(), FileError> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.path)
            .map_err(|e| FileError::new(&self.path, "open it for writing", e))?;
        // Another process, or this one before a crash, may have left half a line. Lines after it must not be glued to it.
        self.torn = ends_torn(&self.path, &file);
        if self.torn {
            tracing::warn!(path = %self.path.display(), "the file ends in half a line");
        }
        self.file = Some(file);
        Ok(())
    }

    /// Appends a line, which ends in a line feed. After an error nothing of it is in the file.
    pub(crate) fn write(&mut self, line: &[u8]) -> Result<(), FileError> {
        self.follow()?;
        self.rotate_if_full(line.len() as u64)?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let before = file.metadata().map_err(|e| FileError::new(&self.path, "read its size", e))?;
        let separated;
        let bytes = if self.torn {
            separated = [b"\n", line].concat();
            &separated
        } else {
            line
        };
        let mut written = 0;
        if let Err(error) = write_counting(file, bytes, &mut written) {
            // Take back what is there of the line; if that fails too, the next line begins with a line feed.
            if written > 0 && (!before.is_file() || file.set_len(before.len()).is_err()) {
                self.torn = true;
            }
            return Err(FileError::new(&self.path, "write", error));
        }
        self.torn = false;
        self.dirty = true;
        if self.config.flush_interval.0.is_zero() {
            self.sync()?;
        }
        Ok(())
    }

    /// Has the operating system put everything on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        let Some(file) = self.file.as_ref().filter(|_| self.dirty) else { return Ok(()) };
        match file.sync_data() {
            // A pipe or a device has nothing to sync.
            Err(e) if e.kind() != io::ErrorKind::InvalidInput => {
                return Err(FileError::new(&self.path, "sync", e));
            }
            _ => self.dirty = false,
        }
        Ok(())
    }

    /// Opens the path again if another file, or none, is there now: `logrotate` and people move files.
    fn follow(&mut self) -> Result<(), FileError> {
        let same = |open: &Metadata, there: &Metadata| open.dev() == there.dev() && open.ino() == there.ino();
        let open = self.file.as_ref().and_then(|f| f.metadata().ok());
        let there = std::fs::metadata(&self.path).ok();
        if let (Some(open), Some(there)) = (&open, &there)
            && same(open, there)
        {
            return Ok(());
        }
        self.sync()?;
        self.file = None;
        self.reopen()
    }

    fn rotate_if_full(&mut self, next: u64) -> Result<(), FileError> {
        let Some(settings) = self.config.rotation.clone() else { return Ok(()) };
        let Some(open) = self.file.as_ref().and_then(|f| f.metadata().ok()) else { return Ok(()) };
        if !open.is_file() || open.len() == 0 || open.len() + next <= settings.max_megabytes << 20 {
            return Ok(());
        }
        // A closed file is read by others: it must be whole on the disk before its name says that it is done.
        self.sync()?;
        match rotation::rotate(&self.path, &settings, self.clock.unix_nanos()) {
            Ok(()) => {
                self.stuck = false;
                self.file = None;
                self.reopen()
            }
            Err(error) => {
                // A file that is too large is better than a line that is lost.
                if !std::mem::replace(&mut self.stuck, true) {
                    tracing::error!(%error, "cannot begin a new file, so the old one grows on");
                }
                Ok(())
            }
        }
    }
}

/// As `write_all`, but says how much was written before an error.
fn write_counting(file: &mut File, mut line: &[u8], written: &mut usize) -> io::Result<()> {
    while !line.is_empty() {
        match file.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                *written += n;
                line = line.get(n..).unwrap_or_default();
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether a file has a last byte that is no line feed.
fn ends_torn(path: &Path, open: &File) -> bool {
    // Only of a regular file can one tell, and the handle that appends cannot read.
    if !open.metadata().is_ok_and(|m| m.is_file() && m.len() > 0) {
        return false;
    }
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    // A file that may be written but not read gets an empty line at worst.
    last().map_or(true, |byte| byte != b'\n')
}

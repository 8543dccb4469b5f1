//! Dead letters: what a destination refused for good, kept for the operator in bounded files.
//!
//! Each line is an OTLP/JSON request that any OTLP receiver takes and `muxbridge translate` reads, with one key more,
//! `muxbridge`, that says which destination refused it, when and why. Receivers ignore keys that they do not know.

use muxbridge_core::{Batch, Counters, names};
use muxbridge_seglog::vfs::{Mode, Vfs, VfsFile, write_all};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Into how many files the bytes are divided at least: the oldest one goes to make room.
const FILES: u64 = 8;
/// What the names of the files end in.
const SUFFIX: &str = ".otlp.jsonl";

/// The files of one data directory.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    max_bytes: u64,
    counters: Counters,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// Number and bytes, oldest first.
    all: VecDeque<(u64, u64)>,
    /// The one that grows: the last of `all`.
    open: Option<Arc<dyn VfsFile>>,
}

/// The number of a file, if it is one.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

fn name(number: u64) -> String {
    format!("{number:06}{SUFFIX}")
}

impl DeadLetters {
    /// Of a data directory. What earlier runs left there counts; nothing is created before there is something to write.
    pub(crate) fn new(vfs: &Arc<dyn Vfs>, directory: &Path, max_bytes: u64, counters: &Counters) -> Self {
        let names = vfs.list(directory).unwrap_or_default();
        let size = |number| {
            let file = vfs.open(&directory.join(name(number)), Mode::Read).and_then(|file| file.len());
            (number, file.unwrap_or_default())
        };
        let mut all: Vec<(u64, u64)> = names.iter().filter_map(|name| number(name)).map(size).collect();
        all.sort_unstable();
        let files = Mutex::new(Files { all: all.into(), open: None });
        DeadLetters {
            vfs: Arc::clone(vfs),
            directory: directory.to_owned(),
            max_bytes,
            counters: counters.clone(),
            files,
        }
    }

    /// Keeps a batch, synced, and counts its items. Blocks.
    pub(crate) fn keep(&self, exporter: &str, batch: &Batch, reason: &str, error: &str) {
        let line = line(exporter, batch, reason, error);
        if line.len() as u64 > self.max_bytes / FILES && batch.items() > 1 {
            let (signal, half) = (batch.signal(), batch.items().div_ceil(2));
            for part in muxbridge_pdata::split(signal, batch.otlp(), half, usize::MAX) {
                let part = Batch::from_valid(signal, part, batch.origin().clone());
                self.keep(exporter, &part, reason, error);
            }
            return;
        }
        let labels = [("component", exporter), ("signal", batch.signal().as_str())];
        let kept = self.write(line.as_bytes());
        if let Err(error) = &kept {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot keep what was refused");
        }
        let name = if kept.is_ok() { names::DEAD_LETTERS } else { names::DEAD_LETTERS_FAILED };
        self.counters.get(name, &labels).add(batch.items() as u64);
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let length = line.len() as u64;
        if length > self.max_bytes {
            return Err(io::Error::other("it is larger than service.storage.dead_letter_mib"));
        }
        let full = |files: &Files| {
            files.all.back().is_some_and(|(_, bytes)| bytes + length > self.max_bytes / FILES)
        };
        if full(&files) {
            files.open = None;
        }
        while files.all.iter().map(|(_, bytes)| bytes).sum::<u64>() + length > self.max_bytes {
            let Some((oldest, _)) = files.all.pop_front() else { break };
            files.open = files.open.take().filter(|_| !files.all.is_empty());
            self.vfs.remove(&self.directory.join(name(oldest)))?;
        }
        let fresh = files.open.is_none();
        if fresh {
            self.vfs.create_dir(&self.directory)?;
            let next = files.all.back().map_or(1, |(number, _)| number + 1);
            files.open = Some(self.vfs.open(&self.directory.join(name(next)), Mode::Create)?);
            files.all.push_back((next, 0));
        }
        let Files { all, open } = &mut *files;
        let (Some(file), Some((_, bytes))) = (&open, all.back_mut()) else { return Ok(()) };
        let result = write_all(&**file, line, *bytes).and_then(|()| file.sync_data());
        let result = result.and_then(|()| if fresh { self.vfs.sync_dir(&self.directory) } else { Ok(()) });
        match result {
            Ok(()) => *bytes += length,
            // Nobody knows what of it is on the disk: the next one goes elsewhere, and half a line does not stay.
            Err(_) => {
                let _ = file.set_len(*bytes);
                *open = None;
            }
        }
        result
    }
}

fn line(exporter: &str, batch: &Batch, reason: &str, error: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let about = serde_json::json!({
        "exporter": exporter,
        "signal": batch.signal().as_str(),
        "items": batch.items(),
        "reason": reason,
        "error": error,
        "unixMillis": now.as_millis().to_string(),
    });
    let request = muxbridge_pdata::json::encode(batch.signal(), batch.otlp());
    match request.strip_prefix('{') {
        Some("}") | None => format!("{{\"muxbridge\":{about}}}\n"),
        Some(rest) => format!("{{\"muxbridge\":{about},{rest}\n"),
    }
}

/// What a line says besides its request.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct About {
    pub(crate) exporter: String,
    pub(crate) signal: String,
    pub(crate) items: u64,
    pub(crate) reason: String,
}

/// Reads what [`DeadLetters::keep`] wrote beside a request.
pub(crate) fn about(line: &str) -> Option<About> {
    #[derive(serde::Deserialize)]
    struct Line {
        muxbridge: About,
    }
    serde_json::from_str::<Line>(line).ok().map(|line| line.muxbridge)
}

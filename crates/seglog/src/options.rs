//! What the user chooses, and what can go wrong.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the disk: survives a power cut.
    #[default]
    Fsync,
    /// Handed to the operating system: survives the death of the process.
    Os,
}

/// Who performs commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Committer {
    /// A thread of the log, which also expires, deletes and stores cursors.
    #[default]
    Thread,
    /// Whoever calls [`crate::Log::sync`], [`crate::Ticket::wait`] and [`crate::Log::maintain`].
    Caller,
}

/// Source of numbers given from outside: milliseconds since 1970, or random bits.
pub type Numbers = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Options of a log. [`Options::default`] is meant for production.
#[derive(Clone)]
pub struct Options {
    /// What an acknowledgement means.
    pub durability: Durability,
    /// Who performs commits.
    pub committer: Committer,
    /// Size of a segment, reserved when it is begun. Default 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of all segments together; the oldest expire beyond it. At least four segments; smaller values shrink
    /// `segment_bytes`. Default 10 GiB.
    pub max_bytes: u64,
    /// Age at which records expire, to the precision of a segment. Default: never.
    pub max_age: Option<Duration>,
    /// Bytes appended and not yet committed, beyond which [`crate::Log::append`] refuses. Default 32 MiB.
    pub max_pending_bytes: usize,
    /// Bytes that one write and sync carries at most, unless one group is larger. Default 16 MiB.
    pub max_commit_bytes: usize,
    /// Bytes of one group with its checkpoints. Default 128 MiB.
    pub max_group_bytes: usize,
    /// Bytes of committed records that stay in memory until every cursor has passed them, for readers that keep up: these
    /// read nothing from the disk. For cursors that stand before all of them, half as much. Default 0.
    pub recent_bytes: usize,
    /// Names of cursors. Default 256.
    pub max_cursors: usize,
    /// Unreadable segments that are kept under another name. Default 8.
    pub max_quarantined: usize,
    /// How often the thread stores cursors and looks for what to expire. Default 200 ms.
    pub maintain_every: Duration,
    /// Milliseconds since 1970.
    pub clock: Numbers,
    /// Random bits, one number for each segment. They keep bytes that a sender chose from passing for a record.
    pub salt: Numbers,
}

impl Default for Options {
    fn default() -> Self {
        let wall = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        // The standard library seeds this from the operating system.
        let random = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self {
            durability: Durability::default(),
            committer: Committer::default(),
            segment_bytes: 64 << 20,
            max_bytes: 10 << 30,
            max_age: None,
            max_pending_bytes: 32 << 20,
            max_commit_bytes: 16 << 20,
            max_group_bytes: 128 << 20,
            recent_bytes: 0,
            max_cursors: 256,
            max_quarantined: 8,
            maintain_every: Duration::from_millis(200),
            clock: Arc::new(wall),
            salt: Arc::new(random),
        }
    }
}

impl Options {
    /// Sizes that hold together: room for a header and a record, at least four segments within the budget.
    pub(crate) fn checked(mut self) -> Self {
        self.max_bytes = self.max_bytes.max(64 << 10);
        self.segment_bytes = self.segment_bytes.clamp(8 << 10, self.max_bytes / 4) & !4095;
        self.max_group_bytes = self.max_group_bytes.min(u32::MAX as usize / 2);
        self.max_cursors = self.max_cursors.clamp(1, 256);
        self
    }

    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("committer", &self.committer)
            .field("segment_bytes", &self.segment_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// What went wrong. Each names the place.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the directory.
    #[error("{}: {}; stop it or choose another data directory", dir.display(), match pid {
        Some(pid) => format!("in use by process {pid}"),
        None => "in use by another process".to_owned(),
    })]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other process, where its lock file says so.
        pid: Option<u32>,
    },
    /// The file system said no.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The answer.
        source: Arc<io::Error>,
    },
    /// Too many bytes wait for a commit. Refuse the sender and let it come back.
    #[error("{pending} bytes wait to be committed, the limit is {limit}")]
    Busy {
        /// Bytes that wait.
        pending: usize,
        /// The limit.
        limit: usize,
    },
    /// A group is larger than the log takes.
    #[error("a group of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No such cursor, too many of them, or a name of more than 128 bytes or none.
    #[error("cursor {name:?}: {problem}")]
    Cursor {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

impl Error {
    /// Of a file of the user's own beside the log, in the same words.
    pub fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source: Arc::new(source) }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

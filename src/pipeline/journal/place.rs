//! Which durability is in force, and where the data directory is.

use crate::config::{Durability, Service};
use muxbridge_core::BuildError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where data directories usually are, if the operator made it.
const USUAL: &str = "/var/lib/muxbridge";

/// A data directory and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    /// Whether an acknowledgement waits for the disk, or for the operating system alone.
    pub(crate) synced: bool,
    /// For all logs together.
    pub(crate) max_bytes: u64,
    pub(crate) max_age: Option<Duration>,
    /// For what destinations refused for good; 0: it is not kept.
    pub(crate) dead_bytes: u64,
}

/// What was chosen, and why, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// `None`: in memory.
    pub(crate) place: Option<Place>,
    pub(crate) why: String,
}

impl Choice {
    /// Everything in memory.
    pub(crate) fn memory(why: &str) -> Self {
        Choice { place: None, why: why.to_owned() }
    }

    /// As in the configuration: `fsync`, `os` or `memory`.
    pub(crate) fn durability(&self) -> &'static str {
        match &self.place {
            None => "memory",
            Some(place) if place.synced => "fsync",
            Some(_) => "os",
        }
    }

    /// Decides. `writable` says whether a directory exists and can be written to.
    ///
    /// # Errors
    /// The configuration asks for durability and names no directory, nor does the system have one.
    pub(crate) fn new(
        service: &Service,
        variables: &dyn Fn(&str) -> Option<String>,
        writable: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, BuildError> {
        if service.durability == Some(Durability::Memory) {
            return Ok(Self::memory("service.durability"));
        }
        // systemd separates several with colons; the first one is ours.
        let state = variables("STATE_DIRECTORY").and_then(|v| v.split(':').next().map(PathBuf::from));
        let state = state.filter(|path| path.is_absolute());
        let (directory, why) = match (&service.data_dir, state) {
            (Some(directory), _) => (directory.clone(), "service.data_dir"),
            (None, Some(directory)) => (directory, "STATE_DIRECTORY"),
            (None, None) if writable(Path::new(USUAL)) => (PathBuf::from(USUAL), "it exists and is writable"),
            (None, None) => {
                let none = format!(
                    "STATE_DIRECTORY is not set and {USUAL} is not a directory that can be written to"
                );
                let Some(asked) = service.durability else { return Ok(Self::memory(&none)) };
                let asked = if asked == Durability::Os { "os" } else { "fsync" };
                return Err(BuildError::new(format!(
                    "service.durability: {asked} needs a data directory: {none}. Set service.data_dir, or create \
                     {USUAL} for the user that runs the bridge, or write durability: memory."
                )));
            }
        };
        let max_age = service.storage.max_age.0;
        Ok(Choice {
            place: Some(Place {
                directory,
                synced: service.durability != Some(Durability::Os),
                max_bytes: service.storage.max_size_mib.saturating_mul(1 << 20),
                max_age: (max_age > Duration::ZERO).then_some(max_age),
                dead_bytes: service.storage.dead_letter_mib.saturating_mul(1 << 20),
            }),
            why: why.to_owned(),
        })
    }
}

/// Whether files can be created in a directory that exists.
pub(crate) fn writable(directory: &Path) -> bool {
    let probe = directory.join(format!(".muxbridge-{}", std::process::id()));
    let created = std::fs::File::create(&probe).is_ok();
    if created {
        let _ = std::fs::remove_file(&probe);
    }
    created
}

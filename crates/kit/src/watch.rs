//! A value that is made of files, and made anew when they change: certificates and tokens are renewed without a restart.

use muxbridge_core::BuildError;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The files are looked at when the value is asked for, but no more often than this.
const EVERY: Duration = Duration::from_secs(1);

/// A value and the files that it was made of. Whoever renews them may write them one after the other: until they fit
/// together again the value stays what it was.
pub struct Watched<T> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, BuildError> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// Of the files that the value was made of.
    stamps: Vec<Stamp>,
    /// Of those that could not be used, so that the log says it once.
    failed: Vec<Stamp>,
    looked: Instant,
}

/// What tells one version of a file from another; `None` if it is not there. A file that was put in the place of
/// another has another number, even if it has the same size and time.
type Stamp = Option<(u64, i64, i64, u64)>;

impl<T> Watched<T> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn new(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, BuildError> + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        // Before the files are read: what changes meanwhile is noticed the next time.
        let stamps = stamps(&files);
        let value = Arc::new(load()?);
        let state = State { value, stamps, failed: Vec::new(), looked: Instant::now() };
        Ok(Watched { files, load: Box::new(load), state: Mutex::new(state) })
    }

    /// The value, made anew if a file has changed and all can be used.
    pub fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.files.is_empty() && state.looked.elapsed() >= EVERY {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        Arc::clone(&state.value)
    }

    fn look(&self, state: &mut State<T>) {
        let now = stamps(&self.files);
        if now == state.stamps {
            return;
        }
        match (self.load)() {
            Ok(value) => {
                tracing::info!(files = ?self.files, "files have changed and were read again");
                (state.value, state.stamps) = (Arc::new(value), now);
                state.failed.clear();
            }
            Err(error) if state.failed != now => {
                tracing::warn!(%error, "files have changed but cannot be used; what they held before stays in use");
                state.failed = now;
            }
            Err(_) => {}
        }
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is in them may be a credential.
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_makes_a_new_value_and_one_that_cannot_be_used_leaves_the_old_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("1");
        let path = file.path().to_owned();
        let load = move || {
            let text = std::fs::read_to_string(&path).map_err(|e| BuildError::new(e.to_string()))?;
            text.parse::<u32>().map_err(|e| BuildError::new(e.to_string()))
        };
        let watched = Watched::new(vec![file.path().to_owned()], load).unwrap();
        let look = || {
            watched.look(&mut watched.state.lock().unwrap());
            *watched.get()
        };
        assert_eq!(look(), 1);
        write("22");
        assert_eq!(look(), 22);
        write("not a number");
        assert_eq!(look(), 22);
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(look(), 22);
        write("333");
        assert_eq!(look(), 333);
    }
}

//! Wall-clock time as an argument, so that tests and `translate` are deterministic.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the wall-clock time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Clock(Arc::new(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
        }))
    }

    /// A clock that is told what time it is.
    pub fn from_fn(unix_nanos: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Clock(Arc::new(unix_nanos))
    }

    /// A clock that stands still.
    pub fn fixed(unix_nanos: u64) -> Self {
        Self::from_fn(move || unix_nanos)
    }

    /// Nanoseconds since 1970.
    pub fn unix_nanos(&self) -> u64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

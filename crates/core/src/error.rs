//! Errors, each written for the one who must act.

use std::time::Duration;
use thiserror::Error;

/// How long a destination that refuses the credentials is left alone.
pub const UNAUTHORIZED_PAUSE: Duration = Duration::from_secs(60);

/// The cause of an error, of whatever type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A pipeline did not take a batch. For the sender: the receiver turns it into a status of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Full for now (503, UNAVAILABLE). Try again after the delay.
    #[error("busy, retry after {retry_after:?}")]
    Busy {
        /// When there is likely to be room; at least a second.
        retry_after: Duration,
    },
    /// No pipeline takes this signal from this receiver (404, UNIMPLEMENTED).
    #[error("no pipeline takes this signal")]
    NotConfigured,
}

/// A destination took a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Items that the destination says it rejected for good, of those in the batch (OTLP partial success).
    pub rejected: u64,
    /// Items that the exporter itself left out because this destination cannot hold them; already counted by it.
    pub omitted: u64,
    /// What the destination said; may be a warning although nothing was rejected.
    pub message: String,
}

/// A destination did not take a batch. For the pipeline: what to do next. The cause is the `source`.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Send the same batch again, not earlier than `after` if given.
    #[error("retryable: {source}")]
    Retryable {
        /// What the destination asked for (`Retry-After`, `RetryInfo`).
        after: Option<Duration>,
        /// What happened.
        source: BoxError,
    },
    /// Sending it again cannot help: drop and count.
    #[error("permanent: {source}")]
    Permanent {
        /// The label of the drop counter, for example `rejected` or `unencodable`.
        reason: &'static str,
        /// What happened.
        source: BoxError,
    },
    /// Too large for the destination: split and send the parts; one item alone is dropped.
    #[error("too large: {source}")]
    TooLarge {
        /// What happened.
        source: BoxError,
    },
}

impl ExportError {
    /// Send again when the pipeline's backoff says so.
    pub fn retryable(source: impl Into<BoxError>) -> Self {
        ExportError::Retryable { after: None, source: source.into() }
    }

    /// Drop and count under `reason`.
    pub fn permanent(reason: &'static str, source: impl Into<BoxError>) -> Self {
        ExportError::Permanent { reason, source: source.into() }
    }

    /// The credentials were refused: hold the data and look once a minute whether they are good by now. Dropping would
    /// empty the whole queue because of one key that expired.
    pub fn unauthorized(source: impl Into<BoxError>) -> Self {
        ExportError::Retryable { after: Some(UNAUTHORIZED_PAUSE), source: source.into() }
    }

    /// Split.
    pub fn too_large(source: impl Into<BoxError>) -> Self {
        ExportError::TooLarge { source: source.into() }
    }
}

/// A component could not be built although its configuration is right. For the operator, at start.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BuildError(pub String);

impl BuildError {
    /// An error with this text: what failed, why, and what to change.
    pub fn new(text: impl Into<String>) -> Self {
        BuildError(text.into())
    }
}

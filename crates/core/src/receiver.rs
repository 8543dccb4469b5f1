//! What a receiver is.

use crate::config::Problems;
use crate::{Batch, BoxError, BoxFuture, BuildContext, BuildError, Refused, Signal, Stop};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The head of the pipelines, as a receiver sees it.
pub trait Consumer: Send + Sync {
    /// Takes a batch. `Ok` means that the receiver may acknowledge it: from then on it is delivered or counted.
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>>;
}

/// Takes telemetry from a socket or a file and hands on batches.
pub trait Receiver: Send + 'static {
    /// Runs until `stop`, then stops accepting, finishes what it has begun and returns.
    fn run(self, next: Arc<dyn Consumer>, stop: Stop) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// One kind of receiver: its name, its configuration, and how to build it.
pub trait ReceiverKind: 'static {
    /// The type in a configuration file: `lower_snake_case`.
    const NAME: &'static str;
    /// One sentence for `muxbridge components`.
    const SUMMARY: &'static str;
    /// What it can receive.
    const SIGNALS: &'static [Signal];
    /// Whether every worker gets an instance (listeners that share a port) or only the first (a scraper).
    const EVERY_WORKER: bool;
    /// As for exporters.
    type Config: DeserializeOwned + JsonSchema + Default + Clone + Send + 'static;
    /// What receives.
    type Receiver: Receiver;

    /// Reports every mistake in the configuration. Pure.
    fn check(config: &Self::Config, problems: &mut Problems);

    /// Builds the receiver, inside the runtime. Listening sockets are bound here, so that a taken port is an error at
    /// start that names the port and the setting.
    ///
    /// # Errors
    /// What the operator must change.
    fn build(config: Self::Config, cx: &BuildContext) -> Result<Self::Receiver, BuildError>;
}

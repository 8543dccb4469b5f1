//! What a processor is.

use crate::config::Problems;
use crate::{Batch, BuildContext, Signal};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::time::Instant;

/// Changes batches between a receiver and the exporters. No I/O, no tasks; the clock is an argument.
pub trait Processor: Any + Send {
    /// Takes a batch and emits what becomes of it: nothing yet, the same batch, another one, several.
    fn process(&mut self, batch: Batch, now: Instant, emit: &mut dyn FnMut(Batch));

    /// Called about once a second: what was held back long enough leaves here.
    fn tick(&mut self, now: Instant, emit: &mut dyn FnMut(Batch)) {
        let _ = (now, emit);
    }

    /// Emits everything that is still held back. Called at shutdown, after the last `process`.
    fn flush(&mut self, emit: &mut dyn FnMut(Batch)) {
        let _ = emit;
    }
}

/// One kind of processor: its name, its configuration, and how to build it.
pub trait ProcessorKind: 'static {
    /// The type in a configuration file: `lower_snake_case`.
    const NAME: &'static str;
    /// One sentence for `muxbridge components`.
    const SUMMARY: &'static str;
    /// What it can process.
    const SIGNALS: &'static [Signal];
    /// As for exporters.
    type Config: DeserializeOwned + JsonSchema + Default + Clone + Send + 'static;
    /// What processes.
    type Processor: Processor;

    /// Reports every mistake in the configuration. Pure.
    fn check(config: &Self::Config, problems: &mut Problems);

    /// Builds the processor for one pipeline of one worker.
    fn build(config: Self::Config, signal: Signal, cx: &BuildContext) -> Self::Processor;
}

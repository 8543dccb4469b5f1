//! Translates ModelMuxer's metrics.

mod options;

use super::explain::Explain;
use crate::trace::TraceOptions;
use muxbridge_core::{Batch, BuildContext, Processor};
pub use options::{LatencyUnit, MetricOptions};
use std::time::Instant;

/// Translates metrics.
pub struct MetricTranslator {
    explain: Option<Box<dyn Explain + Send>>,
}

impl MetricTranslator {
    /// Builds one for one worker.
    pub fn new(_: &MetricOptions, _: &TraceOptions, _: &BuildContext) -> Self {
        MetricTranslator { explain: None }
    }

    /// Has every change told to `explain`.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        self.explain = Some(explain);
    }
}

impl Processor for MetricTranslator {
    fn process(&mut self, batch: Batch, _: Instant, emit: &mut dyn FnMut(Batch)) {
        emit(batch);
    }
}

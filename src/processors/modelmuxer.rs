//! The processor `modelmuxer`: assembles and translates ModelMuxer's traces, and takes credentials out of every signal.

use crate::trace::{TraceOptions, TraceTranslator};
use crate::translate::explain::Explain;
use crate::translate::scrub::{ScrubCounters, ScrubCounts, Scrubber};
use muxbridge_core::config::Problems;
use muxbridge_core::{Batch, BuildContext, Processor, ProcessorFactory, ProcessorKind, Signal};
use std::time::Instant;

/// What the registry lists.
pub const FACTORY: ProcessorFactory = ProcessorFactory::of::<ModelMuxer>();

/// The kind `modelmuxer`.
pub struct ModelMuxer;

impl ProcessorKind for ModelMuxer {
    const NAME: &'static str = "modelmuxer";
    const SUMMARY: &'static str =
        "translates ModelMuxer's traces to semantic conventions, and scrubs credentials";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = TraceOptions;
    type Processor = Translator;

    fn check(config: &TraceOptions, problems: &mut Problems) {
        config.check(problems);
    }

    fn build(config: TraceOptions, signal: Signal, cx: &BuildContext) -> Translator {
        Translator {
            scrubber: Scrubber::new(),
            scrubbed: Signal::ALL.map(|signal| (signal, ScrubCounters::new(cx, signal))).into(),
            traces: (signal == Signal::Traces).then(|| TraceTranslator::new(&config, cx)),
        }
    }
}

/// One pipeline's translation.
pub struct Translator {
    scrubber: Scrubber,
    scrubbed: Vec<(Signal, ScrubCounters)>,
    traces: Option<TraceTranslator>,
}

impl Translator {
    /// Has every change told to `explain`.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        if let Some(traces) = &mut self.traces {
            traces.explain(explain);
        }
    }
}

impl Processor for Translator {
    fn process(&mut self, batch: Batch, now: Instant, emit: &mut dyn FnMut(Batch)) {
        // First of all, so that nothing derived from a text can hold what was in it.
        let mut counts = ScrubCounts::default();
        let batch = self.scrubber.scrub(batch, &mut counts);
        if let Some((_, counters)) = self.scrubbed.iter().find(|(signal, _)| *signal == batch.signal()) {
            counters.add(&counts);
        }
        match &mut self.traces {
            Some(traces) => traces.process(batch, now, emit),
            None => emit(batch),
        }
    }

    fn tick(&mut self, now: Instant, emit: &mut dyn FnMut(Batch)) {
        if let Some(traces) = &mut self.traces {
            traces.tick(now, emit);
        }
    }

    fn flush(&mut self, emit: &mut dyn FnMut(Batch)) {
        if let Some(traces) = &mut self.traces {
            traces.flush(emit);
        }
    }
}

//! The processor `modelmuxer`: translates ModelMuxer's traces, metrics and logs, and takes credentials out of every
//! signal.

mod options;

use crate::trace::TraceTranslator;
use crate::translate::explain::{Change, Explain};
use crate::translate::logs::LogTranslator;
use crate::translate::metrics::MetricTranslator;
use crate::translate::scrub::{ScrubCounters, ScrubCounts, Scrubber};
use muxbridge_core::config::Problems;
use muxbridge_core::{Batch, BuildContext, Holding, Processor, ProcessorFactory, ProcessorKind, Signal};
pub use options::Options;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What the registry lists.
pub const FACTORY: ProcessorFactory = ProcessorFactory::of::<ModelMuxer>();

/// The kind `modelmuxer`.
pub struct ModelMuxer;

impl ProcessorKind for ModelMuxer {
    const NAME: &'static str = "modelmuxer";
    const SUMMARY: &'static str =
        "translates ModelMuxer's traces, metrics and logs to semantic conventions, and scrubs credentials";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = Options;
    type Processor = Translator;

    fn check(config: &Options, problems: &mut Problems) {
        config.check(problems);
    }

    fn build(config: Options, signal: Signal, cx: &BuildContext) -> Translator {
        Translator::new(&config, &[signal], cx)
    }
}

/// The translation of one pipeline, or of all signals for a program that has no pipelines.
///
/// Batches of signals that it was not built for are scrubbed and go on.
pub struct Translator {
    scrubber: Scrubber,
    scrubbed: Vec<(Signal, ScrubCounters)>,
    traces: Option<TraceTranslator>,
    metrics: Option<MetricTranslator>,
    logs: Option<LogTranslator>,
}

impl Translator {
    /// Builds one for `signals`, usually one of them or [`Signal::ALL`].
    pub fn new(options: &Options, signals: &[Signal], cx: &BuildContext) -> Self {
        let has = |signal| signals.contains(&signal);
        Translator {
            scrubber: Scrubber::new(),
            scrubbed: Signal::ALL.map(|signal| (signal, ScrubCounters::new(cx, signal))).into(),
            traces: has(Signal::Traces).then(|| TraceTranslator::new(&options.traces, cx)),
            metrics: has(Signal::Metrics)
                .then(|| MetricTranslator::new(&options.metrics, &options.traces, cx)),
            logs: has(Signal::Logs).then(|| LogTranslator::new(&options.logs, cx)),
        }
    }

    /// Has every change to every item of every signal told to `explain`, in the order in which items leave.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        let shared = Shared(Arc::new(Mutex::new(explain)));
        if let Some(traces) = &mut self.traces {
            traces.explain(Box::new(shared.clone()));
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.explain(Box::new(shared.clone()));
        }
        if let Some(logs) = &mut self.logs {
            logs.explain(Box::new(shared));
        }
    }
}

/// One listener for several translators.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Explain + Send>>>);

impl Explain for Shared {
    fn change(&mut self, change: &Change<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).change(change);
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
        match (batch.signal(), &mut self.traces, &mut self.metrics, &mut self.logs) {
            (Signal::Traces, Some(traces), ..) => traces.process(batch, now, emit),
            (Signal::Metrics, _, Some(metrics), _) => metrics.process(batch, now, emit),
            (Signal::Logs, _, _, Some(logs)) => logs.process(batch, now, emit),
            _ => emit(batch),
        }
    }

    fn tick(&mut self, now: Instant, emit: &mut dyn FnMut(Batch)) {
        if let Some(traces) = &mut self.traces {
            traces.tick(now, emit);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.tick(now, emit);
        }
    }

    fn holds(&self) -> Option<Holding> {
        self.traces.as_ref().and_then(Processor::holds)
    }

    fn storable(&self, batch: Batch) -> Batch {
        // Scrubbing twice is scrubbing once, so that what comes back from the disk is processed to the same result.
        self.scrubber.scrub(batch, &mut ScrubCounts::default())
    }

    fn flush(&mut self, emit: &mut dyn FnMut(Batch)) {
        if let Some(traces) = &mut self.traces {
            traces.flush(emit);
        }
    }
}

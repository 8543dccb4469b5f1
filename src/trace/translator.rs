//! The processor: batches of spans in, translated traces out.

use super::assembler::Assembler;
use super::leaving::{Leaving, Why};
use super::options::TraceOptions;
use super::output::Output;
use crate::translate::explain::{Counts, Explain, RuleCounters};
use crate::translate::spans::{Plan, Report, SpanOptions};
use muxbridge_core::{Batch, BuildContext, Counter, Holding, Processor, Signal, names};
use std::time::Instant;

/// Assembles and translates the traces of ModelMuxer. Everything else passes through, byte for byte.
pub struct TraceTranslator {
    assembler: Assembler,
    stage: Stage,
    buffered: Counter,
    /// What this instance has added to `buffered`, which all workers share.
    reported: u64,
}

/// What happens to spans that leave the assembler.
struct Stage {
    options: SpanOptions,
    explain: Option<Box<dyn Explain + Send>>,
    output: Output,
    rules: RuleCounters,
    traces: Vec<Counter>,
    /// What happened since [`Stage::finish`]: all workers share the counters, so each adds once for many traces.
    counts: Counts,
    left: [u64; Why::ALL.len()],
}

impl TraceTranslator {
    /// Builds one for one worker.
    pub fn new(options: &TraceOptions, cx: &BuildContext) -> Self {
        let traces = Why::ALL.iter().map(|why| cx.counter(names::TRACES, &[("outcome", why.as_str())]));
        let stage = Stage {
            options: options.spans(),
            explain: None,
            output: Output::default(),
            rules: RuleCounters::new(cx, Signal::Traces),
            traces: traces.collect(),
            counts: Counts::default(),
            left: Default::default(),
        };
        let assembler = Assembler::new(options.limits());
        TraceTranslator { assembler, stage, buffered: cx.counter(names::TRACES_BUFFERED, &[]), reported: 0 }
    }

    /// Has every change told to `explain`.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        self.stage.explain = Some(explain);
    }

    fn report_buffered(&mut self) {
        let now = self.assembler.buffered() as u64;
        self.buffered.add(now.saturating_sub(self.reported));
        self.buffered.sub(self.reported.saturating_sub(now));
        self.reported = now;
    }
}

impl Stage {
    fn translate(&mut self, leaving: &Leaving<'_>, emit: &mut dyn FnMut(Batch)) {
        self.left[leaving.why as usize] += 1;
        let plan = Plan::new(leaving.members, leaving.below_server, &self.options);
        let explain = self.explain.as_deref_mut().map(|explain| explain as &mut dyn Explain);
        let mut report = Report { counts: &mut self.counts, explain };
        for (index, group) in (0..leaving.members.list().len()).zip(leaving.groups()) {
            self.output.span(group, |w| plan.write(index, w, &mut report));
        }
        if self.output.is_full() {
            self.output.emit(emit);
        }
    }

    /// Emits what was translated and counts it.
    fn finish(&mut self, emit: &mut dyn FnMut(Batch)) {
        for (counter, n) in self.traces.iter().zip(&mut self.left) {
            match std::mem::take(n) {
                0 => {}
                n => counter.add(n),
            }
        }
        self.rules.add(&mut self.counts);
        self.output.emit(emit);
    }
}

impl Processor for TraceTranslator {
    fn process(&mut self, batch: Batch, now: Instant, emit: &mut dyn FnMut(Batch)) {
        if batch.signal() != Signal::Traces {
            emit(batch);
            return;
        }
        let stage = &mut self.stage;
        let rest = self.assembler.take(batch, now, &mut |leaving| stage.translate(&leaving, emit));
        self.stage.finish(emit);
        if let Some(rest) = rest {
            emit(rest);
        }
        self.report_buffered();
    }

    fn tick(&mut self, now: Instant, emit: &mut dyn FnMut(Batch)) {
        let stage = &mut self.stage;
        self.assembler.tick(now, &mut |leaving| stage.translate(&leaving, emit));
        self.stage.finish(emit);
        self.report_buffered();
    }

    fn holds(&self) -> Option<Holding> {
        self.assembler.holds()
    }

    fn flush(&mut self, emit: &mut dyn FnMut(Batch)) {
        let stage = &mut self.stage;
        self.assembler.flush(&mut |leaving| stage.translate(&leaving, emit));
        self.stage.finish(emit);
        self.report_buffered();
    }
}

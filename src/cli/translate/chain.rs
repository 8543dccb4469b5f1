//! The processors between the input and the destination.

use super::explain::Explanation;
use crate::cli::{Failure, exit};
use crate::config::Config;
use crate::pipeline::process;
use crate::processors::modelmuxer::Translator;
use crate::registry::Registry;
use muxbridge_core::config::Problems;
use muxbridge_core::{Batch, BuildContext, Clock, Counters, ErasedProcessor, Processor, Signal};
use std::any::Any;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longer than any trace is held back.
const LONG: Duration = Duration::from_secs(48 * 3600);

/// The processor that translates when no file says otherwise.
const DEFAULT: &str = "modelmuxer";

/// The processors of each signal.
pub(super) struct Chains {
    signals: Vec<(Signal, Vec<Box<dyn Processor>>)>,
    now: Instant,
}

impl Chains {
    /// Those of the pipelines of a file, else the translation with its defaults. Of several pipelines for one signal the
    /// one with the destination counts, else the first.
    pub(super) fn new(
        config: Option<&Config>,
        to: &str,
        registry: &Registry,
        counters: &Counters,
        now: Instant,
    ) -> Result<Self, Failure> {
        let build = |processor: &dyn ErasedProcessor, id: &str, signal| {
            processor.build(signal, &BuildContext::new(id, counters.clone(), Clock::fixed(0)))
        };
        let mut signals = Vec::new();
        for signal in Signal::ALL {
            let Some(config) = config else {
                let processor = default_processor(registry)?;
                signals.push((signal, vec![build(&*processor, DEFAULT, signal)]));
                continue;
            };
            let pipelines = || config.pipelines.iter().filter(|p| p.signal == signal);
            let named = pipelines().find(|p| p.exporters.iter().any(|id| id == to));
            if let Some(pipeline) = named.or_else(|| pipelines().next()) {
                let known =
                    pipeline.processors.iter().filter_map(|id| Some((config.processors.get(id)?, id)));
                signals.push((signal, known.map(|(p, id)| build(&**p, id, signal)).collect()));
            }
        }
        Ok(Chains { signals, now })
    }

    /// Has the translation tell every change.
    pub(super) fn explain(&mut self, explanation: &Explanation) {
        for processor in self.signals.iter_mut().flat_map(|(_, processors)| processors) {
            let any: &mut dyn Any = &mut **processor;
            if let Some(translator) = any.downcast_mut::<Translator>() {
                translator.explain(Box::new(explanation.clone()));
            }
        }
    }

    /// Everything that leaves the processors, and the items of signals that no pipeline takes.
    pub(super) fn run(mut self, batches: Vec<Batch>) -> (Vec<Batch>, BTreeMap<&'static str, usize>) {
        let (mut done, mut not_taken) = (Vec::new(), BTreeMap::new());
        for batch in batches {
            let signal = batch.signal();
            match self.signals.iter_mut().find(|(s, _)| *s == signal) {
                Some((_, chain)) => process(chain, batch, self.now, &mut |batch| done.push(batch)),
                None => *not_taken.entry(signal.items()).or_default() += batch.items(),
            }
        }
        // First what leaves for a reason of its own, then what would only leave at shutdown.
        let later = self.now + LONG;
        for (_, chain) in &mut self.signals {
            each(chain, later, &mut done, |processor, emit| processor.tick(later, emit));
            each(chain, later, &mut done, |processor, emit| processor.flush(emit));
        }
        (done, not_taken)
    }
}

/// Calls every processor of a chain; what it emits passes those behind it.
fn each(
    chain: &mut [Box<dyn Processor>],
    now: Instant,
    done: &mut Vec<Batch>,
    call: impl Fn(&mut dyn Processor, &mut dyn FnMut(Batch)),
) {
    for position in 0..chain.len() {
        let (head, later) = chain.split_at_mut(position + 1);
        if let Some(processor) = head.last_mut() {
            call(&mut **processor, &mut |batch| process(later, batch, now, &mut |batch| done.push(batch)));
        }
    }
}

fn default_processor(registry: &Registry) -> Result<Box<dyn ErasedProcessor>, Failure> {
    let factory = registry.processors().iter().find(|f| f.name == DEFAULT);
    let parsed = factory.and_then(|f| (f.parse)(&serde_json::Value::Null, &mut Problems::new()));
    parsed.ok_or_else(|| Failure::new(exit::CONFIG, format!("there is no processor {DEFAULT:?}")))
}

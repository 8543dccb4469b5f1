//! What ModelMuxer is known to get wrong on its page of metrics, and whether the pipelines mend it.

use super::Finding;
use crate::config::{Config, PipelineConfig};
use crate::processors::modelmuxer::ModelMuxer;
use muxbridge_core::{Batch, BuildContext, Clock, Counters, ProcessorKind, Signal, names};
use std::time::Instant;

/// The rules that count a defect (`docs/translation.md`), and what a reader of the raw page would be told.
const DEFECTS: [(&str, &str); 6] = [
    ("M.provider_latency_milliseconds", "modelmuxer_provider_latency_seconds is in milliseconds"),
    ("M.estimated_cost", "estimated costs are a thousand times too high"),
    ("M.http_route", "http_requests_total has a series for each path, not for each route"),
    ("M.budget_counted_twice", "rejections because of the budget are counted twice"),
    ("M.fake_zero", "some series say 0 whatever happens"),
    ("M.dead", "some families are declared and never counted"),
];

/// Sends pages of ModelMuxer through the processors of each pipeline that their receiver is in.
pub(super) fn check(
    what: &str,
    receiver: &str,
    pages: &[Batch],
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    let pipelines = config.pipelines.iter().filter(|p| p.signal == Signal::Metrics);
    for pipeline in pipelines.filter(|p| p.receivers.iter().any(|r| r == receiver)) {
        let counters = process(pages, pipeline, config);
        let counted = |rule: &str| {
            let of = |name| counters.sum(name, &[("rule", rule)]);
            of(names::REPAIRED) + of(names::OMITTED) > 0
        };
        let found: Vec<&str> =
            DEFECTS.iter().filter(|(rule, _)| counted(rule)).map(|(_, text)| *text).collect();
        let what = format!("{what}, ModelMuxer's known defects");
        let mends = |id: &String| id.split('/').next() == Some(ModelMuxer::NAME);
        findings.push(if !pipeline.processors.iter().any(mends) {
            let says = format!(
                "pipelines.{} passes its metrics on as they are, with milliseconds for seconds and costs a thousand times \
                 too high; add the processor {}",
                pipeline.id,
                ModelMuxer::NAME
            );
            Finding::warn(what, says)
        } else if found.is_empty() {
            Finding::ok(what, "none on this page yet")
        } else {
            Finding::ok(what, format!("pipelines.{} mends: {}", pipeline.id, found.join("; ")))
        });
    }
}

/// What the processors of the pipeline count.
fn process(pages: &[Batch], pipeline: &PipelineConfig, config: &Config) -> Counters {
    let counters = Counters::new();
    let mut batches = pages.to_vec();
    for id in &pipeline.processors {
        let Some(processor) = config.processors.get(id) else { continue };
        let cx = BuildContext::new(id, counters.clone(), Clock::system());
        let mut processor = processor.build(Signal::Metrics, &cx);
        let mut next = Vec::new();
        batches.into_iter().for_each(|batch| processor.process(batch, Instant::now(), &mut |b| next.push(b)));
        batches = next;
    }
    counters
}

//! What would be sent, as a person reads it: each request is a line.

use crate::config::{ApmMetrics, Config, Target};
use crate::derived::{self, Derived};
use crate::encode::watch::Watch;
use crate::encode::{Counts, split_events};
use crate::request::Api;
use muxbridge_core::{Batch, Preview, Signal};

/// The requests for these batches, and after them those for what is derived from their spans.
pub(crate) fn preview(config: &Config, batches: &[Batch]) -> Preview {
    let mut preview = Preview::default();
    let derived = Derived::default();
    for batch in batches {
        show(config, batch, &mut preview);
        match batch.signal() {
            Signal::Metrics => derived.see(batch),
            Signal::Logs => {}
            Signal::Traces => {
                let mut lost = 0;
                if config.apm_metrics != ApmMetrics::Never {
                    lost += derived.record_metrics(batch, config.apm_metrics == ApmMetrics::Auto);
                }
                if config.llm_events {
                    lost += derived.record_events(batch);
                }
                preview.dropped([("derived_no_room", lost)]);
            }
        }
    }
    for what in [derived::APM, derived::LLM] {
        while let Some(taken) = derived.take(what, 0, true) {
            if let Some(batch) = taken.batch() {
                show(config, &batch, &mut preview);
            }
            taken.done(0);
        }
    }
    preview
}

/// The requests for one batch: two if some of its log records are events of an API of their own.
fn show(config: &Config, batch: &Batch, preview: &mut Preview) {
    let api = config.api(Target::Signal(batch.signal()));
    if api == Api::Log {
        let [records, events] = split_events(batch);
        for (part, api) in [(records, Api::Log), (events, Api::Event)] {
            if let Some(part) = part {
                line(config, api, &part, preview);
            }
        }
    } else {
        line(config, api, batch, preview);
    }
}

fn line(config: &Config, api: Api, batch: &Batch, preview: &mut Preview) {
    let mut counts = Counts::default();
    if let Some(body) = api.body(batch, &config.options(), &mut Watch::default(), &mut counts) {
        preview.line(&match api {
            Api::Otlp | Api::Grpc => muxbridge_pdata::json::encode(batch.signal(), &body),
            _ => String::from_utf8_lossy(&body).into_owned(),
        });
    }
    preview.dropped(counts.dropped());
    preview.adjusted(counts.adjusted());
}

//! The numbers that the demo shows, taken from what destinations get: an exporter of its own beside them.

use super::table;
use crate::translate::providers::gen_ai_provider_name;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, DynExporter, ErasedExporter, ExportError, Exporter, Needs,
    Preview, Signal, TemporalityNeed,
};
use muxbridge_pdata::view::{AnyValue, Metric, MetricData, Span, SpanKind, StatusCode, text};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The durations that percentiles are made of: the latest ones.
const DURATIONS: usize = 4096;

/// The most models that get a line of their own.
const MODELS: usize = 200;

/// Durations in nanoseconds, the latest of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations(VecDeque<u64>);

impl Durations {
    fn add(&mut self, nanos: u64) {
        if self.0.len() >= DURATIONS {
            self.0.pop_front();
        }
        self.0.push_back(nanos);
    }

    /// The smallest duration that so many percent are not longer than; `None` without any.
    pub(super) fn percentile(&self, percent: usize) -> Option<u64> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

/// What is known of one model of one provider. `None` is unknown.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) durations: Durations,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// In US dollars; of calls that the router chose the model for.
    pub(super) estimated_cost: Option<f64>,
}

/// All numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: u64,
    /// Answers of 500 and above, and streams that failed after their answer had begun.
    pub(super) failed: u64,
    /// Answers of 400 to 499.
    pub(super) refused: u64,
    pub(super) durations: Durations,
    /// By provider and model.
    pub(super) models: BTreeMap<(String, String), Model>,
}

/// The totals, shared by the exporter and who shows them.
#[derive(Clone, Default)]
pub(super) struct Summary(Arc<Mutex<Totals>>);

impl Summary {
    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text that shows it, with the models that were called the most.
    pub(super) fn text(&self, models: usize) -> String {
        table::text(&self.lock(), models)
    }

    /// How many requests it knows.
    pub(super) fn requests(&self) -> u64 {
        self.lock().requests
    }
}

impl ErasedExporter for Summary {
    fn needs(&self) -> Needs {
        Needs { temporality: TemporalityNeed::Delta, ..Needs::default() }
    }

    fn preview(&self, _batches: &[Batch]) -> Option<Preview> {
        None
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Arc<dyn DynExporter>, BuildError> {
        Ok(Arc::new(*self))
    }
}

impl Exporter for Summary {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let mut totals = self.lock();
        for scope in batch.resources().flat_map(|r| r.scopes()) {
            match batch.signal() {
                Signal::Traces => scope.spans().for_each(|span| totals.span(&span)),
                Signal::Metrics => scope.metrics().for_each(|metric| totals.metric(&metric)),
                Signal::Logs => {}
            }
        }
        Ok(Delivered::default())
    }
}

impl Totals {
    fn model(&mut self, provider: &str, model: &str) -> Option<&mut Model> {
        let key = (gen_ai_provider_name(provider).into_owned(), model.to_owned());
        if !self.models.contains_key(&key) && self.models.len() >= MODELS {
            return None;
        }
        Some(self.models.entry(key).or_default())
    }

    fn span(&mut self, span: &Span<'_>) {
        let of = |key: &str| span.attribute(key.as_bytes());
        let name = |key: &str| of(key).and_then(|value| value.as_str()).unwrap_or_default();
        let duration = span.duration();
        if span.kind == SpanKind::Server {
            self.requests += 1;
            self.durations.add(duration);
            match of("http.response.status_code") {
                _ if span.status.code == StatusCode::Error => self.failed += 1,
                Some(AnyValue::Int(400..)) => self.refused += 1,
                _ => {}
            }
        } else if of("gen_ai.operation.name").is_some() {
            let failed = u64::from(span.status.code == StatusCode::Error);
            if let Some(model) = self.model(name("gen_ai.provider.name"), name("gen_ai.request.model")) {
                model.calls += 1;
                model.failed += failed;
                model.durations.add(duration);
            }
        } else if let Some(AnyValue::Double(cost)) = of("modelmuxer.route.estimate.cost") {
            let (provider, model) =
                (name("modelmuxer.route.selected.provider"), name("modelmuxer.route.selected.model"));
            if let Some(model) = self.model(provider, model) {
                *model.estimated_cost.get_or_insert(0.0) += cost;
            }
        }
    }

    /// Tokens, by their translated name or by ModelMuxer's.
    fn metric(&mut self, metric: &Metric<'_>) {
        if !["modelmuxer.tokens", "modelmuxer_tokens_total"].contains(&text(metric.name)) {
            return;
        }
        let Some(MetricData::Sum { points, .. }) = metric.data else { return };
        for point in points {
            let name = |keys: [&str; 2]| {
                let found = keys.into_iter().find_map(|key| point.attribute(key.as_bytes()));
                found.and_then(|value| value.as_str()).unwrap_or_default()
            };
            let Some(tokens) = point.value.map(|value| value.as_f64().max(0.0) as u64) else { continue };
            let input = name(["gen_ai.token.type", "type"]) == "input";
            let provider = name(["gen_ai.provider.name", "provider"]);
            if let Some(model) = self.model(provider, name(["gen_ai.request.model", "model"])) {
                let known = if input { &mut model.input_tokens } else { &mut model.output_tokens };
                *known.get_or_insert(0) += tokens;
            }
        }
    }
}

//! Translates ModelMuxer's metrics: families of its page, scraped or sent over OTLP, to the metrics of the conventions.
//!
//! What is not ModelMuxer's is copied as it is, and a batch that holds nothing of ModelMuxer's goes on as the same
//! bytes. Cumulative metrics stay cumulative. Counts of points: what comes in and what is derived is what goes out, is
//! omitted or is dropped.

mod attributes;
mod ledger;
mod options;
mod point;
mod scope;
pub mod table;
#[cfg(test)]
mod tests;

use super::explain::{Counts, Explain, RuleCounters};
use super::profile::Profile;
use super::spans::Scheme;
use crate::trace::TraceOptions;
use ledger::Ledger;
pub use ledger::MAX_PARTS;
use muxbridge_core::{Batch, BuildContext, Counter, Processor, Signal, names};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Metric, MetricData, Number, ResourceItems, ScopeItems};
use muxbridge_pdata::wire::Fields;
pub use options::{LatencyUnit, MetricOptions};
use std::time::Instant;
use table::{Kind, Row};

/// Translates metrics. It remembers the series that are added up to one.
pub struct MetricTranslator {
    settings: Settings,
    ledger: Ledger,
    explain: Option<Box<dyn Explain + Send>>,
    rules: RuleCounters,
    dropped: [(Reason, Counter); 3],
}

/// What the operator chose.
#[derive(Clone, Copy, Debug)]
struct Settings {
    metrics: MetricOptions,
    profile: Profile,
    price_correction: f64,
    url_scheme: &'static str,
}

/// Why a point is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    InvalidValue,
    TooManySeries,
    OutOfOrder,
}

impl Reason {
    const ALL: [Reason; 3] = [Reason::InvalidValue, Reason::TooManySeries, Reason::OutOfOrder];

    const fn as_str(self) -> &'static str {
        match self {
            Reason::InvalidValue => "invalid_value",
            Reason::TooManySeries => "too_many_series",
            Reason::OutOfOrder => "out_of_order",
        }
    }
}

/// What happened to the points of one batch.
#[derive(Default)]
struct Report<'x> {
    counts: Counts,
    dropped: [u64; Reason::ALL.len()],
    explain: Option<&'x mut (dyn Explain + 'x)>,
}

impl Report<'_> {
    fn drop(&mut self, reason: Reason, n: u64) {
        self.dropped[reason as usize] += n;
    }
}

impl MetricTranslator {
    /// Builds one for one worker. Profile, price correction and scheme are those of the traces.
    pub fn new(metrics: &MetricOptions, traces: &TraceOptions, cx: &BuildContext) -> Self {
        let settings = Settings {
            metrics: *metrics,
            profile: traces.profile,
            price_correction: traces.price_correction,
            url_scheme: match traces.url_scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            },
        };
        let signal = ("signal", Signal::Metrics.as_str());
        let dropped =
            |reason: Reason| (reason, cx.counter(names::DROPPED, &[signal, ("reason", reason.as_str())]));
        MetricTranslator {
            settings,
            ledger: Ledger::default(),
            explain: None,
            rules: RuleCounters::new(cx, Signal::Metrics),
            dropped: Reason::ALL.map(dropped),
        }
    }

    /// Has every change told to `explain`.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        self.explain = Some(explain);
    }

    /// What becomes of a batch; `None` if all of it was left out.
    fn translate(&mut self, batch: Batch, now: Instant, report: &mut Report<'_>) -> Option<Batch> {
        let options = self.settings.metrics;
        let touches = |r: &ResourceItems<'_>| touches(r, &options);
        if !batch.resources().any(|r| touches(&r)) {
            return Some(batch);
        }
        self.ledger.sweep(now);
        let mut w = Writer::with_capacity(batch.otlp().len());
        for f in Fields::new(batch.otlp()) {
            if f.number != field::REQUEST_RESOURCE {
                w.raw(f.raw);
                continue;
            }
            let resource = ResourceItems::read(f.value.as_bytes());
            if touches(&resource) {
                self.resource(&mut w, &resource, now, report);
            } else {
                w.raw(f.raw);
            }
        }
        let translated = Batch::from_valid(Signal::Metrics, w.into_bytes(), batch.origin().clone());
        (translated.items() > 0).then_some(translated)
    }

    fn resource(
        &mut self,
        w: &mut Writer,
        resource: &ResourceItems<'_>,
        now: Instant,
        report: &mut Report<'_>,
    ) {
        let ours = is_ours(resource);
        let before = w.len();
        let mut any = false;
        w.message(field::REQUEST_RESOURCE, |w| {
            for f in Fields::new(resource.raw()) {
                if f.number != field::resource_items::SCOPES {
                    w.raw(f.raw);
                    continue;
                }
                let items = ScopeItems::read(f.value.as_bytes());
                let before = w.len();
                let mut kept = false;
                w.message(field::resource_items::SCOPES, |w| {
                    let mut scope = scope::ScopeWriter::new(
                        &self.settings,
                        &mut self.ledger,
                        report,
                        (resource, &items),
                        now,
                    );
                    kept = scope.write(w, ours);
                });
                any |= kept;
                if !kept {
                    w.truncate(before);
                }
            }
        });
        if !any {
            w.truncate(before);
        }
    }
}

impl Processor for MetricTranslator {
    fn process(&mut self, batch: Batch, now: Instant, emit: &mut dyn FnMut(Batch)) {
        if batch.signal() != Signal::Metrics {
            emit(batch);
            return;
        }
        let mut explain = self.explain.take();
        let listener = explain.as_deref_mut().map(|explain| explain as &mut dyn Explain);
        let mut report = Report { explain: listener, ..Report::default() };
        let translated = self.translate(batch, now, &mut report);
        self.rules.add(&mut report.counts);
        for (reason, counter) in &self.dropped {
            counter.add(report.dropped[*reason as usize]);
        }
        self.explain = explain;
        if let Some(translated) = translated {
            emit(translated);
        }
    }
}

/// Whether anything below a resource is not copied as it is.
fn touches(resource: &ResourceItems<'_>, options: &MetricOptions) -> bool {
    let mut ours = None;
    resource.scopes().flat_map(|scope| scope.metrics()).any(|metric| {
        table::row(metric.name).is_some_and(|row| {
            let ours = || *ours.get_or_insert_with(|| is_ours(resource));
            applies(row, &metric, options, ours)
        })
    })
}

/// Whether a resource is a ModelMuxer: it says so, or it has a family of that name. Some of ModelMuxer's families have
/// names that any program could use, and only those of a ModelMuxer are translated. Every page of ModelMuxer has the
/// gauges that it never sets, so that every page can be told.
fn is_ours(resource: &ResourceItems<'_>) -> bool {
    let name = resource.resource.attribute(b"service.name").and_then(|v| v.as_str());
    name == Some("modelmuxer")
        || resource
            .scopes()
            .flat_map(|scope| scope.metrics())
            .any(|metric| metric.name.starts_with(OWN_PREFIX) && table::row(metric.name).is_some())
}

const OWN_PREFIX: &[u8] = b"modelmuxer_";

/// Whether the row of a family is to be applied to this metric.
fn applies(row: &Row, metric: &Metric<'_>, options: &MetricOptions, mut ours: impl FnMut() -> bool) -> bool {
    let kind = match metric.data {
        Some(MetricData::Sum { monotonic: true, .. }) => Kind::Counter,
        Some(MetricData::Gauge { .. }) => Kind::Gauge,
        Some(MetricData::Histogram { .. }) => Kind::Histogram,
        _ => return false,
    };
    if kind != row.kind || (row.process && !options.process) {
        return false;
    }
    row.source.as_bytes().starts_with(OWN_PREFIX) || ours()
}

/// Whether no point of a metric says that anything was ever counted.
fn is_zero(metric: &Metric<'_>) -> bool {
    let zero = |value: Option<Number>| value.is_none_or(|v| v.as_f64() == 0.0);
    match metric.data {
        Some(MetricData::Gauge { mut points } | MetricData::Sum { mut points, .. }) => {
            points.all(|p| p.no_recorded_value || zero(p.value))
        }
        Some(MetricData::Histogram { mut points, .. }) => points.all(|p| p.no_recorded_value || p.count == 0),
        _ => false,
    }
}

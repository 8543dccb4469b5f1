//! Translates the metrics of one scope.

use super::attributes::{convert, series_name};
use super::ledger::{Ledger, sum_deltas};
use super::point::{Histogram, Point, Source, Value, seconds, temporality, write_metric};
use super::table::{self, Convert, Instrument, Only, Row, Scale, State, Target};
use super::{LatencyUnit, Reason, Report, Settings, applies, is_zero};
use crate::translate::explain::{Change, Rule};
use crate::translate::routes::known_route;
use muxbridge_core::Signal;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Metric, Number, ResourceItems, ScopeItems, Temporality, text};
use muxbridge_pdata::wire::Fields;
use muxbridge_pdata::{AnyValue, Writer};
use std::time::Instant;

/// Mean seconds of a call above which a sum that is no whole number is still not believed to be seconds.
const LONGEST_MEAN: f64 = 50.0;

/// The calls that reported tokens are among the successful ones of their family.
const CALLS: &[u8] = b"modelmuxer_provider_requests_total";

/// Writes one scope.
pub(super) struct ScopeWriter<'s, 'x, 'a> {
    settings: &'s Settings,
    ledger: &'s mut Ledger,
    report: &'s mut Report<'x>,
    items: &'s ScopeItems<'a>,
    /// Resource and scope: the first part of every key in the ledger.
    prefix: Vec<u8>,
    now: Instant,
    /// Counts of calls that succeeded, once they are asked for.
    calls: Option<Vec<Source<'a>>>,
}

/// A target that is being made.
struct Build<'a> {
    target: &'static Target,
    /// The first source metric of it.
    source: Metric<'a>,
    points: Vec<Point>,
}

impl<'s, 'x, 'a> ScopeWriter<'s, 'x, 'a> {
    pub(super) fn new(
        settings: &'s Settings,
        ledger: &'s mut Ledger,
        report: &'s mut Report<'x>,
        (resource, items): (&ResourceItems<'a>, &'s ScopeItems<'a>),
        now: Instant,
    ) -> Self {
        let mut prefix = Vec::new();
        for part in [resource.resource.raw(), items.scope.raw()] {
            push(&mut prefix, part);
        }
        ScopeWriter { settings, ledger, report, items, prefix, now, calls: None }
    }

    /// Writes the body of the scope; whether any metric is left.
    pub(super) fn write(&mut self, w: &mut Writer, ours: bool) -> bool {
        let mut builds: Vec<Build<'a>> = Vec::new();
        let mut any = false;
        for f in Fields::new(self.items.raw()) {
            if f.number != field::scope_items::ITEMS {
                w.raw(f.raw);
                continue;
            }
            let metric = Metric::read(f.value.as_bytes());
            let row = table::row(metric.name);
            let row = row.filter(|row| self.counts(row, &metric, ours));
            match row {
                Some(row) => {
                    if row.keep {
                        w.raw(f.raw);
                        any = true;
                    }
                    self.metric(row, &metric, &mut builds);
                }
                None => {
                    w.raw(f.raw);
                    any = true;
                }
            }
        }
        for build in builds {
            let points = self.sums(build.target, &build.source, build.points);
            if !points.is_empty() {
                let name = build.target.name_in(self.settings.profile);
                w.message(field::scope_items::ITEMS, |w| {
                    write_metric(w, &build.source, name, build.target, &points);
                });
                any = true;
            }
        }
        any
    }

    /// Whether the row of a metric is applied. A family that is known as never counted is not left out any more once
    /// it was seen to count: then a later ModelMuxer has come to use it.
    fn counts(&mut self, row: &Row, metric: &Metric<'_>, ours: bool) -> bool {
        let applied = applies(row, metric, &self.settings.metrics, || ours);
        if row.state == State::Live || !applied {
            return applied;
        }
        let key = self.key(metric.name);
        if !is_zero(metric) {
            self.ledger.set_alive(key);
            return false;
        }
        !self.ledger.is_alive(&key)
    }

    fn key(&self, name: &[u8]) -> Vec<u8> {
        let mut key = self.prefix.clone();
        push(&mut key, name);
        key
    }

    /// Makes the targets of one source metric.
    fn metric(&mut self, row: &'static Row, metric: &Metric<'a>, builds: &mut Vec<Build<'a>>) {
        for source in Source::points(metric.data) {
            let Some(value) = source.value() else {
                self.report.drop(Reason::InvalidValue, u64::from(!row.keep));
                self.tell(metric, &source, "M.invalid_value", "item", AnyValue::Empty, AnyValue::Empty);
                continue;
            };
            let mut made = 0;
            for target in row.targets {
                if let Some(point) = self.point(target, metric, &source, &value) {
                    if let Some(rule) = target.derived {
                        self.report.counts.add(rule);
                    }
                    made += 1;
                    add(builds, target, metric, point);
                }
            }
            if made == 0
                && let Some(rule) = row.otherwise
            {
                self.report.counts.add(rule);
                self.tell(metric, &source, rule.as_str(), "item", AnyValue::Empty, AnyValue::Empty);
            }
        }
    }

    /// One target's point, if this target takes it.
    fn point(
        &mut self,
        target: &'static Target,
        metric: &Metric<'a>,
        source: &Source<'a>,
        value: &Value,
    ) -> Option<Point> {
        if !target.is_on(&self.settings.metrics, self.settings.profile) {
            return None;
        }
        if let Only::Where(label, wanted) = target.only
            && source.label(label) != Some(wanted)
        {
            return None;
        }
        let (start, time) = source.times();
        let part = source.part();
        let mut factor = 1.0;
        let mut value = value.clone();
        match target.scale {
            Scale::Keep => {}
            Scale::MillisToSeconds => factor = self.milliseconds(&mut value),
            Scale::LatencyRepair => factor = self.latency(metric, source, &part, &mut value),
            Scale::Price => {
                factor = self.settings.price_correction;
                if let Value::Number(n) = &mut value
                    && factor != 1.0
                {
                    *n = Number::Double(n.as_f64() * factor);
                    self.report.counts.add(Rule::EstimatedCost);
                }
            }
            Scale::Uptime => uptime(&mut value, time)?,
            Scale::TokensPerCall => self.tokens(source, &mut value)?,
        }
        let mut attributes = convert(source.labels(), target, self.settings.profile);
        if target.scheme {
            attributes.constant("url.scheme", self.settings.url_scheme);
        }
        if target.derived.is_none() && target.attributes.contains(&Convert::Route) {
            let route = source.label("route");
            if route.is_some() && route != route.and_then(known_route) {
                self.report.counts.add(Rule::HttpRoute);
            }
        }
        // The start of a process is no start of its uptime's series.
        let start = if target.instrument == Instrument::Gauge { 0 } else { start };
        let rest = source.rest(target.instrument, factor);
        let point = Point { attributes, part, start, time, value, rest };
        if self.report.explain.is_some() {
            self.explain(target, metric, source, &point);
        }
        Some(point)
    }

    /// Milliseconds to seconds; the factor for exemplars.
    fn milliseconds(&self, value: &mut Value) -> f64 {
        if let Value::Histogram(h) = value {
            h.scale(seconds);
        }
        0.001
    }

    fn latency(&mut self, metric: &Metric<'_>, source: &Source<'_>, part: &[u8], value: &mut Value) -> f64 {
        let Value::Histogram(h) = value else { return 1.0 };
        let in_seconds = match self.settings.metrics.provider_latency_unit {
            LatencyUnit::Milliseconds => false,
            LatencyUnit::Seconds => true,
            // Without a value there is nothing to judge, and nothing that could be wrong.
            LatencyUnit::Auto if h.count == 0 => false,
            LatencyUnit::Auto => {
                let mut key = self.key(metric.name);
                push(&mut key, part);
                self.ledger.seconds(key, source.times().0, h.count, self.now, || looks_like_seconds(h))
            }
        };
        if in_seconds {
            return 1.0;
        }
        h.scale(seconds);
        // Made for seconds and filled with milliseconds: almost everything is above the last bound.
        h.without_buckets();
        self.report.counts.add(Rule::ProviderLatency);
        0.001
    }

    /// The tokens of all calls of a model as a histogram: their sum, and how many calls succeeded. `None` if that is
    /// not known: a count of 0 would be wrong.
    fn tokens(&mut self, source: &Source<'_>, value: &mut Value) -> Option<()> {
        let Value::Number(tokens) = value else { return Some(()) };
        let (_, time) = source.times();
        let labels = ["provider", "model"].map(|label| source.label(label));
        let items = self.items;
        let calls = self.calls.get_or_insert_with(|| {
            let points = items.metrics().filter(|m| m.name == CALLS).flat_map(|m| Source::points(m.data));
            points.filter(|p| p.label("outcome") == Some("success")).collect()
        });
        let of_model = |p: &&Source<'_>| {
            p.times().1 == time && ["provider", "model"].map(|label| p.label(label)) == labels
        };
        let Some(Value::Number(count)) = calls.iter().find(of_model)?.value() else { return None };
        let count = count.as_f64();
        if count < 1.0 || count >= 2f64.powi(63) {
            return None;
        }
        let (count, sum) = (count as u64, Some(tokens.as_f64()));
        *value = Value::Histogram(Histogram { count, sum, ..Histogram::default() });
        Some(())
    }

    /// Adds up what became one series.
    fn sums(&mut self, target: &Target, source: &Metric<'_>, points: Vec<Point>) -> Vec<Point> {
        let temporality = temporality(source.data.as_ref());
        let before = points.len();
        let (points, outcome) = match target.instrument {
            // A value of now cannot be added to another, and one label set is one process.
            Instrument::Gauge | Instrument::UpDownCounter => return points,
            _ if temporality == Temporality::Delta => sum_deltas(points),
            _ => {
                let key = self.key(target.name.as_bytes());
                self.ledger.sum(&key, points, self.now)
            }
        };
        self.report.counts.add_many(Rule::Merged, outcome.merged);
        self.report.drop(Reason::TooManySeries, outcome.refused);
        self.report.drop(Reason::OutOfOrder, outcome.late);
        if points.len() != before
            && let Some(explain) = self.report.explain.as_mut()
        {
            let [before, after] = [before, points.len()].map(|n| AnyValue::Int(n as i64));
            let span = target.name_in(self.settings.profile);
            let (signal, rule, target) = (Signal::Metrics, Rule::Merged.as_str(), "points");
            explain.change(&Change {
                signal,
                trace_id: &[],
                span_id: &[],
                span,
                rule,
                target,
                before,
                after,
            });
        }
        points
    }

    fn explain(&mut self, target: &Target, metric: &Metric<'_>, source: &Source<'_>, point: &Point) {
        let name = AnyValue::string(target.name_in(self.settings.profile));
        let rule = target.derived.map_or("M.name", Rule::as_str);
        self.tell(metric, source, rule, "name", AnyValue::String(metric.name), name);
        for label in source.labels() {
            if !point.attributes.iter().any(|a| a.raw() == label.raw()) {
                self.tell(metric, source, "M.attribute", text(label.key), label.value, AnyValue::Empty);
            }
        }
        for a in point.attributes.iter() {
            if !source.labels().any(|label| a.raw() == label.raw()) {
                self.tell(metric, source, "M.attribute", text(a.key), AnyValue::Empty, a.value);
            }
        }
        let (before, after) = match (source.value(), &point.value) {
            (Some(Value::Number(before)), Value::Number(after)) => (before.as_f64(), after.as_f64()),
            (Some(Value::Histogram(before)), Value::Histogram(after)) => match (before.sum, after.sum) {
                (Some(before), Some(after)) => (before, after),
                _ => return,
            },
            _ => return,
        };
        if before != after {
            let rule = match target.scale {
                Scale::Price => Rule::EstimatedCost.as_str(),
                Scale::LatencyRepair => Rule::ProviderLatency.as_str(),
                _ => "M.value",
            };
            self.tell(metric, source, rule, "value", AnyValue::Double(before), AnyValue::Double(after));
        }
    }

    fn tell(
        &mut self,
        metric: &Metric<'_>,
        source: &Source<'_>,
        rule: &'static str,
        target: &str,
        before: AnyValue<'_>,
        after: AnyValue<'_>,
    ) {
        if let Some(explain) = self.report.explain.as_mut() {
            let span = series_name(metric.name, source.labels());
            let (signal, span) = (Signal::Metrics, span.as_str());
            explain.change(&Change {
                signal,
                trace_id: &[],
                span_id: &[],
                span,
                rule,
                target,
                before,
                after,
            });
        }
    }
}

/// Adds a point to its target. Points of another temporality are another metric.
fn add<'a>(builds: &mut Vec<Build<'a>>, target: &'static Target, source: &Metric<'a>, point: Point) {
    let of = |m: &Metric<'_>| temporality(m.data.as_ref());
    let same = |b: &&mut Build<'a>| b.target.name == target.name && of(&b.source) == of(source);
    match builds.iter_mut().find(same) {
        Some(build) => build.points.push(point),
        None => builds.push(Build { target, source: *source, points: vec![point] }),
    }
}

/// The time since the start of a process, in seconds; `None` if it did not start yet.
fn uptime(value: &mut Value, time: u64) -> Option<()> {
    if let Value::Number(start) = value {
        let since = time as f64 / 1e9 - start.as_f64();
        *value = Value::Number(Number::Double((since >= 0.0).then_some(since)?));
    }
    Some(())
}

/// ModelMuxer observes whole milliseconds, whose sum is a whole number; seconds that were measured are none. Buckets
/// prove nothing: a call of 15 ms falls into the one up to 25 s.
fn looks_like_seconds(h: &Histogram) -> bool {
    h.sum.is_some_and(|sum| sum.fract() != 0.0 && sum / h.count as f64 <= LONGEST_MEAN)
}

fn push(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&(part.len() as u64).to_le_bytes());
    key.extend_from_slice(part);
}

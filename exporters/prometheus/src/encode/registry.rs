//! The latest value of every series, from batch to batch.

use super::exemplar::{self, Exemplar};
use super::exponential::Exponential;
use super::family::{Family, Series, Update};
use super::labels::{self, Fixed};
use super::names::{self, MetricName, Suffix};
use super::page::{Kind, Page};
use super::value::{MALFORMED, Reason, Value};
use super::{Format, Options};
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{KeyValue, Metric, MetricData, Number, Repeated, Resource, Temporality, text};
use std::collections::{BTreeMap, HashMap};

/// The most resources that `target_info` describes. Series of further ones are shown, but not described.
pub const MAX_TARGETS: usize = 10_000;

/// The most bytes of the labels of one series, with their names.
pub const MAX_LABEL_BYTES: usize = 16 << 10;

/// The most bytes of the text that says what a metric means; the rest is cut off.
pub const MAX_HELP_BYTES: usize = 1024;

/// What became of the points of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Points that were taken in.
    pub kept: u64,
    dropped: BTreeMap<Reason, u64>,
    adjusted: BTreeMap<Reason, u64>,
}

impl Ingested {
    /// Points that were dropped, by reason: `malformed`, `too_many_buckets`, `labels_too_large`, `name_conflict`,
    /// `series_limit`, `out_of_order`, `no_temporality`, `delta_not_monotonic`, `no_value`.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.dropped.iter().map(|(reason, n)| (*reason, *n))
    }

    /// Points that are shown with less than they had: `target_limit` (no `target_info`), `only_in_text` (OpenMetrics
    /// cannot show the metric, because another one has a name that it reserves).
    pub fn adjusted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.adjusted.iter().map(|(reason, n)| (*reason, *n))
    }

    fn drop(&mut self, reason: Reason, points: u64) {
        *self.dropped.entry(reason).or_insert(0) += points;
    }
}

/// All series of a page.
#[derive(Debug, Default)]
pub struct Registry {
    options: Options,
    /// By their names in the text format.
    families: BTreeMap<String, Family>,
    /// Who has a name, in the text format and in OpenMetrics.
    text_names: HashMap<String, String>,
    open_names: HashMap<String, String>,
    targets: BTreeMap<(String, String), Target>,
    series: usize,
    swept: u64,
}

/// The labels of `target_info` for one `job` and `instance`.
#[derive(Debug)]
struct Target {
    labels: String,
    seen: u64,
}

/// What all points of a metric share.
struct Context<'a> {
    fixed: &'a Fixed,
    resource: Resource<'a>,
    now: u64,
    /// The key of the family.
    key: String,
    kind: Kind,
    temporality: Temporality,
}

impl Registry {
    /// One without any series.
    pub fn new(options: Options) -> Self {
        Registry { options, ..Registry::default() }
    }

    /// How many series are on the page. A histogram is one.
    pub fn series(&self) -> usize {
        self.series
    }

    /// Takes in a batch of metrics at `now`, in nanoseconds since 1970. A batch of another signal has no effect.
    pub fn ingest(&mut self, batch: &Batch, now: u64) -> Ingested {
        let mut out = Ingested::default();
        if batch.signal() != Signal::Metrics {
            return out;
        }
        if now.saturating_sub(self.swept) > self.options.expiration / 4 || now < self.swept {
            self.sweep(now);
        }
        for items in batch.resources() {
            let mut fixed: Fixed = self.options.const_labels.iter().cloned().collect();
            let described = self.describe(&items.resource, &mut fixed, now);
            let before = out.kept;
            for scope in items.scopes() {
                let mut fixed = fixed.clone();
                if self.options.scope_labels {
                    labels::scope(&mut fixed, &scope);
                }
                for metric in scope.metrics() {
                    self.metric(&metric, &fixed, items.resource, now, &mut out);
                }
            }
            if !described && out.kept > before {
                *out.adjusted.entry("target_limit").or_insert(0) += out.kept - before;
            }
        }
        out
    }

    /// Remembers what a resource is; `false` if there is no room.
    fn describe(&mut self, resource: &Resource<'_>, fixed: &mut Fixed, now: u64) -> bool {
        let (job, instance) = labels::identity(resource);
        let mut own = Fixed::new();
        for (name, value) in [("job", &job), ("instance", &instance)] {
            if !value.is_empty() {
                own.insert(name.to_owned(), value.clone());
            }
        }
        fixed.extend(own.clone());
        if labels::describing(resource).next().is_none() {
            return true;
        }
        let key = (job, instance);
        let full = self.targets.len() >= MAX_TARGETS && !self.targets.contains_key(&key);
        own.extend(self.options.const_labels.iter().cloned());
        let labels = labels::series(&own, "", labels::describing(resource));
        if full || labels.len() > MAX_LABEL_BYTES {
            return false;
        }
        self.targets.insert(key, Target { labels, seen: now });
        true
    }

    fn metric(
        &mut self,
        metric: &Metric<'_>,
        fixed: &Fixed,
        resource: Resource<'_>,
        now: u64,
        out: &mut Ingested,
    ) {
        let points = metric.point_count() as u64;
        let Some(data) = metric.data.filter(|_| points > 0) else { return };
        let (kind, temporality) = match kind(metric, &data) {
            Ok(found) => found,
            Err(reason) => return out.drop(reason, points),
        };
        let Some(name) = self.name(metric, kind) else { return out.drop(MALFORMED, points) };
        let key = name.text.clone();
        match self.family(name, kind, metric) {
            None => return out.drop("name_conflict", points),
            Some(false) => *out.adjusted.entry("only_in_text").or_insert(0) += points,
            Some(true) => {}
        }
        let cx = Context { fixed, resource, now, key, kind, temporality };
        self.points(&cx, data, out);
        let empty = self.families.get(&cx.key).is_some_and(|f| f.series.is_empty());
        if empty {
            self.forget_family(&cx.key);
        }
    }

    fn points(&mut self, cx: &Context<'_>, data: MetricData<'_>, out: &mut Ingested) {
        match data {
            MetricData::Gauge { points } | MetricData::Sum { points, .. } => {
                for p in points {
                    let value = p.value.ok_or("no_value").and_then(|v| number(cx.kind, v));
                    let head = (p.start, p.time, p.no_recorded_value);
                    self.point(cx, head, p.attributes(), value, || exemplar::read(p.exemplars()), out);
                }
            }
            MetricData::Histogram { points, .. } => {
                for p in points {
                    let head = (p.start, p.time, p.no_recorded_value);
                    let value = Value::histogram(&p);
                    self.point(cx, head, p.attributes(), value, || exemplar::read(p.exemplars()), out);
                }
            }
            MetricData::ExponentialHistogram { points, .. } => {
                for p in points {
                    let head = (p.start, p.time, p.no_recorded_value);
                    let value = Exponential::read(&p).map(Value::Exponential);
                    self.point(cx, head, p.attributes(), value, || exemplar::read(p.exemplars()), out);
                }
            }
            MetricData::Summary { points } => {
                for p in points {
                    let head = (p.start, p.time, p.no_recorded_value);
                    self.point(cx, head, p.attributes(), Value::summary(&p), Vec::new, out);
                }
            }
        }
    }

    fn point(
        &mut self,
        cx: &Context<'_>,
        (start, time, gone): (u64, u64, bool),
        attributes: Repeated<'_, KeyValue<'_>>,
        value: Result<Value, Reason>,
        exemplars: impl FnOnce() -> Vec<Exemplar>,
        out: &mut Ingested,
    ) {
        let own = match cx.kind {
            Kind::Histogram => "le",
            Kind::Summary => "quantile",
            Kind::Counter | Kind::Gauge | Kind::Unknown | Kind::Info => "",
        };
        let labels = if self.options.resource_labels {
            // An attribute of the point says more than one of the resource with the same name.
            let has = |key: &[u8]| { attributes }.any(|own| own.key == key);
            let more = labels::describing(&cx.resource).filter(|kv| !has(kv.key));
            labels::series(cx.fixed, own, attributes.chain(more))
        } else {
            labels::series(cx.fixed, own, attributes)
        };
        if labels.len() > MAX_LABEL_BYTES {
            return out.drop("labels_too_large", 1);
        }
        let full = self.series >= self.options.max_series;
        let Some(family) = self.families.get_mut(&cx.key) else { return out.drop("name_conflict", 1) };
        if gone {
            self.series -= usize::from(family.series.remove(&labels).is_some());
            out.kept += 1;
            return;
        }
        let value = match value {
            Ok(value) => value,
            Err(reason) => return out.drop(reason, 1),
        };
        let delta = cx.temporality == Temporality::Delta;
        let update = Update { start, time, delta, value, exemplars: exemplars() };
        match family.series.get_mut(&labels) {
            Some(series) => {
                if !series.update(update, cx.now) {
                    return out.drop("out_of_order", 1);
                }
            }
            None if full => return out.drop("series_limit", 1),
            None => {
                family.series.insert(labels, Series::new(update, cx.now));
                self.series += 1;
            }
        }
        out.kept += 1;
    }

    fn name(&self, metric: &Metric<'_>, kind: Kind) -> Option<MetricName> {
        let suffix = match kind {
            Kind::Counter => Suffix::Total,
            Kind::Gauge => Suffix::Gauge,
            _ => Suffix::None,
        };
        let (raw, unit) = (text(metric.name), text(metric.unit));
        let options = &self.options;
        let mut name = names::metric(raw, unit, suffix, options.add_suffixes, &options.namespace)?;
        if kind == Kind::Info {
            name.unit.clear();
            match name.family.strip_suffix("_info") {
                Some(stem) => name.family = stem.to_owned(),
                None => name.text.push_str("_info"),
            }
        }
        Some(name)
    }

    /// Finds or makes a family. `None` if its names are taken; `Some(false)` if they are only in OpenMetrics.
    fn family(&mut self, name: MetricName, kind: Kind, metric: &Metric<'_>) -> Option<bool> {
        if let Some(family) = self.families.get(&name.text) {
            return (family.kind == kind).then_some(family.open);
        }
        let key = name.text.clone();
        let reserved = self.options.reserved_prefix.is_some_and(|prefix| key.starts_with(prefix));
        let text_names = Family::text_names(&name, kind);
        let open_names = Family::open_names(&name, kind);
        let target = |names: &[String]| names.iter().any(|n| n == "target" || n == "target_info");
        if reserved || target(&text_names) || text_names.iter().any(|n| self.text_names.contains_key(n)) {
            return None;
        }
        let open = !target(&open_names) && !open_names.iter().any(|n| self.open_names.contains_key(n));
        self.text_names.extend(text_names.into_iter().map(|n| (n, key.clone())));
        if open {
            self.open_names.extend(open_names.into_iter().map(|n| (n, key.clone())));
        }
        let help = text(metric.description);
        let end = (0..=MAX_HELP_BYTES.min(help.len())).rev().find(|at| help.is_char_boundary(*at));
        let help = help[..end.unwrap_or(0)].to_owned();
        self.families.insert(key, Family { name, kind, help, open, series: BTreeMap::new() });
        Some(open)
    }

    fn forget_family(&mut self, key: &str) {
        if let Some(family) = self.families.remove(key) {
            self.series -= family.series.len();
        }
        self.text_names.retain(|_, owner| owner != key);
        self.open_names.retain(|_, owner| owner != key);
    }

    /// Forgets what has had no new point for too long.
    fn sweep(&mut self, now: u64) {
        self.swept = now;
        let lives = |seen: u64| now.saturating_sub(seen) <= self.options.expiration;
        for family in self.families.values_mut() {
            let before = family.series.len();
            family.series.retain(|_, series| lives(series.seen));
            self.series -= before - family.series.len();
        }
        self.targets.retain(|_, target| lives(target.seen));
        let empty: Vec<String> =
            self.families.iter().filter(|(_, f)| f.series.is_empty()).map(|(key, _)| key.clone()).collect();
        empty.iter().for_each(|key| self.forget_family(key));
    }

    /// The page at `now`, in nanoseconds since 1970.
    pub fn render(&mut self, format: Format, now: u64) -> Vec<u8> {
        let mut page = Page::new(format);
        self.write(&mut page, now);
        page.finish()
    }

    /// Writes all families as they are at `now`: `target_info`, then by name.
    pub fn write(&mut self, page: &mut Page, now: u64) {
        self.sweep(now);
        page.timestamps(self.options.send_timestamps);
        if !self.targets.is_empty() {
            page.family(&super::Head {
                text: "target_info",
                family: "target",
                kind: Kind::Info,
                help: "Target metadata",
                unit: "",
            });
            self.targets.values().for_each(|target| page.whole(&target.labels, 1));
        }
        let open = page.format() == Format::OpenMetrics;
        for family in self.families.values().filter(|family| family.open || !open) {
            family.write(page);
        }
        page.timestamps(false);
    }
}

fn number(kind: Kind, value: Number) -> Result<Value, Reason> {
    match kind {
        Kind::Counter => Value::counter(value),
        // The value of an info is 1; anything else is not one.
        Kind::Info if value.as_f64() != 1.0 => Err(MALFORMED),
        _ => Ok(Value::Number(value)),
    }
}

/// What a metric is to Prometheus, and its temporality where it has one; or why it cannot be shown.
fn kind(metric: &Metric<'_>, data: &MetricData<'_>) -> Result<(Kind, Temporality), Reason> {
    let source = metric.metadata().find(|kv| kv.key == b"prometheus.type");
    let source = source.and_then(|kv| kv.value.as_str()).unwrap_or_default();
    let (kind, temporality) = match data {
        MetricData::Gauge { .. } if source == "unknown" => (Kind::Unknown, Temporality::Unspecified),
        MetricData::Gauge { .. } => (Kind::Gauge, Temporality::Unspecified),
        MetricData::Sum { temporality, monotonic: true, .. } => (Kind::Counter, *temporality),
        MetricData::Sum { temporality: Temporality::Delta, .. } => return Err("delta_not_monotonic"),
        MetricData::Sum { temporality, .. } if source == "info" => (Kind::Info, *temporality),
        MetricData::Sum { temporality, .. } => (Kind::Gauge, *temporality),
        MetricData::Histogram { temporality, .. } | MetricData::ExponentialHistogram { temporality, .. } => {
            (Kind::Histogram, *temporality)
        }
        MetricData::Summary { .. } => return Ok((Kind::Summary, Temporality::Unspecified)),
    };
    let needs_temporality = matches!(data, MetricData::Sum { .. }) || kind == Kind::Histogram;
    if needs_temporality && temporality == Temporality::Unspecified {
        return Err("no_temporality");
    }
    Ok((kind, temporality))
}

//! Turns the families of a page into metrics: histograms from their lines, start times from `_created`.

use super::line::{Exemplar, Label, Sample, seconds_to_nanos};
use super::page::{Family, Kind, Page};
use muxbridge_pdata::{AnyValue, Writer, schema::field};
use std::collections::{BTreeMap, HashMap};

/// What a metric becomes in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Gauge,
    /// A sum that only grows.
    Counter,
    /// A sum that may fall.
    Sum,
    Histogram,
    Summary,
}

/// A metric of a page.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    pub(super) name: String,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
    pub(super) shape: Shape,
    pub(super) source_type: &'static str,
    pub(super) points: Vec<Point<'a>>,
}

/// One series of a metric.
#[derive(Debug)]
pub(super) struct Point<'a> {
    /// The labels as encoded `NumberDataPoint.attributes`, sorted: the identity of the series.
    pub(super) attributes: Vec<u8>,
    /// Nanoseconds since 1970, if the page says so.
    pub(super) time: Option<u64>,
    /// When the series began, in Unix seconds, if the page says so.
    pub(super) created: Option<f64>,
    pub(super) value: Value<'a>,
}

/// The value of a series.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Number { value: f64, exemplar: Option<&'a Exemplar<'a>> },
    Histogram(Histogram<'a>),
    Summary { count: u64, sum: f64, quantiles: Vec<(f64, f64)> },
}

/// A histogram with the counts of its buckets, not cumulative.
#[derive(Debug)]
pub(super) struct Histogram<'a> {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) exemplars: Vec<&'a Exemplar<'a>>,
}

impl Value<'_> {
    /// A number that falls only when the series starts anew.
    pub(super) fn progress(&self) -> f64 {
        match self {
            Value::Number { value, .. } => *value,
            Value::Histogram(histogram) => histogram.count as f64,
            Value::Summary { count, .. } => *count as f64,
        }
    }
}

/// What a page holds, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Metrics<'a> {
    pub(super) list: Vec<Metric<'a>>,
    /// When the process started, in Unix seconds.
    pub(super) process_start: Option<f64>,
    /// Labels of `target_info`: they describe the target as a whole.
    pub(super) target: Vec<Label<'a>>,
    /// Histograms and summaries that contradict themselves and were left out.
    pub(super) malformed: u64,
}

/// Assembles all metrics of a page.
pub(super) fn assemble<'a>(page: &'a Page<'a>) -> Metrics<'a> {
    let mut out = Metrics::default();
    let created = created_gauges(page);
    for family in &page.families {
        if family.name == "target_info" || (family.kind == Kind::Info && family.name == "target") {
            out.target.extend(family.samples.iter().flat_map(|s| s.labels.clone()));
            continue;
        }
        if family.name == "process_start_time_seconds" {
            out.process_start = family.samples.first().map(|s| s.value).filter(|v| *v > 0.0);
        }
        if created.owners.contains_key(&*family.name) {
            // Its rows have become start times; a row that fits no series says nothing.
            continue;
        }
        let own = created.of.get(&*family.name);
        match family.kind {
            Kind::Histogram => histograms(family, own, &mut out),
            Kind::Summary => summaries(family, own, &mut out),
            _ => numbers(family, own, &mut out),
        }
    }
    out.list.retain(|metric| !metric.points.is_empty());
    out
}

type ByLabels = HashMap<Vec<u8>, f64>;

struct Created<'a> {
    /// Names of families that only say when others began.
    owners: HashMap<&'a str, ()>,
    /// Start times by the family they belong to.
    of: HashMap<&'a str, ByLabels>,
}

/// Finds the families `X_created` whose `X` or `X_total` is on the same page with the same labels. Text format 0.0.4
/// has no place for start times, so that the Python client exposes them as gauges of their own.
fn created_gauges<'a>(page: &'a Page<'a>) -> Created<'a> {
    let mut created = Created { owners: HashMap::new(), of: HashMap::new() };
    let by_name: HashMap<&str, &Family<'a>> = page.families.iter().map(|f| (&*f.name, f)).collect();
    for family in &page.families {
        let Some(base) = family.name.strip_suffix("_created") else { continue };
        if !matches!(family.kind, Kind::Gauge | Kind::Unknown) || family.samples.is_empty() {
            continue;
        }
        let total = format!("{base}_total");
        let of_counter = by_name.get(total.as_str()).filter(|f| f.kind == Kind::Counter);
        let of_other = by_name.get(base).filter(|f| {
            matches!(f.kind, Kind::Counter | Kind::Histogram | Kind::GaugeHistogram | Kind::Summary)
        });
        let Some(owner) = of_counter.or(of_other) else { continue };
        let times: ByLabels = family.samples.iter().map(|s| (identity(&s.labels, ""), s.value)).collect();
        let skip = own_label(owner.kind);
        if owner.samples.iter().any(|s| times.contains_key(&identity(&s.labels, skip))) {
            created.owners.insert(&family.name, ());
            created.of.insert(&owner.name, times);
        }
    }
    created
}

/// The label that is part of the value, not of the series.
fn own_label(kind: Kind) -> &'static str {
    match kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        _ => "",
    }
}

/// Labels as encoded attributes, without the label `skip`. Empty values are as good as none.
fn identity(labels: &[Label<'_>], skip: &str) -> Vec<u8> {
    let mut w = Writer::with_capacity(labels.len() * 24);
    for (name, value) in labels.iter().filter(|(name, value)| name != skip && !value.is_empty()) {
        w.attribute(field::number_point::ATTRIBUTES, name.as_bytes(), AnyValue::string(value));
    }
    w.into_vec()
}

fn numbers<'a>(family: &'a Family<'a>, created: Option<&ByLabels>, out: &mut Metrics<'a>) {
    let shape = match family.kind {
        Kind::Counter => Shape::Counter,
        Kind::Info | Kind::StateSet => Shape::Sum,
        _ => Shape::Gauge,
    };
    // In OpenMetrics the start times are lines of the family itself.
    let own: ByLabels = if matches!(family.kind, Kind::Counter | Kind::GaugeHistogram) {
        let rows = family.samples.iter().filter(|s| is_created(family, s));
        rows.map(|s| (identity(&s.labels, ""), s.value)).collect()
    } else {
        ByLabels::new()
    };
    let start = out.list.len();
    for sample in family.samples.iter().filter(|s| !is_created(family, s)) {
        let attributes = identity(&sample.labels, "");
        let known = if shape == Shape::Counter {
            own.get(&attributes).or_else(|| created?.get(&attributes)).copied()
        } else {
            None
        };
        let point = Point {
            time: sample.time,
            created: known,
            value: Value::Number { value: sample.value, exemplar: sample.exemplar.as_ref() },
            attributes,
        };
        // A family has lines of one name, but for gauge histograms.
        match out.list[start..].iter_mut().find(|m| m.name == sample.name) {
            Some(metric) => metric.points.push(point),
            None => {
                let mut metric = empty(family, shape);
                metric.name = sample.name.clone().into_owned();
                metric.points.push(point);
                out.list.push(metric);
            }
        }
    }
}

fn is_created(family: &Family<'_>, sample: &Sample<'_>) -> bool {
    !matches!(family.kind, Kind::Gauge | Kind::Unknown | Kind::StateSet | Kind::Info)
        && sample.name.strip_prefix(&*family.name) == Some("_created")
}

fn empty<'a>(family: &'a Family<'a>, shape: Shape) -> Metric<'a> {
    Metric {
        name: family.name.clone().into_owned(),
        help: &family.help,
        unit: family.unit,
        shape,
        source_type: family.kind.as_str(),
        points: Vec::new(),
    }
}

/// The lines of one histogram or summary.
#[derive(Default)]
struct Rows<'a> {
    /// Position on the page, to keep its order.
    at: usize,
    /// Upper bound or quantile, and value.
    steps: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
    created: Option<f64>,
    time: Option<u64>,
    exemplars: Vec<&'a Exemplar<'a>>,
    malformed: bool,
}

fn rows<'a>(family: &'a Family<'a>, created: Option<&ByLabels>) -> Vec<(Vec<u8>, Rows<'a>)> {
    let skip = own_label(family.kind);
    let mut groups: BTreeMap<Vec<u8>, Rows<'a>> = BTreeMap::new();
    for (at, sample) in family.samples.iter().enumerate() {
        let group =
            groups.entry(identity(&sample.labels, skip)).or_insert_with(|| Rows { at, ..Default::default() });
        group.time = group.time.or(sample.time);
        match sample.name.strip_prefix(&*family.name) {
            Some("_count") => group.count = Some(sample.value),
            Some("_sum") => group.sum = Some(sample.value),
            Some("_created") => group.created = Some(sample.value),
            _ => {
                let step = sample.labels.iter().find(|(name, _)| name == skip);
                match step.and_then(|(_, value)| value.parse::<f64>().ok()) {
                    Some(step) => group.steps.push((step, sample.value)),
                    None => group.malformed = true,
                }
                group.exemplars.extend(sample.exemplar.as_ref());
            }
        }
    }
    let mut list: Vec<_> = groups.into_iter().collect();
    list.sort_by_key(|(_, rows)| rows.at);
    for (attributes, rows) in &mut list {
        rows.created = rows.created.or_else(|| created?.get(attributes).copied());
    }
    list
}

fn histograms<'a>(family: &'a Family<'a>, created: Option<&ByLabels>, out: &mut Metrics<'a>) {
    let mut metric = empty(family, Shape::Histogram);
    for (attributes, rows) in rows(family, created) {
        let (created, time) = (rows.created, rows.time);
        match histogram(rows) {
            Some(histogram) => {
                metric.points.push(Point { attributes, time, created, value: Value::Histogram(histogram) });
            }
            None => out.malformed += 1,
        }
    }
    out.list.push(metric);
}

/// `None` if the lines contradict each other: no `+Inf`, falling counts, a bound twice.
fn histogram(mut rows: Rows<'_>) -> Option<Histogram<'_>> {
    rows.steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ordered = rows.steps.windows(2).all(|w| w[0].0 < w[1].0);
    if rows.malformed || !ordered || rows.steps.last()?.0 != f64::INFINITY {
        return None;
    }
    let mut below = 0;
    let mut counts = Vec::with_capacity(rows.steps.len());
    for (_, cumulative) in &rows.steps {
        let cumulative = whole(*cumulative)?;
        counts.push(cumulative.checked_sub(below)?);
        below = cumulative;
    }
    rows.steps.pop();
    // The buckets are the truth: `_count` is a line of its own and may have been written a moment later.
    Some(Histogram {
        count: below,
        sum: rows.sum.filter(|sum| !sum.is_nan()),
        bounds: rows.steps.into_iter().map(|(bound, _)| bound).collect(),
        counts,
        exemplars: rows.exemplars,
    })
}

fn summaries<'a>(family: &'a Family<'a>, created: Option<&ByLabels>, out: &mut Metrics<'a>) {
    let mut metric = empty(family, Shape::Summary);
    for (attributes, mut rows) in rows(family, created) {
        let count = whole(rows.count.unwrap_or(0.0));
        let Some(count) = count.filter(|_| !rows.malformed && rows.count.is_some()) else {
            out.malformed += 1;
            continue;
        };
        rows.steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let value = Value::Summary { count, sum: rows.sum.unwrap_or(0.0), quantiles: rows.steps };
        metric.points.push(Point { attributes, time: rows.time, created: rows.created, value });
    }
    out.list.push(metric);
}

/// A count, if it is one.
fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value < 2f64.powi(63) && value.fract() == 0.0).then_some(value as u64)
}

/// A start time, unless it is nonsense; never after `time`.
pub(super) fn start_nanos(seconds: f64, time: u64) -> Option<u64> {
    seconds_to_nanos(seconds).filter(|nanos| *nanos > 0).map(|nanos| nanos.min(time))
}

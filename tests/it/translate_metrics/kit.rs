//! Scrapes recorded pages, has them translated, and reads what comes out with prost.

use bytes::Bytes;
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge::trace::TraceOptions;
use muxbridge::translate::metrics::{MetricOptions, MetricTranslator};
use muxbridge::translate::profile::Profile;
use muxbridge_core::{Batch, BuildContext, Clock, Counters, Origin, Processor, Signal};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use prost::Message;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When the first page is scraped: after all that was recorded.
pub(super) const T: u64 = 1_795_462_500_000_000_000;
const INTERVAL: u64 = 8_000_000_000;

pub(super) const RUN1_END: &str = "run1/prom_a_10_text.txt";

pub(super) fn corpus(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/corpus/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The pages of one recorded run, in order.
pub(super) fn pages(directory: &str) -> Vec<Vec<u8>> {
    let root = format!("{}/tests/corpus/{directory}", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("prom_") || name == "metrics_prometheus.txt")
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names.iter().map(|name| corpus(&format!("{directory}/{name}"))).collect()
}

pub(super) fn batch(otlp: impl Into<Bytes>) -> Batch {
    let origin = Arc::new(Origin { receiver: "prometheus".to_owned() });
    Batch::new(Signal::Metrics, otlp.into(), origin, Default::default()).unwrap()
}

/// Successive scrapes, eight seconds apart, as they come from the receiver.
pub(super) fn scrape<'p>(pages: impl IntoIterator<Item = &'p [u8]>) -> Vec<Batch> {
    let target = TargetInfo { identity: "http://127.0.0.1:8000".to_owned(), attributes: vec![] };
    let mut scraper = Scraper::new(target, PageLimits::default());
    let pages = pages.into_iter().enumerate();
    pages.map(|(i, page)| batch(scraper.page(page, None, T + i as u64 * INTERVAL).unwrap())).collect()
}

/// A translator, its counters and a clock.
pub(super) struct Bench {
    pub(super) counters: Counters,
    pub(super) translator: MetricTranslator,
    pub(super) start: Instant,
}

impl Bench {
    pub(super) fn new(options: MetricOptions, traces: TraceOptions) -> Self {
        let counters = Counters::new();
        let cx = BuildContext::new("modelmuxer", counters.clone(), Clock::fixed(0));
        let translator = MetricTranslator::new(&options, &traces, &cx);
        Bench { counters, translator, start: Instant::now() }
    }

    pub(super) fn plain() -> Self {
        Bench::new(MetricOptions::default(), TraceOptions::default())
    }

    pub(super) fn take_at(&mut self, seconds: u64, batch: Batch) -> Option<Batch> {
        let mut out = Vec::new();
        let now = self.start + Duration::from_secs(seconds);
        self.translator.process(batch, now, &mut |b| out.push(b));
        assert!(out.len() < 2);
        out.pop()
    }

    pub(super) fn take(&mut self, batch: Batch) -> Option<Batch> {
        self.take_at(0, batch)
    }

    /// How often a rule applied.
    pub(super) fn rule(&self, name: &str) -> u64 {
        ["muxbridge_derived_total", "muxbridge_repaired_total", "muxbridge_omitted_total"]
            .iter()
            .map(|counter| self.counters.sum(counter, &[("signal", "metrics"), ("rule", name)]))
            .sum()
    }

    pub(super) fn dropped(&self, reason: &str) -> u64 {
        self.counters.sum("muxbridge_dropped_total", &[("signal", "metrics"), ("reason", reason)])
    }
}

/// What one recorded page becomes.
pub(super) fn translated(page: &str, options: MetricOptions, profile: Profile) -> Vec<Item> {
    let traces = TraceOptions { profile, ..TraceOptions::default() };
    let mut bench = Bench::new(options, traces);
    let batch = scrape([corpus(page).as_slice()]).remove(0);
    items(&bench.take(batch).unwrap())
}

/// What one recorded page becomes when nothing was configured.
pub(super) fn by_default(page: &str) -> Vec<Item> {
    translated(page, MetricOptions::default(), Profile::default())
}

/// One data point with what its metric says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// `service.instance.id`.
    pub(super) instance: String,
    pub(super) name: String,
    pub(super) unit: String,
    /// `counter`, `sum`, `gauge` or `histogram`.
    pub(super) kind: &'static str,
    /// 1 delta, 2 cumulative, 0 for gauges.
    pub(super) temporality: i32,
    pub(super) attributes: Json,
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) gone: bool,
    /// The number, or the sum of a histogram.
    pub(super) value: Option<f64>,
    /// Count, bounds and counts of a histogram.
    pub(super) histogram: Option<(u64, Vec<f64>, Vec<u64>)>,
}

pub(super) fn items(batch: &Batch) -> Vec<Item> {
    let mut out = Vec::new();
    let request = Request::decode(batch.otlp().clone()).unwrap();
    for resource in request.resource_metrics {
        let resource_attributes = resource.resource.unwrap_or_default().attributes;
        let instance = attributes(&resource_attributes)["service.instance.id"].as_str().map(str::to_owned);
        for metric in resource.scope_metrics.into_iter().flat_map(|s| s.metrics) {
            let item = |kind, temporality, list: &[KeyValue], start, time, flags: u32| Item {
                instance: instance.clone().unwrap_or_default(),
                name: metric.name.clone(),
                unit: metric.unit.clone(),
                kind,
                temporality,
                attributes: attributes(list),
                start,
                time,
                gone: flags & 1 != 0,
                value: None,
                histogram: None,
            };
            let (kind, temporality, numbers) = match metric.data.clone().unwrap() {
                Data::Gauge(g) => ("gauge", 0, g.data_points),
                Data::Sum(s) if s.is_monotonic => ("counter", s.aggregation_temporality, s.data_points),
                Data::Sum(s) => ("sum", s.aggregation_temporality, s.data_points),
                Data::Histogram(h) => {
                    for p in h.data_points {
                        let times = (p.start_time_unix_nano, p.time_unix_nano);
                        let temporality = h.aggregation_temporality;
                        out.push(Item {
                            value: p.sum,
                            histogram: Some((p.count, p.explicit_bounds, p.bucket_counts)),
                            ..item("histogram", temporality, &p.attributes, times.0, times.1, p.flags)
                        });
                    }
                    continue;
                }
                other => panic!("{other:?}"),
            };
            for p in numbers {
                let value = p.value.map(|v| match v {
                    Number::AsDouble(d) => d,
                    Number::AsInt(i) => i as f64,
                });
                let times = (p.start_time_unix_nano, p.time_unix_nano);
                out.push(Item { value, ..item(kind, temporality, &p.attributes, times.0, times.1, p.flags) });
            }
        }
    }
    out
}

fn attributes(list: &[KeyValue]) -> Json {
    let mut map = Map::new();
    for kv in list {
        let value = match kv.value.clone().and_then(|v| v.value) {
            Some(Any::StringValue(s)) => json!(s),
            Some(Any::BoolValue(b)) => json!(b),
            Some(Any::IntValue(i)) => json!(i),
            other => panic!("{other:?}"),
        };
        assert!(map.insert(kv.key.clone(), value).is_none(), "{} twice", kv.key);
    }
    Json::Object(map)
}

/// The points of one metric.
pub(super) fn of<'i>(items: &'i [Item], name: &str) -> Vec<&'i Item> {
    items.iter().filter(|i| i.name == name).collect()
}

/// The values of one metric by their attributes, as JSON text. All of them are cumulative unless they are gauges.
pub(super) fn values(items: &[Item], name: &str, kind: &str, unit: &str) -> BTreeMap<String, f64> {
    let mut map = BTreeMap::new();
    for item in of(items, name) {
        assert_eq!((item.kind, item.unit.as_str()), (kind, unit), "{name}");
        assert_eq!(item.temporality, if kind == "gauge" { 0 } else { 2 }, "{name}");
        let twice = map.insert(item.attributes.to_string(), item.value.unwrap());
        assert!(twice.is_none(), "{name}{} twice", item.attributes);
    }
    map
}

/// The one point of a metric with these attributes.
pub(super) fn one<'i>(items: &'i [Item], name: &str, attributes: &Json) -> &'i Item {
    let found: Vec<_> = of(items, name).into_iter().filter(|i| i.attributes == *attributes).collect();
    assert_eq!(found.len(), 1, "{name}{attributes}: {:#?}", of(items, name));
    found[0]
}

pub(super) fn expect<const N: usize>(rows: [(Json, f64); N]) -> BTreeMap<String, f64> {
    rows.into_iter().map(|(attributes, value)| (attributes.to_string(), value)).collect()
}

pub(super) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

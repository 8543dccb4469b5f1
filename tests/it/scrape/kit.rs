//! A running receiver with everything around it that a test looks at.

use muxbridge::receivers::prometheus::FACTORY;
use muxbridge_core::config::Problems;
use muxbridge_core::{Batch, BoxFuture, BuildContext, Clock, Consumer, Counters, Refused, Stop};
use muxbridge_testkit::oracle;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::subscriber::DefaultGuard;

/// The time of the first page; each further look at the clock is a second later.
pub(super) const T: u64 = 1_795_462_200_000_000_000;
/// Short enough that nobody waits for it, long enough for a scrape over loopback on a busy machine.
pub(super) const INTERVAL: &str = "20ms";

/// What the pipeline would get.
#[derive(Default)]
pub(super) struct Pipeline {
    batches: Mutex<Vec<Batch>>,
    taken: Notify,
    pub(super) refuses: Mutex<Option<Refused>>,
}

impl Consumer for Pipeline {
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        let refused = *self.refuses.lock().unwrap();
        if refused.is_none() {
            self.batches.lock().unwrap().push(batch);
        }
        self.taken.notify_waiters();
        Box::pin(std::future::ready(refused.map_or(Ok(()), Err)))
    }
}

/// What the receiver logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) struct Scrape {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) counters: Counters,
    stop: Stop,
    running: JoinHandle<()>,
    log: Log,
    _logging: DefaultGuard,
}

impl Scrape {
    /// Starts the receiver. The configuration must be right.
    pub(super) fn start(config: &Value) -> Scrape {
        Self::start_with(config, Arc::default())
    }

    pub(super) fn start_with(config: &Value, pipeline: Arc<Pipeline>) -> Scrape {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let mut problems = Problems::new();
        let receiver = (FACTORY.parse)(config, &mut problems);
        assert!(problems.is_empty(), "{:?}", problems.as_slice());
        let looks = AtomicU64::new(0);
        let clock = Clock::from_fn(move || T + looks.fetch_add(1, Ordering::Relaxed) * 1_000_000_000);
        let counters = Counters::new();
        let cx = BuildContext::new("prometheus", counters.clone(), clock);
        let run = receiver.expect("a configuration").build(&cx).expect("it builds");
        let stop = Stop::new();
        let running = run(pipeline.clone(), stop.clone());
        let running = tokio::spawn(async move { running.await.expect("it runs") });
        Scrape { pipeline, counters, stop, running, log, _logging: logging }
    }

    /// Waits for at least `n` batches.
    pub(super) async fn batches(&self, n: usize) -> Vec<Batch> {
        self.until(|| self.pipeline.batches.lock().unwrap().len() >= n).await;
        self.pipeline.batches.lock().unwrap().clone()
    }

    /// Waits for something that changes whenever the pipeline is handed a batch, or soon after.
    pub(super) async fn until(&self, done: impl Fn() -> bool) {
        let waiting = async {
            while !done() {
                let _ = tokio::time::timeout(Duration::from_millis(5), self.pipeline.taken.notified()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it happens");
    }

    pub(super) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.counters.sum(name, labels)
    }

    /// Waits for the first failed scrape, and its reason.
    pub(super) async fn reason(&self) -> String {
        let failed = || {
            let all = self.counters.samples();
            all.into_iter().find(|s| s.name == muxbridge_core::names::SCRAPE_FAILED && s.value > 0)
        };
        self.until(|| failed().is_some()).await;
        let labels = failed().expect("it has happened").labels;
        labels.into_iter().find(|(key, _)| *key == "reason").expect("a reason").1
    }

    /// Stops the receiver, and what it logged.
    pub(super) async fn stop(self) -> String {
        self.stop.stop();
        tokio::time::timeout(Duration::from_secs(10), self.running)
            .await
            .expect("it stops")
            .expect("no panic");
        String::from_utf8(self.log.0.lock().unwrap().clone()).expect("text")
    }
}

/// A point by its series in the form of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) instance: String,
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) value: f64,
}

/// All points of a batch as the lines of a page: a histogram becomes its buckets, sum and count. Points without a value
/// are left out.
pub(super) fn rows(otlp: &[u8]) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for resource in oracle::decode_metrics(otlp).resource_metrics {
        let attributes = resource.resource.expect("a resource").attributes;
        let instance = text(attributes.iter().find(|kv| kv.key == "service.instance.id").expect("an id"));
        for metric in resource.scope_metrics.into_iter().flat_map(|s| s.metrics) {
            let mut add = |name: String,
                           labels: &[KeyValue],
                           extra: Option<(&str, String)>,
                           times: (u64, u64),
                           value| {
                let mut labels: Vec<_> =
                    labels.iter().map(|kv| format!("{}={:?}", kv.key, text(kv))).collect();
                labels.extend(extra.map(|(key, value)| format!("{key}={value:?}")));
                labels.sort();
                let (start, time) = times;
                let row = Row { instance: instance.clone(), start, time, value };
                let before = rows.insert(format!("{name}{{{}}}", labels.join(",")), row);
                assert!(before.is_none(), "{name} is there twice");
            };
            match metric.data.expect("points") {
                Data::Gauge(gauge) => gauge.data_points.iter().filter(|p| p.flags == 0).for_each(|p| {
                    add(metric.name.clone(), &p.attributes, None, (0, p.time_unix_nano), number(p.value));
                }),
                Data::Sum(sum) => sum.data_points.iter().filter(|p| p.flags == 0).for_each(|p| {
                    let times = (p.start_time_unix_nano, p.time_unix_nano);
                    add(metric.name.clone(), &p.attributes, None, times, number(p.value));
                }),
                Data::Histogram(all) => {
                    for p in all.data_points.iter().filter(|p| p.flags == 0) {
                        let times = (p.start_time_unix_nano, p.time_unix_nano);
                        let mut below = 0;
                        for (at, count) in p.bucket_counts.iter().enumerate() {
                            below += count;
                            let le =
                                p.explicit_bounds.get(at).map_or("+Inf".to_owned(), |b| format!("{b:?}"));
                            let name = format!("{}_bucket", metric.name);
                            add(name, &p.attributes, Some(("le", le)), times, below as f64);
                        }
                        add(format!("{}_count", metric.name), &p.attributes, None, times, p.count as f64);
                        add(
                            format!("{}_sum", metric.name),
                            &p.attributes,
                            None,
                            times,
                            p.sum.expect("a sum"),
                        );
                    }
                }
                other => panic!("{}: unexpected {other:?}", metric.name),
            }
        }
    }
    rows
}

/// The lines of a page in the same form, by a reader that shares nothing with the one under test.
pub(super) fn lines(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let row = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("the end of the labels");
        // No label of a recorded page has a comma before a quote in its value.
        let mut labels: Vec<_> =
            labels.split("\",").map(|l| l.trim_end_matches('"').to_owned() + "\"").collect();
        labels.retain(|l| l.len() > 1);
        labels.sort();
        (format!("{name}{{{}}}", labels.join(",")), value.parse().expect("a number"))
    };
    samples.map(row).collect()
}

fn number(value: Option<Number>) -> f64 {
    match value.expect("a value") {
        Number::AsDouble(value) => value,
        Number::AsInt(value) => value as f64,
    }
}

pub(super) fn text(kv: &KeyValue) -> String {
    match kv.value.clone().and_then(|v| v.value) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{}: not a text: {other:?}", kv.key),
    }
}

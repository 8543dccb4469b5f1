//! E3: deltas of cumulative sums add up to what was counted, while the bridge is killed and what it counts for starts anew.

use super::{Context, Outcome, Ran};
use crate::bridge::{PATIENCE, QUICK_RETRY};
use crate::load::{Answer, Client, Protocol};
use muxbridge_testkit::oracle::common::v1::{AnyValue, KeyValue, any_value};
use muxbridge_testkit::oracle::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use muxbridge_testkit::oracle::{self, ExportMetricsServiceRequest};
use muxbridge_testkit::{Reply, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;

const SERIES: u64 = 5;
const SOURCES: u64 = 4;

/// Series, begin, end and value of a point: what is sent again is the same.
type Point = (String, u64, u64, i64);

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64)
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Something that counts, and starts from zero again now and then.
struct Source {
    name: String,
    start: u64,
    values: [i64; SERIES as usize],
    /// Over all its lives.
    totals: [i64; SERIES as usize],
}

impl Source {
    fn request(&self, time: u64) -> bytes::Bytes {
        let point = |at: usize| NumberDataPoint {
            attributes: vec![attribute("source", &self.name), attribute("series", &at.to_string())],
            start_time_unix_nano: self.start,
            time_unix_nano: time,
            value: Some(number_data_point::Value::AsInt(self.values[at])),
            ..NumberDataPoint::default()
        };
        let sum = Sum {
            data_points: (0..SERIES as usize).map(point).collect(),
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
            is_monotonic: true,
        };
        let metric =
            Metric { name: "work.done".to_owned(), data: Some(metric::Data::Sum(sum)), ..Metric::default() };
        let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
        let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
        oracle::encode(&ExportMetricsServiceRequest { resource_metrics: vec![resource] })
    }

    /// Counts and reports until it is told to end; each report is repeated until it is accepted.
    async fn run(
        mut self,
        mut client: Client,
        mut random: fastrand::Rng,
        ends: Arc<AtomicBool>,
        restarts: Arc<AtomicU64>,
    ) -> Self {
        loop {
            let request = self.request(now());
            loop {
                match client.post("metrics", &request).await {
                    Answer::Accepted => break,
                    Answer::Later(delay) => tokio::time::sleep(delay.unwrap_or(Duration::from_secs(1))).await,
                    Answer::Broken => tokio::time::sleep(Duration::from_millis(5)).await,
                    Answer::Wrong(answer) => panic!("a correct request was answered with {answer}"),
                }
            }
            if ends.load(Relaxed) {
                return self;
            }
            if random.u8(0..40) == 0 {
                restarts.fetch_add(1, Relaxed);
                self.values = [0; SERIES as usize];
                self.start = now();
            }
            for at in 0..SERIES as usize {
                let more = random.i64(0..100);
                self.values[at] += more;
                self.totals[at] += more;
            }
            tokio::time::sleep(Duration::from_millis(random.u64(1..8))).await;
        }
    }
}

fn points(request: &[u8]) -> Vec<Point> {
    let request = oracle::decode_metrics(request);
    let metrics = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
    let mut points = Vec::new();
    for metric in metrics {
        let Some(metric::Data::Sum(sum)) = metric.data else { continue };
        assert_eq!(sum.aggregation_temporality, AggregationTemporality::Delta as i32, "not a delta");
        for point in sum.data_points {
            let text = |key: &str| {
                let found = point.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone());
                match found.and_then(|v| v.value) {
                    Some(any_value::Value::StringValue(text)) => text,
                    _ => String::new(),
                }
            };
            let value = match point.value {
                Some(number_data_point::Value::AsInt(value)) => value,
                Some(number_data_point::Value::AsDouble(value)) => value as i64,
                None => 0,
            };
            let series = format!("{} {}", text("source"), text("series"));
            points.push((series, point.start_time_unix_nano, point.time_unix_nano, value));
        }
    }
    points
}

pub(super) async fn deltas(context: Context) -> Ran {
    let runs = context.runs(10, 100);
    let mut random = context.random();
    let mut setup = context.setup();
    setup.signal = "metrics";
    setup.service.push("storage: {max_size_mib: 64}".to_owned());
    let (seen, repeated) = (Arc::new(Mutex::new(BTreeSet::<Point>::new())), Arc::new(AtomicU64::new(0)));
    let (points_seen, again, failing) = (seen.clone(), repeated.clone(), Arc::new(AtomicBool::new(false)));
    let fails = failing.clone();
    let server = Server::start_without_log(move |r| {
        if fails.load(Relaxed) {
            return Reply::status(503);
        }
        let mut seen = points_seen.lock().unwrap();
        let old = points(&r.body).into_iter().filter(|point| !seen.insert(point.clone())).count();
        again.fetch_add(old as u64, Relaxed);
        Reply::status(200)
    })
    .await;
    setup.to("otlphttp", format!("endpoint: '{}', temporality: delta, {QUICK_RETRY}", server.url()));

    let (ends, restarts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut sources = JoinSet::new();
    for number in 0..SOURCES {
        let (protocol, port) =
            if number % 2 == 0 { (Protocol::Http, setup.http) } else { (Protocol::Grpc, setup.grpc) };
        let zero = [0; SERIES as usize];
        let source = Source { name: number.to_string(), start: now(), values: zero, totals: zero };
        let random = fastrand::Rng::with_seed(context.seed + number);
        sources.spawn(source.run(Client::new(protocol, port), random, ends.clone(), restarts.clone()));
    }
    for _ in 0..runs {
        failing.store(random.u8(0..3) == 0, Relaxed);
        let mut bridge = setup.start_ready().await?;
        tokio::time::sleep(Duration::from_millis(random.u64(1..500))).await;
        bridge.alive()?;
        bridge.kill()?;
    }
    failing.store(false, Relaxed);
    let mut bridge = setup.start_ready().await?;
    ends.store(true, Relaxed);
    let all = async { std::mem::take(&mut sources).join_all().await };
    let sources = tokio::time::timeout(PATIENCE, all).await.map_err(|_| "reports are not accepted")?;
    bridge.drained(&["otlphttp"], PATIENCE).await?;
    bridge.adds_up().await?;

    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for (series, _, _, value) in seen.lock().unwrap().iter() {
        *sums.entry(series.clone()).or_default() += value;
    }
    let (mut total, mut wrong) = (0, Vec::new());
    for source in &sources {
        for at in 0..SERIES as usize {
            let series = format!("{} {at}", source.name);
            let (counted, arrived) = (source.totals[at], sums.get(&series).copied().unwrap_or_default());
            total += counted;
            if counted != arrived {
                wrong.push(format!("{series}: counted {counted}, arrived {arrived}"));
            }
        }
    }
    let (restarts, repeated) = (restarts.load(Relaxed), repeated.load(Relaxed));
    let numbers = format!(
        "bridge_kills={runs} source_restarts={restarts} series={} total={total} repeated_points={repeated}",
        SERIES * SOURCES
    );
    if wrong.is_empty() {
        Ok(Outcome::Passed(numbers))
    } else {
        Err(format!("{numbers}: {}", wrong.join("; ")))
    }
}

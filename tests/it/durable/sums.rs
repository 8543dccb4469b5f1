//! Deltas of cumulative counters add up to the true total, whatever happens to the bridge and to the sources.

use super::{Setup, post, until};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_testkit::{Recorded, Reply, Server, oracle};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

const DELTAS: &str = "metrics: {receivers: [otlp], exporters: [otlphttp]}";

fn deltas_to(url: &str) -> String {
    format!(
        "{{otlphttp: {{endpoint: '{url}', temporality: delta, sending_queue: {{batch: {{flush_timeout: 10ms, min_size: 4}}}}, \
         retry_on_failure: {{initial_interval: 20ms, max_interval: 50ms}}}}}}"
    )
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

/// A process that counts: one series without attributes but the name of its source.
struct Source {
    name: u64,
    start: u64,
    time: u64,
    value: u64,
    /// All that it has ever counted.
    total: u64,
}

impl Source {
    fn new(name: u64) -> Self {
        let start = now();
        Source { name, start, time: start, value: 0, total: 0 }
    }

    /// It crashed and is there again.
    fn reset(&mut self) {
        (self.start, self.value) = (now().max(self.time + 1), 0);
        self.time = self.start;
    }

    fn count(&mut self, more: u64) {
        self.time = now().max(self.time + 1);
        self.value += more;
        self.total += more;
    }

    /// What it says now, with some bytes beside it.
    fn request(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.message(field::REQUEST_RESOURCE, |w| {
            w.message(field::resource_items::RESOURCE, |w| {
                w.attribute_str(field::resource::ATTRIBUTES, "padding", &"x".repeat(2000));
            });
            w.message(field::resource_items::SCOPES, |w| {
                w.message(field::scope_items::ITEMS, |w| {
                    w.bytes(field::metric::NAME, b"counted");
                    w.message(field::metric::SUM, |w| {
                        w.message(field::metric::DATA_POINTS, |w| {
                            w.fixed64(field::point::START_TIME, self.start);
                            w.fixed64(field::point::TIME, self.time);
                            w.fixed64(field::number_point::AS_INT, self.value);
                            w.attribute_str(
                                field::number_point::ATTRIBUTES,
                                "source",
                                &self.name.to_string(),
                            );
                        });
                        w.varint(field::metric::TEMPORALITY, 2);
                        w.varint(field::metric::IS_MONOTONIC, 1);
                    });
                });
            });
        });
        w.as_slice().to_vec()
    }
}

/// What came for each interval of each source: a repeat must say the same.
type Intervals = BTreeMap<(String, u64, u64), i64>;

fn intervals(requests: &[Recorded]) -> (Intervals, usize) {
    let mut found = Intervals::new();
    let mut repeats = 0;
    let metrics = requests
        .iter()
        .flat_map(|r| oracle::decode_metrics(&r.body).resource_metrics)
        .flat_map(|r| r.scope_metrics)
        .flat_map(|s| s.metrics);
    for metric in metrics {
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        assert_eq!(sum.aggregation_temporality, 1, "a delta");
        for point in sum.data_points {
            let source = format!("{:?}", point.attributes);
            let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
            let before = found.insert((source, point.start_time_unix_nano, point.time_unix_nano), value);
            assert!(before.is_none_or(|before| before == value), "an interval came with two values");
            repeats += usize::from(before.is_some());
        }
    }
    (found, repeats)
}

/// Counts at three sources that crash now and then, and sends what they say until it is acknowledged, to whichever bridge
/// is there. Returns the true total.
fn feed(bridge: &Mutex<u16>, enough: &AtomicBool, seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sources: Vec<Source> = (0..3).map(Source::new).collect();
    while !enough.load(Ordering::Relaxed) {
        let source = &mut sources[random.usize(..3)];
        if random.u8(..) < 8 {
            source.reset();
        }
        source.count(random.u64(1..1000));
        let request = source.request();
        loop {
            let port = *bridge.lock().expect("a lock");
            if post(port, "metrics", &request) == Some(200) {
                break;
            }
            std::thread::yield_now();
        }
    }
    sources.iter().map(|s| s.total).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn deltas_add_up_to_the_true_total_after_kills_at_any_time_and_restarts_of_the_sources() {
    let data = tempfile::tempdir().expect("a directory");
    let count = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&count);
    // Refuses some for now, and takes others without saying so: those are repeated.
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 9 {
        3 => Reply::status(503),
        6 => Reply::status(Reply::HANGUP),
        _ => Reply::status(200),
    })
    .await;
    // Small, so that the state is stored often.
    let service = "storage: {max_size_mib: 2}";
    let setup = Setup { data: data.path(), exporters: deltas_to(&server.url()), pipeline: DELTAS, service };
    let mut random = fastrand::Rng::with_seed(11);
    let mut bridge = setup.start();
    let port = Arc::new(Mutex::new(bridge.otlp));
    let enough = Arc::new(AtomicBool::new(false));
    let feeder = {
        let (port, enough) = (Arc::clone(&port), Arc::clone(&enough));
        std::thread::spawn(move || feed(&port, &enough, 3))
    };
    for round in 0..12 {
        let more = random.u64(3..60);
        until("some have come in", || bridge.metric("muxbridge_exporter_enqueued_total", "otlphttp") >= more);
        if round % 4 == 3 {
            assert_eq!(bridge.terminate(), Some(0));
        } else {
            bridge.kill();
        }
        bridge = setup.start();
        *port.lock().expect("a lock") = bridge.otlp;
    }
    enough.store(true, Ordering::Relaxed);
    let total = feeder.join().expect("no panic");
    until("nothing is queued", || bridge.metric("muxbridge_exporter_queued{", "otlphttp") == 0);
    assert_eq!(bridge.metric("muxbridge_omitted_total", "delta_baseline"), 0);
    bridge.assert_identity("otlphttp");
    let (found, repeats) = intervals(&server.requests());
    let reached: i64 = found.values().sum();
    assert_eq!(
        reached,
        i64::try_from(total).expect("a total"),
        "{} intervals, {repeats} repeats",
        found.len()
    );
    assert!(repeats > 0 && found.len() > 100, "{} intervals, {repeats} repeats", found.len());
}

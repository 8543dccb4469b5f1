//! Series are found by what is expected next, by hash, or after a collision: it must make no difference. A map without any
//! of it says what has to come out.

use super::*;
use muxbridge_pdata::view::{AnyValue, text};
use std::collections::BTreeMap;

/// Metric and attributes.
type Name = (u32, Vec<String>);

/// A point as it is sent: the attributes in the order in which they stand.
#[derive(Clone)]
struct Sent {
    name: Name,
    start: u64,
    time: u64,
    value: i64,
}

/// The rules, for counters of whole numbers that began after the process did or have no start.
#[derive(Default)]
struct Model {
    started: u64,
    series: BTreeMap<Name, (u64, u64, i64, u64)>,
    swept: Option<u64>,
}

impl Model {
    fn step(&mut self, point: &Sent, accepted: u64) -> Option<(u64, i64)> {
        let mut name = point.name.clone();
        name.1.sort();
        let is_new = point.start > self.started && point.start != point.time;
        let Some(previous) = self.series.get_mut(&name) else {
            self.series.insert(name, (point.start, point.time, point.value, accepted));
            return is_new.then_some((point.start, point.value));
        };
        let (start, time, value, _) = *previous;
        if time >= point.time {
            return None;
        }
        *previous = (point.start, point.time, point.value, accepted);
        let same = point.start == 0 || (point.start != point.time && point.start == start);
        if same && point.value >= value {
            return Some((time, point.value - value));
        }
        is_new.then_some((time, point.value))
    }

    fn sweep(&mut self, now: u64) {
        if self.swept.is_none_or(|at| now - at >= TTL / 2) {
            self.swept = Some(now);
            for (_, (start, ..)) in self.series.extract_if(.., |_, s| now - s.3 >= TTL) {
                self.started = self.started.max(start);
            }
        }
    }
}

/// A request; of each point the attributes may stand apart, with other fields between them.
fn request(points: &[Sent], random: &mut fastrand::Rng) -> Batch {
    let mut w = Writer::new();
    for group in points.chunk_by(|a, b| a.name.0 == b.name.0) {
        w.message(field::REQUEST_RESOURCE, |w| {
            w.message(field::resource_items::SCOPES, |w| {
                w.message(field::scope_items::ITEMS, |w| {
                    w.bytes(field::metric::NAME, format!("metric{}", group[0].name.0).as_bytes());
                    w.message(field::metric::SUM, |w| {
                        group.iter().for_each(|point| w.message(1, |w| write(w, point, random)));
                        w.varint(field::metric::TEMPORALITY, 2);
                        w.varint(field::metric::IS_MONOTONIC, 1);
                    });
                });
            });
        });
    }
    batch(Signal::Metrics, w.into_bytes())
}

fn write(w: &mut Writer, point: &Sent, random: &mut fastrand::Rng) {
    let attributes = &point.name.1;
    let apart = random.usize(..attributes.len() * 2);
    for (i, key) in attributes.iter().enumerate() {
        if i == apart {
            w.fixed64(field::point::TIME, point.time);
        }
        w.attribute_str(field::number_point::ATTRIBUTES, key, "on");
    }
    w.fixed64_nonzero(field::point::START_TIME, point.start);
    w.fixed64(field::number_point::AS_INT, point.value as u64);
    if apart >= attributes.len() {
        w.fixed64(field::point::TIME, point.time);
    }
}

/// What came out, with the attributes as they stand there.
fn received(batch: &Batch) -> Vec<(Name, u64, i64)> {
    let mut all = Vec::new();
    for metric in batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics()) {
        let Some(MetricData::Sum { points, .. }) = metric.data else { panic!("a sum") };
        let number = text(metric.name).trim_start_matches("metric").parse().unwrap();
        for point in points {
            assert!(point.attributes().all(|kv| matches!(kv.value, AnyValue::String(b"on"))));
            let keys = point.attributes().map(|kv| text(kv.key).to_owned()).collect();
            let Some(Number::Int(value)) = point.value else { panic!("a whole number") };
            all.push(((number, keys), point.start, value));
        }
    }
    all
}

/// The points of one batch: mostly the same series in the same order, as telemetry is.
fn sent(n: u64, totals: &mut BTreeMap<Name, (u64, i64)>, random: &mut fastrand::Rng) -> Vec<Sent> {
    let mut sent = Vec::new();
    for metric in 0..3 {
        for series in 0..8u32 {
            if random.u8(..) < 20 {
                continue;
            }
            let mut keys: Vec<String> = (0..4)
                .filter(|bit| series >> bit & 1 == 1 || *bit == 3)
                .map(|bit| format!("key{bit}"))
                .collect();
            let total = totals.entry((metric, keys.clone())).or_insert((150, 0));
            if random.u8(..) < 20 {
                *total = (200 + n * 10 - 5, 0);
            }
            total.1 += i64::from(random.u8(..));
            if random.u8(..) < 40 {
                random.shuffle(&mut keys);
            }
            let start = if random.u8(..) < 20 { 0 } else { total.0 };
            let late = if random.u8(..) < 20 { 30 } else { 0 };
            sent.push(Sent { name: (metric, keys), start, time: 200 + n * 10 - late, value: total.1 });
        }
    }
    if random.u8(..) < 30 {
        random.shuffle(&mut sent);
    }
    sent
}

#[test]
fn the_way_in_which_a_series_is_found_makes_no_difference() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state = DeltaState::new(InitialValue::Auto, 100);
        // Some or all of them have the same hash.
        state.series.mask = [u64::MAX, 3, 0][seed as usize % 3];
        let mut model = Model { started: 100, ..Model::default() };
        let (mut totals, mut accepted) = (BTreeMap::new(), 1);
        for n in 0..30 {
            let points = sent(n, &mut totals, &mut random);
            accepted += if random.u8(..) < 15 { TTL } else { 10_000 };
            model.sweep(accepted);
            let expected: Vec<_> = points
                .iter()
                .filter_map(|p| model.step(p, accepted).map(|(since, value)| (p.name.clone(), since, value)))
                .collect();
            let converted =
                state.convert(&request(&points, &mut random), accepted, &mut DeltaStats::default());
            assert_eq!(
                converted.as_ref().map(received).unwrap_or_default(),
                expected,
                "seed {seed}, batch {n}"
            );
            assert_eq!(state.series.len(), model.series.len());
            if random.u8(..) < 20 {
                let stored = state.before(std::iter::empty()).encode();
                assert!(state.restore(&stored));
            }
        }
    }
}

#[test]
fn of_series_that_are_gone_nothing_is_kept() {
    let mut state = DeltaState::new(InitialValue::Auto, 100);
    for n in 0..50 {
        let points: Vec<_> = (0..20)
            .map(|i| Sent { name: (n, vec![format!("key{n}-{i}")]), start: 150, time: 200, value: 1 })
            .collect();
        let request = request(&points, &mut fastrand::Rng::with_seed(1));
        state.convert(&request, u64::from(n) * 2 * TTL, &mut DeltaStats::default());
        assert_eq!(state.series.sizes(), [20, 20, 20, 21]);
    }
}

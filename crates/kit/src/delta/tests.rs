//! The rules of the conversion, with expected values written by hand.

mod model;

use super::*;
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::Number;
use muxbridge_testkit::batch;

/// A cumulative monotonic sum with one point.
fn sum(start: u64, time: u64, value: f64) -> Batch {
    let mut w = Writer::new();
    w.message(field::REQUEST_RESOURCE, |w| {
        w.message(field::resource_items::SCOPES, |w| {
            w.message(field::scope_items::ITEMS, |w| {
                w.bytes(field::metric::NAME, b"requests");
                w.message(field::metric::SUM, |w| {
                    w.message(field::metric::DATA_POINTS, |w| {
                        w.fixed64_nonzero(field::point::START_TIME, start);
                        w.fixed64(field::point::TIME, time);
                        w.double(field::number_point::AS_DOUBLE, value);
                    });
                    w.varint(field::metric::TEMPORALITY, 2);
                    w.varint(field::metric::IS_MONOTONIC, 1);
                });
            });
        });
    });
    batch(Signal::Metrics, w.into_bytes())
}

/// Start and value of the one point that is left.
fn point(batch: &Batch) -> Option<(u64, f64)> {
    let metric = batch.resources().next()?.scopes().next()?.metrics().next()?;
    match metric.data? {
        MetricData::Sum { mut points, temporality: Temporality::Delta, monotonic: true } => {
            let p = points.next()?;
            Some((p.start, p.value.map(Number::as_f64)?))
        }
        _ => None,
    }
}

/// Runs (start, time, value) through a state of a process that started at 100.
fn run(points: &[(u64, u64, f64)]) -> (Vec<Option<f64>>, DeltaStats) {
    let mut state = DeltaState::new(InitialValue::Auto, 100);
    let mut stats = DeltaStats::default();
    let values = points
        .iter()
        .map(|(start, time, value)| {
            let converted = state.convert(&sum(*start, *time, *value), 0, &mut stats);
            converted.and_then(|b| point(&b)).map(|(_, value)| value)
        })
        .collect();
    (values, stats)
}

#[test]
fn t18_an_old_series_gives_a_baseline_then_differences_and_a_restart_counts_from_zero() {
    let (values, stats) =
        run(&[(50, 110, 7.0), (50, 120, 9.0), (50, 120, 11.0), (130, 140, 4.0), (130, 150, 6.0)]);
    assert_eq!(values, [None, Some(2.0), None, Some(4.0), Some(2.0)]);
    assert_eq!(stats, DeltaStats { out_of_order: 1, ..DeltaStats::default() });
}

#[test]
fn t19_a_fall_without_a_start_time_is_a_baseline_and_never_negative() {
    assert_eq!(run(&[(0, 110, 5.0), (0, 120, 3.0)]).0, [None, None]);
}

#[test]
fn t20_a_start_that_equals_the_time_says_nothing_about_the_first_value() {
    // The second point has the start of the first one and a later time, so that the difference counts.
    assert_eq!(run(&[(110, 110, 5.0), (110, 120, 8.0)]).0, [None, Some(3.0)]);
}

#[test]
fn the_first_value_of_a_series_younger_than_this_process_is_kept() {
    assert_eq!(run(&[(105, 110, 5.0), (105, 120, 8.0)]).0, [Some(5.0), Some(3.0)]);
}

#[test]
fn a_delta_begins_where_the_previous_point_ended() {
    let mut state = DeltaState::new(InitialValue::Drop, 0);
    let mut stats = DeltaStats::default();
    assert!(state.convert(&sum(50, 110, 1.0), 0, &mut stats).is_none());
    let second = state.convert(&sum(50, 120, 4.0), 0, &mut stats).expect("a difference");
    assert_eq!(point(&second), Some((110, 3.0)));
}

#[test]
fn a_value_that_is_no_number_is_left_out_and_counted() {
    let (values, stats) = run(&[(105, 110, 5.0), (105, 120, f64::NAN), (105, 130, 8.0)]);
    assert_eq!(values, [Some(5.0), None, Some(3.0)]);
    assert_eq!(stats.not_a_number, 1);
}

#[test]
fn deltas_of_random_counters_with_restarts_add_up_to_the_true_total() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let mut state = DeltaState::new(InitialValue::Auto, 100);
        let mut stats = DeltaStats::default();
        let (mut start, mut time, mut value, mut total, mut reported) = (200, 201, 0.0, 0.0, 0.0);
        for _ in 0..50 {
            if random.u8(..) < 30 {
                (start, value) = (time, 0.0);
            }
            time += 1 + random.u64(..5);
            let more = f64::from(random.u8(..));
            value += more;
            total += more;
            let converted = state.convert(&sum(start, time, value), 0, &mut stats);
            reported += converted.and_then(|b| point(&b)).map_or(0.0, |(_, v)| v);
        }
        assert_eq!(reported, total);
    }
}

#[test]
fn a_batch_without_cumulative_counters_is_the_very_same() {
    let traces = batch(Signal::Traces, muxbridge_testkit::corpus("scenario/traces.otlp.pb").into());
    let converted = DeltaState::new(InitialValue::Auto, 0)
        .convert(&traces, 0, &mut DeltaStats::default())
        .expect("the batch");
    assert_eq!(converted.otlp().as_ptr(), traces.otlp().as_ptr());
}

/// Point `n` of one of three counters, and how much of it is new: each counter has its own start.
fn step(n: u64, values: &mut [f64; 3], random: &mut fastrand::Rng) -> (Batch, f64) {
    let which = random.usize(..3);
    let more = f64::from(random.u8(..));
    values[which] += more;
    let mut w = Writer::new();
    w.raw(sum(200, 201 + n, values[which]).otlp());
    // The name tells the series apart.
    let mut bytes = w.into_bytes().to_vec();
    let at = bytes.windows(8).position(|w| w == b"requests").expect("the name");
    bytes[at] = b'a' + which as u8;
    (batch(Signal::Metrics, bytes.into()), more)
}

#[test]
fn from_the_state_before_what_was_under_way_the_same_deltas_come_again() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = [0.0; 3];
        let batches: Vec<_> = (0..30).map(|n| step(n, &mut values, &mut random)).collect();
        let mut state = DeltaState::new(InitialValue::Auto, 100);
        let mut stats = DeltaStats::default();
        let mut converted: Vec<(Option<f64>, Undo)> = Vec::new();
        for (batch, _) in &batches {
            let (out, undo) = state.convert_noting(batch, 0, &mut stats);
            converted.push((out.and_then(|b| point(&b)).map(|(_, v)| v), undo));
        }
        let done = random.usize(..=30);
        let stored = state.before(converted[done..].iter().rev().map(|(_, undo)| undo)).encode();
        let mut again = DeltaState::new(InitialValue::Auto, 9_999);
        assert!(again.restore(&stored));
        let repeated: Vec<_> = batches[done..]
            .iter()
            .map(|(batch, _)| again.convert(batch, 0, &mut stats).and_then(|b| point(&b)).map(|(_, v)| v))
            .collect();
        let first: Vec<_> = converted[done..].iter().map(|(value, _)| *value).collect();
        assert_eq!(repeated, first, "seed {seed}, {done} done");
        let total: f64 = converted.iter().filter_map(|(value, _)| *value).sum();
        assert_eq!(total, batches.iter().map(|(_, more)| more).sum::<f64>());
        assert_eq!(stats, DeltaStats::default());
    }
}

#[test]
fn a_series_that_waited_in_a_queue_for_a_day_is_not_forgotten() {
    // The time that counts is that of acceptance: both are accepted within a minute, and converted a day apart.
    let mut state = DeltaState::new(InitialValue::Auto, 100);
    let mut stats = DeltaStats::default();
    state.convert(&sum(200, 210, 5.0), 0, &mut stats);
    let later = state.convert(&sum(200, 220, 8.0), 60_000, &mut stats).expect("a difference");
    assert_eq!(point(&later), Some((210, 3.0)));
}

#[test]
fn a_series_that_comes_back_after_it_was_forgotten_is_never_counted_twice() {
    let mut state = DeltaState::new(InitialValue::Auto, 100);
    let mut stats = DeltaStats::default();
    assert!(state.convert(&sum(200, 210, 5.0), 0, &mut stats).is_some(), "it is younger than the process");
    assert!(state.convert(&sum(200, 220, 8.0), 2 * TTL, &mut stats).is_none(), "a baseline");
    assert_eq!(
        state.convert(&sum(200, 230, 9.0), 2 * TTL, &mut stats).and_then(|b| point(&b)),
        Some((220, 1.0))
    );
}

/// One of each kind, as nearly all points look, or with a field between that makes them be read one by one.
fn usual(time: u64, unusual: bool) -> Batch {
    let mut w = Writer::new();
    let times = |w: &mut Writer| {
        w.fixed64(field::point::START_TIME, 50);
        if unusual {
            w.varint(20, 1);
        }
        w.fixed64(field::point::TIME, time);
    };
    let mut metric = |name: &str, number, point: &dyn Fn(&mut Writer, u64)| {
        w.message(field::REQUEST_RESOURCE, |w| {
            w.message(field::resource_items::SCOPES, |w| {
                w.message(field::scope_items::ITEMS, |w| {
                    w.bytes(field::metric::NAME, name.as_bytes());
                    w.message(number, |w| {
                        (0..3).for_each(|p| w.message(field::metric::DATA_POINTS, |w| point(w, p)));
                        w.varint(field::metric::TEMPORALITY, 2);
                        w.varint(field::metric::IS_MONOTONIC, 1);
                    });
                });
            });
        });
    };
    for (name, double) in [("whole", false), ("half", true)] {
        metric(name, field::metric::SUM, &|w, p| {
            times(w);
            if double {
                w.double(field::number_point::AS_DOUBLE, (time * (p + 1)) as f64 / 2.0);
            } else {
                w.fixed64(field::number_point::AS_INT, time * (p + 1));
            }
            // The first one has none.
            (0..p).for_each(|_| w.attribute_str(field::number_point::ATTRIBUTES, "key", "value"));
        });
    }
    metric("seconds", field::metric::HISTOGRAM, &|w, p| {
        use field::histogram_point as f;
        times(w);
        w.fixed64(field::point::COUNT, time * 3);
        w.double(field::point::SUM, time as f64);
        w.packed_fixed64(f::BUCKET_COUNTS, [time, 0, time * 2]);
        w.packed_double(f::EXPLICIT_BOUNDS, [0.5, 1.0]);
        (0..p).for_each(|_| w.attribute_str(f::ATTRIBUTES, "key", "value"));
        if p == 2 {
            w.double(f::MIN, 0.1);
            w.double(f::MAX, 3.0);
        }
    });
    batch(Signal::Metrics, w.into_bytes())
}

/// Everything of a point but fields that nobody knows.
fn contents(batch: &Batch) -> Vec<String> {
    let mut all = Vec::new();
    for metric in batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics()) {
        match metric.data.expect("data") {
            MetricData::Sum { points, .. } => all.extend(
                points.map(|p| format!("{} {} {:?} {:x?}", p.start, p.time, p.value, p.attribute_fields())),
            ),
            MetricData::Histogram { points, .. } => all.extend(points.map(|p| {
                let lists: (Vec<_>, Vec<_>) = (p.bucket_counts().collect(), p.explicit_bounds().collect());
                let numbers = (p.start, p.time, p.count, p.sum, p.min, p.max);
                format!("{numbers:?} {lists:?} {:x?}", p.attribute_fields())
            })),
            other => panic!("{other:?}"),
        }
    }
    all
}

#[test]
fn points_that_look_as_nearly_all_do_get_the_deltas_that_others_get() {
    for initial in [InitialValue::Drop, InitialValue::Keep] {
        let mut states = [DeltaState::new(initial, 0), DeltaState::new(initial, 0)];
        let mut stats = [DeltaStats::default(); 2];
        // One of them is too late.
        for time in [100, 110, 130, 120, 140] {
            let mut convert = |i: usize| {
                let batch = usual(time, i == 1);
                states[i].convert(&batch, 0, &mut stats[i]).map(|batch| (batch.items(), contents(&batch)))
            };
            let (plain, other) = (convert(0), convert(1));
            assert_eq!(plain, other, "{time}");
            assert_eq!(plain.is_some(), time != 120 && (time > 100 || initial == InitialValue::Keep));
        }
        assert_eq!(stats[0], stats[1]);
        assert_eq!(stats[0].out_of_order, 9);
    }
}

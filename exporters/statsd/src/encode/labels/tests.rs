//! What was written before must not show in what is written now.

use super::super::{Dialect, HistogramMode, Written, encode, encode_again};
use super::*;
use bytes::Bytes;
use muxbridge_core::{Batch, Limits, Origin, Signal};
use muxbridge_pdata::{AnyValue, Writer};

fn attributes(w: &mut Writer, number: u32, random: &mut fastrand::Rng) {
    for _ in 0..random.u32(..4) {
        let key = ["model", "service", "user.id", "a key", "env", ""][random.usize(..6)];
        let value = ["gpt", "a|b", "", "x:y"][random.usize(..4)];
        w.attribute(number, key.as_bytes(), AnyValue::String(value.as_bytes()));
    }
}

/// A point with one of a few sets of attributes; sometimes the time or the value stands between them.
fn point(w: &mut Writer, histogram: bool, random: &mut fastrand::Rng) {
    let mut set = fastrand::Rng::with_seed(random.u64(..12));
    let number = if histogram { 9 } else { 7 };
    let value = random.u64(..100);
    attributes(w, number, &mut set);
    let between = !histogram && random.u8(..) < 50;
    if between {
        w.fixed64(6, value);
    }
    w.fixed64(3, 5);
    if random.u8(..) < 50 {
        attributes(w, number, &mut set);
    }
    if histogram {
        w.fixed64(4, 9);
        w.packed_fixed64(6, [random.u64(..3), 7, random.u64(..300)]);
        w.packed_double(7, [0.5, [1.0, 2.0][random.usize(..2)]]);
    } else if !between {
        w.fixed64(6, value);
    }
}

fn request(random: &mut fastrand::Rng) -> Bytes {
    let mut w = Writer::new();
    for _ in 0..random.u32(1..3) {
        let mut resource = fastrand::Rng::with_seed(random.u64(..5));
        w.message(1, |w| {
            w.message(1, |w| {
                w.attribute_str(1, "service.name", ["router", "worker", "a worker"][resource.usize(..3)]);
                attributes(w, 1, &mut resource);
            });
            w.message(2, |w| {
                for _ in 0..random.u32(1..5) {
                    w.message(2, |w| {
                        w.bytes(1, ["one", "an other", "-"][random.usize(..3)].as_bytes());
                        let histogram = random.bool();
                        w.message(if histogram { 9 } else { 7 }, |w| {
                            (0..random.u32(..9)).for_each(|_| w.message(1, |w| point(w, histogram, random)));
                            w.varint(2, 1);
                        });
                    });
                }
            });
        });
    }
    w.into_bytes()
}

fn options(random: &mut fastrand::Rng) -> Options {
    let dialects = [Dialect::Dogstatsd, Dialect::Etsy, Dialect::Graphite, Dialect::Influx];
    let mut options = crate::Config::default().metrics.options(dialects[random.usize(..4)], 512, "");
    options.constant_tags = vec![("env".to_owned(), "a test".to_owned())];
    options.aggregate = random.bool();
    options.aggregates = random.bool();
    options.histograms = [HistogramMode::Distributions, HistogramMode::Counters][random.usize(..2)];
    options
}

#[test]
fn lines_are_the_same_whatever_was_written_before_and_however_its_hashes_collide() {
    for seed in 0..600 {
        let mut random = fastrand::Rng::with_seed(seed);
        let options = options(&mut random);
        let mut written = Written::default();
        written.labels.shift = [0, 62, 63][seed as usize % 3];
        for n in 0..8 {
            let batch = Batch::new(
                Signal::Metrics,
                request(&mut random),
                Origin::default().into(),
                Limits::default(),
            );
            let batch = batch.expect("a valid request");
            let mut counts = [Counts::default(), Counts::default()];
            let again = encode_again(&mut written, &batch, &options, &mut counts[0]);
            let first = encode(&batch, &options, &mut counts[1]);
            let lines = [again.iter().collect::<Vec<_>>(), first.iter().collect()];
            assert_eq!(lines[0], lines[1], "seed {seed}, batch {n}");
            assert_eq!(counts[0], counts[1], "seed {seed}, batch {n}");
        }
    }
}

#[test]
fn bounds_that_look_like_the_attributes_that_are_expected_are_bounds() {
    let mut w = Writer::new();
    w.attribute_str(7, "a", "x");
    let attribute = w.into_vec();
    let bound = f64::from_le_bytes(*attribute.last_chunk().unwrap());
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, b"number");
                w.message(7, |w| {
                    for time in [5, 6] {
                        w.message(1, |w| {
                            w.fixed64(3, time);
                            w.fixed64(6, 1);
                            w.raw(&attribute);
                        });
                    }
                    w.varint(2, 1);
                });
            });
            w.message(2, |w| {
                w.bytes(1, b"histogram");
                w.message(9, |w| {
                    w.message(1, |w| {
                        w.fixed64(3, 5);
                        w.fixed64(4, 1);
                        w.packed_fixed64(6, [0, 1]);
                        w.packed_double(7, [bound]);
                    });
                    w.varint(2, 1);
                });
            });
        });
    });
    let batch = Batch::new(Signal::Metrics, w.into_bytes(), Origin::default().into(), Limits::default());
    let options = crate::Config::default().metrics.options(Dialect::Dogstatsd, 1432, "");
    let mut counts = Counts::default();
    let messages = encode(&batch.expect("a valid request"), &options, &mut counts);
    assert_eq!(counts, Counts { encoded: 3, ..Counts::default() });
    let lines: Vec<_> = messages.iter().map(|line| line.split_once(':').unwrap().0).collect();
    assert_eq!(lines, ["histogram", "number"]);
    assert!(messages.iter().next().unwrap().ends_with("|d"), "no tags");
}

#[test]
fn what_is_kept_stays_within_its_bound() {
    let options = crate::Config::default().metrics.options(Dialect::Dogstatsd, 1432, "");
    let mut labels = Labels::default();
    let mut most = 0;
    for n in 0..10_000u32 {
        labels.begin(&options, &mut Counts::default());
        let mut w = Writer::new();
        w.attribute_str(1, "host.name", &format!("host-{}", n / 100));
        let resource = w.into_bytes();
        labels.resource(&Resource::read(&resource), &options, &mut Counts::default());
        let mut w = Writer::new();
        w.attribute_str(7, "key", &format!("value-{n}"));
        let point = muxbridge_pdata::view::NumberPoint::read(w.as_slice());
        let (fields, all) = (point.attribute_fields(), point.attributes());
        let attributes = Attributes { as_expected: false, fields, all };
        let id = labels.point(attributes, &options, &mut Counts::default());
        assert_eq!(labels.text(id), format!("key:value-{n}"));
        most = most.max(labels.bytes());
    }
    assert!((MOST_BYTES..MOST_BYTES + 2000).contains(&most), "{most}");
}

#[test]
fn tags_that_were_changed_to_fit_count_with_each_batch() {
    let mut options = crate::Config::default().metrics.options(Dialect::Dogstatsd, 1432, "");
    options.constant_tags = vec![("team".to_owned(), "a team".to_owned())];
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(1, |w| w.attribute_str(1, "service.name", "a worker"));
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, b"requests");
                w.message(5, |w| {
                    for _ in 0..2 {
                        w.message(1, |w| {
                            w.fixed64(6, 1);
                            w.attribute_str(7, "model", "a model");
                        });
                    }
                });
            });
        });
    });
    let batch = Batch::new(Signal::Metrics, w.into_bytes(), Origin::default().into(), Limits::default())
        .expect("valid");
    let mut written = Written::default();
    for _ in 0..3 {
        let mut counts = Counts::default();
        encode_again(&mut written, &batch, &options, &mut counts);
        // That of the options, that of the resource, and one for each point.
        assert_eq!(counts.adjusted_tags, 4);
    }
}

//! Nanoseconds per item of the exporters' own encoders, on one thread without sockets: spans to Datadog's v0.4, and
//! cumulative points to DogStatsD lines with the state of 100,000 series.

use crate::micro::{batch, best};
use crate::payload::{BOUNDS, START, labels, resource};
use bytes::Bytes;
use muxbridge::core::{Batch, Origin, Signal};
use muxbridge_exporter_datadog::encode as datadog;
use muxbridge_exporter_statsd::{Config, encode as lines};
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use muxbridge_pdata::Writer;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

/// Series of the metrics, and how many of them one request holds.
const SERIES: u64 = 100_000;
const POINTS: u64 = 500;

/// Spans to the msgpack of the Agent.
pub(crate) fn datadog_spans(name: &str, batches: &[Batch]) -> io::Result<()> {
    let options = datadog::Options::default();
    let items: usize = batches.iter().map(Batch::items).sum();
    let mut bytes = 0;
    let nanos = best(items, || {
        bytes = 0;
        for batch in batches {
            let mut counts = datadog::Counts::default();
            let payloads = datadog::traces(batch, &options, &mut counts);
            bytes += payloads.iter().map(|p| p.body.len()).sum::<usize>();
            black_box(payloads);
        }
        Ok(())
    })?;
    writeln!(io::stdout(), "{name:<12} to Datadog v0.4 {nanos:>7.1}  ns/span, {} B/span", bytes / items)
}

/// Cumulative points to deltas to lines.
pub(crate) fn dogstatsd(origin: &Arc<Origin>) -> io::Result<()> {
    for (name, histograms) in [("counters", false), ("histograms", true)] {
        let mut state = DeltaState::new(InitialValue::Auto, 0);
        let mut stats = DeltaStats::default();
        let round = |value: u64| -> io::Result<Vec<Batch>> {
            let bodies = (0..SERIES / POINTS).map(|request| body(request, value, histograms));
            bodies.map(|body| batch(Signal::Metrics, &body, origin)).collect()
        };
        // The second round is the first with something to subtract from.
        let (mut deltas, mut value) = (Vec::new(), 0);
        let (mut convert, mut encode) = (f64::MAX, f64::MAX);
        for _ in 0..5 {
            value += 7;
            let batches = round(value)?;
            let began = Instant::now();
            deltas = batches.iter().filter_map(|b| state.convert(b, START / 1_000_000, &mut stats)).collect();
            convert = convert.min(began.elapsed().as_secs_f64() * 1e9 / SERIES as f64);
        }
        let options = Config::default().metrics.options(lines::Dialect::Dogstatsd, 1432, "");
        let mut written = lines::Written::default();
        for _ in 0..10 {
            let began = Instant::now();
            for batch in &deltas {
                let mut counts = lines::Counts::default();
                let messages = lines::encode_again(&mut written, batch, &options, &mut counts);
                black_box(lines::pack(&messages, options.max_packet));
            }
            encode = encode.min(began.elapsed().as_secs_f64() * 1e9 / SERIES as f64);
        }
        writeln!(
            io::stdout(),
            "{name:<12} to deltas {convert:>7.1}  to DogStatsD {encode:>7.1}  ns/point, {SERIES} series"
        )?;
    }
    Ok(())
}

fn body(request: u64, value: u64, histograms: bool) -> Bytes {
    let mut w = Writer::new();
    w.message(1, |w| {
        resource(w);
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, b"gateway.requests");
                let number = if histograms { 9 } else { 7 };
                w.message(number, |w| {
                    for p in 0..POINTS {
                        w.message(1, |w| point(w, request * POINTS + p, value, histograms));
                    }
                    w.varint(2, 2);
                    w.varint(3, 1);
                });
            });
        });
    });
    w.into_bytes()
}

fn point(w: &mut Writer, series: u64, value: u64, histogram: bool) {
    w.fixed64(2, START - 60_000_000_000);
    w.fixed64(3, START + value * 1_000_000_000);
    if histogram {
        w.fixed64(4, value);
        w.double(5, value as f64 * 1.2);
        w.packed_fixed64(6, (0..16).map(|bucket| if bucket == 9 { value } else { 0 }));
        w.packed_double(7, BOUNDS);
    } else {
        w.fixed64(6, value);
    }
    let number = if histogram { 9 } else { 7 };
    labels(w, number, series);
    w.attribute_str(number, "team", &format!("team-{}", series / 64));
}

//! Nanoseconds per item of the steps inside, on one thread without sockets: the best of several rounds.

mod steps;

use crate::encoders;
use crate::payload::{ITEMS, Template};
use bytes::Bytes;
use muxbridge::core::{Batch, BuildContext, Clock, Counters, Limits, Origin, Processor, Signal};
use muxbridge::processors::modelmuxer::{Options, Translator};
use muxbridge::translate::scrub::{ScrubCounts, Scrubber};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUESTS: u64 = 64;
const ROUNDS: usize = 15;
const ALL: usize = REQUESTS as usize * ITEMS;

/// A batch of a valid request.
pub(crate) fn batch(signal: Signal, body: &Bytes, origin: &Arc<Origin>) -> io::Result<Batch> {
    Batch::new(signal, body.clone(), origin.clone(), Limits::default()).map_err(io::Error::other)
}

/// Nanoseconds for each of `items`: the best of several rounds.
pub(crate) fn best(items: usize, mut round: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        round()?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(best * 1e9 / items as f64)
}

fn translator(signal: Signal) -> Translator {
    let cx = BuildContext::new("modelmuxer", Counters::new(), Clock::system());
    Translator::new(&Options::default(), &[signal], &cx)
}

/// Prints the table.
pub(crate) fn run(ours: &Template, foreign: &Template, metrics: &Template) -> io::Result<()> {
    let mut out = io::stdout();
    let origin = Arc::new(Origin { receiver: "bench".to_owned() });
    for (name, template, signal) in [
        ("modelmuxer", ours, Signal::Traces),
        ("foreign", foreign, Signal::Traces),
        ("metrics", metrics, Signal::Metrics),
    ] {
        let bodies: Vec<Bytes> = (0..REQUESTS).map(|n| template.request(n)).collect();
        let validate = best(ALL, || {
            for body in &bodies {
                std::hint::black_box(batch(signal, body, &origin)?);
            }
            Ok(())
        })?;
        let batches: Vec<Batch> =
            bodies.iter().map(|b| batch(signal, b, &origin)).collect::<io::Result<_>>()?;
        let scrub = best(ALL, || {
            for batch in &batches {
                std::hint::black_box(Scrubber::new().scrub(batch.clone(), &mut ScrubCounts::default()));
            }
            Ok(())
        })?;
        let all = best(ALL, || {
            let mut translator = translator(signal);
            let now = Instant::now();
            for batch in &batches {
                translator.process(batch.clone(), now, &mut |b| drop(std::hint::black_box(b)));
            }
            translator.tick(now + Duration::from_secs(5), &mut |b| drop(std::hint::black_box(b)));
            Ok(())
        })?;
        writeln!(
            out,
            "{name:<12} validate {validate:>7.1}  scrub {scrub:>7.1}  processor {all:>7.1}  ns/item, {} B/item",
            template.len() / ITEMS
        )?;
        if signal == Signal::Traces {
            encoders::datadog_spans(name, &processed(signal, batches))?;
        }
    }
    steps::rows(ours, foreign)?;
    encoders::dogstatsd(&origin)
}

/// The batches as they leave the processor.
fn processed(signal: Signal, batches: Vec<Batch>) -> Vec<Batch> {
    let mut out = Vec::new();
    let mut translator = translator(signal);
    let now = Instant::now();
    batches.into_iter().for_each(|b| translator.process(b, now, &mut |b| out.push(b)));
    translator.tick(now + Duration::from_secs(5), &mut |b| out.push(b));
    out
}

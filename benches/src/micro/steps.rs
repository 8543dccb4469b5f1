//! The steps that stand alone: assembly with translation, OTLP/JSON, and a Prometheus page.

use super::{ALL, REQUESTS, ROUNDS, batch, best};
use crate::payload::{ITEMS, Template};
use bytes::Bytes;
use muxbridge::core::{Batch, BuildContext, Clock, Counters, Origin, Processor, Signal};
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge::trace::{TraceOptions, TraceTranslator};
use muxbridge_pdata::json;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Prints their rows.
pub(super) fn rows(ours: &Template, foreign: &Template) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "assembly and translation {:>7.1}  ns/span", translation(ours)?)?;
    let (body, cost) = (foreign.request(0), json(foreign)?);
    writeln!(
        out,
        "json         decode {:>7.1}  encode {:>7.1}  ns/span, {} B/span",
        cost[0],
        cost[1],
        json::encode(Signal::Traces, &body).len() / ITEMS
    )?;
    let (page, seconds) = scrape()?;
    let speed = page.len() as f64 / seconds / 1e6;
    writeln!(out, "page         {speed:>7.1} MB/s, {SERIES} series, {} B", page.len())
}

/// From a request that was just checked to translated traces: no scrubbing, but with the wait, in which other requests
/// take the caches.
fn translation(ours: &Template) -> io::Result<f64> {
    let origin = Arc::new(Origin { receiver: "bench".to_owned() });
    let bodies: Vec<Bytes> = (0..REQUESTS).map(|n| ours.request(n)).collect();
    let batches: Vec<Batch> =
        bodies.iter().map(|b| batch(Signal::Traces, b, &origin)).collect::<io::Result<_>>()?;
    let cx = BuildContext::new("modelmuxer", Counters::new(), Clock::system());
    best(ALL, || {
        let mut translator = TraceTranslator::new(&TraceOptions::default(), &cx);
        let now = Instant::now();
        for batch in &batches {
            translator.process(batch.clone(), now, &mut |b| drop(std::hint::black_box(b)));
        }
        translator.tick(now + Duration::from_secs(5), &mut |b| drop(std::hint::black_box(b)));
        Ok(())
    })
}

/// OTLP/JSON: nanoseconds to decode and to encode a span.
fn json(template: &Template) -> io::Result<[f64; 2]> {
    let body = template.request(0);
    let text = json::encode(Signal::Traces, &body);
    let decode = best(ALL, || {
        for _ in 0..REQUESTS {
            let decoded = json::decode(Signal::Traces, text.as_bytes()).map_err(io::Error::other)?;
            std::hint::black_box(decoded);
        }
        Ok(())
    })?;
    let encode = best(ALL, || {
        (0..REQUESTS).for_each(|_| drop(std::hint::black_box(json::encode(Signal::Traces, &body))));
        Ok(())
    })?;
    Ok([decode, encode])
}

/// Series of the page.
const SERIES: usize = 10_000;

/// A Prometheus page, and how many seconds it takes to make a batch of it.
fn scrape() -> io::Result<(String, f64)> {
    let page = page().map_err(io::Error::other)?;
    let origin = Arc::new(Origin { receiver: "bench".to_owned() });
    let mut scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
    let mut time = 1_795_461_612_000_000_000;
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        time += 15_000_000_000;
        let began = Instant::now();
        let otlp = scraper.page(page.as_bytes(), None, time).map_err(io::Error::other)?;
        std::hint::black_box(batch(Signal::Metrics, &otlp, &origin)?);
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok((page, best))
}

/// 20 counters of 500 series with four labels each.
fn page() -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    for family in 0..20 {
        writeln!(page, "# HELP gateway_requests_{family}_total What a gateway counts.")?;
        writeln!(page, "# TYPE gateway_requests_{family}_total counter")?;
        for series in 0..SERIES / 20 {
            writeln!(
                page,
                "gateway_requests_{family}_total{{method=\"POST\",model=\"model-{series}\",\
                 route=\"/v1/chat/completions\",status=\"200\"}} {}",
                series * 37 + family
            )?;
        }
    }
    Ok(page)
}

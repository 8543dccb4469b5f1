//! The steps inside, each on its own: timed, or run a fixed number of times under a counter of instructions.

use crate::payload::{self, ITEMS, Template};
use bytes::Bytes;
use muxbridge::core::{
    Batch, BoxError, BuildContext, Clock, Counters, Exporter, ExporterKind, Limits, Origin, Processor, Signal,
};
use muxbridge::processors::modelmuxer::{Options, Translator};
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge::translate::scrub::{ScrubCounts, Scrubber};
use muxbridge_exporter_datadog::Datadog;
use muxbridge_exporter_newrelic::NewRelic;
use muxbridge_exporter_otlp::Otlp;
use muxbridge_exporter_prometheus::Prometheus;
use muxbridge_exporter_statsd::{Config, Statsd, encode};
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use serde_json::{Value, json};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something that is done once to a request of [`ITEMS`] items, number after number.
pub(crate) type Step = Box<dyn FnMut(u64) -> Result<(), BoxError>>;

/// All steps, in the order of a request. Those that begin with `export` send to `to`.
pub(crate) const ALL: &[&str] = &[
    "validate-spans",
    "validate-points",
    "json-decode",
    "json-encode",
    "scrub-foreign",
    "process-foreign",
    "process-modelmuxer",
    "process-split",
    "process-points",
    "page",
    "delta",
    "dogstatsd",
    "prometheus",
    "export-otlp",
    "export-datadog",
    "export-newrelic",
];

/// Bodies that are not made while something is measured.
const BODIES: u64 = 16;

fn bodies(template: &Template) -> Vec<Bytes> {
    (0..BODIES).map(|number| template.request(number)).collect()
}

fn batch(signal: Signal, body: &Bytes) -> Result<Batch, BoxError> {
    Ok(Batch::new(signal, body.clone(), Arc::new(Origin::default()), Limits::default())?)
}

fn batches(signal: Signal, template: &Template) -> Result<Vec<Batch>, BoxError> {
    bodies(template).iter().map(|body| batch(signal, body)).collect()
}

fn at<T>(all: &[T], number: u64) -> &T {
    &all[number as usize % all.len()]
}

fn cx(id: &str) -> BuildContext {
    BuildContext::new(id, Counters::new(), Clock::system())
}

/// The step of this name; `None` if there is none.
pub(crate) fn step(name: &str, to: SocketAddr) -> Result<Option<Step>, BoxError> {
    let http = format!("http://{to}");
    Ok(Some(match name {
        "validate-spans" => validate(Signal::Traces, &payload::traces(true)),
        "validate-points" => validate(Signal::Metrics, &payload::metrics()),
        "json-decode" => json_decode(&payload::traces(true)),
        "json-encode" => json_encode(&payload::traces(true)),
        "scrub-foreign" => scrub(&payload::traces(false))?,
        "process-foreign" => process(Signal::Traces, payload::traces(false)),
        "process-modelmuxer" => process(Signal::Traces, payload::traces(true)),
        "process-split" => process(Signal::Traces, payload::split_traces()),
        "process-points" => process(Signal::Metrics, payload::metrics()),
        "page" => page(),
        "delta" => delta(InitialSeries(1))?,
        "dogstatsd" => preview::<Statsd>(json!({ "dialect": "dogstatsd" }), deltas()?)?,
        "prometheus" => preview::<Prometheus>(json!({}), batches(Signal::Metrics, &payload::metrics())?)?,
        "export-otlp" => export::<Otlp>(json!({ "endpoint": http, "compression": "none" }))?,
        "export-datadog" => {
            export::<Datadog>(json!({ "trace_agent_url": http, "dogstatsd_url": "udp://127.0.0.1:9" }))?
        }
        "export-newrelic" => export::<NewRelic>(
            json!({ "license_key": "0".repeat(40), "endpoint": http, "compression": "zstd" }),
        )?,
        _ => return Ok(None),
    }))
}

fn validate(signal: Signal, template: &Template) -> Step {
    let bodies = bodies(template);
    Box::new(move |number| {
        black_box(batch(signal, at(&bodies, number))?);
        Ok(())
    })
}

fn json_decode(template: &Template) -> Step {
    let decoded = bodies(template);
    let texts: Vec<String> =
        decoded.iter().map(|body| muxbridge_pdata::json::encode(Signal::Traces, body)).collect();
    Box::new(move |number| {
        black_box(muxbridge_pdata::json::decode(Signal::Traces, at(&texts, number).as_bytes())?);
        Ok(())
    })
}

fn json_encode(template: &Template) -> Step {
    let bodies = bodies(template);
    Box::new(move |number| {
        black_box(muxbridge_pdata::json::encode(Signal::Traces, at::<Bytes>(&bodies, number)));
        Ok(())
    })
}

fn scrub(template: &Template) -> Result<Step, BoxError> {
    let batches = batches(Signal::Traces, template)?;
    let scrubber = Scrubber::new();
    Ok(Box::new(move |number| {
        black_box(scrubber.scrub(at(&batches, number).clone(), &mut ScrubCounts::default()));
        Ok(())
    }))
}

/// The processor `modelmuxer`. Each request has ids of its own, as the assembly remembers those that it has seen; making
/// and validating it is not what is measured, but little beside the rest.
fn process(signal: Signal, template: Template) -> Step {
    let mut translator = Translator::new(&Options::default(), &[signal], &cx("modelmuxer"));
    let began = Instant::now();
    Box::new(move |number| {
        // Two requests come at one time, and with the next two the traces of those before are complete.
        let now = began + Duration::from_secs(number / 2 * 10);
        translator.tick(now, &mut |batch| drop(black_box(batch)));
        let batch = batch(signal, &template.request(number))?;
        translator.process(batch, now, &mut |batch| drop(black_box(batch)));
        Ok(())
    })
}

fn page() -> Step {
    let text = page_text();
    let mut scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
    Box::new(move |number| {
        let otlp = scraper.page(text.as_bytes(), Some("text/plain; version=0.0.4"), 1 + number)?;
        black_box(batch(Signal::Metrics, &otlp)?);
        Ok(())
    })
}

/// A page of 10,000 series: half of them counters, half of them in histograms.
pub(crate) fn page_text() -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for family in 0..20 {
        let _ = write!(
            text,
            "# HELP gateway_requests_{family}_total What it counts\n# TYPE gateway_requests_{family}_total counter\n"
        );
        for series in 0..250 {
            let _ = writeln!(
                text,
                "gateway_requests_{family}_total{{model=\"gpt-4o-mini\",provider=\"openai\",route=\"/v1/chat/completions\",pod=\"gateway-{series}\"}} {}.5",
                series * 17
            );
        }
    }
    for family in 0..25 {
        let _ = write!(
            text,
            "# HELP gateway_seconds_{family} What it measures\n# TYPE gateway_seconds_{family} histogram\n"
        );
        for series in 0..10 {
            let labels = format!("model=\"gpt-4o-mini\",provider=\"openai\",pod=\"gateway-{series}\"");
            for bucket in 0..17 {
                let _ = writeln!(
                    text,
                    "gateway_seconds_{family}_bucket{{{labels},le=\"{}\"}} {}",
                    f64::from(bucket) * 0.25,
                    bucket * 3
                );
            }
            let _ = write!(
                text,
                "gateway_seconds_{family}_bucket{{{labels},le=\"+Inf\"}} 60\n\
                 gateway_seconds_{family}_sum{{{labels}}} 77.25\ngateway_seconds_{family}_count{{{labels}}} 60\n"
            );
        }
    }
    text
}

/// How many requests of different series the state holds.
pub(crate) struct InitialSeries(pub(crate) u64);

/// Cumulative to delta.
pub(crate) fn delta(series: InitialSeries) -> Result<Step, BoxError> {
    let first = series.0;
    let mut sources = Sources::new(series)?;
    Ok(Box::new(move |number| {
        let number = first + number;
        black_box(sources.convert(number, &sources.body(number))?);
        Ok(())
    }))
}

/// Nanoseconds a point, the best of several rounds over all series: validation, cumulative to delta, lines of DogStatsD as they
/// are sent.
pub(crate) fn lines(series: InitialSeries, rounds: u64) -> Result<f64, BoxError> {
    let requests = series.0;
    let mut sources = Sources::new(series)?;
    let options = Config::default().metrics.options(encode::Dialect::Dogstatsd, 1432, "");
    let mut written = encode::Written::default();
    let mut best = f64::MAX;
    for round in 0..rounds {
        let numbers = (1 + round) * requests..(2 + round) * requests;
        let bodies: Vec<Bytes> = numbers.clone().map(|number| sources.body(number)).collect();
        let began = Instant::now();
        for (number, body) in numbers.zip(&bodies) {
            let batch = sources.convert(number, body)?.ok_or("no point has changed")?;
            let lines = encode::encode_again(&mut written, &batch, &options, &mut encode::Counts::default());
            black_box(encode::pack(&lines, options.max_packet));
        }
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(best * 1e9 / (requests * ITEMS as u64) as f64)
}

/// Sources that send in turn, each with series of its own, and the state that makes deltas of them.
struct Sources {
    templates: Vec<Template>,
    state: DeltaState,
}

impl Sources {
    fn new(series: InitialSeries) -> Result<Self, BoxError> {
        let templates: Vec<Template> = (0..series.0).map(payload::metrics_of).collect();
        let mut sources = Sources { templates, state: DeltaState::new(InitialValue::Auto, 0) };
        // The first values are where the series begin.
        for number in 0..series.0 {
            sources.convert(number, &sources.body(number))?;
        }
        Ok(sources)
    }

    fn body(&self, number: u64) -> Bytes {
        at(&self.templates, number).request(number / self.templates.len() as u64)
    }

    fn convert(&mut self, number: u64, body: &Bytes) -> Result<Option<Batch>, BoxError> {
        let mut stats = DeltaStats::default();
        let converted = self.state.convert(&batch(Signal::Metrics, body)?, 1 + number, &mut stats);
        // To drop is less work than to convert.
        if stats == DeltaStats::default() { Ok(converted) } else { Err(format!("{stats:?}").into()) }
    }
}

fn config<K: ExporterKind>(config: Value) -> Result<K::Config, BoxError> {
    Ok(serde_json::from_value(config)?)
}

/// What a destination of deltas is given.
fn deltas() -> Result<Vec<Batch>, BoxError> {
    let mut sources = Sources::new(InitialSeries(1))?;
    let mut delta = |number| {
        let body = sources.body(number);
        sources.convert(number, &body)?.ok_or_else(|| "no point is left".into())
    };
    (1..=BODIES).map(&mut delta).collect()
}

fn preview<K: ExporterKind>(written: Value, batches: Vec<Batch>) -> Result<Step, BoxError> {
    let config = config::<K>(written)?;
    Ok(Box::new(move |number| {
        black_box(K::preview(&config, std::slice::from_ref(at(&batches, number))).ok_or("no preview")?);
        Ok(())
    }))
}

/// The exporter, with its client, to a destination in another process.
fn export<K: ExporterKind>(written: Value) -> Result<Step, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let exporter = K::build(config::<K>(written)?, &cx(K::NAME))?;
    drop(entered);
    let mut translator = Translator::new(&Options::default(), &[Signal::Traces], &cx("modelmuxer"));
    let mut translated = Vec::new();
    for batch in batches(Signal::Traces, &payload::traces(true))? {
        translator.process(batch, Instant::now(), &mut |batch| translated.push(batch));
        translator.flush(&mut |batch| translated.push(batch));
    }
    Ok(Box::new(move |number| {
        runtime.block_on(exporter.export(at(&translated, number)))?;
        Ok(())
    }))
}

/// The best time of a step in seconds.
pub(crate) fn best(step: &mut Step, times: u64, rounds: u64) -> Result<f64, BoxError> {
    let mut best = f64::MAX;
    for round in 0..rounds {
        let began = Instant::now();
        for time in 0..times {
            step(round * times + time)?;
        }
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(best / times as f64)
}

/// Prints nanoseconds per item of every step.
pub(crate) fn print(to: SocketAddr) -> Result<(), BoxError> {
    use std::io::Write;
    for name in ALL {
        if let Some(mut step) = step(name, to)? {
            let nanos = best(&mut step, 32, 9)? * 1e9 / items(name);
            writeln!(std::io::stdout(), "{name:<22} {nanos:>8.1} ns/item")?;
        }
    }
    Ok(())
}

/// Items that a step takes at once: a page has more.
pub(crate) fn items(name: &str) -> f64 {
    if name == "page" { 10_000.0 } else { ITEMS as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_runs() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (to, _) = runtime.block_on(crate::endpoints::http()).unwrap();
        for name in ALL {
            let mut step = step(name, to).unwrap().unwrap();
            (0..2).try_for_each(&mut step).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(lines(InitialSeries(2), 2).unwrap() > 0.0);
    }
}

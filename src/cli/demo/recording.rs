//! The bundled recording: 37 seconds of a ModelMuxer under mixed traffic, cut into what is sent at one moment.
//!
//! The traffic was synthetic (a stand-in for the providers), so that its numbers show meaning and form, not performance.

use super::rewrite::{Ids, Times, list, nanos, rewrite};
use crate::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge_core::Signal;
use muxbridge_pdata::json;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MILLI: u64 = 1_000_000;

/// When the recording begins: shortly before the first request ended, in milliseconds since 1970.
const BEGIN: u64 = 1_795_461_458_500;

macro_rules! corpus {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/run1/", $name))
    };
}

const TRACES: [&[u8]; 9] = [
    corpus!("trace-0001.pb"),
    corpus!("trace-0002.pb"),
    corpus!("trace-0003.pb"),
    corpus!("trace-0004.pb"),
    corpus!("trace-0005.pb"),
    corpus!("trace-0006.pb"),
    corpus!("trace-0007.pb"),
    corpus!("trace-0008.pb"),
    corpus!("trace-0009.pb"),
];

/// The pages, and when they were scraped. The first one, of a process without requests, was scraped three seconds earlier.
const PAGES: [(u64, &[u8]); 7] = [
    (BEGIN + 100, corpus!("prom_a_00_text.txt")),
    (1_795_461_463_282, corpus!("prom_a_01_text.txt")),
    (1_795_461_471_285, corpus!("prom_a_02_text.txt")),
    (1_795_461_479_291, corpus!("prom_a_03_text.txt")),
    (1_795_461_487_286, corpus!("prom_a_04_text.txt")),
    (1_795_461_495_289, corpus!("prom_a_05_text.txt")),
    (1_795_461_503_281, corpus!("prom_a_06_text.txt")),
];

/// One request as it was recorded.
pub(super) struct Step {
    /// When it was sent, in nanoseconds since 1970.
    pub(super) at: u64,
    pub(super) signal: Signal,
    request: Value,
}

/// All of it, in the order of time.
pub(super) struct Recording {
    pub(super) steps: Vec<Step>,
}

impl Recording {
    /// Reads what is bundled: one request for each trace, at its end, and one for each page.
    pub(super) fn bundled() -> Result<Self, String> {
        let mut steps = traces()?;
        let target = TargetInfo {
            identity: "muxbridge demo".to_owned(),
            attributes: vec![("service.name".to_owned(), "modelmuxer".to_owned())],
        };
        let mut scraper = Scraper::new(target, PageLimits::default());
        for (millis, page) in PAGES {
            let otlp = scraper.page(page, None, millis * MILLI).map_err(|e| e.to_string())?;
            steps.push(Step {
                at: millis * MILLI,
                signal: Signal::Metrics,
                request: tree(Signal::Metrics, &otlp)?,
            });
        }
        steps.sort_by_key(|step| step.at);
        Ok(Recording { steps })
    }

    /// When it begins.
    pub(super) const fn begin() -> u64 {
        BEGIN * MILLI
    }
}

impl Step {
    /// The request as protobuf, with the ids and times of a playing.
    pub(super) fn request(&self, play: &Play) -> Result<bytes::Bytes, String> {
        let mut request = self.request.clone();
        let times = match self.signal {
            // Durations stay as they are, whatever the speed.
            Signal::Traces => Times::Shift { from: self.at, to: play.time(self.at) },
            _ => Times::Map(*play),
        };
        rewrite(&mut request, times, play.ids);
        json::decode(self.signal, request.to_string().as_bytes()).map_err(|e| e.to_string())
    }
}

/// One playing of the recording.
#[derive(Clone, Copy)]
pub(super) struct Play {
    /// When it began, in nanoseconds since 1970.
    pub(super) began: u64,
    /// How much faster than recorded.
    pub(super) speed: f64,
    pub(super) ids: Ids,
}

impl Play {
    /// When something happens that was recorded at `at`. All that was before the recording is at its beginning.
    pub(super) fn time(&self, at: u64) -> u64 {
        let since = at.saturating_sub(Recording::begin());
        self.began + (since as f64 / self.speed) as u64
    }
}

fn tree(signal: Signal, otlp: &[u8]) -> Result<Value, String> {
    serde_json::from_str(&json::encode(signal, otlp)).map_err(|e| e.to_string())
}

/// One request for each trace.
fn traces() -> Result<Vec<Step>, String> {
    let mut traces: BTreeMap<String, (u64, Vec<Value>)> = BTreeMap::new();
    for file in TRACES {
        let request = tree(Signal::Traces, file)?;
        for resource in list(&request, "resourceSpans") {
            for scope in list(resource, "scopeSpans") {
                for span in list(scope, "spans") {
                    let id = span["traceId"].as_str().unwrap_or_default().to_owned();
                    let (end, spans) = traces.entry(id).or_default();
                    *end = nanos(&span["endTimeUnixNano"]).max(*end);
                    spans.push(json!({
                        "resource": resource["resource"],
                        "scopeSpans": [{ "scope": scope["scope"], "spans": [span] }],
                    }));
                }
            }
        }
    }
    let step = |(at, resources): (u64, Vec<Value>)| Step {
        at,
        signal: Signal::Traces,
        request: json!({ "resourceSpans": resources }),
    };
    Ok(traces.into_values().map(step).collect())
}

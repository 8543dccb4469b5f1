//! Who knows what must have arrived: numbers every span, and compares what was acknowledged with what came.

use bytes::Bytes;
use muxbridge_testkit::oracle::{self, ExportTraceServiceRequest, trace};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use muxbridge_testkit::oracle::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use trace::v1::{ResourceSpans, ScopeSpans, Span};

/// Shared by the senders, who say what was acknowledged, and the destinations, who say what came.
#[derive(Clone)]
pub(crate) struct Oracle(Arc<Inner>);

struct Inner {
    next: AtomicU64,
    /// Bytes of the attribute that makes spans as large as real ones.
    padding: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    acked: Vec<bool>,
    /// How often each number came, by destination.
    received: BTreeMap<String, Vec<u8>>,
    /// What came and was never sent, or not like this.
    wrong: Vec<String>,
}

/// What the oracle says in the end, over all destinations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sent={} acked={} lost={} dup={}", self.sent, self.acked, self.lost, self.duplicates)
    }
}

impl Oracle {
    /// Spans carry this many bytes beside what identifies them.
    pub(crate) fn new(padding: usize) -> Self {
        Oracle(Arc::new(Inner { next: AtomicU64::new(1), padding, state: Mutex::default() }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request with the next `count` spans, and the number of the first.
    pub(crate) fn issue(&self, count: u64) -> (u64, Bytes) {
        let first = self.0.next.fetch_add(count, Ordering::Relaxed);
        let spans = (first..first + count).map(|n| span(n, self.0.padding)).collect();
        let scope = InstrumentationScope { name: "faults".to_owned(), ..InstrumentationScope::default() };
        let scope = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        (first, oracle::encode(&ExportTraceServiceRequest { resource_spans: vec![resource] }))
    }

    /// A sender was told that these are accepted.
    pub(crate) fn acknowledged(&self, first: u64, count: u64) {
        let mut state = self.state();
        let end = (first + count) as usize;
        if state.acked.len() < end {
            state.acked.resize(end, false);
        }
        state.acked[first as usize..end].fill(true);
    }

    /// A destination took this request: the numbers of its spans.
    pub(crate) fn received(&self, destination: &str, request: &[u8]) -> Vec<u64> {
        let spans: Vec<Span> = oracle::decode_traces(request)
            .resource_spans
            .into_iter()
            .flat_map(|r| r.scope_spans)
            .flat_map(|s| s.spans)
            .collect();
        let issued = self.0.next.load(Ordering::Relaxed);
        let mut numbers = Vec::with_capacity(spans.len());
        let mut wrong = Vec::new();
        for found in spans {
            let number = found.span_id.as_slice().try_into().map(u64::from_be_bytes).unwrap_or_default();
            if number == 0 || number >= issued {
                wrong.push(format!("{destination} got a span that nobody sent: {number}"));
            } else if found != span(number, self.0.padding) {
                wrong.push(format!("{destination} got another span {number} than was sent"));
            } else {
                numbers.push(number);
            }
        }
        let mut state = self.state();
        state.wrong.append(&mut wrong);
        let times = state.received.entry(destination.to_owned()).or_default();
        for number in numbers.iter().map(|n| *n as usize) {
            if times.len() <= number {
                times.resize(number + 1, 0);
            }
            times[number] = times[number].saturating_add(1);
        }
        numbers
    }

    /// How many spans were acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.state().acked.iter().filter(|a| **a).count() as u64
    }

    /// The numbers that were acknowledged and did not come.
    pub(crate) fn missing(&self, destination: &str) -> Vec<u64> {
        let state = self.state();
        let none = Vec::new();
        let times = state.received.get(destination).unwrap_or(&none);
        let came = |n: usize| times.get(n).is_some_and(|t| *t > 0);
        (0..state.acked.len()).filter(|n| state.acked[*n] && !came(*n)).map(|n| n as u64).collect()
    }

    /// Counts, and an error if something came that was not sent like this.
    pub(crate) fn verdict(&self, destinations: &[&str]) -> Result<Verdict, String> {
        let lost = destinations.iter().map(|d| self.missing(d).len() as u64).sum();
        let state = self.state();
        if let Some(first) = state.wrong.first() {
            return Err(format!("{} wrong spans, the first: {first}", state.wrong.len()));
        }
        let repeated = |times: &Vec<u8>| times.iter().map(|n| u64::from(n.saturating_sub(1))).sum::<u64>();
        Ok(Verdict {
            sent: self.0.next.load(Ordering::Relaxed) - 1,
            acked: state.acked.iter().filter(|a| **a).count() as u64,
            lost,
            duplicates: destinations.iter().filter_map(|d| state.received.get(*d)).map(repeated).sum(),
        })
    }

    /// The verdict, if nothing acknowledged is lost.
    pub(crate) fn nothing_lost(&self, destinations: &[&str]) -> Result<Verdict, String> {
        let verdict = self.verdict(destinations)?;
        for destination in destinations {
            let missing = self.missing(destination);
            if let Some(first) = missing.first() {
                let count = missing.len();
                return Err(format!(
                    "{destination} lacks {count} acknowledged spans, the first {first}: {verdict}"
                ));
            }
        }
        if verdict.acked == 0 {
            return Err(format!("nothing was acknowledged, so nothing is shown: {verdict}"));
        }
        Ok(verdict)
    }
}

/// The span of a number: the same each time, so that what came can be compared.
fn span(number: u64, padding: usize) -> Span {
    let mut random = fastrand::Rng::with_seed(number);
    let text =
        |random: &mut fastrand::Rng, n: usize| (0..n).map(|_| random.alphanumeric()).collect::<String>();
    let attribute = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    Span {
        trace_id: u128::from(random.u64(1..)).to_be_bytes().to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        name: format!("work {number}"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000 + number,
        end_time_unix_nano: 1_700_000_000_000_000_000 + number + random.u64(1..1_000_000),
        attributes: vec![
            attribute("x.id", Value::IntValue(number as i64)),
            attribute("x.body", Value::StringValue(text(&mut random, padding))),
        ],
        ..Span::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_changed_is_seen() {
        let oracle = Oracle::new(10);
        let (first, request) = oracle.issue(3);
        oracle.acknowledged(first, 3);
        assert_eq!(oracle.nothing_lost(&["a"]).unwrap_err().matches("lacks 3").count(), 1);
        oracle.received("a", &request);
        oracle.received("a", &request);
        let verdict = oracle.nothing_lost(&["a"]).unwrap();
        assert_eq!((verdict.acked, verdict.lost, verdict.duplicates), (3, 0, 3));
        let mut other = oracle::decode_traces(&request);
        other.resource_spans[0].scope_spans[0].spans[1].name = "changed".to_owned();
        oracle.received("a", &oracle::encode(&other));
        assert!(oracle.verdict(&["a"]).unwrap_err().contains("another span 2"));
    }

    #[test]
    fn a_span_that_nobody_sent_is_seen() {
        let oracle = Oracle::new(10);
        let (_, foreign) = Oracle::new(10).issue(1);
        oracle.received("a", &foreign);
        assert!(oracle.verdict(&["a"]).unwrap_err().contains("nobody sent"));
    }
}

//! The requests of the load: traces as ModelMuxer makes them, the same shape from another program, and metric points.

use bytes::{Bytes, BytesMut};
use muxbridge_pdata::Writer;
use std::ops::Range;
use std::sync::Arc;

/// Spans or points in a request.
pub(crate) const ITEMS: usize = 512;
const SPANS_A_TRACE: usize = 4;
/// A time that all payloads share; nothing measured depends on it.
pub(crate) const START: u64 = 1_795_461_612_000_000_000;

/// Requests with the places where ids and times stand, so that each can be made another one by writing numbers.
pub(crate) struct Template {
    /// One, or several that a trace is spread over.
    parts: Vec<Part>,
}

/// The requests of one source each.
pub(crate) type Sources = Arc<[Template]>;

struct Part {
    body: Vec<u8>,
    /// Where the first eight bytes of each trace id stand.
    ids: Vec<usize>,
    /// Where values that grow from request to request stand: eight bytes, little-endian.
    values: Vec<usize>,
    /// And where the times of points stand. They grow too: a cumulative point that is not later than the one before is no
    /// point to a destination of deltas.
    times: Vec<usize>,
    spans_a_trace: usize,
}

/// Marks a place in the body while it is written.
const MARK: u64 = 0x6d75_7862_7269_6467;
/// Marks a time.
const TIME_MARK: u64 = 0x6d75_785f_7469_6d65;
/// Between two requests of one series: ten seconds.
const INTERVAL: u64 = 10_000_000_000;

impl Part {
    fn new(body: Vec<u8>, spans_a_trace: usize) -> Self {
        let marked = |mark: u64| -> Vec<usize> {
            let mark = mark.to_le_bytes();
            (0..body.len().saturating_sub(7)).filter(|at| body[*at..*at + 8] == mark).collect()
        };
        let (places, times) = (marked(MARK), marked(TIME_MARK));
        // Trace ids are two marks one after the other, values one.
        let mut ids = Vec::new();
        let mut values = Vec::new();
        let mut at = 0;
        while at < places.len() {
            if places.get(at + 1) == Some(&(places[at] + 8)) {
                ids.push(places[at]);
                at += 2;
            } else {
                values.push(places[at]);
                at += 1;
            }
        }
        Part { body, ids, values, times, spans_a_trace }
    }
}

impl Template {
    /// Request number `number`: its ids are its own, its values and times are larger than those of the one before.
    pub(crate) fn request(&self, number: u64) -> Bytes {
        let parts = self.parts.len() as u64;
        let part = &self.parts[(number % parts) as usize];
        let mut body = BytesMut::from(&part.body[..]);
        for (position, at) in part.ids.iter().enumerate() {
            let traces = ITEMS / part.spans_a_trace;
            let trace = number / parts * traces as u64 + (position / part.spans_a_trace) as u64 + 1;
            body[*at..*at + 8].copy_from_slice(&trace.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            body[*at + 8..*at + 16].copy_from_slice(&trace.to_be_bytes());
        }
        for at in &part.values {
            body[*at..*at + 8].copy_from_slice(&(1000 + number * 7).to_le_bytes());
        }
        for at in &part.times {
            body[*at..*at + 8].copy_from_slice(&(START + number * INTERVAL).to_le_bytes());
        }
        body.freeze()
    }

    /// How long a request is.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.body.len()).sum::<usize>() / self.parts.len()
    }
}

/// 128 traces of 4 spans, about 8 attributes a span, one event a trace. `modelmuxer` says whose they are.
pub(crate) fn traces(modelmuxer: bool) -> Template {
    Template { parts: vec![part(modelmuxer, 0..SPANS_A_TRACE as u64)] }
}

/// The same traces, 256 in two requests: first the inner spans, then the outer ones.
pub(crate) fn split_traces() -> Template {
    Template { parts: vec![part(true, 0..2), part(true, 2..4)] }
}

/// 512 spans: those at these positions of each trace.
fn part(modelmuxer: bool, positions: Range<u64>) -> Part {
    let spans_a_trace = (positions.end - positions.start) as usize;
    let mut w = Writer::new();
    w.message(1, |w| {
        resource(w);
        w.message(2, |w| {
            let scope: &[u8] = if modelmuxer { b"modelmuxer" } else { b"another.gateway" };
            w.message(1, |w| w.bytes(1, scope));
            for trace in 0..(ITEMS / spans_a_trace) as u64 {
                // Children end before their parents, as the SDK exports them.
                let names = ["router.decide", "openai.request", "provider.invoke", "http.request"];
                for position in positions.clone() {
                    w.message(2, |w| span(w, trace, position, names[position as usize]));
                }
            }
        });
    });
    Part::new(w.into_vec(), spans_a_trace)
}

/// Who sends all of it.
pub(crate) fn resource(w: &mut Writer) {
    w.message(1, |w| {
        for (key, value) in [
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.sdk.version", "1.20.0"),
            ("service.name", "modelmuxer"),
            ("service.version", "1.0.0"),
            ("service.instance.id", "3f1f9a2e-gateway-1"),
            ("deployment.environment.name", "production"),
            ("host.name", "gateway-1"),
        ] {
            w.attribute_str(1, key, value);
        }
    });
}

fn span(w: &mut Writer, trace: u64, position: u64, name: &str) {
    use muxbridge_pdata::view::AnyValue;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&MARK.to_le_bytes());
    id[8..].copy_from_slice(&MARK.to_le_bytes());
    w.bytes(1, &id);
    let span_id =
        |position: u64| (trace * 4 + position + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    w.bytes(2, &span_id(position));
    let parent = [3, 2, 3, 3][position as usize];
    if position != 3 {
        w.bytes(4, &span_id(parent));
    }
    w.bytes(5, name.as_bytes());
    w.varint(6, 1);
    // The decision comes before the call, as the assembly expects.
    let began = [1_000, 11_000, 10_000, 0][position as usize];
    w.fixed64(7, START + trace * 1_000_000 + began);
    w.fixed64(8, START + trace * 1_000_000 + 400_000_000 + position * 1_000);
    let text = |w: &mut Writer, key: &str, value: &str| w.attribute_str(9, key, value);
    let number = |w: &mut Writer, key: &str, value: i64| w.attribute(9, key.as_bytes(), AnyValue::Int(value));
    let double =
        |w: &mut Writer, key: &str, value: f64| w.attribute(9, key.as_bytes(), AnyValue::Double(value));
    match position {
        0 => {
            text(w, "route", "chat");
            text(w, "task_type", "simple");
            double(w, "code_confidence", 0.1);
            double(w, "simple_confidence", 0.7);
            text(w, "route_intent_label", "chat_lite");
            double(w, "route_intent_confidence", 0.7);
            number(w, "route.tokens_in", 50);
            number(w, "route.tokens_out", 300);
            text(w, "route.selected_provider", "openai");
            text(w, "route.selected_model", "gpt-4o-mini");
            w.message(11, |w| {
                w.fixed64(1, START + trace * 1_000_000 + 2_000);
                w.bytes(2, b"budget_checked");
            });
        }
        1 => {
            number(w, "attempt", 1);
            text(w, "http.url", "https://api.openai.com/v1/chat/completions");
            text(w, "http.method", "POST");
            number(w, "http.status_code", 200);
            double(w, "latency_ms", 391.25);
            number(w, "tokens_in", 48);
            number(w, "tokens_out", 211);
        }
        2 => {
            text(w, "provider", "openai");
            text(w, "model", "gpt-4o-mini");
            double(w, "latency_ms", 392.5);
            number(w, "tokens_in", 48);
            number(w, "tokens_out", 211);
            text(w, "outcome", "success");
        }
        _ => {
            text(w, "route", "/v1/chat/completions");
            text(w, "method", "POST");
            text(w, "client.address", "10.1.2.3");
            number(w, "http.response.status_code", 200);
            text(w, "user_agent.original", "openai-python/1.40.0");
            text(w, "request.id", "7f1c9a52-9b0c-4a54-8f3e-2f1a0c9d7e11");
        }
    }
    w.message(15, |_| {});
}

/// 512 points of the families that a gateway has: 3/8 sums, 2/8 gauges, 3/8 histograms of 15 buckets, all cumulative.
pub(crate) fn metrics() -> Template {
    metrics_of(0)
}

/// The same of one of several gateways.
pub(crate) fn metrics_of(gateway: u64) -> Template {
    let scope = format!("another.gateway.{gateway}");
    let mut w = Writer::new();
    w.message(1, |w| {
        resource(w);
        w.message(2, |w| {
            w.message(1, |w| w.bytes(1, scope.as_bytes()));
            for family in 0..8u64 {
                w.message(2, |w| metric(w, family));
            }
        });
    });
    Template { parts: vec![Part::new(w.into_vec(), 1)] }
}

fn metric(w: &mut Writer, family: u64) {
    w.bytes(1, format!("gateway.requests.family_{family}").as_bytes());
    w.bytes(2, b"What a gateway counts");
    w.bytes(3, b"s");
    let points = ITEMS as u64 / 8;
    match family {
        0..3 => w.message(7, |w| {
            (0..points).for_each(|p| w.message(1, |w| number_point(w, p)));
            w.varint(2, 2);
            w.varint(3, 1);
        }),
        3..5 => w.message(5, |w| (0..points).for_each(|p| w.message(1, |w| number_point(w, p)))),
        _ => w.message(9, |w| {
            (0..points).for_each(|p| w.message(1, |w| histogram_point(w, p)));
            w.varint(2, 2);
        }),
    }
}

/// The buckets of all histograms, in seconds.
pub(crate) const BOUNDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0];

const MODELS: [&str; 8] = [
    "gpt-4o",
    "gpt-4o-mini",
    "claude-3-5-sonnet",
    "mistral-large",
    "llama-3.1-70b",
    "o1",
    "gemini-1.5-pro",
    "command-r",
];

/// The attributes of a point: 64 series.
pub(crate) fn labels(w: &mut Writer, number: u32, point: u64) {
    w.attribute_str(number, "model", MODELS[(point % 8) as usize]);
    w.attribute_str(number, "provider", ["openai", "anthropic", "mistral", "groq"][(point / 8 % 4) as usize]);
    w.attribute_str(number, "route", ["/v1/chat/completions", "/v1/messages"][(point / 32 % 2) as usize]);
    w.attribute_str(number, "status", "success");
}

fn number_point(w: &mut Writer, point: u64) {
    w.fixed64(2, START - 60_000_000_000);
    w.fixed64(3, TIME_MARK);
    w.fixed64(6, MARK);
    labels(w, 7, point);
}

fn histogram_point(w: &mut Writer, point: u64) {
    w.fixed64(2, START - 60_000_000_000);
    w.fixed64(3, TIME_MARK);
    w.fixed64(4, MARK);
    w.double(5, 123.5);
    // Everything in the last bucket: the count must be the sum of the buckets.
    w.packed_fixed64(6, (0..=BOUNDS.len()).map(|bucket| if bucket == 15 { MARK } else { 0 }));
    w.packed_double(7, BOUNDS);
    labels(w, 9, point);
}

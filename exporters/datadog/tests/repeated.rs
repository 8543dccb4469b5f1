//! Spans that repeat each other are written in shorter ways than the first of their kind. Nothing of that may show.

use crate::build::*;
use muxbridge_core::Batch;
use muxbridge_exporter_datadog::encode::{Counts, Options, trace_chunks};
use muxbridge_testkit::oracle::common::v1::{AnyValue, KeyValue};
use muxbridge_testkit::oracle::trace::v1::span::{Event, Link};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Keys that are written as they are, and what others are written as. Some are longer than the room for a key.
const PLAIN: [&str; 12] = [
    "a",
    "route",
    "tokens_in",
    "request.id",
    "http.request.headers.accept",
    "http.client_ip",
    "http.url",
    "modelmuxer.route.estimate.output_tokens",
    "a.key.that.is.so.long.that.there.is.no.room.for.it.where.others.stand",
    "gen_ai.request.model",
    "server.port",
    "db.name",
];
const RENAMED: [(&str, &str); 4] = [
    ("client.address", "http.client_ip"),
    ("url.full", "http.url"),
    ("db.namespace", "db.name"),
    ("http.request.header.accept", "http.request.headers.accept"),
];
/// What decides how a span is named, and what is written of every span.
const READ: [&str; 10] = [
    "http.request.method",
    "http.route",
    "http.status_code",
    "service.name",
    "service.version",
    "env",
    "span.kind",
    "sampling.priority",
    "events",
    "_dd.hostname",
];
const CONTENT: &str = "gen_ai.input.messages";

fn attribute() -> impl Strategy<Value = KeyValue> {
    let key = prop_oneof![
        6 => prop::sample::select(PLAIN.to_vec()).prop_map(str::to_owned),
        2 => prop::sample::select(RENAMED.to_vec()).prop_map(|(key, _)| key.to_owned()),
        2 => prop::sample::select(READ.to_vec()).prop_map(str::to_owned),
        1 => Just(CONTENT.to_owned()),
        // More than a dictionary has room for.
        2 => (0..900u32).prop_map(|i| format!("key.{i}")),
        1 => Just(String::new()),
    ];
    (key, value()).prop_map(|(key, value)| KeyValue { key, value, ..Default::default() })
}

fn value() -> impl Strategy<Value = Option<AnyValue>> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "x", "POST", "404", "é繋🐶", "a text of more than thirty bytes, so that it has another form"])
            .prop_map(|s| kv("x", s).value),
        1 => (0usize..400).prop_map(|n| kv("x", "y".repeat(n).as_str()).value),
        2 => (-2i64..700).prop_map(|i| kv("x", i).value),
        1 => any::<i64>().prop_map(|i| kv("x", i).value),
        2 => any::<f64>().prop_map(|d| kv("x", d).value),
        1 => any::<bool>().prop_map(|b| kv("x", b).value),
        1 => Just(None::<AnyValue>),
    ]
}

fn attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec(attribute(), 0..most)
}

/// A span without ids.
fn template() -> impl Strategy<Value = Span> {
    let event = (prop::sample::select(vec!["exception", "e"]), attributes(3))
        .prop_map(|(name, attributes)| Event { name: name.to_owned(), attributes, ..Default::default() });
    let status = prop::option::of((0..3i32, prop::sample::select(vec!["", "why"])))
        .prop_map(|status| status.map(|(code, text)| Status { message: text.to_owned(), code }));
    let name = prop::sample::select(vec!["", "a", "http.request"]);
    let rest = (prop::collection::vec(event, 0..2), any::<bool>(), prop::sample::select(vec!["", "ot=th:8"]));
    (0..6i32, name, attributes(12), status, rest).prop_map(|(kind, name, attributes, status, rest)| {
        let (events, link, state) = rest;
        let links = if link { vec![Link { span_id: vec![7; 8], ..Default::default() }] } else { vec![] };
        Span { status, events, links, trace_state: state.to_owned(), ..span(kind, name, attributes) }
    })
}

/// What a span has otherwise than its template: values of attributes, the times of its events, the name of the first one.
type Differences = (Vec<(usize, Option<AnyValue>)>, u64, Option<&'static str>);

fn differences() -> impl Strategy<Value = Differences> {
    let event = prop_oneof![4 => Just(None), 1 => Just(Some("exception")), 1 => Just(Some("other"))];
    (prop::collection::vec((0usize..12, value()), 0..3), 0..3u64, event)
}

fn differ(span: &mut Span, trace: usize, (values, time, name): Differences) {
    for (at, value) in values {
        if let Some(attribute) = span.attributes.get_mut(at) {
            attribute.value = value;
        }
    }
    span.events.iter_mut().for_each(|event| event.time_unix_nano += time);
    if let (Some(event), Some(name)) = (span.events.first_mut(), name) {
        event.name = name.to_owned();
    }
    span.links.iter_mut().for_each(|link| link.trace_id = vec![trace as u8; 16]);
}

/// Traces of spans that are mostly alike.
fn traces() -> impl Strategy<Value = Vec<Vec<Span>>> {
    let templates = prop::collection::vec(template(), 1..5);
    let one = (0usize..5, 0u8..5, any::<bool>(), differences());
    let shape = prop::collection::vec(prop::collection::vec(one, 1..4), 1..30);
    (templates, shape).prop_map(|(templates, shape)| {
        let ids = |trace: usize, high: bool| {
            let high = if high { [9, 8, 7, 6, 5, 4, 3, trace as u8] } else { [0; 8] };
            [high, (trace as u64 + 1).to_be_bytes()].concat()
        };
        let trace = |(trace, spans): (usize, Vec<(usize, u8, bool, Differences)>)| {
            let high = spans[0].2;
            let span = |(i, (template, parent, _, differences)): (usize, (usize, u8, bool, Differences))| {
                let mut span = Span {
                    trace_id: ids(trace, high),
                    span_id: vec![i as u8 + 1; 8],
                    // One that is there and zero is none.
                    parent_span_id: if parent == 0 { vec![] } else { vec![parent - 1; 8] },
                    end_time_unix_nano: 1_700_000_000_000_000_000 + (trace as u64) * 1_000_000_007,
                    ..templates[template % templates.len()].clone()
                };
                differ(&mut span, trace, differences);
                span
            };
            spans.into_iter().enumerate().map(span).collect()
        };
        shape.into_iter().enumerate().map(trace).collect()
    })
}

fn pieces(batch: &Batch, options: &Options) -> (Vec<Vec<u8>>, Counts) {
    let mut counts = Counts::default();
    let parts = trace_chunks(batch, options, &mut counts);
    ((0..parts.len()).map(|i| parts.piece(i).to_vec()).collect(), counts)
}

fn options() -> impl Strategy<Value = Options> {
    (any::<(bool, bool, bool)>(), prop::sample::select(vec![5, 5000])).prop_map(|(flags, max_resource)| {
        let (content, native_events, rates) = flags;
        let rates = if rates { BTreeMap::from([("service:,env:".to_owned(), 0.5)]) } else { BTreeMap::new() };
        Options { content, native_events, rates, max_resource, ..Options::default() }
    })
}

/// What becomes of a key: nothing, or the name that it is written under.
fn written(key: &str, content: bool) -> Option<&str> {
    if key.is_empty() || matches!(key, "service.name" | "sampling.priority") || key == CONTENT && !content {
        return None;
    }
    Some(RENAMED.iter().find(|(from, _)| *from == key).map_or(key, |(_, to)| to))
}

/// The keys of both maps that come from attributes alone, by the plainest rule: the first value of a key is written.
fn expected(all: &[&KeyValue], content: bool) -> (BTreeSet<String>, BTreeSet<String>) {
    use muxbridge_testkit::oracle::common::v1::any_value::Value;
    let (mut meta, mut metrics) = (BTreeSet::new(), BTreeSet::new());
    for kv in all.iter().filter(|kv| !READ.contains(&kv.key.as_str())) {
        let Some(key) = written(&kv.key, content) else { continue };
        match kv.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(Value::IntValue(i)) => {
                metrics.insert(key.to_owned());
                if i.unsigned_abs() > 1 << 53 {
                    meta.insert(key.to_owned());
                }
            }
            Some(Value::DoubleValue(d)) if d.is_finite() => {
                metrics.insert(key.to_owned());
            }
            _ => {
                meta.insert(key.to_owned());
            }
        }
    }
    (meta, metrics)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_span_is_written_the_same_whatever_came_before_it(
        traces in traces(), resource in attributes(10), options in options(),
    ) {
        let (together, counts) = pieces(&batch(resource.clone(), traces.concat()), &options);
        let mut sum = Counts::default();
        for (trace, piece) in traces.iter().zip(&together) {
            let (alone, counts) = pieces(&batch(resource.clone(), trace.clone()), &options);
            prop_assert_eq!(alone.len(), 1);
            prop_assert!(alone[0] == *piece);
            sum.encoded += counts.encoded;
            sum.adjusted += counts.adjusted;
            sum.content += counts.content;
        }
        prop_assert_eq!((together.len(), counts), (traces.len(), sum));
    }

    #[test]
    fn spans_of_traces_in_between_each_other_make_the_same_chunks(
        traces in traces(), resource in attributes(6), options in options(),
    ) {
        let longest = traces.iter().map(Vec::len).max().unwrap_or(0);
        let mixed = (0..longest).flat_map(|i| traces.iter().filter_map(move |t| t.get(i).cloned())).collect();
        let apart = pieces(&batch(resource.clone(), mixed), &options);
        prop_assert!(apart == pieces(&batch(resource, traces.concat()), &options));
    }

    #[test]
    fn every_key_is_written_once_and_none_is_missing(
        traces in traces(), resource in attributes(10), content in any::<bool>(),
    ) {
        let options = Options { content, ..Options::default() };
        let batch = batch(resource.clone(), traces.concat());
        let (payloads, _) = payloads(&batch, &options);
        let scope = kv("scope.attribute", "s");
        for (trace, chunk) in traces.iter().zip(payloads.iter().flat_map(chunks)) {
            prop_assert_eq!(trace.len(), chunk.len());
            for (span, read) in trace.iter().zip(chunk) {
                let all: Vec<_> =
                    span.attributes.iter().chain(std::iter::once(&scope)).chain(&resource).collect();
                let (meta, metrics) = expected(&all, content);
                for (map, expected) in [("meta", meta), ("metrics", metrics)] {
                    let entries = read.get(map).as_map().unwrap();
                    let keys: BTreeSet<_> = entries.iter().map(|(k, _)| k.as_str().unwrap().to_owned()).collect();
                    prop_assert_eq!(keys.len(), entries.len(), "a key is there twice");
                    prop_assert!(keys.is_superset(&expected), "{:?} is missing", expected.difference(&keys));
                    let from_attributes = all.iter().filter_map(|kv| written(&kv.key, content));
                    let invented = from_attributes.filter(|key| {
                        keys.contains(*key) && !expected.contains(*key) && !READ.contains(key)
                    });
                    prop_assert_eq!(invented.collect::<Vec<_>>(), Vec::<&str>::new());
                }
            }
        }
    }
}

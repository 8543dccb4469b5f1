//! Recorded and random traces: nothing is lost, nothing is invented, and everything is readable.

use crate::build::*;
use muxbridge_core::Batch;
use muxbridge_exporter_datadog::encode::{Options, to_json};
use muxbridge_testkit::oracle::decode_traces;
use muxbridge_testkit::oracle::trace::v1::Span;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn id(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Trace, span, parent, start, duration and error of all spans, as the reference implementation reads the batch.
type Facts = BTreeSet<(u64, u64, u64, u64, u64, u64)>;

fn expected(batch: &Batch) -> (Facts, usize) {
    let request = decode_traces(batch.otlp());
    let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    let mut traces = BTreeSet::new();
    let facts = spans
        .filter(|s| s.trace_id.len() == 16 && id(&s.trace_id[8..]) != 0 && id(&s.span_id) != 0)
        .map(|s| {
            traces.insert(s.trace_id.clone());
            (
                id(&s.trace_id[8..]),
                id(&s.span_id),
                id(&s.parent_span_id),
                s.start_time_unix_nano.min(i64::MAX as u64),
                s.end_time_unix_nano.saturating_sub(s.start_time_unix_nano).min(i64::MAX as u64),
                u64::from(s.status.as_ref().is_some_and(|s| s.code == 2)),
            )
        })
        .collect();
    (facts, traces.len())
}

/// Checks all payloads of a batch against what the reference implementation says is in it.
fn check(batch: &Batch, options: &Options) -> usize {
    let (facts, traces) = expected(batch);
    let (payloads, counts) = payloads(batch, options);
    let mut read = Facts::new();
    let (mut spans, mut seen) = (0, 0);
    for payload in &payloads {
        assert!(payload.body.len() <= options.max_payload || payload.chunks == 1);
        serde_json::from_str::<serde_json::Value>(&to_json(&payload.body).unwrap()).unwrap();
        for chunk in chunks(payload) {
            seen += 1;
            let trace: BTreeSet<_> =
                chunk.iter().map(|s| s.meta("otel.trace_id").unwrap().to_owned()).collect();
            assert_eq!(trace.len(), 1, "a chunk holds several traces");
            for s in &chunk {
                spans += 1;
                read.insert((
                    s.number("trace_id"),
                    s.number("span_id"),
                    s.number("parent_id"),
                    s.number("start"),
                    s.number("duration"),
                    s.number("error"),
                ));
                for key in ["service", "name", "resource", "type"] {
                    assert!(!s.text(key).is_empty(), "empty {key}");
                }
            }
        }
    }
    assert_eq!((seen, &read), (traces, &facts));
    assert_eq!(spans as u64, counts.encoded);
    assert_eq!(counts.encoded + counts.no_id, batch.items() as u64);
    payloads.len()
}

#[test]
fn recorded_traces_arrive_whole() {
    let mut spans = 0;
    for dir in ["run1", "workers2"] {
        for batch in muxbridge_testkit::corpus_traces(dir) {
            assert_eq!(check(&batch, &Options::default()), 1);
            spans += batch.items();
        }
    }
    assert!(spans > 100, "the corpus holds {spans} spans");
}

#[test]
fn payloads_split_between_traces_and_never_within_one() {
    let spans: Vec<_> = (0..60u8)
        .map(|i| Span {
            trace_id: [i % 20 + 1; 16].into(),
            span_id: [i + 1; 8].into(),
            ..span(1, "x", vec![])
        })
        .collect();
    let batch = batch(vec![], spans);
    let whole = payloads(&batch, &Options::default()).0[0].body.len();
    let with = |max_payload| check(&batch, &Options { max_payload, ..Options::default() });
    // A list of 20 needs three bytes, and room is kept for five.
    assert_eq!((with(whole + 2), with(whole + 1)), (1, 2));
    assert_eq!(with(1), 20);
}

fn any_span() -> impl Strategy<Value = Span> {
    let value = prop_oneof![
        any::<String>().prop_map(|s| kv("x", s.as_str()).value),
        any::<i64>().prop_map(|i| kv("x", i).value),
        any::<f64>().prop_map(|d| kv("x", d).value),
        any::<bool>().prop_map(|b| kv("x", b).value),
    ];
    let key = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "http.request.method",
            "http.route",
            "http.response.status_code",
            "service.name",
            "operation.name",
            "db.system",
            "db.statement",
            "rpc.system",
            "sampling.priority",
            "span.type",
            "resource.name",
            "env",
            "error.msg",
            "_sample_rate",
            "deployment.environment.name",
            "messaging.system",
            "messaging.operation",
        ])
        .prop_map(str::to_owned),
    ];
    let attributes = prop::collection::btree_map(key, value, 0..8);
    (0u8..4, any::<u64>(), any::<(u64, u64, u64)>(), 0..7i32, any::<String>(), attributes).prop_map(
        |(trace, span_id, (parent, start, end), kind, name, attributes): (_, _, _, _, _, BTreeMap<_, _>)| {
            let attributes = attributes
                .into_iter()
                .map(|(key, value)| muxbridge_testkit::oracle::common::v1::KeyValue {
                    key,
                    value,
                    ..Default::default()
                })
                .collect();
            Span {
                trace_id: [trace; 16].into(),
                span_id: span_id.to_be_bytes().into(),
                parent_span_id: parent.to_be_bytes().into(),
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                ..span(kind, &name, attributes)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_spans_arrive_whole_and_readable(spans in prop::collection::vec(any_span(), 0..20), limit in 1usize..20_000) {
        check(&batch(vec![kv("service.name", "mm")], spans), &Options { max_payload: limit, ..Options::default() });
    }
}

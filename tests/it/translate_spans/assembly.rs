//! How traces are assembled, when they leave, and that no span is lost or doubled.

use super::kit::*;
use muxbridge::trace::{Assembler, TraceOptions};
use muxbridge::translate::explain::{Change, Explain};
use muxbridge_core::Processor;
use muxbridge_core::config::GoDuration;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn bench() -> Bench {
    Bench::new(TraceOptions::default())
}

#[test]
fn what_is_not_modelmuxers_passes_at_once_as_the_same_bytes() {
    let mut bench = bench();
    let foreign = request_of("checkout", vec![chat(1, 9), policy(1, false)]);
    let bytes = foreign.otlp().clone();
    bench.take(0, foreign);
    assert_eq!(bench.out.len(), 1);
    assert_eq!(bench.out[0].otlp().as_ptr(), bytes.as_ptr());
    assert_eq!(bench.out[0].otlp().len(), bytes.len());
}

#[test]
fn spans_of_another_scope_leave_at_once_and_unchanged_even_from_the_same_trace() {
    let mut bench = bench();
    let foreign = scope_spans("checkout", vec![span(1, 9, 1, "http.request", [1, 2], json!({"route": "x"}))]);
    let scopes = vec![scope_spans("modelmuxer", vec![chat(1, 9)]), foreign.clone()];
    bench.take(0, batch(encode(scopes)));
    assert_eq!(bench.out.len(), 1);
    assert_eq!(bench.out[0].otlp().as_ref(), encode(vec![foreign]));
    bench.flush();
    assert_eq!(bench.spans().len(), 2);
}

#[test]
fn a_request_with_nothing_below_it_waits_for_the_quiet_time_and_no_longer() {
    let mut bench = bench();
    bench.take(0, request(vec![chat(1, 9)]));
    bench.tick(999);
    assert!(bench.out.is_empty());
    assert_eq!(bench.counters.sum("muxbridge_buffered_spans", &[]), 1);
    bench.tick(1_000);
    assert_eq!(bench.out.len(), 1);
    assert_eq!(bench.left("complete"), 1);
    assert_eq!(bench.counters.sum("muxbridge_buffered_spans", &[]), 0);
}

#[test]
fn a_whole_trace_leaves_with_the_request_that_brings_its_last_span() {
    let mut bench = bench();
    let call = || vec![attempt(1, 1, [5, 6]), invoke(1, "provider.invoke", 7), chat(1, 9)];
    bench.take(0, request([vec![policy(1, false)], call()].concat()));
    assert_eq!((bench.spans().len(), bench.left("complete")), (4, 1));
    assert_eq!(bench.translator.holds(), None, "nothing is to be kept on the disk");
    // Without the policy check, which ends first, its request may have been overtaken.
    let mut bench = self::bench();
    bench.take(0, request(call()));
    assert!(bench.out.is_empty());
    bench.take(500, request(vec![policy(1, false)]));
    assert_eq!((bench.spans().len(), bench.left("complete")), (4, 1));
    assert_eq!(attributes(&bench.spans()[2].attributes)["user.hash"], "ab12");
    assert_eq!(bench.translator.holds(), None);
}

#[test]
fn traces_that_are_mixed_in_one_request_leave_with_it() {
    let mut bench = bench();
    let blocked = |trace| policy(trace, true);
    bench.take(0, request(vec![blocked(1), blocked(2), blocked(3), chat(2, 9), chat(3, 9), chat(1, 9)]));
    assert_eq!((bench.spans().len(), bench.left("complete")), (6, 3));
    bench.take(1, request(vec![invoke(2, "provider.invoke", 7)]));
    assert_eq!((bench.spans().len(), bench.left("late")), (7, 1));
}

#[test]
fn a_trace_that_waits_does_not_keep_the_rest_of_its_request_in_memory() {
    let blocked = |trace| vec![policy(trace, true), chat(trace, 9)];
    let mut spans: Vec<Span> = (2..20).flat_map(blocked).collect();
    spans.insert(7, policy(1, false));
    spans.push(chat(1, 9));
    let waiting = [policy(1, false), chat(1, 9)].map(|span| prost::Message::encoded_len(&span));
    let mut assembler = Assembler::new(TraceOptions::default().limits());
    let (now, mut left) = (std::time::Instant::now(), 0);
    assembler.take(request(spans), now, &mut |leaving| left += leaving.members.list().len());
    assert_eq!((left, assembler.buffered()), (36, 2));
    assert_eq!(assembler.buffered_bytes(), waiting.iter().sum::<usize>());
    let stream = request(vec![invoke(1, "provider.invoke_stream", 80)]);
    let mut names = Vec::new();
    assembler.take(stream, now, &mut |leaving| {
        names
            .extend(leaving.members.list().iter().map(|m| String::from_utf8_lossy(m.span.name).into_owned()));
        assert!(leaving.groups().all(|group| group.service == b"modelmuxer"));
    });
    assert_eq!(names, ["policy.enforce", "http.request", "provider.invoke_stream"]);
    assert_eq!((assembler.buffered(), assembler.buffered_bytes(), assembler.holds()), (0, 0, None));
}

#[test]
fn a_trace_that_straddles_two_requests_is_translated_as_one() {
    let mut bench = bench();
    let failure = failed(attempt(1, 1, [5, 6]), "RequestError: Retryable HTTP error: 429");
    bench.take(0, request(vec![policy(1, false), failure]));
    bench.tick(30_000);
    assert!(bench.out.is_empty(), "without its root a trace waits");
    bench.take(35_000, request(vec![invoke(1, "provider.invoke", 7), chat(1, 9)]));
    bench.tick(36_000);
    assert_eq!(bench.left("complete"), 1);
    let spans = bench.spans();
    assert_eq!(spans.len(), 4);
    assert_eq!(attributes(&spans[3].attributes)["http.response.status_code"], 502);
}

#[test]
fn the_span_of_a_stream_that_comes_after_its_parent_is_waited_for() {
    let mut bench = bench();
    bench.take(0, request(vec![policy(1, false), chat(1, 9)]));
    bench.take(5_000, request(vec![invoke(1, "provider.invoke_stream", 5_000)]));
    bench.tick(6_000);
    assert_eq!(bench.left("complete"), 1);
    let spans = bench.spans();
    assert_eq!(spans[1].end_time_unix_nano, 5_000_000_000);
}

#[test]
fn after_a_routing_decision_the_call_is_waited_for_up_to_the_longest_time() {
    let mut bench = bench();
    let router = span(1, 3, 1, "router.decide", [2, 3], json!({"route": "chat"}));
    bench.take(0, request(vec![policy(1, false), router, chat(1, 9)]));
    bench.tick(119_999);
    assert!(bench.out.is_empty());
    bench.tick(120_000);
    assert_eq!(bench.left("expired"), 1);
}

#[test]
fn a_trace_with_a_span_missing_leaves_after_the_idle_time() {
    let mut bench = bench();
    bench.take(0, request(vec![attempt(1, 1, [5, 6]), chat(1, 9)]));
    bench.tick(9_999);
    assert!(bench.out.is_empty());
    bench.tick(10_000);
    assert_eq!(bench.left("idle"), 1);
    assert_eq!(bench.spans().len(), 2);
}

#[test]
fn a_late_span_leaves_on_its_own_translated_and_counted() {
    let mut bench = bench();
    bench.take(0, request(vec![chat(1, 9)]));
    bench.tick(1_000);
    let late = failed(invoke(1, "provider.invoke_stream", 60_000), "ReadTimeout: ");
    bench.take(60_000, request(vec![late]));
    assert_eq!(bench.left("late"), 1);
    let spans = bench.spans();
    assert_eq!(head(&spans[1]), ("chat gpt-4o", CLIENT, ERROR));
    assert_eq!(attributes(&spans[1].attributes)["error.type"], "timeout");
}

#[test]
fn interleaved_traces_do_not_mix() {
    let mut other = policy(2, false);
    other.attributes = vec![attribute("tenant_id", json!("cd34")), attribute("blocked", json!(true))];
    let spans = vec![policy(1, false), other, invoke(1, "provider.invoke_stream", 8), chat(2, 9), chat(1, 9)];
    let spans = translate(TraceOptions::default(), vec![request(spans)]);
    let root = |trace: u8| {
        let mut roots = spans.iter().filter(|s| s.kind == SERVER && s.trace_id[0] == trace);
        attributes(&roots.next().unwrap().attributes)
    };
    assert_eq!((&root(1)["user.hash"], &root(2)["user.hash"]), (&json!("ab12"), &json!("cd34")));
    assert_eq!(root(1)["http.response.status_code"], 200);
    assert_eq!(root(2)["http.response.status_code"], 403);
}

#[test]
fn bounds_let_the_oldest_trace_go_and_lose_nothing() {
    let mut bench = Bench::new(TraceOptions { max_spans: 2, ..Default::default() });
    for trace in 1..=4 {
        bench.take(0, request(vec![policy(trace, false)]));
    }
    let left: Vec<u8> = bench.spans().iter().map(|s| s.trace_id[0]).collect();
    assert_eq!(left, [1, 2]);
    assert_eq!(bench.left("full"), 2);
    bench.flush();
    assert_eq!(bench.left("shutdown"), 2);
    assert_eq!(bench.spans().len(), 4);
}

#[test]
fn bytes_in_memory_and_spans_of_one_trace_are_bounded() {
    let one = request(vec![policy(1, false)]);
    let size = one.otlp().len();
    let mut bench = Bench::new(TraceOptions { max_bytes: 2 * size, ..Default::default() });
    for trace in 1..=3 {
        bench.take(0, request(vec![policy(trace, false)]));
    }
    assert_eq!(bench.left("full"), 1);

    let mut bench = Bench::new(TraceOptions { max_trace_spans: 3, ..Default::default() });
    bench.take(0, request((1..=5).map(|n| attempt(1, n, [5, 6])).collect()));
    assert_eq!((bench.left("full"), bench.left("late")), (1, 1));
    assert_eq!(bench.spans().len(), 5);
}

#[test]
fn spans_without_a_trace_id_pass_on_their_own() {
    let mut lost = chat(1, 9);
    lost.trace_id.clear();
    let mut bench = bench();
    bench.take(0, request(vec![lost.clone(), lost]));
    assert_eq!(bench.spans().len(), 2);
}

/// What identifies a span, and how often it occurs.
fn census<'a>(spans: impl IntoIterator<Item = &'a Span>) -> BTreeMap<(String, String), usize> {
    let mut census = BTreeMap::new();
    for s in spans {
        *census.entry((hex(&s.trace_id), hex(&s.span_id))).or_default() += 1;
    }
    census
}

#[test]
fn no_span_of_a_recorded_run_is_lost_or_doubled_or_misses_its_trace_whatever_the_batches() {
    let recorded: Vec<Span> = run("run1").iter().flat_map(spans_of).collect();
    let expected = census(&recorded);
    assert!(expected.len() > 2_000);
    let sort = |spans: &mut Vec<Span>| {
        spans.sort_by(|a, b| (&a.trace_id, &a.span_id).cmp(&(&b.trace_id, &b.span_id)));
    };
    // Each trace on its own, with all of its spans.
    let mut traces = BTreeMap::<_, Vec<Span>>::new();
    for span in &recorded {
        traces.entry(span.trace_id.clone()).or_default().push(span.clone());
    }
    let each =
        traces.into_values().flat_map(|spans| translate(TraceOptions::default(), vec![request(spans)]));
    let mut whole: Vec<Span> = each.collect();
    sort(&mut whole);
    let mut as_recorded = translate(TraceOptions::default(), run("run1"));
    assert_eq!(census(&as_recorded), expected);
    sort(&mut as_recorded);
    assert!(as_recorded == whole);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..6 {
        let mut spans = recorded.clone();
        if round >= 3 {
            random.shuffle(&mut spans);
        }
        let mut batches = Vec::new();
        while !spans.is_empty() {
            let n = random.usize(1..=spans.len().min(300));
            batches.push(request(spans.drain(..n).collect()));
        }
        let mut spans = translate(TraceOptions::default(), batches);
        assert_eq!(census(&spans), expected);
        // In the order in which they were exported, nothing is missing when a trace leaves, wherever requests end.
        if round < 3 {
            sort(&mut spans);
            assert!(spans == whole, "round {round}");
        }
    }
    let tight = TraceOptions { max_spans: 50, max_trace_spans: 3, ..Default::default() };
    assert_eq!(census(&translate(tight, run("run1"))), expected);
    let hasty = TraceOptions { quiet: GoDuration::from_millis(0), ..Default::default() };
    assert_eq!(census(&translate(hasty, run("run1"))), expected);
}

#[test]
fn both_workers_of_one_service_are_assembled() {
    let recorded: Vec<Span> = run("workers2").iter().flat_map(spans_of).collect();
    assert_eq!(census(&translate(TraceOptions::default(), run("workers2"))), census(&recorded));
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(String, String, String)>>>);

impl Explain for Heard {
    fn change(&mut self, change: &Change<'_>) {
        let heard = (
            change.rule.to_owned(),
            change.target.to_owned(),
            change.after.as_str().unwrap_or("-").to_owned(),
        );
        self.0.lock().unwrap().push(heard);
    }
}

#[test]
fn every_change_is_explained_and_counted_by_its_rule() {
    let heard = Heard::default();
    let mut bench = bench();
    bench.translator.explain(Box::new(heard.clone()));
    let failure = failed(attempt(1, 1, [5, 6]), "RequestError: Retryable HTTP error: 429");
    bench.take(0, request(vec![failure, invoke(1, "provider.invoke", 7), policy(1, false), chat(1, 9)]));
    bench.flush();
    let heard = heard.0.lock().unwrap();
    for expected in [
        ("S4.status_from_attempt", "status", "ERROR"),
        ("S4.status_from_attempt", "error.type", "429"),
        ("S.kind", "kind", "SERVER"),
        ("S4", "name", "chat gpt-4o"),
        ("S4", "gen_ai.provider.name", "openai"),
        ("S1.status_from_children", "modelmuxer.http.status_source", "inferred"),
    ] {
        assert!(
            heard.iter().any(|(r, t, a)| (r.as_str(), t.as_str(), a.as_str()) == expected),
            "{expected:?}"
        );
    }
    let counted = |name, rule| bench.counters.sum(name, &[("signal", "traces"), ("rule", rule)]);
    assert_eq!(counted("muxbridge_repaired_total", "S.kind"), 3);
    assert_eq!(counted("muxbridge_repaired_total", "S4.status_from_attempt"), 2);
    assert_eq!(counted("muxbridge_derived_total", "S6.error_type"), 1);
}

//! The bounds, the order, and that nothing is lost on the way.

use super::*;
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{self, resource_items, scope_items, span};

const SECOND: u64 = 1_000_000_000;

/// This many calls of a model.
fn calls(n: u64) -> Batch {
    let mut w = Writer::new();
    w.message(field::REQUEST_RESOURCE, |w| {
        w.message(resource_items::SCOPES, |w| {
            for id in 1..=n {
                w.message(scope_items::ITEMS, |w| {
                    w.bytes(span::TRACE_ID, &[1; 16]);
                    w.bytes(span::SPAN_ID, &id.to_be_bytes());
                    w.attribute_str(span::ATTRIBUTES, "gen_ai.operation.name", "chat");
                    w.attribute_str(span::ATTRIBUTES, "gen_ai.provider.name", "openai");
                });
            }
        });
    });
    muxbridge_testkit::batch(Signal::Traces, w.into_bytes())
}

fn waiting(derived: &Derived) -> (u64, u64) {
    let state = derived.lock();
    (state.apm.points(), state.waiting_events)
}

fn events_of(taken: &Taken<'_>) -> usize {
    taken.batch().unwrap().items()
}

#[test]
fn events_beyond_the_bound_are_counted_and_those_before_it_stay() {
    let derived = Derived::default();
    assert_eq!(derived.record_events(&calls(MAX_EVENTS - 1)), 0);
    assert_eq!(derived.record_events(&calls(2)), 2);
    assert_eq!(derived.record_events(&calls(1)), 0);
    assert_eq!(waiting(&derived), (0, MAX_EVENTS));
    let mut sent = 0;
    while let Some(taken) = derived.take(LLM, 0, false) {
        let batch = taken.batch().unwrap();
        assert!(batch.otlp().len() <= PACK_BYTES);
        sent += batch.items() as u64;
        taken.done(0);
    }
    assert_eq!((sent, waiting(&derived)), (MAX_EVENTS, (0, 0)));
}

#[test]
fn events_whose_call_is_cut_short_are_the_next_ones_again() {
    let derived = Derived::default();
    derived.record_events(&calls(3));
    derived.record_events(&calls(1));
    assert_eq!(events_of(&derived.take(LLM, 0, false).unwrap()), 3);
    assert_eq!(waiting(&derived), (0, 4));
    let taken = derived.take(LLM, 0, false).unwrap();
    assert_eq!(events_of(&taken), 3);
    taken.done(0);
    assert_eq!(events_of(&derived.take(LLM, 0, false).unwrap()), 1);
}

#[test]
fn the_waits_double_up_to_80_seconds_and_a_longer_one_that_is_asked_for_counts() {
    let derived = Derived::default();
    derived.record_events(&calls(1));
    let mut now = 0;
    for wait in [5, 10, 20, 40, 80, 80] {
        derived.take(LLM, now, false).unwrap().failed(now, None);
        assert!(derived.take(LLM, now + wait * SECOND - 1, false).is_none(), "{wait}");
        now += wait * SECOND;
    }
    derived.take(LLM, now, false).unwrap().failed(now, Some(Duration::from_secs(600)));
    assert!(derived.take(LLM, now + 600 * SECOND - 1, false).is_none());
    assert!(derived.take(LLM, now, true).is_some(), "the last chance waits for nothing");
    derived.take(LLM, now + 600 * SECOND, false).unwrap().done(0);
    derived.record_events(&calls(1));
    derived.take(LLM, now, false).unwrap().failed(now, None);
    assert!(derived.take(LLM, now + 5 * SECOND, false).is_some(), "a success ends the series of failures");
}

#[test]
fn what_is_given_up_is_counted_once() {
    let derived = Derived::default();
    derived.record_events(&calls(3));
    assert_eq!((derived.abandon(), derived.abandon()), ((0, 3), (0, 0)));
    assert!(derived.take(LLM, 0, true).is_none());
}

/// A request that ModelMuxer answered.
fn answered() -> Batch {
    let mut w = Writer::new();
    w.message(field::REQUEST_RESOURCE, |w| {
        w.message(resource_items::SCOPES, |w| {
            w.message(scope_items::ITEMS, |w| {
                w.bytes(span::TRACE_ID, &[1; 16]);
                w.bytes(span::SPAN_ID, &[1; 8]);
                w.varint(span::KIND, 2);
                w.fixed64(span::END_TIME, SECOND);
                w.attribute_str(span::ATTRIBUTES, "modelmuxer.span.name", "http.request");
                w.attribute_str(span::ATTRIBUTES, "http.request.method", "POST");
            });
        });
    });
    muxbridge_testkit::batch(Signal::Traces, w.into_bytes())
}

#[test]
fn metrics_leave_at_once_and_then_every_five_seconds_and_nothing_that_waits_is_forgotten() {
    let derived = Derived::default();
    assert_eq!(derived.next(0), None);
    derived.record_metrics(&answered(), false);
    assert_eq!(derived.next(0), Some(SHORTEST_WAIT));
    derived.take(APM, 0, false).unwrap().done(0);
    assert_eq!(derived.next(0), None);
    derived.record_metrics(&answered(), false);
    assert!(derived.take(APM, 4 * SECOND, false).is_none());
    assert_eq!(derived.next(4 * SECOND), Some(Duration::from_secs(1)));
    // Events are not collected; they are what is due next.
    derived.record_events(&calls(1));
    assert_eq!(derived.next(4 * SECOND), Some(SHORTEST_WAIT));
    derived.take(LLM, 4 * SECOND, false).unwrap().done(4 * SECOND);
    derived.take(APM, 5 * SECOND, false).unwrap().failed(5 * SECOND, None);
    assert_eq!(derived.next(5 * SECOND), Some(Duration::from_secs(5)));
    assert!(derived.take(APM, 5 * SECOND, true).is_some(), "the last chance waits for nothing");
}

//! The quick way for a span is the slow one, only quicker.

use super::*;
use crate::encode::Options;
use crate::encode::tests::{batch_of, kv, s, span, text};
use muxbridge_testkit::oracle::common::v1::KeyValue as Attribute;
use muxbridge_testkit::oracle::common::v1::any_value::Value;
use muxbridge_testkit::oracle::trace::v1::span::Event;
use muxbridge_testkit::oracle::trace::v1::{ScopeSpans, Span as Decoded, Status as DecodedStatus};
use muxbridge_testkit::oracle::{self, Message};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = String> {
    let known = [
        "name",
        "timestamp",
        "duration.ms",
        "trace.id",
        "id",
        "parent.id",
        "guid",
        "",
        "entity.guid",
        "entityGuid",
        "newrelic.entity.type",
        "trace_role",
        "error.type",
        "gen_ai.provider.name",
        "gen_ai.system",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.request.model",
        "entity",
        "ids",
    ];
    prop_oneof![
        8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        4 => "[a-z.]{1,24}",
        1 => "[a-zé]{250,260}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => "[a-zé]{0,12}".prop_map(Value::StringValue),
        1 => "[a-zé]{4090,4100}".prop_map(Value::StringValue),
        2 => any::<i64>().prop_map(Value::IntValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        1 => Just(Value::BytesValue(vec![1])),
    ]
}

/// Each key once: the slow way removes what stands twice, also where nothing else is wrong.
fn list(max: usize) -> impl Strategy<Value = Vec<Attribute>> {
    proptest::collection::btree_map(key(), value(), 0..max)
        .prop_map(|map| map.into_iter().map(|(k, v)| kv(&k, v)).collect())
}

fn spans() -> impl Strategy<Value = Decoded> {
    let many = (125usize..131).prop_map(|n| (0..n).map(|i| text(&format!("a{i}"), "x")).collect::<Vec<_>>());
    let attributes = prop_oneof![
        9 => list(8),
        1 => (many, list(2)).prop_map(|(mut many, more)| { many.extend(more); many }),
    ];
    let status = proptest::option::of((0i32..3, "[a-z]{0,3}"));
    (attributes, list(2), status, 0u8..8).prop_map(|(attributes, of_event, status, rare)| {
        let mut span = Decoded { status: None, ..span(attributes) };
        span.status = status.map(|(code, message)| DecodedStatus { code, message });
        span.events = vec![Event { name: "e".into(), attributes: of_event, ..Event::default() }];
        match rare {
            0 => span.span_id = vec![0; 8],
            1 => span.name = "n".repeat(4096),
            2 => span.events.clear(),
            _ => {}
        }
        span
    })
}

/// What a way makes of a span, and what it counts.
fn written(raw: &[u8], write: impl FnOnce(&mut Writer, &Field<'_>, &mut Counts)) -> (ScopeSpans, Counts) {
    let mut field = Writer::new();
    field.bytes(field::scope_items::ITEMS, raw);
    let (mut w, mut counts) = (Writer::new(), Counts::default());
    let item = Fields::new(field.as_slice()).next().unwrap();
    write(&mut w, &item, &mut counts);
    (ScopeSpans::decode(w.as_slice()).unwrap(), counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_span_that_is_copied_is_what_writing_it_anew_makes(span in spans(), ai in any::<bool>()) {
        let options = Options { ai_monitoring: ai, ..Options::default() };
        let cx = Cx::new(Signal::Traces, &options, 0, 0);
        let raw = span.encode_to_vec();
        let quick = written(&raw, |w, f, counts| write_item(w, f, &cx, counts));
        let slow = written(&raw, |w, f, counts| fit_span(w, Span::read(f.value.as_bytes()), &cx, counts));
        prop_assert_eq!(&quick, &slow);
        // And whole requests: what is copied up to the first change, and what comes after it.
        let batch = batch_of(vec![text("aiEnabledApp", "true")], vec![span.clone(), span]);
        let mut counts = Counts::default();
        let out = oracle::decode_traces(&crate::encode::otlp(&batch, &options, &mut counts));
        let twice: Vec<Decoded> = slow.0.spans.iter().chain(&slow.0.spans).cloned().collect();
        prop_assert_eq!(&out.resource_spans[0].scope_spans[0].spans, &twice);
        prop_assert_eq!(counts.dropped_total(), 2 * slow.1.dropped_total());
    }
}

#[test]
fn a_model_call_is_copied_and_gets_the_older_name_of_its_provider() {
    let call = span(vec![text("gen_ai.provider.name", "openai"), kv("n", Value::IntValue(1))]);
    let cx = Cx::new(Signal::Traces, &Options::default(), 0, 0);
    assert!(matches!(check_span(&call.encode_to_vec(), &cx), Check::Lacks(_)));
    let (out, counts) = written(&call.encode_to_vec(), |w, f, counts| write_item(w, f, &cx, counts));
    let mut expected = call;
    expected.attributes.push(kv("gen_ai.system", s("openai")));
    assert_eq!((out.spans, counts), (vec![expected], Counts::default()));
}

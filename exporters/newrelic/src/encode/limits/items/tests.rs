//! The quick way for a span is the slow one, only quicker.

use super::*;
use crate::encode::apm::{Apm, Wanted};
use crate::encode::tests::{T0, batch_of, kv, s, span, text};
use crate::encode::{self, Options};
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
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "modelmuxer.span.name",
        "server.address",
        "server.port",
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
    let lives = (0i32..5, prop_oneof![Just(0), T0..T0 + 1_000_000], 0u64..10_000_000_000);
    (attributes, list(2), status, 0u8..8, lives).prop_map(|(attributes, of_event, status, rare, lives)| {
        let mut span = Decoded { status: None, ..span(attributes) };
        let start;
        (span.kind, start, span.end_time_unix_nano) = (lives.0, lives.1, T0 + lives.2);
        span.start_time_unix_nano = start;
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

/// Spans that count in the metrics of the APM pages, if nothing of them is overruled.
fn requests() -> impl Strategy<Value = Decoded> {
    (spans(), 2i32..4, 0u8..4).prop_map(|(mut span, kind, host)| {
        span.kind = kind;
        let own_name = ["", "http.request", "openai.request"][(kind - 1) as usize];
        let host = format!("host-{host}");
        let mut attributes =
            vec![text("modelmuxer.span.name", own_name), text("http.request.method", "POST")];
        attributes.push(text("server.address", &host));
        attributes.append(&mut span.attributes);
        Decoded { attributes, ..span }
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
        let quick = written(&raw, |w, f, counts| {
            let check = check_item(f.value.as_bytes(), &cx, &mut Watch::default());
            write_item(w, f, &check, &cx, counts);
        });
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

    #[test]
    fn what_is_found_while_spans_are_encoded_is_what_a_second_walk_finds(
        spans in proptest::collection::vec(prop_oneof![spans(), requests()], 0..12),
        tagged in any::<bool>(),
        late in 0u64..2_000_000,
    ) {
        let resource = if tagged { vec![text("aiEnabledApp", "true")] } else { vec![text("service.name", "m")] };
        let batch = batch_of(resource, spans);
        let now = T0 + 48 * 3_600_000_000_000 + late;
        let mut watch = Watch::spans(now, true);
        let options = Options::default();
        let (mut w, mut counts) = (Writer::new(), Counts::default());
        let changed = encode::write_otlp(&batch, &options, &mut watch, &mut w, &mut counts);
        let mut unwatched = Counts::default();
        prop_assert_eq!(if changed { w.as_slice() } else { batch.otlp() }, &encode::otlp(&batch, &options, &mut unwatched)[..]);
        prop_assert_eq!(counts, unwatched);
        let found = watch.found().unwrap();
        prop_assert_eq!(found.stale, encode::stale(&batch, now));
        let (mut one, mut two) = (Apm::default(), Apm::default());
        let wanted = |_: &[u8]| Wanted { server: true, client: true };
        prop_assert_eq!(one.add(&found.tally.unwrap(), wanted), two.record(&batch, wanted));
        prop_assert_eq!(one.to_otlp(), two.to_otlp());
    }
}

#[test]
fn keys_of_spans_are_free_as_the_list_of_reserved_ones_says() {
    let rules = Cx::new(Signal::Traces, &Options::default(), 0, 0).rules(Metrics::None);
    let keys = [
        "",
        "id",
        "ie",
        "name",
        "guid",
        "kind",
        "trace.id",
        "trace.ie",
        "timestamp",
        "parent.id",
        "parent.ie",
        "entityGuid",
        "trace_role",
        "http.route",
        "duration.ms",
        "server.port",
        "newrelic.entity.type",
        "gen_ai.provider.name",
        "entity",
        "entity.",
        "entity.id",
        "entity.a",
        "entity.abcd",
        "a",
    ];
    for key in keys {
        let kv = text(key, "x").encode_to_vec();
        let free = matches!(attributes::reserved(key.as_bytes(), &rules), attributes::Reserved::No);
        assert_eq!(attributes::free_in_spans(key.as_bytes()), free, "{key}");
        assert_eq!(attributes::plain_key(&kv), (!key.is_empty()).then_some(key.as_bytes()), "{key}");
    }
}

#[test]
fn an_attribute_is_plain_only_if_its_value_needs_no_look() {
    let list = [
        (s("x"), true),
        (s(""), true),
        (s(&"x".repeat(200)), false),
        (Value::BoolValue(true), true),
        (Value::IntValue(127), true),
        (Value::IntValue(16_383), true),
        (Value::IntValue(16_384), false),
        (Value::IntValue(-1), false),
        (Value::DoubleValue(1.5), true),
        (Value::BytesValue(vec![1]), false),
    ];
    for (value, plain) in list {
        let raw = kv("key", value.clone()).encode_to_vec();
        assert_eq!(attributes::plain_key(&raw), plain.then_some(&b"key"[..]), "{value:?}");
    }
    // Of two values in one message the last one counts, and that has to be looked at.
    let mut w = Writer::new();
    w.bytes(field::key_value::KEY, b"key");
    w.message(field::key_value::VALUE, |w| {
        w.bytes(field::any_value::STRING, b"x");
        w.bytes(field::any_value::BYTES, b"y");
    });
    assert_eq!(attributes::plain_key(w.as_slice()), None);
}

#[test]
fn a_model_call_is_copied_and_gets_the_older_name_of_its_provider() {
    let call = span(vec![text("gen_ai.provider.name", "openai"), kv("n", Value::IntValue(1))]);
    let cx = Cx::new(Signal::Traces, &Options::default(), 0, 0);
    assert!(matches!(check_span(&call.encode_to_vec(), &cx, &mut Look::default()), Check::Lacks(_)));
    let (out, counts) = written(&call.encode_to_vec(), |w, f, counts| {
        let check = check_item(f.value.as_bytes(), &cx, &mut Watch::default());
        write_item(w, f, &check, &cx, counts);
    });
    let mut expected = call;
    expected.attributes.push(kv("gen_ai.system", s("openai")));
    assert_eq!((out.spans, counts), (vec![expected], Counts::default()));
}

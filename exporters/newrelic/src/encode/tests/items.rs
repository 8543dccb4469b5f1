//! Attributes, spans and log records.

use super::*;
use muxbridge_testkit::oracle::trace::v1::Status;
use muxbridge_testkit::oracle::trace::v1::span::Event;

#[test]
fn a_request_within_all_limits_goes_out_as_the_same_bytes() {
    let batch = batch_of(vec![text("service.name", "m")], vec![span(vec![text("a", "b")])]);
    let mut counts = Counts::default();
    let out = otlp(&batch, &PLAIN, &mut counts);
    assert_eq!(out.as_ptr(), batch.otlp().as_ptr());
    assert_eq!(counts, Counts::default());
    let tagged = batch_of(vec![text("aiEnabledApp", "true")], vec![span(vec![text("a", "b")])]);
    assert_eq!(otlp(&tagged, &Options::default(), &mut counts).as_ptr(), tagged.otlp().as_ptr());
}

// V5
#[test]
fn a_long_string_is_cut_to_4095_characters_and_counted() {
    let (list, counts) = attributes(vec![text("x", &"é".repeat(5000)), text("y", &"é".repeat(4095))]);
    assert_eq!(list, [text("x", &"é".repeat(4095)), text("y", &"é".repeat(4095))]);
    let Some(Value::StringValue(x)) = &list[0].value.as_ref().unwrap().value else { panic!() };
    assert_eq!(x.len(), 8190);
    assert_eq!(counts, [("value_truncated", 1)]);
}

// V6
#[test]
fn arrays_maps_unset_values_and_long_keys_become_what_new_relic_stores() {
    let mut unset = text("unset", "");
    unset.value = Some(AnyValue { value: None });
    let (list, counts) = attributes(vec![
        kv("long", array((0..70).map(|i| s(&i.to_string())))),
        kv("mixed", array([Value::IntValue(1), s("a")])),
        kv("x", map(vec![kv("a", map(vec![kv("b", Value::IntValue(1))]))])),
        unset,
        kv(
            "nulls",
            Value::ArrayValue(ArrayValue {
                values: vec![any(s("a")), AnyValue { value: None }, any(s("b"))],
            }),
        ),
        kv("bytes", Value::BytesValue(vec![1])),
        text(&"k".repeat(300), "v"),
    ]);
    let expected = [
        kv("long", array((0..64).map(|i| s(&i.to_string())))),
        kv("mixed", array([s("1"), s("a")])),
        kv("x.a.b", Value::IntValue(1)),
        kv("nulls", array([s("a"), s("b")])),
        text(&"k".repeat(255), "v"),
    ];
    assert_eq!(list, expected);
    let expected = [
        ("array_to_text", 1),
        ("array_truncated", 1),
        ("bytes_removed", 1),
        ("key_truncated", 1),
        ("map_flattened", 2),
        ("null_removed", 2),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn an_array_of_maps_becomes_texts_of_json() {
    let (list, _) = attributes(vec![kv("m", array([map(vec![text("role", "user")])]))]);
    assert_eq!(list, [kv("m", array([s(r#"{"role":"user"}"#)]))]);
}

// V7
#[test]
fn of_too_many_attributes_the_standard_ones_stay_then_modelmuxers_then_the_first() {
    let mut list: Vec<KeyValue> = (0..180).map(|i| text(&format!("a{i}"), "v")).collect();
    list.extend((0..10).map(|i| text(&format!("modelmuxer.m{i}"), "v")));
    list.extend((0..10).map(|i| text(&format!("gen_ai.g{i}"), "v")));
    let mut input = span(list);
    input.dropped_attributes_count = 3;
    let (out, counts) = limited(input, &PLAIN);
    let out = out.unwrap();
    assert_eq!(out.dropped_attributes_count, 75);
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("attribute_pruned", 72)]);
    let keys: Vec<&str> = out.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys.len(), 128);
    assert_eq!((keys[0], keys[107], keys[108], keys[118]), ("a0", "a107", "modelmuxer.m0", "gen_ai.g0"));
}

#[test]
fn a_resource_keeps_64_attributes_and_its_name_and_tag_among_them() {
    let mut list: Vec<KeyValue> = (0..70).map(|i| text(&format!("host.h{i}"), "v")).collect();
    list.push(text("service.name", "m"));
    let mut counts = Counts::default();
    let out = otlp(&batch_of(list, vec![span(vec![])]), &Options::default(), &mut counts);
    let resource = oracle::decode_traces(&out).resource_spans.remove(0).resource.unwrap();
    assert_eq!((resource.attributes.len(), resource.dropped_attributes_count), (64, 8));
    assert!(resource.attributes.contains(&text("service.name", "m")));
    assert!(resource.attributes.contains(&text("aiEnabledApp", "true")));
}

// V23, for spans.
#[test]
fn reserved_keys_are_renamed_and_entity_keys_removed() {
    let (list, counts) = attributes(vec![
        text("timestamp", "1"),
        text("entity.guid", "2"),
        text("trace_role", "3"),
        text("mm.timestamp", "4"),
        text("service.name", "5"),
    ]);
    assert_eq!(list, [text("mm.timestamp", "1"), text("service.name", "5")]);
    assert_eq!(counts, [("duplicate_removed", 1), ("reserved_removed", 2), ("reserved_renamed", 1)]);
}

#[test]
fn the_ai_tag_is_a_string_even_if_the_sender_wrote_a_bool() {
    for (input, expected) in [
        (vec![], "true"),
        (vec![kv("aiEnabledApp", Value::BoolValue(true))], "true"),
        (vec![kv("aiEnabledApp", Value::BoolValue(false))], "false"),
        (vec![text("aiEnabledApp", "false")], "false"),
    ] {
        let batch = batch_of(input, vec![span(vec![])]);
        let out = otlp(&batch, &Options::default(), &mut Counts::default());
        let resource = oracle::decode_traces(&out).resource_spans.remove(0).resource.unwrap();
        assert_eq!(resource.attributes, [text("aiEnabledApp", expected)]);
    }
}

#[test]
fn the_older_names_of_ai_attributes_are_added_next_to_the_current_ones() {
    let input = vec![
        text("gen_ai.provider.name", "openai"),
        kv("gen_ai.usage.cache_read.input_tokens", Value::IntValue(7)),
    ];
    let (out, counts) = limited(span(input.clone()), &Options::default());
    let mut expected = input.clone();
    expected.push(text("gen_ai.system", "openai"));
    expected.push(kv("gen_ai.usage.cache_read_input_tokens", Value::IntValue(7)));
    assert_eq!(out.unwrap().attributes, expected);
    assert_eq!(counts, Counts::default(), "an addition is no adjustment");
    assert_eq!(limited(span(input.clone()), &PLAIN).0.unwrap().attributes, input);
}

#[test]
fn an_error_without_a_message_gets_its_type_as_message() {
    let failed = |code, message: &str| {
        let mut input = span(vec![text("error.type", "timeout")]);
        input.status = Some(Status { code, message: message.into() });
        limited(input, &PLAIN).0.unwrap().status.unwrap().message
    };
    assert_eq!(failed(2, ""), "timeout");
    assert_eq!(failed(2, "said so"), "said so");
    assert_eq!(failed(1, ""), "");
}

#[test]
fn events_and_the_names_of_spans_have_the_limits_of_attributes() {
    let mut input = span(vec![]);
    input.name = "n".repeat(5000);
    input.events = vec![Event {
        time_unix_nano: T0,
        name: "exception".into(),
        attributes: vec![text("exception.stacktrace", &"s".repeat(5000))],
        ..Event::default()
    }];
    let (out, counts) = limited(input, &PLAIN);
    let out = out.unwrap();
    assert_eq!(out.name, "n".repeat(4095));
    assert_eq!(out.events[0].attributes, [text("exception.stacktrace", &"s".repeat(4095))]);
    assert_eq!((out.events[0].name.as_str(), out.events[0].time_unix_nano), ("exception", T0));
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("value_truncated", 2)]);
}

#[test]
fn each_text_of_a_span_is_cut_even_if_nothing_else_is_wrong() {
    let long = || "é".repeat(5000);
    let short = "é".repeat(4095);
    let (out, _) = limited(Span { name: long(), ..span(vec![]) }, &PLAIN);
    assert_eq!(out.unwrap().name, short);
    let (out, _) = limited(Span { trace_state: long(), ..span(vec![]) }, &PLAIN);
    assert_eq!(out.unwrap().trace_state, short);
    for code in [0, 2] {
        let status = Some(Status { code, message: long() });
        let (out, _) = limited(Span { status, ..span(vec![]) }, &PLAIN);
        assert_eq!(out.unwrap().status, Some(Status { code, message: short.clone() }));
    }
    let events = vec![Event { name: long(), ..Event::default() }];
    let (out, _) = limited(Span { events, ..span(vec![]) }, &PLAIN);
    assert_eq!(out.unwrap().events[0].name, short);
    let (out, _) = limited_log(LogRecord { severity_text: long(), ..LogRecord::default() });
    assert_eq!(out.severity_text, short);
    let (out, _) = limited_log(LogRecord { event_name: long(), ..LogRecord::default() });
    assert_eq!(out.event_name, short);
}

#[test]
fn a_span_without_ids_is_dropped_and_counted() {
    let mut input = span(vec![]);
    input.span_id = vec![0; 8];
    let (out, counts) = limited(input, &PLAIN);
    assert_eq!(out, None);
    assert_eq!(counts.dropped().collect::<Vec<_>>(), [("no_id", 1)]);
}

#[test]
fn unknown_fields_survive_a_rewrite() {
    let mut raw = span(vec![text("timestamp", "1")]).encode_to_vec();
    // Field 31, varint 5.
    raw.extend_from_slice(&[0xf8, 0x01, 0x05]);
    let nest = |number: u8, inner: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend_from_slice(inner);
        out
    };
    let batch = muxbridge_testkit::batch(Signal::Traces, nest(1, &nest(2, &nest(2, &raw))).into());
    let out = otlp(&batch, &PLAIN, &mut Counts::default());
    assert!(out.windows(3).any(|w| w == [0xf8, 0x01, 0x05]));
}

#[test]
fn a_log_body_is_cut_and_reserved_keys_are_renamed() {
    let (out, counts) = limited_log(LogRecord {
        body: Some(any(s(&"b".repeat(40_000)))),
        attributes: vec![text("timestamp", "1"), text("name", "kept")],
        ..LogRecord::default()
    });
    assert_eq!(out.body, Some(any(s(&"b".repeat(32_768)))));
    assert_eq!(out.attributes, [text("mm.timestamp", "1"), text("name", "kept")]);
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("body_truncated", 1), ("reserved_renamed", 1)]);
}

/// `service.instance.id` of what is sent for a resource with these attributes.
fn instance(resource: Vec<KeyValue>, options: &Options) -> Option<String> {
    let batch = batch_of(resource, vec![span(vec![])]);
    let out = oracle::decode_traces(&otlp(&batch, options, &mut Counts::default()));
    let attributes = &out.resource_spans[0].resource.as_ref().unwrap().attributes;
    let found = attributes.iter().find(|a| a.key == "service.instance.id")?;
    let Some(Value::StringValue(id)) = found.value.clone()?.value else { panic!() };
    let native: serde_json::Value =
        serde_json::from_slice(&trace_api(&batch, options, &mut Counts::default())).unwrap();
    assert_eq!(native[0]["common"]["attributes"]["service.instance.id"], id.as_str());
    Some(id)
}

#[test]
fn a_service_gets_a_stable_instance_id_if_it_is_known_where_it_runs() {
    let at = |host: &str| vec![text("service.name", "modelmuxer"), text("host.name", host)];
    let a = instance(at("a"), &PLAIN).unwrap();
    assert_eq!(instance(at("a"), &PLAIN).unwrap(), a);
    assert_ne!(instance(at("b"), &PLAIN).unwrap(), a);
    // Computed apart from this program, in Python: a new version of this program must not make new instances.
    assert_eq!(a, "e10e9bf1-8cb7-46ba-b766-b92fec0f341d");
    let pod = vec![text("service.name", "modelmuxer"), text("host.name", "a"), text("k8s.pod.uid", "u")];
    assert_ne!(instance(pod, &PLAIN).unwrap(), a);
    // One id for all would make many gateways look like one.
    assert_eq!(instance(vec![text("service.name", "modelmuxer")], &PLAIN), None);
}

#[test]
fn an_instance_id_of_the_user_fills_the_gap_and_one_of_the_sender_stays() {
    let options = Options { service_instance_id: Some("gw-1".into()), ..PLAIN };
    assert_eq!(instance(vec![text("host.name", "a")], &options).unwrap(), "gw-1");
    assert_eq!(instance(vec![text("service.instance.id", "own")], &options).unwrap(), "own");
}

#[test]
fn a_scope_that_stands_behind_its_spans_is_theirs_all_the_same() {
    use muxbridge_pdata::schema::field::{REQUEST_RESOURCE, resource_items, scope, scope_items};
    let (span, attributes) =
        (span(vec![text("a", "b")]).encode_to_vec(), (0..9).map(|i| text(&format!("k{i}"), "v")));
    let mut late = Writer::new();
    late.bytes(scope::NAME, b"late");
    attributes.for_each(|kv| late.bytes(scope::ATTRIBUTES, &kv.encode_to_vec()));
    let mut w = Writer::new();
    w.message(REQUEST_RESOURCE, |w| {
        w.message(resource_items::SCOPES, |w| {
            w.message(scope_items::SCOPE, |w| {
                w.bytes(scope::NAME, b"early");
                w.bytes(scope::ATTRIBUTES, &text("", "v").encode_to_vec());
            });
            w.bytes(scope_items::ITEMS, &span);
            w.bytes(scope_items::SCOPE, late.as_slice());
            w.bytes(scope_items::ITEMS, &span);
        });
    });
    let batch = muxbridge_testkit::batch(Signal::Traces, w.into_bytes());
    let mut counts = Counts::default();
    let mut out = oracle::decode_traces(&otlp(&batch, &Options::default(), &mut counts));
    let scope = out.resource_spans.remove(0).scope_spans.remove(0);
    assert_eq!(scope.spans.len(), 2);
    let name = scope.scope.map(|s| (s.name, s.attributes.len(), s.dropped_attributes_count));
    assert_eq!(name, Some(("late".to_owned(), 8, 1)));
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("attribute_pruned", 1)]);
}

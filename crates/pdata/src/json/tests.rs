//! What OTLP/JSON promises, with texts and bytes written by hand.

use super::*;
use crate::schema::{ANY_VALUE, METRIC, RESOURCE, SPAN};
use crate::{Limits, Signal, validate};

fn span(json: &str) -> Vec<u8> {
    decode_message(&SPAN, json.as_bytes()).unwrap().to_vec()
}

fn value(json: &str) -> Vec<u8> {
    decode_message(&ANY_VALUE, json.as_bytes()).unwrap().to_vec()
}

fn problem(signal: Signal, json: &str) -> JsonError {
    decode(signal, json.as_bytes()).unwrap_err()
}

#[test]
fn j1_ids_are_hex_in_either_case_and_written_in_lower_case() {
    let id: Vec<u8> = vec![0x12, 2, 0xAB, 0xCD];
    let json = r#"{"spanId":"0aBcDeF012345678"}"#;
    let expected = [&[0x12, 8][..], &[0x0a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78]].concat();
    assert_eq!(span(json), expected);
    assert_eq!(encode_message(&SPAN, &expected), r#"{"spanId":"0abcdef012345678"}"#);
    assert_eq!(encode_message(&SPAN, &id), r#"{"spanId":"abcd"}"#);
    assert!(span(r#"{"traceId":null,"spanId":"","parentSpanId":null}"#).is_empty());
}

#[test]
fn an_id_of_the_wrong_length_or_with_other_characters_is_an_error_that_names_its_place() {
    let json = r#"{"resourceSpans":[{},{"scopeSpans":[{"spans":[{"name":"a"},{"traceId":"xyz"}]}]}]}"#;
    let error = problem(Signal::Traces, json);
    assert_eq!(error.path, "resourceSpans[1].scopeSpans[0].spans[1].traceId");
    assert!(error.problem.starts_with("expected 32 hex digits or an empty string"), "{error}");
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"zz23456789abcdef"}]}]}]}"#;
    assert!(problem(Signal::Traces, json).problem.starts_with("expected 16 hex digits"));
}

#[test]
fn j2_enumerations_are_numbers_and_their_names_are_refused() {
    assert_eq!(span(r#"{"kind":2,"status":{"code":2}}"#), [0x30, 2, 0x7a, 2, 0x18, 2]);
    assert_eq!(encode_message(&SPAN, &[0x30, 2]), r#"{"kind":2}"#);
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER"}]}]}]}"#;
    let error = problem(Signal::Traces, json);
    assert_eq!(error.path, "resourceSpans[0].scopeSpans[0].spans[0].kind");
    assert!(error.problem.contains("number of an enumeration value"), "{error}");
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}}]}]}]}"#;
    assert_eq!(
        problem(Signal::Metrics, json).path,
        "resourceMetrics[0].scopeMetrics[0].metrics[0].sum.aggregationTemporality"
    );
}

#[test]
fn j3_j4_unknown_and_snake_case_keys_are_ignored_with_whatever_they_hold() {
    let json = r#"{"name":"a","start_time_unix_nano":"5","novel":{"deep":[1,{"x":null}]}}"#;
    assert_eq!(span(json), [0x2a, 1, b'a']);
}

#[test]
fn j5_sixty_four_bit_integers_are_strings_out_and_strings_or_numbers_in() {
    let one = [&[0x39][..], &u64::MAX.to_le_bytes()].concat();
    assert_eq!(span(r#"{"startTimeUnixNano":"18446744073709551615"}"#), one);
    assert_eq!(span(r#"{"startTimeUnixNano":18446744073709551615}"#), one);
    assert_eq!(encode_message(&SPAN, &one), r#"{"startTimeUnixNano":"18446744073709551615"}"#);
    let minimum = [0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
    assert_eq!(value(r#"{"intValue":"-9223372036854775808"}"#), minimum);
    assert_eq!(value(r#"{"intValue":-9223372036854775808}"#), minimum);
    assert_eq!(encode_message(&ANY_VALUE, &minimum), r#"{"intValue":"-9223372036854775808"}"#);
    assert_eq!(value(r#"{"intValue":3.0e2}"#), [0x18, 0xac, 2]);
    for wrong in ["1.5", "\"x\"", "\"\"", "true", "9223372036854775808", "1e300", "\"inf\"", "[]", "{}"] {
        let json = format!(r#"{{"intValue":{wrong}}}"#);
        assert_eq!(decode_message(&ANY_VALUE, json.as_bytes()).unwrap_err().path, "intValue", "{wrong}");
    }
}

#[test]
fn j6_doubles_know_nan_and_both_infinities() {
    for (text, number) in [
        (r#""NaN""#, f64::NAN),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
        ("0.1", 0.1),
        ("-0.0", -0.0),
        ("1e-7", 1e-7),
    ] {
        let wire = [&[0x21][..], &number.to_le_bytes()].concat();
        let json = format!(r#"{{"doubleValue":{text}}}"#);
        assert_eq!(value(&json), wire, "{text}");
        assert_eq!(encode_message(&ANY_VALUE, &wire), json);
    }
    let one = [&[0x21][..], &1f64.to_le_bytes()].concat();
    assert_eq!(value(r#"{"doubleValue":1}"#), one);
    assert_eq!(value(r#"{"doubleValue":"1.0"}"#), one);
    for wrong in [r#""nan""#, r#""inf""#, r#""""#, "1e999", r#""1e999""#, "false"] {
        let json = format!(r#"{{"doubleValue":{wrong}}}"#);
        assert!(decode_message(&ANY_VALUE, json.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn j6_bytes_are_base64_written_in_the_standard_alphabet_and_read_in_either() {
    let wire = [0x3a, 4, 0xfb, 0xff, 0xfe, 0x01];
    assert_eq!(encode_message(&ANY_VALUE, &wire), r#"{"bytesValue":"+//+AQ=="}"#);
    for text in ["+//+AQ==", "+//+AQ", "-__-AQ==", "-__-AQ"] {
        assert_eq!(value(&format!(r#"{{"bytesValue":"{text}"}}"#)), wire, "{text}");
    }
    assert!(decode_message(&ANY_VALUE, br#"{"bytesValue":"!"}"#).is_err());
}

#[test]
fn j7_null_and_empty_containers_stand_for_defaults() {
    assert!(decode(Signal::Traces, br#"{"resourceSpans":null}"#).unwrap().is_empty());
    assert!(decode(Signal::Logs, b"{}").unwrap().is_empty());
    assert!(span(r#"{"attributes":null,"status":null,"name":null,"kind":null,"events":[]}"#).is_empty());
    assert_eq!(value(r#"{"arrayValue":{}}"#), [0x2a, 0]);
    assert_eq!(value(r#"{"kvlistValue":{}}"#), [0x32, 0]);
    assert_eq!(value(r#"{"arrayValue":{"values":null}}"#), [0x2a, 0]);
    assert_eq!(value(r#"{"arrayValue":{"values":[null,{}]}}"#), [0x2a, 4, 0x0a, 0, 0x0a, 0]);
    assert_eq!(span(r#"{"attributes":[{"value":{"stringValue":"v"}}]}"#), [0x4a, 5, 0x12, 3, 0x0a, 1, b'v']);
    for wrong in ["null", "[]", "1", "\"\"", "", "{", "{}x"] {
        assert_eq!(decode(Signal::Traces, wrong.as_bytes()).unwrap_err().path, "request", "{wrong}");
    }
}

#[test]
fn a_member_of_a_oneof_is_kept_even_if_it_is_zero() {
    for (json, wire) in [
        (r#"{"boolValue":false}"#, &[0x10, 0][..]),
        (r#"{"intValue":"0"}"#, &[0x18, 0]),
        (r#"{"stringValue":""}"#, &[0x0a, 0]),
        (r#"{"bytesValue":""}"#, &[0x3a, 0]),
        (r#"{"doubleValue":0.0}"#, &[0x21, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("{}", &[]),
    ] {
        assert_eq!(value(json), wire);
        assert_eq!(encode_message(&ANY_VALUE, wire), json);
    }
    let json = r#"{"gauge":{"dataPoints":[{"asInt":"0"}]}}"#;
    let wire = decode_message(&METRIC, json.as_bytes()).unwrap();
    assert_eq!(encode_message(&METRIC, &wire), json);
    let json = r#"{"histogram":{"dataPoints":[{"sum":0.0}]}}"#;
    let wire = decode_message(&METRIC, json.as_bytes()).unwrap();
    assert_eq!(encode_message(&METRIC, &wire), json);
}

#[test]
fn of_several_values_for_one_key_the_last_counts() {
    assert_eq!(span(r#"{"name":"a","kind":1,"name":"b"}"#), [0x30, 1, 0x2a, 1, b'b']);
    assert!(span(r#"{"name":"a","name":""}"#).is_empty());
    assert_eq!(span(r#"{"status":{"code":2},"status":{"message":"m"}}"#), [0x7a, 3, 0x12, 1, b'm']);
    assert_eq!(span(r#"{"status":{"code":2},"status":null,"name":"a"}"#), [0x2a, 1, b'a']);
    let last = encode_message(&ANY_VALUE, &value(r#"{"stringValue":"a","intValue":"0"}"#));
    assert_eq!(last, r#"{"intValue":"0"}"#);
}

#[test]
fn lists_of_numbers_are_packed_and_their_elements_named_in_errors() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[
        {"bucketCounts":["1",2],"explicitBounds":["Infinity"]}]}}]}]}]}"#;
    let wire = decode(Signal::Metrics, json.as_bytes()).unwrap();
    assert_eq!(validate(Signal::Metrics, &wire, Limits::default()), Ok(1));
    assert_eq!(
        encode(Signal::Metrics, &wire),
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":["1","2"],"explicitBounds":["Infinity"]}]}}]}]}]}"#
    );
    let error = problem(Signal::Metrics, &json.replace("\"1\",2", "1,-2"));
    assert_eq!(
        error.path,
        "resourceMetrics[0].scopeMetrics[0].metrics[0].histogram.dataPoints[0].bucketCounts[1]"
    );
}

#[test]
fn strings_are_escaped_where_json_demands_it() {
    let wire = [&[0x2a, 9][..], b"\"\\\n\r\t\x01\x1f", "\u{e9}".as_bytes()].concat();
    let json = "{\"name\":\"\\\"\\\\\\n\\r\\t\\u0001\\u001f\u{e9}\"}";
    assert_eq!(encode_message(&SPAN, &wire), json);
    assert_eq!(span(json), wire);
    assert_eq!(span(r#"{"n\u0061me":"\u00e9"}"#), [0x2a, 2, 0xc3, 0xa9]);
}

#[test]
fn fields_come_in_the_order_of_the_schema_whatever_the_order_on_the_wire() {
    let wire = [0x7a, 0, 0x30, 1, 0x2a, 1, b'n'];
    assert_eq!(encode_message(&SPAN, &wire), r#"{"name":"n","kind":1,"status":{}}"#);
}

#[test]
fn nesting_is_bounded_at_the_same_depth_as_on_the_wire() {
    let nested = |levels: usize| {
        let attribute = format!(
            r#"{{"key":"k","value":{}{{}}{}}}"#,
            r#"{"arrayValue":{"values":["#.repeat(levels),
            "]}}".repeat(levels)
        );
        format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{attribute}]}}}}]}}"#)
    };
    let wire = decode(Signal::Traces, nested(27).as_bytes()).unwrap();
    assert_eq!(validate(Signal::Traces, &wire, Limits::default()), Ok(0));
    assert_eq!(encode(Signal::Traces, &wire), nested(27));
    let error = problem(Signal::Traces, &nested(28));
    assert!(error.problem.contains("nested too deeply"), "{error}");
    assert!(decode(Signal::Traces, nested(100_000).as_bytes()).is_err());
    let ignored = format!(r#"{{"novel":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode(Signal::Traces, ignored.as_bytes()).is_ok());
}

#[test]
fn a_list_under_a_key_that_holds_one_value_is_an_error_and_the_reverse() {
    assert_eq!(decode_message(&RESOURCE, br#"{"attributes":{}}"#).unwrap_err().path, "attributes");
    assert_eq!(decode_message(&SPAN, br#"{"status":[]}"#).unwrap_err().path, "status");
    assert_eq!(decode_message(&SPAN, br#"{"name":[]}"#).unwrap_err().path, "name");
    assert_eq!(decode_message(&SPAN, br#"{"name":5}"#).unwrap_err().path, "name");
    assert_eq!(decode_message(&SPAN, br#"{"attributes":[5]}"#).unwrap_err().path, "attributes[0]");
}

#[test]
fn the_recorded_json_and_the_recorded_protobuf_are_the_same_request() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/scenario");
    let json = std::fs::read(format!("{corpus}/traces.otlp.json")).unwrap();
    let wire = std::fs::read(format!("{corpus}/traces.otlp.pb")).unwrap();
    let decoded = decode(Signal::Traces, &json).unwrap();
    assert_eq!(encode(Signal::Traces, &decoded), encode(Signal::Traces, &wire));
}

//! The two formats of the Trace API.

use super::*;
use muxbridge_testkit::oracle::trace::v1::Status;
use muxbridge_testkit::oracle::trace::v1::span::Event;
use serde_json::{Value as Json, json};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// `POST /v1/chat/completions` as the translation leaves it.
fn server() -> Span {
    Span {
        name: "POST /v1/chat/completions".into(),
        kind: 2,
        end_time_unix_nano: T0 + 812_250_000,
        ..span(vec![text("http.request.method", "POST"), text("http.route", "/v1/chat/completions")])
    }
}

/// A second attempt that failed, below a span that is not in the batch.
fn client() -> Span {
    Span {
        span_id: vec![0x53, 0x99, 0x5c, 0x3f, 0x42, 0xcd, 0x8a, 0xd8],
        parent_span_id: vec![0xa2, 0xfb, 0x4a, 0x1d, 0x1a, 0x96, 0xd3, 0x12],
        name: "POST".into(),
        kind: 3,
        start_time_unix_nano: T0 + 6_000_000,
        end_time_unix_nano: T0 + 796_000_000,
        status: Some(Status { code: 2, message: "ConnectTimeout: timed out".into() }),
        events: vec![Event {
            name: "exception".into(),
            attributes: vec![
                text("exception.type", "httpx.ConnectTimeout"),
                text("exception.message", "timed out"),
                text("exception.stacktrace", &"s".repeat(5000)),
            ],
            ..Event::default()
        }],
        ..span(vec![
            text("http.request.method", "POST"),
            text("server.address", "api.openai.com"),
            kv("server.port", Value::IntValue(443)),
            kv("http.request.resend_count", Value::IntValue(1)),
            text("error.type", "httpx.ConnectTimeout"),
        ])
    }
}

fn service() -> Vec<KeyValue> {
    vec![text("service.name", "modelmuxer")]
}

fn encoded(encode: fn(&Batch, &Options, &mut Counts) -> Vec<u8>, span: Span) -> Json {
    serde_json::from_slice(&encode(&batch_of(service(), vec![span]), &PLAIN, &mut Counts::default())).unwrap()
}

// V11, and `instrumentation.provider`, without which the spans belong to another kind of entity than over OTLP.
#[test]
fn the_newrelic_format_is_written_as_documented() {
    let out = trace_api(&batch_of(service(), vec![server()]), &PLAIN, &mut Counts::default());
    let expected = concat!(
        r#"[{"common":{"attributes":{"service.name":"modelmuxer","instrumentation.provider":"opentelemetry"}},"#,
        r#""spans":[{"trace.id":"0af7651916cd43dd8448eb211c80319c","id":"b7ad6b7169203331","#,
        r#""timestamp":1700000000000,"attributes":{"name":"POST /v1/chat/completions","duration.ms":812.25,"#,
        r#""span.kind":"server","http.request.method":"POST","http.route":"/v1/chat/completions"}}]}]"#,
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn in_the_newrelic_format_the_exception_becomes_attributes_of_a_failed_span() {
    let out = encoded(trace_api, client());
    let expected = json!({
        "name": "POST", "duration.ms": 790.0, "parent.id": "a2fb4a1d1a96d312", "span.kind": "client",
        "http.request.method": "POST", "server.address": "api.openai.com", "server.port": 443,
        "http.request.resend_count": 1, "error.type": "httpx.ConnectTimeout",
        "otel.status_code": "ERROR", "otel.status_description": "ConnectTimeout: timed out",
        "error.message": "ConnectTimeout: timed out", "error.class": "httpx.ConnectTimeout",
        "error.stack": "s".repeat(4096),
    });
    assert_eq!(out[0]["spans"][0]["attributes"], expected);
}

#[test]
fn an_exception_that_did_not_fail_the_span_does_not_make_it_an_error() {
    let mut handled = client();
    handled.status = None;
    handled.attributes.pop();
    let out = encoded(trace_api, handled);
    let attributes = out[0]["spans"][0]["attributes"].as_object().unwrap();
    assert!(attributes.keys().all(|k| !k.starts_with("error.")), "{attributes:?}");
}

// V12
#[test]
fn the_zipkin_format_is_written_as_documented() {
    let expected = json!([{
        "traceId": TRACE, "id": "53995c3f42cd8ad8", "parentId": "a2fb4a1d1a96d312",
        "kind": "CLIENT", "name": "post", "timestamp": 1_700_000_000_006_000_u64, "duration": 790_000,
        "localEndpoint": {"serviceName": "modelmuxer"},
        "remoteEndpoint": {"serviceName": "api.openai.com", "port": 443},
        "tags": {
            "http.request.resend_count": "1", "error.message": "ConnectTimeout: timed out",
            "error.type": "httpx.ConnectTimeout", "error.class": "httpx.ConnectTimeout",
            "error.stack": "s".repeat(4096), "http.request.method": "POST",
            "server.address": "api.openai.com", "server.port": "443",
            "otel.status_code": "ERROR", "otel.status_description": "ConnectTimeout: timed out",
            "instrumentation.provider": "opentelemetry",
        },
    }]);
    assert_eq!(encoded(zipkin, client()), expected);
}

#[test]
fn a_zipkin_span_lasts_at_least_a_microsecond_and_internal_has_no_kind() {
    let mut short = span(vec![
        kv("d", Value::DoubleValue(0.82)),
        kv("b", Value::BoolValue(true)),
        kv("a", array([s("x"), s("y")])),
    ]);
    short.kind = 1;
    short.end_time_unix_nano = T0;
    let out = encoded(zipkin, short);
    assert_eq!((&out[0]["duration"], out[0].get("kind")), (&json!(1), None));
    assert_eq!(out[0].get("remoteEndpoint"), None);
    let tags =
        json!({"d": "0.82", "b": "true", "a": r#"["x","y"]"#, "instrumentation.provider": "opentelemetry"});
    assert_eq!(out[0]["tags"], tags);
}

#[test]
fn what_json_cannot_hold_is_left_out_and_counted() {
    let mut no_id = span(vec![]);
    no_id.trace_id = vec![];
    let odd = span(vec![kv("nan", Value::DoubleValue(f64::NAN)), kv("list", array([s("stop")]))]);
    for encode in [trace_api, zipkin] {
        let mut counts = Counts::default();
        let out = encode(&batch_of(service(), vec![no_id.clone(), odd.clone()]), &PLAIN, &mut counts);
        assert!(!String::from_utf8(out).unwrap().contains("nan"));
        assert_eq!(counts.dropped().collect::<Vec<_>>(), [("no_id", 1)]);
        assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("array_to_text", 1), ("not_finite", 1)]);
    }
}

#[test]
fn the_ai_tag_and_the_older_names_are_in_the_trace_api_formats_too() {
    let batch = batch_of(service(), vec![span(vec![text("gen_ai.provider.name", "openai")])]);
    let out = trace_api(&batch, &Options::default(), &mut Counts::default());
    let out: Json = serde_json::from_slice(&out).unwrap();
    assert_eq!(out[0]["common"]["attributes"]["aiEnabledApp"], "true");
    assert_eq!(out[0]["spans"][0]["attributes"]["gen_ai.system"], "openai");
}

#[test]
fn a_batch_of_another_signal_is_an_empty_list() {
    let logs = muxbridge_testkit::batch(Signal::Logs, Bytes::new());
    assert_eq!(trace_api(&logs, &PLAIN, &mut Counts::default()), b"[]");
    assert_eq!(zipkin(&logs, &PLAIN, &mut Counts::default()), b"[]");
}

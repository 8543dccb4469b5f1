//! How a span of OpenTelemetry becomes one of Datadog.

use crate::build::*;
use muxbridge_exporter_datadog::encode::{OperationName, Options, to_json};
use muxbridge_testkit::oracle::trace::v1::span::{Event, Link};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};

#[test]
fn ids_are_the_low_halves_and_the_first_span_of_a_chunk_carries_the_high_one() {
    let second = Span {
        span_id: hex("0000000000000001"),
        parent_span_id: hex("00f067aa0ba902b7"),
        ..span(1, "b", vec![])
    };
    let (payloads, _) = payloads(&batch(vec![], vec![span(1, "a", vec![]), second]), &Options::default());
    let chunk = chunks(&payloads[0]).remove(0);
    assert_eq!(chunk[0].number("trace_id"), 12_379_570_969_274_382_480);
    assert_eq!(chunk[0].number("span_id"), 67_667_974_448_284_343);
    assert_eq!(chunk[0].number("parent_id"), 0);
    assert_eq!(chunk[0].meta("_dd.p.tid"), Some("640cfd8d00000000"));
    assert_eq!(chunk[0].meta("_dd.p.dm"), Some("-0"));
    assert_eq!(chunk[0].meta("otel.trace_id"), Some("640cfd8d00000000abcd1234ef567890"));
    assert_eq!(chunk[1].number("parent_id"), 67_667_974_448_284_343);
    assert_eq!(chunk[1].meta("_dd.p.tid"), None);
    assert_eq!((chunk[0].number("start"), chunk[0].number("duration")), (1_700_000_000_000_000_000, 1000));
    let short = Span { trace_id: hex("0000000000000000abcd1234ef567890"), ..span(1, "a", vec![]) };
    assert_eq!(one(vec![], short).meta("_dd.p.tid"), None);
}

#[test]
fn a_served_request_is_named_by_its_method_and_route() {
    let attributes = vec![
        kv("http.request.method", "POST"),
        kv("http.route", "/v1/chat/completions"),
        kv("http.response.status_code", 200),
    ];
    let read = one(vec![], span(SERVER, "x", attributes.clone()));
    assert_eq!(read.what(), ("http.server.request", "POST /v1/chat/completions", "web"));
    assert_eq!(read.meta("http.method"), Some("POST"));
    assert_eq!(read.metric("http.status_code"), Some(200.0));
    assert_eq!(read.meta("http.status_code"), Some("200"));
    assert_eq!(read.meta("http.request.method"), None);
    let client = one(vec![], span(CLIENT, "x", attributes));
    assert_eq!(client.what(), ("http.client.request", "POST", "http"));
}

#[test]
fn a_model_call_keeps_its_name_and_its_token_counts_are_numbers() {
    let attributes = vec![kv("gen_ai.request.model", "gpt-4o"), kv("gen_ai.usage.input_tokens", 12)];
    let read = one(vec![], span(CLIENT, "chat gpt-4o", attributes));
    assert_eq!(read.what(), ("client.request", "chat gpt-4o", "http"));
    assert_eq!(read.metric("gen_ai.usage.input_tokens"), Some(12.0));
    assert_eq!(read.meta("gen_ai.request.model"), Some("gpt-4o"));
}

#[test]
fn inner_spans_are_named_by_their_kind() {
    let internal = one(vec![], span(1, "route.decide", vec![]));
    assert_eq!(internal.what(), ("Internal", "route.decide", "custom"));
    assert_eq!(internal.meta("span.kind"), Some("internal"));
    let unspecified = one(vec![], span(0, "x", vec![]));
    assert_eq!((unspecified.text("name"), unspecified.meta("span.kind")), ("Internal", Some("unspecified")));
    assert_eq!(one(vec![], span(4, "x", vec![])).text("name"), "Producer");
    assert_eq!(one(vec![], span(1, "", vec![])).text("resource"), "Internal");
}

#[test]
fn protocols_give_operations_their_names() {
    let name = |kind, attributes| one(vec![], span(kind, "s", attributes)).text("name").to_owned();
    assert_eq!(
        name(3, vec![kv("messaging.system", "kafka"), kv("messaging.operation", "send")]),
        "kafka.send"
    );
    assert_eq!(name(3, vec![kv("rpc.system", "aws-api"), kv("rpc.service", "S3")]), "aws.S3.request");
    assert_eq!(name(3, vec![kv("rpc.system", "aws-api")]), "aws.client.request");
    assert_eq!(name(2, vec![kv("rpc.system", "grpc")]), "grpc.server.request");
    assert_eq!(
        name(3, vec![kv("faas.invoked_provider", "aws"), kv("faas.invoked_name", "f")]),
        "aws.f.invoke"
    );
    assert_eq!(name(2, vec![kv("faas.trigger", "timer")]), "timer.invoke");
    assert_eq!(name(1, vec![kv("graphql.operation.type", "query")]), "graphql.server.request");
    assert_eq!(name(2, vec![kv("network.protocol.name", "ws")]), "ws.server.request");
    assert_eq!(name(2, vec![]), "server.request");
    assert_eq!(name(2, vec![kv("operation.name", "My Op")]), "my_op");
    let options = Options { operation_name: OperationName::SpanName, ..Options::default() };
    assert_eq!(one_with(&options, vec![], span(2, "chat gpt-4o", vec![])).text("name"), "chat_gpt_4o");
}

#[test]
fn an_unknown_method_is_called_http() {
    let read = one(vec![], span(SERVER, "x", vec![kv("http.request.method", "_OTHER")]));
    assert_eq!(read.text("resource"), "HTTP");
}

#[test]
fn a_query_has_its_statement_as_resource() {
    let query = |system| vec![kv("db.system", system), kv("db.query.text", "SELECT 1")];
    let read = one(vec![], span(CLIENT, "x", query("postgresql")));
    assert_eq!(read.what(), ("postgresql.query", "SELECT 1", "sql"));
    assert_eq!(one(vec![], span(CLIENT, "x", query("redis"))).text("type"), "redis");
    assert_eq!(one(vec![], span(CLIENT, "x", query("couchdb"))).text("type"), "db");
}

#[test]
fn service_environment_and_version_come_from_the_span_then_the_resource_then_the_options() {
    let nothing = one(vec![], span(1, "x", vec![]));
    assert_eq!(nothing.text("service"), "otlpresourcenoservicename");
    assert_eq!(nothing.meta("env"), None);
    let resource = || {
        vec![
            kv("service.name", "ModelMuxer"),
            kv("service.version", "0.3"),
            kv("deployment.environment", "Old"),
            kv("deployment.environment.name", "Prod"),
        ]
    };
    let read = one(resource(), span(1, "x", vec![]));
    assert_eq!(
        (read.text("service"), read.meta("env"), read.meta("version")),
        ("modelmuxer", Some("prod"), Some("0.3"))
    );
    assert_eq!(read.meta("service.name"), None);
    let own = one(resource(), span(1, "x", vec![kv("service.name", "other")]));
    assert_eq!(own.text("service"), "other");
    let options = Options { env: "dev".into(), ..Options::default() };
    assert_eq!(one_with(&options, vec![], span(1, "x", vec![])).meta("env"), Some("dev"));
    assert_eq!(one_with(&options, resource(), span(1, "x", vec![])).meta("env"), Some("prod"));
}

fn failed(message: &str, attributes: Vec<muxbridge_testkit::oracle::common::v1::KeyValue>) -> Span {
    Span { status: Some(Status { code: 2, message: message.to_owned() }), ..span(CLIENT, "x", attributes) }
}

#[test]
fn an_error_says_what_is_known_of_it() {
    let status = one(vec![], failed("", vec![kv("http.response.status_code", 503)]));
    assert_eq!(status.number("error"), 1);
    assert_eq!(status.meta("error.msg"), Some("503 Service Unavailable"));
    assert_eq!(status.meta("otel.status_code"), Some("Error"));
    let mut thrown = failed("", vec![]);
    let exception = |text: &str| Event {
        name: "exception".into(),
        attributes: vec![
            kv("exception.message", text),
            kv("exception.type", "E"),
            kv("exception.stacktrace", "at"),
        ],
        ..Default::default()
    };
    thrown.events = vec![exception("first"), exception("last")];
    let read = one(vec![], thrown.clone());
    assert_eq!((read.meta("error.msg"), read.meta("error.message")), (Some("last"), Some("last")));
    assert_eq!((read.meta("error.type"), read.meta("error.stack")), (Some("E"), Some("at")));
    assert_eq!(read.meta("_dd.span_events.has_exception"), Some("true"));
    let described = one(vec![], Span { status: failed("told", vec![]).status, ..thrown.clone() });
    assert_eq!(described.meta("error.msg"), Some("told"));
    let fine = one(vec![], Span { status: None, ..thrown });
    assert_eq!((fine.number("error"), fine.meta("error.msg")), (0, None));
    assert_eq!(fine.meta("otel.status_code"), Some("Unset"));
}

#[test]
fn numbers_and_texts_go_where_they_belong_and_the_span_wins() {
    let attributes = vec![
        kv("i", 7),
        kv("big", i64::MAX),
        kv("d", 0.5),
        kv("nan", f64::NAN),
        kv("b", true),
        kv("shared", "span"),
        kv("http.request.header.x-a", "1"),
        kv("url.full", "http://x/"),
    ];
    let read = one(vec![kv("shared", "resource"), kv("only", "resource")], span(1, "x", attributes));
    assert_eq!((read.metric("i"), read.metric("d"), read.metric("nan")), (Some(7.0), Some(0.5), None));
    assert_eq!(read.meta("big"), Some("9223372036854775807"));
    assert_eq!((read.meta("b"), read.meta("nan")), (Some("true"), Some("NaN")));
    assert_eq!((read.meta("shared"), read.meta("only")), (Some("span"), Some("resource")));
    assert_eq!(
        (read.meta("http.request.headers.x-a"), read.meta("http.url")),
        (Some("1"), Some("http://x/"))
    );
    assert_eq!((read.meta("scope.attribute"), read.meta("otel.scope.name")), (Some("s"), Some("lib")));
    assert_eq!(
        (read.meta("otel.library.name"), read.meta("otel.library.version")),
        (Some("lib"), Some("1.2"))
    );
}

#[test]
fn the_share_that_was_kept_is_told_to_the_agent() {
    let rate = |state: &str| {
        one(vec![], Span { trace_state: state.into(), ..span(1, "x", vec![]) }).metric("_sample_rate")
    };
    assert_eq!(
        (rate("ot=th:8"), rate("ot=p:1;r:1"), rate("ot=p:63"), rate("")),
        (Some(0.5), Some(0.5), None, None)
    );
    let stated = Span { trace_state: "ot=th:8".into(), ..span(1, "x", vec![kv("_sample_rate", 0.1)]) };
    assert_eq!(one(vec![], stated).metric("_sample_rate"), Some(0.1));
}

#[test]
fn every_trace_is_kept_unless_the_span_says_otherwise() {
    let read = one(vec![], span(1, "x", vec![]));
    assert_eq!(read.metric("_sampling_priority_v1"), Some(1.0));
    let manual = one(vec![], span(1, "x", vec![kv("sampling.priority", 2), kv("analytics.event", true)]));
    assert_eq!(manual.metric("_sampling_priority_v1"), Some(2.0));
    assert_eq!(manual.meta("_dd.p.dm"), Some("-4"));
    assert_eq!(manual.metric("_dd1.sr.eausr"), Some(1.0));
    assert_eq!(manual.metric("sampling.priority"), None);
}

#[test]
fn the_priority_is_on_the_root_of_a_chunk_wherever_it_stands() {
    let child = Span {
        span_id: hex("0000000000000002"),
        parent_span_id: hex("00f067aa0ba902b7"),
        ..span(1, "c", vec![])
    };
    let grandchild =
        Span { span_id: hex("0000000000000003"), parent_span_id: hex("0000000000000002"), ..child.clone() };
    let remote = Span { parent_span_id: hex("00000000000000ff"), ..span(SERVER, "r", vec![]) };
    let (payloads, _) = payloads(&batch(vec![], vec![child, grandchild, remote]), &Options::default());
    let chunk = chunks(&payloads[0]).remove(0);
    let priorities: Vec<_> = chunk.iter().map(|s| s.metric("_sampling_priority_v1")).collect();
    assert_eq!(priorities, [Some(1.0), None, Some(1.0)]);
}

#[test]
fn who_counts_in_statistics_is_decided_by_kind() {
    let parent = hex("00000000000000ff");
    let counted = |kind, parent: &[u8]| {
        let read = one(vec![], Span { parent_span_id: parent.to_vec(), ..span(kind, "x", vec![]) });
        (read.metric("_top_level").is_some(), read.metric("_dd.measured").is_some())
    };
    assert_eq!(counted(1, &[]), (true, false));
    assert_eq!(counted(1, &parent), (false, false));
    assert_eq!(counted(SERVER, &parent), (true, false));
    assert_eq!(counted(5, &parent), (true, false));
    assert_eq!(counted(CLIENT, &parent), (false, true));
    assert_eq!(counted(4, &parent), (false, true));
    assert_eq!(counted(CLIENT, &[]), (true, false));
}

#[test]
fn events_and_links_are_valid_json_whatever_they_hold() {
    let hostile = "a\"b\\c\n\u{1}é";
    let event = Event {
        time_unix_nano: 5,
        name: hostile.into(),
        attributes: vec![kv(hostile, hostile), kv("n", 2)],
        dropped_attributes_count: 3,
    };
    let link = Link {
        trace_id: hex("000000000000000000000000000000aa"),
        span_id: hex("00000000000000bb"),
        trace_state: "a=b".into(),
        attributes: vec![kv("k", hostile), kv("i", 1)],
        ..Default::default()
    };
    let read = one(
        vec![],
        Span { events: vec![event, Event::default()], links: vec![link], ..span(1, "x", vec![]) },
    );
    let events: serde_json::Value = serde_json::from_str(read.meta("events").unwrap()).unwrap();
    assert_eq!(
        events,
        serde_json::json!([
            {"time_unix_nano": 5, "name": hostile, "attributes": {hostile: hostile, "n": 2}, "dropped_attributes_count": 3},
            {"time_unix_nano": 0, "name": ""},
        ])
    );
    let links: serde_json::Value = serde_json::from_str(read.meta("_dd.span_links").unwrap()).unwrap();
    assert_eq!(
        links,
        serde_json::json!([{
            "trace_id": "000000000000000000000000000000aa", "span_id": "00000000000000bb", "tracestate": "a=b",
            "attributes": {"k": hostile, "i": "1"},
        }])
    );
    assert_eq!(read.meta("_dd.span_events.has_exception"), None);
}

#[test]
fn the_host_is_the_resources_or_what_the_options_say() {
    let options = Options { hostname: "configured".into(), ..Options::default() };
    let host = |resource, attributes| {
        one_with(&options, resource, span(1, "x", attributes)).meta("_dd.hostname").map(str::to_owned)
    };
    assert_eq!(host(vec![kv("host.name", "h1")], vec![]).as_deref(), Some("h1"));
    assert_eq!(host(vec![], vec![kv("_dd.hostname", "h2")]).as_deref(), Some("h2"));
    assert_eq!(host(vec![kv("host.name", "localhost")], vec![]).as_deref(), Some("configured"));
}

#[test]
fn spans_without_ids_are_left_out_and_counted() {
    let bad = [
        Span { trace_id: vec![], ..span(1, "x", vec![]) },
        Span { trace_id: vec![0; 16], ..span(1, "x", vec![]) },
        Span { span_id: vec![0; 8], ..span(1, "x", vec![]) },
        span(1, "good", vec![]),
    ];
    let (payloads, counts) = payloads(&batch(vec![], bad.to_vec()), &Options::default());
    assert_eq!((counts.no_id, counts.encoded), (3, 1));
    assert_eq!(chunks(&payloads[0])[0].len(), 1);
}

#[test]
fn long_resources_and_odd_services_are_cut_and_counted() {
    let long = "é".repeat(3000);
    let batch = batch(vec![kv("service.name", "My Service!")], vec![span(1, &long, vec![])]);
    let (payloads, counts) = payloads(&batch, &Options::default());
    let read = chunks(&payloads[0]).remove(0).remove(0);
    assert_eq!((read.text("resource").len(), read.text("service")), (5000, "my_service"));
    assert_eq!(counts.adjusted, 2);
}

#[test]
fn a_payload_can_be_shown_as_json() {
    let (payloads, _) =
        payloads(&batch(vec![], vec![span(SERVER, "a\"b", vec![kv("d", 0.5)])]), &Options::default());
    let shown: serde_json::Value = serde_json::from_str(&to_json(&payloads[0].body).unwrap()).unwrap();
    assert_eq!(shown[0][0]["trace_id"], 12_379_570_969_274_382_480_u64);
    assert_eq!(
        (shown[0][0]["resource"].as_str(), shown[0][0]["metrics"]["d"].as_f64()),
        (Some("a\"b"), Some(0.5))
    );
    assert_eq!(to_json(&payloads[0].body[..20]), None);
    assert_eq!(to_json(&[0x91; 100]), None);
}

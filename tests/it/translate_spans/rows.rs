//! Rows of the table that the recorded scenario does not show, on spans made by hand.

use super::kit::*;
use muxbridge::trace::TraceOptions;
use muxbridge::translate::spans::Role;
use muxbridge::translate::table::{Convert, ROWS, Row};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value as Json, json};

fn translated(spans: Vec<Span>) -> Vec<Span> {
    translate(TraceOptions::default(), vec![request(spans)])
}

#[test]
fn a_blocked_prompt_is_a_denial_and_a_403_without_any_error() {
    let policy = span(
        1,
        2,
        1,
        "policy.enforce",
        [1, 2],
        json!({
            "tenant_id": "ab12", "blocked": true, "reasons": "jailbreak_detected,model_denied", "num_redactions": 3,
            "pii_types": "email,nationalid", "attributes": {},
        }),
    );
    let spans = translated(vec![policy, chat(1, 9)]);
    assert_eq!(head(&spans[0]), ("policy.enforce", INTERNAL, UNSET));
    assert_eq!(
        attributes(&spans[0].attributes),
        json!({
            "user.hash": "ab12", "modelmuxer.policy.verdict": "deny", "modelmuxer.policy.action": "block",
            "modelmuxer.policy.reasons": ["jailbreak_detected", "model_denied"], "modelmuxer.policy.redactions": 3,
            "modelmuxer.policy.pii_types": ["email", "nationalid"], "modelmuxer.policy.pii.low_confidence": false,
            "modelmuxer.span.name": "policy.enforce",
        })
    );
    let root = attributes(&spans[1].attributes);
    assert_eq!(root["http.response.status_code"], 403);
    assert_eq!(root["modelmuxer.route.outcome"], "policy_blocked");
    assert_eq!(head(&spans[1]).2, UNSET);
}

#[test]
fn three_failed_attempts_fail_the_call_with_the_error_of_the_last() {
    let first = failed(attempt(1, 1, [5, 10]), "RequestError: Retryable HTTP error: 429");
    let second = failed(attempt(1, 2, [110, 120]), "RequestError: retryable status: 500");
    let third = failed(attempt(1, 3, [420, 430]), "ReadTimeout: ");
    // Out of order: the number of the attempt decides which one was last.
    let spans = translated(vec![
        third,
        first,
        second,
        policy(1, false),
        invoke(1, "provider.invoke", 430),
        chat(1, 440),
    ]);
    let call = spans.iter().find(|s| s.name == "chat gpt-4o").unwrap();
    let facts = attributes(&call.attributes);
    assert_eq!(head(call).2, ERROR);
    assert_eq!(facts["error.type"], "timeout");
    assert_eq!(facts["modelmuxer.attempts"], 3);
    assert_eq!(facts["modelmuxer.retry.delay"], 0.4);
    let root = spans.iter().find(|s| s.kind == SERVER).unwrap();
    let facts = attributes(&root.attributes);
    assert_eq!(facts["http.response.status_code"], 502);
    assert_eq!(facts["modelmuxer.request.attempts"], 3);
    let third = attributes(&spans[0].attributes);
    assert_eq!(third["error.type"], "timeout");
    assert_eq!(third["http.request.resend_count"], 2);
    assert!(third.get("http.response.status_code").is_none());
}

#[test]
fn exceptions_with_a_status_of_their_own_reach_the_client_with_it() {
    for (message, expected) in [("RateLimitError: slow down", 429), ("AuthenticationError: no", 401)] {
        let failure = failed(attempt(1, 1, [5, 10]), message);
        let spans =
            translated(vec![failure, invoke(1, "provider.invoke", 11), policy(1, false), chat(1, 12)]);
        let root = &spans[3];
        assert_eq!(attributes(&root.attributes)["http.response.status_code"], expected);
        assert_eq!(head(root).2, UNSET, "4xx is no error of the server");
    }
}

#[test]
fn no_available_provider_is_a_503_and_an_error_of_the_request() {
    let router = span(1, 3, 1, "router.decide", [2, 3], json!({"route": "chat"}));
    let router = failed(router, "NoProvidersAvailableError: none");
    let spans = translated(vec![policy(1, false), router, chat(1, 9)]);
    assert_eq!(attributes(&spans[1].attributes)["error.type"], "no_providers_available");
    let root = attributes(&spans[2].attributes);
    assert_eq!(root["http.response.status_code"], 503);
    assert_eq!(root["error.type"], "503");
    assert_eq!(head(&spans[2]).2, ERROR);
}

#[test]
fn a_call_that_classifies_the_prompt_is_not_the_call_that_answers() {
    let mut classifier = invoke(1, "provider.invoke", 5);
    classifier.span_id = vec![9; 8];
    classifier.start_time_unix_nano = 0;
    // The decision was made, but no call followed: the circuit of the provider is open, or a stream still runs.
    let router = span(1, 3, 1, "router.decide", [6, 7], json!({"route": "chat"}));
    let spans = translated(vec![classifier, policy(1, false), router, chat(1, 9)]);
    let root = attributes(&spans[3].attributes);
    assert!(root.get("http.response.status_code").is_none());
    assert!(root.get("modelmuxer.stream").is_none());
    assert_eq!(root["modelmuxer.route.kind"], "auto");
}

#[test]
fn an_allowed_request_without_a_call_keeps_its_status_unknown() {
    // A rejected explicit model, an open circuit and a running stream look the same.
    let spans = translated(vec![policy(1, false), chat(1, 9)]);
    let root = attributes(&spans[1].attributes);
    assert!(root.get("http.response.status_code").is_none());
    assert!(root.get("modelmuxer.route.outcome").is_none());
    assert_eq!(root["user.hash"], "ab12");
}

#[test]
fn a_call_without_native_streaming_that_outlives_its_request_is_a_stream() {
    let spans = translated(vec![
        policy(1, false),
        chat(1, 9),
        attempt(1, 1, [5, 80]),
        invoke(1, "provider.invoke", 90),
    ]);
    assert_eq!(attributes(&spans[3].attributes)["gen_ai.request.stream"], true);
    assert_eq!(attributes(&spans[1].attributes)["modelmuxer.stream"], true);
    assert_eq!(spans[1].end_time_unix_nano, 90_000_000);
}

#[test]
fn below_a_server_span_of_the_same_service_a_request_is_internal() {
    let mut server = span(1, 7, 0, "POST /v1/chat/completions", [0, 20], json!({}));
    server.kind = SERVER;
    let mut root = chat(1, 9);
    root.parent_span_id = vec![7; 8];
    let both = |kind: i32| {
        let mut server = server.clone();
        server.kind = kind;
        let scopes = vec![scope_spans("modelmuxer", vec![root.clone()]), scope_spans("asgi", vec![server])];
        let spans = translate(TraceOptions::default(), vec![batch(encode(scopes))]);
        spans.iter().find(|s| s.span_id == vec![1; 8]).unwrap().kind
    };
    assert_eq!(both(SERVER), INTERNAL);
    assert_eq!(both(INTERNAL), SERVER);
    // A parent that is not there is a caller in another process.
    assert_eq!(translated(vec![root])[0].kind, SERVER);
}

#[test]
fn unknown_attributes_wrong_types_and_unknown_spans_are_kept() {
    let mut root = chat(1, 9);
    root.attributes.push(attribute("tenant.tier", json!("gold")));
    let call = span(1, 4, 1, "provider.invoke", [4, 5], json!({"provider": 5, "model": "m"}));
    let other = span(1, 8, 1, "cache.lookup", [4, 5], json!({"route": "x"}));
    let spans = translated(vec![other.clone(), call, root]);
    assert_eq!(spans[0], other);
    assert_eq!(attributes(&spans[1].attributes)["provider"], 5);
    assert_eq!(attributes(&spans[1].attributes)["gen_ai.request.model"], "m");
    assert_eq!(attributes(&spans[2].attributes)["tenant.tier"], "gold");
}

#[test]
fn an_attribute_that_the_source_already_has_is_not_written_twice() {
    let mut root = chat(1, 9);
    root.attributes.push(attribute("http.response.status_code", json!(504)));
    let mut call = invoke(1, "provider.invoke", 8);
    call.attributes.push(attribute("gen_ai.provider.name", json!("azure.ai.openai")));
    call.attributes.push(attribute("gen_ai.usage.input_tokens", json!(7)));
    let spans = translated(vec![attempt(1, 1, [5, 6]), call, policy(1, false), root]);
    let call = attributes(&spans[1].attributes);
    assert_eq!(call["gen_ai.provider.name"], "azure.ai.openai");
    assert_eq!(call["gen_ai.usage.input_tokens"], 7);
    let root = attributes(&spans[3].attributes);
    assert_eq!(root["http.response.status_code"], 504);
    assert_eq!(root["modelmuxer.http.status_source"], "reported");
    assert_eq!(root["error.type"], "504");
}

#[test]
fn options_change_what_they_say() {
    let router = span(1, 3, 1, "router.decide", [2, 3], json!({"route": "chat", "route.estimate.usd": 0.5}));
    let options = TraceOptions {
        price_correction: 1.0,
        tenant_id: true,
        keep_source_attributes: true,
        url_scheme: muxbridge::translate::spans::Scheme::Https,
        ..Default::default()
    };
    let spans = translate(options, vec![request(vec![policy(1, false), router, chat(1, 9)])]);
    assert_eq!(attributes(&spans[0].attributes)["modelmuxer.tenant.id"], "ab12");
    assert_eq!(attributes(&spans[0].attributes)["tenant_id"], "ab12");
    assert_eq!(attributes(&spans[1].attributes)["modelmuxer.route.estimate.cost"], 0.5);
    assert_eq!(attributes(&spans[2].attributes)["modelmuxer.tenant.id"], "ab12");
    assert_eq!(attributes(&spans[2].attributes)["url.scheme"], "https");
}

#[test]
fn methods_and_models_outside_the_lists_follow_the_conventions() {
    let root = span(1, 1, 0, "http.request", [0, 9], json!({"route": "/v1/models", "method": "PROPFIND"}));
    let call = span(2, 4, 1, "provider.invoke", [4, 5], json!({"provider": "openai", "model": "o1-mini"}));
    let spans = translated(vec![root, call]);
    assert_eq!(spans[0].name, "HTTP /v1/models");
    let root = attributes(&spans[0].attributes);
    assert_eq!(root["http.request.method"], "_OTHER");
    assert_eq!(root["http.request.method_original"], "PROPFIND");
    assert_eq!(attributes(&spans[1].attributes)["openai.api.type"], "responses");
}

#[test]
fn an_attribute_that_only_gets_another_name_keeps_its_value_and_gives_way_to_what_has_that_name() {
    let names = |role| match role {
        Role::Policy => "policy.enforce",
        Role::Router => "router.decide",
        _ => "",
    };
    let alone =
        |row: &&Row| ROWS.iter().filter(|r| (r.role, r.source) == (row.role, row.source)).count() == 1;
    let mut renamed = 0;
    for row in ROWS.iter().filter(alone).filter(|row| !names(row.role).is_empty()) {
        let (value, other) = match row.convert {
            Convert::Text => (json!("some text"), json!(7)),
            Convert::Int => (json!(7), json!("some text")),
            Convert::Double => (json!(0.5), json!("some text")),
            Convert::Bool => (json!(true), json!(7)),
            _ => continue,
        };
        renamed += 1;
        for keep_source_attributes in [false, true] {
            let options = TraceOptions { keep_source_attributes, ..Default::default() };
            let translated = |source: Json| {
                let span = span(1, 1, 9, names(row.role), [1, 2], source);
                let spans = translate(options.clone(), vec![request(vec![span])]);
                let Json::Object(mut attributes) = attributes(&spans[0].attributes) else { panic!() };
                attributes.remove("modelmuxer.span.name");
                Json::Object(attributes)
            };
            let with = |mut expected: serde_json::Map<String, Json>, source: &Json| {
                if keep_source_attributes {
                    expected.insert(row.source.to_owned(), source.clone());
                }
                Json::Object(expected)
            };
            let one = |key: &str, value: &Json| serde_json::Map::from_iter([(key.to_owned(), value.clone())]);
            let (source, target) = (one(row.source, &value), one(row.target, &value));
            assert_eq!(translated(source.clone().into()), with(target, &value));
            let own = one(row.target, &json!("its own"));
            let both = source.into_iter().chain(own.clone()).collect();
            assert_eq!(translated(Json::Object(both)), with(own, &value));
            let mismatch = one(row.source, &other);
            assert_eq!(translated(mismatch.clone().into()), Json::Object(mismatch), "{}", row.source);
        }
    }
    assert_eq!(renamed, 13, "rows of the table");
}

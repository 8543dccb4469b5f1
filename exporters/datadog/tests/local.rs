//! What an Agent can do is found out and used; what it asks for is obeyed if the user wants it.

use crate::build::*;
use crate::standin::pb::DdSketch;
use muxbridge_core::{ExportError, Exporter, names};
use muxbridge_exporter_datadog::Datadog;
use muxbridge_testkit::contract::{build, context};
use muxbridge_testkit::oracle::common::v1::{AnyValue, ArrayValue, any_value};
use muxbridge_testkit::oracle::logs::v1::LogRecord;
use muxbridge_testkit::oracle::trace::v1::span::Event;
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use muxbridge_testkit::{Recorded, Reply, Server};
use prost::Message;
use serde_json::{Value, json};
use std::net::UdpSocket;

const INFO: &str = r#"{"version":"7.64.0","endpoints":["/v0.4/traces","/v0.6/stats","/evp_proxy/v2/"],
    "feature_flags":["big_resource"],"client_drop_p0s":true,"span_events":true,"peer_tags":["db.name","peer.service"]}"#;

async fn agent(info: &'static str) -> Server {
    Server::start(move |request| match request.path.as_str() {
        "/info" => Reply::json(info),
        _ => Reply::json(r#"{"rate_by_service":{"service:,env:":1,"service:mm,env:t":0.5}}"#),
    })
    .await
}

fn config(server: &Server, more: Value) -> Value {
    let mut config = json!({ "trace_agent_url": server.url() });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn to<'r>(requests: &'r [Recorded], path: &str) -> Vec<&'r Recorded> {
    requests.iter().filter(|r| r.path == path).collect()
}

fn event() -> Event {
    let array = |values: Vec<any_value::Value>| {
        let values = values.into_iter().map(|v| AnyValue { value: Some(v) }).collect();
        V(any_value::Value::ArrayValue(ArrayValue { values }))
    };
    Event {
        time_unix_nano: 5,
        name: "exception".into(),
        attributes: vec![
            kv("s", "x"),
            kv("b", true),
            kv("i", -7),
            kv("d", 0.5),
            kv("list", array(vec![V::from("a").0, V::from("b").0])),
            kv("mixed", array(vec![V::from("a").0, V::from(1).0])),
            kv("gen_ai.input.messages", "secret"),
        ],
        ..Default::default()
    }
}

#[tokio::test]
async fn an_agent_is_asked_once_what_it_can_do_and_gets_what_it_knows() {
    let server = agent(INFO).await;
    let exporter = build::<Datadog>(config(&server, json!({})), &context::<Datadog>());
    let long = "é".repeat(8000);
    let batch = batch(vec![], vec![Span { events: vec![event()], ..span(1, &long, vec![]) }]);
    exporter.export(&batch).await.unwrap();
    exporter.export(&batch).await.unwrap();
    let requests = server.requests();
    assert_eq!(
        requests.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(),
        ["/info", "/v0.4/traces", "/v0.4/traces"]
    );
    let body = rmpv::decode::read_value(&mut &requests[1].body[..]).unwrap();
    let read = Read(body[0][0].clone());
    assert_eq!(read.text("resource").len(), 15_000);
    assert_eq!((read.meta("events"), read.meta("_dd.span_events.has_exception")), (None, Some("true")));
    let shown: Value =
        serde_json::from_str(&muxbridge_exporter_datadog::encode::to_json(&requests[1].body).unwrap())
            .unwrap();
    assert_eq!(
        shown[0][0]["span_events"],
        json!([{ "time_unix_nano": 5, "name": "exception", "attributes": {
            "s": { "type": 0, "string_value": "x" },
            "b": { "type": 1, "bool_value": true },
            "i": { "type": 2, "int_value": -7 },
            "d": { "type": 3, "double_value": 0.5 },
            "list": { "type": 4, "array_value": { "values": [
                { "type": 0, "string_value": "a" }, { "type": 0, "string_value": "b" } ] } },
            "mixed": { "type": 0, "string_value": "[\"a\",1]" },
        } }])
    );
    assert!(
        to(&requests, "/v0.4/traces").iter().all(|r| r.header("datadog-client-computed-stats").is_empty())
    );
}

#[tokio::test]
async fn an_agent_that_says_nothing_gets_what_every_agent_knows() {
    let server =
        Server::start(|r| if r.path == "/info" { Reply::status(404) } else { Reply::json("{}") }).await;
    let exporter = build::<Datadog>(config(&server, json!({ "client_stats": true })), &context::<Datadog>());
    let one = batch(vec![], vec![Span { events: vec![event()], ..span(SERVER, "x", vec![]) }]);
    exporter.export(&one).await.unwrap();
    let requests = server.requests();
    let traces = to(&requests, "/v0.4/traces");
    let body = rmpv::decode::read_value(&mut &traces[0].body[..]).unwrap();
    assert!(Read(body[0][0].clone()).meta("events").is_some());
    // Nobody takes statistics, so that the Agent must make them: saying otherwise would lose them.
    assert_eq!(traces[0].header("datadog-client-computed-stats"), "");
    assert!(to(&requests, "/v0.6/stats").is_empty());
}

fn quantile(sketch: &DdSketch, q: f64) -> f64 {
    let (store, mapping) = (sketch.positive.as_ref().unwrap(), sketch.mapping.as_ref().unwrap());
    let total: f64 = store.counts.iter().sum();
    let mut seen = 0.0;
    for (i, n) in store.counts.iter().enumerate() {
        seen += n;
        if seen > q * (total - 1.0) {
            return mapping.gamma.powf(f64::from(store.offset) + i as f64 + 0.5 - mapping.index_offset);
        }
    }
    f64::NAN
}

#[tokio::test]
async fn statistics_count_what_is_sent_and_the_header_says_that_they_come() {
    let server = agent(INFO).await;
    let more = json!({ "client_stats": true, "env": "t", "hostname": "h" });
    let exporter = build::<Datadog>(config(&server, more), &context::<Datadog>());
    let mut spans: Vec<_> = (1..=100u8)
        .map(|i| Span {
            trace_id: [i; 16].into(),
            end_time_unix_nano: 1_700_000_000_000_000_000 + u64::from(i) * 10_000_000,
            ..span(CLIENT, "q", vec![kv("db.system", "redis"), kv("db.namespace", "n"), kv("secret", "x")])
        })
        .collect();
    spans[9].status = Some(Status { code: 2, message: String::new() });
    // Stands for two.
    spans[19].trace_state = "ot=th:8".into();
    let inner = Span { parent_span_id: vec![3; 8], span_id: vec![4; 8], ..span(1, "inner", vec![]) };
    spans.push(inner);
    exporter.export(&batch(vec![kv("service.name", "mm")], spans)).await.unwrap();
    let requests = server.requests();
    assert_eq!(to(&requests, "/v0.4/traces")[0].header("datadog-client-computed-stats"), "true");
    let stats = to(&requests, "/v0.6/stats");
    let payload = rmpv::decode::read_value(&mut &stats[0].body[..]).unwrap();
    let text = |v: &rmpv::Value| v.as_str().unwrap().to_owned();
    assert_eq!(
        (text(&payload["Env"]), text(&payload["Hostname"]), text(&payload["Lang"])),
        ("t".into(), "h".into(), "rust".into())
    );
    let bucket = &payload["Stats"][0];
    assert_eq!(
        (bucket["Start"].as_u64(), bucket["Duration"].as_u64()),
        (Some(1_700_000_000_000_000_000), Some(10_000_000_000))
    );
    let groups = bucket["Stats"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "an inner span is not counted");
    let group = &groups[0];
    assert_eq!(
        (text(&group["Name"]), text(&group["SpanKind"]), text(&group["Type"])),
        ("redis.query".into(), "client".into(), "redis".into())
    );
    assert_eq!(
        (group["Hits"].as_u64(), group["Errors"].as_u64(), group["TopLevelHits"].as_u64()),
        (Some(101), Some(1), Some(101))
    );
    assert_eq!(group["Duration"].as_u64(), Some((5050 + 20) * 10_000_000));
    assert_eq!(group["PeerTags"].as_array().unwrap().iter().map(text).collect::<Vec<_>>(), ["db.name:n"]);
    let ok = DdSketch::decode(group["OkSummary"].as_slice().unwrap()).unwrap();
    assert_eq!(ok.positive.as_ref().unwrap().counts.iter().sum::<f64>(), 100.0);
    assert_eq!(ok.zero_count, 0.0);
    // Between 10 ms and 1 s, evenly: the sketch is right to less than one percent.
    for (q, nanos) in [(0.5, 5.0e8), (0.95, 9.5e8)] {
        let found = quantile(&ok, q);
        assert!((found - nanos).abs() / nanos < 0.03, "{q}: {found}");
    }
    let failed = DdSketch::decode(group["ErrorSummary"].as_slice().unwrap()).unwrap();
    assert!((quantile(&failed, 0.5) - 1e8).abs() / 1e8 < 0.008);
}

#[tokio::test]
async fn the_agents_rates_are_obeyed_if_the_user_wants_it() {
    let server = agent(INFO).await;
    let trace = |low: u64, attributes| {
        let mut id = vec![0; 8];
        id.extend(low.to_be_bytes());
        Span { trace_id: id, ..span(1, "x", attributes) }
    };
    let spans =
        || vec![trace(1, vec![]), trace(10, vec![]), trace(10 << 1, vec![kv("sampling.priority", 2)])];
    let mm = || batch(vec![kv("service.name", "mm"), kv("deployment.environment", "t")], spans());
    let priorities = |request: &Recorded| -> Vec<_> {
        let body = rmpv::decode::read_value(&mut &request.body[..]).unwrap();
        let spans = body.as_array().unwrap().iter().map(|c| Read(c[0].clone()));
        spans
            .map(|s| {
                let dm = s.meta("_dd.p.dm").unwrap().to_owned();
                (s.metric("_sampling_priority_v1").unwrap(), dm, s.metric("_dd.agent_psr"))
            })
            .collect()
    };
    for (sampling, expected) in [
        ("keep", [(1.0, "-0".to_owned(), None), (1.0, "-0".into(), None), (2.0, "-4".into(), None)]),
        (
            "agent_rates",
            [(1.0, "-1".into(), Some(0.5)), (0.0, "-1".into(), Some(0.5)), (2.0, "-4".into(), None)],
        ),
    ] {
        let exporter =
            build::<Datadog>(config(&server, json!({ "sampling": sampling })), &context::<Datadog>());
        // The first answer brings the rates.
        exporter.export(&mm()).await.unwrap();
        exporter.export(&mm()).await.unwrap();
        let requests = server.requests();
        assert_eq!(priorities(to(&requests, "/v0.4/traces").last().unwrap()), expected, "{sampling}");
        let others = batch(vec![kv("service.name", "other")], spans());
        exporter.export(&others).await.unwrap();
        let requests = server.requests();
        let last = priorities(to(&requests, "/v0.4/traces").last().unwrap());
        assert!(last[..2].iter().all(|(priority, ..)| *priority == 1.0), "the general rate is 1");
    }
}

#[tokio::test]
async fn spans_of_models_go_through_the_agent_and_the_traces_say_so() {
    let server = agent(INFO).await;
    let more = json!({ "llm_observability": { "enabled": true, "ml_app": "My App" } });
    let exporter = build::<Datadog>(config(&server, more), &context::<Datadog>());
    exporter.export(&crate::llm::model_trace()).await.unwrap();
    let requests = server.requests();
    let sent = to(&requests, "/evp_proxy/v2/api/v2/llmobs");
    assert_eq!(sent[0].header("x-datadog-evp-subdomain"), "llmobs-intake");
    assert_eq!(sent[0].header("content-type"), "application/json");
    let items: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(items.as_array().unwrap().len(), 2);
    assert!(items[0]["spans"][0]["tags"].as_array().unwrap().contains(&json!("ml_app:my_app")));
    // What has its own form must not be made of the traces once more.
    let shown = muxbridge_exporter_datadog::encode::to_json(&to(&requests, "/v0.4/traces")[0].body).unwrap();
    assert_eq!(shown.matches("\"dd_llmobs_enabled\":\"false\"").count(), 2);
}

#[tokio::test]
async fn what_is_lost_beside_the_spans_is_counted_and_does_not_repeat_them() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |r| match r.path.as_str() {
        "/info" => Reply::json(INFO),
        "/v0.6/stats" => Reply::status(if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            503
        } else {
            200
        }),
        "/v0.4/traces" => Reply::json("{}"),
        _ => Reply::status(404),
    })
    .await;
    let cx = context::<Datadog>();
    let more = json!({ "client_stats": true, "llm_observability": { "enabled": true } });
    let exporter = build::<Datadog>(config(&server, more), &cx);
    let batch = crate::llm::model_trace();
    assert!(matches!(exporter.export(&batch).await, Err(ExportError::Retryable { .. })));
    let delivered = exporter.export(&batch).await.unwrap();
    assert_eq!((delivered.rejected, delivered.omitted), (0, 0));
    let requests = server.requests();
    assert_eq!(to(&requests, "/v0.4/traces").len(), 1, "spans that had arrived were sent again");
    assert_eq!(cx.counters.sum(names::DROPPED, &[("signal", "llmobs"), ("reason", "rejected")]), 2);
}

#[tokio::test]
async fn the_container_and_what_kubernetes_says_are_headers() {
    let server = agent(INFO).await;
    let more = json!({ "metrics": { "container_id": "ci-abc", "external_data": "it-false,cn-x" } });
    let exporter = build::<Datadog>(config(&server, more), &context::<Datadog>());
    exporter.export(&batch(vec![], vec![span(1, "x", vec![])])).await.unwrap();
    let requests = server.requests();
    let traces = to(&requests, "/v0.4/traces");
    for (name, value) in [
        ("datadog-container-id", "abc"),
        ("datadog-entity-id", "ci-abc"),
        ("datadog-external-env", "it-false,cn-x"),
    ] {
        assert_eq!(traces[0].header(name), value, "{name}");
    }
    // What comes from another container is not the bridge's.
    let theirs = batch(vec![kv("container.id", "def")], vec![span(1, "x", vec![])]);
    exporter.export(&theirs).await.unwrap();
    let requests = server.requests();
    let last = to(&requests, "/v0.4/traces")[1];
    assert_eq!((last.header("datadog-container-id"), last.header("datadog-entity-id")), ("def", "ci-def"));
}

#[tokio::test]
async fn marked_records_are_messages_of_dogstatsd_and_others_are_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cx = context::<Datadog>();
    let url = format!("udp://{}", server.local_addr().unwrap());
    let exporter = build::<Datadog>(json!({ "dogstatsd_url": url, "env": "t" }), &cx);
    let event = LogRecord {
        body: kv("", "line1\nline2").value,
        attributes: vec![kv("datadog.event.title", "Deployed"), kv("datadog.event.alert_type", "success")],
        time_unix_nano: 1_700_000_000_000_000_000,
        ..Default::default()
    };
    let check = LogRecord {
        attributes: vec![kv("datadog.service_check.name", "mm.up"), kv("datadog.service_check.status", "?")],
        ..Default::default()
    };
    let plain = LogRecord { body: kv("", "a log").value, ..Default::default() };
    let delivered = exporter.export(&log_batch(vec![], vec![event, plain.clone(), check])).await.unwrap();
    assert_eq!(delivered.omitted, 1);
    let receive = || {
        let mut buffer = [0; 500];
        let n = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    };
    assert_eq!(receive(), "_e{8,12}:Deployed|line1\\nline2|d:1700000000|t:success|#env:t\n");
    // A status that nobody knows is unknown, never ok.
    assert_eq!(receive(), "_sc|mm.up|3|#env:t\n");
    assert_eq!(cx.counters.sum(names::DROPPED, &[("signal", "logs"), ("reason", "unsupported")]), 1);
    match exporter.export(&log_batch(vec![], vec![plain])).await {
        Err(ExportError::Permanent { reason, .. }) => assert_eq!(reason, "unsupported"),
        other => panic!("{other:?}"),
    }
}

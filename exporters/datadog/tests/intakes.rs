//! Without an Agent: every body is what its intake reads, within its limits, and failures lose and double nothing.

use crate::build::*;
use crate::standin::Datadog as Standin;
use muxbridge_core::{Batch, ExportError, Exporter, names};
use muxbridge_exporter_datadog::{Datadog, DatadogExporter};
use muxbridge_testkit::contract::{build, context, exporter_contract, http_contract, problems};
use muxbridge_testkit::oracle::common::v1::KeyValue;
use muxbridge_testkit::oracle::logs::v1::LogRecord;
use muxbridge_testkit::oracle::metrics::v1::number_data_point::Value as Point;
use muxbridge_testkit::oracle::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric::Data,
};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_767_225_600 * SECOND;

fn exporter(standin: &Standin, more: Value) -> DatadogExporter {
    build::<Datadog>(standin.config(more), &context::<Datadog>())
}

/// Exports until it succeeds, as the pipeline does.
async fn deliver(exporter: &DatadogExporter, batch: &Batch) -> muxbridge_core::Delivered {
    for _ in 0..50 {
        match exporter.export(batch).await {
            Ok(delivered) => return delivered,
            Err(ExportError::Retryable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it never ends");
}

fn point(value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        value: Some(Point::AsDouble(value)),
        start_time_unix_nano: NOW - 10 * SECOND,
        time_unix_nano: NOW,
        attributes,
        ..Default::default()
    }
}

fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    metric(name, Data::Gauge(Gauge { data_points: points }))
}

fn count(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    metric(name, Data::Sum(Sum { data_points: points, aggregation_temporality: 1, is_monotonic: true }))
}

fn histogram(counts: Vec<u64>) -> Metric {
    let point = HistogramDataPoint {
        count: counts.iter().sum(),
        bucket_counts: counts,
        explicit_bounds: vec![0.64, 1.28, 2.56],
        sum: Some(22.5),
        min: Some(0.7),
        max: Some(3.1),
        time_unix_nano: NOW,
        attributes: vec![kv("model", "m")],
        ..Default::default()
    };
    let data = Histogram { data_points: vec![point], aggregation_temporality: 1 };
    Metric { unit: "s".into(), ..metric("lat", Data::Histogram(data)) }
}

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    let config = |url: &str| {
        json!({ "mode": "agentless", "api_key": "k", "agentless": {
            "traces": "agent_payload", "traces_url": url, "api_url": url, "validate_key": false } })
    };
    exporter_contract::<Datadog>(config("http://127.0.0.1:1")).await;
    let batch = batch(vec![], vec![span(1, "x", vec![])]);
    http_contract::<Datadog>(config, &batch).await;
}

#[tokio::test]
async fn numbers_are_series_with_their_type_time_interval_host_and_tags() {
    let standin = Standin::start(&[]).await;
    let resource = vec![kv("service.name", "mm"), kv("host.name", "ignored")];
    let same_second = vec![point(1.5, vec![kv("m", "a")]), point(2.0, vec![kv("m", "a")])];
    let mut dated = point(7.0, vec![]);
    dated.start_time_unix_nano = 0;
    dated.time_unix_nano = 0;
    let batch = metrics(resource, vec![count("requests", same_second), gauge("level", vec![dated])]);
    let exporter = exporter(&standin, json!({ "hostname": "h1", "env": "t" }));
    exporter.export(&batch).await.unwrap();
    let taken = standin.taken();
    let [requests, level] = &taken.series[..] else { panic!("{:?}", taken.series) };
    assert_eq!((requests.metric.as_str(), requests.kind, requests.interval), ("requests", 1, 10));
    // Of two points of one second the intake keeps the last: they are added up before.
    assert_eq!((requests.points[0].value, requests.points[0].timestamp), (3.5, 1_767_225_600));
    assert_eq!(requests.tags, ["m:a", "service:mm", "env:t"]);
    assert_eq!((requests.resources[0].kind.as_str(), requests.resources[0].name.as_str()), ("host", "h1"));
    // A point without a time is of now; a level has no interval.
    assert_eq!((level.kind, level.interval, level.points[0].timestamp), (3, 0, 1_767_225_600));
    assert_eq!(standin.server.requests()[0].header("content-encoding"), "gzip");
}

#[tokio::test]
async fn the_host_of_the_resource_goes_where_hosts_go_and_none_is_none() {
    for (policy, host) in [("resource", "h2"), ("none", ""), ("agent", "h1")] {
        let standin = Standin::start(&[]).await;
        let batch = metrics(
            vec![kv("host.name", "h2")],
            vec![gauge("g", vec![point(1.0, vec![])]), histogram(vec![0, 1, 0, 0])],
        );
        let more = json!({ "hostname": "h1", "metrics": { "host": policy }, "agentless": { "distributions": "sketches" } });
        exporter(&standin, more).export(&batch).await.unwrap();
        let taken = standin.taken();
        assert_eq!(taken.series[0].resources.first().map_or("", |r| &r.name), host);
        assert_eq!(taken.sketches[0].host, host);
        assert!(!taken.series[0].tags.iter().any(|t| t.starts_with("host:")));
    }
}

#[tokio::test]
async fn histograms_are_values_one_by_one_or_sketches_with_exact_totals() {
    let standin = Standin::start(&[]).await;
    let batch = metrics(vec![], vec![histogram(vec![0, 3, 10, 1])]);
    exporter(&standin, json!({})).export(&batch).await.unwrap();
    exporter(&standin, json!({ "agentless": { "distributions": "sketches" } })).export(&batch).await.unwrap();
    let taken = standin.taken();
    let values = taken.points[0]["points"][0][1].as_array().unwrap();
    assert_eq!(
        (taken.points[0]["metric"].as_str(), taken.points[0]["points"][0][0].as_u64()),
        (Some("lat"), Some(NOW / SECOND))
    );
    assert_eq!(values.len(), 14, "each value stands for itself");
    assert!(values.iter().all(|v| (0.7..=3.1).contains(&v.as_f64().unwrap())));
    assert_eq!(taken.points[0]["tags"], json!(["model:m"]));
    let sketch = &taken.sketches[0].dogsketches[0];
    assert_eq!((sketch.cnt, sketch.sum, sketch.min, sketch.max), (14, 22.5, 0.7, 3.1));
    assert_eq!(sketch.avg, 22.5 / 14.0);
    assert_eq!(sketch.n.iter().sum::<u32>(), 14);
    assert!(sketch.k.windows(2).all(|k| k[0] <= k[1]) && sketch.k.len() == sketch.n.len());
    assert!(taken.series.is_empty());
}

fn many_series(n: usize) -> Batch {
    let wide = |i: usize| {
        // Text that does not compress, so that the limit on compressed bytes is met too.
        let mut state = i as u64 + 1;
        let noise: String = (0..150)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'a' + (state >> 59) as u8 % 26)
            })
            .collect();
        point(i as f64, vec![kv("i", i as i64), kv("noise", noise.as_str())])
    };
    metrics(vec![], vec![count("c", (0..n).map(wide).collect())])
}

#[tokio::test]
async fn what_is_over_the_limits_is_split_and_failures_lose_and_double_nothing() {
    let batch = many_series(12_000);
    // Every kind of failure that is worth another attempt, each after something was taken or refused as too large.
    let kinds = [503, 429, 408, 500, 403, 502];
    let failures: Vec<u16> = (0..60).map(|i| if i % 4 == 3 { kinds[i / 4 % 6] } else { 200 }).collect();
    let standin = Standin::start(&failures).await;
    let exporter = exporter(&standin, json!({}));
    let delivered = deliver(&exporter, &batch).await;
    assert_eq!((delivered.rejected, delivered.omitted), (0, 0));
    let mut seen = BTreeMap::new();
    for series in &standin.taken().series {
        *seen.entry(series.tags[0].clone()).or_insert(0) += 1;
    }
    assert_eq!((seen.len(), seen.values().max()), (12_000, Some(&1)));
    let requests = standin.server.requests();
    assert!(requests.iter().any(|r| r.wire_len > 512_000), "the limit was not met; the test shows nothing");
}

#[tokio::test]
async fn a_size_that_was_refused_once_is_not_tried_again() {
    let standin = Standin::start(&[]).await;
    let exporter = exporter(&standin, json!({}));
    deliver(&exporter, &many_series(12_000)).await;
    let refused =
        |from: usize| standin.server.requests()[from..].iter().filter(|r| r.wire_len > 512_000).count();
    let first = standin.server.requests().len();
    assert!(refused(0) > 0, "the limit was not met; the test shows nothing");
    deliver(&exporter, &many_series(12_001)).await;
    assert_eq!(refused(first), 0);
    assert_eq!(standin.taken().series.len(), 24_001);
}

#[tokio::test]
async fn a_rejected_request_does_not_hold_up_the_others_and_is_counted() {
    let standin = Standin::start(&[400]).await;
    let records = (0..1500).map(|i| LogRecord { body: kv("", i).value, ..Default::default() }).collect();
    let delivered = exporter(&standin, json!({})).export(&log_batch(vec![], records)).await.unwrap();
    assert_eq!((delivered.rejected, standin.taken().logs.len()), (1000, 500));
    // All of it rejected: the error says why.
    let standin = Standin::start(&[422]).await;
    let one = log_batch(vec![], vec![LogRecord { body: kv("", "x").value, ..Default::default() }]);
    match exporter(&standin, json!({})).export(&one).await {
        Err(ExportError::Permanent { reason, source }) => {
            assert_eq!(reason, "rejected");
            assert!(source.to_string().contains("422"), "{source}");
        }
        other => panic!("{other:?}"),
    };
}

#[tokio::test]
async fn logs_carry_their_attributes_resource_and_tags() {
    let standin = Standin::start(&[]).await;
    let record = LogRecord {
        time_unix_nano: NOW + 5_000_000,
        body: kv("", "body").value,
        severity_text: "WARN".into(),
        event_name: "route.decided".into(),
        attributes: vec![kv("model", "m"), kv("message", "told"), kv("ddtags", "a:b"), kv("service", "mine")],
        ..Default::default()
    };
    let resource =
        vec![kv("service.name", "mm"), kv("deployment.environment.name", "prod"), kv("hostname", "h")];
    let more = json!({ "hostname": "h1", "logs": { "source": "src" } });
    exporter(&standin, more).export(&log_batch(resource, vec![record])).await.unwrap();
    let taken = standin.taken();
    let log = taken.logs[0].as_object().unwrap();
    for (key, value) in [
        ("message", "told"),
        ("status", "WARN"),
        ("hostname", "h1"),
        ("service", "mm"),
        ("ddsource", "src"),
        ("ddtags", "service:mm,env:prod,a:b"),
        ("@timestamp", "2026-01-01T00:00:00.005Z"),
        ("otel.timestamp", "1767225600005000000"),
        ("otel.event_name", "route.decided"),
        ("model", "m"),
        ("service.name", "mm"),
        ("otel.hostname", "h"),
    ] {
        assert_eq!(log[key], value, "{key}");
    }
    assert!(!log.contains_key("dd.trace_id"), "there is no trace to tie it to");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_cut_and_counted() {
    let standin = Standin::start(&[]).await;
    let cx = context::<Datadog>();
    let long = "\"é".repeat(700_000);
    let huge = LogRecord { attributes: vec![kv("a", long.as_str())], ..Default::default() };
    let record = LogRecord { body: kv("", long.as_str()).value, ..Default::default() };
    let exporter = build::<Datadog>(standin.config(json!({})), &cx);
    let delivered = exporter.export(&log_batch(vec![], vec![record, huge])).await.unwrap();
    assert_eq!(delivered.omitted, 1);
    let taken = standin.taken();
    assert_eq!(taken.logs.len(), 1);
    assert!(taken.logs[0].to_string().len() <= 1_000_000 && taken.logs[0].to_string().len() > 900_000);
    assert_eq!(cx.counters.sum(names::ADJUSTED, &[("reason", "log_message")]), 1);
    assert_eq!(cx.counters.sum(names::DROPPED, &[("signal", "logs"), ("reason", "too_large")]), 1);
}

#[tokio::test]
async fn marked_records_are_events_and_checks() {
    let standin = Standin::start(&[]).await;
    let event = LogRecord {
        body: kv("", "what happened").value,
        severity_number: 17,
        time_unix_nano: NOW,
        attributes: vec![kv("datadog.event.title", "Deployed"), kv("datadog.event.aggregation_key", "k")],
        ..Default::default()
    };
    let check = LogRecord {
        attributes: vec![
            kv("datadog.service_check.name", "mm.up"),
            kv("datadog.service_check.status", "critical"),
        ],
        ..Default::default()
    };
    let plain = LogRecord { body: kv("", "a log").value, ..Default::default() };
    let batch = log_batch(vec![kv("service.name", "mm")], vec![event, check, plain]);
    exporter(&standin, json!({ "hostname": "h1" })).export(&batch).await.unwrap();
    let taken = standin.taken();
    assert_eq!(
        taken.events,
        [json!({ "title": "Deployed", "text": "what happened", "alert_type": "error", "priority": "normal",
            "aggregation_key": "k", "date_happened": NOW / SECOND, "tags": ["service:mm"] })]
    );
    assert_eq!(
        taken.checks,
        [json!({ "check": "mm.up", "host_name": "h1", "status": 2, "tags": ["service:mm"] })]
    );
    assert_eq!((taken.logs.len(), taken.logs[0]["message"].as_str()), (1, Some("a log")));
}

fn trace(i: u8, size: usize) -> Vec<Span> {
    let root =
        Span { trace_id: [i; 16].into(), span_id: vec![1; 8], ..span(SERVER, &"n".repeat(size), vec![]) };
    let child = Span { span_id: vec![2; 8], parent_span_id: vec![1; 8], ..root.clone() };
    vec![root, child]
}

#[tokio::test]
async fn traces_and_their_statistics_go_as_agents_send_them() {
    let standin = Standin::start(&[]).await;
    let mut spans: Vec<_> = (1..=60).flat_map(|i| trace(i, 10)).collect();
    spans[0].status = Some(Status { code: 2, message: "no".into() });
    let batch = batch(vec![kv("service.name", "mm"), kv("deployment.environment", "t")], spans);
    let exporter = exporter(&standin, json!({ "agentless": { "traces": "agent_payload" } }));
    exporter.export(&batch).await.unwrap();
    let taken = standin.taken();
    assert_eq!(taken.chunks.len(), 60);
    assert!(taken.chunks.iter().all(|c| c.priority == 1 && c.spans.len() == 2));
    let root = &taken.chunks[0].spans[0];
    assert_eq!(
        (root.service.as_str(), root.name.as_str(), root.kind.as_str()),
        ("mm", "server.request", "web")
    );
    assert_eq!((root.error, root.duration, root.meta["error.msg"].as_str()), (1, 1000, "no"));
    assert_eq!(root.metrics["_top_level"], 1.0);
    // Children and roots are groups of their own.
    assert_eq!(stats_of(&taken.stats[0]["Stats"][0], "Hits"), [60, 60]);
    assert_eq!(stats_of(&taken.stats[0]["Stats"][0], "Errors"), [0, 1]);
}

fn stats_of(payload: &rmpv::Value, key: &str) -> Vec<u64> {
    let buckets = payload["Stats"].as_array().unwrap();
    let groups = buckets.iter().flat_map(|b| b["Stats"].as_array().unwrap());
    groups.map(|g| g[key].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn what_no_agent_cuts_is_cut_here() {
    let standin = Standin::start(&[]).await;
    let attributes =
        vec![kv("v", "é".repeat(20_000).as_str()), kv(&"k".repeat(300), "x"), kv(&"n".repeat(300), 1)];
    let batch = batch(vec![], vec![span(1, "x", attributes)]);
    exporter(&standin, json!({ "agentless": { "traces": "agent_payload" } })).export(&batch).await.unwrap();
    let taken = standin.taken();
    let span = &taken.chunks[0].spans[0];
    assert_eq!((span.meta["v"].len(), span.meta[&"k".repeat(200)].as_str()), (25_000, "x"));
    assert_eq!(span.metrics[&"n".repeat(200)], 1.0);
}

#[tokio::test]
async fn large_traces_are_split_and_a_retry_goes_on_where_it_stopped() {
    let spans: Vec<_> = (1..=200).flat_map(|i| trace(i, 20_000)).collect();
    let batch = batch(vec![], spans);
    // The second request fails, and later one of the statistics.
    let standin = Standin::start(&[200, 503, 200, 200, 500]).await;
    let exporter = exporter(&standin, json!({ "agentless": { "traces": "agent_payload" } }));
    deliver(&exporter, &batch).await;
    let taken = standin.taken();
    let mut ids: Vec<_> = taken.chunks.iter().map(|c| c.spans[0].trace_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((taken.chunks.len(), ids.len(), taken.stats.len()), (200, 200, 1));
}

#[tokio::test]
async fn traces_go_to_the_otlp_intake_as_they_are_but_without_content() {
    let standin = Standin::start(&[]).await;
    let model = vec![
        kv("gen_ai.operation.name", "chat"),
        kv("gen_ai.input.messages", "[secret]"),
        kv("dd_llmobs_enabled", true),
    ];
    let with_model = batch(vec![], vec![span(CLIENT, "chat", model)]);
    let plain = batch(vec![], vec![span(CLIENT, "x", vec![])]);
    exporter(&standin, json!({})).export(&plain).await.unwrap();
    exporter(&standin, json!({})).export(&with_model).await.unwrap();
    let more = json!({ "content": true, "llm_observability": { "enabled": true, "ml_app": "My App" } });
    exporter(&standin, more).export(&with_model).await.unwrap();
    let taken = standin.taken();
    assert_eq!(taken.otlp[0].body, plain.otlp(), "nothing was to be changed");
    let attributes = |i: usize| {
        let request = muxbridge_testkit::oracle::decode_traces(&taken.otlp[i].body);
        let span = request.resource_spans[0].scope_spans[0].spans[0].clone();
        span.attributes.into_iter().map(|kv| (kv.key, kv.value.unwrap().value.unwrap())).collect::<Vec<_>>()
    };
    let (off, on) = (attributes(1), attributes(2));
    let text = |v: &str| V::from(v).0;
    assert_eq!(
        off,
        [("gen_ai.operation.name".into(), text("chat")), ("dd_llmobs_enabled".into(), V::from(false).0)]
    );
    assert_eq!(on.len(), 3);
    assert!(on.contains(&("gen_ai.input.messages".into(), text("[secret]"))));
    assert!(on.contains(&("dd_llmobs_enabled".into(), V::from(true).0)));
    assert_eq!((taken.otlp[1].header("dd-otlp-source"), taken.otlp[1].header("compute_stats")), ("", "true"));
    assert_eq!(
        (taken.otlp[2].header("dd-otlp-source"), taken.otlp[2].header("dd-ml-app")),
        ("llmobs", "my_app")
    );
}

#[tokio::test]
async fn spans_of_models_go_to_the_span_api_beside_the_payload_of_agents() {
    let standin = Standin::start(&[]).await;
    let more =
        json!({ "llm_observability": { "enabled": true }, "agentless": { "traces": "agent_payload" } });
    exporter(&standin, more).export(&crate::llm::model_trace()).await.unwrap();
    let taken = standin.taken();
    assert_eq!(taken.llm.len(), 2);
    let [agent, chat] = &taken.llm[..] else { panic!() };
    assert_eq!(
        (&agent["ml_app"], &agent["parent_id"], &agent["meta"]["kind"]),
        (&json!("mm"), &json!("undefined"), &json!("agent"))
    );
    assert_eq!((&chat["meta"]["kind"], &chat["parent_id"]), (&json!("llm"), &agent["span_id"]));
    assert_eq!(chat["meta"]["metadata"]["model_name"], "gpt-4o-2024");
    assert_eq!(chat["metrics"], json!({ "input_tokens": 12, "output_tokens": 3, "total_tokens": 15 }));
}

#[tokio::test]
async fn with_llm_observability_as_the_only_intake_other_spans_are_omitted_and_a_failure_doubles_nothing() {
    let standin = Standin::start(&[503, 429]).await;
    let more = json!({ "llm_observability": { "enabled": true, "ml_app": "My App" },
        "agentless": { "traces": "llm_observability" } });
    let cx = context::<Datadog>();
    let exporter = build::<Datadog>(standin.config(more), &cx);
    let delivered = deliver(&exporter, &crate::llm::model_trace()).await;
    assert_eq!((delivered.rejected, delivered.omitted), (0, 2));
    let omitted = [("signal", "traces"), ("reason", "not_of_a_model")];
    assert_eq!(cx.counters.sum(names::DROPPED, &omitted), 2);
    let taken = standin.taken();
    let spans: Vec<_> =
        taken.llm.iter().map(|s| json!([s["name"], s["ml_app"], s["meta"]["kind"]])).collect();
    assert_eq!(spans, [json!(["invoke", "my_app", "agent"]), json!(["chat gpt-4o", "my_app", "llm"])]);
    assert!(taken.chunks.is_empty() && taken.otlp.is_empty());
    // What people and models wrote stays here unless it is asked for.
    assert!(standin.server.requests().iter().all(|r| !r.body.windows(6).any(|w| w == b"secret")));
}

#[tokio::test]
async fn the_key_is_checked_at_start_and_a_wrong_one_stops_nothing() {
    let standin = muxbridge_testkit::Server::start(|_| muxbridge_testkit::Reply::status(403)).await;
    let config =
        json!({ "mode": "agentless", "api_key": "secret", "agentless": { "api_url": standin.url() } });
    let _exporter = build::<Datadog>(config, &context::<Datadog>());
    let requests = standin.wait_for(1).await;
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/api/v1/validate"));
    assert_eq!(requests[0].header("dd-api-key"), "secret");
}

#[test]
fn every_site_has_its_hosts_and_every_mistake_is_named() {
    for site in [
        "datadoghq.com",
        "us3.datadoghq.com",
        "us5.datadoghq.com",
        "datadoghq.eu",
        "ap1.datadoghq.com",
        "ap2.datadoghq.com",
        "uk1.datadoghq.com",
        "ddog-gov.com",
        "us2.ddog-gov.com",
        "datad0g.com",
    ] {
        let config = json!({ "mode": "agentless", "api_key": "k", "site": site, "agentless": { "traces": "agent_payload" } });
        assert!(problems::<Datadog>(&config).is_empty(), "{site}");
    }
    let paths = |config: Value| -> Vec<String> {
        problems::<Datadog>(&config).iter().map(|p| p.split(": ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(json!({ "mode": "agentless" })), ["api_key"]);
    assert_eq!(paths(json!({ "api_key": "k" })), ["api_key"]);
    assert_eq!(
        paths(json!({ "mode": "agentless", "api_key": "k\n", "site": "https://x" })),
        ["api_key", "site"]
    );
    let agents = json!({ "mode": "agentless", "api_key": "k", "client_stats": true, "sampling": "agent_rates",
        "metrics": { "timestamps": true } });
    assert_eq!(paths(agents), ["client_stats", "sampling", "metrics.timestamps"]);
    let otlp = json!({ "mode": "agentless", "api_key": "k", "site": "ddog-gov.com", "operation_name": "span_name",
        "agentless": { "api_url": "x" } });
    assert_eq!(paths(otlp), ["agentless.api_url", "agentless.traces"]);
    assert_eq!(paths(json!({ "client_stats": true, "discovery": false })), ["client_stats"]);
    assert_eq!(paths(json!({ "llm_observability": { "ml_app": "x" } })), ["llm_observability.ml_app"]);
    let config = format!("{:?}", build_config("canary"));
    assert!(!config.contains("canary"), "the key can be printed");
}

fn build_config(key: &str) -> muxbridge_exporter_datadog::Config {
    let api_key = muxbridge_core::config::Secret::new(key);
    muxbridge_exporter_datadog::Config { api_key, ..Default::default() }
}

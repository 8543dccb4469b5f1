//! The exporter against a stand-in for New Relic that enforces every documented limit.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/telemetry.rs"]
mod telemetry;

use bytes::Bytes;
use muxbridge_core::{Batch, Delivered, Exporter, Signal, names};
use muxbridge_exporter_newrelic::{NewRelic, encode};
use muxbridge_testkit::oracle::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use muxbridge_testkit::oracle::{self, Message};
use muxbridge_testkit::{batch, contract, corpus, corpus_traces, newrelic};
use proptest::prelude::*;
use serde_json::json;
use telemetry::*;

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    contract::exporter_contract::<NewRelic>(json!({"license_key": KEY})).await;
    for mode in modes() {
        contract::http_contract::<NewRelic>(|url| config(url, &mode), &contract::any_traces()).await;
    }
}

#[tokio::test]
async fn the_recorded_telemetry_arrives_without_breaking_a_limit_in_every_mode() {
    let recorded: Vec<Batch> = ["run1", "workers2"].into_iter().flat_map(corpus_traces).collect();
    let sent: usize = recorded.iter().map(Batch::items).sum();
    for mode in modes() {
        let server = standin().await;
        let (exporter, _) = exporter(&server.url(), &mode);
        for spans in &recorded {
            assert_eq!(exporter.export(spans).await.unwrap(), Delivered::default());
        }
        let arrived: usize = server.requests().iter().map(|r| ids(r).len()).sum();
        assert_eq!((arrived, violations(&server)), (sent, vec![]), "{mode}");
    }
}

#[test]
fn the_readme_describes_every_option_and_every_reason() {
    let readme = include_str!("../README.md");
    let schema = muxbridge_core::config::schema::<muxbridge_exporter_newrelic::Config>();
    let options = schema["properties"].as_object().unwrap();
    assert!(options.len() >= 17);
    for option in options.keys() {
        assert!(readme.contains(&format!("`{option}`")), "{option} is not in the README");
    }
    let reasons = include_str!("../src/encode.rs").split("mod reason {").nth(1).unwrap();
    let reasons: Vec<&str> =
        reasons.lines().filter_map(|l| l.split("&str = \"").nth(1)?.split('"').next()).collect();
    assert!(reasons.len() >= 25);
    for reason in reasons {
        assert!(readme.contains(&format!("`{reason}`")), "{reason} is not in the README");
    }
}

/// A file that was made with Google's protobuf and OpenTelemetry's Python SDK.
fn golden(signal: Signal, file: &str) -> Batch {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/").to_owned() + file;
    batch(signal, std::fs::read(path).unwrap().into())
}

#[tokio::test]
async fn all_signals_and_all_that_is_derived_keep_the_rules_of_all_five_apis() {
    let mut paths = std::collections::BTreeSet::new();
    for mut mode in modes() {
        mode["llm_events"] = json!(true);
        let server = newrelic::Standin::start([]).await;
        let (exporter, counters) = exporter(&server.url(), &mode);
        let mut all: Vec<Batch> = ["run1", "workers2"].into_iter().flat_map(corpus_traces).collect();
        all.push(batch(Signal::Traces, Bytes::from(corpus("scenario/traces.otlp.pb"))));
        all.push(golden(Signal::Traces, "otlp_traces.pb"));
        all.push(golden(Signal::Metrics, "otlp_metrics.pb"));
        all.push(golden(Signal::Logs, "otlp_log.pb"));
        all.push(golden(Signal::Logs, "otlp_llm_event.pb"));
        for one in &all {
            assert_eq!(exporter.export(one).await.unwrap(), Delivered::default(), "{mode}");
        }
        exporter.shutdown().await;
        assert_eq!(server.violations(), [""; 0], "{mode}");
        assert_eq!(server.requests().len(), server.taken().len(), "{mode}");
        assert_eq!(counters.sum(names::DERIVED, &[("rule", "newrelic.llm_events")]), 1, "{mode}");
        paths.extend(server.taken().into_iter().map(|r| r.path));
    }
    let expected = [
        "/log/v1",
        "/metric/v1",
        "/trace/v1",
        "/v1/accounts/events",
        "/v1/logs",
        "/v1/metrics",
        "/v1/traces",
    ];
    assert_eq!(paths.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn metrics_and_logs_go_over_otlp_even_with_the_trace_api() {
    let server = standin().await;
    let (exporter, _) = exporter(&server.url(), &json!({"mode": "trace_api"}));
    let attributes = vec![text("logger.name", "app.router")];
    let log = oracle::logs::v1::LogRecord { attributes, ..Default::default() };
    let scope_logs = vec![oracle::logs::v1::ScopeLogs { log_records: vec![log], ..Default::default() }];
    let resource_logs = vec![oracle::logs::v1::ResourceLogs { scope_logs, ..Default::default() }];
    let logs = oracle::ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    exporter.export(&batch(Signal::Logs, logs.into())).await.unwrap();
    exporter.export(&batch(Signal::Metrics, gauge(1.0).into())).await.unwrap();
    let paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!((paths, violations(&server)), (vec!["/v1/logs".into(), "/v1/metrics".into()], vec![]));
}

#[tokio::test]
async fn a_batch_of_which_nothing_can_be_stored_is_not_sent_but_counted() {
    let server = standin().await;
    let (exporter, counters) = exporter(&server.url(), &json!({}));
    let delivered = exporter.export(&batch(Signal::Metrics, gauge(f64::NAN).into())).await.unwrap();
    assert_eq!((delivered.omitted, server.requests().len()), (1, 0));
    let labels = [("component", "newrelic"), ("signal", "metrics"), ("reason", "not_finite")];
    assert_eq!(counters.sum(names::DROPPED, &labels), 1);
}

#[test]
fn the_standin_finds_what_an_unlimited_request_breaks() {
    let mut headers = http::HeaderMap::new();
    for (name, value) in
        [("api-key", "k"), ("user-agent", "muxbridge"), ("content-type", "application/x-protobuf")]
    {
        headers.insert(name, value.parse().unwrap());
    }
    let found = newrelic::violations("/v1/traces", &headers, spans(1, 5000).otlp(), 10);
    assert_eq!(found, ["span.modelmuxer.noise: string over 4095 characters"]);
    let found = newrelic::violations("/v1/metrics", &headers, &gauge(f64::NAN), 10);
    assert_eq!(found, ["metric modelmuxer_active_connections gauge: no finite value"]);
    let found = newrelic::violations("/v1/traces", &headers, spans(1, 10).otlp(), 1_000_000);
    assert_eq!(found, ["request: 1000000 bytes on the wire"]);
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.]{0,6}",
        "é{250,300}",
        proptest::sample::select(vec![
            "timestamp",
            "name",
            "trace.id",
            "entity.guid",
            "entityGuid",
            "value",
            "mm.value",
            "service.name",
            "m",
            "mm.m",
            "a-b",
            "a/b",
            "gen_ai.provider.name",
            "gen_ai.system",
            "error.type",
            "aiEnabledApp",
            "guid",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        "[a-zé]{0,8}".prop_map(|s| Some(Value::StringValue(s))),
        (4090usize..4100).prop_map(|n| Some(Value::StringValue("é".repeat(n)))),
        any::<bool>().prop_map(|b| Some(Value::BoolValue(b))),
        any::<i64>().prop_map(|i| Some(Value::IntValue(i))),
        any::<f64>().prop_map(|d| Some(Value::DoubleValue(d))),
        Just(Some(Value::DoubleValue(f64::NAN))),
        Just(Some(Value::BytesValue(vec![1, 2]))),
        (60usize..70).prop_map(|n| {
            let values = vec![AnyValue { value: Some(Value::IntValue(7)) }; n];
            Some(Value::ArrayValue(ArrayValue { values }))
        }),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 4, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4);
        let map = proptest::collection::vec((any_key(), inner), 0..4);
        prop_oneof![
            list.prop_map(|values| Some(Value::ArrayValue(ArrayValue { values }))),
            map.prop_map(|entries| {
                let entry = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
                Some(Value::KvlistValue(KeyValueList { values: entries.into_iter().map(entry).collect() }))
            }),
        ]
        .prop_map(|value| AnyValue { value })
    })
}

/// Few attributes of all kinds, sometimes with many plain ones.
fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let odd = proptest::collection::vec((any_key(), any_value()), 0..5);
    (odd, prop_oneof![3 => Just(0usize), 1 => 0usize..140]).prop_map(|(odd, many)| {
        let odd =
            odd.into_iter().map(|(key, value)| KeyValue { key, value: Some(value), ..Default::default() });
        odd.chain((0..many).map(|i| text(&format!("k{i}"), "v"))).collect()
    })
}

fn any_span() -> impl Strategy<Value = oracle::trace::v1::Span> {
    let name = prop_oneof!["[a-z ]{0,9}", Just("é".repeat(5000))];
    (any_attributes(), any_attributes(), name, 0i32..7, 0i32..4, any::<[u8; 2]>(), any::<u64>()).prop_map(
        |(attributes, of_event, name, kind, code, id, start)| oracle::trace::v1::Span {
            trace_id: if id[0] < 20 { vec![] } else { vec![id[0]; 16] },
            span_id: vec![id[1]; 8],
            parent_span_id: if id[0] % 2 == 0 { vec![] } else { vec![id[0]; 8] },
            trace_state: name.clone(),
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(u64::from(id[0]) * 7_000),
            events: vec![oracle::trace::v1::span::Event {
                name: "exception".into(),
                attributes: of_event,
                ..Default::default()
            }],
            status: Some(oracle::trace::v1::Status { message: name.clone(), code }),
            name,
            attributes,
            ..Default::default()
        },
    )
}

fn any_metric() -> impl Strategy<Value = oracle::metrics::v1::Metric> {
    use oracle::metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point::Value,
    };
    let name = prop_oneof!["[mk][0-9]?", Just("n".repeat(300)), Just(String::new())];
    let value = prop_oneof![any::<f64>(), Just(f64::NAN)];
    let times = (prop_oneof![Just(0), any::<u64>()], prop_oneof![Just(0), any::<u64>()]);
    (name, 0..6, 0..3, any::<bool>(), value, times, any_attributes()).prop_map(
        |(name, kind, temporality, monotonic, value, (start, time), attributes)| {
            let number = NumberDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: start,
                time_unix_nano: time,
                value: Some(Value::AsDouble(value)),
                ..Default::default()
            };
            let histogram = HistogramDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: start,
                time_unix_nano: time,
                sum: Some(value),
                ..Default::default()
            };
            let exponential = ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                max: Some(value),
                ..Default::default()
            };
            let data = match kind {
                0 => None,
                1 => Some(Data::Gauge(Gauge { data_points: vec![number] })),
                2 => Some(Data::Sum(Sum {
                    data_points: vec![number],
                    aggregation_temporality: temporality,
                    is_monotonic: monotonic,
                })),
                3 => Some(Data::Histogram(Histogram {
                    data_points: vec![histogram],
                    aggregation_temporality: temporality,
                })),
                4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: vec![exponential],
                    aggregation_temporality: temporality,
                })),
                _ => Some(Data::Summary(Summary { data_points: vec![SummaryDataPoint::default()] })),
            };
            Metric { name, data, ..Default::default() }
        },
    )
}

/// What the stand-in says about a body as the exporter would send it.
fn check(path: &str, format: Option<(&str, &str)>, body: &[u8]) -> Vec<String> {
    let mut headers = http::HeaderMap::new();
    let own = !path.starts_with("/v1/") || path.ends_with("/events");
    let content_type = if own { "application/json" } else { "application/x-protobuf" };
    let mut header = |name: &'static str, value: &str| headers.insert(name, value.parse().unwrap());
    header("api-key", KEY);
    header("user-agent", "muxbridge");
    header("content-type", content_type);
    header("x-request-id", "00000000-0000-4000-8000-000000000000");
    if let Some((name, version)) = format {
        header("data-format", name);
        header("data-format-version", version);
    }
    newrelic::violations(path, &headers, body, 0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_of_spans_breaks_a_limit(
        resource in any_attributes(), scope in any_attributes(), spans in proptest::collection::vec(any_span(), 1..3)
    ) {
        let resource = Some(oracle::resource::v1::Resource { attributes: resource, ..Default::default() });
        let scope = Some(oracle::common::v1::InstrumentationScope { attributes: scope, ..Default::default() });
        let scope_spans = vec![oracle::trace::v1::ScopeSpans { scope, spans, ..Default::default() }];
        let resource_spans = vec![oracle::trace::v1::ResourceSpans { resource, scope_spans, ..Default::default() }];
        let request = oracle::ExportTraceServiceRequest { resource_spans };
        let batch = batch(Signal::Traces, request.encode_to_vec().into());
        let options = encode::Options::default();
        let mut counts = encode::Counts::default();
        let out = encode::otlp(&batch, &options, &mut counts);
        prop_assert_eq!(check("/v1/traces", None, &out), Vec::<String>::new());
        let left = muxbridge_testkit::batch(Signal::Traces, out.clone());
        prop_assert_eq!(left.items() as u64 + counts.dropped_total(), batch.items() as u64);
        // What has been made to fit fits.
        let no_additions = encode::Options { ai_monitoring: false, ..Default::default() };
        let again = encode::otlp(&left, &no_additions, &mut encode::Counts::default());
        prop_assert_eq!(again.as_ptr(), left.otlp().as_ptr());
        let out = encode::trace_api(&batch, &options, &mut encode::Counts::default());
        prop_assert_eq!(check("/trace/v1", Some(("newrelic", "1")), &out), Vec::<String>::new());
        let out = encode::zipkin(&batch, &options, &mut encode::Counts::default());
        prop_assert_eq!(check("/trace/v1", Some(("zipkin", "2")), &out), Vec::<String>::new());
    }

    #[test]
    fn no_request_of_metrics_breaks_a_limit(
        resource in any_attributes(), scope in any_attributes(),
        metrics in proptest::collection::vec(any_metric(), 1..4)
    ) {
        let resource = Some(oracle::resource::v1::Resource { attributes: resource, ..Default::default() });
        let scope = Some(oracle::common::v1::InstrumentationScope { attributes: scope, ..Default::default() });
        let scope_metrics = vec![oracle::metrics::v1::ScopeMetrics { scope, metrics, ..Default::default() }];
        let resource_metrics =
            vec![oracle::metrics::v1::ResourceMetrics { resource, scope_metrics, ..Default::default() }];
        let request = oracle::ExportMetricsServiceRequest { resource_metrics };
        let batch = batch(Signal::Metrics, request.encode_to_vec().into());
        let mut counts = encode::Counts::default();
        let out = encode::otlp(&batch, &encode::Options::default(), &mut counts);
        prop_assert_eq!(check("/v1/metrics", None, &out), Vec::<String>::new());
        let mut of_native = encode::Counts::default();
        let native = encode::metric_api(&batch, &encode::Options::default(), &mut of_native);
        prop_assert_eq!(check("/metric/v1", None, &native), Vec::<String>::new());
        let left = muxbridge_testkit::batch(Signal::Metrics, out);
        prop_assert_eq!(left.items() as u64 + counts.dropped_total(), batch.items() as u64);
        let again = encode::otlp(&left, &encode::Options::default(), &mut encode::Counts::default());
        prop_assert_eq!(again.as_ptr(), left.otlp().as_ptr());
    }

    #[test]
    fn no_request_of_logs_breaks_a_limit(
        attributes in any_attributes(), body in any_value(), long in any::<bool>(), event in any::<bool>()
    ) {
        let mut attributes = attributes;
        if event {
            attributes.insert(0, text("newrelic.event.type", "MyEvent"));
        }
        let body = if long { AnyValue { value: Some(Value::StringValue("é".repeat(33_000))) } } else { body };
        let log = oracle::logs::v1::LogRecord { attributes, body: Some(body), ..Default::default() };
        let scope_logs = vec![oracle::logs::v1::ScopeLogs { log_records: vec![log], ..Default::default() }];
        let resource_logs = vec![oracle::logs::v1::ResourceLogs { scope_logs, ..Default::default() }];
        let request = oracle::ExportLogsServiceRequest { resource_logs };
        let batch = batch(Signal::Logs, request.encode_to_vec().into());
        let out = encode::otlp(&batch, &encode::Options::default(), &mut encode::Counts::default());
        prop_assert_eq!(check("/v1/logs", None, &out), Vec::<String>::new());
        let native = encode::log_api(&batch, &encode::Options::default(), &mut encode::Counts::default());
        prop_assert_eq!(check("/log/v1", None, &native), Vec::<String>::new());
        let mut counts = encode::Counts::default();
        let events = encode::event_api(&batch, &encode::Options::default(), &mut counts);
        if counts.dropped_total() == 0 {
            prop_assert_eq!(check("/v1/accounts/events", None, &events), Vec::<String>::new());
        }
    }
}

#[test]
fn the_scenario_is_the_same_in_all_formats() {
    let batch = batch(Signal::Traces, Bytes::from(corpus("scenario/traces.otlp.pb")));
    let options = encode::Options::default();
    let newrelic = encode::trace_api(&batch, &options, &mut encode::Counts::default());
    let zipkin = encode::zipkin(&batch, &options, &mut encode::Counts::default());
    let newrelic: serde_json::Value = serde_json::from_slice(&newrelic).unwrap();
    let zipkin: serde_json::Value = serde_json::from_slice(&zipkin).unwrap();
    let spans = newrelic[0]["spans"].as_array().unwrap();
    assert_eq!((spans.len(), zipkin.as_array().unwrap().len()), (batch.items(), batch.items()));
    for (a, b) in spans.iter().zip(zipkin.as_array().unwrap()) {
        assert_eq!((&a["trace.id"], &a["id"]), (&b["traceId"], &b["id"]));
        assert_eq!(a["attributes"]["service.name"], json!(null), "it is among the common attributes");
        assert_eq!(b["localEndpoint"]["serviceName"], newrelic[0]["common"]["attributes"]["service.name"]);
    }
}

#[test]
fn telemetry_that_is_already_as_new_relic_wants_it_goes_out_as_the_same_bytes() {
    for (signal, file) in [
        (Signal::Traces, "otlp_traces.pb"),
        (Signal::Metrics, "otlp_metrics.pb"),
        (Signal::Logs, "otlp_log.pb"),
        (Signal::Logs, "otlp_llm_event.pb"),
    ] {
        let batch = golden(signal, file);
        let out = encode::otlp(&batch, &encode::Options::default(), &mut encode::Counts::default());
        assert_eq!(out.as_ptr(), batch.otlp().as_ptr(), "{file}");
        assert_eq!(check(&format!("/v1/{signal}"), None, &out), [""; 0], "{file}");
    }
}

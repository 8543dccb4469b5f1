//! The 26 test vectors of the specification that this exporter is written from, each named by its number.
//!
//! Expectations are written by hand or stand in `golden/`, which was made with Google's protobuf and OpenTelemetry's
//! Python SDK. Where this program does something else than the vector says, the reason stands at the test.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/telemetry.rs"]
mod telemetry;

use muxbridge_core::{Batch, Delivered, ExportError, Exporter, Signal, names};
use muxbridge_exporter_newrelic::encode::{self, Counts, Options, apm};
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use muxbridge_testkit::oracle::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use muxbridge_testkit::oracle::metrics::v1::{metric::Data, number_data_point};
use muxbridge_testkit::oracle::trace::v1::Span;
use muxbridge_testkit::oracle::{self, Message};
use muxbridge_testkit::{Reply, Server, batch};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::time::Duration;
use telemetry::*;

const PLAIN: Options = Options { ai_monitoring: false, service_instance_id: None };

fn golden(file: &str) -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/").to_owned() + file).unwrap()
}

fn s(value: &str) -> Value {
    Value::StringValue(value.into())
}

fn kv(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn array(values: impl IntoIterator<Item = Value>) -> Value {
    let any = |value| AnyValue { value: Some(value) };
    Value::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })
}

fn keys(span: &Span) -> BTreeSet<&str> {
    span.attributes.iter().map(|a| a.key.as_str()).collect()
}

/// One span through the OTLP encoder: its attributes, and what was changed.
fn through(attributes: Vec<KeyValue>) -> (Span, Vec<(&'static str, u64)>) {
    let mut request = oracle::decode_traces(spans(1, 0).otlp());
    request.resource_spans[0].scope_spans[0].spans[0].attributes = attributes;
    let mut counts = Counts::default();
    let out = encode::otlp(&batch(Signal::Traces, request.encode_to_vec().into()), &PLAIN, &mut counts);
    let span = oracle::decode_traces(&out).resource_spans.remove(0).scope_spans.remove(0).spans.remove(0);
    (span, counts.adjusted().collect())
}

/// The golden spans as the translation hands them to this exporter: `router.decide` has other names of its own there,
/// which are nothing to New Relic, and what only New Relic wants is missing.
fn translated() -> Batch {
    let mut request = oracle::decode_traces(&golden("otlp_traces.pb"));
    let resource = request.resource_spans[0].resource.as_mut().unwrap();
    resource.attributes.retain(|a| a.key != "aiEnabledApp");
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.attributes.retain(|a| a.key != "gen_ai.system");
    }
    batch(Signal::Traces, request.encode_to_vec().into())
}

/// The span at this place of the four golden ones, as New Relic gets it and as it must get it. Names, kinds, `http.*`
/// and `gen_ai.*` of V1 to V4 are made by the processor `modelmuxer`, whose tests hold them; what this exporter adds is
/// tested here, and that it spoils nothing.
fn sent_and_golden(index: usize) -> (Span, Span) {
    let out = encode::otlp(&translated(), &Options::default(), &mut Counts::default());
    let take = |otlp: &[u8]| {
        let mut request = oracle::decode_traces(otlp);
        let mut resource = request.resource_spans.remove(0);
        assert!(resource.resource.unwrap().attributes.contains(&text("aiEnabledApp", "true")));
        let mut span = resource.scope_spans.remove(0).spans.remove(index);
        span.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        span
    };
    (take(&out), take(&golden("otlp_traces.pb")))
}

#[test]
fn v01_the_request_is_a_server_span_named_by_method_and_route() {
    let (sent, golden) = sent_and_golden(0);
    assert_eq!(sent, golden);
    assert_eq!((sent.kind, sent.name.as_str()), (2, "POST /v1/chat/completions"));
    assert_eq!(keys(&sent), BTreeSet::from(["http.request.method", "http.route", "modelmuxer.span.name"]));
}

#[test]
fn v02_the_decision_is_internal_and_no_call_of_a_model() {
    let (sent, golden) = sent_and_golden(1);
    assert_eq!(sent, golden);
    assert_eq!(sent.kind, 1);
    assert!(keys(&sent).iter().all(|key| !key.starts_with("gen_ai.")));
    assert!(sent.attributes.contains(&kv("modelmuxer.estimate.eta_ms", Value::IntValue(640))));
}

#[test]
fn v03_the_call_of_a_model_is_a_client_span_with_both_names_of_the_provider() {
    let (sent, golden) = sent_and_golden(2);
    assert_eq!(sent, golden);
    assert_eq!((sent.kind, sent.name.as_str()), (3, "chat gpt-4o-mini"));
    for key in ["gen_ai.provider.name", "gen_ai.system"] {
        assert!(sent.attributes.contains(&text(key, "openai")), "{key}");
    }
}

#[test]
fn v04_a_failed_attempt_keeps_its_status_its_event_and_its_message() {
    let (sent, golden) = sent_and_golden(3);
    assert_eq!(sent, golden);
    let status = sent.status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "ConnectTimeout: timed out"));
    assert_eq!(sent.events.len(), 1);
    assert!(sent.attributes.contains(&kv("http.request.resend_count", Value::IntValue(1))));
}

#[test]
fn v05_a_long_text_is_cut_to_4095_characters() {
    let (span, counts) = through(vec![text("x", &"é".repeat(5000))]);
    let Some(Value::StringValue(x)) = &span.attributes[0].value.as_ref().unwrap().value else { panic!() };
    assert_eq!((x.chars().count(), x.len()), (4095, 8190));
    assert_eq!(counts, [("value_truncated", 1)]);
}

#[test]
fn v06_arrays_maps_unset_values_and_long_keys() {
    let map = |entries| Value::KvlistValue(KeyValueList { values: entries });
    let mut unset = text("unset", "");
    unset.value = Some(AnyValue { value: None });
    let (span, _) = through(vec![
        kv("long", array((0..70).map(|i| s(&i.to_string())))),
        kv("mixed", array([Value::IntValue(1), s("a")])),
        kv("x", map(vec![kv("a", map(vec![kv("b", Value::IntValue(1))]))])),
        unset,
        text(&"k".repeat(300), "v"),
    ]);
    let expected = [
        kv("long", array((0..64).map(|i| s(&i.to_string())))),
        kv("mixed", array([s("1"), s("a")])),
        kv("x.a.b", Value::IntValue(1)),
        text(&"k".repeat(255), "v"),
    ];
    assert_eq!(span.attributes, expected);
}

#[test]
fn v07_of_200_attributes_128_stay_with_all_standard_ones() {
    let mut list: Vec<KeyValue> = (0..190).map(|i| text(&format!("a{i}"), "v")).collect();
    list.extend((0..10).map(|i| text(&format!("http.h{i}"), "v")));
    let (span, counts) = through(list);
    assert_eq!((span.attributes.len(), span.dropped_attributes_count), (128, 72));
    assert_eq!(span.attributes.iter().filter(|a| a.key.starts_with("http.")).count(), 10);
    assert_eq!(counts, [("attribute_pruned", 72)]);
}

const TEN_SECONDS: u64 = 10_000_000_000;

/// `modelmuxer_tokens_total` of a scrape.
fn scrape(value: f64, time: u64) -> Batch {
    let attributes = vec![text("provider", "openai"), text("model", "gpt-4o-mini"), text("type", "input")];
    let point = oracle::metrics::v1::NumberDataPoint {
        attributes,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    };
    let sum =
        oracle::metrics::v1::Sum { data_points: vec![point], aggregation_temporality: 2, is_monotonic: true };
    metric("modelmuxer_tokens_total", Data::Sum(sum))
}

fn metric(name: &str, data: Data) -> Batch {
    use oracle::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
    let metrics = vec![Metric { name: name.into(), data: Some(data), ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let request = oracle::ExportMetricsServiceRequest { resource_metrics };
    batch(Signal::Metrics, request.encode_to_vec().into())
}

/// What the pipeline makes deltas with, then the encoder: start, end and value of each point that is sent.
fn deltas(scrapes: &[(f64, u64)]) -> (Vec<(u64, u64, f64)>, DeltaStats) {
    let mut state = DeltaState::new(InitialValue::Auto, T0 - 1);
    let mut stats = DeltaStats::default();
    let mut sent = Vec::new();
    for (value, time) in scrapes {
        let Some(delta) = state.convert(&scrape(*value, *time), 0, &mut stats) else { continue };
        let out = encode::otlp(&delta, &PLAIN, &mut Counts::default());
        let metric = oracle::decode_metrics(&out).resource_metrics.remove(0).scope_metrics.remove(0).metrics;
        let Some(Data::Sum(sum)) = metric[0].data.clone() else { panic!() };
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, true));
        for point in sum.data_points {
            assert_eq!(point.attributes.len(), 3);
            let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!() };
            sent.push((point.start_time_unix_nano, point.time_unix_nano, value));
        }
    }
    (sent, stats)
}

#[test]
fn v08_a_counter_is_sent_as_the_difference_to_the_scrape_before() {
    let (sent, _) = deltas(&[(100.0, T0), (125.0, T0 + TEN_SECONDS)]);
    assert_eq!(sent, [(T0, T0 + TEN_SECONDS, 25.0)]);
}

/// The vector wants the whole 7 here. A scrape has no start time, and from the value alone a restart cannot be told from
/// a counter that another worker behind the same port reported. The Prometheus receiver knows (`process_start_time`),
/// and hands over start times, with which the second half holds.
#[test]
fn v08b_a_counter_that_began_again_counts_from_zero_if_that_is_known() {
    let (sent, _) = deltas(&[(100.0, T0), (125.0, T0 + TEN_SECONDS), (7.0, T0 + 2 * TEN_SECONDS)]);
    assert_eq!(sent, [(T0, T0 + TEN_SECONDS, 25.0)]);

    let restarted = T0 + TEN_SECONDS + 5;
    let mut state = DeltaState::new(InitialValue::Auto, T0 - 1);
    let mut stats = DeltaStats::default();
    state.convert(&scrape(125.0, T0 + TEN_SECONDS), 0, &mut stats);
    let mut again = oracle::decode_metrics(scrape(7.0, T0 + 2 * TEN_SECONDS).otlp());
    let metrics = &mut again.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Sum(sum)) = &mut metrics.data else { panic!() };
    sum.data_points[0].start_time_unix_nano = restarted;
    let again = batch(Signal::Metrics, again.encode_to_vec().into());
    let delta = state.convert(&again, 0, &mut stats).unwrap();
    let out = encode::otlp(&delta, &PLAIN, &mut Counts::default());
    let out = oracle::decode_metrics(&out);
    let Some(Data::Sum(sum)) = &out.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
    let point = &sum.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsDouble(7.0)));
    assert_eq!(point.start_time_unix_nano, T0 + TEN_SECONDS);
}

/// `*_created` is left out by the reader of Prometheus pages, whose tests hold that.
#[test]
fn v08c_the_first_scrape_only_sets_a_baseline_and_nan_is_counted() {
    assert_eq!(deltas(&[(100.0, T0)]).0, []);
    let (sent, stats) = deltas(&[(100.0, T0), (f64::NAN, T0 + TEN_SECONDS)]);
    assert_eq!((sent, stats.not_a_number), (vec![], 1));
}

/// Milliseconds become seconds in the translation, whose table has this metric; the result passes unchanged.
#[test]
fn v09_the_histogram_of_durations_passes_with_its_bounds() {
    let golden = batch(Signal::Metrics, golden("otlp_metrics.pb").into());
    let out = encode::otlp(&golden, &Options::default(), &mut Counts::default());
    assert_eq!(out, golden.otlp());
    let metrics = oracle::decode_metrics(&out).resource_metrics.remove(0).scope_metrics.remove(0).metrics;
    let found = metrics.iter().find(|m| m.name == "http.server.request.duration").unwrap();
    let Some(Data::Histogram(histogram)) = &found.data else { panic!() };
    let point = &histogram.data_points[0];
    let bounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    assert_eq!(point.explicit_bounds, bounds);
    assert_eq!(point.bucket_counts, [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0]);
    assert_eq!((histogram.aggregation_temporality, point.sum, point.count), (1, Some(1.062), 3));
}

#[test]
fn v09b_durations_of_spans_become_an_exponential_histogram() {
    let mut request = oracle::decode_traces(translated().otlp());
    let list = &mut request.resource_spans[0].scope_spans[0].spans;
    list.truncate(1);
    for millis in [50, 200] {
        let mut span = list[0].clone();
        span.end_time_unix_nano = span.start_time_unix_nano + millis * 1_000_000;
        list.push(span);
    }
    list[0].end_time_unix_nano = list[0].start_time_unix_nano + 812_000_000;
    let mut derived = apm::Apm::default();
    let spans = batch(Signal::Traces, request.encode_to_vec().into());
    derived.record(&spans, |_| apm::Wanted { server: true, client: true });
    let out = oracle::decode_metrics(&derived.to_otlp());
    let metric = &out.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::ExponentialHistogram(histogram)) = &metric.data else { panic!() };
    let point = &histogram.data_points[0];
    let positive = point.positive.as_ref().unwrap();
    assert_eq!((histogram.aggregation_temporality, point.scale, positive.offset), (1, 5, -139));
    let filled: Vec<usize> = (0..130).filter(|i| positive.bucket_counts[*i] > 0).collect();
    assert_eq!(filled, [0, 64, 129]);
    assert_eq!((point.sum, point.min, point.max), (Some(1.062), Some(0.05), Some(0.812)));
}

/// The repair is the translation's. New Relic's answer to a histogram without bounds is an open point of the
/// specification; it is sent as it is.
#[test]
fn v09c_a_histogram_without_bounds_passes() {
    let point = oracle::metrics::v1::HistogramDataPoint {
        start_time_unix_nano: T0,
        time_unix_nano: T0 + TEN_SECONDS,
        count: 1,
        sum: Some(0.812),
        bucket_counts: vec![1],
        ..Default::default()
    };
    let histogram = oracle::metrics::v1::Histogram { data_points: vec![point], aggregation_temporality: 1 };
    let repaired = metric("gen_ai.client.operation.duration", Data::Histogram(histogram));
    assert_eq!(encode::otlp(&repaired, &PLAIN, &mut Counts::default()), repaired.otlp());
}

/// JSON lines are read by a receiver, not here; what it makes of them passes unchanged, and the Log API gets the same.
#[test]
fn v10_a_log_record_keeps_its_time_level_and_ids() {
    let golden = batch(Signal::Logs, golden("otlp_log.pb").into());
    let out = encode::otlp(&golden, &Options::default(), &mut Counts::default());
    assert_eq!(out, golden.otlp());
    let record = oracle::decode_logs(&out).resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0);
    assert_eq!((record.time_unix_nano, record.severity_number), (T0, 13));
    let native: Json =
        serde_json::from_slice(&encode::log_api(&golden, &PLAIN, &mut Counts::default())).unwrap();
    let log = &native[0]["logs"][0];
    assert_eq!((&log["message"], &log["timestamp"]), (&json!("budget exceeded"), &json!(T0 / 1_000_000)));
    assert_eq!(log["attributes"]["trace.id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(log["attributes"]["span.id"], "00f067aa0ba902b7");
    assert_eq!(log["attributes"]["log.level"], "WARNING");
}

/// With `instrumentation.provider`, without which the spans belong to another kind of entity than over OTLP, and with
/// the name that ModelMuxer gave the span.
#[tokio::test]
async fn v11_the_newrelic_format_and_its_headers() {
    let mut request = oracle::decode_traces(translated().otlp());
    request.resource_spans[0].resource.as_mut().unwrap().attributes.truncate(1);
    request.resource_spans[0].scope_spans[0].scope = None;
    request.resource_spans[0].scope_spans[0].spans.truncate(1);
    let span = batch(Signal::Traces, request.encode_to_vec().into());
    let server = standin().await;
    let mode = json!({"mode": "trace_api", "ai_monitoring": false, "apm_metrics": "never"});
    exporter(&server.url(), &mode).0.export(&span).await.unwrap();
    let sent = server.requests().remove(0);
    let expected = json!([{
        "common": {"attributes": {"service.name": "modelmuxer", "instrumentation.provider": "opentelemetry"}},
        "spans": [{
            "trace.id": "0af7651916cd43dd8448eb211c80319c", "id": "b7ad6b7169203331",
            "timestamp": 1_700_000_000_000_u64,
            "attributes": {
                "name": "POST /v1/chat/completions", "duration.ms": 812.25, "span.kind": "server",
                "http.request.method": "POST", "http.route": "/v1/chat/completions",
                "modelmuxer.span.name": "http.request",
            },
        }],
    }]);
    assert_eq!(serde_json::from_slice::<Json>(&sent.body).unwrap(), expected);
    for (name, value) in [
        ("api-key", KEY),
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("data-format", "newrelic"),
        ("data-format-version", "1"),
    ] {
        assert_eq!(sent.header(name), value, "{name}");
    }
    assert_eq!((sent.path.as_str(), violations(&server)), ("/trace/v1", vec![]));
}

#[test]
fn v12_the_zipkin_format() {
    let out = encode::zipkin(&translated(), &PLAIN, &mut Counts::default());
    let out: Json = serde_json::from_slice(&out).unwrap();
    let span = &out[3];
    for (field, expected) in [
        ("traceId", json!("0af7651916cd43dd8448eb211c80319c")),
        ("id", json!("53995c3f42cd8ad8")),
        ("parentId", json!("a2fb4a1d1a96d312")),
        ("kind", json!("CLIENT")),
        ("name", json!("post")),
        ("timestamp", json!(1_700_000_000_006_000_u64)),
        ("duration", json!(790_000)),
        ("localEndpoint", json!({"serviceName": "modelmuxer"})),
        ("remoteEndpoint", json!({"serviceName": "api.openai.com", "port": 443})),
    ] {
        assert_eq!(span[field], expected, "{field}");
    }
    let tags = span["tags"].as_object().unwrap();
    assert!(tags.values().all(Json::is_string));
    assert_eq!(tags["http.request.resend_count"], "1");
    assert_eq!(tags["error.message"], "ConnectTimeout: timed out");
    assert_eq!(tags["error.type"], "httpx.ConnectTimeout");
    assert_eq!((span.get("annotations"), out[1].get("kind")), (None, None));
}

#[test]
fn v13_the_summary_of_a_call_has_tokens_and_no_text() {
    let mut request = oracle::decode_traces(translated().otlp());
    let call = &mut request.resource_spans[0].scope_spans[0].spans[2];
    call.attributes.push(kv("gen_ai.usage.input_tokens", Value::IntValue(9)));
    call.attributes.push(kv("gen_ai.usage.output_tokens", Value::IntValue(2)));
    let spans = batch(Signal::Traces, request.encode_to_vec().into());
    let (out, n) = encode::llm_events(&spans).unwrap();
    let record = oracle::decode_logs(&out).resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0);
    assert_eq!((n, &record.body), (1, &None));
    for expected in [
        text("newrelic.event.type", "LlmChatCompletionSummary"),
        kv("response.usage.prompt_tokens", Value::IntValue(9)),
        kv("response.usage.completion_tokens", Value::IntValue(2)),
        kv("response.usage.total_tokens", Value::IntValue(11)),
        kv("duration", Value::DoubleValue(800.0)),
    ] {
        assert!(record.attributes.contains(&expected), "{}", expected.key);
    }
    let has = |key: &str| record.attributes.iter().any(|a| a.key == key);
    assert!(!has("is_response") && !has("content"));
}

#[tokio::test]
async fn v14_parts_of_a_refused_batch_have_ids_of_their_own_and_lose_nothing() {
    let server = Server::start(|request| match ids(request).len() {
        10 => Reply::status(413),
        _ => Reply::status(202),
    })
    .await;
    let (exporter, _) = exporter(&server.url(), &json!({"mode": "trace_api"}));
    assert_eq!(send_split(&exporter, spans(10, 10)).await, 0);
    let requests = server.requests();
    assert_eq!(requests.iter().map(|r| ids(r).len()).collect::<Vec<_>>(), [10, 5, 5]);
    let request_ids: BTreeSet<&str> = requests.iter().map(|r| r.header("x-request-id")).collect();
    assert_eq!(request_ids.len(), 3);
}

#[tokio::test]
async fn v15_one_span_that_is_too_large_is_tried_once() {
    let server = Server::start(|_| Reply::status(413)).await;
    let (exporter, _) = exporter(&server.url(), &json!({}));
    assert_eq!(send_split(&exporter, spans(1, 10)).await, 1);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn v16_a_rate_limit_says_how_long_its_signal_waits_and_the_retry_has_the_same_id() {
    let script = [("/trace/v1", muxbridge_testkit::newrelic::Fault::RetryAfter(429, 29))];
    let server = muxbridge_testkit::newrelic::Standin::start(script).await;
    let (exporter, counters) = exporter(&server.url(), &json!({"mode": "trace_api"}));
    let reserved = {
        let mut request = oracle::decode_traces(spans(1, 10).otlp());
        request.resource_spans[0].scope_spans[0].spans[0].attributes.push(text("timestamp", "1"));
        batch(Signal::Traces, request.encode_to_vec().into())
    };
    let result = exporter.export(&reserved).await;
    let Err(ExportError::Retryable { after, .. }) = result else { panic!("{result:?}") };
    assert_eq!(after, Some(Duration::from_secs(29)));
    // That no other batch of the signal is sent meanwhile is the pipeline's. Other signals have lanes of their own.
    exporter.export(&batch(Signal::Metrics, gauge(1.0).into())).await.unwrap();
    let renamed = || counters.sum(names::ADJUSTED, &[("reason", "reserved_renamed")]);
    assert_eq!(renamed(), 0, "nothing has left yet");
    exporter.export(&reserved).await.unwrap();
    assert_eq!(renamed(), 1);
    let traces: Vec<_> = server.requests().into_iter().filter(|r| r.path == "/trace/v1").collect();
    assert_eq!(traces.len(), 2);
    assert_eq!(traces[0].header("x-request-id"), traces[1].header("x-request-id"));
}

/// The schedule of retries is the pipeline's (`retry_on_failure`), which never gives up by default: the vector's eight
/// retries would lose data that the queue still has room for. Here: every failure is retryable, nothing is sent in
/// between, and the tenth request is the same one.
#[tokio::test]
async fn v17_nine_server_errors_lose_nothing() {
    use muxbridge_testkit::newrelic::{Fault, Standin};
    let server = Standin::start((0..9).map(|_| ("/v1/traces", Fault::Html(500)))).await;
    let time = Time::start();
    let (exporter, _) = timed(&server.url(), &json!({}), &time);
    let outcome = deliver(&exporter, &spans(10, 10), &time).await;
    assert_eq!((outcome.sent, outcome.dropped, outcome.calls), (10, 0, 10));
    assert_eq!((server.requests().len(), server.taken().len()), (10, 1));
}

/// That nothing else is asked in this minute, and that it is logged once, is the pipeline's; so is the health.
#[tokio::test]
async fn v18_after_a_refused_key_the_data_is_held_for_a_minute_and_the_key_not_shown() {
    for status in [401, 403] {
        let server = Server::start(move |request| {
            Reply::status(status).body(format!("bad key {}", request.header("api-key")))
        })
        .await;
        let (exporter, _) = exporter(&server.url(), &json!({}));
        let error = exporter.export(&spans(1, 10)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
        let ExportError::Retryable { after, .. } = error else { panic!("{error}") };
        assert_eq!((after, server.requests().len()), (Some(std::time::Duration::from_secs(60)), 1));
    }
}

#[tokio::test]
async fn v19_an_empty_answer_is_a_success() {
    let server = Server::start(|_| Reply::status(200)).await;
    let (exporter, _) = exporter(&server.url(), &json!({}));
    assert_eq!(exporter.export(&spans(1, 10)).await.unwrap(), Delivered::default());
}

#[test]
fn v20_the_metric_api_gets_counts_gauges_and_a_histogram_in_parts() {
    let golden = batch(Signal::Metrics, golden("otlp_metrics.pb").into());
    let out = encode::metric_api(&golden, &PLAIN, &mut Counts::default());
    let out: Json = serde_json::from_slice(&out).unwrap();
    let list = out[0]["metrics"].as_array().unwrap();
    let named = |name: &str| list.iter().filter(|m| m["name"] == name).collect::<Vec<_>>();
    let tokens = named("modelmuxer_tokens_total")[0];
    assert_eq!((&tokens["type"], &tokens["value"]), (&json!("count"), &json!(25)));
    assert_eq!((&tokens["timestamp"], &tokens["interval.ms"]), (&json!(T0 / 1_000_000), &json!(10_000)));
    let connections = named("modelmuxer_active_connections")[0];
    assert_eq!((&connections["type"], &connections["value"]), (&json!("gauge"), &json!(3)));
    assert_eq!(
        (&connections["timestamp"], connections.get("interval.ms")),
        (&json!(1_700_000_010_000_u64), None)
    );
    let buckets = named("http.server.request.duration_bucket");
    let le: Vec<(&str, u64)> = buckets
        .iter()
        .map(|b| (b["attributes"]["le"].as_str().unwrap(), b["value"].as_u64().unwrap()))
        .collect();
    assert_eq!(le.len(), 12);
    assert_eq!((le[3], le[4], le[11]), (("0.025", 0), ("0.05", 1), ("+Inf", 3)));
    let sum = named("http.server.request.duration_sum")[0];
    assert_eq!(sum["value"], json!({"count": 1, "sum": 1.062, "min": null, "max": null}));
    assert_eq!(named("http.server.request.duration_count")[0]["value"], 3);
}

// V21 is about dashboards and alerts: tests/dashboards.rs.

#[tokio::test]
async fn v22_three_megabytes_of_spans_arrive_complete_below_the_limit_in_every_mode() {
    let large = spans(1000, 3000);
    assert!(large.otlp().len() > 3_000_000);
    for mode in modes() {
        let server = standin().await;
        let (exporter, _) = exporter(&server.url(), &mode);
        assert_eq!(send_split(&exporter, large.clone()).await, 0);
        let requests = server.requests();
        let mut arrived: Vec<u64> = requests.iter().flat_map(ids).collect();
        arrived.sort_unstable();
        assert_eq!(arrived, (1..=1000).collect::<Vec<_>>(), "{mode}");
        assert_eq!(violations(&server), [""; 0], "{mode}");
    }
}

#[test]
fn v23_attributes_with_the_names_of_columns_are_renamed_or_removed() {
    let mut request = oracle::decode_metrics(scrape(1.0, T0).otlp());
    let metric = &mut request.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Sum(sum)) = &mut metric.data else { panic!() };
    sum.data_points[0].attributes =
        vec![text("timestamp", "1"), text("entity.guid", "2"), text("modelmuxer_tokens_total", "3")];
    let batch = batch(Signal::Metrics, request.encode_to_vec().into());
    let mut counts = Counts::default();
    let out = oracle::decode_metrics(&encode::otlp(&batch, &PLAIN, &mut counts));
    let Some(Data::Sum(sum)) = &out.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
    let expected = [text("mm.timestamp", "1"), text("mm.modelmuxer_tokens_total", "3")];
    assert_eq!(sum.data_points[0].attributes, expected);
    let counts: Vec<_> = counts.adjusted().collect();
    assert_eq!(counts, [("reserved_removed", 1), ("reserved_renamed", 2)]);
}

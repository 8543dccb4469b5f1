//! The Metric, Log and Event APIs.

use super::*;
use muxbridge_testkit::oracle::logs::v1::{ResourceLogs, ScopeLogs};
use muxbridge_testkit::oracle::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value as Number,
};
use serde_json::{Value as Json, json};

const T1: u64 = T0 + 10_000_000_000;

fn service() -> Option<oracle::resource::v1::Resource> {
    let attributes = vec![text("service.name", "modelmuxer")];
    Some(oracle::resource::v1::Resource { attributes, ..Default::default() })
}

fn metrics(metrics: Vec<(&str, Data)>) -> (Json, Counts) {
    let metrics = metrics.into_iter().map(|(name, data)| Metric {
        name: name.into(),
        data: Some(data),
        ..Metric::default()
    });
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: service(), scope_metrics, ..Default::default() }];
    let request = oracle::ExportMetricsServiceRequest { resource_metrics };
    let batch = muxbridge_testkit::batch(Signal::Metrics, request.encode_to_vec().into());
    let mut counts = Counts::default();
    let out = metric_api(&batch, &PLAIN, &mut counts);
    (serde_json::from_slice(&out).unwrap(), counts)
}

fn number(value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    let value = Some(Number::AsDouble(value));
    NumberDataPoint { start_time_unix_nano: T0, time_unix_nano: T1, value, attributes, ..Default::default() }
}

// V20
#[test]
fn a_counter_a_gauge_and_a_histogram_are_written_as_new_relics_prometheus_integration_does() {
    let labels = || vec![text("provider", "openai"), text("model", "gpt-4o-mini"), text("type", "input")];
    let tokens = Data::Sum(Sum {
        data_points: vec![number(25.0, labels())],
        aggregation_temporality: 1,
        is_monotonic: true,
    });
    let mut connections = number(3.0, vec![]);
    connections.start_time_unix_nano = 0;
    let duration = Data::Histogram(Histogram {
        aggregation_temporality: 1,
        data_points: vec![HistogramDataPoint {
            start_time_unix_nano: T0,
            time_unix_nano: T1,
            count: 3,
            sum: Some(1.062),
            explicit_bounds: vec![0.05, 0.25, 1.0],
            bucket_counts: vec![1, 1, 1, 0],
            ..Default::default()
        }],
    });
    let (out, counts) = metrics(vec![
        ("modelmuxer_tokens_total", tokens),
        ("modelmuxer_active_connections", Data::Gauge(Gauge { data_points: vec![connections] })),
        ("http.server.request.duration", duration),
    ]);
    let bucket = |le: &str, n: u64| {
        json!({"name": "http.server.request.duration_bucket", "type": "count", "value": n,
               "timestamp": 1_700_000_000_000_u64, "interval.ms": 10_000, "attributes": {"le": le}})
    };
    let expected = json!([{
        "common": {"attributes": {"service.name": "modelmuxer"}},
        "metrics": [
            {"name": "modelmuxer_tokens_total", "type": "count", "value": 25,
             "timestamp": 1_700_000_000_000_u64, "interval.ms": 10_000,
             "attributes": {"provider": "openai", "model": "gpt-4o-mini", "type": "input"}},
            {"name": "modelmuxer_active_connections", "type": "gauge", "value": 3,
             "timestamp": 1_700_000_010_000_u64, "attributes": {}},
            bucket("0.05", 1), bucket("0.25", 2), bucket("1", 3), bucket("+Inf", 3),
            {"name": "http.server.request.duration_sum", "type": "summary",
             "value": {"count": 1, "sum": 1.062, "min": null, "max": null},
             "timestamp": 1_700_000_000_000_u64, "interval.ms": 10_000, "attributes": {}},
            {"name": "http.server.request.duration_count", "type": "count", "value": 3,
             "timestamp": 1_700_000_000_000_u64, "interval.ms": 10_000, "attributes": {}},
        ],
    }]);
    assert_eq!(out, expected);
    assert_eq!(counts, Counts::default());
}

#[test]
fn an_exponential_histogram_becomes_a_summary_with_its_extremes() {
    let point = ExponentialHistogramDataPoint {
        start_time_unix_nano: T0,
        time_unix_nano: T0 + 1,
        count: 2,
        sum: Some(1.5),
        min: Some(0.5),
        max: Some(1.0),
        ..Default::default()
    };
    let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 };
    let (out, _) = metrics(vec![("d", Data::ExponentialHistogram(data))]);
    assert_eq!(out[0]["metrics"][0]["value"], json!({"count": 2, "sum": 1.5, "min": 0.5, "max": 1}));
    // A window is never empty, not even in whole milliseconds.
    assert_eq!(out[0]["metrics"][0]["interval.ms"], 1);
}

#[test]
fn what_is_cumulative_is_a_gauge_if_it_falls_and_left_out_and_counted_if_not() {
    let sum = |is_monotonic| {
        Data::Sum(Sum { data_points: vec![number(7.5, vec![])], aggregation_temporality: 2, is_monotonic })
    };
    let (out, counts) = metrics(vec![("up_down", sum(false)), ("counter", sum(true))]);
    let list = out[0]["metrics"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["type"], &list[0]["value"]), (1, &json!("gauge"), &json!(7.5)));
    assert_eq!(counts.dropped().collect::<Vec<_>>(), [("cumulative", 1)]);
    let (out, _) = metrics(vec![("counter", sum(true))]);
    assert_eq!(out, json!([]));
}

fn logs(records: Vec<LogRecord>) -> Batch {
    let scope =
        Some(oracle::common::v1::InstrumentationScope { name: "app.router".into(), ..Default::default() });
    let scope_logs = vec![ScopeLogs { scope, log_records: records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: service(), scope_logs, ..Default::default() }];
    let request = oracle::ExportLogsServiceRequest { resource_logs };
    muxbridge_testkit::batch(Signal::Logs, request.encode_to_vec().into())
}

fn line() -> LogRecord {
    LogRecord {
        time_unix_nano: T0,
        severity_number: 13,
        severity_text: "WARNING".into(),
        body: Some(any(s("budget exceeded"))),
        trace_id: span(vec![]).trace_id,
        span_id: vec![0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7],
        attributes: vec![text("logger.name", "app.router")],
        ..LogRecord::default()
    }
}

fn event(of_type: &str) -> LogRecord {
    let attributes = vec![
        text("newrelic.event.type", of_type),
        kv("duration", Value::DoubleValue(800.0)),
        kv("error", Value::BoolValue(true)),
        text("accountId", "7"),
    ];
    LogRecord { time_unix_nano: T0, attributes, ..LogRecord::default() }
}

#[test]
fn a_log_record_has_its_level_its_ids_and_its_logger() {
    let out = log_api(&logs(vec![line()]), &PLAIN, &mut Counts::default());
    let expected = json!([{
        "common": {"attributes": {"service.name": "modelmuxer"}},
        "logs": [{"timestamp": 1_700_000_000_000_u64, "message": "budget exceeded", "attributes": {
            "log.level": "WARNING", "severity.number": 13,
            "trace.id": "0af7651916cd43dd8448eb211c80319c", "span.id": "00f067aa0ba902b7",
            "logger.name": "app.router", "otel.library.name": "app.router",
        }}],
    }]);
    assert_eq!(serde_json::from_slice::<Json>(&out).unwrap(), expected);
}

#[test]
fn a_log_record_without_time_ids_or_text_invents_none() {
    let record = LogRecord { trace_id: vec![0; 16], span_id: vec![0; 8], ..LogRecord::default() };
    // Ids of zeros are refused before they come here; the encoder is safe all the same.
    let record = LogRecord { trace_id: vec![], span_id: vec![], ..record };
    let out: Json =
        serde_json::from_slice(&log_api(&logs(vec![record]), &PLAIN, &mut Counts::default())).unwrap();
    let expected = json!({"message": "", "attributes": {"otel.library.name": "app.router"}});
    assert_eq!(out[0]["logs"][0], expected);
}

#[test]
fn a_custom_event_is_flat_and_has_neither_booleans_nor_an_account() {
    let mut counts = Counts::default();
    let out = event_api(&logs(vec![event("LlmTool"), event("no-such"), line()]), &PLAIN, &mut counts);
    let expected = json!([{
        "eventType": "LlmTool", "timestamp": 1_700_000_000_000_u64, "duration": 800.0, "error": "true",
        "mm.accountId": "7", "service.name": "modelmuxer", "otel.library.name": "app.router",
    }]);
    assert_eq!(serde_json::from_slice::<Json>(&out).unwrap(), expected);
    assert_eq!(counts.dropped().collect::<Vec<_>>(), [("event_type", 2)]);
}

#[test]
fn records_and_events_are_taken_apart_and_none_is_lost() {
    let both = logs(vec![line(), event("A"), line(), event("B")]);
    let [Some(records), Some(events)] = split_events(&both) else { panic!("both parts") };
    assert_eq!((records.items(), events.items()), (2, 2));
    assert_eq!(log_api(&records, &PLAIN, &mut Counts::default()).len(), {
        log_api(&logs(vec![line(), line()]), &PLAIN, &mut Counts::default()).len()
    });
    assert!(matches!(split_events(&logs(vec![line()])), [Some(_), None]));
    assert!(matches!(split_events(&logs(vec![event("A")])), [None, Some(_)]));
}

#[test]
fn a_batch_of_another_signal_is_an_empty_list() {
    let spans = batch_of(vec![], vec![span(vec![])]);
    for encode in [metric_api, log_api, event_api] {
        assert_eq!(encode(&spans, &PLAIN, &mut Counts::default()), b"[]");
    }
}

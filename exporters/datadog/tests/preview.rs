//! People can see what would be sent: each body as its intake reads it, and what is left out.

use crate::build::*;
use muxbridge_core::{Batch, ExporterKind, Preview};
use muxbridge_exporter_datadog::{Config, Datadog};
use muxbridge_testkit::oracle::logs::v1::LogRecord;
use muxbridge_testkit::oracle::metrics::v1::number_data_point::Value as Point;
use muxbridge_testkit::oracle::metrics::v1::{
    Histogram, HistogramDataPoint, NumberDataPoint, Sum, metric::Data,
};
use serde_json::{Value, json};

fn shown(config: Value, batch: Batch) -> Preview {
    let config: Config = serde_json::from_value(config).unwrap();
    Datadog::preview(&config, &[batch]).unwrap()
}

fn bodies(preview: &Preview) -> Vec<Value> {
    preview.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn agentless(more: Value) -> Value {
    let mut config = json!({ "mode": "agentless", "api_key": "k" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn numbers() -> Batch {
    let point = NumberDataPoint {
        value: Some(Point::AsDouble(0.25)),
        time_unix_nano: 7_000_000_000,
        attributes: vec![kv("model", "a\"b")],
        ..Default::default()
    };
    let sum = Sum { data_points: vec![point], aggregation_temporality: 1, is_monotonic: true };
    let point = HistogramDataPoint {
        count: 1,
        sum: Some(1.5),
        min: Some(1.5),
        max: Some(1.5),
        bucket_counts: vec![0, 1],
        explicit_bounds: vec![1.0],
        time_unix_nano: 7_000_000_000,
        ..Default::default()
    };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: 1 };
    metrics(
        vec![kv("service.name", "mm")],
        vec![metric("c", Data::Sum(sum)), metric("h", Data::Histogram(histogram))],
    )
}

#[test]
fn metrics_are_shown_as_lines_for_an_agent_and_as_series_and_points_without_one() {
    let lines = shown(json!({}), numbers());
    // Counters are added up over the batch, so that they come last.
    assert_eq!(lines.text, "h:1.5|d|#service:mm\nc:0.25|c|#model:a_b,service:mm\n");
    let preview = shown(agentless(json!({})), numbers());
    assert_eq!(
        bodies(&preview),
        [
            json!({ "series": [{ "resources": [], "metric": "c", "type": 1, "interval": 10,
                "tags": ["model:a_b", "service:mm"], "points": [{ "timestamp": 7, "value": 0.25 }] }] }),
            json!({ "series": [{ "metric": "h", "points": [[7, [1.5]]], "type": "distribution",
                "tags": ["service:mm"] }] }),
        ]
    );
}

#[test]
fn spans_of_models_are_shown_where_they_go() {
    let on = json!({ "enabled": true });
    let count = |config| bodies(&shown(config, crate::llm::model_trace()));
    let agent = count(json!({}));
    assert_eq!(agent.len(), 1);
    assert_eq!(agent[0].as_array().unwrap().len(), 2, "two traces");
    let agent = count(json!({ "llm_observability": on }));
    assert_eq!(agent.len(), 2);
    assert_eq!(agent[1][0]["event_type"], "span");
    let otlp = count(agentless(json!({ "llm_observability": on })));
    assert_eq!(otlp.len(), 1, "with the traces");
    assert!(otlp[0].to_string().contains("dd_llmobs_enabled"));
    assert!(otlp[0]["resourceSpans"].is_array());
    let both =
        count(agentless(json!({ "llm_observability": on, "agentless": { "traces": "agent_payload" } })));
    assert_eq!(both.len(), 2);
    let config = json!({ "llm_observability": on, "agentless": { "traces": "llm_observability" } });
    let only = shown(agentless(config), crate::llm::model_trace());
    let spans = bodies(&only);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0]["data"]["attributes"]["spans"].as_array().unwrap().len(), 2);
    assert_eq!(only.dropped, [("not_of_a_model".to_owned(), 2)].into());
    assert!(!only.text.contains("secret"), "prompts only if asked for");
}

#[test]
fn logs_are_shown_as_items_and_an_agent_is_shown_to_take_only_events_and_checks() {
    let records = || {
        let plain = LogRecord { body: kv("", "hi").value, ..Default::default() };
        let event = LogRecord {
            body: kv("", "text").value,
            attributes: vec![kv("datadog.event.title", "t")],
            ..Default::default()
        };
        log_batch(vec![], vec![plain, event])
    };
    let items = bodies(&shown(agentless(json!({})), records()));
    assert_eq!((&items[0][0]["message"], &items[1]["title"]), (&json!("hi"), &json!("t")));
    let lines = shown(json!({}), records());
    assert!(lines.text.starts_with("_e{1,4}:t|text"), "{}", lines.text);
    assert_eq!(lines.text.lines().count(), 1);
    assert_eq!(lines.dropped, [("unsupported".to_owned(), 1)].into());
}

//! People can see what would be sent: valid JSON with the same content.

use crate::build::*;
use muxbridge_exporter_datadog::encode::preview::{Preview, preview};
use muxbridge_testkit::oracle::logs::v1::LogRecord;
use muxbridge_testkit::oracle::metrics::v1::number_data_point::Value as Point;
use muxbridge_testkit::oracle::metrics::v1::{NumberDataPoint, Sum, metric::Data};
use serde_json::{Value, json};

fn shown(batch: &muxbridge_core::Batch, what: Preview) -> Value {
    serde_json::from_str(&preview(batch, what, 7_000_000_000)).unwrap()
}

#[test]
fn every_body_can_be_shown() {
    let point = NumberDataPoint {
        value: Some(Point::AsDouble(0.25)),
        attributes: vec![kv("model", "a\"b")],
        ..Default::default()
    };
    let sum = Sum { data_points: vec![point], aggregation_temporality: 1, is_monotonic: true };
    let numbers = metrics(vec![kv("service.name", "mm")], vec![metric("c", Data::Sum(sum))]);
    assert_eq!(
        shown(&numbers, Preview::Series),
        json!({ "series": [{ "resources": [], "metric": "c", "type": 1, "interval": 10,
            "tags": ["model:a_b", "service:mm"], "points": [{ "timestamp": 7, "value": 0.25 }] }],
            "distribution_points": [] })
    );
    let record = LogRecord { body: kv("", "hi").value, ..Default::default() };
    assert_eq!(shown(&log_batch(vec![], vec![record]), Preview::Logs)[0]["message"], "hi");
    let models = crate::llm::model_trace();
    let llm = shown(&models, Preview::Llmobs);
    assert_eq!(llm[0]["data"]["attributes"]["spans"].as_array().unwrap().len(), 2);
    assert_eq!(shown(&models, Preview::Traces).as_array().unwrap().len(), 2);
    for (_, what) in Preview::ALL {
        for batch in [&numbers, &models] {
            shown(batch, what);
        }
    }
}

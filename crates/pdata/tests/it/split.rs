//! Splitting random requests, compared item by item through `opentelemetry-proto`.

use crate::random::{Random, request};
use bytes::Bytes;
use muxbridge_pdata::{Limits, Signal, concat, count_items, split, validate};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use proptest::prelude::*;
use prost::Message;

/// Every item with all that is around it. Metrics without data points count as one entry.
fn items(signal: Signal, bytes: &[u8]) -> Vec<String> {
    let mut items = Vec::new();
    match signal {
        Signal::Traces => {
            for r in ExportTraceServiceRequest::decode(bytes).unwrap().resource_spans {
                for s in r.scope_spans {
                    for item in s.spans {
                        items.push(format!(
                            "{:?}{}{:?}{}{item:?}",
                            r.resource, r.schema_url, s.scope, s.schema_url
                        ));
                    }
                }
            }
        }
        Signal::Logs => {
            for r in ExportLogsServiceRequest::decode(bytes).unwrap().resource_logs {
                for s in r.scope_logs {
                    for item in s.log_records {
                        items.push(format!(
                            "{:?}{}{:?}{}{item:?}",
                            r.resource, r.schema_url, s.scope, s.schema_url
                        ));
                    }
                }
            }
        }
        Signal::Metrics => {
            for r in ExportMetricsServiceRequest::decode(bytes).unwrap().resource_metrics {
                for s in r.scope_metrics {
                    let around = format!("{:?}{}{:?}{}", r.resource, r.schema_url, s.scope, s.schema_url);
                    for metric in s.metrics {
                        items.extend(points(metric).into_iter().map(|m| format!("{around}{m:?}")));
                    }
                }
            }
        }
    }
    items
}

/// A metric for each data point.
fn points(metric: Metric) -> Vec<Metric> {
    macro_rules! each {
        ($kind:ident, $data:expr) => {{
            let mut data = $data;
            let points = std::mem::take(&mut data.data_points);
            if points.is_empty() {
                return vec![metric];
            }
            let one = |p| {
                let mut data = data.clone();
                data.data_points = vec![p];
                Metric { data: Some(Data::$kind(data)), ..metric.clone() }
            };
            points.into_iter().map(one).collect()
        }};
    }
    match metric.data.clone() {
        None => vec![metric],
        Some(Data::Gauge(data)) => each!(Gauge, data),
        Some(Data::Sum(data)) => each!(Sum, data),
        Some(Data::Histogram(data)) => each!(Histogram, data),
        Some(Data::ExponentialHistogram(data)) => each!(ExponentialHistogram, data),
        Some(Data::Summary(data)) => each!(Summary, data),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn parts_have_the_same_items_in_order_and_are_within_the_limits(
        seed in any::<u64>(), max_items in 1usize..12, max_bytes in 100usize..4000, kind in 0usize..3,
    ) {
        let signal = Signal::ALL[kind];
        let joined = concat([request(signal, seed), request(signal, seed ^ 1)].iter().map(|r| &r[..]));
        let before = items(signal, &joined);
        let fits = joined.len() <= max_bytes && count_items(signal, &joined) <= max_items;
        let parts = split(signal, &joined, max_items, max_bytes);
        let mut after = Vec::new();
        for part in &parts {
            let count = validate(signal, part, Limits::default()).unwrap();
            prop_assert!(count <= max_items, "{count} items");
            let found = items(signal, part);
            // What is too large has one item; or several below headers that are too large without them.
            if part.len() > max_bytes && count > 1 {
                let alone = split(signal, part, 1, usize::MAX);
                prop_assert!(alone.iter().all(|p| p.len() > max_bytes), "{} bytes", part.len());
            }
            after.extend(found);
        }
        prop_assert_eq!(before, after);
        if fits {
            prop_assert_eq!(parts.len(), 1);
            prop_assert_eq!(parts[0].as_ptr(), joined.as_ptr());
        }
    }
}

fn traces(seed: u64) -> Bytes {
    Random::new(seed, true).traces().encode_to_vec().into()
}

#[test]
fn a_request_that_fits_comes_back_without_a_copy() {
    let request = traces(1);
    let parts = split(Signal::Traces, &request, usize::MAX, request.len());
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].as_ptr(), request.as_ptr());
}

#[test]
fn parts_are_filled_before_a_new_one_begins() {
    let request = Bytes::from(
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/run1/trace-0003.pb")).unwrap(),
    );
    let spans = count_items(Signal::Traces, &request);
    assert!(spans > 100);
    let parts = split(Signal::Traces, &request, 100, usize::MAX);
    assert_eq!(parts.len(), spans.div_ceil(100));
    let parts = split(Signal::Traces, &request, usize::MAX, request.len() / 4);
    assert!(parts.len() <= 5, "{}", parts.len());
}

#[test]
fn a_metric_with_more_points_than_fit_is_split_between_them() {
    use muxbridge_pdata::json;
    let point = |i| format!(r#"{{"timeUnixNano":"5","asInt":"{i}"}}"#);
    let request = |points: &[String]| {
        let points = points.join(",");
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","sum":{{"dataPoints":[{points}],"aggregationTemporality":1,"isMonotonic":true}}}}]}}]}}]}}"#
        )
    };
    let all: Vec<_> = (0..5).map(point).collect();
    let wire = json::decode(Signal::Metrics, request(&all).as_bytes()).unwrap();
    let parts = split(Signal::Metrics, &wire, 2, usize::MAX);
    let texts: Vec<_> = parts.iter().map(|p| json::encode(Signal::Metrics, p)).collect();
    assert_eq!(texts, [request(&all[..2]), request(&all[2..4]), request(&all[4..])]);
}

#[test]
fn empty_resources_and_scopes_are_kept() {
    use muxbridge_pdata::json;
    let text = r#"{"resourceSpans":[{"schemaUrl":"a"},{"scopeSpans":[{"schemaUrl":"b"}]},{"scopeSpans":[{"spans":[{"name":"x"}]},{"spans":[{"name":"y"}]}]}]}"#;
    let wire = json::decode(Signal::Traces, text.as_bytes()).unwrap();
    let parts = split(Signal::Traces, &wire, 1, usize::MAX);
    let texts: Vec<_> = parts.iter().map(|p| json::encode(Signal::Traces, p)).collect();
    assert_eq!(
        texts,
        [
            r#"{"resourceSpans":[{"schemaUrl":"a"},{"scopeSpans":[{"schemaUrl":"b"}]},{"scopeSpans":[{"spans":[{"name":"x"}]}]}]}"#,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"y"}]}]}]}"#,
        ]
    );
}

#[test]
fn headers_larger_than_the_limit_do_not_multiply_a_request() {
    use muxbridge_pdata::json;
    let spans = vec![r#"{"name":"s"}"#; 1000].join(",");
    let text = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"a"}}]}}]}},{{"scopeSpans":[{{"spans":[{spans}]}}],"schemaUrl":"{}"}},{{"scopeSpans":[{{"spans":[{{"name":"z"}}]}}]}}]}}"#,
        "u".repeat(5000)
    );
    let wire = json::decode(Signal::Traces, text.as_bytes()).unwrap();
    let parts = split(Signal::Traces, &wire, 400, 1000);
    let counts: Vec<_> = parts.iter().map(|p| count_items(Signal::Traces, p)).collect();
    assert_eq!(counts, [1, 400, 400, 200, 1]);
    assert!(parts.iter().map(Bytes::len).sum::<usize>() < wire.len() + 3 * 6000);
}

//! What the recorded pages do not show: sums whose parts come and go, units that change, values that are none.

use super::kit::*;
use muxbridge::trace::TraceOptions;
use muxbridge::translate::metrics::{LatencyUnit, MetricOptions};
use muxbridge::translate::spans::Scheme;
use muxbridge_core::Batch;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    exemplar, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};

const SECOND: u64 = 1_000_000_000;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn labels(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(k, v)| text(k, v)).collect()
}

/// A request of an OTLP client whose service is `service`.
fn request(service: &str, metrics: Vec<Metric>) -> Batch {
    request_of(&[("service.name", service)], metrics)
}

fn request_of(resource: &[(&str, &str)], metrics: Vec<Metric>) -> Batch {
    let resource = Some(Resource { attributes: labels(resource), ..Default::default() });
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..Default::default() }];
    batch(Request { resource_metrics }.encode_to_vec())
}

fn counter(name: &str, temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum { data_points, aggregation_temporality: temporality, is_monotonic: true };
    Metric { name: name.to_owned(), data: Some(Data::Sum(sum)), ..Default::default() }
}

/// A point of `http_requests_total`; times are seconds.
fn hit(route: &str, start: u64, time: u64, value: f64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(&[("method", "GET"), ("route", route), ("status", "404")]),
        start_time_unix_nano: start * SECOND,
        time_unix_nano: time * SECOND,
        value: Some(Value::AsDouble(value)),
        ..Default::default()
    }
}

fn gone(mut point: NumberDataPoint) -> NumberDataPoint {
    point.value = None;
    point.flags = 1;
    point
}

fn hits(points: Vec<NumberDataPoint>) -> Batch {
    request("modelmuxer", vec![counter("http_requests_total", 2, points)])
}

fn unmatched() -> Json {
    json!({"http.request.method": "GET", "http.route": "_unmatched", "http.response.status_code": 404})
}

/// Start in seconds and value of the series of unmatched routes after each batch; no value if it is gone.
fn totals(bench: &mut Bench, batches: Vec<Batch>) -> Vec<(u64, Option<f64>)> {
    let mut out = Vec::new();
    for batch in batches {
        let items = items(&bench.take(batch).unwrap());
        let item = one(&items, "modelmuxer.http.requests", &unmatched());
        assert_eq!(item.gone, item.value.is_none());
        out.push((item.start / SECOND, item.value));
    }
    out
}

#[test]
fn a_sum_stands_still_when_a_part_of_it_ends() {
    let batches = vec![
        hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]),
        // The older part ends: the sum neither falls nor starts anew.
        hits(vec![gone(hit("/a", 100, 210, 0.0)), hit("/b", 150, 210, 6.0)]),
        hits(vec![hit("/b", 150, 220, 7.0)]),
        // It comes back, counted from zero.
        hits(vec![hit("/a", 215, 230, 2.0), hit("/b", 150, 230, 7.0)]),
    ];
    let expected = [(100, Some(15.0)), (100, Some(16.0)), (100, Some(17.0)), (100, Some(19.0))];
    assert_eq!(totals(&mut Bench::plain(), batches), expected);
}

#[test]
fn a_sum_is_gone_when_all_parts_are() {
    let batches = vec![
        hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]),
        hits(vec![gone(hit("/a", 100, 210, 0.0)), gone(hit("/b", 150, 210, 0.0))]),
        hits(vec![hit("/b", 205, 220, 1.0)]),
    ];
    let out = totals(&mut Bench::plain(), batches);
    assert_eq!(out[0], (100, Some(15.0)));
    assert_eq!(out[1].1, None);
    assert_eq!(out[2], (205, Some(1.0)), "what comes after is another series");
}

#[test]
fn a_part_that_is_counted_from_zero_again_adds_to_the_sum() {
    let batches = vec![
        hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]),
        // /a fell; /b did not, but began after its last point.
        hits(vec![hit("/a", 100, 210, 3.0), hit("/b", 205, 210, 8.0)]),
    ];
    assert_eq!(totals(&mut Bench::plain(), batches), [(100, Some(15.0)), (100, Some(26.0))]);
}

#[test]
fn a_request_that_holds_some_parts_only_leaves_the_sum_whole() {
    let batches = vec![
        hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]),
        hits(vec![hit("/a", 100, 210, 11.0)]),
        hits(vec![hit("/b", 150, 210, 9.0)]),
    ];
    assert_eq!(
        totals(&mut Bench::plain(), batches),
        [(100, Some(15.0)), (100, Some(16.0)), (100, Some(20.0))]
    );
}

#[test]
fn parts_of_different_resources_are_different_sums() {
    let worker = |id: &str, time, values: [f64; 2]| {
        let points = vec![hit("/a", 100, time, values[0]), hit("/b", 150, time, values[1])];
        let resource = [("service.name", "modelmuxer"), ("service.instance.id", id)];
        request_of(&resource, vec![counter("http_requests_total", 2, points)])
    };
    let batches = vec![
        worker("1", 200, [10.0, 5.0]),
        worker("2", 201, [1.0, 2.0]),
        worker("1", 210, [11.0, 6.0]),
        worker("2", 211, [3.0, 3.0]),
    ];
    let expected = [(100, Some(15.0)), (100, Some(3.0)), (100, Some(17.0)), (100, Some(6.0))];
    assert_eq!(totals(&mut Bench::plain(), batches), expected);
}

#[test]
fn two_scrapes_in_one_request_are_two_points() {
    let mut bench = Bench::plain();
    let points = vec![
        hit("/a", 100, 210, 11.0),
        hit("/b", 150, 210, 6.0),
        hit("/a", 100, 200, 10.0),
        hit("/b", 150, 200, 5.0),
    ];
    let items = items(&bench.take(hits(points)).unwrap());
    let found: Vec<_> =
        of(&items, "modelmuxer.http.requests").iter().map(|i| (i.time / SECOND, i.value)).collect();
    assert_eq!(found, [(200, Some(15.0)), (210, Some(17.0))]);
    assert_eq!(bench.rule("M.merged"), 2);
}

#[test]
fn a_series_of_its_own_restarts_as_its_source_does() {
    let batches = vec![hits(vec![hit("/a", 100, 200, 10.0)]), hits(vec![hit("/a", 205, 210, 2.0)])];
    assert_eq!(totals(&mut Bench::plain(), batches), [(100, Some(10.0)), (205, Some(2.0))]);
}

#[test]
fn a_point_of_a_sum_that_is_older_than_its_part_is_dropped_and_counted() {
    let mut bench = Bench::plain();
    bench.take(hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]));
    assert!(bench.take(hits(vec![hit("/a", 100, 190, 9.0)])).is_none());
    assert_eq!(bench.dropped("out_of_order"), 1);
}

#[test]
fn a_sum_is_forgotten_after_an_hour_without_points() {
    let mut bench = Bench::plain();
    bench.take_at(0, hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]));
    let out = bench.take_at(3_599, hits(vec![hit("/b", 150, 3_799, 6.0)])).unwrap();
    assert_eq!(one(&items(&out), "modelmuxer.http.requests", &unmatched()).value, Some(16.0));
    let out = bench.take_at(9_000, hits(vec![hit("/b", 150, 9_200, 7.0)])).unwrap();
    assert_eq!(one(&items(&out), "modelmuxer.http.requests", &unmatched()).value, Some(7.0));
}

#[test]
fn deltas_are_added_up_and_stay_deltas() {
    let points = vec![hit("/a", 190, 200, 1.0), hit("/b", 195, 200, 2.0), hit("/a", 200, 210, 4.0)];
    let mut bench = Bench::plain();
    let out = bench.take(request("modelmuxer", vec![counter("http_requests_total", 1, points)])).unwrap();
    let items = items(&out);
    let found: Vec<_> = of(&items, "modelmuxer.http.requests")
        .iter()
        .map(|i| (i.temporality, i.start / SECOND, i.time / SECOND, i.value))
        .collect();
    assert_eq!(found, [(1, 190, 200, Some(3.0)), (1, 200, 210, Some(4.0))]);
}

#[test]
fn values_that_are_none_are_dropped_and_counted_and_nothing_panics() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0];
    for value in values {
        let mut bench = Bench::plain();
        let batches = vec![
            hits(vec![hit("/a", 100, 200, 10.0), hit("/b", 150, 200, 5.0)]),
            // An unknown part is what it was, not 0.
            hits(vec![hit("/a", 100, 210, value), hit("/b", 150, 210, 6.0)]),
        ];
        assert_eq!(totals(&mut bench, batches), [(100, Some(15.0)), (100, Some(16.0))], "{value}");
        assert_eq!(bench.dropped("invalid_value"), 1, "{value}");
    }
    let mut bench = Bench::plain();
    let histogram = |sum, bounds: Vec<f64>, counts: Vec<u64>| latency(200, u64::MAX, sum, bounds, counts);
    for value in values {
        let odd = [
            histogram(Some(value), vec![value, 1.0], vec![1, 2]),
            histogram(Some(value), vec![], vec![u64::MAX]),
            histogram(None, vec![value], vec![]),
        ];
        for metric in odd {
            for item in items(&bench.take(request("modelmuxer", vec![metric])).unwrap()) {
                assert!(item.value.is_none_or(|v| v == -0.001), "{item:?}");
            }
        }
    }
}

fn latency(time: u64, count: u64, sum: Option<f64>, bounds: Vec<f64>, counts: Vec<u64>) -> Metric {
    let point = HistogramDataPoint {
        attributes: labels(&[("provider", "openai"), ("model", "gpt-4o")]),
        start_time_unix_nano: 100 * SECOND,
        time_unix_nano: time * SECOND,
        count,
        sum,
        bucket_counts: counts,
        explicit_bounds: bounds,
        exemplars: vec![Exemplar {
            value: Some(exemplar::Value::AsDouble(842.0)),
            span_id: vec![7; 8],
            trace_id: vec![9; 16],
            ..Default::default()
        }],
        ..Default::default()
    };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: 2 };
    let name = "modelmuxer_provider_latency_seconds".to_owned();
    Metric { name, data: Some(Data::Histogram(histogram)), ..Default::default() }
}

/// Sum and buckets of the repaired latency.
fn repaired(bench: &mut Bench, metric: Metric) -> (f64, Vec<f64>) {
    let items = items(&bench.take(request("any", vec![metric])).unwrap());
    let item = of(&items, "gen_ai.client.operation.duration")[0];
    (item.value.unwrap(), item.histogram.clone().unwrap().1)
}

#[test]
fn latencies_that_prove_to_be_seconds_keep_their_unit_and_their_buckets() {
    let bounds = || vec![0.5, 1.0];
    let mut bench = Bench::plain();
    let metric = latency(200, 2, Some(1.684), bounds(), vec![0, 2, 0]);
    assert_eq!(repaired(&mut bench, metric), (1.684, bounds()));
    assert_eq!(bench.rule("M.provider_latency_milliseconds"), 0);
    // The unit stays what it was, even if the mean grows beyond what is believed at first.
    let metric = latency(210, 3, Some(400.25), bounds(), vec![0, 2, 1]);
    assert_eq!(repaired(&mut bench, metric), (400.25, bounds()));

    // Milliseconds with fractions: no call takes minutes on average.
    let metric = latency(200, 2, Some(1_684.5), bounds(), vec![0, 0, 2]);
    assert_eq!(repaired(&mut Bench::plain(), metric), (1.6845, vec![]));
}

#[test]
fn the_unit_of_latencies_can_be_set() {
    let set = |unit| {
        let options = MetricOptions { provider_latency_unit: unit, ..MetricOptions::default() };
        Bench::new(options, TraceOptions::default())
    };
    let metric = || latency(200, 2, Some(3.0), vec![1.0], vec![0, 2]);
    assert_eq!(repaired(&mut set(LatencyUnit::Auto), metric()), (0.003, vec![]));
    assert_eq!(repaired(&mut set(LatencyUnit::Milliseconds), metric()), (0.003, vec![]));
    assert_eq!(repaired(&mut set(LatencyUnit::Seconds), metric()), (3.0, vec![1.0]));
    let fraction = || latency(200, 2, Some(3.5), vec![1.0], vec![0, 2]);
    assert_eq!(repaired(&mut set(LatencyUnit::Milliseconds), fraction()), (0.0035, vec![]));
}

#[test]
fn exemplars_go_along_in_the_unit_of_their_metric() {
    let mut bench = Bench::plain();
    let out = bench.take(request("any", vec![latency(200, 1, Some(842.0), vec![], vec![])])).unwrap();
    let request = Request::decode(out.otlp().clone()).unwrap();
    let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!() };
    let exemplar = &histogram.data_points[0].exemplars[0];
    let Some(exemplar::Value::AsDouble(seconds)) = exemplar.value else { panic!() };
    assert!(close(seconds, 0.842));
    assert_eq!((exemplar.span_id.clone(), exemplar.trace_id.clone()), (vec![7; 8], vec![9; 16]));
}

#[test]
fn names_that_any_program_could_use_are_modelmuxers_only_below_its_resource() {
    let metric = || counter("http_requests_total", 2, vec![hit("/a", 100, 200, 1.0)]);
    let foreign = request("shop", vec![metric()]);
    let out = Bench::plain().take(foreign.clone()).unwrap();
    assert_eq!(out.otlp(), foreign.otlp());
    // A family of its own name gives it away.
    let intents = counter("modelmuxer_router_intent_total", 2, vec![]);
    let out = items(&Bench::plain().take(request("shop", vec![metric(), intents])).unwrap());
    assert_eq!(out[0].name, "modelmuxer.http.requests");
}

#[test]
fn a_family_of_another_kind_than_on_the_page_passes_as_it_is() {
    let mut metric = counter("modelmuxer_tokens_total", 2, vec![hit("/a", 100, 200, 1.0)]);
    if let Some(Data::Sum(sum)) = &mut metric.data {
        sum.is_monotonic = false;
    }
    let batch = request("modelmuxer", vec![metric]);
    assert_eq!(Bench::plain().take(batch.clone()).unwrap().otlp(), batch.otlp());
}

#[test]
fn a_family_known_as_dead_passes_once_it_counts() {
    let page =
        |n: u8| format!("# TYPE modelmuxer_active_connections gauge\nmodelmuxer_active_connections {n}\n");
    let pages = [page(0), page(3), page(0)];
    let mut bench = Bench::plain();
    let mut batches = scrape(pages.iter().map(String::as_bytes)).into_iter();
    assert!(bench.take(batches.next().unwrap()).is_none());
    for expected in [3.0, 0.0] {
        let items = items(&bench.take(batches.next().unwrap()).unwrap());
        assert_eq!(one(&items, "modelmuxer_active_connections", &json!({})).value, Some(expected));
    }
    assert_eq!(bench.rule("M.fake_zero"), 1);

    let dead = counter("modelmuxer_cache_hits_total", 2, vec![hit("/a", 100, 200, 0.0)]);
    assert!(bench.take(request("modelmuxer", vec![dead])).is_none());
    assert_eq!(bench.rule("M.dead"), 1);
}

#[test]
fn tokens_without_a_count_of_calls_are_no_histogram() {
    let point = NumberDataPoint {
        attributes: labels(&[("provider", "openai"), ("model", "gpt-4o"), ("type", "input")]),
        value: Some(Value::AsInt(7)),
        time_unix_nano: SECOND,
        ..Default::default()
    };
    let tokens = counter("modelmuxer_tokens_total", 2, vec![point]);
    let items = items(&Bench::plain().take(request("modelmuxer", vec![tokens])).unwrap());
    assert_eq!(items.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["modelmuxer.tokens"]);
    assert_eq!(items[0].value, Some(7.0));
}

#[test]
fn price_correction_and_scheme_are_those_of_the_configuration() {
    let traces = TraceOptions { price_correction: 1.0, url_scheme: Scheme::Https, ..TraceOptions::default() };
    let mut bench = Bench::new(MetricOptions::default(), traces);
    let items = items(&bench.take(scrape([corpus(RUN1_END).as_slice()]).remove(0)).unwrap());
    let costs = of(&items, "modelmuxer.cost.estimated");
    let sum: f64 = costs.iter().filter_map(|i| i.value).sum();
    assert!(close(sum, 15.897299999999987 + 58.370000000000026));
    assert_eq!(bench.rule("M.estimated_cost"), 0);
    assert!(of(&items, "http.server.request.duration").iter().all(|i| i.attributes["url.scheme"] == "https"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_sum_over_all_series_is_the_sum_over_all_parts(
        counts in proptest::collection::vec((0u8..30, 0u32..1_000_000, 0u8..4), 1..60),
        batches in 1usize..4,
    ) {
        let mut bench = Bench::plain();
        let mut parts = std::collections::BTreeMap::new();
        let mut out = std::collections::BTreeMap::new();
        for (i, chunk) in counts.chunks(counts.len().div_ceil(batches)).enumerate() {
            let time = 200 + i as u64;
            let mut points = Vec::new();
            let mut on_page = std::collections::BTreeMap::new();
            for (path, growth, kind) in chunk {
                let route = match kind {
                    0 => format!("/v1/threads/{path}"),
                    1 => "/v1/models".to_owned(),
                    _ => format!("/{path}"),
                };
                *parts.entry(route.clone()).or_insert(0.0) += f64::from(*growth);
                on_page.insert(route.clone(), parts[&route]);
            }
            for (route, value) in on_page {
                points.push(hit(&route, 100, time, value));
            }
            for item in items(&bench.take(hits(points)).unwrap()) {
                out.insert(item.attributes.to_string(), item.value.unwrap());
            }
        }
        prop_assert_eq!(parts.values().sum::<f64>(), out.values().sum::<f64>());
        prop_assert!(out.len() <= 3);
    }
}

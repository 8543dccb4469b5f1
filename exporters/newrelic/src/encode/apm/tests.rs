//! Which spans count in which metric, and what the metrics look like.

use super::super::tests::{T0, batch_of, kv, s, span, text};
use super::*;
use muxbridge_testkit::oracle::common::v1::any_value::Value;
use muxbridge_testkit::oracle::metrics::v1::metric::Data;
use muxbridge_testkit::oracle::metrics::v1::{ExponentialHistogramDataPoint, Metric};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use muxbridge_testkit::oracle::{self};

const BOTH: Wanted = Wanted { server: true, client: true };

/// `http.request` as the translation leaves it.
fn request(millis: u64, more: &[(&str, Value)]) -> Span {
    let mut attributes = vec![
        text("modelmuxer.span.name", "http.request"),
        text("http.request.method", "POST"),
        text("http.route", "/v1/chat/completions"),
    ];
    attributes.extend(more.iter().map(|(key, value)| kv(key, value.clone())));
    Span { kind: 2, end_time_unix_nano: T0 + millis * MILLI, ..span(attributes) }
}

/// `openai.request` as the translation leaves it.
fn attempt(millis: u64, more: &[(&str, Value)]) -> Span {
    let mut attributes = vec![
        text("modelmuxer.span.name", "openai.request"),
        text("http.request.method", "POST"),
        text("server.address", "api.openai.com"),
        kv("server.port", Value::IntValue(443)),
    ];
    attributes.extend(more.iter().map(|(key, value)| kv(key, value.clone())));
    Span { kind: 3, end_time_unix_nano: T0 + millis * MILLI, ..span(attributes) }
}

fn service() -> Vec<muxbridge_testkit::oracle::common::v1::KeyValue> {
    vec![text("service.name", "modelmuxer")]
}

fn derived(spans: Vec<Span>) -> Vec<Metric> {
    let mut apm = Apm::default();
    assert_eq!(apm.record(&batch_of(service(), spans), |_| BOTH), 0);
    if apm.is_empty() {
        return Vec::new();
    }
    let mut request = oracle::decode_metrics(&apm.to_otlp());
    assert_eq!(request.resource_metrics.len(), 1);
    let mut resource = request.resource_metrics.remove(0);
    assert_eq!(resource.resource.unwrap().attributes, service());
    resource.scope_metrics.remove(0).metrics
}

fn points(metric: &Metric) -> Vec<ExponentialHistogramDataPoint> {
    let Some(Data::ExponentialHistogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    assert_eq!((histogram.aggregation_temporality, metric.unit.as_str()), (1, "s"));
    histogram.data_points.clone()
}

// V9b
#[test]
fn requests_of_one_route_become_one_point_with_the_buckets_of_the_python_sdk() {
    let metrics = derived(vec![request(50, &[]), request(200, &[]), request(812, &[])]);
    assert_eq!(metrics.len(), 1);
    assert_eq!(metrics[0].name, "http.server.request.duration");
    let [point] = points(&metrics[0]).try_into().unwrap();
    assert_eq!((point.scale, point.count, point.sum), (5, 3, Some(1.062)));
    assert_eq!((point.min, point.max), (Some(0.05), Some(0.812)));
    let positive = point.positive.unwrap();
    assert_eq!((positive.offset, positive.bucket_counts.len()), (-139, 130));
    let filled: Vec<usize> = (0..130).filter(|i| positive.bucket_counts[*i] == 1).collect();
    assert_eq!((filled, positive.bucket_counts.iter().sum::<u64>()), (vec![0, 64, 129], 3));
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (T0 + 50 * MILLI, T0 + 812 * MILLI));
    let expected = [text("http.request.method", "POST"), text("http.route", "/v1/chat/completions")];
    assert_eq!(point.attributes, expected);
}

#[test]
fn an_attempt_counts_with_its_host_and_the_window_is_never_empty() {
    let metrics = derived(vec![attempt(790, &[("error.type", s("httpx.ConnectTimeout"))])]);
    assert_eq!(metrics[0].name, "http.client.request.duration");
    let [point] = points(&metrics[0]).try_into().unwrap();
    assert_eq!(point.time_unix_nano - point.start_time_unix_nano, MILLI);
    let expected = [
        text("http.request.method", "POST"),
        text("server.address", "api.openai.com"),
        text("error.type", "httpx.ConnectTimeout"),
        kv("server.port", Value::IntValue(443)),
    ];
    assert_eq!(point.attributes, expected);
}

#[test]
fn a_failed_request_has_an_error_type_because_new_relic_counts_those() {
    let failed = |more: &[(&str, Value)]| {
        let status = Some(Status { code: 2, message: String::new() });
        let metrics = derived(vec![Span { status, ..request(10, more) }]);
        let point = points(&metrics[0]).remove(0);
        let error = point.attributes.iter().find(|a| a.key == "error.type").unwrap();
        error.value.clone().unwrap().value.unwrap()
    };
    assert_eq!(failed(&[]), s("_OTHER"));
    assert_eq!(failed(&[("http.response.status_code", Value::IntValue(502))]), s("502"));
    assert_eq!(failed(&[("error.type", s("timeout"))]), s("timeout"));
}

#[test]
fn only_requests_of_modelmuxer_count_and_only_in_the_metrics_that_are_wanted() {
    let mut foreign = request(10, &[]);
    foreign.attributes.remove(0);
    // A call of a model has attempts below it, which count; it is none itself.
    let mut call = attempt(10, &[]);
    call.attributes[0] = text("modelmuxer.span.name", "provider.invoke");
    let mut other = request(10, &[]);
    other.attributes[0] = text("modelmuxer.span.name", "policy.enforce");
    let internal = Span { kind: 1, ..request(10, &[]) };
    let mut nowhere = attempt(10, &[]);
    nowhere.attributes.remove(2);
    assert_eq!(derived(vec![foreign, other, call, internal, nowhere]), []);
    let both = batch_of(service(), vec![request(10, &[]), attempt(10, &[])]);
    for (wanted, name) in
        [(Wanted { server: true, client: false }, SERVER), (Wanted { server: false, client: true }, CLIENT)]
    {
        let mut apm = Apm::default();
        apm.record(&both, |_| wanted);
        let request = muxbridge_testkit::batch(Signal::Metrics, apm.to_otlp());
        assert_eq!(apm.points(), 1);
        assert_eq!(holds(&request), [(b"modelmuxer".as_slice(), wanted)], "{name}");
    }
    assert_eq!(holds(&both), []);
    let mut apm = Apm::default();
    let neither = Wanted { server: false, client: false };
    apm.record(&both, |service| if service == b"modelmuxer" { neither } else { BOTH });
    assert!(apm.is_empty());
}

#[test]
fn series_beyond_the_bound_share_one_and_no_request_is_lost() {
    let spans = (0..MAX_SERIES + 10).map(|i| request(10, &[("error.type", s(&format!("e{i}")))])).collect();
    let metrics = derived(spans);
    let points = points(&metrics[0]);
    assert_eq!(points.len(), MAX_SERIES + 1);
    let overflow = points.iter().find(|p| p.attributes == [text("overflow", "true")]).unwrap();
    assert_eq!(overflow.count, 10);
}

#[test]
fn resources_beyond_the_bound_are_counted() {
    let mut apm = Apm::default();
    let lost: u64 = (0..MAX_RESOURCES + 3)
        .map(|i| {
            apm.record(&batch_of(vec![text("host.name", &i.to_string())], vec![request(1, &[])]), |_| BOTH)
        })
        .sum();
    assert_eq!((lost, apm.points()), (3, MAX_RESOURCES as u64));
    let mut other = Apm::default();
    other.record(&batch_of(vec![text("host.name", "new")], vec![request(1, &[])]), |_| BOTH);
    assert_eq!(apm.merge(other), 1);
}

#[test]
fn what_was_put_back_is_added_up_with_what_came_later() {
    let (mut late, mut early) = (Apm::default(), Apm::default());
    early.record(&batch_of(service(), vec![request(50, &[]), request(200, &[])]), |_| BOTH);
    late.record(&batch_of(service(), vec![request(812, &[])]), |_| BOTH);
    late.merge(early);
    let mut whole = Apm::default();
    whole
        .record(&batch_of(service(), vec![request(812, &[]), request(50, &[]), request(200, &[])]), |_| BOTH);
    assert_eq!(late.to_otlp(), whole.to_otlp());
}

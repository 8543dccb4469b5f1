//! New Relic's rules as a stand-in server applies them: what is wrong with a request, and what New Relic would answer.
//!
//! Written from the documented limits alone, on prost structs, so that it shares nothing with the exporter. It is
//! stricter than New Relic, which answers 200 or 202 first and loses data later.

mod native;
mod standin;
mod trace_api;

pub use standin::{Fault, Standin};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message;
use trace_api::{newrelic, zipkin};

const MAX_WIRE_BYTES: usize = 1_000_000;

/// The paths of OTLP over HTTP, then those of New Relic's own APIs.
const OTLP_PATHS: [&str; 3] = ["/v1/traces", "/v1/metrics", "/v1/logs"];
const OWN_PATHS: [&str; 4] = ["/trace/v1", "/metric/v1", "/log/v1", "/v1/accounts/events"];

/// What New Relic answers at once: status and body. Contents that it would lose later are no matter of the status; see
/// [`violations`].
pub fn answer(path: &str, headers: &HeaderMap, wire_len: usize) -> (StatusCode, Bytes) {
    let otlp = OTLP_PATHS.contains(&path);
    if !otlp && !OWN_PATHS.contains(&path) {
        return (StatusCode::NOT_FOUND, Bytes::new());
    }
    if !headers.contains_key("api-key") {
        return (if otlp { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN }, Bytes::new());
    }
    if wire_len >= MAX_WIRE_BYTES {
        return (StatusCode::PAYLOAD_TOO_LARGE, Bytes::new());
    }
    if otlp {
        return (StatusCode::OK, Bytes::new());
    }
    if path == "/v1/accounts/events" {
        let taken = br#"{"success":true,"uuid":"0c9a2a0e-0001-b000-0000-018c2b3b3f5e"}"#;
        return (StatusCode::OK, Bytes::from_static(taken));
    }
    let accepted = Bytes::from_static(br#"{"requestId":"7b7c0e6f-0001-b000-0000-018c2b3b3f5e"}"#);
    (StatusCode::ACCEPTED, accepted)
}

/// Every rule that a request breaks, in words; empty if New Relic would store all of it. `body` is decompressed,
/// `wire_len` is the length of the body as it was sent.
pub fn violations(path: &str, headers: &HeaderMap, body: &[u8], wire_len: usize) -> Vec<String> {
    let mut found = Found::default();
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if header("api-key").is_none_or(str::is_empty) {
        found.add("headers", "no api-key");
    }
    if header("user-agent").is_none_or(|agent| agent.contains("TelemetrySDK")) {
        found.add("headers", "no user-agent, or one of New Relic's own");
    }
    if wire_len >= MAX_WIRE_BYTES {
        found.add("request", &format!("{wire_len} bytes on the wire"));
    }
    let encoding = header("content-encoding");
    let own = OWN_PATHS.contains(&path);
    if !matches!(encoding, None | Some("gzip")) && (own || encoding != Some("zstd")) {
        found.add("headers", &format!("content-encoding {encoding:?}"));
    }
    let content_type = header("content-type");
    if content_type != Some(if own { "application/json" } else { "application/x-protobuf" }) {
        found.add("headers", &format!("content-type {content_type:?}"));
    }
    if own && !header("x-request-id").is_some_and(is_uuid_v4) {
        found.add("headers", "x-request-id is no UUIDv4");
    }
    if path != "/trace/v1" && headers.contains_key("data-format") {
        found.add("headers", "data-format is for the Trace API");
    }
    match path {
        "/metric/v1" => native::metrics(body, &mut found),
        "/log/v1" => native::logs(body, &mut found),
        "/v1/accounts/events" => native::events(body, &mut found),
        "/v1/traces" => traces(body, &mut found),
        "/v1/metrics" => metrics(body, &mut found),
        "/v1/logs" => logs(body, &mut found),
        "/trace/v1" => match (header("data-format"), header("data-format-version")) {
            (Some("newrelic"), Some("1")) => newrelic(body, &mut found),
            (Some("zipkin"), Some("2")) => zipkin(body, &mut found),
            other => found.add("headers", &format!("data-format {other:?}")),
        },
        _ => found.add("request", &format!("no such path {path}")),
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn add(&mut self, place: &str, problem: &str) {
        self.0.push(format!("{place}: {problem}"));
    }

    fn check(&mut self, right: bool, place: &str, problem: &str) {
        if !right {
            self.add(place, problem);
        }
    }
}

fn is_uuid_v4(id: &str) -> bool {
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && id.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
        && id.as_bytes().get(14) == Some(&b'4')
        && matches!(id.as_bytes().get(19), Some(b'8' | b'9' | b'a' | b'b'))
}

fn length(text: &str) -> usize {
    text.chars().count()
}

const METRIC_RESERVED: [&str; 18] = [
    "interval.ms",
    "timestamp",
    "value",
    "common",
    "min",
    "max",
    "count",
    "sum",
    "metrics",
    "newrelic.source",
    "metricName",
    "endTimestamp",
    "accountId",
    "appId",
    "eventType",
    "entity.guid",
    "entity.name",
    "entity.type",
];

/// One list of attributes of an OTLP request.
fn attributes(
    list: &[KeyValue],
    max: usize,
    reserved: &[&str],
    metric: bool,
    place: &str,
    found: &mut Found,
) {
    found.check(list.len() <= max, place, &format!("{} attributes, the limit is {max}", list.len()));
    for kv in list {
        let key = kv.key.as_str();
        let place = format!("{place}.{}", key.chars().take(40).collect::<String>());
        found.check((1..=255).contains(&length(key)), &place, "length of the key");
        let entity =
            key.starts_with("entity.") || matches!(key, "entityGuid" | "newrelic.entity.type" | "trace_role");
        found.check(!entity && !reserved.contains(&key), &place, "reserved key");
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':'));
        found.check(!metric || plain, &place, "characters of the key");
        value(kv.value.as_ref(), &place, found);
    }
}

fn value(value: Option<&AnyValue>, place: &str, found: &mut Found) {
    use any_value::Value as V;
    match value.and_then(|v| v.value.as_ref()) {
        Some(V::StringValue(s)) => found.check(length(s) <= 4095, place, "string over 4095 characters"),
        Some(V::BoolValue(_) | V::IntValue(_) | V::DoubleValue(_)) => {}
        Some(V::ArrayValue(array)) => {
            found.check(array.values.len() <= 64, place, "array over 64 entries");
            let kinds: Vec<_> = array.values.iter().map(|v| v.value.as_ref()).collect();
            for kind in &kinds {
                let primitive = matches!(
                    kind,
                    Some(V::StringValue(_) | V::BoolValue(_) | V::IntValue(_) | V::DoubleValue(_))
                );
                let long = matches!(kind, Some(V::StringValue(s)) if length(s) > 4095);
                found.check(primitive && !long, place, "entry of an array");
            }
            let same = kinds
                .windows(2)
                .all(|w| w[0].map(std::mem::discriminant) == w[1].map(std::mem::discriminant));
            found.check(same, place, "mixed array");
        }
        Some(_) => found.add(place, "a map, bytes or another unsupported value"),
        None => found.add(place, "no value"),
    }
}

fn is_text(kv: &KeyValue) -> bool {
    let value = kv.value.as_ref().and_then(|v| v.value.as_ref());
    matches!(value, Some(any_value::Value::StringValue(s)) if !s.is_empty())
}

fn traces(body: &[u8], found: &mut Found) {
    const COLUMNS: [&str; 4] = ["name", "timestamp", "duration.ms", "trace.id"];
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return found.add("body", "not OTLP") };
    for r in request.resource_spans {
        let resource = r.resource.unwrap_or_default();
        attributes(&resource.attributes, 64, &COLUMNS, false, "resource", found);
        for s in r.scope_spans {
            attributes(&s.scope.unwrap_or_default().attributes, 8, &COLUMNS, false, "scope", found);
            for span in s.spans {
                let id = |id: &[u8], n| id.len() == n && id.iter().any(|b| *b != 0);
                found.check(id(&span.trace_id, 16) && id(&span.span_id, 8), "span", "ids");
                found.check(length(&span.name) <= 4095, "span", "length of the name");
                attributes(&span.attributes, 128, &COLUMNS, false, "span", found);
                for event in span.events {
                    found.check(length(&event.name) <= 4095, "event", "length of the name");
                    attributes(&event.attributes, 128, &COLUMNS, false, "event", found);
                }
                if let Some(status) = span.status {
                    found.check(length(&status.message) <= 4095, "span", "length of the status message");
                    let named = span.attributes.iter().any(|a| a.key == "error.type" && is_text(a));
                    let told = status.code != 2 || !status.message.is_empty() || !named;
                    found.check(told, "span", "error.type but no status message");
                }
            }
        }
    }
}

fn logs(body: &[u8], found: &mut Found) {
    const COLUMNS: [&str; 3] = ["timestamp", "duration.ms", "trace.id"];
    let Ok(request) = ExportLogsServiceRequest::decode(body) else { return found.add("body", "not OTLP") };
    for r in request.resource_logs {
        attributes(&r.resource.unwrap_or_default().attributes, 64, &COLUMNS, false, "resource", found);
        for s in r.scope_logs {
            attributes(&s.scope.unwrap_or_default().attributes, 8, &COLUMNS, false, "scope", found);
            for log in s.log_records {
                attributes(&log.attributes, 128, &COLUMNS, false, "log", found);
                match log.body.and_then(|b| b.value) {
                    Some(any_value::Value::StringValue(s)) => {
                        found.check(length(&s) <= 32_768, "log", "length of the body");
                    }
                    Some(any_value::Value::BytesValue(b)) => {
                        found.check(b.len() <= 128_000, "log", "bytes of the body");
                    }
                    _ => {}
                }
            }
        }
    }
}

fn metrics(body: &[u8], found: &mut Found) {
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else { return found.add("body", "not OTLP") };
    for r in request.resource_metrics {
        let resource = r.resource.unwrap_or_default();
        attributes(&resource.attributes, 64, &METRIC_RESERVED, true, "resource", found);
        for s in r.scope_metrics {
            let scope = s.scope.unwrap_or_default();
            attributes(&scope.attributes, 8, &METRIC_RESERVED, true, "scope", found);
            for metric in s.metrics {
                let place = format!("metric {}", metric.name.chars().take(40).collect::<String>());
                found.check((1..255).contains(&length(&metric.name)), &place, "length of the name");
                let above = resource.attributes.iter().chain(&scope.attributes);
                found.check(above.clone().all(|a| a.key != metric.name), &place, "an attribute of its name");
                let above = above.count();
                for (kind, delta, start, time, list, finite) in
                    points(metric.data.unwrap_or(Data::Gauge(Default::default())), &place, found)
                {
                    let place = format!("{place} {kind}");
                    attributes(&list, 64, &METRIC_RESERVED, true, &place, found);
                    found.check(list.len() + above <= 100, &place, "over 100 attributes in all");
                    found.check(
                        list.iter().all(|a| a.key != metric.name),
                        &place,
                        "an attribute of its name",
                    );
                    found.check(finite, &place, "no finite value");
                    found.check(!delta || (start > 0 && time > start), &place, "window");
                    found.check(time > 0, &place, "no time");
                }
            }
        }
    }
}

type Point = (&'static str, bool, u64, u64, Vec<KeyValue>, bool);

/// The points of a metric, if its kind and temporality can be stored at all.
fn points(data: Data, place: &str, found: &mut Found) -> Vec<Point> {
    let number = |p: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| match p.value {
        Some(number_data_point::Value::AsDouble(d)) => d.is_finite(),
        Some(number_data_point::Value::AsInt(_)) => true,
        None => false,
    };
    let known = |v: [Option<f64>; 3]| v.into_iter().flatten().all(f64::is_finite);
    match data {
        Data::Gauge(g) => g
            .data_points
            .into_iter()
            .map(|p| {
                ("gauge", false, p.start_time_unix_nano, p.time_unix_nano, p.attributes.clone(), number(&p))
            })
            .collect(),
        Data::Sum(sum) => {
            let delta = sum.aggregation_temporality == 1;
            found.check(sum.aggregation_temporality != 0, place, "no temporality");
            found.check(sum.is_monotonic || !delta, place, "delta of a sum that is not monotonic");
            let point = |p: opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
                ("sum", delta, p.start_time_unix_nano, p.time_unix_nano, p.attributes.clone(), number(&p))
            };
            sum.data_points.into_iter().map(point).collect()
        }
        Data::Histogram(h) => {
            let delta = h.aggregation_temporality == 1;
            found.check(h.aggregation_temporality != 0, place, "no temporality");
            h.data_points
                .into_iter()
                .map(|p| {
                    let finite = known([p.sum, p.min, p.max]);
                    ("histogram", delta, p.start_time_unix_nano, p.time_unix_nano, p.attributes, finite)
                })
                .collect()
        }
        Data::ExponentialHistogram(h) => {
            let delta = h.aggregation_temporality == 1;
            found.check(h.aggregation_temporality != 0, place, "no temporality");
            h.data_points
                .into_iter()
                .map(|p| {
                    let finite = known([p.sum, p.min, p.max]);
                    ("exponential", delta, p.start_time_unix_nano, p.time_unix_nano, p.attributes, finite)
                })
                .collect()
        }
        Data::Summary(_) => {
            found.add(place, "a summary");
            Vec::new()
        }
    }
}

//! Spans to the two metrics that New Relic's APM pages are made of.
//!
//! Summary, Transactions and External services show `http.server.request.duration` and `http.client.request.duration`,
//! not spans. ModelMuxer sends neither as OTLP metrics, so both are derived: delta exponential histograms in seconds.

use super::histogram::Exponential;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::schema::field::{
    self, exponential_point, metric, point, resource_items, scope, scope_items,
};
use muxbridge_pdata::view::{AnyValue, Resource, Span, SpanKind, StatusCode, Temporality};
use muxbridge_pdata::{Writer, view};
use std::collections::BTreeMap;

/// The duration of requests that ModelMuxer answered.
pub const SERVER: &str = "http.server.request.duration";
/// The duration of requests that ModelMuxer made.
pub const CLIENT: &str = "http.client.request.duration";
/// The most series between two requests; more share one series for each metric and resource, with `overflow="true"`.
pub const MAX_SERIES: usize = 2_000;
/// The most distinct resources; spans of others are left out and counted.
pub const MAX_RESOURCES: usize = 100;
/// A window must not be empty, and New Relic counts in milliseconds.
const MILLI: u64 = 1_000_000;

/// Which of the two metrics to derive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// [`SERVER`].
    pub server: bool,
    /// [`CLIENT`].
    pub client: bool,
}

/// What has been derived and not been sent yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Apm {
    /// By the bytes of the resource, the name of the metric and the attributes.
    resources: BTreeMap<Vec<u8>, List>,
    /// How many series there are.
    series: usize,
}

type Key = (&'static str, Attributes);
type List = BTreeMap<Key, Series>;

#[derive(Clone, Debug, PartialEq)]
struct Series {
    first: u64,
    last: u64,
    values: Exponential,
}

/// The attributes of one series, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Attributes {
    texts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, i64)>,
}

impl Apm {
    /// Derives from the spans of a batch what is wanted of each `service.name`. Returns how many spans found no room
    /// because of [`MAX_RESOURCES`].
    pub fn record(&mut self, batch: &Batch, wanted: impl Fn(&[u8]) -> Wanted) -> u64 {
        let mut without_room = 0;
        if batch.signal() != Signal::Traces {
            return 0;
        }
        for items in batch.resources() {
            let wanted = wanted(service(items.resource));
            for span in items.scopes().flat_map(|s| s.spans()) {
                let Some((name, attributes)) = series_of(&span, wanted) else { continue };
                let resource = items.resource.raw();
                if self.resources.len() >= MAX_RESOURCES && !self.resources.contains_key(resource) {
                    without_room += 1;
                    continue;
                }
                let mut values = Exponential::default();
                values.record(span.duration() as f64 / 1e9);
                let series = Series { first: span.end, last: span.end, values };
                self.add(resource, (name, attributes), series);
            }
        }
        without_room
    }

    /// Adds what another one holds; what finds no room because of [`MAX_RESOURCES`] is counted in measurements.
    pub fn merge(&mut self, other: Apm) -> u64 {
        let mut without_room = 0;
        for (resource, list) in other.resources {
            if self.resources.len() >= MAX_RESOURCES && !self.resources.contains_key(&resource) {
                without_room += list.len() as u64;
                continue;
            }
            list.into_iter().for_each(|(key, series)| self.add(&resource, key, series));
        }
        without_room
    }

    fn add(&mut self, resource: &[u8], mut key: Key, series: Series) {
        let list = match self.resources.get_mut(resource) {
            Some(list) => list,
            None => self.resources.entry(resource.to_vec()).or_default(),
        };
        if self.series >= MAX_SERIES && !list.contains_key(&key) {
            key.1 = Attributes { texts: vec![("overflow", "true".to_owned())], numbers: Vec::new() };
        }
        match list.get_mut(&key) {
            Some(known) => {
                known.first = known.first.min(series.first);
                known.last = known.last.max(series.last);
                known.values.merge(series.values);
            }
            None => {
                self.series += 1;
                list.insert(key, series);
            }
        }
    }

    /// How many data points there are.
    pub fn points(&self) -> u64 {
        self.series as u64
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// An OTLP metrics request with all of it. The window of a series is from the end of its first span to the end of
    /// its last one.
    pub fn to_otlp(&self) -> bytes::Bytes {
        let mut w = Writer::new();
        for (resource, list) in &self.resources {
            w.message(field::REQUEST_RESOURCE, |w| {
                w.bytes(resource_items::RESOURCE, resource);
                w.message(resource_items::SCOPES, |w| {
                    w.message(scope_items::SCOPE, |w| w.bytes(scope::NAME, super::SCOPE.as_bytes()));
                    for name in [CLIENT, SERVER] {
                        write_metric(w, name, list);
                    }
                });
            });
        }
        w.into_bytes()
    }
}

fn string<'a>(span: &Span<'a>, key: &str) -> Option<&'a str> {
    match span.attribute(key.as_bytes()) {
        Some(AnyValue::String(s)) if !s.is_empty() => Some(view::text(s)),
        _ => None,
    }
}

/// The metric and attributes that a span of ModelMuxer counts in. Other programs' spans count in none: those programs
/// send these metrics themselves.
fn series_of(span: &Span<'_>, wanted: Wanted) -> Option<(&'static str, Attributes)> {
    let own_name = string(span, "modelmuxer.span.name")?;
    let method = string(span, "http.request.method")?;
    let mut attributes = Attributes::default();
    let mut text = |key, value: &str| attributes.texts.push((key, value.to_owned()));
    text("http.request.method", method);
    let metric = match span.kind {
        SpanKind::Server if wanted.server && own_name == "http.request" => {
            if let Some(route) = string(span, "http.route") {
                text("http.route", route);
            }
            SERVER
        }
        SpanKind::Client if wanted.client && own_name.ends_with(".request") => {
            // Without a host the page has no row for it.
            text("server.address", string(span, "server.address")?);
            CLIENT
        }
        _ => return None,
    };
    let status = span.attribute(b"http.response.status_code").and_then(|v| v.as_int());
    match (string(span, "error.type"), span.status.code) {
        (Some(error), _) => text("error.type", error),
        // The conventions' word for an error of an unknown type. Without one New Relic counts no error.
        (None, StatusCode::Error) => {
            let known = status.filter(|code| *code >= 500).map(|code| code.to_string());
            text("error.type", known.as_deref().unwrap_or("_OTHER"));
        }
        (None, _) => {}
    }
    let mut number = |key, value: Option<i64>| attributes.numbers.extend(value.map(|value| (key, value)));
    number("http.response.status_code", status);
    if metric == CLIENT {
        number("server.port", span.attribute(b"server.port").and_then(|v| v.as_int()));
    }
    Some((metric, attributes))
}

fn write_metric(w: &mut Writer, name: &'static str, list: &List) {
    let mut series = list.iter().filter(|((of, _), _)| *of == name).peekable();
    if series.peek().is_none() {
        return;
    }
    w.message(scope_items::ITEMS, |w| {
        w.bytes(metric::NAME, name.as_bytes());
        w.bytes(metric::UNIT, b"s");
        w.message(metric::EXPONENTIAL_HISTOGRAM, |w| {
            for ((_, attributes), series) in series {
                w.message(metric::DATA_POINTS, |w| {
                    attributes.write(w);
                    w.fixed64(point::START_TIME, series.first.min(series.last.saturating_sub(MILLI)));
                    w.fixed64(point::TIME, series.last);
                    series.values.write(w);
                });
            }
            w.varint(metric::TEMPORALITY, Temporality::Delta as u64);
        });
    });
}

impl Attributes {
    fn write(&self, w: &mut Writer) {
        for (key, value) in &self.texts {
            w.attribute_str(exponential_point::ATTRIBUTES, key, value);
        }
        for (key, value) in &self.numbers {
            w.attribute(exponential_point::ATTRIBUTES, key.as_bytes(), AnyValue::Int(*value));
        }
    }
}

/// The name that New Relic makes an entity of; empty if there is none.
fn service(resource: Resource<'_>) -> &[u8] {
    match resource.attribute(b"service.name") {
        Some(AnyValue::String(name)) => name,
        _ => &[],
    }
}

/// Which services send one of the two metrics themselves, as a batch of metrics shows: a `service.name` for each resource
/// that has one of them.
pub fn holds(batch: &Batch) -> Vec<(&[u8], Wanted)> {
    let mut found = Vec::new();
    if batch.signal() == Signal::Metrics {
        for items in batch.resources() {
            let has = |name: &str| {
                items.scopes().flat_map(|s| s.metrics()).any(|metric| metric.name == name.as_bytes())
            };
            let own = Wanted { server: has(SERVER), client: has(CLIENT) };
            if own.server || own.client {
                found.push((service(items.resource), own));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;

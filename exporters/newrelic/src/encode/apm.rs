//! Spans to the two metrics that New Relic's APM pages are made of.
//!
//! Summary, Transactions and External services show `http.server.request.duration` and `http.client.request.duration`,
//! not spans. ModelMuxer sends neither as OTLP metrics, so both are derived: delta exponential histograms in seconds.

use super::histogram::Exponential;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{
    self, exponential_point, metric, point, resource_items, scope, scope_items,
};
use muxbridge_pdata::view::{AnyValue, KeyValue, Resource, Span, SpanKind, StatusCode, Temporality};
use muxbridge_pdata::wire::Fields;
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
    /// By the bytes of the resource.
    resources: BTreeMap<Vec<u8>, Lists>,
    /// How many series there are.
    series: usize,
}

/// The series of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lists {
    client: List,
    server: List,
}

/// By the attributes, as they are written: finding a series of a span allocates nothing.
type List = BTreeMap<Vec<u8>, Series>;

#[derive(Clone, Debug, PartialEq)]
struct Series {
    first: u64,
    last: u64,
    values: Exponential,
}

impl Series {
    fn new() -> Self {
        Series { first: u64::MAX, last: 0, values: Exponential::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client,
    Server,
}

impl Lists {
    fn of(&mut self, kind: Kind) -> &mut List {
        match kind {
            Kind::Client => &mut self.client,
            Kind::Server => &mut self.server,
        }
    }
}

/// Adds to the series with these attributes; to the one of the overflow if there is no room for another one.
fn add(list: &mut List, attributes: &[u8], series: &mut usize, add: impl FnOnce(&mut Series)) {
    if let Some(known) = list.get_mut(attributes) {
        return add(known);
    }
    let key = if *series < MAX_SERIES { attributes.to_vec() } else { overflow() };
    add(list.entry(key).or_insert_with(|| {
        *series += 1;
        Series::new()
    }));
}

fn overflow() -> Vec<u8> {
    let mut w = Writer::new();
    w.attribute_str(exponential_point::ATTRIBUTES, "overflow", "true");
    w.into_vec()
}

impl Apm {
    /// Derives from the spans of a batch what is wanted of each `service.name`. Returns how many spans found no room
    /// because of [`MAX_RESOURCES`].
    pub fn record(&mut self, batch: &Batch, wanted: impl Fn(&[u8]) -> Wanted) -> u64 {
        let mut without_room = 0;
        if batch.signal() != Signal::Traces {
            return 0;
        }
        let mut attributes = Writer::new();
        for items in batch.resources() {
            let wanted = wanted(service(items.resource));
            let resource = items.resource.raw();
            let room = self.resources.len() < MAX_RESOURCES || self.resources.contains_key(resource);
            for raw in items.scopes().flat_map(|s| s.items()) {
                let Some(measured) = Measured::read(raw, wanted, &mut attributes) else { continue };
                if !room {
                    without_room += 1;
                    continue;
                }
                let lists = match self.resources.get_mut(resource) {
                    Some(known) => known,
                    None => self.resources.entry(resource.to_vec()).or_default(),
                };
                add(lists.of(measured.kind), attributes.as_slice(), &mut self.series, |series| {
                    series.first = series.first.min(measured.end);
                    series.last = series.last.max(measured.end);
                    series.values.record(measured.seconds);
                });
            }
        }
        without_room
    }

    /// Adds what another one holds; what finds no room because of [`MAX_RESOURCES`] is counted in series.
    pub fn merge(&mut self, other: Apm) -> u64 {
        let mut without_room = 0;
        for (resource, lists) in other.resources {
            if self.resources.len() >= MAX_RESOURCES && !self.resources.contains_key(&resource) {
                without_room += (lists.client.len() + lists.server.len()) as u64;
                continue;
            }
            let known = self.resources.entry(resource).or_default();
            for (kind, list) in [(Kind::Client, lists.client), (Kind::Server, lists.server)] {
                for (attributes, series) in list {
                    add(known.of(kind), &attributes, &mut self.series, |known| {
                        known.first = known.first.min(series.first);
                        known.last = known.last.max(series.last);
                        known.values.merge(series.values);
                    });
                }
            }
        }
        without_room
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
        for (resource, lists) in &self.resources {
            w.message(field::REQUEST_RESOURCE, |w| {
                w.bytes(resource_items::RESOURCE, resource);
                w.message(resource_items::SCOPES, |w| {
                    w.message(scope_items::SCOPE, |w| w.bytes(scope::NAME, super::SCOPE.as_bytes()));
                    write_metric(w, CLIENT, &lists.client);
                    write_metric(w, SERVER, &lists.server);
                });
            });
        }
        w.into_bytes()
    }
}

/// What one span adds to a series.
struct Measured {
    kind: Kind,
    end: u64,
    seconds: f64,
}

/// The attributes that are looked for, as they are found.
#[derive(Default)]
struct Found<'a> {
    own_name: Option<KeyValue<'a>>,
    method: Option<KeyValue<'a>>,
    route: Option<KeyValue<'a>>,
    address: Option<KeyValue<'a>>,
    port: Option<KeyValue<'a>>,
    status: Option<KeyValue<'a>>,
    error: Option<KeyValue<'a>>,
}

impl<'a> Found<'a> {
    /// Takes note of one attribute.
    #[inline]
    fn see(&mut self, kv: KeyValue<'a>) {
        let place = match kv.key {
            b"modelmuxer.span.name" => &mut self.own_name,
            b"http.request.method" => &mut self.method,
            b"http.route" => &mut self.route,
            b"server.address" => &mut self.address,
            b"server.port" => &mut self.port,
            b"http.response.status_code" => &mut self.status,
            b"error.type" => &mut self.error,
            _ => return,
        };
        // Of several with one key the first one counts.
        *place = place.or(Some(kv));
    }
}

/// An attribute that is a text and says something.
fn text(attribute: Option<KeyValue<'_>>) -> Option<KeyValue<'_>> {
    attribute.filter(|kv| matches!(kv.value, AnyValue::String(text) if !text.is_empty()))
}

fn number(attribute: Option<KeyValue<'_>>) -> Option<KeyValue<'_>> {
    attribute.filter(|kv| matches!(kv.value, AnyValue::Int(_)))
}

impl Measured {
    /// What a span of ModelMuxer counts as; `w` gets the attributes of its series. Other programs' spans count as
    /// nothing: those programs send these metrics themselves.
    fn read(raw: &[u8], wanted: Wanted, w: &mut Writer) -> Option<Self> {
        if !may_count(raw) {
            return None;
        }
        let mut found = Found::default();
        let span = Span::read_each(raw, |f| {
            if f.number == field::span::ATTRIBUTES {
                found.see(KeyValue::read(f.value.as_bytes()));
            }
        });
        let kind = match span.kind {
            SpanKind::Server if wanted.server => Kind::Server,
            SpanKind::Client if wanted.client => Kind::Client,
            _ => return None,
        };
        let AnyValue::String(own_name) = found.own_name?.value else { return None };
        w.clear();
        // As they stand in the span: a series is found by these bytes.
        let mut copy = |attribute: Option<KeyValue<'_>>| {
            if let Some(kv) = attribute {
                w.bytes(exponential_point::ATTRIBUTES, kv.raw());
            }
        };
        copy(Some(text(found.method)?));
        match kind {
            Kind::Server if own_name == b"http.request" => copy(text(found.route)),
            // Without a host the page has no row for it.
            Kind::Client if own_name.ends_with(b".request") => copy(Some(text(found.address)?)),
            _ => return None,
        }
        let status = number(found.status);
        match (text(found.error), span.status.code) {
            (Some(error), _) => copy(Some(error)),
            // The conventions' word for an error of an unknown type. Without one New Relic counts no error.
            (None, StatusCode::Error) => {
                let known = status.and_then(|kv| kv.value.as_int()).filter(|code| *code >= 500);
                let known = known.map(|code| code.to_string());
                w.attribute_str(
                    exponential_point::ATTRIBUTES,
                    "error.type",
                    known.as_deref().unwrap_or("_OTHER"),
                );
            }
            (None, _) => {}
        }
        let numbers = [status, number(found.port).filter(|_| kind == Kind::Client)];
        for kv in numbers.into_iter().flatten() {
            w.bytes(exponential_point::ATTRIBUTES, kv.raw());
        }
        Some(Measured { kind, end: span.end, seconds: span.duration() as f64 / 1e9 })
    }
}

/// Whether the kind is one that counts: most are not, and it stands before the attributes.
fn may_count(raw: &[u8]) -> bool {
    let kind = Fields::new(raw).find(|f| f.number == field::span::KIND).map(|f| f.value.as_u64());
    kind.is_some_and(|kind| kind == SpanKind::Server as u64 || kind == SpanKind::Client as u64)
}

fn write_metric(w: &mut Writer, name: &'static str, list: &List) {
    if list.is_empty() {
        return;
    }
    w.message(scope_items::ITEMS, |w| {
        w.bytes(metric::NAME, name.as_bytes());
        w.bytes(metric::UNIT, b"s");
        w.message(metric::EXPONENTIAL_HISTOGRAM, |w| {
            for (attributes, series) in list {
                w.message(metric::DATA_POINTS, |w| {
                    w.raw(attributes);
                    w.fixed64(point::START_TIME, series.first.min(series.last.saturating_sub(MILLI)));
                    w.fixed64(point::TIME, series.last);
                    series.values.write(w);
                });
            }
            w.varint(metric::TEMPORALITY, Temporality::Delta as u64);
        });
    });
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

//! Spans to the two metrics that New Relic's APM pages are made of.
//!
//! Summary, Transactions and External services show `http.server.request.duration` and `http.client.request.duration`,
//! not spans. ModelMuxer sends neither as OTLP metrics, so both are derived: delta exponential histograms in seconds.

mod tally;

use super::histogram::Exponential;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{
    self, exponential_point, metric, point, resource_items, scope, scope_items,
};
use muxbridge_pdata::view::{AnyValue, Resource, Temporality};
use std::collections::BTreeMap;
use tally::Kind;
pub(crate) use tally::Tally;

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
#[derive(Clone, Debug, Default)]
pub struct Apm {
    /// By the bytes of the resource.
    resources: BTreeMap<Vec<u8>, Lists>,
    series: Vec<Series>,
}

/// Where the series of one resource are.
#[derive(Clone, Debug, Default)]
struct Lists {
    client: List,
    server: List,
}

/// By the attributes, as they are written.
type List = BTreeMap<Vec<u8>, usize>;

#[derive(Clone, Debug)]
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

impl Lists {
    fn of(&mut self, kind: Kind) -> &mut List {
        match kind {
            Kind::Client => &mut self.client,
            Kind::Server => &mut self.server,
        }
    }
}

/// Where the series with these attributes is; that of the overflow if there is no room for another one.
fn place(list: &mut List, attributes: &[u8], series: &mut Vec<Series>) -> usize {
    if let Some(known) = list.get(attributes) {
        return *known;
    }
    let key = if series.len() < MAX_SERIES { attributes.to_vec() } else { overflow() };
    *list.entry(key).or_insert_with(|| {
        series.push(Series::new());
        series.len() - 1
    })
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
        self.add(&Tally::of(batch), wanted)
    }

    /// Adds what has been measured of a batch, as [`Apm::record`] does.
    pub(crate) fn add(&mut self, tally: &Tally<'_>, wanted: impl Fn(&[u8]) -> Wanted) -> u64 {
        let mut without_room = 0;
        // Each series is looked for once; in the order of their spans, as they would be one by one.
        let slots: Vec<Slot> = tally.series().map(|known| self.slot(known, &wanted)).collect();
        for value in tally.values() {
            match slots.get(value.series()) {
                Some(Slot::At(place)) => {
                    let series = &mut self.series[*place];
                    series.first = series.first.min(value.end);
                    series.last = series.last.max(value.end);
                    series.values.record(value.seconds);
                }
                Some(Slot::NoRoom) => without_room += 1,
                Some(Slot::Unwanted) | None => {}
            }
        }
        without_room
    }

    fn slot(
        &mut self,
        (resource, kind, attributes): (&[u8], Kind, &[u8]),
        wanted: impl Fn(&[u8]) -> Wanted,
    ) -> Slot {
        let wanted = wanted(service(Resource::read(resource)));
        if !(match kind {
            Kind::Client => wanted.client,
            Kind::Server => wanted.server,
        }) {
            return Slot::Unwanted;
        }
        let room = self.resources.len() < MAX_RESOURCES;
        let lists = match self.resources.get_mut(resource) {
            Some(known) => known,
            None if room => self.resources.entry(resource.to_vec()).or_default(),
            None => return Slot::NoRoom,
        };
        Slot::At(place(lists.of(kind), attributes, &mut self.series))
    }

    /// Adds what another one holds; what finds no room because of [`MAX_RESOURCES`] is counted in series.
    pub fn merge(&mut self, other: Apm) -> u64 {
        let mut without_room = 0;
        let mut parts: Vec<Option<Series>> = other.series.into_iter().map(Some).collect();
        for (resource, lists) in other.resources {
            if self.resources.len() >= MAX_RESOURCES && !self.resources.contains_key(&resource) {
                without_room += (lists.client.len() + lists.server.len()) as u64;
                continue;
            }
            let known = self.resources.entry(resource).or_default();
            for (kind, list) in [(Kind::Client, lists.client), (Kind::Server, lists.server)] {
                for (attributes, part) in list {
                    let Some(part) = parts.get_mut(part).and_then(Option::take) else { continue };
                    let place = place(known.of(kind), &attributes, &mut self.series);
                    let series = &mut self.series[place];
                    series.first = series.first.min(part.first);
                    series.last = series.last.max(part.last);
                    series.values.merge(part.values);
                }
            }
        }
        without_room
    }

    /// How many data points there are.
    pub fn points(&self) -> u64 {
        self.series.len() as u64
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
                    self.write_metric(w, CLIENT, &lists.client);
                    self.write_metric(w, SERVER, &lists.server);
                });
            });
        }
        w.into_bytes()
    }

    fn write_metric(&self, w: &mut Writer, name: &'static str, list: &List) {
        if list.is_empty() {
            return;
        }
        w.message(scope_items::ITEMS, |w| {
            w.bytes(metric::NAME, name.as_bytes());
            w.bytes(metric::UNIT, b"s");
            w.message(metric::EXPONENTIAL_HISTOGRAM, |w| {
                for (attributes, place) in list {
                    let series = &self.series[*place];
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
}

/// What becomes of the values of a series.
enum Slot {
    At(usize),
    Unwanted,
    NoRoom,
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

//! What the spans of one batch add to the series of [`super::Apm`], before it is known whether they will arrive.

use crate::encode::look::{Key, Look};
use foldhash::fast::RandomState;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{self, exponential_point};
use muxbridge_pdata::view::{AnyValue, KeyValue, SpanKind, StatusCode};
use muxbridge_pdata::wire::Fields;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Server,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally<'a> {
    /// Those that came one after the other.
    resources: Vec<&'a [u8]>,
    series: Vec<Known>,
    /// What `Known::attributes` points to.
    attributes: Writer,
    /// From the hash of what makes a series to its position: finding one allocates nothing.
    index: HashMap<u64, u32, RandomState>,
    values: Vec<Value>,
}

#[derive(Debug)]
struct Known {
    resource: usize,
    kind: Kind,
    attributes: Range<usize>,
}

/// What one span adds to a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    series: u32,
    pub(super) end: u64,
    pub(super) seconds: f64,
}

impl Value {
    pub(super) fn series(&self) -> usize {
        self.series as usize
    }
}

impl<'a> Tally<'a> {
    /// All that the spans of a batch add.
    pub(crate) fn of(batch: &'a Batch) -> Self {
        let mut tally = Tally::default();
        if batch.signal() == Signal::Traces {
            for items in batch.resources() {
                tally.resource(items.resource.raw());
                for raw in items.scopes().flat_map(|s| s.items()).filter(|raw| may_count(raw)) {
                    tally.span(&Look::at(raw));
                }
            }
        }
        tally
    }

    /// Whose spans follow.
    pub(crate) fn resource(&mut self, raw: &'a [u8]) {
        if self.resources.last() != Some(&raw) {
            self.resources.push(raw);
        }
    }

    /// Adds a span, if it counts.
    pub(crate) fn span(&mut self, look: &Look<'_>) {
        let start = self.attributes.len();
        let Some(kind) = measured(look, &mut self.attributes) else {
            return self.attributes.truncate(start);
        };
        let series = self.find(kind, start);
        let seconds = look.end.saturating_sub(look.start) as f64 / 1e9;
        self.values.push(Value { series, end: look.end, seconds });
    }

    /// The series with the attributes that begin at `start`; they are forgotten if it was known.
    fn find(&mut self, kind: Kind, start: usize) -> u32 {
        let resource = self.resources.len().saturating_sub(1);
        let attributes = start..self.attributes.len();
        let bytes = &self.attributes.as_slice()[attributes.clone()];
        let mut hasher = self.index.hasher().build_hasher();
        hasher.write(bytes);
        hasher.write_usize(resource << 1 | kind as usize);
        let hash = hasher.finish();
        let known = self.index.get(&hash).copied().filter(|known| {
            let known = &self.series[*known as usize];
            (known.resource, known.kind) == (resource, kind)
                && self.attributes.as_slice()[known.attributes.clone()] == *bytes
        });
        if let Some(known) = known {
            self.attributes.truncate(start);
            return known;
        }
        // Of two with one hash the first is forgotten here and comes again: both are added to the same series later.
        let series = self.series.len() as u32;
        self.series.push(Known { resource, kind, attributes });
        self.index.insert(hash, series);
        series
    }

    /// Resource, kind and attributes of each series, in the order of their first spans.
    pub(super) fn series(&self) -> impl Iterator<Item = (&[u8], Kind, &[u8])> {
        self.series.iter().map(|known| {
            let resource = self.resources.get(known.resource).copied().unwrap_or_default();
            (resource, known.kind, &self.attributes.as_slice()[known.attributes.clone()])
        })
    }

    /// In the order of the spans.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }
}

/// An attribute that is a text and says something.
fn text(attribute: Option<KeyValue<'_>>) -> Option<KeyValue<'_>> {
    attribute.filter(|kv| matches!(kv.value, AnyValue::String(text) if !text.is_empty()))
}

fn number(attribute: Option<KeyValue<'_>>) -> Option<KeyValue<'_>> {
    attribute.filter(|kv| matches!(kv.value, AnyValue::Int(_)))
}

/// What a span of ModelMuxer counts as; `w` gets the attributes of its series, or something that is to be forgotten if it
/// does not count. Other programs' spans count as nothing: those programs send these metrics themselves.
fn measured(look: &Look<'_>, w: &mut Writer) -> Option<Kind> {
    const SERVER: u64 = SpanKind::Server as u64;
    const CLIENT: u64 = SpanKind::Client as u64;
    let kind = match look.kind {
        SERVER => Kind::Server,
        CLIENT => Kind::Client,
        _ => return None,
    };
    let AnyValue::String(own_name) = look.get(Key::OwnName)?.value else { return None };
    // As they stand in the span: a series is found by these bytes.
    let mut copy = |attribute: Option<KeyValue<'_>>| {
        if let Some(kv) = attribute {
            w.bytes(exponential_point::ATTRIBUTES, kv.raw());
        }
    };
    copy(Some(text(look.get(Key::Method))?));
    match kind {
        Kind::Server if own_name == b"http.request" => copy(text(look.get(Key::Route))),
        // Without a host the page has no row for it.
        Kind::Client if own_name.ends_with(b".request") => copy(Some(text(look.get(Key::Address))?)),
        _ => return None,
    }
    let status = number(look.get(Key::Status));
    match (text(look.get(Key::Error)), look.status.code) {
        (Some(error), _) => copy(Some(error)),
        // The conventions' word for an error of an unknown type. Without one New Relic counts no error.
        (None, StatusCode::Error) => {
            let known = status.and_then(|kv| kv.value.as_int()).filter(|code| *code >= 500);
            let known = known.map(|code| code.to_string());
            let error = known.as_deref().unwrap_or("_OTHER");
            w.attribute_str(exponential_point::ATTRIBUTES, "error.type", error);
        }
        (None, _) => {}
    }
    let numbers = [status, number(look.get(Key::Port)).filter(|_| kind == Kind::Client)];
    for kv in numbers.into_iter().flatten() {
        w.bytes(exponential_point::ATTRIBUTES, kv.raw());
    }
    Some(kind)
}

/// Whether the kind is one that counts: most are not, and it stands before the attributes.
fn may_count(raw: &[u8]) -> bool {
    let kind = Fields::new(raw).find(|f| f.number == field::span::KIND).map(|f| f.value.as_u64());
    kind.is_some_and(|kind| kind == SpanKind::Server as u64 || kind == SpanKind::Client as u64)
}

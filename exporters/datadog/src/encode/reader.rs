//! Spans as they were read, each in one pass over its bytes, until those of their chunk are complete.

use super::attributes::Attribute;
use super::dictionary::{Dictionary, Place};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Event, Span};
use std::cell::Cell;
use std::ops::Range;

/// A span that was read.
struct Read<'a> {
    span: Span<'a>,
    attributes: Range<usize>,
    looked_up: Range<usize>,
    events: Range<usize>,
    /// Whether one of the attributes is of a call to a model.
    model: bool,
    links: bool,
    around: Around,
}

/// What stands around a span: the places of its resource and of its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) resource: u32,
    pub(super) scope: u32,
}

/// A span with what it holds besides its scalar fields.
#[derive(Clone, Copy)]
pub(super) struct Own<'s, 'a> {
    pub(super) span: &'s Span<'a>,
    pub(super) attributes: &'s [Attribute<'a>],
    /// Those among them that are looked up.
    pub(super) looked_up: &'s [Attribute<'a>],
    pub(super) events: &'s [Event<'a>],
    pub(super) model: bool,
    pub(super) links: bool,
    pub(super) around: Around,
}

/// The spans of a chunk. The room for them is used again for the next one.
pub(super) struct Reader<'a> {
    pub(super) keys: Dictionary<'a>,
    spans: Vec<Read<'a>>,
    attributes: Vec<Attribute<'a>>,
    looked_up: Vec<Attribute<'a>>,
    events: Vec<Event<'a>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(content: bool) -> Self {
        Reader {
            keys: Dictionary::new(content),
            spans: Vec::new(),
            attributes: Vec::new(),
            looked_up: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Reads a span behind those that are there.
    pub(super) fn read(&mut self, raw: &'a [u8], around: Around) -> &Span<'a> {
        let Reader { keys, attributes, looked_up, events, .. } = self;
        let first = (attributes.len(), looked_up.len(), events.len());
        let (mut model, mut links) = (false, false);
        let place = Cell::new(Place::default());
        let attribute = |raw| {
            let (attribute, behind) = Attribute::at(place.get(), raw, keys);
            place.set(behind);
            model |= attribute.is_of_model(keys);
            if attribute.is_looked_up() {
                looked_up.push(attribute);
            }
            attributes.push(attribute);
        };
        let span = Span::read_attributes(raw, attribute, |f| match f.number {
            field::span::NAME => place.set(Place::before(f.value.as_bytes())),
            field::span::EVENTS => events.push(Event::read(f.value.as_bytes())),
            field::span::LINKS => links = true,
            _ => {}
        });
        let attributes = first.0..attributes.len();
        let looked_up = first.1..looked_up.len();
        let events = first.2..events.len();
        self.spans.push(Read { span, attributes, looked_up, events, model, links, around });
        &self.spans[self.spans.len() - 1].span
    }

    /// How many spans there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = &Span<'a>> {
        self.spans.iter().map(|read| &read.span)
    }

    /// One of them.
    pub(super) fn own(&self, at: usize) -> Own<'_, 'a> {
        let read = &self.spans[at];
        Own {
            span: &read.span,
            attributes: &self.attributes[read.attributes.clone()],
            looked_up: &self.looked_up[read.looked_up.clone()],
            events: &self.events[read.events.clone()],
            model: read.model,
            links: read.links,
            around: read.around,
        }
    }

    /// Forgets the span that was read last.
    pub(super) fn forget_last(&mut self) {
        if let Some(read) = self.spans.pop() {
            self.attributes.truncate(read.attributes.start);
            self.looked_up.truncate(read.looked_up.start);
            self.events.truncate(read.events.start);
        }
    }

    /// Forgets the first spans.
    pub(super) fn forget(&mut self, first: usize) {
        let (attributes, looked_up, events) = match self.spans.get(first) {
            Some(kept) => (kept.attributes.start, kept.looked_up.start, kept.events.start),
            None => (self.attributes.len(), self.looked_up.len(), self.events.len()),
        };
        self.spans.drain(..first);
        self.attributes.drain(..attributes);
        self.looked_up.drain(..looked_up);
        self.events.drain(..events);
        let back = |range: &mut Range<usize>, by| *range = range.start - by..range.end - by;
        for read in &mut self.spans {
            back(&mut read.attributes, attributes);
            back(&mut read.looked_up, looked_up);
            back(&mut read.events, events);
        }
    }
}

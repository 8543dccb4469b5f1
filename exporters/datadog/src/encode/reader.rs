//! Spans as they were read, each in one pass over its bytes, until all of their chunk are.

use super::attributes::Attribute;
use super::dictionary::{Dictionary, Place};
use super::shapes::Shapes;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Changed, Event, Span, SpanHead};
use std::cell::Cell;
use std::ops::Range;

/// A span that was read.
pub(super) struct Read<'a> {
    pub(super) head: SpanHead<'a>,
    pub(super) around: Around,
    events: Range<usize>,
    how: How,
}

/// What else is known of it.
enum How {
    /// The number of the span that it is like, and which of its attributes have other values.
    Alike(usize, Range<usize>),
    /// Its place among those that were read as a whole.
    Whole(usize),
}

/// The rest of a span that was read as a whole.
struct Whole<'a> {
    span: Span<'a>,
    attributes: Range<usize>,
    looked_up: Range<usize>,
    events: Range<usize>,
    /// Whether one of the attributes is of a call to a model.
    model: bool,
    links: bool,
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
}

/// One that is like another.
#[derive(Clone, Copy)]
pub(super) struct Alike<'s, 'a> {
    /// The number of the other one.
    pub(super) shape: usize,
    pub(super) changed: &'s [Changed<'a>],
    pub(super) events: &'s [Event<'a>],
}

/// The spans of a chunk. The room for them is used again for the next one.
pub(super) struct Reader<'a> {
    pub(super) keys: Dictionary<'a>,
    pub(super) shapes: Shapes<'a>,
    spans: Vec<Read<'a>>,
    whole: Vec<Whole<'a>>,
    attributes: Vec<Attribute<'a>>,
    looked_up: Vec<Attribute<'a>>,
    events: Vec<Event<'a>>,
    changed: Vec<Changed<'a>>,
}

impl<'a> Reader<'a> {
    /// `compare` says whether spans that are like others may be read as such.
    pub(super) fn new(content: bool, compare: bool) -> Self {
        Reader {
            keys: Dictionary::new(content),
            shapes: Shapes::new(compare),
            spans: Vec::new(),
            whole: Vec::new(),
            attributes: Vec::new(),
            looked_up: Vec::new(),
            events: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Reads a span behind those that are there.
    #[inline]
    pub(super) fn read(&mut self, raw: &'a [u8], around: Around) -> &SpanHead<'a> {
        let (events, changed) = (self.events.len(), self.changed.len());
        let (head, how) = match self.shapes.find(raw, &mut self.changed, &mut self.events) {
            Some((shape, head)) => (head, How::Alike(shape, changed..self.changed.len())),
            None => self.read_new(raw),
        };
        self.spans.push(Read { head, around, events: events..self.events.len(), how });
        &self.spans[self.spans.len() - 1].head
    }

    fn read_new(&mut self, raw: &'a [u8]) -> (SpanHead<'a>, How) {
        let at = self.read_whole(raw);
        let Whole { span, attributes, events, .. } = &self.whole[at];
        let (attributes, events) = (&self.attributes[attributes.clone()], &self.events[events.clone()]);
        self.shapes.keep(span, attributes, events);
        (span.head(), How::Whole(at))
    }

    /// Reads all of a span, and says where to find it.
    pub(super) fn read_whole(&mut self, raw: &'a [u8]) -> usize {
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
        self.whole.push(Whole { span, attributes, looked_up, events, model, links });
        self.whole.len() - 1
    }

    /// A span that was read as a whole.
    pub(super) fn whole(&self, at: usize) -> Own<'_, 'a> {
        let whole = &self.whole[at];
        Own {
            span: &whole.span,
            attributes: &self.attributes[whole.attributes.clone()],
            looked_up: &self.looked_up[whole.looked_up.clone()],
            events: &self.events[whole.events.clone()],
            model: whole.model,
            links: whole.links,
        }
    }

    /// The spans of the chunk.
    pub(super) fn spans(&self) -> &[Read<'a>] {
        &self.spans
    }

    /// All of a span; `None` if it is only known to be like another one.
    pub(super) fn own(&self, at: usize) -> Option<Own<'_, 'a>> {
        match self.spans.get(at)?.how {
            How::Whole(at) => Some(self.whole(at)),
            How::Alike(..) => None,
        }
    }

    /// What is known of a span that is like another one.
    #[inline]
    pub(super) fn alike(&self, at: usize) -> Option<(&Read<'a>, Alike<'_, 'a>)> {
        let read = self.spans.get(at)?;
        let How::Alike(shape, changed) = &read.how else { return None };
        let (changed, events) = (&self.changed[changed.clone()], &self.events[read.events.clone()]);
        Some((read, Alike { shape: *shape, changed, events }))
    }

    /// Forgets the span that was read last. What belongs to it is forgotten with the rest.
    pub(super) fn forget_last(&mut self) {
        self.spans.pop();
    }

    /// Forgets all spans.
    pub(super) fn forget(&mut self) {
        self.spans.clear();
        self.whole.clear();
        self.attributes.clear();
        self.looked_up.clear();
        self.events.clear();
        self.changed.clear();
    }
}

//! The spans of a batch that others are compared with, before they are read.
//!
//! Spans of a program repeat each other. A span that has the same attributes as one before it, but for some of their values, is
//! written by what is known of that one (`memo.rs`): it is not read at all.

use super::attributes::{Attribute, Goes};
use super::dictionary::Place;
use super::events::last_exception;
use muxbridge_pdata::view::{Changed, Event, Span, SpanHead, SpanIds, SpanPattern, StatusCode};

/// So many are kept.
pub(super) const MOST: usize = 64;
/// And none that is longer: what is known of it takes twice as much for each resource that it came with.
const LONGEST: usize = 16 << 10;
/// So many of one name are tried. Whoever sends spans must not make the search long.
const TRIES: usize = 4;
/// What is tried in vain so often more than it is found is not tried any more: it costs more than it saves.
const PATIENCE: u32 = 64;
/// Names are told apart by so many numbers.
const NAMES: usize = 64;

/// A span that others are compared with.
struct Shape<'a> {
    pattern: SpanPattern<'a>,
    /// Where each of its attributes goes.
    goes: Vec<Goes>,
    /// Whether one of its events is an exception.
    exception: bool,
    /// Which came last after it: spans of a trace often follow one another in the same order.
    next: usize,
    /// The one before it of a name with the same number.
    older: Option<usize>,
}

/// All of them.
pub(super) struct Shapes<'a> {
    all: Vec<Shape<'a>>,
    last: usize,
    /// By the number of a name: the newest one.
    newest: [Option<usize>; NAMES],
    /// Whether a span of the name was read as a whole: what comes once is not worth keeping.
    seen: [bool; NAMES],
    in_vain: u32,
}

impl<'a> Shapes<'a> {
    /// `wanted` says whether spans are compared at all.
    pub(super) fn new(wanted: bool) -> Self {
        Shapes {
            all: Vec::new(),
            last: 0,
            newest: [None; NAMES],
            seen: [false; NAMES],
            in_vain: if wanted { 0 } else { PATIENCE },
        }
    }

    /// The body of the span of this number.
    pub(super) fn raw(&self, number: usize) -> &'a [u8] {
        self.all.get(number).map(|shape| shape.pattern.raw()).unwrap_or_default()
    }

    /// Something was found, and what is known of it.
    #[inline]
    pub(super) fn found(&mut self) {
        self.in_vain = self.in_vain.saturating_sub(1);
    }

    /// Something was not found, or nothing is known of it.
    pub(super) fn missed(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// Reads a span that is like one of these, and says which.
    #[inline]
    pub(super) fn find(
        &mut self,
        raw: &'a [u8],
        changed: &mut Vec<Changed<'a>>,
        events: &mut Vec<Event<'a>>,
    ) -> Option<(usize, SpanHead<'a>)> {
        if self.in_vain >= PATIENCE {
            return None;
        }
        let guess = self.all.get(self.last)?.next;
        let found = match self.all.get(guess)?.read(raw, changed, events) {
            Some(head) => Some((guess, head)),
            None => self.search(raw, guess, changed, events),
        };
        match found {
            Some((number, _)) => {
                self.all[self.last].next = number;
                self.last = number;
            }
            None => self.missed(),
        }
        found
    }

    /// Tries those of the same name, the last one that fitted first.
    fn search(
        &mut self,
        raw: &'a [u8],
        guess: usize,
        changed: &mut Vec<Changed<'a>>,
        events: &mut Vec<Event<'a>>,
    ) -> Option<(usize, SpanHead<'a>)> {
        let name = number(SpanIds::early_name(raw)?);
        let (mut newer, mut next) = (None, self.newest[name]);
        for _ in 0..TRIES {
            let at = next?;
            let shape = self.all.get(at)?;
            let older = shape.older;
            if at != guess
                && let Some(head) = shape.read(raw, changed, events)
            {
                if let Some(newer) = newer {
                    self.all[at].older = self.newest[name].replace(at);
                    let newer: &mut Shape<'_> = &mut self.all[newer];
                    newer.older = older;
                }
                return Some((at, head));
            }
            (newer, next) = (next, older);
        }
        None
    }

    /// Keeps a span that was read as a whole, if that is likely to be of use.
    pub(super) fn keep(&mut self, span: &Span<'a>, attributes: &[Attribute<'a>], events: &[Event<'a>]) {
        let exception = last_exception(events).is_some();
        // What is said of errors is mostly said once, and follows from their exception, which may be another one.
        let other = span.status.code == StatusCode::Error || span.raw().len() > LONGEST;
        if other || self.in_vain >= PATIENCE || self.all.len() == MOST {
            return;
        }
        let name = number(span.name);
        if !std::mem::replace(&mut self.seen[name], true) {
            return;
        }
        let goes: Vec<Goes> = attributes.iter().map(Attribute::goes).collect();
        let may_differ = |at: usize| !attributes[at].is_looked_up() && goes[at] != Goes::Both;
        if let Some(pattern) = SpanPattern::new(span.raw(), may_differ) {
            let number = self.all.len();
            self.all.push(Shape { pattern, goes, exception, next: 0, older: self.newest[name] });
            self.newest[name] = Some(number);
            self.all[self.last].next = number;
            self.last = number;
        }
    }
}

/// The number of a name.
fn number(name: &[u8]) -> usize {
    Place::before(name).name() % NAMES
}

impl<'a> Shape<'a> {
    #[inline]
    fn read(
        &self,
        raw: &'a [u8],
        changed: &mut Vec<Changed<'a>>,
        events: &mut Vec<Event<'a>>,
    ) -> Option<SpanHead<'a>> {
        let before = (changed.len(), events.len());
        if let Some(head) = self.pattern.read(raw, changed, events)
            && self.goes_the_same(&changed[before.0..])
            && last_exception(&events[before.1..]).is_some() == self.exception
        {
            return Some(head);
        }
        changed.truncate(before.0);
        events.truncate(before.1);
        None
    }

    /// Whether the values go where those go that they stand for: then the span has the same keys.
    #[inline]
    fn goes_the_same(&self, changed: &[Changed<'a>]) -> bool {
        changed.iter().all(|c| self.goes.get(c.attribute) == Some(&Goes::of(&c.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Around, Reader};
    use super::*;
    use muxbridge_pdata::Writer;

    fn span(id: u8, name: &str, text: &str, status: u64) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(1, &[id; 16]);
        w.bytes(2, &[id; 8]);
        w.bytes(5, name.as_bytes());
        w.message(15, |w| w.varint_nonzero(3, status));
        w.attribute_str(9, "text", text);
        w.attribute_str(9, "http.route", name);
        w.into_vec()
    }

    /// Which of these spans are found to be like one before them.
    fn alike(spans: &[Vec<u8>]) -> Vec<bool> {
        let mut reader = Reader::new(false, true);
        let around = Around { resource: 0, scope: 0 };
        let read = |(at, raw)| {
            assert_eq!(reader.read(raw, around), &Span::read(raw).head());
            reader.alike(at).is_some()
        };
        spans.iter().map(Vec::as_slice).enumerate().map(read).collect()
    }

    #[test]
    fn the_second_span_of_a_name_is_an_example_unless_it_is_an_error_or_long() {
        let three = |text: &str, status| alike(&[1, 2, 3].map(|id| span(id, "a", text, status)));
        assert_eq!(three("x", 0), [false, false, true]);
        assert_eq!(three("x", 2), [false; 3]);
        assert_eq!(three(&"x".repeat(LONGEST), 0), [false; 3]);
        let mixed = [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y"), ("b", "z"), ("a", "z"), ("b", "w")];
        let mixed = alike(&mixed.map(|(name, text)| span(7, name, text, 0)));
        assert_eq!(mixed, [false, false, false, false, true, true, true]);
    }

    #[test]
    fn what_is_sought_in_vain_is_not_sought_for_long() {
        let with = |strangers: usize| {
            let mut spans = vec![span(1, "a", "x", 0); 3];
            spans.extend((0..strangers).map(|i| span(2, &format!("stranger {i}"), "x", 0)));
            spans.push(span(3, "a", "y", 0));
            alike(&spans)
        };
        let patience = PATIENCE as usize;
        assert_eq!((with(patience - 1).last(), with(patience).last()), (Some(&true), Some(&false)));
    }
}

//! What is known of spans that are alike: one of them as it was written, and where in it the others differ.
//!
//! Everything that is computed of a span follows from the [`Kind`] of it, from its name, from the attributes that are looked
//! up, and from which keys it has. Spans that have all of that in common are written as the first of them was, with their ids,
//! their times and other values in its place: 2,100 instead of 6,300 instructions for a span of the bench's load.

use super::attributes::{Attribute, Goes, write_value};
use super::maps::Maps;
use super::reader::Around;
use super::shapes::MOST as SHAPES;
use super::span::Place;
use super::{fields, msgpack};
use muxbridge_pdata::view::{Changed, SpanHead};
use std::ops::Range;

/// So many are kept.
const MOST: usize = 128;

/// What decides how a span is written, besides what those that are alike have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The number of the span that it is like.
    shape: usize,
    around: Around,
    /// Whether it is the first of the chunk; the root of the chunk; a root; whether its trace id has an upper half.
    is: [bool; 4],
}

impl Kind {
    #[inline]
    pub(super) fn of(shape: usize, around: Around, place: &Place) -> Kind {
        Kind { shape, around, is: [place.first, place.chunk_root, place.root, place.high().is_some()] }
    }
}

/// Where in a span that was written something stands that others have otherwise. What is not there is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// Ids and times.
    pub(super) numbers: Range<usize>,
    /// The upper half of the trace id.
    pub(super) high: Range<usize>,
    /// The trace id as text.
    pub(super) trace: Range<usize>,
    /// The text of the events.
    pub(super) events: Range<usize>,
    /// The list of the events, at the end.
    pub(super) native: Range<usize>,
    /// Where `metrics` begins.
    pub(super) metrics: usize,
    /// How far `meta` moved when it was complete.
    pub(super) moved: isize,
    /// How long both maps were before each attribute.
    before: Vec<(usize, usize)>,
    /// The values of attributes: those in `meta` stand one behind the other, and those in `metrics`.
    values: Vec<Range<usize>>,
}

impl Marks {
    pub(super) fn clear(&mut self) {
        (self.high, self.events) = (0..0, 0..0);
        self.before.clear();
    }

    /// Marks an attribute before it is written, and the end of the last one.
    #[inline]
    pub(super) fn before_attribute(&mut self, maps: &Maps) {
        self.before.push((maps.meta.bytes.len(), maps.metrics.bytes.len()));
    }

    /// As everything stands when the span is complete.
    pub(super) fn settled(&self, attributes: &[Attribute<'_>]) -> Marks {
        let moved = |mark: Range<usize>| match mark.is_empty() {
            true => 0..0,
            false => mark.start.saturating_add_signed(self.moved)..mark.end.saturating_add_signed(self.moved),
        };
        let values = attributes.iter().zip(self.before.windows(2)).map(|(attribute, lengths)| {
            let (before, after) = (lengths[0], lengths[1]);
            match attribute.goes() {
                Goes::Meta if after.0 > before.0 => moved(after.0 - attribute.written()..after.0),
                Goes::Metrics if after.1 > before.1 => {
                    let end = self.metrics + after.1;
                    end - attribute.written()..end
                }
                // Left out, or the same in all.
                _ => 0..0,
            }
        });
        Marks {
            high: moved(self.high.clone()),
            trace: moved(self.trace.clone()),
            events: moved(self.events.clone()),
            values: values.collect(),
            ..self.clone()
        }
    }
}

/// A span that was written.
pub(super) struct Memo {
    kind: Kind,
    bytes: Vec<u8>,
    marks: Marks,
    /// How many of its fields were changed to fit.
    pub(super) adjusted: u64,
    /// How many attributes were left out as content.
    pub(super) content: u64,
}

impl Memo {
    pub(super) fn new(kind: Kind, bytes: Vec<u8>, marks: Marks, (adjusted, content): (u64, u64)) -> Self {
        Memo { kind, bytes, marks, adjusted, content }
    }

    /// Writes a span of this kind. `events` are its events, as they are sent.
    #[inline]
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        head: &SpanHead<'_>,
        place: &Place,
        changed: &[Changed<'_>],
        events: &[u8],
    ) {
        let Marks { numbers, native, .. } = &self.marks;
        let mut pen = Pen { out, bytes: &self.bytes, at: 0 };
        pen.replace(numbers, |out| fields::numbers(out, head));
        let behind = pen.out.len();
        pen.replace(&self.marks.events, |out| msgpack::text(out, events));
        if !changed.is_empty() {
            self.write_changed(&mut pen, changed);
        }
        pen.replace(native, |out| out.extend_from_slice(events));
        pen.end();
        // Up to there only the numbers may have another length.
        let patch = |out: &mut Vec<u8>, mark: &Range<usize>, digits: &[u8]| {
            let start = behind + mark.start - numbers.end;
            if let Some(there) = out.get_mut(start..start + digits.len()) {
                there.copy_from_slice(digits);
            }
        };
        patch(out, &self.marks.trace, &place.trace);
        if !self.marks.high.is_empty() {
            patch(out, &self.marks.high, &place.trace[..16]);
        }
    }

    /// First the text, then the numbers.
    fn write_changed(&self, pen: &mut Pen<'_>, changed: &[Changed<'_>]) {
        for numbers in [false, true] {
            for changed in changed {
                if let Some(mark) = self.marks.values.get(changed.attribute)
                    && (mark.start > self.marks.metrics) == numbers
                {
                    pen.replace(mark, |out| write_value(out, &changed.value));
                }
            }
        }
    }
}

/// Copies bytes and writes others in place of some of them.
struct Pen<'o> {
    out: &'o mut Vec<u8>,
    bytes: &'o [u8],
    at: usize,
}

impl Pen<'_> {
    /// Copies what is before the mark, and writes something else in its place. Nothing, if the mark is empty.
    #[inline(always)]
    fn replace(&mut self, mark: &Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        if !mark.is_empty() {
            self.out.extend_from_slice(&self.bytes[self.at..mark.start]);
            write(self.out);
            self.at = mark.end;
        }
    }

    fn end(self) {
        self.out.extend_from_slice(&self.bytes[self.at..]);
    }
}

/// Those of a batch.
pub(super) struct Memos {
    all: Vec<Memo>,
    /// The last one for each span that others are like.
    last: [u8; SHAPES],
    oldest: usize,
}

impl Default for Memos {
    fn default() -> Self {
        Memos { all: Vec::new(), last: [0; SHAPES], oldest: 0 }
    }
}

impl Memos {
    /// Whether something is known of a kind: then that is the last one.
    #[inline]
    pub(super) fn knows(&mut self, kind: &Kind) -> bool {
        let fits = |memo: &Memo| memo.kind == *kind;
        let Some(last) = self.last.get_mut(kind.shape) else { return false };
        if self.all.get(usize::from(*last)).is_some_and(fits) {
            return true;
        }
        let found = self.all.iter().position(fits);
        *last = found.unwrap_or(0) as u8;
        found.is_some()
    }

    /// The last one for the span of this number.
    #[inline]
    pub(super) fn last(&self, shape: usize) -> Option<&Memo> {
        self.all.get(usize::from(*self.last.get(shape)?))
    }

    /// Keeps one, in the place of the oldest if there is no room: then that is the last one.
    pub(super) fn keep(&mut self, memo: Memo) {
        let at = if self.all.len() < MOST { self.all.len() } else { self.oldest };
        if let Some(last) = self.last.get_mut(memo.kind.shape) {
            *last = at as u8;
        }
        if let Some(old) = self.all.get_mut(at) {
            *old = memo;
            self.oldest = (at + 1) % MOST;
        } else {
            self.all.push(memo);
        }
    }
}

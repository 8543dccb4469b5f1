//! What spans of one kind have in common, kept as bytes: all that is computed of a span but its ids and its times.
//!
//! Spans of a program repeat each other. What is computed follows from the [`Kind`] of a span, from its name and from the
//! attributes that are looked up, so that a span with the same of all three is written as the one before it was: that saves
//! 1,230 of 7,650 instructions a span of the bench's load.

use super::attributes::{Attribute, are_same};
use super::fields;
use super::id;
use super::keys::Key;
use super::maps::{Held, Maps};
use super::reader::{Around, Own};
use super::span::Place;
use muxbridge_pdata::view::{SpanKind, StatusCode};

/// So many kinds of spans are kept.
const MOST: usize = 32;
/// What is tried in vain so often more than it is found is not tried any more: to keep it costs more than it saves.
const PATIENCE: u32 = 64;

/// What besides the name and the attributes that are read decides what is computed of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    around: Around,
    kind: SpanKind,
    status: StatusCode,
    /// Whether it is the first of the chunk; the root of the chunk; a root; of a model; with native events; whether its
    /// trace id has an upper half.
    is: [bool; 6],
}

impl Kind {
    /// That of a span; `None` if it says what others do not repeat.
    #[inline]
    pub(super) fn of(own: &Own<'_, '_>, place: &Place, native_events: bool) -> Option<Kind> {
        let span = own.span;
        let common = span.status.code != StatusCode::Error
            && span.status.message.is_empty()
            && span.trace_state.is_empty()
            && place.decision.is_none();
        common.then(|| Kind {
            around: own.around,
            kind: span.kind,
            status: span.status.code,
            is: [
                place.first,
                place.chunk_root,
                id(span.parent_span_id) == 0,
                own.model,
                native_events && !own.events.is_empty(),
                place.high().is_some(),
            ],
        })
    }
}

/// The bytes of a span, or where they end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces<T> {
    /// Up to its ids.
    pub(super) head: T,
    /// The text behind the upper half of the trace id, up to the trace id.
    pub(super) before_trace: T,
    /// The text behind the trace id.
    pub(super) after_trace: T,
}

/// A span that was written.
pub(super) struct Memo<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a [u8],
    pub(super) looked_up: Vec<Attribute<'a>>,
    pub(super) pieces: Pieces<Vec<u8>>,
    pub(super) meta: Held,
    pub(super) metrics: Held,
    pub(super) numbers: Vec<u8>,
    pub(super) type_name: Vec<u8>,
    /// How many of its fields were changed to fit.
    pub(super) adjusted: u64,
}

impl Memo<'_> {
    #[inline]
    fn fits(&self, kind: &Kind, own: &Own<'_, '_>) -> bool {
        self.kind == *kind && self.name == own.span.name && are_same(own.looked_up, &self.looked_up)
    }

    /// Writes a span that fits, up to what is computed of it.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, maps: &mut Maps, own: &Own<'_, '_>, place: &Place) {
        out.extend_from_slice(&self.pieces.head);
        fields::numbers(out, own.span);
        maps.start(out);
        if let Some(high) = place.high().filter(|_| place.first) {
            maps.meta.text(Key::DdTid, high);
        }
        maps.meta.bytes.extend_from_slice(&self.pieces.before_trace);
        maps.meta.bytes.extend_from_slice(&place.trace);
        maps.meta.hold(&self.meta, &self.pieces.after_trace);
        maps.metrics.hold(&self.metrics, &self.numbers);
    }
}

/// The spans that were written last.
#[derive(Default)]
pub(super) struct Memos<'a> {
    all: Vec<Memo<'a>>,
    /// Which came last after each: spans of a trace often follow one another in the same order.
    next: [usize; MOST],
    last: usize,
    oldest: usize,
    in_vain: u32,
}

impl<'a> Memos<'a> {
    /// One that fits.
    #[inline]
    pub(super) fn find(&mut self, kind: &Kind, own: &Own<'_, '_>) -> Option<&Memo<'a>> {
        if self.in_vain >= PATIENCE {
            return None;
        }
        let fits = |memo: &Memo<'_>| memo.fits(kind, own);
        let guess = self.next[self.last];
        let found =
            if self.all.get(guess).is_some_and(fits) { Some(guess) } else { self.all.iter().position(fits) };
        let Some(found) = found else {
            self.in_vain += 1;
            return None;
        };
        self.in_vain = self.in_vain.saturating_sub(1);
        self.next[self.last] = found;
        self.last = found;
        self.all.get(found)
    }

    /// Whether another one is worth keeping.
    pub(super) fn wants_more(&self) -> bool {
        self.in_vain < PATIENCE
    }

    /// Keeps one, in the place of the oldest if there is no room.
    pub(super) fn keep(&mut self, memo: Memo<'a>) {
        let at = if self.all.len() < MOST { self.all.len() } else { self.oldest };
        if let Some(old) = self.all.get_mut(at) {
            *old = memo;
            self.oldest = (at + 1) % MOST;
        } else {
            self.all.push(memo);
        }
        self.next[self.last] = at;
        self.last = at;
    }
}

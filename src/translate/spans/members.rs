//! The spans of one trace, each read in one walk: scalars, role, attributes, and what can be copied as it stands.

use super::Role;
use crate::translate::short::same;
use crate::translate::table;
use muxbridge_pdata::AnyValue;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{KeyValue, Span};
use smallvec::SmallVec;
use std::ops::Range;

/// One span with its role and its attributes, which are asked for again and again.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The span.
    pub span: Span<'a>,
    /// What it stands for.
    pub role: Role,
    /// Where in [`Members::parts`] its attributes and events are.
    parts: Range<usize>,
    /// A [`table::bit`] for each key of its attributes.
    keys: u64,
    /// Where in the body of the span everything else is but name and kind. Fields that stand side by side are copied as
    /// one, which is most of them in whatever order a program writes them.
    pub(super) kept: SmallVec<[Range<usize>; 4]>,
}

/// An attribute or event of a span. Values are not read before they are asked for: most are copied.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    /// Where its field is in the body of the span.
    pub(super) place: Range<usize>,
    /// What is in the field.
    pub(super) body: &'a [u8],
    /// The key of an attribute; empty for an event.
    pub(super) key: &'a [u8],
    /// How long the field `value` is, if an attribute ends with it and has nothing but a key before; else 0.
    pub(super) value_field: usize,
    /// The [`table::place`] of the key; [`EVENT`] for an event.
    pub(super) slot: u8,
}

/// Stands where an attribute has the [`table::place`] of its key.
pub(super) const EVENT: u8 = 0xff;

/// All spans of a trace.
#[derive(Debug, Default)]
pub struct Members<'a> {
    list: Vec<Member<'a>>,
    /// Of all spans one after the other: one allocation for a trace, not one for each of its spans.
    parts: Vec<Part<'a>>,
}

impl<'a> Members<'a> {
    /// Reads the bodies of `Span`s of the scope [`super::SCOPE`].
    pub fn read(raws: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut members = Members::default();
        raws.for_each(|raw| members.add(raw));
        members
    }

    /// Empty, with the room that this one had: nothing is allocated for the next trace.
    pub fn emptied<'b>(self) -> Members<'b> {
        // Collecting what a vector of the same layout yields reuses its memory.
        Members {
            list: self.list.into_iter().map_while(|_| None).collect(),
            parts: self.parts.into_iter().map_while(|_| None).collect(),
        }
    }

    /// Reads the body of one more `Span`.
    pub fn add(&mut self, raw: &'a [u8]) {
        let first = self.parts.len();
        let (mut at, mut keys) = (0, 0);
        let mut kept = SmallVec::<[Range<usize>; 4]>::new();
        let span = Span::read_each(raw, |f| {
            let place = at..at + f.raw.len();
            at = place.end;
            match f.number {
                field::span::NAME | field::span::KIND => {}
                field::span::ATTRIBUTES => {
                    let body = f.value.as_bytes();
                    let (key, value_field) = KeyValue::split(body);
                    let slot = table::place(key);
                    keys |= 1 << slot;
                    let (value_field, slot) = (value_field.len(), slot as u8);
                    self.parts.push(Part { place, body, key, value_field, slot });
                }
                field::span::EVENTS => {
                    let body = f.value.as_bytes();
                    self.parts.push(Part { place, body, key: &[], value_field: 0, slot: EVENT });
                }
                _ => match kept.last_mut() {
                    Some(last) if last.end == place.start => last.end = place.end,
                    _ => kept.push(place),
                },
            }
        });
        let (role, parts) = (Role::of(span.name), first..self.parts.len());
        self.list.push(Member { span, role, parts, keys, kept });
    }

    /// The spans, in the order in which they were added.
    pub fn list(&self) -> &[Member<'a>] {
        &self.list
    }

    pub(super) fn parts(&self, member: &Member<'a>) -> &[Part<'a>] {
        &self.parts[member.parts.clone()]
    }

    /// The value of one attribute.
    #[inline]
    pub fn attribute(&self, member: &Member<'a>, key: &str) -> Option<AnyValue<'a>> {
        let bit = table::bit(key.as_bytes());
        let part = (member.keys & bit != 0).then(|| self.find(member, key, bit))??;
        Some(KeyValue::read(part.body).value)
    }

    /// Whether there is an attribute with this key, whose [`table::bit`] is known.
    #[inline]
    pub(super) fn has(&self, member: &Member<'a>, key: &str, bit: u64) -> bool {
        member.keys & bit != 0 && self.find(member, key, bit).is_some()
    }

    fn find(&self, member: &Member<'a>, key: &str, bit: u64) -> Option<&Part<'a>> {
        let slot = bit.trailing_zeros() as u8;
        self.parts(member).iter().find(|part| part.slot == slot && same(part.key, key.as_bytes()))
    }

    /// The bytes of one attribute that is a text.
    #[inline]
    pub(super) fn text(&self, member: &Member<'a>, key: &str) -> Option<&'a [u8]> {
        match self.attribute(member, key) {
            Some(AnyValue::String(text)) => Some(text),
            _ => None,
        }
    }
}

//! Spans that are alike: to compare one with another costs a sixth of reading it.

use super::{AnyValue, Event, KeyValue};
use crate::schema::field;
use crate::wire::Fields;

/// What no two spans have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpanHead<'a> {
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 0 if there is none.
    pub span_id: u64,
    /// 0 for a root.
    pub parent_span_id: u64,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
}

impl SpanHead<'_> {
    /// End minus start in nanoseconds; 0 if it ends before it starts.
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// An attribute whose value is another one than that of the example.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// Which of the attributes of the span, counted from 0.
    pub attribute: usize,
    /// Its value.
    pub value: AnyValue<'a>,
}

/// A span as an example of others, which are alike if they have the same fields in the same order, and all the same but for
/// their ids, their times, their events, and the values of such attributes as may differ.
#[derive(Clone, Debug)]
pub struct SpanPattern<'a> {
    raw: &'a [u8],
    steps: Vec<Step>,
    parts: Vec<Part<'a>>,
}

/// A field that differs from span to span, or several that mostly do not: these are compared at once.
#[derive(Clone, Copy, Debug)]
struct Step {
    what: What,
    /// Where it ends.
    end: usize,
    /// And where in the list of parts.
    parts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    TraceId,
    SpanId,
    Parent,
    Start,
    End,
    Event,
    Same,
}

/// A field among those that are compared.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    end: usize,
    /// The number and the key of an attribute whose value may differ.
    attribute: Option<(usize, &'a [u8])>,
}

const TRACE_ID: [u8; 2] = [(field::span::TRACE_ID << 3 | 2) as u8, 16];
const SPAN_ID: [u8; 2] = [(field::span::SPAN_ID << 3 | 2) as u8, 8];
const PARENT: [u8; 2] = [(field::span::PARENT_SPAN_ID << 3 | 2) as u8, 8];
const START: [u8; 1] = [(field::span::START_TIME << 3 | 1) as u8];
const END: [u8; 1] = [(field::span::END_TIME << 3 | 1) as u8];

impl What {
    /// What a field is, by its number; `None` if it is not written as these are.
    fn of(number: u32, raw: &[u8]) -> Option<What> {
        let (what, tag, length) = match number {
            field::span::TRACE_ID => (What::TraceId, &TRACE_ID[..], 18),
            field::span::SPAN_ID => (What::SpanId, &SPAN_ID[..], 10),
            field::span::PARENT_SPAN_ID => (What::Parent, &PARENT[..], 10),
            field::span::START_TIME => (What::Start, &START[..], 9),
            field::span::END_TIME => (What::End, &END[..], 9),
            field::span::EVENTS => return Some(What::Event),
            _ => return Some(What::Same),
        };
        (raw.len() == length && raw.starts_with(tag)).then_some(what)
    }
}

impl<'a> SpanPattern<'a> {
    /// A span as an example. `may_differ` says whether the value of the attribute of this number may. `None` if nothing is
    /// gained or if it has a field twice that there is only one of.
    pub fn new(raw: &'a [u8], mut may_differ: impl FnMut(usize) -> bool) -> Option<Self> {
        let mut pattern = SpanPattern { raw, steps: Vec::with_capacity(12), parts: Vec::with_capacity(24) };
        let mut fields = Fields::new(raw);
        let mut attributes = 0;
        while let Some(f) = fields.next() {
            let what = What::of(f.number, f.raw)?;
            let end = raw.len() - fields.remaining();
            if what == What::Same {
                let mut attribute = None;
                if f.number == field::span::ATTRIBUTES {
                    if may_differ(attributes) {
                        attribute = Some((attributes, KeyValue::read(f.value.as_bytes()).key));
                    }
                    attributes += 1;
                }
                pattern.parts.push(Part { end, attribute });
            } else if what != What::Event && pattern.steps.iter().any(|step| step.what == what) {
                return None;
            }
            let parts = pattern.parts.len();
            match pattern.steps.last_mut() {
                Some(last) if what == What::Same && last.what == what => {
                    (last.end, last.parts) = (end, parts);
                }
                _ => pattern.steps.push(Step { what, end, parts }),
            }
        }
        Some(pattern)
    }

    /// The body of the example.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Reads the body of a span that is alike; `None` if it is not. Adds the attributes with another value to `changed`, and its
    /// events to `events`.
    #[inline]
    pub fn read(
        &self,
        raw: &'a [u8],
        changed: &mut Vec<Changed<'a>>,
        events: &mut Vec<Event<'a>>,
    ) -> Option<SpanHead<'a>> {
        let mut head = SpanHead::default();
        let (mut rest, mut before) = (raw, Step { what: What::Same, end: 0, parts: 0 });
        for step in &self.steps {
            match step.what {
                What::TraceId => head.trace_id = behind::<16>(&mut rest, TRACE_ID)?,
                What::SpanId => head.span_id = u64::from_be_bytes(*behind(&mut rest, SPAN_ID)?),
                What::Parent => head.parent_span_id = u64::from_be_bytes(*behind(&mut rest, PARENT)?),
                What::Start => head.start = u64::from_le_bytes(*behind(&mut rest, START)?),
                What::End => head.end = u64::from_le_bytes(*behind(&mut rest, END)?),
                What::Event => {
                    let mut fields = Fields::new(rest);
                    let event = fields.next().filter(|f| f.number == field::span::EVENTS)?;
                    events.push(Event::read(event.value.as_bytes()));
                    rest = &rest[rest.len() - fields.remaining()..];
                }
                What::Same => {
                    rest = match rest.strip_prefix(self.raw.get(before.end..step.end)?) {
                        Some(behind) => behind,
                        None => self.parts(&before, step, rest, changed)?,
                    }
                }
            }
            before = *step;
        }
        rest.is_empty().then_some(head)
    }

    /// Compares the fields between two steps one by one, and gives what is behind them.
    #[inline(never)]
    fn parts(
        &self,
        before: &Step,
        step: &Step,
        mut rest: &'a [u8],
        changed: &mut Vec<Changed<'a>>,
    ) -> Option<&'a [u8]> {
        let mut expected = self.raw.get(before.end..step.end)?;
        let mut same = common(rest, expected);
        let mut start = before.end;
        for part in self.parts.get(before.parts..step.parts)? {
            let length = part.end - start;
            start = part.end;
            if let Some(left) = same.checked_sub(length) {
                (rest, expected, same) = (rest.get(length..)?, expected.get(length..)?, left);
                continue;
            }
            let (attribute, key) = part.attribute?;
            let mut fields = Fields::new(rest);
            let field = fields.next().filter(|f| f.number == field::span::ATTRIBUTES)?;
            let kv = KeyValue::read(field.value.as_bytes());
            if kv.key != key {
                return None;
            }
            changed.push(Changed { attribute, value: kv.value });
            (rest, expected) = (&rest[rest.len() - fields.remaining()..], expected.get(length..)?);
            same = common(rest, expected);
        }
        Some(rest)
    }
}

/// How many bytes both begin with, looked at in blocks.
fn common(some: &[u8], others: &[u8]) -> usize {
    let blocks = some.as_chunks::<16>().0.iter().zip(others.as_chunks::<16>().0);
    let same = blocks.take_while(|(a, b)| a == b).count() * 16;
    same + some[same..].iter().zip(&others[same..]).take_while(|(a, b)| a == b).count()
}

/// The bytes behind a tag and, if it has one, the byte of a length.
#[inline(always)]
fn behind<'a, const N: usize>(rest: &mut &'a [u8], tag: impl AsRef<[u8]>) -> Option<&'a [u8; N]> {
    let (value, behind) = rest.strip_prefix(tag.as_ref())?.split_first_chunk()?;
    *rest = behind;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;
    use crate::view::Span;

    /// A span with four attributes, the third of which has no key, and an event between them.
    fn span(values: &[AnyValue<'_>; 4], time: u64) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(1, &[time as u8; 16]);
        w.bytes(2, &[time as u8; 8]);
        w.bytes(4, &[3; 8]);
        w.fixed64(7, time);
        w.fixed64(8, time + 5);
        w.message(15, |w| w.varint(3, 1));
        w.bytes(5, b"name");
        for (key, value) in ["route", "tokens", "", "free.text"].iter().zip(values) {
            w.attribute(9, key.as_bytes(), *value);
            if *key == "tokens" {
                w.message(11, |w| w.fixed64(1, time));
            }
        }
        w.varint(10, 7);
        w.into_vec()
    }

    fn show<'a>(values: impl Iterator<Item = (&'a [u8], AnyValue<'a>)>) -> Vec<String> {
        values.map(|value| format!("{value:?}")).collect()
    }

    /// Whether a span is found to be alike. If it is, what was read of it must be what there is.
    fn is_alike(pattern: &SpanPattern<'_>, raw: &[u8]) -> bool {
        let (mut changed, mut events) = (Vec::new(), Vec::new());
        let Some(head) = pattern.read(raw, &mut changed, &mut events) else { return false };
        let (example, span) = (Span::read(pattern.raw()), Span::read(raw));
        assert_eq!(head, span.head());
        let value = |(at, kv): (usize, KeyValue<'_>)| {
            let changed = changed.iter().find(|c| c.attribute == at);
            format!("{:?}", (kv.key, changed.map_or(kv.value, |c| c.value)))
        };
        let read: Vec<String> = example.attributes().enumerate().map(value).collect();
        assert_eq!(read, show(span.attributes().map(|kv| (kv.key, kv.value))));
        assert_eq!(format!("{events:?}"), format!("{:?}", span.events().collect::<Vec<_>>()));
        let rest = |s: &Span<'_>| format!("{:?}", (s.name, s.kind, s.status, s.dropped_attributes_count));
        assert_eq!(rest(&example), rest(&span));
        true
    }

    const VALUES: [AnyValue<'static>; 4] =
        [AnyValue::String(b"chat"), AnyValue::Int(48), AnyValue::Bool(true), AnyValue::String(b"some text")];

    #[test]
    fn a_span_that_is_alike_is_read_as_any_other_is_whichever_byte_changes() {
        let example = span(&VALUES, 1000);
        let pattern = SpanPattern::new(&example, |at| at != 0).unwrap();
        let (mut alike, mut others) = (0, 0);
        for (at, byte) in (0..example.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut changed = example.clone();
            changed[at] = byte;
            // What was not validated may be anything, and is not read.
            if crate::wire::Fields::new(&changed).map(|f| f.raw.len()).sum::<usize>() == changed.len() {
                match is_alike(&pattern, &changed) {
                    true => alike += 1,
                    false => others += 1,
                }
            }
            assert!(!is_alike(&pattern, &example[..at]), "cut short at {at}");
        }
        assert!(!is_alike(&pattern, &[&example[..], &[0x50, 7]].concat()), "a field more");
        assert!(alike > 10_000 && others > 10_000, "{alike} and {others}");
    }

    #[test]
    fn values_of_any_length_may_differ_where_they_may_and_nowhere_else() {
        let example = span(&VALUES, 1000);
        let pattern = SpanPattern::new(&example, |at| at != 0).unwrap();
        let long = "v".repeat(300);
        let values =
            [AnyValue::String(b""), AnyValue::Int(-1), AnyValue::String(long.as_bytes()), AnyValue::Empty];
        for (i, value) in values.iter().enumerate() {
            for other in &values[i..] {
                for at in 0..4 {
                    let mut values = VALUES;
                    (values[at], values[3]) = (*value, *other);
                    assert_eq!(is_alike(&pattern, &span(&values, 2000)), at != 0, "{values:?}");
                }
            }
        }
    }

    #[test]
    fn a_span_with_a_field_twice_or_in_another_form_is_no_example() {
        for field in [vec![0x0a; 18], vec![0x0a, 0], vec![0x22, 0], vec![0x39, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let twice = [span(&VALUES, 1), field].concat();
            assert!(SpanPattern::new(&twice, |_| true).is_none());
        }
        assert!(SpanPattern::new(&[0x22, 0], |_| true).is_none());
        assert!(SpanPattern::new(&[], |_| true).is_some());
    }
}

//! Writes one span anew: what the table names is changed, everything else is copied through.

use super::convert::{Converted, convert, is_same, parts};
use super::members::{EVENT, Member, Members, Part};
use super::{Report, Role, SpanOptions, Stacktraces};
use crate::translate::explain::{Change, Rule};
use crate::translate::table::{self, Added, Convert, Row};
use muxbridge_core::Signal;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Event, KeyValue, SpanKind, StatusCode, text};
use muxbridge_pdata::wire::Fields;
use muxbridge_pdata::{AnyValue, Writer};
use std::ops::Range;

/// The tag and the length of a value that [`KeyValue::split`] gives.
const VALUE_HEAD: usize = 2;

/// The scalars of the new span.
pub(super) struct Head<'a> {
    /// One or two words: they are written with a space between them, never joined before.
    pub(super) name: (&'a [u8], Option<&'a [u8]>),
    pub(super) kind: SpanKind,
    /// Another end than the source says.
    pub(super) end: Option<u64>,
    /// The rule by which the status must be ERROR.
    pub(super) error: Option<Rule>,
}

/// Writes one span.
pub(super) struct Editor<'e, 'x, 'a> {
    pub(super) w: &'e mut Writer,
    pub(super) members: &'e Members<'a>,
    pub(super) member: &'e Member<'a>,
    pub(super) options: &'e SpanOptions,
    pub(super) report: &'e mut Report<'x>,
    /// What is to be copied next of the body of the span: attributes that stay and stand side by side are copied as one.
    pub(super) kept: Range<usize>,
}

impl<'a> Editor<'_, '_, 'a> {
    /// Tells the listener, if there is one.
    fn tell(&mut self, rule: &'static str, target: &str, before: &AnyValue<'_>, after: &AnyValue<'_>) {
        if let Some(explain) = self.report.explain.as_mut() {
            let span = &self.member.span;
            let (trace_id, span_id, name) = (span.trace_id, span.span_id, text(span.name));
            let (signal, before, after) = (Signal::Traces, *before, *after);
            explain.change(&Change { signal, trace_id, span_id, span: name, rule, target, before, after });
        }
    }

    fn apply(&mut self, rule: Rule, target: &str, before: &AnyValue<'_>, after: &AnyValue<'_>) {
        self.report.counts.add(rule);
        self.tell(rule.as_str(), target, before, after);
    }

    /// A span that the table does not know: all its fields as they are, but for stack traces.
    pub(super) fn copy_other(&mut self) {
        for f in Fields::new(self.member.span.raw()) {
            match f.number {
                field::span::EVENTS => self.event(f.raw, f.value.as_bytes()),
                _ => self.w.raw(f.raw),
            }
        }
    }

    /// Ids, name, kind, times and status.
    pub(super) fn head(&mut self, head: &Head<'_>) {
        let span = self.member.span;
        let fails = head.error.is_some() && span.status.code != StatusCode::Error;
        if head.end.is_none() && !fails {
            self.member
                .kept
                .iter()
                .for_each(|place| self.w.raw_short(&span.raw()[place.start..], place.len()));
        } else {
            for f in Fields::new(span.raw()) {
                use field::span as s;
                match f.number {
                    s::NAME | s::KIND | s::ATTRIBUTES | s::EVENTS => {}
                    s::END_TIME if head.end.is_some() => {}
                    s::STATUS if fails => {}
                    _ => self.w.raw(f.raw),
                }
            }
        }
        self.name(head.name);
        self.w.varint(field::span::KIND, head.kind as u64);
        if head.kind != span.kind {
            self.apply(
                Rule::Kind,
                "kind",
                &AnyValue::string(kind(span.kind)),
                &AnyValue::string(kind(head.kind)),
            );
        }
        if let Some(end) = head.end {
            self.w.fixed64(field::span::END_TIME, end);
            let times = [span.end, end].map(|t| AnyValue::Int(i64::try_from(t).unwrap_or(i64::MAX)));
            self.apply(Rule::RootEnd, "end_time", &times[0], &times[1]);
        }
        if let Some(rule) = head.error.filter(|_| fails) {
            // No message: the attempt below has it, and it may hold a URL with a key.
            self.w.message(field::span::STATUS, |w| w.varint(field::status::CODE, StatusCode::Error as u64));
            self.apply(rule, "status", &AnyValue::string("UNSET"), &AnyValue::string("ERROR"));
        }
    }

    fn name(&mut self, (first, second): (&[u8], Option<&[u8]>)) {
        self.w.header(field::span::NAME, first.len() + second.map_or(0, |second| 1 + second.len()));
        self.w.raw(first);
        if let Some(second) = second {
            self.w.raw(b" ");
            self.w.raw(second);
        }
        if self.report.explain.is_some() {
            let name = [Some(first), second].into_iter().flatten().collect::<Vec<_>>().join(&b' ');
            let before = self.member.span.name;
            if name != before {
                let rule = row_name(self.member.role);
                self.tell(rule, "name", &AnyValue::String(before), &AnyValue::String(&name));
            }
        }
    }

    /// Attributes and events.
    pub(super) fn body(&mut self) {
        for part in self.members.parts(self.member) {
            if part.slot == EVENT {
                self.copy_kept();
                self.event(&self.member.span.raw()[part.place.clone()], part.body);
                continue;
            }
            let rows = table::rows(self.member.role, part.key, part.slot.into());
            if rows.is_empty() {
                self.keep(&part.place);
            } else {
                self.copy_kept();
                self.attribute(rows, part);
            }
        }
        self.copy_kept();
    }

    fn keep(&mut self, place: &Range<usize>) {
        if self.kept.end != place.start {
            self.copy_kept();
            self.kept.start = place.start;
        }
        self.kept.end = place.end;
    }

    fn copy_kept(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            self.w.raw_short(&self.member.span.raw()[kept.start..], kept.len());
        }
    }

    fn attribute(&mut self, rows: &'static [Row], part: &Part<'a>) {
        if let [row] = rows
            && self.is_plainly_renamed(row, part)
        {
            self.rename(row, part);
            return;
        }
        let source = KeyValue::read(part.body);
        let mut known = false;
        for row in rows.iter().filter(|row| row.profiles.has(self.options.profile)) {
            let converted = convert(row.convert, &source.value, (self.members, self.member), self.options);
            if !matches!(converted, Converted::Mismatch) {
                known = true;
                self.write_row(row, part, &source.value, converted);
            }
        }
        if !known || self.options.keep_source_attributes {
            self.w.raw_short(&self.member.span.raw()[part.place.start..], part.place.len());
        }
    }

    /// Whether an attribute gets another name and nothing else happens: half of those with rows, which go the short way.
    #[inline(always)]
    fn is_plainly_renamed(&self, row: &Row, part: &Part<'a>) -> bool {
        let value = || AnyValue::read(&part.body[part.body.len() - part.value_field + VALUE_HEAD..]);
        part.value_field >= VALUE_HEAD
            && is_same(row.convert, &value())
            && row.profiles.has(self.options.profile)
            && !self.options.keep_source_attributes
            && self.report.explain.is_none()
            && !self.members.has(self.member, row.target, row.bit)
    }

    #[inline(always)]
    fn rename(&mut self, row: &Row, part: &Part<'a>) {
        let length = part.value_field;
        let from = &self.member.span.raw()[part.place.end - length..];
        self.w.attribute_renamed(field::span::ATTRIBUTES, &row.key, from, length);
    }

    fn write_row(
        &mut self,
        row: &'static Row,
        part: &Part<'a>,
        before: &AnyValue<'a>,
        converted: Converted<'a>,
    ) {
        if let Convert::Drop(rule) = row.convert {
            if !self.options.keep_source_attributes {
                self.apply(rule, row.source, before, &AnyValue::Empty);
            }
            return;
        }
        if self.members.has(self.member, row.target, row.bit) {
            return;
        }
        let text;
        let after = match converted {
            Converted::Same if part.value_field > 0 => {
                self.rename(row, part);
                self.tell(row_name(row.role), row.target, before, before);
                return;
            }
            Converted::Same => *before,
            Converted::Value(value) => value,
            Converted::Text(owned) => {
                text = owned;
                AnyValue::string(&text)
            }
            Converted::List(list) => {
                self.w.attribute_strings(field::span::ATTRIBUTES, row.target, parts(list));
                self.tell(row_name(row.role), row.target, before, &AnyValue::string(list));
                return;
            }
            Converted::Nothing | Converted::Mismatch => return,
        };
        self.w.attribute_of(field::span::ATTRIBUTES, &row.key, after);
        if row.convert == Convert::Cost && self.options.price_correction != 1.0 {
            self.apply(Rule::RouteCost, row.target, before, &after);
        } else {
            self.tell(row_name(row.role), row.target, before, &after);
        }
    }

    /// Adds an attribute, unless the profile has none or the source has one of this name.
    pub(super) fn add(&mut self, added: &Added, value: AnyValue<'_>) {
        let taken = self.members.has(self.member, added.target, added.bit);
        if taken || !added.profiles.has(self.options.profile) {
            return;
        }
        self.w.attribute_of(field::span::ATTRIBUTES, &added.key, value);
        if let Some(rule) = added.rule {
            self.apply(rule, added.target, &AnyValue::Empty, &value);
        }
    }

    fn event(&mut self, raw: &[u8], body: &'a [u8]) {
        let event = Event::read(body);
        let names = if self.member.role == Role::Router { &table::EVENTS[..] } else { &[] };
        let renamed = names.iter().find(|(name, _)| name.as_bytes() == event.name).map(|(_, name)| *name);
        let exception = event.name == b"exception";
        if renamed.is_none() && !exception {
            self.w.raw(raw);
            return;
        }
        if let Some(name) = renamed {
            self.tell("S3e.name", "event", &AnyValue::String(event.name), &AnyValue::string(name));
        }
        let keep_stacks = self.options.stacktraces == Stacktraces::Keep;
        let drops = |key: &[u8]| match key {
            b"exception.escaped" if exception => Some(Rule::Escaped),
            b"exception.stacktrace" if exception && !keep_stacks => Some(Rule::Stacktrace),
            _ => None,
        };
        for kv in event.attributes() {
            if let Some(rule) = drops(kv.key) {
                self.apply(rule, text(kv.key), &kv.value, &AnyValue::Empty);
            }
        }
        self.w.message(field::span::EVENTS, |w| {
            for f in Fields::new(body) {
                let keep = match f.number {
                    field::event::ATTRIBUTES => drops(KeyValue::read(f.value.as_bytes()).key).is_none(),
                    field::event::NAME => renamed.is_none(),
                    _ => true,
                };
                if keep {
                    w.raw(f.raw);
                }
            }
            if let Some(name) = renamed {
                w.bytes(field::event::NAME, name.as_bytes());
            }
        });
    }
}

/// The row of the reference table that a plain renaming belongs to.
fn row_name(role: Role) -> &'static str {
    match role {
        Role::Root => "S1",
        Role::Policy => "S2",
        Role::Router => "S3",
        Role::Invoke => "S4",
        Role::InvokeStream => "S5",
        Role::Attempt => "S6",
        Role::Other => "S7",
    }
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "UNSPECIFIED",
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    }
}

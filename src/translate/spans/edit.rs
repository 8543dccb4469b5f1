//! Writes one span anew: what the table names is changed, everything else is copied through.

use super::convert::{Converted, convert, parts};
use super::{Member, Report, Role, SpanOptions, Stacktraces};
use crate::translate::explain::{Change, Rule};
use crate::translate::table::{self, Added, Convert, Row};
use muxbridge_core::Signal;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Event, KeyValue, SpanKind, StatusCode, text};
use muxbridge_pdata::wire::Fields;
use muxbridge_pdata::{AnyValue, Writer};
use std::borrow::Cow;

/// The scalars of the new span.
pub(super) struct Head<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) kind: SpanKind,
    /// Another end than the source says.
    pub(super) end: Option<u64>,
    /// The rule by which the status must be ERROR.
    pub(super) error: Option<Rule>,
}

/// Writes one span.
pub(super) struct Editor<'e, 'x, 'a> {
    pub(super) w: &'e mut Writer,
    pub(super) member: &'e Member<'a>,
    pub(super) options: &'e SpanOptions,
    pub(super) report: &'e mut Report<'x>,
}

impl<'a> Editor<'_, '_, 'a> {
    /// Tells the listener, if there is one.
    fn tell(&mut self, rule: &'static str, target: &str, before: AnyValue<'_>, after: AnyValue<'_>) {
        if let Some(explain) = self.report.explain.as_mut() {
            let span = &self.member.span;
            let (trace_id, span_id, name) = (span.trace_id, span.span_id, text(span.name));
            let signal = Signal::Traces;
            explain.change(&Change { signal, trace_id, span_id, span: name, rule, target, before, after });
        }
    }

    fn apply(&mut self, rule: Rule, target: &str, before: AnyValue<'_>, after: AnyValue<'_>) {
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
        for f in Fields::new(span.raw()) {
            use field::span as s;
            match f.number {
                s::NAME | s::KIND | s::ATTRIBUTES | s::EVENTS => {}
                s::END_TIME if head.end.is_some() => {}
                s::STATUS if head.error.is_some() && span.status.code != StatusCode::Error => {}
                _ => self.w.raw(f.raw),
            }
        }
        self.w.bytes(field::span::NAME, head.name.as_bytes());
        if head.name.as_bytes() != span.name {
            self.tell(
                row_name(self.member.role),
                "name",
                AnyValue::String(span.name),
                AnyValue::string(&head.name),
            );
        }
        self.w.varint(field::span::KIND, head.kind as u64);
        if head.kind != span.kind {
            self.apply(
                Rule::Kind,
                "kind",
                AnyValue::string(kind(span.kind)),
                AnyValue::string(kind(head.kind)),
            );
        }
        if let Some(end) = head.end {
            self.w.fixed64(field::span::END_TIME, end);
            let times = [span.end, end].map(|t| AnyValue::Int(i64::try_from(t).unwrap_or(i64::MAX)));
            self.apply(Rule::RootEnd, "end_time", times[0], times[1]);
        }
        if let Some(rule) = head.error
            && span.status.code != StatusCode::Error
        {
            // No message: the attempt below has it, and it may hold a URL with a key.
            self.w.message(field::span::STATUS, |w| w.varint(field::status::CODE, StatusCode::Error as u64));
            self.apply(rule, "status", AnyValue::string("UNSET"), AnyValue::string("ERROR"));
        }
    }

    /// Attributes and events.
    pub(super) fn body(&mut self) {
        for f in Fields::new(self.member.span.raw()) {
            match f.number {
                field::span::ATTRIBUTES => self.attribute(f.raw, KeyValue::read(f.value.as_bytes())),
                field::span::EVENTS => self.event(f.raw, f.value.as_bytes()),
                _ => {}
            }
        }
    }

    fn attribute(&mut self, raw: &[u8], source: KeyValue<'a>) {
        let mut known = false;
        for row in table::rows(self.member.role, source.key, self.options.profile) {
            let converted = convert(row.convert, source.value, self.member, self.options);
            if !matches!(converted, Converted::Mismatch) {
                known = true;
                self.write_row(row, source.value, converted);
            }
        }
        if !known || self.options.keep_source_attributes {
            self.w.raw(raw);
        }
    }

    fn write_row(&mut self, row: &'static Row, before: AnyValue<'a>, converted: Converted<'a>) {
        if let Convert::Drop(rule) = row.convert {
            if !self.options.keep_source_attributes {
                self.apply(rule, row.source, before, AnyValue::Empty);
            }
            return;
        }
        if self.member.attribute(row.target.as_bytes()).is_some() {
            return;
        }
        let text;
        let after = match converted {
            Converted::Value(value) => value,
            Converted::Text(owned) => {
                text = owned;
                AnyValue::string(&text)
            }
            Converted::List(list) => {
                self.w.attribute_strings(field::span::ATTRIBUTES, row.target, parts(list));
                self.tell(row_name(row.role), row.target, before, AnyValue::string(list));
                return;
            }
            Converted::Nothing | Converted::Mismatch => return,
        };
        self.w.attribute(field::span::ATTRIBUTES, row.target.as_bytes(), after);
        if row.convert == Convert::Cost && self.options.price_correction != 1.0 {
            self.apply(Rule::RouteCost, row.target, before, after);
        } else {
            self.tell(row_name(row.role), row.target, before, after);
        }
    }

    /// Adds an attribute, unless the profile has none or the source has one of this name.
    pub(super) fn add(&mut self, added: &Added, value: AnyValue<'_>) {
        let taken = self.member.attribute(added.target.as_bytes()).is_some();
        if taken || !added.profiles.has(self.options.profile) {
            return;
        }
        self.w.attribute(field::span::ATTRIBUTES, added.target.as_bytes(), value);
        if let Some(rule) = added.rule {
            self.apply(rule, added.target, AnyValue::Empty, value);
        }
    }

    fn event(&mut self, raw: &[u8], body: &'a [u8]) {
        let event = Event::read(body);
        let renamed = table::EVENTS.iter().find(|(name, _)| name.as_bytes() == event.name);
        let renamed = renamed.filter(|_| self.member.role == Role::Router).map(|(_, name)| *name);
        let exception = event.name == b"exception";
        if renamed.is_none() && !exception {
            self.w.raw(raw);
            return;
        }
        if let Some(name) = renamed {
            self.tell("S3e.name", "event", AnyValue::String(event.name), AnyValue::string(name));
        }
        let keep_stacks = self.options.stacktraces == Stacktraces::Keep;
        let drops = |key: &[u8]| match key {
            b"exception.escaped" if exception => Some(Rule::Escaped),
            b"exception.stacktrace" if exception && !keep_stacks => Some(Rule::Stacktrace),
            _ => None,
        };
        for kv in event.attributes() {
            if let Some(rule) = drops(kv.key) {
                self.apply(rule, text(kv.key), kv.value, AnyValue::Empty);
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

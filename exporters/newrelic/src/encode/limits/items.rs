//! Spans and log records within the limits. Metrics have rules enough for a file of their own.

use super::attributes::{self, Metrics, Rules};
use super::{Cx, VALUE_CHARS, cut, metrics, rewrite};
use crate::encode::look::{Key, Look};
use crate::encode::watch::Watch;
use crate::encode::{Counts, reason};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, Event, KeyValue, LogRecord, Span, Status, StatusCode, text};
use muxbridge_pdata::wire::{Field, Fields};
use muxbridge_pdata::{Signal, Writer};

/// New Relic keeps longer bodies as blobs that queries cannot see; this bounds what one record can cost.
const BODY_CHARS: usize = 32_768;
const BODY_BYTES: usize = 128_000;

/// Whether the item may be sent as it is. Only then `watch` has seen it.
pub(super) fn item_fits<'a>(raw: &'a [u8], cx: &Cx, watch: &mut Watch<'a>) -> bool {
    match cx.signal {
        Signal::Traces => {
            let mut look = Look::default();
            let fits = matches!(check_span(raw, cx, &mut look), Check::Fits);
            if fits {
                watch.span(&look);
            }
            fits
        }
        Signal::Logs => log_fits(LogRecord::read(raw), cx),
        Signal::Metrics => metrics::fits(raw, cx),
    }
}

/// Looks at an item that is about to be written.
pub(super) fn check_item<'a>(raw: &'a [u8], cx: &Cx, watch: &mut Watch<'a>) -> Check<'a> {
    let fits = match cx.signal {
        Signal::Traces => {
            let mut look = Look::default();
            let check = check_span(raw, cx, &mut look);
            match check {
                // It was looked at no further than to what is wrong.
                Check::Breaks if watch.wants() => watch.span(&Look::at(raw)),
                _ => watch.span(&look),
            }
            return check;
        }
        Signal::Logs => log_fits(LogRecord::read(raw), cx),
        Signal::Metrics => metrics::fits(raw, cx),
    };
    if fits { Check::Fits } else { Check::Breaks }
}

/// Writes an item that has to be changed as a whole field, or leaves it out.
pub(super) fn write_item(w: &mut Writer, f: &Field<'_>, check: &Check<'_>, cx: &Cx, counts: &mut Counts) {
    let raw = f.value.as_bytes();
    match check {
        Check::Fits => w.raw(f.raw),
        Check::Lacks(copies) => w.message_of(f.number, raw.len() + COPIES_BYTES, |w| {
            w.raw(raw);
            for (key, value) in copies.iter() {
                w.attribute(field::span::ATTRIBUTES, key.as_bytes(), value);
            }
        }),
        Check::Breaks => match cx.signal {
            Signal::Traces => fit_span(w, Span::read(raw), cx, counts),
            Signal::Logs => fit_log(w, LogRecord::read(raw), cx, counts),
            Signal::Metrics => metrics::fit(w, raw, cx, counts),
        },
    }
}

pub(super) fn short(value: &[u8]) -> bool {
    value.len() <= VALUE_CHARS || cut(text(value), VALUE_CHARS).len() == value.len()
}

/// A string field within the limit of values: New Relic stores these fields as attributes.
pub(super) fn write_short(w: &mut Writer, f: &Field<'_>, counts: &mut Counts) {
    let value = f.value.as_bytes();
    let cut = cut(text(value), VALUE_CHARS);
    counts.adjust(reason::VALUE_TRUNCATED, u64::from(cut.len() < value.len()));
    w.bytes(f.number, cut.as_bytes());
}

/// Whether an id is there and not all zeros.
pub(crate) fn is_id(id: &[u8]) -> bool {
    id.iter().any(|b| *b != 0)
}

/// Whether New Relic can store the span at all.
pub(crate) fn has_ids(span: Span<'_>) -> bool {
    is_id(span.trace_id) && is_id(span.span_id)
}

/// When a span began. Looks no further than to the first start time: this runs for every span, and no writer writes two.
pub(crate) fn start(raw: &[u8]) -> u64 {
    Fields::new(raw).find(|f| f.number == field::span::START_TIME).map_or(0, |f| f.value.as_u64())
}

/// What Errors Inbox shows for a span: without it the error is called `undefined`.
pub(crate) fn error_message<'a>(span: Span<'a>) -> &'a [u8] {
    if span.status.code != StatusCode::Error || !span.status.message.is_empty() {
        return span.status.message;
    }
    match span.attribute(b"error.type") {
        Some(AnyValue::String(error_type)) => error_type,
        _ => &[],
    }
}

/// Older names that New Relic's AI pages still query, with the values of the current ones.
#[derive(Clone, Copy, Default)]
pub(crate) struct Copies<'a> {
    provider: Option<AnyValue<'a>>,
    cached: Option<AnyValue<'a>>,
}

/// About how long they are: `gen_ai.system` and the name of a provider.
const COPIES_BYTES: usize = 40;

impl<'a> Copies<'a> {
    /// Those that a span lacks.
    #[inline]
    pub(crate) fn of(look: &Look<'a>, wanted: bool) -> Self {
        let copy = |from, to| {
            let lacks = wanted && look.has(from) && !look.has(to);
            lacks.then(|| look.get(from).map(|kv| kv.value)).flatten()
        };
        Copies { provider: copy(Key::Provider, Key::System), cached: copy(Key::Cached, Key::CachedOld) }
    }

    fn len(&self) -> usize {
        usize::from(self.provider.is_some()) + usize::from(self.cached.is_some())
    }

    /// What is to be added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, AnyValue<'a>)> + use<'a> {
        let provider = self.provider.map(|v| ("gen_ai.system", v));
        provider.into_iter().chain(self.cached.map(|v| ("gen_ai.usage.cache_read_input_tokens", v)))
    }
}

/// What has to be done to an item.
pub(super) enum Check<'a> {
    /// Nothing.
    Fits,
    /// These are to be added, and that is all.
    Lacks(Copies<'a>),
    /// It breaks a limit.
    Breaks,
}

/// One pass over a span, without allocation: most spans leave as they came, or with an attribute more. `look` gets what it
/// finds on the way; it has seen all of the span unless that breaks a limit.
fn check_span<'a>(raw: &'a [u8], cx: &Cx, look: &mut Look<'a>) -> Check<'a> {
    use field::span::{ATTRIBUTES, EVENTS, NAME, SPAN_ID, STATUS, TRACE_ID, TRACE_STATE};
    let rules = cx.rules(Metrics::None);
    let (mut trace_id, mut span_id, mut attributes) = (false, false, 0);
    let mut fields = Fields::new(raw);
    loop {
        while let Some(raw) = fields.next_short(ATTRIBUTES) {
            attributes += 1;
            if !check_attribute(raw, &rules, look) {
                return Check::Breaks;
            }
        }
        let Some(f) = fields.next() else { break };
        let fits = match f.number {
            ATTRIBUTES => {
                attributes += 1;
                check_attribute(f.value.as_bytes(), &rules, look)
            }
            TRACE_ID => {
                trace_id = is_id(f.value.as_bytes());
                true
            }
            SPAN_ID => {
                span_id = is_id(f.value.as_bytes());
                true
            }
            NAME | TRACE_STATE => short(f.value.as_bytes()),
            STATUS => {
                look.status = Status::read(f.value.as_bytes());
                short(look.status.message)
            }
            EVENTS => event_fits(Event::read(f.value.as_bytes()), cx),
            _ => {
                look.field(&f);
                true
            }
        };
        if !fits {
            return Check::Breaks;
        }
    }
    let unexplained = look.status.code == StatusCode::Error
        && look.status.message.is_empty()
        && matches!(look.get(Key::Error).map(|kv| kv.value), Some(AnyValue::String(text)) if !text.is_empty());
    let copies = Copies::of(look, cx.ai);
    let added = copies.len();
    if !trace_id || !span_id || unexplained || attributes + added > cx.max {
        return Check::Breaks;
    }
    if added == 0 {
        return Check::Fits;
    }
    // What is copied has been checked already, as the value of its own name.
    Check::Lacks(copies)
}

#[inline(always)]
fn check_attribute<'a>(raw: &'a [u8], rules: &Rules<'_>, look: &mut Look<'a>) -> bool {
    if let Some(key) = attributes::plain_key(raw) {
        look.attribute(key, raw);
        return attributes::free_in_spans(key);
    }
    let kv = KeyValue::read(raw);
    look.attribute(kv.key, raw);
    attributes::attribute_fits(kv, rules)
}

fn event_fits(event: Event<'_>, cx: &Cx) -> bool {
    short(event.name) && attributes::fits(event.attributes(), &cx.rules(Metrics::None))
}

fn fit_span(w: &mut Writer, span: Span<'_>, cx: &Cx, counts: &mut Counts) {
    use field::span::{ATTRIBUTES, DROPPED_ATTRIBUTES_COUNT, EVENTS, NAME, STATUS, TRACE_STATE};
    if !has_ids(span) {
        counts.drop(reason::NO_ID, 1);
        return;
    }
    let copies = Copies::of(&Look::at(span.raw()), cx.ai);
    let fitted = attributes::fit(span.attributes(), copies.iter(), &cx.rules(Metrics::None), counts);
    // The type may also have come out of a map.
    let message = match error_message(span) {
        [] if span.status.code == StatusCode::Error => fitted.text("error.type"),
        message => message,
    };
    w.message(field::scope_items::ITEMS, |w| {
        rewrite(w, span.raw(), ATTRIBUTES, Some(DROPPED_ATTRIBUTES_COUNT), &fitted, |w, f| {
            match f.number {
                NAME | TRACE_STATE => write_short(w, f, counts),
                EVENTS => w.message(EVENTS, |w| fit_event(w, Event::read(f.value.as_bytes()), cx, counts)),
                STATUS => write_status(w, f.value.as_bytes(), message, counts),
                _ => return false,
            }
            true
        });
    });
}

fn write_status(w: &mut Writer, raw: &[u8], message: &[u8], counts: &mut Counts) {
    // The last of several status fields counts, as the view read it; one that says nothing about the message is copied.
    if Status::read(raw).code != StatusCode::Error {
        w.message(field::span::STATUS, |w| {
            for f in Fields::new(raw) {
                match f.number {
                    field::status::MESSAGE => write_short(w, &f, counts),
                    _ => w.raw(f.raw),
                }
            }
        });
        return;
    }
    let short = cut(text(message), VALUE_CHARS);
    counts.adjust(reason::VALUE_TRUNCATED, u64::from(short.len() < message.len()));
    w.message(field::span::STATUS, |w| {
        for f in Fields::new(raw).filter(|f| f.number != field::status::MESSAGE) {
            w.raw(f.raw);
        }
        w.bytes_nonempty(field::status::MESSAGE, short.as_bytes());
    });
}

fn fit_event(w: &mut Writer, event: Event<'_>, cx: &Cx, counts: &mut Counts) {
    use field::event::{ATTRIBUTES, DROPPED_ATTRIBUTES_COUNT, NAME};
    let fitted = attributes::fit(event.attributes(), None, &cx.rules(Metrics::None), counts);
    rewrite(w, event.raw(), ATTRIBUTES, Some(DROPPED_ATTRIBUTES_COUNT), &fitted, |w, f| {
        if f.number == NAME {
            write_short(w, f, counts);
        }
        f.number == NAME
    });
}

fn body_fits(body: AnyValue<'_>) -> bool {
    match body {
        AnyValue::String(s) => s.len() <= BODY_CHARS || cut(text(s), BODY_CHARS).len() == s.len(),
        AnyValue::Bytes(b) => b.len() <= BODY_BYTES,
        _ => true,
    }
}

fn log_fits(log: LogRecord<'_>, cx: &Cx) -> bool {
    body_fits(log.body)
        && short(log.severity_text)
        && short(log.event_name)
        && attributes::fits(log.attributes(), &cx.rules(Metrics::None))
}

fn fit_log(w: &mut Writer, log: LogRecord<'_>, cx: &Cx, counts: &mut Counts) {
    use field::log::{ATTRIBUTES, BODY, DROPPED_ATTRIBUTES_COUNT, EVENT_NAME, SEVERITY_TEXT};
    let fitted = attributes::fit(log.attributes(), None, &cx.rules(Metrics::None), counts);
    w.message(field::scope_items::ITEMS, |w| {
        rewrite(w, log.raw(), ATTRIBUTES, Some(DROPPED_ATTRIBUTES_COUNT), &fitted, |w, f| {
            match f.number {
                SEVERITY_TEXT | EVENT_NAME => write_short(w, f, counts),
                BODY => return write_body(w, AnyValue::read(f.value.as_bytes()), counts),
                _ => return false,
            }
            true
        });
    });
}

/// Shortens a body that is too long; says whether it did.
fn write_body(w: &mut Writer, body: AnyValue<'_>, counts: &mut Counts) -> bool {
    if body_fits(body) {
        return false;
    }
    counts.adjust(reason::BODY_TRUNCATED, 1);
    let short = match body {
        AnyValue::String(s) => AnyValue::string(cut(text(s), BODY_CHARS)),
        AnyValue::Bytes(b) => AnyValue::Bytes(&b[..BODY_BYTES]),
        other => other,
    };
    w.any_value(field::log::BODY, short);
    true
}

#[cfg(test)]
mod tests;

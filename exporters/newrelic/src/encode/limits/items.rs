//! Spans and log records within the limits. Metrics have rules enough for a file of their own.

use super::attributes::{self, Metrics};
use super::{Cx, VALUE_CHARS, cut, metrics, rewrite};
use crate::encode::{Counts, reason};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, Event, KeyValue, LogRecord, Span, Status, StatusCode, text};
use muxbridge_pdata::wire::{Field, Fields};
use muxbridge_pdata::{Signal, Writer};

/// New Relic keeps longer bodies as blobs that queries cannot see; this bounds what one record can cost.
const BODY_CHARS: usize = 32_768;
const BODY_BYTES: usize = 128_000;

/// Whether the item may be sent as it is.
pub(super) fn item_fits(raw: &[u8], cx: &Cx) -> bool {
    match cx.signal {
        Signal::Traces => matches!(check_span(raw, cx), Check::Fits),
        Signal::Logs => log_fits(LogRecord::read(raw), cx),
        Signal::Metrics => metrics::fits(raw, cx),
    }
}

/// Writes the item as a whole field, or leaves it out.
pub(super) fn write_item(w: &mut Writer, f: &Field<'_>, cx: &Cx, counts: &mut Counts) {
    let raw = f.value.as_bytes();
    match cx.signal {
        Signal::Traces => match check_span(raw, cx) {
            Check::Fits => w.raw(f.raw),
            Check::Lacks(copies) => w.message_of(f.number, raw.len() + COPIES_BYTES, |w| {
                w.raw(raw);
                for (key, value) in copies.iter() {
                    w.attribute(field::span::ATTRIBUTES, key.as_bytes(), value);
                }
            }),
            Check::Breaks => fit_span(w, Span::read(raw), cx, counts),
        },
        Signal::Logs if log_fits(LogRecord::read(raw), cx) => w.raw(f.raw),
        Signal::Logs => fit_log(w, LogRecord::read(raw), cx, counts),
        Signal::Metrics if metrics::fits(raw, cx) => w.raw(f.raw),
        Signal::Metrics => metrics::fit(w, raw, cx, counts),
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
    system: bool,
    cached: Option<AnyValue<'a>>,
    cached_old: bool,
}

/// About how long they are: `gen_ai.system` and the name of a provider.
const COPIES_BYTES: usize = 40;

impl<'a> Copies<'a> {
    /// Those that a span lacks.
    pub(crate) fn of(span: Span<'a>, wanted: bool) -> Self {
        let mut copies = Copies::default();
        if wanted {
            span.attributes().for_each(|kv| copies.see(kv));
        }
        copies
    }

    /// Takes note of one attribute; of several with one key the first one counts.
    fn see(&mut self, kv: KeyValue<'a>) {
        let Some(rest) = kv.key.strip_prefix(b"gen_ai.") else { return };
        match rest {
            b"provider.name" => self.provider = self.provider.or(Some(kv.value)),
            b"system" => self.system = true,
            b"usage.cache_read.input_tokens" => self.cached = self.cached.or(Some(kv.value)),
            b"usage.cache_read_input_tokens" => self.cached_old = true,
            _ => {}
        }
    }

    /// What is to be added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, AnyValue<'a>)> + use<'a> {
        let provider = self.provider.filter(|_| !self.system).map(|v| ("gen_ai.system", v));
        let cached = self.cached.filter(|_| !self.cached_old);
        provider.into_iter().chain(cached.map(|v| ("gen_ai.usage.cache_read_input_tokens", v)))
    }
}

/// What has to be done to a span.
enum Check<'a> {
    /// Nothing.
    Fits,
    /// These are to be added, and that is all.
    Lacks(Copies<'a>),
    /// It breaks a limit.
    Breaks,
}

/// One pass over a span, without allocation: most spans leave as they came, or with an attribute more.
fn check_span<'a>(raw: &'a [u8], cx: &Cx) -> Check<'a> {
    use field::span::{ATTRIBUTES, EVENTS, NAME, SPAN_ID, STATUS, TRACE_ID, TRACE_STATE};
    let rules = cx.rules(Metrics::None);
    let (mut trace_id, mut span_id, mut attributes) = (false, false, 0);
    let mut status = Status::default();
    let mut error_type = None;
    let mut copies = Copies::default();
    for f in Fields::new(raw) {
        let fits = match f.number {
            ATTRIBUTES => {
                let kv = KeyValue::read(f.value.as_bytes());
                attributes += 1;
                if cx.ai {
                    copies.see(kv);
                }
                if kv.key == b"error.type" {
                    error_type = error_type.or(Some(kv.value));
                }
                attributes::attribute_fits(kv, &rules)
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
                status = Status::read(f.value.as_bytes());
                short(status.message)
            }
            EVENTS => event_fits(Event::read(f.value.as_bytes()), cx),
            _ => true,
        };
        if !fits {
            return Check::Breaks;
        }
    }
    let unexplained = status.code == StatusCode::Error
        && status.message.is_empty()
        && matches!(error_type, Some(AnyValue::String(text)) if !text.is_empty());
    let added = copies.iter().count();
    if !trace_id || !span_id || unexplained || attributes + added > cx.max {
        return Check::Breaks;
    }
    if added == 0 {
        return Check::Fits;
    }
    // What is copied has been checked already, as the value of its own name.
    Check::Lacks(copies)
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
    let fitted =
        attributes::fit(span.attributes(), Copies::of(span, cx.ai).iter(), &cx.rules(Metrics::None), counts);
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

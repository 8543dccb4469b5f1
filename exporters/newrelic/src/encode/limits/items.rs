//! Spans and log records within the limits. Metrics have rules enough for a file of their own.

use super::attributes::{self, Metrics};
use super::{Cx, VALUE_CHARS, cut, metrics, rewrite};
use crate::encode::{Counts, reason};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, Event, LogRecord, Span, Status, StatusCode, text};
use muxbridge_pdata::wire::Field;
use muxbridge_pdata::{Signal, Writer};

/// New Relic keeps longer bodies as blobs that queries cannot see; this bounds what one record can cost.
const BODY_CHARS: usize = 32_768;
const BODY_BYTES: usize = 128_000;

pub(super) fn item_fits(raw: &[u8], cx: &Cx) -> bool {
    match cx.signal {
        Signal::Traces => span_fits(Span::read(raw), cx),
        Signal::Logs => log_fits(LogRecord::read(raw), cx),
        Signal::Metrics => metrics::fits(raw, cx),
    }
}

/// Writes the item as a whole field, or leaves it out.
pub(super) fn fit_item(w: &mut Writer, raw: &[u8], cx: &Cx, counts: &mut Counts) {
    match cx.signal {
        Signal::Traces => fit_span(w, Span::read(raw), cx, counts),
        Signal::Logs => fit_log(w, LogRecord::read(raw), cx, counts),
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
pub(crate) fn ai_copies<'a>(
    span: Span<'a>,
    wanted: bool,
) -> impl Iterator<Item = (&'static str, AnyValue<'a>)> {
    const COPIES: [(&str, &str); 2] = [
        ("gen_ai.provider.name", "gen_ai.system"),
        ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    ];
    COPIES.into_iter().filter(move |_| wanted).filter_map(move |(from, to)| {
        let value = span.attribute(from.as_bytes())?;
        span.attribute(to.as_bytes()).is_none().then_some((to, value))
    })
}

fn span_fits(span: Span<'_>, cx: &Cx) -> bool {
    has_ids(span)
        && short(span.name)
        && short(span.trace_state)
        && short(span.status.message)
        && error_message(span).len() == span.status.message.len()
        && attributes::fits(span.attributes(), &cx.rules(Metrics::None))
        && ai_copies(span, cx.ai).next().is_none()
        && span.events().all(|event| event_fits(event, cx))
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
    let fitted = attributes::fit(span.attributes(), ai_copies(span, cx.ai), &cx.rules(Metrics::None), counts);
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
            for f in muxbridge_pdata::wire::Fields::new(raw) {
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
        for f in muxbridge_pdata::wire::Fields::new(raw).filter(|f| f.number != field::status::MESSAGE) {
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

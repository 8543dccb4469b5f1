//! What both Trace API formats say about a span besides its ids, name and times: attributes as scalars.

use super::limits::attributes::{self, Fit, Fitted, Metrics, Rules};
use super::limits::{Added, ITEM_ATTRIBUTES, RESOURCE_ATTRIBUTES, SCOPE_ATTRIBUTES, cut};
use super::limits::{Copies, error_message};
use super::look::Look;
use super::{Counts, Options, json, reason};
use muxbridge_core::Signal;
use muxbridge_pdata::view::{AnyValue, Resource, Scope, Span, SpanKind, StatusCode, text};
use std::borrow::Cow;
use std::collections::HashSet;

/// How long a string may be in a Trace API payload.
const VALUE_CHARS: usize = 4096;

/// A value that both formats can write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl Scalar<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Scalar::Text(t) => json::string(out, t),
            Scalar::Bool(b) => json::scalar(out, b),
            Scalar::Int(i) => json::scalar(out, i),
            Scalar::Double(d) => json::scalar(out, d),
        }
    }

    /// As a JSON string: Zipkin's tags have no other type.
    pub(super) fn write_as_text(&self, out: &mut Vec<u8>) {
        let text = match self {
            Scalar::Text(t) => return json::string(out, t),
            Scalar::Bool(b) => b.to_string(),
            Scalar::Int(i) => i.to_string(),
            Scalar::Double(d) => json::text_of(AnyValue::Double(*d)),
        };
        json::string(out, &text);
    }
}

/// Attributes in order, each key once: the first value stays.
#[derive(Default)]
pub(super) struct Fields<'a> {
    list: Vec<(Cow<'a, str>, Scalar<'a>)>,
    seen: HashSet<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Cow<'a, str>, Scalar<'a>)> {
        self.list.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Keeps the first `max`; says how many are gone.
    pub(super) fn truncate(&mut self, max: usize) -> u64 {
        let gone = self.list.len().saturating_sub(max);
        self.list.truncate(max);
        gone as u64
    }

    /// As a JSON object.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.write_all(out, None);
    }

    /// The same with a last attribute that replaces one of its name.
    pub(super) fn write_with(&self, out: &mut Vec<u8>, key: &str, value: &str) {
        self.write_all(out, Some((key, value)));
    }

    fn write_all(&self, out: &mut Vec<u8>, last: Option<(&str, &str)>) {
        out.push(b'{');
        let mut first = true;
        let mut open = |out: &mut Vec<u8>, key: &str| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            json::string(out, key);
            out.push(b':');
        };
        for (key, value) in self.list.iter().filter(|(key, _)| last.is_none_or(|(k, _)| k != key)) {
            open(out, key);
            value.write(out);
        }
        if let Some((key, value)) = last {
            open(out, key);
            json::string(out, value);
        }
        out.push(b'}');
    }

    pub(super) fn push(&mut self, key: impl Into<Cow<'a, str>>, value: Scalar<'a>) {
        let key = key.into();
        if self.seen.insert(key.clone()) {
            self.list.push((key, value));
        }
    }

    fn text(&mut self, key: &'static str, value: &'a [u8], counts: &mut Counts) {
        if !value.is_empty() {
            let short = cut(text(value), VALUE_CHARS);
            counts.adjust(reason::VALUE_TRUNCATED, u64::from(short.len() < value.len()));
            self.push(key, Scalar::Text(short.into()));
        }
    }

    /// The same for attributes that do not live as long as the batch.
    fn fitted_owned(&mut self, fitted: Fitted<'_>, counts: &mut Counts) {
        for attribute in fitted.list {
            if let Some(value) = scalar(attribute.value, counts) {
                self.push(attribute.key.into_owned(), owned(value));
            }
        }
    }

    pub(super) fn fitted(&mut self, fitted: Fitted<'a>, counts: &mut Counts) {
        for attribute in fitted.list {
            if let Some(value) = scalar(attribute.value, counts) {
                self.push(attribute.key, value);
            }
        }
    }
}

fn owned(value: Scalar<'_>) -> Scalar<'static> {
    match value {
        Scalar::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
        Scalar::Bool(b) => Scalar::Bool(b),
        Scalar::Int(i) => Scalar::Int(i),
        Scalar::Double(d) => Scalar::Double(d),
    }
}

pub(super) fn scalar<'a>(value: Fit<'a>, counts: &mut Counts) -> Option<Scalar<'a>> {
    let list = match value {
        Fit::Text(t) => return Some(Scalar::Text(t.into())),
        Fit::Plain(AnyValue::String(s)) => return Some(Scalar::Text(text(s).into())),
        Fit::Plain(AnyValue::Bool(b)) => return Some(Scalar::Bool(b)),
        Fit::Plain(AnyValue::Int(i)) => return Some(Scalar::Int(i)),
        Fit::Plain(AnyValue::Double(d)) if d.is_finite() => return Some(Scalar::Double(d)),
        Fit::Plain(AnyValue::Double(_)) => {
            counts.adjust(reason::NOT_FINITE, 1);
            return None;
        }
        Fit::Plain(other) => json::text_of(other),
        Fit::List(list) => {
            let mut out = vec![b'['];
            let mut first = true;
            for value in list.into_iter().filter_map(|v| scalar(v, counts)) {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                value.write(&mut out);
            }
            out.push(b']');
            String::from_utf8(out).unwrap_or_default()
        }
    };
    counts.adjust(reason::ARRAY_TO_TEXT, 1);
    let short = cut(&list, VALUE_CHARS).len();
    counts.adjust(reason::VALUE_TRUNCATED, u64::from(short < list.len()));
    Some(Scalar::Text(list[..short].to_owned().into()))
}

fn rules(max: usize) -> Rules<'static> {
    Rules { signal: Signal::Traces, max, value_chars: VALUE_CHARS, metrics: Metrics::None }
}

/// The attributes of a resource, and what makes New Relic treat the spans like those that come in over OTLP.
pub(super) fn resource(resource: Resource<'_>, options: &Options, counts: &mut Counts) -> Fields<'static> {
    let mut fields = Fields::default();
    let added = Added::to(resource, options);
    let list = attributes::fit(resource.attributes(), added.iter(), &rules(RESOURCE_ATTRIBUTES), counts);
    fields.fitted_owned(list, counts);
    fields.push("instrumentation.provider", Scalar::Text("opentelemetry".into()));
    fields
}

/// `span.kind` as New Relic stores it. OTLP says that an unspecified kind is internal.
pub(super) fn kind(span: Span<'_>) -> &'static str {
    match span.kind {
        SpanKind::Unspecified | SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// Adds the span's own attributes, then status, error, scope and trace state under the names that New Relic gives them
/// on the OTLP path.
pub(super) fn push_span<'a>(
    fields: &mut Fields<'a>,
    span: Span<'a>,
    scope: Scope<'a>,
    options: &Options,
    counts: &mut Counts,
) {
    let fitted = attributes::fit(
        span.attributes(),
        Copies::of(&Look::at(span.raw()), options.ai_monitoring).iter(),
        &rules(ITEM_ATTRIBUTES),
        counts,
    );
    let removed = fitted.removed;
    fields.fitted(fitted, counts);
    match span.status.code {
        StatusCode::Unset => {}
        StatusCode::Ok => fields.push("otel.status_code", Scalar::Text("OK".into())),
        StatusCode::Error => {
            fields.push("otel.status_code", Scalar::Text("ERROR".into()));
            push_error(fields, span, counts);
        }
    }
    fields.text("w3c.tracestate", span.trace_state, counts);
    fields.text("otel.library.name", scope.name, counts);
    fields.text("otel.library.version", scope.version, counts);
    fields.fitted(attributes::fit(scope.attributes(), None, &rules(SCOPE_ATTRIBUTES), counts), counts);
    let dropped = u64::from(span.dropped_attributes_count) + removed;
    if dropped > 0 {
        let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
        fields.push("otel.dropped_attributes_count", Scalar::Int(dropped));
    }
}

/// Neither format has events, so the last exception becomes attributes of the span. Only of a failed span: any `error.*`
/// attribute makes New Relic count the span as an error.
fn push_error<'a>(fields: &mut Fields<'a>, span: Span<'a>, counts: &mut Counts) {
    let exception = span.events().filter(|e| e.name == b"exception").last();
    let of_exception = |key: &str| match exception.and_then(|e| e.attribute(key.as_bytes())) {
        Some(AnyValue::String(s)) => s,
        _ => &[],
    };
    let first = |a: &'a [u8], b: &'a [u8]| if a.is_empty() { b } else { a };
    let error_type = match span.attribute(b"error.type") {
        Some(AnyValue::String(s)) => s,
        _ => &[],
    };
    fields.text("otel.status_description", error_message(span), counts);
    let described = first(span.status.message, of_exception("exception.message"));
    fields.text("error.message", first(described, error_type), counts);
    fields.text("error.class", first(of_exception("exception.type"), error_type), counts);
    fields.text("error.stack", of_exception("exception.stacktrace"), counts);
}

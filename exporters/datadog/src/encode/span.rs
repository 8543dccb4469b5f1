//! One span: its fields and its two maps.

use super::around::{ResourceEntry, ScopeEntry, env_of, normal_service, unified};
use super::attributes::{Attribute, Attributes, Values, bytes};
use super::dictionary::Dictionary;
use super::events::{self, last_exception};
use super::fields::{self, Fields};
use super::keys::Key;
use super::maps::Maps;
use super::normalize::{normalize_name, truncate_bytes};
use super::sampling::{Decision, probability};
use super::semantics;
use super::{Counts, OperationName, Options, id};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, Event, KeyValue, Span, SpanKind, StatusCode, text};
use std::borrow::Cow;

/// The longest type, in bytes.
const MAX_TYPE: usize = 100;

/// Where a span stands in its chunk.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first of the chunk: it carries what is said of the whole trace.
    pub(super) first: bool,
    /// Its parent is not in the chunk.
    pub(super) chunk_root: bool,
    /// What the Agent's rates say about the trace.
    pub(super) decision: Option<Decision>,
    /// The trace id in hexadecimal.
    pub(super) trace: [u8; 32],
}

/// Encodes spans, with buffers that are used again for the next one.
pub(super) struct SpanEncoder<'o> {
    options: &'o Options,
    pub(super) counts: &'o mut Counts,
    maps: Maps,
    json: String,
    events: Vec<u8>,
}

/// What a span holds besides its scalar fields. The room for it is used again for the next span.
#[derive(Default)]
pub(super) struct Own<'a> {
    attributes: Vec<Attribute<'a>>,
    values: Values<'a>,
    /// Whether one of the attributes is of a call to a model.
    model: bool,
    events: Vec<Event<'a>>,
    links: bool,
}

impl<'a> Own<'a> {
    /// Reads a span, all of it in one pass.
    pub(super) fn read(&mut self, raw: &'a [u8], keys: &mut Dictionary<'a>) -> Span<'a> {
        self.attributes.clear();
        self.values.clear();
        self.events.clear();
        (self.model, self.links) = (false, false);
        Span::read_each(raw, |f| match f.number {
            field::span::ATTRIBUTES => {
                let attribute = Attribute::of(&KeyValue::read(f.value.as_bytes()), keys);
                self.model |= attribute.is_of_model(keys);
                self.values.keep(&attribute);
                self.attributes.push(attribute);
            }
            field::span::EVENTS => self.events.push(Event::read(f.value.as_bytes())),
            field::span::LINKS => self.links = true,
            _ => {}
        })
    }
}

impl<'o> SpanEncoder<'o> {
    pub(super) fn new(options: &'o Options, counts: &'o mut Counts) -> Self {
        SpanEncoder { options, counts, maps: Maps::default(), json: String::new(), events: Vec::new() }
    }

    /// Appends the span to its chunk.
    pub(super) fn span<'a>(
        &mut self,
        out: &mut Vec<u8>,
        span: &Span<'a>,
        own: &Own<'a>,
        keys: &Dictionary<'a>,
        (scope, resource): (&ScopeEntry<'a>, &ResourceEntry<'a>),
        place: &Place,
    ) {
        let attributes = Attributes { span: &own.values, resource: &resource.values };
        self.fields(out, span, own, &attributes, resource);
        self.maps.start(out);
        // The first value of a key stays: what is computed, then the span, its scope, its resource.
        self.trace(span, &attributes, resource, place);
        self.fixed(span, own, scope, resource, place);
        if span.status.code == StatusCode::Error {
            self.error(span, own, &attributes);
        }
        self.events_and_links(span, own);
        for attribute in own.attributes.iter().chain(&scope.attributes) {
            self.counts.content += u64::from(attribute.write(&mut self.maps, keys));
        }
        if !self.maps.block(&resource.maps) {
            resource.attributes.iter().for_each(|a| {
                a.write(&mut self.maps, keys);
            });
        }
        self.counts.content += resource.content;
        self.maps.end(out);
        let kind = semantics::span_type(&attributes, span.kind);
        fields::end(out, truncate_bytes(&kind, MAX_TYPE), &self.events);
        self.counts.encoded += 1;
    }

    /// The service and the environment of a span, for the Agent's rates.
    pub(super) fn service_and_env(&self, own: &Own<'_>, resource: &ResourceEntry<'_>) -> (String, String) {
        let attributes = Attributes { span: &own.values, resource: &resource.values };
        let service = attributes.text(&[Key::ServiceName]);
        (normal_service(service.as_deref()).0, env_of(&attributes, self.options))
    }

    fn fields<'a>(
        &mut self,
        out: &mut Vec<u8>,
        span: &Span<'a>,
        own: &Own<'a>,
        attributes: &Attributes<'_, 'a>,
        resource: &ResourceEntry<'a>,
    ) {
        let name = match self.options.operation_name {
            OperationName::V2 => semantics::operation(attributes, span.kind),
            OperationName::SpanName => Cow::Owned(normalize_name(text(span.name))),
        };
        let stated = attributes
            .span
            .any(&[Key::ServiceName])
            .then(|| normal_service(attributes.text(&[Key::ServiceName]).as_deref()));
        let (service, adjusted) = stated.as_ref().unwrap_or(&resource.service);
        let full = semantics::resource(attributes, span.kind, span.name);
        let shown = match truncate_bytes(&full, self.options.max_resource) {
            [] => name.as_bytes(),
            shown => shown,
        };
        self.counts.adjusted += u64::from(*adjusted) + u64::from(full.len() > self.options.max_resource);
        let fields = Fields {
            service: service.as_bytes(),
            name: name.as_bytes(),
            resource: shown,
            trace_id: id(span.trace_id.get(8..).unwrap_or_default()),
            span_id: id(span.span_id),
            parent_id: id(span.parent_span_id),
            start: span.start,
            duration: span.duration(),
            error: span.status.code == StatusCode::Error,
        };
        fields.write(out, self.options.native_events && !own.events.is_empty());
    }

    /// What is said of the whole trace, and whether the span counts for the statistics that the Agent makes.
    fn trace<'a>(
        &mut self,
        span: &Span<'a>,
        attributes: &Attributes<'_, 'a>,
        resource: &ResourceEntry<'a>,
        place: &Place,
    ) {
        let Maps { meta, metrics, .. } = &mut self.maps;
        let wish = attributes.get(Key::SamplingPriority).and_then(|v| priority(&v));
        if place.first {
            let high = &place.trace[..16];
            if high.iter().any(|digit| *digit != b'0') {
                meta.text(Key::DdTid, high);
            }
            // 4: somebody asked for it. 1: the Agent's rate. 0: nobody decided.
            let maker: &[u8] = match (wish, place.decision) {
                (Some(_), _) => b"-4",
                (None, Some(_)) => b"-1",
                (None, None) => b"-0",
            };
            meta.text(Key::DdDecisionMaker, maker);
        }
        if place.first || place.chunk_root {
            if let (None, Some(decision)) = (wish, place.decision) {
                metrics.number(Key::DdAgentRate, decision.rate);
            }
            // Whoever sampled did so before us: what is here is kept, unless the Agent's rates are obeyed.
            let decided = place.decision.map(|d| d.priority);
            metrics.number(Key::SamplingPriorityV1, wish.or(decided).unwrap_or(1.0));
            let stated = attributes.text(&[Key::DdHostname]);
            let host = match (&resource.host, &stated) {
                (Some(host), _) => host.as_bytes(),
                (None, Some(stated)) => stated,
                (None, None) => self.options.hostname.as_bytes(),
            };
            if !host.is_empty() {
                meta.text(Key::DdHostname, host);
            }
        }
        let stated = attributes.get(Key::SampleRate).and_then(|v| v.as_f64());
        let sampled = || if span.trace_state.is_empty() { None } else { probability(text(span.trace_state)) };
        if let Some(rate) = stated.or_else(sampled)
            && rate > 0.0
            && rate <= 1.0
        {
            metrics.number(Key::SampleRate, rate);
        }
        match span.kind {
            _ if id(span.parent_span_id) == 0 => metrics.number(Key::TopLevel, 1.0),
            SpanKind::Server | SpanKind::Consumer => metrics.number(Key::TopLevel, 1.0),
            SpanKind::Client | SpanKind::Producer => metrics.number(Key::DdMeasured, 1.0),
            SpanKind::Internal | SpanKind::Unspecified => {}
        }
    }

    /// What every span has.
    fn fixed<'a>(
        &mut self,
        span: &Span<'a>,
        own: &Own<'a>,
        scope: &ScopeEntry<'a>,
        resource: &ResourceEntry<'a>,
        place: &Place,
    ) {
        let attributes = &Attributes { span: &own.values, resource: &resource.values };
        let Maps { meta, metrics, .. } = &mut self.maps;
        if own.model {
            // They go to LLM Observability in their own form or not at all; nobody shall make others of these.
            meta.text(Key::DdLlmobsEnabled, b"false");
        }
        if own.values.any(&[
            Key::DeploymentEnvironmentName,
            Key::DeploymentEnvironment,
            Key::Env,
            Key::ServiceVersion,
        ]) {
            unified(meta, attributes, self.options);
        } else {
            meta.block(&resource.unified);
        }
        meta.text(Key::SpanKind, kind_name(span.kind).as_bytes());
        meta.text(Key::OtelTraceId, &place.trace);
        let status: &[u8] = match span.status.code {
            StatusCode::Unset => b"Unset",
            StatusCode::Ok => b"Ok",
            StatusCode::Error => b"Error",
        };
        meta.text(Key::OtelStatusCode, status);
        for (key, value) in
            [(Key::OtelStatusDescription, span.status.message), (Key::W3cTracestate, span.trace_state)]
        {
            if !value.is_empty() {
                meta.text(key, value);
            }
        }
        meta.block(&scope.names);
        if let Some(code) = attributes.http_status() {
            metrics.number(Key::HttpStatusCode, code as f64);
            // An Agent removes any other.
            if (100..=599).contains(&code) {
                meta.text(Key::HttpStatusCode, itoa::Buffer::new().format(code).as_bytes());
            }
        }
        if let Some(code) = attributes.text(&[Key::RpcGrpcStatusCode]) {
            meta.text(Key::RpcGrpcStatusCode, &code);
        }
        if let Some(event) = attributes.get(Key::AnalyticsEvent).and_then(|v| v.as_bool()) {
            metrics.number(Key::DdEventRate, f64::from(u8::from(event)));
        }
    }

    /// The three fields of an error: what the span says, else its status, its last exception, its HTTP status.
    fn error<'a>(&mut self, span: &Span<'a>, own: &Own<'a>, attributes: &Attributes<'_, 'a>) {
        let exception = last_exception(&own.events);
        let thrown = |key: &[u8]| {
            let value = exception?.attribute(key)?;
            Some(bytes(&value)).filter(|text| !text.is_empty())
        };
        let meta = &mut self.maps.meta;
        let described = (!span.status.message.is_empty()).then_some(Cow::Borrowed(span.status.message));
        let message = attributes
            .text(&[Key::ErrorMsg, Key::ErrorMessage])
            .or(described)
            .or_else(|| thrown(b"exception.message"))
            .or_else(|| {
                let code = attributes.http_status()?;
                let text = format!("{code} {}", semantics::reason(code));
                Some(Cow::Owned(text.trim_end().as_bytes().to_vec()))
            });
        if let Some(message) = message {
            meta.text(Key::ErrorMsg, &message);
            meta.text(Key::ErrorMessage, &message);
        }
        if let Some(kind) = attributes.text(&[Key::ErrorType]).or_else(|| thrown(b"exception.type")) {
            meta.text(Key::ErrorType, &kind);
        }
        if let Some(stack) = attributes.text(&[Key::ErrorStack]).or_else(|| thrown(b"exception.stacktrace")) {
            meta.text(Key::ErrorStack, &stack);
        }
    }

    fn events_and_links(&mut self, span: &Span<'_>, own: &Own<'_>) {
        self.events.clear();
        let meta = &mut self.maps.meta;
        if !own.events.is_empty() {
            if self.options.native_events {
                events::native(&mut self.events, &own.events, self.options.content);
            } else {
                events::events(&mut self.json, &own.events, self.options.content);
                meta.text(Key::Events, self.json.as_bytes());
            }
            if last_exception(&own.events).is_some() {
                meta.text(Key::DdHasException, b"true");
            }
        }
        if own.links {
            events::links(&mut self.json, span);
            meta.text(Key::DdSpanLinks, self.json.as_bytes());
        }
    }
}

/// A priority that the span asks for: a number, or text that is one.
fn priority(value: &AnyValue<'_>) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    number.is_finite().then(|| number.trunc().clamp(-1.0, 2.0))
}

fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

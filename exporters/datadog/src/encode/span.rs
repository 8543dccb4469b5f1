//! One span: its fields and its two maps.

use super::around::{ResourceEntry, ScopeEntry, env_of, normal_service, unified};
use super::attributes::{Attributes, Values, bytes};
use super::dictionary::Dictionary;
use super::events::{self, last_exception};
use super::fields;
use super::keys::Key;
use super::maps::Maps;
use super::memo::{Kind, Marks, Memo, Memos};
use super::msgpack;
use super::normalize::{normalize_name, truncate_bytes};
use super::reader::{Own, Reader};
use super::sampling::{Decision, probability};
use super::semantics;
use super::{Counts, OperationName, Options};
use muxbridge_pdata::view::{AnyValue, Span, SpanKind, StatusCode, text};
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
    /// It has no parent.
    pub(super) root: bool,
    /// What the Agent's rates say about the trace.
    pub(super) decision: Option<Decision>,
    /// The trace id in hexadecimal.
    pub(super) trace: [u8; 32],
}

impl Place {
    /// The upper half of the trace id in hexadecimal, unless it is zero.
    #[inline]
    pub(super) fn high(&self) -> Option<&[u8]> {
        let high = &self.trace[..16];
        (high != b"0000000000000000").then_some(high)
    }
}

/// Encodes spans, with buffers that are used again for the next one.
pub(super) struct SpanEncoder<'o, 'a> {
    options: &'o Options,
    pub(super) counts: &'o mut Counts,
    maps: Maps,
    json: String,
    events: Vec<u8>,
    values: Values<'a>,
    marks: Marks,
    memos: Memos,
}

impl<'o, 'a> SpanEncoder<'o, 'a> {
    pub(super) fn new(options: &'o Options, counts: &'o mut Counts) -> Self {
        SpanEncoder {
            options,
            counts,
            maps: Maps::default(),
            json: String::new(),
            events: Vec::new(),
            values: Values::default(),
            marks: Marks::default(),
            memos: Memos::default(),
        }
    }

    /// Appends a span that was read to its chunk.
    pub(super) fn span(
        &mut self,
        out: &mut Vec<u8>,
        reader: &mut Reader<'a>,
        at: usize,
        around: (&ScopeEntry<'a>, &ResourceEntry<'a>),
        place: &Place,
    ) {
        self.counts.encoded += 1;
        if let Some(own) = reader.own(at) {
            return self.whole(out, &own, &reader.keys, around, place);
        }
        let Some((shape, span_around)) = reader.alike(at).map(|(read, alike)| (alike.shape, read.around))
        else {
            return;
        };
        let kind = Kind::of(shape, span_around, place);
        if self.memos.knows(&kind) {
            reader.shapes.found();
        } else {
            reader.shapes.missed();
            let example = reader.read_whole(reader.shapes.raw(shape));
            let memo = self.learn(kind, &reader.whole(example), &reader.keys, around, place);
            self.memos.keep(memo);
        }
        let (Some((read, alike)), Some(memo)) = (reader.alike(at), self.memos.last(shape)) else { return };
        let events: &[u8] = if alike.events.is_empty() {
            &[]
        } else if self.options.native_events {
            self.events.clear();
            events::native(&mut self.events, alike.events, self.options.content);
            &self.events
        } else {
            events::events(&mut self.json, alike.events, self.options.content);
            self.json.as_bytes()
        };
        memo.write(out, &read.head, place, alike.changed, events);
        self.counts.adjusted += memo.adjusted;
        self.counts.content += memo.content;
    }

    /// Writes a span of this kind for what others have in common with it.
    #[cold]
    fn learn(
        &mut self,
        kind: Kind,
        own: &Own<'_, 'a>,
        keys: &Dictionary<'a>,
        around: (&ScopeEntry<'a>, &ResourceEntry<'a>),
        place: &Place,
    ) -> Memo {
        let before = (self.counts.adjusted, self.counts.content);
        let mut bytes = Vec::with_capacity(own.span.raw().len() * 2 + around.1.raw.len() * 2);
        self.whole(&mut bytes, own, keys, around, place);
        let learned = (self.counts.adjusted - before.0, self.counts.content - before.1);
        // It was written for others, and is counted where they are.
        (self.counts.adjusted, self.counts.content) = before;
        Memo::new(kind, bytes, self.marks.settled(own.attributes), learned)
    }

    /// Writes a span that was read as a whole, and marks where others would be written otherwise.
    fn whole(
        &mut self,
        out: &mut Vec<u8>,
        own: &Own<'_, 'a>,
        keys: &Dictionary<'a>,
        around: (&ScopeEntry<'a>, &ResourceEntry<'a>),
        place: &Place,
    ) {
        let (scope, resource) = around;
        self.marks.clear();
        // The first value of a key stays: what is computed, then the span, its scope, its resource.
        let type_name = self.compute(out, own, around, place);
        self.write_events(own);
        for attribute in own.attributes {
            self.marks.before_attribute(&self.maps);
            self.counts.content += u64::from(attribute.write(&mut self.maps, keys));
        }
        self.marks.before_attribute(&self.maps);
        for attribute in &scope.attributes {
            self.counts.content += u64::from(attribute.write(&mut self.maps, keys));
        }
        if !self.maps.block(&resource.maps) {
            resource.attributes.iter().for_each(|a| {
                a.write(&mut self.maps, keys);
            });
        }
        self.counts.content += resource.content;
        (self.marks.moved, self.marks.metrics) = self.maps.end(out);
        fields::end(out, truncate_bytes(&type_name, MAX_TYPE), &self.events);
        self.marks.native = out.len() - self.events.len()..out.len();
    }

    /// Writes what follows from the attributes that are looked up, and says of which type the span is.
    fn compute(
        &mut self,
        out: &mut Vec<u8>,
        own: &Own<'_, 'a>,
        (scope, resource): (&ScopeEntry<'a>, &ResourceEntry<'a>),
        place: &Place,
    ) -> Cow<'a, [u8]> {
        let span = own.span;
        let mut values = std::mem::take(&mut self.values);
        values.read(own.looked_up);
        let attributes = &Attributes { span: &values, resource: &resource.values };
        self.counts.adjusted += self.head(out, own, attributes, resource);
        let before = out.len();
        fields::numbers(out, &span.head());
        self.marks.numbers = before..out.len();
        fields::error(out, span.status.code == StatusCode::Error);
        self.maps.start(out);
        if let Some(high) = place.high().filter(|_| place.first) {
            self.maps.meta.text(Key::DdTid, high);
            self.marks.high = self.maps.meta.last(high.len());
        }
        self.trace(own, attributes, resource, place);
        self.identity(own, attributes, resource);
        self.maps.meta.text(Key::OtelTraceId, &place.trace);
        self.marks.trace = self.maps.meta.last(place.trace.len());
        self.outcome(span, attributes, scope);
        if span.status.code == StatusCode::Error {
            self.error(own, attributes);
        }
        let type_name = semantics::span_type(attributes, span.kind);
        self.values = values;
        type_name
    }

    /// Writes events and links.
    fn write_events(&mut self, own: &Own<'_, 'a>) {
        let meta = &mut self.maps.meta;
        self.events.clear();
        if !own.events.is_empty() {
            if self.options.native_events {
                events::native(&mut self.events, own.events, self.options.content);
            } else {
                events::events(&mut self.json, own.events, self.options.content);
                let text = self.json.as_bytes();
                meta.text(Key::Events, text);
                self.marks.events = meta.last(msgpack::text_length(text));
            }
            if last_exception(own.events).is_some() {
                meta.text(Key::DdHasException, b"true");
            }
        }
        if own.links {
            events::links(&mut self.json, own.span);
            meta.text(Key::DdSpanLinks, self.json.as_bytes());
        }
    }

    /// The service and the environment of a span, for the Agent's rates.
    pub(super) fn service_and_env(
        &self,
        own: &Own<'_, 'a>,
        resource: &ResourceEntry<'a>,
    ) -> (String, String) {
        let mut values = Values::default();
        values.read(own.looked_up);
        let attributes = Attributes { span: &values, resource: &resource.values };
        let service = attributes.text(&[Key::ServiceName]);
        (normal_service(service.as_deref()).0, env_of(&attributes, self.options))
    }

    /// Writes the service, the operation and the resource, and says how many of them were changed to fit.
    fn head(
        &mut self,
        out: &mut Vec<u8>,
        own: &Own<'_, 'a>,
        attributes: &Attributes<'_, 'a>,
        resource: &ResourceEntry<'a>,
    ) -> u64 {
        let span = own.span;
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
        let events = self.options.native_events && !own.events.is_empty();
        fields::begin(out, service.as_bytes(), name.as_bytes(), shown, events);
        u64::from(*adjusted) + u64::from(full.len() > self.options.max_resource)
    }

    /// What is said of the whole trace, and whether the span counts for the statistics that the Agent makes.
    fn trace(
        &mut self,
        own: &Own<'_, 'a>,
        attributes: &Attributes<'_, 'a>,
        resource: &ResourceEntry<'a>,
        place: &Place,
    ) {
        let span = own.span;
        let Maps { meta, metrics, .. } = &mut self.maps;
        let wish = attributes.get(Key::SamplingPriority).and_then(|v| priority(&v));
        if place.first {
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
            _ if place.root => metrics.number(Key::TopLevel, 1.0),
            SpanKind::Server | SpanKind::Consumer => metrics.number(Key::TopLevel, 1.0),
            SpanKind::Client | SpanKind::Producer => metrics.number(Key::DdMeasured, 1.0),
            SpanKind::Internal | SpanKind::Unspecified => {}
        }
    }

    /// What every span has before its trace id.
    fn identity(&mut self, own: &Own<'_, 'a>, attributes: &Attributes<'_, 'a>, resource: &ResourceEntry<'a>) {
        let meta = &mut self.maps.meta;
        if own.model {
            // They go to LLM Observability in their own form or not at all; nobody shall make others of these.
            meta.text(Key::DdLlmobsEnabled, b"false");
        }
        if attributes.span.any(&[
            Key::DeploymentEnvironmentName,
            Key::DeploymentEnvironment,
            Key::Env,
            Key::ServiceVersion,
        ]) {
            unified(meta, attributes, self.options);
        } else {
            meta.block(&resource.unified);
        }
        meta.text(Key::SpanKind, kind_name(own.span.kind).as_bytes());
    }

    /// What every span has behind its trace id.
    fn outcome(&mut self, span: &Span<'a>, attributes: &Attributes<'_, 'a>, scope: &ScopeEntry<'a>) {
        let Maps { meta, metrics, .. } = &mut self.maps;
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
    fn error(&mut self, own: &Own<'_, 'a>, attributes: &Attributes<'_, 'a>) {
        let span = own.span;
        let exception = last_exception(own.events);
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

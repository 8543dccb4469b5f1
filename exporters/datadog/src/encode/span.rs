//! One span: its fields and its two maps.

use super::content::is_content;
use super::events::{self, last_exception};
use super::maps::{Fields, Map, write_span};
use super::normalize::{normalize_name, normalize_service, normalize_tag_value, truncate};
use super::sampling::{Decision, probability};
use super::semantics::{self, Attributes};
use super::{Counts, OperationName, Options, ResourceEntry, hex, id};
use muxbridge_exporter_statsd::encode::value::as_text;
use muxbridge_pdata::view::{AnyValue, KeyValue, Scope, Span, SpanKind, StatusCode, text};

/// The longest type, in bytes.
const MAX_TYPE: usize = 100;
/// The service of spans that name none.
const NO_SERVICE: &str = "otlpresourcenoservicename";
/// Whole numbers up to this are exact in a double.
const EXACT: u64 = 1 << 53;
/// Attributes that became fields of the span.
const CONSUMED: [&str; 6] =
    ["service.name", "operation.name", "resource.name", "span.type", "sampling.priority", "analytics.event"];

/// Where a span stands in its chunk.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The first of the chunk: it carries what is said of the whole trace.
    pub(super) first: bool,
    /// Its parent is not in the chunk.
    pub(super) chunk_root: bool,
    /// What the Agent's rates say about the trace.
    pub(super) decision: Option<Decision>,
}

/// Encodes spans, with buffers that are used again for the next one.
pub(super) struct SpanEncoder<'o, 'a> {
    options: &'o Options,
    counts: &'o mut Counts,
    meta: Map,
    metrics: Map,
    attributes: Vec<KeyValue<'a>>,
    json: String,
    events: Vec<u8>,
}

impl<'o, 'a> SpanEncoder<'o, 'a> {
    pub(super) fn new(options: &'o Options, counts: &'o mut Counts) -> Self {
        SpanEncoder {
            options,
            counts,
            meta: Map::default(),
            metrics: Map::default(),
            attributes: Vec::new(),
            json: String::new(),
            events: Vec::new(),
        }
    }

    /// Appends the span to its chunk.
    pub(super) fn span(
        &mut self,
        out: &mut Vec<u8>,
        span: &Span<'a>,
        scope: &Scope<'a>,
        resource: &ResourceEntry<'a>,
        place: Place,
    ) {
        self.meta.clear();
        self.metrics.clear();
        let mut own = std::mem::take(&mut self.attributes);
        own.clear();
        own.extend(span.attributes());
        let attributes = Attributes { span: &own, resource: &resource.attributes };
        // The first value of a key stays: what is computed, then the span, its scope, its resource.
        self.trace(span, &attributes, resource, place);
        self.fixed(span, scope, &attributes);
        if span.status.code == StatusCode::Error {
            self.error(span, &attributes);
        }
        self.events_and_links(span);
        for kv in &own {
            self.attribute(kv);
        }
        for kv in scope.attributes() {
            self.attribute(&kv);
        }
        for kv in &resource.attributes {
            self.attribute(kv);
        }
        self.fields(out, span, &attributes);
        self.counts.encoded += 1;
        self.attributes = own;
    }

    fn env(&self, attributes: &Attributes<'_, '_>) -> String {
        let env = attributes.text(&["deployment.environment.name", "deployment.environment", "env"]);
        normalize_tag_value(env.as_deref().unwrap_or(&self.options.env))
    }

    /// The service and the environment of a span, for the Agent's rates.
    pub(super) fn service_and_env(&self, span: &Span<'a>, resource: &ResourceEntry<'a>) -> (String, String) {
        let own: Vec<_> = span.attributes().collect();
        let attributes = Attributes { span: &own, resource: &resource.attributes };
        let service = attributes.text(&["service.name"]);
        (normalize_service(service.as_deref().unwrap_or(NO_SERVICE)), self.env(&attributes))
    }

    fn fields(&mut self, out: &mut Vec<u8>, span: &Span<'a>, attributes: &Attributes<'_, 'a>) {
        let name = match self.options.operation_name {
            OperationName::V2 => semantics::operation(attributes, span.kind),
            OperationName::SpanName => normalize_name(text(span.name)),
        };
        let service = attributes.text(&["service.name"]);
        let service = service.as_deref().unwrap_or(NO_SERVICE);
        let normal = normalize_service(service);
        let full = semantics::resource(attributes, span.kind, text(span.name));
        let resource = match truncate(&full, self.options.max_resource) {
            "" => &name,
            resource => resource,
        };
        let kind = semantics::span_type(attributes, span.kind);
        self.counts.adjusted +=
            u64::from(normal != service) + u64::from(full.len() > self.options.max_resource);
        let fields = Fields {
            service: &normal,
            name: &name,
            resource,
            trace_id: id(span.trace_id.get(8..).unwrap_or_default()),
            span_id: id(span.span_id),
            parent_id: id(span.parent_span_id),
            start: span.start,
            duration: span.duration(),
            error: span.status.code == StatusCode::Error,
            kind: truncate(&kind, MAX_TYPE),
        };
        write_span(out, &fields, &self.meta, &self.metrics, &self.events);
    }

    /// What is said of the whole trace, and whether the span counts for the statistics that the Agent makes.
    fn trace(
        &mut self,
        span: &Span<'a>,
        attributes: &Attributes<'_, 'a>,
        resource: &ResourceEntry<'a>,
        place: Place,
    ) {
        let wish = attributes.get("sampling.priority").and_then(|v| priority(&v));
        if place.first {
            let high = &span.trace_id[..8];
            if id(high) != 0 {
                self.meta.text("_dd.p.tid", &hex(high));
            }
            // 4: somebody asked for it. 1: the Agent's rate. 0: nobody decided.
            self.meta.text(
                "_dd.p.dm",
                match (wish, place.decision) {
                    (Some(_), _) => "-4",
                    (None, Some(_)) => "-1",
                    (None, None) => "-0",
                },
            );
        }
        if place.first || place.chunk_root {
            if let (None, Some(decision)) = (wish, place.decision) {
                self.metrics.number("_dd.agent_psr", decision.rate);
            }
            // Whoever sampled did so before us: what is here is kept, unless the Agent's rates are obeyed.
            let decided = place.decision.map(|d| d.priority);
            self.metrics.number("_sampling_priority_v1", wish.or(decided).unwrap_or(1.0));
            let host = resource.host.as_deref().unwrap_or(&self.options.hostname);
            let stated = attributes.text(&["_dd.hostname"]);
            let host = if resource.host.is_none() { stated.as_deref().unwrap_or(host) } else { host };
            if !host.is_empty() {
                self.meta.text("_dd.hostname", host);
            }
        }
        let stated = attributes.get("_sample_rate").and_then(|v| v.as_f64());
        if let Some(rate) = stated.or_else(|| probability(text(span.trace_state)))
            && rate > 0.0
            && rate <= 1.0
        {
            self.metrics.number("_sample_rate", rate);
        }
        match span.kind {
            _ if id(span.parent_span_id) == 0 => self.metrics.number("_top_level", 1.0),
            SpanKind::Server | SpanKind::Consumer => self.metrics.number("_top_level", 1.0),
            SpanKind::Client | SpanKind::Producer => self.metrics.number("_dd.measured", 1.0),
            SpanKind::Internal | SpanKind::Unspecified => {}
        }
    }

    /// What every span has.
    fn fixed(&mut self, span: &Span<'a>, scope: &Scope<'a>, attributes: &Attributes<'_, 'a>) {
        if attributes.span.iter().any(|kv| kv.key.starts_with(b"gen_ai.")) {
            // They go to LLM Observability in their own form or not at all; nobody shall make others of these.
            self.meta.text("dd_llmobs_enabled", "false");
        }
        let env = self.env(attributes);
        if !env.is_empty() {
            self.meta.text("env", &env);
        }
        if let Some(version) = attributes.text(&["service.version"]) {
            self.meta.text("version", &version);
        }
        self.meta.text("span.kind", kind_name(span.kind));
        self.meta.text("otel.trace_id", &hex(span.trace_id));
        let status = match span.status.code {
            StatusCode::Unset => "Unset",
            StatusCode::Ok => "Ok",
            StatusCode::Error => "Error",
        };
        self.meta.text("otel.status_code", status);
        // The library.* names are those before OpenTelemetry called it a scope; dashboards still use them.
        for (key, value) in [
            ("otel.status_description", span.status.message),
            ("w3c.tracestate", span.trace_state),
            ("otel.scope.name", scope.name),
            ("otel.library.name", scope.name),
            ("otel.scope.version", scope.version),
            ("otel.library.version", scope.version),
        ] {
            if !value.is_empty() {
                self.meta.text(key, text(value));
            }
        }
        if let Some(code) = attributes.http_status() {
            self.metrics.number("http.status_code", code as f64);
            // An Agent removes any other.
            if (100..=599).contains(&code) {
                self.meta.text("http.status_code", &code.to_string());
            }
        }
        if let Some(code) = attributes.text(&["rpc.grpc.status_code"]) {
            self.meta.text("rpc.grpc.status_code", &code);
        }
        if let Some(event) = attributes.get("analytics.event").and_then(|v| v.as_bool()) {
            self.metrics.number("_dd1.sr.eausr", f64::from(u8::from(event)));
        }
    }

    /// The three fields of an error: what the span says, else its status, its last exception, its HTTP status.
    fn error(&mut self, span: &Span<'a>, attributes: &Attributes<'_, 'a>) {
        let exception = last_exception(span);
        let thrown = |key: &[u8]| {
            let value = exception.as_ref()?.attribute(key)?;
            Some(as_text(&value)).filter(|text| !text.is_empty())
        };
        let described = (!span.status.message.is_empty()).then(|| text(span.status.message).into());
        let message = attributes
            .text(&["error.msg", "error.message"])
            .or(described)
            .or_else(|| thrown(b"exception.message"))
            .or_else(|| {
                let code = attributes.http_status()?;
                Some(format!("{code} {}", semantics::reason(code)).trim_end().to_owned().into())
            });
        if let Some(message) = message {
            self.meta.text("error.msg", &message);
            self.meta.text("error.message", &message);
        }
        if let Some(kind) = attributes.text(&["error.type"]).or_else(|| thrown(b"exception.type")) {
            self.meta.text("error.type", &kind);
        }
        if let Some(stack) = attributes.text(&["error.stack"]).or_else(|| thrown(b"exception.stacktrace")) {
            self.meta.text("error.stack", &stack);
        }
    }

    fn events_and_links(&mut self, span: &Span<'a>) {
        self.events.clear();
        let native = self.options.native_events && span.events().next().is_some();
        if native {
            events::native(&mut self.events, span, self.options.content);
        }
        if native || events::events(&mut self.json, span, self.options.content) {
            if !native {
                self.meta.text("events", &self.json);
            }
            if last_exception(span).is_some() {
                self.meta.text("_dd.span_events.has_exception", "true");
            }
        }
        if events::links(&mut self.json, span) {
            self.meta.text("_dd.span_links", &self.json);
        }
    }

    /// Numbers go to `metrics`, everything else to `meta` as text.
    fn attribute(&mut self, kv: &KeyValue<'a>) {
        let key = text(kv.key);
        if key.is_empty() || CONSUMED.contains(&key) {
            return;
        }
        if !self.options.content && is_content(key) {
            self.counts.content += 1;
            return;
        }
        let key = semantics::rename(key);
        match kv.value {
            AnyValue::Int(i) => {
                self.metrics.number(&key, i as f64);
                if i.unsigned_abs() > EXACT {
                    self.meta.text(&key, &i.to_string());
                }
            }
            AnyValue::Double(d) if d.is_finite() => self.metrics.number(&key, d),
            _ => self.meta.text(&key, &as_text(&kv.value)),
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

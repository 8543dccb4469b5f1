//! Spans of language models for LLM Observability. Pure.
//!
//! Two spellings of the same span: the public span API, and what Datadog's libraries send through an Agent.

use super::content::is_content;
use super::parts::{Frame, Parts};
use super::{hex, id};
use muxbridge_core::{Batch, Signal};
use muxbridge_exporter_statsd::encode::value::{as_text, write_json, write_json_string};
use muxbridge_pdata::view::{Resource, Span, StatusCode, text};
use std::collections::HashMap;
use std::fmt::Write;

/// Any of them on any span of a trace makes it one of a model.
const MARKS: [&str; 5] = [
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.system",
    "openinference.span.kind",
    "langfuse.observation.type",
];
const MAX_ML_APP: usize = 193;
const MAX_TAG: usize = 256;
/// Ancestors that are looked at for one that is sent too.
const MAX_UP: usize = 64;

/// Who reads the spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The public span API (`/api/intake/llm-obs/v1/trace/spans`).
    Api,
    /// The intake of Datadog's libraries (`/api/v2/llmobs`), through an Agent.
    Library,
}

/// How to encode.
#[derive(Clone, Debug)]
pub struct LlmOptions {
    /// Who reads the spans.
    pub format: Format,
    /// The application; empty for the service of the spans.
    pub ml_app: String,
    /// The environment of what names none; empty for none.
    pub env: String,
    /// Whether prompts and answers are sent.
    pub content: bool,
}

/// The spans of one application.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its name.
    pub ml_app: String,
    /// Its spans, as pieces of requests.
    pub spans: Parts,
}

impl Application {
    /// What stands around the spans in a request.
    pub fn frame(&self, format: Format) -> Frame {
        if format == Format::Library {
            return Frame::json_list();
        }
        let mut before = String::from("{\"data\":{\"type\":\"span\",\"attributes\":{\"ml_app\":");
        write_json_string(&mut before, &self.ml_app);
        before.push_str(",\"spans\":[");
        Frame::Json { before, after: "]}}}".to_owned() }
    }
}

struct Entry<'a> {
    span: Span<'a>,
    resource: usize,
    model: bool,
}

/// The spans of models in a batch of traces, by application; none for another signal.
pub fn llm_spans(batch: &Batch, options: &LlmOptions) -> Vec<Application> {
    if batch.signal() != Signal::Traces {
        return Vec::new();
    }
    let mut resources = Vec::new();
    let mut entries = Vec::new();
    let mut marked: HashMap<&[u8], bool> = HashMap::new();
    for items in batch.resources() {
        resources.push(items.resource);
        for span in items.scopes().flat_map(|s| s.spans()) {
            if id(span.trace_id.get(8..).unwrap_or_default()) == 0 || id(span.span_id) == 0 {
                continue;
            }
            let mark = MARKS.iter().any(|key| span.attribute(key.as_bytes()).is_some());
            *marked.entry(span.trace_id).or_default() |= mark;
            let model = mark || span.attributes().any(|kv| kv.key.starts_with(b"gen_ai."));
            entries.push(Entry { span, resource: resources.len() - 1, model });
        }
    }
    let by_id: HashMap<_, _> = entries.iter().map(|e| ((e.span.trace_id, e.span.span_id), e)).collect();
    let mut applications: Vec<Application> = Vec::new();
    for entry in entries.iter().filter(|e| e.model && marked.get(e.span.trace_id) == Some(&true)) {
        let service = resources[entry.resource].attribute(b"service.name").map(|v| as_text(&v).into_owned());
        let ml_app = if options.ml_app.is_empty() {
            ml_app_name(service.as_deref().unwrap_or_default())
        } else {
            ml_app_name(&options.ml_app)
        };
        let json = span_json(entry, parent(entry, &by_id), &resources[entry.resource], &ml_app, options);
        let known = applications.iter().position(|a| a.ml_app == ml_app);
        let at = known.unwrap_or_else(|| {
            applications.push(Application { ml_app, spans: Parts::default() });
            applications.len() - 1
        });
        applications[at].spans.push(json.as_bytes(), 1);
    }
    applications
}

/// The name of an application as Datadog takes it.
pub fn ml_app_name(name: &str) -> String {
    let clean = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.' | '/') { c } else { '_' }
    };
    let name: String = name.chars().map(clean).take(MAX_ML_APP).collect();
    if name.is_empty() { "unnamed-ml-app".to_owned() } else { name }
}

/// The nearest ancestor in the batch that is sent too.
fn parent<'a>(entry: &Entry<'a>, by_id: &HashMap<(&'a [u8], &'a [u8]), &Entry<'a>>) -> Option<u64> {
    let mut at = entry;
    for _ in 0..MAX_UP {
        at = by_id.get(&(at.span.trace_id, at.span.parent_span_id))?;
        if at.model {
            return Some(id(at.span.span_id));
        }
    }
    None
}

/// The kind of a span by its operation.
fn kind(operation: &str) -> &'static str {
    match operation {
        "chat" | "generate_content" | "text_completion" | "completion" => "llm",
        "embeddings" | "embedding" => "embedding",
        "execute_tool" => "tool",
        "invoke_agent" | "create_agent" => "agent",
        _ => "workflow",
    }
}

fn span_json(
    entry: &Entry<'_>,
    parent: Option<u64>,
    resource: &Resource<'_>,
    ml_app: &str,
    options: &LlmOptions,
) -> String {
    let span = &entry.span;
    let get = |keys: &[&str]| {
        let found = |key: &&str| Some(as_text(&span.attribute(key.as_bytes())?)).filter(|t| !t.is_empty());
        keys.iter().find_map(found).map(|t| t.into_owned())
    };
    let library = options.format == Format::Library;
    let operation = get(&["gen_ai.operation.name"]).unwrap_or_default();
    let name = match get(&["gen_ai.tool.name"]) {
        Some(tool) if operation == "execute_tool" => tool,
        _ => text(span.name).to_owned(),
    };
    let failed = span.status.code == StatusCode::Error;
    let mut out = String::new();
    if library {
        let version = env!("CARGO_PKG_VERSION");
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{{\"_dd.stage\":\"raw\",\"_dd.tracer_version\":\"{version}\",\"event_type\":\"span\",\"spans\":["
        );
    }
    out.push_str("{\"name\":");
    write_json_string(&mut out, &name);
    let parent = parent.map_or_else(|| "undefined".to_owned(), |p| p.to_string());
    let (trace, own) = (hex(span.trace_id), id(span.span_id));
    let _ = write!(
        out,
        ",\"span_id\":\"{own}\",\"trace_id\":\"{trace}\",\"parent_id\":\"{parent}\",\"start_ns\":{},\"duration\":{},\
         \"status\":\"{}\"",
        span.start,
        span.duration(),
        if failed { "error" } else { "ok" }
    );
    if library {
        let _ = write!(
            out,
            ",\"_dd\":{{\"span_id\":\"{own}\",\"trace_id\":\"{trace}\",\"apm_trace_id\":\"{trace}\"}}"
        );
    } else {
        let _ = write!(out, ",\"apm_trace_id\":\"{trace}\"");
    }
    let session = get(&["gen_ai.conversation.id", "session.id"]);
    if let (Some(session), true) = (&session, library) {
        out.push_str(",\"session_id\":");
        write_json_string(&mut out, session);
    }
    out.push_str(",\"meta\":{");
    meta(&mut out, span, kind(&operation), failed, options);
    out.push_str("},\"metrics\":{");
    metrics(&mut out, span);
    out.push_str("},\"tags\":[");
    tags(&mut out, span, resource, ml_app, session.as_deref(), options);
    out.push_str("]}");
    if library {
        out.push_str("]}");
    }
    out
}

fn meta(out: &mut String, span: &Span<'_>, kind: &str, failed: bool, options: &LlmOptions) {
    let get = |key: &str| {
        span.attribute(key.as_bytes()).map(|v| as_text(&v).into_owned()).filter(|t| !t.is_empty())
    };
    let _ = match options.format {
        Format::Api => write!(out, "\"kind\":\"{kind}\""),
        Format::Library => write!(out, "\"span\":{{\"kind\":\"{kind}\"}}"),
    };
    let mut metadata: Vec<(String, String)> = Vec::new();
    let model = get("gen_ai.response.model").or_else(|| get("gen_ai.request.model"));
    let provider = get("gen_ai.provider.name").or_else(|| get("gen_ai.system"));
    for (key, value) in [("model_name", model), ("model_provider", provider)] {
        let Some(value) = value else { continue };
        let mut json = String::new();
        write_json_string(&mut json, &value);
        match options.format {
            // The public API has no fields for them.
            Format::Api => metadata.push((key.to_owned(), json)),
            Format::Library => {
                let _ = write!(out, ",\"{key}\":{json}");
            }
        }
    }
    for kv in span.attributes() {
        let key = text(kv.key);
        let name = if let Some(name) = key.strip_prefix("gen_ai.request.").filter(|n| *n != "model") {
            name.to_owned()
        } else if let Some(name) = key.strip_prefix("gen_ai.tool.").filter(|_| !is_content(key.as_bytes())) {
            format!("tool_{}", name.replace('.', "_"))
        } else if key == "modelmuxer.route.estimate.cost" {
            // An estimate of the router, not what the provider charges.
            "estimated_cost_usd".to_owned()
        } else {
            continue;
        };
        let mut json = String::new();
        write_json(&mut json, &kv.value);
        metadata.push((name, json));
    }
    if !metadata.is_empty() {
        out.push_str(",\"metadata\":{");
        for (i, (key, json)) in metadata.iter().enumerate() {
            out.push_str(if i > 0 { "," } else { "" });
            write_json_string(out, key);
            out.push(':');
            out.push_str(json);
        }
        out.push('}');
    }
    if failed {
        let message = Some(text(span.status.message).to_owned()).filter(|m| !m.is_empty());
        out.push_str(",\"error\":{\"message\":");
        write_json_string(out, &message.or_else(|| get("error.message")).unwrap_or_default());
        if let Some(kind) = get("error.type") {
            out.push_str(",\"type\":");
            write_json_string(out, &kind);
        }
        out.push('}');
    }
    if options.content {
        let pairs = match kind {
            "tool" => [("input", "gen_ai.tool.call.arguments"), ("output", "gen_ai.tool.call.result")],
            _ => [("input", "gen_ai.input.messages"), ("output", "gen_ai.output.messages")],
        };
        for (key, attribute) in pairs {
            if let Some(value) = get(attribute) {
                let _ = write!(out, ",\"{key}\":{{\"value\":");
                write_json_string(out, &value);
                out.push('}');
            }
        }
    }
}

fn metrics(out: &mut String, span: &Span<'_>) {
    let number = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| span.attribute(key.as_bytes())?.as_f64());
        found.filter(|n| n.is_finite() && *n >= 0.0)
    };
    // What is unknown is left out: a zero would be counted.
    let input = number(&["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"]);
    let output = number(&["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"]);
    let both = input.zip(output).map(|(i, o)| i + o);
    let mut first = true;
    for (key, value) in [
        ("input_tokens", input),
        ("output_tokens", output),
        ("total_tokens", number(&["gen_ai.usage.total_tokens"]).or(both)),
        ("cache_read_input_tokens", number(&["gen_ai.usage.cache_read.input_tokens"])),
        ("cache_write_input_tokens", number(&["gen_ai.usage.cache_creation.input_tokens"])),
        ("reasoning_output_tokens", number(&["gen_ai.usage.reasoning.output_tokens"])),
        ("total_cost", number(&["gen_ai.usage.cost"])),
        ("time_to_first_token", number(&["gen_ai.response.time_to_first_chunk"])),
    ] {
        if let Some(value) = value {
            out.push_str(if std::mem::replace(&mut first, false) { "" } else { "," });
            let _ = write!(out, "\"{key}\":{value}");
        }
    }
}

fn tags(
    out: &mut String,
    span: &Span<'_>,
    resource: &Resource<'_>,
    ml_app: &str,
    session: Option<&str>,
    options: &LlmOptions,
) {
    let of =
        |key: &str| resource.attribute(key.as_bytes()).map(|v| as_text(&v).into_owned()).unwrap_or_default();
    let env = [of("deployment.environment.name"), of("deployment.environment"), options.env.clone()];
    let mut tags = vec![
        ("ml_app".to_owned(), ml_app.to_owned()),
        ("service".to_owned(), of("service.name")),
        ("env".to_owned(), env.into_iter().find(|e| !e.is_empty()).unwrap_or_default()),
        ("version".to_owned(), of("service.version")),
        ("session_id".to_owned(), session.unwrap_or_default().to_owned()),
        ("source".to_owned(), "otel".to_owned()),
    ];
    for kv in span.attributes() {
        let key = text(kv.key);
        let known = ["gen_ai.request.", "gen_ai.usage.", "gen_ai.tool."].iter().any(|p| key.starts_with(p));
        if known || is_content(key.as_bytes()) || key == "gen_ai.conversation.id" {
            continue;
        }
        let name = key.strip_prefix("gen_ai.").unwrap_or(key);
        tags.push((name.to_owned(), as_text(&kv.value).into_owned()));
    }
    for (i, (key, value)) in tags.iter().filter(|(k, v)| !k.is_empty() && !v.is_empty()).enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        let tag: String = format!("{key}:{value}").chars().take(MAX_TAG).collect();
        write_json_string(out, &tag);
    }
}

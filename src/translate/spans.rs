//! Translates the spans of one trace: names, kinds, statuses and attributes.

mod convert;
mod edit;
mod facts;
mod members;

use super::explain::{Counts, Explain, Rule};
use super::profile::Profile;
use super::providers::{operation_name, provider_named};
use super::routes::{known_method, known_route};
use super::{errors, table};
use edit::{Editor, Head};
use facts::{Call, CallOutcome, Facts, RootFacts};
pub use members::{Member, Members};
use muxbridge_pdata::AnyValue;
use muxbridge_pdata::Writer;
use muxbridge_pdata::view::{Span, SpanKind, text};
use schemars::JsonSchema;
use serde::Deserialize;

/// The name of the instrumentation scope that ModelMuxer's spans have.
pub const SCOPE: &[u8] = b"modelmuxer";

/// What a span of ModelMuxer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `http.request`: the request of a client.
    Root,
    /// `policy.enforce`: the check of the prompt.
    Policy,
    /// `router.decide`: the choice of the model.
    Router,
    /// `provider.invoke`: one call of a model, with all its attempts.
    Invoke,
    /// `provider.invoke_stream`: one streamed call of a model.
    InvokeStream,
    /// `<provider>.request`: one attempt of a call.
    Attempt,
    /// Any other name.
    Other,
}

impl Role {
    /// The role of a span in the scope [`SCOPE`] with this name.
    pub fn of(name: &[u8]) -> Role {
        match name {
            b"http.request" => Role::Root,
            b"policy.enforce" => Role::Policy,
            b"router.decide" => Role::Router,
            b"provider.invoke" => Role::Invoke,
            b"provider.invoke_stream" => Role::InvokeStream,
            _ => match name.strip_suffix(b".request") {
                Some(provider) if !provider.is_empty() && !provider.contains(&b'.') => Role::Attempt,
                _ => Role::Other,
            },
        }
    }

    /// Whether it is a call of a model.
    pub fn is_call(self) -> bool {
        matches!(self, Role::Invoke | Role::InvokeStream)
    }
}

/// What happens to stack traces in `exception` events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stacktraces {
    /// They are left out: ModelMuxer's are long, and they hold URLs and paths.
    #[default]
    Drop,
    /// They are kept.
    Keep,
}

/// The scheme of ModelMuxer's own HTTP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP, what uvicorn speaks unless it is told otherwise.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// What the operator can choose.
#[derive(Clone, Copy, Debug)]
pub struct SpanOptions {
    /// The version of the GenAI conventions.
    pub profile: Profile,
    /// The value of `url.scheme`.
    pub url_scheme: Scheme,
    /// Whether the request of a stream ends with the stream and not with its headers.
    pub extend_stream_root: bool,
    /// What happens to stack traces.
    pub stacktraces: Stacktraces,
    /// What estimated costs are multiplied by.
    pub price_correction: f64,
    /// Whether `modelmuxer.tenant.id` is added.
    pub tenant_id: bool,
    /// Whether attributes that got a new name are also kept under the old one.
    pub keep_source_attributes: bool,
}

/// Counts what was changed and tells a listener, if there is one.
pub struct Report<'x> {
    /// How often each rule applied.
    pub counts: &'x mut Counts,
    /// Who hears of every change.
    pub explain: Option<&'x mut (dyn Explain + 'x)>,
}

/// What becomes of the spans of one trace, or of those that are known of it.
pub struct Plan<'t, 'a> {
    members: &'t Members<'a>,
    /// Whether `http.request` is below a SERVER span of the same service.
    below_server: bool,
    facts: Facts<'a>,
    options: &'t SpanOptions,
}

impl<'t, 'a> Plan<'t, 'a> {
    /// Looks at all spans of a trace. `below_server` says that the parent of `http.request` is a SERVER span of the
    /// same service that is not among `members`.
    pub fn new(members: &'t Members<'a>, below_server: bool, options: &'t SpanOptions) -> Self {
        Plan { members, below_server, facts: Facts::of(members), options }
    }

    /// Writes the body of the span at `index` in its new form.
    pub fn write(&self, index: usize, w: &mut Writer, report: &mut Report<'_>) {
        let Some(member) = self.members.list().get(index) else { return };
        let mut editor =
            Editor { w, members: self.members, member, options: self.options, report, kept: 0..0 };
        if member.role == Role::Other {
            editor.copy_other();
            return;
        }
        editor.head(&self.head(index, member));
        editor.body();
        editor.add(&table::SPAN_NAME, AnyValue::String(member.span.name));
        match member.role {
            Role::Root => self.add_to_root(index, &mut editor),
            Role::Router => {
                if let Some(error) = errors::span_error(&member.span) {
                    editor.add(&table::ROUTE_ERROR, AnyValue::string(&error.name));
                }
            }
            Role::Invoke | Role::InvokeStream => self.add_to_call(index, &mut editor),
            Role::Attempt => add_to_attempt(&mut editor),
            Role::Policy | Role::Other => {}
        }
    }

    fn head(&self, index: usize, member: &Member<'a>) -> Head<'a> {
        let span = &member.span;
        let string = |key: &str| self.members.text(member, key);
        let name = (span.name, None);
        let mut head = Head { name, kind: SpanKind::Internal, end: None, error: None };
        match member.role {
            Role::Root => {
                head.kind = if self.is_below_server(span) { SpanKind::Internal } else { SpanKind::Server };
                if let Some(method) = string("method") {
                    // The conventions want `HTTP` in the name where the attribute says `_OTHER`.
                    let method = match known_method(method) {
                        "_OTHER" => "HTTP",
                        known => known,
                    };
                    let route = string("route").and_then(known_route);
                    head.name = (method.as_bytes(), route.map(str::as_bytes));
                }
                if let Some(facts) = self.facts.root(index) {
                    head.end = facts.end.filter(|_| self.options.extend_stream_root);
                    head.error = facts.fails.then_some(Rule::RootError);
                }
            }
            Role::Router => {
                head.name = (b"route", string("route"));
            }
            Role::Invoke | Role::InvokeStream => {
                head.kind = SpanKind::Client;
                let operation = operation_name(string("provider").unwrap_or_default());
                head.name = (operation.as_bytes(), string("model"));
                let failed =
                    self.facts.call(index).is_some_and(|c| matches!(c.outcome, CallOutcome::Failed(_)));
                head.error = failed.then_some(Rule::CallStatus);
            }
            Role::Attempt => {
                head.kind = SpanKind::Client;
                head.name = (b"POST", None);
            }
            Role::Policy | Role::Other => {}
        }
        head
    }

    fn is_below_server(&self, span: &Span<'_>) -> bool {
        let parent = span.parent_span_id;
        let held = || {
            self.members.list().iter().any(|m| m.span.span_id == parent && m.span.kind == SpanKind::Server)
        };
        !parent.is_empty() && (self.below_server || held())
    }

    fn add_to_root(&self, index: usize, editor: &mut Editor<'_, '_, 'a>) {
        let scheme = match self.options.url_scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        editor.add(&table::ROOT_SCHEME, AnyValue::string(scheme));
        let Some(facts) = self.facts.root(index) else { return };
        let RootFacts { status, error, error_in_body, outcome, route_kind, attempts, stream, user, .. } =
            facts;
        if let Some((code, source)) = status {
            editor.add(&table::ROOT_STATUS, AnyValue::Int(i64::from(*code)));
            editor.add(&table::ROOT_STATUS_SOURCE, AnyValue::string(source));
        }
        if let Some(error) = error {
            editor.add(&table::ROOT_ERROR, AnyValue::string(error));
        }
        if *error_in_body {
            editor.add(&table::ROOT_ERROR_IN_BODY, AnyValue::Bool(true));
        }
        if let Some(user) = user {
            editor.add(&table::ROOT_USER, AnyValue::String(user));
            if self.options.tenant_id {
                editor.add(&table::ROOT_TENANT, AnyValue::String(user));
            }
        }
        if let Some(outcome) = outcome {
            editor.add(&table::ROOT_OUTCOME, AnyValue::string(outcome));
        }
        if let Some(kind) = route_kind {
            editor.add(&table::ROOT_ROUTE_KIND, AnyValue::string(kind));
        }
        if let Some(attempts) = attempts {
            editor.add(&table::ROOT_ATTEMPTS, AnyValue::Int(*attempts));
        }
        if let Some(stream) = stream {
            editor.add(&table::ROOT_STREAM, AnyValue::Bool(*stream));
            if *stream {
                let headers = seconds(editor.member.span.duration());
                editor.add(&table::ROOT_HEADERS, AnyValue::Double(headers));
            }
        }
    }

    fn add_to_call(&self, index: usize, editor: &mut Editor<'_, '_, 'a>) {
        let Some(call) = self.facts.call(index) else { return };
        let Call { attempts, retry_delay, outcome, stream } = call;
        if *attempts > 0 {
            editor.add(&table::CALL_ATTEMPTS, AnyValue::Int(*attempts));
        }
        if *attempts > 1 {
            editor.add(&table::CALL_RETRY_DELAY, AnyValue::Double(seconds(*retry_delay)));
        }
        if *stream {
            editor.add(&table::CALL_STREAM, AnyValue::Bool(true));
        }
        if let CallOutcome::Failed(error) = outcome {
            let streamed = editor.member.role == Role::InvokeStream;
            let target = if streamed { &table::STREAM_ERROR } else { &table::CALL_ERROR };
            editor.add(target, AnyValue::string(&error.name));
        }
    }
}

fn add_to_attempt(editor: &mut Editor<'_, '_, '_>) {
    let span = editor.member.span;
    let name = text(span.name.strip_suffix(b".request").unwrap_or_default());
    editor.add(&table::ATTEMPT_METHOD, AnyValue::string("POST"));
    editor.add(&table::ATTEMPT_PROVIDER, AnyValue::string(name));
    if let Some(provider) = provider_named(name)
        && let Some(address) = provider.address
    {
        editor.add(&table::ATTEMPT_ADDRESS, AnyValue::string(address));
        editor.add(&table::ATTEMPT_PORT, AnyValue::Int(i64::from(provider.port)));
    }
    if let Some(error) = errors::span_error(&span) {
        editor.add(&table::ATTEMPT_ERROR, AnyValue::string(&error.name));
        if let Some(status) = error.upstream_status {
            editor.add(&table::ATTEMPT_STATUS, AnyValue::Int(i64::from(status)));
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

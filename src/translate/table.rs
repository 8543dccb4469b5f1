//! The mapping of span attributes as data: which attribute of ModelMuxer becomes which one of the conventions.

use super::explain::Rule;
use super::profile::In;
use super::short;
use super::spans::Role;
use muxbridge_pdata::Key;

/// How a value becomes the value of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    /// A string as it is.
    Text,
    /// An integer as it is.
    Int,
    /// An integer or double as a double.
    Double,
    /// A boolean as it is.
    Bool,
    /// A text with commas as a list of strings; nothing if it is empty.
    List,
    /// Milliseconds as seconds.
    MillisToSeconds,
    /// Dollars, corrected by the price correction.
    Cost,
    /// The part of `provider:model` before the first colon.
    BeforeColon,
    /// The part of `provider:model` after the first colon.
    AfterColon,
    /// A raw path as its route; nothing if the path is no known route.
    Route,
    /// A method as the conventions list it, else `_OTHER`.
    Method,
    /// A method that the conventions do not list; else nothing.
    OtherMethod,
    /// `deny` if blocked, `modify` if something was redacted, else `allow`.
    Verdict,
    /// `block` if blocked, `modify` if something was redacted, else `allow`.
    Action,
    /// Whether every kind of personal data in the list is one that matches ordinary words; nothing if it is empty.
    LowConfidence,
    /// The user id, if the configuration asks for it.
    TenantId,
    /// ModelMuxer's provider as the conventions name it.
    Provider,
    /// The operation of this provider.
    Operation,
    /// The host of this provider; nothing if it has no usual one.
    Address,
    /// The port of this provider; nothing if it has no usual host.
    Port,
    /// `responses` for the models that ModelMuxer calls by that API of OpenAI; else nothing.
    ApiType,
    /// The attempt minus one; nothing for the first attempt.
    Resend,
    /// Left out. Only a map counts as a match for [`Rule::PolicyMap`].
    Drop(Rule),
}

/// One attribute of one span and what becomes of it. Several rows may have the same source.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The spans that it is for.
    pub role: Role,
    /// ModelMuxer's attribute.
    pub source: &'static str,
    /// The attribute of the conventions; empty if the source is left out.
    pub target: &'static str,
    /// How the value changes.
    pub convert: Convert,
    /// The profiles that have the target.
    pub profiles: In,
    /// The unit of the target; empty if it has none.
    pub unit: &'static str,
    /// The target as it is written.
    pub key: Key,
    /// [`bit`] of the target.
    pub bit: u64,
}

/// One bit of 64 for a key. A set of keys is then a number, and nearly every key that is not in the set is told by one
/// `and`, without a comparison.
pub const fn bit(key: &[u8]) -> u64 {
    1 << place(key)
}

/// The number of that bit: a hash of the first and last four bytes and the length, which tell the keys of the table apart.
#[inline]
pub const fn place(key: &[u8]) -> usize {
    let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) else {
        return key.len();
    };
    let ends = (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64;
    ((ends ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
}

const fn row(role: Role, source: &'static str, target: &'static str, convert: Convert) -> Row {
    let (key, bit) = (Key::new(target), bit(target.as_bytes()));
    Row { role, source, target, convert, profiles: In::All, unit: "", key, bit }
}

const fn unit(row: Row, unit: &'static str) -> Row {
    Row { unit, ..row }
}

const fn only(row: Row, profiles: In) -> Row {
    Row { profiles, ..row }
}

use Convert as C;
use Role::{Attempt, Invoke, InvokeStream, Policy, Root, Router};

/// Attributes that are renamed, retyped or left out. What is not listed is kept as it is.
pub const ROWS: &[Row] = &[
    row(Root, "route", "url.path", C::Text),
    row(Root, "route", "http.route", C::Route),
    row(Root, "method", "http.request.method", C::Method),
    row(Root, "method", "http.request.method_original", C::OtherMethod),
    row(Policy, "tenant_id", "user.hash", C::Text),
    row(Policy, "tenant_id", "modelmuxer.tenant.id", C::TenantId),
    row(Policy, "blocked", "modelmuxer.policy.verdict", C::Verdict),
    row(Policy, "blocked", "modelmuxer.policy.action", C::Action),
    row(Policy, "reasons", "modelmuxer.policy.reasons", C::List),
    unit(row(Policy, "num_redactions", "modelmuxer.policy.redactions", C::Int), "{redaction}"),
    row(Policy, "pii_types", "modelmuxer.policy.pii_types", C::List),
    row(Policy, "pii_types", "modelmuxer.policy.pii.low_confidence", C::LowConfidence),
    row(Policy, "attributes", "", C::Drop(Rule::PolicyMap)),
    row(Router, "route", "modelmuxer.route.name", C::Text),
    row(Router, "task_type", "modelmuxer.route.task_type", C::Text),
    row(Router, "route_intent_label", "modelmuxer.route.intent.label", C::Text),
    unit(row(Router, "route_intent_confidence", "modelmuxer.route.intent.confidence", C::Double), "1"),
    unit(row(Router, "code_confidence", "modelmuxer.route.confidence.code", C::Double), "1"),
    unit(row(Router, "complexity_confidence", "modelmuxer.route.confidence.complexity", C::Double), "1"),
    unit(row(Router, "simple_confidence", "modelmuxer.route.confidence.simple", C::Double), "1"),
    row(Router, "route.routing_rule", "modelmuxer.route.rule", C::Text),
    unit(row(Router, "route.tokens_in", "modelmuxer.route.estimate.input_tokens", C::Int), "{token}"),
    unit(row(Router, "route.tokens_out", "modelmuxer.route.estimate.output_tokens", C::Int), "{token}"),
    unit(row(Router, "route.estimate.usd", "modelmuxer.route.estimate.cost", C::Cost), "{USD}"),
    unit(row(Router, "route.estimate.usd", "modelmuxer.route.estimate.cost.raw", C::Double), "{USD}"),
    unit(row(Router, "route.estimate.eta_ms", "modelmuxer.route.estimate.duration", C::MillisToSeconds), "s"),
    row(Router, "route.model_key", "modelmuxer.route.selected.provider", C::BeforeColon),
    row(Router, "route.model_key", "modelmuxer.route.selected.model", C::AfterColon),
    unit(row(Router, "route.budget.limit", "modelmuxer.budget.limit", C::Double), "{USD}"),
    row(Router, "route.direct_providers_only", "modelmuxer.route.direct_providers_only", C::Bool),
    row(Router, "route.user_id_len", "", C::Drop(Rule::RouteUserLength)),
    row(Router, "_route.estimate", "", C::Drop(Rule::RouteEstimateText)),
    row(Invoke, "provider", "gen_ai.operation.name", C::Operation),
    only(row(Invoke, "provider", "gen_ai.provider.name", C::Provider), In::New),
    only(row(Invoke, "provider", "gen_ai.system", C::Provider), In::Old),
    row(Invoke, "provider", "server.address", C::Address),
    row(Invoke, "provider", "server.port", C::Port),
    row(Invoke, "provider", "modelmuxer.provider", C::Text),
    row(Invoke, "model", "gen_ai.request.model", C::Text),
    only(row(Invoke, "model", "openai.api.type", C::ApiType), In::New),
    row(InvokeStream, "provider", "gen_ai.operation.name", C::Operation),
    only(row(InvokeStream, "provider", "gen_ai.provider.name", C::Provider), In::New),
    only(row(InvokeStream, "provider", "gen_ai.system", C::Provider), In::Old),
    row(InvokeStream, "provider", "server.address", C::Address),
    row(InvokeStream, "provider", "server.port", C::Port),
    row(InvokeStream, "provider", "modelmuxer.provider", C::Text),
    row(InvokeStream, "model", "gen_ai.request.model", C::Text),
    row(Attempt, "attempt", "modelmuxer.attempt", C::Int),
    unit(row(Attempt, "attempt", "http.request.resend_count", C::Resend), "{request}"),
];

/// An attribute that is added: it follows from the name of the span, from other spans of the trace or from the options.
#[derive(Clone, Copy, Debug)]
pub struct Added {
    /// The spans that it is for.
    pub roles: &'static [Role],
    /// The attribute.
    pub target: &'static str,
    /// The rule that adds it; `None` for facts that stand in the span itself.
    pub rule: Option<Rule>,
    /// The profiles that have it.
    pub profiles: In,
    /// Its unit; empty if it has none.
    pub unit: &'static str,
    /// The target as it is written.
    pub key: Key,
    /// [`bit`] of the target.
    pub bit: u64,
}

const fn added(roles: &'static [Role], target: &'static str, rule: Rule) -> Added {
    let (key, bit) = (Key::new(target), bit(target.as_bytes()));
    Added { roles, target, rule: Some(rule), profiles: In::All, unit: "", key, bit }
}

const KNOWN: &[Role] = &[Root, Policy, Router, Invoke, InvokeStream, Attempt];
const CALLS: &[Role] = &[Invoke, InvokeStream];

/// Declares each added attribute as a constant and lists all of them.
macro_rules! added {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: Added = $value;)*
        /// All attributes that are added.
        pub const ADDED: &[&Added] = &[$(&$name,)*];
    };
}

added! {
    /// The name that ModelMuxer gave.
    SPAN_NAME = Added { rule: None, ..added(KNOWN, "modelmuxer.span.name", Rule::Kind) };
    /// `http` or `https`.
    ROOT_SCHEME = added(&[Root], "url.scheme", Rule::RootScheme);
    /// What the client got, as an integer.
    ROOT_STATUS = added(&[Root], "http.response.status_code", Rule::RootStatus);
    /// How the status is known: `inferred`.
    ROOT_STATUS_SOURCE = added(&[Root], "modelmuxer.http.status_source", Rule::RootStatus);
    /// Why the request failed.
    ROOT_ERROR = added(&[Root], "error.type", Rule::RootError);
    /// The client got 200, and then an error inside the stream.
    ROOT_ERROR_IN_BODY = added(&[Root], "modelmuxer.stream.error_in_body", Rule::RootError);
    /// A hash of the API key.
    ROOT_USER = added(&[Root], "user.hash", Rule::RootUser);
    /// The same, under ModelMuxer's own name.
    ROOT_TENANT = added(&[Root], "modelmuxer.tenant.id", Rule::RootUser);
    /// `success`, `budget_exceeded`, `no_providers_available`, `policy_blocked`, `upstream_error` or `stream_error`.
    ROOT_OUTCOME = added(&[Root], "modelmuxer.route.outcome", Rule::RootOutcome);
    /// `auto` or `explicit`.
    ROOT_ROUTE_KIND = added(&[Root], "modelmuxer.route.kind", Rule::RootRouteKind);
    /// Attempts of the call that answered the request.
    ROOT_ATTEMPTS = Added { unit: "{request}", ..added(&[Root], "modelmuxer.request.attempts", Rule::RootAttempts) };
    /// Whether the response was streamed.
    ROOT_STREAM = added(&[Root], "modelmuxer.stream", Rule::RootStream);
    /// Seconds until the response headers.
    ROOT_HEADERS = Added { unit: "s", ..added(&[Root], "modelmuxer.http.time_to_headers", Rule::RootHeaders) };
    /// Why there was no decision.
    ROUTE_ERROR = added(&[Router], "error.type", Rule::RouteError);
    /// Attempts of the call.
    CALL_ATTEMPTS = Added { unit: "{request}", ..added(&[Invoke], "modelmuxer.attempts", Rule::CallAttempts) };
    /// Seconds between attempts, summed.
    CALL_RETRY_DELAY = Added { unit: "s", ..added(&[Invoke], "modelmuxer.retry.delay", Rule::CallRetryDelay) };
    /// Set only on streamed calls.
    CALL_STREAM = Added { profiles: In::New, ..added(CALLS, "gen_ai.request.stream", Rule::CallStream) };
    /// Why the call failed, from its last attempt.
    CALL_ERROR = added(&[Invoke], "error.type", Rule::CallStatus);
    /// Why the streamed call failed, from its own exception.
    STREAM_ERROR = added(&[InvokeStream], "error.type", Rule::CallError);
    /// All providers are called with POST.
    ATTEMPT_METHOD = added(&[Attempt], "http.request.method", Rule::AttemptTarget);
    /// The host of the provider.
    ATTEMPT_ADDRESS = added(&[Attempt], "server.address", Rule::AttemptTarget);
    /// The port of the provider.
    ATTEMPT_PORT = added(&[Attempt], "server.port", Rule::AttemptTarget);
    /// ModelMuxer's name of the provider.
    ATTEMPT_PROVIDER = added(&[Attempt], "modelmuxer.provider", Rule::AttemptTarget);
    /// Why the attempt failed.
    ATTEMPT_ERROR = added(&[Attempt], "error.type", Rule::AttemptError);
    /// What the provider answered, if the error tells.
    ATTEMPT_STATUS = added(&[Attempt], "http.response.status_code", Rule::AttemptStatus);
}

/// Events of ModelMuxer and what they are called.
pub const EVENTS: [(&str, &str); 3] = [
    ("unpriced_model_skipped", "modelmuxer.route.unpriced_model_skipped"),
    ("budget_exceeded", "modelmuxer.route.budget_exceeded"),
    ("adapter_missing_fallback", "modelmuxer.route.adapter_missing_fallback"),
];

/// The rows for one attribute of one span, of all profiles; they stand together. `place` is the [`place`] of the source.
#[inline]
pub fn rows(role: Role, source: &[u8], place: usize) -> &'static [Row] {
    let index = &INDEX[role as usize];
    let mut at = place % 64;
    loop {
        let Rows { end, count } = index[at];
        let rows = &ROWS[usize::from(end - count)..usize::from(end)];
        match rows {
            [] => return rows,
            [first, ..] if short::same(first.source.as_bytes(), source) => return rows,
            _ => at = (at + 1) % 64,
        }
    }
}

/// A part of [`ROWS`].
#[derive(Clone, Copy)]
struct Rows {
    end: u8,
    count: u8,
}

/// For each role, at the [`place`] of a source or after it, its rows: most attributes of a span are in no row, and this
/// says so without a comparison.
static INDEX: [[Rows; 64]; 7] = {
    let mut index = [[Rows { end: 0, count: 0 }; 64]; 7];
    let mut row = 0;
    while row < ROWS.len() {
        let Row { role, source, .. } = ROWS[row];
        let mut count = 1;
        while row + count < ROWS.len()
            && ROWS[row + count].role as u8 == role as u8
            && same(ROWS[row + count].source, source)
        {
            count += 1;
        }
        row += count;
        let mut at = place(source.as_bytes());
        while index[role as usize][at].count > 0 {
            let other = ROWS[index[role as usize][at].end as usize - 1].source;
            assert!(!same(other, source), "rows of one source stand together");
            at = (at + 1) % 64;
        }
        index[role as usize][at] = Rows { end: row as u8, count: count as u8 };
    }
    index
};

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while a.len() == b.len() && at < a.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;

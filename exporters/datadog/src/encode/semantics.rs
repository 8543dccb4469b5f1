//! What a span is, in Datadog's words: its operation, resource, service and type.
//!
//! The rules and their order are those of the Agent's OTLP receiver ("V2"). An attribute of the span wins over one of
//! its resource.

use super::attributes::Attributes;
use super::keys::Key;
use super::normalize::{normalize_name, normalize_tag_value};
use muxbridge_pdata::view::{SpanKind, text as utf8};
use std::borrow::Cow;

const HTTP_METHOD: [Key; 2] = [Key::HttpRequestMethod, Key::HttpMethod];
const DB_STATEMENT: [Key; 2] = [Key::DbStatement, Key::DbQueryText];
const DESTINATION: [Key; 2] = [Key::MessagingDestination, Key::MessagingDestinationName];

/// What names an operation, and what a resource: most spans have none of them.
const BY_PROTOCOL: [Key; 8] = [
    Key::HttpRequestMethod,
    Key::HttpMethod,
    Key::DbSystem,
    Key::MessagingSystem,
    Key::RpcSystem,
    Key::FaasInvokedProvider,
    Key::FaasTrigger,
    Key::GraphqlOperationType,
];
const BY_RESOURCE: [Key; 7] = [
    Key::ResourceName,
    Key::HttpRequestMethod,
    Key::HttpMethod,
    Key::MessagingOperation,
    Key::RpcMethod,
    Key::GraphqlOperationType,
    Key::DbSystem,
];

/// Databases that speak SQL.
const SQL: &[&str] = &[
    "adabas",
    "cloudscape",
    "cockroachdb",
    "db2",
    "derby",
    "edb",
    "firebird",
    "h2",
    "hanadb",
    "hsqldb",
    "informix",
    "ingres",
    "interbase",
    "intersystems_cache",
    "mariadb",
    "maxdb",
    "mssql",
    "mysql",
    "oracle",
    "other_sql",
    "pervasive",
    "pointbase",
    "postgresql",
    "progress",
    "redshift",
    "sqlite",
    "sybase",
    "teradata",
    "vertica",
];
/// Databases with a type of their own.
const OWN_TYPE: &[&str] = &["cassandra", "redis", "memcached", "mongodb", "elasticsearch", "opensearch"];

/// The name of the operation.
pub(super) fn operation(attributes: &Attributes<'_, '_>, kind: SpanKind) -> Cow<'static, str> {
    match attributes.text(&[Key::OperationName]) {
        Some(name) => Cow::Owned(normalize_name(&normalize_tag_value(utf8(&name)))),
        None => by_protocol(attributes, kind).unwrap_or_else(|| by_kind(attributes, kind)),
    }
}

/// A name of parts that others have chosen. Ours alone are spelled as Datadog wants them.
fn made_of(parts: &[&[u8]]) -> Cow<'static, str> {
    Cow::Owned(normalize_name(utf8(&parts.concat())))
}

fn by_protocol(attributes: &Attributes<'_, '_>, kind: SpanKind) -> Option<Cow<'static, str>> {
    if !attributes.any(&BY_PROTOCOL) {
        return None;
    }
    let client = kind == SpanKind::Client;
    let server = kind == SpanKind::Server;
    let text = |key: Key| attributes.text(&[key]);
    if (client || server) && attributes.text(&HTTP_METHOD).is_some() {
        return Some(Cow::Borrowed(if server { "http.server.request" } else { "http.client.request" }));
    }
    if client && let Some(system) = text(Key::DbSystem) {
        return Some(made_of(&[&system, b".query"]));
    }
    if !matches!(kind, SpanKind::Internal | SpanKind::Unspecified)
        && let (Some(system), Some(operation)) = (text(Key::MessagingSystem), text(Key::MessagingOperation))
    {
        return Some(made_of(&[&system, b".", &operation]));
    }
    if let Some(system) = text(Key::RpcSystem) {
        if client && *system == *b"aws-api" {
            return Some(match text(Key::RpcService) {
                Some(service) => made_of(&[b"aws.", &service, b".request"]),
                None => Cow::Borrowed("aws.client.request"),
            });
        }
        if client || server {
            let side: &[u8] = if client { b".client.request" } else { b".server.request" };
            return Some(made_of(&[&system, side]));
        }
    }
    if client
        && let (Some(provider), Some(name)) = (text(Key::FaasInvokedProvider), text(Key::FaasInvokedName))
    {
        return Some(made_of(&[&provider, b".", &name, b".invoke"]));
    }
    if server && let Some(trigger) = text(Key::FaasTrigger) {
        return Some(made_of(&[&trigger, b".invoke"]));
    }
    text(Key::GraphqlOperationType).map(|_| Cow::Borrowed("graphql.server.request"))
}

fn by_kind(attributes: &Attributes<'_, '_>, kind: SpanKind) -> Cow<'static, str> {
    let request = match kind {
        SpanKind::Server => "server.request",
        SpanKind::Client => "client.request",
        SpanKind::Producer => return Cow::Borrowed("Producer"),
        SpanKind::Consumer => return Cow::Borrowed("Consumer"),
        SpanKind::Internal | SpanKind::Unspecified => return Cow::Borrowed("Internal"),
    };
    match attributes.text(&[Key::NetworkProtocolName]) {
        Some(protocol) => made_of(&[&protocol, b".", request.as_bytes()]),
        None => Cow::Borrowed(request),
    }
}

/// What the operation was done to: a route, a destination, a method, a statement; else the name of the span.
pub(super) fn resource<'a>(
    attributes: &Attributes<'_, 'a>,
    kind: SpanKind,
    span_name: &'a [u8],
) -> Cow<'a, [u8]> {
    let text = |key: Key| attributes.text(&[key]);
    if !attributes.any(&BY_RESOURCE) {
        return Cow::Borrowed(span_name);
    }
    if let Some(name) = text(Key::ResourceName) {
        return name;
    }
    if let Some(method) = attributes.text(&HTTP_METHOD) {
        let method = if *method == *b"_OTHER" { Cow::Borrowed(&b"HTTP"[..]) } else { method };
        let route = if kind == SpanKind::Server { text(Key::HttpRoute) } else { None };
        return both(method, route);
    }
    if let Some(operation) = text(Key::MessagingOperation) {
        return both(operation, attributes.text(&DESTINATION));
    }
    if let Some(method) = text(Key::RpcMethod) {
        return both(method, text(Key::RpcService));
    }
    if let Some(kind) = text(Key::GraphqlOperationType) {
        return both(kind, text(Key::GraphqlOperationName));
    }
    if text(Key::DbSystem).is_some()
        && let Some(statement) = attributes.text(&DB_STATEMENT)
    {
        return statement;
    }
    Cow::Borrowed(span_name)
}

fn both<'a>(first: Cow<'a, [u8]>, second: Option<Cow<'a, [u8]>>) -> Cow<'a, [u8]> {
    match second {
        Some(second) => Cow::Owned([&first, &b" "[..], &second].concat()),
        None => first,
    }
}

/// The type of a span: `web`, `http`, a kind of database or `custom`.
pub(super) fn span_type<'a>(attributes: &Attributes<'_, 'a>, kind: SpanKind) -> Cow<'a, [u8]> {
    if let Some(kind) = attributes.text(&[Key::SpanType]) {
        return kind;
    }
    let kind = match kind {
        SpanKind::Server => "web",
        SpanKind::Client => match attributes.text(&[Key::DbSystem]) {
            None => "http",
            Some(system) if SQL.contains(&utf8(&system)) => "sql",
            Some(system) => OWN_TYPE.iter().find(|name| name.as_bytes() == &*system).copied().unwrap_or("db"),
        },
        _ => "custom",
    };
    Cow::Borrowed(kind.as_bytes())
}

/// The reason phrase of an HTTP status, empty if it has none.
pub(super) fn reason(code: i64) -> &'static str {
    u16::try_from(code)
        .ok()
        .and_then(|code| http::StatusCode::from_u16(code).ok())
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

//! What a span is, in Datadog's words: its operation, resource, service and type.
//!
//! The rules and their order are those of the Agent's OTLP receiver ("V2"). An attribute of the span wins over one of
//! its resource.

use super::attributes::Attributes;
use super::keys::Key;
use super::normalize::{normalize_name, normalize_tag_value};
use muxbridge_pdata::view::SpanKind;
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
    let name = match attributes.text(&[Key::OperationName]) {
        Some(name) => Cow::Owned(normalize_tag_value(&name)),
        None => by_protocol(attributes, kind).unwrap_or_else(|| by_kind(attributes, kind)),
    };
    match name {
        // Ours are spelled as Datadog wants them.
        Cow::Borrowed(ours) => Cow::Borrowed(ours),
        Cow::Owned(name) => Cow::Owned(normalize_name(&name)),
    }
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
        return Some(Cow::Owned(format!("{system}.query")));
    }
    if !matches!(kind, SpanKind::Internal | SpanKind::Unspecified)
        && let (Some(system), Some(operation)) = (text(Key::MessagingSystem), text(Key::MessagingOperation))
    {
        return Some(Cow::Owned(format!("{system}.{operation}")));
    }
    if let Some(system) = text(Key::RpcSystem) {
        if client && system == "aws-api" {
            return Some(match text(Key::RpcService) {
                Some(service) => Cow::Owned(format!("aws.{service}.request")),
                None => Cow::Borrowed("aws.client.request"),
            });
        }
        if client || server {
            return Some(Cow::Owned(format!(
                "{system}.{}.request",
                if client { "client" } else { "server" }
            )));
        }
    }
    if client
        && let (Some(provider), Some(name)) = (text(Key::FaasInvokedProvider), text(Key::FaasInvokedName))
    {
        return Some(Cow::Owned(format!("{provider}.{name}.invoke")));
    }
    if server && let Some(trigger) = text(Key::FaasTrigger) {
        return Some(Cow::Owned(format!("{trigger}.invoke")));
    }
    text(Key::GraphqlOperationType).map(|_| Cow::Borrowed("graphql.server.request"))
}

fn by_kind(attributes: &Attributes<'_, '_>, kind: SpanKind) -> Cow<'static, str> {
    let (side, request) = match kind {
        SpanKind::Server => ("server", "server.request"),
        SpanKind::Client => ("client", "client.request"),
        SpanKind::Producer => return Cow::Borrowed("Producer"),
        SpanKind::Consumer => return Cow::Borrowed("Consumer"),
        SpanKind::Internal | SpanKind::Unspecified => return Cow::Borrowed("Internal"),
    };
    match attributes.text(&[Key::NetworkProtocolName]) {
        Some(protocol) => Cow::Owned(format!("{protocol}.{side}.request")),
        None => Cow::Borrowed(request),
    }
}

/// What the operation was done to: a route, a destination, a method, a statement; else the name of the span.
pub(super) fn resource<'a>(
    attributes: &Attributes<'_, 'a>,
    kind: SpanKind,
    span_name: &'a str,
) -> Cow<'a, str> {
    let text = |key: Key| attributes.text(&[key]);
    if !attributes.any(&BY_RESOURCE) {
        return Cow::Borrowed(span_name);
    }
    if let Some(name) = text(Key::ResourceName) {
        return name;
    }
    if let Some(method) = attributes.text(&HTTP_METHOD) {
        let method = if method == "_OTHER" { Cow::Borrowed("HTTP") } else { method };
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

fn both<'a>(first: Cow<'a, str>, second: Option<Cow<'a, str>>) -> Cow<'a, str> {
    match second {
        Some(second) => Cow::Owned([&first, " ", &second].concat()),
        None => first,
    }
}

/// The type of a span: `web`, `http`, a kind of database or `custom`.
pub(super) fn span_type<'a>(attributes: &Attributes<'_, 'a>, kind: SpanKind) -> Cow<'a, str> {
    if let Some(kind) = attributes.text(&[Key::SpanType]) {
        return kind;
    }
    Cow::Borrowed(match kind {
        SpanKind::Server => "web",
        SpanKind::Client => match attributes.text(&[Key::DbSystem]) {
            None => "http",
            Some(system) if SQL.contains(&system.as_ref()) => "sql",
            Some(system) => OWN_TYPE.iter().find(|name| **name == system).copied().unwrap_or("db"),
        },
        _ => "custom",
    })
}

/// The reason phrase of an HTTP status, empty if it has none.
pub(super) fn reason(code: i64) -> &'static str {
    u16::try_from(code)
        .ok()
        .and_then(|code| http::StatusCode::from_u16(code).ok())
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}

//! What a span is, in Datadog's words: its operation, resource, service and type.
//!
//! The rules and their order are those of the Agent's OTLP receiver ("V2"). An attribute of the span wins over one of
//! its resource.

use super::normalize::{normalize_name, normalize_tag_value};
use muxbridge_exporter_statsd::encode::value::as_text;
use muxbridge_pdata::view::{AnyValue, KeyValue, SpanKind};
use std::borrow::Cow;

pub(super) const HTTP_METHOD: [&str; 2] = ["http.request.method", "http.method"];
const HTTP_STATUS: [&str; 2] = ["http.status_code", "http.response.status_code"];
const DB_STATEMENT: [&str; 2] = ["db.statement", "db.query.text"];
const DESTINATION: [&str; 2] = ["messaging.destination", "messaging.destination.name"];

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

/// The attributes of a span and of its resource.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'s, 'a> {
    pub(super) span: &'s [KeyValue<'a>],
    pub(super) resource: &'s [KeyValue<'a>],
}

impl<'a> Attributes<'_, 'a> {
    pub(super) fn get(&self, key: &str) -> Option<AnyValue<'a>> {
        let find = |list: &[KeyValue<'a>]| list.iter().find(|kv| kv.key == key.as_bytes()).map(|kv| kv.value);
        find(self.span).or_else(|| find(self.resource))
    }

    /// The first of these attributes that is not empty, as text.
    pub(super) fn text(&self, keys: &[&str]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|key| Some(as_text(&self.get(key)?)).filter(|text| !text.is_empty()))
    }

    /// The HTTP status, whether it is a number or text.
    pub(super) fn http_status(&self) -> Option<i64> {
        HTTP_STATUS.iter().find_map(|key| match self.get(key)? {
            AnyValue::Int(code) => Some(code),
            AnyValue::String(_) => self.text(&[key])?.parse().ok(),
            _ => None,
        })
    }
}

/// The name of the operation.
pub(super) fn operation(attributes: &Attributes<'_, '_>, kind: SpanKind) -> String {
    let name = match attributes.text(&["operation.name"]) {
        Some(name) => normalize_tag_value(&name),
        None => by_protocol(attributes, kind).unwrap_or_else(|| by_kind(attributes, kind)),
    };
    normalize_name(&name)
}

fn by_protocol(attributes: &Attributes<'_, '_>, kind: SpanKind) -> Option<String> {
    let client = kind == SpanKind::Client;
    let server = kind == SpanKind::Server;
    let text = |key: &str| attributes.text(&[key]);
    if (client || server) && attributes.text(&HTTP_METHOD).is_some() {
        return Some(if server { "http.server.request" } else { "http.client.request" }.to_owned());
    }
    if client && let Some(system) = text("db.system") {
        return Some(format!("{system}.query"));
    }
    if !matches!(kind, SpanKind::Internal | SpanKind::Unspecified)
        && let (Some(system), Some(operation)) = (text("messaging.system"), text("messaging.operation"))
    {
        return Some(format!("{system}.{operation}"));
    }
    if let Some(system) = text("rpc.system") {
        if client && system == "aws-api" {
            return Some(match text("rpc.service") {
                Some(service) => format!("aws.{service}.request"),
                None => "aws.client.request".to_owned(),
            });
        }
        if client || server {
            return Some(format!("{system}.{}.request", if client { "client" } else { "server" }));
        }
    }
    if client && let (Some(provider), Some(name)) = (text("faas.invoked_provider"), text("faas.invoked_name"))
    {
        return Some(format!("{provider}.{name}.invoke"));
    }
    if server && let Some(trigger) = text("faas.trigger") {
        return Some(format!("{trigger}.invoke"));
    }
    text("graphql.operation.type").map(|_| "graphql.server.request".to_owned())
}

fn by_kind(attributes: &Attributes<'_, '_>, kind: SpanKind) -> String {
    let side = match kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => return "Producer".to_owned(),
        SpanKind::Consumer => return "Consumer".to_owned(),
        SpanKind::Internal | SpanKind::Unspecified => return "Internal".to_owned(),
    };
    match attributes.text(&["network.protocol.name"]) {
        Some(protocol) => format!("{protocol}.{side}.request"),
        None => format!("{side}.request"),
    }
}

/// What the operation was done to: a route, a destination, a method, a statement; else the name of the span.
pub(super) fn resource<'a>(
    attributes: &Attributes<'_, 'a>,
    kind: SpanKind,
    span_name: &'a str,
) -> Cow<'a, str> {
    let text = |key: &str| attributes.text(&[key]);
    if let Some(name) = text("resource.name") {
        return name;
    }
    if let Some(method) = attributes.text(&HTTP_METHOD) {
        let method = if method == "_OTHER" { Cow::Borrowed("HTTP") } else { method };
        let route = if kind == SpanKind::Server { text("http.route") } else { None };
        return both(method, route);
    }
    if let Some(operation) = text("messaging.operation") {
        return both(operation, attributes.text(&DESTINATION));
    }
    if let Some(method) = text("rpc.method") {
        return both(method, text("rpc.service"));
    }
    if let Some(kind) = text("graphql.operation.type") {
        return both(kind, text("graphql.operation.name"));
    }
    if text("db.system").is_some()
        && let Some(statement) = attributes.text(&DB_STATEMENT)
    {
        return statement;
    }
    Cow::Borrowed(span_name)
}

fn both<'a>(first: Cow<'a, str>, second: Option<Cow<'a, str>>) -> Cow<'a, str> {
    match second {
        Some(second) => Cow::Owned(format!("{first} {second}")),
        None => first,
    }
}

/// The type of a span: `web`, `http`, a kind of database or `custom`.
pub(super) fn span_type<'a>(attributes: &Attributes<'_, 'a>, kind: SpanKind) -> Cow<'a, str> {
    if let Some(kind) = attributes.text(&["span.type"]) {
        return kind;
    }
    Cow::Borrowed(match kind {
        SpanKind::Server => "web",
        SpanKind::Client => match attributes.text(&["db.system"]) {
            None => "http",
            Some(system) if SQL.contains(&system.as_ref()) => "sql",
            Some(system) => OWN_TYPE.iter().find(|name| **name == system).copied().unwrap_or("db"),
        },
        _ => "custom",
    })
}

/// The name that an attribute has in Datadog.
pub(super) fn rename(key: &str) -> Cow<'_, str> {
    Cow::Borrowed(match key {
        "client.address" => "http.client_ip",
        "http.response.body.size" => "http.response.content_length",
        "http.response.status_code" => "http.status_code",
        "http.request.body.size" => "http.request.content_length",
        "http.request.header.referrer" => "http.referrer",
        "http.request.method" => "http.method",
        "network.protocol.version" => "http.version",
        "server.address" => "http.server_name",
        "url.full" => "http.url",
        "user_agent.original" => "http.useragent",
        "db.namespace" => "db.name",
        other => {
            return match other.strip_prefix("http.request.header.") {
                Some(header) => Cow::Owned(format!("http.request.headers.{header}")),
                None => Cow::Borrowed(other),
            };
        }
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

//! Labels of a series: from attributes, scope, resource and configuration to what stands between the braces.

use super::names;
use base64::Engine;
use muxbridge_pdata::AnyValue;
use muxbridge_pdata::view::{KeyValue, Resource, ScopeItems, text};
use std::collections::BTreeMap;

/// Labels that have a fixed meaning, sorted by name.
pub(super) type Fixed = BTreeMap<String, String>;

/// How deep a value of lists and maps is written out.
const MAX_DEPTH: usize = 16;

/// Adds `name="value"`, with a comma before it if it is not the first.
pub(super) fn push_label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `job` and `instance` of a resource; an empty one is unknown.
pub(super) fn identity(resource: &Resource<'_>) -> (String, String) {
    let get = |key: &str| resource.attribute(key.as_bytes()).map(|v| value_text(&v)).unwrap_or_default();
    let (namespace, service) = (get("service.namespace"), get("service.name"));
    let job =
        if namespace.is_empty() || service.is_empty() { service } else { format!("{namespace}/{service}") };
    (job, get("service.instance.id"))
}

/// Attributes of a resource that `job` and `instance` do not already say.
pub(super) fn describing<'a>(resource: &Resource<'a>) -> impl Iterator<Item = KeyValue<'a>> {
    let identifying =
        |key: &[u8]| [&b"service.name"[..], b"service.namespace", b"service.instance.id"].contains(&key);
    resource.attributes().filter(move |kv| !identifying(kv.key))
}

/// Adds the labels that name a scope.
pub(super) fn scope(labels: &mut Fixed, items: &ScopeItems<'_>) {
    let scope = items.scope;
    for (name, value) in [
        ("otel_scope_name", scope.name),
        ("otel_scope_version", scope.version),
        ("otel_scope_schema_url", items.schema_url()),
    ] {
        if !value.is_empty() {
            labels.insert(name.to_owned(), text(value).to_owned());
        }
    }
    let attributes = scope.attributes().map(|kv| (text(kv.key), value_text(&kv.value)));
    for (name, value) in merged(attributes) {
        labels.entry(format!("otel_scope_{name}")).or_insert(value);
    }
}

/// What stands between the braces: `fixed`, and attributes by the names that they can have. An attribute that would
/// take the name of a fixed label, or of `own` (`le`, `quantile`), is called `exported_..`, as Prometheus does.
pub(super) fn series<'a>(fixed: &Fixed, own: &str, attributes: impl Iterator<Item = KeyValue<'a>>) -> String {
    let taken = |name: &str| fixed.contains_key(name) || (!own.is_empty() && name == own);
    let attributes = attributes.map(|kv| (text(kv.key), value_text(&kv.value)));
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (mut name, value) in merged(attributes) {
        while taken(&name) || all.contains_key(&name) {
            name.insert_str(0, "exported_");
        }
        all.insert(name, value);
    }
    all.extend(fixed.iter().map(|(k, v)| (k.clone(), v.clone())));
    let mut out = String::new();
    // A label without a value is the same as none.
    all.iter()
        .filter(|(_, value)| !value.is_empty())
        .for_each(|(name, value)| push_label(&mut out, name, value));
    out
}

/// Attributes with legal names. Where two have the same one their values are joined with `;`, in the order of the
/// names that they had.
fn merged<'a>(attributes: impl Iterator<Item = (&'a str, String)>) -> BTreeMap<String, String> {
    let mut list: Vec<(String, &str, String)> =
        attributes.map(|(key, value)| (names::label(key), key, value)).collect();
    list.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    // A key may be there only once; of a source that breaks this rule the first value counts.
    list.dedup_by(|later, first| later.1 == first.1);
    let mut merged: BTreeMap<String, String> = BTreeMap::new();
    for (name, _, value) in list {
        merged
            .entry(name)
            .and_modify(|all| {
                all.push(';');
                all.push_str(&value);
            })
            .or_insert(value);
    }
    merged
}

/// A value as text: strings as they are, lists and maps as JSON, bytes as base64.
pub(super) fn value_text(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::String(s) => text(s).to_owned(),
        AnyValue::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
        AnyValue::Double(d) => {
            let mut out = String::new();
            super::number::push_float(&mut out, *d);
            out
        }
        AnyValue::Empty => String::new(),
        other => {
            let mut out = String::new();
            push_json(&mut out, other, 0);
            out
        }
    }
}

fn push_json(out: &mut String, value: &AnyValue<'_>, depth: usize) {
    match value {
        _ if depth > MAX_DEPTH => out.push_str("null"),
        AnyValue::Empty => out.push_str("null"),
        AnyValue::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        AnyValue::Int(i) => out.push_str(&i.to_string()),
        AnyValue::Double(d) if d.is_finite() => super::number::push_float(out, *d),
        AnyValue::Double(_) | AnyValue::String(_) | AnyValue::Bytes(_) => {
            push_json_text(out, &value_text(value))
        }
        AnyValue::Array(array) => {
            out.push('[');
            for (i, value) in array.values().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json(out, &value, depth + 1);
            }
            out.push(']');
        }
        AnyValue::KvList(list) => {
            out.push('{');
            for (i, entry) in list.values().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_json_text(out, text(entry.key));
                out.push(':');
                push_json(out, &entry.value, depth + 1);
            }
            out.push('}');
        }
    }
}

fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

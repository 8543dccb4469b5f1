//! The rules of the two JSON formats of the Trace API.

use super::{Found, length};
use serde_json::Value;
use std::collections::BTreeSet;

fn hex_id(value: Option<&Value>, lengths: &[usize]) -> bool {
    value.and_then(Value::as_str).is_some_and(|id| {
        lengths.contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && id.bytes().any(|b| b != b'0')
    })
}

/// The scalars under `attributes` of a Trace API object.
fn span_attributes(attributes: Option<&Value>, place: &str, found: &mut Found) -> usize {
    let guid = attributes.is_some_and(|a| a.get("guid").is_some());
    found.check(!guid, place, "guid is dropped by the Trace API");
    json_attributes(attributes, place, found)
}

/// The scalars under `attributes` of an object of any of the JSON APIs.
pub(super) fn json_attributes(attributes: Option<&Value>, place: &str, found: &mut Found) -> usize {
    let Some(map) = attributes.and_then(Value::as_object) else {
        found.add(place, "no attributes");
        return 0;
    };
    for (key, value) in map {
        let fits = match value {
            Value::String(s) => length(s) <= 4096,
            Value::Number(_) | Value::Bool(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        let place = format!("{place}.{key}");
        found.check(fits && (1..=255).contains(&length(key)), &place, "key or value");
        let ignored = key == "entityGuid" || key.starts_with("entity.");
        found.check(!ignored, &place, "reserved key");
    }
    map.len()
}

pub(super) fn newrelic(body: &[u8], found: &mut Found) {
    let Ok(Value::Array(blocks)) = serde_json::from_slice(body) else {
        return found.add("body", "not a JSON array");
    };
    for block in &blocks {
        let common = span_attributes(block.pointer("/common/attributes"), "common", found);
        let spans = block.get("spans").and_then(Value::as_array).cloned().unwrap_or_default();
        found.check(!spans.is_empty(), "block", "no spans");
        for span in &spans {
            let keys: BTreeSet<&str> =
                span.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            let right = keys == BTreeSet::from(["id", "trace.id", "timestamp", "attributes"]);
            found.check(right, "span", "fields");
            found.check(hex_id(span.get("trace.id"), &[32]) && hex_id(span.get("id"), &[16]), "span", "ids");
            found.check(span.get("timestamp").is_some_and(Value::is_u64), "span", "timestamp");
            let own = span_attributes(span.get("attributes"), "span", found);
            found.check(own + common <= 254, "span", "over 254 attributes");
            let attribute = |key: &str| span.get("attributes").and_then(|a| a.get(key));
            found.check(attribute("name").is_some_and(Value::is_string), "span", "no name");
            found.check(attribute("duration.ms").is_some_and(Value::is_f64), "span", "no duration.ms");
            let parent = attribute("parent.id");
            found.check(parent.is_none() || hex_id(parent, &[16]), "span", "parent.id");
        }
    }
}

pub(super) fn zipkin(body: &[u8], found: &mut Found) {
    const FIELDS: [&str; 10] = [
        "traceId",
        "id",
        "parentId",
        "kind",
        "name",
        "timestamp",
        "duration",
        "localEndpoint",
        "remoteEndpoint",
        "tags",
    ];
    let Ok(Value::Array(spans)) = serde_json::from_slice(body) else {
        return found.add("body", "not a JSON array");
    };
    for span in &spans {
        let known = span.as_object().is_some_and(|s| s.keys().all(|k| FIELDS.contains(&k.as_str())));
        found.check(known, "span", "unknown field");
        found.check(hex_id(span.get("traceId"), &[16, 32]) && hex_id(span.get("id"), &[16]), "span", "ids");
        let parent = span.get("parentId");
        found.check(parent.is_none() || hex_id(parent, &[16]), "span", "parentId");
        let kind = span.get("kind").map(|k| k.as_str().unwrap_or_default());
        let kinds = [None, Some("CLIENT"), Some("SERVER"), Some("PRODUCER"), Some("CONSUMER")];
        found.check(kinds.contains(&kind), "span", "kind");
        let name = span.get("name").and_then(Value::as_str);
        found.check(name.is_some_and(|n| n == n.to_lowercase()), "span", "name");
        found.check(span.get("timestamp").is_some_and(Value::is_u64), "span", "timestamp");
        let duration = span.get("duration").and_then(Value::as_u64);
        found.check(duration.is_some_and(|d| d >= 1), "span", "duration");
        for endpoint in ["localEndpoint", "remoteEndpoint"].into_iter().filter_map(|e| span.get(e)) {
            found.check(endpoint.get("serviceName").is_some_and(Value::is_string), "endpoint", "serviceName");
            let port = endpoint.get("port");
            let in_range = |p: &Value| p.as_u64().is_some_and(|p| (1..=65_535).contains(&p));
            found.check(port.is_none_or(in_range), "endpoint", "port");
        }
        let tags = span_attributes(span.get("tags"), "tags", found);
        found.check(tags <= 254, "span", "over 254 tags");
        let strings = span.get("tags").and_then(Value::as_object);
        found.check(strings.is_some_and(|t| t.values().all(Value::is_string)), "tags", "not all strings");
    }
}

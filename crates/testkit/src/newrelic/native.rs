//! The rules of the Metric, Log and Event APIs.

use super::trace_api::json_attributes;
use super::{Found, METRIC_RESERVED, length};
use serde_json::Value;
use std::collections::BTreeSet;

fn blocks(body: &[u8], list: &str, found: &mut Found) -> Vec<(usize, Value, Vec<Value>)> {
    let Ok(Value::Array(blocks)) = serde_json::from_slice(body) else {
        found.add("body", "not a JSON array");
        return Vec::new();
    };
    let mut out = Vec::new();
    for block in blocks {
        let keys: BTreeSet<&str> = block.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
        found.check(keys == BTreeSet::from(["common", list]), "block", "fields");
        let common = block.pointer("/common/attributes").cloned().unwrap_or_default();
        let n = json_attributes(Some(&common), "common", found);
        let items = block.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        found.check(!items.is_empty(), "block", "nothing in it");
        out.push((n, common, items));
    }
    out
}

pub(super) fn metrics(body: &[u8], found: &mut Found) {
    for (of_common, common, metrics) in blocks(body, "metrics", found) {
        for metric in &metrics {
            let name = metric.get("name").and_then(Value::as_str).unwrap_or_default();
            let place = format!("metric {name}");
            found.check((1..255).contains(&length(name)), &place, "length of the name");
            let kind = metric.get("type").and_then(Value::as_str).unwrap_or("gauge");
            let value = metric.get("value").unwrap_or(&Value::Null);
            let right = match kind {
                "gauge" | "count" => value.is_number(),
                "summary" => {
                    let keys: BTreeSet<&str> =
                        value.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
                    let number = |key: &str| value.get(key).is_some_and(Value::is_number);
                    let extreme = |key: &str| number(key) || value.get(key).is_some_and(Value::is_null);
                    keys == BTreeSet::from(["count", "sum", "min", "max"])
                        && number("count")
                        && number("sum")
                        && extreme("min")
                        && extreme("max")
                }
                _ => false,
            };
            found.check(right, &place, &format!("type {kind}, value {value}"));
            let timestamp = metric.get("timestamp").and_then(Value::as_u64);
            found.check(timestamp.is_some_and(|t| t > 0), &place, "timestamp");
            let interval = metric.get("interval.ms").and_then(Value::as_u64);
            let right = if kind == "gauge" { interval.is_none() } else { interval.is_some_and(|ms| ms > 0) };
            found.check(right, &place, "interval.ms");
            let own = json_attributes(metric.get("attributes"), &place, found);
            found.check(own + of_common <= 100, &place, "over 100 attributes in all");
            let attributes = metric.get("attributes").and_then(Value::as_object);
            for key in attributes.into_iter().chain(common.as_object()).flat_map(|map| map.keys()) {
                found.check(key != name && !METRIC_RESERVED.contains(&key.as_str()), &place, "reserved key");
            }
        }
    }
}

pub(super) fn logs(body: &[u8], found: &mut Found) {
    for (_, _, logs) in blocks(body, "logs", found) {
        for log in &logs {
            let fields = ["timestamp", "message", "attributes"];
            let known = log.as_object().is_some_and(|l| l.keys().all(|k| fields.contains(&k.as_str())));
            found.check(known, "log", "unknown field");
            let message = log.get("message").and_then(Value::as_str);
            found.check(message.is_some_and(|m| length(m) <= 32_768), "log", "message");
            let timestamp = log.get("timestamp");
            found.check(timestamp.is_none_or(|t| t.as_u64().is_some_and(|t| t > 0)), "log", "timestamp");
            json_attributes(log.get("attributes"), "log", found);
            let id = |key: &str, length: usize| {
                let id = log.pointer(&format!("/attributes/{key}")).and_then(Value::as_str);
                id.is_none_or(|id| id.len() == length && id.bytes().any(|b| b != b'0'))
            };
            found.check(id("trace.id", 32) && id("span.id", 16), "log", "ids");
        }
    }
}

pub(super) fn events(body: &[u8], found: &mut Found) {
    let Ok(Value::Array(events)) = serde_json::from_slice(body) else {
        return found.add("body", "not a JSON array");
    };
    found.check(!events.is_empty(), "body", "no events");
    for event in &events {
        let of_type = event.get("eventType").and_then(Value::as_str).unwrap_or_default();
        let plain = of_type.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | ' '));
        found.check((1..=255).contains(&of_type.len()) && plain, "event", "eventType");
        let map = event.as_object().cloned().unwrap_or_default();
        found.check(map.len() <= 255, "event", "over 255 attributes");
        for (key, value) in &map {
            let right = match value {
                Value::Number(_) => true,
                Value::String(s) => length(s) <= 4096,
                _ => false,
            };
            found.check(right && (1..=255).contains(&length(key)), &format!("event.{key}"), "key or value");
        }
        found.check(!map.contains_key("accountId"), "event", "accountId");
        found.check(map.get("appId").is_none_or(Value::is_i64), "event", "appId");
        found.check(map.get("timestamp").is_none_or(Value::is_u64), "event", "timestamp");
    }
}

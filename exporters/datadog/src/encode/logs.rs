//! Log records as items of Datadog's log intake, tied to their spans. Pure.
//!
//! The fields are those that the Agent's OTLP receiver makes of a record.

use super::marked::is_marked;
use super::normalize::truncate;
use super::parts::Parts;
use super::time::iso;
use super::{hex, id};
use muxbridge_core::{Batch, Signal};
use muxbridge_exporter_statsd::encode::host::resource_host;
use muxbridge_exporter_statsd::encode::value::{as_text, write_json, write_json_string};
use muxbridge_exporter_statsd::encode::{Options as TagOptions, resource_tags};
use muxbridge_pdata::view::{AnyValue, LogRecord, Resource, text};
use std::collections::HashSet;

/// A longer item is cut by the intake without a word.
const MAX_ITEM: usize = 1_000_000;
/// Deeper maps stay JSON text.
const MAX_DEPTH: usize = 10;
const MESSAGE: [&str; 3] = ["msg", "message", "log"];
const STATUS: [&str; 3] = ["status", "severity", "level"];

/// How to encode.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// What makes tags of a resource.
    pub tags: TagOptions,
    /// The host of records that name none; empty for none.
    pub hostname: String,
    /// What Datadog chooses a log pipeline by (`ddsource`).
    pub source: String,
}

/// What was left out and changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Records whose attributes alone are longer than an item may be.
    pub too_large: u64,
    /// Messages that were cut.
    pub cut: u64,
}

/// The items of a batch of logs, each JSON; none for another signal. `now` is the time of records without one.
pub fn logs(batch: &Batch, options: &LogOptions, now: u64, counts: &mut LogCounts) -> Parts {
    let mut parts = Parts::default();
    if batch.signal() != Signal::Logs {
        return parts;
    }
    for items in batch.resources() {
        let tags = resource_tags(&items.resource, &options.tags).join(",");
        // Events and service checks go their own way.
        for record in items.scopes().flat_map(|s| s.logs()).filter(|r| !is_marked(r)) {
            match item(&record, &items.resource, &tags, options, now, counts) {
                Some(item) => parts.push(item.as_bytes(), 1),
                None => counts.too_large += 1,
            }
        }
    }
    parts
}

/// A JSON object that is being written. The first value of a key stays.
struct Item {
    json: String,
    keys: HashSet<String>,
}

impl Item {
    fn begin(&mut self, key: &str) -> bool {
        if key.is_empty() || !self.keys.insert(key.to_owned()) {
            return false;
        }
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        write_json_string(&mut self.json, key);
        self.json.push(':');
        true
    }

    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() && self.begin(key) {
            write_json_string(&mut self.json, value);
        }
    }

    /// An attribute; a map becomes one field for each of its leaves.
    fn value(&mut self, key: &str, value: &AnyValue<'_>, depth: usize) {
        match value {
            AnyValue::KvList(list) if depth < MAX_DEPTH => {
                for kv in list.values() {
                    self.value(&format!("{key}.{}", text(kv.key)), &kv.value, depth + 1);
                }
            }
            _ => {
                if self.begin(key) {
                    write_json(&mut self.json, value);
                }
            }
        }
    }
}

fn item(
    record: &LogRecord<'_>,
    resource: &Resource<'_>,
    tags: &str,
    options: &LogOptions,
    now: u64,
    counts: &mut LogCounts,
) -> Option<String> {
    let attribute = |keys: &[&str]| {
        let found = |key: &&str| Some(as_text(&record.attribute(key.as_bytes())?)).filter(|t| !t.is_empty());
        keys.iter().find_map(found)
    };
    let general = |key: &str| {
        let value = resource.attribute(key.as_bytes()).or_else(|| record.attribute(key.as_bytes()));
        value.map(|v| as_text(&v)).unwrap_or_default()
    };
    let mut item = Item { json: String::new(), keys: HashSet::from(["message".to_owned()]) };
    item.text("status", &attribute(&STATUS).map_or_else(|| status(record), |s| s.into_owned()));
    let host = resource_host(resource).unwrap_or_else(|| options.hostname.clone());
    let stated = attribute(&["hostname"]).unwrap_or_default();
    item.text("hostname", if host.is_empty() { &stated } else { &host });
    item.text("service", &general("service.name"));
    item.text("ddsource", &options.source);
    let own = attribute(&["ddtags"]).unwrap_or_default();
    let comma = if tags.is_empty() || own.is_empty() { "" } else { "," };
    item.text("ddtags", &format!("{tags}{comma}{own}"));
    let time = [record.time, record.observed_time, now].into_iter().find(|t| *t > 0).unwrap_or_default();
    item.text("@timestamp", &iso(time));
    item.text("otel.timestamp", &time.to_string());
    if id(record.trace_id.get(8..).unwrap_or_default()) != 0 {
        // Datadog ties a log to its trace by the decimal of the low half.
        item.text("dd.trace_id", &id(&record.trace_id[8..]).to_string());
        item.text("otel.trace_id", &hex(record.trace_id));
    }
    if id(record.span_id) != 0 {
        item.text("dd.span_id", &id(record.span_id).to_string());
        item.text("otel.span_id", &hex(record.span_id));
    }
    if record.severity_number > 0 {
        item.text("otel.severity_number", &record.severity_number.to_string());
    }
    item.text("otel.severity_text", text(record.severity_text));
    item.text("otel.event_name", text(record.event_name));
    for kv in record.attributes() {
        let key = text(kv.key);
        if !MESSAGE.contains(&key) && !STATUS.contains(&key) && key != "ddtags" {
            item.value(key, &kv.value, 0);
        }
    }
    for kv in resource.attributes() {
        match text(kv.key) {
            "hostname" => item.value("otel.hostname", &kv.value, 0),
            "service" => item.value("otel.service", &kv.value, 0),
            key => item.value(key, &kv.value, 0),
        }
    }
    let message = attribute(&MESSAGE).unwrap_or_else(|| as_text(&record.body));
    finish(item.json, &message, counts)
}

/// Adds the message, as much of it as there is room for.
fn finish(mut json: String, message: &str, counts: &mut LogCounts) -> Option<String> {
    let room = MAX_ITEM.checked_sub(json.len() + 16).filter(|room| *room > 1000)?;
    let mut escaped = String::new();
    write_json_string(&mut escaped, message);
    let mut keep = message.len();
    while escaped.len() > room {
        // Escapes make some characters longer, so that the share is a first guess.
        keep = (keep * room / escaped.len()).min(keep - 1);
        escaped.clear();
        write_json_string(&mut escaped, truncate(message, keep));
    }
    counts.cut += u64::from(keep < message.len());
    json.push_str(",\"message\":");
    json.push_str(&escaped);
    json.push('}');
    Some(json)
}

/// The status: the text of the severity, else its number.
fn status(record: &LogRecord<'_>) -> String {
    let stated = text(record.severity_text);
    if !stated.is_empty() {
        return stated.to_owned();
    }
    match record.severity_number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "",
    }
    .to_owned()
}

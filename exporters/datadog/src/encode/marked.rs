//! Log records that ask to be an event or a service check of Datadog.
//!
//! The mapping is ours, because OpenTelemetry has neither. A record with the attribute `datadog.event.title` is an event:
//! its text is the body, its alert type follows the severity, and `datadog.event.{aggregation_key, priority, source_type,
//! alert_type}` say the rest. A record with `datadog.service_check.name` is a service check: `datadog.service_check.status`
//! is 0 to 3 or `ok`, `warning`, `critical`, `unknown`, its message is the body.

use super::normalize::truncate;
use super::parts::Parts;
use muxbridge_core::{Batch, Signal};
use muxbridge_exporter_statsd::encode::events::{Event, ServiceCheck};
use muxbridge_exporter_statsd::encode::host::resource_host;
use muxbridge_exporter_statsd::encode::value::{as_text, write_json_string};
use muxbridge_exporter_statsd::encode::{Options as TagOptions, resource_tags};
use muxbridge_pdata::view::LogRecord;

const EVENT_TITLE: &str = "datadog.event.title";
const CHECK_NAME: &str = "datadog.service_check.name";
/// What the intake of events takes of a text.
const MAX_TEXT: usize = 4000;
const MAX_KEY: usize = 100;

/// What a batch of logs holds of both, and how many other records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Events, in the order of their records.
    pub events: Vec<Event>,
    /// Service checks.
    pub checks: Vec<ServiceCheck>,
    /// Records that are neither.
    pub others: u64,
}

/// Finds them.
pub fn marked(batch: &Batch, tags: &TagOptions) -> Marked {
    let mut found = Marked::default();
    if batch.signal() != Signal::Logs {
        return found;
    }
    for items in batch.resources() {
        let common = resource_tags(&items.resource, tags);
        let host = resource_host(&items.resource).unwrap_or_default();
        for record in items.scopes().flat_map(|s| s.logs()) {
            if let Some(event) = event(&record, &host, &common) {
                found.events.push(event);
            } else if let Some(check) = check(&record, &host, &common) {
                found.checks.push(check);
            } else {
                found.others += 1;
            }
        }
    }
    found
}

fn get(record: &LogRecord<'_>, key: &str) -> String {
    record.attribute(key.as_bytes()).map(|v| as_text(&v).into_owned()).unwrap_or_default()
}

fn seconds(record: &LogRecord<'_>) -> u64 {
    let time = if record.time > 0 { record.time } else { record.observed_time };
    time / 1_000_000_000
}

fn event(record: &LogRecord<'_>, host: &str, tags: &[String]) -> Option<Event> {
    let title = get(record, EVENT_TITLE);
    if title.is_empty() {
        return None;
    }
    let stated = get(record, "datadog.event.alert_type");
    let by_severity = match record.severity_number {
        13..=16 => "warning",
        17.. => "error",
        _ => "",
    };
    let alert = ["error", "warning", "success", "info"].into_iter().find(|known| *known == stated);
    Some(Event {
        title,
        text: as_text(&record.body).into_owned(),
        time: seconds(record),
        host: host.to_owned(),
        aggregation_key: truncate(&get(record, "datadog.event.aggregation_key"), MAX_KEY).to_owned(),
        priority: Some(get(record, "datadog.event.priority")).filter(|p| p == "low").unwrap_or_default(),
        source: get(record, "datadog.event.source_type"),
        alert: alert.unwrap_or(by_severity).to_owned(),
        tags: tags.to_vec(),
    })
}

fn check(record: &LogRecord<'_>, host: &str, tags: &[String]) -> Option<ServiceCheck> {
    let name = get(record, CHECK_NAME);
    if name.is_empty() {
        return None;
    }
    let status = match get(record, "datadog.service_check.status").as_str() {
        "0" | "ok" => 0,
        "1" | "warning" => 1,
        "2" | "critical" => 2,
        // Unknown is never ok.
        _ => 3,
    };
    Some(ServiceCheck {
        name,
        status,
        time: seconds(record),
        host: host.to_owned(),
        tags: tags.to_vec(),
        message: as_text(&record.body).into_owned(),
    })
}

/// Whether a record is an event or a service check.
pub fn is_marked(record: &LogRecord<'_>) -> bool {
    let has = |key: &str| record.attribute(key.as_bytes()).is_some_and(|v| !as_text(&v).is_empty());
    has(EVENT_TITLE) || has(CHECK_NAME)
}

/// Events as bodies of the intake `/api/v1/events`, which takes one at a time.
pub fn event_bodies(events: &[Event]) -> Parts {
    let mut parts = Parts::default();
    for event in events {
        let mut out = String::from("{\"title\":");
        write_json_string(&mut out, &event.title);
        out.push_str(",\"text\":");
        write_json_string(&mut out, truncate(&event.text, MAX_TEXT));
        let alert = if event.alert.is_empty() { "info" } else { &event.alert };
        for (key, value) in [
            ("alert_type", alert),
            ("priority", if event.priority.is_empty() { "normal" } else { &event.priority }),
            ("host", &event.host),
            ("aggregation_key", &event.aggregation_key),
            ("source_type_name", &event.source),
        ] {
            if !value.is_empty() {
                out.push_str(&format!(",\"{key}\":"));
                write_json_string(&mut out, value);
            }
        }
        if event.time > 0 {
            out.push_str(&format!(",\"date_happened\":{}", event.time));
        }
        out.push_str(",\"tags\":[");
        write_list(&mut out, &event.tags);
        out.push_str("]}");
        parts.push(out.as_bytes(), 1);
    }
    parts
}

/// Service checks as items of the intake `/api/v1/check_run`, a JSON list.
pub fn check_items(checks: &[ServiceCheck], host: &str) -> Parts {
    let mut parts = Parts::default();
    for check in checks {
        let mut out = String::from("{\"check\":");
        write_json_string(&mut out, &check.name);
        // The intake demands a host; a check without one is said of the bridge.
        let host =
            [check.host.as_str(), host, "muxbridge"].into_iter().find(|h| !h.is_empty()).unwrap_or_default();
        out.push_str(",\"host_name\":");
        write_json_string(&mut out, host);
        out.push_str(&format!(",\"status\":{}", check.status));
        if check.time > 0 {
            out.push_str(&format!(",\"timestamp\":{}", check.time));
        }
        if !check.message.is_empty() {
            out.push_str(",\"message\":");
            write_json_string(&mut out, &check.message);
        }
        out.push_str(",\"tags\":[");
        write_list(&mut out, &check.tags);
        out.push_str("]}");
        parts.push(out.as_bytes(), 1);
    }
    parts
}

fn write_list(out: &mut String, list: &[String]) {
    for (i, text) in list.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_json_string(out, text);
    }
}

//! The dashboard and the monitors ask for nothing that is not sent.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// What stands in quotes after `before`, on every line.
fn quoted(text: &str, before: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|l| l.trim().strip_prefix(before)?.split_once('"'));
    lines.map(|(name, _)| name.to_owned()).filter(|n| !n.is_empty()).collect()
}

fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(query) if key == "query" => found.push(query.to_owned()),
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| queries(v, found)),
        _ => {}
    }
}

#[test]
fn no_query_names_a_metric_that_is_not_sent() {
    let mut known = quoted(&read("src/translate/metrics/table.rs"), "name: \"");
    for line in read("crates/core/src/counters.rs").lines() {
        if let Some((_, name)) = line.split_once("&str = \"") {
            known.insert(name.split('"').next().unwrap().to_owned());
        }
    }
    known.extend(quoted(&read("src/prometheus.rs"), "otlp::gauge(w, \""));
    assert!(known.len() > 40, "the tables were not found: {known:?}");
    let mut all = Vec::new();
    for file in ["dashboard.json", "monitors.json"] {
        let content = serde_json::from_str(&read(&format!("dashboards/datadog/{file}"))).unwrap();
        queries(&content, &mut all);
    }
    assert!(all.len() > 25);
    for query in &all {
        // A metric is what stands between a colon and a brace.
        let metrics: Vec<_> = query.split('{').filter_map(|part| part.rsplit_once(':')).collect();
        let metrics = metrics.into_iter().map(|(_, name)| name).filter(|name| !name.contains('$'));
        let named: Vec<_> = metrics.filter(|name| !name.contains([',', '}', ' ', ')'])).collect();
        assert!(!named.is_empty(), "{query}");
        for name in named {
            assert!(known.contains(name), "{name} is not sent: {query}");
        }
    }
}

//! V21: the dashboard and the alert conditions for New Relic: their form, and that they ask for what is sent.
//!
//! Against New Relic's own types they are checked by `tests/interop/newrelic_dashboards.py`.
#![allow(clippy::unwrap_used, clippy::panic)]

use muxbridge_exporter_newrelic::encode::apm;
use serde_json::Value;
use std::collections::BTreeSet;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");

fn text(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}{path}")).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Every text of a query anywhere below.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value {
            Value::String(query) if key == "query" => found.push(query.clone()),
            value => queries(value, found),
        }),
        Value::Array(list) => list.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

fn all_queries() -> Vec<String> {
    let mut found = Vec::new();
    queries(&json("dashboards/newrelic/dashboard.json"), &mut found);
    queries(&json("dashboards/newrelic/alerts.json"), &mut found);
    assert!(found.len() > 25);
    found
}

/// Names with a dot: metrics and attributes.
fn names(query: &str) -> BTreeSet<String> {
    let mut outside = String::new();
    // Texts in quotes are values.
    query.split('\'').step_by(2).for_each(|part| {
        outside.push_str(part);
        outside.push(' ');
    });
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let words = outside.split(|c| !name(c)).filter(|w| w.contains('.'));
    words.filter(|w| w.contains(|c: char| c.is_ascii_alphabetic())).map(str::to_owned).collect()
}

/// What the translation can send, from its tables.
fn tables() -> Vec<String> {
    ["src/translate/metrics/table.rs", "src/translate/metrics/attributes.rs", "src/translate/table.rs"]
        .iter()
        .map(|path| text(path))
        .collect()
}

#[test]
fn every_metric_and_attribute_of_a_query_is_one_that_is_sent() {
    /// What New Relic itself makes of a span or a metric.
    const COLUMNS: [&str; 5] =
        ["duration.ms", "otel.status_code", "otel.status_description", "service.name", "trace.id"];
    let tables = tables();
    let mut checked = 0;
    for query in all_queries() {
        for name in names(&query) {
            let in_table = tables.iter().any(|table| table.contains(&format!("\"{name}\"")));
            let derived = [apm::SERVER, apm::CLIENT].contains(&name.as_str());
            assert!(in_table || derived || COLUMNS.contains(&name.as_str()), "{name} in {query}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    let known = names("SELECT sum(a.b) WHERE c.d = 'e.f' FACET g");
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["a.b", "c.d"]);
}

#[test]
fn the_dashboard_has_the_form_and_the_limits_of_new_relic() {
    let dashboard = json("dashboards/newrelic/dashboard.json");
    assert_eq!(
        keys(&dashboard),
        BTreeSet::from(["name", "description", "permissions", "pages", "variables"])
    );
    let pages = dashboard["pages"].as_array().unwrap();
    assert!((1..=20).contains(&pages.len()));
    for page in pages {
        let mut taken = BTreeSet::new();
        let widgets = page["widgets"].as_array().unwrap();
        assert!((1..=100).contains(&widgets.len()));
        for widget in widgets {
            let title = widget["title"].as_str().unwrap();
            let kinds =
                ["viz.line", "viz.area", "viz.bar", "viz.billboard", "viz.pie", "viz.table", "viz.markdown"];
            assert!(kinds.contains(&widget["visualization"]["id"].as_str().unwrap()), "{title}");
            let number = |key: &str| widget["layout"][key].as_u64().unwrap();
            let (column, row, width, height) =
                (number("column"), number("row"), number("width"), number("height"));
            assert!(column >= 1 && column + width <= 13 && (1..=32).contains(&height), "{title}");
            for cell in (row..row + height).flat_map(|r| (column..column + width).map(move |c| (r, c))) {
                assert!(taken.insert(cell), "{title} lies on another widget");
            }
            let raw = &widget["rawConfiguration"];
            assert!(raw["text"].is_string() || raw["nrqlQueries"].as_array().unwrap().len() <= 20, "{title}");
        }
    }
}

#[test]
fn the_conditions_have_a_window_a_threshold_and_no_clause_that_alerts_refuse() {
    let alerts = json("dashboards/newrelic/alerts.json");
    let conditions = alerts["conditions"].as_array().unwrap();
    assert!(conditions.len() >= 5);
    for condition in conditions {
        let name = condition["name"].as_str().unwrap();
        // The documentation still shows this field; the schema has no value for it.
        assert!(condition.get("valueFunction").is_none(), "{name}");
        let query = condition["nrql"]["query"].as_str().unwrap();
        for refused in ["TIMESERIES", "SINCE", "UNTIL", "COMPARE WITH", "LIMIT", "{{"] {
            assert!(!query.contains(refused), "{name}: {refused}");
        }
        let signal = &condition["signal"];
        let timer = signal["aggregationMethod"] == "EVENT_TIMER";
        assert_eq!(signal.get("aggregationTimer").is_some(), timer, "{name}");
        assert_eq!(signal.get("aggregationDelay").is_some(), !timer, "{name}");
        for term in condition["terms"].as_array().unwrap() {
            assert!(
                term["threshold"].is_number() && term["thresholdDuration"].as_u64() >= Some(60),
                "{name}"
            );
        }
    }
}

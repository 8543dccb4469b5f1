//! V21: the dashboard and the alert conditions for New Relic: their form and their limits.
//!
//! That they ask for what is sent is tested with the tables of the translation, in `tests/it/newrelic_command.rs`. Against New Relic's own types they are checked by `tests/interop/newrelic_dashboards.py`.
#![allow(clippy::unwrap_used, clippy::panic)]

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

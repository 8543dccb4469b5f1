//! `muxbridge newrelic`: what is printed and posted for an account, and that every query asks for what is sent.

use muxbridge::translate::metrics::table::{self as metrics, Instrument};
use muxbridge::translate::profile::Profile;
use muxbridge::translate::{metrics::MetricOptions, table as spans};
use muxbridge_testkit::{Recorded, Reply, Server};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

const KEY: &str = "NRAK-CANARY0123456789ABCDEFGHI";

fn command(key: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muxbridge"));
    command.arg("newrelic").args(arguments).env_clear().stdin(Stdio::null());
    if let Some(key) = key {
        command.env("NEW_RELIC_USER_KEY", key);
    }
    command
}

fn print(arguments: &[&str]) -> String {
    let output = command(None, arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs it against a server while the server runs.
async fn post(key: &'static str, url: String, arguments: &'static [&'static str]) -> Output {
    let run = move || {
        let mut all = arguments.to_vec();
        all.extend(["--post", "--endpoint", &url]);
        command(Some(key), &all).output().expect("it runs")
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

fn said(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// What NerdGraph answers if all is well.
fn nerdgraph(request: &Recorded) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let query = body["query"].as_str().expect("a query");
    let data = if query.contains(" dashboardCreate(") {
        json!({"dashboardCreate": {"entityResult": {"guid": "Mxyz", "name": body["variables"]["d"]["name"]}, "errors": null}})
    } else if query.contains(" alertsPolicyCreate(") {
        json!({"alertsPolicyCreate": {"id": "77", "name": body["variables"]["p"]["name"]}})
    } else {
        json!({"alertsNrqlConditionStaticCreate": {"id": "5", "name": body["variables"]["c"]["name"]}})
    };
    Reply::json(json!({ "data": data }).to_string())
}

#[test]
fn the_dashboard_is_printed_for_the_account_as_it_is_imported() {
    let printed: Value = serde_json::from_str(&print(&["dashboard", "--account", "1234567"])).expect("JSON");
    let file: Value =
        serde_json::from_str(include_str!("../../dashboards/newrelic/dashboard.json")).expect("JSON");
    fn count(value: &Value, account: u64) -> usize {
        match value {
            Value::Object(map) => {
                map.iter()
                    .map(|(k, v)| {
                        if k == "accountIds" {
                            usize::from(*v == json!([account]))
                        } else {
                            count(v, account)
                        }
                    })
                    .sum()
            }
            Value::Array(list) => list.iter().map(|v| count(v, account)).sum(),
            _ => 0,
        }
    }
    assert_eq!((count(&printed, 1_234_567), count(&printed, 0)), (count(&file, 0), 0));
    assert!(count(&file, 0) > 20);
    assert_eq!(
        printed["pages"].as_array().expect("pages").len(),
        file["pages"].as_array().expect("pages").len()
    );
}

#[test]
fn the_alerts_are_printed_as_the_requests_that_would_be_posted() {
    let lines = |arguments: &[&str]| -> Vec<Value> {
        print(arguments).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let file: Value =
        serde_json::from_str(include_str!("../../dashboards/newrelic/alerts.json")).expect("JSON");
    let conditions = file["conditions"].as_array().expect("conditions");
    let printed = lines(&["alerts", "--account", "1234567"]);
    assert_eq!(printed.len(), conditions.len() + 1);
    assert_eq!(printed[0]["variables"], json!({"a": 1_234_567, "p": file["policy"]}));
    let known = lines(&["alerts", "--account", "1234567", "--policy", "42"]);
    assert_eq!(known.len(), conditions.len());
    for (line, condition) in known.iter().zip(conditions) {
        assert_eq!(line["variables"], json!({"a": 1_234_567, "p": "42", "c": condition}));
    }
    // No account, a license key, no key, and one that no header can carry.
    let code = |key, arguments: &[&str]| command(key, arguments).output().expect("it runs").status.code();
    assert_eq!(code(None, &["alerts"]), Some(64));
    let post = ["alerts", "--account", "1", "--post", "--endpoint", "http://127.0.0.1:1"];
    for key in [None, Some(""), Some("0123456789NRAL"), Some("NRAK-\n")] {
        assert_eq!(code(key, &post), Some(78), "{key:?}");
    }
}

#[tokio::test]
async fn with_a_user_key_the_dashboard_the_policy_and_each_condition_are_created_once() {
    let server = Server::start(nerdgraph).await;
    let output = post(KEY, server.url(), &["alerts", "--account", "1234567"]).await;
    assert!(output.status.success(), "{output:?}");
    let text = said(&output.stdout);
    assert!(text.starts_with("policy 77: ModelMuxer\ncondition 5: ModelMuxer: failed requests\n"), "{text}");
    let requests = server.requests();
    assert_eq!((requests.len(), text.lines().count()), (7, 7));
    for (index, request) in requests.iter().enumerate() {
        assert_eq!((request.method.as_str(), request.header("api-key")), ("POST", KEY));
        assert_eq!(request.header("content-type"), "application/json");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(body["variables"]["a"], 1_234_567);
        assert!(index == 0 || body["variables"]["p"] == "77", "{body}");
    }
    let output = post(KEY, server.url(), &["dashboard", "--account", "1234567"]).await;
    assert_eq!(said(&output.stdout), "dashboard Mxyz: ModelMuxer\n", "{output:?}");
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn what_nerdgraph_refuses_is_said_tried_once_and_without_the_key() {
    let echo = |r: &Recorded| r.header("api-key").to_owned();
    let script = |status: u16, body: &'static str| {
        move |r: &Recorded| Reply::status(status).body(body.replace("KEY", &echo(r)))
    };
    let entity = r#"{"data":{"alertsPolicyCreate":{"errors":[{"type":"X","description":"no KEY"}]}}}"#;
    for (status, body, expected) in [
        (200, r#"{"errors":[{"message":"bad KEY"}],"data":null}"#, "alertsPolicyCreate at http://127.0.0.1"),
        (200, r#"{"errors":[{"message":"bad KEY"}],"data":null}"#, ": bad ***"),
        (200, entity, "no ***"),
        (200, r#"{"data":{"alertsPolicyCreate":null}}"#, "without a result"),
        (200, "<html>KEY", "<html>***"),
        (500, "{}", "500"),
        (403, "KEY", "check NEW_RELIC_USER_KEY and --region"),
        (Reply::HANGUP, "", "alertsPolicyCreate at"),
    ] {
        let server = Server::start(script(status, body)).await;
        let output = post(KEY, server.url(), &["alerts", "--account", "1"]).await;
        let text = said(&output.stderr);
        assert!(text.contains(expected) && !text.contains(KEY), "{text}");
        assert_eq!((output.status.code(), said(&output.stdout), server.requests().len()), (Some(69), "", 1));
    }
}

#[tokio::test]
async fn after_a_failure_half_way_it_says_what_is_there() {
    let server = Server::start(|r| {
        let refused = said(&r.body).contains("estimated") || said(&r.body).contains("slow");
        if refused { Reply::status(500) } else { nerdgraph(r) }
    })
    .await;
    let output = post(KEY, server.url(), &["alerts", "--account", "1"]).await;
    assert_eq!(said(&output.stdout).lines().count(), 2, "a policy and a condition");
    assert!(said(&output.stderr).contains("1 of 6 conditions are in policy 77"), "{output:?}");
}

/// The queries of the dashboard and the alerts, as they are printed.
fn queries() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match value {
                Value::String(query) if key == "query" && query.starts_with("FROM ") => {
                    found.push(query.clone())
                }
                value => walk(value, found),
            }),
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for what in ["dashboard", "alerts"] {
        let printed = print(&[what, "--account", "1"]);
        serde_json::Deserializer::from_str(&printed)
            .into_iter()
            .for_each(|v| walk(&v.expect("JSON"), &mut found));
    }
    assert!(found.len() > 25, "{found:?}");
    found
}

/// Words outside of quotes that can be a name, with what stands before a parenthesis in front of them.
fn words(query: &str) -> Vec<(String, String)> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let outside: Vec<&str> = query.split('\'').step_by(2).collect();
    let outside = outside.join(" ");
    let (mut found, mut function) = (Vec::new(), String::new());
    for part in outside.split_inclusive(|c| !name(c)) {
        let word = part.trim_end_matches(|c| !name(c));
        if word.contains('.') && word.contains(|c: char| c.is_ascii_alphabetic()) {
            found.push((function.clone(), word.to_owned()));
        }
        function = if part.ends_with('(') { word.to_owned() } else { String::new() };
    }
    found
}

/// The attributes that the points of a translated metric can have.
fn attributes(target: &metrics::Target) -> Vec<&'static str> {
    use metrics::Convert as C;
    let mut names: Vec<&str> = target.constants.iter().map(|(name, _)| *name).collect();
    for convert in target.attributes {
        match convert {
            C::As(_, to) | C::Bool(_, to) | C::Int(_, to) => names.push(to),
            C::Drop(_) => {}
            C::Method => names.push("http.request.method"),
            C::Route => names.push("http.route"),
            C::Status => names.extend(["http.response.status_code", "error.type"]),
            C::Provider => names.push("gen_ai.provider.name"),
            C::ProviderOperation => names.extend(["gen_ai.provider.name", "gen_ai.operation.name"]),
            C::Split(_, provider, model) => names.extend([*provider, *model]),
            C::Outcome => names.extend(["modelmuxer.outcome", "error.type"]),
            C::Violation => names.push("modelmuxer.policy.reason"),
            C::Pii => names.push("modelmuxer.policy.pii_type"),
        }
    }
    names
}

/// What is wrong with a query.
fn problems(query: &str) -> Vec<String> {
    /// What the exporter derives from spans, and their attributes there.
    const DERIVED: [(&str, &[&str]); 2] = [
        ("http.server.request.duration", &["http.route", "http.request.method", "error.type"]),
        ("http.client.request.duration", &["server.address", "http.request.method", "error.type"]),
    ];
    /// What New Relic itself makes of a span.
    const COLUMNS: [&str; 5] =
        ["duration.ms", "otel.status_code", "otel.status_description", "service.name", "trace.id"];
    let (options, profile) = (MetricOptions::default(), Profile::default());
    let made = |name: &str| {
        let all = metrics::ROWS.iter().flat_map(|row| row.targets);
        all.filter(|t| t.is_on(&options, profile)).find(|t| t.name_in(profile) == name)
    };
    let words = words(query);
    if query.starts_with("FROM Span ") {
        let known: BTreeSet<&str> = spans::ROWS
            .iter()
            .map(|row| row.target)
            .chain(spans::ADDED.iter().map(|added| added.target))
            .chain(COLUMNS)
            .collect();
        let wrong = words.iter().filter(|(_, name)| !known.contains(name.as_str()));
        return wrong.map(|(_, name)| format!("{name} is no attribute of a span: {query}")).collect();
    }
    let (mut found, mut allowed, mut metric_seen) = (Vec::new(), BTreeSet::from(["service.name"]), false);
    let derived = |name: &str| DERIVED.iter().find(|(derived, _)| *derived == name);
    for (function, name) in words.iter().filter(|(function, _)| !function.is_empty()) {
        let fits = match (made(name).map(|t| t.instrument), derived(name)) {
            (_, Some(_)) | (Some(Instrument::Histogram), _) => {
                ["count", "percentile", "average"].contains(&function.as_str())
            }
            (Some(Instrument::Counter), _) => function == "sum",
            (Some(_), _) => ["latest", "average", "max", "min"].contains(&function.as_str()),
            (None, None) => false,
        };
        if !fits {
            found.push(format!("{function}({name}) finds nothing: {query}"));
        }
        metric_seen = true;
        allowed.insert(name.as_str());
        allowed.extend(made(name).map(attributes).unwrap_or_default());
        allowed.extend(derived(name).map_or(&[][..], |(_, attributes)| attributes));
    }
    let wrong = words.iter().filter(|(_, name)| !allowed.contains(name.as_str()));
    found.extend(wrong.map(|(_, name)| format!("{name} is no attribute of it: {query}")));
    if query.starts_with("FROM Metric ") && !metric_seen {
        found.push(format!("asks for no metric: {query}"));
    }
    found
}

#[test]
fn every_query_asks_for_metrics_and_attributes_that_are_sent_and_fits_their_kind() {
    let wrong: Vec<String> = queries().iter().flat_map(|query| problems(query)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The check finds what is wrong: a dead metric, one that is off, another kind, another metric's attribute.
    for query in [
        "FROM Metric SELECT sum(modelmuxer.requests)",
        "FROM Metric SELECT average(modelmuxer.router.candidate_cost)",
        "FROM Metric SELECT percentile(modelmuxer.tokens, 95)",
        "FROM Metric SELECT sum(modelmuxer.router.decision.duration)",
        "FROM Metric SELECT sum(modelmuxer.tokens) FACET http.route",
        "FROM Metric SELECT count(*)",
        "FROM Span SELECT count(*) FACET modelmuxer.tokens",
        "FROM Span SELECT count(*) FACET gen_ai.request.modell",
    ] {
        assert_eq!(problems(query).len(), 1, "{query}");
    }
}

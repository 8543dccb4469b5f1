//! `muxbridge newrelic`: prints the dashboard and the alert conditions for an account, or creates them there.
//!
//! What is posted goes to NerdGraph, New Relic's GraphQL API: `{"query": .., "variables": ..}` with the header `API-Key`. It
//! answers 200 to mistakes, too; what is wrong stands in `errors` and in `data.<mutation>.errors`.

use super::{Failure, exit, print};
use bytes::Bytes;
use clap::{Subcommand, ValueEnum};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use muxbridge_core::ExportError;
use muxbridge_core::config::Secret;
use muxbridge_kit::headers::secret_value;
use muxbridge_kit::http::{ClientOptions, HttpClient};
use muxbridge_kit::status::excerpt;
use serde_json::{Value, json};
use std::time::Duration;

const ALERTS: &str = include_str!("../../dashboards/newrelic/alerts.json");
const DASHBOARD: &str = include_str!("../../dashboards/newrelic/dashboard.json");

/// Where the user key is. It is no option: the arguments of a process can be read by everybody on the machine.
const USER_KEY: &str = "NEW_RELIC_USER_KEY";

/// Creating something is not repeated by itself, so one request has time.
const TIMEOUT: Duration = Duration::from_secs(30);

const CREATE_DASHBOARD: &str = "mutation ($a: Int!, $d: DashboardInput!) { \
    dashboardCreate(accountId: $a, dashboard: $d) { entityResult { guid name } errors { type description } } }";
const CREATE_POLICY: &str = "mutation ($a: Int!, $p: AlertsPolicyInput!) { \
    alertsPolicyCreate(accountId: $a, policy: $p) { id name } }";
const CREATE_CONDITION: &str = "mutation ($a: Int!, $p: ID!, $c: AlertsNrqlConditionStaticInput!) { \
    alertsNrqlConditionStaticCreate(accountId: $a, policyId: $p, condition: $c) { id name } }";

/// What stands for the policy's id before there is one.
const NO_POLICY: &str = "the id that alertsPolicyCreate answered";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The dashboard: as `Import dashboard` takes it, or created in the account.
    Dashboard(Arguments),
    /// The alert conditions with a policy: as requests to NerdGraph, one a line, or created in the account.
    Alerts {
        #[command(flatten)]
        arguments: Arguments,
        /// Add the conditions to this policy instead of creating one.
        #[arg(long, value_name = "ID", value_parser = digits)]
        policy: Option<String>,
    },
}

/// What both have in common.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The number of the account.
    #[arg(long, env = "NEW_RELIC_ACCOUNT_ID", value_name = "ID", value_parser = clap::value_parser!(u32).range(1..=0x7fff_ffff))]
    account: u32,
    /// Create it, with the user key (NRAK-...) of the environment variable NEW_RELIC_USER_KEY. Otherwise it is printed.
    #[arg(long)]
    post: bool,
    /// Where the account is.
    #[arg(long, value_enum, default_value_t = Region::Us)]
    region: Region,
    /// Post to this URL instead of NerdGraph of the region.
    #[arg(long, value_name = "URL")]
    endpoint: Option<Uri>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Region {
    Us,
    Eu,
    Jp,
}

impl Region {
    fn nerdgraph(self) -> Uri {
        Uri::from_static(match self {
            Region::Us => "https://api.newrelic.com/graphql",
            Region::Eu => "https://api.eu.newrelic.com/graphql",
            Region::Jp => "https://api.jp.newrelic.com/graphql",
        })
    }
}

fn digits(text: &str) -> Result<String, String> {
    match text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("is not a number".to_owned()),
    }
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Dashboard(arguments) => dashboard(arguments),
        Command::Alerts { arguments, policy } => alerts(arguments, policy.as_deref()),
    }
}

fn dashboard(arguments: &Arguments) -> Result<(), Failure> {
    let dashboard = bundled(DASHBOARD, arguments.account)?;
    if !arguments.post {
        return print(&format!("{dashboard:#}\n"));
    }
    let nerdgraph = NerdGraph::new(arguments)?;
    let created = nerdgraph.mutate(
        CREATE_DASHBOARD,
        json!({ "a": arguments.account, "d": dashboard }),
        "dashboardCreate",
    )?;
    let entity = &created["entityResult"];
    print(&format!("dashboard {}: {}\n", text(&entity["guid"]), text(&entity["name"])))
}

fn alerts(arguments: &Arguments, policy: Option<&str>) -> Result<(), Failure> {
    let account = arguments.account;
    let mut alerts = bundled(ALERTS, account)?;
    let conditions = alerts["conditions"].take();
    let conditions = conditions.as_array().map_or(&[][..], Vec::as_slice);
    let new_policy = json!({ "a": account, "p": alerts["policy"] });
    if !arguments.post {
        let mut lines = String::new();
        if policy.is_none() {
            lines.push_str(&format!("{}\n", body(CREATE_POLICY, &new_policy)));
        }
        for condition in conditions {
            let variables = json!({ "a": account, "p": policy.unwrap_or(NO_POLICY), "c": condition });
            lines.push_str(&format!("{}\n", body(CREATE_CONDITION, &variables)));
        }
        return print(&lines);
    }
    let nerdgraph = NerdGraph::new(arguments)?;
    let policy = match policy {
        Some(policy) => policy.to_owned(),
        None => {
            let created = nerdgraph.mutate(CREATE_POLICY, new_policy, "alertsPolicyCreate")?;
            let id = text(&created["id"]);
            print(&format!("policy {id}: {}\n", text(&created["name"])))?;
            id
        }
    };
    for (done, condition) in conditions.iter().enumerate() {
        let variables = json!({ "a": account, "p": policy, "c": condition });
        let created = nerdgraph.mutate(CREATE_CONDITION, variables, "alertsNrqlConditionStaticCreate");
        let created = created.map_err(|failure| {
            let hint = "; before you run this again, delete what was created or there will be two of each";
            let text = format!(
                "{}\n{done} of {} conditions are in policy {policy}{hint}",
                failure.text,
                conditions.len()
            );
            Failure::new(failure.code, text)
        })?;
        print(&format!("condition {}: {}\n", text(&created["id"]), text(&created["name"])))?;
    }
    Ok(())
}

/// A bundled file, for this account.
fn bundled(file: &str, account: u32) -> Result<Value, Failure> {
    let mut value = serde_json::from_str(file)
        .map_err(|e| Failure::new(exit::DATA, format!("the bundled file is not JSON: {e}")))?;
    set_account(&mut value, account);
    Ok(value)
}

/// In the files account 0 stands for the user's.
fn set_account(value: &mut Value, account: u32) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| {
            if key == "accountIds" {
                *value = json!([account]);
            } else {
                set_account(value, account);
            }
        }),
        Value::Array(list) => list.iter_mut().for_each(|value| set_account(value, account)),
        _ => {}
    }
}

fn body(query: &str, variables: &Value) -> Value {
    json!({ "query": query, "variables": variables })
}

/// A text without its quotes; a number, as ids may be, as it is.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What happened, without what a pipeline would do about it.
fn source(error: &ExportError) -> String {
    match error {
        ExportError::Retryable { source, .. }
        | ExportError::Permanent { source, .. }
        | ExportError::TooLarge { source } => source.to_string(),
    }
}

/// NerdGraph, with a key.
struct NerdGraph {
    uri: Uri,
    key: Secret,
    header: HeaderValue,
    client: HttpClient,
    runtime: tokio::runtime::Runtime,
}

impl NerdGraph {
    fn new(arguments: &Arguments) -> Result<NerdGraph, Failure> {
        let config = |text: &str| Failure::new(exit::CONFIG, format!("{USER_KEY}: {text}"));
        let key = Secret::new(super::variables(USER_KEY).unwrap_or_default());
        if key.expose().is_empty() {
            return Err(config("is not set; it is a user key (NRAK-...) of somebody who may create alerts"));
        }
        if key.expose().ends_with("NRAL") {
            return Err(config(
                "is a license key, which cannot create anything; a user key begins with NRAK-",
            ));
        }
        let header = secret_value(&key).map_err(config)?;
        let uri = arguments.endpoint.clone().unwrap_or_else(|| arguments.region.nerdgraph());
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Failure::new(
                exit::USAGE,
                format!("--endpoint {uri}: is not a URL with http or https"),
            ));
        }
        let unavailable = |e: &dyn std::fmt::Display| Failure::new(exit::UNAVAILABLE, e);
        let options = ClientOptions { timeout: TIMEOUT, ..ClientOptions::default() };
        let client = HttpClient::new(&options).map_err(|e| unavailable(&e))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| unavailable(&e))?;
        Ok(NerdGraph { uri, key, header, client, runtime })
    }

    /// Runs a mutation once; gives back what it answered.
    fn mutate(&self, query: &str, variables: Value, mutation: &str) -> Result<Value, Failure> {
        let failed =
            |text: &str| Failure::new(exit::UNAVAILABLE, format!("{mutation} at {}: {text}", self.uri));
        // Masked before it is cut: a part of the key would no longer be found.
        let shown = |text: &str| excerpt(text.replace(self.key.expose(), "***").as_bytes());
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header("api-key", self.header.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("muxbridge/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::from(body(query, &variables).to_string()))
            .map_err(|e| failed(&e.to_string()))?;
        let answer = self.runtime.block_on(self.client.send(request)).map_err(|e| failed(&source(&e)))?;
        let status = answer.status();
        if matches!(status.as_u16(), 401 | 403) {
            return Err(failed(&format!("answered {status}; check {USER_KEY} and --region")));
        }
        let said: Value =
            serde_json::from_slice(answer.body()).ok().filter(|_| status.is_success()).ok_or_else(|| {
                failed(&format!("answered {status}: {}", shown(&String::from_utf8_lossy(answer.body()))))
            })?;
        let created = &said["data"][mutation];
        let mut problems = Vec::new();
        for error in [&said["errors"], &created["errors"]].into_iter().filter_map(Value::as_array).flatten() {
            let what = ["message", "description"].iter().find_map(|key| error[*key].as_str());
            problems.push(shown(&what.map_or_else(|| error.to_string(), str::to_owned)));
        }
        if !problems.is_empty() {
            return Err(failed(&problems.join("; ")));
        }
        if !created.is_object() {
            return Err(failed(&format!(
                "answered {status} without a result: {}",
                shown(&String::from_utf8_lossy(answer.body()))
            )));
        }
        Ok(created.clone())
    }
}

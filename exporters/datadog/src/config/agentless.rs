//! What the user writes about sending without an Agent.

use super::Config;
use crate::encode::OperationName;
use crate::encode::metrics::Distributions;
use http::Uri;
use muxbridge_core::config::Problems;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where traces go without an Agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceIntake {
    /// Datadog's OTLP intake: public, and the spans stay as they are.
    #[default]
    Otlp,
    /// `/api/v0.2/traces` and `/api/v0.2/stats`, as Agents do. Not a public API.
    AgentPayload,
    /// Only spans of models, to the public span API of LLM Observability; other spans are left out.
    LlmObservability,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyCompression {
    /// gzip, or deflate where an intake takes nothing else.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

/// Which intakes of Datadog are used, and how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentlessConfig {
    /// Where traces go. Default `otlp`.
    pub traces: TraceIntake,
    /// Where histograms go in mode `distributions`. Default `points`.
    pub distributions: Distributions,
    /// How bodies are compressed. Default `gzip`.
    pub compression: BodyCompression,
    /// Asks Datadog at start whether the key is right, and logs the answer. Default true.
    pub validate_key: bool,
    /// Asks the OTLP intake to make the statistics of spans (`trace.*`); it makes none by itself. Default true.
    pub compute_stats: bool,
    /// The header `dd-otlp-source` of the OTLP intake while LLM Observability is on. Default `llmobs`.
    pub otlp_source: String,
    /// Series, distributions, events, checks and the key. Default empty: `https://api.<site>`.
    pub api_url: String,
    /// Logs. Default empty: `https://http-intake.logs.<site>`.
    pub logs_url: String,
    /// Traces over OTLP. Default empty: `https://otlp.<site>`.
    pub otlp_url: String,
    /// Traces as Agents send them. Default empty: `https://trace.agent.<site>`.
    pub traces_url: String,
}

impl Default for AgentlessConfig {
    fn default() -> Self {
        AgentlessConfig {
            traces: TraceIntake::default(),
            distributions: Distributions::default(),
            compression: BodyCompression::default(),
            validate_key: true,
            compute_stats: true,
            otlp_source: "llmobs".to_owned(),
            api_url: String::new(),
            logs_url: String::new(),
            otlp_url: String::new(),
            traces_url: String::new(),
        }
    }
}

/// One of Datadog's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Api,
    Logs,
    Otlp,
    Traces,
}

impl AgentlessConfig {
    fn written(&self, host: Host) -> (&'static str, &str, &'static str) {
        match host {
            Host::Api => ("api_url", &self.api_url, "api"),
            Host::Logs => ("logs_url", &self.logs_url, "http-intake.logs"),
            Host::Otlp => ("otlp_url", &self.otlp_url, "otlp"),
            Host::Traces => ("traces_url", &self.traces_url, "trace.agent"),
        }
    }

    /// The URI of a path on a host.
    ///
    /// # Errors
    /// The option and what is wrong with it.
    pub(crate) fn uri(&self, host: Host, site: &str, path: &str) -> Result<Uri, String> {
        let (key, url, name) = self.written(host);
        let bad = |problem: String| format!("agentless.{key}: {problem}");
        if url.is_empty() {
            return format!("https://{name}.{site}{path}").parse().map_err(|e| bad(format!("{e}")));
        }
        let uri: Uri = url.parse().map_err(|e| bad(format!("{url:?} is not a URL ({e})")))?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !known || uri.host().is_none_or(str::is_empty) || uri.query().is_some() || url.contains('@') {
            return Err(bad(format!("{url:?} is not of the form https://host or https://host/path")));
        }
        format!("{}{path}", url.trim_end_matches('/')).parse().map_err(|e| bad(format!("{url:?}: {e}")))
    }

    pub(crate) fn check(&self, config: &Config, problems: &mut Problems) {
        for host in [Host::Api, Host::Logs, Host::Otlp, Host::Traces] {
            let (key, url, _) = self.written(host);
            if !url.is_empty()
                && let Err(problem) = self.uri(host, &config.site, "/")
            {
                let text = problem.split_once(": ").map_or(problem.as_str(), |(_, text)| text);
                problems.add(key, text);
            }
        }
        let gov = config.site == "ddog-gov.com" || config.site.ends_with(".ddog-gov.com");
        if self.traces == TraceIntake::Otlp {
            if gov && self.otlp_url.is_empty() {
                let text = "government sites have no OTLP intake; use agent_payload, or an Agent";
                problems.add("traces", text);
            }
            if config.operation_name != OperationName::default() {
                let text = "agent_payload would heed operation_name; the OTLP intake names operations itself";
                problems.add("traces", text);
            }
        }
        if self.traces == TraceIntake::LlmObservability {
            if !config.llm_observability.enabled {
                let text = "llm_observability sends nothing unless llm_observability.enabled is true";
                problems.add("traces", text);
            }
            if config.operation_name != OperationName::default() {
                let text = "operation_name does nothing where only spans of models are sent";
                problems.add("traces", text);
            }
        }
        if http::HeaderValue::from_str(&self.otlp_source).is_err() {
            problems.add("otlp_source", "has characters that a header cannot carry");
        }
    }
}

//! An Agent: its endpoints for traces, statistics and LLM Observability, and what it says of itself.

mod info;

use crate::delivery::{Post, TakenSize};
use crate::encode::parts::Body;
use crate::endpoint::{Encoding, Endpoint, Whose};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};
use info::Discovery;
pub(crate) use info::Info;
use muxbridge_core::{BuildContext, BuildError, ExportError};
use muxbridge_kit::http::{ClientOptions, HttpClient, unix_uri};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const TRACES: &str = "/v0.4/traces";
const STATS: &str = "/v0.6/stats";
/// Datadog's libraries send spans of models here, and the Agent adds its key.
const LLMOBS: &str = "/evp_proxy/v2/api/v2/llmobs";
const TRACE_COUNT: HeaderName = HeaderName::from_static("x-datadog-trace-count");
const RATES_VERSION: HeaderName = HeaderName::from_static("datadog-rates-payload-version");
const COMPUTED_STATS: HeaderName = HeaderName::from_static("datadog-client-computed-stats");

const CONTAINER_ID: HeaderName = HeaderName::from_static("datadog-container-id");
const ENTITY_ID: HeaderName = HeaderName::from_static("datadog-entity-id");

/// Headers that are the same in every request to an endpoint for tracers.
const HEADERS: [(HeaderName, &str); 4] = [
    (HeaderName::from_static("datadog-meta-lang"), "rust"),
    (HeaderName::from_static("datadog-meta-tracer-version"), env!("CARGO_PKG_VERSION")),
    // The encoder sets `_top_level`; an Agent that computed it again would overrule it.
    (HeaderName::from_static("datadog-client-computed-top-level"), "yes"),
    // Without it an Agent that is over its limits drops the payload and answers 200.
    (HeaderName::from_static("datadog-send-real-http-status"), "true"),
];

/// The URI of `path` below what the user wrote.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn agent_uri(url: &str, path: &str) -> Result<Uri, String> {
    let example = "for example http://127.0.0.1:8126 or unix:///var/run/datadog/apm.socket";
    if let Some(socket) = url.strip_prefix("unix://") {
        if !socket.starts_with('/') || socket.len() < 2 {
            return Err(format!("{url:?} needs an absolute path, {example}"));
        }
        return unix_uri(socket, path).map_err(|e| e.to_string());
    }
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a URL ({e}), {example}"))?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none() && !url.contains('@');
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) || !plain {
        return Err(format!("{url:?} is not the URL of an Agent without a path, {example}"));
    }
    format!("{}{path}", url.trim_end_matches('/')).parse().map_err(|e| format!("{url:?}: {e}"))
}

/// Who this process is, for the Agent's origin detection. Each may be empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// `ci-<id>` or `in-<inode>`.
    pub(crate) entity: String,
    pub(crate) external_data: String,
}

#[derive(Default)]
struct Rates {
    version: Option<HeaderValue>,
    by_service: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rate_by_service: Option<BTreeMap<String, f64>>,
}

/// Sends payloads of traces, and what else belongs to them.
pub(crate) struct Agent {
    traces: Endpoint,
    pub(crate) stats: Endpoint,
    pub(crate) llmobs: Endpoint,
    discovery: Option<Discovery>,
    rates: Mutex<Rates>,
}

impl Agent {
    pub(crate) fn new(
        url: &str,
        timeout: Duration,
        discovery: bool,
        origin: &Origin,
        cx: &BuildContext,
    ) -> Result<Self, BuildError> {
        let client = HttpClient::new(&ClientOptions { timeout, ..ClientOptions::default() })?;
        let uri = |path| agent_uri(url, path).map_err(BuildError::new);
        let endpoint = |path, signal| -> Result<Endpoint, BuildError> {
            let mut endpoint = Endpoint::new(&client, uri(path)?, Whose::Agent, signal, cx)
                .content("application/msgpack", Encoding::Identity);
            for (name, value) in HEADERS {
                endpoint = endpoint.header(name, HeaderValue::from_static(value));
            }
            for (name, value) in [
                (CONTAINER_ID, origin.entity.strip_prefix("ci-").unwrap_or_default()),
                (ENTITY_ID, origin.entity.as_str()),
                (HeaderName::from_static("datadog-external-env"), origin.external_data.as_str()),
            ] {
                if !value.is_empty() {
                    let value = HeaderValue::from_str(value)
                        .map_err(|e| BuildError::new(format!("header {name}: {value:?}: {e}")))?;
                    endpoint = endpoint.header(name, value);
                }
            }
            Ok(endpoint)
        };
        let subdomain = HeaderName::from_static("x-datadog-evp-subdomain");
        Ok(Agent {
            traces: endpoint(TRACES, "traces")?,
            stats: endpoint(STATS, "stats")?,
            llmobs: endpoint(LLMOBS, "llmobs")?
                .content("application/json", Encoding::Identity)
                .header(subdomain, HeaderValue::from_static("llmobs-intake")),
            discovery: discovery
                .then(|| uri("/info").map(|uri| Discovery::new(&client, uri, cx)))
                .transpose()?,
            rates: Mutex::default(),
        })
    }

    /// What the Agent says of itself; what every Agent can do, if it says nothing.
    pub(crate) async fn info(&self) -> Info {
        match &self.discovery {
            Some(discovery) => discovery.info().await,
            None => Info::default(),
        }
    }

    pub(crate) fn rates(&self) -> BTreeMap<String, f64> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).by_service.clone()
    }

    /// Keeps the rates of an answer. An Agent that knows that we have them sends none: then the old ones hold.
    fn keep_rates(&self, response: &Response<Bytes>) {
        let Ok(Answer { rate_by_service: Some(by_service) }) = serde_json::from_slice(response.body()) else {
            return;
        };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.by_service = by_service;
        rates.version = response.headers().get(RATES_VERSION).cloned();
    }
}

/// Sends payloads of traces.
pub(crate) struct Traces<'a> {
    pub(crate) agent: &'a Agent,
    /// Whether their statistics are sent too: then the Agent must not make its own.
    pub(crate) computed_stats: bool,
    /// The container that all of them come from, if there is one: the Agent tags them for it, and not for the bridge's.
    pub(crate) container: Option<String>,
}

impl Post for Traces<'_> {
    async fn post(&self, body: Body, pieces: usize) -> Result<(), ExportError> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACE_COUNT, HeaderValue::from(pieces));
        if self.computed_stats {
            headers.insert(COMPUTED_STATS, HeaderValue::from_static("true"));
        }
        if let Some(container) = &self.container
            && let (Ok(id), Ok(entity)) =
                (HeaderValue::from_str(container), HeaderValue::from_str(&format!("ci-{container}")))
        {
            headers.insert(CONTAINER_ID, id);
            headers.insert(ENTITY_ID, entity);
        }
        let version = self.agent.rates.lock().unwrap_or_else(PoisonError::into_inner).version.clone();
        if let Some(version) = version {
            headers.insert(RATES_VERSION, version);
        }
        let response = self.agent.traces.send(body, headers).await?;
        self.agent.keep_rates(&response);
        Ok(())
    }

    fn size(&self) -> &TakenSize {
        self.agent.traces.size()
    }
}

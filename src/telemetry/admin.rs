//! The admin port: `/health`, `/ready` and `/metrics`.

use crate::config::AdminSettings;
use crate::pipeline::Health;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Request, StatusCode};
use muxbridge_core::{BuildError, Clock, Counters, Stop};
use muxbridge_exporter_prometheus::Pages;
use muxbridge_exporter_prometheus::encode::{Format, Head, Kind, Page, push_label};
use muxbridge_exporter_prometheus::serve::{self, Answer, text, with_type};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};

const DEFAULT_PORT: u16 = 9090;
const CONNECTIONS: usize = 64;

/// The bound port, and where `/metrics` gets its values.
pub(crate) struct Admin {
    listener: TcpListener,
    state: Arc<State>,
}

struct State {
    counters: Counters,
    clock: Clock,
    /// The metrics of the pipelines, if they are to be shown.
    pages: Option<Pages>,
    started: u64,
    status: Arc<Status>,
    hosts: Vec<String>,
    stopping: Stop,
}

/// What `/ready` shows, and a reload changes.
#[derive(Default)]
pub(crate) struct Status {
    exporters: RwLock<Vec<(String, Arc<Health>)>>,
    /// Why the last reload failed.
    problems: RwLock<Vec<String>>,
}

impl Status {
    /// The destinations now.
    pub(crate) fn set_exporters(&self, exporters: Vec<(String, Arc<Health>)>) {
        *self.exporters.write().unwrap_or_else(PoisonError::into_inner) = exporters;
    }

    /// Why the last reload failed; empty if it did not.
    pub(crate) fn set_problems(&self, problems: Vec<String>) {
        *self.problems.write().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    fn config(&self) -> Value {
        let problems = self.problems.read().unwrap_or_else(PoisonError::into_inner);
        match problems.is_empty() {
            true => json!({ "status": "current" }),
            false => json!({ "status": "reload failed, the one before goes on", "problems": *problems }),
        }
    }
}

/// The address that the configuration or the environment names; `None` if the port is switched off.
pub(crate) fn address(
    settings: &AdminSettings,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<SocketAddr>, BuildError> {
    let set = |name: &str| variables(name).filter(|v| !v.is_empty());
    let enabled = match (settings.enabled, set("ENABLE_METRICS").map(|v| v.to_lowercase())) {
        (Some(enabled), _) => enabled,
        (None, Some(text)) => !["false", "0", "no", "off"].contains(&text.as_str()),
        (None, None) => true,
    };
    if !enabled {
        return Ok(None);
    }
    if let Some(endpoint) = &settings.endpoint {
        return endpoint
            .parse()
            .map(Some)
            .map_err(|e| BuildError::new(format!("service.admin.endpoint: {endpoint}: {e}")));
    }
    let port = match set("METRICS_PORT") {
        None => DEFAULT_PORT,
        Some(text) => text.parse().map_err(|_| {
            BuildError::new(format!("METRICS_PORT: {text:?} is not a port; write 0 to 65535"))
        })?,
    };
    Ok(Some(SocketAddr::from(([127, 0, 0, 1], port))))
}

impl Admin {
    /// Binds the port.
    pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BuildError> {
        serve::bind(address).map_err(|e| {
            let who = if address.port() == DEFAULT_PORT { " Port 9090 is usually Prometheus." } else { "" };
            BuildError::new(format!(
                "cannot listen on {address} for health and metrics: {e}.{who} Set service.admin.endpoint or METRICS_PORT \
                 to another port, or ENABLE_METRICS=false."
            ))
        })
    }

    pub(crate) fn new(
        listener: TcpListener,
        settings: &AdminSettings,
        counters: Counters,
        clock: Clock,
        pages: Option<Pages>,
        status: Arc<Status>,
        stopping: Stop,
    ) -> Self {
        let mut hosts = settings.allowed_hosts.clone();
        hosts.push("localhost".to_owned());
        let started = clock.unix_nanos();
        let state = State { counters, clock, pages, started, status, hosts, stopping };
        Admin { listener, state: Arc::new(state) }
    }

    /// Serves until the task is dropped.
    pub(crate) async fn serve(self) {
        // It answers while everything else stops, so nothing but the end of the process closes it.
        let state = self.state;
        serve::serve(Arc::new(self.listener), CONNECTIONS, Stop::new(), move |request| state.answer(request))
            .await;
    }
}

impl State {
    /// Nothing here is a page for a browser: whatever is in the telemetry, no browser is to run or frame it.
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let mut answer = self.page(request);
        let fixed = [
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
        ];
        for (name, value) in fixed {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    fn page(&self, request: &Request<Incoming>) -> Answer {
        let mut hosts = request.headers().get_all(HOST).iter();
        let fits = match (hosts.next(), hosts.next()) {
            // Only programs leave it out.
            (None, _) => true,
            (Some(host), None) => host.to_str().is_ok_and(|host| {
                let host = without_port(host);
                is_address(host) || self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
            }),
            (Some(_), Some(_)) => false,
        };
        if !fits {
            return text(
                StatusCode::FORBIDDEN,
                "unknown host; add it to service.admin.allowed_hosts\n".to_owned(),
            );
        }
        match request.uri().path() {
            "/health" | "/livez" => json_response(StatusCode::OK, &self.health()),
            "/ready" | "/readyz" => self.ready(),
            "/metrics" => {
                let format = Format::negotiate(&serve::accept(request.headers()));
                serve::page(request.headers(), self.metrics(format), format.content_type())
            }
            "/" => text(StatusCode::OK, "muxbridge: /health /ready /metrics\n".to_owned()),
            _ => text(StatusCode::NOT_FOUND, "there is /health, /ready and /metrics\n".to_owned()),
        }
    }

    /// The metrics of the pipelines, then our own counters.
    fn metrics(&self, format: Format) -> Vec<u8> {
        let mut page = Page::new(format);
        if let Some(pages) = &self.pages {
            pages.write(&mut page);
        }
        own_metrics(&self.counters, &mut page);
        page.finish()
    }

    fn health(&self) -> Value {
        let uptime = self.clock.unix_nanos().saturating_sub(self.started) / 1_000_000_000;
        json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": uptime })
    }

    fn ready(&self) -> Answer {
        let stopping = self.stopping.is_stopped();
        let mut failing = false;
        let mut exporters = Map::new();
        let destinations = self.status.exporters.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, health) in &destinations {
            let state = match health.error() {
                None => json!({ "status": "ok" }),
                Some(error) => {
                    failing = true;
                    json!({ "status": "failing", "error": error })
                }
            };
            exporters.insert(id.clone(), state);
        }
        let status = if stopping {
            "stopping"
        } else if failing {
            "failing"
        } else {
            "ready"
        };
        let code = if stopping || failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        json_response(
            code,
            &json!({ "status": status, "exporters": exporters, "config": self.status.config() }),
        )
    }
}

/// Writes our own counters.
fn own_metrics(counters: &Counters, page: &mut Page) {
    let mut last = "";
    for sample in counters.samples() {
        let stem = sample.name.strip_suffix("_total");
        if sample.name != last {
            last = sample.name;
            let kind = if stem.is_some() { Kind::Counter } else { Kind::Gauge };
            let family = stem.unwrap_or(sample.name);
            page.family(&Head { text: sample.name, family, kind, help: "", unit: "" });
        }
        let mut labels = String::new();
        sample.labels.iter().for_each(|(name, value)| push_label(&mut labels, name, value));
        page.whole(&labels, sample.value);
    }
}

/// Only a name can be made to lead here (DNS rebinding). By address come the probes of Kubernetes.
fn is_address(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || bracketed.is_some_and(|h| h.parse::<Ipv6Addr>().is_ok())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn json_response(status: StatusCode, body: &Value) -> Answer {
    with_type(status, format!("{body}\n"), "application/json")
}

#[cfg(test)]
mod tests;

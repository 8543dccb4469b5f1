//! The admin port: `/health`, `/ready` and `/metrics`.

use crate::config::AdminSettings;
use crate::pipeline::Health;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use muxbridge_core::{BuildError, Clock, Counters, Stop};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

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
    started: u64,
    health: Vec<(String, Arc<Health>)>,
    hosts: Vec<String>,
    stopping: Stop,
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
        let bound = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
        bound.map_err(|e| {
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
        health: Vec<(String, Arc<Health>)>,
        stopping: Stop,
    ) -> Self {
        let mut hosts = settings.allowed_hosts.clone();
        hosts.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()]);
        if let Ok(address) = listener.local_addr() {
            hosts.push(address.ip().to_string());
        }
        let started = clock.unix_nanos();
        let state = State { counters, clock, started, health, hosts, stopping };
        Admin { listener, state: Arc::new(state) }
    }

    /// Serves until the task is dropped.
    pub(crate) async fn serve(self) {
        let Ok(listener) = tokio::net::TcpListener::from_std(self.listener) else { return };
        let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: waiting helps, giving up does not.
                    tracing::warn!(%error, "admin port cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let state = self.state.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let response = state.answer(&request);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
                drop(permit);
            });
        }
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers().get(HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
        if !self.hosts.iter().any(|allowed| allowed == without_port(host)) {
            return text(
                StatusCode::FORBIDDEN,
                "unknown host; add it to service.admin.allowed_hosts\n".to_owned(),
            );
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/health" | "/livez" => json_response(StatusCode::OK, &self.health()),
            "/ready" | "/readyz" => self.ready(),
            "/metrics" => with_type(
                StatusCode::OK,
                own_metrics(&self.counters),
                "text/plain; version=0.0.4; charset=utf-8",
            ),
            "/" => text(StatusCode::OK, "muxbridge: /health /ready /metrics\n".to_owned()),
            _ => text(StatusCode::NOT_FOUND, "there is /health, /ready and /metrics\n".to_owned()),
        }
    }

    fn health(&self) -> Value {
        let uptime = self.clock.unix_nanos().saturating_sub(self.started) / 1_000_000_000;
        json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": uptime })
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let stopping = self.stopping.is_stopped();
        let mut failing = false;
        let mut exporters = Map::new();
        for (id, health) in &self.health {
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
        json_response(code, &json!({ "status": status, "exporters": exporters }))
    }
}

/// Our own counters in the Prometheus text format.
fn own_metrics(counters: &Counters) -> String {
    let mut page = String::new();
    let mut last = "";
    for sample in counters.samples() {
        if sample.name != last {
            last = sample.name;
            let kind = if sample.name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(page, "# TYPE {} {kind}", sample.name);
        }
        let labels: Vec<String> =
            sample.labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let _ = writeln!(page, "{}{{{}}} {}", sample.name, labels.join(","), sample.value);
    }
    page
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with_type(status, body, "text/plain; charset=utf-8")
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    with_type(status, format!("{body}\n"), "application/json")
}

fn with_type(status: StatusCode, body: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

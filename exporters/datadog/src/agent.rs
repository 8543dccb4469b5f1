//! The trace endpoint of an Agent: one request, and what its answer means.

use crate::encode::Payload;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use muxbridge_core::{BuildContext, BuildError, Clock, Counter, ExportError, names};
use muxbridge_kit::http::{ClientOptions, HttpClient, unix_uri};
use muxbridge_kit::status::{excerpt, retry_after};
use muxbridge_kit::tls::TlsConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PATH: &str = "/v0.4/traces";
const TRACE_COUNT: HeaderName = HeaderName::from_static("x-datadog-trace-count");
const RATES_VERSION: HeaderName = HeaderName::from_static("datadog-rates-payload-version");

/// Headers that are the same in every request.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_TYPE, "application/msgpack"),
    (HeaderName::from_static("datadog-meta-lang"), "rust"),
    (HeaderName::from_static("datadog-meta-tracer-version"), env!("CARGO_PKG_VERSION")),
    // The encoder sets `_top_level`; an Agent that computed it again would overrule it.
    (HeaderName::from_static("datadog-client-computed-top-level"), "yes"),
    // Without it an Agent that is over its limits drops the payload and answers 200.
    (HeaderName::from_static("datadog-send-real-http-status"), "true"),
];

/// The URI of the trace endpoint below what the user wrote.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn traces_uri(url: &str) -> Result<Uri, String> {
    let example = "for example http://127.0.0.1:8126 or unix:///var/run/datadog/apm.socket";
    if let Some(path) = url.strip_prefix("unix://") {
        if !path.starts_with('/') || path.len() < 2 {
            return Err(format!("{url:?} needs an absolute path, {example}"));
        }
        return unix_uri(path, PATH).map_err(|e| e.to_string());
    }
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a URL ({e}), {example}"))?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none() && !url.contains('@');
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) || !plain {
        return Err(format!("{url:?} is not the URL of an Agent without a path, {example}"));
    }
    format!("{}{PATH}", url.trim_end_matches('/')).parse().map_err(|e| format!("{url:?}: {e}"))
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

/// Sends payloads of traces.
pub(crate) struct Agent {
    client: HttpClient,
    uri: Uri,
    clock: Clock,
    rates: Mutex<Rates>,
    sent: Counter,
    failed: Counter,
}

impl Agent {
    pub(crate) fn new(url: &str, timeout: Duration, cx: &BuildContext) -> Result<Self, BuildError> {
        let requests = |outcome| cx.counter(names::REQUESTS, &[("signal", "traces"), ("outcome", outcome)]);
        Ok(Agent {
            client: HttpClient::new(&ClientOptions { timeout, tls: TlsConfig::default() })?,
            uri: traces_uri(url).map_err(BuildError::new)?,
            clock: cx.clock.clone(),
            rates: Mutex::default(),
            sent: requests("sent"),
            failed: requests("failed"),
        })
    }

    pub(crate) fn rates(&self) -> BTreeMap<String, f64> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).by_service.clone()
    }

    pub(crate) async fn send(&self, payload: Payload) -> Result<(), ExportError> {
        let result = match self.client.send(self.request(payload)).await {
            Ok(response) => self.answer(&response),
            Err(error) => Err(error),
        };
        if result.is_ok() {
            self.sent.add(1)
        } else {
            self.failed.add(1)
        }
        result
    }

    fn request(&self, payload: Payload) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from(payload.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(TRACE_COUNT, HeaderValue::from(payload.chunks));
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = &rates.version {
            headers.insert(RATES_VERSION, version.clone());
        }
        request
    }

    fn answer(&self, response: &Response<Bytes>) -> Result<(), ExportError> {
        let status = response.status();
        if status.is_success() {
            self.keep_rates(response);
            return Ok(());
        }
        let source = format!("the trace Agent answers {status}: {}", excerpt(response.body()));
        Err(match status {
            StatusCode::PAYLOAD_TOO_LARGE => ExportError::too_large(source),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => self.retryable(response, source),
            status if status.is_server_error() => self.retryable(response, source),
            _ => ExportError::permanent("rejected", source),
        })
    }

    fn retryable(&self, response: &Response<Bytes>, source: String) -> ExportError {
        let after = retry_after(response.headers(), self.clock.unix_nanos());
        ExportError::Retryable { after, source: source.into() }
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

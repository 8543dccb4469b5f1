//! One URL that takes bodies: headers, compression, and what its answers mean.

use crate::delivery::{Post, TakenSize};
use crate::encode::parts::Body;
use bytes::{Buf, Bytes};
use flate2::write::ZlibEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use muxbridge_core::{BuildContext, Clock, Counter, ExportError, names};
use muxbridge_kit::http::{Compression, HttpClient};
use muxbridge_kit::status::{excerpt, retry_after};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    /// zlib, which HTTP calls `deflate`.
    Deflate,
}

/// Whose answers these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// An Agent's: a refused key is its own matter.
    Agent,
    /// Datadog's.
    Intake,
}

/// Takes bodies.
#[derive(Clone)]
pub(crate) struct Endpoint {
    client: HttpClient,
    uri: Uri,
    headers: HeaderMap,
    encoding: Encoding,
    whose: Whose,
    clock: Clock,
    size: Arc<TakenSize>,
    sent: Counter,
    failed: Counter,
    bytes: [Counter; 2],
}

impl Endpoint {
    /// An endpoint whose requests are counted under `signal`.
    pub(crate) fn new(
        client: &HttpClient,
        uri: Uri,
        whose: Whose,
        signal: &'static str,
        cx: &BuildContext,
    ) -> Self {
        let outcome = |name, outcome| cx.counter(name, &[("signal", signal), ("outcome", outcome)]);
        Endpoint {
            client: client.clone(),
            uri,
            headers: HeaderMap::new(),
            encoding: Encoding::Identity,
            whose,
            clock: cx.clock.clone(),
            size: Arc::default(),
            sent: outcome(names::REQUESTS, "sent"),
            failed: outcome(names::REQUESTS, "failed"),
            bytes: [outcome(names::BYTES, "sent"), outcome(names::BYTES, "failed")],
        }
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With this type of content and this compression.
    pub(crate) fn content(mut self, kind: &'static str, encoding: Encoding) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        self.encoding = encoding;
        self
    }

    /// Sends one body, with these headers more. The answer, if it is a success.
    pub(crate) async fn send(&self, body: Body, more: HeaderMap) -> Result<Response<Bytes>, ExportError> {
        let result = self.exchange(body, more).await;
        if result.is_ok() {
            self.sent.add(1);
        } else {
            self.failed.add(1);
        }
        result
    }

    async fn exchange(&self, body: Body, more: HeaderMap) -> Result<Response<Bytes>, ExportError> {
        let body = compress(self.encoding, body).map_err(|e| ExportError::permanent("unencodable", e))?;
        let length = body.len() as u64;
        let mut request = Request::new(body.head.chain(body.pieces));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.extend(more);
        match self.encoding {
            Encoding::Identity => {}
            Encoding::Gzip => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Encoding::Deflate => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("deflate"));
            }
        }
        let result = match self.client.send_chain(request).await {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(self.error(&response)),
            Err(error) => Err(error),
        };
        self.bytes[usize::from(result.is_err())].add(length);
        result
    }

    fn error(&self, response: &Response<Bytes>) -> ExportError {
        let status = response.status();
        let who = if self.whose == Whose::Agent { "the Agent" } else { "Datadog" };
        let path = self.uri.path();
        let source = format!("{who} answers {status} to {path}: {}", excerpt(response.body()));
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => ExportError::too_large(source),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.whose == Whose::Intake => {
                let source = format!("{source} (check api_key and site: they belong together)");
                ExportError::unauthorized(source)
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => self.retryable(response, source),
            status if status.is_server_error() => self.retryable(response, source),
            _ => ExportError::permanent("rejected", source),
        }
    }

    fn retryable(&self, response: &Response<Bytes>, source: String) -> ExportError {
        let reset = || {
            let seconds = response.headers().get(RATE_LIMIT_RESET)?.to_str().ok()?.trim().parse().ok()?;
            Some(Duration::from_secs(seconds).min(Duration::from_secs(3600)))
        };
        let after = retry_after(response.headers(), self.clock.unix_nanos()).or_else(reset);
        ExportError::Retryable { after, source: source.into() }
    }
}

impl Post for Endpoint {
    async fn post(&self, body: Body, _pieces: usize) -> Result<(), ExportError> {
        self.send(body, HeaderMap::new()).await.map(drop)
    }

    fn size(&self) -> &TakenSize {
        &self.size
    }
}

fn compress(encoding: Encoding, body: Body) -> std::io::Result<Body> {
    match encoding {
        Encoding::Identity => Ok(body),
        Encoding::Gzip => Ok(Compression::Gzip.encode(&body.joined())?.into()),
        Encoding::Deflate => {
            let out = Vec::with_capacity(body.len() / 4 + 64);
            let mut encoder = ZlibEncoder::new(out, flate2::Compression::new(1));
            encoder.write_all(&body.head)?;
            encoder.write_all(&body.pieces)?;
            Ok(encoder.finish()?.into())
        }
    }
}

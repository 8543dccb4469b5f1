//! The kind `otlphttp`: OTLP over HTTP, as protobuf or JSON.

use crate::config::{Encoding, HttpConfig, Temporality};
use crate::encode::{body, content_type};
use crate::{USER_AGENT, check_size, response};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Uri};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Clock, Delivered, ExportError, Exporter, ExporterKind, Needs, Preview,
    Signal, TemporalityNeed,
};
use muxbridge_kit::headers;
use muxbridge_kit::http::{ClientOptions, Compression, HttpClient};
use muxbridge_kit::status::otlp_http_error;

/// The kind `otlphttp`.
pub struct OtlpHttp;

impl ExporterKind for OtlpHttp {
    const NAME: &'static str = "otlphttp";
    const SUMMARY: &'static str = "OTLP over HTTP, as protobuf or JSON";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = HttpConfig;
    type Exporter = OtlpHttpExporter;

    fn check(config: &HttpConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn needs(config: &HttpConfig) -> Needs {
        let temporality = match config.temporality {
            Temporality::AsIs => TemporalityNeed::AsIs,
            Temporality::Delta => TemporalityNeed::Delta,
        };
        Needs { temporality, max_request_bytes: Some(config.max_request_bytes), ..Needs::default() }
    }

    fn preview(_config: &HttpConfig, batches: &[Batch]) -> Option<Preview> {
        Some(crate::preview(batches))
    }

    fn build(config: HttpConfig, cx: &BuildContext) -> Result<OtlpHttpExporter, BuildError> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.extend(headers::build(&config.headers)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(config.encoding)));
        if let Some(encoding) = config.compression.content_encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let uri = |signal| config.uri(signal).map_err(|e| BuildError::new(format!("endpoint: {e}")));
        let uris = [uri(Signal::Traces)?, uri(Signal::Metrics)?, uri(Signal::Logs)?];
        Ok(OtlpHttpExporter {
            uris,
            headers,
            encoding: config.encoding,
            compression: config.compression,
            max_request_bytes: config.max_request_bytes,
            client: HttpClient::new(&ClientOptions {
                timeout: config.timeout.0,
                tls: config.tls,
                cx: Some(cx.clone()),
            })?,
            clock: cx.clock.clone(),
        })
    }
}

/// Sends batches as POST requests.
pub struct OtlpHttpExporter {
    /// In the order of [`Signal::ALL`].
    uris: [Option<Uri>; 3],
    headers: HeaderMap,
    encoding: Encoding,
    compression: Compression,
    max_request_bytes: usize,
    client: HttpClient,
    clock: Clock,
}

impl OtlpHttpExporter {
    fn request(&self, batch: &Batch) -> Result<Request<Bytes>, ExportError> {
        let [traces, metrics, logs] = &self.uris;
        let uri = match batch.signal() {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
            Signal::Logs => logs,
        };
        let signal = batch.signal();
        let uri = uri.clone().ok_or_else(|| {
            let text = format!("neither endpoint nor {signal}_endpoint says where {signal} are sent to");
            ExportError::permanent("no_endpoint", text)
        })?;
        let body = body(batch, self.encoding, self.compression)
            .map_err(|e| ExportError::permanent("unencodable", e))?;
        let mut request =
            Request::post(uri).body(body).map_err(|e| ExportError::permanent("unencodable", e))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

impl Exporter for OtlpHttpExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        if batch.items() == 0 {
            return Ok(Delivered::default());
        }
        check_size(batch, self.max_request_bytes)?;
        let answer = self.client.send(self.request(batch)?).await?;
        if !answer.status().is_success() {
            let now = self.clock.unix_nanos();
            return Err(otlp_http_error(answer.status(), answer.headers(), answer.body(), now));
        }
        let json =
            answer.headers().get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
        Ok(if json {
            response::from_json(batch, answer.body())
        } else {
            response::from_proto(batch, answer.body())
        })
    }
}

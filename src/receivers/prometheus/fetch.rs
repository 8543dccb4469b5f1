//! Fetches a page: one request over a connection of its own, bounded in time and size.
//!
//! A connection of its own, because several workers behind one address each keep the connections that they accepted: over
//! a kept one we would only ever see one of them. Written on hyper's connection and not on the pooled client of the
//! exporters for that reason, and because the address is checked between its look-up and the connection.

use super::endpoint::{Endpoint, forbidden, printable_location};
use super::failure::{Failure, Reason};
use super::plan::Plan;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION,
    USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use muxbridge_core::BuildError;
use muxbridge_kit::headers;
use muxbridge_kit::watch::Watched;
use rustls::pki_types::ServerName;
use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// OpenMetrics first, because it says when series began; then the text formats, newest first.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,\
     application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.7,\
     text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// A status line and headers that are longer than this are refused.
const MAX_HEAD: usize = 64 << 10;

/// A page as it came, decompressed.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) body: Bytes,
    pub(super) content_type: Option<String>,
}

/// Fetches the page of one target.
pub(super) struct Fetcher {
    plan: Plan,
    headers: HeaderMap,
    /// The files are looked at again for each scrape.
    tls: Option<(Watched<TlsConnector>, ServerName<'static>)>,
    max_body: usize,
}

impl Fetcher {
    /// # Errors
    /// A header or a file of the `tls` block that cannot be used.
    pub(super) fn new(plan: Plan, max_body: usize) -> Result<Fetcher, BuildError> {
        let mut all = headers::build(&plan.headers)?;
        let text = |value: &str| {
            HeaderValue::from_str(value)
                .map_err(|_| BuildError::new("the endpoint does not fit into a header"))
        };
        all.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        all.insert(CONNECTION, HeaderValue::from_static("close"));
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("muxbridge/", env!("CARGO_PKG_VERSION"))));
        all.insert(HOST, text(&plan.endpoint.instance())?);
        all.insert("x-prometheus-scrape-timeout-seconds", text(&plan.timeout.as_secs_f64().to_string())?);
        let tls = plan.endpoint.https.then(|| tls(&plan)).transpose()?;
        Ok(Fetcher { plan, headers: all, tls, max_body })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.plan.endpoint
    }

    /// Fetches the page once.
    pub(super) async fn fetch(&self) -> Result<Page, Failure> {
        let timeout = self.plan.timeout;
        match tokio::time::timeout(timeout, self.exchange(timeout)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Reason::Timeout, format_args!("no whole answer within {timeout:?}"))),
        }
    }

    async fn exchange(&self, timeout: Duration) -> Result<Page, Failure> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() =
            self.plan.endpoint.path.parse().map_err(|e| Failure::new(Reason::Transport, e))?;
        *request.headers_mut() = self.headers.clone();
        if let Some(credential) = &self.plan.credential {
            let value = credential.header().await.map_err(|e| Failure::new(Reason::Credentials, e))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let stream = connect(&self.plan.endpoint, timeout).await?;
        match &self.tls {
            None => self.request(stream, request).await,
            Some((connector, name)) => {
                let secured = connector.get().connect(name.clone(), stream).await;
                let failed = |e| Failure::new(Reason::Tls, format_args!("the TLS handshake failed: {e}"));
                self.request(secured.map_err(failed)?, request).await
            }
        }
    }

    async fn request<S>(&self, stream: S, request: Request<Empty<Bytes>>) -> Result<Page, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let broken = |e: hyper::Error| {
            Failure::new(Reason::Transport, format_args!("the request failed: {}", chain(&e)))
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with this future, however that ends.
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        check_status(&response)?;
        self.read(response).await
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Page, Failure> {
        let limit = self.max_body;
        let too_large =
            || Failure::new(Reason::TooLarge, format_args!("the page is longer than {limit} bytes"));
        let (head, body) = response.into_parts();
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
            Err(error) => {
                return Err(Failure::new(
                    Reason::Transport,
                    format_args!("the page broke off: {}", chain(&*error)),
                ));
            }
        };
        let encoding =
            head.headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes).to_ascii_lowercase();
        let body = match &encoding[..] {
            b"" | b"identity" => body,
            b"gzip" | b"x-gzip" => inflate(&body, limit).ok_or_else(too_large)?.map_err(|e| {
                Failure::new(Reason::Encoding, format_args!("the gzip of the page is broken: {e}"))
            })?,
            other => {
                let name = String::from_utf8_lossy(other);
                return Err(Failure::new(
                    Reason::Encoding,
                    format_args!("the page is compressed as {name:?}; only gzip was offered"),
                ));
            }
        };
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Page { body, content_type })
    }
}

fn tls(plan: &Plan) -> Result<(Watched<TlsConnector>, ServerName<'static>), BuildError> {
    let tls = plan.tls.clone();
    let connector =
        Watched::new(tls.files(), move || Ok(TlsConnector::from(Arc::new(tls.client_config()?))))?;
    let name = plan.tls.server_name_override.as_ref().unwrap_or(&plan.endpoint.host);
    let name = ServerName::try_from(name.clone()).map_err(|e| {
        BuildError::new(format!("{}: {name:?} is no name for TLS: {e}", plan.endpoint.printable()))
    })?;
    Ok((connector, name))
}

/// Looks the name up once, leaves out what is never scraped, and connects to the rest in order.
async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<TcpStream, Failure> {
    let host = &endpoint.host;
    let found = tokio::net::lookup_host((host.as_str(), endpoint.port)).await;
    let found =
        found.map_err(|e| Failure::new(Reason::Resolve, format_args!("cannot look up {host:?}: {e}")))?;
    let (bad, good): (Vec<SocketAddr>, Vec<SocketAddr>) = found.partition(|a| forbidden(a.ip()).is_some());
    if good.is_empty() {
        return Err(match bad.first().and_then(|a| Some((a.ip(), forbidden(a.ip())?))) {
            Some((ip, why)) => Failure::new(Reason::Address, format_args!("{host:?} is {ip}, which {why}")),
            None => Failure::new(Reason::Resolve, format_args!("{host:?} has no address")),
        });
    }
    // One address that swallows packets leaves time for the next.
    let each = timeout / u32::try_from(good.len()).unwrap_or(u32::MAX);
    let mut last = Failure::new(Reason::Connect, "");
    for address in good {
        last = match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
                Failure::new(Reason::Refused, format_args!("nothing listens at {address}"))
            }
            Ok(Err(e)) => Failure::new(Reason::Connect, format_args!("cannot connect to {address}: {e}")),
            Err(_) => {
                Failure::new(Reason::Timeout, format_args!("no connection to {address} within {each:?}"))
            }
        };
    }
    Err(last)
}

fn check_status(response: &Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let location = printable_location(location);
        return Err(Failure::new(
            Reason::Redirect,
            format_args!("status {status}: redirected to {location:?}"),
        ));
    }
    let reason = match status {
        StatusCode::UNAUTHORIZED => Reason::Unauthorized,
        other => Reason::Status(other.as_u16()),
    };
    Err(Failure::new(reason, format_args!("status {status}")))
}

/// `None` if more than `limit` bytes come out.
fn inflate(body: &[u8], limit: usize) -> Option<io::Result<Bytes>> {
    let mut out = Vec::new();
    match MultiGzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut out) {
        Err(e) => Some(Err(e)),
        Ok(_) if out.len() > limit => None,
        Ok(_) => Some(Ok(out.into())),
    }
}

/// An error with all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

//! An HTTP client for exporters: pooled, bounded in time and in the size of answers.

use crate::clients::Clients;
pub use crate::compress::Compression;
use crate::connect::{Connector, TransportError, Versions};
pub use crate::tls::TlsConfig;
use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use muxbridge_core::{BuildContext, BuildError, ExportError};
use std::time::Duration;

/// The most that is read of an answer, in bytes. An answer is a status and a few counts; a destination that sends more
/// is broken or hostile.
pub const MAX_RESPONSE_BYTES: usize = 4 << 20;
/// Longer header lists are refused, on HTTP/2 by the protocol.
pub(crate) const MAX_HEADER_LIST: u32 = 64 << 10;
/// What clients send: a head and a body, for gRPC. One type for all, as each type would be a copy of the whole HTTP stack.
pub(crate) type RequestBody = Full<Chain<Bytes, Bytes>>;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// For a whole request, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// How to talk TLS.
    pub tls: TlsConfig,
    /// Whose gauge shows when the client certificate expires.
    pub cx: Option<BuildContext>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions { timeout: Duration::from_secs(10), tls: TlsConfig::default(), cx: None }
    }
}

/// Sends requests over kept-alive connections: HTTP/1.1, or HTTP/2 where TLS agrees on it. Redirects are not followed,
/// because the headers hold credentials. Answers are taken as they come; do not ask for compressed ones. A clone
/// shares the connections.
#[derive(Clone)]
pub struct HttpClient {
    clients: Clients,
    timeout: Duration,
}

impl HttpClient {
    /// A client without connections.
    ///
    /// # Errors
    /// What is wrong with a file of the `tls` block.
    pub fn new(options: &ClientOptions) -> Result<HttpClient, BuildError> {
        let connector = Connector::new(&options.tls, Versions::Http1AndHttp2, options.cx.as_ref())?;
        Ok(HttpClient { clients: Clients::new(connector, false), timeout: options.timeout })
    }

    /// The same client, with the same connections, that waits this long for a request.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> HttpClient {
        HttpClient { clients: self.clients.clone(), timeout }
    }

    /// Sends one request and reads the whole answer. For a unix socket take the URI from [`unix_uri`].
    ///
    /// # Errors
    /// A request without an answer (no connection, lost connection, timeout) is `Retryable`. An answer of more than
    /// [`MAX_RESPONSE_BYTES`] is `Permanent`. Every HTTP status is `Ok`.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExportError> {
        self.send_chain(request.map(|body| Bytes::new().chain(body))).await
    }

    /// The same with a body in two parts, which nobody has to copy together.
    ///
    /// # Errors
    /// As [`HttpClient::send`].
    pub async fn send_chain(
        &self,
        request: Request<Chain<Bytes, Bytes>>,
    ) -> Result<Response<Bytes>, ExportError> {
        let uri = request.uri().clone();
        let exchange = async {
            let response = self
                .clients
                .get()
                .request(request.map(Full::new))
                .await
                .map_err(|e| TransportError::retryable(&uri, &e))?;
            read(&uri, response).await
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::timeout(&uri, self.timeout)),
        }
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The URI of `path` on the server that listens on a unix socket: `unix://<socket, percent-encoded>@localhost/path`.
/// The socket takes the place of the user, because a host cannot be percent-encoded; `localhost` is what the header
/// `Host` will say.
///
/// # Errors
/// If `path` is not a path.
pub fn unix_uri(socket: &str, path: &str) -> Result<Uri, BuildError> {
    let mut text = String::from("unix://");
    for byte in socket.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text.push_str("@localhost");
    text.push_str(path);
    text.parse().map_err(|e| BuildError::new(format!("unix socket {socket:?}, path {path:?}: {e}")))
}

/// Reads an answer within the limits.
async fn read(uri: &Uri, response: Response<Incoming>) -> Result<Response<Bytes>, ExportError> {
    let (head, body) = response.into_parts();
    match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
        Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
        Err(error) => Err(body_error(uri, &*error)),
    }
}

pub(crate) fn body_error(uri: &Uri, error: &(dyn std::error::Error + Send + Sync + 'static)) -> ExportError {
    if error.is::<LengthLimitError>() {
        let text = format!(
            "endpoint {}: the answer is longer than {MAX_RESPONSE_BYTES} bytes",
            crate::connect::printable(uri)
        );
        return ExportError::permanent("response_too_large", text);
    }
    TransportError::retryable(uri, error)
}

#[cfg(test)]
mod tests;

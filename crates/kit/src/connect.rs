//! One connector for every client: TCP, TLS over TCP, and unix sockets.

use crate::gather::Gather;
use crate::tls::{TlsConfig, certificates, show_expiry};
use crate::watch::Watched;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use muxbridge_core::{BoxError, BoxFuture, BuildContext, BuildError, ExportError};
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;
use tower_service::Service;

/// No answer to a connection attempt for so long is a failure, however long the whole request may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Which versions of HTTP to offer when a TLS connection is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    Http1AndHttp2,
    Http2Only,
}

type Net = HttpsConnector<HttpConnector>;

#[derive(Clone)]
pub(crate) struct Connector {
    /// Connections made from now on use the files of `tls` as they are then.
    net: Arc<Watched<Net>>,
    versions: Versions,
}

impl Connector {
    /// `cx` is whose gauge shows when the client certificate expires.
    pub(crate) fn new(
        tls: &TlsConfig,
        versions: Versions,
        cx: Option<&BuildContext>,
    ) -> Result<Self, BuildError> {
        let (files, tls, cx) = (tls.files(), tls.clone(), cx.cloned());
        let load = move || {
            if let Some((file, cx)) = tls.cert_file.as_ref().zip(cx.as_ref()) {
                let chain = certificates("tls.cert_file", file)?;
                show_expiry(&chain, "tls.cert_file", cx);
            }
            connect_with(&tls, versions)
        };
        Ok(Connector { net: Arc::new(Watched::new(files, load)?), versions })
    }
}

fn connect_with(tls: &TlsConfig, versions: Versions) -> Result<Net, BuildError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls.client_config()?).https_or_http();
    if let Some(name) = &tls.server_name_override {
        let name = ServerName::try_from(name.clone())
            .map_err(|e| BuildError::new(format!("tls.server_name_override: {name:?}: {e}")))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(match versions {
        Versions::Http1AndHttp2 => builder.enable_all_versions().wrap_connector(tcp),
        Versions::Http2Only => builder.enable_http2().wrap_connector(tcp),
    })
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Neither TCP nor TLS has anything to wait for before a connection is wanted.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if uri.scheme_str() == Some("unix") {
            return Box::pin(async move {
                let path = socket_path(&uri).ok_or("a unix endpoint without the path of a socket")?;
                let stream = UnixStream::connect(&path).await.map_err(|e| format!("{path}: {e}"))?;
                Ok(Stream(Box::new(TokioIo::new(stream))))
            });
        }
        let (connecting, versions) = (Net::clone(&self.net.get()).call(uri), self.versions);
        Box::pin(async move {
            let stream = connecting.await?;
            Ok(match versions {
                Versions::Http1AndHttp2 => Stream(Box::new(stream)),
                Versions::Http2Only => Stream(Box::new(Gather::new(stream))),
            })
        })
    }
}

/// The path in `unix://<path, percent-encoded>@<host>`: a URI has no other place where a slash can be encoded.
pub(crate) fn socket_path(uri: &Uri) -> Option<String> {
    let (encoded, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let mut path = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        path.push(match byte {
            b'%' => {
                let hex = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(path).ok()
}

trait Io: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// One connection of whatever kind.
pub(crate) struct Stream(Box<dyn Io>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}

/// Nothing came back, so the request may be sent again. Says where to and the whole chain of causes, but neither user
/// information nor the query of the URI, where some destinations want a credential.
#[derive(Debug, thiserror::Error)]
#[error("endpoint {endpoint}: {reason}")]
pub(crate) struct TransportError {
    endpoint: String,
    reason: String,
}

impl TransportError {
    pub(crate) fn retryable(uri: &Uri, cause: &dyn std::error::Error) -> ExportError {
        let mut reason = cause.to_string();
        let mut next = cause.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many wrappers repeat what they wrap.
            if !reason.ends_with(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            next = cause.source();
        }
        ExportError::retryable(TransportError { endpoint: printable(uri), reason })
    }

    pub(crate) fn timeout(uri: &Uri, after: Duration) -> ExportError {
        let reason = format!("no answer within {after:?}");
        ExportError::retryable(TransportError { endpoint: printable(uri), reason })
    }
}

/// Scheme, host, port and path.
pub(crate) fn printable(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    if let Some(path) = (scheme == "unix").then(|| socket_path(uri)).flatten() {
        return format!("unix:{path}");
    }
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{}", uri.path())
}

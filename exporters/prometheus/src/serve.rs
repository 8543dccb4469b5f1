//! Serves small pages over HTTP/1: for this exporter and for the admin port.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use muxbridge_core::Stop;
use muxbridge_kit::compress::Compression;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long a client may take to send the head of its request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one request may take in all: a client that does not read its page holds a connection no longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What a page is answered with.
pub type Answer = Response<Full<Bytes>>;

/// Binds an address for [`serve`].
///
/// # Errors
/// Those of the operating system: the port is taken, or the address is not of this host.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers requests, each over a connection of its own, until `stop`; then closes the port and all connections.
/// `connections` is the most at once; further ones wait to be accepted. The pointer is kept for as long as it accepts.
pub async fn serve(
    socket: Arc<TcpListener>,
    connections: usize,
    stop: Stop,
    answer: impl Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
) {
    let Ok(listener) = socket.try_clone().and_then(tokio::net::TcpListener::from_std) else { return };
    let permits = Arc::new(Semaphore::new(connections));
    let answer = Arc::new(answer);
    let mut open = JoinSet::new();
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            () = stop.wait() => return,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
        };
        while open.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: waiting helps, giving up does not.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answer = answer.clone();
        open.spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let response = allowed(&request).unwrap_or_else(|| answer(&request));
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
            drop(permit);
        });
    }
}

/// The refusal of all methods but GET and HEAD.
fn allowed(request: &Request<Incoming>) -> Option<Answer> {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return None;
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(response)
}

/// An answer with a few words.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, body, "text/plain; charset=utf-8")
}

/// An answer of this media type.
pub fn with_type(status: StatusCode, body: impl Into<Bytes>, kind: &'static str) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The value of a header; several lines are one list, and what is no text is as good as absent.
pub fn header(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// An answer with a page of metrics, compressed if the client takes it.
pub fn page(headers: &HeaderMap, body: Vec<u8>, kind: &'static str) -> Answer {
    let gzip = accepts_gzip(&header(headers, ACCEPT_ENCODING));
    let compressed = if gzip { Compression::Gzip.encode(&body).ok() } else { None };
    let encoded = compressed.is_some();
    let mut response = with_type(StatusCode::OK, compressed.unwrap_or(body), kind);
    if encoded {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let vary = HeaderValue::from_static("accept, accept-encoding");
    response.headers_mut().insert(VARY, vary);
    response
}

/// What a client asks for in `Accept`.
pub fn accept(headers: &HeaderMap) -> String {
    header(headers, ACCEPT)
}

fn accepts_gzip(value: &str) -> bool {
    value.split(',').any(|part| {
        let mut words = part.split(';').map(str::trim);
        let gzip = words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = words.filter_map(|w| w.strip_prefix("q=")).any(|q| q.parse() == Ok(0.0));
        gzip && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::accepts_gzip;

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        for yes in ["gzip", "deflate, gzip;q=0.5", "GZIP", "gzip;q=1.0, br"] {
            assert!(accepts_gzip(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "gzip; q=0.0", "xgzip", "*"] {
            assert!(!accepts_gzip(no), "{no}");
        }
    }
}

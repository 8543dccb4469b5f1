//! The accept loop under the scripted servers: TCP, TLS or a unix socket; HTTP/1.1 or HTTP/2 by what the client says.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Why a request is not answered: the connection is closed instead.
#[derive(Debug)]
pub(crate) struct Hangup;

impl std::fmt::Display for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("scripted hangup")
    }
}

impl std::error::Error for Hangup {}

/// Answers one request.
pub(crate) trait Answer: Clone + Send + 'static {
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Hangup>> + Send;
}

/// Stops the server when it is dropped.
pub(crate) struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn tcp(listener: TcpListener, tls: Option<TlsAcceptor>, answer: impl Answer) -> Running {
    let task = tokio::spawn(async move {
        // Dropped with this task: a server that is gone has no connections.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, answer) = (tls.clone(), answer.clone());
            connections.spawn(async move {
                match tls {
                    None => serve(stream, answer).await,
                    Some(tls) => {
                        // A handshake that fails is the client's to report.
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, answer).await;
                        }
                    }
                }
            });
        }
    });
    Running(task.abort_handle())
}

pub(crate) fn unix(path: &Path, answer: impl Answer) -> Running {
    let listener = UnixListener::bind(path).expect("bind a unix socket");
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            connections.spawn(async move { serve(stream, answer).await });
        }
    });
    Running(task.abort_handle())
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, answer: impl Answer) {
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { answer.answer(request).await }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// A body that comes byte by byte.
pub(crate) struct Drip {
    rest: Bytes,
    pause: Duration,
    next: Pin<Box<tokio::time::Sleep>>,
}

impl Drip {
    pub(crate) fn new(rest: Bytes, pause: Duration) -> Self {
        Drip { rest, pause, next: Box::pin(tokio::time::sleep(pause)) }
    }
}

impl hyper::body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        std::task::ready!(self.next.as_mut().poll(cx));
        let later = tokio::time::Instant::now() + self.pause;
        self.next.as_mut().reset(later);
        Poll::Ready(Some(Ok(hyper::body::Frame::data(self.rest.split_to(1)))))
    }
}

/// What came in, in order, and who waits for it.
pub(crate) struct Log<T> {
    entries: Mutex<Vec<T>>,
    added: Notify,
}

impl<T: Clone> Log<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Log { entries: Mutex::new(Vec::new()), added: Notify::new() })
    }

    pub(crate) fn add(&self, entry: T) {
        self.entries.lock().unwrap().push(entry);
        self.added.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.entries.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for(&self, n: usize) -> Vec<T> {
        let enough = async {
            loop {
                let added = self.added.notified();
                tokio::pin!(added);
                // Registered before the look, so that nothing is missed in between.
                added.as_mut().enable();
                let all = self.all();
                if all.len() >= n {
                    return all;
                }
                added.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), enough).await {
            Ok(all) => all,
            Err(_) => panic!("waited for {n} requests, {} came", self.all().len()),
        }
    }
}

/// These bytes in gzip.
pub fn gzip(bytes: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory").into()
}

/// Undoes `gzip`, `zstd`, `deflate` (zlib), or nothing.
pub(crate) fn decompress(encoding: &str, body: Bytes) -> Bytes {
    use std::io::Read;
    let mut out = Vec::new();
    match encoding {
        "" | "identity" => return body,
        "gzip" => flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut out).expect("a gzip body"),
        "deflate" => flate2::read::ZlibDecoder::new(&body[..]).read_to_end(&mut out).expect("a zlib body"),
        "zstd" => zstd::Decoder::new(&body[..]).unwrap().read_to_end(&mut out).expect("a zstd body"),
        other => panic!("unexpected encoding {other:?}"),
    };
    out.into()
}

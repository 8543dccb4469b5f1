//! Destinations that take everything, count it and keep nothing.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::net::TcpListener;

/// What came in.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests, or datagrams.
    pub(crate) requests: AtomicU64,
    /// Bytes of bodies as they were on the wire.
    pub(crate) bytes: AtomicU64,
}

/// An endpoint for gRPC, HTTP/1.1 and HTTP/2 on one port.
pub(crate) async fn http() -> std::io::Result<(SocketAddr, Arc<Counts>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = shared.clone();
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, counts.clone()));
                let mut server = auto::Builder::new(TokioExecutor::new());
                server.http2().initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20);
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((address, counts))
}

/// An endpoint for StatsD over UDP. What comes faster than it is read, the kernel drops.
pub(crate) fn udp() -> std::io::Result<(SocketAddr, Arc<Counts>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // As much as the kernel allows.
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20)?;
    let address = socket.local_addr()?;
    Ok((address, datagrams(move |buffer| socket.recv(buffer))))
}

/// An endpoint for StatsD over a unix socket. Who sends faster than it is read has to wait.
pub(crate) fn unix(path: &Path) -> std::io::Result<Arc<Counts>> {
    let socket = UnixDatagram::bind(path)?;
    Ok(datagrams(move |buffer| socket.recv(buffer)))
}

/// Counts on a thread of its own, so that nothing else keeps it from reading.
fn datagrams(receive: impl Fn(&mut [u8]) -> std::io::Result<usize> + Send + 'static) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length) = receive(&mut buffer) {
            shared.requests.fetch_add(1, Ordering::Relaxed);
            shared.bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
    });
    counts
}

async fn answer(request: Request<Incoming>, counts: Arc<Counts>) -> Result<Response<Answer>, Infallible> {
    let grpc =
        request.headers().get("content-type").is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    // The test for `/info` of a Datadog Agent is not answered with one: an old Agent has none.
    let found = request.uri().path() != "/info";
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(length, Ordering::Relaxed);
    let mut response = Response::new(if grpc { Answer::grpc() } else { Answer::http() });
    if grpc {
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    } else if !found {
        *response.status_mut() = http::StatusCode::NOT_FOUND;
    }
    Ok(response)
}

/// The frames of an answer: a message and a status for gRPC, an empty object for HTTP.
struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn grpc() -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Answer { data: Some(Bytes::from_static(&[0; 5])), trailers: Some(trailers) }
    }

    fn http() -> Self {
        Answer { data: Some(Bytes::from_static(b"{}")), trailers: None }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

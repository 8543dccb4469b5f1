//! A scripted HTTP server that records what it gets.

use crate::serve::{self, Answer, Body, Hangup, Log, Running};
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `POST` and so on.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed as `Content-Encoding` says.
    pub body: Bytes,
    /// How long the body was on the wire.
    pub wire_len: usize,
}

impl Recorded {
    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("a header of ASCII"))
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status, or [`Reply::HANGUP`], or [`Reply::SILENCE`].
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// How long to wait before the answer; the request is recorded before.
    pub delay: Duration,
    /// Sends the body byte by byte, with this much time in between.
    pub drip: Option<Duration>,
}

impl Reply {
    /// Instead of a status: closes the connection without an answer.
    pub const HANGUP: u16 = 0;
    /// Instead of a status: keeps the connection and never answers.
    pub const SILENCE: u16 = 1;

    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Reply { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO, drip: None }
    }

    /// 200 with a JSON body.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::status(200).header("content-type", "application/json").body(body)
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Late by this much.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With a body that comes byte by byte.
    #[must_use]
    pub fn dripping(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

type Script = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

/// A server on 127.0.0.1 with a port that the system chose. It stops when it is dropped.
pub struct Server {
    addr: SocketAddr,
    scheme: &'static str,
    log: Arc<Log<Recorded>>,
    _running: Running,
}

impl Server {
    /// Answers each request with what `reply` makes of it.
    pub async fn start(reply: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Server {
        Self::listen(None, Arc::new(reply), true).await
    }

    /// The same without a record of what came in, for long runs: `reply` sees it all.
    pub async fn start_without_log(reply: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Server {
        Self::listen(None, Arc::new(reply), false).await
    }

    /// The same over TLS; see [`crate::tls`].
    pub async fn start_tls(
        tls: Arc<rustls::ServerConfig>,
        reply: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Server {
        Self::listen(Some(tls.into()), Arc::new(reply), true).await
    }

    /// The same on a unix socket; [`Server::url`] and [`Server::addr`] mean nothing then.
    pub fn start_unix(path: &Path, reply: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Server {
        let log = Log::new();
        let running = serve::unix(path, Scripted { reply: Arc::new(reply), log: log.clone(), keep: true });
        Server { addr: SocketAddr::from(([127, 0, 0, 1], 0)), scheme: "unix", log, _running: running }
    }

    async fn listen(tls: Option<TlsAcceptor>, reply: Script, keep: bool) -> Server {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let log = Log::new();
        let running = serve::tcp(listener, tls, Scripted { reply, log: log.clone(), keep });
        Server { addr, scheme, log, _running: running }
    }

    /// `http://127.0.0.1:<port>`, without a path; with TLS `https://localhost:<port>`.
    pub fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.addr.port())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What has come in so far, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.log.all()
    }

    /// Waits until at least `n` requests have come in and returns all.
    ///
    /// # Panics
    /// If they do not come within 20 seconds.
    pub async fn wait_for(&self, n: usize) -> Vec<Recorded> {
        self.log.wait_for(n).await
    }
}

#[derive(Clone)]
struct Scripted {
    reply: Script,
    log: Arc<Log<Recorded>>,
    keep: bool,
}

impl Answer for Scripted {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Hangup> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Hangup)?.to_bytes();
        let encoding = head.headers.get(CONTENT_ENCODING).map_or("", |v| v.to_str().unwrap());
        let recorded = Recorded {
            method: head.method.to_string(),
            path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            wire_len: body.len(),
            body: serve::decompress(encoding, body),
            headers: head.headers,
        };
        let reply = (self.reply)(&recorded);
        if self.keep {
            self.log.add(recorded);
        }
        // A timer would cost those that do not wait a turn of the runtime.
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        match reply.status {
            Reply::HANGUP => return Err(Hangup),
            Reply::SILENCE => std::future::pending().await,
            _ => {}
        }
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(name, value);
        }
        let body = match reply.drip {
            None => Full::new(reply.body).boxed_unsync(),
            Some(pause) => serve::Drip::new(reply.body, pause).boxed_unsync(),
        };
        Ok(response.body(body).expect("a valid reply"))
    }
}

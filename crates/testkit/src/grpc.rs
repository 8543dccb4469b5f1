//! A scripted gRPC server for the three OTLP services that records what it gets. It knows frames, not tonic.

use crate::serve::{self, Answer, Body, Hangup, Log, Running};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use muxbridge_core::Signal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One call as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which of the three services.
    pub signal: Signal,
    /// `/package.Service/Method`.
    pub path: String,
    /// The metadata and the other headers.
    pub headers: HeaderMap,
    /// The message, decompressed.
    pub body: Bytes,
    /// How long the message was on the wire.
    pub wire_len: usize,
}

impl Call {
    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("a header of ASCII"))
    }
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
pub struct GrpcReply {
    /// The gRPC status code: 0 is OK.
    pub code: u32,
    /// The message of the status.
    pub message: String,
    /// A serialized `google.rpc.Status` for `grpc-status-details-bin`; see [`retry_info`].
    pub details: Bytes,
    /// The message of the answer, for code 0.
    pub body: Bytes,
    /// Sends this HTTP status and nothing of gRPC, as a proxy would.
    pub http_status: Option<u16>,
    /// Closes the stream without an answer.
    pub hangup: bool,
    /// Never answers.
    pub silence: bool,
    /// How long to wait before the answer; the call is recorded before.
    pub delay: Duration,
}

impl GrpcReply {
    /// OK with an empty message.
    pub fn ok() -> Self {
        Self::default()
    }

    /// OK with this message.
    pub fn message(body: impl Into<Bytes>) -> Self {
        GrpcReply { body: body.into(), ..Self::default() }
    }

    /// A status other than OK.
    pub fn status(code: u32, message: &str) -> Self {
        GrpcReply { code, message: message.to_owned(), ..Self::default() }
    }

    /// With these details.
    #[must_use]
    pub fn details(mut self, details: impl Into<Bytes>) -> Self {
        self.details = details.into();
        self
    }
}

/// A `google.rpc.Status` with a `google.rpc.RetryInfo` among its details.
pub fn retry_info(code: u32, seconds: u64, nanos: u32) -> Bytes {
    #[derive(prost::Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    #[derive(prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Delay>,
    }
    #[derive(prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(prost::Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    use prost::Message;
    let delay = Delay { seconds: seconds as i64, nanos: nanos as i32 };
    let any = |name: &str, value| Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value };
    let info = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
    // Another detail stands before it, as servers may add.
    let details = vec![any("DebugInfo", vec![]), any("RetryInfo", info)];
    Status { code: code as i32, message: String::new(), details }.encode_to_vec().into()
}

type Script = Arc<dyn Fn(&Call) -> GrpcReply + Send + Sync>;

/// A server on 127.0.0.1 with a port that the system chose. It stops when it is dropped.
pub struct GrpcServer {
    addr: SocketAddr,
    tls: bool,
    log: Arc<Log<Call>>,
    _running: Running,
}

impl GrpcServer {
    /// Answers each call with what `reply` makes of it.
    pub async fn start(reply: impl Fn(&Call) -> GrpcReply + Send + Sync + 'static) -> GrpcServer {
        Self::listen(None, Arc::new(reply), true).await
    }

    /// The same without a record of what came in, for long runs: `reply` sees it all.
    pub async fn start_without_log(reply: impl Fn(&Call) -> GrpcReply + Send + Sync + 'static) -> GrpcServer {
        Self::listen(None, Arc::new(reply), false).await
    }

    /// The same over TLS; see [`crate::tls`].
    pub async fn start_tls(
        tls: Arc<rustls::ServerConfig>,
        reply: impl Fn(&Call) -> GrpcReply + Send + Sync + 'static,
    ) -> GrpcServer {
        Self::listen(Some(tls.into()), Arc::new(reply), true).await
    }

    async fn listen(tls: Option<TlsAcceptor>, reply: Script, keep: bool) -> GrpcServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let log = Log::new();
        let secure = tls.is_some();
        let running = serve::tcp(listener, tls, Scripted { reply, log: log.clone(), keep });
        GrpcServer { addr, tls: secure, log, _running: running }
    }

    /// `http://127.0.0.1:<port>`; with TLS `https://localhost:<port>`.
    pub fn url(&self) -> String {
        let port = self.addr.port();
        if self.tls { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What has come in so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.log.all()
    }

    /// Waits until at least `n` calls have come in and returns all.
    ///
    /// # Panics
    /// If they do not come within 20 seconds.
    pub async fn wait_for(&self, n: usize) -> Vec<Call> {
        self.log.wait_for(n).await
    }
}

#[derive(Clone)]
struct Scripted {
    reply: Script,
    log: Arc<Log<Call>>,
    keep: bool,
}

impl Answer for Scripted {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Hangup> {
        let (head, body) = request.into_parts();
        let frame = body.collect().await.map_err(|_| Hangup)?.to_bytes();
        let signal = match head.uri.path() {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
            _ => return Ok(answer(&GrpcReply::status(12, "no such method"))),
        };
        let encoding = head.headers.get("grpc-encoding").map_or("", |v| v.to_str().unwrap());
        let call = Call {
            signal,
            path: head.uri.path().to_owned(),
            wire_len: frame.len().saturating_sub(5),
            body: unframe(frame, encoding),
            headers: head.headers,
        };
        let reply = (self.reply)(&call);
        if self.keep {
            self.log.add(call);
        }
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        if reply.hangup {
            return Err(Hangup);
        }
        if reply.silence {
            std::future::pending::<()>().await;
        }
        Ok(answer(&reply))
    }
}

fn unframe(mut frame: Bytes, encoding: &str) -> Bytes {
    let flag = frame.get_u8();
    let length = frame.get_u32() as usize;
    assert_eq!(length, frame.len(), "one message in one frame");
    match flag {
        0 => frame,
        1 => serve::decompress(encoding, frame),
        other => panic!("flag {other}"),
    }
}

fn answer(reply: &GrpcReply) -> Response<Body> {
    if let Some(status) = reply.http_status {
        let body = Full::new(Bytes::from(reply.message.clone())).boxed_unsync();
        return Response::builder().status(status).body(body).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(reply.code));
    if !reply.message.is_empty() {
        let escaped = reply.message.replace('%', "%25").replace('\n', "%0A");
        trailers.insert("grpc-message", escaped.parse().expect("a message of ASCII"));
    }
    if !reply.details.is_empty() {
        let encoded = STANDARD_NO_PAD.encode(&reply.details);
        trailers.insert("grpc-status-details-bin", encoded.parse().unwrap());
    }
    let mut frame = Vec::new();
    if reply.code == 0 {
        frame.put_u8(0);
        frame.put_u32(reply.body.len() as u32);
        frame.put_slice(&reply.body);
    }
    let response = Response::builder().header("content-type", "application/grpc");
    let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
    response.body(body.boxed_unsync()).unwrap()
}

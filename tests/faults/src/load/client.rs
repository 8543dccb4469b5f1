//! One connection to the bridge, over HTTP/1.1 or gRPC, and what its answers mean to a sender.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use muxbridge_testkit::oracle::Message;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

/// How long a sender waits for an answer, as the SDKs do by default.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// What an answer means to a sender.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted,
    /// Not before this delay, if one was named.
    Later(Option<Duration>),
    /// There was no answer: whether the request was accepted is not known.
    Broken,
    /// Anything else.
    Wrong(String),
}

enum Connection {
    None,
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

/// A sender's connection. It is made again when it broke.
pub(crate) struct Client {
    protocol: Protocol,
    port: u16,
    connection: Connection,
}

impl Client {
    pub(crate) fn new(protocol: Protocol, port: u16) -> Self {
        Client { protocol, port, connection: Connection::None }
    }

    /// Sends one request with spans.
    pub(crate) async fn send(&mut self, request: &Bytes) -> Answer {
        self.post("traces", request).await
    }

    /// Sends one request of this signal.
    pub(crate) async fn post(&mut self, signal: &str, request: &Bytes) -> Answer {
        let answer = tokio::time::timeout(TIMEOUT, self.attempt(signal, request)).await;
        let answer = answer.ok().flatten().unwrap_or(Answer::Broken);
        if matches!(answer, Answer::Broken) {
            self.connection = Connection::None;
        }
        answer
    }

    async fn attempt(&mut self, signal: &str, request: &Bytes) -> Option<Answer> {
        if matches!(self.connection, Connection::None) {
            self.connection = self.connect().await?;
        }
        match &mut self.connection {
            Connection::None => None,
            Connection::Http(http) => {
                let request = Request::post(format!("/v1/{signal}"))
                    .header("host", format!("127.0.0.1:{}", self.port))
                    .header("content-type", "application/x-protobuf")
                    .body(Full::new(request.clone()))
                    .ok()?;
                http.ready().await.ok()?;
                Some(http_answer(http.send_request(request).await.ok()?).await)
            }
            Connection::Grpc(grpc) => {
                let mut frame = BytesMut::with_capacity(request.len() + 5);
                frame.put_u8(0);
                frame.put_u32(request.len() as u32);
                frame.put_slice(request);
                let service = match signal {
                    "traces" => "trace.v1.TraceService",
                    "metrics" => "metrics.v1.MetricsService",
                    _ => "logs.v1.LogsService",
                };
                let path = format!("/opentelemetry.proto.collector.{service}/Export");
                let request = Request::post(format!("http://127.0.0.1:{}{path}", self.port))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(frame.freeze()))
                    .ok()?;
                grpc.ready().await.ok()?;
                grpc_answer(grpc.send_request(request).await.ok()?).await
            }
        }
    }

    async fn connect(&self) -> Option<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(stream);
        Some(match self.protocol {
            Protocol::Http => {
                let (sender, connection) = http1::handshake(io).await.ok()?;
                tokio::spawn(connection);
                Connection::Http(sender)
            }
            Protocol::Grpc => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                let (sender, connection) = builder.timer(TokioTimer::new()).handshake(io).await.ok()?;
                tokio::spawn(connection);
                Connection::Grpc(sender)
            }
        })
    }
}

async fn http_answer(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return Answer::Broken };
    match head.status {
        StatusCode::OK => accepted(&body.to_bytes()),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Later(head.headers.get("retry-after").and_then(retry_after)),
        status => Answer::Wrong(format!("{status} {}", String::from_utf8_lossy(&body.to_bytes()))),
    }
}

/// A success without `partial_success` is empty.
fn accepted(body: &[u8]) -> Answer {
    if body.is_empty() { Answer::Accepted } else { Answer::Wrong(format!("a partial success: {body:?}")) }
}

fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

async fn grpc_answer(response: Response<Incoming>) -> Option<Answer> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Some(Answer::Wrong(format!("HTTP {}", head.status)));
    }
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().unwrap_or(&head.headers).clone();
    let body = body.to_bytes();
    let code = trailers.get("grpc-status")?.to_str().ok()?.to_owned();
    Some(match code.as_str() {
        "0" => accepted(body.get(5..).unwrap_or_default()),
        // ABORTED, CANCELLED, DEADLINE_EXCEEDED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        "1" | "4" | "10" | "11" | "14" | "15" => Answer::Later(retry_info(&trailers)),
        "8" if retry_info(&trailers).is_some() => Answer::Later(retry_info(&trailers)),
        code => Answer::Wrong(format!("gRPC status {code} {:?}", trailers.get("grpc-message"))),
    })
}

/// The delay in a `google.rpc.RetryInfo`.
fn retry_info(trailers: &HeaderMap) -> Option<Duration> {
    #[derive(prost::Message)]
    struct Status {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        delay: Option<Delay>,
    }
    #[derive(prost::Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    let encoded = trailers.get("grpc-status-details-bin")?.as_bytes();
    let bytes = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let details = Status::decode(&bytes[..]).ok()?.details;
    let info = details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.delay?;
    Some(Duration::new(delay.seconds.try_into().ok()?, delay.nanos.try_into().ok()?))
}

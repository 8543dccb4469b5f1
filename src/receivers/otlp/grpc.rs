//! OTLP over gRPC: the three unary calls, read from the frames of the body.
//!
//! The message is taken from its frame here and not by a gRPC library, so that both protocols read bodies under the
//! same limits while they arrive. See docs/adr/otlp-grpc-frames.md.

use super::body::{Answer, Pieces, Share};
use super::inflate::{Encoding, Inflate};
use super::intake::Intake;
use super::refusal::Refusal;
use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body;
use muxbridge_core::Signal;

/// A flag whether the message is compressed, and its length as four bytes.
const HEADER: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODINGS: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

/// Answers one call; `limit` is the largest message in bytes.
pub(super) async fn answer<B>(intake: &Intake, limit: usize, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let (parts, body) = request.into_parts();
    let mut response = match take(intake, limit, &parts, body).await {
        Ok(()) => success(),
        Err(refusal) => turn_away(intake, &refusal, &parts.headers),
    };
    response.headers_mut().insert("grpc-accept-encoding", ENCODINGS);
    response
}

/// Answers a call that is not taken.
pub(super) fn turn_away(intake: &Intake, refusal: &Refusal, headers: &HeaderMap) -> Response<Answer> {
    intake.count(refusal);
    let mut response = refuse(refusal);
    if !headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        // What is no gRPC client looks at the status of HTTP.
        *response.status_mut() = refusal.http_status();
    }
    response
}

async fn take<B>(intake: &Intake, limit: usize, parts: &Parts, body: B) -> Result<(), Refusal>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    if !parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(Refusal::MediaType("read here: application/grpc".to_owned()));
    }
    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    let signal = match parts.uri.path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        _ => return Err(Refusal::NoSuchPath("served here: Export of the OTLP services".to_owned())),
    };
    let encoding = match parts.headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None => Encoding::Identity,
        Some(name) => match Encoding::named(name) {
            Some(known @ (Encoding::Identity | Encoding::Gzip | Encoding::Zstd)) => known,
            _ => {
                return Err(Refusal::Encoding("read here: grpc-encoding gzip, zstd and identity".to_owned()));
            }
        },
    };
    let mut share = intake.share();
    let otlp = read_message(Pieces::new(body, limit + HEADER), encoding, limit, &mut share).await?;
    intake.accept(signal, otlp).await
}

fn is_grpc(value: &HeaderValue) -> bool {
    let media = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    media.eq_ignore_ascii_case(b"application/grpc") || media.eq_ignore_ascii_case(b"application/grpc+proto")
}

/// The one message of a unary call.
async fn read_message<B>(
    mut pieces: Pieces<B>,
    encoding: Encoding,
    limit: usize,
    share: &mut Share,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let mut header = [0u8; HEADER];
    let mut have = 0;
    let mut message: Option<(Inflate, usize)> = None;
    while let Some(mut piece) = pieces.next().await? {
        while !piece.is_empty() {
            match &mut message {
                None => {
                    let n = piece.len().min(HEADER - have);
                    piece.copy_to_slice(&mut header[have..have + n]);
                    have += n;
                    if have == HEADER {
                        message = Some(open(header, encoding, limit)?);
                    }
                }
                Some((_, 0)) => return Err(Refusal::Invalid("more than one message in the call".to_owned())),
                Some((inflate, left)) => {
                    let n = piece.len().min(*left);
                    inflate.push(piece.split_to(n))?;
                    *left -= n;
                    share.grow_to(inflate.len())?;
                }
            }
        }
    }
    match message {
        None => Err(Refusal::Invalid("there is no message in the call".to_owned())),
        Some((inflate, 0)) => inflate.finish(),
        Some((_, left)) => Err(Refusal::Invalid(format!("the message ends {left} bytes early"))),
    }
}

fn open(header: [u8; HEADER], encoding: Encoding, limit: usize) -> Result<(Inflate, usize), Refusal> {
    let [compressed, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        return Err(Refusal::TooLarge(format!("the request is over {limit} bytes")));
    }
    let encoding = match (compressed, encoding) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Identity) => {
            return Err(Refusal::Invalid(
                "the message is compressed, but grpc-encoding says nothing".to_owned(),
            ));
        }
        (1, encoding) => encoding,
        (flag, _) => return Err(Refusal::Invalid(format!("{flag} is no flag of a gRPC message"))),
    };
    Ok((Inflate::new(encoding, limit, length)?, length))
}

/// A frame with an empty message: a full success leaves everything unset.
fn success() -> Response<Answer> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response =
        Response::new(Answer { data: Bytes::from_static(&[0; HEADER]), trailers: Some(trailers) });
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// Headers alone, which gRPC reads as trailers.
pub(super) fn refuse(refusal: &Refusal) -> Response<Answer> {
    let status = refusal.rpc_status().to_grpc();
    let (parts, ()) = status.into_http::<()>().into_parts();
    Response::from_parts(parts, Answer { data: Bytes::new(), trailers: None })
}

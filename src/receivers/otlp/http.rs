//! OTLP over HTTP: one request in, one answer out.

use super::body::{Answer, Pieces, read};
use super::inflate::Encoding;
use super::intake::Intake;
use super::refusal::Refusal;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use muxbridge_core::Signal;
use std::time::Duration;

/// How much of a refused body is read and thrown away, and for how long at most.
const DISCARD: (usize, Duration) = (64 * 1024 * 1024, Duration::from_secs(5));

/// The same for whoever may not send anything.
const DISCARD_STRANGER: (usize, Duration) = (1024 * 1024, Duration::from_secs(1));

/// How requests and their answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// Parameters and case do not matter, and the value may hold any bytes.
    pub(super) fn of(headers: &HeaderMap) -> Option<Format> {
        let value = headers.get(CONTENT_TYPE)?.as_bytes();
        let media = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if media.eq_ignore_ascii_case(b"application/x-protobuf") {
            Some(Format::Protobuf)
        } else if media.eq_ignore_ascii_case(b"application/json") {
            Some(Format::Json)
        } else {
            None
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        })
    }
}

/// Answers one request; `limit` is the largest body in bytes.
pub(super) async fn answer<B>(intake: &Intake, limit: usize, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let (parts, body) = request.into_parts();
    // An error whose request has no format that we know is written as protobuf.
    let format = Format::of(&parts.headers).unwrap_or(Format::Protobuf);
    let mut pieces = Pieces::new(body, limit);
    match take(intake, limit, &parts, &mut pieces).await {
        Ok(()) => {
            // A full success is an empty message.
            let body = if format == Format::Json { Bytes::from_static(b"{}") } else { Bytes::new() };
            respond(format, body)
        }
        Err(refusal) => {
            intake.count(&refusal);
            discard(&parts, pieces, DISCARD).await;
            refuse(format, &refusal)
        }
    }
}

/// Answers a request of which nothing is to be read.
pub(super) async fn turn_away<B>(intake: &Intake, refusal: &Refusal, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    intake.count(refusal);
    let (parts, body) = request.into_parts();
    discard(&parts, Pieces::new(body, DISCARD_STRANGER.0), DISCARD_STRANGER).await;
    refuse(Format::of(&parts.headers).unwrap_or(Format::Protobuf), refusal)
}

/// Lets the sender finish, so that it reads our answer. Over HTTP/2 the answer has its own stream; a client that waits for
/// "100 Continue" has sent nothing.
async fn discard<B>(parts: &Parts, pieces: Pieces<B>, (most, within): (usize, Duration))
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    if parts.version < Version::HTTP_2 && !parts.headers.contains_key(EXPECT) {
        pieces.discard(most, within).await;
    }
}

async fn take<B>(intake: &Intake, limit: usize, parts: &Parts, pieces: &mut Pieces<B>) -> Result<(), Refusal>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let signal = match parts.uri.path() {
        "/v1/traces" => Signal::Traces,
        "/v1/metrics" => Signal::Metrics,
        "/v1/logs" => Signal::Logs,
        _ => return Err(Refusal::NoSuchPath("served here: /v1/traces, /v1/metrics and /v1/logs".to_owned())),
    };
    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    let format = Format::of(&parts.headers).ok_or_else(|| {
        Refusal::MediaType("read here: application/x-protobuf and application/json".to_owned())
    })?;
    let encoding = encoding(&parts.headers)?;
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(Refusal::TooLarge(format!("the request is over {limit} bytes")));
    }
    let mut share = intake.share();
    let expected = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    share.fits(expected)?;
    let body = read(pieces, encoding, limit, expected, &mut share).await?;
    let otlp = match format {
        Format::Protobuf => body,
        Format::Json => {
            let otlp = muxbridge_pdata::json::decode(signal, &body)
                .map_err(|error| Refusal::Invalid(error.to_string()))?;
            share.grow_to(body.len() + otlp.len())?;
            otlp
        }
    };
    intake.accept(signal, otlp).await
}

/// One encoding only: a body that is compressed twice is made to exhaust the reader.
fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut named = headers.get_all(CONTENT_ENCODING).iter();
    let Some(first) = named.next() else { return Ok(Encoding::Identity) };
    let found = if named.next().is_some() { None } else { Encoding::named(first.as_bytes().trim_ascii()) };
    found.ok_or_else(|| {
        Refusal::Encoding("read here: one content-encoding of gzip, zstd, deflate and identity".to_owned())
    })
}

fn respond(format: Format, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer { data: body, trailers: None });
    response.headers_mut().insert(CONTENT_TYPE, format.content_type());
    response
}

/// The answer to a request that is not taken.
pub(super) fn refuse(format: Format, refusal: &Refusal) -> Response<Answer> {
    let status = refusal.rpc_status();
    let body = if format == Format::Json { status.to_json() } else { status.to_protobuf() };
    let mut response = respond(format, body);
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    if let Some(wait) = refusal.wait() {
        // Whole seconds, rounded up: a fraction must not become "now".
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    match refusal {
        Refusal::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        Refusal::Unauthenticated(challenge) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Refusal::Encoding(_) => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, deflate"));
        }
        _ => {}
    }
    response
}

//! What an HTTP or gRPC status means for the pipeline.
//!
//! The tables are those of the OTLP specification, sections "Failures" of OTLP/gRPC and OTLP/HTTP, but for one: refused
//! credentials hold the data instead of dropping it (`ExportError::unauthorized`).

use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use muxbridge_core::ExportError;
use muxbridge_pdata::wire::Fields;
use std::time::{Duration, UNIX_EPOCH};

/// No destination can make a batch wait longer than this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// `grpc-status-details-bin` beyond this is not looked at.
const MAX_DETAILS_BYTES: usize = 8 << 10;
const EXCERPT_CHARS: usize = 512;

/// What to do about an OTLP/HTTP answer that is not a success: 429, 502, 503 and 504 are retryable, 413 is too large,
/// 401 and 403 wait for
/// the operator, everything else is permanent.
pub fn otlp_http_error(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now_unix_nanos: u64,
) -> ExportError {
    let source = http_text(status, headers, body);
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            ExportError::Retryable { after: retry_after(headers, now_unix_nanos), source: source.into() }
        }
        413 => ExportError::too_large(source),
        401 | 403 => ExportError::unauthorized(source),
        _ => ExportError::permanent("rejected", source),
    }
}

fn http_text(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let protobuf =
        headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/x-protobuf"));
    let said = if protobuf { excerpt(status_message(body)) } else { excerpt(body) };
    let mut text = format!("HTTP {status}");
    if status.is_redirection() {
        let to = headers.get(LOCATION).map(|l| excerpt(l.as_bytes())).unwrap_or_default();
        text.push_str(&format!(" to {to:?}: redirects are not followed, change the endpoint"));
    }
    if !said.is_empty() {
        text.push_str(": ");
        text.push_str(&said);
    }
    text
}

/// The message of a `google.rpc.Status`, the body of OTLP/HTTP errors.
fn status_message(body: &[u8]) -> &[u8] {
    Fields::new(body).find(|f| f.number == 2).map(|f| f.value.as_bytes()).unwrap_or_default()
}

/// The delay of a `Retry-After` header, whether in seconds or as a date, at most an hour. A date in the past is no delay.
pub fn retry_after(headers: &HeaderMap, now_unix_nanos: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number holds is a long time too.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(MAX_RETRY_AFTER));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH + Duration::from_nanos(now_unix_nanos);
    Some(date.duration_since(now).unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// The start of a foreign text for an error or a log line: at most 512 characters, control characters escaped, and
/// those that turn the direction of writing, so that it cannot forge lines.
pub fn excerpt(body: &[u8]) -> String {
    // A character has at most four bytes; the rest is not even decoded.
    let head = &body[..body.len().min(EXCERPT_CHARS * 4)];
    let text = String::from_utf8_lossy(head);
    let mut out = String::new();
    let mut chars = text.trim().chars();
    for c in chars.by_ref().take(EXCERPT_CHARS) {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    if chars.next().is_some() || head.len() < body.len() {
        out.push_str("...");
    }
    out
}

/// What to do about a gRPC status that is not OK. `RESOURCE_EXHAUSTED` is retryable only if the server says when
/// (`RetryInfo`). A message that says that the request is over the size limit of the server, which servers report
/// under either of two codes, is too large.
pub fn grpc_error(status: &tonic::Status) -> ExportError {
    use tonic::Code;
    let delay = retry_info(status.details());
    let text = format!("gRPC {:?}: {}", status.code(), excerpt(status.message().as_bytes()));
    match status.code() {
        Code::ResourceExhausted | Code::OutOfRange if delay.is_none() && over_limit(status.message()) => {
            ExportError::too_large(text)
        }
        Code::ResourceExhausted if delay.is_none() => ExportError::permanent("rejected", text),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => ExportError::Retryable { after: delay, source: text.into() },
        Code::Unauthenticated | Code::PermissionDenied => ExportError::unauthorized(text),
        _ => ExportError::permanent("rejected", text),
    }
}

/// The words of grpc-go ("received message larger than max"), grpc-java and C++ ("exceeds maximum size", "larger than
/// max") and of tonic ("decoded message length too large").
fn over_limit(message: &str) -> bool {
    ["larger than max", "exceeds maximum", "message length too large"].iter().any(|m| message.contains(m))
}

/// The delay of a `google.rpc.RetryInfo` among the details of a `google.rpc.Status`, at most an hour.
fn retry_info(details: &[u8]) -> Option<Duration> {
    if details.len() > MAX_DETAILS_BYTES {
        return None;
    }
    let bytes_of = |message, number| {
        Fields::new(message).find(|f| f.number == number).map(|f| f.value.as_bytes()).unwrap_or_default()
    };
    let info = Fields::new(details)
        .filter(|f| f.number == 3)
        .map(|f| f.value.as_bytes())
        .find(|any| bytes_of(any, 1).ends_with(b"/google.rpc.RetryInfo"))?;
    let duration = bytes_of(bytes_of(info, 2), 1);
    let mut delay = Duration::ZERO;
    for field in Fields::new(duration) {
        // Both are signed; a negative delay is none.
        let value = u64::try_from(field.value.as_u64() as i64).unwrap_or(0);
        delay = delay.saturating_add(match field.number {
            1 => Duration::from_secs(value),
            2 => Duration::from_nanos(value),
            _ => Duration::ZERO,
        });
    }
    Some(delay.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests;

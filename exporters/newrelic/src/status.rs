//! What New Relic's answer means: its table differs from OTLP's, which would lose data on 408, 500 and 520 to 530.

use http::{HeaderMap, Response, StatusCode};
use muxbridge_core::{BoxError, Delivered, ExportError};
use muxbridge_kit::status::{excerpt, retry_after};
use muxbridge_pdata::view::text;
use muxbridge_pdata::wire::Fields;
use std::time::Duration;
use tonic::{Code, Status};

/// A rate limit lasts for the rest of the minute; New Relic's own clients wait this long if it does not say.
const RATE_LIMITED: Duration = Duration::from_secs(10);
/// The longest wait that a `Retry-After` can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Turns an answer into an acknowledgement. The texts hold no request data and never the key: answers that repeat it are
/// masked.
pub(crate) fn outcome(
    response: &Response<bytes::Bytes>,
    otlp: bool,
    key: &str,
    now_unix_nanos: u64,
) -> Result<Delivered, ExportError> {
    let (status, headers, body) = (response.status(), response.headers(), response.body());
    if status.is_success() {
        return Ok(if otlp { partial_success(headers, body) } else { Delivered::default() });
    }
    let error = format!("New Relic answered {status}: {}", said(body, key));
    let after = retry_after(headers, now_unix_nanos).map(|wait| wait.min(LONGEST_WAIT));
    Err(table(status.as_u16(), after, error))
}

/// The table itself.
fn table(status: u16, after: Option<Duration>, error: String) -> ExportError {
    match status {
        413 => ExportError::too_large(error),
        429 => ExportError::Retryable { after: Some(after.unwrap_or(RATE_LIMITED)), source: error.into() },
        408 | 500.. => ExportError::Retryable { after, source: error.into() },
        401 | 403 => ExportError::unauthorized(format!("{error}; check license_key and region")),
        300..=399 | 404 | 405 | 410 => {
            ExportError::permanent("wrong_endpoint", format!("{error}; check the endpoint"))
        }
        400 => ExportError::permanent("invalid", error),
        _ => ExportError::permanent("rejected", error),
    }
}

/// The table for gRPC. New Relic sends no `RetryInfo`, and says that its CDN turns passing faults into `Unknown` and
/// `Internal`; OTLP's own table would lose data on all of them.
pub(crate) fn grpc(status: &Status) -> ExportError {
    let said = excerpt(status.message().as_bytes());
    let error = format!("New Relic answered gRPC {:?}: {said}", status.code());
    // What is no gRPC comes with the HTTP status as its message: a proxy, or the CDN.
    let http = status.message().strip_prefix("HTTP ").and_then(|rest| rest.get(..3)?.parse().ok());
    if let Some(http) = http {
        return table(http, None, error);
    }
    match status.code() {
        Code::ResourceExhausted | Code::OutOfRange if said.contains("larger than max") => {
            ExportError::too_large(error)
        }
        Code::ResourceExhausted => table(429, None, error),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Unavailable
        | Code::Internal
        | Code::Unknown
        | Code::DataLoss => table(500, None, error),
        Code::Unauthenticated | Code::PermissionDenied => table(401, None, error),
        Code::NotFound | Code::Unimplemented => table(404, None, error),
        Code::InvalidArgument => table(400, None, error),
        _ => ExportError::permanent("rejected", error),
    }
}

/// The error without the key, if an answer repeated it.
pub(crate) fn without_key(error: ExportError, key: &str) -> ExportError {
    let source = |source: BoxError| -> BoxError {
        let text = source.to_string();
        if !key.is_empty() && text.contains(key) { masked(&text, key).into() } else { source }
    };
    match error {
        ExportError::Retryable { after, source: s } => ExportError::Retryable { after, source: source(s) },
        ExportError::Permanent { reason, source: s } => ExportError::Permanent { reason, source: source(s) },
        ExportError::TooLarge { source: s } => ExportError::TooLarge { source: source(s) },
    }
}

/// The beginning of an answer. Masked before it is cut: a part of the key would no longer be found.
fn said(body: &[u8], key: &str) -> String {
    excerpt(masked(&String::from_utf8_lossy(body), key).as_bytes())
}

fn masked(text: &str, key: &str) -> String {
    if key.is_empty() { text.to_owned() } else { text.replace(key, "***") }
}

/// New Relic answers with nothing at all; something else that takes OTLP may answer with an
/// `Export*ServiceResponse`: `partial_success` (1) with the number of rejected items (1) and a message (2).
fn partial_success(headers: &HeaderMap, body: &[u8]) -> Delivered {
    let protobuf = headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/x-protobuf"));
    if protobuf { from_proto(body) } else { Delivered::default() }
}

/// An `Export*ServiceResponse`.
pub(crate) fn from_proto(body: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    let partial = Fields::new(body).filter(|f| f.number == 1);
    for f in partial.flat_map(|f| Fields::new(f.value.as_bytes())) {
        match f.number {
            // A negative count would be nonsense.
            1 => delivered.rejected = u64::try_from(f.value.as_u64() as i64).unwrap_or_default(),
            2 => delivered.message = excerpt(text(f.value.as_bytes()).as_bytes()),
            _ => {}
        }
    }
    delivered
}

/// The id that an answer of one of New Relic's own APIs gives, for finding the request in `NrIntegrationError`.
pub(crate) fn request_id(status: StatusCode, body: &[u8]) -> Option<String> {
    if !status.is_success() || body.is_empty() {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    answer.get("requestId").or_else(|| answer.get("uuid"))?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;

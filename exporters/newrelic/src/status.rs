//! What New Relic's answer means: its table differs from OTLP's, which would lose data on 408, 500 and 520 to 530.

use http::{HeaderMap, Response, StatusCode};
use muxbridge_core::{Delivered, ExportError};
use muxbridge_kit::status::{excerpt, retry_after};
use muxbridge_pdata::view::text;
use muxbridge_pdata::wire::Fields;
use std::time::Duration;

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
    let error = format!("New Relic answered {status}: {}", masked(&excerpt(body), key));
    let after = || retry_after(headers, now_unix_nanos).map(|wait| wait.min(LONGEST_WAIT));
    Err(match status.as_u16() {
        413 => ExportError::too_large(error),
        429 => ExportError::Retryable { after: Some(after().unwrap_or(RATE_LIMITED)), source: error.into() },
        408 | 500.. => ExportError::Retryable { after: after(), source: error.into() },
        401 | 403 => ExportError::permanent("unauthorized", format!("{error}; check license_key and region")),
        300..=399 | 404 | 405 | 410 => {
            ExportError::permanent("wrong_endpoint", format!("{error}; check the endpoint"))
        }
        400 => ExportError::permanent("invalid", error),
        _ => ExportError::permanent("rejected", error),
    })
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
    let mut delivered = Delivered::default();
    if !protobuf {
        return delivered;
    }
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

/// The id that a Trace API answer gives, for finding the request in `NrIntegrationError`.
pub(crate) fn request_id(status: StatusCode, body: &[u8]) -> Option<String> {
    if !status.is_success() || body.is_empty() {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    answer.get("requestId")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;

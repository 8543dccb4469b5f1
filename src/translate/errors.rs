//! `error.type` from the texts that ModelMuxer writes into exceptions and span statuses.

use muxbridge_pdata::view::{Span, StatusCode, text};
use std::borrow::Cow;

/// What is known of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorType<'a> {
    /// The value of `error.type`: few different ones.
    pub name: Cow<'a, str>,
    /// The HTTP status that the upstream answered with, if the text tells.
    pub upstream_status: Option<u16>,
    /// The HTTP status that ModelMuxer itself answers with, for the exceptions that have one of their own.
    pub own_status: Option<u16>,
}

/// Texts that stand before the three digits of an upstream status.
const BEFORE_STATUS: [&str; 5] = [
    "Retryable HTTP error: ",
    "retryable status: ",
    "Client error '",
    "Server error '",
    "Non-retryable error: ",
];

/// Texts that stand for one type each, in the order in which they are looked for.
const BY_TEXT: [(&str, &str); 14] = [
    ("Retryable provider error", "provider_retryable"),
    ("Google retryable error", "provider_retryable"),
    ("ReadTimeout", "timeout"),
    ("ConnectTimeout", "timeout"),
    ("PoolTimeout", "timeout"),
    ("WriteTimeout", "timeout"),
    ("TimeoutException", "timeout"),
    ("ConnectError", "connection_error"),
    ("NetworkError", "connection_error"),
    ("RemoteProtocolError", "connection_error"),
    ("circuit_open", "circuit_open"),
    ("BudgetExceededError", "budget_exceeded"),
    ("NoProvidersAvailableError", "no_providers_available"),
    // The two exceptions that reach the client with their own status.
    ("RateLimitError", "429"),
];

/// The type of an error from the class of its exception and its text.
pub fn error_type<'a>(class: &'a str, message: &'a str) -> ErrorType<'a> {
    let own_status = match class.rsplit('.').next().unwrap_or(class) {
        "RateLimitError" => Some(429),
        "AuthenticationError" => Some(401),
        "BudgetExceededError" => Some(402),
        "NoProvidersAvailableError" => Some(503),
        _ => None,
    };
    if let Some((digits, status)) = BEFORE_STATUS.iter().find_map(|before| status_after(message, before)) {
        return ErrorType { name: Cow::Borrowed(digits), upstream_status: Some(status), own_status };
    }
    let found = BY_TEXT.iter().find(|(pattern, _)| class.contains(pattern) || message.contains(pattern));
    let name = match found {
        Some((_, name)) => name,
        None if class.contains("AuthenticationError") || message.contains("AuthenticationError") => "401",
        None if class.is_empty() => "_OTHER",
        None => class,
    };
    ErrorType { name: Cow::Borrowed(name), upstream_status: None, own_status }
}

/// The type of the error that a span reports, or `None` if its status is no error.
pub fn span_error<'a>(span: &Span<'a>) -> Option<ErrorType<'a>> {
    if span.status.code != StatusCode::Error {
        return None;
    }
    if let Some(exception) = span.events().filter(|e| e.name == b"exception").last() {
        let attribute = |key: &[u8]| exception.attribute(key).and_then(|v| v.as_str()).unwrap_or_default();
        return Some(error_type(attribute(b"exception.type"), attribute(b"exception.message")));
    }
    // The SDK writes `Class: text` into the status.
    let message = text(span.status.message);
    let class = message.split_once(':').map_or("", |(class, _)| class);
    let is_class = class.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    Some(error_type(if is_class { class } else { "" }, message))
}

/// The three digits that follow `before`.
fn status_after<'a>(message: &'a str, before: &str) -> Option<(&'a str, u16)> {
    let rest = &message[message.find(before)? + before.len()..];
    let digits = rest.get(..3)?;
    let more = rest.as_bytes().get(3).is_some_and(u8::is_ascii_digit);
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    (all_digits && !more).then(|| digits.parse().ok()).flatten().map(|status| (digits, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_the_table_has_its_type() {
        for (class, message, name, upstream, own) in [
            ("RequestError", "Retryable HTTP error: 429", "429", Some(429), None),
            ("RequestError", "retryable status: 500", "500", Some(500), None),
            ("HTTPStatusError", "Client error '401 Unauthorized' for url 'http://h'", "401", Some(401), None),
            ("HTTPStatusError", "Server error '503 Service Unavailable' for url", "503", Some(503), None),
            ("ProviderError", "Non-retryable error: 401 - Client error '401 Unauth", "401", Some(401), None),
            ("RequestError", "Retryable provider error", "provider_retryable", None, None),
            ("RequestError", "Google retryable error", "provider_retryable", None, None),
            ("ReadTimeout", "", "timeout", None, None),
            ("httpx.ConnectTimeout", "", "timeout", None, None),
            ("ConnectError", "All connection attempts failed", "connection_error", None, None),
            ("RemoteProtocolError", "Server disconnected", "connection_error", None, None),
            ("ProviderError", "circuit_open", "circuit_open", None, None),
            ("BudgetExceededError", "No models within budget", "budget_exceeded", None, Some(402)),
            ("NoProvidersAvailableError", "", "no_providers_available", None, Some(503)),
            ("RateLimitError", "slow down", "429", None, Some(429)),
            ("AuthenticationError", "who are you", "401", None, Some(401)),
            ("TypeError", "got multiple values for argument", "TypeError", None, None),
            ("JSONDecodeError", "Expecting value", "JSONDecodeError", None, None),
            ("", "something", "_OTHER", None, None),
            ("X", "Client error '4019 is no status", "X", None, None),
            ("X", "Client error '4\u{e9}", "X", None, None),
        ] {
            let found = error_type(class, message);
            assert_eq!(
                (&*found.name, found.upstream_status, found.own_status),
                (name, upstream, own),
                "{class}: {message}"
            );
        }
    }
}

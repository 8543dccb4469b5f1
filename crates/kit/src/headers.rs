//! Headers that the user adds to every request: checked, and never printed.

use http::{HeaderMap, HeaderName, HeaderValue};
use muxbridge_core::BuildError;
use muxbridge_core::config::{Problems, Secret};
use std::collections::BTreeMap;

/// Header names and values as the user writes them. Values are secrets: most of them are credentials.
pub type Headers = BTreeMap<String, Secret>;

/// Headers that follow from the request itself; another value would make it unreadable.
const RESERVED: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "te",
    "transfer-encoding",
];

/// Reports every header that cannot be sent. Call it inside `problems.at("headers", ..)`.
pub fn check(headers: &Headers, problems: &mut Problems) {
    for (name, value) in headers {
        if let Err(problem) = parse(name, value) {
            problems.add(name, problem);
        }
    }
}

/// The headers as they are sent, with values that `Debug` does not show.
///
/// # Errors
/// The first header that [`check`] would report, by name.
pub fn build(headers: &Headers) -> Result<HeaderMap, BuildError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let (name, value) =
            parse(name, value).map_err(|e| BuildError::new(format!("headers.{name}: {e}")))?;
        map.insert(name, value);
    }
    Ok(map)
}

/// A header value that `Debug` does not show, for credentials that have an option of their own.
///
/// # Errors
/// If the value has characters that no header may have. The text does not contain it.
pub fn secret_value(value: &Secret) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(value.expose()).map_err(
        |_| "the value has characters that a header cannot carry (is there a line break at its end?)",
    )?;
    value.set_sensitive(true);
    Ok(value)
}

fn parse(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not a header name")?;
    if RESERVED.contains(&name.as_str()) {
        return Err("this header is set by the exporter; remove it");
    }
    Ok((name, secret_value(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect()
    }

    #[test]
    fn header_values_are_sent_but_not_printed() {
        let map = build(&headers(&[("Api-Key", "canary-123")])).unwrap();
        assert_eq!(map["api-key"], "canary-123");
        assert!(!format!("{map:?}").contains("canary"));
    }

    #[test]
    fn each_bad_header_is_reported_by_name_and_without_its_value() {
        let bad = headers(&[("a b", "canary-1"), ("api-key", "canary-2\n"), ("Content-Type", "canary-3")]);
        let mut problems = Problems::new();
        problems.at("headers", |p| check(&bad, p));
        let found: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3);
        assert!(found[0].starts_with("headers.Content-Type: "));
        assert!(found[1].starts_with("headers.a b: "));
        assert!(found[2].starts_with("headers.api-key: "));
        assert!(!found.concat().contains("canary"));
        let error = build(&headers(&[("x", "canary-4\n")])).unwrap_err().to_string();
        assert!(error.starts_with("headers.x: ") && !error.contains("canary"));
    }
}

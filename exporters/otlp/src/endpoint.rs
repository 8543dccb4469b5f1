//! Endpoints as users write them, to URIs.

use http::Uri;
use http::uri::PathAndQuery;

/// What an endpoint is for, which decides what it may consist of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Host and port.
    Grpc,
    /// Host, port and the start of a path.
    HttpBase,
    /// A URL that is used as it is.
    HttpWhole,
}

/// Reads an endpoint. Without a scheme it is `https`, or `http` if `insecure`; a scheme beats the flag.
pub(crate) fn parse(text: &str, insecure: bool, protocol: Protocol) -> Result<Uri, String> {
    if text.is_empty() {
        return Err(match protocol {
            Protocol::Grpc => "missing: where to send to, for example https://host:4317".into(),
            _ => "missing: where to send to, for example https://host:4318".into(),
        });
    }
    // A URL may hold a credential in front of the host or in the query.
    let shown = if text.contains(['@', '?']) { "the value".to_owned() } else { format!("{text:?}") };
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("{}://{text}", if insecure { "http" } else { "https" })
    };
    let uri: Uri = full.parse().map_err(|e| format!("{shown} is not a URL: {e}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("{shown}: the scheme must be http or https"));
    }
    if uri.host().unwrap_or_default().is_empty() {
        return Err(format!("{shown} has no host"));
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("credentials in a URL are not sent; use headers".into());
    }
    match protocol {
        Protocol::Grpc if !matches!(uri.path(), "" | "/") || uri.query().is_some() => {
            Err(format!("{shown}: gRPC has no path; for OTLP over HTTP use the exporter otlphttp"))
        }
        Protocol::HttpBase if uri.query().is_some() => {
            Err("a base URL has no query; give the whole URL as traces_endpoint and so on".into())
        }
        _ => Ok(uri),
    }
}

/// Adds a relative path to that of a base URL.
pub(crate) fn below(base: Uri, relative: &str) -> Result<Uri, String> {
    let path = format!("{}/{relative}", base.path().trim_end_matches('/'));
    let mut parts = base.into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|e| e.to_string())?);
    Uri::from_parts(parts).map_err(|e| e.to_string())
}

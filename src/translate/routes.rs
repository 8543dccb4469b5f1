//! The HTTP routes of ModelMuxer, found from the raw path that it reports.

/// Paths that are routes as they stand.
const EXACT: [&str; 15] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/messages",
    "/v1/models",
    "/v1/providers",
    "/providers",
    "/health",
    "/metrics",
    "/metrics/prometheus",
    "/user/stats",
    "/v1/analytics/costs",
    "/v1/analytics/routing",
    "/v1/analytics/budgets",
    "/docs",
    "/openapi.json",
];

/// The value of the label `http.route` in metrics for a path that is no known route.
pub const UNMATCHED: &str = "_unmatched";

/// The route of a raw path, or `None` if it is not one of ModelMuxer's: then there is no `http.route`, so that the
/// paths of scanners and file names never become the name of a span or a series.
pub fn known_route(path: impl AsRef<[u8]>) -> Option<&'static str> {
    let path = path.as_ref();
    let path = path.split(|b| *b == b'?').next().unwrap_or(path);
    if let Some(route) = EXACT.into_iter().find(|route| route.as_bytes() == path) {
        return Some(route);
    }
    if path == b"/dashboard" || path.starts_with(b"/dashboard/") {
        return Some("/dashboard/{path}");
    }
    let id = path.strip_prefix(b"/v1/threads/")?;
    (!id.is_empty() && !id.contains(&b'/')).then_some("/v1/threads/{id}")
}

/// The method as the HTTP conventions allow it in `http.request.method`: known ones in upper case, else `_OTHER`.
pub fn known_method(method: impl AsRef<[u8]>) -> &'static str {
    const KNOWN: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    KNOWN.into_iter().find(|known| known.as_bytes() == method.as_ref()).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_paths_become_a_route_and_ids_are_taken_out() {
        for (path, expected) in [
            ("/v1/chat/completions", Some("/v1/chat/completions")),
            ("/metrics/prometheus", Some("/metrics/prometheus")),
            ("/dashboard", Some("/dashboard/{path}")),
            ("/dashboard/app.js", Some("/dashboard/{path}")),
            ("/v1/threads/thread_3", Some("/v1/threads/{id}")),
            ("/v1/threads/thread_3/messages", None),
            ("/v1/chat/completions/", None),
            ("/dashboards", None),
            ("/some/random/path/123", None),
            ("", None),
        ] {
            assert_eq!(known_route(path), expected, "{path}");
        }
    }

    #[test]
    fn an_unknown_method_is_other() {
        assert_eq!(known_method("POST"), "POST");
        assert_eq!(known_method("PROPFIND"), "_OTHER");
        assert_eq!(known_method("get"), "_OTHER");
    }
}

//! The rows of the table for HTTP, and budget rejections, which come from them.

use super::kit::*;
use serde_json::{Value as Json, json};

fn attributes(method: &str, route: &str, status: Option<u16>) -> Json {
    let mut all = json!({"http.request.method": method, "http.route": route});
    if let Some(status) = status {
        all["http.response.status_code"] = json!(status);
        if status >= 500 {
            all["error.type"] = json!(status.to_string());
        }
    }
    all
}

#[test]
fn requests_are_counted_by_method_known_route_and_status() {
    let items = by_default(RUN1_END);
    let chat = "/v1/chat/completions";
    let row = |method: &str, route: &str, status, value| (attributes(method, route, Some(status)), value);
    let expected = expect([
        row("GET", "/health", 200, 31.0),
        row("GET", "/metrics/prometheus", 200, 12.0),
        row("POST", "/v1/analytics/budgets", 200, 5.0),
        row("POST", chat, 200, 428.0),
        row("GET", "/v1/analytics/costs", 200, 2.0),
        row("POST", "/v1/messages", 200, 16.0),
        row("POST", "/v1/messages", 400, 6.0),
        row("POST", chat, 400, 20.0),
        row("POST", chat, 500, 4.0),
        row("POST", chat, 502, 56.0),
        row("POST", chat, 401, 24.0),
        row("POST", chat, 402, 60.0),
        row("POST", chat, 403, 24.0),
        row("OPTIONS", chat, 200, 6.0),
        row("POST", "/v1/analytics/budgets", 400, 5.0),
        row("GET", "/dashboard/{path}", 200, 2.0),
        row("GET", "/docs", 200, 5.0),
        row("GET", "/v1/models", 200, 4.0),
        // thread_5, thread_3 and thread_4: 1 + 2 + 1.
        row("GET", "/v1/threads/{id}", 404, 4.0),
        row("GET", "/user/stats", 401, 17.0),
        row("POST", chat, 413, 2.0),
        row("GET", "/user/stats", 200, 67.0),
        row("GET", "/v1/analytics/budgets", 200, 2.0),
        row("GET", chat, 405, 3.0),
        row("POST", "/v1/messages", 402, 2.0),
        row("GET", "/v1/analytics/routing", 200, 1.0),
    ]);
    assert_eq!(values(&items, "modelmuxer.http.requests", "counter", "{request}"), expected);
    assert!(of(&items, "http_requests_total").is_empty());
}

#[test]
fn a_path_that_is_no_route_is_unmatched() {
    let items = by_default("scenario/metrics_prometheus.txt");
    let requests = one(&items, "modelmuxer.http.requests", &attributes("GET", "_unmatched", Some(404)));
    assert_eq!(requests.value, Some(1.0));
    let text = serde_json::to_string(&items.iter().map(|i| &i.attributes).collect::<Vec<_>>()).unwrap();
    assert!(!text.contains("/some/random/path"), "a raw path became a series");
}

#[test]
fn routes_that_become_one_start_when_the_first_of_them_did() {
    let items = by_default(RUN1_END);
    let merged = one(&items, "modelmuxer.http.requests", &attributes("GET", "/v1/threads/{id}", Some(404)));
    // `http_requests_created` of thread_5, the oldest of the three; doubles of that size are 0.24 us apart.
    assert!(merged.start.abs_diff(1_795_461_468_110_542_800) < 1_000, "{}", merged.start);
    assert_eq!(merged.time, T);
}

#[test]
fn durations_of_requests_are_seconds_with_the_scheme() {
    let items = by_default(RUN1_END);
    let mut health = attributes("GET", "/health", None);
    health["url.scheme"] = json!("http");
    let item = one(&items, "http.server.request.duration", &health);
    assert_eq!((item.kind, item.unit.as_str(), item.temporality), ("histogram", "s", 2));
    assert!(close(item.value.unwrap(), 0.094_357_602_000_172_85));
    let bounds = vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    // The differences of 16, 26, 27, 31, 31, ...
    let counts = vec![16, 10, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(item.histogram, Some((31, bounds.clone(), counts)));

    let mut threads = attributes("GET", "/v1/threads/{id}", None);
    threads["url.scheme"] = json!("http");
    let item = one(&items, "http.server.request.duration", &threads);
    let ms = 0.8096849999219558 + 1.6172550001556374 + 1.2117369999486982;
    assert!(close(item.value.unwrap(), ms / 1000.0));
    assert_eq!(item.histogram, Some((4, bounds, vec![3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])));
}

#[test]
fn time_to_headers_is_that_of_chat_completions_only() {
    let items = by_default("scenario/metrics_prometheus.txt");
    let found = of(&items, "modelmuxer.http.time_to_headers");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].attributes, attributes("POST", "/v1/chat/completions", None));
    assert!(close(found[0].value.unwrap(), 0.852_447_270_000_311_6));
    // Cumulative on the page: 0 1 3 3 6 6 9 10 10 10 10 10.
    let counts = vec![0, 1, 2, 0, 3, 0, 3, 1, 0, 0, 0, 0];
    assert_eq!(found[0].histogram.as_ref().unwrap().2, counts);
    assert_eq!(found[0].unit, "s");
}

#[test]
fn budget_rejections_are_the_requests_answered_with_402() {
    let items = by_default(RUN1_END);
    let expected = expect([
        (json!({"http.route": "/v1/chat/completions"}), 60.0),
        (json!({"http.route": "/v1/messages"}), 2.0),
    ]);
    assert_eq!(values(&items, "modelmuxer.budget.rejections", "counter", "{request}"), expected);
}

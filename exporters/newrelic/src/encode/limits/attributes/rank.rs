//! Which attributes stay where there are too many.

/// The order in which attributes are kept: what New Relic's pages are built on first, unknown names last.
pub(super) fn rank(key: &str) -> usize {
    const STANDARD: &[&str] = &[
        "client.",
        "cloud.",
        "code.",
        "container.",
        "db.",
        "deployment.",
        "error.",
        "exception.",
        "faas.",
        "gen_ai.",
        "host.",
        "http.",
        "instrumentation.",
        "k8s.",
        "log.",
        "logger.",
        "messaging.",
        "net.",
        "network.",
        "newrelic.",
        "openai.",
        "os.",
        "otel.",
        "peer.",
        "process.",
        "rpc.",
        "server.",
        "service.",
        "session.",
        "telemetry.",
        "thread.",
        "url.",
        "user.",
        "user_agent.",
    ];
    match key {
        "service.name" | "service.instance.id" | "aiEnabledApp" | "gen_ai.system" => 0,
        "instrumentation.provider" | "newrelic.event.type" => 0,
        _ if STANDARD.iter().any(|namespace| key.starts_with(namespace)) => 1,
        _ if key.starts_with("modelmuxer.") => 2,
        _ => 3,
    }
}

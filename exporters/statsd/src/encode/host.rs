//! Which host a resource is on.

use super::value::as_text;
use muxbridge_pdata::view::Resource;

/// Names that say nothing about where something runs.
const REJECTED: [&str; 6] = [
    "0.0.0.0",
    "127.0.0.1",
    "localhost",
    "localhost.localdomain",
    "localhost6.localdomain6",
    "ip6-localhost",
];

/// The host of a resource: the first of `host`, `datadog.host.name`, the Kubernetes node (with its cluster),
/// `host.id` and `host.name` that is a real name. A task on ECS Fargate has none.
pub fn resource_host(resource: &Resource<'_>) -> Option<String> {
    let get = |key: &str| {
        let value = resource.attribute(key.as_bytes())?;
        let value = as_text(&value);
        (!value.is_empty() && !REJECTED.contains(&value.as_ref())).then(|| value.into_owned())
    };
    if let Some(host) = get("host").or_else(|| get("datadog.host.name")) {
        return Some(host);
    }
    if get("aws.ecs.launchtype").is_some_and(|t| t.eq_ignore_ascii_case("fargate")) {
        return None;
    }
    if let Some(node) = get("k8s.node.name") {
        return Some(match get("k8s.cluster.name") {
            Some(cluster) => format!("{node}-{cluster}"),
            None => node,
        });
    }
    get("host.id").or_else(|| get("host.name"))
}

//! Who sends a line: the container, the data that Kubernetes injected, and how finely the Agent shall tag.

use schemars::JsonSchema;
use serde::Deserialize;

/// How many tags of its own the Agent adds to a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cardinality {
    /// None.
    None,
    /// Those that many containers share.
    Low,
    /// Down to the pod.
    Orchestrator,
    /// Down to the container.
    High,
}

impl Cardinality {
    const fn as_str(self) -> &'static str {
        match self {
            Cardinality::None => "none",
            Cardinality::Low => "low",
            Cardinality::Orchestrator => "orchestrator",
            Cardinality::High => "high",
        }
    }
}

/// The fields `|c:`, `|e:` and `|card:` of a line, in the order of Datadog's own clients. Characters that would end a
/// field are left out.
pub fn fields(container: &str, external_data: &str, cardinality: Option<Cardinality>) -> String {
    let mut out = String::new();
    let mut add = |key: &str, value: &str| {
        if value.is_empty() {
            return;
        }
        out.push('|');
        out.push_str(key);
        out.extend(value.chars().filter(|c| !c.is_control() && *c != '|'));
    };
    add("c:", container);
    add("e:", external_data);
    add("card:", cardinality.map_or("", Cardinality::as_str));
    out
}

/// The container in the text of `/proc/self/cgroup`: `ci-` and its id. `None` outside of one, or where a namespace hides
/// it.
pub fn container(cgroup: &str) -> Option<String> {
    cgroup.lines().rev().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let last = path.rsplit('/').find(|part| !part.is_empty())?;
        let name = last.strip_suffix(".scope").unwrap_or(last);
        let id = name.rsplit_once(['-', ':']).map_or(name, |(_, id)| id);
        // ECS puts a hyphen into its ids, Garden uses groups of letters; the common form is 64 hexadecimal digits.
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let ecs = |text: &str| {
            text.split_once('-').is_some_and(|(task, n)| {
                task.len() == 32
                    && task.bytes().all(|b| b.is_ascii_hexdigit())
                    && n.bytes().all(|b| b.is_ascii_digit())
            })
        };
        if hex(id) {
            Some(format!("ci-{id}"))
        } else if ecs(name) {
            Some(format!("ci-{name}"))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_the_order_of_datadogs_clients_and_cannot_break_a_line() {
        assert_eq!(fields("", "", None), "");
        assert_eq!(
            fields("ci-abc", "it-false,cn-nginx", Some(Cardinality::Low)),
            "|c:ci-abc|e:it-false,cn-nginx|card:low"
        );
        assert_eq!(fields("", "a|b\nc", Some(Cardinality::Orchestrator)), "|e:abc|card:orchestrator");
    }

    #[test]
    fn the_container_is_found_in_what_the_kernel_says() {
        let id = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
        for line in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("13:name=systemd:/docker/{id}\n"),
            format!("1:name=systemd:/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("0::/kubepods/besteffort/pod3d274242/{id}"),
        ] {
            assert_eq!(container(&line), Some(format!("ci-{id}")), "{line}");
        }
        let task = "34dc0b5e626f2c5c4c5170e34b10e765-1234567890";
        assert_eq!(container(&format!("9:cpu:/ecs/x/{task}")), Some(format!("ci-{task}")));
        for none in ["", "0::/", "0::/user.slice/session-1.scope", "nonsense"] {
            assert_eq!(container(none), None);
        }
    }
}

//! What `deploy/` holds is valid, and fits the program.

use super::program::PROGRAM;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(path).expect("a file of deploy/")
}

#[test]
fn the_configuration_for_kubernetes_is_valid_and_its_probes_and_paths_fit() {
    let documents: Vec<Value> =
        file("kubernetes.yaml").split("\n---\n").map(|d| serde_saphyr::from_str(d).expect("YAML")).collect();
    let kind = |kind: &str| documents.iter().find(|d| d["kind"] == kind).expect("a document of the kind");
    let config = kind("ConfigMap")["data"]["muxbridge.yaml"].as_str().expect("the configuration");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("muxbridge.yaml");
    std::fs::write(&path, config).expect("written");
    let key = "0123456789012345678901234567890123456789";
    let output = Command::new(PROGRAM).arg("validate").arg(&path).env("NEW_RELIC_LICENSE_KEY", key).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let pod = &kind("StatefulSet")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["args"], serde_json::json!(["run", "--config", "/etc/muxbridge/muxbridge.yaml"]));
    let mounts: Vec<_> = container["volumeMounts"].as_array().into_iter().flatten().collect();
    for (name, mount) in [("config", "/etc/muxbridge"), ("data", "/data")] {
        assert!(mounts.iter().any(|m| m["name"] == name && m["mountPath"] == mount), "{name}");
    }
    assert!(config.contains("data_dir: /data") && config.contains("endpoint: 0.0.0.0:9090"));
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(
            container[probe]["httpGet"],
            serde_json::json!({ "path": "/health", "port": 9090 }),
            "{probe}"
        );
    }
}

#[test]
fn the_systemd_unit_starts_reloads_and_keeps_state_as_the_program_does() {
    let unit = file("muxbridge.service");
    let value = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.next_back().unwrap_or_else(|| panic!("no {key}"))
    };
    let mut words = value("ExecStart").split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/muxbridge"));
    // The arguments are understood: what is missing is the file.
    let output = Command::new(PROGRAM).args(words).output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("/etc/muxbridge/muxbridge.yaml: No such file"), "{text}");
    assert_eq!(value("RestartPreventExitStatus"), "78");
    assert_eq!(value("ExecReload"), "/bin/kill -HUP $MAINPID");
    assert_eq!(value("StateDirectory"), "muxbridge");
}

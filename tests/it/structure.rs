//! The shape of the project: who may depend on whom, how large files are, what every exporter brings.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|n| n != "target") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    ["src", "crates", "exporters", "examples", "tests"]
        .iter()
        .for_each(|d| walk(&root().join(d), &mut found));
    found
}

/// Tests are not held to the size of a file: their length is data.
fn is_test(path: &Path) -> bool {
    let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("tests.rs")
        || path.contains("/benches/")
}

#[test]
fn dependencies_point_one_way() {
    let allowed = |package: &str| -> Vec<&str> {
        match package {
            "muxbridge-pdata" | "muxbridge-seglog" => vec![],
            "muxbridge-core" => vec!["muxbridge-pdata"],
            "muxbridge-kit" | "muxbridge-testkit" => vec!["muxbridge-pdata", "muxbridge-core"],
            // Datadog's metrics are a dialect of StatsD; docs/adr/0003 says why it is not in the kit.
            "muxbridge-exporter-datadog" => {
                vec!["muxbridge-pdata", "muxbridge-core", "muxbridge-kit", "muxbridge-exporter-statsd"]
            }
            exporter if exporter.starts_with("muxbridge-exporter-") => {
                vec!["muxbridge-pdata", "muxbridge-core", "muxbridge-kit"]
            }
            _ => vec!["*"],
        }
    };
    let mut wrong = Vec::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let allowed = allowed(name);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let target = dependency["name"].as_str().expect("a name");
            let ours = target.starts_with("muxbridge") && dependency["kind"].is_null();
            if ours && !allowed.contains(&"*") && !allowed.contains(&target) {
                wrong.push(format!("{name} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "these arrows point the wrong way: {wrong:?}");
}

#[test]
fn the_core_knows_no_async_runtime() {
    for package in metadata()["packages"].as_array().expect("packages") {
        if ["muxbridge-core", "muxbridge-pdata", "muxbridge-seglog"]
            .contains(&package["name"].as_str().expect("a name"))
        {
            let tokio = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .any(|d| d["name"] == "tokio");
            assert!(!tokio, "{} depends on tokio", package["name"]);
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a file");
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: the first line does not say what it is"));
        }
        if path.ends_with("mod.rs") {
            wrong.push(format!("{name}: write foo.rs and foo/, not mod.rs"));
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count();
        // The tables of the schema and of the metrics are data.
        let table = path.ends_with("schema.rs") || path.ends_with("table.rs");
        if lines > 400 && !is_test(&path) && !table {
            wrong.push(format!("{name}: {lines} lines of code, more than 400"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_exporter_has_the_same_files() {
    for entry in std::fs::read_dir(root().join("exporters"))
        .expect("exporters")
        .flatten()
        .filter(|e| e.path().is_dir())
    {
        for file in ["README.md", "Cargo.toml", "src/lib.rs", "src/config.rs", "src/encode.rs", "tests"] {
            let path = entry.path().join(file);
            assert!(path.exists(), "{} is missing", path.display());
        }
    }
}

#[test]
fn versions_stand_in_one_place() {
    let mut wrong = BTreeMap::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        let manifest = package["manifest_path"].as_str().expect("a path");
        if Path::new(manifest) == root().join("Cargo.toml") {
            continue;
        }
        let text = std::fs::read_to_string(manifest).expect("a manifest");
        let mut dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                dependencies = line.ends_with("dependencies]");
            } else if dependencies
                && (line.contains("version") || line.contains("= \""))
                && !line.contains("path")
            {
                wrong.entry(manifest.to_owned()).or_insert_with(Vec::new).push(line.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "these versions belong into the workspace: {wrong:?}");
}

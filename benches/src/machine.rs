//! What was measured on what.

use serde_json::{Value, json};
use std::process::Command;

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).lines().next().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

/// The commit of the sources, with a note if they differ from it.
pub(crate) fn commit() -> String {
    first_line("git", &["describe", "--always", "--dirty", "--match", "no tag at all"])
}

/// Processor, cores, kernel and compiler.
pub(crate) fn describe() -> Value {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim()));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "processor": model.unwrap_or_default(), "cores": cores, "kernel": first_line("uname", &["-sr"]), "rustc": first_line("rustc", &["--version"]) })
}

//! The example does what it says.

use std::process::Command;

#[test]
fn the_spans_and_counters_of_the_program_reach_the_destination_of_the_bridge_inside_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed-example")).output().expect("it runs");
    // Where `debug` prints.
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.contains("request") && line.contains("number")).count(),
        3,
        "{text}"
    );
    assert!(text.lines().any(|line| line.contains("example.requests")), "{text}");
}

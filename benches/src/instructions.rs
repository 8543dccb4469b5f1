//! Instructions of each step, counted by valgrind and compared with a committed baseline. They do not depend on what else the
//! machine does, so that a step that became slower by a twentieth shows.

use crate::steps;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// By how much a step may grow.
const TOLERANCE: f64 = 0.05;
/// How often a step is run for one count and for the other: the difference leaves out the start of the program.
const TIMES: (u64, u64) = (4, 12);

/// Counts all steps and compares them with the baseline, or writes it. Says whether every step is within it.
pub(crate) fn check(baseline: &Path, write: bool, to: SocketAddr) -> io::Result<bool> {
    let mut out = io::stdout();
    let old: Value = match std::fs::read_to_string(baseline) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) if write => Value::Null,
        Err(error) => return Err(io::Error::other(format!("{}: {error}", baseline.display()))),
    };
    let machine = machine();
    if !write && old["counted_with"] != machine.as_str() {
        let before = &old["counted_with"];
        writeln!(out, "Not compared: the baseline was counted with {before}, this would be with {machine}.")?;
        return Ok(true);
    }
    let mut counted = Map::new();
    let mut good = true;
    for name in steps::ALL {
        let (few, many) = (count(name, TIMES.0, to)?, count(name, TIMES.1, to)?);
        let items = (TIMES.1 - TIMES.0) as f64 * steps::items(name);
        let now = (many.saturating_sub(few) as f64 / items * 10.0).round() / 10.0;
        counted.insert((*name).to_owned(), json!(now));
        let before = old["instructions_per_item"][*name].as_f64();
        let verdict = Verdict::of(before, now);
        good &= verdict.is_good();
        let before = before.map_or("-".to_owned(), |before| format!("{before:.1}"));
        writeln!(out, "{name:<22} {now:>9.1} instructions an item, {before:>9} before{}", verdict.note())?;
    }
    if write {
        let all = json!({ "counted_with": machine, "instructions_per_item": counted });
        std::fs::write(baseline, format!("{all:#}\n"))?;
        return Ok(true);
    }
    if !good {
        writeln!(
            out,
            "A step costs more than {:.0} % over {}. If that is what the change is worth, commit what this writes:\n    \
             cargo run --release -p muxbridge-bench -- --instructions --write-baseline",
            TOLERANCE * 100.0,
            baseline.display()
        )?;
    }
    Ok(good)
}

/// What a count says beside that of the baseline.
#[derive(Debug, PartialEq)]
enum Verdict {
    Unknown,
    More,
    Same,
    Less,
}

impl Verdict {
    fn of(before: Option<f64>, now: f64) -> Self {
        match before {
            None => Verdict::Unknown,
            Some(before) if now > before * (1.0 + TOLERANCE) => Verdict::More,
            Some(before) if now < before * (1.0 - TOLERANCE) => Verdict::Less,
            Some(_) => Verdict::Same,
        }
    }

    fn is_good(&self) -> bool {
        matches!(self, Verdict::Same | Verdict::Less)
    }

    fn note(&self) -> &'static str {
        match self {
            Verdict::Unknown => "  NOT in the baseline",
            Verdict::More => "  MORE than the baseline allows",
            Verdict::Same => "",
            Verdict::Less => "  less: a new baseline would keep it so",
        }
    }
}

/// Runs one step under valgrind.
fn count(name: &str, times: u64, to: SocketAddr) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--step", name, "--times", &times.to_string(), "--to", &to.to_string()])
        .output()
        .map_err(|e| io::Error::other(format!("valgrind: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let found = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    found.filter(|_| output.status.success()).ok_or_else(|| io::Error::other(format!("{name}: {said}")))
}

/// What counts depend on besides the code: the compiler, and the instructions that it and the libraries choose between.
fn machine() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let rustc = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let vectors = if cpu.contains(" avx2") { "with AVX2" } else { "without AVX2" };
    format!("{rustc}, {} {vectors}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn a_step_that_costs_a_twentieth_more_fails_and_a_cheaper_one_does_not() {
        let verdict = |now| Verdict::of(Some(200.0), now);
        assert_eq!((verdict(211.0), verdict(211.0).is_good()), (Verdict::More, false));
        assert_eq!((verdict(209.0), verdict(209.0).is_good()), (Verdict::Same, true));
        assert_eq!((verdict(100.0), verdict(100.0).is_good()), (Verdict::Less, true));
        assert!(!Verdict::of(None, 1.0).is_good(), "a step without a baseline is not checked");
    }
}

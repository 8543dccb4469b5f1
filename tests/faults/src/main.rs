//! Faults from outside: crashes, full and broken disks, failing destinations, overload. Each check drives the built
//! program with telemetry that it numbers itself, and compares what was acknowledged with what arrived.
//!
//! `cargo run -p faults -- all` runs every check, `-- B2 C4` these, `-- list` says what there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod bridge;
mod checks;
mod load;
mod oracle;
mod place;

use checks::{CHECKS, Check, Context, Outcome};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long one check may take, quick and at its full size: none waits for ever for what does not happen.
const LONGEST: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(1800)];

#[derive(Parser)]
struct Arguments {
    /// Ids of checks, or `all`, or `list`.
    #[arg(required = true)]
    ids: Vec<String>,
    /// Fewer runs of each, for every change.
    #[arg(long)]
    quick: bool,
    /// How often, for checks that repeat: kills, power cuts, damaged bits, reloads.
    #[arg(long)]
    runs: Option<u64>,
    /// How often a check that failed may run again: some compare times, and the machine may have been busy.
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// What is random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program under test. Default: built from this workspace with the profile of this program.
    #[arg(long)]
    program: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler of SIGINT");
    // Dropped on a signal: every guard ends its process, unmounts, removes its directory.
    tokio::select! {
        code = run(&arguments) => code,
        _ = terminate.recv() => ExitCode::from(143),
        _ = interrupt.recv() => ExitCode::from(130),
    }
}

async fn run(arguments: &Arguments) -> ExitCode {
    if arguments.ids == ["list"] {
        CHECKS.iter().for_each(|check| println!("{:<4} {}", check.id, check.what));
        return ExitCode::SUCCESS;
    }
    let mut chosen: Vec<&Check> = Vec::new();
    for id in &arguments.ids {
        let found: Vec<&Check> =
            CHECKS.iter().filter(|c| id == "all" || c.id.eq_ignore_ascii_case(id)).collect();
        if found.is_empty() {
            eprintln!("there is no check {id:?}; `list` says which there are");
            return ExitCode::from(64);
        }
        chosen.extend(found);
    }
    let program = match program(arguments) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(69);
        }
    };
    let mut failed = Vec::new();
    for check in chosen {
        let mut passed = false;
        for _ in 0..=arguments.retries {
            passed = passed || attempt(check, arguments, &program).await;
        }
        if !passed {
            failed.push(check.id);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(" "));
    ExitCode::FAILURE
}

/// Runs one check and says whether it passed.
async fn attempt(check: &Check, arguments: &Arguments, program: &Path) -> bool {
    let (Check { id, what, .. }, seed) = (check, arguments.seed);
    let scratch = tempfile::Builder::new().prefix("faults-").tempdir().expect("a directory");
    let context = Context {
        program: program.to_owned(),
        scratch: scratch.path().to_owned(),
        seed,
        quick: arguments.quick,
        runs: arguments.runs,
    };
    let began = Instant::now();
    let longest = LONGEST[usize::from(!arguments.quick)];
    let outcome = tokio::time::timeout(longest, (check.run)(context)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("it has not ended after {longest:?}")));
    let seconds = began.elapsed().as_secs_f64();
    match &outcome {
        Ok(Outcome::Passed(numbers)) => println!("{id} {what}: ok {numbers} seed={seed} ({seconds:.1} s)"),
        Ok(Outcome::Skipped(why)) => println!("{id} {what}: SKIPPED, {why}"),
        Err(why) => {
            println!("{id} {what}: FAILED seed={seed} ({seconds:.1} s)\n    {why}");
            println!("    the log of the bridge ended so:\n    {}", bridge::last_words(scratch.path()));
            println!("    again: cargo run -p faults -- {id} --seed {seed}");
        }
    }
    outcome.is_ok()
}

/// The program under test; built first if no other is named.
fn program(arguments: &Arguments) -> Result<PathBuf, String> {
    if let Some(program) = &arguments.program {
        return program.canonicalize().map_err(|e| format!("{}: {e}", program.display()));
    }
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let directory = own.parent().ok_or("this program is in no directory")?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--quiet", "--workspace", "--bin", "muxbridge"]);
    if directory.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().map_err(|e| format!("cargo: {e}"))?;
    if !built.success() {
        return Err("the program under test does not build".to_owned());
    }
    Ok(directory.join("muxbridge"))
}

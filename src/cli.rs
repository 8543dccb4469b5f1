//! The command line: one file for each subcommand.

mod components;
mod demo;
mod doctor;
mod newrelic;
mod queue;
mod run;
mod schema;
mod translate;
mod validate;

use crate::config::Config;
use crate::registry::Registry;
use clap::{Parser, Subcommand};
use muxbridge_core::config::Problems;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Brings ModelMuxer's telemetry to OTLP, StatsD, Datadog, New Relic and Prometheus.
#[derive(Parser)]
#[command(name = "muxbridge", version, arg_required_else_help = false)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the bridge (what it does without a subcommand, too). Without a file it is configured by the environment.
    Run(run::Arguments),
    /// Run the whole bridge on recorded telemetry, with no other program.
    Demo(demo::Arguments),
    /// Show what a destination would get for recorded telemetry. Nothing is sent.
    Translate(translate::Arguments),
    /// Try out what the configuration names: ports, destinations, the data directory, ModelMuxer; and say what to mend.
    Doctor(doctor::Arguments),
    /// Check a configuration file: all problems at once, no network.
    Validate(validate::Arguments),
    /// Show what is on the disk of a bridge and not yet delivered; repair it, or drop it, while the bridge is stopped.
    Queue(queue::Arguments),
    /// Print New Relic's dashboard and alert conditions for an account, or create them there.
    Newrelic {
        #[command(subcommand)]
        what: newrelic::Command,
    },
    /// List the receivers, processors and exporters that a configuration can name.
    Components(components::Arguments),
    /// Print what describes the configuration.
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// The JSON Schema of the configuration file.
    Schema,
}

/// Exit codes, as in sysexits.h.
pub(crate) mod exit {
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 64;
    /// The data in a file cannot be read.
    pub(crate) const DATA: u8 = 65;
    /// A file cannot be opened.
    pub(crate) const NO_INPUT: u8 = 66;
    /// A port, a file or a thread cannot be had.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// Output cannot be written.
    pub(crate) const IO: u8 = 74;
    /// Stopped by a second signal.
    pub(crate) const CUT_SHORT: u8 = 75;
    /// The configuration is wrong.
    pub(crate) const CONFIG: u8 = 78;
}

/// Runs the program with these components: arguments in, exit code out.
pub fn main(registry: Registry) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match arguments.command.unwrap_or(Command::Run(run::Arguments::default())) {
        Command::Run(arguments) => run::run(arguments, &registry),
        Command::Demo(arguments) => demo::run(&arguments, &registry),
        Command::Doctor(arguments) => doctor::run(&arguments, &registry),
        Command::Translate(arguments) => translate::run(&arguments, &registry),
        Command::Validate(arguments) => validate::run(&arguments, &registry),
        Command::Queue(arguments) => queue::run(&arguments, &registry),
        Command::Newrelic { what } => newrelic::run(&what),
        Command::Components(arguments) => components::run(&arguments, &registry),
        Command::Config { what: ConfigCommand::Schema } => schema::run(&registry),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Why the program ends, and with which exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Display) -> Self {
        Failure { code, text: text.to_string() }
    }
}

/// Writes a line for the person at the terminal.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}

/// Writes what the command was asked for. A reader that has gone is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(exit::IO, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn variables(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Loads and checks a file.
pub(crate) fn load(path: &Path, registry: &Registry) -> Result<Config, Failure> {
    let yaml = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(exit::CONFIG, format!("{}: {error}", path.display())))?;
    crate::config::load(&yaml, &variables, registry).map_err(|problems| failure(path.display(), problems))
}

fn failure(what: impl Display, problems: Problems) -> Failure {
    Failure::new(exit::CONFIG, failure_text(what, problems))
}

/// One line for each problem, below one that counts them.
pub(crate) fn failure_text(what: impl Display, problems: Problems) -> String {
    let count = problems.len();
    let mut text = format!("{what}: {count} {}\n", if count == 1 { "problem" } else { "problems" });
    for problem in problems.into_vec() {
        let place = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        text.push_str(&format!("  {place}{}\n", problem.problem));
    }
    text
}

/// `--config FILE`.
#[derive(clap::Args, Default)]
pub(crate) struct ConfigArgument {
    /// The configuration file (YAML).
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

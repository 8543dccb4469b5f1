//! `muxbridge queue`: what is on the disk of a bridge, and two things that can be done about it while it is stopped.

mod drop;
mod list;
#[cfg(test)]
mod tests;

use super::{ConfigArgument, Failure, exit, print, variables};
use crate::config::Service;
use crate::pipeline::journal::place::{Choice, writable};
use crate::registry::Registry;
use clap::Subcommand;
use muxbridge_core::Signal;
use muxbridge_seglog::vfs::{Vfs, disk::Disk};
use muxbridge_seglog::{Committer, Error, Log, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// The configuration that names the data directory. Without it: STATE_DIRECTORY, or /var/lib/muxbridge.
    #[command(flatten)]
    config: ConfigArgument,
    /// The data directory itself.
    #[arg(long, global = true, value_name = "DIRECTORY", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
    /// Read everything and compare every checksum: takes as long as reading the whole directory.
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
enum What {
    /// Open everything as the bridge does at start, put aside what cannot be read, and say what was found. The bridge must
    /// be stopped.
    Repair,
    /// Give up what waits for one destination. The bridge must be stopped.
    Drop {
        /// The id of the exporter, as in the configuration.
        #[arg(long, value_name = "ID")]
        destination: String,
        /// traces, metrics or logs; all of them without it.
        #[arg(long)]
        signal: Option<String>,
    },
}

/// Shows, repairs or drops.
pub(crate) fn run(arguments: &Arguments, registry: &Registry) -> Result<(), Failure> {
    let directory = directory(arguments, registry)?;
    if !directory.is_dir() {
        let text = format!("{}: no such directory; the bridge makes it when it starts", directory.display());
        return Err(Failure::new(exit::NO_INPUT, text));
    }
    let text = match &arguments.what {
        None => list::list(&directory, arguments.check)?,
        Some(What::Repair) => drop::repair(&directory)?,
        Some(What::Drop { destination, signal }) => {
            let signal = signal.as_deref().map(parse).transpose()?;
            drop::drop(&directory, destination, signal)?
        }
    };
    print(&text)
}

fn directory(arguments: &Arguments, registry: &Registry) -> Result<PathBuf, Failure> {
    if let Some(directory) = &arguments.data_dir {
        return Ok(directory.clone());
    }
    let service = match &arguments.config.config {
        Some(path) => super::load(path, registry)?.service,
        None => Service::default(),
    };
    // One who only looks need not be able to write.
    let there = |path: &Path| path.is_dir() || writable(path);
    let choice = Choice::new(&service, &variables, &there).map_err(|e| Failure::new(exit::CONFIG, e))?;
    let why = choice.why;
    choice.place.map(|place| place.directory).ok_or_else(|| {
        let text =
            format!("there is no data directory: {why}. Name it with --data-dir or a file with --config.");
        Failure::new(exit::CONFIG, text)
    })
}

fn parse(signal: &str) -> Result<Signal, Failure> {
    Signal::ALL
        .into_iter()
        .find(|s| s.as_str() == signal)
        .ok_or_else(|| Failure::new(exit::USAGE, format!("--signal {signal}: write traces, metrics or logs")))
}

fn disk() -> Arc<dyn Vfs> {
    Arc::new(Disk)
}

/// The directories of the logs that exist, by what they are called in the output.
fn logs(directory: &Path) -> Vec<(String, PathBuf)> {
    let outbound = Signal::ALL.map(|signal| format!("outbound/{signal}"));
    let names = outbound.into_iter().chain(["intake".to_owned()]);
    names.map(|name| (name.clone(), directory.join(name))).filter(|(_, path)| path.is_dir()).collect()
}

fn open(path: &Path) -> Result<(Log, muxbridge_seglog::Recovery), Failure> {
    // No budget is applied: what has expired is for the bridge to count.
    let options = Options { max_bytes: u64::MAX / 2, committer: Committer::Caller, ..Options::default() };
    Log::open(disk(), path, options).map_err(failed)
}

fn failed(error: Error) -> Failure {
    Failure::new(exit::UNAVAILABLE, error)
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

//! `muxbridge doctor`: tries out what a configuration names, and says what to mend.

mod defects;
mod destinations;
mod host;
mod sources;

use super::{ConfigArgument, Failure, print, variables};
use crate::config::{Config, environment};
use crate::registry::Registry;
use muxbridge_core::config::Problems;
use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::LevelFilter;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Send no test items: components are built, destinations are not asked.
    #[arg(long)]
    no_send: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    /// Works, but not as most would want it.
    Warn,
    Fail,
}

/// The result of one check.
#[derive(Debug)]
struct Finding {
    level: Level,
    /// The setting or the component, as in the configuration.
    what: String,
    says: String,
}

impl Finding {
    fn ok(what: impl Display, says: impl Display) -> Self {
        Finding { level: Level::Ok, what: what.to_string(), says: says.to_string() }
    }

    fn warn(what: impl Display, says: impl Display) -> Self {
        Finding { level: Level::Warn, what: what.to_string(), says: says.to_string() }
    }

    fn fail(what: impl Display, says: impl Display) -> Self {
        Finding { level: Level::Fail, what: what.to_string(), says: says.to_string() }
    }

    fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        // An error of a peer may have line breaks and worse in it.
        let says: String = self.says.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{level}  {}: {}\n", self.what, says.trim_end())
    }
}

/// Checks everything and prints a line each. The exit code is 1 if something does not work.
pub(crate) fn run(arguments: &Arguments, registry: &Registry) -> Result<(), Failure> {
    let config = match &arguments.config.config {
        Some(file) => super::load(file, registry)?,
        None => {
            let found = environment::configuration(&variables);
            for line in &found.chosen {
                print(&format!("      {line}\n"))?;
            }
            crate::config::from_tree(found.tree, registry, Problems::new())
                .map_err(|problems| super::failure("the configuration from the environment", problems))?
        }
    };
    let said = Said::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer({
            let said = said.clone();
            move || said.clone()
        })
        .finish();
    let findings = tracing::subscriber::with_default(subscriber, || check(config, !arguments.no_send))?;
    for finding in &findings {
        print(&finding.line())?;
    }
    let said = said.text();
    if !said.is_empty() {
        print(&format!("\nWhat the components logged meanwhile:\n{said}"))?;
    }
    let failed = findings.iter().filter(|f| f.level == Level::Fail).count();
    match failed {
        0 => Ok(()),
        n => Err(Failure::new(1, format!("\n{n} of {} checks failed", findings.len()))),
    }
}

fn check(config: Config, send: bool) -> Result<Vec<Finding>, Failure> {
    let mut findings: Vec<Finding> =
        config.warnings.iter().map(|warning| Finding::warn("configuration", warning)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("configuration", "no mistakes found"));
    }
    // One thread, so that what the components log is seen here.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(super::exit::UNAVAILABLE, e))?;
    runtime.block_on(async {
        let running = host::admin(&config.service, &mut findings);
        host::data_directory(&config.service, &mut findings);
        let used = |id: &str| config.pipelines.iter().any(|p| p.receivers.iter().any(|r| r == id));
        for id in config.receivers.keys().filter(|id| used(id)) {
            sources::check(id, &config, running, &mut findings).await;
        }
        let Config { exporters, pipelines, .. } = config;
        destinations::check(exporters, &pipelines, running, send, &mut findings).await;
    });
    Ok(findings)
}

/// Warnings and errors of the components: they often know best what to do.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

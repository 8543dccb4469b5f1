//! When the configuration file changes, and what is told about a reload.

use crate::config::{Config, Service};
use crate::pipeline::graph::Running;
use crate::registry::Registry;
use crate::telemetry::admin::Status;
use muxbridge_core::{Counters, names};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a watched file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// The file that the configuration comes from.
pub(crate) struct Source<'r> {
    pub(crate) file: &'r Path,
    pub(crate) registry: &'r Registry,
    /// Whether changes of the file are asked for at the command line.
    pub(crate) watch: bool,
}

/// Reloads a file.
pub(super) struct Reloader<'s> {
    source: Source<'s>,
    /// What the program started with.
    service: Service,
    watched: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    counters: Counters,
    status: Arc<Status>,
}

/// What changes when a file does: device, inode, size, and time of modification.
type Stamp = (u64, u64, u64, i64, i64);

impl<'s> Reloader<'s> {
    /// For a program that runs `config`.
    pub(super) fn new(
        source: Source<'s>,
        config: &Config,
        counters: &Counters,
        status: &Arc<Status>,
    ) -> Self {
        counters.get(names::CONFIG_CURRENT, &[]).set(1);
        for outcome in ["ok", "failed"] {
            counters.get(names::CONFIG_RELOADS, &[("outcome", outcome)]);
        }
        let mut reloader = Reloader {
            source,
            service: config.service.clone(),
            watched: Vec::new(),
            seen: Vec::new(),
            counters: counters.clone(),
            status: Arc::clone(status),
        };
        reloader.watch(config);
        reloader
    }

    fn watch(&mut self, config: &Config) {
        self.watched.clear();
        if self.source.watch || config.service.watch_config {
            self.watched.push(self.source.file.to_owned());
            self.watched.extend(config.files.iter().cloned());
        }
        self.seen = self.stamps();
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        };
        self.watched.iter().map(stamp).collect()
    }

    /// Completes when a watched file has changed, and has stayed the same for a while since.
    pub(super) async fn changed(&mut self) {
        if self.watched.is_empty() {
            return std::future::pending().await;
        }
        let mut last = self.seen.clone();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.stamps();
            // What is half written now is not yet what it should be.
            if now == last && now != self.seen {
                self.seen = now;
                return;
            }
            last = now;
        }
    }

    /// Loads the file and changes what runs. An error leaves everything as it is.
    pub(super) async fn reload(&mut self, running: &mut Running) {
        // Before it is read: what changes meanwhile is another change.
        self.seen = self.stamps();
        let config = match super::super::load(self.source.file, self.source.registry) {
            Ok(config) => config,
            Err(failure) => return self.failed(failure.text.lines()),
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        for name in self.service.fixed(&config.service) {
            tracing::warn!(setting = format!("service.{name}"), "takes effect at the next start");
        }
        self.watch(&config);
        if let Err(error) = running.reload(config).await {
            return self.failed([error.to_string().as_str()].into_iter());
        }
        self.status.set_exporters(running.health());
        self.status.set_problems(Vec::new());
        self.counters.get(names::CONFIG_CURRENT, &[]).set(1);
        self.counters.get(names::CONFIG_RELOADS, &[("outcome", "ok")]).add(1);
        tracing::info!("configuration reloaded");
    }

    fn failed<'l>(&self, lines: impl Iterator<Item = &'l str>) {
        let problems: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
        for problem in &problems {
            tracing::error!(problem, "not reloaded, the configuration of before goes on");
        }
        self.status.set_problems(problems);
        self.counters.get(names::CONFIG_CURRENT, &[]).set(0);
        self.counters.get(names::CONFIG_RELOADS, &[("outcome", "failed")]).add(1);
    }
}

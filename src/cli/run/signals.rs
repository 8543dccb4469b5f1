//! The signals that end the program or reload its configuration.

use super::reload::Reloader;
use crate::cli::{Failure, exit};
use crate::pipeline::graph::Running;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// See the module.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Only if there is something to reload: otherwise the end of a terminal ends the program.
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes them from the system.
    pub(super) fn new(reloads: bool) -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|e| Failure::new(exit::UNAVAILABLE, e));
        Ok(Signals {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hangup: reloads.then(|| take(SignalKind::hangup())).transpose()?,
        })
    }

    /// Completes at a signal to end.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn hangup(hangup: &mut Option<Signal>) {
        match hangup {
            Some(hangup) => drop(hangup.recv().await),
            None => std::future::pending().await,
        }
    }

    /// Reloads when that is asked for, until a signal to end. A reload that is under way then is left as it is.
    pub(super) async fn reload_until_end(&mut self, running: &mut Running, reloader: Option<Reloader<'_>>) {
        let Signals { terminate, interrupt, hangup } = self;
        let Some(mut reloader) = reloader else { return self.end().await };
        let reloads = async {
            loop {
                tokio::select! {
                    () = Self::hangup(hangup) => tracing::info!("SIGHUP: reloading the configuration"),
                    () = reloader.changed() => tracing::info!("a file has changed: reloading the configuration"),
                }
                reloader.reload(running).await;
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = reloads => {}
        }
    }
}

//! The receiver of the demo: the usual one, on a port that the system chooses and that can be asked for.

use crate::receivers::otlp::{Config, Otlp};
use muxbridge_core::config::{Problems, parse};
use muxbridge_core::{BuildContext, BuildError, ErasedReceiver, Receiver, ReceiverKind, RunReceiver};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// A clone knows the same address.
#[derive(Clone, Default)]
pub(super) struct Intake(Arc<OnceLock<SocketAddr>>);

impl Intake {
    /// Where it listens; `None` before it is built.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.get().copied()
    }
}

impl ErasedReceiver for Intake {
    fn every_worker(&self) -> bool {
        false
    }

    fn build(&self, cx: &BuildContext) -> Result<RunReceiver, BuildError> {
        let options = json!({ "protocols": { "http": { "endpoint": "127.0.0.1:0" } } });
        let config = parse::<Config>(&options, &mut Problems::new()).unwrap_or_default();
        let receiver = Otlp::build(config, cx)?;
        if let Some(address) = receiver.http_address() {
            let _ = self.0.set(address);
        }
        Ok(Box::new(move |next, stop| Box::pin(receiver.run(next, stop))))
    }
}

//! The receiver `in_process`: takes batches from the program that it is part of.

use bytes::Bytes;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BoxError, BuildContext, BuildError, Consumer, ErasedReceiver, Limits, Origin, Receiver,
    ReceiverKind, Refused, RunReceiver, Signal, Stop,
};
use muxbridge_pdata::WireError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Its id in a configuration.
pub(super) const RECEIVER: &str = "in_process";
/// Batches on their way from the program to the worker. More than these make the sender wait.
const UNDER_WAY: usize = 64;

/// A batch, and who is told what became of it.
type Sent = (Batch, oneshot::Sender<Result<(), Refused>>);

/// The way into a [`Bridge`](super::Bridge). A clone is the same way.
#[derive(Clone, Debug)]
pub struct Input {
    batches: mpsc::Sender<Sent>,
    origin: Arc<Origin>,
}

impl Input {
    /// Takes one OTLP export request (`ExportTraceServiceRequest` and so on, as protobuf). `Ok` means what an answer
    /// of success means to a sender over the network: it is stored, or with `durability: memory` queued.
    ///
    /// Needs no particular async runtime.
    ///
    /// # Errors
    /// What the sender must do about it.
    pub async fn send(&self, signal: Signal, otlp: Bytes) -> Result<(), SendError> {
        let batch = Batch::new(signal, otlp, self.origin.clone(), Limits::default())?;
        let (tell, told) = oneshot::channel();
        self.batches.send((batch, tell)).await.map_err(|_| SendError::Stopped)?;
        Ok(told.await.map_err(|_| SendError::Stopped)??)
    }
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is no OTLP request of this signal. To send it again does not help.
    #[error(transparent)]
    Invalid(#[from] WireError),
    /// The pipelines have no room for now, or none takes this signal.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The bridge was shut down.
    #[error("the bridge was shut down")]
    Stopped,
}

/// How the receiver is known to a configuration.
pub(super) struct InProcess;

/// It has no options.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {}

impl ReceiverKind for InProcess {
    const NAME: &'static str = RECEIVER;
    const SUMMARY: &'static str = "telemetry of the program that the bridge is part of";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    const EVERY_WORKER: bool = false;
    type Config = Config;
    type Receiver = Running;

    fn check(_config: &Config, _problems: &mut Problems) {}

    fn build(_config: Config, _cx: &BuildContext) -> Result<Running, BuildError> {
        // `Feed` takes its place before anything is built; `in_process/other` has no feed.
        Err(BuildError::new(format!("only one is possible, with the id {RECEIVER}")))
    }
}

/// The checked configuration with the end of the channel that the program sends into.
pub(super) struct Feed(Arc<Mutex<Option<mpsc::Receiver<Sent>>>>);

impl Feed {
    /// A feed and the way into it.
    pub(super) fn new() -> (Self, Input) {
        let (batches, feed) = mpsc::channel(UNDER_WAY);
        let origin = Arc::new(Origin { receiver: RECEIVER.to_owned() });
        (Feed(Arc::new(Mutex::new(Some(feed)))), Input { batches, origin })
    }
}

impl ErasedReceiver for Feed {
    fn every_worker(&self) -> bool {
        false
    }

    fn build(&self, _cx: &BuildContext) -> Result<RunReceiver, BuildError> {
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let batches = batches.ok_or_else(|| BuildError::new("was built before"))?;
        Ok(Box::new(move |next, stop| Box::pin(Running { batches }.run(next, stop))))
    }
}

/// Runs on the first worker.
pub(super) struct Running {
    batches: mpsc::Receiver<Sent>,
}

impl Receiver for Running {
    async fn run(mut self, next: Arc<dyn Consumer>, stop: Stop) -> Result<(), BoxError> {
        // Spans, metrics and logs come from threads of their own, and each may wait for the disk.
        let mut storing = JoinSet::new();
        loop {
            tokio::select! {
                sent = self.batches.recv() => match sent {
                    Some(sent) => drop(storing.spawn(take(next.clone(), sent))),
                    None => break,
                },
                Some(_) = storing.join_next() => {}
                () = stop.wait() => break,
            }
        }
        self.batches.close();
        while let Some(sent) = self.batches.recv().await {
            take(next.clone(), sent).await;
        }
        while storing.join_next().await.is_some() {}
        Ok(())
    }
}

async fn take(next: Arc<dyn Consumer>, (batch, tell): Sent) {
    // A sender that has stopped waiting loses nothing: the batch is in.
    let _ = tell.send(next.consume(batch).await);
}

//! Senders as OTLP asks for them: one request at a time, repeated until it is accepted, and not before the time that the
//! answer names.

mod client;

use crate::oracle::Oracle;
pub(crate) use client::{Answer, Client, Protocol};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the load is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Senders over HTTP and over gRPC.
    pub(crate) http: usize,
    pub(crate) grpc: usize,
    /// Spans of one request.
    pub(crate) spans: u64,
    /// How long each sender waits between two requests.
    pub(crate) pause: Duration,
    /// Whether senders go on with the next request when they are told to come back later, as none should.
    pub(crate) rude: bool,
}

/// What the senders saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: AtomicU64,
    /// Told to come back later.
    pub(crate) refused: AtomicU64,
    /// Told so without a delay.
    pub(crate) unhinted: AtomicU64,
    /// No answer: the connection failed or broke.
    pub(crate) broken: AtomicU64,
    /// An answer that a bridge must not give to a correct request.
    pub(crate) wrong: AtomicU64,
    first_wrong: std::sync::Mutex<String>,
}

impl Seen {
    /// An error if an answer was one that must not be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let first = self.first_wrong.lock().map(|f| f.clone()).unwrap_or_default();
        match (self.wrong.load(Relaxed), self.unhinted.load(Relaxed)) {
            (0, 0) => Ok(()),
            (0, n) => Err(format!("{n} refusals named no delay")),
            (n, _) => Err(format!(
                "{n} correct requests were answered with something else than success or later: {first}"
            )),
        }
    }
}

/// Senders that run until they are told to end.
pub(crate) struct Load {
    stop: watch::Sender<Stop>,
    tasks: JoinSet<()>,
    pub(crate) seen: Arc<Seen>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Run,
    /// Finish the request that is under way.
    Finish,
}

impl Load {
    /// Starts the senders against these ports.
    pub(crate) fn start(oracle: &Oracle, shape: Shape, http: u16, grpc: u16) -> Load {
        let (stop, stopped) = watch::channel(Stop::Run);
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let clients = (0..shape.http)
            .map(|_| Client::new(Protocol::Http, http))
            .chain((0..shape.grpc).map(|_| Client::new(Protocol::Grpc, grpc)));
        for client in clients {
            tasks.spawn(sender(client, oracle.clone(), shape, seen.clone(), stopped.clone()));
        }
        Load { stop, tasks, seen }
    }

    /// No new requests; waits until those under way are accepted.
    pub(crate) async fn finish(mut self, patience: Duration) -> Result<Arc<Seen>, String> {
        self.stop.send_replace(Stop::Finish);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            return Err(format!("senders still wait to be accepted after {patience:?}: {:?}", self.seen));
        }
        self.seen.check()?;
        Ok(self.seen.clone())
    }
}

async fn sender(
    mut client: Client,
    oracle: Oracle,
    shape: Shape,
    seen: Arc<Seen>,
    mut stop: watch::Receiver<Stop>,
) {
    while *stop.borrow() == Stop::Run {
        let (first, request) = oracle.issue(shape.spans);
        let mut failures = 0u32;
        loop {
            match client.send(&request).await {
                Answer::Accepted => {
                    oracle.acknowledged(first, shape.spans);
                    seen.accepted.fetch_add(1, Relaxed);
                    break;
                }
                Answer::Later(delay) => {
                    seen.refused.fetch_add(1, Relaxed);
                    if delay.is_none() {
                        seen.unhinted.fetch_add(1, Relaxed);
                    }
                    if shape.rude {
                        break;
                    }
                    tokio::time::sleep(delay.unwrap_or(Duration::from_secs(1))).await;
                }
                Answer::Broken => {
                    seen.broken.fetch_add(1, Relaxed);
                    failures += 1;
                    // Short, so that a bridge that was started again has load at once.
                    tokio::time::sleep(Duration::from_millis(u64::from(failures.min(20)))).await;
                }
                Answer::Wrong(answer) => {
                    if seen.wrong.fetch_add(1, Relaxed) == 0
                        && let Ok(mut first) = seen.first_wrong.lock()
                    {
                        *first = answer;
                    }
                    break;
                }
            }
        }
        if !shape.pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(shape.pause) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// Sends this many requests, one after the other, and has them accepted.
pub(crate) async fn send_all(
    oracle: &Oracle,
    client: &mut Client,
    requests: u64,
    spans: u64,
) -> Result<(), String> {
    let began = Instant::now();
    for _ in 0..requests {
        let (first, request) = oracle.issue(spans);
        loop {
            match client.send(&request).await {
                Answer::Accepted => break oracle.acknowledged(first, spans),
                // Longer than senders try: what they hold would be lost.
                Answer::Later(Some(delay)) if delay > Duration::from_secs(60) => {
                    return Err(format!("a sender is asked to wait for {delay:?}"));
                }
                Answer::Later(delay) => tokio::time::sleep(delay.unwrap_or(Duration::from_secs(1))).await,
                Answer::Broken => tokio::time::sleep(Duration::from_millis(20)).await,
                Answer::Wrong(answer) => return Err(format!("a correct request was answered with {answer}")),
            }
            if began.elapsed() > Duration::from_secs(60) {
                return Err("a minute was not enough to have everything accepted".to_owned());
            }
        }
    }
    Ok(())
}

//! Many scripted destinations behind one bridge: each case of a check is a destination of its own.

use super::Context;
use crate::bridge::{Bridge, PATIENCE, QUICK_RETRY, Setup, component, value};
use crate::load::{Client, Protocol, send_all};
use crate::oracle::Oracle;
use muxbridge_testkit::{Call, GrpcReply, GrpcServer, Recorded, Reply, Server};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether a destination keeps what it got, whatever it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
}

type Times = Arc<Mutex<Vec<Instant>>>;

/// The destinations and when they were asked.
pub(super) struct Board {
    pub(super) oracle: Oracle,
    pub(super) setup: Setup,
    times: BTreeMap<String, Times>,
    http: Vec<Server>,
    grpc: Vec<GrpcServer>,
}

/// How many spans were sent, dropped and are queued for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) sent: u64,
    pub(super) dropped: u64,
    pub(super) queued: u64,
}

impl Board {
    pub(super) fn new(context: &Context) -> Self {
        Board {
            oracle: Oracle::new(64),
            setup: context.setup(),
            times: BTreeMap::new(),
            http: Vec::new(),
            grpc: Vec::new(),
        }
    }

    /// A destination over HTTP; the script is given how many requests came before.
    pub(super) async fn http(
        &mut self,
        name: &str,
        options: &str,
        script: impl Fn(usize, &Recorded) -> (Reply, Kept) + Send + Sync + 'static,
    ) -> String {
        let (id, times, oracle) = self.begin("otlphttp", name);
        let seen = id.clone();
        let server = Server::start_without_log(move |request| {
            let (reply, kept) = script(ask(&times), request);
            if kept == Kept::Yes {
                oracle.received(&seen, &request.body);
            }
            reply
        })
        .await;
        self.setup.to(&id, format!("endpoint: '{}', {}", server.url(), or_quick(options)));
        self.http.push(server);
        id
    }

    /// A destination over gRPC.
    pub(super) async fn grpc(
        &mut self,
        name: &str,
        options: &str,
        script: impl Fn(usize, &Call) -> (GrpcReply, Kept) + Send + Sync + 'static,
    ) -> String {
        let (id, times, oracle) = self.begin("otlp", name);
        let seen = id.clone();
        let server = GrpcServer::start_without_log(move |call| {
            let (reply, kept) = script(ask(&times), call);
            if kept == Kept::Yes {
                oracle.received(&seen, &call.body);
            }
            reply
        })
        .await;
        self.setup.to(&id, format!("endpoint: '{}', {}", server.url(), or_quick(options)));
        self.grpc.push(server);
        id
    }

    fn begin(&mut self, kind: &str, name: &str) -> (String, Times, Oracle) {
        let id = format!("{kind}/{name}");
        let times = Times::default();
        self.times.insert(id.clone(), times.clone());
        (id, times, self.oracle.clone())
    }

    /// Starts the bridge and has some requests accepted.
    pub(super) async fn start(&mut self, requests: u64, spans: u64) -> Result<Bridge, String> {
        let bridge = self.setup.start_ready().await?;
        self.send(requests, spans).await?;
        Ok(bridge)
    }

    /// Has requests accepted, one after the other.
    pub(super) async fn send(&self, requests: u64, spans: u64) -> Result<(), String> {
        let mut client = Client::new(Protocol::Http, self.setup.http);
        send_all(&self.oracle, &mut client, requests, spans).await
    }

    /// When a destination was asked.
    pub(super) fn asked(&self, id: &str) -> Vec<Instant> {
        self.times
            .get(id)
            .map(|t| t.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    /// Waits until a destination was asked this often.
    pub(super) async fn until_asked(
        &self,
        bridge: &mut Bridge,
        id: &str,
        times: usize,
    ) -> Result<(), String> {
        let what = format!("{id} is asked {times} times");
        bridge.until(&what, PATIENCE, || self.asked(id).len() >= times).await.map(drop)
    }
}

/// Counts this request and says how many were before.
fn ask(times: &Times) -> usize {
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    times.push(Instant::now());
    times.len() - 1
}

fn or_quick(options: &str) -> String {
    if options.contains("retry_on_failure") { options.to_owned() } else { format!("{options} {QUICK_RETRY}") }
}

/// What the bridge counts for a destination.
pub(super) async fn counted(bridge: &Bridge, id: &str) -> Counted {
    let page = bridge.page("/metrics").await.map(|p| p.1).unwrap_or_default();
    let of = |name| value(&page, name, &[&component(id)]);
    Counted {
        sent: of("muxbridge_exporter_sent_total"),
        dropped: of("muxbridge_dropped_total"),
        queued: of("muxbridge_exporter_queued{"),
    }
}

/// An error if the bridge counts something else.
pub(super) async fn expect(bridge: &Bridge, id: &str, expected: Counted) -> Result<(), String> {
    let found = counted(bridge, id).await;
    if found == expected { Ok(()) } else { Err(format!("{id}: {found:?} instead of {expected:?}")) }
}

/// Waits until it counts this, and says what it counts if it never does.
pub(super) async fn settles(bridge: &mut Bridge, id: &str, expected: Counted) -> Result<(), String> {
    let began = Instant::now();
    while counted(bridge, id).await != expected {
        bridge.alive()?;
        if began.elapsed() > Duration::from_secs(20) {
            return expect(bridge, id, expected).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

//! B2: SIGKILL at any time, while it recovers and while it stops, too.

use super::{Context, Outcome, Ran};
use crate::bridge::{PATIENCE, QUICK_RETRY, Setup};
use crate::load::{Load, Shape};
use crate::oracle::Oracle;
use muxbridge_testkit::{GrpcReply, GrpcServer, Reply, Server};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

/// How the destinations behave between two kills.
const UP: u8 = 0;
const FAILING: u8 = 1;
const SLOW: u8 = 2;

/// Two destinations whose behaviour changes.
pub(super) struct Destinations {
    mode: Arc<AtomicU8>,
    _http: Server,
    _grpc: GrpcServer,
}

pub(super) const BOTH: [&str; 2] = ["otlphttp", "otlp"];

impl Destinations {
    pub(super) async fn start(oracle: &Oracle, setup: &mut Setup) -> Self {
        let mode = Arc::new(AtomicU8::new(UP));
        let (seen, now) = (oracle.clone(), mode.clone());
        let http = Server::start_without_log(move |request| match now.load(Relaxed) {
            FAILING => Reply::status(503),
            now => {
                seen.received("otlphttp", &request.body);
                Reply::status(200).after(if now == SLOW { Duration::from_millis(20) } else { Duration::ZERO })
            }
        })
        .await;
        let (seen, now) = (oracle.clone(), mode.clone());
        let grpc = GrpcServer::start_without_log(move |call| match now.load(Relaxed) {
            FAILING => GrpcReply::status(14, "later"),
            now => {
                seen.received("otlp", &call.body);
                let delay = if now == SLOW { Duration::from_millis(20) } else { Duration::ZERO };
                GrpcReply { delay, ..GrpcReply::ok() }
            }
        })
        .await;
        setup.to("otlphttp", format!("endpoint: '{}', {QUICK_RETRY}", http.url()));
        setup.to("otlp", format!("endpoint: '{}', {QUICK_RETRY}", grpc.url()));
        Destinations { mode, _http: http, _grpc: grpc }
    }

    pub(super) fn at_random(&self, random: &mut fastrand::Rng) {
        self.mode.store(random.u8(UP..=SLOW), Relaxed);
    }

    pub(super) fn down(&self) {
        self.mode.store(FAILING, Relaxed);
    }

    pub(super) fn up(&self) {
        self.mode.store(UP, Relaxed);
    }
}

/// The value at this part of the way from the smallest to the largest, in milliseconds.
pub(super) fn quantile(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |t| t.as_secs_f64() * 1e3)
}

pub(super) async fn kill(context: Context) -> Ran {
    let runs = context.runs(25, 100);
    let mut random = context.random();
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    // Small segments, so that many are begun and deleted.
    setup.service.push("storage: {max_size_mib: 64}".to_owned());
    let destinations = Destinations::start(&oracle, &mut setup).await;
    let shape = Shape { http: 12, grpc: 4, spans: 2, pause: Duration::from_millis(1), rude: false };
    let load = Load::start(&oracle, shape, setup.http, setup.grpc);
    let mut restarts = Vec::new();
    let (mut recovering, mut stopping) = (0, 0);
    for run in 0..runs {
        destinations.at_random(&mut random);
        let mut bridge = setup.start();
        let killed = match random.u8(0..100) {
            0..20 => {
                recovering += 1;
                tokio::time::sleep(Duration::from_micros(random.u64(0..40_000))).await;
                bridge.kill()
            }
            20..35 => {
                stopping += 1;
                restarts.push(bridge.ready().await?);
                tokio::time::sleep(Duration::from_millis(random.u64(1..200))).await;
                bridge.alive()?;
                bridge.signal(Signal::TERM);
                tokio::time::sleep(Duration::from_micros(random.u64(0..60_000))).await;
                // It may have ended in order by now.
                drop(bridge);
                Ok(())
            }
            _ => {
                restarts.push(bridge.ready().await?);
                tokio::time::sleep(Duration::from_millis(random.u64(1..400))).await;
                bridge.kill()
            }
        };
        killed.map_err(|why| format!("run {run}: {why}"))?;
    }
    destinations.up();
    let mut bridge = setup.start_ready().await?;
    let seen = load.finish(PATIENCE).await?;
    bridge.drained(&BOTH, PATIENCE).await?;
    bridge.adds_up().await?;
    if bridge.metric("muxbridge_dropped_total", &[]).await > 0 {
        return Err("the last bridge dropped something".to_owned());
    }
    let verdict = oracle.nothing_lost(&BOTH)?;
    let broken = seen.broken.load(Relaxed);
    Ok(Outcome::Passed(format!(
        "runs={runs} (recovering {recovering}, stopping {stopping}) {verdict} broken={broken} restart_p50={:.0}ms p99={:.0}ms",
        quantile(&mut restarts, 0.5),
        quantile(&mut restarts, 0.99)
    )))
}

//! E5: the configuration is reloaded under load, again and again, and wrong ones with the others.

use super::kills::{BOTH, Destinations, quantile};
use super::{Context, Outcome, Ran};
use crate::bridge::{Bridge, PATIENCE, QUICK_RETRY, Setup};
use crate::load::{Answer, Client, Load, Protocol, Shape};
use crate::oracle::Oracle;
use muxbridge_testkit::{Reply, Server};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const EXTRA: &str = "otlphttp/extra";

/// What a reload changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
    Option,
    Nothing,
    /// The file is not a configuration.
    Wrong,
}

impl Change {
    fn make(self, setup: &mut Setup, extra: &str, run: u64) {
        match self {
            Change::Add => {
                Change::Remove.make(setup, extra, run);
                setup.to(EXTRA, format!("endpoint: '{extra}', {QUICK_RETRY}"));
            }
            Change::Remove => setup.exporters.retain(|(id, _)| id != EXTRA),
            Change::Option => {
                let options = &mut setup.exporters[0].1;
                let end = options.find(", headers").unwrap_or(options.len());
                options.replace_range(end.., &format!(", headers: {{x-run: '{run}'}}"));
            }
            Change::Nothing | Change::Wrong => {}
        }
        let yaml = setup.yaml();
        let yaml = if self == Change::Wrong {
            yaml.replace("otlp:\n    protocols", "otpl:\n    protocols")
        } else {
            yaml
        };
        std::fs::write(setup.file(), yaml).expect("the configuration can be written");
    }
}

/// Waits until as many reloads are counted.
async fn counted(bridge: &mut Bridge, outcome: &str, wanted: u64) -> Result<(), String> {
    let began = Instant::now();
    let label = format!("outcome=\"{outcome}\"");
    loop {
        bridge.alive()?;
        if bridge.metric("muxbridge_config_reloads_total", &[&label]).await >= wanted {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(20) {
            return Err(format!("{wanted} reloads are not {outcome}"));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) async fn reload(context: Context) -> Ran {
    let runs = context.runs(20, 200);
    let mut random = context.random();
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    let _destinations = Destinations::start(&oracle, &mut setup).await;
    let at_extra = Arc::new(AtomicU64::new(0));
    let count = at_extra.clone();
    let extra = Server::start_without_log(move |_| {
        count.fetch_add(1, Relaxed);
        Reply::status(200)
    })
    .await;
    let mut bridge = setup.start_ready().await?;
    bridge.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    if bridge.exited().is_some() {
        return Err("SIGHUP has ended it".to_owned());
    }
    counted(&mut bridge, "ok", 1).await?;

    let shape = Shape { http: 4, grpc: 4, spans: 4, pause: Duration::from_millis(2), rude: false };
    let load = Load::start(&oracle, shape, setup.http, setup.grpc);
    let mut probe = Client::new(Protocol::Http, setup.http);
    let (mut latencies, mut new_connections) = (Vec::new(), Vec::new());
    let (mut ok, mut failed) = (1, 0);
    for run in 0..runs {
        let changes = [Change::Add, Change::Remove, Change::Option, Change::Nothing, Change::Wrong];
        let change = changes[random.usize(0..changes.len())];
        change.make(&mut setup, &extra.url(), run);
        bridge.signal(Signal::HUP);
        // One on the connection that it has, one on a new one, while it reloads.
        for (client, times) in [
            (&mut probe, &mut latencies),
            (&mut Client::new(Protocol::Http, setup.http), &mut new_connections),
        ] {
            let (first, request) = oracle.issue(1);
            let began = Instant::now();
            match client.send(&request).await {
                Answer::Accepted => oracle.acknowledged(first, 1),
                other => return Err(format!("run {run}, {change:?}: not accepted: {other:?}")),
            }
            times.push(began.elapsed());
        }
        if change == Change::Wrong {
            failed += 1;
            counted(&mut bridge, "failed", failed)
                .await
                .map_err(|why| format!("run {run}, {change:?}: {why}"))?;
        } else {
            ok += 1;
            counted(&mut bridge, "ok", ok).await.map_err(|why| format!("run {run}, {change:?}: {why}"))?;
        }
    }
    let seen = load.finish(PATIENCE).await?;
    let ids: Vec<&str> = BOTH.to_vec();
    bridge.drained(&ids, PATIENCE).await?;
    let verdict = oracle.nothing_lost(&BOTH)?;
    let (refused, broken) = (seen.refused.load(Relaxed), seen.broken.load(Relaxed));
    let numbers = format!(
        "runs={runs} reloaded={ok} wrong={failed} {verdict} refused={refused} broken={broken} at_the_added={} \
         slowest_answer={:.0}ms on_a_new_connection={:.0}ms",
        at_extra.load(Relaxed),
        quantile(&mut latencies, 1.0),
        quantile(&mut new_connections, 1.0)
    );
    if refused + broken > 0 {
        return Err(format!("senders noticed: {numbers}"));
    }
    Ok(Outcome::Passed(numbers))
}

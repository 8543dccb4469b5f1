//! B7, E6 and E7: stops in order, starts with much to do, and a second process.

use super::{Context, Outcome, Ran};
use crate::bridge::{PATIENCE, QUICK_RETRY, last_words, port};
use crate::load::{Answer, Client, Protocol, send_all};
use crate::oracle::Oracle;
use muxbridge_testkit::{Reply, Server};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// B7: the second process refuses, and the first goes on.
pub(super) async fn two(context: Context) -> Ran {
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    let seen = oracle.clone();
    let server = Server::start_without_log(move |r| {
        seen.received("otlphttp", &r.body);
        Reply::status(200)
    })
    .await;
    setup.to("otlphttp", format!("endpoint: '{}', {QUICK_RETRY}", server.url()));
    let mut first = setup.start_ready().await?;
    let mut client = Client::new(Protocol::Http, setup.http);
    send_all(&oracle, &mut client, 20, 4).await?;
    let beside = setup.beside();
    let mut second = beside.start();
    let status = second.ended(PATIENCE).await?;
    let words = last_words(&beside.dir);
    if status.code() != Some(69) || !words.contains(&format!("in use by process {}", first.pid())) {
        return Err(format!("the second process ended with {status} and said: {words}"));
    }
    send_all(&oracle, &mut client, 20, 4).await?;
    first.alive()?;
    // What the first one left open by dying is no reason to refuse.
    first.kill()?;
    let mut third = beside.start_ready().await?;
    send_all(&oracle, &mut Client::new(Protocol::Http, beside.http), 20, 4).await?;
    third.drained(&["otlphttp"], PATIENCE).await?;
    let verdict = oracle.nothing_lost(&["otlphttp"])?;
    Ok(Outcome::Passed(verdict.to_string()))
}

/// E6: it ends in time, says so with 0 (cut short by a second signal: 75), and what it could not deliver leaves after the next start.
pub(super) async fn terminate(context: Context) -> Ran {
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    setup.service.push("shutdown_timeout: 2s".to_owned());
    let alive = Arc::new(AtomicBool::new(false));
    let (seen, up) = (oracle.clone(), alive.clone());
    let server = Server::start_without_log(move |r| {
        if !up.load(Relaxed) {
            return Reply::status(Reply::SILENCE);
        }
        seen.received("otlphttp", &r.body);
        Reply::status(200)
    })
    .await;
    setup.to("otlphttp", format!("endpoint: '{}', timeout: 30s, {QUICK_RETRY}", server.url()));
    let mut times = Vec::new();
    for again in [false, true] {
        let bridge = setup.start_ready().await?;
        let mut client = Client::new(if again { Protocol::Grpc } else { Protocol::Http }, setup.grpc);
        if !again {
            client = Client::new(Protocol::Http, setup.http);
        }
        send_all(&oracle, &mut client, 200, 4).await?;
        let mut patience = Duration::from_secs(4);
        if again {
            // A second signal ends it at once.
            bridge.signal(Signal::TERM);
            tokio::time::sleep(Duration::from_millis(300)).await;
            patience = Duration::from_secs(1);
        }
        let (code, time) = bridge.terminate(patience).await?;
        // 75: not all was delivered, as nobody waited for it.
        let expected = if again { 75 } else { 0 };
        if code != Some(expected) {
            return Err(format!("it ended with {code:?} and not with {expected}"));
        }
        times.push(time.as_millis());
    }
    alive.store(true, Relaxed);
    let mut bridge = setup.start_ready().await?;
    bridge.drained(&["otlphttp"], PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&["otlphttp"])?;
    Ok(Outcome::Passed(format!("{verdict} exit={}ms after_a_second_signal={}ms", times[0], times[1])))
}

/// E7: how long a start takes with this much queued.
pub(super) async fn restart(context: Context) -> Ran {
    let mut setup = context.setup();
    setup.to("otlphttp", format!("endpoint: 'http://127.0.0.1:{}', {QUICK_RETRY}", port()));
    let oracle = Oracle::new(1_000);
    let (_, request) = oracle.issue(1_000);
    let requests = context.of(64u64 << 20, 1 << 30).div_ceil(request.len() as u64);
    let bridge = setup.start_ready().await?;
    let mut client = Client::new(Protocol::Http, setup.http);
    for _ in 0..requests {
        match client.send(&request).await {
            Answer::Accepted => {}
            other => return Err(format!("not accepted: {other:?}")),
        }
    }
    bridge.kill()?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let mut bridge = setup.start();
        times.push(bridge.ready().await?.as_millis());
        let queued = bridge.metric("muxbridge_exporter_queued{", &[]).await;
        if queued != requests * 1_000 {
            return Err(format!("{queued} spans are queued and not {}", requests * 1_000));
        }
        bridge.kill()?;
    }
    let mib = (requests * request.len() as u64) >> 20;
    // What is quick is built without optimisation and beside other work.
    let most = context.of(5_000, 1_000);
    if times.iter().any(|t| *t >= most) {
        return Err(format!("with {mib} MiB queued it takes telemetry after {times:?} ms"));
    }
    Ok(Outcome::Passed(format!("queued={mib}MiB takes_telemetry_after={times:?}ms")))
}

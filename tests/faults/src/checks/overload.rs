//! D1 and D3: more than fits, in little memory, and with no file descriptors left.

use super::{Context, Outcome, Ran};
use crate::bridge::{Bridge, PATIENCE, QUICK_RETRY, have};
use crate::load::{Client, Load, Protocol, Shape, send_all};
use crate::oracle::Oracle;
use crate::place::Group;
use muxbridge_testkit::{Reply, Server};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const LIMIT: u64 = 256 << 20;

/// Spans that the destination took in this time, each second; and the most memory that the bridge had.
async fn delivered(bridge: &mut Bridge, time: Duration, peak: &mut u64) -> Result<f64, String> {
    let count = async |bridge: &Bridge| bridge.metric("muxbridge_exporter_sent_total", &[]).await;
    let (began, before) = (Instant::now(), count(bridge).await);
    while began.elapsed() < time {
        bridge.alive()?;
        *peak = bridge.resident().max(*peak);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((count(bridge).await - before) as f64 / began.elapsed().as_secs_f64())
}

/// D1: ten times what a destination takes, in 256 MiB.
pub(super) async fn overload(context: Context) -> Ran {
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    let group = Group::new(LIMIT);
    if let Ok(group) = &group {
        setup.prefix = group.prefix();
    }
    let seen = oracle.clone();
    // Four requests at a time, each of at most so many spans: this many spans each second.
    let (each, delay) = context.of((25, 100), (200, 50));
    let capacity = 4.0 * each as f64 * 1e3 / delay as f64;
    let server = Server::start_without_log(move |r| {
        seen.received("otlphttp", &r.body);
        Reply::status(200).after(Duration::from_millis(delay))
    })
    .await;
    let batch = format!("batch: {{flush_timeout: 5ms, min_size: {each}, max_size: {each}}}");
    setup.to("otlphttp", format!("endpoint: '{}', sending_queue: {{{batch}}}", server.url()));
    setup.service.push(format!("storage: {{max_size_mib: {}}}", context.of(4, 32)));
    let mut bridge = setup.start_ready().await?;
    let mut peak = 0;

    // As much as it takes, and a bit more.
    let spans = context.of(25, 100);
    let senders = (capacity * 1.2 / spans as f64 / 10.0).ceil() as usize;
    let shape = Shape { http: senders, grpc: 0, spans, pause: Duration::from_millis(80), rude: false };
    let load = Load::start(&oracle, shape, setup.http, setup.grpc);
    delivered(&mut bridge, Duration::from_secs(1), &mut peak).await?;
    let usual =
        delivered(&mut bridge, context.of(Duration::from_secs(2), Duration::from_secs(10)), &mut peak)
            .await?;
    load.finish(PATIENCE).await?;

    // Some that wait when they are refused, and ten times the capacity of some that do not.
    let shape = Shape { http: 12, grpc: 4, spans, pause: Duration::from_millis(20), rude: false };
    let load = Load::start(&oracle, shape, setup.http, setup.grpc);
    let rude = 40;
    let pause = Duration::from_secs_f64(f64::from(rude) * spans as f64 / (10.0 * capacity));
    let shape = Shape { http: 30, grpc: 10, spans, pause, rude: true };
    let flood = Load::start(&oracle, shape, setup.http, setup.grpc);
    let time = context.of(Duration::from_secs(6), Duration::from_secs(60));
    let began = Instant::now();
    let under = delivered(&mut bridge, time, &mut peak).await?;
    let both = [&load.seen, &flood.seen];
    let refused: u64 = both.iter().map(|seen| seen.refused.load(Relaxed)).sum();
    let asked: u64 = both.iter().map(|seen| seen.accepted.load(Relaxed)).sum::<u64>() + refused;
    let offered = asked as f64 * spans as f64 / began.elapsed().as_secs_f64() / usual;
    flood.finish(PATIENCE).await?;
    load.finish(Duration::from_secs(300)).await?;
    bridge.drained(&["otlphttp"], PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&["otlphttp"])?;
    let numbers = format!(
        "offered={offered:.1}x capacity={usual:.0}/s delivered={under:.0}/s ({:.0}%) refused={refused} peak={}MiB {verdict}",
        under / usual * 100.0,
        peak >> 20
    );
    if peak > LIMIT / 10 * 9 {
        return Err(format!("more than nine tenths of the memory: {numbers}"));
    }
    // Seconds beside other work are no measurement; a collapse shows.
    if under < usual * context.of(0.5, 0.9) {
        return Err(format!("it delivers less than it can: {numbers}"));
    }
    if refused == 0 {
        return Err(format!("nobody was refused, so this was no overload: {numbers}"));
    }
    let limit = match group {
        Ok(_) => "limit=256MiB".to_owned(),
        Err(why) => format!("(no limit, memory is sampled: {why})"),
    };
    Ok(Outcome::Passed(format!("{limit} {numbers}")))
}

/// D3: more connections than file descriptors.
pub(super) async fn descriptors(context: Context) -> Ran {
    if !have("prlimit") {
        return Ok(Outcome::Skipped("prlimit is not installed".to_owned()));
    }
    let oracle = Oracle::new(1_000);
    let mut setup = context.setup();
    setup.prefix = ["prlimit", "--nofile=128:128"].map(str::to_owned).to_vec();
    // Small segments, so that new ones are begun without a descriptor to spare.
    setup.service.push("storage: {max_size_mib: 16}".to_owned());
    let seen = oracle.clone();
    let server = Server::start_without_log(move |r| {
        seen.received("otlphttp", &r.body);
        Reply::status(200)
    })
    .await;
    setup.to("otlphttp", format!("endpoint: '{}', {QUICK_RETRY}", server.url()));
    let mut bridge = setup.start_ready().await?;
    let mut early = Client::new(Protocol::Http, setup.http);
    let mut early_grpc = Client::new(Protocol::Grpc, setup.grpc);
    send_all(&oracle, &mut early, 5, 4).await?;
    send_all(&oracle, &mut early_grpc, 5, 4).await?;
    let mut idle = Vec::new();
    for _ in 0..500 {
        let connected = TcpStream::connect(("127.0.0.1", setup.http));
        if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), connected).await {
            idle.push(stream);
        }
    }
    // Six megabytes: several segments of one.
    let began = Instant::now();
    send_all(&oracle, &mut early, 60, 25).await?;
    send_all(&oracle, &mut early_grpc, 60, 25).await?;
    let without = began.elapsed();
    bridge.alive()?;
    let open = idle.len();
    drop(idle);
    let began = Instant::now();
    send_all(&oracle, &mut Client::new(Protocol::Http, setup.http), 1, 4).await?;
    let recovered = began.elapsed();
    if recovered > Duration::from_secs(2) {
        return Err(format!("new connections are served {recovered:?} after there were descriptors"));
    }
    bridge.drained(&["otlphttp"], PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&["otlphttp"])?;
    let (without, recovered) = (without.as_millis(), recovered.as_millis());
    Ok(Outcome::Passed(format!(
        "descriptors=128 connections={open} {verdict} 120_requests={without}ms recovered={recovered}ms"
    )))
}

//! C10 and C11: one of three destinations is dead, for a moment and for a day.

use super::kills::quantile;
use super::{Context, Outcome, Ran};
use crate::bridge::{Bridge, QUICK_RETRY, Setup, component, value};
use crate::load::{Answer, Client, Load, Protocol, Shape};
use crate::oracle::Oracle;
use muxbridge_testkit::{Reply, Server};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const IDS: [&str; 3] = ["otlphttp/a", "otlphttp/b", "otlphttp/c"];

/// Three destinations, the last of which may be dead.
struct Three {
    alive: Arc<AtomicBool>,
    _servers: Vec<Server>,
}

impl Three {
    /// `dead` is what the last one says then; a request may take `timeout`. `seen` says how long each takes.
    async fn start(
        setup: &mut Setup,
        dead: u16,
        timeout: &str,
        seen: impl Fn(&'static str, &[u8]) -> Duration + Clone + Send + Sync + 'static,
    ) -> Three {
        let alive = Arc::new(AtomicBool::new(true));
        let mut servers = Vec::new();
        for (at, id) in IDS.into_iter().enumerate() {
            let (seen, alive) = (seen.clone(), alive.clone());
            let server = Server::start_without_log(move |r| {
                if at == 2 && !alive.load(Relaxed) {
                    return Reply::status(dead);
                }
                Reply::status(200).after(seen(id, &r.body))
            })
            .await;
            setup.to(id, format!("endpoint: '{}', timeout: {timeout}, {QUICK_RETRY}", server.url()));
            servers.push(server);
        }
        Three { alive, _servers: servers }
    }
}

/// Spans each second that the healthy two take, under as much load as is accepted.
async fn throughput(context: &Context, dead: bool, run: u64) -> Result<f64, String> {
    let dir = context.scratch.join(format!("{run}-{dead}"));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let mut setup = Setup::new(&context.program, Path::new(&dir));
    let three = Three::start(&mut setup, Reply::SILENCE, "2s", |_, _| Duration::ZERO).await;
    three.alive.store(!dead, Relaxed);
    let mut bridge = setup.start_ready().await?;
    let oracle = Oracle::new(64);
    let shape = Shape { http: 6, grpc: 2, spans: 50, pause: Duration::ZERO, rude: false };
    let _load = Load::start(&oracle, shape, setup.http, setup.grpc);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sent = async |bridge: &Bridge| {
        let page = bridge.page("/metrics").await.map(|p| p.1).unwrap_or_default();
        let of = |id| value(&page, "muxbridge_exporter_sent_total", &[&component(id)]);
        of(IDS[0]) + of(IDS[1])
    };
    let (began, before) = (Instant::now(), sent(&bridge).await);
    tokio::time::sleep(context.of(Duration::from_secs(1), Duration::from_secs(4))).await;
    bridge.alive()?;
    Ok((sent(&bridge).await - before) as f64 / began.elapsed().as_secs_f64())
}

/// C10: the other two get as much as when all three live.
pub(super) async fn one_dead(context: Context) -> Ran {
    let runs = context.runs(3, 7);
    let (mut ratios, mut all, mut two) = (Vec::new(), 0.0, 0.0);
    for run in 0..runs {
        let (with, without) =
            (throughput(&context, false, run).await?, throughput(&context, true, run).await?);
        ratios.push(without / with);
        all += with / runs as f64;
        two += without / runs as f64;
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    let numbers =
        format!("pairs={runs} alive={all:.0}/s one_dead={two:.0}/s ratio={median:.2} ({ratios:.2?})");
    // A second beside other work is no measurement; it shows that nothing stands still.
    if median < context.of(0.6, 0.95) {
        return Err(format!("the dead one holds back the others: {numbers}"));
    }
    Ok(Outcome::Passed(numbers))
}

type Pending = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// Spans in a request of the telemetry that goes on, and how often it comes.
const FRESH: u64 = 10;
const EVERY: Duration = Duration::from_millis(20);
/// Spans a second that the third destination takes once it is back: ten times what comes in.
const CAPACITY: f64 = 5000.0;
/// It is dead for longer than a queue waits before it sets a backlog apart.
const DEAD: Duration = Duration::from_millis(6500);

/// A destination that takes so much and no more.
#[derive(Clone)]
struct Limited(Arc<Mutex<Instant>>);

impl Limited {
    fn new() -> Self {
        Limited(Arc::new(Mutex::new(Instant::now())))
    }

    /// How long a request with this many spans takes, behind all that are under way.
    fn take(&self, spans: usize) -> Duration {
        let mut free = self.0.lock().unwrap();
        let now = Instant::now();
        *free = (*free).max(now) + Duration::from_secs_f64(spans as f64 / CAPACITY);
        *free - now
    }
}

/// C11: a day of one destination being dead, with time compressed: so many spans, then it is back while telemetry goes on, and
/// takes ten times as much as comes in.
pub(super) async fn day(context: Context) -> Ran {
    let oracle = Oracle::new(200);
    let mut setup = context.setup();
    let late: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let pending = Pending::default();
    let (seen, watched, measured) = (oracle.clone(), pending.clone(), late.clone());
    let limited = Limited::new();
    let three = Three::start(&mut setup, 503, "30s", move |id, body| {
        let numbers = seen.received(id, body);
        if id != IDS[2] {
            return Duration::ZERO;
        }
        let delay = limited.take(numbers.len());
        let mut pending = watched.lock().unwrap();
        let taken = numbers.iter().filter_map(|n| pending.remove(n)).map(|t| t.elapsed() + delay);
        measured.lock().unwrap().extend(taken);
        delay
    })
    .await;
    three.alive.store(false, Relaxed);
    let mut bridge = setup.start_ready().await?;

    let (spans, dead) = (context.of(20_000, 800_000), Instant::now());
    let filled = fill(&mut bridge, &oracle, spans).await?;
    bridge.drained(&IDS[..2], Duration::from_secs(120)).await?;
    let steady = bridge.resident();

    // Telemetry goes on at a rate that a day of this backlog would have had, and after a while it is back.
    let mut client = Client::new(Protocol::Http, setup.http);
    let mut every = tokio::time::interval(EVERY);
    while dead.elapsed() < DEAD {
        every.tick().await;
        send(&mut client, &oracle, None).await?;
    }
    let backlog = bridge.metric("muxbridge_exporter_queued{", &[&component(IDS[2])]).await;
    three.alive.store(true, Relaxed);
    let began = Instant::now();
    let (mut fresh, mut peak) = (0u64, steady);
    while !drained(&bridge).await {
        every.tick().await;
        send(&mut client, &oracle, Some(&pending)).await?;
        fresh += FRESH;
        peak = peak.max(bridge.resident());
        if began.elapsed() > Duration::from_secs(300) {
            return Err("the backlog is not delivered within five minutes".to_owned());
        }
    }
    let time = began.elapsed().as_secs_f64();
    bridge.drained(&IDS, Duration::from_secs(60)).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&IDS)?;
    let (drain, intake) = ((backlog + fresh) as f64 / time, fresh as f64 / time);
    let mut late = late.lock().unwrap().clone();
    let (p50, p99) = (quantile(&mut late, 0.5), quantile(&mut late, 0.99));
    let numbers = format!(
        "backlog={backlog} spans filled_in={:.0}s {verdict} drained_in={time:.1}s drain={drain:.0}/s \
         intake={intake:.0}/s ({:.0}x) fresh_late_p50={p50:.0}ms p99={p99:.0}ms resident={}MiB peak={}MiB",
        filled.as_secs_f64(),
        drain / intake,
        steady >> 20,
        peak >> 20
    );
    judged(
        numbers,
        [
            (drain < 5.0 * intake, "it drains slower than five times what comes in"),
            (p99 > 10_000.0_f64.min(time * 500.0), "fresh spans wait behind the backlog"),
            (peak > steady + (64 << 20), "delivering the backlog takes more than 64 MiB"),
        ],
    )
}

/// The numbers, with the first thing that is wrong with them.
fn judged(numbers: String, wrong: [(bool, &str); 3]) -> Ran {
    match wrong.iter().find(|(wrong, _)| *wrong) {
        Some((_, what)) => Err(format!("{what}: {numbers}")),
        None => Ok(Outcome::Passed(numbers)),
    }
}

/// Has one more request accepted, and notes in `pending` when it was sent.
async fn send(client: &mut Client, oracle: &Oracle, pending: Option<&Pending>) -> Result<(), String> {
    let (first, request) = oracle.issue(FRESH);
    if let Some(pending) = pending {
        pending.lock().unwrap().insert(first, Instant::now());
    }
    match client.send(&request).await {
        Answer::Accepted => oracle.acknowledged(first, FRESH),
        other => return Err(format!("while one is dead or drains, telemetry is not accepted: {other:?}")),
    }
    Ok(())
}

/// Has this many spans accepted as quickly as they are, and says how long that took.
async fn fill(bridge: &mut Bridge, oracle: &Oracle, spans: u64) -> Result<Duration, String> {
    let began = Instant::now();
    let shape = Shape { http: 6, grpc: 2, spans: 100, pause: Duration::ZERO, rude: false };
    let load = Load::start(oracle, shape, bridge.setup.http, bridge.setup.grpc);
    let enough = || load.seen.accepted.load(Relaxed) * 100 >= spans;
    bridge.until("the backlog is there", Duration::from_secs(600), enough).await?;
    load.finish(Duration::from_secs(30)).await?;
    Ok(began.elapsed())
}

/// Whether hardly anything but what just came in is queued.
async fn drained(bridge: &Bridge) -> bool {
    bridge.metric("muxbridge_exporter_queued{", &[]).await < 200
}

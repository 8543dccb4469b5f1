//! One scenario: the program started, loaded, asked what it cost.

use crate::limits::Results;
use crate::load::{Load, Outcome, Protocol};
use crate::payload::{self, ITEMS, Sources};
use crate::peer::Peer;
use crate::process::{Process, counter, free_port, until};
use crate::scenario::{Kind, Scenario};
use crate::{Arguments, endpoints};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// What one round of one scenario cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    cpu_micros: f64,
    items_per_second: f64,
    /// Which part of the time in which its workers had work they had a core for it.
    had_cores: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_mib: f64,
    bytes_per_item: f64,
    refused: u64,
    /// Which part of the bytes that the bridge sent as datagrams came in.
    arrived: f64,
}

/// The round in the middle, by CPU time.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Summary {
    /// Microseconds per item.
    pub(crate) cpu_micros: f64,
    range: [f64; 2],
    of_p: f64,
    items_per_second: f64,
    /// The same, had the load and everything else left the cores of the workers alone: waiting for one another still counts.
    pub(crate) undisturbed_per_second: f64,
    p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) peak_mib: f64,
    bytes_per_item: f64,
    refused: u64,
    /// Which part of the bytes that the bridge sent as datagrams came in.
    arrived: f64,
    #[serde(skip)]
    pub(crate) metrics: bool,
}

/// All payloads.
pub(crate) struct Templates(Vec<(Kind, Sources)>);

impl Templates {
    pub(crate) fn new() -> Self {
        Templates(vec![
            (Kind::ModelMuxer, Arc::new([payload::traces(true)])),
            (Kind::Split, Arc::new([payload::split_traces()])),
            (Kind::Foreign, Arc::new([payload::traces(false)])),
            (Kind::Metrics, (0..16).map(payload::metrics_of).collect()),
        ])
    }

    pub(crate) fn get(&self, kind: Kind) -> io::Result<&Sources> {
        let found = self.0.iter().find(|(k, _)| *k == kind).map(|(_, sources)| sources);
        found.ok_or_else(|| io::Error::other(format!("{kind:?} has no payload")))
    }
}

/// Prints the head of the table.
pub(crate) fn head(prost: [f64; 2]) -> io::Result<()> {
    writeln!(io::stdout(), "P: {:.3} us/span, {:.3} us/point", prost[0], prost[1])?;
    writeln!(
        io::stdout(),
        "{:<18} {:>22} {:>6} {:>9} {:>8} {:>8} {:>8} {:>7}",
        "scenario",
        "us/item (range)",
        "of P",
        "items/s",
        "p50 ms",
        "p99 ms",
        "peak MiB",
        "B/item"
    )
}

/// Measures one scenario and prints its line.
pub(crate) async fn scenario(
    arguments: &Arguments,
    scenario: &Scenario,
    templates: &Templates,
    results: &mut Results,
) -> io::Result<()> {
    let sources = templates.get(scenario.load)?;
    let rounds = rounds(arguments, async || bridge(arguments, scenario, sources).await).await?;
    results.add(scenario.name, &rounds, scenario.metrics())
}

/// Measures yardstick X and prints its line.
pub(crate) async fn proxy(
    arguments: &Arguments,
    templates: &Templates,
    results: &mut Results,
) -> io::Result<()> {
    let sources = templates.get(Kind::Foreign)?;
    let rounds = rounds(arguments, async || proxy_round(sources, arguments.requests).await).await?;
    results.add("proxy", &rounds, false)
}

/// Measures a peer and prints its line.
pub(crate) async fn peer(
    arguments: &Arguments,
    peer: &Peer,
    templates: &Templates,
    results: &mut Results,
) -> io::Result<()> {
    let sources = templates.get(Kind::Foreign)?;
    let rounds = rounds(arguments, async || peer.round(sources, arguments.requests).await).await?;
    results.add(&peer.name, &rounds, false)
}

/// As many rounds as are wanted, one after the other.
async fn rounds(arguments: &Arguments, round: impl AsyncFn() -> io::Result<Round>) -> io::Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        rounds.push(round().await?);
    }
    Ok(rounds)
}

impl Results {
    fn add(&mut self, name: &str, rounds: &[Round], metrics: bool) -> io::Result<()> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(|a, b| a.cpu_micros.total_cmp(&b.cpu_micros));
        let Some(median) = sorted.get(sorted.len() / 2) else { return Ok(()) };
        let refused = rounds.iter().map(|r| r.refused).sum();
        let summary = Summary {
            cpu_micros: median.cpu_micros,
            range: [sorted[0].cpu_micros, sorted[sorted.len() - 1].cpu_micros],
            of_p: median.cpu_micros / self.prost[usize::from(metrics)],
            items_per_second: median.items_per_second,
            undisturbed_per_second: median.items_per_second / median.had_cores,
            p50_ms: median.p50_ms,
            p99_ms: median.p99_ms,
            peak_mib: median.peak_mib,
            bytes_per_item: median.bytes_per_item,
            refused,
            arrived: median.arrived,
            metrics,
        };
        let mut notes = String::new();
        if refused > 0 {
            notes += &format!("  refused {refused}");
        }
        if median.arrived < 1.0 {
            notes += &format!("  {:.0} % of datagrams arrived", median.arrived * 100.0);
        }
        writeln!(
            io::stdout(),
            "{:<18} {:>7.3} [{:.3}-{:.3}] {:>6.2} {:>9.0} {:>8.2} {:>8.2} {:>8.1} {:>7.0}{}",
            name,
            summary.cpu_micros,
            summary.range[0],
            summary.range[1],
            summary.of_p,
            summary.items_per_second,
            summary.p50_ms,
            summary.p99_ms,
            summary.peak_mib,
            summary.bytes_per_item,
            notes,
        )?;
        self.scenarios.insert(name.to_owned(), summary);
        Ok(())
    }
}

/// A bridge that runs with the configuration of a scenario.
pub(crate) struct Bridge {
    pub(crate) process: Process,
    pub(crate) otlp: SocketAddr,
    pub(crate) admin: SocketAddr,
    requests: Arc<endpoints::Counts>,
    datagrams: [Arc<endpoints::Counts>; 2],
    directory: PathBuf,
}

impl Bridge {
    pub(crate) async fn start(program: &Path, scenario: &Scenario) -> io::Result<Bridge> {
        let (http, requests) = endpoints::http().await?;
        let (udp, over_udp) = endpoints::udp()?;
        let (otlp, admin) = (free_port()?, free_port()?);
        let directory = std::env::temp_dir().join(format!("muxbridge-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let (signal, protocol) = (
            if scenario.metrics() { "metrics" } else { "traces" },
            if scenario.protocol == Protocol::Grpc { "grpc" } else { "http" },
        );
        let socket = directory.join("statsd.sock");
        let over_unix = endpoints::unix(&socket)?;
        let exporters = scenario
            .exporters
            .replace("{http}", &http.to_string())
            .replace("{udp}", &udp.to_string())
            .replace("{unix}", &socket.to_string_lossy());
        let durability = if scenario.fsync {
            format!("durability: fsync\n  data_dir: '{}'", directory.join("data").display())
        } else {
            "durability: memory".to_owned()
        };
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: '{otlp}'}}}}}}}}\nprocessors: {{modelmuxer: {{}}}}\n\
             exporters: {exporters}\nservice:\n  admin: {{endpoint: '{admin}', pipeline_metrics: {}}}\n  workers: {}\n  {durability}\n  \
             pipelines: {{{signal}: {{receivers: [otlp], processors: [modelmuxer], exporters: [{}]}}}}\n",
            scenario.shown,
            scenario.workers,
            scenario.ids.join(", ")
        );
        let file = directory.join("bench.yaml");
        std::fs::write(&file, yaml)?;
        let arguments = ["run", "--config", &file.to_string_lossy()];
        let process = Process::start(program, &arguments, scenario.workers)?;
        Ok(Bridge { process, otlp, admin, requests, datagrams: [over_udp, over_unix], directory })
    }

    fn bytes(&self) -> u64 {
        self.requests.bytes.load(Relaxed) + self.bytes_of_datagrams()
    }

    fn bytes_of_datagrams(&self) -> u64 {
        self.datagrams.iter().map(|counts| counts.bytes.load(Relaxed)).sum()
    }

    /// Which part of what was sent as datagrams came in: UDP tells nobody what it drops.
    async fn arrived(&self) -> f64 {
        let label = "outcome=\"sent\"";
        let sent = counter(self.admin, "muxbridge_exporter_bytes_total", label).await;
        let arrived = self.bytes_of_datagrams() as f64;
        if arrived == 0.0 || sent == 0.0 { 1.0 } else { arrived / sent }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn bridge(arguments: &Arguments, scenario: &Scenario, sources: &Sources) -> io::Result<Round> {
    let bridge = Bridge::start(&arguments.program, scenario).await?;
    bridge.process.listening(bridge.otlp).await?;
    bridge.process.listening(bridge.admin).await?;
    let load = Load {
        protocol: scenario.protocol,
        to: bridge.otlp,
        sources: sources.clone(),
        metrics: scenario.metrics(),
        in_flight: scenario.in_flight,
        connections: scenario.connections,
    };
    let warm = 100;
    load.run(0, warm).await?;
    settled(bridge.admin, scenario, warm).await?;
    let before = (bridge.process.cpu_seconds()?, bridge.bytes(), bridge.process.scheduled()?);
    let began = Instant::now();
    let mut outcome = load.run(warm, arguments.requests).await?;
    settled(bridge.admin, scenario, warm + arguments.requests).await?;
    let cpu = bridge.process.cpu_seconds()? - before.0;
    outcome.elapsed = began.elapsed();
    let measured = round(&outcome, arguments.requests, cpu, bridge.bytes() - before.1, &bridge.process)?;
    let [ran, waited] = bridge.process.scheduled()?;
    let (ran, waited) = (ran - before.2[0], waited - before.2[1]);
    let arrived = if scenario.metrics() { bridge.arrived().await } else { 1.0 };
    Ok(Round { arrived, had_cores: ran / (ran + waited), ..measured })
}

pub(crate) fn round(
    outcome: &Outcome,
    requests: u64,
    cpu: f64,
    bytes: u64,
    process: &Process,
) -> io::Result<Round> {
    let items = (requests * ITEMS as u64) as f64;
    Ok(Round {
        cpu_micros: cpu * 1e6 / items,
        items_per_second: items / outcome.elapsed.as_secs_f64(),
        had_cores: 1.0,
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        peak_mib: process.memory_mib("VmHWM:")?,
        bytes_per_item: bytes as f64 / items,
        refused: outcome.refused,
        arrived: 1.0,
    })
}

/// Waits until every destination has what was sent. A loss would never settle, and is an error.
async fn settled(admin: SocketAddr, scenario: &Scenario, requests: u64) -> io::Result<()> {
    let items = (requests * ITEMS as u64) as f64;
    for id in scenario.ids {
        let label = format!("component=\"{id}\"");
        let all_in = || async { counter(admin, "muxbridge_exporter_enqueued_total", &label).await >= items };
        until(all_in).await.map_err(|_| {
            io::Error::other(format!("{}: not everything left the processors", scenario.name))
        })?;
    }
    until(|| async move { counter(admin, "muxbridge_exporter_queued{", "").await == 0.0 })
        .await
        .map_err(|_| io::Error::other(format!("{}: the queue does not become empty", scenario.name)))?;
    let dropped = counter(admin, "muxbridge_dropped_total", "").await;
    if dropped > 0.0 {
        Err(io::Error::other(format!("{}: {dropped} items were dropped", scenario.name)))
    } else {
        Ok(())
    }
}

async fn proxy_round(sources: &Sources, requests: u64) -> io::Result<Round> {
    let (http, counts) = endpoints::http().await?;
    let listen = free_port()?;
    let program = std::env::current_exe()?;
    let process = Process::start(&program, &["--proxy", &listen.to_string(), &http.to_string()], 1)?;
    process.listening(listen).await?;
    let load = Load {
        protocol: Protocol::Grpc,
        to: listen,
        sources: sources.clone(),
        metrics: false,
        in_flight: 16,
        connections: 1,
    };
    load.run(0, 100).await?;
    let before = (process.cpu_seconds()?, counts.bytes.load(Relaxed));
    let outcome = load.run(100, requests).await?;
    let cpu = process.cpu_seconds()? - before.0;
    round(&outcome, requests, cpu, counts.bytes.load(Relaxed) - before.1, &process)
}

//! Whole-process load: what the bridge costs per span, beside yardsticks measured in the same run.
//!
//! `cargo build --release -p muxbridge && cargo run --release -p muxbridge-bench`

mod encoders;
mod endpoints;
mod load;
mod micro;
mod payload;
mod process;
mod scenario;
mod yardstick;

use clap::Parser;
use load::{Load, Protocol};
use payload::{ITEMS, Template};
use process::{Process, counter, free_port, until};
use scenario::{Kind, Scenario};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Measures what the bridge costs.
#[derive(Parser)]
struct Arguments {
    /// Only these scenarios.
    scenarios: Vec<String>,
    /// The program to measure.
    #[arg(long, default_value = "target/release/muxbridge")]
    program: PathBuf,
    /// Requests of 512 items in each round.
    #[arg(long, default_value_t = 4000)]
    requests: u64,
    /// Rounds; the median and the range are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Time the steps inside instead of the whole program.
    #[arg(long)]
    micro: bool,
    /// Run as yardstick X instead: a proxy from the first address to the second.
    #[arg(long, num_args = 2, hide = true)]
    proxy: Option<Vec<SocketAddr>>,
}

/// What one round of one scenario cost.
#[derive(Clone, Debug, Default)]
struct Round {
    cpu_micros: f64,
    items_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_mib: f64,
    bytes_per_item: f64,
    refused: u64,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Some(addresses) = &arguments.proxy {
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return single.block_on(yardstick::proxy(addresses[0], addresses[1]));
    }
    if arguments.micro {
        return micro::run(&payload::traces(true), &payload::traces(false), &payload::metrics());
    }
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> io::Result<()> {
    let templates = [
        (Kind::ModelMuxer, Arc::new(payload::traces(true))),
        (Kind::Foreign, Arc::new(payload::traces(false))),
        (Kind::Metrics, Arc::new(payload::metrics())),
    ];
    let template = |kind: Kind| templates.iter().find(|(k, _)| *k == kind).map(|(_, t)| t.clone());
    let mut out = io::stdout();
    let mut results = Vec::new();
    writeln!(
        out,
        "{:<18} {:>22} {:>7} {:>7} {:>9} {:>8} {:>8} {:>8} {:>7}",
        "scenario", "us/item (range)", "of P", "limit", "items/s", "p50 ms", "p99 ms", "peak MB", "B/item"
    )?;
    let wanted = |name: &str| arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|s| s == name);
    let prost = |metrics: bool| {
        let kind = if metrics { Kind::Metrics } else { Kind::ModelMuxer };
        template(kind).map_or(f64::NAN, |t| yardstick::prost_micros(&t, metrics))
    };
    let yardsticks = [prost(false), prost(true)];
    writeln!(out, "P: {:.3} us/span, {:.3} us/point", yardsticks[0], yardsticks[1])?;
    if wanted("proxy")
        && let Some(template) = template(Kind::Foreign)
    {
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            rounds.push(proxy_round(&template, arguments.requests).await?);
        }
        results.push(report("proxy", None, &rounds, yardsticks[0])?);
    }
    for scenario in scenario::ALL.iter().filter(|s| wanted(s.name)) {
        let Some(template) = template(scenario.load) else { continue };
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            rounds.push(bridge_round(arguments, scenario, &template).await?);
        }
        let yardstick = yardsticks[usize::from(scenario.load == Kind::Metrics)];
        results.push(report(scenario.name, scenario.limit_p, &rounds, yardstick)?);
    }
    if let Some(path) = &arguments.json {
        let all = json!({ "commit": commit(), "requests": arguments.requests, "items": ITEMS,
            "prost_us": { "span": yardsticks[0], "point": yardsticks[1] }, "scenarios": results });
        std::fs::write(path, format!("{all:#}\n"))?;
    }
    Ok(())
}

/// Prints one line and returns it for the file.
fn report(name: &str, limit: Option<f64>, rounds: &[Round], yardstick: f64) -> io::Result<Value> {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(|a, b| a.cpu_micros.total_cmp(&b.cpu_micros));
    let Some(median) = sorted.get(sorted.len() / 2) else { return Ok(Value::Null) };
    let range = [sorted[0].cpu_micros, sorted[sorted.len() - 1].cpu_micros];
    let ratio = median.cpu_micros / yardstick;
    let refused: u64 = rounds.iter().map(|r| r.refused).sum();
    writeln!(
        io::stdout(),
        "{:<18} {:>7.3} [{:.3}-{:.3}] {:>7.2} {:>7} {:>9.0} {:>8.2} {:>8.2} {:>8.1} {:>7.0}{}",
        name,
        median.cpu_micros,
        range[0],
        range[1],
        ratio,
        limit.map_or(String::new(), |l| format!("{l:.2}")),
        median.items_per_second,
        median.p50_ms,
        median.p99_ms,
        median.peak_mib,
        median.bytes_per_item,
        if refused > 0 { format!("  refused {refused}") } else { String::new() },
    )?;
    Ok(
        json!({ "name": name, "cpu_us_per_item": median.cpu_micros, "range": range, "ratio_p": ratio, "limit_p": limit,
        "items_per_second": median.items_per_second, "p50_ms": median.p50_ms, "p99_ms": median.p99_ms,
        "peak_mib": median.peak_mib, "bytes_per_item": median.bytes_per_item, "refused": refused }),
    )
}

async fn bridge_round(
    arguments: &Arguments,
    scenario: &Scenario,
    template: &Arc<Template>,
) -> io::Result<Round> {
    let (http, counts) = endpoints::http().await?;
    let (udp, datagrams) = endpoints::udp().await?;
    let (otlp, admin) = (free_port()?, free_port()?);
    let metrics = scenario.load == Kind::Metrics;
    let (signal, protocol) = (
        if metrics { "metrics" } else { "traces" },
        if scenario.protocol == Protocol::Grpc { "grpc" } else { "http" },
    );
    let exporters =
        scenario.exporters.replace("{http}", &http.to_string()).replace("{udp}", &udp.to_string());
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: '{otlp}'}}}}}}}}\nprocessors: {{modelmuxer: {{}}}}\n\
         exporters: {exporters}\nservice:\n  admin: {{endpoint: '{admin}'}}\n  workers: 1\n  \
         pipelines: {{{signal}: {{receivers: [otlp], processors: [modelmuxer], exporters: [{}]}}}}\n",
        scenario.ids.join(", ")
    );
    let file = std::env::temp_dir().join(format!("muxbridge-bench-{}.yaml", std::process::id()));
    std::fs::write(&file, yaml)?;
    let process = Process::start(&arguments.program, &["run", "--config", &file.to_string_lossy()])?;
    process.listening(otlp).await?;
    process.listening(admin).await?;
    let load = Load {
        protocol: scenario.protocol,
        to: otlp,
        template: template.clone(),
        metrics,
        in_flight: scenario.in_flight,
    };
    let warm = 100;
    load.run(0, warm).await?;
    settled(admin, scenario, warm).await?;
    let before = (process.cpu_seconds()?, counts.bytes.load(RELAXED) + datagrams.bytes.load(RELAXED));
    let outcome = load.run(warm, arguments.requests).await?;
    settled(admin, scenario, warm + arguments.requests).await?;
    let items = (arguments.requests * ITEMS as u64) as f64;
    let bytes = counts.bytes.load(RELAXED) + datagrams.bytes.load(RELAXED) - before.1;
    Ok(Round {
        cpu_micros: (process.cpu_seconds()? - before.0) * 1e6 / items,
        items_per_second: items / outcome.elapsed.as_secs_f64(),
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        peak_mib: process.peak_mib()?,
        bytes_per_item: bytes as f64 / items,
        refused: outcome.refused,
    })
}

const RELAXED: std::sync::atomic::Ordering = std::sync::atomic::Ordering::Relaxed;

/// Waits until every destination has what was sent. A loss would never settle, and is an error.
async fn settled(admin: SocketAddr, scenario: &Scenario, requests: u64) -> io::Result<()> {
    let enqueued = "muxbridge_exporter_enqueued_total";
    let items = (requests * ITEMS as u64 * scenario.ids.len() as u64) as f64;
    let all_in = || async move { counter(admin, enqueued, "").await >= items };
    until(all_in)
        .await
        .map_err(|_| io::Error::other(format!("{}: not everything left the processors", scenario.name)))?;
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

async fn proxy_round(template: &Arc<Template>, requests: u64) -> io::Result<Round> {
    let (http, _) = endpoints::http().await?;
    let listen = free_port()?;
    let program = std::env::current_exe()?;
    let process = Process::start(&program, &["--proxy", &listen.to_string(), &http.to_string()])?;
    process.listening(listen).await?;
    let load = Load {
        protocol: Protocol::Grpc,
        to: listen,
        template: template.clone(),
        metrics: false,
        in_flight: 16,
    };
    load.run(0, 100).await?;
    let before = process.cpu_seconds()?;
    let outcome = load.run(100, requests).await?;
    let items = (requests * ITEMS as u64) as f64;
    Ok(Round {
        cpu_micros: (process.cpu_seconds()? - before) * 1e6 / items,
        items_per_second: items / outcome.elapsed.as_secs_f64(),
        p50_ms: outcome.quantile_ms(0.5),
        p99_ms: outcome.quantile_ms(0.99),
        peak_mib: process.peak_mib()?,
        bytes_per_item: template.len() as f64 / ITEMS as f64,
        refused: outcome.refused,
    })
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

//! Figures that are no load: the size of the program, its memory when idle, how soon it takes a request.

use crate::limits::Results;
use crate::load::{Load, Protocol};
use crate::run::{Bridge, Templates};
use crate::scenario::{ALL, Kind, Scenario};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Fills in `program`, `idle` and `start`.
pub(crate) async fn measure(program: &Path, templates: &Templates, results: &mut Results) -> io::Result<()> {
    let scenario = ALL.first().ok_or_else(|| io::Error::other("there is no scenario"))?;
    results.values.insert("program", std::fs::metadata(program)?.len() as f64 / f64::from(1 << 20));
    results.values.insert("idle", idle(program, scenario).await?);
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(start(program, scenario, templates).await?);
    }
    starts.sort_by(f64::total_cmp);
    results.values.insert("start", starts[starts.len() / 2]);
    Ok(())
}

/// MiB three seconds after the start.
async fn idle(program: &Path, scenario: &Scenario) -> io::Result<f64> {
    let bridge = Bridge::start(program, scenario).await?;
    bridge.process.listening(bridge.otlp).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    bridge.process.memory_mib("VmRSS:")
}

/// Milliseconds from the start of the process to the acknowledgement of a first request.
async fn start(program: &Path, scenario: &Scenario, templates: &Templates) -> io::Result<f64> {
    let began = Instant::now();
    let bridge = Bridge::start(program, scenario).await?;
    while tokio::net::TcpStream::connect(bridge.otlp).await.is_err() {
        if began.elapsed() > Duration::from_secs(10) {
            return Err(io::Error::other("the program does not listen"));
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let sources = templates.get(Kind::Foreign)?.clone();
    let load = Load {
        protocol: Protocol::Grpc,
        to: bridge.otlp,
        sources,
        metrics: false,
        in_flight: 1,
        connections: 1,
    };
    load.run(0, 1).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

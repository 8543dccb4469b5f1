//! What the bridge costs: the whole program under load beside yardsticks of the same run, its steps, and their
//! instructions against a baseline.
//!
//! `cargo build --release -p muxbridge && cargo run --release -p muxbridge-bench`

mod encoders;
mod endpoints;
mod instructions;
mod limits;
mod load;
mod machine;
mod micro;
mod payload;
mod peer;
mod process;
mod run;
mod scenario;
mod single;
mod steps;
mod yardstick;

use clap::Parser;
use limits::Results;
use muxbridge::core::BoxError;
use payload::ITEMS;
use run::Templates;
use scenario::Kind;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what the bridge costs.
#[derive(Parser)]
struct Arguments {
    /// Only these scenarios; `single` is what is no load, `steps-inside` what has limits of its own.
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
    /// Count the instructions of the steps inside with valgrind and compare them with the baseline.
    #[arg(long)]
    instructions: bool,
    /// With `--instructions`: write the baseline instead.
    #[arg(long, requires = "instructions")]
    write_baseline: bool,
    /// The baseline of `--instructions`.
    #[arg(long, default_value = "benches/instructions.json")]
    baseline: PathBuf,
    /// Run one step a number of times, for a profiler.
    #[arg(long)]
    step: Option<String>,
    /// How often, with `--step`.
    #[arg(long, default_value_t = 100)]
    times: u64,
    /// Where to send to with `--step export-...`.
    #[arg(long)]
    to: Option<SocketAddr>,
    /// Another program to measure beside the bridge: `NAME=PROGRAM ARGUMENTS`, with `{otlp}` where it listens for OTLP over
    /// gRPC and `{http}` where it sends it to.
    #[arg(long)]
    peer: Vec<peer::Peer>,
    /// Run as yardstick X instead: a proxy from the first address to the second.
    #[arg(long, num_args = 2, hide = true)]
    proxy: Option<Vec<SocketAddr>>,
}

fn main() -> Result<ExitCode, BoxError> {
    let arguments = Arguments::parse();
    if let Some(addresses) = &arguments.proxy {
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        single.block_on(yardstick::proxy(addresses[0], addresses[1]))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(name), Some(to)) = (&arguments.step, arguments.to) {
        run_step(name, arguments.times, to)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.micro || arguments.instructions || arguments.step.is_some() {
        let (to, _) = runtime.block_on(endpoints::http())?;
        if let Some(name) = &arguments.step {
            run_step(name, arguments.times, to)?;
        } else if arguments.micro {
            micro::run(&payload::traces(true), &payload::traces(false), &payload::metrics())?;
            steps::print(to)?;
        } else if !instructions::check(&arguments.baseline, arguments.write_baseline, to)? {
            return Ok(ExitCode::FAILURE);
        }
        return Ok(ExitCode::SUCCESS);
    }
    runtime.block_on(measure(&arguments))?;
    Ok(ExitCode::SUCCESS)
}

fn run_step(name: &str, times: u64, to: SocketAddr) -> Result<(), BoxError> {
    let step = steps::step(name, to)?.ok_or_else(|| format!("there is no step {name:?}"))?;
    (0..times).try_for_each(step)
}

async fn measure(arguments: &Arguments) -> Result<(), BoxError> {
    let wanted = |name: &str| arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|s| s == name);
    let templates = Templates::new();
    let (spans, points) = (templates.get(Kind::ModelMuxer)?, templates.get(Kind::Metrics)?);
    let prost = || [yardstick::prost_micros(&spans[0], false), yardstick::prost_micros(&points[0], true)];
    let mut failed = false;
    let mut results = Results { prost: prost(), ..Results::default() };
    run::head(results.prost)?;
    if wanted("proxy") {
        run::proxy(arguments, &templates, &mut results).await?;
    }
    for scenario in scenario::ALL.iter().filter(|s| wanted(s.name)) {
        // The others are worth knowing all the same.
        if let Err(error) = run::scenario(arguments, scenario, &templates, &mut results).await {
            println(&format!("{error}"))?;
            failed = true;
        }
    }
    for peer in &arguments.peer {
        run::peer(arguments, peer, &templates, &mut results).await?;
    }
    if wanted("single") {
        single::measure(&arguments.program, &templates, &mut results).await?;
    }
    if wanted("steps-inside") {
        steps_inside(&mut results)?;
    }
    let checked = results.check()?;
    if let Some(path) = &arguments.json {
        let all = json!({
            "commit": machine::commit(), "machine": machine::describe(), "requests": arguments.requests,
            "rounds": arguments.rounds, "items": ITEMS,
            "prost_us": { "span": results.prost[0], "point": results.prost[1] },
            "scenarios": results.scenarios, "values": results.values, "limits": checked,
        });
        std::fs::write(path, format!("{all:#}\n"))?;
    }
    if failed { Err("not every scenario could be measured".into()) } else { Ok(()) }
}

fn println(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")
}

/// Fills in `page` and `dogstatsd`, measured without the program.
fn steps_inside(results: &mut Results) -> Result<(), BoxError> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut page = steps::step("page", nowhere)?.ok_or("no step")?;
    let seconds = steps::best(&mut page, 4, 9)?;
    results.values.insert("page", steps::page_text().len() as f64 / seconds / 1e6);
    // 196 requests have 100,352 series.
    results.values.insert("dogstatsd", steps::lines(steps::InitialSeries(196), 8)?);
    Ok(())
}

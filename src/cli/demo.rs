//! `muxbridge demo`: the whole bridge on recorded telemetry, with no other program.
//!
//! The recording is sent over HTTP to the receiver of a bridge in this process, which translates it and sends it to the
//! destinations that the environment names. The numbers that are shown come from what these destinations get.

mod intake;
mod player;
mod recording;
mod rewrite;
mod summary;
mod table;

use super::{Failure, exit, print, run, say, variables};
use crate::config::{Config, ExporterConfig, PipelineConfig, environment};
use crate::pipeline::settings::{RetryOnFailure, SendingQueue};
use crate::registry::Registry;
use intake::Intake;
use muxbridge_core::config::Problems;
use muxbridge_core::{Clock, Signal};
use muxbridge_kit::http::{ClientOptions, HttpClient};
use player::Player;
use recording::Recording;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use summary::Summary;

/// The receiver that the recording is sent to.
const RECEIVER: &str = "otlp";

/// The exporter that the numbers come from.
const SUMMARY: &str = "summary";

/// How often the numbers are shown.
const EVERY: Duration = Duration::from_secs(5);

/// Lines of models while it runs.
const SOME: usize = 5;

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where health and metrics are. Default: a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    /// How many times faster than it was recorded.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Play it once, 45 seconds at normal speed, and stop. Otherwise it begins anew until Ctrl-C.
    #[arg(long)]
    once: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1e6).contains(&speed) => Ok(speed),
        _ => Err("is not a number from 0.01 to 1000000".to_owned()),
    }
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments, registry: &Registry) -> Result<(), Failure> {
    let unavailable = |e: &dyn std::fmt::Display| Failure::new(exit::UNAVAILABLE, e);
    let recording = Recording::bundled().map_err(|e| unavailable(&format!("the recording: {e}")))?;
    let (intake, summary) = (Intake::default(), Summary::default());
    let (config, chosen) = configuration(arguments.admin, &intake, &summary, registry)?;
    let client = HttpClient::new(&ClientOptions::default()).map_err(|e| unavailable(&e))?;
    let clock = Clock::system();

    let mut outcome = Ok(());
    let (shown, ended) = (&summary, &mut outcome);
    run::bridge(config, None, |admin| async move {
        // The bridge is built by now, so that the receiver has its port.
        let port = intake.address().map_or(0, |address| address.port());
        introduce(port, admin, &chosen);
        let player = Player { client, port, clock, speed: arguments.speed, random: fastrand::Rng::new() };
        tokio::select! {
            result = play(player, &recording, arguments.once) => *ended = result,
            () = show(shown) => {}
        }
    })?;
    // What was held back has left by now.
    print(&format!("\nall in all: {}", summary.text(usize::MAX)))?;
    outcome.map_err(|e| unavailable(&e))
}

/// The configuration from the environment, with the receiver of the demo and the summary beside the destinations; and
/// which destinations there are and why.
fn configuration(
    admin: SocketAddr,
    intake: &Intake,
    summary: &Summary,
    registry: &Registry,
) -> Result<(Config, Vec<String>), Failure> {
    // What the usual ports of a bridge would be is somebody else here.
    let mut found = environment::configuration_on(&[], &variables);
    found.tree["receivers"] = json!({ RECEIVER: {} });
    for pipeline in
        found.tree["service"]["pipelines"].as_object_mut().into_iter().flat_map(|p| p.values_mut())
    {
        pipeline["receivers"] = json!([RECEIVER]);
    }
    let service = &mut found.tree["service"];
    service["admin"] = json!({ "enabled": true, "endpoint": admin.to_string() });
    service["workers"] = json!(1);
    // A recording is nothing to keep.
    service["durability"] = json!("memory");
    // Between the numbers there is room for what went wrong, and for no more unless it is asked for.
    if variables("LOG_LEVEL").is_none() {
        service["telemetry"] = json!({ "logs": { "level": "warn" } });
    }
    let mut config = crate::config::from_tree(found.tree.take(), registry, Problems::new())
        .map_err(|problems| super::failure("the configuration from the environment", problems))?;

    config.receivers.insert(RECEIVER.to_owned(), Box::new(intake.clone()));

    // With no destination the environment stands for printing everything, which nobody could read.
    config.exporters.remove("debug");
    let exporter = ExporterConfig {
        kind: Box::new(summary.clone()),
        signals: &Signal::ALL,
        queue: SendingQueue::default(),
        retry: RetryOnFailure::default(),
    };
    config.exporters.insert(SUMMARY.to_owned(), exporter);
    for signal in Signal::ALL {
        if !config.pipelines.iter().any(|p| p.signal == signal) {
            config.pipelines.push(PipelineConfig {
                id: signal.to_string(),
                signal,
                receivers: vec![RECEIVER.to_owned()],
                processors: vec!["modelmuxer".to_owned()],
                exporters: Vec::new(),
            });
        }
    }
    let ids: Vec<String> = config.exporters.keys().cloned().collect();
    for pipeline in &mut config.pipelines {
        pipeline.exporters.retain(|id| ids.contains(id));
        pipeline.exporters.push(SUMMARY.to_owned());
    }
    let is_exporter = |line: &str| ids.iter().any(|id| line.split(": ").next() == Some(id));
    let chosen = found.chosen.into_iter();
    // The receivers that it tells of are not ours.
    let chosen = chosen.filter(|line| is_exporter(line) && !line.starts_with("otlp: listens"));
    Ok((config, chosen.collect()))
}

/// Says what runs, where to look and how to see it elsewhere.
fn introduce(port: u16, admin: Option<SocketAddr>, chosen: &[String]) {
    say("playing the recorded telemetry of a ModelMuxer through the whole bridge (synthetic traffic)");
    say(&format!("  in:   http://127.0.0.1:{port}/v1/traces and /v1/metrics"));
    if let Some(admin) = admin {
        say(&format!("  look: http://{admin}/metrics and http://{admin}/ready"));
    }
    if chosen.is_empty() {
        say("  out:  only the numbers below; to see it somewhere, stop with Ctrl-C and run one of");
        say("          DD_API_KEY=... muxbridge demo");
        say("          NEW_RELIC_LICENSE_KEY=... muxbridge demo");
        say("          OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 muxbridge demo");
    }
    chosen.iter().for_each(|line| say(&format!("  out:  {line}")));
}

async fn play(mut player: Player, recording: &Recording, once: bool) -> Result<(), String> {
    loop {
        player.play(recording).await?;
        if once {
            return Ok(());
        }
    }
}

/// Shows the numbers whenever there are new ones.
async fn show(summary: &Summary) {
    let mut shown = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        let requests = summary.requests();
        if requests != shown {
            shown = requests;
            // Who closed standard output does not look at it.
            let _ = print(&format!("\n{}", summary.text(SOME)));
        }
    }
}

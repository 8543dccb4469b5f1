//! A program with the bridge inside: its spans and counters go straight into the pipelines, without a port.
//!
//! `cargo run -p embed-example` prints them; with another configuration as argument they go wherever that says:
//! `cargo run -p embed-example -- my.yaml`.

use muxbridge::Registry;
use muxbridge::embed::Bridge;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::error::Error;
use tracing_subscriber::layer::SubscriberExt;

const CONFIG: &str = "
receivers:
  in_process:
exporters:
  debug:
service:
  durability: memory
  pipelines:
    traces: { receivers: [in_process], exporters: [debug] }
    metrics: { receivers: [in_process], exporters: [debug] }
";

fn main() -> Result<(), Box<dyn Error>> {
    let yaml = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?,
        None => CONFIG.to_owned(),
    };
    let bridge = Bridge::start(&yaml, Registry::builtin())?;

    let tracers = SdkTracerProvider::builder().with_batch_exporter(bridge.exporter()).build();
    let meters =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(bridge.exporter()).build()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("embed-example"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let requests = meters.meter("embed-example").u64_counter("example.requests").build();

    tracing::subscriber::with_default(subscriber, || {
        for number in 0..3 {
            let _span = tracing::info_span!("request", number).entered();
            requests.add(1, &[KeyValue::new("outcome", "ok")]);
        }
    });

    // In this order: the providers still hold spans and sums.
    tracers.shutdown()?;
    meters.shutdown()?;
    bridge.shutdown();
    Ok(())
}

//! The bridge inside another program.

use bytes::Bytes;
use muxbridge::Registry;
use muxbridge::core::{Refused, Signal, names};
use muxbridge::embed::{Bridge, SendError};
use muxbridge_testkit::{Reply, Server, corpus, oracle};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;

fn yaml(destination: &str, signals: &[&str]) -> String {
    let pipelines: Vec<String> =
        signals.iter().map(|s| format!("{s}: {{receivers: [in_process], exporters: [otlphttp]}}")).collect();
    format!(
        "receivers: {{in_process: {{}}}}\nexporters: {{otlphttp: {{endpoint: '{destination}', compression: none}}}}\n\
         service: {{durability: memory, workers: 1, pipelines: {{{}}}}}\n",
        pipelines.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_sums_and_logs_of_the_sdk_arrive_with_their_resource() {
    let destination = Server::start(|_| Reply::status(200)).await;
    let yaml = yaml(&destination.url(), &["traces", "metrics", "logs"]);
    // As in a program without tokio: providers and bridge on a thread of their own.
    let counters = tokio::task::spawn_blocking(move || {
        let bridge = Bridge::start(&yaml, Registry::builtin()).expect("it starts");
        let resource = || Resource::builder().with_service_name("host").build();
        let tracers = SdkTracerProvider::builder()
            .with_batch_exporter(bridge.exporter())
            .with_resource(resource())
            .build();
        let reader = PeriodicReader::builder(bridge.exporter()).build();
        let meters = SdkMeterProvider::builder().with_reader(reader).with_resource(resource()).build();
        let loggers = SdkLoggerProvider::builder()
            .with_batch_exporter(bridge.exporter())
            .with_resource(resource())
            .build();
        tracers.tracer("t").in_span("work", |_| ());
        meters.meter("m").u64_counter("jobs").build().add(3, &[]);
        let logger = loggers.logger("l");
        let mut record = logger.create_log_record();
        record.set_body(AnyValue::from("done"));
        logger.emit(record);
        tracers.shutdown().expect("spans are taken");
        meters.shutdown().expect("sums are taken");
        loggers.shutdown().expect("logs are taken");
        let counters = bridge.counters().clone();
        bridge.shutdown();
        counters
    })
    .await
    .expect("no panic");
    assert_eq!(counters.sum(names::SENT, &[]), 3, "one item of each signal");
    let requests = destination.requests();
    let body = |path: &str| {
        let found = requests.iter().find(|r| r.path == path);
        found.unwrap_or_else(|| panic!("nothing for {path}")).body.clone()
    };
    let traces = oracle::decode_traces(&body("/v1/traces"));
    assert_eq!(traces.resource_spans[0].scope_spans[0].spans[0].name, "work");
    let metrics = oracle::decode_metrics(&body("/v1/metrics"));
    assert_eq!(metrics.resource_metrics[0].scope_metrics[0].metrics[0].name, "jobs");
    let logs = oracle::decode_logs(&body("/v1/logs"));
    assert!(format!("{:?}", logs.resource_logs[0].scope_logs[0].log_records[0].body).contains("done"));
    for resource in [
        &traces.resource_spans[0].resource,
        &metrics.resource_metrics[0].resource,
        &logs.resource_logs[0].resource,
    ] {
        assert!(format!("{resource:?}").contains("host"), "{resource:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_is_told_what_is_wrong_what_nobody_takes_and_that_the_bridge_has_stopped() {
    let destination = Server::start(|_| Reply::status(200)).await;
    let bridge =
        Bridge::start(&yaml(&destination.url(), &["traces"]), Registry::builtin()).expect("it starts");
    let input = bridge.input();
    let traces = Bytes::from(corpus("scenario/traces.otlp.pb"));
    input.send(Signal::Traces, traces.clone()).await.expect("taken");
    let wrong = input.send(Signal::Traces, Bytes::from_static(b"\x0a\xff")).await;
    assert!(matches!(wrong, Err(SendError::Invalid(_))), "{wrong:?}");
    let metrics = oracle::encode(&oracle::decode_metrics(&[]));
    let unwanted = input.send(Signal::Metrics, metrics).await;
    assert!(matches!(unwanted, Err(SendError::Refused(Refused::NotConfigured))), "{unwanted:?}");
    tokio::task::spawn_blocking(|| bridge.shutdown()).await.expect("no panic");
    assert_eq!(destination.requests().len(), 1, "what was taken is delivered");
    let late = input.send(Signal::Traces, traces).await;
    assert!(matches!(late, Err(SendError::Stopped)), "{late:?}");
}

#[test]
fn a_configuration_that_would_take_nothing_from_the_program_is_an_error() {
    let start = |yaml: &str| match Bridge::start(yaml, Registry::builtin()) {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    };
    let without = "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}\nexporters: {debug: {}}\n\
                   service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";
    assert!(start(without).contains("none has the receiver in_process"));
    let problems =
        start(&yaml("nonsense", &["traces", "metrics"]).replace("exporters: [", "exporters: [typo, "));
    assert!(problems.contains("otlphttp") && problems.contains("typo"), "{problems}");
    let second = yaml("http://127.0.0.1:1", &["traces"])
        .replace("{in_process: {}}", "{in_process: {}, in_process/two: {}}")
        .replace("[in_process]", "[in_process, in_process/two]");
    assert!(start(&second).contains("receivers.in_process/two: only one is possible"));
}

//! OTLP/JSON of random requests: nothing that protobuf knows may change on the way there and back.

use crate::random::request;
use muxbridge_pdata::{Limits, Signal, json, validate};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

fn survives<M: Message + Default + PartialEq + std::fmt::Debug>(signal: Signal) {
    for seed in 0..1500 {
        let wire = request(signal, seed);
        let text = json::encode(signal, &wire);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let decoded = json::decode(signal, text.as_bytes()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(validate(signal, &decoded, Limits::default()).is_ok());
        assert_eq!(M::decode(&*wire).unwrap(), M::decode(&*decoded).unwrap(), "seed {seed}\n{text}");
        assert_eq!(text, json::encode(signal, &decoded), "seed {seed}");
    }
}

#[test]
fn every_field_of_traces_survives_the_way_through_json() {
    survives::<ExportTraceServiceRequest>(Signal::Traces);
}

#[test]
fn every_field_of_metrics_survives_the_way_through_json() {
    survives::<ExportMetricsServiceRequest>(Signal::Metrics);
}

#[test]
fn every_field_of_logs_survives_the_way_through_json() {
    survives::<ExportLogsServiceRequest>(Signal::Logs);
}

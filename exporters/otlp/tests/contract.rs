//! The contract that every exporter keeps, for both kinds.

use muxbridge_core::{ExportError, Exporter};
use muxbridge_exporter_otlp::{OTLP, OTLP_HTTP, Otlp, OtlpHttp};
use muxbridge_testkit::contract::{
    any_traces, build, context, dead_endpoint, exporter_contract, http_contract,
};
use serde_json::json;

#[tokio::test]
async fn both_kinds_keep_the_contract_of_exporters() {
    exporter_contract::<Otlp>(json!({ "endpoint": "https://localhost:4317" })).await;
    exporter_contract::<OtlpHttp>(json!({ "endpoint": "https://localhost:4318" })).await;
}

#[tokio::test]
async fn http_keeps_the_contract_of_http_exporters() {
    http_contract::<OtlpHttp>(|url| json!({ "endpoint": url }), &any_traces()).await;
}

#[tokio::test]
async fn a_dead_grpc_endpoint_is_retryable_and_named() {
    let endpoint = dead_endpoint();
    let exporter = build::<Otlp>(json!({ "endpoint": endpoint }), &context::<Otlp>());
    let error = exporter.export(&any_traces()).await.unwrap_err();
    assert!(matches!(error, ExportError::Retryable { after: None, .. }));
    assert!(error.to_string().contains(&endpoint), "{error}");
}

#[test]
fn the_names_are_those_of_the_collector() {
    assert_eq!((OTLP.name, OTLP_HTTP.name), ("otlp", "otlphttp"));
}

//! Where telemetry goes: each destination is sent one test item of each signal, as the pipelines would send it.

use super::Finding;
use crate::config::{ExporterConfig, PipelineConfig};
use muxbridge_core::{
    Batch, BuildContext, Clock, Counters, DynExporter, ExportError, Limits, Origin, Signal,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(15);

/// Builds and tries all destinations that a pipeline uses, at the same time.
pub(super) async fn check(
    exporters: BTreeMap<String, ExporterConfig>,
    pipelines: &[PipelineConfig],
    running: bool,
    send: bool,
    findings: &mut Vec<Finding>,
) {
    let mut asking = JoinSet::new();
    for (id, exporter) in exporters {
        let brought =
            |signal: &Signal| pipelines.iter().any(|p| p.signal == *signal && p.exporters.contains(&id));
        let signals: Vec<Signal> = exporter.signals.iter().copied().filter(brought).collect();
        if signals.is_empty() {
            continue;
        }
        let what = format!("exporters.{id}");
        let kind = id.split('/').next().unwrap_or_default().to_owned();
        if kind == "prometheus" && running {
            findings.push(Finding::ok(what, "its port belongs to the bridge that runs"));
            continue;
        }
        let built = exporter.kind.build(&BuildContext::new(&id, Counters::new(), Clock::system()));
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                findings.push(Finding::fail(what, error));
                continue;
            }
        };
        match kind.as_str() {
            "debug" => findings.push(Finding::ok(what, "prints to the terminal; nobody else sees it")),
            "file" => findings.push(Finding::ok(what, "its file can be opened")),
            "prometheus" => findings.push(Finding::ok(what, "its port is free")),
            _ if !send => findings.push(Finding::ok(what, "was built; not asked because of --no-send")),
            _ => drop(asking.spawn(try_out(what, kind, built, signals))),
        }
    }
    let mut found: Vec<Finding> = asking.join_all().await.into_iter().flatten().collect();
    found.sort_by(|a, b| a.what.cmp(&b.what));
    findings.append(&mut found);
}

async fn try_out(
    what: String,
    kind: String,
    exporter: Arc<dyn DynExporter>,
    signals: Vec<Signal>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for signal in signals {
        let what = format!("{what}, {signal}");
        let Some(batch) = test_item(signal, &Clock::system()) else { continue };
        findings.push(match timeout(PATIENCE, exporter.export_dyn(&batch)).await {
            Err(_) => Finding::fail(what, format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Err(error)) => Finding::fail(what, explain(&error)),
            Ok(Ok(delivered)) if delivered.rejected > 0 => {
                Finding::fail(what, format!("the test item was rejected: {}", delivered.message))
            }
            Ok(Ok(delivered)) if !delivered.message.is_empty() => {
                Finding::warn(what, format!("the test item was taken with a warning: {}", delivered.message))
            }
            Ok(Ok(delivered)) if delivered.omitted > 0 => {
                Finding::ok(what, "the test item is of a kind that is not sent there")
            }
            Ok(Ok(_)) if kind == "statsd" || (kind == "datadog" && signal == Signal::Metrics) => Finding::ok(
                what,
                "a test item was sent; datagrams are not answered, so look for muxbridge.doctor there",
            ),
            Ok(Ok(_)) => Finding::ok(what, "took a test item"),
        });
    }
    exporter.shutdown_dyn().await;
    findings
}

/// The error with its causes, and what usually helps.
fn explain(error: &ExportError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source().and_then(Error::source);
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text.push_str(&format!(": {next_text}"));
        }
        cause = next.source();
    }
    let low = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| low.contains(word));
    let hint = if has(&["401", "403", "unauthenticated", "permission", "forbidden"]) {
        "check the key: is it for this site or region, and of the right kind?"
    } else if has(&["certificate", "tls", "handshake"]) {
        "check tls.ca_file and the name in the address; is it a TLS port at all?"
    } else if has(&["dns", "lookup", "resolve", "name or service"]) {
        "check the host name, and the name server of this host"
    } else if has(&["refused", "connect", "unreachable"]) {
        "check that it runs, and the address and the port"
    } else if has(&["404", "unimplemented"]) {
        "check the path of the address, and that this is the right service"
    } else {
        return text;
    };
    format!("{text}; {hint}")
}

/// One item that does no harm: a span, a gauge or a log record named after this command.
fn test_item(signal: Signal, clock: &Clock) -> Option<Batch> {
    let now = clock.unix_nanos();
    let resource =
        r#""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"muxbridge-doctor"}}]}"#;
    let scope = r#""scope":{"name":"muxbridge"}"#;
    let json = match signal {
        Signal::Traces => format!(
            r#"{{"resourceSpans":[{{{resource},"scopeSpans":[{{{scope},"spans":[{{"traceId":"{now:032x}","spanId":"{now:016x}","name":"muxbridge doctor","kind":1,"startTimeUnixNano":"{now}","endTimeUnixNano":"{now}"}}]}}]}}]}}"#
        ),
        Signal::Metrics => format!(
            r#"{{"resourceMetrics":[{{{resource},"scopeMetrics":[{{{scope},"metrics":[{{"name":"muxbridge.doctor","unit":"1","gauge":{{"dataPoints":[{{"timeUnixNano":"{now}","asDouble":1}}]}}}}]}}]}}]}}"#
        ),
        Signal::Logs => format!(
            r#"{{"resourceLogs":[{{{resource},"scopeLogs":[{{{scope},"logRecords":[{{"timeUnixNano":"{now}","severityNumber":9,"severityText":"INFO","body":{{"stringValue":"muxbridge doctor"}}}}]}}]}}]}}"#
        ),
    };
    let otlp = muxbridge_pdata::json::decode(signal, json.as_bytes()).ok()?;
    let origin = Arc::new(Origin { receiver: "doctor".to_owned() });
    Batch::new(signal, otlp, origin, Limits::default()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_test_item() {
        for signal in Signal::ALL {
            assert_eq!(test_item(signal, &Clock::system()).map(|batch| batch.items()), Some(1), "{signal}");
        }
    }
}

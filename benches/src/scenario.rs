//! What is measured: each scenario is a configuration of the bridge and a load.

use crate::load::Protocol;

/// Where `{http}` and `{udp}` stand, the addresses of the null endpoints are put.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The value of `exporters` in the configuration, and their ids.
    pub(crate) exporters: &'static str,
    pub(crate) ids: &'static [&'static str],
    pub(crate) protocol: Protocol,
    pub(crate) load: Kind,
    pub(crate) in_flight: usize,
    /// What the cost may be at most, as a factor of yardstick P.
    pub(crate) limit_p: Option<f64>,
}

/// The payload of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Traces of ModelMuxer: assembled and translated.
    ModelMuxer,
    /// Traces of another program: validated and passed through.
    Foreign,
    /// Metric points of another program.
    Metrics,
}

const OTLP: &str = "{otlp: {endpoint: 'http://{http}', compression: none}}";

/// All of them, in the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    Scenario { limit_p: Some(0.35), load: Kind::Foreign, ..scenario("pass", OTLP, &["otlp"]) },
    Scenario { limit_p: Some(0.55), ..scenario("translate", OTLP, &["otlp"]) },
    Scenario { protocol: Protocol::Http, ..scenario("translate-http-in", OTLP, &["otlp"]) },
    Scenario {
        limit_p: Some(0.65),
        ..scenario("zstd", "{otlp: {endpoint: 'http://{http}', compression: zstd}}", &["otlp"])
    },
    Scenario {
        limit_p: Some(0.75),
        ..scenario("gzip", "{otlp: {endpoint: 'http://{http}', compression: gzip}}", &["otlp"])
    },
    Scenario {
        limit_p: Some(0.65),
        ..scenario(
            "datadog",
            "{datadog: {trace_agent_url: 'http://{http}', dogstatsd_url: 'udp://{udp}'}}",
            &["datadog"],
        )
    },
    Scenario {
        limit_p: Some(0.85),
        ..scenario(
            "newrelic-zstd",
            "{newrelic: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: zstd}}",
            &["newrelic"],
        )
    },
    Scenario {
        limit_p: Some(1.6),
        ..scenario(
            "three",
            "{otlp: {endpoint: 'http://{http}', compression: none}, \
             datadog: {trace_agent_url: 'http://{http}', dogstatsd_url: 'udp://{udp}'}, \
             newrelic: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: zstd}}",
            &["otlp", "datadog", "newrelic"],
        )
    },
    Scenario { limit_p: Some(0.35), load: Kind::Metrics, ..scenario("metrics-pass", OTLP, &["otlp"]) },
    Scenario {
        load: Kind::Metrics,
        ..scenario(
            "metrics-dogstatsd",
            "{statsd: {endpoint: 'udp://{udp}', dialect: dogstatsd}}",
            &["statsd"],
        )
    },
    Scenario { load: Kind::Foreign, in_flight: 1, ..scenario("one-in-flight", OTLP, &["otlp"]) },
];

const fn scenario(name: &'static str, exporters: &'static str, ids: &'static [&'static str]) -> Scenario {
    Scenario {
        name,
        exporters,
        ids,
        protocol: Protocol::Grpc,
        load: Kind::ModelMuxer,
        in_flight: 16,
        limit_p: None,
    }
}

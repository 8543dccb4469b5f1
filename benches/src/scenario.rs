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
    /// Connections that the requests in flight are spread over.
    pub(crate) connections: usize,
    /// Workers of the bridge and as many cores for them.
    pub(crate) workers: usize,
    /// Whether everything is synced to a disk before it is acknowledged.
    pub(crate) fsync: bool,
    /// Whether metrics are also shown on the admin port.
    pub(crate) shown: bool,
}

/// The payload of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Traces of ModelMuxer: assembled and translated.
    ModelMuxer,
    /// The same, each spread over two requests.
    Split,
    /// Traces of another program: validated and passed through.
    Foreign,
    /// Metric points of another program.
    Metrics,
}

const OTLP: &str = "{otlp: {endpoint: 'http://{http}', compression: none}}";

/// All of them, in the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    Scenario { load: Kind::Foreign, ..scenario("pass", OTLP, &["otlp"]) },
    scenario("translate", OTLP, &["otlp"]),
    Scenario { load: Kind::Split, ..scenario("translate-split", OTLP, &["otlp"]) },
    Scenario { protocol: Protocol::Http, ..scenario("translate-http-in", OTLP, &["otlp"]) },
    scenario("zstd", "{otlp: {endpoint: 'http://{http}', compression: zstd}}", &["otlp"]),
    scenario("gzip", "{otlp: {endpoint: 'http://{http}', compression: gzip}}", &["otlp"]),
    scenario(
        "datadog",
        "{datadog: {trace_agent_url: 'http://{http}', dogstatsd_url: 'udp://{udp}'}}",
        &["datadog"],
    ),
    scenario(
        "newrelic-zstd",
        "{newrelic: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: zstd}}",
        &["newrelic"],
    ),
    scenario(
        "three",
        "{otlp: {endpoint: 'http://{http}', compression: none}, \
         datadog: {trace_agent_url: 'http://{http}', dogstatsd_url: 'udp://{udp}'}, \
         newrelic: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: zstd}}",
        &["otlp", "datadog", "newrelic"],
    ),
    Scenario { load: Kind::Metrics, shown: false, ..scenario("metrics-pass", OTLP, &["otlp"]) },
    Scenario { load: Kind::Metrics, ..scenario("metrics-shown", OTLP, &["otlp"]) },
    Scenario {
        load: Kind::Metrics,
        shown: false,
        ..scenario(
            "metrics-dogstatsd",
            "{statsd: {endpoint: 'udp://{udp}', dialect: dogstatsd}}",
            &["statsd"],
        )
    },
    Scenario { load: Kind::Foreign, in_flight: 1, ..scenario("one-in-flight", OTLP, &["otlp"]) },
    Scenario { load: Kind::Foreign, in_flight: 64, ..scenario("memory-64", OTLP, &["otlp"]) },
    Scenario { load: Kind::Foreign, in_flight: 64, fsync: true, ..scenario("fsync-64", OTLP, &["otlp"]) },
    Scenario { load: Kind::Foreign, connections: 8, ..scenario("one-core", OTLP, &["otlp"]) },
    Scenario { load: Kind::Foreign, connections: 8, workers: 2, ..scenario("two-cores", OTLP, &["otlp"]) },
];

const fn scenario(name: &'static str, exporters: &'static str, ids: &'static [&'static str]) -> Scenario {
    Scenario {
        name,
        exporters,
        ids,
        protocol: Protocol::Grpc,
        load: Kind::ModelMuxer,
        in_flight: 16,
        connections: 1,
        workers: 1,
        fsync: false,
        shown: true,
    }
}

impl Scenario {
    pub(crate) fn metrics(&self) -> bool {
        self.load == Kind::Metrics
    }
}

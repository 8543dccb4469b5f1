//! What is measured: each scenario is a configuration of the bridge and a load.

use crate::load::Protocol;

/// Where `{http}`, `{udp}` and `{unix}` stand, the addresses of the null endpoints are put.
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

/// Work enough for two cores on a machine that has no more: what is compressed is little for the endpoints, so that load and
/// endpoints together take a small part of what the bridge does.
const COMPRESSED: &str = "{otlp/1: {endpoint: 'http://{http}', compression: gzip}, \
     otlp/2: {endpoint: 'http://{http}', compression: gzip}, \
     otlp/3: {endpoint: 'http://{http}', compression: zstd}, \
     newrelic/1: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: gzip}, \
     newrelic/2: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: zstd}, \
     newrelic/3: {license_key: '0123456789012345678901234567890123456789', endpoint: 'http://{http}', compression: zstd}}";
const COMPRESSED_IDS: &[&str] = &["otlp/1", "otlp/2", "otlp/3", "newrelic/1", "newrelic/2", "newrelic/3"];

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
    // One source: with sixteen the page would be larger than what is read of it.
    Scenario { load: Kind::Metrics, in_flight: 1, ..scenario("metrics-shown", OTLP, &["otlp"]) },
    Scenario {
        load: Kind::Metrics,
        shown: false,
        ..scenario(
            "metrics-dogstatsd",
            "{statsd: {endpoint: 'udp://{udp}', dialect: dogstatsd}}",
            &["statsd"],
        )
    },
    Scenario {
        load: Kind::Metrics,
        shown: false,
        ..scenario(
            "metrics-dogstatsd-unix",
            "{statsd: {endpoint: 'unixgram://{unix}', dialect: dogstatsd}}",
            &["statsd"],
        )
    },
    Scenario { load: Kind::Foreign, in_flight: 1, ..scenario("one-in-flight", OTLP, &["otlp"]) },
    Scenario { load: Kind::Foreign, in_flight: 64, ..scenario("memory-64", OTLP, &["otlp"]) },
    Scenario { load: Kind::Foreign, in_flight: 64, fsync: true, ..scenario("fsync-64", OTLP, &["otlp"]) },
    Scenario { in_flight: 64, connections: 16, ..scenario("one-core", COMPRESSED, COMPRESSED_IDS) },
    Scenario {
        in_flight: 64,
        connections: 16,
        workers: 2,
        ..scenario("two-cores", COMPRESSED, COMPRESSED_IDS)
    },
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

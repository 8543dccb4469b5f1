//! What the user writes for the receiver `otlp`.

use super::auth::{self, AuthConfig};
use super::memory;
use super::shared::Once;
use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

const MIB: usize = 1024 * 1024;
const DEFAULT_IN_FLIGHT: usize = 256 * MIB;

/// Configuration of `otlp`. The keys are those of the Collector's receiver of the same name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which protocols to listen for. A protocol is on when its key is there, even with nothing below it. Without
    /// `protocols`, both are on.
    #[serde(deserialize_with = "or_default")]
    pub protocols: Protocols,
    /// The most telemetry that may be in memory between the sockets and the pipeline, in MiB of decoded bytes, over all
    /// protocols and workers. At least twice the largest request. Beyond it, senders are asked to come back. Default
    /// 256, or a quarter of what memory the control group of the process may use, if that is less.
    pub max_in_flight_mib: Option<usize>,
    /// The most connections to one protocol of one worker; further ones wait in the backlog of the system. Default 4096.
    pub max_connections: usize,
    /// The most connections from one address (of IPv6: from one /64 network) to one protocol; further ones are closed.
    /// Default 1024.
    pub max_connections_per_ip: usize,
    /// How old a connection may get, give or take a tenth, before it is asked to end after the requests under way, so
    /// that senders spread over what was started since. `0`: no limit. Default 1h.
    pub max_connection_age: GoDuration,
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) shared: Once,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            protocols: Protocols::default(),
            max_in_flight_mib: None,
            max_connections: 4096,
            max_connections_per_ip: 1024,
            max_connection_age: GoDuration::from_secs(3600),
            shared: Once::default(),
        }
    }
}

impl Config {
    pub(super) fn max_in_flight(&self) -> usize {
        match self.max_in_flight_mib {
            Some(mib) => mib.saturating_mul(MIB),
            None => memory::limit().map_or(DEFAULT_IN_FLIGHT, |limit| DEFAULT_IN_FLIGHT.min(limit / 4)),
        }
    }
}

/// The protocols that `otlp` can listen for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protocols {
    /// OTLP over gRPC.
    #[serde(default, deserialize_with = "present")]
    pub grpc: Option<GrpcConfig>,
    /// OTLP over HTTP/1.1 and HTTP/2, with protobuf or JSON.
    #[serde(default, deserialize_with = "present")]
    pub http: Option<HttpConfig>,
}

impl Default for Protocols {
    fn default() -> Self {
        Protocols { grpc: Some(GrpcConfig::default()), http: Some(HttpConfig::default()) }
    }
}

/// OTLP over gRPC.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// The address to listen on, as `host:port`. Default `127.0.0.1:4317`.
    pub endpoint: String,
    /// Serve TLS. Default: plain text.
    pub tls: Option<TlsConfig>,
    /// Who may send. Default: everyone who reaches the port.
    pub auth: Option<AuthConfig>,
    /// The largest request in MiB, before and after decompression. Default 64.
    pub max_recv_msg_size_mib: usize,
    /// The most requests at once on one connection. Default 128.
    pub max_concurrent_streams: u32,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        GrpcConfig {
            endpoint: "127.0.0.1:4317".to_owned(),
            tls: None,
            auth: None,
            max_recv_msg_size_mib: 64,
            max_concurrent_streams: 128,
        }
    }
}

impl GrpcConfig {
    pub(super) fn limit(&self) -> usize {
        self.max_recv_msg_size_mib.saturating_mul(MIB)
    }
}

/// OTLP over HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// The address to listen on, as `host:port`. Default `127.0.0.1:4318`.
    pub endpoint: String,
    /// Serve TLS. Default: plain text.
    pub tls: Option<TlsConfig>,
    /// Who may send. Default: everyone who reaches the port.
    pub auth: Option<AuthConfig>,
    /// The largest request body in bytes, before and after decompression. Default 67108864 (64 MiB).
    pub max_request_body_size: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            endpoint: "127.0.0.1:4318".to_owned(),
            tls: None,
            auth: None,
            max_request_body_size: 64 * MIB,
        }
    }
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with our certificate and those between it and the root. Required.
    pub cert_file: String,
    /// PEM file with the key of our certificate. Required.
    pub key_file: String,
    /// PEM file with the authorities whose clients may connect. When set, a client must show a certificate.
    pub client_ca_file: Option<String>,
}

/// `grpc:` with nothing below it is `grpc` with its defaults, not `grpc` left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(from).map(|value| Some(value.unwrap_or_default()))
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

pub(super) fn check(config: &Config, problems: &mut Problems) {
    let protocols = &config.protocols;
    if protocols.grpc.is_none() && protocols.http.is_none() {
        problems.add(
            "protocols",
            "no protocol is on; write grpc, http or both below it, or leave it out for both",
        );
    }
    for (key, most) in [
        ("max_connections", config.max_connections),
        ("max_connections_per_ip", config.max_connections_per_ip),
    ] {
        if most == 0 {
            problems.add(key, "0 would accept nobody; write 1 or more");
        }
    }
    let mut largest = 0;
    problems.at("protocols", |problems| {
        if let Some(grpc) = &protocols.grpc {
            largest = largest.max(grpc.limit());
            problems.at("grpc", |p| check_grpc(grpc, p));
        }
        if let Some(http) = &protocols.http {
            largest = largest.max(http.max_request_body_size);
            problems.at("http", |p| {
                check_endpoint(&http.endpoint, 4318, p);
                check_tls(http.tls.as_ref(), p);
                check_auth(http.auth.as_ref(), p);
                check_size("max_request_body_size", http.max_request_body_size, 1024 * MIB, p);
            });
        }
    });
    if let Some(mib) = config.max_in_flight_mib
        && mib.saturating_mul(MIB) / 2 < largest
    {
        problems.add(
            "max_in_flight_mib",
            format!(
                "{mib} MiB cannot hold the largest request twice (JSON is held beside what it becomes); \
                 write at least {}, or lower the limit of the requests",
                largest.saturating_mul(2).div_ceil(MIB)
            ),
        );
    }
}

fn check_grpc(grpc: &GrpcConfig, problems: &mut Problems) {
    check_endpoint(&grpc.endpoint, 4317, problems);
    check_tls(grpc.tls.as_ref(), problems);
    check_auth(grpc.auth.as_ref(), problems);
    check_size("max_recv_msg_size_mib", grpc.max_recv_msg_size_mib, 1024, problems);
    if grpc.max_concurrent_streams == 0 {
        problems.add("max_concurrent_streams", "0 would answer nobody; write 1 or more");
    }
}

fn check_size(key: &str, size: usize, most: usize, problems: &mut Problems) {
    if size == 0 || size > most {
        problems.add(key, format!("{size} is not between 1 and {most}"));
    }
}

fn check_endpoint(endpoint: &str, usual: u16, problems: &mut Problems) {
    let fits = endpoint
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok());
    if !fits {
        problems.add(
            "endpoint",
            format!(
                "{endpoint:?} is not an address to listen on; write host:port, for example 127.0.0.1:{usual}, \
                 or 0.0.0.0:{usual} for every interface"
            ),
        );
    }
}

fn check_auth(auth: Option<&AuthConfig>, problems: &mut Problems) {
    if let Some(auth) = auth {
        problems.at("auth", |problems| auth::check(auth, problems));
    }
}

fn check_tls(tls: Option<&TlsConfig>, problems: &mut Problems) {
    let Some(tls) = tls else { return };
    problems.at("tls", |problems| {
        for (key, value) in [("cert_file", &tls.cert_file), ("key_file", &tls.key_file)] {
            if value.is_empty() {
                problems.add(key, "is required to serve TLS; name a PEM file, or take tls away");
            }
        }
    });
}

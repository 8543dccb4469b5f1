//! The receiver `otlp`: OTLP over gRPC and HTTP.

mod body;
mod config;
mod grpc;
mod http;
mod inflate;
mod intake;
mod listen;
mod refusal;
mod status;
#[cfg(test)]
mod tests;
mod tls;

use body::Budget;
pub use config::{Config, GrpcConfig, HttpConfig, Protocols, TlsConfig};
use intake::{Intake, Tally};
use listen::{Listener, Protocol};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    BoxError, BuildContext, BuildError, Consumer, Receiver, ReceiverFactory, ReceiverKind, Signal, Stop,
};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What the registry lists.
pub const FACTORY: ReceiverFactory = ReceiverFactory::of::<Otlp>();

/// The kind `otlp`.
pub struct Otlp;

impl ReceiverKind for Otlp {
    const NAME: &'static str = "otlp";
    const SUMMARY: &'static str = "takes OTLP over gRPC and HTTP, with protobuf or JSON";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    const EVERY_WORKER: bool = true;
    type Config = Config;
    type Receiver = OtlpReceiver;

    fn check(config: &Config, problems: &mut Problems) {
        config::check(config, problems);
    }

    fn build(config: Config, cx: &BuildContext) -> Result<OtlpReceiver, BuildError> {
        let mut listeners = Vec::new();
        if let Some(grpc) = &config.protocols.grpc {
            let protocol = Protocol::Grpc { limit: grpc.limit(), max_streams: grpc.max_concurrent_streams };
            listeners.push(listen(&config, protocol, &grpc.endpoint, grpc.tls.as_ref(), cx)?);
        }
        if let Some(http) = &config.protocols.http {
            let protocol = Protocol::Http { limit: http.max_request_body_size };
            listeners.push(listen(&config, protocol, &http.endpoint, http.tls.as_ref(), cx)?);
        }
        let budget = Budget::new(config.max_in_flight());
        Ok(OtlpReceiver { id: cx.id.clone(), listeners, budget, tally: Tally::new(cx) })
    }
}

fn listen(
    config: &Config,
    protocol: Protocol,
    endpoint: &str,
    tls: Option<&TlsConfig>,
    cx: &BuildContext,
) -> Result<Listener, BuildError> {
    let name = protocol.name();
    let setting = format!("receivers.{}.protocols.{name}", cx.id);
    let alpn: &[&[u8]] = match protocol {
        Protocol::Grpc { .. } => &[b"h2"],
        Protocol::Http { .. } => &[b"h2", b"http/1.1"],
    };
    let tls = tls.map(|tls| tls::acceptor(tls, &format!("{setting}.tls"), alpn)).transpose()?;
    let failed = |error: io::Error| cannot_listen(endpoint, &setting, &error);
    let wanted = endpoint
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(failed)?;
    let socket = listen::bind(wanted, cx.worker).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    if cx.worker == 0 {
        tracing::info!(receiver = cx.id, protocol = name, %address, tls = tls.is_some(), "listening");
        if !address.ip().is_loopback() && tls.is_none() {
            tracing::warn!(receiver = cx.id, protocol = name, %address, "others on the network can send here in plain text");
        }
    }
    Ok(Listener { protocol, address, socket, tls, max_connections: config.max_connections })
}

/// Names who is usually there and the setting that moves us.
fn cannot_listen(endpoint: &str, setting: &str, error: &io::Error) -> BuildError {
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    BuildError::new(match error.kind() {
        io::ErrorKind::AddrInUse => {
            let usual = match port {
                "4317" | "4318" => ", usually by an OpenTelemetry Collector or a Datadog Agent",
                _ => "",
            };
            format!(
                "cannot listen on {endpoint}: port {port} is taken{usual}; stop that program, or move this \
                 listener with {setting}.endpoint"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "cannot listen on {endpoint}: {error}; ports below 1024 need a privilege; set {setting}.endpoint"
            )
        }
        _ => format!(
            "cannot listen on {endpoint}: {error}; set {setting}.endpoint to an address of this machine"
        ),
    })
}

/// Bound and ready to run.
pub struct OtlpReceiver {
    id: String,
    listeners: Vec<Listener>,
    budget: Budget,
    tally: Tally,
}

impl OtlpReceiver {
    /// Where gRPC listens; tells the port when the configuration says port 0.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.address("grpc")
    }

    /// Where HTTP listens; tells the port when the configuration says port 0.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.address("http")
    }

    fn address(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|l| l.protocol.name() == name).map(|l| l.address)
    }
}

impl Receiver for OtlpReceiver {
    async fn run(self, next: Arc<dyn Consumer>, stop: Stop) -> Result<(), BoxError> {
        let intake = Arc::new(Intake::new(next, &self.id, self.budget, self.tally));
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(listener.serve(intake.clone(), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

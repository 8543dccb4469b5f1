//! The receiver `otlp`: OTLP over gRPC and HTTP.

mod auth;
mod body;
mod caught;
mod config;
mod descriptors;
mod grpc;
mod http;
mod inflate;
mod intake;
mod listen;
mod memory;
mod refusal;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod tls;

pub use auth::{AuthConfig, BasicConfig, BearerConfig, Htpasswd};
use body::Budget;
pub use config::{Config, GrpcConfig, HttpConfig, Protocols, TlsConfig};
use intake::{Intake, Tally};
use listen::{Listener, Protocol};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    BoxError, BuildContext, BuildError, Consumer, Receiver, ReceiverFactory, ReceiverKind, Signal, Stop,
};
use shared::Door;
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
        let shared = config.shared.get(&config, cx)?;
        let mut listeners = Vec::new();
        if let Some(grpc) = &config.protocols.grpc {
            let protocol = Protocol::Grpc { limit: grpc.limit(), max_streams: grpc.max_concurrent_streams };
            listeners.push(listen(&config, protocol, &grpc.endpoint, &shared.grpc, cx)?);
        }
        if let Some(http) = &config.protocols.http {
            let protocol = Protocol::Http { limit: http.max_request_body_size };
            listeners.push(listen(&config, protocol, &http.endpoint, &shared.http, cx)?);
        }
        Ok(OtlpReceiver {
            id: cx.id.clone(),
            listeners,
            budget: shared.budget.clone(),
            tally: Tally::new(cx),
        })
    }
}

fn listen(
    config: &Config,
    protocol: Protocol,
    endpoint: &str,
    door: &Arc<Door>,
    cx: &BuildContext,
) -> Result<Listener, BuildError> {
    let setting = format!("receivers.{}.protocols.{}", cx.id, protocol.name());
    let failed = |error: io::Error| cannot_listen(endpoint, &setting, &error);
    let wanted = endpoint
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(failed)?;
    let bind = || listen::bind(wanted, cx.worker);
    let socket = match wanted.port() {
        // The system chooses: there is no place that another listener could have had.
        0 => bind().map(Arc::new),
        _ => cx.sockets.listen(&format!("{wanted} {}", cx.worker), &cx.id, bind),
    };
    let socket = socket.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    if cx.worker == 0 {
        tell(config, protocol, address, &setting, cx);
    }
    let age = config.max_connection_age.0;
    let (door, max_connections) = (Arc::clone(door), config.max_connections);
    Ok(Listener {
        protocol,
        address,
        socket,
        door,
        max_connections,
        max_age: (!age.is_zero()).then_some(age),
    })
}

/// Logs where we listen, and what is open to the network.
fn tell(config: &Config, protocol: Protocol, address: SocketAddr, setting: &str, cx: &BuildContext) {
    let (grpc, http) = (&config.protocols.grpc, &config.protocols.http);
    let (tls, auth) = match protocol {
        Protocol::Grpc { .. } => grpc.as_ref().map(|p| (p.tls.as_ref(), p.auth.is_some())),
        Protocol::Http { .. } => http.as_ref().map(|p| (p.tls.as_ref(), p.auth.is_some())),
    }
    .unwrap_or_default();
    let (id, protocol) = (&cx.id, protocol.name());
    tracing::info!(receiver = id, protocol, %address, tls = tls.is_some(), auth, "listening");
    if address.ip().is_loopback() {
        return;
    }
    if tls.is_none() {
        tracing::warn!(
            receiver = id, protocol, %address,
            "whoever is in between can read what is sent here, and any token; set {setting}.tls, or listen on 127.0.0.1"
        );
    }
    if !auth && tls.is_none_or(|tls| tls.client_ca_file.is_none()) {
        tracing::warn!(
            receiver = id, protocol, %address,
            "everyone who reaches this port can send here; set {setting}.auth, or {setting}.tls.client_ca_file"
        );
    }
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

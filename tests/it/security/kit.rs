//! An OTLP receiver on real sockets, and the exporters as its clients.

use muxbridge::core::{
    Batch, BoxFuture, BuildContext, Clock, Consumer, Counters, ExportError, Exporter, Receiver, ReceiverKind,
    Refused, Stop, names,
};
use muxbridge::receivers::otlp::{Config, Otlp};
use muxbridge_testkit::contract::{any_traces, build, context};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;

/// Counts what it takes.
#[derive(Default)]
pub(super) struct Count {
    pub(super) taken: AtomicUsize,
    /// Panics instead of taking, as often as this.
    pub(super) panics: AtomicUsize,
}

impl Consumer for Count {
    fn consume(&self, _: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            if self.panics.load(Ordering::Relaxed) > 0 {
                self.panics.fetch_sub(1, Ordering::Relaxed);
                panic!("on purpose");
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }
}

/// A receiver that listens on both protocols.
pub(super) struct Rig {
    pub(super) count: Arc<Count>,
    pub(super) counters: Counters,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    stop: Stop,
}

impl Rig {
    /// `both` are keys of each protocol, `more` those of the receiver.
    pub(super) fn start(both: &Value, more: Value) -> Rig {
        let mut protocol = both.clone();
        protocol["endpoint"] = json!("127.0.0.1:0");
        let mut config = more;
        config["protocols"] = json!({ "grpc": protocol, "http": protocol });
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let counters = Counters::new();
        let receiver = Otlp::build(config, &BuildContext::new("otlp", counters.clone(), Clock::fixed(0)))
            .expect("it binds");
        let (grpc, http) = (receiver.grpc_address().expect("grpc"), receiver.http_address().expect("http"));
        let (count, stop) = (Arc::new(Count::default()), Stop::new());
        let run = receiver.run(count.clone(), stop.clone());
        tokio::spawn(async move { run.await.is_ok() });
        Rig { count, counters, grpc, http, stop }
    }

    /// Sends one batch over each protocol with an exporter that has these options more; what is said.
    pub(super) async fn send(&self, more: &Value) -> [String; 2] {
        let config = |address: SocketAddr| {
            let scheme = if more.get("tls").is_some() { "https" } else { "http" };
            let mut config = more.clone();
            config["endpoint"] = json!(format!("{scheme}://localhost:{}", address.port()));
            config
        };
        let text = |outcome: Result<_, ExportError>| {
            outcome.map_or_else(|e| e.to_string(), |_: muxbridge::core::Delivered| "taken".to_owned())
        };
        let grpc = build::<muxbridge_exporter_otlp::Otlp>(
            config(self.grpc),
            &context::<muxbridge_exporter_otlp::Otlp>(),
        );
        let http = build::<muxbridge_exporter_otlp::OtlpHttp>(
            config(self.http),
            &context::<muxbridge_exporter_otlp::OtlpHttp>(),
        );
        [text(grpc.export(&any_traces()).await), text(http.export(&any_traces()).await)]
    }

    /// The same with the header `authorization`.
    pub(super) async fn send_as(&self, authorization: &str) -> [String; 2] {
        self.send(&json!({ "headers": { "authorization": authorization } })).await
    }

    pub(super) fn taken(&self) -> usize {
        self.count.taken.load(Ordering::Relaxed)
    }

    pub(super) fn bad(&self, reason: &str) -> u64 {
        self.counters.sum(names::BAD_REQUESTS, &[("reason", reason)])
    }

    pub(super) async fn connect_http(&self) -> TcpStream {
        TcpStream::connect(self.http).await.expect("a connection")
    }

    pub(super) async fn connect_grpc(&self) -> TcpStream {
        TcpStream::connect(self.grpc).await.expect("a connection")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

//! Every option of the `tls` block, over both transports: each has a test that fails if the option is ignored.

use muxbridge_core::{Exporter, ExporterKind};
use muxbridge_exporter_otlp::{Otlp, OtlpHttp};
use muxbridge_testkit::contract::{any_traces, build, context, problems};
use muxbridge_testkit::tls::{Authority, ServerTls};
use muxbridge_testkit::{GrpcReply, GrpcServer, Reply, Server};
use serde_json::{Value, json};

struct Servers {
    grpc: GrpcServer,
    http: Server,
}

impl Servers {
    async fn start(config: ServerTls) -> Servers {
        let grpc = GrpcServer::start_tls(config.clone(), |_| GrpcReply::ok()).await;
        Servers { grpc, http: Server::start_tls(config, |_| Reply::status(200)).await }
    }

    /// Sends to both; the error texts, empty for a success.
    async fn send(&self, tls: Value) -> [String; 2] {
        let text = |outcome: Result<_, muxbridge_core::ExportError>| {
            outcome.map_or_else(|e| e.to_string(), |_: muxbridge_core::Delivered| String::new())
        };
        let config = |url: String| json!({ "endpoint": url, "tls": tls });
        let grpc = build::<Otlp>(config(self.grpc.url()), &context::<Otlp>());
        let http = build::<OtlpHttp>(config(self.http.url()), &context::<OtlpHttp>());
        [text(grpc.export(&any_traces()).await), text(http.export(&any_traces()).await)]
    }

    async fn accept(&self, tls: Value) {
        let before = (self.grpc.calls().len(), self.http.requests().len());
        assert_eq!(self.send(tls).await, ["", ""]);
        assert_eq!((self.grpc.calls().len(), self.http.requests().len()), (before.0 + 1, before.1 + 1));
    }

    async fn refuse(&self, tls: Value) -> [String; 2] {
        let before = (self.grpc.calls().len(), self.http.requests().len());
        let errors = self.send(tls).await;
        assert!(errors.iter().all(|e| e.starts_with("retryable: endpoint https://localhost:")), "{errors:?}");
        assert_eq!((self.grpc.calls().len(), self.http.requests().len()), before, "nothing was sent");
        errors
    }
}

#[tokio::test]
async fn only_an_authority_that_is_trusted_is_accepted() {
    let (ours, other) = (Authority::new(), Authority::new());
    let servers = Servers::start(ours.server("localhost", false)).await;
    servers.accept(json!({ "ca_file": ours.ca_file() })).await;
    for tls in [json!({}), json!({ "ca_file": other.ca_file() })] {
        let errors = servers.refuse(tls).await;
        assert!(errors.iter().all(|e| e.contains("certificate")), "{errors:?}");
    }
}

#[tokio::test]
async fn the_name_of_the_server_must_fit_unless_another_is_expected() {
    let ours = Authority::new();
    let servers = Servers::start(ours.server("collector.example", false)).await;
    servers.refuse(json!({ "ca_file": ours.ca_file() })).await;
    let expected = json!({ "ca_file": ours.ca_file(), "server_name_override": "collector.example" });
    servers.accept(expected).await;
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_it() {
    let ours = Authority::new();
    let (cert, key) = ours.client_files();
    let servers = Servers::start(ours.server("localhost", true)).await;
    servers.accept(json!({ "ca_file": ours.ca_file(), "cert_file": cert, "key_file": key })).await;
    servers.refuse(json!({ "ca_file": ours.ca_file() })).await;
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (cert, key) = other.client_files();
    let servers = Servers::start(ours.server("localhost", true)).await;
    servers.refuse(json!({ "ca_file": ours.ca_file(), "cert_file": cert, "key_file": key })).await;
}

#[tokio::test]
async fn verification_can_be_switched_off() {
    let servers = Servers::start(Authority::new().server("elsewhere", false)).await;
    servers.refuse(json!({ "insecure_skip_verify": false })).await;
    servers.accept(json!({ "insecure_skip_verify": true })).await;
}

#[tokio::test]
async fn an_old_version_of_tls_is_refused_if_a_newer_one_is_required() {
    let ours = Authority::new();
    let servers = Servers::start(ours.old_server("localhost")).await;
    servers.accept(json!({ "ca_file": ours.ca_file() })).await;
    servers.refuse(json!({ "ca_file": ours.ca_file(), "min_version": "1.3" })).await;
}

#[tokio::test]
async fn insecure_does_not_weaken_an_https_endpoint() {
    let servers = Servers::start(Authority::new().server("localhost", false)).await;
    servers.refuse(json!({ "insecure": true })).await;
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_key() {
    let ours = Authority::new();
    let (cert, key) = ours.client_files();
    let build_error = |tls: Value| {
        let config = json!({ "endpoint": "https://localhost", "tls": tls });
        let config = serde_json::from_value(config).unwrap();
        Otlp::build(config, &context::<Otlp>()).err().unwrap().to_string()
    };
    let missing = build_error(json!({ "ca_file": "/nowhere/ca.pem" }));
    assert!(missing.starts_with("tls.ca_file: cannot use /nowhere/ca.pem: "), "{missing}");
    let not_pem = build_error(json!({ "ca_file": concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml") }));
    assert!(not_pem.contains("Cargo.toml: it holds no PEM certificate"), "{not_pem}");
    let swapped = build_error(json!({ "cert_file": key, "key_file": cert }));
    assert!(swapped.starts_with("tls.cert_file: cannot use "), "{swapped}");
}

#[test]
fn a_certificate_without_its_key_is_reported_with_the_path() {
    let found = |tls: Value| problems::<Otlp>(&json!({ "endpoint": "https://h", "tls": tls })).join("\n");
    assert!(found(json!({ "cert_file": "a" })).starts_with("tls.key_file: missing"));
    assert!(found(json!({ "key_file": "a" })).starts_with("tls.cert_file: missing"));
    assert!(found(json!({ "server_name_override": "a b" })).starts_with("tls.server_name_override: "));
    assert!(found(json!({ "min_version": "1.1" })).starts_with("tls.min_version: "));
    assert!(found(json!({ "ca_pem": "x" })).contains("ca_pem"));
}

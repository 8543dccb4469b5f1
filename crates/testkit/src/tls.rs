//! Certificates for tests: an authority, and server configurations and client files under it.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// What [`crate::Server::start_tls`] and [`crate::GrpcServer::start_tls`] take.
pub type ServerTls = Arc<ServerConfig>;

/// An authority that exists for one test, with its files in a directory that goes away with it.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one that nobody trusts.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key), dir: TempDir::new().unwrap() }
    }

    /// Its certificate as a PEM file, for `ca_file`.
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem", &self.certificate.pem())
    }

    /// A certificate and a key for a client, as PEM files for `cert_file` and `key_file`.
    pub fn client_files(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue("client");
        (self.file("client.pem", &certificate.pem()), self.file("client-key.pem", &key.serialize_pem()))
    }

    /// A certificate and a key for a server called `name`, as PEM files. It expires in this year. Called again, it puts
    /// new ones in the place of those.
    pub fn server_files(&self, name: &str, year: i32) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = self.file("server-key.pem", &key.serialize_pem());
        (self.file("server.pem", &certificate.pem()), key)
    }

    /// A server called `name` (the scripted servers call themselves `localhost`), with HTTP/2 and HTTP/1.1. With
    /// `require_client` it wants a client certificate of this authority.
    pub fn server(&self, name: &str, require_client: bool) -> ServerTls {
        self.server_of_versions(name, require_client, rustls::ALL_VERSIONS)
    }

    /// A server called `name` with a certificate that was valid until the year 2000.
    pub fn expired_server(&self, name: &str) -> ServerTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![certificate.der().clone()];
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// A server called `name` that knows nothing newer than TLS 1.2.
    pub fn old_server(&self, name: &str) -> ServerTls {
        self.server_of_versions(name, false, &[&rustls::version::TLS12])
    }

    fn server_of_versions(
        &self,
        name: &str,
        require_client: bool,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerTls {
        let (certificate, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = if require_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

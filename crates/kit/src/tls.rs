//! The `tls` block of an exporter, and the client configuration that it stands for.

use muxbridge_core::config::Problems;
use muxbridge_core::{BuildContext, BuildError, names};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// How to talk TLS to a destination. The keys are those of the OpenTelemetry Collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Plain text to an endpoint without a scheme. An `https://` endpoint stays encrypted. Default `false`.
    pub insecure: bool,
    /// PEM file with the authorities to trust instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate and its chain. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key of the client certificate. Needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate of the server must have, if it is not the host of the endpoint.
    pub server_name_override: Option<String>,
    /// Accept any certificate of the server. Everything that is sent, credentials included, can then be read by
    /// whoever is in between; a warning is logged at start. Default `false`.
    pub insecure_skip_verify: bool,
    /// The oldest version of TLS to accept: `"1.2"` (default) or `"1.3"`.
    pub min_version: MinVersion,
}

/// The oldest version of TLS to accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

impl TlsConfig {
    /// Reports mistakes. Pure: files are not read. Call it inside `problems.at("tls", ..)`.
    pub fn check(&self, problems: &mut Problems) {
        if self.cert_file.is_some() && self.key_file.is_none() {
            problems.add("key_file", "missing: a client certificate (cert_file) needs its private key");
        }
        if self.key_file.is_some() && self.cert_file.is_none() {
            problems.add("cert_file", "missing: a private key (key_file) needs its certificate");
        }
        if let Some(name) = &self.server_name_override
            && ServerName::try_from(name.as_str()).is_err()
        {
            problems.add("server_name_override", format!("{name:?} is not a host name"));
        }
    }

    /// Reads the files and makes the client configuration, without ALPN. The cryptography is named here, so that it
    /// does not matter whether the program has installed a default.
    ///
    /// # Errors
    /// The key and the file that cannot be used, and why.
    pub fn client_config(&self) -> Result<ClientConfig, BuildError> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match self.min_version {
            MinVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::V13 => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|e| BuildError::new(format!("tls.min_version: {e}")))?;
        let builder = if self.insecure_skip_verify {
            tracing::warn!(
                "tls.insecure_skip_verify is on: the destination is not verified, anyone in between can read everything"
            );
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let Some((cert_file, key_file)) = self.cert_file.as_deref().zip(self.key_file.as_deref()) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates("tls.cert_file", cert_file)?;
        let key =
            PrivateKeyDer::from_pem_file(key_file).map_err(|e| unusable("tls.key_file", key_file, &e))?;
        builder.with_client_auth_cert(chain, key).map_err(|e| unusable("tls.cert_file", cert_file, &e))
    }

    /// The files that are named in it: when one changes, [`client_config`](Self::client_config) gives another result.
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten().cloned().collect()
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, BuildError> {
        let Some(file) = &self.ca_file else {
            return Ok(system_roots());
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("tls.ca_file", file)? {
            roots.add(certificate).map_err(|e| unusable("tls.ca_file", file, &e))?;
        }
        Ok(Arc::new(roots))
    }
}

/// Reads the certificates of a PEM file. `key` is the path of the setting, for the error.
///
/// # Errors
/// The setting and the file, and why it cannot be used.
pub fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unusable(key, file, &e))?;
    if found.is_empty() {
        return Err(unusable(key, file, &"it holds no PEM certificate"));
    }
    Ok(found)
}

/// When a certificate expires, in seconds since 1970.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(read.validity().not_after.timestamp()).ok()
}

/// Sets the gauge that says when the first certificate of a chain expires that does. `setting` is the option that names
/// the file.
pub fn show_expiry(chain: &[CertificateDer<'_>], setting: &str, cx: &BuildContext) {
    if let Some(first) = chain.iter().filter_map(not_after).min() {
        cx.counter(names::TLS_EXPIRY, &[("setting", setting)]).set(first);
    }
}

fn unusable(key: &str, file: &Path, problem: &dyn std::fmt::Display) -> BuildError {
    BuildError::new(format!("{key}: cannot use {}: {problem}", file.display()))
}

/// The authorities that the system trusts. Reading hundreds of files takes milliseconds, so it is done once. A minimal
/// container has none; then those that Mozilla trusts.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(roots)
    };
    ROOTS.get_or_init(load).clone()
}

/// Accepts every certificate, but still checks that the server has its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

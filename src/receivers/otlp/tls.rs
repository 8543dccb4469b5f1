//! TLS of a listener: certificate, key and, for mutual TLS, the authorities of clients.

use super::config::TlsConfig;
use muxbridge_core::{BuildContext, BuildError};
use muxbridge_kit::tls::show_expiry;
use muxbridge_kit::watch::Watched;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::PathBuf;
use std::sync::Arc;

/// The configuration that the files stand for; made anew when they change, for the connections from then on. `setting` is
/// the path of `tls` in the receiver's configuration; `alpn` in order of preference.
pub(super) fn watched(
    config: &TlsConfig,
    setting: &str,
    alpn: &'static [&'static [u8]],
    cx: &BuildContext,
) -> Result<Watched<ServerConfig>, BuildError> {
    let names = [Some(&config.cert_file), Some(&config.key_file), config.client_ca_file.as_ref()];
    let files = names.into_iter().flatten().map(PathBuf::from).collect();
    let (config, setting, cx) = (config.clone(), setting.to_owned(), cx.clone());
    Watched::new(files, move || server_config(&config, &setting, alpn, &cx))
}

fn server_config(
    config: &TlsConfig,
    setting: &str,
    alpn: &[&[u8]],
    cx: &BuildContext,
) -> Result<ServerConfig, BuildError> {
    let wrong = |key: &str, file: &str, problem: &dyn std::fmt::Display| {
        BuildError::new(format!("{setting}.{key}: cannot use {file}: {problem}"))
    };
    let certificates = |key: &str, file: &str| {
        CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(key, file, &error))
            .and_then(|found| match found.is_empty() {
                true => Err(wrong(key, file, &"there is no certificate in it")),
                false => Ok(found),
            })
    };
    let chain = certificates("cert_file", &config.cert_file)?;
    let shown = chain.clone();
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|error| wrong("key_file", &config.key_file, &error))?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::new(format!("{setting}: {error}")))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("client_ca_file", file)? {
                roots.add(authority).map_err(|error| wrong("client_ca_file", file, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| wrong("client_ca_file", file, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|error| wrong("cert_file", &config.cert_file, &error))?;
    server.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    show_expiry(&shown, &format!("{setting}.cert_file"), cx);
    Ok(server)
}

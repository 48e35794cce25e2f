//! Settings of TLS, the same for every certificate.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where ciphers and signatures come from.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    // Stated, and not the process's default, which another crate may have set or not set.
    Arc::new(default_provider())
}

/// A chain and its key, which are found to belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

/// A server that shows this certificate to everybody, with TLS 1.2 or 1.3.
pub(crate) fn server(certified: CertifiedKey) -> Result<Arc<ServerConfig>, rustls::Error> {
    let resolver: Arc<dyn ResolvesServerCert> =
        Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

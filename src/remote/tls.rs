//! Which certificates are trusted: the system's, and those that a connection adds. There is no way to trust without.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::error::Error;

/// The TLS side of a client: TLS 1.2 or later, the ring provider, no client certificate.
pub(super) fn config(ca_bundle: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let roots = match ca_bundle {
        None => system(),
        Some(pem) => Arc::new(with_bundle(pem)?),
    };
    // Named here, so that a client never depends on which provider some other code installed for the process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::Tls { op: "set up TLS", cause: "the crypto provider lacks TLS 1.2 and 1.3" })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn with_bundle(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::clone(&system());
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| Error::CaBundle { what: "is not PEM" })?;
        roots.add(certificate).map_err(|_| Error::CaBundle { what: "has a certificate that cannot be read" })?;
    }
    if roots.len() == before {
        return Err(Error::CaBundle { what: "has no certificate" });
    }
    Ok(roots)
}

/// The system's certificates, read once: every client would otherwise hold its own copy of them.
fn system() -> Arc<RootCertStore> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (trusted, ignored) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            tracing::warn!(ignored, failed = found.errors.len(), "the system has no certificates to trust");
        }
        Arc::new(roots)
    };
    Arc::clone(SYSTEM.get_or_init(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_that_are_no_bundle_are_refused() {
        let table: [(&[u8], &str); 4] = [
            (b"", "has no certificate"),
            (b"some text", "has no certificate"),
            (b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is not PEM"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "has a certificate that cannot be read",
            ),
        ];
        for (pem, what) in table {
            assert_eq!(config(Some(pem)).unwrap_err(), Error::CaBundle { what });
        }
        assert!(config(None).is_ok());
    }
}

//! Keys and certificates of one run.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// What the apiserver serves with and signs with; all PEM.
pub(crate) struct Pki {
    pub(crate) ca: String,
    pub(crate) serving_certificate: String,
    pub(crate) serving_key: String,
    /// Signs ServiceAccount tokens.
    pub(crate) service_account_key: String,
    /// Verifies them.
    pub(crate) service_account_public_key: String,
}

impl Pki {
    /// Makes new ones, for the loopback address.
    pub(crate) fn generate() -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name.push(DnType::CommonName, "control plane of one run");
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let serving_key = KeyPair::generate()?;
        let serving = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?
            .signed_by(&serving_key, &issuer)?;

        let service_account_key = KeyPair::generate()?;

        Ok(Self {
            ca: ca_certificate.pem(),
            serving_certificate: serving.pem(),
            serving_key: serving_key.serialize_pem(),
            service_account_public_key: service_account_key.public_key_pem(),
            service_account_key: service_account_key.serialize_pem(),
        })
    }
}

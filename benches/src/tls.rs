//! Certificates of one run: a CA, and a leaf for each side.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde::{Deserialize, Serialize};

use crate::BoxError;

/// PEM texts of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Certificates {
    /// The CA that signed both.
    pub ca: String,
    /// Of the server, for `localhost` and 127.0.0.1.
    pub server: Leaf,
    /// Of the client.
    pub client: Leaf,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leaf {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl Certificates {
    /// Fresh ones, ECDSA P-256.
    ///
    /// # Errors
    /// The crypto library fails.
    pub fn generate() -> Result<Self, BoxError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let leaf = |usage| -> Result<Leaf, BoxError> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            params.extended_key_usages = vec![usage];
            let cert = params.signed_by(&key, &issuer)?.pem();
            Ok(Leaf { cert, key: key.serialize_pem() })
        };
        let server = leaf(ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = leaf(ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(Self { ca, server, client })
    }
}

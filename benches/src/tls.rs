//! Certificates of one cell: a CA, and a leaf for each side, as files that every side reads.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use serde::{Deserialize, Serialize};

use crate::BoxError;

/// PEM files of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Certificates {
    /// The CA that signed both.
    pub ca: PathBuf,
    /// Of the server, for `localhost` and 127.0.0.1.
    pub server: Leaf,
    /// Of the client.
    pub client: Leaf,
}

/// A certificate with its key, in PEM files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leaf {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Certificates {
    /// Fresh ones, ECDSA P-256, written to `folder`.
    ///
    /// # Errors
    /// The crypto library fails, or the files cannot be written.
    pub fn generate(folder: &Path) -> Result<Self, BoxError> {
        let write = |name: &str, pem: String| -> Result<PathBuf, BoxError> {
            let path = folder.join(name);
            std::fs::write(&path, pem)?;
            Ok(path)
        };
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = write("ca.pem", params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let leaf = |name: &str, spiffe_id: &str, usage| -> Result<Leaf, BoxError> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            params.subject_alt_names.push(SanType::URI(spiffe_id.try_into()?));
            params.extended_key_usages = vec![usage];
            let cert = write(&format!("{name}.pem"), params.signed_by(&key, &issuer)?.pem())?;
            Ok(Leaf { cert, key: write(&format!("{name}.key"), key.serialize_pem())? })
        };
        let server =
            leaf("server", "spiffe://bench.example/plugin/echo/1", ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = leaf("client", "spiffe://bench.example/host/1", ExtendedKeyUsagePurpose::ClientAuth)?;
        Ok(Self { ca, server, client })
    }
}

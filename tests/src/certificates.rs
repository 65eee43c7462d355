//! Certificates for hosts and their clients.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

/// A certificate authority and what it issued, as files.
#[derive(Debug)]
pub struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
    ca: PathBuf,
}

/// Files of one certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM certificate.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

impl Certificates {
    /// A new authority.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a writable directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.self_signed(&key).expect("sound parameters");
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, certificate.pem()).expect("a writable file");
        Self { issuer: Issuer::new(params, key), dir, ca }
    }

    /// PEM certificate of the authority.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The part of a `plugmesh.yaml` that has the gateway listen on TCP with a certificate of this authority, for
    /// clients that have one too, and lets `spiffe://example.org/operator` administer.
    pub fn gateway(&self) -> String {
        let host = self.issue("host", "spiffe://example.org/host/h");
        format!(
            "gateway:\n  tcp:\n    listen: 127.0.0.1:0\n    tls:\n      cert: {}\n      key: {}\n      \
             client_ca: {}\nadmin:\n  identities: [spiffe://example.org/operator]\n",
            host.cert.display(),
            host.key.display(),
            self.ca.display()
        )
    }

    /// A certificate for both sides of a connection, for `localhost`, 127.0.0.1 and this SPIFFE ID, in files
    /// named after `name`. Again for the same name, it replaces the files, each by a rename.
    pub fn issue(&self, name: &str, spiffe: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.subject_alt_names.push(SanType::URI(spiffe.try_into().expect("ASCII")));
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("sound parameters");
        let identity = Identity {
            cert: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        replace(&identity.key, &key.serialize_pem());
        replace(&identity.cert, &certificate.pem());
        identity
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn replace(file: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = file.with_extension("new");
    std::fs::write(&new, content).expect("a writable file");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).expect("our file");
    std::fs::rename(new, file).expect("the same directory");
}

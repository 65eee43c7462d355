//! A certificate with its private key, in memory and as files.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{Authority, TlsFiles};
use crate::spiffe::SpiffeId;

/// A certificate and its private key. The key is wiped when this is dropped, and never printed.
pub struct Leaf {
    spiffe: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    chain_pem: String,
    key: Zeroizing<Vec<u8>>,
    key_pem: Zeroizing<String>,
}

/// A certificate file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl Leaf {
    pub(super) fn new(spiffe: SpiffeId, certificate: rcgen::Certificate, key: &rcgen::KeyPair) -> Self {
        Self {
            spiffe,
            chain_pem: certificate.pem(),
            chain: vec![certificate.into()],
            key: Zeroizing::new(key.serialized_der().to_vec()),
            key_pem: Zeroizing::new(key.serialize_pem()),
        }
    }

    /// Its SPIFFE ID.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe
    }

    /// The certificate, then whatever stands between it and the authority.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// [`Self::chain`] as PEM.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key as PEM (PKCS #8).
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.key.as_slice()).into()
    }

    /// Writes `tls-cert.pem`, `tls-key.pem` and `tls-ca.pem`, the certificate of `authority`, into `dir` and
    /// returns their paths: what `PLUGMESH_TLS_CERT_FILE`, `…_KEY_FILE` and `…_CLIENT_CA_FILE` point at.
    ///
    /// Each file is readable by this user only, and appears whole or not at all. It blocks: call it where
    /// that is allowed, and for each launch with a new directory, since some file systems flush to the disk
    /// when a file is renamed over another.
    ///
    /// # Errors
    /// When a file cannot be written; those before it stay.
    pub fn write_files(&self, authority: &Authority, dir: &Path) -> Result<TlsFiles, WriteError> {
        let files = TlsFiles {
            cert: dir.join("tls-cert.pem"),
            key: dir.join("tls-key.pem"),
            ca: dir.join("tls-ca.pem"),
        };
        let contents = [
            (&files.cert, self.chain_pem.as_str()),
            (&files.key, self.key_pem.as_str()),
            (&files.ca, authority.ca_pem()),
        ];
        for (path, pem) in contents {
            write_then_rename(path, pem.as_bytes())
                .map_err(|source| WriteError { path: path.clone(), source })?;
        }
        Ok(files)
    }
}

fn write_then_rename(path: &Path, contents: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("pem.new");
    // Whoever may leave something here is this user, in a directory of this run: an earlier launch cut short.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&beside)
        .and_then(|mut file| file.write_all(contents))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(&beside);
    }
    written
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("spiffe", &self.spiffe)
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

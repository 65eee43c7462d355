//! Certificate files of an operator: read, bounded, and checked before anything uses them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use super::{CertificateError, certificate, provider};

mod error;
#[cfg(test)]
mod tests;

pub use error::{FileError, FileProblem};

/// Largest certificate or key file, in bytes: room for some hundred certificates, and no more.
pub const MAX_TLS_FILE: u64 = 1 << 20;

/// The PEM files of one side of mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// Our certificate, followed by those between it and its authority.
    pub cert: PathBuf,
    /// The private key of [`Self::cert`]: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// The authorities that the other side's certificate must chain to.
    pub ca: PathBuf,
}

/// The bytes of [`TlsFiles`] as they were at one time.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    ca: Vec<u8>,
}

/// What [`Contents`] turn out to be, when nothing is wrong with them.
pub(super) struct Credentials {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
}

impl TlsFiles {
    /// The three paths.
    pub fn paths(&self) -> [&Path; 3] {
        [&self.cert, &self.key, &self.ca]
    }

    pub(super) fn read(&self) -> Result<Contents, FileError> {
        Ok(Contents {
            cert: read_bounded(&self.cert)?.to_vec(),
            key: read_bounded(&self.key)?,
            ca: read_bounded(&self.ca)?.to_vec(),
        })
    }

    /// Reads and checks all three.
    pub(super) fn load(&self) -> Result<Credentials, FileError> {
        self.check(&self.read()?)
    }

    /// Checks what [`Self::read`] returned.
    pub(super) fn check(&self, contents: &Contents) -> Result<Credentials, FileError> {
        let now = ASN1Time::now();
        let chain = certificates(&contents.cert).map_err(|problem| FileError::new(&self.cert, problem))?;
        for der in &chain {
            check_validity(der, now).map_err(|problem| FileError::new(&self.cert, problem))?;
        }
        let key = private_key(&contents.key).map_err(|problem| FileError::new(&self.key, problem))?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                FileError::new(&self.key, FileProblem::WrongKey { cert: self.cert.clone() })
            }
            rustls::Error::InvalidCertificate(error) => {
                let error = CertificateError::Malformed(error.to_string());
                FileError::new(&self.cert, FileProblem::BadCertificate(error))
            }
            other => FileError::new(&self.key, FileProblem::BadKey(other)),
        })?;
        let roots = authorities(&contents.ca, now).map_err(|problem| FileError::new(&self.ca, problem))?;
        Ok(Credentials { certified: Arc::new(certified), roots: Arc::new(roots) })
    }
}

fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let unreadable = |error| FileError::new(path, FileProblem::Unreadable(error));
    // Opening a pipe would wait for its writer, perhaps for ever.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::new(path, FileProblem::NotAFile));
    }
    if metadata.len() > MAX_TLS_FILE {
        return Err(FileError::new(path, FileProblem::TooLarge));
    }
    // Room for all from the start: a vector that grew would leave unwiped copies of a key behind.
    let room = usize::try_from(metadata.len() + 1).map_err(|error| unreadable(io::Error::other(error)))?;
    let mut contents = Zeroizing::new(Vec::with_capacity(room));
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(MAX_TLS_FILE + 1).read_to_end(&mut contents).map_err(unreadable)?;
    if read as u64 > MAX_TLS_FILE {
        return Err(FileError::new(path, FileProblem::TooLarge));
    }
    Ok(contents)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    check_armour(pem)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(FileProblem::BadPem)?;
    if found.is_empty() { Err(FileProblem::NoCertificate) } else { Ok(found) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, FileProblem> {
    check_armour(pem)?;
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) if contains(pem, b"Proc-Type: 4,ENCRYPTED") => {
            drop(Zeroizing::new(key));
            Err(FileProblem::EncryptedKey)
        }
        Ok(key) => Ok(key),
        Err(_) if contains(pem, b"ENCRYPTED") => Err(FileProblem::EncryptedKey),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(FileProblem::NoKey),
        Err(error) => Err(FileProblem::BadPem(error)),
    }
}

fn authorities(pem: &[u8], now: ASN1Time) -> Result<RootCertStore, FileProblem> {
    let mut roots = RootCertStore::empty();
    let mut faults = Vec::new();
    for der in certificates(pem)? {
        let parsed = certificate::parse(&der).map_err(FileProblem::BadCertificate)?;
        if !parsed.is_ca() {
            return Err(FileProblem::NotAnAuthority { subject: shown(&parsed.subject().to_string()) });
        }
        // A bundle in the middle of a change of authorities may still carry the old one.
        match check_parsed_validity(&parsed, now) {
            Ok(()) => roots.add(der).map_err(|error| FileProblem::UnusableAuthority(error.to_string()))?,
            Err(fault) => faults.push(fault),
        }
    }
    match faults.into_iter().next() {
        Some(fault) if roots.is_empty() => Err(fault),
        _ => Ok(roots),
    }
}

fn check_validity(der: &CertificateDer<'_>, now: ASN1Time) -> Result<(), FileProblem> {
    let parsed = certificate::parse(der).map_err(FileProblem::BadCertificate)?;
    check_parsed_validity(&parsed, now)
}

fn check_parsed_validity(
    parsed: &x509_parser::certificate::X509Certificate<'_>,
    now: ASN1Time,
) -> Result<(), FileProblem> {
    let validity = parsed.validity();
    if now > validity.not_after {
        return Err(FileProblem::Expired { at: validity.not_after.to_string() });
    }
    if now < validity.not_before {
        return Err(FileProblem::NotYetValid { from: validity.not_before.to_string() });
    }
    Ok(())
}

fn check_armour(pem: &[u8]) -> Result<(), FileProblem> {
    if contains(pem, b"-----BEGIN ") { Ok(()) } else { Err(FileProblem::NotPem) }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A subject may be anything of any length.
fn shown(subject: &str) -> String {
    subject.chars().take(200).collect()
}

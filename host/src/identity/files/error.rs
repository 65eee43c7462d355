//! What can be wrong with a certificate file, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::MAX_TLS_FILE;
use crate::identity::CertificateError;

/// A certificate or key file that cannot be used: which, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    path: PathBuf,
    // Part of the message, so not also a source: a report of the whole chain would say it twice.
    problem: Box<FileProblem>,
}

/// What is wrong with a certificate or key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// It is absent, or may not be read.
    #[error("cannot be read: {0}; check the path and that this user may read it")]
    Unreadable(io::Error),
    /// It is a directory, a pipe or a device.
    #[error("is not a regular file; name a PEM file")]
    NotAFile,
    /// It is larger than [`MAX_TLS_FILE`].
    #[error("is larger than {MAX_TLS_FILE} bytes, so hardly a certificate or key; check the path")]
    TooLarge,
    /// It has no PEM section at all.
    #[error(
        "is not PEM, as it has no -----BEGIN line; convert it, such as with openssl x509 -inform DER (or pkcs12)"
    )]
    NotPem,
    /// A PEM section in it is damaged or cut short.
    #[error("is damaged PEM ({0:?}); write the whole file anew")]
    BadPem(rustls::pki_types::pem::Error),
    /// It has PEM sections, but none is a certificate.
    #[error("has no certificate; put a -----BEGIN CERTIFICATE----- section into it")]
    NoCertificate,
    /// It has PEM sections, but none is a private key.
    #[error("has no private key; put a -----BEGIN PRIVATE KEY----- section into it")]
    NoKey,
    /// The private key needs a pass phrase.
    #[error(
        "has an encrypted private key; decrypt it, such as with openssl pkey, and protect the file instead"
    )]
    EncryptedKey,
    /// A certificate in it is malformed.
    #[error("{0}; ask its issuer for another")]
    BadCertificate(CertificateError),
    /// The private key is malformed or of an unknown kind.
    #[error("has a private key that cannot be used: {0}; use ECDSA P-256, P-384, P-521, Ed25519 or RSA")]
    BadKey(rustls::Error),
    /// The private key is not that of the certificate.
    #[error("is not the key of the certificate in {}; write both files of one pair", cert.display())]
    WrongKey {
        /// The certificate.
        cert: PathBuf,
    },
    /// The certificate's time is over.
    #[error("expired at {at}; renew it and write the new one in its place")]
    Expired {
        /// When.
        at: String,
    },
    /// The certificate's time has not come.
    #[error("is not valid before {from}; check this machine's clock, or wait")]
    NotYetValid {
        /// From when.
        from: String,
    },
    /// A certificate that should be an authority's is a leaf.
    #[error(
        "has a certificate that is no authority's ({subject}); name the issuer's certificate here, not a leaf"
    )]
    NotAnAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// The authority's certificate cannot serve as one.
    #[error("has an authority that cannot be used: {0}; ask its issuer for another")]
    UnusableAuthority(String),
}

impl FileError {
    pub(super) fn new(path: &Path, problem: FileProblem) -> Self {
        Self { path: path.into(), problem: Box::new(problem) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &FileProblem {
        &self.problem
    }
}

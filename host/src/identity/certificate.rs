//! What this room reads out of an X.509 certificate, which is hostile input.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::spiffe::SpiffeId;

/// Why a certificate does not name its holder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is not a well-formed X.509 certificate.
    #[error("the certificate is not well-formed X.509: {0}")]
    Malformed(String),
    /// It has no URI among its subject alternative names.
    #[error("the certificate has no URI among its subject alternative names; issue it with one SPIFFE ID")]
    NoUri,
    /// It has more than one URI.
    #[error(
        "the certificate has {0} URIs among its subject alternative names; a SPIFFE ID must be the only one"
    )]
    ManyUris(usize),
    /// Its only URI is not a SPIFFE ID.
    #[error("the certificate's URI is no SPIFFE ID: {0}")]
    NotSpiffe(#[from] crate::spiffe::InvalidSpiffeId),
    /// It has neither a SPIFFE ID nor a usable name.
    #[error("the certificate has neither a SPIFFE ID nor a common name or DNS name that can serve as one")]
    Nameless,
}

impl SpiffeId {
    /// The SPIFFE ID of a leaf: the only URI among its subject alternative names.
    ///
    /// This reads the certificate only; that somebody vouches for it must have been checked before.
    ///
    /// # Errors
    /// When the certificate is malformed or has no URI, several, or one that is no SPIFFE ID.
    pub fn of_leaf(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let certificate = parse(leaf)?;
        let uris = uris(&certificate)?;
        match uris.as_slice() {
            [] => Err(CertificateError::NoUri),
            [only] => Ok(only.parse()?),
            many => Err(CertificateError::ManyUris(many.len())),
        }
    }
}

/// Parses a certificate and refuses bytes after it.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(CertificateError::Malformed("there are bytes after it".into())),
        Err(error) => Err(CertificateError::Malformed(error.to_string())),
    }
}

/// The URIs among the subject alternative names.
pub(super) fn uris<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a str>, CertificateError> {
    alternative_names(certificate, |name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
}

/// The DNS names among the subject alternative names.
pub(super) fn dns_names<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a str>, CertificateError> {
    alternative_names(certificate, |name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}

fn alternative_names<'a>(
    certificate: &X509Certificate<'a>,
    choose: impl Fn(&GeneralName<'a>) -> Option<&'a str>,
) -> Result<Vec<&'a str>, CertificateError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| CertificateError::Malformed(error.to_string()))?;
    Ok(names.map_or_else(Vec::new, |names| names.value.general_names.iter().filter_map(choose).collect()))
}

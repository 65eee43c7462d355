//! Checks a server's certificate: chain, then name, SPIFFE ID, or both.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use crate::identity::CertificateError as NoSpiffeId;
use crate::spiffe::SpiffeId;

/// What the certificate must say beside chaining to a trusted authority.
#[derive(Debug)]
pub(super) enum Expected {
    Name,
    Spiffe(SpiffeId),
    NameAndSpiffe(SpiffeId),
}

/// rustls' own checks in rustls' own order (chain, name), with the SPIFFE ID as a third.
///
/// `WebPkiServerVerifier` is not wrapped because it cannot leave the name out, which an X.509-SVID, that
/// has no DNS name, needs; it is made of the very functions that are called here.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: Expected,
}

/// A server has a valid certificate, but not of the expected identity.
///
/// rustls carries it inside [`CertificateError::Other`], which prints the `Debug` form of what it carries:
/// that is the message for people here as well.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, but {expected} is expected at this address", shown(found))]
pub struct UnexpectedIdentity {
    /// Who was to be called.
    pub expected: SpiffeId,
    /// Who answered, or why its certificate does not say.
    pub found: Result<SpiffeId, NoSpiffeId>,
}

impl PeerVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider, expected: Expected) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms, expected }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        match &self.expected {
            Expected::Name => verify_server_name(&parsed, server_name)?,
            Expected::Spiffe(id) => verify_spiffe_id(end_entity, id)?,
            Expected::NameAndSpiffe(id) => {
                verify_server_name(&parsed, server_name)?;
                verify_spiffe_id(end_entity, id)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify_spiffe_id(leaf: &CertificateDer<'_>, expected: &SpiffeId) -> Result<(), Error> {
    let found = SpiffeId::of_leaf(leaf);
    if found.as_ref() == Ok(expected) {
        return Ok(());
    }
    let refusal = UnexpectedIdentity { expected: expected.clone(), found };
    Err(CertificateError::Other(OtherError(Arc::new(refusal))).into())
}

fn shown(found: &Result<SpiffeId, NoSpiffeId>) -> String {
    match found {
        Ok(id) => format!("the server is {id}"),
        Err(error) => error.to_string(),
    }
}

impl fmt::Debug for UnexpectedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

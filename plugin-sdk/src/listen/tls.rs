//! mTLS: the host presents a certificate with its SPIFFE identity, or stays out.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Error;
use crate::settings::TlsFiles;

/// The one provider of this project, passed on explicitly: a program may have another as its default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Reads the files into the configuration of a listener that accepts hosts of its own trust domain only.
pub(crate) fn server_config(files: &TlsFiles) -> Result<ServerConfig, Error> {
    let chain = certificates(&files.certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| useless(&files.key, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.client_ca)? {
        roots.add(certificate).map_err(|error| useless(&files.client_ca, &error))?;
    }
    let trust_domain = chain
        .first()
        .and_then(|leaf| spiffe_id(leaf))
        .and_then(|id| Some(id.strip_prefix("spiffe://")?.split_once('/')?.0.to_owned()))
        .ok_or_else(|| {
            let reason =
                "its first certificate has no SPIFFE URI, such as spiffe://example.org/plugin/NAME/INSTANCE";
            useless(&files.certificate, &reason)
        })?;
    let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| useless(&files.client_ca, &error))?;
    let hosts = HostsOnly { chains, prefix: format!("spiffe://{trust_domain}/host/") };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.to_string()))?
        .with_client_cert_verifier(Arc::new(hosts))
        .with_single_cert(chain, key)
        .map_err(|error| useless(&files.key, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Accepts certificates that chain to the CA *and* name a host: plugins of the same mesh have
/// certificates of the same CA, and must not call each other past the gateway.
#[derive(Debug)]
struct HostsOnly {
    chains: Arc<dyn ClientCertVerifier>,
    prefix: String,
}

impl ClientCertVerifier for HostsOnly {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chains.verify_client_cert(leaf, intermediates, now)?;
        match spiffe_id(leaf) {
            Some(id) if id.len() > self.prefix.len() && id.starts_with(&self.prefix) => Ok(verified),
            other => {
                tracing::warn!(
                    client = other,
                    expected = self.prefix,
                    "refused a client that is no host of this mesh"
                );
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }
}

/// The SPIFFE id of a certificate. A certificate with several URIs has none: SPIFFE allows exactly one.
fn spiffe_id(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut uris = certificate.extensions().iter().flat_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.as_slice(),
        _ => &[],
    });
    let mut uris = std::iter::from_fn(|| {
        uris.find_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) if uri.starts_with("spiffe://") => Some(uri.to_owned()),
        _ => None,
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(useless(path, &"it holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(useless(path, &error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { action: "read", path: path.into(), source })
}

fn useless(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Tls(format!("{}: {reason}", path.display()))
}

//! The host's own certificate authority: one per run, in memory only.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroize;

use super::Leaf;
use crate::name::{InstanceId, InstanceName};
use crate::spiffe::{InvalidSpiffeId, SpiffeId, TrustDomain};

/// How long certificates of a run are valid.
///
/// The key that vouches for them is in memory only and ends with the run, so the time bounds nothing that
/// the end of the run does not. It must outlast an instance: a plugin reads its certificate once, at its
/// start, and a shorter time would cut it off at the first reconnect after it.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How far before now a certificate begins, so that a clock set back a little under a running plugin, or
/// one of a container that lags, still finds it valid.
pub const CLOCK_SKEW: Duration = Duration::from_secs(10 * 60);

/// Longest common name that X.520 allows.
const MAX_COMMON_NAME: usize = 64;

/// A certificate authority of one run of a host: ECDSA P-256, its key never leaves memory.
///
/// Making one takes about as long as issuing a leaf, well below a millisecond.
pub struct Authority {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The host's id cannot be part of a SPIFFE ID.
    #[error(transparent)]
    Id(#[from] InvalidSpiffeId),
    /// The cryptographic library failed, such as for want of random numbers.
    #[error("could not make a certificate: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// From when until when a certificate holds.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Authority {
    /// Makes a new authority for `trust_domain`, with a new key.
    ///
    /// # Errors
    /// When the system yields no random numbers.
    pub fn generate(trust_domain: TrustDomain) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        let validity = Validity::from_now();
        params.not_before = validity.from.into();
        params.not_after = validity.until.into();
        // The name differs by run, so that a client that trusts several never tries the wrong key first.
        let run = InstanceId::random();
        params.distinguished_name = common_name(&format!("plugmesh run {run}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        // Only the encoding; what signs is the key inside the cryptographic library.
        key.zeroize();
        Ok(Self {
            trust_domain,
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
            certificate: certificate.into(),
        })
    }

    /// A server certificate for one incarnation of an instance.
    ///
    /// Its URI is [`SpiffeId::plugin`]; it also names `localhost`, 127.0.0.1 and ::1, which stock clients
    /// check. It cannot be used as a client's.
    ///
    /// # Errors
    /// When the system yields no random numbers.
    pub fn issue_plugin(&self, instance: &InstanceName, id: &InstanceId) -> Result<Leaf, AuthorityError> {
        let spiffe = SpiffeId::plugin(&self.trust_domain, instance.plugin(), id);
        // Only people read the common name; one too long would make strict parsers refuse the certificate.
        let name = Some(instance.as_str())
            .filter(|name| name.len() <= MAX_COMMON_NAME)
            .unwrap_or_else(|| instance.plugin().as_str());
        self.issue(name, spiffe, Usage::Server, Validity::from_now())
    }

    /// A client certificate for the host; its URI is [`SpiffeId::host`]. It cannot be used as a server's.
    ///
    /// # Errors
    /// When `host_id` cannot be part of a SPIFFE ID, or the system yields no random numbers.
    pub fn issue_host(&self, host_id: &str) -> Result<Leaf, AuthorityError> {
        let spiffe = SpiffeId::host(&self.trust_domain, host_id)?;
        self.issue("plugmesh host", spiffe, Usage::Client, Validity::from_now())
    }

    /// The authority's certificate as PEM: what a plugin must trust.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The trust domain of all its certificates.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(super) fn issue(
        &self,
        name: &str,
        spiffe: SpiffeId,
        usage: Usage,
        validity: Validity,
    ) -> Result<Leaf, AuthorityError> {
        let mut params = CertificateParams::default();
        params.not_before = validity.from.into();
        params.not_after = validity.until.into();
        params.distinguished_name = common_name(name);
        params.subject_alt_names = vec![SanType::URI(spiffe.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => {
                params.subject_alt_names.extend([
                    SanType::DnsName("localhost".try_into()?),
                    SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
                    SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
                ]);
                vec![ExtendedKeyUsagePurpose::ServerAuth]
            }
        };
        let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let leaf = Leaf::new(spiffe, certificate, &key);
        key.zeroize();
        Ok(leaf)
    }
}

/// What a leaf may be used for; never both.
#[derive(Clone, Copy)]
pub(super) enum Usage {
    Client,
    Server,
}

impl Validity {
    fn from_now() -> Self {
        let now = SystemTime::now();
        Self { from: now - CLOCK_SKEW, until: now + LEAF_VALIDITY }
    }
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

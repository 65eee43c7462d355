//! Names of workloads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::defaults::TRUST_DOMAIN;

/// A SPIFFE ID, `spiffe://<trust-domain>/<path>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeUri(Arc<str>);

/// A SPIFFE trust domain: lower-case letters, digits, `.`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// Why a text is no SPIFFE ID or no trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffe {
    /// As an ID.
    #[error(
        "not a SPIFFE ID: write spiffe://TRUST-DOMAIN/PATH, with letters, digits, '.', '-' and '_' in the path's segments"
    )]
    Id,
    /// As a trust domain.
    #[error("not a trust domain: use 1 to 255 lower-case letters, digits, '.', '-' and '_'")]
    TrustDomain,
}

/// The specification's bound for the whole URI.
const MAX_URI: usize = 2048;

impl SpiffeUri {
    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TrustDomain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// [`TRUST_DOMAIN`].
impl Default for TrustDomain {
    fn default() -> Self {
        Self(TRUST_DOMAIN.into())
    }
}

impl FromStr for SpiffeUri {
    type Err = InvalidSpiffe;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffe> {
        let rest =
            text.strip_prefix("spiffe://").filter(|_| text.len() <= MAX_URI).ok_or(InvalidSpiffe::Id)?;
        let (domain, path) = rest.split_once('/').ok_or(InvalidSpiffe::Id)?;
        let segment = |segment: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(good)
        };
        if domain.parse::<TrustDomain>().is_err() || !path.split('/').all(segment) {
            return Err(InvalidSpiffe::Id);
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffe;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffe> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if (1..=255).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidSpiffe::TrustDomain)
        }
    }
}

impl fmt::Display for SpiffeUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_trust_domain_is_one() {
        assert_eq!(TRUST_DOMAIN.parse(), Ok(TrustDomain::default()));
    }

    #[test]
    fn only_what_the_specification_allows_is_a_spiffe_id() {
        for good in ["spiffe://example.org/host/a", "spiffe://a/B_c.d-1"] {
            assert_eq!(good.parse::<SpiffeUri>().unwrap().as_str(), good);
        }
        for bad in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://Example.org/a",
            "spiffe://example.org/a//b",
            "spiffe://example.org/../b",
            "spiffe://example.org:80/a",
            "spiffe://example.org/a?b",
            "https://example.org/a",
        ] {
            assert_eq!(bad.parse::<SpiffeUri>(), Err(InvalidSpiffe::Id), "{bad}");
        }
    }
}

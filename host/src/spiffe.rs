//! SPIFFE IDs: `spiffe://<trust-domain>/<path>`, by the rules of the SPIFFE-ID standard.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::name::{InstanceId, PluginName};

/// Longest SPIFFE ID, in bytes; the standard's limit.
const MAX_ID: usize = 2048;
/// Longest trust domain, in bytes; the standard's limit.
const MAX_TRUST_DOMAIN: usize = 255;
/// The trust domain of a host that is told nothing else: not a name that anybody resolves.
const DEFAULT_TRUST_DOMAIN: &str = "plugmesh.local";
const SCHEME: &str = "spiffe://";
const HOST_ID: &str = "host id";
/// How much of a wrong text its error shows: enough to recognise it, whatever its length.
const SHOWN: usize = 100;

/// The part of a SPIFFE ID that says whose authority vouches for it, such as `plugmesh.local`.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(Arc<str>);

/// A SPIFFE ID with a path: the name of one workload.
///
/// Cloning is cheap: the text is shared. IDs are equal when their texts are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Length of the trust domain within `text`.
    domain: usize,
}

/// Why a text is no SPIFFE ID or no trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not a {what}: {rule}")]
pub struct InvalidSpiffeId {
    shown: String,
    what: &'static str,
    rule: &'static str,
}

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// `spiffe://<trust-domain>/host/<host_id>`.
    ///
    /// # Errors
    /// When `host_id` is not one path segment: letters, digits, `.`, `-` and `_`, at most 255 of them.
    pub fn host(trust_domain: &TrustDomain, host_id: &str) -> Result<Self, InvalidSpiffeId> {
        check_segment(host_id).map_err(|rule| InvalidSpiffeId::new(host_id, HOST_ID, rule))?;
        if host_id.len() > 255 {
            return Err(InvalidSpiffeId::new(host_id, HOST_ID, "it has at most 255 bytes"));
        }
        Ok(Self::of_checked(trust_domain, format_args!("host/{host_id}")))
    }

    /// `spiffe://<trust-domain>/plugin/<plugin>/<id>`: one incarnation of an instance, so that what is left
    /// of an earlier one is never taken for it.
    pub fn plugin(trust_domain: &TrustDomain, plugin: &PluginName, id: &InstanceId) -> Self {
        Self::of_checked(trust_domain, format_args!("plugin/{plugin}/{id}"))
    }

    /// The trust domain, such as `plugmesh.local`.
    pub fn trust_domain(&self) -> TrustDomain {
        let (domain, _) = self.split();
        TrustDomain(domain.into())
    }

    /// The path, without its first `/`.
    pub fn path(&self) -> &str {
        self.split().1
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn split(&self) -> (&str, &str) {
        let rest = self.text.get(SCHEME.len()..).unwrap_or_default();
        let domain = rest.get(..self.domain).unwrap_or_default();
        (domain, rest.get(self.domain + 1..).unwrap_or_default())
    }

    /// `path` is made of checked segments and short enough.
    fn of_checked(trust_domain: &TrustDomain, path: fmt::Arguments<'_>) -> Self {
        Self { text: format!("{SCHEME}{trust_domain}/{path}").into(), domain: trust_domain.as_str().len() }
    }
}

/// `plugmesh.local`.
impl Default for TrustDomain {
    fn default() -> Self {
        Self(DEFAULT_TRUST_DOMAIN.into())
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        check_domain(text).map_err(|rule| InvalidSpiffeId::new(text, "trust domain", rule))?;
        Ok(Self(text.into()))
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let domain = check_id(text).map_err(|rule| InvalidSpiffeId::new(text, "SPIFFE ID", rule))?;
        Ok(Self { text: text.into(), domain })
    }
}

/// Checks a whole ID and returns the length of its trust domain.
fn check_id(text: &str) -> Result<usize, &'static str> {
    if text.len() > MAX_ID {
        return Err("it has at most 2048 bytes");
    }
    let rest = text.strip_prefix(SCHEME).ok_or("it starts with spiffe://, in lower case")?;
    let (domain, path) =
        rest.split_once('/').ok_or("the trust domain is followed by a path, as in spiffe://example.org/a")?;
    check_domain(domain)?;
    path.split('/').try_for_each(check_segment)?;
    Ok(domain.len())
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    if domain.is_empty() {
        return Err("a trust domain is not empty");
    }
    if domain.len() > MAX_TRUST_DOMAIN {
        return Err("a trust domain has at most 255 bytes");
    }
    let made_well = domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
    made_well.then_some(()).ok_or(
        "a trust domain is made of lower-case letters, digits, '.', '-' and '_', without a port or a user",
    )
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("no path segment is empty, and no '/' ends the path");
    }
    if matches!(segment, "." | "..") {
        return Err("no path segment is '.' or '..'");
    }
    let made_well =
        segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
    made_well.then_some(()).ok_or(
        "a path segment is made of letters, digits, '.', '-' and '_', with neither query, fragment nor '%'",
    )
}

impl InvalidSpiffeId {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { shown: text.chars().take(SHOWN).collect(), what, rule }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        "plugmesh.local".parse().unwrap()
    }

    #[test]
    fn a_good_id_parses_into_its_parts() {
        let id: SpiffeId = "spiffe://a-1_b.example/Host/x.y_z-1".parse().unwrap();
        assert_eq!(id.trust_domain().as_str(), "a-1_b.example");
        assert_eq!(id.path(), "Host/x.y_z-1");
        assert_eq!(id.to_string(), "spiffe://a-1_b.example/Host/x.y_z-1");
    }

    #[test]
    fn a_bad_id_is_refused() {
        let long_domain = format!("spiffe://{}/x", "d".repeat(MAX_TRUST_DOMAIN + 1));
        let long_id = format!("spiffe://d/{}", "x".repeat(MAX_ID));
        for bad in [
            "",
            "spiffe://",
            "spiffe:///x",
            "spiffe://d",
            "spiffe://d/",
            "spiffe://d/x/",
            "spiffe://d//x",
            "spiffe://d/./x",
            "spiffe://d/../x",
            "spiffe://D/x",
            "SPIFFE://d/x",
            "https://d/x",
            "spiffe://d:8080/x",
            "spiffe://user@d/x",
            "spiffe://d/x?q=1",
            "spiffe://d/x#f",
            "spiffe://d/%41",
            "spiffe://d/ü",
            "spiffe://d/x\0",
            &long_domain,
            &long_id,
        ] {
            let error = bad.parse::<SpiffeId>().expect_err(bad).to_string();
            assert!(error.len() < 600, "{error}");
        }
    }

    #[test]
    fn the_default_trust_domain_is_one() {
        assert_eq!(DEFAULT_TRUST_DOMAIN.parse(), Ok(TrustDomain::default()));
    }

    #[test]
    fn the_longest_id_is_taken() {
        let longest = format!("spiffe://d/{}", "x".repeat(MAX_ID - "spiffe://d/".len()));
        assert!(longest.parse::<SpiffeId>().is_ok());
    }

    #[test]
    fn what_is_constructed_also_parses() {
        let id = InstanceId::random();
        let plugin = SpiffeId::plugin(&domain(), &"calculator".parse().unwrap(), &id);
        assert_eq!(plugin.as_str(), format!("spiffe://plugmesh.local/plugin/calculator/{id}"));
        assert_eq!(plugin.as_str().parse(), Ok(plugin));
        let host = SpiffeId::host(&domain(), "host-1").unwrap();
        assert_eq!(host.as_str(), "spiffe://plugmesh.local/host/host-1");
        assert_eq!(host.as_str().parse(), Ok(host));
        for bad in ["", "a/b", "..", "a b", &"x".repeat(256)] {
            assert!(SpiffeId::host(&domain(), bad).is_err(), "{bad:?} was taken");
        }
    }
}

//! Who calls.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use tonic::Status;

use crate::name::InstanceName;

/// Who calls: decided once for a connection, then refined by the callback token of a call.
///
/// It is in the extensions of every request that the gateway hands on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// Someone on this machine who owns the host: a Unix connection of the same user, or of root.
    Operator {
        /// The user id of the peer.
        uid: u32,
    },
    /// The program that the host is linked into.
    App,
    /// An instance of a plugin of this host, known by its process or by its callback token.
    Plugin {
        /// The instance.
        instance: InstanceName,
    },
    /// A client certificate.
    Identity {
        /// Its SPIFFE ID, as it stands in the certificate.
        spiffe: Arc<str>,
    },
    /// Nobody in particular: plaintext TCP.
    Anonymous,
}

/// Knows the plugins that may call back. Asked by the gateway, answered by who launched them.
pub trait Callers: Send + Sync + 'static {
    /// The instance whose process group holds this process.
    fn by_pid(&self, pid: i32) -> Option<InstanceName>;

    /// The incarnation that got this callback token in its handshake.
    fn by_token(&self, token: &str) -> Option<InstanceName>;
}

/// A principal with what goes upstream about it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// Made once, so that a call only clones a reference.
    pub(super) header: HeaderValue,
}

impl fmt::Display for Principal {
    /// As in metadata `plugmesh-caller`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { .. } => f.write_str("operator"),
            Self::App => f.write_str("app"),
            Self::Plugin { instance } => write!(f, "plugin/{}/{instance}", instance.plugin()),
            Self::Identity { spiffe } => write!(f, "identity/{spiffe}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl Principal {
    /// Who the peer of a Unix connection is. A process of a plugin is that plugin, whatever it says.
    pub(super) fn of_unix_peer(uid: u32, pid: Option<i32>, callers: &dyn Callers) -> Self {
        match pid.and_then(|pid| callers.by_pid(pid)) {
            Some(instance) => Self::Plugin { instance },
            None => Self::Operator { uid },
        }
    }

    /// Who calls, when the call carries a callback token.
    pub(super) fn with_token(&self, token: &HeaderValue, callers: &dyn Callers) -> Result<Self, Status> {
        // A plugin known by its process needs no token, and another's would not change who it is.
        if let Self::Plugin { .. } = self {
            return Ok(self.clone());
        }
        let known = token.to_str().ok().and_then(|token| callers.by_token(token));
        known.map(|instance| Self::Plugin { instance }).ok_or_else(|| {
            Status::unauthenticated(
                "plugmesh-token is not the callback token of a running instance: use the one from the latest \
                 handshake, or leave it out",
            )
        })
    }

    /// Whether this principal may do with a service what operators do; the refusal says what to do.
    pub(super) fn may_administer(&self, listed: &[String], service: &str) -> Result<(), Status> {
        let name = service.rsplit('.').next().unwrap_or(service);
        let refusal = match self {
            Self::Operator { .. } | Self::App => return Ok(()),
            Self::Identity { spiffe } if listed.iter().any(|one| **one == **spiffe) => return Ok(()),
            Self::Identity { spiffe } => {
                format!("{spiffe} may not call {name}: list it under `admin:` in plugmesh.yaml")
            }
            Self::Plugin { instance } => format!(
                "{instance} may not call {name}: plugins are denied it; call it as the user who owns the host"
            ),
            Self::Anonymous => format!(
                "{name} needs an identity: call it on the host's Unix socket, or over TLS with a client certificate \
                 whose SPIFFE ID is listed under `admin:` in plugmesh.yaml"
            ),
        };
        Err(Status::permission_denied(refusal))
    }
}

impl From<Principal> for Caller {
    fn from(principal: Principal) -> Self {
        // Visible ASCII in every case that `tls` and `InstanceName` let through.
        let header = HeaderValue::try_from(principal.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("anonymous"));
        Self { principal, header }
    }
}

//! How a plugin is treated: its calls, by retries, breakers, limits, balancing; and its instances.
//!
//! It is said in layers, each over the one before: the defaults here, the top level of `plugmesh.yaml`, a manifest, the
//! plugin's entry in `plugmesh.yaml`, and below `policies` of either a service, then a method. What holds for a call is the
//! [`Policy`] that comes out; where each value was said, the [`Setting`]s tell.

mod admission;
mod balance;
mod circuit_breaker;
mod fallback;
mod layers;
mod retry;
mod section;
mod supervision;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::decode::{Decoder, Section, choice, map};
use super::defaults::MAX_ENTRIES;
use super::yaml::Node;

pub use admission::{Concurrency, ConcurrencySaid, Connection, ConnectionSaid, RateLimit, RateLimitSaid};
pub use balance::{Balance, Balancing, BalancingSaid, Locality, Member, Which};
pub use circuit_breaker::{CircuitBreaker, CircuitBreakerSaid, Panic};
pub use fallback::{Cache, CacheSaid, Fallback, FallbackSaid};
pub use layers::{Policies, SetBy, Setting};
pub use retry::{Hedging, HedgingDelay, HedgingSaid, Retry, RetrySaid};
use section::{Said, Scope};
pub use supervision::{HealthCheck, HealthCheckSaid, Restart, RestartSaid};

/// What may happen when a call is made twice. The words are those of the proto method option `idempotency_level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Idempotency {
    /// Nobody says: twice may be once too often.
    #[default]
    Unknown,
    /// The same as when it is made once.
    Idempotent,
    /// Nothing: the call only reads.
    NoSideEffects,
}

impl fmt::Display for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Idempotent => "idempotent",
            Self::NoSideEffects => "no_side_effects",
        })
    }
}

/// How calls and instances are treated, with every value decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// What may happen when a call is made twice.
    pub idempotency: Idempotency,
    /// Which instance takes a call.
    pub balance: Balancing,
    /// When a call is sent again.
    pub retry: Retry,
    /// When it is sent twice.
    pub hedging: Hedging,
    /// When an instance gets a rest.
    pub circuit_breaker: CircuitBreaker,
    /// How many calls a second.
    pub rate_limit: RateLimit,
    /// How many calls at once.
    pub concurrency: Concurrency,
    /// Connections, and the time for calls.
    pub connection: Connection,
    /// What is answered when no instance is there.
    pub fallback: Fallback,
    /// Answers that are kept for that case.
    pub cache: Cache,
    /// When an instance that ended is started again.
    pub restart: Restart,
    /// How instances are asked whether they still answer.
    pub health_check: HealthCheck,
}

/// What one layer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySaid {
    /// Of [`Policy::idempotency`].
    pub idempotency: Option<Idempotency>,
    /// Of [`Policy::balance`].
    pub balance: BalancingSaid,
    /// Of [`Policy::retry`].
    pub retry: RetrySaid,
    /// Of [`Policy::hedging`].
    pub hedging: HedgingSaid,
    /// Of [`Policy::circuit_breaker`].
    pub circuit_breaker: CircuitBreakerSaid,
    /// Of [`Policy::rate_limit`].
    pub rate_limit: RateLimitSaid,
    /// Of [`Policy::concurrency`].
    pub concurrency: ConcurrencySaid,
    /// Of [`Policy::connection`].
    pub connection: ConnectionSaid,
    /// Of [`Policy::fallback`].
    pub fallback: FallbackSaid,
    /// Of [`Policy::cache`].
    pub cache: CacheSaid,
    /// Of [`Policy::restart`].
    pub restart: RestartSaid,
    /// Of [`Policy::health_check`].
    pub health_check: HealthCheckSaid,
}

/// Does the same with each section of the policy.
macro_rules! each_section {
    ($do:ident) => {
        $do!(
            balance,
            retry,
            hedging,
            circuit_breaker,
            rate_limit,
            concurrency,
            connection,
            fallback,
            cache,
            restart,
            health_check
        )
    };
}
use each_section;

impl PolicySaid {
    /// This layer with another one of the same kind on top.
    #[must_use]
    pub fn overridden(self, over: &Self) -> Self {
        macro_rules! lay {
            ($($section:ident),*) => {
                Self {
                    idempotency: over.idempotency.or(self.idempotency),
                    $( $section: self.$section.overridden(&over.$section), )*
                }
            };
        }
        each_section!(lay)
    }

    fn apply(&self, policy: &mut Policy) {
        policy.idempotency = self.idempotency.unwrap_or(policy.idempotency);
        macro_rules! apply {
            ($($section:ident),*) => { $( self.$section.apply(&mut policy.$section); )* };
        }
        each_section!(apply);
    }

    /// Whether it says anything of this key.
    fn says(&self, section: &str, key: &str) -> bool {
        macro_rules! says {
            ($($section:ident),*) => {
                match section {
                    "idempotency" => self.idempotency.is_some(),
                    $( stringify!($section) => self.$section.said().contains(&key), )*
                    _ => false,
                }
            };
        }
        each_section!(says)
    }
}

/// Takes the sections of a layer out of a section of either file.
pub(super) fn read(d: &mut Decoder<'_>, section: &mut Section<'_>, scope: Scope) -> PolicySaid {
    let idempotency = match scope {
        Scope::Plugin => None,
        Scope::Call => section.optional(d, "idempotency", idempotency),
    };
    PolicySaid {
        idempotency,
        balance: sub(d, section, "balance", scope, balance::balance),
        retry: sub(d, section, "retry", scope, RetrySaid::read),
        hedging: sub(d, section, "hedging", scope, HedgingSaid::read),
        circuit_breaker: sub(d, section, "circuit_breaker", scope, CircuitBreakerSaid::read),
        rate_limit: sub(d, section, "rate_limit", scope, RateLimitSaid::read),
        concurrency: sub(d, section, "concurrency", scope, ConcurrencySaid::read),
        connection: sub(d, section, "connection", scope, ConnectionSaid::read),
        fallback: sub(d, section, "fallback", scope, FallbackSaid::read),
        cache: sub(d, section, "cache", scope, CacheSaid::read),
        restart: sub(d, section, "restart", scope, RestartSaid::read),
        health_check: sub(d, section, "health_check", scope, HealthCheckSaid::read),
    }
}

/// The same for a whole plugin.
pub(super) fn read_plugin(d: &mut Decoder<'_>, section: &mut Section<'_>) -> PolicySaid {
    read(d, section, Scope::Plugin)
}

fn sub<T: Default>(
    d: &mut Decoder<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    scope: Scope,
    read: impl FnOnce(&mut Decoder<'_>, &Node, Scope) -> Option<T>,
) -> T {
    section.optional(d, key, |d, node| read(d, node, scope)).unwrap_or_default()
}

fn idempotency(d: &mut Decoder<'_>, node: &Node) -> Option<Idempotency> {
    let levels = [Idempotency::Unknown, Idempotency::Idempotent, Idempotency::NoSideEffects];
    let names = levels.map(|level| level.to_string());
    let words: Vec<_> = names.iter().map(String::as_str).zip(levels).collect();
    choice(d, node, &words)
}

/// What a part of `policies` is about: `package.Service`, or `package.Service/Method`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyTarget {
    /// The service, fully qualified.
    pub service: String,
    /// The method; none for all of the service.
    pub method: Option<String>,
}

/// A text that names neither a service nor a method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither a service nor a method: write acme.billing.v1.InvoiceService, or that with /Method"
)]
pub struct InvalidTarget(String);

impl FromStr for PolicyTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let invalid = || InvalidTarget(text.chars().take(128).collect());
        let (service, method) = match text.trim_start_matches('/').split_once('/') {
            Some((service, method)) => (service, Some(method)),
            None => (text, None),
        };
        let good =
            super::options::is_service_name(service) && method.is_none_or(super::options::is_identifier);
        match good {
            true => Ok(Self { service: service.into(), method: method.map(str::to_owned) }),
            false => Err(invalid()),
        }
    }
}

/// `policies`: what is said of services and methods.
pub(super) fn policies(d: &mut Decoder<'_>, node: &Node) -> Option<BTreeMap<PolicyTarget, PolicySaid>> {
    map(d, node, MAX_ENTRIES, |d, node| {
        let mut section = Section::open(d, node)?;
        let said = read(d, &mut section, Scope::Call);
        section.finish(d);
        Some(said)
    })
}

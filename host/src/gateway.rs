//! The host's own listening side: one address for every plugin.
//!
//! [`Gateway::bind`] takes the sockets, so that whatever is wrong with an address is known before anything
//! else starts; [`Bound::serve`] then answers on them until [`GatewayHandle::shutdown`].
//!
//! A call's way through the rooms below, from the wire inwards:
//!
//! - `listen`, `unix`: sockets; `accept`: who may connect, and how many; `tls`: certificates.
//! - `preface`: HTTP/2, HTTP/1 or something else; `pages`, `http1`: what browsers and scrapers get; `authority`: what stock clients send over Unix sockets; `connection`: one task that drives a connection and its calls.
//! - `meter`: how many calls came, and how long they took.
//! - `admit`: what a call is (method, caller, target, deadline) and whether it may go on.
//! - `forward`: head, messages and trailers in both directions, undecoded. The one place that knows the
//!   HTTP/2 library's streams, so that a forwarder closer to the frames can take its place.
//! - [`reflection`] and `health`: answered here, for all plugins together or for one.

mod accept;
mod admit;
mod authority;
mod connection;
mod forward;
mod health;
mod http1;
mod limits;
mod listen;
mod meter;
mod pages;
mod preface;
mod principal;
pub mod reflection;
mod request_body;
mod serve;
mod tls;
mod unix;

#[cfg(test)]
mod tests;

pub use health::{HealthSource, ServingStatus};
pub use limits::Limits;
pub use listen::{Address, BindError, Bound, Config, Gateway, Listen};
pub(crate) use meter::ServerCalls;
pub use pages::Pages;
pub use principal::{Callers, Principal};
pub use request_body::RequestBody;
pub use serve::{GatewayHandle, Services, Stopped, Upstream};

use crate::name::PluginName;

/// Which plugin and instance a caller chose, in the extensions of the request that goes upstream.
///
/// Absent when the caller chose neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// From metadata `plugmesh-plugin`.
    pub plugin: Option<PluginName>,
    /// From metadata `plugmesh-instance`: a name, or the id of one incarnation.
    pub instance: Option<String>,
}

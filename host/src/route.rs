//! From a gRPC service to one endpoint.
//!
//! A call walks through this room once: the [`Router`] finds who provides the service, a [`Route`] holds
//! that plugin's endpoints and its [policy](crate::config::Policy), which picks one, and the [`Channel`] sends the call there
//! and records how it ended. What a call reads is an immutable snapshot behind a lock-free pointer;
//! whoever changes a route builds a new snapshot beside it.

mod admission;
mod attempt;
mod balance;
mod body;
mod cache;
mod call;
mod channel;
mod collect;
mod endpoint;
mod errand;
mod error;
mod explain;
mod fallback;
mod head;
mod hedge;
mod message_limit;
mod method;
mod outcome;
mod plugin_route;
mod reading;
mod record;
mod replay;
mod rescue;
pub(crate) mod reserved;
mod response_future;
mod retry;
mod router;
mod snapshot;
pub(crate) mod stats;
pub(crate) mod timeout;
mod unpicked;
mod wait;

pub use body::CallBody;
pub use channel::Channel;
pub use endpoint::{Availability, Endpoint, EndpointChannel};
pub use error::RouteError;
pub use explain::{Breaker, Candidate, Explanation};
pub use message_limit::{DEFAULT_MAX_MESSAGE, MessageMeter, TooLarge};
pub use method::{Method, MethodInfo, ServiceInfo};
pub use plugin_route::{Route, RouteSettings};
pub use response_future::ResponseFuture;
pub use router::Router;

#[cfg(test)]
mod tests;

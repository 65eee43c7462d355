//! Why a call got no answer from a plugin, in words for the caller; the one place where that becomes a
//! gRPC status.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::outcome::Outcome;
use super::{Availability, Endpoint, TooLarge};
use crate::BoxError;
use crate::name::PluginName;
use crate::transport::{CallError, StreamError};

/// When to try again, where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a call got no answer from a plugin.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RouteError {
    code: Code,
    message: String,
    /// When trying again makes sense.
    retry_after: Option<Duration>,
    #[source]
    source: Option<BoxError>,
}

impl From<RouteError> for Status {
    fn from(error: RouteError) -> Self {
        let mut status = match error.retry_after {
            None => Status::new(error.code, error.message),
            Some(delay) => {
                let details = ErrorDetails::with_retry_info(Some(delay));
                Status::with_error_details(error.code, error.message, details)
            }
        };
        if let Some(source) = error.source {
            status.set_source(Arc::from(source));
        }
        status
    }
}

/// Source of an error that says that no instance was there for the call. What stands in for a plugin looks for this, not for
/// words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no instance takes the call")]
pub(super) struct NobodyThere;

/// Whether a call failed because no instance was there for it, and not by an instance.
pub(super) fn is_absence(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(is_absence_itself)
}

/// The call has failed before, and there was no instance for another attempt.
pub(super) fn mark_absence(mut status: Status, of: &RouteError) -> Status {
    if std::error::Error::source(of).is_some_and(is_absence_itself) {
        status.set_source(Arc::new(NobodyThere));
    }
    status
}

fn is_absence_itself(source: &(dyn std::error::Error + 'static)) -> bool {
    source.is::<NobodyThere>() || matches!(source.downcast_ref(), Some(CallError::NotConnected))
}

impl RouteError {
    /// The gRPC code that the caller sees.
    pub fn code(&self) -> Code {
        self.code
    }

    fn new(code: Code, message: String) -> Self {
        Self { code, message, retry_after: None, source: None }
    }

    fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn malformed_path(path: &str) -> Self {
        let path = shown(path);
        Self::new(
            Code::Unimplemented,
            format!("{path:?} is not a gRPC method: it should be /package.Service/Method"),
        )
    }

    pub(super) fn unknown_service(service: &str, closest: Option<&str>) -> Self {
        let service = shown(service);
        let mut message = format!("no plugin provides the service {service}");
        match closest {
            Some(closest) => message.push_str(&format!("; did you mean {closest}?")),
            None => message.push_str("; `plugmesh services` lists those there are"),
        }
        Self::new(Code::Unimplemented, message)
    }

    pub(super) fn ambiguous<'a>(service: &str, plugins: impl Iterator<Item = &'a PluginName>) -> Self {
        let message = format!(
            "the service {service} is provided by several plugins: {}; choose one with the metadata {}",
            list(plugins),
            plugmesh::metadata::PLUGIN,
        );
        Self::new(Code::FailedPrecondition, message)
    }

    pub(super) fn unknown_plugin(plugin: &str, closest: Option<&str>) -> Self {
        let plugin: String = plugin.chars().take(128).collect();
        let hint = closest.map(|closest| format!("; did you mean {closest}?")).unwrap_or_default();
        Self::new(Code::NotFound, format!("there is no plugin {plugin:?}{hint}"))
    }

    pub(super) fn not_provided(service: &str, plugin: &PluginName, services: &[Arc<str>]) -> Self {
        let services = match services {
            [] => "none".to_owned(),
            services => list(services.iter()),
        };
        let message =
            format!("the plugin {plugin} does not provide the service {service}; its services: {services}");
        Self::new(Code::Unimplemented, message)
    }

    pub(super) fn nobody_yet(service: &str) -> Self {
        let message = format!(
            "no plugin provides the service {} so far, and some are still starting; `plugmesh list` says which",
            shown(service)
        );
        Self::new(Code::Unavailable, message)
    }

    pub(super) fn nothing_ready(plugin: &PluginName, states: Vec<String>) -> Self {
        let states = match states.is_empty() {
            true => "it has none".to_owned(),
            false => states.join(", "),
        };
        Self::new(Code::Unavailable, format!("the plugin {plugin} has no ready instance: {states}"))
            .because(NobodyThere)
    }

    pub(super) fn all_resting(plugin: &PluginName) -> Self {
        let message = format!(
            "the circuit breakers of too many instances of the plugin {plugin} are open, because they failed too often; \
             `plugmesh explain` says when each is tried again"
        );
        Self::new(Code::Unavailable, message).because(NobodyThere)
    }

    pub(super) fn no_weight(plugin: &PluginName) -> Self {
        let message =
            format!("every ready instance of the plugin {plugin} has weight 0; see balance.members");
        Self::new(Code::Unavailable, message).because(NobodyThere)
    }

    pub(super) fn full(plugin: &PluginName) -> Self {
        let message = format!(
            "every instance of the plugin {plugin} has as many calls in flight as concurrency.max_in_flight_per_instance \
             allows"
        );
        Self::exhausted(message, RETRY_AFTER)
    }

    /// For now: there will be room after `delay`.
    pub(super) fn exhausted(message: String, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..Self::new(Code::ResourceExhausted, message) }
    }

    pub(super) fn late_in_queue(message: String) -> Self {
        Self::new(Code::DeadlineExceeded, message)
    }

    pub(super) fn too_many_waiting(plugin: &PluginName) -> Self {
        let message = format!("too many calls wait for an instance of the plugin {plugin} already");
        Self::exhausted(message, RETRY_AFTER)
    }

    pub(super) fn late(plugin: &PluginName) -> Self {
        let message =
            format!("the deadline of the call to the plugin {plugin} had passed before it was sent");
        Self::new(Code::DeadlineExceeded, message)
    }

    pub(super) fn no_instance(plugin: &PluginName, pinned: &str) -> Self {
        let pinned: String = pinned.chars().take(128).collect();
        Self::new(Code::Unavailable, format!("the plugin {plugin} has no instance {pinned:?} (any more)"))
    }

    pub(super) fn pinned(endpoint: &Endpoint, availability: &Availability) -> Self {
        Self::new(Code::Unavailable, format!("{} is {availability}", place(endpoint)))
    }

    pub(super) fn not_connected(endpoint: &Endpoint) -> Self {
        let message =
            format!("{} has no open connection; the host is opening one, try again", place(endpoint));
        Self::new(Code::Unavailable, message).because(CallError::NotConnected)
    }

    /// What it told was so until the deadline.
    pub(super) fn at_the_deadline(self) -> Self {
        let message = format!("the caller's deadline passed before the call was sent: {}", self.message);
        Self { code: Code::DeadlineExceeded, message, ..self }
    }

    pub(super) fn deadline(endpoint: &Endpoint) -> Self {
        let message = format!("{} did not answer within the caller's deadline", place(endpoint));
        Self::new(Code::DeadlineExceeded, message)
    }

    pub(super) fn stream(endpoint: &Endpoint, error: StreamError) -> Self {
        Self::new(error.code(), format!("{}: {error}", place(endpoint))).because(error)
    }

    /// A server that speaks HTTP there, but no gRPC. The code is what gRPC makes of the HTTP status.
    pub(super) fn not_grpc(
        endpoint: &Endpoint,
        status: StatusCode,
        content_type: Option<&HeaderValue>,
    ) -> Self {
        let code = match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        let content_type = match content_type {
            Some(value) => format!("content-type {value:?}"),
            None => "no content-type".to_owned(),
        };
        let message = format!(
            "{} answered with HTTP status {} and {content_type}, which is no gRPC response; it, or a proxy before \
             it, has no gRPC service at that path",
            place(endpoint),
            status.as_u16()
        );
        Self::new(code, message)
    }

    pub(super) fn without_status(endpoint: &Endpoint) -> Self {
        let message = format!(
            "{} ended its answer without a gRPC status; a gRPC server sends grpc-status in the trailers",
            place(endpoint)
        );
        Self::new(Code::Unknown, message)
    }

    pub(super) fn cut_short(endpoint: &Endpoint) -> Self {
        let message = format!(
            "{} ended its answer with OK in the middle of a message; what it sent is not complete",
            place(endpoint)
        );
        Self::new(Code::Internal, message)
    }

    pub(super) fn response_too_large(endpoint: &Endpoint, error: TooLarge) -> Self {
        Self::too_large("response", endpoint, error)
    }

    /// The limit is the host's, and says so: clients and plugins have limits of their own.
    fn too_large(what: &str, endpoint: &Endpoint, error: TooLarge) -> Self {
        let message = format!(
            "{what} message of {} bytes is over the host's limit of {} bytes for the plugin {}; raise \
             max_message_size of that plugin in plugmesh.yaml or plugin.yaml",
            error.length,
            error.max,
            endpoint.name().plugin(),
        );
        Self::new(Code::ResourceExhausted, message)
    }

    pub(super) fn call(endpoint: &Endpoint, error: CallError) -> Status {
        Self::call_with_outcome(endpoint, error).0
    }

    pub(super) fn call_with_outcome(endpoint: &Endpoint, error: CallError) -> (Status, Outcome) {
        match error {
            CallError::NotConnected => {
                (Self::not_connected(endpoint).into(), Outcome::Status(Code::Unavailable))
            }
            CallError::Stream(error) => {
                let outcome = Outcome::Status(error.code());
                (Self::stream(endpoint, error).into(), outcome)
            }
            CallError::Request(error) => {
                let status = match error.downcast_ref::<TooLarge>() {
                    Some(too_large) => Self::too_large("request", endpoint, *too_large).into(),
                    None => Status::from_error(error),
                };
                (status, Outcome::Cancelled)
            }
        }
    }
}

fn place(endpoint: &Endpoint) -> String {
    format!("instance {} of plugin {}", endpoint.name(), endpoint.name().plugin())
}

/// A name from outside, no longer than people can read.
fn shown(name: &str) -> String {
    name.chars().take(256).collect()
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

//! What a call is, and whether it may go on: everything that its head decides.

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use plugmesh::metadata;
use tonic::Status;

use super::Target;
use super::pages::Page;
use super::principal::{Caller, Principal};
use super::serve::Shared;
use crate::route::{reserved, timeout};

const ADMIN: &str = "plugmesh.admin.v1.AdminService";
const EVENTS: &str = "plugmesh.event.v1.EventBusService";
/// Methods of it that show and change what is not one's own.
const EVENTS_OF_OPERATORS: [&str; 5] =
    ["GetStats", "ListDeadLetters", "PurgeDeadLetters", "RedriveDeadLetters", "Replay"];
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Who answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A plugin, or whatever else the route knows.
    Upstream,
    /// This host: `AdminService`, `EventBusService`, health, reflection.
    Local,
}

/// A call that may not.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is no gRPC call, so the answer is HTTP's.
    Http(StatusCode, &'static str),
    /// It is for a page.
    Page(Page),
    /// The answer is a gRPC status.
    Grpc(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Grpc(status)
    }
}

/// Judges a call by its head, and makes the head fit to be handed on.
pub(super) fn admit(shared: &Shared, connection: &Caller, head: &mut Parts) -> Result<Place, Refusal> {
    if head.method != Method::POST {
        if let Some(page) = Page::of(head) {
            return Err(Refusal::Page(page));
        }
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST requests\n"));
    }
    if !is_grpc(head.headers.get(CONTENT_TYPE)) {
        let text = "the content-type of a gRPC call is application/grpc\n";
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let (service, method) = method_of(head.uri.path_and_query())?;
    let place = place_of(service)?;
    let target = target_in(&head.headers)?;
    let principal = match head.headers.get(metadata::TOKEN) {
        None => connection.principal.clone(),
        Some(token) => connection.principal.with_token(token, &*shared.callers)?,
    };
    if service == ADMIN || service == EVENTS && EVENTS_OF_OPERATORS.contains(&method) {
        principal.may_administer(&shared.admin, service)?;
    }
    check_timeout(&head.headers)?;

    strip_reserved(&mut head.headers);
    let header = if principal == connection.principal {
        connection.header.clone()
    } else {
        Caller::from(principal.clone()).header
    };
    head.headers.insert(HeaderName::from_static(metadata::CALLER), header);
    head.extensions.insert(principal);
    if let Some(target) = target {
        head.extensions.insert(target);
    }
    Ok(place)
}

/// `application/grpc`, alone or with a suffix such as `+proto`; not `application/grpc-web`.
fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    let rest = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// Service and method in `/package.Service/Method`.
fn method_of(path: Option<&PathAndQuery>) -> Result<(&str, &str), Status> {
    let path = path.map(PathAndQuery::as_str).unwrap_or_default();
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((service, method)) if !service.is_empty() && !method.is_empty() && !method.contains('/') => {
            Ok((service, method))
        }
        _ => {
            let shown: String = path.chars().take(200).collect();
            Err(Status::unimplemented(format!(
                "{shown:?} is no gRPC method: expected /package.Service/Method"
            )))
        }
    }
}

/// Control services of plugins belong to the host that holds their session.
fn place_of(service: &str) -> Result<Place, Status> {
    if [ADMIN, EVENTS, HEALTH].contains(&service) || REFLECTION.contains(&service) {
        return Ok(Place::Local);
    }
    let control = service == "plugmesh.plugin.v1.PluginService"
        || service == "plugmesh.event.v1.EventSinkService"
        || service.starts_with("plugin.GRPC");
    if control {
        return Err(Status::permission_denied(format!(
            "{service} is between a plugin and its host and is not routed: use AdminService, or call the plugin \
             at its own address"
        )));
    }
    Ok(Place::Upstream)
}

/// What the caller chose by metadata.
fn target_in(headers: &HeaderMap) -> Result<Option<Target>, Status> {
    let text = |key: &'static str| {
        headers.get(key).map(|value| {
            value.to_str().map_err(|_| Status::invalid_argument(format!("{key} is not ASCII text")))
        })
    };
    let plugin = text(metadata::PLUGIN).transpose()?;
    let instance = text(metadata::INSTANCE).transpose()?.map(str::to_owned);
    if plugin.is_none() && instance.is_none() {
        return Ok(None);
    }
    let plugin = plugin.map(|name| {
        name.parse().map_err(|error| Status::invalid_argument(format!("{}: {error}", metadata::PLUGIN)))
    });
    Ok(Some(Target { plugin: plugin.transpose()?, instance }))
}

/// Deadlines are kept where the call is routed; one that cannot be read is the caller's mistake.
fn check_timeout(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get(&timeout::HEADER) {
        Some(value) if timeout::parse(value).is_none() => Err(Status::invalid_argument(format!(
            "grpc-timeout {value:?} is malformed: expected one to eight digits and one of H, M, S, m, u, n"
        ))),
        _ => Ok(()),
    }
}

/// Removes what only the mesh itself may say: of all that is reserved, callers only choose who answers.
fn strip_reserved(headers: &mut HeaderMap) {
    reserved::strip(headers, &[metadata::PLUGIN, metadata::INSTANCE]);
}

impl Principal {
    /// The principal that the gateway put into a request's extensions.
    pub fn of(extensions: &http::Extensions) -> Option<&Self> {
        extensions.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_grpc_content_types_are_grpc() {
        let is = |text: &'static str| is_grpc(Some(&HeaderValue::from_static(text)));
        assert!(
            is("application/grpc") && is("application/grpc+proto") && is("application/grpc;charset=utf-8")
        );
        assert!(!is("application/grpc-web") && !is("application/json") && !is("") && !is_grpc(None));
    }

    #[test]
    fn control_services_are_never_routed() {
        for control in [
            "plugmesh.plugin.v1.PluginService",
            "plugmesh.event.v1.EventSinkService",
            "plugin.GRPCBroker",
            "plugin.GRPCController",
            "plugin.GRPCStdio",
        ] {
            assert_eq!(place_of(control).unwrap_err().code(), tonic::Code::PermissionDenied, "{control}");
        }
        assert_eq!(place_of("example.Calculator").unwrap(), Place::Upstream);
        assert_eq!(place_of("grpc.health.v1.Health").unwrap(), Place::Local);
    }

    #[test]
    fn a_path_is_a_service_and_a_method() {
        let service = |path: &'static str| {
            method_of(Some(&PathAndQuery::from_static(path)))
                .map(|(service, _)| service)
                .map(str::to_owned)
                .map_err(|status| status.code())
        };
        assert_eq!(service("/a.B/C").unwrap(), "a.B");
        for bad in ["/", "/a.B", "/a.B/", "//C", "/a.B/C/D"] {
            assert_eq!(service(bad), Err(tonic::Code::Unimplemented), "{bad}");
        }
    }

    #[test]
    fn reserved_metadata_is_stripped() {
        let mut headers = HeaderMap::new();
        for name in [
            "plugmesh-caller",
            "plugmesh-token",
            "plugmesh-x-bin",
            "plugmesh-plugin",
            "plugmesh-instance",
            "x",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        headers.append("plugmesh-caller", HeaderValue::from_static("app"));
        strip_reserved(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["plugmesh-instance", "plugmesh-plugin", "x"]);
    }
}

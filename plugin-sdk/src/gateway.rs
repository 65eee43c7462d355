//! Calls to other plugins and to the host, through the host's gateway.

use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use plugmesh::metadata;
use plugmesh::plugin::v1::Callback;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt;
use tower_service::Service;

use crate::Call;

mod connect;

use connect::Connection;

const TOKEN: HeaderName = HeaderName::from_static(metadata::TOKEN);
const PLUGIN: HeaderName = HeaderName::from_static(metadata::PLUGIN);

/// A channel through the host's gateway, for generated tonic clients. Cheap to clone.
///
/// Most plugins need only [`Context::client`](crate::Context::client).
#[derive(Clone, Debug)]
pub struct Gateway {
    link: Arc<Link>,
    plugin: Option<HeaderValue>,
    call: Option<Call>,
}

/// The gateway of the moment: none before there is a host, another one when the plugin changes hosts.
#[derive(Debug, Default)]
pub(crate) struct Link(RwLock<Option<Arc<Connection>>>);

impl Gateway {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, plugin: None, call: None }
    }

    /// Sends calls to the plugin of this name, which matters where several provide the service. A text
    /// that is no plugin name is left out, so that the service alone decides.
    #[must_use]
    pub fn to_plugin(mut self, name: &str) -> Self {
        self.plugin = HeaderValue::from_str(name).ok();
        self
    }

    /// Carries deadline and trace of `call`, whichever call is being handled.
    #[must_use]
    pub fn for_call(mut self, call: Call) -> Self {
        self.call = Some(call);
        self
    }

    fn prepare(&self, request: &mut Request<Body>, connection: &Connection) -> Result<(), Status> {
        let headers = request.headers_mut();
        if let Some(plugin) = &self.plugin {
            headers.insert(PLUGIN, plugin.clone());
        }
        if let Some(token) = connection.token() {
            headers.insert(TOKEN, token.clone());
        }
        let carried = match &self.call {
            Some(call) => call.carry_into(headers),
            None => Call::current().carry_into(headers),
        };
        if carried {
            Ok(())
        } else {
            Err(Status::deadline_exceeded("the call that this one is for has no time left"))
        }
    }
}

impl Service<Request<Body>> for Gateway {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Readiness is awaited in the call: the link may change in between.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let prepared = self.link.connection().and_then(|connection| {
            self.prepare(&mut request, &connection)?;
            connection.channel()
        });
        Box::pin(
            async move { prepared?.oneshot(request).await.map_err(|error| Status::from_error(error.into())) },
        )
    }
}

impl Link {
    /// From now on calls go to the gateway that `callback` names. An open connection to the same gateway
    /// is kept.
    pub(crate) fn follow(&self, callback: &Callback) {
        if self.connection().is_ok_and(|connection| connection.is_to(callback)) {
            return;
        }
        let next = (!callback.address.is_empty()).then(|| Arc::new(Connection::new(callback.clone())));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn connection(&self) -> Result<Arc<Connection>, Status> {
        let connection = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        connection.ok_or_else(|| {
            Status::unavailable(
                "no gateway to call through: no host has shaken hands with this plugin yet; attach it with \
                 `plugmesh attach NAME ADDRESS`, or set PLUGMESH_HOST",
            )
        })
    }
}

//! The service that sends any gRPC call where it belongs.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use plugmesh::metadata;
use tonic::Status;

use super::call::CallBody;
use super::errand::{Errand, Terms};
use super::record::Record;
use super::response_future::ResponseFuture;
use super::stats::Event;
use super::{Method, RouteError, Router, timeout};
use crate::BoxError;
use crate::resilience::clock::Moment;
use crate::resilience::hash_ring::HashRing;

// As header names, since a text is checked and folded to lower case each time it is looked up.
static PLUGIN: HeaderName = HeaderName::from_static(metadata::PLUGIN);
static INSTANCE: HeaderName = HeaderName::from_static(metadata::INSTANCE);

/// Sends gRPC calls into the mesh: give it to a generated client.
///
/// A call goes to the plugin that provides its service and there to one instance, by the plugin's policy.
/// Metadata `plugmesh-plugin` chooses among several plugins that provide the service, and
/// `plugmesh-instance` pins an instance by name or id. Cloning is cheap, and every clone is as good.
///
/// It is always ready. Dropping a call's future, or its response, cancels the call at the plugin.
#[derive(Clone, Debug)]
pub struct Channel {
    router: Router,
}

impl Channel {
    pub(super) fn new(router: Router) -> Self {
        Self { router }
    }

    fn send<B>(&self, mut request: Request<B>) -> Result<ResponseFuture<B>, RouteError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let wishes = Wishes::of(request.headers());
        let method = self.router.find(request.uri().path(), wishes.plugin)?;
        let now = method.route().now();
        let mut record = Record::new(method.clone(), now);
        let admitted = self.admit(method, &wishes, request.headers(), now);
        record.trace(&mut request);
        match admitted {
            Ok((method, terms)) => Ok(self.begin(method, terms, request, record, now)),
            Err(error) => {
                record.end(error.code(), now);
                Err(error)
            }
        }
    }

    /// Judges a call by its head.
    fn admit(
        &self,
        method: Arc<Method>,
        wishes: &Wishes<'_>,
        headers: &HeaderMap,
        now: Moment,
    ) -> Result<(Arc<Method>, Terms), RouteError> {
        let terms = wishes.terms(&method, headers, now)?;
        if let Some(rates) = method.rates()
            && let Err(wait) = rates.admit(headers, now)
        {
            method.stats().count(Event::RateLimited);
            return Err(RouteError::rate_limited(method.route().plugin(), wait));
        }
        Ok((method, terms))
    }

    fn begin<B>(
        &self,
        method: Arc<Method>,
        terms: Terms,
        request: Request<B>,
        mut record: Record,
        now: Moment,
    ) -> ResponseFuture<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        method.route().budget().deposit(now);
        let memory = self.router.replay_memory().clone();
        let (errand, request) = Errand::new(method, terms, request, memory);
        if let Some(limit) = errand.method.route().limit() {
            match limit.limiter().try_acquire() {
                Some(permit) => record.hold(permit),
                None => return ResponseFuture::queued(errand, request, record),
            }
        }
        match errand.pick(&[], now) {
            Ok(picked) => ResponseFuture::sent(errand, picked, request, record),
            Err(why) => ResponseFuture::waiting(errand, why, request, record),
        }
    }
}

impl<B> tower_service::Service<Request<B>> for Channel
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<CallBody>;
    type Error = Status;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.send(request).unwrap_or_else(ResponseFuture::failed)
    }
}

/// What a caller says about its call.
#[derive(Default)]
struct Wishes<'a> {
    plugin: Option<&'a str>,
    instance: Option<&'a str>,
    timeout: Option<Duration>,
}

impl<'a> Wishes<'a> {
    /// Goes over the headers once: a call has few, and each look into the map would cost a hash of the name. Of
    /// several values the first counts.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut wishes = Self::default();
        for (name, value) in headers {
            if *name == PLUGIN {
                wishes.plugin = wishes.plugin.or(value.to_str().ok());
            } else if *name == INSTANCE {
                wishes.instance = wishes.instance.or(value.to_str().ok());
            } else if *name == timeout::HEADER {
                wishes.timeout = wishes.timeout.or_else(|| timeout::parse(value));
            }
        }
        wishes
    }

    /// What holds for the call, with what its method's policy says.
    fn terms(&self, method: &Method, headers: &HeaderMap, now: Moment) -> Result<Terms, RouteError> {
        let connection = &method.policy().connection;
        let by_default = connection.request_timeout.filter(|_| method.has_default_deadline());
        let wanted = self.timeout.or(by_default);
        let timeout = match connection.max_request_timeout {
            Some(max) => Some(wanted.map_or(max, |wanted| wanted.min(max))),
            None => wanted,
        };
        if timeout == Some(Duration::ZERO) {
            return Err(RouteError::late(method.route().plugin()));
        }
        let hash = method.hash_header().and_then(|name| headers.get(name));
        Ok(Terms {
            pinned: self.instance.map(Box::from),
            hash: hash.map(|value| HashRing::hash(value.as_bytes())),
            deadline: timeout.and_then(|timeout| method.route().clock().instant(now + timeout)),
            is_deadline_ours: timeout != self.timeout,
        })
    }
}

//! The service that sends any gRPC call where it belongs.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use plugmesh::metadata;
use tonic::Status;

use super::body::CallBody;
use super::errand::{Errand, Replay, Terms};
use super::record::Record;
use super::rescue::rescued;
use super::response_future::{Attempts, ResponseFuture};
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
            Ok((method, terms)) if method.rescue().is_some() && terms.pinned.is_none() => {
                let response =
                    rescued(self.clone(), method, terms, request.map(tonic::body::Body::new), record, now);
                Ok(ResponseFuture::rescued(response))
            }
            Ok((method, terms)) => {
                let (errand, request) = self.errand(method, terms, request);
                Ok(Self::begin(errand, request, record, now).into())
            }
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

    /// Calls `method` and nothing else, though it may have something that answers in its place.
    pub(super) fn call_only<B>(
        &self,
        method: Arc<Method>,
        request: Request<B>,
    ) -> Result<Attempts<B>, RouteError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let now = method.route().now();
        let record = Record::new(method.clone(), now);
        let wishes = Wishes { timeout: Wishes::of(request.headers()).timeout, ..Wishes::default() };
        match self.admit(method, &wishes, request.headers(), now) {
            Ok((method, terms)) => {
                let (errand, request) = self.errand(method, terms, request);
                Ok(Self::begin(errand, request, record, now))
            }
            Err(error) => {
                record.end(error.code(), now);
                Err(error)
            }
        }
    }

    pub(super) fn errand<B>(
        &self,
        method: Arc<Method>,
        terms: Terms,
        request: Request<B>,
    ) -> (Arc<Errand<B>>, Request<Replay<B>>) {
        Errand::new(method, terms, request, self.router.replay_memory().clone())
    }

    pub(super) fn router(&self) -> &Router {
        &self.router
    }

    pub(super) fn begin<B>(
        errand: Arc<Errand<B>>,
        request: Request<Replay<B>>,
        mut record: Record,
        now: Moment,
    ) -> Attempts<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        errand.method.route().budget().deposit(now);
        if let Some(limit) = errand.method.route().limit() {
            match limit.limiter().try_acquire() {
                Some(permit) => record.hold(permit),
                None => return Attempts::queued(errand, request, record),
            }
        }
        match errand.pick(&[], now) {
            Ok(picked) => Attempts::sent(errand, picked, request, record),
            Err(why) => Attempts::waiting(errand, why, request, record),
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

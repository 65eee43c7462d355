//! `EventSinkService`: the host attaches the plugin to its bus.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use plugmesh::event::Messages;
use plugmesh::event::stream::ATTACH;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::handler::Handler;
use super::incoming::Incoming;
use super::link::{self, Link};
use super::subscriber::{Inbox, Subscriber};
use super::work::work;
use super::{Events, MAX_FRAME};
use crate::Context;

/// What the plugin is attached by now, if it is.
#[derive(Debug, Default)]
pub(crate) struct Attachment(Mutex<Option<Attached>>);

#[derive(Debug)]
struct Attached {
    events: Events,
    _working: AbortOnDropHandle<()>,
}

impl Attachment {
    /// The stream, if it has not ended.
    pub(super) fn events(&self) -> Option<Events> {
        let attached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let events = attached.as_ref().map(|attached| attached.events.clone())?;
        (!events.link().has_ended()).then_some(events)
    }

    /// A new stream takes the place of one that there may be, which ends.
    fn replace(&self, new: Attached) {
        let old = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(new);
        if let Some(Attached { events, .. }) = old {
            events.link().end(tonic::Status::aborted("the host has opened another one"));
        }
    }
}

/// Serves `Attach`.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    handlers: Arc<[Handler]>,
    context: Context,
}

impl Sink {
    pub(crate) fn new(handlers: Vec<Handler>, context: Context) -> Self {
        Self { handlers: handlers.into(), context }
    }

    fn attach(&self, request: Request<Body>) -> Response<Body> {
        let link = Link::new();
        // The bus subscribes to what was declared, in its order. There is a place for each before anything can come.
        let inboxes: Vec<_> = self.handlers.iter().map(|_| Arc::new(Inbox::default())).collect();
        let numbers: Vec<_> = inboxes.iter().map(|inbox| link.add_inbox(inbox)).collect();
        let messages = Messages::new(request.into_body(), MAX_FRAME);
        let events = Events::attached(&link, tokio::spawn(Incoming::new(link.clone(), messages).run()));
        let places = self.handlers.iter().zip(inboxes).zip(numbers);
        let working = places.map(|((handler, inbox), number)| {
            // As many again wait here, so that a handler that is done need not wait for the host.
            let window = 2 * handler.concurrency as u64;
            let what = handler.declared();
            let subscriber = Subscriber::declared(&events, inbox, number, window, what);
            work(subscriber, handler.clone(), self.context.clone())
        });
        let working: Vec<_> = working.collect();
        let working = AbortOnDropHandle::new(tokio::spawn(async move { drop(join_all(working).await) }));
        self.context.0.attachment.replace(Attached { events, _working: working });
        let mut response = Response::new(Body::new(link::Response::new(link)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl NamedService for Sink {
    const NAME: &'static str = "plugmesh.event.v1.EventSinkService";
}

impl Service<Request<Body>> for Sink {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(match request.uri().path() {
            ATTACH => self.attach(request),
            _ => tonic::Status::unimplemented("this service has one method: Attach").into_http(),
        }))
    }
}

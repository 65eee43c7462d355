//! `Connect`: a stream of frames.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service as TowerService;

use super::super::participant::{Participant, Until};
use super::super::stream::{Outgoing, Reader};
use super::{Role, Service};

const PATH: &str = "/plugmesh.event.v1.EventBusService/Connect";

/// Answers `Connect`, and leaves the rest to `others`.
#[derive(Clone, Debug)]
pub(crate) struct Connected<S> {
    service: Service,
    others: S,
}

impl<S> Connected<S> {
    pub(super) fn new(service: Service, others: S) -> Self {
        Self { service, others }
    }

    fn connect(&self, request: Request<Body>) -> Response<Body> {
        let Role { name, permissions, defaults } = self.service.role(request.extensions());
        let participant =
            Participant::new(self.service.bus().clone(), name, permissions, defaults, Until::HostEnds);
        participant.welcome();
        let reader = Reader::new(participant.clone(), request.into_body());
        let reader = AbortOnDropHandle::new(tokio::spawn(reader.run()));
        let body = Outgoing::new(participant, reader);
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl<S: NamedService> NamedService for Connected<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> TowerService<Request<Body>> for Connected<S>
where
    S: TowerService<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match request.uri().path() {
            PATH => Either::Left(ready(Ok(self.connect(request)))),
            _ => Either::Right(self.others.call(request)),
        }
    }
}

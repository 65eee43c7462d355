//! What a call is sent through.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::send::send;
use super::{CallError, InProcess, Pool, ResponseBody, Stream};
use crate::BoxError;

/// What a call is sent through. The seam behind which another transport can be added.
#[derive(Clone, Debug)]
pub enum Lane {
    /// HTTP/2 connections.
    Http2(Pool),
    /// Services in this process.
    InProcess(Arc<InProcess>),
}

/// A way to send one request now.
#[derive(Debug)]
pub enum Slot {
    /// A place on a connection.
    Http2(Stream),
    /// Services in this process.
    InProcess(Arc<InProcess>),
}

impl Lane {
    /// The way to send one request now; `None` when there is no connection.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Http2(pool) => pool.stream().map(Slot::Http2),
            Self::InProcess(service) => Some(Slot::InProcess(service.clone())),
        }
    }
}

impl Lane {
    /// Connects again when no connection takes calls. Whether there is one now.
    pub async fn reconnect(&self) -> bool {
        match self {
            Self::Http2(pool) => pool.connect(None).await.is_ok(),
            Self::InProcess(_) => true,
        }
    }
}

impl Slot {
    /// Sends one request and waits for the head of the response. Dropping the future cancels the call, and
    /// the peer is told.
    ///
    /// # Errors
    /// There is no response; see [`CallError`].
    pub async fn send<B>(self, request: Request<B>) -> Result<Response<ResponseBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        match self {
            Self::Http2(stream) => send(stream, request).await,
            Self::InProcess(services) => match services.service(request.uri().path()) {
                Some(service) => Ok(service.send(request).await),
                None => Err(CallError::NotConnected),
            },
        }
    }
}

//! What the gateway is compared with, written here: the least that a hop can do, and the least that one on top
//! of hyper can do.

use std::path::PathBuf;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plugmesh_benches::BoxError;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) listen: PathBuf,
    pub(crate) upstream: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Copies bytes both ways.
    Relay,
    /// hyper on both sides, bodies passed through.
    Hyper,
}

/// Forwards until it is killed. Prints a line once it listens.
pub(crate) async fn run(spec: Spec) -> Result<(), BoxError> {
    let listener = UnixListener::bind(&spec.listen)?;
    let upstream = match spec.kind {
        Kind::Relay => None,
        Kind::Hyper => Some(dial(&spec).await?),
    };
    println!();
    loop {
        let (mut down, _) = listener.accept().await?;
        match &upstream {
            None => {
                let mut up = UnixStream::connect(&spec.upstream).await?;
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut down, &mut up).await });
            }
            Some(upstream) => {
                let upstream = upstream.clone();
                let service = hyper::service::service_fn(move |request| forward(upstream.clone(), request));
                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http2.serve_connection(TokioIo::new(down), service));
            }
        }
    }
}

async fn dial(spec: &Spec) -> Result<SendRequest<Incoming>, BoxError> {
    let stream = UnixStream::connect(&spec.upstream).await?;
    let http2 = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = http2.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn forward(
    mut upstream: SendRequest<Incoming>,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper::Error> {
    upstream.send_request(request).await
}

//! Who may connect, and how many.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::Connection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::authority::Mended;
use super::connection::drive;
use super::http1;
use super::listen::{Socket, TlsConfig};
use super::preface::{Rewound, Spoken, spoken};
use super::principal::{Caller, Principal};
use super::serve::{Shared, Upstream};
use super::tls::{self, TlsError};
use crate::transport::Fair;

/// First and longest pause after a failed accept. When descriptors run out the listener stays readable, so
/// without a pause the loop would spin.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// To tell a client that it is one too many: more is not spent on it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// An empty SETTINGS frame, then GOAWAY with last stream 0 and ENHANCE_YOUR_CALM.
const TOO_MANY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
\0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo many connections";

/// What every accept loop of a gateway shares.
pub(super) struct Entrance<U> {
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: U,
    /// One permit for each connection that may be open.
    pub(super) room: Arc<Semaphore>,
    /// No new connections; let calls finish.
    pub(super) stop: CancellationToken,
    /// Do not let calls finish.
    pub(super) abort: CancellationToken,
}

enum Arrived {
    Unix(UnixStream, Caller),
    Tls(TcpStream, TlsConfig),
    Plain(TcpStream),
    /// For the pages and nothing else.
    Pages(TcpStream),
}

/// A connection that ended before its first call.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the HTTP/2 handshake failed: {0}")]
    Http2(#[from] h2::Error),
    #[error("a request of HTTP/1 failed: {0}")]
    Http1(#[from] hyper::Error),
}

/// Accepts and owns connections until told to stop, then waits for them. Returns how many were cut off.
pub(super) async fn accept<U: Upstream>(socket: Socket, entrance: Entrance<U>) -> usize {
    let mut connections = JoinSet::new();
    let mut pause = PAUSE.0;
    loop {
        let arrived = tokio::select! {
            biased;
            () = entrance.stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                log_failure(ended);
                continue;
            }
            arrived = next(&socket, &entrance.shared) => arrived,
        };
        match arrived {
            Ok(arrived) => {
                pause = PAUSE.0;
                if let Some(arrived) = arrived {
                    enter(&mut connections, arrived, &entrance);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::select! {
                    () = entrance.stop.cancelled() => break,
                    () = sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                }
            }
        }
    }
    drop(socket);
    tokio::select! {
        () = async { while let Some(ended) = connections.join_next().await { log_failure(ended) } } => 0,
        () = entrance.abort.cancelled() => {
            let cut_off = connections.len();
            connections.shutdown().await;
            cut_off
        }
    }
}

fn log_failure(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection failed");
    }
}

/// The next connection; `None` for one that may not or could not enter.
async fn next(socket: &Socket, shared: &Shared) -> io::Result<Option<Arrived>> {
    let accepted = match socket {
        Socket::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| {
            check_peer(&stream, shared).map(|principal| Arrived::Unix(stream, principal.into()))
        }),
        Socket::Tls(listener, config) => {
            listener.accept().await.map(|(stream, _)| Some(Arrived::Tls(stream, config.clone())))
        }
        Socket::Insecure(listener) => listener.accept().await.map(|(stream, _)| Some(Arrived::Plain(stream))),
        Socket::Pages(listener) => listener.accept().await.map(|(stream, _)| Some(Arrived::Pages(stream))),
    };
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    match accepted {
        // The client's doing, not ours: the next one may be fine.
        Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => Ok(None),
        other => other,
    }
}

/// Only the user who owns the host, and root.
fn check_peer(stream: &UnixStream, shared: &Shared) -> Option<Principal> {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "refusing a connection whose peer is unknown");
            return None;
        }
    };
    let owner = rustix::process::geteuid().as_raw();
    if peer.uid() != owner && peer.uid() != 0 {
        tracing::warn!(uid = peer.uid(), pid = peer.pid(), "refusing a connection of another user");
        return None;
    }
    Some(Principal::of_unix_peer(peer.uid(), peer.pid(), &*shared.callers))
}

fn enter<U: Upstream>(connections: &mut JoinSet<()>, arrived: Arrived, entrance: &Entrance<U>) {
    let shared = entrance.shared.clone();
    match entrance.room.clone().try_acquire_owned() {
        Ok(permit) => {
            let (upstream, stop) = (entrance.upstream.clone(), entrance.stop.clone());
            connections.spawn(serve(arrived, shared, upstream, stop, permit));
        }
        Err(_) => {
            tracing::warn!(limit = shared.limits.max_connections, "refusing a connection: too many are open");
            // Nobody waits for the answer longer than this, and the kernel takes it at once.
            connections.spawn(async move {
                let _ = timeout(REFUSAL_TIME, refuse(arrived)).await;
            });
        }
    }
}

/// Says why, except over TLS, where a handshake would cost more than the connection that is refused.
async fn refuse(arrived: Arrived) {
    let _ = match arrived {
        Arrived::Unix(mut stream, _) => stream.write_all(TOO_MANY).await,
        Arrived::Plain(mut stream) => stream.write_all(TOO_MANY).await,
        Arrived::Tls(..) | Arrived::Pages(_) => Ok(()),
    };
}

/// One connection from its first byte to its last.
async fn serve<U: Upstream>(
    arrived: Arrived,
    shared: Arc<Shared>,
    upstream: U,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let _connected = shared.calls.connected();
    match arrived {
        Arrived::Pages(stream) => {
            let limit = shared.limits.handshake_timeout;
            tokio::select! {
                () = stop.cancelled() => {}
                ended = timeout(limit, serve_pages(stream, &shared)) => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a request for metrics failed"),
                    Err(_) => tracing::debug!(?limit, "a request for metrics took too long"),
                },
            }
        }
        Arrived::Unix(stream, caller) => {
            run(async { Ok((stream, caller)) }, shared, upstream, stop).await;
        }
        Arrived::Plain(stream) => {
            let setup = async {
                stream.set_nodelay(true)?;
                Ok((stream, Principal::Anonymous.into()))
            };
            run(setup, shared, upstream, stop).await;
        }
        Arrived::Tls(stream, config) => {
            let setup = async {
                stream.set_nodelay(true)?;
                let (stream, principal) = tls::accept(stream, &config).await?;
                Ok((stream, principal.into()))
            };
            run(setup, shared, upstream, stop).await;
        }
    }
}

async fn serve_pages(stream: TcpStream, shared: &Shared) -> Result<(), SetupError> {
    stream.set_nodelay(true)?;
    match spoken(Fair::new(stream)).await? {
        Spoken::Http1(io) => Ok(http1::serve(io, &shared.shelf, &shared.limits).await?),
        Spoken::Http2(_) | Spoken::Other => Ok(()),
    }
}

async fn run<IO, U: Upstream>(
    setup: impl Future<Output = Result<(IO, Caller), SetupError>>,
    shared: Arc<Shared>,
    upstream: U,
    stop: CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let ready = tokio::select! {
        () = stop.cancelled() => return,
        ready = timeout(shared.limits.handshake_timeout, handshake(setup, &shared)) => ready,
    };
    let (connection, caller) = match ready {
        Ok(Ok(Some(ready))) => ready,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection did not get through its handshake");
            return;
        }
        Err(_) => {
            let limit = shared.limits.handshake_timeout;
            tracing::debug!(?limit, "closing a connection that did not finish its handshake in time");
            return;
        }
    };
    if let Err(error) = drive(connection, shared, caller, upstream, stop).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

async fn handshake<IO>(
    setup: impl Future<Output = Result<(IO, Caller), SetupError>>,
    shared: &Shared,
) -> Result<Option<(Connection<Mended<Rewound<Fair<IO>>>, Bytes>, Caller)>, SetupError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (io, caller) = setup.await?;
    let io = match spoken(Fair::new(io)).await? {
        Spoken::Http2(io) => io,
        Spoken::Http1(io) => {
            http1::serve(io, &shared.shelf, &shared.limits).await?;
            return Ok(None);
        }
        Spoken::Other => return Ok(None),
    };
    // The principals of Unix connections, where an authority means nothing.
    let local = matches!(caller.principal, Principal::Operator { .. } | Principal::Plugin { .. });
    let io = Mended::new(io, local);
    Ok(Some((shared.limits.h2(local).handshake(io).await?, caller)))
}

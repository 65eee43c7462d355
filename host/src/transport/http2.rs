//! HTTP/2 over a byte stream, as the client side.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::uri::{Authority, Scheme};
use plugmesh::event::frame::HTTP2_FRAME;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::Fair;
use super::batch::Batched;

/// Window of one stream, in bytes: what an endpoint may send ahead of a reader that stands still.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Window of one connection, in bytes. It holds full windows of 200 streams, which is tonic's and hyper's bound
/// on streams: one reader that stands still must never take the window from its neighbours.
const CONNECTION_WINDOW: u32 = 200 * STREAM_WINDOW;

/// What small DATA frames that nobody has read yet may cost, as `h2` counts: 256 less its size for each. Beyond
/// it `h2` ends the connection, with every call on it. By itself it takes half the connection window, which a
/// dozen stalled readers of small messages use up; with this it takes over a hundred, which is as many streams as
/// a connection gets before another one is opened. Each such frame holds about 100 bytes beside its own, so
/// that the bound on memory is 100 MiB.
const SMALL_FRAMES: usize = 256 * 1024 * 1024;

/// Largest header list that is accepted from an endpoint, in bytes: gRPC's usual 8 KiB of metadata, doubled.
const HEADER_LIST: u32 = 16 * 1024;

/// Largest frame that is accepted from another machine, in bytes: HTTP/2's own.
const USUAL_FRAME: u32 = 16 * 1024;

/// Bytes of one stream that wait for the socket before the sender has to: two frames of the default size.
const SEND_BUFFER: usize = 32 * 1024;

/// Settings of a connection. The default is right unless a measurement says otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bound on the time between the connection and the peer's first SETTINGS frame.
    pub handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { handshake_timeout: Duration::from_secs(10) }
    }
}

/// One HTTP/2 connection. When the last handle is gone it closes, after the streams on it have ended.
pub struct Connection {
    sender: SendRequest<Bytes>,
    streams: AtomicUsize,
    /// Those among them whose response has not begun.
    waiting: Arc<AtomicUsize>,
    /// Responses that have begun.
    answers: AtomicU64,
    leaving: AtomicBool,
    closed: watch::Receiver<Option<Closed>>,
    scheme: Scheme,
    authority: Authority,
    driver: tokio::task::AbortHandle,
}

/// Why a connection is closed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Closed(Arc<str>);

impl Closed {
    /// Closed for the reason that `text` gives.
    pub(crate) fn because(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<&h2::Error> for Closed {
    fn from(error: &h2::Error) -> Self {
        let text = error.to_string();
        // What h2 says of limits of this side tells neither whose they are nor what they are.
        let limit = match () {
            () if text.contains("header_list_way_too_large") => "far more than the host's 16 KiB of headers",
            () if text.contains("too_many_continuations") => "headers without end",
            () => return Self(text.into()),
        };
        Self(format!("it sent {limit}").into())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("streams", &self.streams())
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl Connection {
    /// Opens HTTP/2 on `io`, driven by a task that `tasks` owns on the current runtime. `on_close` is called
    /// once, when the connection has ended for whatever reason.
    ///
    /// HTTP/2 lets a client send before the server has said anything, so this does not wait for the peer:
    /// one that speaks something else shows itself by closing.
    ///
    /// # Errors
    /// The bytes do not flow.
    pub async fn open<T, F>(
        io: T,
        scheme: Scheme,
        tasks: &TaskTracker,
        settings: &Settings,
        on_close: F,
    ) -> Result<Arc<Self>, Closed>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce() + Send + 'static,
    {
        // What is not encrypted stays on this machine.
        let frame = if scheme == Scheme::HTTP { HTTP2_FRAME } else { USUAL_FRAME };
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(frame)
            .max_header_list_size(HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES)
            .enable_push(false)
            .handshake(Fair::paced(io));
        let (sender, connection) = tokio::time::timeout(settings.handshake_timeout, handshake)
            .await
            .map_err(|_| Closed::because("the peer does not take bytes"))?
            .map_err(|error| Closed::from(&error))?;
        let (announce, closed) = watch::channel(None);
        let mut ending = Ending { announce, on_close: Some(on_close), reason: None };
        let waiting = Arc::new(AtomicUsize::new(0));
        let batched = Batched::new(connection, waiting.clone());
        let driver = tasks.spawn(async move {
            ending.because(match batched.await {
                Ok(()) => Closed::because("the peer closed it"),
                Err(error) => Closed::from(&error),
            });
        });
        Ok(Arc::new(Self {
            sender,
            streams: AtomicUsize::new(0),
            waiting,
            answers: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            closed,
            scheme,
            authority: Authority::from_static("localhost"),
            driver: driver.abort_handle(),
        }))
    }

    /// Calls on this connection that have not ended.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Calls among them whose response has not begun.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Responses that have begun on it, ever.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Why it is over, if it is.
    pub(super) fn why_closed(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    /// Whether it may take more calls, as far as is known: a peer that wants to leave is found out by
    /// [`Self::stream`].
    pub(super) fn is_usable(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed) && !self.is_closed()
    }

    /// Waits until it is closed, and says why.
    pub async fn closed(&self) -> Closed {
        let mut closed = self.closed.clone();
        let reason = closed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| Closed::because("its runtime has stopped"))
    }

    /// Cuts it at once: streams on it end with [`super::StreamError::Lost`].
    pub fn abort(&self) {
        self.driver.abort();
    }

    /// A place for one call; `None` when the peer has asked for no more (GOAWAY) or the connection is over.
    pub(super) fn stream(self: &Arc<Self>) -> Option<Stream> {
        let mut sender = self.sender.clone();
        // A fresh handle never waits for a place; what it tells is whether the connection takes calls.
        if let Poll::Ready(Err(_)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            self.leaving.store(true, Ordering::Relaxed);
            return None;
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Stream { connection: self.clone(), sender, waits: true })
    }

    fn origin(&self) -> (Scheme, Authority) {
        (self.scheme.clone(), self.authority.clone())
    }
}

/// Announces the end of a connection even when its task is aborted.
struct Ending<F: FnOnce()> {
    announce: watch::Sender<Option<Closed>>,
    on_close: Option<F>,
    reason: Option<Closed>,
}

impl<F: FnOnce()> Ending<F> {
    fn because(&mut self, reason: Closed) {
        self.reason = Some(reason);
    }
}

impl<F: FnOnce()> Drop for Ending<F> {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or_else(|| Closed::because("it was cut"));
        self.announce.send_replace(Some(reason));
        if let Some(on_close) = self.on_close.take() {
            on_close();
        }
    }
}

/// A place for one call on a connection: keeps it open and counted.
pub struct Stream {
    connection: Arc<Connection>,
    pub(super) sender: SendRequest<Bytes>,
    waits: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl Stream {
    pub(super) fn origin(&self) -> (Scheme, Authority) {
        self.connection.origin()
    }

    /// The response has begun.
    pub(super) fn answered(&mut self) {
        self.connection.answers.fetch_add(1, Ordering::Relaxed);
        self.waits_no_more();
    }

    fn waits_no_more(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.connection.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.waits_no_more();
        self.connection.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::Empty;

    use super::*;
    use crate::transport::Slot;

    #[tokio::test]
    async fn a_stream_that_was_answered_is_not_waited_for() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(async move {
            let mut server = h2::server::handshake(far).await.unwrap();
            let (_, mut reply) = server.accept().await.unwrap().unwrap();
            let _open = reply.send_response(Response::new(()), false).unwrap();
            server.accept().await.is_none()
        });
        let tasks = TaskTracker::new();
        let connection =
            Connection::open(near, Scheme::HTTP, &tasks, &Settings::default(), || ()).await.unwrap();
        let counts = || (connection.streams(), connection.waiting.load(Ordering::Relaxed));
        let slot = Slot::Http2(connection.stream().unwrap());
        assert_eq!(counts(), (1, 1));
        let response = slot.send(Request::new(Empty::new())).await.unwrap();
        assert_eq!(counts(), (1, 0));
        drop(response);
        assert_eq!(counts(), (0, 0));
        drop(connection.stream());
        assert_eq!(counts(), (0, 0));
        assert_eq!(connection.answers(), 1, "one that was given up is no answer");
        drop(connection);
        assert!(server.await.unwrap());
    }
}

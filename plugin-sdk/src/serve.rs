//! The life of a plugin process: accept, serve, drain, end.

use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use plugmesh::event::frame::HTTP2_FRAME;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::{Phases, within};
use crate::lifecycle::Step;
use crate::lifeline::Lifeline;
use crate::listen::{Accepted, Listener};
use crate::service::Services;
use crate::settings::Settings;
use crate::{Context, Error};

/// Connections at a time. A host opens a few, people with grpcurl some more; beyond that they wait to be
/// accepted.
const MAX_CONNECTIONS: usize = 1024;

/// Calls at a time on one connection; more than a host keeps in flight, few enough to bound memory.
const MAX_STREAMS: u32 = 1024;

/// All headers of a request together.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// A TLS handshake on one machine takes milliseconds; a peer that needs longer is stuck or hostile.
const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Pause after a failed accept, which is mostly a lack of descriptors: long enough to not spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long calls may go on when the host is gone: nobody waits for most of them any more.
const ORPHAN_DRAIN_TIME: Duration = Duration::from_secs(5);

/// How long clean-up may take when the process ends without the host's phases.
const CLEANUP_TIME: Duration = Duration::from_secs(5);

/// How long open connections may take to close once no call is in flight; then they are cut.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// A plugin that is about to run.
pub(crate) struct Server {
    pub(crate) signals: Signals,
    pub(crate) settings: Settings,
    pub(crate) listener: Listener,
    pub(crate) services: Services,
    pub(crate) context: Context,
    pub(crate) phases: Arc<Phases>,
    pub(crate) drain_time: Duration,
    pub(crate) idle_time: Option<Duration>,
}

/// Why a plugin ends.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Signal,
    HostGone,
    Idle,
    Asked,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::HostGone => "host gone",
            Self::Idle => "idle",
            Self::Asked => "asked",
        }
    }
}

/// The two signals that ask a process to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Every connection and what it takes to end them.
struct Connections {
    services: Services,
    http2: http2::Builder<Spawn>,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
    /// Streams in progress end, no others begin.
    close: CancellationToken,
    /// Everything ends.
    cut: CancellationToken,
}

/// Runs the streams of a connection as tracked tasks.
#[derive(Clone)]
struct Spawn(TaskTracker);

impl Server {
    /// Serves until something ends it, and then ends in order.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Self { mut signals, settings, listener, services, context, phases, drain_time, idle_time } = self;
        let lifeline = settings.lifeline.and_then(lifeline);
        let connections = Connections::new(services);

        let started = async {
            if settings.launched { Ok(()) } else { start_alone(&settings, &context, &phases).await }
        };
        let reason = async {
            started.await?;
            let idle = async {
                match idle_time {
                    Some(time) => context.0.in_flight.idle_for(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = idle => Ok(Reason::Idle),
                () = context.0.stop.cancelled() => Ok(Reason::Asked),
            }
        };
        let reason = tokio::select! {
            // Without a host health turns to NOT_SERVING before anybody can ask.
            biased;
            reason = reason => reason,
            () = signals.next() => Ok(Reason::Signal),
            () = cut(lifeline.as_ref()) => Ok(Reason::HostGone),
            never = connections.accept(&listener) => match never {},
        };
        drop(listener);
        let (ended, drain_time) = match reason {
            Ok(Reason::HostGone) => (Ok(Reason::HostGone), drain_time.min(ORPHAN_DRAIN_TIME)),
            Ok(reason) => (Ok(reason), drain_time),
            Err(error) => (Err(error), Duration::ZERO),
        };
        if let Ok(reason) = ended {
            tracing::info!(reason = reason.as_str(), in_flight = context.in_flight(), "ending");
        }
        context.0.stop.cancel();
        context.0.health.end();
        connections.close.cancel();
        let in_order = async {
            within(Some(drain_time), context.0.in_flight.none_left()).await;
            match context.in_flight() {
                0 => {}
                left => tracing::warn!(in_flight = left, "calls are cut: the drain time is over"),
            }
            within(Some(CLEANUP_TIME), phases.clean_up()).await;
            within(Some(CLOSE_TIME), connections.finished()).await;
        };
        tokio::select! {
            () = in_order => {}
            () = signals.next() => tracing::warn!("ending at once: signalled again"),
        }
        connections.cut.cancel();
        within(Some(CLOSE_TIME), connections.finished()).await;
        ended.map(drop)
    }
}

impl Signals {
    /// From now on the signals are received here, and do not end the process by themselves.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Connections {
    fn new(services: Services) -> Self {
        let tasks = TaskTracker::new();
        let mut http2 = http2::Builder::new(Spawn(tasks.clone()));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            // The host passes on what its own clients cancel, and one connection carries the calls of them all.
            .max_pending_accept_reset_streams(MAX_STREAMS as usize)
            .max_header_list_size(MAX_HEADER_LIST)
            // gRPC has no use for it, and it costs a header on every answer.
            .auto_date_header(false);
        Self {
            services,
            http2,
            tasks,
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            close: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    async fn accept(&self, listener: &Listener) -> std::convert::Infallible {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // The semaphore is never closed.
                return std::future::pending().await;
            };
            let accepted = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match accepted {
                Accepted::Unix(stream) => {
                    let mut http2 = self.http2.clone();
                    http2.max_frame_size(HTTP2_FRAME);
                    self.spawn(permit, http2, std::future::ready(Some(stream)));
                }
                Accepted::Tcp(stream) => {
                    self.spawn(permit, self.http2.clone(), std::future::ready(Some(stream)));
                }
                Accepted::Tls(stream, acceptor) => self.spawn(permit, self.http2.clone(), async move {
                    match tokio::time::timeout(TLS_HANDSHAKE_TIME, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => Some(stream),
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "a client failed the TLS handshake");
                            None
                        }
                        Err(_) => {
                            tracing::warn!("a client took too long over the TLS handshake");
                            None
                        }
                    }
                }),
            }
        }
    }

    /// Serves the stream that `opening` comes to, until it ends or all connections do.
    fn spawn<IO>(
        &self,
        permit: impl Send + 'static,
        http2: http2::Builder<Spawn>,
        opening: impl Future<Output = Option<IO>> + Send + 'static,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let services = self.services.clone();
        let (close, cut) = (self.close.clone(), self.cut.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let serve = async {
                let Some(stream) = opening.await else {
                    return;
                };
                let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(stream), services));
                let served = tokio::select! {
                    served = connection.as_mut() => served,
                    () = close.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection broke");
                }
            };
            tokio::select! {
                () = serve => {}
                () = cut.cancelled() => {}
            }
        });
    }

    async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for Spawn
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.0.spawn(work);
    }
}

fn lifeline(number: i32) -> Option<Lifeline> {
    match Lifeline::inherited(number) {
        Ok(lifeline) => Some(lifeline),
        Err(error) => {
            tracing::warn!(fd = number, %error, "PLUGMESH_LIFELINE_FD is of no use: not watching the host");
            None
        }
    }
}

async fn cut(lifeline: Option<&Lifeline>) {
    match lifeline {
        Some(lifeline) => lifeline.cut().await,
        None => std::future::pending().await,
    }
}

/// Runs the start phases of a plugin that no host started.
async fn start_alone(settings: &Settings, context: &Context, phases: &Phases) -> Result<(), Error> {
    if !phases.any() {
        return Ok(());
    }
    context.0.health.drain();
    let config_json = match &settings.config_file {
        Some(path) => tokio::fs::read(path).await.map_err(|source| Error::File {
            action: "read the configuration in",
            path: path.clone(),
            source,
        })?,
        None => b"null".to_vec(),
    };
    for step in [Step::PreInit, Step::Init { config_json: &config_json }, Step::PostInit] {
        phases
            .run(step)
            .await
            .map_err(|status| Error::Start { phase: step.name(), source: status.message().into() })?;
    }
    context.0.health.resume();
    Ok(())
}

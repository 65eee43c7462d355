//! The connections to one endpoint.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use http::uri::Scheme;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio_util::task::TaskTracker;

use super::{Address, Closed, Connection, DialError, Dialer, Opened, Settings, Spoken, Stream};

/// Calls on every connection of an endpoint at which one more connection is opened. tonic's and hyper's servers
/// admit 200 streams on a connection; at half of that one connection is no longer idle enough to wait for.
const CROWDED: usize = 100;

/// Turns of a runtime after which it has surely looked at its sockets, and let the tasks that own them run: it looks
/// every 61 turns when it is busy.
const TURNS: usize = 192;

/// The connections to one endpoint: one at first, more when calls crowd. Clones share them.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    dialer: Dialer,
    settings: Settings,
    // Taken by index, never reordered: an empty slot is one that may be dialled.
    slots: Box<[ArcSwapOption<Connection>]>,
    growing: AtomicBool,
    connecting: Mutex<()>,
    live: watch::Sender<usize>,
    runtime: Handle,
    tasks: TaskTracker,
}

/// Why a pool has no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no byte stream.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is one, but HTTP/2 does not come up on it.
    #[error("{address} does not speak HTTP/2 ({reason})")]
    Http2 {
        /// Where to.
        address: Address,
        /// What was wrong.
        reason: Closed,
    },
    /// The runtime that connections live on has stopped.
    #[error("the runtime of the connections has stopped")]
    Stopped,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("address", self.address()).field("live", &self.live()).finish()
    }
}

impl Pool {
    /// An empty pool of at most `max` connections (at least one), driven by tasks of `tasks` on `runtime`.
    pub fn new(dialer: Dialer, max: usize, settings: Settings, runtime: Handle, tasks: TaskTracker) -> Self {
        let slots = (0..max.max(1)).map(|_| ArcSwapOption::empty()).collect();
        let (live, _) = watch::channel(0);
        Self(Arc::new(Shared {
            dialer,
            settings,
            slots,
            growing: AtomicBool::new(false),
            connecting: Mutex::new(()),
            live,
            runtime,
            tasks,
        }))
    }

    /// Where the endpoint listens.
    pub fn address(&self) -> &Address {
        self.0.dialer.address()
    }

    /// Connections that are open.
    pub fn live(&self) -> usize {
        *self.0.live.borrow()
    }

    /// Waits until no connection is open.
    pub async fn lost(&self) {
        let mut live = self.0.live.subscribe();
        // The sender lives as long as this pool does.
        let _ = live.wait_for(|live| *live == 0).await;
    }

    /// Opens a connection, unless one takes calls, on `opened` when somebody has connected already. Those who
    /// ask at the same time share one attempt.
    ///
    /// # Errors
    /// Nobody listens there, or it is not HTTP/2. A peer that answers garbage is found out by the first call.
    pub async fn connect(&self, opened: Option<Opened>) -> Result<(), ConnectError> {
        let _connecting = self.0.connecting.lock().await;
        if self.stream().is_some() {
            return Ok(());
        }
        let index = self.0.slots.iter().position(|slot| !is_usable(slot)).unwrap_or(0);
        let shared = self.0.clone();
        // On the runtime where the connection will live: its descriptor belongs to that runtime's poller.
        let connecting = async move { shared.open(index, opened).await };
        let connected = self.0.tasks.spawn_on(connecting, &self.0.runtime);
        connected.await.map_err(|_| ConnectError::Stopped)?
    }

    /// A place for one call on the connection with the fewest; `None` when no connection takes calls.
    pub fn stream(&self) -> Option<Stream> {
        loop {
            // Ends: one that gives no stream is not usable any more.
            if let Some(stream) = self.pick()?.stream() {
                return Some(stream);
            }
        }
    }

    fn pick(&self) -> Option<Arc<Connection>> {
        let mut best: Option<(usize, Arc<Connection>)> = None;
        let mut free = None;
        for (index, slot) in self.0.slots.iter().enumerate() {
            let Some(connection) = slot.load_full().filter(|connection| connection.is_usable()) else {
                free = free.or(Some(index));
                continue;
            };
            let streams = connection.streams();
            if best.as_ref().is_none_or(|(fewest, _)| streams < *fewest) {
                best = Some((streams, connection));
            }
        }
        let (streams, connection) = best?;
        if let Some(index) = free.filter(|_| streams >= CROWDED) {
            self.grow(index);
        }
        Some(connection)
    }

    /// Responses that have begun and calls that wait for theirs, on the connections that there are.
    pub fn answers_and_waiting(&self) -> (u64, usize) {
        self.0.slots.iter().fold((0, 0), |(answers, waiting), slot| match &*slot.load() {
            Some(connection) => (answers + connection.answers(), waiting + connection.waiting()),
            None => (answers, waiting),
        })
    }

    /// Waits until the runtime of the connections has gone round: what had arrived by now has been read then. This may
    /// take long when that runtime is busy or blocked, which says nothing of the endpoint.
    pub async fn caught_up(&self) {
        let turns = async {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        };
        // An error means that the runtime has stopped, and nothing will be read any more.
        let _ = self.0.tasks.spawn_on(turns, &self.0.runtime).await;
    }

    /// Why the last connection ended; `None` while one is open, and before the first.
    pub fn why_lost(&self) -> Option<Closed> {
        self.0.slots.iter().find_map(|slot| slot.load().as_ref()?.why_closed())
    }

    /// What the endpoint speaks, by a connection of its own: for an error that says what is wrong with it.
    pub async fn spoken(&self) -> Option<Spoken> {
        self.0.dialer.spoken().await
    }

    /// Drops every connection. Calls on them go on to their end.
    pub fn close(&self) {
        for slot in &self.0.slots {
            slot.store(None);
        }
    }

    /// Cuts every connection, with the calls on them.
    pub fn abort(&self) {
        for slot in &self.0.slots {
            if let Some(connection) = slot.swap(None) {
                connection.abort();
            }
        }
    }

    fn grow(&self, index: usize) {
        if self.0.growing.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.0.clone();
        self.0.tasks.spawn_on(
            async move {
                // The connections there are go on working, and the next crowded call tries again.
                if let Err(error) = shared.open(index, None).await {
                    tracing::debug!(address = %shared.dialer.address(), %error, "no further connection");
                }
                shared.growing.store(false, Ordering::Release);
            },
            &self.0.runtime,
        );
    }
}

fn is_usable(slot: &ArcSwapOption<Connection>) -> bool {
    slot.load().as_ref().is_some_and(|connection| connection.is_usable())
}

impl Shared {
    async fn open(&self, index: usize, opened: Option<Opened>) -> Result<(), ConnectError> {
        let io = self.dialer.dial(opened).await?;
        let scheme = match self.dialer.address() {
            Address::Tls(_) => Scheme::HTTPS,
            Address::Unix(_) | Address::Tcp(_) => Scheme::HTTP,
        };
        let live = self.live.clone();
        let on_close = move || live.send_modify(|live| *live -= 1);
        self.live.send_modify(|live| *live += 1);
        let connection = Connection::open(io, scheme, &self.tasks, &self.settings, on_close).await;
        let connection = connection.map_err(|reason| {
            self.live.send_modify(|live| *live -= 1);
            ConnectError::Http2 { address: self.dialer.address().clone(), reason }
        })?;
        if let Some(slot) = self.slots.get(index) {
            slot.store(Some(connection));
        }
        Ok(())
    }
}

//! Plugins on the bus: the host opens a stream to each instance that takes part.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use plugmesh::event::stream::{self, ATTACH};
use plugmesh::event::v1::{Declaration, Subscribe};
use plugmesh::event::{BadPattern, Pattern};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service;

use super::open::Events;
use super::participant::{Participant, Permissions, Until};
use super::stream::{Outgoing, Reader};
use super::subscription::{Defaults, Spec};
use crate::resilience::backoff::Backoff;

/// A stream that lasted so long was a good one: the next is opened at once.
const GOOD: Duration = Duration::from_secs(10);

/// Who is attached.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// For people.
    pub(crate) name: Arc<str>,
    /// Those with the same group share what they subscribe to, unless they say otherwise.
    pub(crate) group: String,
    pub(crate) permissions: Permissions,
    /// What it said that it takes part in.
    pub(crate) declaration: Declaration,
}

/// Why somebody cannot take part as it would like to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadPart {
    /// A subscription.
    #[error("its subscription {number} to events is refused: {why}")]
    Subscription {
        /// Counted from 1.
        number: usize,
        /// Why.
        why: String,
    },
    /// What it publishes is no pattern.
    #[error("the topics that it publishes: {0}")]
    Pattern(#[from] BadPattern),
    /// It may not publish what it says.
    #[error("it says that it publishes {0:?}, which is not within what it may (events.publish)")]
    Publication(String),
}

/// An instance on the bus, from stream to stream. Dropping it cuts it off.
#[derive(Debug)]
pub(crate) struct Attached {
    current: Arc<Mutex<Current>>,
    task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Current {
    participant: Option<Arc<Participant>>,
    is_draining: bool,
}

impl Part {
    /// What it may, by what it said of itself and what it was allowed.
    ///
    /// # Errors
    /// It wants something that makes no sense, or that it may not.
    pub(crate) fn check(mut self, events: &Events) -> Result<Self, BadPart> {
        let publications = self.declaration.publications.iter().map(|text| text.parse());
        let publications: Vec<Pattern> = publications.collect::<Result<_, _>>()?;
        let allowed = self.permissions.publish.as_deref();
        let is_allowed =
            |wanted: &&Pattern| allowed.is_none_or(|all| all.iter().any(|one| one.covers(wanted)));
        if let Some(other) = publications.iter().find(|wanted| !is_allowed(wanted)) {
            return Err(BadPart::Publication(other.to_string()));
        }
        if !publications.is_empty() {
            self.permissions.publish = Some(publications.into());
        }
        let defaults = self.defaults(events);
        for (index, what) in self.declaration.subscriptions.iter().enumerate() {
            let bad = |why: String| BadPart::Subscription { number: index + 1, why };
            let spec = Spec::read(what, &defaults).map_err(|error| bad(error.to_string()))?;
            self.permissions.check(&spec).map_err(bad)?;
        }
        Ok(self)
    }

    fn defaults(&self, events: &Events) -> Defaults {
        Defaults { group: Some(self.group.clone()), ..events.defaults().clone() }
    }
}

impl Events {
    /// Attaches an instance that `channel` reaches, and again when its stream breaks, until that is dropped. What it declares is
    /// subscribed to.
    pub(crate) fn attach<S, B>(&self, channel: S, part: Part) -> Attached
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Status> + Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static,
    {
        let current = Arc::<Mutex<Current>>::default();
        let attaching = Attaching { events: self.clone(), channel, part, current: current.clone() };
        let task = AbortOnDropHandle::new(self.runtime().spawn(attaching.run()));
        Attached { current, task }
    }
}

impl Attached {
    /// Delivers nothing any more, and waits until all that was delivered is answered for, or the grace is over.
    pub(crate) async fn detach(self, grace: Duration) {
        let deadline = Instant::now() + grace;
        let participant = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.is_draining = true;
            current.participant.clone()
        };
        if let Some(participant) = participant {
            participant.drain(grace).await;
            drop(participant);
            // The plugin has what was sent last, and ends its side.
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = timeout(left, self.task).await;
        }
    }
}

struct Attaching<S> {
    events: Events,
    channel: S,
    part: Part,
    current: Arc<Mutex<Current>>,
}

impl<S, B> Attaching<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status>,
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    async fn run(mut self) {
        let backoff = Backoff::default();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let Some(participant) = self.participant() else { return };
            let ended = self.stream(participant).await;
            let is_draining = {
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                current.participant = None;
                current.is_draining
            };
            if is_draining {
                return;
            }
            let name = &self.part.name;
            if let Err(status) = &ended
                && status.code() == Code::Unimplemented
            {
                tracing::warn!(%name, "it says that it takes part in events, and does not serve EventSinkService: it gets none");
                return;
            }
            failures = if began.elapsed() > GOOD { 1 } else { failures + 1 };
            let pause = backoff.delay(failures);
            let why =
                ended.err().map_or_else(|| "it ended it".to_owned(), |status| status.message().to_owned());
            tracing::warn!(%name, why, ?pause, "the stream of events broke off; it is opened again");
            sleep(pause).await;
        }
    }

    /// The next participant, with all that it subscribed to. `None`: it is to go.
    fn participant(&self) -> Option<Arc<Participant>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_draining {
            return None;
        }
        let Part { name, permissions, declaration, .. } = &self.part;
        let defaults = self.part.defaults(&self.events);
        let bus = self.events.bus().clone();
        let participant = Participant::new(bus, name.clone(), permissions.clone(), defaults, Until::Detached);
        participant.welcome();
        for (number, what) in (1..).zip(&declaration.subscriptions) {
            let subscribe = Subscribe { subscription: number, what: Some(what.clone()), credit: None };
            participant.subscribe(subscribe);
        }
        current.participant = Some(participant.clone());
        Some(participant)
    }

    /// One stream, until it ends.
    async fn stream(&mut self, participant: Arc<Participant>) -> Result<(), Status> {
        let request = stream::request(ATTACH, Body::new(Outgoing::request(participant.clone())));
        std::future::poll_fn(|cx| self.channel.poll_ready(cx)).await?;
        let response = self.channel.call(request).await?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        Reader::new(participant, response.into_body()).run().await
    }
}

//! From a publisher to the subscriptions.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use plugmesh::cloudevents::EventRef;
use plugmesh::event::Pattern;
use plugmesh::event::frame::{EventSpan, EventsMessage, ReadError};
use plugmesh::event::v1::{Ack, EventResult, Publish};
use tokio::time::timeout;
use tokio_util::sync::PollSender;
use tonic::Code;

use super::NO_JOURNAL;
use super::announcer::OWN;
use super::bounds::Promise;
use super::bus::Bus;
use super::entries::MemberId;
use super::journal::StreamId;
use super::matches::{MatchCache, Matches};
use super::receipt::{Awaited, Completions, Receipt};
use super::recorder::{Recording, UnderWay};
use super::run::Run;
use super::subscription::{Coming, Subscription};

/// Somebody who publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    bus: Arc<Bus>,
    /// Topics that it may publish. `None`: all.
    allowed: Option<Arc<[Pattern]>>,
    /// It speaks for the host, which has topics of its own.
    is_host: bool,
    /// As a member of subscriptions, if it can be one.
    member: Option<MemberId>,
    matches: MatchCache,
    /// To the recorder, if there is a journal.
    recordings: Option<PollSender<Recording>>,
    under_way: Arc<UnderWay>,
}

/// Events on their way to the subscriptions.
#[derive(Debug)]
pub(super) struct Publishing {
    /// What the events lie in.
    message: Bytes,
    events: Vec<EventSpan>,
    /// The first that is not published.
    next: usize,
    /// Of those of which there is something to say.
    results: Vec<EventResult>,
    /// When its publisher is answered.
    ack: Ack,
    /// What the publisher waits for when all is published: that events are recorded, or handled.
    awaited: Option<Arc<Awaited>>,
    /// Where its publisher learns that it is done with, by this number.
    completions: Arc<Completions>,
    frame: u64,
    waits_for: WaitsFor,
}

/// What keeps events from being published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    Subscription,
    Journal,
}

/// A frame of which all is published that will be.
#[derive(Debug)]
pub(super) struct Done {
    /// What the publisher waits for. `None`: nothing.
    pub(super) awaited: Option<Arc<Awaited>>,
    /// Events of which there is something to say.
    pub(super) results: Vec<EventResult>,
}

/// How far one step went.
enum Step {
    /// So many events are done with.
    Done(usize),
    /// A subscription is full; the task is woken when it is not.
    Blocked,
}

impl Publishing {
    /// All events of a message.
    pub(super) fn new(
        message: Bytes,
        events: Vec<EventSpan>,
        ack: Ack,
        completions: Arc<Completions>,
        frame: u64,
    ) -> Self {
        let waits_for = WaitsFor::Subscription;
        Self {
            message,
            events,
            next: 0,
            results: Vec::new(),
            ack,
            awaited: None,
            completions,
            frame,
            waits_for,
        }
    }

    /// Gives up what is not published yet: it took too long.
    pub(super) fn time_out(&mut self) {
        let why = match self.waits_for {
            WaitsFor::Subscription => {
                "a subscription that matches is full and its members take nothing; publish it again later"
            }
            WaitsFor::Journal => "the journal does not keep up; publish it again later",
        };
        for index in self.next..self.events.len() {
            self.refuse(index, Code::ResourceExhausted, why.to_owned());
        }
        self.next = self.events.len();
    }

    /// Number of the frame, for [`Completions`].
    pub(super) fn frame(&self) -> u64 {
        self.frame
    }

    fn awaited(&mut self) -> &Arc<Awaited> {
        self.awaited.get_or_insert_with(|| Awaited::new(&self.completions, self.frame))
    }

    fn refuse(&mut self, index: usize, code: Code, message: String) {
        self.results.push(EventResult {
            index: index as u32,
            code: code as i32,
            message,
            ..Default::default()
        });
    }

    /// Bytes of all its events.
    pub(super) fn bytes(&self) -> u64 {
        self.events.iter().map(|event| event.content().len() as u64).sum()
    }

    /// What the events from one to another need.
    fn wanted(&self, begin: usize, end: usize) -> Promise {
        let bytes = self.events[begin..end].iter().map(|event| event.whole().len()).sum();
        Promise { events: end - begin, bytes }
    }

    fn content(&self, index: usize) -> Option<Bytes> {
        Some(self.message.slice(self.events.get(index)?.content()))
    }

    /// The events from one to another, which lie side by side.
    fn run(&self, begin: usize, end: usize) -> Option<Run> {
        let events = self.events.get(begin..end)?;
        let first = events.first()?.whole().start;
        let last = events.last()?.whole().end;
        let content = events.iter().map(|event| event.content().len()).sum();
        Run::new(self.own(first..last), events.len(), content)
    }

    /// A part of the message: shared if it is most of it, and copied otherwise, so that what waits holds little more than its own bytes.
    fn own(&self, part: std::ops::Range<usize>) -> Bytes {
        match 2 * part.len() < self.message.len() {
            true => Bytes::copy_from_slice(&self.message[part]),
            false => self.message.slice(part),
        }
    }
}

impl Publisher {
    pub(super) fn new(bus: Arc<Bus>, allowed: Option<Arc<[Pattern]>>, member: Option<MemberId>) -> Self {
        let recordings = bus.durable().map(|durable| PollSender::new(durable.recordings.clone()));
        Self {
            bus,
            allowed,
            is_host: false,
            member,
            matches: MatchCache::default(),
            recordings,
            under_way: Arc::default(),
        }
    }

    /// What the host itself publishes through.
    pub(super) fn of_host(bus: Arc<Bus>) -> Self {
        Self { is_host: true, ..Self::new(bus, None, None) }
    }

    /// Publishes the events of an encoded `Publish`, waiting so long for room, and as long as it takes for what `ack` asks. Gives what there is
    /// to say of single events.
    ///
    /// # Errors
    /// It is no such message, or has too many events.
    pub(super) async fn publish_message(
        &mut self,
        message: Bytes,
        ack: Ack,
        wait: Duration,
    ) -> Result<Vec<EventResult>, ReadError> {
        let mut spans = Vec::new();
        Publish::read(&message, self.bus.limits.frame_events, &mut spans)?;
        let completions = Arc::<Completions>::default();
        let mut publishing = Publishing::new(message, spans, ack, completions.clone(), 0);
        let published = timeout(wait, poll_fn(|cx| self.poll_publish(&mut publishing, cx))).await;
        if published.is_err() {
            publishing.time_out();
        }
        let Done { awaited, mut results } = self.finish(publishing);
        if let Some(awaited) = awaited {
            awaited.published();
            poll_fn(|cx| completions.poll(cx)).await;
            results.append(&mut awaited.take_results());
        }
        Ok(results)
    }

    /// All is published that will be.
    pub(super) fn finish(&self, publishing: Publishing) -> Done {
        let Publishing { awaited, results, .. } = publishing;
        // Whatever was refused later is counted where it was.
        let refused = results.iter().filter(|result| result.code != Code::Ok as i32).count();
        self.bus.counts.refused.fetch_add(refused as u64, Ordering::Relaxed);
        Done { awaited, results }
    }

    /// Publishes as much as there is room for. Ready when each event is published or refused; pending while a subscription that
    /// blocks is full.
    pub(super) fn poll_publish(&mut self, publishing: &mut Publishing, cx: &mut Context<'_>) -> Poll<()> {
        while publishing.next < publishing.events.len() {
            match self.step(publishing, cx) {
                Step::Done(events) => publishing.next += events,
                Step::Blocked => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Publishes the next event, and those beside it that go the same way.
    fn step(&mut self, publishing: &mut Publishing, cx: &mut Context<'_>) -> Step {
        let begin = publishing.next;
        let matches = match self.look_at(publishing, begin) {
            Ok(matches) => matches,
            Err((code, message)) => {
                publishing.refuse(begin, code, message);
                return Step::Done(1);
            }
        };
        if let Some(stream) = matches.stream {
            return self.record(publishing, &matches, stream, cx);
        }
        if publishing.ack == Ack::Durable {
            publishing.refuse(begin, Code::FailedPrecondition, self.not_durable());
            return Step::Done(1);
        }
        // What it published before comes first, whatever its topic.
        if self.under_way.poll_none(cx).is_pending() {
            publishing.waits_for = WaitsFor::Journal;
            return Step::Blocked;
        }
        if !matches.take_runs || publishing.ack == Ack::Handled {
            return self.publish_one(publishing, &matches, cx);
        }
        let end = self.end_of_run(publishing);
        self.publish_run(publishing, end, &matches, cx)
    }

    fn not_durable(&self) -> String {
        match self.bus.durable() {
            Some(durable) => {
                format!("the journal does not keep this topic: it is within none of `{}`", durable.key())
            }
            None => NO_JOURNAL.to_owned(),
        }
    }

    /// Where the events end that lie beside the next one, which is sound, and have its topic.
    fn end_of_run(&self, publishing: &Publishing) -> usize {
        let topic = |event: &EventSpan| {
            let content = &publishing.message[event.content()];
            let is_small = content.len() <= self.bus.limits.event_bytes;
            let event = EventRef::check(content).ok().filter(|_| is_small)?;
            Some(event.event_type_bytes())
        };
        let begin = publishing.next;
        let Some(first) = publishing.events.get(begin) else { return begin };
        let first_topic = topic(first);
        let mut end = begin + 1;
        while let (Some(before), Some(event)) = (publishing.events.get(end - 1), publishing.events.get(end)) {
            if before.whole().end != event.whole().start || topic(event) != first_topic {
                break;
            }
            end += 1;
        }
        end
    }

    /// Has events recorded, and then given to whoever wants them.
    fn record(
        &mut self,
        publishing: &mut Publishing,
        matches: &Arc<Matches>,
        stream: StreamId,
        cx: &mut Context<'_>,
    ) -> Step {
        let begin = publishing.next;
        let blocking: Vec<_> = matches.subscriptions.iter().filter(|one| one.blocks()).collect();
        // How much room is needed is known beforehand if all those who block want all of them.
        let end = match blocking.iter().all(|subscription| subscription.spec.filters.is_empty()) {
            true => self.end_of_run(publishing),
            false => begin + 1,
        };
        let wanted = publishing.wanted(begin, end);
        let promise = match self.promise(&blocking, wanted, cx) {
            Ok(promise) => promise,
            Err(full) => return self.blocked(publishing, end - begin, full),
        };
        let run = publishing.run(begin, begin + promise.events);
        let (Some(recordings), Some(run)) = (&mut self.recordings, run) else { return Step::Done(1) };
        match recordings.poll_reserve(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Pending => {
                blocking.iter().for_each(|subscription| subscription.settle(promise));
                publishing.waits_for = WaitsFor::Journal;
                return Step::Blocked;
            }
            Poll::Ready(Err(_)) => {
                blocking.iter().for_each(|subscription| subscription.settle(promise));
                publishing.refuse(begin, Code::Unavailable, "the host is shutting down".to_owned());
                return Step::Done(1);
            }
        }
        let events = run.count();
        let recording = Recording {
            run,
            stream,
            first: begin,
            matches: matches.clone(),
            version: self.matches.version(),
            promise,
            ticket: publishing.awaited().ticket(),
            awaits_handlers: publishing.ack == Ack::Handled,
            _turn: self.under_way.turn(),
        };
        // There is a place for it.
        let _ = recordings.send_item(recording);
        Step::Done(events)
    }

    /// Who wants an event, if it is sound and may be published.
    fn look_at(&mut self, publishing: &Publishing, index: usize) -> Result<Arc<Matches>, (Code, String)> {
        let event = publishing
            .events
            .get(index)
            .map(|event| &publishing.message[event.content()])
            .unwrap_or_default();
        let most = self.bus.limits.event_bytes;
        if event.len() > most {
            let message =
                format!("the event has {} bytes; {most} are allowed (events.max_event_size)", event.len());
            return Err((Code::InvalidArgument, message));
        }
        let event = EventRef::check(event).map_err(|error| (Code::InvalidArgument, error.to_string()))?;
        let (allowed, is_host) = (self.allowed.as_deref(), self.is_host);
        let topic = event.event_type();
        let matches = self.matches.look_up(topic, &self.bus, |topic| {
            let is_in = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(topic));
            is_host || !topic.starts_with(OWN) && allowed.is_none_or(is_in)
        });
        if matches.is_allowed {
            return Ok(matches);
        }
        let why = match topic.starts_with(OWN) {
            true => format!("{topic:?} is the host's own, as is every topic that begins with {OWN:?}"),
            false => {
                format!("{topic:?} is not among the topics that this plugin may publish (events.publish)")
            }
        };
        Err((Code::PermissionDenied, why))
    }

    /// Publishes events side by side to subscriptions that ask nothing of a single one.
    fn publish_run(
        &self,
        publishing: &mut Publishing,
        end: usize,
        matches: &Matches,
        cx: &mut Context<'_>,
    ) -> Step {
        let begin = publishing.next;
        let wanted = publishing.wanted(begin, end);
        let subscriptions: Vec<_> = matches.subscriptions.iter().collect();
        let promised = match self.promise(&subscriptions, wanted, cx) {
            Ok(promised) => promised,
            Err(full) => return self.blocked(publishing, end - begin, full),
        };
        let Some(run) = publishing.run(begin, begin + promised.events) else {
            return Step::Done(end - begin);
        };
        self.bus.count_published(promised.events, run.bytes().len());
        for subscription in subscriptions {
            subscription.push_run(run.clone(), kept(subscription, promised));
        }
        Step::Done(promised.events)
    }

    /// Publishes an event to those of its subscriptions that want it.
    fn publish_one(&self, publishing: &mut Publishing, matches: &Matches, cx: &mut Context<'_>) -> Step {
        let index = publishing.next;
        let Some(content) = publishing.content(index) else { return Step::Done(1) };
        // It was looked at already.
        let Ok(event) = EventRef::check(&content) else { return Step::Done(1) };
        let wanting: Vec<_> =
            matches.subscriptions.iter().filter(|subscription| subscription.admits(event)).collect();
        let span = publishing.events[index];
        let wanted = Promise { events: 1, bytes: span.whole().len() };
        let promised = match self.promise(&wanting, wanted, cx) {
            Ok(promised) => promised,
            Err(full) => return self.blocked(publishing, 1, full),
        };
        let whole = publishing.own(span.whole());
        let own = whole.slice(whole.len() - content.len()..);
        self.bus.count_published(1, whole.len());
        let awaits_handlers = publishing.ack == Ack::Handled;
        for subscription in wanting {
            let awaited = awaits_handlers.then(|| publishing.awaited());
            let receipt: Option<Receipt> = awaited.map(|awaited| awaited.receipt(index, &subscription.name));
            let coming = Coming { event: &own, whole: &whole, view: event, place: None };
            subscription.push(coming, receipt, kept(subscription, promised));
        }
        Step::Done(1)
    }

    /// Has all subscriptions that block promise room for the same number of events: at least one.
    fn promise<'a>(
        &self,
        subscriptions: &[&'a Arc<Subscription>],
        wanted: Promise,
        cx: &mut Context<'_>,
    ) -> Result<Promise, &'a Arc<Subscription>> {
        let blocking = || subscriptions.iter().filter(|subscription| subscription.blocks());
        let mut least = wanted;
        for (index, subscription) in blocking().enumerate() {
            let granted = Promise { events: subscription.promise(least, cx.waker()), ..wanted };
            if granted == least {
                continue;
            }
            // Those before it take back what goes beyond.
            let (beyond, back) =
                (least.events - granted.events, if granted.events == 0 { wanted.bytes } else { 0 });
            for before in blocking().take(index) {
                before.settle(Promise { events: beyond, bytes: back });
            }
            if granted.events == 0 {
                return Err(subscription);
            }
            least = granted;
        }
        Ok(least)
    }

    /// A subscription is full: wait, unless that would be for oneself.
    fn blocked(&self, publishing: &mut Publishing, events: usize, full: &Arc<Subscription>) -> Step {
        publishing.waits_for = WaitsFor::Subscription;
        if !self.member.is_some_and(|member| full.is_member(member)) {
            return Step::Blocked;
        }
        let begin = publishing.next;
        for index in begin..begin + events {
            let message = format!(
                "the subscription {} is full, and the publisher is one of those who should empty it: it would wait for itself",
                full.name
            );
            publishing.refuse(index, Code::ResourceExhausted, message);
        }
        Step::Done(events)
    }
}

/// What a subscription has promised, if it is one of those that were asked.
pub(super) fn kept(subscription: &Subscription, promised: Promise) -> Promise {
    match subscription.blocks() {
        true => promised,
        false => Promise::default(),
    }
}

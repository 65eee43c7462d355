//! From a publisher to the subscriptions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use plugmesh::cloudevents::EventRef;
use plugmesh::event::Pattern;
use plugmesh::event::frame::EventSpan;
use plugmesh::event::v1::EventResult;
use tonic::Code;

use super::bounds::Promise;
use super::bus::Bus;
use super::entries::MemberId;
use super::matches::{MatchCache, Matches};
use super::receipt::{Awaited, Receipt};
use super::run::Run;
use super::subscription::Subscription;

/// Somebody who publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    bus: Arc<Bus>,
    /// Topics that it may publish. `None`: all.
    allowed: Option<Arc<[Pattern]>>,
    /// As a member of subscriptions, if it can be one.
    member: Option<MemberId>,
    matches: MatchCache,
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
    pub(super) results: Vec<EventResult>,
    /// For who wants to know when all are handled. [`Awaited::published`] is for whoever takes it.
    pub(super) awaited: Option<Arc<Awaited>>,
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
    pub(super) fn new(message: Bytes, events: Vec<EventSpan>, awaits_handlers: bool) -> Self {
        let awaited = awaits_handlers.then(Awaited::new);
        Self { message, events, next: 0, results: Vec::new(), awaited }
    }

    /// Gives up what is not published yet: it took too long.
    pub(super) fn time_out(&mut self) {
        let why = "a subscription that matches is full and its members take nothing; publish it again later";
        self.refuse_rest(Code::ResourceExhausted, why);
    }

    /// Refuses what is not published yet.
    pub(super) fn refuse_rest(&mut self, code: Code, why: &str) {
        for index in self.next..self.events.len() {
            self.refuse(index, code, why.to_owned());
        }
        self.next = self.events.len();
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
        Self { bus, allowed, member, matches: MatchCache::default() }
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
                self.bus.counts.refused.fetch_add(1, Ordering::Relaxed);
                return Step::Done(1);
            }
        };
        if !matches.take_runs || publishing.awaited.is_some() {
            return self.publish_one(publishing, &matches, cx);
        }
        let mut end = begin + 1;
        while let (Some(before), Some(event)) = (publishing.events.get(end - 1), publishing.events.get(end)) {
            let is_beside = before.whole().end == event.whole().start;
            if !is_beside || !self.look_at(publishing, end).is_ok_and(|other| Arc::ptr_eq(&other, &matches)) {
                break;
            }
            end += 1;
        }
        self.publish_run(publishing, end, &matches, cx)
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
        let allowed = self.allowed.as_deref();
        let matches = self.matches.look_up(event.event_type(), &self.bus.topics, |topic| {
            allowed.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(topic)))
        });
        match matches.is_allowed {
            true => Ok(matches),
            false => Err((
                Code::PermissionDenied,
                format!(
                    "{:?} is not among the topics that this plugin may publish (events.publish)",
                    event.event_type()
                ),
            )),
        }
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
        let bytes =
            |end: usize| publishing.events[begin..end].iter().map(|event| event.whole().len()).sum::<usize>();
        let wanted = Promise { events: end - begin, bytes: bytes(end) };
        let subscriptions: Vec<_> = matches.subscriptions.iter().collect();
        let promised = match self.promise(&subscriptions, wanted, cx) {
            Ok(promised) => promised,
            Err(full) => return self.blocked(publishing, end - begin, full),
        };
        let Some(run) = publishing.run(begin, begin + promised.events) else {
            return Step::Done(end - begin);
        };
        self.count(promised.events, run.bytes().len());
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
        self.count(1, whole.len());
        for subscription in wanting {
            let receipt: Option<Receipt> =
                publishing.awaited.as_ref().map(|awaited| awaited.receipt(index, &subscription.name));
            subscription.push(&own, &whole, event, receipt, kept(subscription, promised));
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

    fn count(&self, events: usize, bytes: usize) {
        self.bus.counts.published.fetch_add(events as u64, Ordering::Relaxed);
        self.bus.counts.published_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.bus.counts.last.store(now.as_millis() as u64, Ordering::Relaxed);
    }
}

/// What a subscription has promised, if it is one of those that were asked.
fn kept(subscription: &Subscription, promised: Promise) -> Promise {
    match subscription.blocks() {
        true => promised,
        false => Promise::default(),
    }
}

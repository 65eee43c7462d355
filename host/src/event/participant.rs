//! Somebody who takes part: what it has subscribed to, and what it may still be sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use plugmesh::event::Pattern;
use plugmesh::event::frame::message;
use plugmesh::event::v1::bus_frame::Frame;
use plugmesh::event::v1::{
    Acknowledge, BusFrame, Credit, Draining, EventResult, Gap, Nack, Problem, Published, Subscribe,
    Subscribed, Unsubscribed, Welcome,
};
use plugmesh::time::duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::Code;

use super::bus::{Bus, now};
use super::entries::{Failure, MemberId};
use super::outbox::{End, Next, Outbox, Ready};
use super::parcel::Budget;
use super::publish::Publisher;
use super::subscription::{Answer, Defaults, MAX_SPAN, Spec, Standing, Subscription};

/// What a participant may do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permissions {
    /// Topics that it may publish. `None`: all.
    pub(crate) publish: Option<Arc<[Pattern]>>,
    /// Topics that it may subscribe to. `None`: all.
    pub(crate) subscribe: Option<Arc<[Pattern]>>,
}

impl Permissions {
    /// Whether it may subscribe to something.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn check(&self, spec: &Spec) -> Result<(), String> {
        let Some(allowed) = self.subscribe.as_deref() else { return Ok(()) };
        let is_allowed = |wanted: &&Pattern| allowed.iter().any(|one| one.covers(wanted));
        spec.patterns.iter().find(|wanted| !is_allowed(wanted)).map_or(Ok(()), |other| {
            let other = other.as_str();
            Err(format!(
                "{other:?} is not among the topics that this plugin may subscribe to (events.subscribe)"
            ))
        })
    }
}

/// When a participant has to go at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// When the host ends.
    HostEnds,
    /// When somebody detaches it, which is sooner.
    Detached,
}

/// One stream's share of the bus. Dropping it gives back what it was at.
#[derive(Debug)]
pub(super) struct Participant {
    bus: Arc<Bus>,
    name: Arc<str>,
    id: MemberId,
    permissions: Permissions,
    defaults: Defaults,
    pub(super) outbox: Arc<Outbox>,
    attachments: Mutex<HashMap<u64, Attachment>>,
    /// It has answered for something, or a subscription of it is over.
    answered: Notify,
}

/// A subscription of a participant.
#[derive(Debug)]
struct Attachment {
    subscription: Arc<Subscription>,
    /// What may still be sent.
    events: u64,
    bytes: u64,
    /// It had its turn when nothing could be sent.
    waits_for_credit: bool,
    is_open: bool,
    /// The participant knows that it is in force.
    is_announced: bool,
}

impl Participant {
    pub(super) fn new(
        bus: Arc<Bus>,
        name: Arc<str>,
        permissions: Permissions,
        defaults: Defaults,
        until: Until,
    ) -> Arc<Self> {
        let id = MemberId(bus.next_id());
        let outbox = Arc::default();
        let attachments = Mutex::default();
        let answered = Notify::new();
        let this = Arc::new(Self { bus, name, id, permissions, defaults, outbox, attachments, answered });
        this.bus.attach(&this, until);
        this
    }

    /// Delivers nothing any more, and waits until all that was delivered is answered for, or the grace is over. Then its stream ends.
    pub(super) async fn drain(&self, grace: Duration) {
        let drained = async {
            for attachment in self.attachments().values_mut().filter(|attachment| attachment.is_open) {
                attachment.is_open = false;
                self.bus.close(&attachment.subscription, self.id);
            }
            self.send(Frame::Draining(Draining { grace: prost_types::Duration::try_from(grace).ok() }));
            loop {
                let answered = self.answered.notified();
                let is_at_work = |attachment: &Attachment| attachment.subscription.is_at_work(self.id);
                if !self.attachments().values().any(is_at_work) {
                    return;
                }
                answered.await;
            }
        };
        let _ = timeout(grace, drained).await;
        self.outbox.close(End::ShuttingDown);
    }

    /// What it publishes through.
    pub(super) fn publisher(&self) -> Publisher {
        Publisher::new(self.bus.clone(), self.permissions.publish.clone(), Some(self.id))
    }

    pub(super) fn id(&self) -> MemberId {
        self.id
    }

    /// What tells its stream from every other one.
    pub(super) fn epoch(&self) -> u64 {
        self.id.0
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    fn attachments(&self) -> MutexGuard<'_, HashMap<u64, Attachment>> {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: Frame) {
        self.outbox.send(message(&BusFrame { frame: Some(frame) }));
    }

    /// Says hello.
    pub(super) fn welcome(&self) {
        let limits = &self.bus.limits;
        self.send(Frame::Welcome(Welcome {
            epoch: self.id.0,
            limits: Some(plugmesh::event::v1::Limits {
                event_bytes: limits.event_bytes as u64,
                frame_bytes: limits.frame_bytes as u64,
                frame_events: limits.frame_events as u32,
                subscriptions: limits.subscriptions as u32,
            }),
            credit: Some(Credit {
                subscription: 0,
                events: limits.publish_events,
                bytes: limits.publish_bytes,
            }),
        }));
    }

    /// Says what became of a `Publish`.
    pub(super) fn published(&self, sequence: u64, results: Vec<EventResult>) {
        self.send(Frame::Published(Published { sequence, results }));
    }

    /// Lets it publish more.
    pub(super) fn grant(&self, events: u64, bytes: u64) {
        self.send(Frame::Credit(Credit { subscription: 0, events, bytes }));
    }

    /// Says that something is no good.
    pub(super) fn problem(&self, code: Code, message: String, subscription: u64, sequence: u64) {
        self.send(Frame::Problem(Problem { code: code as i32, message, subscription, sequence }));
    }

    /// Subscribes it to something.
    pub(super) fn subscribe(&self, subscribe: Subscribe) {
        let number = subscribe.subscription;
        match self.try_subscribe(subscribe) {
            Ok(()) => {}
            Err((code, message)) => self.send(Frame::Unsubscribed(Unsubscribed {
                subscription: number,
                code: code as i32,
                message,
            })),
        }
    }

    /// The same, for who can be told at once.
    pub(super) fn try_subscribe(&self, subscribe: Subscribe) -> Result<(), (Code, String)> {
        let Subscribe { subscription: number, what, credit } = subscribe;
        let invalid = |message: String| (Code::InvalidArgument, message);
        if number == 0 {
            return Err(invalid("a subscription has a number of its own, which is not 0".to_owned()));
        }
        let what =
            what.ok_or_else(|| invalid("`what` is missing: say the patterns of the topics".to_owned()))?;
        let spec = Spec::read(&what, &self.defaults).map_err(|error| (error.code(), error.to_string()))?;
        self.permissions.check(&spec).map_err(|why| (Code::PermissionDenied, why))?;
        let mut attachments = self.attachments();
        if attachments.contains_key(&number) {
            return Err((Code::AlreadyExists, format!("subscription {number} is there already")));
        }
        let most = self.bus.limits.subscriptions;
        if attachments.len() >= most {
            return Err((Code::ResourceExhausted, format!("a stream has at most {most} subscriptions")));
        }
        let signal = Arc::new(Ready { outbox: self.outbox.clone(), subscription: number });
        let subscription = self.bus.subscribe(spec, &self.name, self.id, signal)?;
        let credit = credit.unwrap_or_default();
        let attachment = Attachment {
            subscription,
            events: credit.events,
            bytes: credit.bytes,
            waits_for_credit: false,
            is_open: true,
            is_announced: false,
        };
        let attachment = attachments.entry(number).insert_entry(attachment).into_mut();
        self.announce(number, attachment);
        drop(attachments);
        self.outbox.ready(number);
        Ok(())
    }

    /// Says that a subscription is in force, or that it cannot be.
    fn announce(&self, number: u64, attachment: &mut Attachment) {
        match attachment.subscription.standing() {
            Standing::Preparing => {}
            Standing::InForce => {
                attachment.is_announced = true;
                let what = Some(attachment.subscription.wire.clone());
                self.send(Frame::Subscribed(Subscribed { subscription: number, what }));
            }
            Standing::Refused(code, message) => {
                attachment.is_open = false;
                let code = code as i32;
                self.send(Frame::Unsubscribed(Unsubscribed { subscription: number, code, message }));
            }
        }
    }

    /// Says that a subscription is no more that was in force.
    fn end_if_refused(&self, number: u64, attachment: &mut Attachment) {
        if let Standing::Refused(..) = attachment.subscription.standing() {
            self.announce(number, attachment);
        }
    }

    /// Ends one of its subscriptions.
    pub(super) fn unsubscribe(&self, number: u64) {
        let mut attachments = self.attachments();
        let Some(attachment) = attachments.get_mut(&number) else {
            drop(attachments);
            return self.unknown(number);
        };
        attachment.is_open = false;
        let subscription = attachment.subscription.clone();
        drop(attachments);
        self.bus.close(&subscription, self.id);
        self.send(Frame::Unsubscribed(Unsubscribed { subscription: number, ..Default::default() }));
    }

    fn unknown(&self, number: u64) {
        self.problem(Code::NotFound, format!("there is no subscription {number} on this stream"), number, 0);
    }

    /// It can take more.
    pub(super) fn credit(&self, credit: Credit) {
        let number = credit.subscription;
        let mut attachments = self.attachments();
        let Some(attachment) = attachments.get_mut(&number) else {
            drop(attachments);
            return self.unknown(number);
        };
        attachment.events = attachment.events.saturating_add(credit.events);
        attachment.bytes = attachment.bytes.saturating_add(credit.bytes);
        let goes_on = attachment.has_credit() && std::mem::take(&mut attachment.waits_for_credit);
        drop(attachments);
        if goes_on {
            self.outbox.ready(number);
        }
    }

    /// It answers for deliveries.
    pub(super) fn acknowledge(&self, acknowledge: Acknowledge) {
        let Acknowledge { subscription: number, epoch, handled, failed, in_progress } = acknowledge;
        let Some(subscription) = self.attachments().get(&number).map(|found| found.subscription.clone())
        else {
            return self.unknown(number);
        };
        if epoch != self.id.0 {
            let message = format!(
                "epoch {epoch} is not that of this stream, {}: what it answers for was redelivered",
                self.id.0
            );
            return self.problem(Code::FailedPrecondition, message, number, 0);
        }
        let handled = handled.into_iter().map(|delivery| (delivery, Answer::Handled));
        let failed = failed.into_iter().map(|nack| (nack.sequence, Answer::Failed(failure(nack))));
        let in_progress = in_progress.into_iter().map(|delivery| (delivery, Answer::InProgress));
        for (delivery, answer) in handled.chain(failed).chain(in_progress) {
            let (is_known, consequences) = subscription.answer(self.id, delivery, answer, now());
            self.bus.after(&subscription, consequences);
            if !is_known {
                let message = format!(
                    "nothing was delivered on subscription {number} as number {delivery}, or nothing that can be answered for"
                );
                self.problem(Code::NotFound, message, number, delivery);
            }
        }
        self.answered.notify_waiters();
    }

    /// It has sent all. Unless it is subscribed to something, that is the end of its stream.
    pub(super) fn has_sent_all(&self) {
        if !self.attachments().values().any(|attachment| attachment.is_open) {
            self.outbox.close(End::Finished);
        }
    }

    /// The next message for it, or why the stream is over.
    pub(super) fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        loop {
            match ready!(self.outbox.poll_next(cx)) {
                Next::Message(message) => return Poll::Ready(Ok(message)),
                Next::End(end) => return Poll::Ready(Err(end)),
                Next::Ready(number) => {
                    if let Some(message) = self.deliver(number) {
                        return Poll::Ready(Ok(message));
                    }
                }
            }
        }
    }

    /// Takes events of a subscription, as many as may be sent.
    fn deliver(&self, number: u64) -> Option<Bytes> {
        let mut attachments = self.attachments();
        let attachment = attachments.get_mut(&number).filter(|attachment| attachment.is_open)?;
        if !attachment.is_announced {
            self.announce(number, attachment);
            if !attachment.is_announced {
                return None;
            }
            // What was just sent comes first.
            self.outbox.ready(number);
            return None;
        }
        if !attachment.has_credit() {
            attachment.waits_for_credit = true;
            self.end_if_refused(number, attachment);
            return None;
        }
        let budget = Budget::of_credit(attachment.events, attachment.bytes);
        let subscription = attachment.subscription.clone();
        let (parcel, consequences) = subscription.take(self.id, budget, now());
        attachment.events = attachment.events.saturating_sub(parcel.count() as u64);
        attachment.bytes = attachment.bytes.saturating_sub(parcel.content() as u64);
        if parcel.count() == 0 {
            self.end_if_refused(number, attachment);
        }
        drop(attachments);
        self.bus.after(&subscription, consequences);
        let dropped = parcel.gap;
        let delivery = parcel.finish(number);
        if delivery.is_some() {
            // There may be more: after the others.
            self.outbox.ready(number);
        }
        if dropped == 0 {
            return delivery;
        }
        delivery.into_iter().for_each(|delivery| self.outbox.send_next(delivery));
        let gap = Gap { subscription: number, dropped };
        Some(message(&BusFrame { frame: Some(Frame::Gap(gap)) }))
    }
}

impl Attachment {
    fn has_credit(&self) -> bool {
        self.events > 0 && self.bytes > 0
    }
}

fn failure(nack: Nack) -> Failure {
    Failure {
        reason: nack.reason,
        delay: nack.delay.and_then(duration).map(|delay| delay.min(MAX_SPAN)),
        is_final: nack.give_up,
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        let attachments = std::mem::take(&mut *self.attachments());
        for attachment in attachments.into_values() {
            self.bus.leave(&attachment.subscription, self.id);
        }
        self.bus.detach(self.id);
    }
}

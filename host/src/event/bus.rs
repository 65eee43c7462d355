//! The bus: who subscribed to what, and what becomes of events that nobody could handle.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use tonic::Code;

use super::NO_JOURNAL;
use super::announcer::Announcements;
use super::dead_letters::DeadLetters;
use super::durable::Durable;
use super::entries::{MemberId, Signal};
use super::journal::Change;
use super::outbox::End;
use super::participant::{Participant, Until};
use super::progress::Progress;
use super::recorder::refusal;
use super::subscription::{Consequences, Counted, Identity, Mode, Spec, Standing, Subscription, is_name};
use super::timekeeper::Timekeeper;
use super::topics::Topics;

/// How long a group whose events come back until they are acknowledged is kept when its last member has gone: a member that is
/// restarted or reconnects finds everything as it was.
const LINGER: Duration = Duration::from_secs(30);

/// Durable names that a host keeps: each costs a few kilobytes, and a place in the journal.
const MAX_DURABLE_NAMES: usize = 10_000;

/// What participants may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of an event.
    pub(super) event_bytes: usize,
    /// Bytes of a frame.
    pub(super) frame_bytes: usize,
    /// Events of a frame.
    pub(super) frame_events: usize,
    /// Subscriptions of a participant.
    pub(super) subscriptions: usize,
    /// Events that a participant may have on their way to subscriptions.
    pub(super) publish_events: u64,
    /// Bytes of these.
    pub(super) publish_bytes: u64,
}

impl Default for Limits {
    /// A megabyte an event, as brokers have it; the rest lets a publisher that never waits keep both sides busy.
    fn default() -> Self {
        Self {
            event_bytes: 1 << 20,
            frame_bytes: 4 << 20,
            frame_events: 4096,
            subscriptions: 10_000,
            publish_events: 16_384,
            publish_bytes: 8 << 20,
        }
    }
}

impl Limits {
    /// Events of at most so many bytes, and frames that have room for one.
    pub(super) fn of_events(event_bytes: usize) -> Self {
        /// What a frame has beside its events.
        const HEAD: usize = 64 << 10;
        let usual = Self::default();
        Self { event_bytes, frame_bytes: usual.frame_bytes.max(event_bytes + HEAD), ..usual }
    }
}

/// Counts since the host started.
#[derive(Debug, Default)]
pub(super) struct BusCounts {
    pub(super) published: AtomicU64,
    pub(super) published_bytes: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) duplicates: AtomicU64,
    /// Milliseconds since 1970 when the last event was published; 0: never.
    pub(super) last: AtomicU64,
}

/// The bus of a host.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) limits: Limits,
    pub(super) topics: Topics<Subscription>,
    pub(super) counts: BusCounts,
    pub(super) dead_letters: DeadLetters,
    pub(super) announcements: Announcements,
    durable: Option<Arc<Durable>>,
    groups: Mutex<HashMap<Identity, Arc<Subscription>>>,
    /// Durable names of which only is known how far they had come.
    parked: Mutex<HashMap<String, Progress>>,
    timekeeper: Timekeeper,
    ids: AtomicU64,
    participants: Mutex<Participants>,
    /// What subscriptions had counted that are over and had no name of their own.
    ended: Mutex<Counted>,
}

/// Everybody who takes part.
#[derive(Debug, Default)]
struct Participants {
    all: BTreeMap<MemberId, (Weak<Participant>, Until)>,
    /// The host goes: nobody is let in any more.
    is_draining: bool,
}

impl Bus {
    /// A bus without anybody. `first_id` is what its numbers begin with: above all of earlier runs.
    pub(super) fn new(limits: Limits, first_id: u64, durable: Option<Arc<Durable>>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            topics: Topics::default(),
            counts: BusCounts::default(),
            dead_letters: DeadLetters::new(durable.as_ref().map(|durable| durable.log.clone())),
            announcements: Announcements::default(),
            durable,
            groups: Mutex::default(),
            parked: Mutex::default(),
            timekeeper: Timekeeper::default(),
            ids: AtomicU64::new(first_id),
            participants: Mutex::default(),
            ended: Mutex::default(),
        })
    }

    /// Its durable side, if it has a journal.
    pub(super) fn durable(&self) -> Option<&Arc<Durable>> {
        self.durable.as_ref()
    }

    /// Does what is due until it is dropped.
    pub(super) async fn keep_time(&self) {
        loop {
            let subscription = self.timekeeper.next().await;
            self.on_time(&subscription);
        }
    }

    /// Somebody begins to take part.
    pub(super) fn attach(&self, participant: &Arc<Participant>, until: Until) {
        let mut participants = self.participants.lock().unwrap_or_else(PoisonError::into_inner);
        participants.all.insert(participant.id(), (Arc::downgrade(participant), until));
        if participants.is_draining && until == Until::HostEnds {
            participant.outbox.close(End::ShuttingDown);
        }
    }

    /// Somebody takes part no more.
    pub(super) fn detach(&self, id: MemberId) {
        self.participants.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&id);
    }

    /// How many take part.
    pub(super) fn participants(&self) -> usize {
        self.participants.lock().unwrap_or_else(PoisonError::into_inner).all.len()
    }

    /// Delivers nothing any more to those who stay until the host ends, lets them answer for what was delivered for as long as `grace`, and
    /// ends their streams. Nobody is let in meanwhile.
    pub(super) async fn drain(&self, grace: Duration) {
        let all: Vec<_> = {
            let mut participants = self.participants.lock().unwrap_or_else(PoisonError::into_inner);
            participants.is_draining = true;
            let guests = participants.all.values().filter(|(_, until)| *until == Until::HostEnds);
            guests.filter_map(|(participant, _)| participant.upgrade()).collect()
        };
        join_all(all.iter().map(|participant| participant.drain(grace))).await;
    }

    /// A number that no participant of this host has had.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a member to a subscription, which is made unless its group is there. Every event that is published after this returns is
    /// for it as well; one that gets its events from the journal begins when its [`Standing`] says so.
    ///
    /// # Errors
    /// Its durable name is in use for something else, or there are too many.
    pub(super) fn subscribe(
        &self,
        spec: Spec,
        who: &str,
        id: MemberId,
        signal: Arc<dyn Signal>,
    ) -> Result<Arc<Subscription>, (Code, String)> {
        let name = spec.group_name(who);
        let Some(identity) = spec.identity() else {
            let subscription = Subscription::new(name.into(), spec);
            subscription.join(id, signal);
            self.topics.insert(&subscription.spec.patterns, &subscription);
            self.prepare(&subscription);
            return Ok(subscription);
        };
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = None;
        if let Some(group) = groups.get(&identity) {
            let is_refused = matches!(group.standing(), Standing::Refused(..));
            if !is_refused && group.spec.wants_the_same(&spec) {
                group.join(id, signal);
                self.prepare(group);
                return Ok(group.clone());
            }
            if !is_refused && group.has_members() {
                let message = format!("the durable name {name} is in use with other topics or filters");
                return Err((Code::FailedPrecondition, message));
            }
            // Nobody is there: it goes on from where it was, with what is wanted now.
            progress = group.cursor().map(|(floor, state)| Progress::restore(floor, &state).0);
            self.topics.remove(&group.spec.patterns, group);
            group.refuse(Code::Aborted, "another subscription has taken its place".to_owned());
        } else if spec.durable_name().is_some() {
            let names = groups.keys().filter(|identity| matches!(identity, Identity::Durable(_))).count();
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            progress = parked.remove(&name);
            if progress.is_none() && names + parked.len() >= MAX_DURABLE_NAMES {
                let message =
                    format!("there are {MAX_DURABLE_NAMES} durable names; delete those that nobody needs");
                return Err((Code::ResourceExhausted, message));
            }
        }
        let subscription = match progress {
            Some(progress) => Subscription::with_progress(name.into(), spec, Some(progress)),
            None if spec.durable_name().is_some() && self.shares_names() => {
                Subscription::pulled(name.into(), spec)
            }
            None => Subscription::new(name.into(), spec),
        };
        subscription.join(id, signal);
        groups.insert(identity, subscription.clone());
        self.topics.insert(&subscription.spec.patterns, &subscription);
        self.prepare(&subscription);
        Ok(subscription)
    }

    /// Whether durable names are shared with other hosts.
    fn shares_names(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| durable.log.shares_names())
    }

    /// Adds a durable subscription that goes on where it was before this host started.
    pub(super) fn restore(&self, spec: Spec, progress: Progress) {
        let Some(identity) = spec.identity() else { return };
        let subscription = Subscription::with_progress(spec.group_name("").into(), spec, Some(progress));
        self.topics.insert(&subscription.spec.patterns, &subscription);
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(identity, subscription);
    }

    /// Remembers how far a durable name had come that cannot be a subscription as it was.
    pub(super) fn park(&self, name: String, progress: Progress) {
        tracing::warn!(
            name,
            "the topics of a durable name are not those that the journal keeps now: it waits for a subscriber"
        );
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).insert(name, progress);
    }

    /// Has the journal looked at for a subscription that needs it.
    fn prepare(&self, subscription: &Arc<Subscription>) {
        if let Some(durable) = &self.durable
            && subscription.wanted().is_some()
        {
            durable.hungry.add(subscription);
        }
    }

    /// Ends a subscription that cannot be.
    pub(super) fn refuse(&self, subscription: &Arc<Subscription>, code: Code, message: String) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        subscription.refuse(code, message);
        self.remove(&mut groups, subscription);
    }

    /// Deletes a durable name, and with it what is known of how far it has come.
    ///
    /// # Errors
    /// There is none, somebody uses it, or the journal cannot be written.
    pub(super) async fn delete(&self, name: &str) -> Result<(), (Code, String)> {
        let durable =
            self.durable.as_ref().ok_or_else(|| (Code::FailedPrecondition, NO_JOURNAL.to_owned()))?;
        let identity = Identity::Durable(name.to_owned());
        let mut is_elsewhere = false;
        {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            let is_parked =
                || self.parked.lock().unwrap_or_else(PoisonError::into_inner).remove(name).is_some();
            match groups.get(&identity).cloned() {
                Some(subscription) if subscription.has_members() => {
                    let message = format!("the durable name {name:?} is in use; end its subscribers first");
                    return Err((Code::FailedPrecondition, message));
                }
                Some(subscription) => {
                    subscription.refuse(Code::NotFound, "its durable name was deleted".to_owned());
                    self.remove(&mut groups, &subscription);
                }
                None if is_parked() => {}
                None if self.shares_names() && is_name(name) => is_elsewhere = true,
                None => return Err((Code::NotFound, format!("there is no durable name {name:?}"))),
            }
        }
        let removed = durable.log.commit(vec![Change::RemoveCursor(name.to_owned())]).await;
        match removed {
            Ok(committed) if is_elsewhere && committed.removed == 0 => {
                Err((Code::NotFound, format!("there is no durable name {name:?}")))
            }
            removed => removed.map(drop).map_err(|error| refusal(&error)),
        }
    }

    /// Takes a subscription out of the topics and groups.
    fn remove(&self, groups: &mut HashMap<Identity, Arc<Subscription>>, subscription: &Arc<Subscription>) {
        if let Some(identity) = subscription.spec.identity()
            && groups.get(&identity).is_some_and(|group| Arc::ptr_eq(group, subscription))
        {
            groups.remove(&identity);
        }
        self.topics.remove(&subscription.spec.patterns, subscription);
        if subscription.spec.identity().is_none() {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.add(&subscription.counts.read());
        }
    }

    /// What subscriptions had counted that are over and had no name of their own.
    pub(super) fn ended(&self) -> Counted {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of those of these members who are there.
    pub(super) fn names(&self, members: &[MemberId]) -> Vec<String> {
        let participants = self.participants.lock().unwrap_or_else(PoisonError::into_inner);
        let found = members.iter().filter_map(|id| participants.all.get(id)?.0.upgrade());
        found.map(|participant| participant.name().to_owned()).collect()
    }

    /// A member takes no more events, but may answer for those that it has.
    pub(super) fn close(&self, subscription: &Arc<Subscription>, id: MemberId) {
        subscription.close(id);
        self.tidy(subscription);
    }

    /// A member is gone.
    pub(super) fn leave(&self, subscription: &Arc<Subscription>, id: MemberId) {
        let consequences = subscription.leave(id);
        self.after(subscription, consequences);
        self.tidy(subscription);
    }

    /// Sees to what a subscription left to be done.
    pub(super) fn after(&self, subscription: &Arc<Subscription>, consequences: Consequences) {
        consequences.given_up.into_iter().for_each(|letter| self.announcements.add(letter));
        if consequences.is_unsaved {
            if self.dead_letters.are_in_memory() {
                let (letters, done) = subscription.take_letters();
                self.dead_letters.keep_in_memory(letters, &done);
            } else if let Some(durable) = &self.durable {
                durable.unsaved.add(subscription);
            }
        }
        if let Some(durable) = &self.durable
            && consequences.is_hungry
        {
            durable.hungry.add(subscription);
        }
        if let Some(due) = consequences.due {
            self.timekeeper.schedule(due, subscription);
        }
    }

    /// Counts events that were published.
    pub(super) fn count_published(&self, events: usize, bytes: usize) {
        self.counts.published.fetch_add(events as u64, Ordering::Relaxed);
        self.counts.published_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.counts.last.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    fn on_time(&self, subscription: &Arc<Subscription>) {
        let consequences = subscription.on_time(now());
        self.after(subscription, consequences);
        self.tidy(subscription);
    }

    /// Ends a subscription that nobody takes part in any more.
    fn tidy(&self, subscription: &Arc<Subscription>) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let is_pulled = subscription.is_pulled();
        // What others can have they should.
        let lingers = subscription.spec.mode == Mode::AtLeastOnce
            && subscription.spec.identity().is_some()
            && !is_pulled;
        match subscription.unused_since(now()) {
            None => return,
            Some(since) if lingers && now() < since + LINGER => {
                self.timekeeper.schedule(since + LINGER, subscription);
                return;
            }
            Some(_) => {}
        }
        if subscription.spec.durable_name().is_none() {
            self.remove(&mut groups, subscription);
        } else if !subscription.park() {
            // Somebody who takes no more events is still at some.
            self.timekeeper.schedule(now() + LINGER, subscription);
        } else if let Some(durable) = &self.durable
            && is_pulled
        {
            // What it had is for others, and so is what would come.
            durable.log.look_at(subscription);
            durable.unsaved.add(subscription);
        }
    }

    /// Every subscription, by name.
    pub(super) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        let mut all = self.topics.all();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// The time, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

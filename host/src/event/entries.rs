//! What waits for a subscription whose events are looked at one by one: because they are shared, because they come back until they are
//! acknowledged, or because those of a key stay in order.
//!
//! Plain state: it is handed the time, and tells members by their [`Signal`].

mod key;
mod member;
mod settle;
mod window;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::key::{Key, rendezvous};
use self::member::{Deadline, Member};
use self::settle::Delayed;
use super::bounds::{Bounds, Load, Overflow};
use super::dead_letters::Redriven;
use super::parcel::{Budget, Parcel};
use super::progress::{Progress, Verdict};
use super::pulled::Pulled;
use super::receipt::Receipt;
use crate::resilience::backoff::Backoff;

pub(super) use self::member::{MemberId, Signal};
pub(super) use self::settle::{Cause, Due, Failure, GivenUp, Outcome, Settled};

/// How an event is delivered until it is acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Redelivery {
    /// How long a handler may take.
    pub(super) ack_deadline: Duration,
    /// Deliveries after which it is given up.
    pub(super) max_attempts: u32,
    /// The pauses between deliveries.
    pub(super) backoff: Backoff,
    /// Whether the rest of its key waits with it.
    pub(super) blocks_key: bool,
}

/// An event that waits, or is being handled.
#[derive(Debug)]
pub(super) struct Entry {
    /// The order in which events came.
    arrival: u64,
    pub(super) event: Bytes,
    key: Option<u64>,
    /// Deliveries so far.
    pub(super) attempts: u32,
    /// When it was delivered for the first time.
    pub(super) first_delivered: Option<Instant>,
    /// Its place, if it is in the journal.
    pub(super) place: Option<u64>,
    receipt: Option<Receipt>,
    /// The dead letter that it was.
    pub(super) letter: Option<Redriven>,
}

/// A new event.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) event: Bytes,
    /// Hash of its partition key.
    pub(super) key: Option<u64>,
    /// Its place, if it is in the journal.
    pub(super) place: Option<u64>,
    pub(super) receipt: Option<Receipt>,
}

/// The events of a subscription and its members.
#[derive(Debug)]
pub(super) struct Entries {
    bounds: Bounds,
    overflow: Overflow,
    /// `None`: at most once.
    redelivery: Option<Redelivery>,
    pub(super) load: Load,
    members: BTreeMap<MemberId, Member>,
    /// Members that found nothing when they last looked, the longest idle first.
    idle: VecDeque<MemberId>,
    /// For any member, by arrival.
    shared: BTreeMap<u64, Entry>,
    /// With at least once, keys of which an event waits to be delivered or is being handled, with those behind it.
    keys: HashMap<u64, Key>,
    delayed: BinaryHeap<Delayed>,
    deadlines: VecDeque<Deadline>,
    arrivals: u64,
    in_flight: usize,
    gap: u64,
    /// Of a subscription that gets its events from the journal.
    pub(super) progress: Option<Progress>,
    /// Of one whose durable name the log shares among hosts.
    pub(super) pulled: Option<Pulled>,
    /// Dead letters that were handled after all.
    pub(super) letters_handled: Vec<Redriven>,
}

impl Entries {
    pub(super) fn new(
        bounds: Bounds,
        overflow: Overflow,
        redelivery: Option<Redelivery>,
        progress: Option<Progress>,
    ) -> Self {
        Self {
            bounds,
            overflow,
            redelivery,
            load: Load::default(),
            members: BTreeMap::new(),
            idle: VecDeque::new(),
            shared: BTreeMap::new(),
            keys: HashMap::new(),
            delayed: BinaryHeap::new(),
            deadlines: VecDeque::new(),
            arrivals: 0,
            in_flight: 0,
            gap: 0,
            progress,
            pulled: None,
            letters_handled: Vec::new(),
        }
    }

    /// Events for which there is room.
    pub(super) fn room(&self) -> usize {
        self.load.room(self.bounds)
    }

    /// Events that members are at.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Adds an event. Gives how many were dropped, it or others. A publisher that may block has asked for room before.
    pub(super) fn push(&mut self, mut arrival: Arrival) -> usize {
        if self.pulled.is_some() {
            // It comes again, to this host or to another: who publishes does not wait for that.
            arrival.receipt.into_iter().for_each(Receipt::handled);
            return 0;
        }
        let has_room = self.room() > 0 || self.overflow == Overflow::Block && self.has_members();
        if let (Some(progress), Some(place)) = (&mut self.progress, arrival.place) {
            let verdict = progress.recorded(place, has_room);
            if let Some(receipt) = arrival.receipt.take() {
                progress.expect(place, receipt);
            }
            if let Verdict::Admit { attempts } = verdict {
                self.enter(arrival, attempts, None);
            }
            return 0;
        }
        let mut dropped = 0;
        if self.overflow != Overflow::Block && self.room() == 0 {
            if self.overflow == Overflow::DropNewest || !self.drop_oldest() {
                self.gap += 1;
                return 1;
            }
            self.gap += 1;
            dropped = 1;
        }
        self.enter(arrival, 0, None);
        dropped
    }

    /// Adds an event that was read from the journal, unless it is known.
    pub(super) fn push_read(&mut self, arrival: Arrival) {
        if let (Some(progress), Some(place)) = (&mut self.progress, arrival.place)
            && let Verdict::Admit { attempts } = progress.read(place)
        {
            self.enter(arrival, attempts, None);
        }
    }

    /// Adds an event of its durable name, unless it is here already. So many deliveries of it have failed elsewhere.
    #[cfg(feature = "nats")]
    pub(super) fn push_pulled(&mut self, arrival: Arrival, attempts: u32) {
        let has_members = self.has_members();
        let (Some(pulled), Some(place)) = (&mut self.pulled, arrival.place) else { return };
        match has_members {
            false => pulled.give_back(place),
            true if pulled.admit(place) => self.enter(arrival, attempts, None),
            true => {}
        }
    }

    /// Adds an event that was a dead letter.
    pub(super) fn push_letter(&mut self, arrival: Arrival, letter: Redriven) {
        self.enter(arrival, 0, Some(letter));
    }

    fn enter(&mut self, arrival: Arrival, attempts: u32, letter: Option<Redriven>) {
        let Arrival { event, key, place, receipt } = arrival;
        self.arrivals += 1;
        self.load.events += 1;
        self.load.bytes += event.len();
        let arrival = self.arrivals;
        self.admit(Entry { arrival, event, key, attempts, first_delivered: None, place, receipt, letter });
    }

    /// So many events are gone that were wanted.
    pub(super) fn miss(&mut self, events: u64) {
        self.gap += events;
    }

    /// Nobody is there any more: what waits is read from the journal again when somebody comes. `false`: not
    /// while members are at events.
    pub(super) fn park(&mut self) -> bool {
        if self.in_flight > 0 {
            return false;
        }
        match (&mut self.progress, &mut self.pulled) {
            (Some(progress), _) => progress.park(),
            (None, Some(pulled)) => pulled.park(),
            (None, None) => return false,
        }
        self.load.empty();
        self.shared.clear();
        self.keys.clear();
        self.delayed.clear();
        self.deadlines.clear();
        true
    }

    /// Tells all members that are idle to look again.
    pub(super) fn wake_all(&mut self) {
        self.idle.clear();
        for member in self.members.values_mut().filter(|member| member.is_open) {
            if std::mem::take(&mut member.is_idle) {
                member.signal.ready();
            }
        }
    }

    /// Puts an event behind those of its key, if there are any, and where members look otherwise.
    fn admit(&mut self, entry: Entry) {
        if let (Some(key), Some(_)) = (entry.key, &self.redelivery) {
            if let Some(key) = self.keys.get_mut(&key) {
                key.behind.push_back(entry);
                return;
            }
            self.keys.insert(key, Key::default());
        }
        self.offer(entry);
    }

    /// Puts an event where members look, and tells one of them.
    fn offer(&mut self, entry: Entry) {
        let holder = entry.key.and_then(|key| rendezvous(key, self.open_members()));
        match holder.and_then(|id| self.members.get_mut(&id)) {
            Some(member) => {
                member.lane.insert(entry.arrival, entry);
                if std::mem::take(&mut member.is_idle) {
                    member.signal.ready();
                }
            }
            None => {
                self.shared.insert(entry.arrival, entry);
                self.wake_one();
            }
        }
    }

    /// Members that take events.
    pub(super) fn open_members(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().filter(|(_, member)| member.is_open).map(|(id, _)| *id)
    }

    /// Tells the member that has been idle for longest that there is something for anybody.
    fn wake_one(&mut self) {
        while let Some(id) = self.idle.pop_front() {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if member.is_open && std::mem::take(&mut member.is_idle) {
                member.signal.ready();
                return;
            }
        }
    }

    /// Drops the event that waits longest of those that could be delivered.
    fn drop_oldest(&mut self) -> bool {
        let lanes =
            self.members.iter().filter_map(|(id, member)| Some((*member.lane.keys().next()?, Some(*id))));
        let shared = self.shared.keys().next().map(|arrival| (*arrival, None));
        let Some((arrival, holder)) = lanes.chain(shared).min() else { return false };
        let lane = match holder.and_then(|id| self.members.get_mut(&id)) {
            Some(member) => &mut member.lane,
            None => &mut self.shared,
        };
        let Some(entry) = lane.remove(&arrival) else { return false };
        self.load.events -= 1;
        self.load.bytes -= entry.event.len();
        self.release_key(entry.key);
        true
    }

    /// The next events for a member, by their arrival. An empty parcel: there is nothing, and the member is told when there is.
    pub(super) fn take(&mut self, id: MemberId, budget: Budget, now: Instant) -> Parcel {
        let mut parcel = Parcel::new(self.members.get(&id).map_or(1, |member| member.window.next()), 0);
        while parcel.count() < budget.events && (parcel.count() == 0 || parcel.bytes() < budget.bytes) {
            let Some(entry) = self.next_for(id) else {
                self.rest(id);
                break;
            };
            if parcel.count() == 0 {
                parcel.gap = std::mem::take(&mut self.gap);
            }
            self.deliver(id, entry, now, &mut parcel);
        }
        if !self.shared.is_empty() {
            self.wake_one();
        }
        parcel
    }

    fn next_for(&mut self, id: MemberId) -> Option<Entry> {
        let member = self.members.get_mut(&id).filter(|member| member.is_open)?;
        let own = member.lane.first_entry();
        let shared = self.shared.first_entry();
        match (own, shared) {
            (Some(own), Some(shared)) if own.key() > shared.key() => Some(shared.remove()),
            (Some(own), _) => Some(own.remove()),
            (None, shared) => shared.map(|shared| shared.remove()),
        }
    }

    /// Notes that a member has nothing to do.
    pub(super) fn rest(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id)
            && !std::mem::replace(&mut member.is_idle, true)
        {
            self.idle.push_back(id);
        }
    }

    fn deliver(&mut self, id: MemberId, mut entry: Entry, now: Instant, parcel: &mut Parcel) {
        entry.attempts += 1;
        parcel.push(&entry.event, entry.attempts, entry.place);
        self.load.events -= 1;
        let (Some(redelivery), Some(member)) = (&self.redelivery, self.members.get_mut(&id)) else {
            self.load.bytes -= entry.event.len();
            self.is_done(entry, true);
            return;
        };
        entry.first_delivered.get_or_insert(now);
        let at = now + redelivery.ack_deadline;
        let number = member.window.push(entry, at);
        self.deadlines.push_back(Deadline { at, member: id, number });
        self.in_flight += 1;
    }

    /// The event of a place is handled, or given up.
    fn place_is_done(&mut self, place: Option<u64>, is_handled: bool) {
        let Some(place) = place else { return };
        if let Some(progress) = &mut self.progress {
            progress.done(place, is_handled);
        }
        if let Some(pulled) = &mut self.pulled {
            pulled.done(place);
        }
    }

    /// An event is handled, or given up. Its receipt is for those who are told by it.
    fn is_done(&mut self, entry: Entry, is_handled: bool) {
        self.place_is_done(entry.place, is_handled);
        if is_handled {
            entry.receipt.into_iter().for_each(Receipt::handled);
            self.letters_handled.extend(entry.letter);
        }
    }

    /// When something is due next, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|deadline| deadline.at);
        let delayed = self.delayed.peek().map(|delayed| delayed.at);
        deadline.into_iter().chain(delayed).min()
    }
}

//! Who takes part.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use super::settle::{Cause, GivenUp};
use super::window::Window;
use super::{Entries, Entry};

/// Tells a member from the others of its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct MemberId(pub(in super::super) u64);

/// How a member learns that it should take events.
pub(in super::super) trait Signal: Debug + Send + Sync {
    /// There may be something. Called with locks held: it must not call back.
    fn ready(&self);
}

#[derive(Debug)]
pub(super) struct Member {
    /// Events of the keys that it has, by arrival.
    pub(super) lane: BTreeMap<u64, Entry>,
    pub(super) window: Window,
    pub(super) signal: Arc<dyn Signal>,
    /// It found nothing when it last looked, and waits for its signal.
    pub(super) is_idle: bool,
    /// It takes new events.
    pub(super) is_open: bool,
}

/// When a delivery counts as not handled, unless that was put off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) member: MemberId,
    pub(super) number: u64,
}

impl Entries {
    /// Members that take events.
    pub(in super::super) fn has_members(&self) -> bool {
        self.members.values().any(|member| member.is_open)
    }

    /// Whether this member takes events.
    pub(in super::super) fn is_member(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|member| member.is_open)
    }

    /// Tells all members to look, whether they are idle or not.
    pub(in super::super) fn tell_all(&self) {
        self.members.values().for_each(|member| member.signal.ready());
    }

    /// Whether a member has not answered for all that it got.
    pub(in super::super) fn is_at_work(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|member| !member.window.is_empty())
    }

    /// Adds a member. It is idle until it looks for the first time.
    pub(in super::super) fn join(&mut self, id: MemberId, signal: Arc<dyn Signal>) {
        let member =
            Member { lane: BTreeMap::new(), window: Window::new(), signal, is_idle: false, is_open: true };
        self.members.insert(id, member);
        self.deal_anew();
    }

    /// A member takes no more events; it may still answer for those that it has.
    pub(in super::super) fn close(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.is_open = false;
        self.shared.append(&mut member.lane);
        if member.window.is_empty() {
            self.members.remove(&id);
        }
        self.deal_anew();
    }

    /// A member is gone. What it was at goes to others, in the order in which it came, or is given up if that was its last attempt.
    pub(in super::super) fn leave(&mut self, id: MemberId) -> Vec<GivenUp> {
        let Some(member) = self.members.remove(&id) else { return Vec::new() };
        self.shared.extend(member.lane);
        let mut given_up = Vec::new();
        for entry in member.window.into_entries() {
            self.in_flight -= 1;
            match self.is_last_attempt(&entry) {
                true => {
                    let reason = "the member that was at it is gone".to_owned();
                    given_up.push(self.give_up(entry, Cause::MaxAttempts, reason));
                }
                false => {
                    self.load.events += 1;
                    self.shared.insert(entry.arrival, entry);
                }
            }
        }
        self.deal_anew();
        given_up
    }

    /// Gives each key to the member that should have it now, and tells all who have something.
    fn deal_anew(&mut self) {
        let lanes = self.members.values_mut().map(|member| std::mem::take(&mut member.lane));
        let keyed: Vec<Entry> =
            lanes.collect::<Vec<_>>().into_iter().flat_map(BTreeMap::into_values).collect();
        let shared = std::mem::take(&mut self.shared);
        let (keyed_shared, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            shared.into_iter().partition(|(_, entry)| entry.key.is_some());
        self.shared = rest;
        for entry in keyed.into_iter().chain(keyed_shared.into_values()) {
            self.offer(entry);
        }
        if !self.shared.is_empty() {
            self.wake_one();
        }
    }
}

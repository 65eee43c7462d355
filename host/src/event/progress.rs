//! How far a subscription has come in the journal.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;

use super::receipt::Receipt;

/// Places that are remembered one by one across a restart: with more of them open below one that is done, some events come once more.
const MAX_OPEN: usize = 16_384;

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With what is published from now on.
    End,
    /// With the oldest event.
    Beginning,
    /// With the first event that was recorded then or later.
    Time(SystemTime),
    /// Behind a place.
    AfterPlace(u64),
    /// Behind the newest event with this id.
    AfterId(String),
}

/// How a subscription gets the events of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being found out where it begins.
    Preparing(Start),
    /// They are read from the journal.
    Behind,
    /// They come as they are recorded.
    Live,
}

/// How far a subscription has come: which of the events that it wants are done, and up to where it has got any.
///
/// Events that it was given and that are not done are *open*. All it wanted up to the *floor* is done.
#[derive(Debug)]
pub(super) struct Progress {
    stage: Stage,
    /// Up to here it has got what it wants.
    position: u64,
    /// What it got, from the first that is open on.
    slots: VecDeque<Slot>,
    /// Up to here it does not matter, or was told, what was deleted before it was read.
    may_lack: u64,
    /// The last that is done.
    highest_done: u64,
    /// What was known when reading began anew.
    before: Known,
    /// Of publishers who wait until events are handled, by place.
    receipts: HashMap<u64, Vec<Receipt>>,
    is_changed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    place: u64,
    /// Deliveries that failed.
    attempts: u32,
    is_done: bool,
}

/// What became of events above the floor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Nothing is known of what is above this.
    through: u64,
    /// Those up to there that are open, with the deliveries that failed. All others are done.
    open: BTreeMap<u64, u32>,
}

/// As it is kept in the journal.
#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(uint64, tag = "1")]
    through: u64,
    #[prost(uint64, repeated, tag = "2")]
    open: Vec<u64>,
    /// One for each of `open`.
    #[prost(uint32, repeated, tag = "3")]
    attempts: Vec<u32>,
    /// The subscription, as on the wire.
    #[prost(bytes = "bytes", tag = "4")]
    what: Bytes,
}

/// What to do with an event of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new; so many deliveries of it have failed before.
    Admit { attempts: u32 },
    /// It was there before, or will be read later.
    Pass,
}

impl Progress {
    /// Of a new subscription.
    pub(super) fn new(start: Start) -> Self {
        Self {
            stage: Stage::Preparing(start),
            position: 0,
            slots: VecDeque::new(),
            may_lack: 0,
            highest_done: 0,
            before: Known::default(),
            receipts: HashMap::new(),
            is_changed: false,
        }
    }

    /// Of one that was saved: how far it had come, and what it was as on the wire. What cannot be read makes events come once more.
    pub(super) fn restore(floor: u64, state: &[u8]) -> (Self, Bytes) {
        let State { through, open, attempts, what } = State::decode(state).unwrap_or_default();
        let attempts = attempts.into_iter().chain(std::iter::repeat(0));
        let before = Known { through, open: open.into_iter().zip(attempts).collect() };
        let progress = Self { before, is_changed: false, ..Self::at(floor) };
        (progress, what)
    }

    /// One that begins behind a place, and is not saved yet.
    pub(super) fn at(place: u64) -> Self {
        let mut progress = Self::new(Start::AfterPlace(place));
        progress.begin(place, place);
        progress
    }

    pub(super) fn stage(&self) -> &Stage {
        &self.stage
    }

    /// It is being found out where it begins.
    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.stage, Stage::Preparing(_))
    }

    /// Up to where it has got what it wants.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Events that it was given and has not done.
    pub(super) fn open(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_done).count()
    }

    /// It begins behind a place, and may lack events up to another that are not there.
    pub(super) fn begin(&mut self, position: u64, may_lack: u64) {
        if let Stage::Preparing(_) = self.stage {
            self.stage = Stage::Behind;
            self.position = position;
            self.may_lack = may_lack;
            self.is_changed = true;
        }
    }

    /// An event was recorded. `has_room`: it may be given it.
    pub(super) fn recorded(&mut self, place: u64, has_room: bool) -> Verdict {
        if self.stage != Stage::Live || place <= self.position {
            return Verdict::Pass;
        }
        if !has_room {
            // All that it wanted before this one it has.
            self.position = place - 1;
            self.stage = Stage::Behind;
            return Verdict::Pass;
        }
        self.admit(place)
    }

    /// An event was read.
    pub(super) fn read(&mut self, place: u64) -> Verdict {
        if self.stage != Stage::Behind || place <= self.position {
            return Verdict::Pass;
        }
        self.admit(place)
    }

    fn admit(&mut self, place: u64) -> Verdict {
        self.position = place;
        let attempts = match place <= self.before.through {
            true => match self.before.open.remove(&place) {
                Some(attempts) => attempts,
                None => return Verdict::Pass,
            },
            false => 0,
        };
        self.slots.push_back(Slot { place, attempts, is_done: false });
        Verdict::Admit { attempts }
    }

    /// Events up to a place were deleted. Gives how many of them it may have wanted and not got: that of their places.
    pub(super) fn removed(&mut self, through: u64) -> u64 {
        let known = self.position.max(self.may_lack);
        self.may_lack = self.may_lack.max(through);
        through.saturating_sub(known)
    }

    /// All up to a place was read. It gets what follows live if that is all that was recorded up to now.
    pub(super) fn read_through(&mut self, through: u64, recorded: u64) {
        if self.stage == Stage::Behind {
            self.position = self.position.max(through);
            if self.position >= self.before.through {
                // What is open among it is in the slots, or gone from the journal; the rest is done.
                self.highest_done = self.highest_done.max(self.before.through);
                self.before = Known::default();
            }
            if self.position >= recorded {
                self.stage = Stage::Live;
            }
        }
    }

    /// A publisher waits until an event is handled.
    pub(super) fn expect(&mut self, place: u64, receipt: Receipt) {
        let is_open = |index: usize| !self.slots[index].is_done;
        match place > self.position || self.slot(place).is_some_and(is_open) {
            true => self.receipts.entry(place).or_default().push(receipt),
            false => receipt.handled(),
        }
    }

    fn slot(&self, place: u64) -> Option<usize> {
        self.slots.binary_search_by_key(&place, |slot| slot.place).ok()
    }

    /// A delivery failed.
    pub(super) fn failed(&mut self, place: u64, attempts: u32) {
        if let Some(index) = self.slot(place) {
            self.slots[index].attempts = attempts;
            self.is_changed = true;
        }
    }

    /// An event is handled, or given up.
    pub(super) fn done(&mut self, place: u64, is_handled: bool) {
        let Some(index) = self.slot(place) else { return };
        self.slots[index].is_done = true;
        self.highest_done = self.highest_done.max(place);
        while self.slots.front().is_some_and(|slot| slot.is_done) {
            self.slots.pop_front();
        }
        self.is_changed = true;
        for receipt in self.receipts.remove(&place).into_iter().flatten() {
            if is_handled {
                receipt.handled();
            }
        }
    }

    /// Nobody is there any more: what is open will be read again.
    pub(super) fn park(&mut self) {
        if let Stage::Preparing(_) = self.stage {
            return;
        }
        let known = self.known();
        self.position = self.floor(0);
        self.slots.clear();
        self.before = known;
        self.stage = Stage::Behind;
    }

    /// All that it wants up to here is done. `delivered`: all up to there was given to those who are live.
    fn floor(&self, delivered: u64) -> u64 {
        match (self.slots.front(), &self.stage) {
            (Some(first), _) => first.place - 1,
            (None, Stage::Live) => self.position.max(delivered),
            (None, _) => self.position,
        }
    }

    /// What is known of what is above the floor.
    fn known(&self) -> Known {
        let failed = self.slots.iter().rev().find(|slot| slot.attempts > 0).map_or(0, |slot| slot.place);
        let through = self.highest_done.max(failed).max(self.before.through);
        let slots = self.slots.iter().filter(|slot| !slot.is_done && slot.place <= through);
        let mut open: BTreeMap<_, _> = slots.map(|slot| (slot.place, slot.attempts)).collect();
        // Those that were not read again yet.
        open.extend(&self.before.open);
        Known { through, open }
    }

    /// What to save, if something has changed since the last time: the floor and what is above it.
    pub(super) fn save(&mut self, delivered: u64, what: &Bytes) -> Option<(u64, Bytes)> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let Known { mut through, mut open } = self.known();
        while open.len() > MAX_OPEN {
            if let Some((last, _)) = open.pop_last() {
                through = last - 1;
            }
        }
        let state = State {
            through,
            attempts: open.values().copied().collect(),
            open: open.into_keys().collect(),
            what: what.clone(),
        };
        Some((self.floor(delivered), state.encode_to_vec().into()))
    }

    /// What was to be saved was not.
    pub(super) fn is_unsaved(&mut self) {
        self.is_changed = true;
    }

    /// Whether something has changed since it was saved.
    pub(super) fn has_changed(&self) -> bool {
        self.is_changed
    }
}

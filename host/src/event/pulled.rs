//! What a subscription has of the events of its durable name, which a log hands out to all hosts that share it.

use std::collections::HashSet;

use super::progress::Start;

/// The events that this host was given, and what became of them. Places tell them apart.
#[derive(Debug)]
pub(super) struct Pulled {
    stage: Stage,
    /// Those that are with the subscription.
    open: HashSet<u64>,
    settled: Settled,
    /// Those that wait for any host, when the log was asked last.
    waiting: u64,
}

/// Whether events are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The log does not know the name yet.
    Preparing(Start),
    /// They are.
    #[cfg(feature = "nats")]
    Pulling,
    /// Not before there is room.
    Resting,
}

/// What the log has to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Places of events that are handled, or are dead letters.
    pub(crate) done: Vec<u64>,
    /// Places of those that are for somebody else.
    pub(crate) given_back: Vec<u64>,
}

impl Pulled {
    pub(super) fn new(start: Start) -> Self {
        Self { stage: Stage::Preparing(start), open: HashSet::new(), settled: Settled::default(), waiting: 0 }
    }

    /// Where the name begins, while the log does not know it.
    pub(super) fn preparing(&self) -> Option<&Start> {
        match &self.stage {
            Stage::Preparing(start) => Some(start),
            _ => None,
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.stage == Stage::Resting
    }

    /// An event is handled, or given up.
    pub(super) fn done(&mut self, place: u64) {
        if self.open.remove(&place) {
            self.settled.done.push(place);
        }
    }

    /// Nobody is there any more.
    pub(super) fn park(&mut self) {
        self.settled.given_back.extend(self.open.drain());
    }

    /// Events that it was given and has not done, and those that nobody was given.
    pub(super) fn lag(&self) -> u64 {
        self.open.len() as u64 + self.waiting
    }

    /// Whether the log has to be told something.
    pub(super) fn is_unsaved(&self) -> bool {
        self.settled != Settled::default()
    }

    pub(super) fn take_settled(&mut self) -> Settled {
        std::mem::take(&mut self.settled)
    }

    /// The log was not told.
    pub(super) fn not_saved(&mut self, settled: Settled) {
        self.settled.done.extend(settled.done);
        self.settled.given_back.extend(settled.given_back);
    }
}

/// What only a log does that hands out events.
#[cfg(feature = "nats")]
impl Pulled {
    /// Events are asked for from now on.
    pub(super) fn pull(&mut self) {
        self.stage = Stage::Pulling;
    }

    /// No events are asked for until there is room.
    pub(super) fn rest(&mut self) {
        self.stage = Stage::Resting;
    }

    /// So many events wait for any host.
    pub(super) fn wait(&mut self, events: u64) {
        self.waiting = events;
    }

    /// An event came. `false`: it is here already.
    pub(super) fn admit(&mut self, place: u64) -> bool {
        self.open.insert(place)
    }

    /// An event came that nobody here takes.
    pub(super) fn give_back(&mut self, place: u64) {
        self.settled.given_back.push(place);
    }
}

//! What waits for a subscriber who gets everything, at most once.

use std::collections::VecDeque;

use super::bounds::{Bounds, Load, Overflow};
use super::parcel::{Budget, Parcel};
use super::receipt::Receipt;
use super::run::Run;

/// Events in their order, as they came side by side.
///
/// Nobody else takes from it and nothing comes back, so that nothing has to be known of a single event.
#[derive(Debug)]
pub(super) struct Runs {
    queue: VecDeque<(Run, Option<Receipt>)>,
    pub(super) load: Load,
    pub(super) bounds: Bounds,
    overflow: Overflow,
    /// Events that were dropped and not told of.
    gap: u64,
    next: u64,
}

impl Runs {
    pub(super) fn new(bounds: Bounds, overflow: Overflow) -> Self {
        Self { queue: VecDeque::new(), load: Load::default(), bounds, overflow, gap: 0, next: 1 }
    }

    /// Adds events. Gives how many were dropped, of these or of others. A publisher that may block has asked for room before.
    pub(super) fn push(&mut self, run: Run, receipt: Option<Receipt>) -> usize {
        let room = self.load.room(self.bounds);
        let (mut run, mut dropped) = (run, 0);
        match self.overflow {
            // What spills is not here.
            Overflow::Block | Overflow::Spill => {}
            Overflow::DropNewest if room == 0 => {
                dropped = run.count();
                self.gap += dropped as u64;
                return dropped;
            }
            Overflow::DropNewest => {
                let (first, rest) = run.split(room, usize::MAX);
                dropped = rest.map_or(0, |rest| rest.count());
                run = first;
            }
            Overflow::DropOldest => dropped = self.make_room(&mut run),
        }
        self.gap += dropped as u64;
        self.load.events += run.count();
        self.load.bytes += run.bytes().len();
        self.queue.push_back((run, receipt));
        dropped
    }

    /// So many events are gone that were wanted.
    #[cfg(feature = "nats")]
    pub(super) fn miss(&mut self, events: u64) {
        self.gap += events;
    }

    /// Drops the oldest until a new run has room, and the beginning of that if it is too long by itself.
    fn make_room(&mut self, run: &mut Run) -> usize {
        let mut dropped = 0;
        loop {
            let missing = run.count().saturating_sub(self.load.room(self.bounds));
            if missing == 0 {
                return dropped;
            }
            if let Some((oldest, _)) = self.pop(missing, usize::MAX) {
                dropped += oldest.count();
                continue;
            }
            let (first, Some(rest)) = run.clone().split(missing, usize::MAX) else { return dropped };
            *run = rest;
            return dropped + first.count();
        }
    }

    /// The next events: at least one, if there is one.
    pub(super) fn take(&mut self, budget: Budget) -> Parcel {
        let mut parcel = Parcel::new(self.next, self.load.bytes.min(budget.bytes));
        parcel.gap = std::mem::take(&mut self.gap);
        while parcel.count() < budget.events && (parcel.count() == 0 || parcel.bytes() < budget.bytes) {
            let left = Budget {
                events: budget.events - parcel.count(),
                bytes: budget.bytes.saturating_sub(parcel.bytes()),
            };
            let Some((run, receipt)) = self.pop(left.events, left.bytes) else { break };
            parcel.push_run(&run);
            if let Some(receipt) = receipt {
                receipt.handled();
            }
        }
        self.next += parcel.count() as u64;
        parcel
    }

    /// Takes the front of the queue, as much of it as this. A receipt goes with the last event of its run.
    fn pop(&mut self, most: usize, most_bytes: usize) -> Option<(Run, Option<Receipt>)> {
        if most == 0 {
            return None;
        }
        let (run, mut receipt) = self.queue.pop_front()?;
        let (first, rest) = run.split(most, most_bytes);
        if let Some(rest) = rest {
            self.queue.push_front((rest, receipt.take()));
        }
        self.load.events -= first.count();
        self.load.bytes -= first.bytes().len();
        Some((first, receipt))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

//! What a member is at.

use std::collections::VecDeque;
use std::time::Instant;

use super::Entry;

/// Deliveries to a member that were not answered, by their numbers.
#[derive(Debug)]
pub(super) struct Window {
    deliveries: VecDeque<Option<Delivered>>,
    /// Number of the first of them.
    first: u64,
}

#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) entry: Entry,
    /// When it counts as not handled.
    pub(super) deadline: Instant,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { deliveries: VecDeque::new(), first: 1 }
    }

    /// The number that the next delivery has.
    pub(super) fn next(&self) -> u64 {
        self.first + self.deliveries.len() as u64
    }

    /// Adds a delivery, and gives its number.
    pub(super) fn push(&mut self, entry: Entry, deadline: Instant) -> u64 {
        let number = self.next();
        self.deliveries.push_back(Some(Delivered { entry, deadline }));
        number
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Delivered> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.deliveries.get_mut(index)?.as_mut()
    }

    /// Takes out a delivery, unless it was answered before.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let delivered = self.deliveries.get_mut(index)?.take()?;
        while let Some(None) = self.deliveries.front() {
            self.deliveries.pop_front();
            self.first += 1;
        }
        Some(delivered.entry)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// All that were not answered.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.deliveries.into_iter().flatten().map(|delivered| delivered.entry)
    }
}

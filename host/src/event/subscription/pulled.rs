//! A subscription that a log of several hosts gives its events.

use bytes::Bytes;

use super::arrive::arrival;
use super::{Consequences, Queue, Subscription};

impl Subscription {
    /// The log knows its durable name and hands out events from now on.
    pub(in super::super) fn begin_pulling(&self) -> Consequences {
        let mut state = self.state();
        if let Queue::Entries(entries) = &mut state.queue
            && let Some(pulled) = &mut entries.pulled
        {
            pulled.pull();
            entries.tell_all();
        }
        self.after(state, Vec::new())
    }

    /// How many events the log may hand out. `None`: none before this is [`Wanted::More`].
    pub(in super::super) fn room_to_pull(&self) -> Option<usize> {
        let mut state = self.state();
        let Queue::Entries(entries) = &mut state.queue else { return None };
        let room = if entries.has_members() { entries.room() } else { 0 };
        let pulled = entries.pulled.as_mut()?;
        match room {
            0 => pulled.rest(),
            _ => pulled.pull(),
        }
        (room > 0).then_some(room)
    }

    /// Whether it has a place in the stream.
    pub(in super::super) fn has_progress(&self) -> bool {
        matches!(&self.state().queue, Queue::Entries(entries) if entries.progress.is_some())
    }

    /// So many of its events wait for any host.
    pub(in super::super) fn waits(&self, events: u64) {
        if let Queue::Entries(entries) = &mut self.state().queue
            && let Some(pulled) = &mut entries.pulled
        {
            pulled.wait(events);
        }
    }

    /// Adds an event of its durable name that the log has handed out.
    pub(in super::super) fn push_pulled(&self, event: Bytes, place: u64, attempts: u32) -> Consequences {
        let mut state = self.state();
        if let Queue::Entries(entries) = &mut state.queue {
            // One that is here is delivered at least once more before it is given up.
            let attempts = attempts.min(self.spec.redelivery.max_attempts.saturating_sub(1));
            entries.push_pulled(arrival(event, Some(place), None), attempts);
        }
        self.after(state, Vec::new())
    }

    /// An event that it wants is gone: there was no room for it.
    pub(in super::super) fn miss_live(&self) {
        match &mut self.state().queue {
            Queue::Runs { runs, .. } => runs.miss(1),
            Queue::Entries(entries) => entries.miss(1),
        }
        self.counts.dropped(1);
    }
}

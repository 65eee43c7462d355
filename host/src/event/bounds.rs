//! How much may wait.

use plugmesh::event::v1;

/// What may wait for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Events that wait to be delivered.
    pub(super) events: usize,
    /// Bytes of these, and of those that are being handled. The last frame of events to be let in may go beyond.
    pub(super) bytes: usize,
}

/// What happens when as much waits as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Overflow {
    /// Publishers wait.
    Block,
    /// The event that waits longest makes room.
    DropOldest,
    /// A new event is dropped.
    DropNewest,
    /// Events wait in the journal.
    Spill,
}

impl Overflow {
    /// As it is said on the wire.
    pub(super) fn to_wire(self) -> v1::Overflow {
        match self {
            Self::Block => v1::Overflow::Block,
            Self::DropOldest => v1::Overflow::DropOldest,
            Self::DropNewest => v1::Overflow::DropNewest,
            Self::Spill => v1::Overflow::Spill,
        }
    }
}

/// What waits, or has been promised room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Events that wait.
    pub(super) events: usize,
    /// Bytes that are held.
    pub(super) bytes: usize,
    promised_events: usize,
    promised_bytes: usize,
}

impl Load {
    /// Events for which there is room.
    pub(super) fn room(self, bounds: Bounds) -> usize {
        match self.bytes + self.promised_bytes < bounds.bytes {
            true => bounds.events.saturating_sub(self.events + self.promised_events),
            false => 0,
        }
    }

    /// Nothing waits any more.
    pub(super) fn empty(&mut self) {
        (self.events, self.bytes) = (0, 0);
    }

    /// Promises room to a publisher.
    pub(super) fn promise(&mut self, promise: Promise) {
        self.promised_events += promise.events;
        self.promised_bytes += promise.bytes;
    }

    /// Takes a promise back: it is kept now, or not needed.
    pub(super) fn settle(&mut self, promise: Promise) {
        self.promised_events = self.promised_events.saturating_sub(promise.events);
        self.promised_bytes = self.promised_bytes.saturating_sub(promise.bytes);
    }
}

/// Room that a publisher was promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_takes_room() {
        let bounds = Bounds { events: 10, bytes: 1000 };
        let mut load = Load { events: 3, bytes: 300, ..Load::default() };
        assert_eq!(load.room(bounds), 7);
        let promise = Promise { events: 5, bytes: 100 };
        load.promise(promise);
        assert_eq!(load.room(bounds), 2);
        load.settle(promise);
        assert_eq!(load.room(bounds), 7);
        load.promise(Promise { events: 1, bytes: 700 });
        assert_eq!(load.room(bounds), 0, "no more bytes");
    }
}

//! What was done, by whom and when.

mod line;
#[cfg(test)]
mod tests;
mod writer;

pub use line::Unreadable;
pub(crate) use writer::{Writer, of_publisher};

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of the machine's monotonic clock, which all processes share.
    pub at: u64,
    /// By whom.
    pub who: Who,
    /// What.
    pub fact: Fact,
}

/// Who did something: a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The one that kills the others.
    Runner,
    /// A publisher.
    Publisher(Incarnation),
    /// A member.
    Member(Incarnation),
}

/// A process that takes the place of one that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Which of its kind.
    pub index: u32,
    /// How many there were before.
    pub life: u32,
}

/// An event, as whoever has it sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its id, unique in a round.
    pub id: String,
    /// Its partition key.
    pub key: String,
    /// See [`events::digest`](crate::events::digest).
    pub digest: u64,
}

/// What was done. Before something is said to somebody else it is on record; what somebody else has said is on record at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A publisher is about to publish an event, for the first time or again.
    Publishing(Seen),
    /// It was told that the event is kept; `duplicate`: since it was known.
    Accepted {
        /// Which.
        id: String,
        /// It was published before.
        duplicate: bool,
    },
    /// It was told that the event is not published.
    Refused {
        /// Which.
        id: String,
        /// A status code of gRPC.
        code: i32,
    },
    /// The stream ended before it was told anything.
    Unanswered {
        /// Which.
        id: String,
    },
    /// A member has a new stream.
    Connected {
        /// Process id of the host.
        host: u32,
    },
    /// An event came on that stream.
    Delivered {
        /// Its number there.
        number: u64,
        /// 1 for the first time.
        attempt: u32,
        /// The event.
        event: Seen,
    },
    /// A delivery was handled: it is about to be acknowledged.
    Handled {
        /// Which.
        number: u64,
    },
    /// A delivery was not: the member is about to say so.
    Failed {
        /// Which.
        number: u64,
    },
    /// The member's stream is over, or the member is about to end it; it is not at anything any more.
    Lost,
    /// A host was started. Its life begins before this.
    HostStarted {
        /// Process id.
        host: u32,
    },
    /// A host is dead.
    HostDead {
        /// Process id.
        host: u32,
    },
    /// A publisher or a member is about to be killed, by the runner or by itself.
    Killing(Who),
}

/// An event of the journal, read in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place.
    pub place: u64,
    /// The event.
    pub event: Seen,
}

/// Everything about a round.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was done. That of one process is in its order.
    pub records: Vec<Record>,
    /// What the journal held in the end, as it was read.
    pub journal: Vec<Kept>,
}

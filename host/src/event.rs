//! The event bus of a host: events that are published reach whoever subscribed to their topics.

pub(crate) mod journal;

//! Events that stay in order.

use std::collections::VecDeque;

use super::{Entry, MemberId};
use crate::resilience::stable_hash::nth;

/// A key of which an event waits to be delivered, or is being handled, or waits to be delivered again.
#[derive(Debug, Default)]
pub(super) struct Key {
    /// Those that come after it.
    pub(super) behind: VecDeque<Entry>,
}

/// The member that has a key: the one with the highest random weight (Thaler, Ravishankar 1998), so that a member that comes or goes
/// moves its own keys only.
pub(super) fn rendezvous(key: u64, members: impl Iterator<Item = MemberId>) -> Option<MemberId> {
    members.max_by_key(|member| nth(key, member.0))
}

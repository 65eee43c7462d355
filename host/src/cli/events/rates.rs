//! What happens in a second: what differs between two looks at the bus.

use std::time::Duration;

use plugmesh::event::v1::{GetStatsResponse, SubscriptionStats};

/// Two looks at the bus.
#[derive(Debug)]
pub(super) struct Rates<'a> {
    before: &'a GetStatsResponse,
    seconds: f64,
}

impl<'a> Rates<'a> {
    /// From that look until `time` later.
    pub(super) fn since(before: &'a GetStatsResponse, time: Duration) -> Self {
        // Never nothing, by which it could not be divided.
        Self { before, seconds: time.as_secs_f64().max(0.001) }
    }

    /// How much more it is in a second than it was then.
    pub(super) fn of(&self, now: u64, then: impl Fn(&GetStatsResponse) -> u64) -> f64 {
        self.rate(now, then(self.before))
    }

    /// The same for a count of a subscription: the one of the same name, and of several the one at the same place.
    pub(super) fn of_subscription(
        &self,
        now: &SubscriptionStats,
        at: usize,
        count: impl Fn(&SubscriptionStats) -> u64,
    ) -> f64 {
        let then = self.before.subscriptions.iter().filter(|then| then.name == now.name).nth(at);
        self.rate(count(now), then.map_or(0, &count))
    }

    fn rate(&self, now: u64, then: u64) -> f64 {
        // A host that was started anew counts from nothing.
        now.saturating_sub(then) as f64 / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_in_a_second() {
        let one = |name: &str, delivered| SubscriptionStats {
            name: name.to_owned(),
            delivered,
            ..SubscriptionStats::default()
        };
        let subscriptions = vec![one("a", 10), one("b", 5), one("b", 7)];
        let before = GetStatsResponse { published: 100, subscriptions, ..GetStatsResponse::default() };
        let rates = Rates::since(&before, Duration::from_secs(2));
        assert_eq!(rates.of(150, |then| then.published), 25.0);
        assert_eq!(rates.of(20, |then| then.published), 0.0);
        let delivered = |name, now, at| rates.of_subscription(&one(name, now), at, |it| it.delivered);
        assert_eq!([delivered("a", 11, 0), delivered("b", 9, 1), delivered("c", 8, 0)], [0.5, 1.0, 4.0]);
    }
}

//! Whether an attempt that failed is made again, by gRPC's proposal A6.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::outcome::Pushback;
use super::stats::Event;
use super::{Endpoint, Method};
use crate::resilience::clock::Moment;

/// The attempts of a call so far.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Attempts after the first.
    retries: u32,
    /// The one free attempt after a request that nobody looked at has been made.
    was_transparent: bool,
    tried: Vec<Arc<Endpoint>>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why {
    /// Nothing of the request has reached the plugin's code.
    Unprocessed,
    /// With a status, and what the server says of another attempt.
    Status(Code, Option<Pushback>),
    /// It took longer than one attempt may.
    TimedOut,
}

impl History {
    /// Attempts after the first that the plugin may have seen.
    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    /// Where the call has been; another endpoint is better.
    pub(super) fn tried(&self) -> &[Arc<Endpoint>] {
        &self.tried
    }

    /// The pause before the next attempt; `None` when there is none.
    pub(super) fn next(
        &mut self,
        method: &Method,
        endpoint: &Arc<Endpoint>,
        why: Why,
        now: Moment,
    ) -> Option<Duration> {
        let retry = &method.policy().retry;
        if !retry.enabled {
            return None;
        }
        let (is_safe, pushback) = match why {
            // Once at no cost: a server that drains refuses what was on its way to it.
            Why::Unprocessed if !self.was_transparent => {
                self.was_transparent = true;
                method.stats().count(Event::TransparentRetry);
                self.tried.push(endpoint.clone());
                return Some(Duration::ZERO);
            }
            Why::Unprocessed => (true, None),
            Why::Status(code, pushback) => (method.is_idempotent() && retry.codes.contains(code), pushback),
            Why::TimedOut => (method.is_idempotent(), None),
        };
        if !is_safe || self.retries >= retry.max_retries {
            return None;
        }
        let pause = match pushback {
            None => method.backoff().delay(self.retries + 1),
            Some(Pushback::After(pause)) => pause,
            Some(Pushback::Never) => return None,
        };
        if !method.route().budget().try_withdraw(now) {
            method.stats().count(Event::OverBudget);
            return None;
        }
        method.stats().count(Event::Retry);
        self.retries += 1;
        self.tried.push(endpoint.clone());
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Idempotency, Policies, PolicySaid, SetBy};
    use crate::route::endpoint::tests::endpoints;
    use crate::route::{MethodInfo, Route, RouteSettings};

    fn method(idempotency: Idempotency, change: impl FnOnce(&mut PolicySaid)) -> Arc<Method> {
        let mut said = PolicySaid::default();
        said.retry.jitter = Some(0.0);
        change(&mut said);
        let policies = Policies::default().with(SetBy::Host, said);
        let settings = RouteSettings { policies, ..RouteSettings::default() };
        let info = MethodInfo { name: "M".into(), idempotency: Some(idempotency), ..MethodInfo::default() };
        Method::new(Route::new("test".parse().unwrap(), settings), "s.S".into(), Some(info), None)
    }

    const UNAVAILABLE: Why = Why::Status(Code::Unavailable, None);

    /// The pauses, in milliseconds, that a call gets which always fails in the same way.
    fn pauses(method: &Method, why: Why) -> Vec<u128> {
        let endpoint = endpoints(1).remove(0);
        let mut history = History::default();
        let next = || Some(history.next(method, &endpoint, why, Moment::default())?.as_millis());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn idempotent_calls_are_made_again_with_growing_pauses() {
        let idempotent = method(Idempotency::Idempotent, |_| {});
        assert_eq!(pauses(&idempotent, UNAVAILABLE), [100, 200, 400]);
        assert_eq!(pauses(&method(Idempotency::NoSideEffects, |_| {}), UNAVAILABLE), [100, 200, 400]);
        assert_eq!(pauses(&idempotent, Why::Status(Code::Internal, None)), []);
    }

    #[test]
    fn others_only_when_nobody_looked_at_them() {
        let other = method(Idempotency::Unknown, |_| {});
        assert_eq!(pauses(&other, UNAVAILABLE), []);
        assert_eq!(pauses(&other, Why::TimedOut), []);
        assert_eq!(pauses(&other, Why::Unprocessed), [0, 100, 200, 400]);
    }

    #[test]
    fn the_server_has_a_say() {
        let method = method(Idempotency::Idempotent, |_| {});
        let pushback = |pushback| Why::Status(Code::Unavailable, Some(pushback));
        assert_eq!(pauses(&method, pushback(Pushback::After(Duration::from_millis(7)))), [7, 7, 7]);
        assert_eq!(pauses(&method, pushback(Pushback::Never)), []);
    }

    #[test]
    fn off_is_off() {
        let off = method(Idempotency::Idempotent, |said| said.retry.enabled = Some(false));
        assert_eq!(pauses(&off, Why::Unprocessed), []);
        let none = method(Idempotency::Idempotent, |said| said.retry.max_retries = Some(0));
        assert_eq!(pauses(&none, UNAVAILABLE), []);
    }

    #[test]
    fn the_budget_ends_what_would_go_on() {
        let method = method(Idempotency::Idempotent, |said| {
            said.retry.budget_ratio = Some(0.0);
            said.retry.budget_min_per_second = Some(1);
        });
        // One a second over ten seconds, three a call.
        let given: usize = (0..10).map(|_| pauses(&method, UNAVAILABLE).len()).sum();
        assert_eq!(given, 10);
    }
}

//! How many second tries a route may make, so that retries never become the load that keeps it down.

use std::sync::{Mutex, PoisonError};

use super::clock::Moment;
use super::window::{Counts, Window};

/// Seconds over which calls count: the window's, Finagle's and linkerd's time to live.
const CALLS_SPAN: usize = 10;

/// Seconds over which retries count. One more than for calls: with the second that runs it covers at least
/// ten seconds, while calls count for at most ten, so what is promised holds for ten seconds exactly.
const RETRIES_SPAN: usize = CALLS_SPAN + 1;

/// A budget for retries and hedges by the rule of Finagle's `RetryBudget`, which tower and linkerd share: a
/// share of the calls, and a reserve for a route that has few.
///
/// In any ten seconds that end with a retry, there are at most
/// `ratio × calls in them + min_per_second × 10` retries.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    ratio: f64,
    reserve: f64,
    calls: Window<CALLS_SPAN>,
    retries: Window<RETRIES_SPAN>,
    /// Held while looking and taking, so that threads that withdraw at once cannot all take the last one.
    withdrawing: Mutex<()>,
}

impl RetryBudget {
    /// The share of calls that may be tried again, unless somebody says otherwise.
    pub(crate) const DEFAULT_RATIO: f64 = 0.2;
    /// Retries per second that are always allowed, unless somebody says otherwise.
    pub(crate) const DEFAULT_MIN_PER_SECOND: u32 = 10;

    /// A budget of that share of calls and that many retries a second. A ratio below zero counts as zero.
    pub(crate) fn new(ratio: f64, min_per_second: u32) -> Self {
        Self {
            ratio: ratio.max(0.0),
            reserve: f64::from(min_per_second) * CALLS_SPAN as f64,
            calls: Window::new(),
            retries: Window::new(),
            withdrawing: Mutex::new(()),
        }
    }

    /// Notes a call, not counting its retries. No lock.
    pub(crate) fn deposit(&self, now: Moment) {
        self.calls.add(now, Counts::PLAIN);
    }

    /// Takes one retry out of the budget. `false` leaves it as it is: the call must not be tried again. A
    /// lock for a moment, and none when the budget is used up.
    pub(crate) fn try_withdraw(&self, now: Moment) -> bool {
        if self.balance(now) < 1.0 {
            return false;
        }
        let _withdrawing = self.withdrawing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.balance(now) < 1.0 {
            return false;
        }
        self.retries.add(now, Counts::PLAIN);
        true
    }

    /// Retries that could be made at once. Fractions are calls that do not yet make up a retry.
    pub(crate) fn balance(&self, now: Moment) -> f64 {
        let calls = f64::from(self.calls.totals(now).total);
        let retries = f64::from(self.retries.totals(now).total);
        (self.ratio * calls + self.reserve - retries).max(0.0)
    }
}

impl Default for RetryBudget {
    /// 20 % and ten a second, over ten seconds.
    fn default() -> Self {
        Self::new(Self::DEFAULT_RATIO, Self::DEFAULT_MIN_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn withdraw_all(budget: &RetryBudget, now: Moment) -> usize {
        (0..100_000).take_while(|_| budget.try_withdraw(now)).count()
    }

    #[test]
    fn gives_the_reserve_and_a_share() {
        let budget = RetryBudget::default();
        assert_eq!(withdraw_all(&budget, at(0)), 100);
        for _ in 0..1_000 {
            budget.deposit(at(100));
        }
        assert_eq!(withdraw_all(&budget, at(200)), 200);
        assert_eq!(budget.balance(at(200)), 0.0);
    }

    #[test]
    fn without_a_reserve_five_calls_make_a_retry() {
        let budget = RetryBudget::new(0.2, 0);
        for _ in 0..4 {
            budget.deposit(at(0));
        }
        assert!(!budget.try_withdraw(at(0)));
        budget.deposit(at(0));
        assert!(budget.try_withdraw(at(0)));
        assert!(!budget.try_withdraw(at(0)));
    }

    #[test]
    fn calls_and_retries_expire() {
        let budget = RetryBudget::default();
        for _ in 0..1_000 {
            budget.deposit(at(0));
        }
        assert_eq!(budget.balance(at(9_999)), 300.0);
        assert_eq!(withdraw_all(&budget, at(9_999)), 300);
        assert_eq!(budget.balance(at(10_000)), 0.0);
        assert_eq!(budget.balance(at(19_999)), 0.0);
        assert_eq!(budget.balance(at(20_000)), 100.0);
    }

    #[test]
    fn threads_at_once_never_take_more() {
        let budget = RetryBudget::new(0.5, 1);
        for _ in 0..1_000 {
            budget.deposit(at(0));
        }
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| withdraw_all(&budget, at(1)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 510);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_and_the_reserve(
            ratio in 0.0..1.0,
            min_per_second in 0u32..5,
            steps in proptest::collection::vec((0u64..3_000, 0usize..30, 0usize..20), 1..50),
        ) {
            let budget = RetryBudget::new(ratio, min_per_second);
            let (mut now, mut calls, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, deposits, withdrawals) in steps {
                now += pause;
                for _ in 0..deposits {
                    budget.deposit(at(now));
                    calls.push(at(now));
                }
                for _ in 0..withdrawals {
                    if !budget.try_withdraw(at(now)) {
                        break;
                    }
                    retries.push(at(now));
                    let within = |moments: &[Moment]| {
                        let recent = |then: &&Moment| at(now).since(**then) < Duration::from_secs(10);
                        moments.iter().filter(recent).count() as f64
                    };
                    let allowed = ratio * within(&calls) + f64::from(min_per_second) * 10.0;
                    prop_assert!(within(&retries) <= allowed, "{} of {allowed}", within(&retries));
                }
            }
        }
    }
}

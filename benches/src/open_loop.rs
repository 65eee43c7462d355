//! Calls that arrive on a schedule, whatever becomes of those before.
//!
//! In a closed loop a server that stands still is called no more, so that a stall of a second is one slow call. Those
//! who call a real server do not know of each other, and come all the same: a stall of a second at 2000 calls a
//! second is 2000 slow calls. So the times are fixed beforehand, and a latency counts from the time at which its call
//! was due, not from when the program got round to it.

use std::future::Future;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::BoxError;
use crate::journal::now;

/// Calls that are due at random, with a fixed rate on average (a Poisson process).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// The same seed gives the same times.
    pub seed: u64,
    /// Calls a second.
    pub rate: f64,
    /// From the first to the last.
    pub length: Duration,
}

impl Schedule {
    /// When each call is due, from the beginning.
    pub fn arrivals(self) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let gaps = std::iter::repeat_with(move || -(1.0 - random.f64()).ln() / self.rate);
        let times = gaps.scan(0.0, |at, gap| {
            *at += gap;
            Some(Duration::from_secs_f64(*at))
        });
        times.take_while(|at| *at < self.length).collect()
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its id: its position in the schedule.
    pub id: u64,
    /// When it was due, as [`now`] counts.
    pub due: u64,
    /// From then to its end, in nanoseconds.
    pub latency: u64,
    /// The gRPC status that it ended with.
    pub code: i32,
}

impl Call {
    /// Whether it was answered.
    pub fn is_answered(&self) -> bool {
        self.code == 0
    }
}

/// What became of all calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Every call of the schedule.
    pub calls: Vec<Call>,
    /// The longest that a call was made after it was due, in nanoseconds: what the machine, not the path, adds to
    /// a latency.
    pub lag: u64,
}

/// Makes each call when it is due. `call` gives the code that the call with this id ended with. `began` is told when
/// the schedule begins.
///
/// A thread of its own keeps the time, finer than the millisecond of tokio's timers, and nothing holds it up. The
/// number of calls in flight is bounded by the schedule alone.
///
/// # Errors
/// A call panicked.
pub async fn run<C, F>(schedule: Schedule, began: impl FnOnce(u64), call: C) -> Result<Outcome, BoxError>
where
    C: Fn(u64) -> F + Send + 'static,
    F: Future<Output = i32> + Send + 'static,
{
    let arrivals = schedule.arrivals();
    let made = arrivals.len();
    let (handle, start, began_at) = (Handle::current(), Instant::now(), now());
    began(began_at);
    let keeping_time = tokio::task::spawn_blocking(move || {
        let mut lag = Duration::ZERO;
        // The task of a call is not kept: tokio frees the memory of one only with its handle, and pages that a
        // program touches for the first time can hold up whoever makes the calls for milliseconds.
        let (ended, calls) = mpsc::channel();
        for (id, at) in (0..).zip(arrivals) {
            let due = start + at;
            sleep_until(due);
            lag = lag.max(due.elapsed());
            let (calling, due_at, ended) = (call(id), began_at + at.as_nanos() as u64, ended.clone());
            handle.spawn(async move {
                let code = calling.await;
                // Nobody is there to be told once a call has panicked.
                let _ = ended.send(Call { id, due: due_at, latency: due.elapsed().as_nanos() as u64, code });
            });
        }
        drop(ended);
        (calls.into_iter().collect::<Vec<_>>(), lag)
    });
    let (mut calls, lag) = keeping_time.await?;
    if calls.len() != made {
        return Err(format!("{} of {made} calls panicked", made - calls.len()).into());
    }
    calls.sort_unstable_by_key(|call| call.id);
    Ok(Outcome { calls, lag: lag.as_nanos() as u64 })
}

#[allow(clippy::disallowed_methods, reason = "it blocks a thread that does nothing else")]
fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { seed: 7, rate: 1000.0, length: Duration::from_secs(20) };

    #[test]
    fn a_seed_gives_the_same_times_again_and_the_rate() {
        let arrivals = SCHEDULE.arrivals();
        assert_eq!(arrivals, SCHEDULE.arrivals());
        assert_ne!(arrivals, Schedule { seed: 8, ..SCHEDULE }.arrivals());
        assert!((19_000..21_000).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.is_sorted() && arrivals.iter().all(|at| *at < SCHEDULE.length));
        // Not evenly: a Poisson process has a share of 1 - 1/e of its gaps below the mean one.
        let short = arrivals.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(1)).count();
        assert!((0.60..0.66).contains(&(short as f64 / arrivals.len() as f64)), "{short}");
    }

    #[tokio::test]
    async fn a_call_that_panics_is_not_passed_over() {
        let schedule = Schedule { seed: 1, rate: 1000.0, length: Duration::from_millis(20) };
        let call = |id| async move { if id == 3 { panic!("as it should") } else { 0 } };
        let error = run(schedule, |_| {}, call).await.unwrap_err();
        assert!(error.to_string().starts_with("1 of "), "{error}");
    }

    #[tokio::test]
    async fn a_stall_is_in_the_latency_of_every_call_that_was_due() {
        // The first call holds the only thread for 100 ms: the others are late, though each is quick.
        let schedule = Schedule { seed: 1, rate: 1000.0, length: Duration::from_millis(50) };
        let stall = |id| async move {
            if id == 0 {
                let since = Instant::now();
                while since.elapsed() < Duration::from_millis(100) {}
            }
            0
        };
        let outcome = run(schedule, |_| {}, stall).await.unwrap();
        assert_eq!(outcome.calls.len(), schedule.arrivals().len());
        assert!(outcome.calls.iter().all(|call| call.latency >= 45_000_000), "{:?}", outcome.calls);
    }
}

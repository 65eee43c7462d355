//! Whether an instance still answers.
//!
//! `pace`: when it is asked. `verdict`: what its answers and its silence mean. Both are plain state that is handed the
//! time; here they meet a connection and the clock of the mesh.

mod pace;
mod verdict;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use self::pace::{Pace, Traffic};
use self::verdict::Verdict;
use super::pulse::Beat;
use crate::config::HealthCheck;
use crate::instance::{Health, HealthError, check_health};
use crate::route::Endpoint;
use crate::transport::Pool;

pub(super) use self::verdict::Thought;

/// Whether one incarnation still answers. The task of its instance asks; anybody may look.
pub struct Liveness {
    endpoint: Arc<Endpoint>,
    pool: Pool,
    config: HealthCheck,
    state: Mutex<State>,
    due: Notify,
    doubted: Notify,
}

/// A sound instance answers a check much sooner; one that does not yet gets no calls meanwhile, if there are others.
const DOUBT: Duration = Duration::from_millis(500);

struct State {
    pace: Pace,
    verdict: Verdict,
    last: Option<Answer>,
}

/// An answer to a health check.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// How long it took.
    pub took: Duration,
    /// When it came.
    pub at: SystemTime,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) thought: Thought,
    /// What it says of itself, if it said anything.
    pub(super) word: Option<Health>,
}

impl Liveness {
    pub(super) fn new(endpoint: Arc<Endpoint>, pool: Pool, config: HealthCheck) -> Arc<Self> {
        let pace = Pace::new(config.interval, Instant::now(), fastrand::f64());
        let state = State { pace, verdict: Verdict::new(config), last: None };
        Arc::new(Self {
            endpoint,
            pool,
            config,
            state: Mutex::new(state),
            due: Notify::new(),
            doubted: Notify::new(),
        })
    }

    /// The last answer to a check; `None` before the first.
    pub fn last_answer(&self) -> Option<Answer> {
        self.lock().last
    }

    /// How long nothing has been heard of it.
    pub fn silent_for(&self) -> Duration {
        self.lock().pace.heard().elapsed()
    }

    /// Whether it missed a health check, and has not answered since.
    pub fn misses_checks(&self) -> bool {
        self.lock().verdict.thought() != Thought::Sound
    }

    /// Whether it missed so many that nobody should wait for it.
    pub fn is_hung(&self) -> bool {
        self.thought() == Thought::Hung
    }

    pub(super) fn thought(&self) -> Thought {
        self.lock().verdict.thought()
    }

    /// Whether it has been hung for as long as it may.
    pub(super) fn is_overdue(&self) -> bool {
        self.lock().verdict.is_overdue(Instant::now())
    }

    /// It said something by itself.
    pub(super) fn heard(&self) -> Thought {
        self.lock().verdict.answered()
    }

    /// Waits until it should be asked again: soon while there is doubt, else when the traffic gives no proof.
    pub(super) async fn due(&self) {
        let next = self.lock().verdict.next();
        match next {
            Some(pause) => tokio::time::sleep(pause).await,
            None => self.due.notified().await,
        }
    }

    /// Waits until a check takes suspiciously long.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Asks once.
    pub(super) async fn check(self: Arc<Self>) -> Checked {
        let before = self.pool.answers_and_waiting().0;
        let began = Instant::now();
        // A call that is answered meanwhile proves as much.
        let proven = || self.pool.answers_and_waiting().0 > before;
        let mut asking = std::pin::pin!(check_health(&self.endpoint));
        let doubtful = async {
            tokio::time::sleep(DOUBT.min(self.config.timeout)).await;
            self.pool.caught_up().await;
            if !proven() {
                self.lock().verdict.doubted();
                self.doubted.notify_one();
            }
            std::future::pending().await
        };
        let answer = async {
            tokio::select! {
                biased;
                answer = &mut asking => answer,
                never = doubtful => never,
            }
        };
        let answered = tokio::time::timeout(self.config.timeout, answer).await;
        let asked = match answered {
            Ok(answer) => Ok(answer),
            // The answer may be here, unread, because this program has no time for it.
            Err(late) => tokio::select! {
                biased;
                answer = &mut asking => Ok(answer),
                () = self.pool.caught_up() => Err(late),
            },
        };
        let took = began.elapsed();
        let mut state = self.lock();
        match asked {
            Ok(Ok(word)) => {
                state.last = Some(Answer { took, at: SystemTime::now() });
                Checked { thought: state.verdict.answered(), word }
            }
            Ok(Err(_)) | Err(_) if proven() => Checked { thought: state.verdict.answered(), word: None },
            Ok(Err(error)) => {
                drop(state);
                self.failed(began, &error).await
            }
            Err(_) => Checked { thought: state.verdict.missed(Instant::now()), word: None },
        }
    }

    /// The connection did not carry the question. That counts as silence, and takes as long, lest a connection that
    /// cannot be had is taken for a plugin that has had its time.
    async fn failed(&self, began: Instant, error: &HealthError) -> Checked {
        tracing::debug!(instance = %self.endpoint.name(), "{error}");
        tokio::time::sleep_until(began + self.config.timeout).await;
        Checked { thought: self.lock().verdict.missed(Instant::now()), word: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat for Liveness {
    fn beat(&self, now: Instant) {
        let (answers, waiting) = self.pool.answers_and_waiting();
        let open = self.endpoint.in_flight();
        let traffic = Traffic { answers, begun: self.endpoint.calls() + open, waiting, open };
        if self.lock().pace.look(now, traffic, fastrand::f64) {
            self.due.notify_one();
        }
    }
}

impl fmt::Debug for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liveness").field("thought", &self.thought()).finish_non_exhaustive()
    }
}

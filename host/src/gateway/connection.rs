//! One connection and its calls, in one task.
//!
//! The calls are polled by the task that drives the connection: what a call sends is on the wire when the
//! task next looks at the socket, without waking another task in between, and the answers of calls that
//! finish together leave in one write.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::Reason;
use h2::server::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::forward::{Ended, forward};
use super::limits::Limits;
use super::principal::Caller;
use super::serve::{Shared, Upstream};

/// How many resets a client sent of late.
struct Resets {
    count: u32,
    since: Instant,
}

/// Watches for connections that nobody uses.
struct Idle<'a> {
    timer: Pin<&'a mut Sleep>,
    used: bool,
    leaving: bool,
}

/// What to do about an idle connection.
enum Idleness {
    /// Ask the client to leave.
    Begins,
    /// It was asked and did not.
    Lasts,
}

/// Drives a connection until it ends: by its client, by an error, by idleness, or after `stop` when its
/// calls are done. Dropping the future ends the connection and its calls at once.
pub(super) async fn drive<IO, U>(
    mut connection: Connection<IO, Bytes>,
    shared: Arc<Shared>,
    caller: Caller,
    upstream: U,
    stop: CancellationToken,
) -> Result<(), h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    U: Upstream,
{
    let caller = Arc::new(caller);
    let mut calls = FuturesUnordered::new();
    let mut resets = Resets { count: 0, since: Instant::now() };
    let mut stop = pin!(stop.cancelled_owned().fuse());
    let timer = pin!(sleep(shared.limits.idle_timeout));
    let mut idle = Idle { timer, used: false, leaving: false };

    poll_fn(move |cx| {
        if stop.as_mut().poll(cx).is_ready() {
            connection.graceful_shutdown();
        }
        match idle.poll(cx, calls.is_empty(), &shared.limits) {
            Poll::Ready(Idleness::Begins) => connection.graceful_shutdown(),
            Poll::Ready(Idleness::Lasts) => return Poll::Ready(Ok(())),
            Poll::Pending => {}
        }
        loop {
            while let Poll::Ready(Some(ended)) = calls.poll_next_unpin(cx) {
                if ended == Ended::Reset && resets.are_too_many(&shared.limits) {
                    tracing::warn!(caller = %caller.principal, "closing a connection that resets too many calls");
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
            }
            // Reads and writes all that the socket allows: also what the calls above had to send.
            let mut accepted = false;
            loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, reply)))) => {
                        accepted = true;
                        let call = forward(shared.clone(), caller.clone(), upstream.clone(), request, reply);
                        calls.push(unless_it_panics(call));
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            if !accepted {
                return Poll::Pending;
            }
            idle.used = true;
        }
    })
    .await
}

/// A panic ends its call, whose stream is reset as its handles unwind, and not its neighbours.
fn unless_it_panics(call: impl Future<Output = Ended>) -> impl Future<Output = Ended> {
    AssertUnwindSafe(call).catch_unwind().map(|ended| {
        ended.unwrap_or_else(|_| {
            tracing::error!("a call panicked");
            Ended::Answered
        })
    })
}

impl Resets {
    fn are_too_many(&mut self, limits: &Limits) -> bool {
        if self.since.elapsed() >= limits.reset_window {
            *self = Self { count: 0, since: Instant::now() };
        }
        self.count += 1;
        self.count > limits.max_resets
    }
}

impl Idle<'_> {
    /// Looks only when the timer fires, so that calls pay nothing for it.
    fn poll(&mut self, cx: &mut Context<'_>, no_calls: bool, limits: &Limits) -> Poll<Idleness> {
        /// For a client to close the connection after it was asked to.
        const FAREWELL: Duration = Duration::from_secs(5);
        while self.timer.as_mut().poll(cx).is_ready() {
            let unused = no_calls && !self.used;
            self.used = false;
            let wait = if unused { FAREWELL } else { limits.idle_timeout };
            // A timeout beyond what the clock can tell is none.
            match Instant::now().checked_add(wait) {
                Some(next) => self.timer.as_mut().reset(next),
                None => return Poll::Pending,
            }
            if unused {
                let before = std::mem::replace(&mut self.leaving, true);
                return Poll::Ready(if before { Idleness::Lasts } else { Idleness::Begins });
            }
        }
        Poll::Pending
    }
}

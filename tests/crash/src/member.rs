//! Takes part in a durable name until it is killed.

use std::time::Duration;

use fastrand::Rng;
use plugmesh::event::v1::{Start, start::At};
use plugmesh_sdk::events::{Delivered, Events, Subscriber, Subscription};
use rustix::process::{Signal, getpid, kill_process};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::history::{Fact, Seen, Who, Writer};
use crate::plan::Plan;
use crate::role::Task;
use crate::{BoxError, events, link};

/// What the members share.
pub(crate) const NAME: &str = "crash";

/// Of so many deliveries one fails, one ends the process before it is acknowledged, and one has the member leave and come again.
const FAILS: u32 = 25;
const DIES: u32 = 150;
const LEAVES: u32 = 150;

/// Lives of a member in which it ends by itself.
const MORTAL: u32 = 3;

/// The longest that an event takes.
const MAX_WORK: Duration = Duration::from_millis(3);

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Handled,
    Failed,
    Death,
    Leave,
}

struct Member {
    task: Task,
    plan: Plan,
    rng: Rng,
    history: Writer,
}

/// Does what a member does.
pub(crate) async fn run(task: Task) -> Result<(), BoxError> {
    let history = Writer::create(&task.directory, Who::Member(task.incarnation))?;
    let (plan, rng) = (Plan::new(task.seed), task.rng());
    let mut member = Member { task, plan, rng, history };
    loop {
        let name = format!("member {}", member.task.incarnation.index);
        let (events, host) = link::events(&member.task.socket, &name).await;
        member.history.write(Fact::Connected { host })?;
        member.take_part(&events).await?;
        // Nothing is being handled any more, and the stream ends after this is on record.
        member.history.write(Fact::Lost)?;
        drop(events);
    }
}

impl Member {
    /// Until the stream ends, or it wants to leave.
    async fn take_part(&mut self, events: &Events) -> Result<(), BoxError> {
        let Ok(mut subscriber) = events.subscribe(self.what()).await else { return Ok(()) };
        // Those that are being handled are given up with it.
        let mut work = JoinSet::new();
        loop {
            tokio::select! {
                delivered = subscriber.next() => match delivered {
                    Ok(delivered) => self.begin(&delivered, &mut work)?,
                    Err(_) => return Ok(()),
                },
                Some(done) = work.join_next() => {
                    let (number, end) = done?;
                    if self.end(&subscriber, number, end)? == End::Leave {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn what(&self) -> Subscription {
        Subscription {
            patterns: vec![events::PATTERN.to_owned()],
            durable_name: NAME.to_owned(),
            start: Some(Start { at: Some(At::Beginning(true)) }),
            queue: self.plan.queue,
            redelivery: Some(plugmesh::event::v1::Redelivery {
                // Nothing is to be given up, however often somebody is killed.
                max_attempts: 10_000,
                ..Default::default()
            }),
            ..Subscription::default()
        }
    }

    fn begin(&mut self, delivered: &Delivered, work: &mut JoinSet<(u64, End)>) -> Result<(), BoxError> {
        let &Delivered { number, attempt, ref event, .. } = delivered;
        self.history.write(Fact::Delivered { number, attempt, event: Seen::of(event) })?;
        let end = self.choose();
        let time = MAX_WORK.mul_f64(self.rng.f64() * self.rng.f64());
        work.spawn(async move {
            sleep(time).await;
            (number, end)
        });
        Ok(())
    }

    fn choose(&mut self) -> End {
        let mut one_of = |count: u32| self.rng.u32(..count) == 0;
        if one_of(FAILS) {
            End::Failed
        } else if self.task.incarnation.life < MORTAL && one_of(DIES) {
            End::Death
        } else if one_of(LEAVES) {
            End::Leave
        } else {
            End::Handled
        }
    }

    fn end(&mut self, subscriber: &Subscriber, number: u64, end: End) -> Result<End, BoxError> {
        match end {
            End::Handled => {
                self.history.write(Fact::Handled { number })?;
                subscriber.handled([number]);
            }
            End::Failed => {
                self.history.write(Fact::Failed { number })?;
                let delay = Duration::from_micros(self.rng.u64(..4_000));
                subscriber.failed(number, "not today", Some(delay));
            }
            End::Death => {
                self.history.write(Fact::Killing(Who::Member(self.task.incarnation)))?;
                kill_process(getpid(), Signal::KILL)?;
            }
            End::Leave => {}
        }
        Ok(end)
    }
}

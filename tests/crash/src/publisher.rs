//! Publishes until everything was acknowledged, whatever happens to the host or to itself meanwhile.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use plugmesh_sdk::events::{Ack, Event, EventError, Events};

use crate::history::{Fact, Seen, Who, Writer, of_publisher};
use crate::plan::Plan;
use crate::role::Task;
use crate::{BoxError, events, link};

/// Events that wait for an answer at once, at most.
const WINDOW: usize = 24;

/// What a publisher publishes, and what it knows of it.
struct Publisher {
    task: Task,
    plan: Plan,
    rng: Rng,
    history: RefCell<Writer>,
}

impl Seen {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            id: event.id().to_owned(),
            key: event.partition_key().unwrap_or_default().to_owned(),
            digest: events::digest(event),
        }
    }
}

/// Does what a publisher does, and ends.
pub(crate) async fn run(task: Task) -> Result<(), BoxError> {
    let plan = Plan::new(task.seed);
    let before = of_publisher(&task.directory, task.incarnation)?;
    let history = RefCell::new(Writer::create(&task.directory, Who::Publisher(task.incarnation))?);
    let accepted: HashSet<_> = before
        .into_iter()
        .filter_map(|record| match record.fact {
            Fact::Accepted { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    let count = plan.publishers.get(task.incarnation.index as usize).copied().unwrap_or_default();
    let mut waiting = Vec::new();
    for number in 0..count {
        let event = events::event(plan.seed, task.incarnation.index, number)?;
        if !accepted.contains(event.id()) {
            waiting.push(event);
        }
    }
    let rng = task.rng();
    Publisher { task, plan, rng, history }.publish_all(waiting).await
}

impl Publisher {
    async fn publish_all(&mut self, mut waiting: Vec<Event>) -> Result<(), BoxError> {
        while !waiting.is_empty() {
            let name = format!("publisher {}", self.task.incarnation.index);
            let (events, _) = link::events(&self.task.socket, &name).await;
            while !waiting.is_empty() {
                let window = self.rng.usize(1..=WINDOW).min(waiting.len());
                let mut published: Vec<_> = waiting.iter().take(window).cloned().collect();
                published.extend(self.once_more(&waiting[0])?);
                // Polled one after the other, and so published in their order.
                let outcomes = join_all(published.iter().map(|event| self.publish(&events, event))).await;
                let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
                let mut answers = outcomes.iter().take(window);
                waiting.retain(|_| !matches!(answers.next(), Some(Answer::Accepted)));
                if outcomes.contains(&Answer::Unanswered) {
                    break;
                }
                if self.rng.bool() {
                    tokio::time::sleep(Duration::from_micros(self.rng.u64(..3_000))).await;
                }
            }
        }
        Ok(())
    }

    /// At times, an event that was published before, as from somebody who is not sure.
    fn once_more(&mut self, next: &Event) -> Result<Option<Event>, BoxError> {
        let next: u32 =
            next.id().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        match next > 0 && self.rng.u32(..6) == 0 {
            true => {
                let number = self.rng.u32(..next);
                events::event(self.plan.seed, self.task.incarnation.index, number).map(Some)
            }
            false => Ok(None),
        }
    }

    async fn publish(&self, events: &Events, event: &Event) -> Result<Answer, BoxError> {
        self.history.borrow_mut().write(Fact::Publishing(Seen::of(event)))?;
        let id = event.id().to_owned();
        let (fact, answer) = match events.publish_acknowledged(event.clone(), Ack::Durable).await {
            Ok(outcome) => (Fact::Accepted { id, duplicate: outcome.duplicate }, Answer::Accepted),
            Err(EventError::Refused(status)) => {
                (Fact::Refused { id, code: status.code() as i32 }, Answer::Refused)
            }
            Err(_) => (Fact::Unanswered { id }, Answer::Unanswered),
        };
        self.history.borrow_mut().write(fact)?;
        Ok(answer)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    Unanswered,
}

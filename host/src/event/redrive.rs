//! Dead letters that are delivered once more.

use std::sync::Arc;

use super::bus::Bus;
use super::journal::{DeadLetter, JournalError};
use super::subscription::Subscription;

/// Letters that are read at once, however small they are.
const PAGE: usize = 256;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Redrive {
    /// Letters that are with their subscriptions again.
    pub(super) count: u64,
    /// Why others are not.
    pub(super) problems: Vec<String>,
}

/// Why a letter is not with its subscription.
enum Obstacle {
    /// The subscription takes no more for now.
    Full,
    There,
    Damaged,
}

impl Bus {
    /// Delivers dead letters once more to those who gave them up: those with these ids, of a subscription or of any.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) async fn redrive(
        &self,
        ids: &[u64],
        subscription: Option<&str>,
    ) -> Result<Redrive, JournalError> {
        let all = self.subscriptions();
        let mut redrive = Redrive::default();
        for id in ids {
            let letter = self.dead_letters.find(*id).await?.filter(|letter| letter.is_of(subscription));
            let Some(letter) = letter else {
                redrive.problems.push(format!("{id}: there is no such dead letter"));
                continue;
            };
            let name = letter.letter.subscription.clone();
            match named(&all, &name).map(|subscription| self.redrive_one(letter, subscription)) {
                Some(Ok(())) => redrive.count += 1,
                Some(Err(obstacle)) => redrive.problems.push(format!("{id}: {}", obstacle.of(&name))),
                None => redrive.problems.push(format!("{id}: there is no subscription {name}")),
            }
        }
        Ok(redrive)
    }

    /// Delivers all of a subscription's dead letters once more, the oldest first, until it takes no more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) async fn redrive_all(&self, name: &str) -> Result<Redrive, JournalError> {
        let all = self.subscriptions();
        let (mut redrive, mut after) = (Redrive::default(), 0);
        loop {
            let page = self.dead_letters.page(Some(name), after, PAGE).await?;
            after = page.last().unwrap_or(after);
            for letter in page.letters {
                let Some(subscription) = named(&all, name) else {
                    redrive.problems.push(format!("there is no subscription {name}"));
                    return Ok(redrive);
                };
                let id = letter.id;
                match self.redrive_one(letter, subscription) {
                    Ok(()) => redrive.count += 1,
                    Err(obstacle @ Obstacle::Full) => {
                        redrive.problems.push(format!("{id} and later ones: {}", obstacle.of(name)));
                        return Ok(redrive);
                    }
                    Err(obstacle) => redrive.problems.push(format!("{id}: {}", obstacle.of(name))),
                }
            }
            if !page.has_more {
                return Ok(redrive);
            }
        }
    }

    fn redrive_one(
        &self,
        DeadLetter { id, letter, is_sound }: DeadLetter,
        subscription: &Subscription,
    ) -> Result<(), Obstacle> {
        if !is_sound {
            return Err(Obstacle::Damaged);
        }
        let redriven = self.dead_letters.redrive(id).ok_or(Obstacle::There)?;
        match subscription.push_letter(&letter.event, letter.place, redriven) {
            true => Ok(()),
            false => Err(Obstacle::Full),
        }
    }
}

impl Obstacle {
    fn of(&self, name: &str) -> String {
        match self {
            Self::Full => format!("{name} is full; try again when it has handled what it has"),
            Self::There => format!("it is with {name} already"),
            Self::Damaged => "it is damaged".to_owned(),
        }
    }
}

/// A durable name and a group may be the same word; the first is the one that is kept.
fn named<'a>(all: &'a [Arc<Subscription>], name: &str) -> Option<&'a Arc<Subscription>> {
    let named = all.iter().filter(|subscription| *subscription.name == *name);
    named.max_by_key(|subscription| subscription.spec.durable_name().is_some())
}

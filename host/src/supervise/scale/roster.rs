//! Who of a plugin's instances takes calls and who is kept warm.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// What an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes calls.
    Serving,
    /// It is up, and steps in when one that takes calls is lost or more are wanted.
    Warm,
}

/// The roles of a plugin's instances. Roles change places under a lock that nobody holds for long, without waiting for
/// the plugin's operations: who steps in for one that died does so at once. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster(Arc<Mutex<BTreeMap<u32, Seat>>>);

#[derive(Debug)]
struct Seat {
    role: watch::Sender<Role>,
    /// Whether it could take calls.
    up: bool,
}

/// The place of one instance, until somebody makes it [leave](Roster::leave).
#[derive(Debug)]
pub(crate) struct Place {
    roster: Roster,
    ordinal: u32,
    role: watch::Receiver<Role>,
}

impl Roster {
    /// Gives a place, warm so far.
    pub(crate) fn place(&self, ordinal: u32) -> Place {
        let (sender, role) = watch::channel(Role::Warm);
        self.lock().insert(ordinal, Seat { role: sender, up: false });
        Place { roster: self.clone(), ordinal, role }
    }

    /// Takes the place of an instance that is to stop: whatever it does from now on changes nothing.
    pub(crate) fn leave(&self, ordinal: u32) {
        self.lock().remove(&ordinal);
    }

    /// Makes `wanted` of them take calls, those first that can.
    pub(crate) fn balance(&self, wanted: u32) {
        let seats = self.lock();
        let mut order: Vec<_> = seats.iter().collect();
        // Those that serve stay where they are, since a change helps nobody.
        order.sort_by_key(|(ordinal, seat)| {
            let serves = *seat.role.borrow() == Role::Serving;
            (Reverse(seat.up), Reverse(serves), **ordinal)
        });
        for (at, (_, seat)) in order.into_iter().enumerate() {
            seat.set(if at < wanted as usize { Role::Serving } else { Role::Warm });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn set(&self, role: Role) {
        self.role.send_if_modified(|now| std::mem::replace(now, role) != role);
    }
}

impl Place {
    /// What the instance is for now.
    pub(crate) fn role(&self) -> Role {
        *self.role.borrow()
    }

    /// Waits until that changes.
    pub(crate) async fn changed(&mut self) {
        if self.role.changed().await.is_err() {
            // The place was taken away: the instance is to stop, which it learns otherwise.
            std::future::pending::<()>().await;
        }
    }

    /// Says whether the instance could take calls. When one that serves cannot, a warm one that can steps in, and it
    /// becomes the warm one.
    pub(crate) fn set_up(&self, up: bool) {
        let mut seats = self.roster.lock();
        let own = seats.get_mut(&self.ordinal);
        // Another instance may have got the place since.
        let Some(own) = own.filter(|own| own.role.subscribe().same_channel(&self.role)) else { return };
        own.up = up;
        let role = *own.role.borrow();
        // The one that should change with this one, if any.
        let fits = |seat: &Seat| match (role, up) {
            (Role::Serving, false) => seat.up && *seat.role.borrow() == Role::Warm,
            (Role::Warm, true) => !seat.up && *seat.role.borrow() == Role::Serving,
            (Role::Serving, true) | (Role::Warm, false) => false,
        };
        let other = seats.iter().find(|(ordinal, seat)| **ordinal != self.ordinal && fits(seat));
        if let (Some((_, other)), Some(own)) = (other, seats.get(&self.ordinal)) {
            let theirs = *other.role.borrow();
            other.set(role);
            own.set(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(places: u32, serving: u32) -> (Roster, Vec<Place>) {
        let roster = Roster::default();
        let places: Vec<_> = (0..places).map(|ordinal| roster.place(ordinal)).collect();
        roster.balance(serving);
        (roster, places)
    }

    fn serving(places: &[Place]) -> Vec<u32> {
        places.iter().filter(|place| place.role() == Role::Serving).map(|place| place.ordinal).collect()
    }

    #[test]
    fn a_warm_one_steps_in_for_one_that_is_lost() {
        let (_, places) = roster(3, 2);
        assert_eq!(serving(&places), [0, 1]);
        places[0].set_up(false);
        assert_eq!(serving(&places), [0, 1], "nobody is up who could");
        places.iter().for_each(|place| place.set_up(true));
        places[0].set_up(false);
        assert_eq!(serving(&places), [1, 2]);
        places[0].set_up(true);
        assert_eq!(serving(&places), [1, 2], "it is the warm one now");
        places[2].set_up(false);
        assert_eq!(serving(&places), [0, 1]);
    }

    #[test]
    fn one_that_comes_up_warm_takes_the_place_of_one_that_is_down() {
        let (_, places) = roster(2, 1);
        places[1].set_up(true);
        assert_eq!(serving(&places), [1]);
        places[0].set_up(true);
        assert_eq!(serving(&places), [1]);
    }

    #[test]
    fn more_are_taken_from_those_that_are_up_and_fewer_from_the_end() {
        let (roster, places) = roster(4, 1);
        [0, 1, 3].iter().for_each(|up: &usize| places[*up].set_up(true));
        roster.balance(2);
        assert_eq!(serving(&places), [0, 1]);
        roster.balance(3);
        assert_eq!(serving(&places), [0, 1, 3]);
        roster.balance(1);
        assert_eq!(serving(&places), [0]);
        roster.balance(0);
        assert_eq!(serving(&places), [0; 0]);
    }

    #[test]
    fn one_that_left_changes_nothing() {
        let (roster, places) = roster(2, 1);
        places.iter().for_each(|place| place.set_up(true));
        roster.leave(0);
        roster.balance(1);
        assert_eq!(places[1].role(), Role::Serving);
        places[0].set_up(false);
        assert_eq!(places[1].role(), Role::Serving);
        let next = roster.place(0);
        places[0].set_up(true);
        places[1].set_up(false);
        assert_eq!((places[1].role(), next.role()), (Role::Serving, Role::Warm), "it is not up, whoever was");
    }
}

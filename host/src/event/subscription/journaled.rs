//! A subscription that gets its events from the journal, and what of it is kept there.

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use super::super::dead_letters::Redriven;
use super::super::journal::{Change, Cursor, NewDeadLetter};
use super::super::progress::{Progress, Stage, Start};
use super::super::pulled::{Pulled, Settled};
use super::{Consequences, Queue, State, Subscription};

/// What a subscription wants of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Wanted {
    /// To know where to begin.
    Place(Start),
    /// That the log knows its durable name, and hands out its events.
    Name(Start),
    /// To be handed out events, which it was not for a while.
    More,
    /// Events after a place; so many have room.
    Events { after: u64, room: usize },
}

/// Whether a subscription is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// Not yet.
    Preparing,
    InForce,
    /// It never will be, or is no more.
    Refused(Code, String),
}

/// What a subscription has to have saved. Unless it is, it has to be taken back.
#[derive(Debug, Default)]
pub(in super::super) struct Unsaved {
    cursor: Option<Cursor>,
    settled: Option<(String, Settled)>,
    letters: Vec<NewDeadLetter>,
    done: Vec<Redriven>,
}

impl Unsaved {
    pub(in super::super) fn changes(&self) -> Vec<Change> {
        let gone: Vec<_> = self.done.iter().map(Redriven::id).collect();
        let letters = self.letters.iter().cloned().map(Change::AddDeadLetter);
        let gone = (!gone.is_empty()).then_some(Change::RemoveDeadLetters(gone));
        let settled = self.settled.clone().map(|(name, settled)| Change::Settle(name, settled));
        // What is given up is a dead letter before it is done.
        letters.chain(gone).chain(self.cursor.clone().map(Change::SaveCursor)).chain(settled).collect()
    }
}

impl State {
    /// What it wants of the journal now.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let Queue::Entries(entries) = &self.queue else { return None };
        if let Some(pulled) = &entries.pulled {
            let has_room = || entries.has_members() && entries.room() > entries.load.events;
            return match pulled.preparing() {
                Some(start) => Some(Wanted::Name(start.clone())),
                None => (pulled.is_resting() && has_room()).then_some(Wanted::More),
            };
        }
        let progress = entries.progress.as_ref()?;
        match progress.stage() {
            Stage::Live => None,
            Stage::Preparing(start) => Some(Wanted::Place(start.clone())),
            Stage::Behind => {
                // Not for every single one, and not for nobody.
                let room = entries.room();
                let is_hungry = entries.has_members() && room > entries.load.events;
                is_hungry.then_some(Wanted::Events { after: progress.position(), room })
            }
        }
    }

    pub(super) fn is_unsaved(&self) -> bool {
        let has_progressed = match &self.queue {
            Queue::Runs { .. } => false,
            Queue::Entries(entries) => {
                entries.progress.as_ref().is_some_and(|progress| progress.has_changed())
                    || entries.pulled.as_ref().is_some_and(Pulled::is_unsaved)
            }
        };
        has_progressed || !self.letters.is_empty() || !self.letters_done.is_empty()
    }
}

impl Subscription {
    /// What it wants of the journal now.
    pub(in super::super) fn wanted(&self) -> Option<Wanted> {
        self.state().wanted()
    }

    /// Whether it is in force.
    pub(in super::super) fn standing(&self) -> Standing {
        let state = self.state();
        if let Some((code, message)) = &state.refusal {
            return Standing::Refused(*code, message.clone());
        }
        match &state.queue {
            Queue::Entries(entries) if entries.progress.as_ref().is_some_and(Progress::is_preparing) => {
                Standing::Preparing
            }
            Queue::Entries(entries)
                if entries.pulled.as_ref().is_some_and(|one| one.preparing().is_some()) =>
            {
                Standing::Preparing
            }
            _ => Standing::InForce,
        }
    }

    /// What to keep of it before it begins behind this place, if it has a durable name.
    pub(in super::super) fn first_cursor(&self, position: u64) -> Option<Cursor> {
        let name = self.spec.durable_name()?.to_owned();
        let (floor, state) = Progress::at(position).save(0, &self.wire.encode_to_vec().into())?;
        Some(Cursor { name, floor, state })
    }

    /// It begins behind a place, and may lack events up to another that are not there.
    pub(in super::super) fn begin(&self, position: u64, may_lack: u64) -> Consequences {
        let mut state = self.state();
        if let Queue::Entries(entries) = &mut state.queue
            && let Some(progress) = &mut entries.progress
        {
            progress.begin(position, may_lack);
            entries.tell_all();
        }
        self.after(state, Vec::new())
    }

    /// It is none, or none any more.
    pub(in super::super) fn refuse(&self, code: Code, message: String) {
        let mut state = self.state();
        state.refusal = Some((code, message));
        if let Queue::Entries(entries) = &state.queue {
            entries.tell_all();
        }
    }

    /// Takes what is to be saved.
    pub(in super::super) fn unsaved(&self, delivered: u64) -> Unsaved {
        let mut state = self.state();
        let settled = match (&mut state.queue, self.spec.durable_name()) {
            (Queue::Entries(entries), Some(name)) => {
                let pulled = entries.pulled.as_mut().filter(|pulled| pulled.is_unsaved());
                pulled.map(|pulled| (name.to_owned(), pulled.take_settled()))
            }
            _ => None,
        };
        if state.refusal.is_some() {
            return Unsaved { settled, ..Unsaved::default() };
        }
        let cursor = match (&mut state.queue, self.spec.durable_name()) {
            (Queue::Entries(entries), Some(name)) => entries.progress.as_mut().and_then(|progress| {
                let what = Bytes::from(self.wire.encode_to_vec());
                let (floor, state) = progress.save(delivered, &what)?;
                Some(Cursor { name: name.to_owned(), floor, state })
            }),
            (Queue::Entries(entries), None) => {
                // Nobody will ask where it was.
                entries.progress.as_mut().and_then(|progress| progress.save(delivered, &Bytes::new()));
                None
            }
            (Queue::Runs { .. }, _) => None,
        };
        let (letters, done) = (std::mem::take(&mut state.letters), std::mem::take(&mut state.letters_done));
        Unsaved { cursor, settled, letters, done }
    }

    /// Takes letters, and those that are none any more.
    pub(in super::super) fn take_letters(&self) -> (Vec<NewDeadLetter>, Vec<Redriven>) {
        let mut state = self.state();
        (std::mem::take(&mut state.letters), std::mem::take(&mut state.letters_done))
    }

    /// What was to be saved is.
    pub(in super::super) fn saved(&self, unsaved: Unsaved) {
        if unsaved.letters.len() >= super::MAX_UNSAVED
            && let Queue::Entries(entries) = &mut self.state().queue
        {
            entries.wake_all();
        }
    }

    /// What was to be saved is not.
    pub(in super::super) fn not_saved(&self, unsaved: Unsaved) {
        let Unsaved { cursor, settled, mut letters, mut done } = unsaved;
        let mut state = self.state();
        letters.append(&mut state.letters);
        done.append(&mut state.letters_done);
        (state.letters, state.letters_done) = (letters, done);
        if let (Some((_, settled)), Queue::Entries(entries)) = (settled, &mut state.queue)
            && let Some(pulled) = &mut entries.pulled
        {
            pulled.not_saved(settled);
        }
        if let (Some(_), Queue::Entries(entries)) = (cursor, &mut state.queue)
            && let Some(progress) = &mut entries.progress
        {
            progress.is_unsaved();
        }
    }

    /// Whether the log hands out its events.
    pub(in super::super) fn is_pulled(&self) -> bool {
        matches!(&self.state().queue, Queue::Entries(entries) if entries.pulled.is_some())
    }

    /// Nobody is there any more. `false`: not yet.
    pub(in super::super) fn park(&self) -> bool {
        match &mut self.state().queue {
            Queue::Entries(entries) => entries.park(),
            Queue::Runs { .. } => false,
        }
    }

    /// Its progress as it is, for a subscription that takes its place. `None`: it has not begun.
    pub(in super::super) fn cursor(&self) -> Option<(u64, Bytes)> {
        match &mut self.state().queue {
            Queue::Entries(entries) => {
                entries.progress.as_mut().filter(|one| !one.is_preparing()).and_then(|progress| {
                    progress.is_unsaved();
                    progress.save(0, &Bytes::new())
                })
            }
            Queue::Runs { .. } => None,
        }
    }

    /// Events of the journal that it wants, or may want, and has not done. `last`: the last place of the journal.
    pub(in super::super) fn lag(&self, last: u64) -> u64 {
        let state = self.state();
        let Queue::Entries(entries) = &state.queue else { return 0 };
        if let Some(pulled) = &entries.pulled {
            return pulled.lag();
        }
        let Some(progress) = &entries.progress else { return 0 };
        let unread = match progress.stage() {
            Stage::Behind => last.saturating_sub(progress.position()),
            Stage::Live | Stage::Preparing(_) => 0,
        };
        progress.open() as u64 + unread
    }
}

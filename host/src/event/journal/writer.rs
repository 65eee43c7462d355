//! The thread that owns the database.

mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rusqlite::ErrorCode;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::command::{Command, Write};
use super::error::{JournalError, code, is_damage};
use super::options::JournalOptions;
use super::store::{Files, Findings, Store};
use super::{OpenError, store};

/// Commands that wait at most. It is also how many a commit can take together: the more, the fewer waits for the disk.
pub(super) const MAX_WAITING: usize = 1024;

/// Bytes that a commit takes at most, unless a single run has more: some milliseconds of work, which is what a reader waits.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 20;

/// What the thread and the owner both look at.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: Arc<Path>,
    pub(super) next_place: AtomicU64,
    pub(super) first_place: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) dead_letters: AtomicU64,
    /// The owner is being dropped: what waits is not done any more.
    pub(super) is_ending: AtomicBool,
}

/// The thread's own.
pub(super) struct Writer {
    options: JournalOptions,
    files: Files,
    /// `None`: it failed, and is opened anew for the next that needs it.
    store: Option<Store>,
    shared: Arc<Shared>,
    pub(super) commits: u64,
    pub(super) dead_letters_dropped: u64,
    /// What is wrong now; gone with the next success.
    fault: Option<String>,
    /// What was wrong, and a person should look at.
    lasting: Option<String>,
}

impl Writer {
    /// Opens the database, which may take long after a crash or damage.
    pub(super) fn open(options: JournalOptions, shared: Arc<Shared>) -> Result<(Self, Findings), OpenError> {
        let files = Files::take(&options.path)?;
        let (store, findings) = store::open(&options, &files, false)?;
        let mut writer = Self {
            options,
            files,
            store: None,
            shared,
            commits: 0,
            dead_letters_dropped: 0,
            fault: None,
            lasting: None,
        };
        writer.note(&findings);
        writer.publish(&store);
        writer.store = Some(store);
        Ok((writer, findings))
    }

    /// Works until the owner is dropped or closes it.
    pub(super) async fn run(mut self, mut commands: Receiver<Command>) {
        let mut waiting = Vec::with_capacity(MAX_WAITING);
        let mut closing = None;
        let mut tick = Instant::now();
        let mut has_more_to_delete = false;
        while closing.is_none() {
            let until = if has_more_to_delete { Instant::now() } else { tick };
            let is_gone = timeout_at(until, commands.recv_many(&mut waiting, MAX_WAITING)).await == Ok(0);
            if is_gone || self.shared.is_ending.load(Relaxed) {
                return;
            }
            self.work(&mut waiting, &mut closing);
            let is_tick = Instant::now() >= tick;
            if is_tick {
                tick = Instant::now() + self.options.tick;
            }
            if is_tick || has_more_to_delete || self.store.as_ref().is_some_and(Store::exceeds_limits) {
                has_more_to_delete = self.with_store(Store::retain).unwrap_or(false);
            }
        }
        if let Some(store) = self.store.take()
            && let Err(error) = store.checkpoint()
        {
            tracing::warn!(path = %self.files.path.display(), %error, "the log of the journal stays as it is");
        }
        // With the file closed and let go.
        drop(self);
        if let Some(closing) = closing {
            let _ = closing.send(());
        }
    }

    /// Does what waits: first what is written, in as few commits as may be, then the rest.
    fn work(&mut self, waiting: &mut Vec<Command>, closing: &mut Option<tokio::sync::oneshot::Sender<()>>) {
        let (mut batch, mut bytes, mut asks, mut permits) = (Vec::new(), 0, Vec::new(), Vec::new());
        for command in waiting.drain(..) {
            match command {
                Command::Write(write, permit) => {
                    if bytes > 0 && bytes + write.bytes() > MAX_BATCH_BYTES {
                        self.write(std::mem::take(&mut batch));
                        bytes = 0;
                    }
                    bytes += write.bytes();
                    batch.push(write);
                    permits.extend(permit);
                }
                Command::Ask(ask) => asks.push(ask),
                Command::Close(answer) => *closing = Some(answer),
            }
        }
        self.write(batch);
        for ask in asks {
            ask(self);
        }
    }

    fn write(&mut self, mut batch: Vec<Write>) {
        if batch.is_empty() || self.shared.is_ending.load(Relaxed) {
            return;
        }
        match self.with_store(|store| transaction::run(store, &batch)) {
            Ok(done) => {
                self.commits += 1;
                self.dead_letters_dropped += done.dropped;
                if !done.has_refused {
                    self.fault = None;
                }
                let refusal = JournalError::LimitReached {
                    path: self.files.path.clone(),
                    max_bytes: self.options.max_bytes_total,
                };
                if done.has_refused {
                    self.fail(&refusal);
                }
                for (write, outcome) in batch.into_iter().zip(done.outcomes) {
                    write.answer(match outcome {
                        super::command::Outcome::Refused => Err(refusal.clone()),
                        outcome => Ok(outcome),
                    });
                }
            }
            // Nothing was recorded. What is small may still fit, and what cannot be recorded takes nothing else along.
            Err(_) if batch.len() > 1 && self.store.is_some() => {
                for write in batch.drain(..) {
                    self.write(vec![write]);
                }
            }
            Err(error) => batch.into_iter().for_each(|write| write.answer(Err(error.clone()))),
        }
    }

    /// Does something with the database; once more when it was damaged and could be replaced.
    pub(super) fn with_store<T>(
        &mut self,
        mut work: impl FnMut(&mut Store) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let mut is_second = false;
        loop {
            let mut store = match self.store.take() {
                Some(store) => store,
                None => self.reopen(false)?,
            };
            let error = match work(&mut store) {
                Ok(done) => {
                    self.publish(&store);
                    self.store = Some(store);
                    return Ok(done);
                }
                Err(error) => error,
            };
            store.roll_back();
            if is_damage(&error) && !is_second {
                tracing::error!(path = %self.files.path.display(), %error, "the journal is damaged");
                drop(store);
                self.store = Some(self.reopen(true)?);
                is_second = true;
                continue;
            }
            // After such a fault nobody knows what of the file is on the disk.
            if !store.is_stuck() && code(&error) != Some(ErrorCode::SystemIoFailure) {
                self.publish(&store);
                self.store = Some(store);
            }
            let error = JournalError::of(&self.files.path, error);
            self.fail(&error);
            return Err(error);
        }
    }

    fn reopen(&mut self, is_known_damaged: bool) -> Result<Store, JournalError> {
        match store::open(&self.options, &self.files, is_known_damaged) {
            Ok((store, findings)) => {
                self.note(&findings);
                Ok(store)
            }
            Err(error) => {
                let error = JournalError::Failed { path: self.files.path.clone(), source: Arc::new(error) };
                self.fail(&error);
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: &JournalError) {
        let text = error.to_string();
        if self.fault.as_ref() != Some(&text) {
            tracing::error!(error = error as &dyn std::error::Error, "the journal cannot do its work");
            self.fault = Some(text);
        }
    }

    fn note(&mut self, findings: &Findings) {
        if let Some(salvage) = &findings.salvage {
            let kept = salvage.kept_at.display();
            self.lasting =
                Some(format!("the journal was damaged; what was sound is in use, the rest is in {kept}"));
        }
    }

    /// What is wrong, for people.
    pub(super) fn problem(&self) -> Option<String> {
        let damaged = self.store.as_ref().map_or(0, |store| store.ledger.damaged_rows);
        let aside = (damaged > 0).then(|| {
            let path = self.files.path.display();
            format!("{damaged} damaged rows are kept in the table 'damaged' of {path}")
        });
        let parts: Vec<_> = [self.fault.clone(), self.lasting.clone(), aside].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    pub(super) fn first_place(&self) -> u64 {
        self.shared.first_place.load(Relaxed)
    }

    pub(super) fn next_place(&self) -> u64 {
        self.shared.next_place.load(Relaxed)
    }

    /// Bytes of the files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.files.bytes()
    }

    fn publish(&self, store: &Store) {
        self.shared.next_place.store(store.ledger.next_place, Relaxed);
        self.shared.first_place.store(store.ledger.first_place(), Relaxed);
        self.shared.events.store(store.ledger.events(), Relaxed);
        self.shared.dead_letters.store(store.ledger.dead_letters, Relaxed);
    }
}

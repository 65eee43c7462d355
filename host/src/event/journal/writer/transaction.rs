//! One transaction with all that waited.

use crate::event::journal::StreamId;
use crate::event::journal::clock::time;
use crate::event::journal::command::{Appended, Change, Committed, Outcome, Write};
use crate::event::journal::options::Fsync;
use crate::event::journal::store::{Appender, Store};

/// Bytes that a row takes beside its events, about.
const ROW_BYTES: u64 = 64;

/// What came of a transaction.
pub(super) struct Done {
    /// One for each write, in their order.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) has_refused: bool,
    /// Dead letters that went because there were too many.
    pub(super) dropped: u64,
}

/// Does all of `batch` that there is room for, or nothing.
pub(super) fn run(store: &mut Store, batch: &[Write]) -> rusqlite::Result<Done> {
    let is_safe = |stream: StreamId| store.fsync(stream.0) == Fsync::Batch;
    let has_safe = batch.iter().filter_map(Write::stream).any(is_safe);
    let fsync = if has_safe { Fsync::Batch } else { Fsync::Os };
    let room = store.room()?;
    let dropped = store.ledger.dead_letters_dropped;
    store.begin(fsync)?;
    let outcomes = fill(store, batch, room).and_then(|outcomes| {
        store.commit()?;
        Ok(outcomes)
    });
    if outcomes.is_err() {
        store.roll_back();
    }
    let outcomes = outcomes?;
    let has_refused = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused));
    Ok(Done { outcomes, has_refused, dropped: store.ledger.dead_letters_dropped - dropped })
}

fn fill(store: &mut Store, batch: &[Write], mut room: u64) -> rusqlite::Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut appender = Appender::new(store);
    let recorded = time(appender.recorded());
    for write in batch {
        outcomes.push(match write {
            Write::Change { changes, .. } => Outcome::Changed(change(store, changes)?),
            Write::Append { run: (stream, run), .. } => {
                match room.checked_sub(run.bytes().len() as u64 + ROW_BYTES) {
                    None => Outcome::Refused,
                    Some(left) => {
                        room = left;
                        let first_place = appender.push(store, stream.0, run)?;
                        Outcome::Appended(Appended { first_place, recorded })
                    }
                }
            }
        });
    }
    appender.finish(store)?;
    Ok(outcomes)
}

fn change(store: &mut Store, changes: &[Change]) -> rusqlite::Result<Committed> {
    let mut committed = Committed::default();
    let dropped = store.ledger.dead_letters_dropped;
    for change in changes {
        match change {
            Change::SaveCursor(cursor) => store.save_cursor(cursor)?,
            Change::RemoveCursor(name) => store.remove_cursor(name)?,
            Change::Settle(..) => {}
            Change::AddDeadLetter(letter) => committed.added.push(store.add_dead_letter(letter.clone())?),
            Change::RemoveDeadLetters(ids) => committed.removed += store.remove_dead_letters(ids)?,
        }
    }
    committed.dropped = store.ledger.dead_letters_dropped - dropped;
    Ok(committed)
}

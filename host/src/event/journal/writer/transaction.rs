//! One transaction with all that waited.

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
    let has = |fsync| batch.iter().flat_map(Write::runs).any(|(stream, _)| store.fsync(stream.0) == fsync);
    let fsync = if has(Fsync::Batch) { Fsync::Batch } else { Fsync::Os };
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
        let need = write.bytes() as u64 + ROW_BYTES * write.runs().len() as u64;
        if let Write::Change { changes, .. } = write {
            outcomes.push(Outcome::Changed(change(store, changes)?));
            continue;
        }
        let Some(left) = room.checked_sub(need) else {
            outcomes.push(Outcome::Refused);
            continue;
        };
        room = left;
        let mut push = |(stream, run): &(crate::event::journal::StreamId, _)| {
            appender.push(store, stream.0, run).map(|first_place| Appended { first_place, recorded })
        };
        outcomes.push(match write {
            Write::Append { run, .. } => Outcome::AppendedOne(push(run)?),
            _ => Outcome::Appended(write.runs().iter().map(push).collect::<Result<_, _>>()?),
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

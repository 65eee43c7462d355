//! Reading all of a table that can be read.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::BoxError;

/// Visits the rows of a table in the order of their numbers (column 0), passes over what cannot be read, and says where that is.
pub(super) fn walk(
    source: &Connection,
    table: &str,
    columns: &str,
    mut visit: impl FnMut(&Row<'_>) -> Result<(), BoxError>,
) -> Result<Vec<RangeInclusive<u64>>, BoxError> {
    let walker = Walker { source, table };
    let sql = format!("SELECT {columns} FROM {table} WHERE rowid >= ?1 ORDER BY rowid");
    let mut unreadable = Vec::new();
    let Ok(mut select) = source.prepare(&sql) else {
        return Ok(vec![0..=u64::MAX]);
    };
    let mut from = 0_i64;
    loop {
        let Err(error) = walker.visit_from(&mut select, &mut from, &mut visit)? else {
            return Ok(unreadable);
        };
        tracing::warn!(table, from, %error, "a part of the damaged journal cannot be read");
        let Some(next) = walker.after_gap(from) else {
            unreadable.push(from.cast_unsigned()..=u64::MAX);
            return Ok(unreadable);
        };
        unreadable.push(from.cast_unsigned()..=(next - 1).cast_unsigned());
        from = next;
    }
}

struct Walker<'a> {
    source: &'a Connection,
    table: &'a str,
}

impl Walker<'_> {
    /// Goes on from `from` to the end, or to what cannot be read; `from` is then the first number that was not visited.
    fn visit_from(
        &self,
        select: &mut rusqlite::Statement<'_>,
        from: &mut i64,
        visit: &mut impl FnMut(&Row<'_>) -> Result<(), BoxError>,
    ) -> Result<rusqlite::Result<()>, BoxError> {
        let mut rows = match select.query([*from]) {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            let number: i64 = row.get(0)?;
            // A damaged tree may lead back.
            if number >= *from {
                visit(row)?;
                *from = number.saturating_add(1);
            }
        }
    }

    /// The number of the first row behind what cannot be read at `from`, or one before it. `None`: nothing behind can be read.
    fn after_gap(&self, from: i64) -> Option<i64> {
        // The way to the row is sound: it is the row itself that cannot be read.
        if let Ok(found) = self.first_from(from) {
            return found.map(|row| row.saturating_add(1));
        }
        // Leaps, each twice as wide, until one lands; then halves back to where what can be read begins.
        let (mut bad, mut width) = (from, 1_i64);
        let mut good = loop {
            let next = from.checked_add(width)?;
            if self.first_from(next).is_ok() {
                break next;
            }
            bad = next;
            width = width.checked_mul(2)?;
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            match self.first_from(middle) {
                Ok(_) => good = middle,
                Err(_) => bad = middle,
            }
        }
        self.first_from(good).ok().flatten()
    }

    fn first_from(&self, from: i64) -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT rowid FROM {} WHERE rowid >= ?1 ORDER BY rowid LIMIT 1", self.table);
        self.source.prepare_cached(&sql)?.query_row([from], |row| row.get(0)).optional()
    }
}

//! What was executed, on record whatever happens to the process.
//!
//! A process under test is killed, frozen and cut off from its callers, so that no status tells whether it did a piece
//! of work. It writes that down itself, before it does the work, and each record is trustworthy:
//!
//! - Once `write` has returned, the record is in the kernel's page cache. No signal takes it out again; only the
//!   kernel's own end would.
//! - A record has 32 bytes, always. Every page holds a whole number of them, and a write is not interrupted within
//!   a page, so that there is no half of a record.
//! - Each incarnation of a process has a file of its own, opened to append.
//!
//! What began counts as executed. A process that dies in the middle of its work may or may not have done it, and
//! "perhaps twice" is twice.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::BoxError;

/// Bytes of a record.
const RECORD: usize = 32;

/// The largest id that a record can hold.
const MAX_ID: u64 = 9_999_999_999;

/// What a record tells of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt at it has arrived.
    Arrived,
    /// The work was begun.
    Executed,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// To which call.
    pub id: u64,
    /// When, as [`now`] gives it.
    pub at: u64,
}

/// Nanoseconds since 1970. One clock for all processes; should somebody set it during a run, only the figures of
/// when traffic left an instance are wrong, not the latencies.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Which incarnation of which instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation {
    /// Position among the instances, from 0.
    pub ordinal: u32,
    /// Its process.
    pub pid: u32,
}

impl Incarnation {
    /// The file of its journal in `folder`.
    pub fn file(self, folder: &Path) -> PathBuf {
        folder.join(format!("journal-{}-{}", self.ordinal, self.pid))
    }

    fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("journal-")?;
        let (ordinal, pid) = name.split_once('-')?;
        Some(Self { ordinal: ordinal.parse().ok()?, pid: pid.parse().ok()? })
    }
}

/// The journal that a process keeps.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Begins the journal of `incarnation` in `folder`.
    ///
    /// # Errors
    /// The file cannot be made, or is there already.
    pub fn create(folder: &Path, incarnation: Incarnation) -> Result<Self, BoxError> {
        let path = incarnation.file(folder);
        Ok(Self(OpenOptions::new().append(true).create_new(true).open(path)?))
    }

    /// Writes one record. It is there for good when this returns.
    ///
    /// # Errors
    /// The disk is full, or the id has more than ten digits.
    pub fn write(&self, event: Event, id: u64) -> Result<(), BoxError> {
        if id > MAX_ID {
            return Err(format!("{id} does not fit a record").into());
        }
        let kind = match event {
            Event::Arrived => 'A',
            Event::Executed => 'E',
        };
        let mut record = [0; RECORD];
        writeln!(record.as_mut_slice(), "{kind}{id:010} {:019}", now())?;
        // One call of `write`, not `write_all`: a record that comes in two parts is no record.
        match (&self.0).write(&record)? {
            RECORD => Ok(()),
            less => Err(format!("only {less} bytes of a record were written").into()),
        }
    }
}

/// Every journal in `folder`.
///
/// # Errors
/// A file cannot be read, or is no journal.
pub fn read_all(folder: &Path) -> Result<Vec<(Incarnation, Vec<Record>)>, BoxError> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(incarnation) = Incarnation::of_file(&path) {
            let records = parse(&std::fs::read(&path)?);
            let records = records.ok_or_else(|| format!("{} is no journal", path.display()))?;
            journals.push((incarnation, records));
        }
    }
    journals.sort_by_key(|(incarnation, _)| *incarnation);
    Ok(journals)
}

fn parse(bytes: &[u8]) -> Option<Vec<Record>> {
    let (records, rest) = bytes.as_chunks::<RECORD>();
    rest.is_empty().then(|| records.iter().map(parse_record).collect()).flatten()
}

fn parse_record(record: &[u8; RECORD]) -> Option<Record> {
    let text = std::str::from_utf8(record).ok()?.strip_suffix('\n')?;
    let (event, text) = match text.split_at_checked(1)? {
        ("A", rest) => (Event::Arrived, rest),
        ("E", rest) => (Event::Executed, rest),
        _ => return None,
    };
    let (id, at) = text.split_once(' ')?;
    Some(Record { event, id: id.parse().ok()?, at: at.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_by_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Incarnation { ordinal: 2, pid: 11 }, Incarnation { ordinal: 0, pid: 12 });
        let before = now();
        let journal = Journal::create(folder.path(), one).unwrap();
        journal.write(Event::Arrived, 0).unwrap();
        journal.write(Event::Executed, MAX_ID).unwrap();
        drop(Journal::create(folder.path(), two).unwrap());
        std::fs::write(folder.path().join("something-else"), "no journal").unwrap();

        let journals = read_all(folder.path()).unwrap();
        assert_eq!(journals.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [two, one]);
        assert!(journals[0].1.is_empty());
        let records = &journals[1].1;
        assert_eq!((records[0].event, records[0].id), (Event::Arrived, 0));
        assert_eq!((records[1].event, records[1].id), (Event::Executed, MAX_ID));
        assert!(records.iter().all(|record| record.at >= before && record.at <= now()));
    }

    #[test]
    fn a_page_holds_whole_records() {
        assert_eq!(4096 % RECORD, 0);
        let folder = tempfile::tempdir().unwrap();
        let of = Incarnation { ordinal: 0, pid: 1 };
        Journal::create(folder.path(), of).unwrap().write(Event::Arrived, 7).unwrap();
        assert_eq!(std::fs::metadata(of.file(folder.path())).unwrap().len(), RECORD as u64);
    }

    #[test]
    fn what_is_no_record_is_not_taken_for_one() {
        assert_eq!(parse(b"E0000000001 00000000"), None);
        assert_eq!(parse(b"X0000000001 0000000000000000001\n"), None);
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), Incarnation { ordinal: 0, pid: 1 }).unwrap();
        assert!(journal.write(Event::Executed, MAX_ID + 1).is_err());
    }
}

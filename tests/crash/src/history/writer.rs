//! The file that a process writes its records to.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Fact, Incarnation, Record, Unreadable, Who, line};
use crate::BoxError;

/// Writes records, each at once: whatever happens to this process, it is there.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    who: Who,
}

/// Nanoseconds of a clock that all processes share.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).map_or(0, |now| now.as_nanos() as u64)
}

impl Who {
    /// Its file in a directory.
    pub(crate) fn path(self, directory: &Path) -> PathBuf {
        directory.join(self.to_string())
    }

    /// Reads what is whole of some text of its file, and says how long that is: a process may be killed in the middle of a line.
    pub(crate) fn read(self, text: &str, records: &mut Vec<Record>) -> Result<usize, Unreadable> {
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for one in text[..whole].lines() {
            let (at, fact) = line::read(one)?;
            records.push(Record { at, who: self, fact });
        }
        Ok(whole)
    }
}

impl Writer {
    /// A new file in a directory.
    pub(crate) fn create(directory: &Path, who: Who) -> Result<Self, BoxError> {
        Ok(Self { file: File::create_new(who.path(directory))?, who })
    }

    /// Writes down what is done now.
    pub(crate) fn write(&mut self, fact: Fact) -> Result<Record, BoxError> {
        let at = now();
        self.file.write_all(format!("{at} {fact}\n").as_bytes())?;
        Ok(Record { at, who: self.who, fact })
    }
}

/// What a publisher has written down in its earlier lives.
pub(crate) fn of_publisher(directory: &Path, now: Incarnation) -> Result<Vec<Record>, BoxError> {
    let mut records = Vec::new();
    for life in 0..now.life {
        let who = Who::Publisher(Incarnation { life, ..now });
        match std::fs::read_to_string(who.path(directory)) {
            Ok(text) => drop(who.read(&text, &mut records)?),
            // It was killed before it had begun.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}

//! Reads histories while they are written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::BoxError;
use crate::history::{Record, Who};

/// The file of one process.
#[derive(Debug)]
pub(crate) struct Tail {
    who: Who,
    path: PathBuf,
    file: Option<File>,
    /// What was read and is not a whole line.
    rest: Vec<u8>,
}

impl Tail {
    /// That of a process that was just started, or will be.
    pub(crate) fn new(directory: &Path, who: Who) -> Self {
        Self { who, path: who.path(directory), file: None, rest: Vec::new() }
    }

    /// Adds what was written since the last time.
    pub(crate) fn read(&mut self, records: &mut Vec<Record>) -> Result<(), BoxError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        };
        if file.read_to_end(&mut self.rest)? > 0 {
            let whole = self.who.read(std::str::from_utf8(&self.rest)?, records)?;
            self.rest.drain(..whole);
        }
        Ok(())
    }
}

//! A disk in memory that loses power.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// Files as SQLite sees them, and as they would be found after a loss of power.
///
/// A write is on the disk for sure once its file was synced. Before that, any of its sectors may be there or not, in any order.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    syncs: u64,
    operations: u64,
    /// Bytes that all files may have.
    capacity: Option<usize>,
    crash: Option<Crash>,
    survivors: Option<Survivors>,
    /// Places that were acknowledged, as the test tells.
    acknowledged: Vec<u64>,
}

/// When the power goes.
#[derive(Debug)]
struct Crash {
    at_operation: u64,
    seed: u64,
}

/// What is found when the power is back.
#[derive(Clone, Debug)]
pub(crate) struct Survivors {
    files: BTreeMap<String, Vec<u8>>,
    /// What was acknowledged before.
    pub(crate) acknowledged: Vec<u64>,
}

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// No space is left.
#[derive(Debug)]
pub(super) struct Full;

impl Disk {
    /// A disk that SQLite uses through the file layer of that name, for as long as this process lives.
    pub(crate) fn register(name: &str) -> &'static Self {
        let disk = Box::leak(Box::default());
        super::vfs::register(name, disk);
        disk
    }

    /// The same, when the power is back: with what survived, as files of a directory.
    pub(crate) fn register_with(name: &str, survivors: &Survivors, directory: &Path) -> &'static Self {
        let disk = Self::register(name);
        for (path, bytes) in &survivors.files {
            let path = directory.join(Path::new(path).file_name().unwrap());
            let file = File { now: bytes.clone(), synced: bytes.clone(), since: Vec::new() };
            disk.state().files.insert(path.to_str().unwrap().to_owned(), file);
        }
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets all files together have that many bytes.
    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> usize {
        self.state().files.values().map(|file| file.now.len()).sum()
    }

    /// How often a file was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Has the power go after so many more operations. SQLite does not notice: what counts is what is kept of that moment.
    pub(crate) fn crash_after(&self, operations: u64, seed: u64) {
        let mut state = self.state();
        let at_operation = state.operations + operations;
        state.crash = Some(Crash { at_operation, seed });
        state.survivors = None;
    }

    /// Notes an acknowledged place.
    pub(crate) fn acknowledge(&self, place: u64) {
        self.state().acknowledged.push(place);
    }

    /// What there is after the crash. `None`: it has not come yet.
    pub(crate) fn survivors(&self) -> Option<Survivors> {
        self.state().survivors.clone()
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.state().files.contains_key(name)
    }

    pub(super) fn create(&self, name: &str) {
        self.state().files.entry(name.to_owned()).or_default();
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        self.state().files.remove(name).is_some()
    }

    pub(super) fn len(&self, name: &str) -> usize {
        self.state().files.get(name).map_or(0, |file| file.now.len())
    }

    /// Fills `to` from a file, and says how much there was.
    pub(super) fn read(&self, name: &str, at: usize, to: &mut [u8]) -> usize {
        let state = self.state();
        let from = state.files.get(name).and_then(|file| file.now.get(at..)).unwrap_or_default();
        let length = from.len().min(to.len());
        to[..length].copy_from_slice(&from[..length]);
        length
    }

    pub(super) fn write(&self, name: &str, at: usize, bytes: &[u8]) -> Result<(), Full> {
        let mut state = self.state();
        state.step();
        let used: usize = state.files.values().map(|file| file.now.len()).sum();
        let capacity = state.capacity;
        let file = state.files.entry(name.to_owned()).or_default();
        let more = (at + bytes.len()).saturating_sub(file.now.len());
        if more > 0 && capacity.is_some_and(|capacity| used + more > capacity) {
            return Err(Full);
        }
        put(&mut file.now, at, bytes);
        file.since.push(Change::Write(at, bytes.to_vec()));
        Ok(())
    }

    pub(super) fn truncate(&self, name: &str, length: usize) {
        let mut state = self.state();
        state.step();
        let file = state.files.entry(name.to_owned()).or_default();
        file.now.resize(length, 0);
        file.since.push(Change::Truncate(length));
    }

    pub(super) fn sync(&self, name: &str) {
        let mut state = self.state();
        state.step();
        state.syncs += 1;
        if let Some(file) = state.files.get_mut(name) {
            file.synced.clone_from(&file.now);
            file.since.clear();
        }
    }
}

impl State {
    /// Before anything changes: the crash, if this is its moment.
    fn step(&mut self) {
        self.operations += 1;
        let Some(crash) = self.crash.take_if(|crash| self.operations >= crash.at_operation) else { return };
        let mut rng = Rng::with_seed(crash.seed);
        let files =
            self.files.iter().map(|(name, file)| (name.clone(), file.after_crash(&mut rng))).collect();
        self.survivors = Some(Survivors { files, acknowledged: self.acknowledged.clone() });
    }
}

impl File {
    fn after_crash(&self, rng: &mut Rng) -> Vec<u8> {
        let mut found = self.synced.clone();
        // From nearly nothing to nearly everything.
        let share = rng.f64();
        for change in &self.since {
            match change {
                Change::Truncate(length) if rng.f64() < share => found.resize(*length, 0),
                Change::Truncate(_) => {}
                Change::Write(at, bytes) => {
                    for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                        if rng.f64() < share {
                            put(&mut found, at + index * SECTOR, sector);
                        }
                    }
                }
            }
        }
        found
    }
}

impl Survivors {
    /// Writes the files to a real directory.
    pub(crate) fn restore(&self, directory: &Path) {
        for (name, bytes) in &self.files {
            std::fs::write(directory.join(Path::new(name).file_name().unwrap()), bytes).unwrap();
        }
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

//! The files of a journal.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PAGE_BYTES;
use crate::event::journal::error::OpenError;

/// Names for what was found damaged that are tried before giving up.
const MAX_KEPT: u32 = 10_000;

/// A journal on the disk, held for this process alone.
#[derive(Debug)]
pub(in crate::event::journal) struct Files {
    /// The database.
    pub(in crate::event::journal) path: Arc<Path>,
    /// Locked for as long as this value lives; the system lets it go as well when the process dies.
    _lock: File,
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Io { path, source }
}

impl Files {
    /// Takes the journal for this process, and finishes what a salvage left undone that was cut off.
    pub(in crate::event::journal) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        let lock = private().write(true).open(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.into() }),
            Err(TryLockError::Error(error)) => return Err(io(&lock_path)(error)),
        }
        let files = Self { path: path.into(), _lock: lock };
        files.finish_salvage().map_err(io(path))?;
        Ok(files)
    }

    /// Makes the database if there is none, for this user alone; SQLite gives its log the same rights.
    pub(super) fn create(&self) -> Result<(), OpenError> {
        private().write(true).open(&self.path).map_err(io(&self.path))?;
        self.sync_directory().map_err(io(&self.path))
    }

    /// Whether there was a journal, and now there are not even the first bytes of a database.
    pub(super) fn is_cut_to_nothing(&self) -> bool {
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        length < PAGE_BYTES as u64 && self.path.exists() && self.head_path().exists()
    }

    /// Whether a journal of this version was opened here before.
    pub(super) fn has_head(&self) -> bool {
        self.head_path().exists()
    }

    /// Bytes of the database and its log.
    pub(in crate::event::journal) fn bytes(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(&self.wal_path())
    }

    fn wal_path(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }

    fn head_path(&self) -> PathBuf {
        beside(&self.path, ".head")
    }

    /// Where a salvage collects what is sound.
    pub(super) fn salvage_path(&self) -> PathBuf {
        beside(&self.path, ".salvage")
    }

    /// Where a salvage reads from when the first page has to be put in place of a damaged one.
    pub(super) fn patched_path(&self) -> PathBuf {
        beside(&self.path, ".patched")
    }

    /// Keeps the first page, which says what else there is: without it nothing can be found.
    pub(super) fn save_head(&self) -> io::Result<()> {
        let mut page = vec![0; PAGE_BYTES];
        File::open(&self.path)?.read_exact(&mut page)?;
        let head = self.head_path();
        if std::fs::read(&head).is_ok_and(|saved| saved == page) {
            return Ok(());
        }
        let fresh = beside(&self.path, ".head.new");
        let mut file = private().write(true).truncate(true).open(&fresh)?;
        file.write_all(&page)?;
        file.sync_all()?;
        std::fs::rename(fresh, head)?;
        self.sync_directory()
    }

    /// A copy of the damaged database with the first page as it was saved. `None`: none was.
    pub(super) fn patch(&self) -> io::Result<Option<PathBuf>> {
        let Ok(mut head) = std::fs::read(self.head_path()) else { return Ok(None) };
        if head.len() != PAGE_BYTES {
            return Ok(None);
        }
        let patched = self.patched_path();
        let pages = (std::fs::copy(&self.path, &patched)? / PAGE_BYTES as u64).max(1);
        // It says how many pages there are, and had fewer.
        head[28..32].copy_from_slice(&u32::try_from(pages).unwrap_or(u32::MAX).to_be_bytes());
        let mut file = File::options().write(true).open(&patched)?;
        file.seek(io::SeekFrom::Start(0))?;
        file.write_all(&head)?;
        if self.wal_path().exists() {
            std::fs::copy(self.wal_path(), beside(&patched, "-wal"))?;
        }
        Ok(Some(patched))
    }

    /// Removes what a salvage has or had collected.
    pub(super) fn remove_temporary(&self) -> io::Result<()> {
        for base in [self.salvage_path(), self.patched_path()] {
            remove(&base)?;
            remove(&beside(&base, "-wal"))?;
        }
        Ok(())
    }

    /// Puts the salvaged database in place of the damaged one, and says where that is kept.
    pub(super) fn replace(&self) -> io::Result<PathBuf> {
        File::open(self.salvage_path())?.sync_all()?;
        // All of it is in the database.
        remove(&beside(&self.salvage_path(), "-wal"))?;
        let kept = self.free_name()?;
        // In this order: whoever finds no database but a salvaged one knows that it is complete.
        std::fs::rename(&self.path, &kept)?;
        self.move_in(&kept)?;
        Ok(kept)
    }

    fn move_in(&self, kept: &Path) -> io::Result<()> {
        if self.wal_path().exists() {
            std::fs::rename(self.wal_path(), beside(kept, "-wal"))?;
        }
        std::fs::rename(self.salvage_path(), &self.path)?;
        self.sync_directory()
    }

    fn finish_salvage(&self) -> io::Result<()> {
        if !self.path.exists() && self.salvage_path().exists() {
            // The log may be the one that belongs to what was moved away last.
            let kept = (1..MAX_KEPT).map(|number| self.kept(number)).take_while(|kept| kept.exists()).last();
            self.move_in(&kept.unwrap_or_else(|| self.kept(1)))?;
        }
        self.remove_temporary()
    }

    fn kept(&self, number: u32) -> PathBuf {
        beside(&self.path, &format!(".damaged-{number}"))
    }

    fn free_name(&self) -> io::Result<PathBuf> {
        let free = (1..MAX_KEPT).map(|number| self.kept(number)).find(|kept| !kept.exists());
        free.ok_or_else(|| io::Error::other("too many damaged files are kept beside it; move them away"))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn private() -> OpenOptions {
    let mut options = File::options();
    options.create(true).truncate(false).mode(0o600);
    options
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path with an ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

//! Why a program does not start, in words, with the next step.
//!
//! All of it only reads, and reads little of each file: `plugmesh doctor` asks the same before anything runs.

mod header;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::exit::Cause;
use header::Kind;

/// Bytes of a program that are read: the kernel reads 256 of a `#!` line, headers of ELF lie within.
const HEADER_BYTES: u64 = 4096;

/// Entries of a directory among which a similar name is looked for.
const MAX_NEIGHBOURS: usize = 2000;

/// What is wrong with a program. Its `Display` says it with the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// No such file.
    Missing {
        /// The path, or the name that was looked up in `PATH`.
        program: PathBuf,
        /// A file of a similar name in the same directory.
        similar: Option<PathBuf>,
    },
    /// A part of the path is no directory, or may not be entered.
    Unreachable {
        /// The path.
        program: PathBuf,
        /// What the kernel says.
        why: String,
    },
    /// The path is a directory or something else that is no file.
    NotAFile {
        /// The path.
        program: PathBuf,
    },
    /// The file may not be executed.
    NotExecutable {
        /// The path.
        program: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is for another machine.
    WrongMachine {
        /// The path.
        program: PathBuf,
        /// What it was built for, such as `aarch64 ELF`.
        built_for: String,
    },
    /// The interpreter of a script, or the loader of a binary, is missing.
    MissingInterpreter {
        /// The path.
        program: PathBuf,
        /// What it names.
        interpreter: PathBuf,
        /// Whether the program is a script with a `#!` line.
        script: bool,
    },
    /// The file is empty, text without a `#!` line, or damaged.
    NotAProgram {
        /// The path.
        program: PathBuf,
        /// What it looks like.
        looks_like: &'static str,
    },
    /// Somebody has it open for writing.
    Busy {
        /// The path.
        program: PathBuf,
    },
    /// None of the known causes.
    Other {
        /// The path.
        program: PathBuf,
        /// What the kernel says.
        why: String,
    },
}

/// Explains why executing `program` failed with `error`.
pub fn exec_failure(program: &Path, error: &io::Error) -> Diagnosis {
    if error.kind() == io::ErrorKind::ExecutableFileBusy {
        return Diagnosis::Busy { program: program.to_owned() };
    }
    match inspect(program) {
        Err(diagnosis) => diagnosis,
        Ok(()) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            Diagnosis::NotAProgram { program: program.to_owned(), looks_like: "in a format unknown here" }
        }
        Ok(()) => Diagnosis::Other { program: program.to_owned(), why: error.to_string() },
    }
}

/// Looks for what would keep `program` from starting. A relative path is taken from the current directory.
pub fn inspect(program: &Path) -> Result<(), Diagnosis> {
    let owned = || program.to_owned();
    let meta = fs::metadata(program).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Diagnosis::Missing { program: owned(), similar: similar(program) },
        _ => Diagnosis::Unreachable { program: owned(), why: error.to_string() },
    })?;
    if !meta.is_file() {
        return Err(Diagnosis::NotAFile { program: owned() });
    }
    if rustix::fs::access(program, Access::EXEC_OK).is_err() {
        return Err(Diagnosis::NotExecutable { program: owned(), mode: meta.mode() & 0o7777 });
    }
    let mut start = Vec::new();
    let read = File::open(program).and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut start));
    // A program may be executable and not readable: nothing more is known then.
    if read.is_err() {
        return Ok(());
    }
    let missing = |interpreter: PathBuf, script| {
        let gone = !interpreter.exists();
        if gone {
            Err(Diagnosis::MissingInterpreter { program: owned(), interpreter, script })
        } else {
            Ok(())
        }
    };
    match header::read(&start) {
        Kind::Script { interpreter } => missing(interpreter, true),
        Kind::Native { loader } => loader.map_or(Ok(()), |loader| missing(loader, false)),
        Kind::Foreign { built_for } => Err(Diagnosis::WrongMachine { program: owned(), built_for }),
        Kind::Unknown { looks_like } => Err(Diagnosis::NotAProgram { program: owned(), looks_like }),
    }
}

/// What an early end with these last lines of standard error most likely means; nothing for an end that
/// explains itself.
pub fn exit_hint(cause: Cause, last_lines: &[String]) -> Option<String> {
    let library = last_lines.iter().find_map(|line| missing_library(line));
    let module = last_lines.iter().find_map(|line| between(line, "No module named ", ""));
    match (library, module, cause) {
        (Some(library), _, _) => Some(format!(
            "the shared library {library} is missing; install it, or name its directory in LD_LIBRARY_PATH \
             under `env`"
        )),
        (None, Some(module), _) => Some(format!(
            "Python finds no module {module}; run the plugin's `build:` or name the interpreter of its venv"
        )),
        (None, None, Cause::Code(127)) => Some(
            "status 127 is how a shell says that a command was not found; check PATH and the script".into(),
        ),
        (None, None, Cause::Code(126)) => {
            Some("status 126 is how a shell says that a command may not be executed; try chmod +x".into())
        }
        (None, None, Cause::Signal { number: libc::SIGKILL, .. }) => {
            Some("SIGKILL that nobody here sent is most often the kernel, out of memory; see dmesg".into())
        }
        (None, None, Cause::Signal { number: libc::SIGILL, .. }) => {
            Some("SIGILL is an instruction that this processor lacks; build for its baseline".into())
        }
        (None, None, Cause::Signal { number: libc::SIGSYS, .. }) => {
            Some("SIGSYS is a system call that a sandbox forbids".into())
        }
        _ => None,
    }
}

/// What glibc's, musl's and macOS's loaders name when a library is missing.
fn missing_library(line: &str) -> Option<&str> {
    between(line, "error while loading shared libraries: ", ":")
        .or_else(|| between(line, "Error loading shared library ", ":"))
        .or_else(|| between(line, "Library not loaded: ", ""))
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    let found = if after.is_empty() { rest } else { rest.split_once(after)?.0 };
    (!found.is_empty()).then_some(found)
}

/// The neighbour with the most similar name, if one is similar.
fn similar(program: &Path) -> Option<PathBuf> {
    let wanted = program.file_name()?.to_str()?;
    let entries = fs::read_dir(program.parent()?).ok()?.flatten().take(MAX_NEIGHBOURS);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let rated = names.map(|name| (distance(wanted, &name), name));
    let (distance, name) = rated.min()?;
    (distance <= wanted.len() / 3 + 1).then(|| program.with_file_name(name))
}

/// Edits from one text to the other (Levenshtein). Names are at most 255 bytes long.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, l) in left.bytes().enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, r) in row.iter_mut().skip(1).zip(right.bytes()) {
            let best = (diagonal + usize::from(l != r)).min(*cell + 1).min(before + 1);
            diagonal = *cell;
            *cell = best;
            before = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program, similar } => {
                if program.components().count() == 1 && !program.has_root() {
                    return write!(
                        f,
                        "{} is in no directory of PATH; install it or name its path",
                        program.display()
                    );
                }
                write!(f, "{} does not exist", program.display())?;
                match similar {
                    Some(similar) => write!(f, "; is {} meant?", similar.display()),
                    None => f.write_str("; build the plugin, or correct its `command`"),
                }
            }
            Self::Unreachable { program, why } => {
                write!(f, "{} cannot be reached: {why}; check each directory of the path", program.display())
            }
            Self::NotAFile { program } => {
                write!(f, "{} is no file; name the program in it", program.display())
            }
            Self::NotExecutable { program, mode } => write!(
                f,
                "{path} may not be executed (mode {mode:04o}); run `chmod +x {path}`",
                path = program.display()
            ),
            Self::WrongMachine { program, built_for } => write!(
                f,
                "{} is built for {built_for}, this machine is {}; build it for this one",
                program.display(),
                std::env::consts::ARCH
            ),
            Self::MissingInterpreter { program, interpreter, script } => {
                let (program, interpreter) = (program.display(), interpreter.display());
                match script {
                    true => write!(
                        f,
                        "{program} is a script for {interpreter}, which does not exist; install it or correct \
                         the first line"
                    ),
                    false => write!(
                        f,
                        "{program} needs the loader {interpreter}, which does not exist; it was built against \
                         another C library, so build it here or link it statically"
                    ),
                }
            }
            Self::NotAProgram { program, looks_like } => write!(
                f,
                "{} is {looks_like}, no program; a script needs a first line such as `#!/bin/sh`",
                program.display()
            ),
            Self::Busy { program } => {
                write!(f, "{} is being written to; wait until its build has ended", program.display())
            }
            Self::Other { program, why } => write!(f, "{} cannot be executed: {why}", program.display()),
        }
    }
}

#[cfg(test)]
mod tests;

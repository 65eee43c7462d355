//! Can this file be run here?

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Enough of a file to hold a program header, or the first line of a script.
const HEAD_BYTES: u64 = 512;

/// Links from interpreter to interpreter that are followed, as many as the kernel follows.
const MAX_INTERPRETERS: usize = 4;

/// What a file that can be run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runnable {
    /// A program for this machine.
    Native,
    /// A script, with the interpreter that was found for it.
    Script(PathBuf),
}

/// Why a file cannot be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unrunnable {
    #[error("{0} is not there")]
    Missing(PathBuf),
    #[error("{0} is not a file")]
    NotAFile(PathBuf),
    #[error("{0} is not executable")]
    NotExecutable(PathBuf),
    #[error("{path} is a program for {found}, and this machine is {}", std::env::consts::ARCH)]
    WrongArchitecture { path: PathBuf, found: String },
    #[error("{0} is neither a program for this system nor a script with a #! line")]
    UnknownFormat(PathBuf),
    #[error("{path} wants the interpreter {interpreter}, which is not there")]
    NoInterpreter { path: PathBuf, interpreter: String },
    #[error("{0} was written with Windows line ends, so its interpreter cannot be found")]
    CarriageReturn(PathBuf),
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl Unrunnable {
    /// What to do next.
    pub(super) fn next(&self) -> Option<String> {
        match self {
            Self::NotExecutable(path) => {
                Some(format!("chmod +x {}", crate::cli::shell::quote(&path.to_string_lossy())))
            }
            Self::WrongArchitecture { .. } => {
                Some(format!("build it for {}, or give `command` a line for it", std::env::consts::ARCH))
            }
            Self::UnknownFormat(_) => {
                Some("begin a script with a line such as #!/usr/bin/env python3".to_owned())
            }
            Self::NoInterpreter { interpreter, .. } => {
                Some(format!("install {interpreter}, or correct the first line of the script"))
            }
            Self::CarriageReturn(path) => {
                Some(format!("sed -i 's/\\r$//' {}", crate::cli::shell::quote(&path.to_string_lossy())))
            }
            Self::Missing(_) | Self::NotAFile(_) | Self::Io { .. } => None,
        }
    }
}

/// Looks at a file as the kernel would before running it; interpreters named by `env` are looked up on
/// `path`.
pub(super) fn look(file: &Path, path: &OsStr) -> Result<Runnable, Unrunnable> {
    look_deep(file, path, MAX_INTERPRETERS)
}

/// The first executable file of that name on `path`.
pub(super) fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(executable)
}

fn look_deep(file: &Path, path: &OsStr, depth: usize) -> Result<Runnable, Unrunnable> {
    let owned = || file.to_owned();
    let found = match file.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unrunnable::Missing(owned())),
        Err(source) => return Err(Unrunnable::Io { path: owned(), source }),
    };
    if !found.is_file() {
        return Err(Unrunnable::NotAFile(owned()));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(Unrunnable::NotExecutable(owned()));
    }
    let mut head = Vec::new();
    let read = File::open(file).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    match read {
        Ok(_) => {}
        // A program that may be run but not read is the kernel's to judge.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Runnable::Native),
        Err(source) => return Err(Unrunnable::Io { path: owned(), source }),
    }
    if let Some(script) = head.strip_prefix(b"#!") {
        let first = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
        return interpreter(file, &String::from_utf8_lossy(first), path, depth);
    }
    if head.starts_with(b"\x7fELF") {
        return match architecture(&head) {
            Some(found) if found == std::env::consts::ARCH => Ok(Runnable::Native),
            found => Err(Unrunnable::WrongArchitecture {
                path: owned(),
                found: found.unwrap_or("another processor").to_owned(),
            }),
        };
    }
    match head.get(..4) {
        Some(b"MZ\x90\0") => {
            Err(Unrunnable::WrongArchitecture { path: owned(), found: "Windows".to_owned() })
        }
        Some(b"\xcf\xfa\xed\xfe" | b"\xca\xfe\xba\xbe") if cfg!(target_os = "macos") => Ok(Runnable::Native),
        Some(b"\xcf\xfa\xed\xfe" | b"\xca\xfe\xba\xbe") => {
            Err(Unrunnable::WrongArchitecture { path: owned(), found: "macOS".to_owned() })
        }
        _ => Err(Unrunnable::UnknownFormat(owned())),
    }
}

fn interpreter(file: &Path, line: &str, path: &OsStr, depth: usize) -> Result<Runnable, Unrunnable> {
    let script = file.to_owned();
    if line.ends_with('\r') {
        return Err(Unrunnable::CarriageReturn(script));
    }
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Err(Unrunnable::UnknownFormat(script)) };
    let missing =
        |name: &str| Unrunnable::NoInterpreter { path: file.to_owned(), interpreter: name.to_owned() };
    if Path::new(first).file_name().is_some_and(|name| name == "env") {
        // `env -S name`, `env VAR=1 name`: the name is the first word that is neither.
        let name = words
            .find(|word| !word.starts_with('-') && !word.contains('='))
            .ok_or_else(|| missing("(none)"))?;
        return on_path(name, path).map(Runnable::Script).ok_or_else(|| missing(name));
    }
    if depth == 0 {
        return Err(missing(first));
    }
    match look_deep(Path::new(first), path, depth - 1) {
        Ok(_) => Ok(Runnable::Script(first.into())),
        Err(Unrunnable::Missing(_)) => Err(missing(first)),
        Err(other) => Err(other),
    }
}

/// The processor that an ELF file is for, by the name that Rust gives it; none when it is another.
fn architecture(head: &[u8]) -> Option<&'static str> {
    let wide = head.get(4) == Some(&2);
    let bytes = [*head.get(18)?, *head.get(19)?];
    let machine = if head.get(5) == Some(&2) { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    match (machine, wide) {
        (3, false) => Some("x86"),
        (62, true) => Some("x86_64"),
        (40, false) => Some("arm"),
        (183, true) => Some("aarch64"),
        (243, true) => Some("riscv64"),
        (243, false) => Some("riscv32"),
        (22, _) => Some("s390x"),
        (21, true) => Some("powerpc64"),
        (258, true) => Some("loongarch64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugin");
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    fn reason(content: &[u8], mode: u32) -> String {
        let (_folder, file) = file(content, mode);
        let error = look(&file, OsStr::new("/bin:/usr/bin")).unwrap_err();
        error.to_string().replace(&file.display().to_string(), "FILE")
    }

    #[test]
    fn programs_and_scripts_can_be_run() {
        assert_eq!(look(&std::env::current_exe().unwrap(), OsStr::new("")).unwrap(), Runnable::Native);
        let (_folder, script) = file(b"#!/bin/sh\n", 0o755);
        assert_eq!(look(&script, OsStr::new("")).unwrap(), Runnable::Script("/bin/sh".into()));
        let (_folder, script) = file(b"#!/usr/bin/env -S sh -e\n", 0o755);
        let found = on_path("sh", OsStr::new("/bin")).unwrap();
        assert_eq!(look(&script, OsStr::new("/bin")).unwrap(), Runnable::Script(found));
    }

    #[test]
    fn what_cannot_be_run_is_told_why() {
        let mut foreign = b"\x7fELF\x02\x01\x01".to_vec();
        foreign.resize(18, 0);
        foreign.extend([0xf3, 0]);
        let machine = std::env::consts::ARCH;
        assert_eq!(
            reason(&foreign, 0o755),
            format!("FILE is a program for riscv64, and this machine is {machine}")
        );
        assert_eq!(reason(b"#!/bin/sh\n", 0o644), "FILE is not executable");
        assert_eq!(reason(b"#!/no/such\n", 0o755), "FILE wants the interpreter /no/such, which is not there");
        assert_eq!(
            reason(b"#!/usr/bin/env no-such\n", 0o755),
            "FILE wants the interpreter no-such, which is not there"
        );
        assert_eq!(
            reason(b"#!/bin/sh\r\n", 0o755),
            "FILE was written with Windows line ends, so its interpreter cannot be found"
        );
        let unknown = "FILE is neither a program for this system nor a script with a #! line";
        assert_eq!(reason(b"", 0o755), unknown);
        assert_eq!(reason(b"#!\n", 0o755), unknown);
        assert_eq!(reason(b"hello", 0o755), unknown);
        let (folder, file) = file(b"", 0o755);
        assert!(matches!(look(folder.path(), OsStr::new("")), Err(Unrunnable::NotAFile(_))));
        assert!(matches!(look(&file.with_extension("x"), OsStr::new("")), Err(Unrunnable::Missing(_))));
    }
}

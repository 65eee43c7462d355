//! What to start.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugmesh::env;

use super::os::spawn::LIFELINE_FD;
use super::output::{Discard, LogSink};
use crate::name::InstanceId;

/// A program to start as an instance of a plugin. Build it with [`ProcessSpec::new`] and the methods that
/// follow; [`Launcher::spawn`](super::Launcher::spawn) starts it.
#[derive(Clone)]
pub struct ProcessSpec {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) work_dir: Option<PathBuf>,
    pub(crate) instance: InstanceId,
    pub(crate) log: Arc<dyn LogSink>,
}

/// The same as the kernel wants it.
pub(crate) struct Prepared {
    pub(crate) program: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) work_dir: Option<CString>,
    /// `PLUGMESH_INSTANCE_ID=…`: what every descendant inherits, and is found by.
    pub(crate) cookie: Vec<u8>,
}

/// A NUL byte in a text that the kernel ends at the first one.
#[derive(Debug)]
pub(crate) struct HasNul(pub(crate) String);

impl ProcessSpec {
    /// Starts `program` as the incarnation `instance`: no arguments, an empty environment, in the host's own
    /// directory, output thrown away.
    ///
    /// A program without `/` is looked up in the `PATH` of [`environment`](Self::environment).
    pub fn new(program: impl Into<PathBuf>, instance: InstanceId) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            work_dir: None,
            instance,
            log: Arc::new(Discard),
        }
    }

    /// Arguments after the program's name.
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// The whole environment, as [`Environment`](super::Environment) makes it. The launcher adds
    /// [`INSTANCE_ID`](env::INSTANCE_ID) and [`LIFELINE_FD`](env::LIFELINE_FD).
    pub fn environment(mut self, entries: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment = entries.into_iter().collect();
        self
    }

    /// Directory to start in. A relative [program](Self::new) with `/` is taken from there.
    pub fn work_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.work_dir = Some(directory.into());
        self
    }

    /// Where the lines of standard output and error go.
    pub fn log(mut self, sink: Arc<dyn LogSink>) -> Self {
        self.log = sink;
        self
    }

    /// The file that will be executed: the program itself, or what the `PATH` of its environment finds.
    pub(crate) fn executable(&self) -> PathBuf {
        if self.program.as_os_str().as_bytes().contains(&b'/') {
            return self.program.clone();
        }
        let path = self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
        let in_path = path.iter().flat_map(std::env::split_paths).map(|dir| dir.join(&self.program));
        let is_executable =
            |file: &PathBuf| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
        in_path.filter(|file| file.is_absolute()).find(is_executable).unwrap_or_else(|| self.program.clone())
    }

    pub(crate) fn prepare(&self, executable: &Path) -> Result<Prepared, HasNul> {
        let cookie = [env::INSTANCE_ID.as_bytes(), b"=", self.instance.as_str().as_bytes()].concat();
        let own = [text(cookie.clone())?, text(format!("{}={LIFELINE_FD}", env::LIFELINE_FD))?];
        let is_own = |name: &OsStr| name == env::INSTANCE_ID || name == env::LIFELINE_FD;
        let given = self.environment.iter().filter(|(name, _)| !is_own(name));
        let given = given.map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat()));
        let name = self.program.clone().into_os_string();
        let arguments = [name].into_iter().chain(self.arguments.iter().cloned());
        Ok(Prepared {
            program: text(executable.as_os_str().as_bytes())?,
            arguments: arguments.map(|argument| text(argument.into_vec())).collect::<Result<_, _>>()?,
            environment: own.into_iter().map(Ok).chain(given).collect::<Result<_, _>>()?,
            work_dir: self.work_dir.as_ref().map(|dir| text(dir.as_os_str().as_bytes())).transpose()?,
            cookie,
        })
    }
}

fn text(bytes: impl Into<Vec<u8>>) -> Result<CString, HasNul> {
    CString::new(bytes).map_err(|error| HasNul(String::from_utf8_lossy(&error.into_vec()).into_owned()))
}

/// Without the values of the environment, which may be secrets.
impl fmt::Debug for ProcessSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSpec")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &self.environment.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("work_dir", &self.work_dir)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

//! Waiting until a process listens, without asking again and again.
//!
//! Two steps, so that nothing is missed: [`Arrivals::arm`] before the process starts, [`Armed::wait`] after.

mod address;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

pub use watch::Arrivals;
use watch::Interest;

use super::diagnose::exit_hint;
use super::exit::Exit;
use super::process::Process;

/// Pauses between attempts to connect, in the gap between `bind` and `listen`: doubled from the first to the
/// last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(25);

/// What a process makes when it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Its Unix socket.
    Socket(PathBuf),
    /// The file with its TCP address, `tcp://127.0.0.1:PORT`.
    AddressFile(PathBuf),
}

/// A wait that is prepared: what arrives from now on is noticed.
#[derive(Debug)]
pub struct Armed {
    awaited: Awaited,
    interest: Interest,
}

/// The first connection to a process that listens.
#[derive(Debug)]
pub enum Connected {
    /// Over its Unix socket.
    Unix(UnixStream),
    /// Over TCP, with the address it chose.
    Tcp(TcpStream, SocketAddr),
}

/// Why a process does not listen.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It ended before.
    #[error("it {exit} before it {}{}{}", awaited.done(), hint(exit, last_lines), quoted(last_lines))]
    Exited {
        /// How.
        exit: Exit,
        /// What it should have made.
        awaited: Awaited,
        /// The end of its standard error.
        last_lines: Vec<String>,
    },
    /// It did not in time.
    #[error(
        "after {after:?} it still runs but has not {}; raise start_timeout if it needs longer{}",
        awaited.done(), quoted(last_lines)
    )]
    Timeout {
        /// What it should have made.
        awaited: Awaited,
        /// How long was waited.
        after: Duration,
        /// The end of its standard error.
        last_lines: Vec<String>,
    },
    /// What it wrote as its address is none.
    #[error("the address file {} is no good: {fault}; write tcp://127.0.0.1:PORT, then rename", path.display())]
    Address {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Connecting fails for a reason that waiting does not mend.
    #[error("it listens, but connecting to {to} fails: {source}")]
    Connect {
        /// Path or address.
        to: String,
        /// Why.
        source: io::Error,
    },
}

impl Awaited {
    /// The file that appears.
    pub fn path(&self) -> &Path {
        match self {
            Self::Socket(path) | Self::AddressFile(path) => path,
        }
    }

    fn done(&self) -> String {
        match self {
            Self::Socket(path) => format!("listened on unix://{}", path.display()),
            Self::AddressFile(path) => format!("written its address to {}", path.display()),
        }
    }
}

impl Armed {
    /// Waits until `process` listens and answers a first connection to it; ends early when it ends.
    ///
    /// `within` bounds the wait, output after an early end included. Cancelling loses nothing but the wait.
    pub async fn wait(self, process: &Process, within: Duration) -> Result<Connected, NotReady> {
        let started = Instant::now();
        let Self { awaited, mut interest } = self;
        let exited = async {
            let exit = process.wait().await;
            NotReady::Exited { exit, awaited: awaited.clone(), last_lines: process.last_lines() }
        };
        tokio::select! {
            // First of all the connection: a process may listen and end at once.
            biased;
            connected = connect(&awaited, &mut interest) => connected,
            error = exited => Err(error),
            () = tokio::time::sleep_until(started + within) => Err(NotReady::Timeout {
                awaited: awaited.clone(),
                after: within,
                last_lines: process.last_lines(),
            }),
        }
    }
}

async fn connect(awaited: &Awaited, interest: &mut Interest) -> Result<Connected, NotReady> {
    loop {
        interest.arrived().await;
        match awaited {
            Awaited::Socket(path) => match retry(|| UnixStream::connect(path)).await {
                Ok(stream) => return Ok(Connected::Unix(stream)),
                // Taken away again: perhaps bound elsewhere and about to be renamed here.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(NotReady::Connect { to: format!("unix://{}", path.display()), source });
                }
            },
            Awaited::AddressFile(path) => {
                let fault = |fault: String| NotReady::Address { path: path.clone(), fault };
                let Some(address) = address::read(path).map_err(fault)? else { continue };
                let stream = retry(|| TcpStream::connect(address)).await;
                let stream =
                    stream.map_err(|source| NotReady::Connect { to: address.to_string(), source })?;
                return Ok(Connected::Tcp(stream, address));
            }
        }
    }
}

/// Tries until somebody listens; the caller's deadline ends it.
async fn retry<T, F: Future<Output = io::Result<T>>>(attempt: impl Fn() -> F) -> io::Result<T> {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            // Not yet listening, or its queue is full.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock) =>
            {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LAST_PAUSE);
            }
            other => return other,
        }
    }
}

/// What an early end most likely means, where more is known than it says itself.
pub(crate) fn hint(exit: &Exit, lines: &[String]) -> String {
    exit_hint(exit.cause, lines).map_or_else(String::new, |hint| format!(" ({hint})"))
}

/// Lines that an error shows; the log has the rest.
const SHOWN: usize = 10;

fn quoted(lines: &[String]) -> String {
    let lines = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
    if lines.is_empty() {
        return "; it wrote nothing to standard error".to_owned();
    }
    format!("; its last lines were:\n  {}", lines.join("\n  "))
}

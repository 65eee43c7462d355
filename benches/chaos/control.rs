//! What switches the faults of an instance on and off from outside.
//!
//! A thread of each instance listens on a socket of its own: whatever state the service and its runtime are in,
//! and however the mesh or tonic reach it, the benchmark can talk to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugmesh_benches::BoxError;
use serde::{Deserialize, Serialize};

/// How long an instance may take to answer, and to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// On top of each call, without keeping the instance from others.
    pub(crate) added: Duration,
    /// By how much the work takes longer.
    pub(crate) slower: u32,
    /// Share of the calls that fail: half of them before they are executed, half after.
    pub(crate) errors: f64,
    /// Refuses every call, and says in its health that it does not serve.
    pub(crate) unwell: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self { added: Duration::ZERO, slower: 1, errors: 0.0, unwell: false }
    }
}

fn socket(folder: &Path, ordinal: u32) -> PathBuf {
    folder.join(format!("control-{ordinal}"))
}

/// Takes orders for the instance in a thread of its own, as long as the process lives.
pub(crate) fn listen(
    folder: &Path,
    ordinal: u32,
    obey: impl Fn(Faults) + Send + 'static,
) -> Result<(), BoxError> {
    let socket = socket(folder, ordinal);
    // That of the incarnation before.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket)?;
    std::thread::Builder::new().name("control".into()).spawn(move || {
        for connection in listener.incoming().flatten() {
            // One who goes away in the middle of an order has ordered nothing.
            let _ = answer(&connection, &obey);
        }
    })?;
    Ok(())
}

fn answer(connection: &UnixStream, obey: impl Fn(Faults)) -> Result<(), BoxError> {
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    let order: Option<Faults> = serde_json::from_str(&line)?;
    if let Some(faults) = order {
        obey(faults);
    }
    let mut connection = connection;
    Ok(writeln!(connection, "{}", std::process::id())?)
}

/// Has the instance take these faults, or only says who it is; gives its process.
pub(crate) fn order(folder: &Path, ordinal: u32, faults: Option<Faults>) -> Result<u32, BoxError> {
    let mut connection = UnixStream::connect(socket(folder, ordinal))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    writeln!(connection, "{}", serde_json::to_string(&faults)?)?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    Ok(line.trim_end().parse()?)
}

/// Waits until `done` gives something.
pub(crate) fn wait<T>(
    what: &str,
    mut done: impl FnMut() -> Result<Option<T>, BoxError>,
) -> Result<T, BoxError> {
    let since = Instant::now();
    loop {
        if let Some(result) = done()? {
            return Ok(result);
        }
        if since.elapsed() > PATIENCE {
            return Err(format!("waited {PATIENCE:?} in vain until {what}").into());
        }
        pause(Duration::from_millis(5));
    }
}

/// Waits.
#[allow(clippy::disallowed_methods, reason = "no runtime is there to block")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

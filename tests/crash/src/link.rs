//! A stream to whichever host is alive.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use plugmesh_sdk::events::Events;
use tokio::net::UnixStream;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

use crate::BoxError;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// A connection to the host at a socket, and the process id of that host.
///
/// # Errors
/// There is none at the moment.
pub(crate) async fn channel(socket: &Path) -> Result<(Channel, u32), BoxError> {
    let stream = UnixStream::connect(socket).await?;
    let host = stream.peer_cred()?.pid().ok_or("the kernel does not say who listens")?;
    let once = Mutex::new(Some(stream));
    let connector = tower::service_fn(move |_| {
        // Another connection could be to another host.
        let stream = once.lock().ok().and_then(|mut once| once.take());
        async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("it was used before")) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
    Ok((channel, u32::try_from(host)?))
}

/// A stream of events to the host at a socket, as soon as there is one.
pub(crate) async fn events(socket: &Path, name: &str) -> (Events, u32) {
    loop {
        if let Ok((channel, host)) = channel(socket).await
            && let Ok(events) = Events::connect(channel, name).await
        {
            return (events, host);
        }
        sleep(PAUSE).await;
    }
}

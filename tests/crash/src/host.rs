//! The host of a round: one life of it after the other, on the same directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plugmesh::event::v1::event_bus_service_client::EventBusServiceClient;
use plugmesh::event::v1::{GetStatsRequest, ReplayRequest, SubscriptionStats};
use plugmesh_sdk::events::Event;
use tonic::transport::Channel;

use crate::events::PATTERN;
use crate::history::{Kept, Seen};
use crate::plan::Fsync;
use crate::process::{Process, Programs, Stranger, command};
use crate::{BoxError, link, member};

/// How long a host may take to have a daemon.
const START: Duration = Duration::from_secs(30);

/// The directory of a host.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

/// A running host: a guardian and the daemon that does the work.
#[derive(Debug)]
pub(crate) struct Host {
    daemon: Stranger,
    guardian: Process,
    pub(crate) since: Instant,
}

impl Place {
    /// Prepares an empty directory.
    pub(crate) fn prepare(directory: &Path, fsync: Fsync) -> Result<Self, BoxError> {
        for name in ["run", "plugins"] {
            std::fs::create_dir(directory.join(name))?;
        }
        std::fs::set_permissions(directory.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let config = format!(
            "events:\n  journal:\n    path: {}\n    topics:\n      - pattern: \"{PATTERN}\"\n        fsync: {}\n",
            directory.join("events.db").display(),
            fsync.as_str()
        );
        std::fs::write(directory.join("plugins/plugmesh.yaml"), config)?;
        Ok(Self(directory.to_owned()))
    }

    /// Where its gateway is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("run/plugmesh/gateway.sock")
    }
}

impl Host {
    /// Starts it, and does not wait until it answers.
    pub(crate) fn start(programs: &Programs, place: &Place) -> Result<Self, BoxError> {
        let directory = &place.0;
        let mut command = command(&programs.host)?;
        command.arg(directory.join("plugins")).current_dir(directory);
        command.env("HOME", directory).env("XDG_RUNTIME_DIR", directory.join("run"));
        let mut guardian = Process::start(command, &directory.join("host.log"))?;
        let since = Instant::now();
        while since.elapsed() < START {
            if let Some(daemon) = Stranger::child_of(guardian.pid())? {
                return Ok(Self { daemon, guardian, since: Instant::now() });
            }
            if let Some(status) = guardian.ended()? {
                return Err(format!("the host ended: {status}").into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Err("the host does not start".into())
    }

    /// Process id of the daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Kills it, and waits until it is dead.
    pub(crate) fn kill(&mut self, is_guardian: bool) -> Result<(), BoxError> {
        match is_guardian {
            true => {
                self.guardian.kill()?;
                self.daemon.wait()
            }
            false => {
                self.daemon.kill();
                self.daemon.wait()
            }
        }
    }

    /// Waits until nothing is left of one that was killed.
    pub(crate) fn tidied(&mut self) -> Result<(), BoxError> {
        self.guardian.wait().map(drop)
    }

    /// Whether it has ended without having been asked to.
    pub(crate) fn has_ended(&self) -> bool {
        self.daemon.has_ended()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.daemon.kill();
    }
}

async fn client(socket: &Path) -> Result<EventBusServiceClient<Channel>, BoxError> {
    Ok(EventBusServiceClient::new(link::channel(socket).await?.0))
}

/// What the host says of the durable name. `None`: it does not know it.
pub(crate) async fn stats(socket: &Path) -> Result<Option<SubscriptionStats>, BoxError> {
    let stats = client(socket).await?.get_stats(GetStatsRequest {}).await?.into_inner();
    Ok(stats.subscriptions.into_iter().find(|subscription| subscription.name == member::NAME))
}

/// All that the journal holds.
pub(crate) async fn replay(socket: &Path) -> Result<Vec<Kept>, BoxError> {
    let request = ReplayRequest { patterns: vec![PATTERN.to_owned()], ..ReplayRequest::default() };
    let mut answers = client(socket).await?.replay(request).await?.into_inner();
    let mut journal = Vec::new();
    while let Some(answer) = answers.message().await? {
        let event = answer.event.ok_or("an answer without an event")?;
        let event = Event::from_bytes(prost::Message::encode_to_vec(&event).into())?;
        journal.push(Kept { place: answer.place, event: Seen::of(&event) });
    }
    Ok(journal)
}

//! What can go wrong with a host as a whole, and with parts of what it runs.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::ConfigError;
use crate::event::OpenJournalError;
use crate::gateway::BindError;
use crate::identity::WatchError;
use crate::launch::{LaunchError, RunDirectoryError};
use crate::supervise::LoadError;
use crate::telemetry::CollectorError;

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its configuration is no good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It has no place for its sockets.
    #[error(transparent)]
    RunDirectory(#[from] RunDirectoryError),
    /// It cannot start processes.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its gateway cannot listen.
    #[error("{0}")]
    Gateway(#[from] BindError),
    /// The certificates of its gateway are no good.
    #[error("the gateway's certificates: {0}")]
    Certificates(#[from] WatchError),
    /// What it tells of itself cannot be sent where it should be.
    #[error("telemetry.otlp: {0}")]
    Collector(#[from] CollectorError),
    /// There is no journal for its durable topics.
    #[error("events.journal: {0}")]
    Journal(#[from] OpenJournalError),
    /// The system refused something small.
    #[error("the system refused {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a part of what a host was asked to run. The rest runs.
#[derive(Clone, Debug)]
pub enum Problem {
    /// A manifest, or an entry of the configuration.
    Config(Arc<ConfigError>),
    /// A directory that cannot be read.
    Unreadable(String),
    /// A plugin that does not run.
    Load(LoadError),
}

impl Problem {
    /// Whether the state of a plugin on the board says the same.
    pub fn is_a_state(&self) -> bool {
        match self {
            Self::Load(error) => !matches!(error, LoadError::Exists(_)),
            Self::Config(_) | Self::Unreadable(_) => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Unreadable(text) => f.write_str(text),
            Self::Load(error) => error.fmt(f),
        }
    }
}

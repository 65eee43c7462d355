//! Why an instance did not start, in words that say what to do.

use std::fmt;
use std::time::Duration;

use plugmesh::causes::with_causes;

use super::timeline::Timeline;
use crate::config::schema::SchemaError;
use crate::identity::{AuthorityError, TlsError, WatchError, WriteError};
use crate::instance::{DescribeError, HandshakeError, Health, HealthError, PhaseError, is_transport};
use crate::launch::{Exit, NotReady, RunDirectoryError, SpawnError};
use crate::transport::{Address, Closed, ConnectError, Spoken};

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It never listened.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// There is no place for its socket or files.
    #[error(transparent)]
    Path(#[from] RunDirectoryError),
    /// The system refused something small.
    #[error("the system refused: {0}")]
    Files(#[from] std::io::Error),
    /// Its certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] AuthorityError),
    /// Its certificate could not be written.
    #[error(transparent)]
    CertificateFile(#[from] WriteError),
    /// TLS towards it cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificates to dial it with are no good.
    #[error(transparent)]
    TlsFiles(#[from] WatchError),
    /// Whom to expect there is not clear.
    #[error("whom to expect there is not clear: {0}")]
    PeerName(String),
    /// It cannot be reached.
    #[error("{}", with_causes(.0))]
    Connect(#[from] ConnectError),
    /// Something listens there that is no gRPC server.
    #[error(
        "it listens on {address} but {spoken}; serve gRPC over HTTP/2 there{}",
        if *spoken == Spoken::Tls { ", without TLS" } else { "" }
    )]
    NotHttp2 {
        /// Where.
        address: Address,
        /// What it speaks.
        spoken: Spoken,
    },
    /// It ended while it was being brought up.
    #[error("it {0} before it was ready")]
    Exited(Exit),
    /// The connection was lost while it was being brought up.
    #[error("the connection to it broke before it was ready ({0}); look at its log")]
    Lost(Closed),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// What it offers cannot be learnt.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// Its configuration does not fit its schema.
    #[error("{problem}; correct {place}", problem = .0, place = where_to_correct(.0))]
    Schema(#[from] SchemaError),
    /// A phase failed.
    #[error(transparent)]
    Phase(#[from] PhaseError),
    /// It cannot take part in events as it would like to.
    #[error("{0}; correct what it declares, or what it may (events in its manifest and in plugmesh.yaml)")]
    Events(String),
    /// It answers, but never says that it is healthy.
    #[error(
        "it answers but its health was not SERVING within {within:?}: {}; {}",
        last_word(last),
        unhealthy_help(last)
    )]
    Unhealthy {
        /// The bound.
        within: Duration,
        /// What was last heard of its health.
        last: Option<Result<Health, HealthError>>,
    },
    /// The host is shutting down.
    #[error("it was stopped before it was ready")]
    Stopped,
}

impl StartError {
    /// Whether time was up.
    fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::NotReady(NotReady::Timeout { .. })
                | Self::Handshake(HandshakeError::Timeout(_))
                | Self::Describe(DescribeError::Timeout(_))
                | Self::Phase(PhaseError::Timeout { .. })
                | Self::Unhealthy { .. }
        )
    }

    /// Whether it comes from a connection that broke: what broke it explains more.
    pub(super) fn is_broken_connection(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Handshake(HandshakeError::Broken(_)) => true,
            Self::Phase(PhaseError::Failed { status, .. })
            | Self::Describe(DescribeError::Failed(status)) => is_transport(status),
            _ => false,
        }
    }
}

/// Why an instance did not start, with the last it wrote.
#[derive(Debug, thiserror::Error)]
pub struct StartFailure {
    #[source]
    error: StartError,
    last_lines: Vec<String>,
    /// What was done and when, where that helps.
    so_far: String,
}

/// Lines of output that an error shows; the log has the rest.
const SHOWN: usize = 10;

impl StartFailure {
    pub(super) fn new(error: impl Into<StartError>, last_lines: Vec<String>) -> Self {
        Self { error: error.into(), last_lines, so_far: String::new() }
    }

    /// Says how far it got, when what went wrong is that time was up.
    pub(super) fn after(mut self, timeline: &Timeline) -> Self {
        if self.error.is_timeout() {
            self.so_far = timeline.to_string();
        }
        self
    }

    /// What went wrong.
    pub fn error(&self) -> &StartError {
        &self.error
    }

    /// Last lines of the standard error of the process, oldest first.
    pub fn last_lines(&self) -> &[String] {
        &self.last_lines
    }
}

impl<E: Into<StartError>> From<E> for StartFailure {
    fn from(error: E) -> Self {
        Self::new(error, Vec::new())
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        with_lines(f, &self.last_lines)?;
        match self.so_far.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  so far: {}", self.so_far),
        }
    }
}

/// Appends the last of `lines`, one below the other.
pub(super) fn with_lines(f: &mut impl fmt::Write, lines: &[String]) -> fmt::Result {
    let shown = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default();
    if !shown.is_empty() {
        write!(f, "; it last wrote:")?;
    }
    shown.iter().try_for_each(|line| write!(f, "\n  {line}"))
}

fn where_to_correct(error: &SchemaError) -> &'static str {
    match error {
        SchemaError::Violated(_) => "`config` in plugin.yaml or plugmesh.yaml",
        SchemaError::TooLarge(_) | SchemaError::NotJson(_) | SchemaError::Invalid { .. } => {
            "config_schema_json in its handshake"
        }
    }
}

fn last_word(last: &Option<Result<Health, HealthError>>) -> String {
    match last {
        Some(Ok(Health::Serving)) => "it was SERVING too late".to_owned(),
        Some(Ok(Health::NotServing)) => "it says NOT_SERVING".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "it does not answer grpc.health.v1.Health/Watch".to_owned(),
    }
}

fn unhealthy_help(last: &Option<Result<Health, HealthError>>) -> &'static str {
    match last {
        Some(Ok(_)) => "raise start_timeout if it needs longer",
        Some(Err(_)) | None => "a plugin without a health service answers UNIMPLEMENTED",
    }
}

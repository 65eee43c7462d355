//! Why a command failed, and what to do next.

use std::io;
use std::path::PathBuf;

use plugmesh::causes::with_causes;
use tonic::Status;

use super::address::HostAddress;
use super::call::CallError;
use super::config::ConfigCheckError;
use super::doctor::DoctorError;
use super::events::EventsError;
use super::exit::Exit;
use super::lock::LockError;
use super::place::PlaceError;
use super::serve::ServeError;
use super::shell;
use crate::code::code_name;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("no host at {address}")]
    NoHost { address: HostAddress, source: io::Error },
    #[error("cannot connect to {address}")]
    Connect { address: HostAddress, source: tonic::transport::Error },
    #[error("cannot read {path}")]
    TlsFile { path: PathBuf, source: io::Error },
    #[error("{address} needs {missing}")]
    TlsMissing { address: HostAddress, missing: &'static str },
    #[error("{} ({}): {}", code_name(.0.code()), .0.code() as i32, .0.message())]
    Status(Box<Status>),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Doctor(#[from] DoctorError),
    #[error(transparent)]
    ConfigCheck(#[from] ConfigCheckError),
    #[error(transparent)]
    Call(#[from] Box<CallError>),
    #[error(transparent)]
    Events(#[from] Box<EventsError>),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot write the result")]
    Output(#[source] io::Error),
    #[error("cannot write the result as JSON")]
    Encode(#[source] serde_json::Error),
    #[error("the host's answer has no {0}")]
    Incomplete(&'static str),
    #[error("interrupted")]
    Interrupted,
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

impl From<EventsError> for CliError {
    fn from(error: EventsError) -> Self {
        Self::Events(Box::new(error))
    }
}

impl CliError {
    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Status(status) => Exit::from_status(status.code()),
            Self::Call(error) => error.exit(),
            Self::Events(error) => error.exit(),
            Self::TlsMissing { .. } => Exit::USAGE,
            Self::Interrupted => Exit::INTERRUPTED,
            // Whoever read the output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::OK,
            Self::NoHost { .. }
            | Self::Connect { .. }
            | Self::TlsFile { .. }
            | Self::Place(_)
            | Self::Lock(_)
            | Self::Serve(_)
            | Self::Doctor(_)
            | Self::ConfigCheck(_)
            | Self::Runtime(_)
            | Self::Output(_)
            | Self::Encode(_)
            | Self::Incomplete(_) => Exit::FAILURE,
        }
    }

    /// Whether there is nothing to say about it.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    /// More about what went wrong, a line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        match self {
            Self::Call(error) => error.notes(),
            _ => Vec::new(),
        }
    }

    /// What to do next, when there is something to say.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::NoHost { address, source } => Some(no_host(address, source)),
            Self::Connect { address: HostAddress::Https(_), .. } => {
                Some("check the address, and that --ca, --cert and --key belong to this host".to_owned())
            }
            Self::Connect { .. } => Some("check that the address is a plugmesh gateway".to_owned()),
            Self::TlsMissing { .. } => Some(
                "say --ca FILE, and --cert FILE --key FILE when the host asks for a certificate".to_owned(),
            ),
            Self::Status(status) => about_status(status),
            Self::Place(error) => Some(error.help()),
            Self::Lock(LockError::Held { socket, .. }) => {
                let host = shell::CommandLine::new("plugmesh").arg("shutdown").file("--host", socket);
                Some(format!("end it with `{host}`, or serve on another socket with --gateway PATH"))
            }
            Self::Serve(error) => error.help(),
            Self::Doctor(error) => Some(error.help()),
            Self::ConfigCheck(error) => error.help(),
            Self::Call(error) => error.help(),
            Self::Events(error) => error.help(),
            _ => None,
        }
    }

    /// The error as one JSON document.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let status = match self {
            Self::Status(status) => Some(status.as_ref()),
            Self::Call(error) => error.status(),
            _ => None,
        };
        let message = status.map_or_else(|| with_causes(self), |status| status.message().to_owned());
        serde_json::json!({ "error": {
            "code": status.map(|status| code_name(status.code())),
            "message": message,
            "details": match self {
                Self::Call(error) => error.details(),
                _ => Vec::new(),
            },
            "next": self.help(),
        }})
    }
}

fn no_host(address: &HostAddress, source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return "the socket belongs to another user; ask who runs the host, or run your own".to_owned();
    }
    match (address, super::place::default_address()) {
        (HostAddress::Unix(_), Ok(default)) if default == *address => {
            "start one with `plugmesh serve DIR`, or name another with --host or PLUGMESH_HOST".to_owned()
        }
        (HostAddress::Unix(path), _) => {
            let line = shell::CommandLine::new("plugmesh").args(["serve", "DIR"]).file("--gateway", path);
            format!("start one with `{line}`, or name another with --host or PLUGMESH_HOST")
        }
        _ => "check that a host listens there, or name another with --host or PLUGMESH_HOST".to_owned(),
    }
}

/// What to do about a status of the host itself. The host's own messages say more than this can, so only
/// what they cannot know is added.
fn about_status(status: &Status) -> Option<String> {
    match status.code() {
        tonic::Code::Unimplemented => {
            Some("is this the gateway of a plugmesh host, and as new as this command?".to_owned())
        }
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Some(
            "over TCP, only identities listed under `admin:` in the host's configuration may do this"
                .to_owned(),
        ),
        _ => None,
    }
}

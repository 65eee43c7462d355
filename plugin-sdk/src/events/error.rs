//! What can go wrong with events.

use plugmesh::cloudevents::BuildError;
use tonic::codegen::StdError;
use tonic::{Code, Status};

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EventError {
    /// The host does not answer.
    #[error("the event bus cannot be reached: {0}")]
    Unreachable(String),
    /// The stream has ended: connect again.
    #[error("the stream to the event bus has ended: {}", .0.message())]
    Ended(Status),
    /// The bus refused what was asked, or would have: the event is not valid.
    #[error("the event bus refused it: {} ({:?})", .0.message(), .0.code())]
    Refused(Status),
}

impl EventError {
    pub(super) fn unreachable(error: impl Into<StdError>) -> Self {
        Self::Unreachable(error.into().to_string())
    }

    pub(super) fn invalid(error: &BuildError) -> Self {
        Self::Refused(Status::invalid_argument(error.to_string()))
    }

    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Ended(_) => true,
            Self::Refused(status) => matches!(status.code(), Code::ResourceExhausted | Code::Unavailable),
        }
    }
}

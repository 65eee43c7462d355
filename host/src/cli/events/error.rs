//! Why a command about events failed before the host was asked, or in spite of its answer.

use std::io;
use std::path::PathBuf;

use plugmesh::cloudevents::BuildError;
use tonic::Code;

use crate::cli::exit::Exit;

/// Why a command about events failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventsError {
    #[error("this is no event: {0}")]
    Invalid(#[source] BuildError),
    #[error("the attribute `time` is no time: {0:?}")]
    Time(String),
    #[error("the data is not JSON, and its media type is {media_type}")]
    NotJson { media_type: String, source: serde_json::Error },
    #[error("cannot read {path}")]
    Input { path: PathBuf, source: io::Error },
    #[error("{path} has more than {most} bytes")]
    TooLarge { path: PathBuf, most: usize },
    #[error("there is no dead letter {0}")]
    NoDeadLetter(u64),
}

impl EventsError {
    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Invalid(_) | Self::Time(_) => Exit::USAGE,
            Self::NotJson { .. } | Self::Input { .. } | Self::TooLarge { .. } => Exit::FAILURE,
            Self::NoDeadLetter(_) => Exit::from_status(Code::NotFound),
        }
    }

    /// What to do next, when there is something to say.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Time(_) => Some("say it as 2026-01-31T12:00:00Z".to_owned()),
            Self::NotJson { .. } => {
                Some("if it is not meant to be JSON, say what it is: --content-type text/plain".to_owned())
            }
            Self::TooLarge { .. } => {
                Some("publish where the content can be found instead of the content".to_owned())
            }
            Self::NoDeadLetter(_) => Some("`plugmesh events dlq list` lists those that there are".to_owned()),
            Self::Invalid(_) | Self::Input { .. } => None,
        }
    }
}

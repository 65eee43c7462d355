//! What can go wrong between the caller and an endpoint, before a gRPC status exists.

use h2::Reason;
use tonic::Code;

use super::Closed;
use crate::BoxError;

/// Why a call got no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There was no connection to send it on. Nothing was sent: trying elsewhere is safe.
    #[error("there is no connection")]
    NotConnected,
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The request's own body failed.
    #[error("the request ended with an error")]
    Request(#[source] BoxError),
}

/// Why a stream ended early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer reset the stream.
    #[error("the stream was reset ({0:?})")]
    Reset(Reason),
    /// This side reset the stream: the peer broke a rule of HTTP/2 on it, or a limit.
    #[error("its answer has more than the host's 16 KiB of headers, or breaks HTTP/2 ({0:?})")]
    Refused(Reason),
    /// The peer leaves (GOAWAY) and says that it has not looked at the stream.
    #[error("the server ends the connection before it looks at the call ({0:?})")]
    Unprocessed(Reason),
    /// The connection was lost with the stream on it.
    #[error("the connection was lost ({0})")]
    Lost(Closed),
}

impl StreamError {
    /// Whether the peer said that it never looked at the request, so that sending it again is safe (RFC 9113 §8.7).
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Reset(Reason::REFUSED_STREAM) | Self::Unprocessed(_))
    }

    /// The gRPC code that stands for it, after the table in gRPC's `PROTOCOL-HTTP2.md`.
    pub fn code(&self) -> Code {
        match self {
            Self::Lost(_) | Self::Unprocessed(_) => Code::Unavailable,
            Self::Refused(_) => Code::Internal,
            Self::Reset(reason) => match *reason {
                Reason::REFUSED_STREAM => Code::Unavailable,
                Reason::CANCEL => Code::Cancelled,
                Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
                Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
                _ => Code::Internal,
            },
        }
    }
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() && error.is_library() => Self::Refused(reason),
            Some(reason) if error.is_reset() => Self::Reset(reason),
            // h2 tells this to streams above the last one that the peer's GOAWAY names, and to no others.
            Some(reason) if error.is_go_away() && error.is_remote() => Self::Unprocessed(reason),
            _ => Self::Lost(Closed::from(&error)),
        }
    }
}

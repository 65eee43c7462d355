//! How a call ended, and what that says of the endpoint.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use tonic::Code;

use super::reserved;
use crate::code::{Codes, GRPC_STATUS, code_of};
use crate::resilience::breaker::Verdict;

static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What the head or the trailers of a response say, as far as the mesh has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The status, if there is one.
    pub(super) status: Option<Outcome>,
    /// Nothing speaks against gRPC. Without a content-type the frames decide.
    pub(super) is_grpc: bool,
}

impl Said {
    /// Reads them, and removes what only the mesh itself may say. Goes over them once: there are few, and each look into the
    /// map would cost a hash of the name.
    pub(super) fn read(headers: &mut HeaderMap) -> Self {
        let (mut said, mut is_reserved) = (Self { status: None, is_grpc: true }, false);
        for (name, value) in &*headers {
            if *name == GRPC_STATUS {
                said.status =
                    said.status.or_else(|| Some(Outcome::Status(Code::from_bytes(value.as_bytes()))));
            } else if *name == CONTENT_TYPE {
                said.is_grpc &= value.as_bytes().starts_with(b"application/grpc");
            } else {
                is_reserved |= reserved::is_reserved(name);
            }
        }
        if is_reserved {
            reserved::strip(headers, &[]);
        }
        said
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a status, that of the endpoint or the one that stands for what became of the connection.
    Status(Code),
    /// The endpoint did its work; it is the host that refuses the answer, with this status.
    Served(Code),
    /// The caller went away first, or its request was no good.
    Cancelled,
}

impl Outcome {
    /// The status of a response, wherever it stands: in the head of one that is nothing else ("trailers-only"), or in the
    /// trailers.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        code_of(headers).map(Self::Status)
    }

    pub(super) fn is_ok(self) -> bool {
        self == Self::Status(Code::Ok)
    }

    /// What the caller sees.
    pub(super) fn code(self) -> Code {
        match self {
            Self::Status(code) | Self::Served(code) => code,
            Self::Cancelled => Code::Cancelled,
        }
    }

    /// What the headers or trailers that it was in say of another attempt.
    pub(super) fn pushback(self, headers: &HeaderMap) -> Option<Pushback> {
        if self.is_ok() { None } else { Pushback::of(headers) }
    }

    /// What it says of the endpoint, where `failures` are the codes that blame it.
    pub(super) fn verdict(self, failures: Codes) -> Verdict {
        match self {
            Self::Status(code) if failures.contains(code) => Verdict::Failure,
            Self::Status(Code::ResourceExhausted) => Verdict::Overload,
            Self::Status(_) | Self::Served(_) => Verdict::Success,
            Self::Cancelled => Verdict::Neutral,
        }
    }
}

/// What a server says of another attempt (gRPC's proposal A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    /// Not before so much time has passed.
    After(Duration),
    /// None at all.
    Never,
}

impl Pushback {
    /// What trailers say; `None` when they say nothing.
    fn of(trailers: &HeaderMap) -> Option<Self> {
        let value = trailers.get(&PUSHBACK)?;
        // A negative number, and what is none, means: do not try again.
        let millis = value.to_str().ok().and_then(|text| text.parse().ok());
        Some(millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CircuitBreaker;

    #[test]
    fn only_what_blames_the_endpoint_is_a_failure() {
        let verdict = |outcome: Outcome| outcome.verdict(CircuitBreaker::default().codes);
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Internal, Code::Unknown, Code::DataLoss]
        {
            assert_eq!(verdict(Outcome::Status(code)), Verdict::Failure, "{code:?}");
        }
        for code in [Code::Ok, Code::InvalidArgument, Code::NotFound, Code::Unimplemented, Code::Aborted] {
            assert_eq!(verdict(Outcome::Status(code)), Verdict::Success, "{code:?}");
        }
        assert_eq!(verdict(Outcome::Status(Code::ResourceExhausted)), Verdict::Overload);
        assert_eq!(verdict(Outcome::Served(Code::ResourceExhausted)), Verdict::Success);
        assert_eq!(verdict(Outcome::Cancelled), Verdict::Neutral);
    }

    #[test]
    fn what_is_said_is_read_and_what_nobody_may_say_is_removed() {
        let said = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            let said = Said::read(&mut headers);
            (said.status.map(Outcome::code), said.is_grpc, headers.len())
        };
        assert_eq!(said(&[]), (None, true, 0));
        assert_eq!(said(&[("content-type", "application/grpc+proto"), ("x", "y")]), (None, true, 2));
        assert_eq!(said(&[("content-type", "text/html")]), (None, false, 1));
        assert_eq!(said(&[("grpc-status", "0"), ("plugmesh-fallback", "x")]), (Some(Code::Ok), true, 1));
        assert_eq!(said(&[("grpc-status", "14"), ("grpc-status", "0")]).0, Some(Code::Unavailable));
    }

    #[test]
    fn pushback_is_a_number_of_milliseconds_or_never() {
        let of = |text: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert(PUSHBACK.clone(), text.parse().unwrap());
            Pushback::of(&trailers)
        };
        assert_eq!(of("0"), Some(Pushback::After(Duration::ZERO)));
        assert_eq!(of("1500"), Some(Pushback::After(Duration::from_millis(1500))));
        for never in ["-1", "", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(of(never), Some(Pushback::Never), "{never}");
        }
        assert_eq!(Pushback::of(&HeaderMap::new()), None);
    }
}

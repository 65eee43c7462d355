//! Status codes by name, and sets of them.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName};
use tonic::Code;

use crate::closest::closest;

/// As a header name, since a text is checked and folded to lower case each time it is looked up.
pub(crate) static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Every code, by its number.
pub(crate) const ALL: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

/// The status that the head or the trailers of a response carry.
pub(crate) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(&GRPC_STATUS).map(|status| Code::from_bytes(status.as_bytes()))
}

/// Name of a status code as the gRPC specification spells it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Statuses that are a fault of who serves, by OpenTelemetry's conventions. Of who calls any but OK is.
pub(crate) fn is_server_error(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// A set of status codes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Codes(u32);

/// A text that names no status code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is not a gRPC status code{}", .closest.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
pub struct UnknownCode {
    written: String,
    closest: Option<&'static str>,
}

impl Codes {
    /// These codes.
    pub const fn of(codes: &[Code]) -> Self {
        let mut bits = 0;
        let mut rest = codes;
        while let [code, after @ ..] = rest {
            bits |= 1 << *code as u32;
            rest = after;
        }
        Self(bits)
    }

    /// Whether `code` is one of them.
    pub const fn contains(self, code: Code) -> bool {
        self.0 & (1 << code as u32) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The code that has this name; upper case, as in the specification.
    ///
    /// # Errors
    /// No code has it.
    pub fn parse(name: &str) -> Result<Code, UnknownCode> {
        ALL.into_iter().find(|code| code_name(*code) == name).ok_or_else(|| UnknownCode {
            written: name.chars().take(64).collect(),
            closest: closest(&name.to_uppercase(), ALL.into_iter().map(code_name)),
        })
    }

    /// Each of them, by number.
    pub fn iter(self) -> impl Iterator<Item = Code> {
        ALL.into_iter().filter(move |code| self.contains(*code))
    }
}

impl FromIterator<Code> for Codes {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |bits, code| bits | 1 << code as u32))
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, code) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", code_name(code))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A list with commas, as [`Codes`] shows itself.
impl FromStr for Codes {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        match text {
            "none" => Ok(Self::default()),
            text => text.split(',').map(|name| Self::parse(name.trim())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_and_a_name_of_its_own() {
        for (number, code) in ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(Codes::parse(code_name(code)), Ok(code));
        }
    }

    #[test]
    fn sets_read_what_they_show() {
        for codes in [&[][..], &[Code::Ok], &[Code::Unavailable, Code::Aborted], &ALL] {
            let codes = Codes::of(codes);
            assert_eq!(codes.to_string().parse(), Ok(codes));
            assert_eq!(codes.iter().collect::<Codes>(), codes);
        }
        let error = "UNAVAILBLE".parse::<Codes>().unwrap_err();
        assert_eq!(error.to_string(), "\"UNAVAILBLE\" is not a gRPC status code; did you mean UNAVAILABLE?");
    }
}

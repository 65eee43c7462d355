//! Exit codes, which scripts may rely on.

use std::process::ExitCode;

use tonic::Code;

use crate::code::{self, code_name};

/// What a gRPC status code is added to: far from what shells (126 and up) and this command (1 to 4) use.
const STATUS_BASE: u8 = 64;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Done.
    pub(crate) const OK: Self = Self(0);
    /// It did not work, for a reason that is no gRPC status.
    pub(crate) const FAILURE: Self = Self(1);
    /// The command line makes no sense.
    pub(crate) const USAGE: Self = Self(2);
    /// It works, and not all is well.
    pub(crate) const DEGRADED: Self = Self(3);
    /// It does not work, or nobody knows.
    pub(crate) const UNHEALTHY: Self = Self(4);
    /// Ended by the user with Ctrl-C.
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// As another process ended.
    pub(crate) fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The exit code that tells a gRPC status: 0 for OK, else 64 + the code.
    pub(crate) fn from_status(code: Code) -> Self {
        match code {
            Code::Ok => Self::OK,
            // The codes are 0 to 16, so nothing is cut off.
            other => Self(STATUS_BASE + other as u8),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Every exit code and its meaning, in rising order.
pub(crate) fn meanings() -> Vec<(u8, String)> {
    let mut all = vec![
        (Exit::OK.0, "done".to_owned()),
        (Exit::FAILURE.0, "failed: no host, bad input, a plugin that doctor found ill".to_owned()),
        (Exit::USAGE.0, "the command line makes no sense".to_owned()),
        (Exit::DEGRADED.0, "`health`: it works, and not all is well".to_owned()),
        (Exit::UNHEALTHY.0, "`health`: it does not work, or nothing is known".to_owned()),
    ];
    all.extend(code::ALL.iter().skip(1).map(|&code| {
        let Exit(number) = Exit::from_status(code);
        (number, format!("gRPC status {} ({})", code_name(code), code as i32))
    }));
    all.push((Exit::INTERRUPTED.0, "ended by Ctrl-C".to_owned()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_own_exit_code() {
        assert_eq!(Exit::from_status(Code::Ok), Exit(0));
        assert_eq!(Exit::from_status(Code::Cancelled), Exit(65));
        assert_eq!(Exit::from_status(Code::Unauthenticated), Exit(80));
    }

    #[test]
    fn no_two_meanings_share_a_number() {
        let numbers: Vec<u8> = meanings().into_iter().map(|(number, _)| number).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        assert_eq!(numbers.len(), 22);
    }

    #[test]
    fn codes_are_listed_at_their_numbers() {
        for (number, code) in code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
        }
    }
}

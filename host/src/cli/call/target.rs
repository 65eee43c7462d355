//! Which method is meant.

use std::str::FromStr;

use super::CallError;

/// A method as it was typed; the service may lack its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) method: String,
}

impl FromStr for Target {
    type Err = CallError;

    fn from_str(text: &str) -> Result<Self, CallError> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let is_name = |part: &str| {
            let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
            part.split('.').all(word)
        };
        match path.split_once('/').or_else(|| path.rsplit_once('.')) {
            Some((service, method)) if is_name(service) && is_name(method) && !method.contains('.') => {
                Ok(Self { service: service.to_owned(), method: method.to_owned() })
            }
            _ => Err(CallError::Target(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slash_and_dot_both_part_service_and_method() {
        for text in ["a.v1.S/M", "/a.v1.S/M", "a.v1.S.M"] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.service.as_str(), target.method.as_str()), ("a.v1.S", "M"), "{text}");
        }
        assert_eq!("S/M".parse::<Target>().unwrap().service, "S");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "/", "S", "S/", "/M", "S/M/N", "a..S/M", "S/a.M", "S M", "S/M?x=1"] {
            assert!(matches!(text.parse::<Target>(), Err(CallError::Target(_))), "{text:?} was taken");
        }
    }
}

//! What led to an error, in one line.

use std::error::Error;

/// What an error says, and its causes beyond that: "transport error" alone helps nobody.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    and_causes(error.to_string(), error)
}

/// A text about an error, and what its causes say beyond that.
#[must_use]
pub fn and_causes(mut text: String, error: &dyn Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some repeat the text of their cause in their own.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn what_was_said_is_not_said_again() {
        let root = Said("no route to host", None);
        let middle = Said("cannot connect: no route to host", Some(root.into()));
        let top = Said("unavailable", Some(middle.into()));
        let expected = "unavailable: cannot connect: no route to host";
        assert_eq!(with_causes(&top), expected);
    }
}

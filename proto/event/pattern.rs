//! Patterns of topics.

use std::fmt;
use std::str::FromStr;

/// Longest pattern, in bytes.
const MAX_BYTES: usize = 255;

/// Most tokens of a pattern: what looks for matches goes one level down for each.
const MAX_TOKENS: usize = 32;

/// A pattern of topics: tokens with dots between, of which `*` is any one token, and `>` at the end one token or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

/// A token of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// This one.
    Literal(&'a str),
    /// Any one.
    Any,
    /// Any number of them, but at least one. Always the last.
    Rest,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Empty, or too long.
    #[error("a pattern has 1 to {MAX_BYTES} bytes, this one has {0}")]
    Length(usize),
    /// Too many tokens.
    #[error("a pattern has at most {MAX_TOKENS} tokens, this one has {0}")]
    Tokens(usize),
    /// Two dots side by side, or one at an end.
    #[error("the pattern {0:?} has an empty token: a dot is at an end, or beside another")]
    EmptyToken(String),
    /// `>` with something behind it.
    #[error("the pattern {0:?} has something behind `>`, which stands for all of the rest")]
    BehindRest(String),
    /// A wildcard as part of a token.
    #[error(
        "the pattern {pattern:?} has a wildcard inside of the token {token:?}: `*` and `>` are tokens of their own"
    )]
    Wildcard {
        /// The pattern.
        pattern: String,
        /// The token.
        token: String,
    },
    /// White space, or something that cannot be seen.
    #[error("the pattern {0:?} has white space or control characters")]
    Character(String),
}

impl Pattern {
    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens. There is at least one.
    pub fn tokens(&self) -> impl Iterator<Item = Token<'_>> {
        self.0.split('.').map(Token::read)
    }

    /// Whether a topic is one of its topics.
    pub fn matches(&self, topic: &str) -> bool {
        let mut tokens = topic.split('.');
        for wanted in self.tokens() {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (Token::Rest, Some(_)) => return true,
                (Token::Literal(wanted), Some(token)) if wanted != token => return false,
                _ => {}
            }
        }
        tokens.next().is_none()
    }

    /// Whether all topics of the other one are topics of this one.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.tokens();
        for token in self.tokens() {
            match (token, others.next()) {
                (_, None) | (Token::Any, Some(Token::Rest)) => return false,
                (Token::Rest, Some(_)) => return true,
                (Token::Literal(mine), Some(Token::Literal(theirs))) if mine == theirs => {}
                (Token::Literal(_), Some(_)) => return false,
                (Token::Any, Some(_)) => {}
            }
        }
        others.next().is_none()
    }

    /// Whether some topic is one of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut mine, mut theirs) = (self.tokens(), other.tokens());
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) | (Some(Token::Rest), Some(_)) | (Some(_), Some(Token::Rest)) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Token::Literal(mine)), Some(Token::Literal(theirs))) if mine != theirs => return false,
                _ => {}
            }
        }
    }
}

impl<'a> Token<'a> {
    fn read(token: &'a str) -> Self {
        match token {
            "*" => Self::Any,
            ">" => Self::Rest,
            literal => Self::Literal(literal),
        }
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=MAX_BYTES).contains(&text.len()) {
            return Err(BadPattern::Length(text.len()));
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(BadPattern::Character(text.to_owned()));
        }
        let tokens = text.split('.').count();
        if tokens > MAX_TOKENS {
            return Err(BadPattern::Tokens(tokens));
        }
        for (at, token) in text.split('.').enumerate() {
            match token {
                "" => return Err(BadPattern::EmptyToken(text.to_owned())),
                ">" if at + 1 < tokens => return Err(BadPattern::BehindRest(text.to_owned())),
                "*" | ">" => {}
                _ if token.contains(['*', '>']) => {
                    return Err(BadPattern::Wildcard { pattern: text.to_owned(), token: token.to_owned() });
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn wildcards_stand_for_tokens() {
        for (text, matching, other) in [
            (
                "user.login",
                ["user.login"].as_slice(),
                ["user", "user.login.failed", "user.logout", "xuser.login"].as_slice(),
            ),
            ("user.*", &["user.login", "user.logout"], &["user", "user.login.failed"]),
            ("*.login", &["user.login", "admin.login"], &["login", "a.user.login"]),
            ("*", &["user"], &["user.login"]),
            (">", &["user", "user.login", "a.b.c.d"], &[]),
            ("user.>", &["user.login", "user.login.failed"], &["user", "users.login"]),
            ("a.*.c.>", &["a.b.c.d", "a.x.c.d.e"], &["a.b.c", "a.b.d.c"]),
        ] {
            let pattern = pattern(text);
            matching.iter().for_each(|topic| assert!(pattern.matches(topic), "{text} {topic}"));
            other.iter().for_each(|topic| assert!(!pattern.matches(topic), "{text} {topic}"));
        }
    }

    #[test]
    fn faults_say_what_is_wrong() {
        let long = "x".repeat(256);
        let deep = ["x"; 33].join(".");
        for (text, part) in [
            ("", "1 to 255 bytes, this one has 0"),
            (long.as_str(), "has 256"),
            (deep.as_str(), "at most 32 tokens, this one has 33"),
            ("a..b", "empty token"),
            (".a", "empty token"),
            ("a.", "empty token"),
            ("a.>.b", "behind `>`"),
            ("a.b*", "inside of the token \"b*\""),
            ("a b", "white space"),
            ("a\u{7}", "control"),
        ] {
            let fault = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(fault.contains(part), "{fault:?} should contain {part:?}");
        }
    }

    /// Few tokens, so that they meet.
    fn token(wildcards: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::sample::select([&["a", "b", "c"], wildcards].concat()).prop_map(str::to_owned)
    }

    fn any_pattern() -> impl Strategy<Value = Pattern> {
        (prop::collection::vec(token(&["*"]), 1..5), any::<bool>()).prop_map(|(mut tokens, rest)| {
            if rest {
                tokens.push(">".to_owned());
            }
            pattern(&tokens.join("."))
        })
    }

    fn any_topic() -> impl Strategy<Value = String> {
        prop::collection::vec(token(&[]), 1..7).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn what_covers_a_pattern_matches_what_that_matches(
            one in any_pattern(),
            other in any_pattern(),
            topics in prop::collection::vec(any_topic(), 50),
        ) {
            if one.covers(&other) {
                for topic in topics.iter().filter(|topic| other.matches(topic)) {
                    prop_assert!(one.matches(topic), "{one} covers {other}, but {topic}");
                }
            }
            prop_assert!(one.covers(&one));
            prop_assert!(pattern(">").covers(&one));
        }
    }
}
